//! The form of the descriptors; their content is generated from `schemas/`.

use crate::api::ApiKey;
#[cfg(feature = "codec-table")]
use crate::error::DecodeError;
use crate::error::EncodeError;
#[cfg(feature = "codec-table")]
use crate::wire::Reader;

pub(crate) use Shape::{Many, One};

/// One message.
#[derive(Debug)]
pub struct MessageDescriptor {
    /// Kafka's name.
    pub name: &'static str,
    /// Its role.
    pub kind: Kind,
    /// The API of a request or response.
    pub api_key: Option<ApiKey>,
    /// The versions it has.
    pub versions: Versions,
    /// Those of them with tagged fields and compact lengths.
    pub flexible: Versions,
    /// Its structs, the top struct first.
    pub structs: &'static [StructDescriptor],
    /// Reads the message with the generated code, and drops it. What follows it is left in the reader.
    #[cfg(feature = "codec-table")]
    pub decode: fn(&mut Reader<'_>, i16) -> Result<(), DecodeError>,
    /// Reads the message from bytes and writes it again, with the generated code.
    #[cfg(feature = "codec-table")]
    pub recode: fn(&[u8], i16) -> Result<Recoded, DecodeError>,
}

/// The role of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Sent by a client, with an API key.
    Request,
    /// Sent by a server, with the API key of its request.
    Response,
    /// Precedes every request or response.
    Header,
    /// Stands inside records or other messages.
    Data,
}

/// One struct of a message.
#[derive(Debug)]
pub struct StructDescriptor {
    /// Kafka's name.
    pub name: &'static str,
    /// The fewest bytes it takes on the wire in any version.
    pub wire_bytes_min: usize,
    /// What it takes in memory, without what its fields point to.
    pub memory_bytes: usize,
    /// Its fields, in the order of the schema.
    pub fields: &'static [FieldDescriptor],
}

/// One field of a struct. Its ranges say nothing of versions in which the struct does not stand.
#[derive(Debug)]
pub struct FieldDescriptor {
    /// Kafka's name.
    pub name: &'static str,
    /// What it holds.
    pub shape: Shape,
    /// Versions that have it.
    pub versions: Versions,
    /// Versions in which it may be null.
    pub nullable: Versions,
    /// Whether its lengths keep their old form in flexible versions.
    pub rigid: bool,
    /// Its tag, and the versions in which it is tagged.
    pub tagged: Option<(u32, Versions)>,
    /// Whether a value that a version cannot carry is dropped silently.
    pub ignorable: bool,
    /// Its value where it is absent.
    pub default: DefaultValue,
}

/// One value or an array.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// One value.
    One(Type),
    /// An array of values.
    Many(Type),
}

/// A type that is no array, by Kafka's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are Kafka's")]
pub enum Type {
    Bool,
    Int8,
    Int16,
    Uint16,
    Int32,
    Uint32,
    Int64,
    Float64,
    Uuid,
    String,
    Bytes,
    Records,
    /// The struct at this index of the message.
    Struct(usize),
}

/// The value of a field that is absent.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum DefaultValue {
    /// That of the type: zero, false, empty, and null for records.
    Implicit,
    /// Null.
    Null,
    /// True.
    True,
    /// A whole number other than zero.
    Int(i64),
    /// A number other than zero.
    Float(f64),
    /// A text that is not empty.
    Text(&'static str),
}

/// The first and the last version of a range; the last is below the first if there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Versions(pub i16, pub i16);

impl Versions {
    /// Whether the version lies in the range.
    pub const fn contains(self, version: i16) -> bool {
        self.0 <= version && version <= self.1
    }

    /// Each version in turn.
    pub fn iter(self) -> impl Iterator<Item = i16> {
        self.0..=self.1
    }
}

/// What became of bytes that were read as a message and written again.
#[derive(Debug)]
pub struct Recoded {
    /// The bytes that were written.
    pub bytes: Result<Vec<u8>, EncodeError>,
    /// Whether the message equals its default.
    pub is_default: bool,
    /// How many bytes were left after the message.
    pub left: usize,
}

/// A field that is in its place, never null, and has the default of its type.
pub(crate) const fn field(
    name: &'static str,
    shape: Shape,
    lowest: i16,
    highest: i16,
) -> FieldDescriptor {
    FieldDescriptor {
        name,
        shape,
        versions: Versions(lowest, highest),
        nullable: Versions(0, -1),
        rigid: false,
        tagged: None,
        ignorable: false,
        default: DefaultValue::Implicit,
    }
}

impl FieldDescriptor {
    pub(crate) const fn nullable(mut self, lowest: i16, highest: i16) -> Self {
        self.nullable = Versions(lowest, highest);
        self
    }

    pub(crate) const fn rigid(mut self) -> Self {
        self.rigid = true;
        self
    }

    pub(crate) const fn tagged(mut self, tag: u32, lowest: i16, highest: i16) -> Self {
        self.tagged = Some((tag, Versions(lowest, highest)));
        self
    }

    pub(crate) const fn ignorable(mut self) -> Self {
        self.ignorable = true;
        self
    }

    pub(crate) const fn default(mut self, default: DefaultValue) -> Self {
        self.default = default;
        self
    }
}
