//! Bytes of valid messages, made from nothing but the descriptors.

use super::descriptor::{
    DefaultValue, FieldDescriptor, MessageDescriptor, Shape, StructDescriptor, Type,
};

/// What a sample shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sample {
    /// Every field holds its default. Records that are null by default but not nullable are empty.
    Defaults,
    /// No field holds its default; every array has two elements.
    Filled,
    /// Every field that may be null is null; the others are filled, with one element.
    Nulls,
    /// As filled, and every struct has tagged fields that its version does not know.
    UnknownTags,
}

impl Sample {
    /// All kinds of samples.
    pub const ALL: [Self; 4] = [Self::Defaults, Self::Filled, Self::Nulls, Self::UnknownTags];
}

/// The bytes of a message in one of its versions, and whether every field holds its default.
pub fn sample(message: &MessageDescriptor, version: i16, kind: Sample) -> (Vec<u8>, bool) {
    let mut sampler = Sampler {
        message,
        version,
        kind,
        made: 0,
    };
    let mut bytes = Vec::new();
    let is_default = message
        .structs
        .first()
        .is_none_or(|top| sampler.fields(top, &mut bytes));
    (bytes, is_default)
}

/// Every so many strings are longer than one byte of a varint can say.
const LONG_STRING_EVERY: u32 = 16;
const LONG_STRING_BYTES: usize = 130;

/// The greatest tag that Kafka's own reader takes.
const TAG_MAX: u32 = 0x7fff_fffe;

struct Sampler<'m> {
    message: &'m MessageDescriptor,
    version: i16,
    kind: Sample,
    /// Values made so far, so that no two are the same.
    made: u32,
}

/// Methods that write a value say whether it is the default.
impl Sampler<'_> {
    fn fields(&mut self, of: &StructDescriptor, to: &mut Vec<u8>) -> bool {
        let version = self.version;
        let mut all_default = true;
        let mut tagged = Vec::new();
        for field in of
            .fields
            .iter()
            .filter(|field| field.versions.contains(version))
        {
            match field.tagged {
                Some((tag, versions)) if versions.contains(version) => {
                    let mut payload = Vec::new();
                    if !self.field(field, true, &mut payload) {
                        tagged.push((tag, payload));
                        all_default = false;
                    }
                }
                _ => all_default &= self.field(field, false, to),
            }
        }
        if !self.message.flexible.contains(version) {
            return all_default;
        }
        if self.kind == Sample::UnknownTags {
            self.add_unknown_tags(of, &mut tagged);
            all_default = false;
        }
        tagged.sort_by_key(|(tag, _)| *tag);
        put_uvarint(tagged.len(), to);
        for (tag, payload) in tagged {
            put_uvarint(tag as usize, to);
            put_uvarint(payload.len(), to);
            to.extend(payload);
        }
        all_default
    }

    /// Adds the first tags that are not known in the version, one of no bytes among them, and the greatest tag.
    fn add_unknown_tags(&mut self, of: &StructDescriptor, tagged: &mut Vec<(u32, Vec<u8>)>) {
        let version = self.version;
        let is_known = |tag: &u32| {
            let ranges = of.fields.iter().filter_map(|field| field.tagged);
            ranges
                .filter(|(known, _)| known == tag)
                .any(|(_, versions)| versions.contains(version))
        };
        let unknown: Vec<u32> = (0..).filter(|tag| !is_known(tag)).take(2).collect();
        for tag in unknown.into_iter().chain([TAG_MAX]) {
            let payload = if tag % 2 == 0 {
                self.text().into_bytes()
            } else {
                Vec::new()
            };
            tagged.push((tag, payload));
        }
    }

    fn field(&mut self, field: &FieldDescriptor, in_tag: bool, to: &mut Vec<u8>) -> bool {
        let may_be_null = field.nullable.contains(self.version);
        let is_records = field.shape == Shape::One(Type::Records);
        let null_by_default = match field.default {
            DefaultValue::Null => true,
            DefaultValue::Implicit => is_records,
            _ => false,
        };
        let is_null = match self.kind {
            Sample::Defaults => null_by_default && may_be_null,
            Sample::Nulls => may_be_null,
            Sample::Filled | Sample::UnknownTags => false,
        };
        let compact = self.message.flexible.contains(self.version) && !field.rigid;
        if is_null {
            put_null(field.shape, compact, in_tag, to);
            return null_by_default;
        }
        let is_default = match field.shape {
            Shape::Many(of) => self.array(field, of, compact, to),
            Shape::One(Type::Struct(index)) => {
                if may_be_null {
                    to.push(1);
                }
                self.struct_at(index, to)
            }
            Shape::One(of) => self.value(field, of, compact, to),
        };
        is_default && !null_by_default
    }

    fn struct_at(&mut self, index: usize, to: &mut Vec<u8>) -> bool {
        let of = self.message.structs.get(index);
        of.is_none_or(|of| self.fields(of, to))
    }

    fn array(
        &mut self,
        field: &FieldDescriptor,
        of: Type,
        compact: bool,
        to: &mut Vec<u8>,
    ) -> bool {
        let count = match self.kind {
            Sample::Defaults => 0,
            Sample::Nulls => 1,
            Sample::Filled | Sample::UnknownTags => 2,
        };
        put_length(count, compact, to);
        for _ in 0..count {
            if let Type::Struct(index) = of {
                self.struct_at(index, to);
            } else {
                self.value(field, of, compact, to);
            }
        }
        count == 0
    }

    /// A value that is neither null nor a struct.
    fn value(
        &mut self,
        field: &FieldDescriptor,
        of: Type,
        compact: bool,
        to: &mut Vec<u8>,
    ) -> bool {
        let is_default = self.kind == Sample::Defaults;
        match of {
            Type::Bool => {
                let default = field.default == DefaultValue::True;
                to.push(u8::from(default == is_default));
            }
            Type::Float64 => {
                let default = match field.default {
                    DefaultValue::Float(number) => number,
                    _ => 0.0,
                };
                let number = if is_default {
                    default
                } else {
                    f64::from(self.next()) + 0.25
                };
                to.extend(number.to_be_bytes());
            }
            Type::Uuid => {
                let number = if is_default { 0 } else { self.next() };
                to.extend([0; 12]);
                to.extend(number.to_be_bytes());
            }
            Type::String => {
                let text = match field.default {
                    _ if !is_default => self.text(),
                    DefaultValue::Text(text) => text.to_owned(),
                    _ => String::new(),
                };
                put_string_length(text.len(), compact, to);
                to.extend(text.bytes());
            }
            Type::Bytes | Type::Records => {
                let text = if is_default {
                    String::new()
                } else {
                    self.text()
                };
                put_length(text.len(), compact, to);
                to.extend(text.bytes());
            }
            _ => {
                let default = match field.default {
                    DefaultValue::Int(number) => number,
                    _ => 0,
                };
                let number = if is_default {
                    default
                } else {
                    self.number(default)
                };
                put_int(number, int_bytes(of), to);
            }
        }
        is_default
    }

    fn next(&mut self) -> u32 {
        self.made += 1;
        self.made
    }

    /// A small whole number that is not the default.
    fn number(&mut self, default: i64) -> i64 {
        let number = i64::from(self.next() % 126) + 1;
        if number == default { 127 } else { number }
    }

    fn text(&mut self) -> String {
        let made = self.next();
        let mut text = format!("é{made}");
        if made.is_multiple_of(LONG_STRING_EVERY) {
            text.extend(std::iter::repeat_n('x', LONG_STRING_BYTES));
        }
        text
    }
}

/// How many bytes a whole number takes.
const fn int_bytes(of: Type) -> usize {
    match of {
        Type::Int8 => 1,
        Type::Int16 | Type::Uint16 => 2,
        Type::Int32 | Type::Uint32 => 4,
        _ => 8,
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

fn put_string_length(length: usize, compact: bool, to: &mut Vec<u8>) {
    if compact {
        put_uvarint(length + 1, to);
    } else {
        to.extend(length.to_be_bytes().iter().skip(6));
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
