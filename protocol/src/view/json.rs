//! Values as JSON, in the shape of Kafka's `…JsonConverter` classes.

use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use base64::{Engine as _, display::Base64Display};
use serde::ser::{Serialize, SerializeMap, SerializeSeq, Serializer};
use uuid::Uuid;

use super::descriptor::Type;
use super::read::one;
use super::value::{Fields, Value};
use crate::wire::{Reader, Tags};

/// The key of tagged fields that are not known, which Kafka's converters drop. It is no name of a field.
pub(super) const UNKNOWN_TAGS_KEY: &str = "_unknownTaggedFields";

/// The bits of the only NaN that is written as `"NaN"`; others have their bits behind it.
pub(super) const NAN_BITS: u64 = 0x7ff8_0000_0000_0000;

/// Kafka's name of a field as a key: it begins with a small letter.
pub(super) fn key(name: &str) -> String {
    let mut letters = name.chars();
    let first = letters.next().map(|first| first.to_ascii_lowercase());
    first.into_iter().chain(letters).collect()
}

/// A uuid as Kafka writes it.
pub(super) fn uuid_text(uuid: Uuid) -> String {
    URL_SAFE_NO_PAD.encode(uuid.as_bytes())
}

impl Serialize for Fields<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut map = to.serialize_map(None)?;
        for (field, value) in &self.values {
            map.serialize_entry(&key(field.name), value)?;
        }
        if !self.unknown.is_empty() {
            map.serialize_entry(UNKNOWN_TAGS_KEY, &Unknown(&self.unknown))?;
        }
        map.end()
    }
}

impl Serialize for Value<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => to.serialize_unit(),
            Self::Bool(value) => to.serialize_bool(*value),
            Self::Int(number) => to.serialize_i64(*number),
            Self::Float(number) => float(*number, to),
            Self::Uuid(uuid) => to.serialize_str(&uuid_text(*uuid)),
            Self::Text(text) => to.serialize_str(text),
            Self::Bytes(bytes) => base64(bytes, to),
            Self::Run(of, bytes) => run(*of, bytes, to),
            Self::List(elements) => to.collect_seq(elements),
            Self::Struct(fields) => fields.serialize(to),
        }
    }
}

fn base64<S: Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(&Base64Display::new(bytes, &STANDARD))
}

fn float<S: Serializer>(number: f64, to: S) -> Result<S::Ok, S::Error> {
    if number.is_finite() {
        return to.serialize_f64(number);
    }
    if number.is_infinite() {
        let sign = if number < 0.0 { "-" } else { "" };
        return to.collect_str(&format_args!("{sign}Infinity"));
    }
    match number.to_bits() {
        NAN_BITS => to.serialize_str("NaN"),
        bits => to.collect_str(&format_args!("NaN:{bits:016x}")),
    }
}

fn run<S: Serializer>(of: Type, bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
    let mut elements = to.serialize_seq(None)?;
    let mut reader = Reader::new(bytes);
    while !reader.remaining().is_empty() {
        let element = one(of, false, &mut reader);
        let element = element.map_err(serde::ser::Error::custom)?;
        elements.serialize_element(&element)?;
    }
    elements.end()
}

struct Unknown<'v>(&'v Tags<'v>);

impl Serialize for Unknown<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(self.0.iter().map(|(tag, data)| UnknownTag { tag, data }))
    }
}

struct UnknownTag<'v> {
    tag: u32,
    data: &'v [u8],
}

impl Serialize for UnknownTag<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut map = to.serialize_map(Some(2))?;
        map.serialize_entry("tag", &self.tag)?;
        map.serialize_entry("data", &STANDARD.encode(self.data))?;
        map.end()
    }
}
