use std::borrow::Cow;
use std::ops::RangeInclusive;
use crate::Message;
use crate::view::{
    Kind, Many, MessageDescriptor, One, StructDescriptor, Type, Versions, field,
};
use crate::wire::{FieldReader, Ints, Struct, Tags, Writer};

/// `Names`, versions 0.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Names<'a> {
    pub r#type: i8,
    pub r#match: Cow<'a, str>,
    pub version: i16,
    pub isr_nodes: Ints<'a, i32>,
    /// Tagged fields that are not known here.
    pub unknown_tags: Tags<'a>,
}

impl<'a> Struct<'a> for Names<'a> {
    const BYTES_MIN: usize = 6;
    #[inline]
    fn read_fields(&mut self, r: &mut FieldReader<'a>, _version: i16) {
        self.r#type = r.i8();
        self.r#match = r.string(true);
        self.version = r.i16();
        self.isr_nodes = r.ints(true);
        self.unknown_tags = r.unknown_tags(true);
    }
    #[inline]
    fn write_fields(&self, w: &mut Writer, _version: i16) {
        w.i8(self.r#type);
        w.string(&self.r#match, true, "match");
        w.i16(self.version);
        w.ints(&self.isr_nodes, true, "ISRNodes");
        w.unknown_tags(&self.unknown_tags, true, "unknown_tags");
    }
}

impl<'a> Message<'a> for Names<'a> {
    const NAME: &'static str = "Names";
    const VERSIONS: RangeInclusive<i16> = 0..=0;
    const FLEXIBLE: Option<i16> = Some(0);
}

/// What the schema says of the message.
pub static DESCRIPTOR: MessageDescriptor = MessageDescriptor {
    name: "Names",
    kind: Kind::Data,
    api_key: None,
    versions: Versions(0, 0),
    flexible: Versions(0, 0),
    structs: &[
        StructDescriptor {
            name: "Names",
            wire_bytes_min: 6,
            memory_bytes: size_of::<Names<'_>>(),
            fields: &[
                field("Type", One(Type::Int8), 0, 0),
                field("match", One(Type::String), 0, 0),
                field("Version", One(Type::Int16), 0, 0),
                field("ISRNodes", Many(Type::Int32), 0, 0),
            ],
        },
    ],
    #[cfg(feature = "codec-table")]
    decode: |reader, version| crate::view::decode::<Names<'_>>(reader, version),
    #[cfg(feature = "codec-table")]
    recode: |bytes, version| crate::view::recode::<Names<'_>>(bytes, version),
};
