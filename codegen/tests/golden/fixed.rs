use std::ops::RangeInclusive;
use uuid::Uuid;
use crate::Message;
use crate::view::{
    DefaultValue, Kind, MessageDescriptor, One, StructDescriptor, Type, Versions, field,
};
use crate::wire::{FieldReader, Struct, Tags, Writer};

/// `Fixed`, versions 0.
#[derive(Debug, Clone, PartialEq)]
pub struct Fixed<'a> {
    pub flag: bool,
    pub small: i8,
    pub short: i16,
    pub port: u16,
    pub id: i32,
    pub mask: u32,
    pub offset: i64,
    pub share: f64,
    pub topic_id: Uuid,
    /// Tagged fields that are not known here.
    pub unknown_tags: Tags<'a>,
}

impl Default for Fixed<'_> {
    #[inline]
    fn default() -> Self {
        Self {
            flag: true,
            small: -1,
            short: 0,
            port: 0,
            id: -2147483648,
            mask: 255,
            offset: 9223372036854775807,
            share: 0.5,
            topic_id: Uuid::nil(),
            unknown_tags: Tags::EMPTY,
        }
    }
}

impl<'a> Struct<'a> for Fixed<'a> {
    const BYTES_MIN: usize = 46;
    #[inline]
    fn read_fields(&mut self, r: &mut FieldReader<'a>, _version: i16) {
        (
            self.flag,
            self.small,
            self.short,
            self.port,
            self.id,
            self.mask,
            self.offset,
            self.share,
            self.topic_id,
        ) = r.run();
    }
    #[inline]
    fn write_fields(&self, w: &mut Writer, _version: i16) {
        w.run((
            self.flag,
            self.small,
            self.short,
            self.port,
            self.id,
            self.mask,
            self.offset,
            self.share,
            self.topic_id,
        ));
        w.unknown_tags(&self.unknown_tags, false, "unknown_tags");
    }
}

impl<'a> Message<'a> for Fixed<'a> {
    const NAME: &'static str = "Fixed";
    const VERSIONS: RangeInclusive<i16> = 0..=0;
    const FLEXIBLE: Option<i16> = None;
}

/// What the schema says of the message.
pub static DESCRIPTOR: MessageDescriptor = MessageDescriptor {
    name: "Fixed",
    kind: Kind::Data,
    api_key: None,
    versions: Versions(0, 0),
    flexible: Versions(0, -1),
    structs: &[
        StructDescriptor {
            name: "Fixed",
            wire_bytes_min: 46,
            memory_bytes: size_of::<Fixed<'_>>(),
            fields: &[
                field("Flag", One(Type::Bool), 0, 0).default(DefaultValue::True),
                field("Small", One(Type::Int8), 0, 0).default(DefaultValue::Int(-1)),
                field("Short", One(Type::Int16), 0, 0),
                field("Port", One(Type::Uint16), 0, 0),
                field("Id", One(Type::Int32), 0, 0)
                    .default(DefaultValue::Int(-2147483648)),
                field("Mask", One(Type::Uint32), 0, 0).default(DefaultValue::Int(255)),
                field("Offset", One(Type::Int64), 0, 0)
                    .default(DefaultValue::Int(9223372036854775807)),
                field("Share", One(Type::Float64), 0, 0)
                    .default(DefaultValue::Float(0.5)),
                field("TopicId", One(Type::Uuid), 0, 0),
            ],
        },
    ],
    #[cfg(feature = "codec-table")]
    decode: |reader, version| crate::view::decode::<Fixed<'_>>(reader, version),
    #[cfg(feature = "codec-table")]
    recode: |bytes, version| crate::view::recode::<Fixed<'_>>(bytes, version),
};
