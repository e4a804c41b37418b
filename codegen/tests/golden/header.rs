use std::borrow::Cow;
use std::ops::RangeInclusive;
use crate::Message;
use crate::view::{Kind, MessageDescriptor, One, StructDescriptor, Type, Versions, field};
use crate::wire::{FieldReader, Struct, Tags, Writer};

/// `SmallHeader`, versions 0-2.
#[derive(Debug, Clone, PartialEq)]
pub struct SmallHeader<'a> {
    pub correlation_id: i32,
    /// Versions 1+. Nullable. Dropped where absent.
    pub client_id: Option<Cow<'a, str>>,
    /// Tagged fields that are not known here.
    pub unknown_tags: Tags<'a>,
}

impl Default for SmallHeader<'_> {
    #[inline]
    fn default() -> Self {
        Self {
            correlation_id: 0,
            client_id: Some(Cow::Borrowed("")),
            unknown_tags: Tags::EMPTY,
        }
    }
}

impl<'a> Struct<'a> for SmallHeader<'a> {
    const BYTES_MIN: usize = 4;
    #[inline]
    fn read_fields(&mut self, r: &mut FieldReader<'a>, version: i16) {
        let flexible = version >= 2;
        self.correlation_id = r.i32();
        if version >= 1 {
            self.client_id = r.nullable_string(false);
        }
        self.unknown_tags = r.unknown_tags(flexible);
    }
    #[inline]
    fn write_fields(&self, w: &mut Writer, version: i16) {
        let flexible = version >= 2;
        w.i32(self.correlation_id);
        if version >= 1 {
            w.nullable_string(self.client_id.as_deref(), false, "ClientId");
        }
        w.unknown_tags(&self.unknown_tags, flexible, "unknown_tags");
    }
}

impl<'a> Message<'a> for SmallHeader<'a> {
    const NAME: &'static str = "SmallHeader";
    const VERSIONS: RangeInclusive<i16> = 0..=2;
    const FLEXIBLE: Option<i16> = Some(2);
}

/// What the schema says of the message.
pub static DESCRIPTOR: MessageDescriptor = MessageDescriptor {
    name: "SmallHeader",
    kind: Kind::Header,
    api_key: None,
    versions: Versions(0, 2),
    flexible: Versions(2, 2),
    structs: &[
        StructDescriptor {
            name: "SmallHeader",
            wire_bytes_min: 4,
            memory_bytes: size_of::<SmallHeader<'_>>(),
            fields: &[
                field("CorrelationId", One(Type::Int32), 0, 2),
                field("ClientId", One(Type::String), 1, 2)
                    .nullable(1, 2)
                    .rigid()
                    .ignorable(),
            ],
        },
    ],
    #[cfg(feature = "codec-table")]
    decode: |reader, version| crate::view::decode::<SmallHeader<'_>>(reader, version),
    #[cfg(feature = "codec-table")]
    recode: |bytes, version| crate::view::recode::<SmallHeader<'_>>(bytes, version),
};
