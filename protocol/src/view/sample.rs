//! Bytes of valid messages, the same at every call, made from nothing but the descriptors.

use std::borrow::Cow;

use uuid::Uuid;

use super::descriptor::{
    DefaultValue, FieldDescriptor, MessageDescriptor, Shape, StructDescriptor, Type,
};
use super::value::{Fields, Value};
use super::write;
use crate::wire::Tags;
use crate::wire::limits::STRING_BYTES_MAX;

/// What a sample shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sample {
    /// Every field holds its default. Records that are null by default but not nullable are empty.
    Defaults,
    /// No field holds its default; every array has two elements.
    Filled,
    /// Every field that may be null is null; the others are filled, with one element.
    Nulls,
    /// As filled, and every struct has tagged fields that none of its versions knows.
    UnknownTags,
    /// The least and the greatest numbers in turn; texts and arrays that are empty, as long as one byte of a varint can
    /// say and one longer; and one text that is as long as can be.
    Extremes,
}

impl Sample {
    /// The kinds that are short enough to try every byte.
    pub const SHORT: [Self; 4] = [Self::Defaults, Self::Filled, Self::Nulls, Self::UnknownTags];

    /// All kinds of samples.
    pub const ALL: [Self; 5] = [
        Self::Defaults,
        Self::Filled,
        Self::Nulls,
        Self::UnknownTags,
        Self::Extremes,
    ];
}

/// The bytes of a message in one of its versions, and whether every field holds its default.
pub fn sample(message: &MessageDescriptor, version: i16, kind: Sample) -> (Vec<u8>, bool) {
    let mut sampler = Sampler {
        message,
        version,
        kind,
        made: 0,
        longest_is_due: true,
    };
    let fields = sampler.fields(message.structure(0));
    let bytes = write::message(message, version, &fields);
    (bytes, fields.are_default())
}

/// Every so many strings are longer than one byte of a varint can say.
const LONG_STRING_EVERY: u32 = 16;
const LONG_STRING_BYTES: usize = 130;

/// Lengths whose compact form, which is one more, is the last of one byte and the first of two, and the empty one.
const EXTREME_LENGTHS: [usize; 3] = [0, 126, 127];

/// The greatest tag that Kafka's own reader takes.
pub(super) const TAG_MAX: u32 = 0x7fff_fffe;

struct Sampler<'m> {
    message: &'m MessageDescriptor,
    version: i16,
    kind: Sample,
    /// Values made so far, so that no two are the same.
    made: u32,
    /// Whether the text that is as long as can be is still to be made.
    longest_is_due: bool,
}

impl<'m> Sampler<'m> {
    fn fields(&mut self, of: &'m StructDescriptor) -> Fields<'m> {
        let values = of
            .fields_of(self.version)
            .map(|field| (field, self.field(field)))
            .collect();
        let flexible = self.message.flexible.contains(self.version);
        let unknown = if flexible && self.kind == Sample::UnknownTags {
            self.unknown_tags(of)
        } else {
            Tags::EMPTY
        };
        Fields { values, unknown }
    }

    /// The first tags that are not known, one of no bytes among them, and the greatest tag.
    fn unknown_tags(&mut self, of: &StructDescriptor) -> Tags<'m> {
        let known: Vec<u32> = of
            .fields
            .iter()
            .filter_map(|it| Some(it.tagged?.0))
            .collect();
        let unknown = (0..).filter(|tag| !known.contains(tag));
        let mut tags = Tags::EMPTY;
        for tag in unknown.take(2).chain([TAG_MAX]) {
            let payload = if tag % 2 == 0 {
                self.text().into_bytes()
            } else {
                Vec::new()
            };
            tags.insert(tag, payload);
        }
        tags
    }

    fn field(&mut self, field: &FieldDescriptor) -> Value<'m> {
        let may_be_null = field.nullable.contains(self.version);
        let is_null = match self.kind {
            Sample::Defaults => may_be_null && field.is_null_by_default(),
            Sample::Nulls => may_be_null,
            Sample::Filled | Sample::UnknownTags | Sample::Extremes => false,
        };
        match field.shape {
            _ if is_null => Value::Null,
            Shape::Many(of) => self.array(field, of),
            Shape::One(of) => self.one(field, of),
        }
    }

    fn array(&mut self, field: &FieldDescriptor, of: Type) -> Value<'m> {
        let count = match self.kind {
            Sample::Defaults => 0,
            Sample::Nulls => 1,
            Sample::Filled | Sample::UnknownTags => 2,
            Sample::Extremes if matches!(of, Type::Struct(_)) => 1,
            Sample::Extremes => self.extreme_length(),
        };
        let elements: Vec<_> = (0..count).map(|_| self.one(field, of)).collect();
        match of.fixed_bytes() {
            Some(_) => Value::Run(of, write::run(of, &elements).into()),
            None => Value::List(elements),
        }
    }

    /// A value that is not null.
    fn one(&mut self, field: &FieldDescriptor, of: Type) -> Value<'m> {
        let is_default = self.kind == Sample::Defaults;
        match of {
            Type::Struct(index) => Value::Struct(self.fields(self.message.structure(index))),
            _ if self.kind == Sample::Extremes => self.extreme(of),
            Type::Bool => Value::Bool((field.default == DefaultValue::True) == is_default),
            Type::Float64 if is_default => Value::Float(field.default_float()),
            Type::Float64 => Value::Float(f64::from(self.next()) + 0.25),
            Type::Uuid if is_default => Value::Uuid(Uuid::nil()),
            Type::Uuid => Value::Uuid(Uuid::from_u128(self.next().into())),
            Type::String if is_default => Value::Text(field.default_text().into()),
            Type::String => Value::Text(self.text().into()),
            Type::Bytes | Type::Records if is_default => Value::Bytes(Cow::Borrowed(&[])),
            Type::Bytes | Type::Records => Value::Bytes(self.text().into_bytes().into()),
            _ if is_default => Value::Int(field.default_int()),
            _ => Value::Int(self.number(field.default_int())),
        }
    }

    fn extreme(&mut self, of: Type) -> Value<'m> {
        let least = self.next().is_multiple_of(2);
        let int = |(lowest, highest)| Value::Int(if least { lowest } else { highest });
        match of {
            Type::Bool => Value::Bool(least),
            Type::Int8 => int((i8::MIN.into(), i8::MAX.into())),
            Type::Int16 => int((i16::MIN.into(), i16::MAX.into())),
            Type::Uint16 => int((0, u16::MAX.into())),
            Type::Int32 => int((i32::MIN.into(), i32::MAX.into())),
            Type::Uint32 => int((0, u32::MAX.into())),
            Type::Float64 => Value::Float(if least { f64::MIN } else { f64::MAX }),
            Type::Uuid => Value::Uuid(if least { Uuid::nil() } else { Uuid::max() }),
            Type::String => Value::Text("x".repeat(self.text_length()).into()),
            Type::Bytes | Type::Records => Value::Bytes(vec![0xff; self.text_length()].into()),
            Type::Int64 | Type::Struct(_) => int((i64::MIN, i64::MAX)),
        }
    }

    fn text_length(&mut self) -> usize {
        if std::mem::take(&mut self.longest_is_due) {
            STRING_BYTES_MAX
        } else {
            self.extreme_length()
        }
    }

    fn extreme_length(&mut self) -> usize {
        let turn = self.next() as usize % EXTREME_LENGTHS.len();
        EXTREME_LENGTHS.get(turn).copied().unwrap_or_default()
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
