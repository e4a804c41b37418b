use std::borrow::Cow;
use std::ops::RangeInclusive;
use uuid::Uuid;
use crate::{EncodeError, Message};
use crate::view::{
    DefaultValue, Kind, Many, MessageDescriptor, One, StructDescriptor, Type, Versions,
    field,
};
use crate::wire::{FaultIn, FieldReader, Ints, Tags, Writer};

/// `Arrays`, versions 0-1.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Arrays<'a> {
    pub ids: Ints<'a, i32>,
    /// Nullable.
    pub topic_ids: Option<Ints<'a, Uuid>>,
    pub names: Vec<Cow<'a, str>>,
    /// Versions 1+. Dropped where absent.
    pub blobs: Vec<Cow<'a, [u8]>>,
    pub rows: Vec<Row<'a>>,
    /// Tagged fields that are not known here.
    pub unknown_tags: Tags<'a>,
}

impl<'a> Message<'a> for Arrays<'a> {
    const NAME: &'static str = "Arrays";
    const VERSIONS: RangeInclusive<i16> = 0..=1;
    const FLEXIBLE: Option<i16> = Some(1);
    #[inline]
    fn read_fields(&mut self, r: &mut FieldReader<'a>, version: i16) {
        let flexible = version >= 1;
        self.ids = r.ints(flexible);
        self.topic_ids = r.nullable_ints(flexible);
        self.names = r
            .array(
                flexible,
                if flexible { 1 } else { 2 },
                |it: &mut Cow<'a, str>, r| *it = r.string(flexible),
            );
        if version >= 1 {
            self.blobs = r
                .array(true, 1, |it: &mut Cow<'a, [u8]>, r| *it = r.bytes(true));
        }
        self.rows = r
            .array(flexible, 2, |it: &mut Row<'a>, r| it.read_fields(r, version));
        if flexible {
            self.unknown_tags = r.unknown_tags();
        }
    }
    #[inline]
    fn write(&self, w: &mut Writer, version: i16) -> Result<(), EncodeError> {
        let flexible = version >= 1;
        w.ints(&self.ids, flexible).of("Arrays", "Ids", version)?;
        w.nullable_ints(self.topic_ids.as_ref(), flexible)
            .of("Arrays", "TopicIds", version)?;
        let list = &self.names;
        w.array_length(Some(list.len()), flexible).of("Arrays", "Names", version)?;
        for it in list {
            w.string(it, flexible).of("Arrays", "Names", version)?;
        }
        if version >= 1 {
            let list = &self.blobs;
            w.array_length(Some(list.len()), true).of("Arrays", "Blobs", version)?;
            for it in list {
                w.bytes(it, true).of("Arrays", "Blobs", version)?;
            }
        }
        let list = &self.rows;
        w.array_length(Some(list.len()), flexible).of("Arrays", "Rows", version)?;
        for it in list {
            it.write(w, version)?;
        }
        if flexible {
            w.unknown_tags(&self.unknown_tags, "Arrays", version)?;
        } else {
            w.no_tags(&self.unknown_tags).of("Arrays", "unknown_tags", version)?;
        }
        Ok(())
    }
}

/// Part of [`Arrays`].
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Row<'a> {
    pub name: Cow<'a, str>,
    /// Versions 1+. Dropped where absent.
    pub size: i64,
    /// Tagged fields that are not known here.
    pub unknown_tags: Tags<'a>,
}

impl<'a> Row<'a> {
    /// Reads the fields of `version` into a value that holds the defaults.
    #[inline]
    pub fn read_fields(&mut self, r: &mut FieldReader<'a>, version: i16) {
        let flexible = version >= 1;
        self.name = r.string(flexible);
        if version >= 1 {
            self.size = r.i64();
        }
        if flexible {
            self.unknown_tags = r.unknown_tags();
        }
    }
    /// Writes the fields of `version`.
    #[inline]
    pub fn write(&self, w: &mut Writer, version: i16) -> Result<(), EncodeError> {
        let flexible = version >= 1;
        w.string(&self.name, flexible).of("Arrays", "Row.Name", version)?;
        if version >= 1 {
            w.i64(self.size);
        }
        if flexible {
            w.unknown_tags(&self.unknown_tags, "Arrays", version)?;
        } else {
            w.no_tags(&self.unknown_tags).of("Arrays", "Row.unknown_tags", version)?;
        }
        Ok(())
    }
}

/// What the schema says of the message.
pub static DESCRIPTOR: MessageDescriptor = MessageDescriptor {
    name: "Arrays",
    kind: Kind::Data,
    api_key: None,
    versions: Versions(0, 1),
    flexible: Versions(1, 1),
    structs: &[
        StructDescriptor {
            name: "Arrays",
            wire_bytes_min: 6,
            memory_bytes: size_of::<Arrays<'_>>(),
            fields: &[
                field("Ids", Many(Type::Int32), 0, 1),
                field("TopicIds", Many(Type::Uuid), 0, 1)
                    .nullable(0, 1)
                    .default(DefaultValue::Null),
                field("Names", Many(Type::String), 0, 1),
                field("Blobs", Many(Type::Bytes), 1, 1).ignorable(),
                field("Rows", Many(Type::Struct(1)), 0, 1),
            ],
        },
        StructDescriptor {
            name: "Row",
            wire_bytes_min: 2,
            memory_bytes: size_of::<Row<'_>>(),
            fields: &[
                field("Name", One(Type::String), 0, 1),
                field("Size", One(Type::Int64), 1, 1).ignorable(),
            ],
        },
    ],
    #[cfg(feature = "codec-table")]
    decode: |reader, version| crate::view::decode::<Arrays<'_>>(reader, version),
    #[cfg(feature = "codec-table")]
    recode: |bytes, version| crate::view::recode::<Arrays<'_>>(bytes, version),
};
