//! From values to bytes, by the descriptors and with nothing of what the generated code writes with.

use super::descriptor::{FieldDescriptor, MessageDescriptor, Shape, Type};
use super::value::{Fields, Value};

/// The bytes of the message.
pub(super) fn message(message: &MessageDescriptor, version: i16, fields: &Fields<'_>) -> Vec<u8> {
    let mut to = Vec::new();
    Put { message, version }.fields(fields, &mut to);
    to
}

/// The wire form of the elements of an array of a fixed-size type.
pub(super) fn run(of: Type, elements: &[Value<'_>]) -> Vec<u8> {
    let mut to = Vec::new();
    elements
        .iter()
        .for_each(|element| put_fixed(of, element, &mut to));
    to
}

#[derive(Debug)]
struct Put<'m> {
    message: &'m MessageDescriptor,
    version: i16,
}

impl Put<'_> {
    fn fields(&self, fields: &Fields<'_>, to: &mut Vec<u8>) {
        let mut tagged: Vec<(u32, Vec<u8>)> = Vec::new();
        for (field, value) in &fields.values {
            match field.tag(self.version) {
                None => self.field(field, value, false, to),
                Some(_) if value.is_default(field) => {}
                Some(tag) => {
                    let mut payload = Vec::new();
                    self.field(field, value, true, &mut payload);
                    tagged.push((tag, payload));
                }
            }
        }
        if !self.message.flexible.contains(self.version) {
            return;
        }
        let unknown = fields.unknown.iter();
        tagged.extend(unknown.map(|(tag, payload)| (tag, payload.to_vec())));
        tagged.sort_by_key(|(tag, _)| *tag);
        put_uvarint(tagged.len(), to);
        for (tag, payload) in tagged {
            put_uvarint(tag as usize, to);
            put_uvarint(payload.len(), to);
            to.extend(payload);
        }
    }

    fn field(&self, field: &FieldDescriptor, value: &Value<'_>, in_tag: bool, to: &mut Vec<u8>) {
        let compact = self.message.is_compact(field, self.version);
        if matches!(value, Value::Null) {
            return put_null(field.shape, compact, in_tag, to);
        }
        let is_struct = matches!(field.shape, Shape::One(Type::Struct(_)));
        if is_struct && field.nullable.contains(self.version) {
            to.push(1);
        }
        let (Shape::One(of) | Shape::Many(of)) = field.shape;
        self.value(of, value, compact, to);
    }

    /// A value that is not null; of a struct the fields alone.
    fn value(&self, of: Type, value: &Value<'_>, compact: bool, to: &mut Vec<u8>) {
        match value {
            Value::Text(text) => {
                if compact {
                    put_uvarint(text.len() + 1, to);
                } else {
                    to.extend(text.len().to_be_bytes().iter().skip(6));
                }
                to.extend(text.bytes());
            }
            Value::Bytes(bytes) => {
                put_length(bytes.len(), compact, to);
                to.extend(bytes.iter());
            }
            Value::Run(of, bytes) => {
                put_length(bytes.len() / of.fixed_bytes().unwrap_or(1), compact, to);
                to.extend(bytes.iter());
            }
            Value::List(elements) => {
                put_length(elements.len(), compact, to);
                for element in elements {
                    self.value(of, element, compact, to);
                }
            }
            Value::Struct(fields) => self.fields(fields, to),
            fixed => put_fixed(of, fixed, to),
        }
    }
}

/// A value of a fixed-size type.
fn put_fixed(of: Type, value: &Value<'_>, to: &mut Vec<u8>) {
    match value {
        Value::Bool(value) => to.push(u8::from(*value)),
        Value::Int(number) => put_int(*number, of.fixed_bytes().unwrap_or(8), to),
        Value::Float(number) => to.extend(number.to_be_bytes()),
        Value::Uuid(uuid) => to.extend(uuid.as_bytes()),
        _ => {}
    }
}

/// The last `bytes` bytes of the big-endian number, which is its value if it fits.
fn put_int(number: i64, bytes: usize, to: &mut Vec<u8>) {
    to.extend(number.to_be_bytes().iter().skip(8 - bytes));
}

fn put_uvarint(mut number: usize, to: &mut Vec<u8>) {
    while number > 0x7f {
        to.push(number.to_be_bytes().last().copied().unwrap_or_default() | 0x80);
        number >>= 7;
    }
    to.extend(number.to_be_bytes().last());
}

fn put_length(length: usize, compact: bool, to: &mut Vec<u8>) {
    if compact {
        put_uvarint(length + 1, to);
    } else {
        to.extend(length.to_be_bytes().iter().skip(4));
    }
}

fn put_null(shape: Shape, compact: bool, in_tag: bool, to: &mut Vec<u8>) {
    match shape {
        Shape::One(Type::Struct(_)) if in_tag => to.push(0),
        Shape::One(Type::Struct(_)) => to.push(0xff),
        _ if compact => to.push(0),
        Shape::One(Type::String) => put_int(-1, 2, to),
        _ => put_int(-1, 4, to),
    }
}
