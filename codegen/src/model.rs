//! The checked form of the schemas, from which everything is emitted. Every range in it is clipped to the versions in
//! which its message, struct or field can stand, so nothing here contradicts anything else.

use crate::schema::Kind;
use crate::versions::Versions;

/// All messages, in the order of their names.
#[derive(Debug, Clone)]
pub struct Model {
    /// The messages.
    pub messages: Vec<Message>,
    /// One entry per API, in the order of the keys.
    pub apis: Vec<Api>,
}

/// A request and its response.
#[derive(Debug, Clone)]
pub struct Api {
    /// The number requests carry.
    pub key: i16,
    /// Kafka's name: that of the request without `Request`.
    pub name: String,
    /// Versions of the request, which are those of the response.
    pub versions: Versions,
    /// Whether the last version may still change.
    pub latest_version_unstable: bool,
    /// Header versions of the request, by ascending versions.
    pub request_headers: Vec<(Versions, i16)>,
    /// Header versions of the response, by ascending versions.
    pub response_headers: Vec<(Versions, i16)>,
}

/// One message: a top struct and those it uses.
#[derive(Debug, Clone)]
pub struct Message {
    /// Kafka's name, also of the top struct.
    pub name: String,
    /// Name of the Rust module.
    pub module: String,
    /// Its role.
    pub kind: Kind,
    /// Key and name of the API, for requests and responses.
    pub api: Option<(i16, String)>,
    /// The versions it has.
    pub versions: Versions,
    /// Those of them that carry tagged fields and compact lengths.
    pub flexible: Versions,
    /// The structs, the top struct first, users before the used.
    pub structs: Vec<Struct>,
}

/// One struct.
#[derive(Debug, Clone)]
pub struct Struct {
    /// Its Rust name, unique in its message.
    pub name: String,
    /// A range that covers all versions in which something uses it.
    pub versions: Versions,
    /// Its fields in wire order; those of no version are left out.
    pub fields: Vec<Field>,
    /// The least number of bytes it takes in any version.
    pub min_wire: usize,
}

/// One field.
#[derive(Debug, Clone)]
pub struct Field {
    /// Kafka's name.
    pub name: String,
    /// Rust's name.
    pub rust_name: String,
    /// What it holds.
    pub shape: Shape,
    /// Versions that have it.
    pub versions: Versions,
    /// Versions in which it may be null.
    pub nullable: Versions,
    /// Versions in which its lengths are compact.
    pub flexible: Versions,
    /// Its tag, and the last of [`versions`](Self::versions), in which it is tagged.
    pub tagged: Option<(u32, Versions)>,
    /// Its value where it is absent.
    pub default: DefaultValue,
    /// Whether a value that a version cannot carry is dropped silently.
    pub ignorable: bool,
}

impl Field {
    /// Versions in which the field stands in its place and not in the tagged section.
    #[must_use]
    pub fn positional(&self) -> Versions {
        self.tagged
            .map_or(self.versions, |(_, tagged)| self.versions.before(tagged))
    }

    /// Whether a version lets it be null.
    #[must_use]
    pub const fn is_optional(&self) -> bool {
        !self.nullable.is_empty()
    }
}

/// What a field holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shape {
    /// One value.
    One(Type),
    /// An array of values.
    Many(Type),
}

/// A type that is no array.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Type {
    /// One of the types of fixed size.
    Fixed(Fixed),
    /// UTF-8 of at most 32,767 bytes.
    String,
    /// Any bytes.
    Bytes,
    /// Record batches.
    Records,
    /// A struct of the same message, by its Rust name.
    Struct(String),
}

/// The types of fixed size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Fixed {
    Bool,
    Int8,
    Int16,
    Uint16,
    Int32,
    Uint32,
    Int64,
    Float64,
    Uuid,
}

impl Fixed {
    /// The type with this name in a schema.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Some(match name {
            "bool" => Self::Bool,
            "int8" => Self::Int8,
            "int16" => Self::Int16,
            "uint16" => Self::Uint16,
            "int32" => Self::Int32,
            "uint32" => Self::Uint32,
            "int64" => Self::Int64,
            "float64" => Self::Float64,
            "uuid" => Self::Uuid,
            _ => return None,
        })
    }

    /// Its name in a schema.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bool => "bool",
            Self::Int8 => "int8",
            Self::Int16 => "int16",
            Self::Uint16 => "uint16",
            Self::Int32 => "int32",
            Self::Uint32 => "uint32",
            Self::Int64 => "int64",
            Self::Float64 => "float64",
            Self::Uuid => "uuid",
        }
    }

    /// Bytes on the wire.
    #[must_use]
    pub const fn size(self) -> usize {
        match self {
            Self::Bool | Self::Int8 => 1,
            Self::Int16 | Self::Uint16 => 2,
            Self::Int32 | Self::Uint32 => 4,
            Self::Int64 | Self::Float64 => 8,
            Self::Uuid => 16,
        }
    }

    /// Least and greatest value, for the whole numbers.
    #[must_use]
    pub fn limits(self) -> Option<(i64, i64)> {
        Some(match self {
            Self::Int8 => (i8::MIN.into(), i8::MAX.into()),
            Self::Int16 => (i16::MIN.into(), i16::MAX.into()),
            Self::Uint16 => (0, u16::MAX.into()),
            Self::Int32 => (i32::MIN.into(), i32::MAX.into()),
            Self::Uint32 => (0, u32::MAX.into()),
            Self::Int64 => (i64::MIN, i64::MAX),
            Self::Bool | Self::Float64 | Self::Uuid => return None,
        })
    }
}

/// The value of a field that is absent.
#[derive(Debug, Clone, PartialEq)]
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
    Text(String),
}
