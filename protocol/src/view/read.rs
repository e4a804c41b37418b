//! From bytes to values, by the descriptors, and where reading stopped if it failed.
//!
//! The limits are those of [`Reader`], so these bytes and no others are a message here and for the generated code.

use std::borrow::Cow;

use super::descriptor::{FieldDescriptor, MessageDescriptor, Shape, StructDescriptor, Type};
use super::value::{Fields, Value};
use crate::error::{DecodeError, DecodeErrorKind};
use crate::wire::{Reader, Tags};

/// A walk through the bytes of one message. After an error [`path`](Self::path) leads to what could not be read.
#[derive(Debug)]
pub(super) struct Walk<'a> {
    pub(super) message: &'a MessageDescriptor,
    version: i16,
    flexible: bool,
    pub(super) path: Vec<Step<'a>>,
}

/// From a struct to what it holds.
#[derive(Debug, Clone, Copy)]
pub(super) enum Step<'a> {
    Field(&'a FieldDescriptor),
    /// An element of the array before.
    Element(usize),
    /// Numbers and sizes of the tagged fields.
    Tags,
}

impl<'a> Walk<'a> {
    pub(super) fn new(message: &'a MessageDescriptor, version: i16) -> Self {
        Self {
            message,
            version,
            flexible: message.flexible.contains(version),
            path: Vec::new(),
        }
    }

    /// Reads the message and leaves what follows it in the reader.
    pub(super) fn read(&mut self, r: &mut Reader<'a>) -> Result<Fields<'a>, DecodeError> {
        if !self.message.versions.contains(self.version) {
            return Err(r.error(DecodeErrorKind::UnsupportedVersion));
        }
        self.fields(self.message.structure(0), r)
    }

    fn fields(
        &mut self,
        of: &'a StructDescriptor,
        r: &mut Reader<'a>,
    ) -> Result<Fields<'a>, DecodeError> {
        let mut values = Vec::new();
        for field in of.fields_of(self.version) {
            if field.tag(self.version).is_none() {
                self.path.push(Step::Field(field));
                values.push((field, self.field(field, false, r)?));
                self.path.pop();
            }
        }
        let unknown = if self.flexible {
            self.tags(of, &mut values, r)?
        } else {
            Tags::EMPTY
        };
        Ok(Fields { values, unknown })
    }

    fn tags(
        &mut self,
        of: &'a StructDescriptor,
        values: &mut Vec<(&'a FieldDescriptor, Value<'a>)>,
        r: &mut Reader<'a>,
    ) -> Result<Tags<'a>, DecodeError> {
        let depth = self.path.len();
        let mut in_payload = false;
        let unknown = r.tags(|tag, r| {
            self.path.truncate(depth);
            let Some(field) = of.tagged(tag, self.version) else {
                return Ok(false);
            };
            self.path.push(Step::Field(field));
            in_payload = true;
            let value = self.field(field, true, r)?;
            in_payload = false;
            values.retain(|(known, _)| known.tag(self.version) != Some(tag));
            if !value.is_default(field) {
                values.push((field, value));
            }
            Ok(true)
        });
        match unknown {
            Ok(_) => self.path.truncate(depth),
            Err(error) if in_payload || error.kind == DecodeErrorKind::TagSize => {}
            Err(_) => {
                self.path.truncate(depth);
                self.path.push(Step::Tags);
            }
        }
        unknown
    }

    fn field(
        &mut self,
        field: &'a FieldDescriptor,
        in_tag: bool,
        r: &mut Reader<'a>,
    ) -> Result<Value<'a>, DecodeError> {
        let compact = self.message.is_compact(field, self.version);
        let nullable = field.nullable.contains(self.version);
        let at = r.offset();
        let value = match field.shape {
            Shape::Many(of) => self.array(of, compact, r)?,
            Shape::One(Type::Struct(index)) => {
                let present = match (nullable, in_tag) {
                    (false, _) => true,
                    (true, false) => r.presence()?,
                    (true, true) => r.tagged_presence()?,
                };
                if present {
                    Value::Struct(self.fields(self.message.structure(index), r)?)
                } else {
                    Value::Null
                }
            }
            Shape::One(of) => one(of, compact, r)?,
        };
        match value {
            Value::Null if !nullable => Err(r.error_at(at, DecodeErrorKind::UnexpectedNull)),
            value => Ok(value),
        }
    }

    fn array(
        &mut self,
        of: Type,
        compact: bool,
        r: &mut Reader<'a>,
    ) -> Result<Value<'a>, DecodeError> {
        if let Some(bytes) = of.fixed_bytes() {
            let Some(count) = r.element_count(compact, bytes, 0)? else {
                return Ok(Value::Null);
            };
            let elements = r.take(count.saturating_mul(bytes))?;
            return Ok(Value::Run(of, Cow::Borrowed(elements)));
        }
        let (bytes_min, memory_bytes) = match of {
            Type::Struct(index) => {
                let of = self.message.structure(index);
                (of.wire_bytes_min, of.memory_bytes)
            }
            Type::String if !compact => (2, size_of::<Cow<'static, str>>()),
            _ => (1, size_of::<Cow<'static, [u8]>>()),
        };
        let Some(count) = r.element_count(compact, bytes_min, memory_bytes)? else {
            return Ok(Value::Null);
        };
        let mut elements = Vec::new();
        for index in 0..count {
            self.path.push(Step::Element(index));
            elements.push(self.element(of, compact, r)?);
            self.path.pop();
        }
        Ok(Value::List(elements))
    }

    fn element(
        &mut self,
        of: Type,
        compact: bool,
        r: &mut Reader<'a>,
    ) -> Result<Value<'a>, DecodeError> {
        if let Type::Struct(index) = of {
            let fields = self.fields(self.message.structure(index), r)?;
            return Ok(Value::Struct(fields));
        }
        let at = r.offset();
        match one(of, compact, r)? {
            Value::Null => Err(r.error_at(at, DecodeErrorKind::UnexpectedNull)),
            value => Ok(value),
        }
    }
}

/// A value that is neither an array nor a struct.
pub(super) fn one<'a>(
    of: Type,
    compact: bool,
    r: &mut Reader<'a>,
) -> Result<Value<'a>, DecodeError> {
    Ok(match of {
        Type::Bool => Value::Bool(r.bool()?),
        Type::Int8 => Value::Int(r.i8()?.into()),
        Type::Int16 => Value::Int(r.i16()?.into()),
        Type::Uint16 => Value::Int(r.u16()?.into()),
        Type::Int32 => Value::Int(r.i32()?.into()),
        Type::Uint32 => Value::Int(r.u32()?.into()),
        Type::Int64 => Value::Int(r.i64()?),
        Type::Float64 => Value::Float(r.f64()?),
        Type::Uuid => Value::Uuid(r.uuid()?),
        Type::String => r.nullable_string(compact)?.map_or(Value::Null, Value::Text),
        Type::Bytes | Type::Records | Type::Struct(_) => {
            r.nullable_bytes(compact)?.map_or(Value::Null, Value::Bytes)
        }
    })
}
