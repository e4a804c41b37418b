use std::borrow::Cow;
use std::ops::RangeInclusive;
use crate::Message;
use crate::view::{
    DefaultValue, Kind, Many, MessageDescriptor, One, StructDescriptor, Type, Versions,
    field,
};
use crate::wire::{FieldReader, Records, Struct, Tags, Writer};

/// `Nullable`, versions 0-4.
#[derive(Debug, Clone, PartialEq)]
pub struct Nullable<'a> {
    pub never: Cow<'a, str>,
    /// Nullable.
    pub always: Option<Cow<'a, str>>,
    /// Nullable.
    pub empty_not_null: Option<Cow<'a, [u8]>>,
    /// Nullable in 2+.
    pub null_later: Option<Cow<'a, str>>,
    /// Versions 1+. Nullable in 2+.
    pub rows: Option<Vec<Row<'a>>>,
    /// Versions 2+. Nullable.
    pub one: Option<Single<'a>>,
    /// Nullable.
    pub records: Records<'a>,
    /// Tagged fields that are not known here.
    pub unknown_tags: Tags<'a>,
}

impl Default for Nullable<'_> {
    #[inline]
    fn default() -> Self {
        Self {
            never: Cow::Borrowed(""),
            always: None,
            empty_not_null: Some(Cow::Borrowed(&[])),
            null_later: Some(Cow::Borrowed("")),
            rows: Some(Vec::new()),
            one: None,
            records: Records::Null,
            unknown_tags: Tags::EMPTY,
        }
    }
}

impl<'a> Struct<'a> for Nullable<'a> {
    const BYTES_MIN: usize = 8;
    #[inline]
    fn read_fields(&mut self, r: &mut FieldReader<'a>, version: i16) {
        let flexible = version >= 3;
        self.never = r.string(flexible);
        self.always = r.nullable_string(flexible);
        self.empty_not_null = r.nullable_bytes(flexible);
        self.null_later = if version >= 2 {
            r.nullable_string(flexible)
        } else {
            Some(r.string(flexible))
        };
        if version >= 1 {
            self.rows = if version >= 2 {
                r.nullable_array(flexible, version)
            } else {
                Some(r.array(flexible, version))
            };
        }
        if version >= 2 {
            self.one = r.nullable_structure(version);
        }
        self.records = r.nullable_records(flexible);
        self.unknown_tags = r.unknown_tags(flexible);
    }
    #[inline]
    fn write_fields(&self, w: &mut Writer, version: i16) {
        let flexible = version >= 3;
        w.string(&self.never, flexible, "Never");
        w.nullable_string(self.always.as_deref(), flexible, "Always");
        w.nullable_bytes(self.empty_not_null.as_deref(), flexible, "EmptyNotNull");
        if version < 2 {
            w.not_null(self.null_later.is_some(), "NullLater");
        }
        w.nullable_string(self.null_later.as_deref(), flexible, "NullLater");
        if version >= 1 {
            if version < 2 {
                w.not_null(self.rows.is_some(), "Rows");
            }
            w.nullable_array(self.rows.as_deref(), flexible, version, "Rows");
        } else {
            w.absent(self.rows.as_ref().is_none_or(|it| !it.is_empty()), "Rows");
        }
        if version >= 2 {
            w.nullable_structure(self.one.as_ref(), version);
        } else {
            w.absent(self.one.is_some(), "One");
        }
        w.nullable_records(&self.records, flexible, "Records");
        w.unknown_tags(&self.unknown_tags, flexible, "unknown_tags");
    }
}

impl<'a> Message<'a> for Nullable<'a> {
    const NAME: &'static str = "Nullable";
    const VERSIONS: RangeInclusive<i16> = 0..=4;
    const FLEXIBLE: Option<i16> = Some(3);
}

/// Part of [`Nullable`].
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Row<'a> {
    pub id: i32,
    /// Tagged fields that are not known here.
    pub unknown_tags: Tags<'a>,
}

impl<'a> Struct<'a> for Row<'a> {
    const BYTES_MIN: usize = 4;
    #[inline]
    fn read_fields(&mut self, r: &mut FieldReader<'a>, version: i16) {
        let flexible = version >= 3;
        self.id = r.i32();
        self.unknown_tags = r.unknown_tags(flexible);
    }
    #[inline]
    fn write_fields(&self, w: &mut Writer, version: i16) {
        let flexible = version >= 3;
        w.i32(self.id);
        w.unknown_tags(&self.unknown_tags, flexible, "Row.unknown_tags");
    }
}

/// Part of [`Nullable`].
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Single<'a> {
    pub id: i32,
    /// Tagged fields that are not known here.
    pub unknown_tags: Tags<'a>,
}

impl<'a> Struct<'a> for Single<'a> {
    const BYTES_MIN: usize = 4;
    #[inline]
    fn read_fields(&mut self, r: &mut FieldReader<'a>, version: i16) {
        let flexible = version >= 3;
        self.id = r.i32();
        self.unknown_tags = r.unknown_tags(flexible);
    }
    #[inline]
    fn write_fields(&self, w: &mut Writer, version: i16) {
        let flexible = version >= 3;
        w.i32(self.id);
        w.unknown_tags(&self.unknown_tags, flexible, "Single.unknown_tags");
    }
}

/// What the schema says of the message.
pub static DESCRIPTOR: MessageDescriptor = MessageDescriptor {
    name: "Nullable",
    kind: Kind::Data,
    api_key: None,
    versions: Versions(0, 4),
    flexible: Versions(3, 4),
    structs: &[
        StructDescriptor {
            name: "Nullable",
            wire_bytes_min: 8,
            memory_bytes: size_of::<Nullable<'_>>(),
            fields: &[
                field("Never", One(Type::String), 0, 4),
                field("Always", One(Type::String), 0, 4)
                    .nullable(0, 4)
                    .default(DefaultValue::Null),
                field("EmptyNotNull", One(Type::Bytes), 0, 4).nullable(0, 4),
                field("NullLater", One(Type::String), 0, 4).nullable(2, 4),
                field("Rows", Many(Type::Struct(1)), 1, 4).nullable(2, 4),
                field("One", One(Type::Struct(2)), 2, 4)
                    .nullable(2, 4)
                    .default(DefaultValue::Null),
                field("Records", One(Type::Records), 0, 4).nullable(0, 4),
            ],
        },
        StructDescriptor {
            name: "Row",
            wire_bytes_min: 4,
            memory_bytes: size_of::<Row<'_>>(),
            fields: &[field("Id", One(Type::Int32), 1, 4)],
        },
        StructDescriptor {
            name: "Single",
            wire_bytes_min: 4,
            memory_bytes: size_of::<Single<'_>>(),
            fields: &[field("Id", One(Type::Int32), 2, 4)],
        },
    ],
    #[cfg(feature = "codec-table")]
    decode: |reader, version| crate::view::decode::<Nullable<'_>>(reader, version),
    #[cfg(feature = "codec-table")]
    recode: |bytes, version| crate::view::recode::<Nullable<'_>>(bytes, version),
};
