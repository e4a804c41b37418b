use std::ops::RangeInclusive;
use crate::{ApiKey, Message, Request};
use crate::view::{Kind, MessageDescriptor, StructDescriptor, Versions};
use crate::wire::{FieldReader, Struct, Tags, Writer};

/// `MetadataRequest`, versions 0-1.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct MetadataRequest<'a> {
    /// Tagged fields that are not known here.
    pub unknown_tags: Tags<'a>,
}

impl<'a> Struct<'a> for MetadataRequest<'a> {
    const BYTES_MIN: usize = 0;
    #[inline]
    fn read_fields(&mut self, _r: &mut FieldReader<'a>, _version: i16) {}
    #[inline]
    fn write_fields(&self, w: &mut Writer, _version: i16) {
        w.unknown_tags(&self.unknown_tags, false, "unknown_tags");
    }
}

impl<'a> Message<'a> for MetadataRequest<'a> {
    const NAME: &'static str = "MetadataRequest";
    const VERSIONS: RangeInclusive<i16> = 0..=1;
    const FLEXIBLE: Option<i16> = None;
}

impl<'a> Request<'a> for MetadataRequest<'a> {
    const API_KEY: ApiKey = ApiKey::Metadata;
}

/// What the schema says of the message.
pub static DESCRIPTOR: MessageDescriptor = MessageDescriptor {
    name: "MetadataRequest",
    kind: Kind::Request,
    api_key: Some(ApiKey::Metadata),
    versions: Versions(0, 1),
    flexible: Versions(0, -1),
    structs: &[
        StructDescriptor {
            name: "MetadataRequest",
            wire_bytes_min: 0,
            memory_bytes: size_of::<MetadataRequest<'_>>(),
            fields: &[],
        },
    ],
    #[cfg(feature = "codec-table")]
    decode: |reader, version| crate::view::decode::<
        MetadataRequest<'_>,
    >(reader, version),
    #[cfg(feature = "codec-table")]
    recode: |bytes, version| crate::view::recode::<MetadataRequest<'_>>(bytes, version),
};
