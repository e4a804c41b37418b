use std::borrow::Cow;
use std::ops::RangeInclusive;
use crate::api::absent;
use crate::{EncodeError, Message};
use crate::view::{
    DefaultValue, Kind, Many, MessageDescriptor, One, StructDescriptor, Type, Versions,
    field,
};
use crate::wire::{FaultIn, FieldReader, Records, Tags, Writer, required};

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

impl<'a> Message<'a> for Nullable<'a> {
    const NAME: &'static str = "Nullable";
    const VERSIONS: RangeInclusive<i16> = 0..=4;
    const FLEXIBLE: Option<i16> = Some(3);
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
                r.nullable_array(
                    flexible,
                    4,
                    |it: &mut Row<'a>, r| it.read_fields(r, version),
                )
            } else {
                Some(
                    r
                        .array(
                            flexible,
                            4,
                            |it: &mut Row<'a>, r| it.read_fields(r, version),
                        ),
                )
            };
        }
        if version >= 2 {
            self.one = if r.presence() {
                let mut it = Single::default();
                it.read_fields(r, version);
                Some(it)
            } else {
                None
            };
        }
        self.records = r.nullable_records(flexible);
        if flexible {
            self.unknown_tags = r.unknown_tags();
        }
    }
    #[inline]
    fn write(&self, w: &mut Writer, version: i16) -> Result<(), EncodeError> {
        let flexible = version >= 3;
        w.string(&self.never, flexible).of("Nullable", "Never", version)?;
        w.nullable_string(self.always.as_deref(), flexible)
            .of("Nullable", "Always", version)?;
        w.nullable_bytes(self.empty_not_null.as_deref(), flexible)
            .of("Nullable", "EmptyNotNull", version)?;
        if version >= 2 {
            w.nullable_string(self.null_later.as_deref(), flexible)
                .of("Nullable", "NullLater", version)?;
        } else {
            required(self.null_later.as_deref())
                .and_then(|it| w.string(it, flexible))
                .of("Nullable", "NullLater", version)?;
        }
        if version >= 1 {
            if version >= 2 {
                w.array_length(self.rows.as_ref().map(Vec::len), flexible)
                    .of("Nullable", "Rows", version)?;
                for it in self.rows.iter().flatten() {
                    it.write(w, version)?;
                }
            } else {
                let list = required(self.rows.as_ref()).of("Nullable", "Rows", version)?;
                w.array_length(Some(list.len()), flexible)
                    .of("Nullable", "Rows", version)?;
                for it in list {
                    it.write(w, version)?;
                }
            }
        } else {
            absent(self.rows.as_ref().is_none_or(|it| !it.is_empty()))
                .of("Nullable", "Rows", version)?;
        }
        if version >= 2 {
            w.presence(self.one.is_some());
            if let Some(it) = &self.one {
                it.write(w, version)?;
            }
        } else {
            absent(self.one.is_some()).of("Nullable", "One", version)?;
        }
        w.nullable_records(&self.records, flexible).of("Nullable", "Records", version)?;
        if flexible {
            w.unknown_tags(&self.unknown_tags, "Nullable", version)?;
        } else {
            w.no_tags(&self.unknown_tags).of("Nullable", "unknown_tags", version)?;
        }
        Ok(())
    }
}

/// Part of [`Nullable`].
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Row<'a> {
    pub id: i32,
    /// Tagged fields that are not known here.
    pub unknown_tags: Tags<'a>,
}

impl<'a> Row<'a> {
    /// Reads the fields of `version` into a value that holds the defaults.
    #[inline]
    pub fn read_fields(&mut self, r: &mut FieldReader<'a>, version: i16) {
        let flexible = version >= 3;
        self.id = r.i32();
        if flexible {
            self.unknown_tags = r.unknown_tags();
        }
    }
    /// Writes the fields of `version`.
    #[inline]
    pub fn write(&self, w: &mut Writer, version: i16) -> Result<(), EncodeError> {
        let flexible = version >= 3;
        w.i32(self.id);
        if flexible {
            w.unknown_tags(&self.unknown_tags, "Nullable", version)?;
        } else {
            w.no_tags(&self.unknown_tags).of("Nullable", "Row.unknown_tags", version)?;
        }
        Ok(())
    }
}

/// Part of [`Nullable`].
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Single<'a> {
    pub id: i32,
    /// Tagged fields that are not known here.
    pub unknown_tags: Tags<'a>,
}

impl<'a> Single<'a> {
    /// Reads the fields of `version` into a value that holds the defaults.
    #[inline]
    pub fn read_fields(&mut self, r: &mut FieldReader<'a>, version: i16) {
        let flexible = version >= 3;
        self.id = r.i32();
        if flexible {
            self.unknown_tags = r.unknown_tags();
        }
    }
    /// Writes the fields of `version`.
    #[inline]
    pub fn write(&self, w: &mut Writer, version: i16) -> Result<(), EncodeError> {
        let flexible = version >= 3;
        w.i32(self.id);
        if flexible {
            w.unknown_tags(&self.unknown_tags, "Nullable", version)?;
        } else {
            w.no_tags(&self.unknown_tags)
                .of("Nullable", "Single.unknown_tags", version)?;
        }
        Ok(())
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
