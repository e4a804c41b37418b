use std::ops::RangeInclusive;
use crate::Message;
use crate::view::{
    Kind, Many, MessageDescriptor, One, StructDescriptor, Type, Versions, field,
};
use crate::wire::{FieldReader, Struct, Tags, Writer};

/// `Common`, versions 0-2.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Common<'a> {
    /// Versions 0-1. Dropped where absent.
    pub old: Cursor<'a>,
    /// Versions 1+.
    pub pages: Vec<Page<'a>>,
    /// Tagged fields that are not known here.
    pub unknown_tags: Tags<'a>,
}

impl<'a> Struct<'a> for Common<'a> {
    const BYTES_MIN: usize = 4;
    #[inline]
    fn read_fields(&mut self, r: &mut FieldReader<'a>, version: i16) {
        if version <= 1 {
            self.old.read_fields(r, version);
        }
        if version >= 1 {
            self.pages = r.array(false, version);
        }
    }
    #[inline]
    fn write_fields(&self, w: &mut Writer, version: i16) {
        if version <= 1 {
            self.old.write_fields(w, version);
        }
        if version >= 1 {
            w.array(&self.pages, false, version, "Pages");
        } else {
            w.absent(!self.pages.is_empty(), "Pages");
        }
        w.unknown_tags(&self.unknown_tags, false, "unknown_tags");
    }
}

impl<'a> Message<'a> for Common<'a> {
    const NAME: &'static str = "Common";
    const VERSIONS: RangeInclusive<i16> = 0..=2;
    const FLEXIBLE: Option<i16> = None;
}

/// Part of [`Common`].
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Page<'a> {
    pub from: Cursor<'a>,
    /// Versions 2+. Dropped where absent.
    pub to: Cursor<'a>,
    /// Tagged fields that are not known here.
    pub unknown_tags: Tags<'a>,
}

impl<'a> Struct<'a> for Page<'a> {
    const BYTES_MIN: usize = 8;
    #[inline]
    fn read_fields(&mut self, r: &mut FieldReader<'a>, version: i16) {
        self.from.read_fields(r, version);
        if version >= 2 {
            self.to.read_fields(r, version);
        }
    }
    #[inline]
    fn write_fields(&self, w: &mut Writer, version: i16) {
        self.from.write_fields(w, version);
        if version >= 2 {
            self.to.write_fields(w, version);
        }
        w.unknown_tags(&self.unknown_tags, false, "Page.unknown_tags");
    }
}

/// Part of [`Common`].
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Cursor<'a> {
    pub offset: i64,
    /// Tagged fields that are not known here.
    pub unknown_tags: Tags<'a>,
}

impl<'a> Struct<'a> for Cursor<'a> {
    const BYTES_MIN: usize = 8;
    #[inline]
    fn read_fields(&mut self, r: &mut FieldReader<'a>, _version: i16) {
        self.offset = r.i64();
    }
    #[inline]
    fn write_fields(&self, w: &mut Writer, _version: i16) {
        w.i64(self.offset);
        w.unknown_tags(&self.unknown_tags, false, "Cursor.unknown_tags");
    }
}

/// What the schema says of the message.
pub static DESCRIPTOR: MessageDescriptor = MessageDescriptor {
    name: "Common",
    kind: Kind::Data,
    api_key: None,
    versions: Versions(0, 2),
    flexible: Versions(0, -1),
    structs: &[
        StructDescriptor {
            name: "Common",
            wire_bytes_min: 4,
            memory_bytes: size_of::<Common<'_>>(),
            fields: &[
                field("Old", One(Type::Struct(2)), 0, 1).ignorable(),
                field("Pages", Many(Type::Struct(1)), 1, 2),
            ],
        },
        StructDescriptor {
            name: "Page",
            wire_bytes_min: 8,
            memory_bytes: size_of::<Page<'_>>(),
            fields: &[
                field("From", One(Type::Struct(2)), 1, 2),
                field("To", One(Type::Struct(2)), 2, 2).ignorable(),
            ],
        },
        StructDescriptor {
            name: "Cursor",
            wire_bytes_min: 8,
            memory_bytes: size_of::<Cursor<'_>>(),
            fields: &[field("Offset", One(Type::Int64), 0, 2)],
        },
    ],
    #[cfg(feature = "codec-table")]
    decode: |reader, version| crate::view::decode::<Common<'_>>(reader, version),
    #[cfg(feature = "codec-table")]
    recode: |bytes, version| crate::view::recode::<Common<'_>>(bytes, version),
};
