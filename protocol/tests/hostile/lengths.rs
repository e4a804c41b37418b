//! Where the lengths stand in the bytes of a valid message, found by nothing but the descriptors.

use protocol::view::{FieldDescriptor, MessageDescriptor, Shape, Type};

/// How a length is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    Int16,
    Int32,
    /// One more than the length; 0 for null.
    Compact,
    /// How many tagged fields follow, or the size of one.
    Tags,
    /// The marker before a nullable struct.
    Presence,
}

/// One length in the bytes of a message.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Length {
    pub(crate) at: usize,
    pub(crate) bytes: usize,
    pub(crate) form: Form,
}

impl Length {
    /// The message with this length written as `value`, in the same form; `None` if the form cannot say it.
    pub(crate) fn replaced(self, message: &[u8], value: i64) -> Option<Vec<u8>> {
        let length = match self.form {
            Form::Int16 => i16::try_from(value).ok()?.to_be_bytes().to_vec(),
            Form::Int32 => i32::try_from(value).ok()?.to_be_bytes().to_vec(),
            Form::Compact => uvarint(u32::try_from((value + 1).rem_euclid(1 << 32)).ok()?),
            Form::Tags => uvarint(u32::try_from(value.rem_euclid(1 << 32)).ok()?),
            Form::Presence => i8::try_from(value).ok()?.to_be_bytes().to_vec(),
        };
        let (before, rest) = message.split_at(self.at);
        Some([before, &length, &rest[self.bytes..]].concat())
    }

    /// The greatest value of the form.
    pub(crate) fn max(self) -> i64 {
        match self.form {
            Form::Int16 => i16::MAX.into(),
            Form::Int32 => i32::MAX.into(),
            Form::Compact => i64::from(u32::MAX) - 1,
            Form::Tags => u32::MAX.into(),
            Form::Presence => i8::MAX.into(),
        }
    }
}

fn uvarint(mut value: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value > 0x7f {
        bytes.push(u8::try_from(value & 0x7f).unwrap() | 0x80);
        value >>= 7;
    }
    bytes.push(u8::try_from(value).unwrap());
    bytes
}

/// All lengths of a valid message, in the order of its bytes.
pub(crate) fn find(message: &MessageDescriptor, version: i16, bytes: &[u8]) -> Vec<Length> {
    let mut walk = Walk {
        message,
        version,
        bytes,
        at: 0,
        found: Vec::new(),
    };
    walk.fields(0);
    assert_eq!(walk.at, bytes.len(), "{} {version}", message.name);
    walk.found
}

struct Walk<'m> {
    message: &'m MessageDescriptor,
    version: i16,
    bytes: &'m [u8],
    at: usize,
    found: Vec<Length>,
}

impl Walk<'_> {
    fn fields(&mut self, index: usize) {
        let (message, version) = (self.message, self.version);
        let fields = || {
            let fields = message.structs[index].fields.iter();
            fields.filter(|field| field.versions.contains(version))
        };
        let tag_of = |field: &FieldDescriptor| {
            let tagged = field.tagged.filter(|(_, in_)| in_.contains(version));
            tagged.map(|(tag, _)| tag)
        };
        for field in fields().filter(|field| tag_of(field).is_none()) {
            self.field(field, false);
        }
        if !message.flexible.contains(version) {
            return;
        }
        for _ in 0..self.uvarint(Form::Tags) {
            let tag = self.uvarint_value();
            let size = self.uvarint(Form::Tags);
            let end = self.at + usize::try_from(size).unwrap();
            if let Some(field) = fields().find(|field| tag_of(field) == Some(tag)) {
                self.field(field, true);
                assert_eq!(self.at, end, "{} {}", message.name, field.name);
            }
            self.at = end;
        }
    }

    fn field(&mut self, field: &FieldDescriptor, in_tag: bool) {
        let compact = self.message.flexible.contains(self.version) && !field.rigid;
        match field.shape {
            Shape::Many(of) => {
                let count = self.length(if compact { Form::Compact } else { Form::Int32 });
                for _ in 0..count.unwrap_or(0) {
                    self.value(of, compact);
                }
            }
            Shape::One(Type::Struct(index)) if field.nullable.contains(self.version) => {
                let marker = self.bytes[self.at];
                if in_tag {
                    self.uvarint(Form::Tags);
                } else {
                    self.push(1, Form::Presence);
                }
                if marker == 1 {
                    self.fields(index);
                }
            }
            Shape::One(of) => self.value(of, compact),
        }
    }

    fn value(&mut self, of: Type, compact: bool) {
        self.at += match of {
            Type::Bool | Type::Int8 => 1,
            Type::Int16 | Type::Uint16 => 2,
            Type::Int32 | Type::Uint32 => 4,
            Type::Int64 | Type::Float64 => 8,
            Type::Uuid => 16,
            Type::Struct(index) => {
                self.fields(index);
                0
            }
            Type::String | Type::Bytes | Type::Records => {
                let form = match of {
                    _ if compact => Form::Compact,
                    Type::String => Form::Int16,
                    _ => Form::Int32,
                };
                self.length(form).unwrap_or(0)
            }
        };
    }

    /// A length; `None` for null.
    fn length(&mut self, form: Form) -> Option<usize> {
        let here = &self.bytes[self.at..];
        let length = match form {
            Form::Int16 => {
                self.push(2, form);
                i64::from(i16::from_be_bytes(*here.first_chunk().unwrap()))
            }
            Form::Int32 => {
                self.push(4, form);
                i64::from(i32::from_be_bytes(*here.first_chunk().unwrap()))
            }
            _ => i64::from(self.uvarint(form)) - 1,
        };
        usize::try_from(length).ok()
    }

    fn uvarint(&mut self, form: Form) -> u32 {
        let at = self.at;
        let value = self.uvarint_value();
        let bytes = self.at - at;
        self.found.push(Length { at, bytes, form });
        value
    }

    fn uvarint_value(&mut self) -> u32 {
        let mut value = 0;
        for shift in (0..).step_by(7) {
            let byte = self.bytes[self.at];
            self.at += 1;
            value |= u32::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                break;
            }
        }
        value
    }

    fn push(&mut self, bytes: usize, form: Form) {
        let at = self.at;
        self.found.push(Length { at, bytes, form });
        self.at += bytes;
    }
}
