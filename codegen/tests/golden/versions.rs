use std::borrow::Cow;
use std::ops::RangeInclusive;
use crate::Message;
use crate::view::{
    DefaultValue, Kind, Many, MessageDescriptor, One, StructDescriptor, Type, Versions,
    field,
};
use crate::wire::{FieldReader, Ints, Struct, Tags, Writer};

/// `Versions2`, versions 1-6.
#[derive(Debug, Clone, PartialEq)]
pub struct Versions2<'a> {
    pub always: i32,
    /// Versions 3+.
    pub since: i32,
    /// Versions 3+.
    pub since_too: i64,
    /// Versions 3+. Dropped where absent.
    pub since_dropped: i16,
    /// Versions 1-2.
    pub until: Cow<'a, str>,
    /// Versions 2-4. Dropped where absent.
    pub between: bool,
    /// Versions 5.
    pub once: Ints<'a, i32>,
    /// Tagged fields that are not known here.
    pub unknown_tags: Tags<'a>,
}

impl Default for Versions2<'_> {
    #[inline]
    fn default() -> Self {
        Self {
            always: 0,
            since: 0,
            since_too: -1,
            since_dropped: 0,
            until: Cow::Borrowed("x"),
            between: false,
            once: Ints::EMPTY,
            unknown_tags: Tags::EMPTY,
        }
    }
}

impl<'a> Struct<'a> for Versions2<'a> {
    const BYTES_MIN: usize = 6;
    #[inline]
    fn read_fields(&mut self, r: &mut FieldReader<'a>, version: i16) {
        self.always = r.i32();
        if version >= 3 {
            (self.since, self.since_too, self.since_dropped) = r.run();
        }
        if version <= 2 {
            self.until = r.string(false);
        }
        if (2..=4).contains(&version) {
            self.between = r.bool();
        }
        if version == 5 {
            self.once = r.ints(false);
        }
    }
    #[inline]
    fn write_fields(&self, w: &mut Writer, version: i16) {
        w.i32(self.always);
        if version >= 3 {
            w.run((self.since, self.since_too, self.since_dropped));
        } else {
            w.absent(self.since != 0, "Since");
            w.absent(self.since_too != -1, "SinceToo");
        }
        if version <= 2 {
            w.string(&self.until, false, "Until");
        } else {
            w.absent(self.until != "x", "Until");
        }
        if (2..=4).contains(&version) {
            w.bool(self.between);
        }
        if version == 5 {
            w.ints(&self.once, false, "Once");
        } else {
            w.absent(!self.once.is_empty(), "Once");
        }
        w.unknown_tags(&self.unknown_tags, false, "unknown_tags");
    }
}

impl<'a> Message<'a> for Versions2<'a> {
    const NAME: &'static str = "Versions2";
    const VERSIONS: RangeInclusive<i16> = 1..=6;
    const FLEXIBLE: Option<i16> = None;
}

/// What the schema says of the message.
pub static DESCRIPTOR: MessageDescriptor = MessageDescriptor {
    name: "Versions2",
    kind: Kind::Data,
    api_key: None,
    versions: Versions(1, 6),
    flexible: Versions(0, -1),
    structs: &[
        StructDescriptor {
            name: "Versions2",
            wire_bytes_min: 6,
            memory_bytes: size_of::<Versions2<'_>>(),
            fields: &[
                field("Always", One(Type::Int32), 1, 6),
                field("Since", One(Type::Int32), 3, 6),
                field("SinceToo", One(Type::Int64), 3, 6).default(DefaultValue::Int(-1)),
                field("SinceDropped", One(Type::Int16), 3, 6).ignorable(),
                field("Until", One(Type::String), 1, 2).default(DefaultValue::Text("x")),
                field("Between", One(Type::Bool), 2, 4).ignorable(),
                field("Once", Many(Type::Int32), 5, 5),
            ],
        },
    ],
    #[cfg(feature = "codec-table")]
    decode: |reader, version| crate::view::decode::<Versions2<'_>>(reader, version),
    #[cfg(feature = "codec-table")]
    recode: |bytes, version| crate::view::recode::<Versions2<'_>>(bytes, version),
};
