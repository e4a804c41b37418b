//! The values of a message, in a form that serves every message. What is here has been checked: it can be written.

use std::borrow::Cow;

use uuid::Uuid;

use super::descriptor::{
    DefaultValue, FieldDescriptor, MessageDescriptor, Shape, StructDescriptor, Type,
};
use crate::wire::Tags;

/// The values of one struct.
#[derive(Debug)]
pub(super) struct Fields<'a> {
    /// Fields of the version, those that are not tagged in the order of the schema. A tagged one that holds its default may be
    /// left out.
    pub(super) values: Vec<(&'a FieldDescriptor, Value<'a>)>,
    pub(super) unknown: Tags<'a>,
}

/// One value.
#[derive(Debug)]
pub(super) enum Value<'a> {
    Null,
    Bool(bool),
    /// A whole number of any size.
    Int(i64),
    Float(f64),
    Uuid(Uuid),
    Text(Cow<'a, str>),
    /// Bytes or records.
    Bytes(Cow<'a, [u8]>),
    /// The elements of an array of this fixed-size type, in their wire form.
    Run(Type, Cow<'a, [u8]>),
    /// The elements of an array of any other type.
    List(Vec<Self>),
    Struct(Fields<'a>),
}

impl Fields<'_> {
    /// Whether the struct equals its default.
    pub(super) fn are_default(&self) -> bool {
        let all = self
            .values
            .iter()
            .all(|(field, value)| value.is_default(field));
        all && self.unknown.is_empty()
    }
}

impl Value<'_> {
    /// Whether a field that is absent would hold this value.
    pub(super) fn is_default(&self, field: &FieldDescriptor) -> bool {
        if field.is_null_by_default() {
            return matches!(self, Self::Null);
        }
        match self {
            Self::Null => false,
            Self::Bool(value) => *value == (field.default == DefaultValue::True),
            Self::Int(value) => *value == field.default_int(),
            Self::Float(value) => *value == field.default_float(),
            Self::Uuid(value) => value.is_nil(),
            Self::Text(text) => text == field.default_text(),
            Self::Bytes(bytes) | Self::Run(_, bytes) => bytes.is_empty(),
            Self::List(elements) => elements.is_empty(),
            Self::Struct(fields) => fields.are_default(),
        }
    }
}

impl FieldDescriptor {
    pub(super) fn is_null_by_default(&self) -> bool {
        let is_records = self.shape == Shape::One(Type::Records);
        match self.default {
            DefaultValue::Null => true,
            DefaultValue::Implicit => is_records,
            _ => false,
        }
    }

    pub(super) const fn default_int(&self) -> i64 {
        match self.default {
            DefaultValue::Int(number) => number,
            _ => 0,
        }
    }

    pub(super) const fn default_float(&self) -> f64 {
        match self.default {
            DefaultValue::Float(number) => number,
            _ => 0.0,
        }
    }

    pub(super) const fn default_text(&self) -> &'static str {
        match self.default {
            DefaultValue::Text(text) => text,
            _ => "",
        }
    }

    /// The tag of the field, if it is tagged in the version.
    pub(super) fn tag(&self, version: i16) -> Option<u32> {
        let (tag, versions) = self.tagged?;
        versions.contains(version).then_some(tag)
    }
}

impl StructDescriptor {
    /// The fields of a version.
    pub(super) fn fields_of(&self, version: i16) -> impl Iterator<Item = &FieldDescriptor> {
        let fields = self.fields.iter();
        fields.filter(move |field| field.versions.contains(version))
    }

    /// The field that has the tag in the version.
    pub(super) fn tagged(&self, tag: u32, version: i16) -> Option<&FieldDescriptor> {
        self.fields_of(version)
            .find(|field| field.tag(version) == Some(tag))
    }
}

/// What an index that no descriptor has stands for.
static NO_FIELDS: StructDescriptor = StructDescriptor {
    name: "",
    wire_bytes_min: 1,
    memory_bytes: 0,
    fields: &[],
};

impl MessageDescriptor {
    pub(super) fn structure(&self, index: usize) -> &StructDescriptor {
        self.structs.get(index).unwrap_or(&NO_FIELDS)
    }

    /// Whether lengths of the field are compact in the version.
    pub(super) fn is_compact(&self, field: &FieldDescriptor, version: i16) -> bool {
        self.flexible.contains(version) && !field.rigid
    }
}

impl Type {
    /// Bytes on the wire, if they are always the same.
    pub(super) const fn fixed_bytes(self) -> Option<usize> {
        match self {
            Self::Bool | Self::Int8 => Some(1),
            Self::Int16 | Self::Uint16 => Some(2),
            Self::Int32 | Self::Uint32 => Some(4),
            Self::Int64 | Self::Float64 => Some(8),
            Self::Uuid => Some(16),
            Self::String | Self::Bytes | Self::Records | Self::Struct(_) => None,
        }
    }
}
