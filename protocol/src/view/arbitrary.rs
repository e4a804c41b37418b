//! Bytes of valid messages, made from arbitrary bytes.

use arbitrary::{Result, Unstructured};
use uuid::Uuid;

use super::descriptor::{
    DefaultValue, FieldDescriptor, MessageDescriptor, Shape, StructDescriptor, Type,
};
use super::sample::TAG_MAX;
use super::value::{Fields, Value};
use super::write;
use crate::wire::Tags;
use crate::wire::limits::STRING_BYTES_MAX;

/// The most elements of all arrays together, so that a message is within the memory budget of its reader.
const ELEMENTS_MAX: usize = 100;

/// The most elements of one array of structs, strings or bytes; and of numbers.
const LIST_MAX: usize = 4;
const RUN_MAX: usize = 9;

/// The most bytes of a text or of bytes, but for the few that are as long as can be.
const TEXT_BYTES_MAX: usize = 200;

/// The most long texts in a message.
const LONG_TEXTS_MAX: usize = 1;

/// The bytes of a message of this version as Kafka would write them: with nulls, empty and long values, extreme numbers and
/// unknown tagged fields. Without data every field that may be zero or empty is.
///
/// # Errors
/// None but those of `u`, which come from nothing that is used here.
pub fn arbitrary(
    message: &MessageDescriptor,
    version: i16,
    u: &mut Unstructured<'_>,
) -> Result<Vec<u8>> {
    let mut maker = Maker {
        message,
        version,
        u,
        elements_left: ELEMENTS_MAX,
        long_texts_left: LONG_TEXTS_MAX,
    };
    let fields = maker.fields(message.structure(0))?;
    Ok(write::message(message, version, &fields))
}

struct Maker<'m, 'u, 'b> {
    message: &'m MessageDescriptor,
    version: i16,
    u: &'u mut Unstructured<'b>,
    elements_left: usize,
    long_texts_left: usize,
}

impl<'m> Maker<'m, '_, '_> {
    fn fields(&mut self, of: &'m StructDescriptor) -> Result<Fields<'m>> {
        let mut values = Vec::new();
        for field in of.fields_of(self.version) {
            values.push((field, self.field(field)?));
        }
        let mut unknown = Tags::EMPTY;
        if self.message.flexible.contains(self.version) && self.one_in(4)? {
            for _ in 0..self.u.int_in_range(1..=3)? {
                let tag = if self.u.arbitrary()? {
                    self.u.int_in_range(0..=15)?
                } else {
                    self.u.int_in_range(0..=TAG_MAX)?
                };
                if of.tagged(tag, self.version).is_none() {
                    unknown.insert(tag, self.bytes()?);
                }
            }
        }
        Ok(Fields { values, unknown })
    }

    fn field(&mut self, field: &'m FieldDescriptor) -> Result<Value<'m>> {
        if field.nullable.contains(self.version) && self.one_in(4)? {
            return Ok(Value::Null);
        }
        let of = match field.shape {
            Shape::One(of) if self.one_in(8)? => return self.default(field, of),
            Shape::One(of) => return self.one(of),
            Shape::Many(of) => of,
        };
        let is_fixed = of.fixed_bytes().is_some();
        let most = if is_fixed { RUN_MAX } else { LIST_MAX };
        let count = self.u.int_in_range(0..=most.min(self.elements_left))?;
        self.elements_left -= count;
        let mut elements = Vec::new();
        for _ in 0..count {
            elements.push(self.one(of)?);
        }
        Ok(if is_fixed {
            Value::Run(of, write::run(of, &elements).into())
        } else {
            Value::List(elements)
        })
    }

    /// The default of a field, so far as it is a number or text that is not zero or empty.
    fn default(&mut self, field: &FieldDescriptor, of: Type) -> Result<Value<'m>> {
        match field.default {
            DefaultValue::Implicit | DefaultValue::Null => self.one(of),
            DefaultValue::True => Ok(Value::Bool(true)),
            DefaultValue::Int(number) => Ok(Value::Int(number)),
            DefaultValue::Float(number) => Ok(Value::Float(number)),
            DefaultValue::Text(text) => Ok(Value::Text(text.into())),
        }
    }

    fn one(&mut self, of: Type) -> Result<Value<'m>> {
        Ok(match of {
            Type::Bool => Value::Bool(self.u.arbitrary()?),
            Type::Int8 => self.int(i8::MIN.into(), i8::MAX.into())?,
            Type::Int16 => self.int(i16::MIN.into(), i16::MAX.into())?,
            Type::Uint16 => self.int(0, u16::MAX.into())?,
            Type::Int32 => self.int(i32::MIN.into(), i32::MAX.into())?,
            Type::Uint32 => self.int(0, u32::MAX.into())?,
            Type::Int64 => self.int(i64::MIN, i64::MAX)?,
            Type::Float64 => Value::Float(self.float()?),
            Type::Uuid => Value::Uuid(Uuid::from_u128(self.u.arbitrary()?)),
            Type::String => Value::Text(self.text()?.into()),
            Type::Bytes | Type::Records => Value::Bytes(self.bytes()?.into()),
            Type::Struct(index) => Value::Struct(self.fields(self.message.structure(index))?),
        })
    }

    /// Never without data.
    fn one_in(&mut self, count: u8) -> Result<bool> {
        Ok(self.u.int_in_range(1..=count)? == count)
    }

    fn int(&mut self, least: i64, greatest: i64) -> Result<Value<'m>> {
        let any = self.u.arbitrary::<i64>()?;
        let within = if (least..=greatest).contains(&any) {
            any
        } else {
            any.rem_euclid(greatest - least + 1) + least
        };
        let extremes = [within, within, 0, least, greatest, -1, 1, 127];
        let chosen = *self.u.choose(&extremes)?;
        Ok(Value::Int(chosen.clamp(least, greatest)))
    }

    fn float(&mut self) -> Result<f64> {
        let any = f64::from_bits(self.u.arbitrary()?);
        let extremes = [
            any,
            any,
            -0.0,
            f64::NAN,
            f64::INFINITY,
            f64::MIN,
            f64::MIN_POSITIVE,
        ];
        self.u.choose(&extremes).copied()
    }

    fn text(&mut self) -> Result<String> {
        if let Some(count) = self.long_text()? {
            return Ok("x".repeat(count));
        }
        let count = self.u.int_in_range(0..=TEXT_BYTES_MAX)?;
        let bytes = self.u.bytes(count.min(self.u.len()))?;
        let mut text = String::from_utf8_lossy(bytes).into_owned();
        text.truncate(text.floor_char_boundary(TEXT_BYTES_MAX));
        Ok(text)
    }

    fn bytes(&mut self) -> Result<Vec<u8>> {
        if let Some(count) = self.long_text()? {
            return Ok(vec![0x80; count]);
        }
        let count = self.u.int_in_range(0..=TEXT_BYTES_MAX)?;
        Ok(self.u.bytes(count.min(self.u.len()))?.to_vec())
    }

    /// Sometimes the size of a text that is as long as can be, or nearly.
    fn long_text(&mut self) -> Result<Option<usize>> {
        if self.long_texts_left == 0 || !self.one_in(64)? {
            return Ok(None);
        }
        self.long_texts_left -= 1;
        let sizes = [STRING_BYTES_MAX, STRING_BYTES_MAX - 1, 0x3fff, 0x3ffe];
        self.u.choose(&sizes).copied().map(Some)
    }
}
