use std::borrow::Cow;
use std::ops::RangeInclusive;
use uuid::Uuid;
use crate::Message;
use crate::view::{
    DefaultValue, Kind, Many, MessageDescriptor, One, StructDescriptor, Type, Versions,
    field,
};
use crate::wire::{FieldReader, Ints, Struct, Tags, Writer};

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

impl<'a> Struct<'a> for Arrays<'a> {
    const BYTES_MIN: usize = 6;
    #[inline]
    fn read_fields(&mut self, r: &mut FieldReader<'a>, version: i16) {
        let flexible = version >= 1;
        self.ids = r.ints(flexible);
        self.topic_ids = r.nullable_ints(flexible);
        self.names = r.array(flexible, version);
        if version >= 1 {
            self.blobs = r.array(true, version);
        }
        self.rows = r.array(flexible, version);
        self.unknown_tags = r.unknown_tags(flexible);
    }
    #[inline]
    fn write_fields(&self, w: &mut Writer, version: i16) {
        let flexible = version >= 1;
        w.ints(&self.ids, flexible, "Ids");
        w.nullable_ints(self.topic_ids.as_ref(), flexible, "TopicIds");
        w.array(&self.names, flexible, version, "Names");
        if version >= 1 {
            w.array(&self.blobs, true, version, "Blobs");
        }
        w.array(&self.rows, flexible, version, "Rows");
        w.unknown_tags(&self.unknown_tags, flexible, "unknown_tags");
    }
}

impl<'a> Message<'a> for Arrays<'a> {
    const NAME: &'static str = "Arrays";
    const VERSIONS: RangeInclusive<i16> = 0..=1;
    const FLEXIBLE: Option<i16> = Some(1);
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

impl<'a> Struct<'a> for Row<'a> {
    const BYTES_MIN: usize = 2;
    #[inline]
    fn read_fields(&mut self, r: &mut FieldReader<'a>, version: i16) {
        let flexible = version >= 1;
        self.name = r.string(flexible);
        if version >= 1 {
            self.size = r.i64();
        }
        self.unknown_tags = r.unknown_tags(flexible);
    }
    #[inline]
    fn write_fields(&self, w: &mut Writer, version: i16) {
        let flexible = version >= 1;
        w.string(&self.name, flexible, "Row.Name");
        if version >= 1 {
            w.i64(self.size);
        }
        w.unknown_tags(&self.unknown_tags, flexible, "Row.unknown_tags");
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
