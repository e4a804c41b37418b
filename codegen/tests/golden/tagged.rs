use std::borrow::Cow;
use std::ops::RangeInclusive;
use crate::Message;
use crate::view::{
    DefaultValue, Kind, Many, MessageDescriptor, One, StructDescriptor, Type, Versions,
    field,
};
use crate::wire::{FieldReader, Ints, Struct, Tags, Writer};

/// `Tagged`, versions 0-3.
#[derive(Debug, Clone, PartialEq)]
pub struct Tagged<'a> {
    pub plain: i8,
    /// Versions 2+. Tag 2 in 2+. Dropped where absent.
    pub later: i64,
    /// Versions 1+. Nullable. Tag 0 in 1+. Dropped where absent.
    pub first: Option<Cow<'a, str>>,
    /// Tag 1 in 3+.
    pub moved: Ints<'a, i32>,
    /// Versions 3+. Tag 3 in 3+.
    pub node: Node<'a>,
    /// Tagged fields that are not known here.
    pub unknown_tags: Tags<'a>,
}

impl Default for Tagged<'_> {
    #[inline]
    fn default() -> Self {
        Self {
            plain: 0,
            later: -1,
            first: None,
            moved: Ints::EMPTY,
            node: Node::default(),
            unknown_tags: Tags::EMPTY,
        }
    }
}

impl<'a> Struct<'a> for Tagged<'a> {
    const BYTES_MIN: usize = 2;
    #[inline]
    fn read_fields(&mut self, r: &mut FieldReader<'a>, version: i16) {
        let flexible = version >= 1;
        self.plain = r.i8();
        if version <= 2 {
            self.moved = r.ints(flexible);
        }
        if flexible {
            self.unknown_tags = r
                .tags(|tag, r| {
                    match tag {
                        0 => self.first = r.nullable_string(true),
                        1 if version >= 3 => self.moved = r.ints(true),
                        2 if version >= 2 => self.later = r.i64(),
                        3 if version >= 3 => self.node = r.structure(version),
                        _ => return false,
                    }
                    true
                });
        }
    }
    #[inline]
    fn write_fields(&self, w: &mut Writer, version: i16) {
        let flexible = version >= 1;
        w.i8(self.plain);
        if version <= 2 {
            w.ints(&self.moved, flexible, "Moved");
        }
        if version < 3 {
            w.absent(self.node != Node::default(), "Node");
        }
        if flexible {
            w.tags(
                &self.unknown_tags,
                "unknown_tags",
                |tags| {
                    tags.field(
                        0,
                        "First",
                        self.first.is_some(),
                        |w| {
                            w.nullable_string(self.first.as_deref(), true, "First");
                        },
                    );
                    if version >= 3 {
                        tags.field(
                            1,
                            "Moved",
                            !self.moved.is_empty(),
                            |w| {
                                w.ints(&self.moved, true, "Moved");
                            },
                        );
                    }
                    if version >= 2 {
                        tags.field(
                            2,
                            "Later",
                            self.later != -1,
                            |w| {
                                w.i64(self.later);
                            },
                        );
                    }
                    if version >= 3 {
                        tags.field(
                            3,
                            "Node",
                            self.node != Node::default(),
                            |w| {
                                self.node.write_fields(w, version);
                            },
                        );
                    }
                },
            );
        } else {
            w.unknown_tags(&self.unknown_tags, false, "unknown_tags");
        }
    }
}

impl<'a> Message<'a> for Tagged<'a> {
    const NAME: &'static str = "Tagged";
    const VERSIONS: RangeInclusive<i16> = 0..=3;
    const FLEXIBLE: Option<i16> = Some(1);
}

/// Part of [`Tagged`].
#[derive(Debug, Clone, PartialEq)]
pub struct Node<'a> {
    pub id: i32,
    /// Tagged fields that are not known here.
    pub unknown_tags: Tags<'a>,
}

impl Default for Node<'_> {
    #[inline]
    fn default() -> Self {
        Self {
            id: -1,
            unknown_tags: Tags::EMPTY,
        }
    }
}

impl<'a> Struct<'a> for Node<'a> {
    const BYTES_MIN: usize = 5;
    #[inline]
    fn read_fields(&mut self, r: &mut FieldReader<'a>, _version: i16) {
        self.id = r.i32();
        self.unknown_tags = r.unknown_tags(true);
    }
    #[inline]
    fn write_fields(&self, w: &mut Writer, _version: i16) {
        w.i32(self.id);
        w.unknown_tags(&self.unknown_tags, true, "Node.unknown_tags");
    }
}

/// What the schema says of the message.
pub static DESCRIPTOR: MessageDescriptor = MessageDescriptor {
    name: "Tagged",
    kind: Kind::Data,
    api_key: None,
    versions: Versions(0, 3),
    flexible: Versions(1, 3),
    structs: &[
        StructDescriptor {
            name: "Tagged",
            wire_bytes_min: 2,
            memory_bytes: size_of::<Tagged<'_>>(),
            fields: &[
                field("Plain", One(Type::Int8), 0, 3),
                field("Later", One(Type::Int64), 2, 3)
                    .tagged(2, 2, 3)
                    .ignorable()
                    .default(DefaultValue::Int(-1)),
                field("First", One(Type::String), 1, 3)
                    .nullable(1, 3)
                    .tagged(0, 1, 3)
                    .ignorable()
                    .default(DefaultValue::Null),
                field("Moved", Many(Type::Int32), 0, 3).tagged(1, 3, 3),
                field("Node", One(Type::Struct(1)), 3, 3).tagged(3, 3, 3),
            ],
        },
        StructDescriptor {
            name: "Node",
            wire_bytes_min: 5,
            memory_bytes: size_of::<Node<'_>>(),
            fields: &[field("Id", One(Type::Int32), 3, 3).default(DefaultValue::Int(-1))],
        },
    ],
    #[cfg(feature = "codec-table")]
    decode: |reader, version| crate::view::decode::<Tagged<'_>>(reader, version),
    #[cfg(feature = "codec-table")]
    recode: |bytes, version| crate::view::recode::<Tagged<'_>>(bytes, version),
};
