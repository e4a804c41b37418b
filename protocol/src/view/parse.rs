//! From JSON, in the shape of Kafka's `…JsonConverter` classes, to values. Stricter than these: unknown keys, numbers out
//! of range and fields of other versions are refused.

use std::borrow::Cow;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Map, Value as Json};
use thiserror::Error;
use uuid::Uuid;

use super::descriptor::{FieldDescriptor, MessageDescriptor, Shape, StructDescriptor, Type};
use super::json::{NAN_BITS, UNKNOWN_TAGS_KEY, key};
use super::value::{Fields, Value};
use super::write;
use crate::wire::Tags;
use crate::wire::limits::STRING_BYTES_MAX;

/// JSON that is not a message: what is wrong, and where.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{message} version {version}: {path}{problem}")]
pub struct JsonError {
    /// Name of the message, as in Kafka's schema.
    pub message: String,
    /// The version it was to be written in.
    pub version: i16,
    /// The keys and indexes that lead to the value, and a colon; empty for the message itself.
    pub path: String,
    /// What is wrong with it.
    pub problem: JsonProblem,
}

/// What is wrong with a value in JSON.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum JsonProblem {
    /// The message has no such version.
    #[error("the message has no such version")]
    UnsupportedVersion,
    /// A key is missing that stands for a field without a tag.
    #[error("the key is missing")]
    Missing,
    /// A key that is no field.
    #[error("there is no such field")]
    UnknownField,
    /// A key that is a field of other versions.
    #[error("this version has no such field")]
    NotInVersion,
    /// A null where this version allows none.
    #[error("null stands where none is allowed")]
    UnexpectedNull,
    /// The value has another type.
    #[error("should be {0}")]
    Expected(&'static str),
    /// A string over [`STRING_BYTES_MAX`].
    #[error("is longer than 32767 bytes")]
    StringTooLong,
    /// Unknown tagged fields in a version that has none.
    #[error("this version has no tagged fields")]
    TagsNotInVersion,
    /// An unknown tagged field has the tag of a known one or of another.
    #[error("tag {0} is taken")]
    TagTaken(u32),
    /// The message takes more bytes than a length on the wire can say.
    #[error("the message is larger than 2147483647 bytes")]
    TooLarge,
}

/// The values of a message.
pub(super) fn parse<'a>(
    message: &'a MessageDescriptor,
    version: i16,
    json: &'a Json,
) -> Result<Fields<'a>, JsonError> {
    let mut parser = Parser {
        message,
        version,
        path: Vec::new(),
    };
    let parsed = if message.versions.contains(version) {
        parser.fields(message.structure(0), json)
    } else {
        Err(JsonProblem::UnsupportedVersion)
    };
    parsed.map_err(|problem| {
        let path: String = parser.path.iter().map(Step::to_string).collect();
        let path = path.strip_prefix('.').unwrap_or_default();
        error(message, version, path, problem)
    })
}

pub(super) fn error(
    message: &MessageDescriptor,
    version: i16,
    path: &str,
    problem: JsonProblem,
) -> JsonError {
    let colon = if path.is_empty() { "" } else { ": " };
    JsonError {
        message: message.name.to_owned(),
        version,
        path: format!("{path}{colon}"),
        problem,
    }
}

struct Parser<'a> {
    message: &'a MessageDescriptor,
    version: i16,
    /// After an error, what leads to it.
    path: Vec<Step<'a>>,
}

enum Step<'a> {
    Field(&'a str),
    Key(&'a str),
    Index(usize),
}

impl fmt::Display for Step<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Field(name) => write!(f, ".{}", key(name)),
            Self::Key(key) => write!(f, ".{key}"),
            Self::Index(index) => write!(f, "[{index}]"),
        }
    }
}

impl<'a> Parser<'a> {
    fn fields(
        &mut self,
        of: &'a StructDescriptor,
        json: &'a Json,
    ) -> Result<Fields<'a>, JsonProblem> {
        let map = json.as_object().ok_or(JsonProblem::Expected("an object"))?;
        let mut values = Vec::new();
        for field in of.fields_of(self.version) {
            self.path.push(Step::Field(field.name));
            match map.get(&key(field.name)) {
                Some(json) => {
                    let value = self.field(field, json)?;
                    if field.tag(self.version).is_none() || !value.is_default(field) {
                        values.push((field, value));
                    }
                }
                None if field.tag(self.version).is_some() => {}
                None => return Err(JsonProblem::Missing),
            }
            self.path.pop();
        }
        self.refuse_other_keys(of, map)?;
        let unknown = match map.get(UNKNOWN_TAGS_KEY) {
            None => Tags::EMPTY,
            Some(json) => {
                self.path.push(Step::Key(UNKNOWN_TAGS_KEY));
                let unknown = self.unknown(of, json)?;
                self.path.pop();
                unknown
            }
        };
        Ok(Fields { values, unknown })
    }

    fn refuse_other_keys(
        &mut self,
        of: &'a StructDescriptor,
        map: &'a Map<String, Json>,
    ) -> Result<(), JsonProblem> {
        for found in map.keys().filter(|key| *key != UNKNOWN_TAGS_KEY) {
            let field = of.fields.iter().find(|field| key(field.name) == *found);
            let problem = match field {
                Some(field) if field.versions.contains(self.version) => continue,
                Some(_) => JsonProblem::NotInVersion,
                None => JsonProblem::UnknownField,
            };
            self.path.push(Step::Key(found));
            return Err(problem);
        }
        Ok(())
    }

    fn field(
        &mut self,
        field: &'a FieldDescriptor,
        json: &'a Json,
    ) -> Result<Value<'a>, JsonProblem> {
        if json.is_null() {
            return if field.nullable.contains(self.version) {
                Ok(Value::Null)
            } else {
                Err(JsonProblem::UnexpectedNull)
            };
        }
        match field.shape {
            Shape::One(of) => self.one(of, json),
            Shape::Many(of) => {
                let elements = json.as_array().ok_or(JsonProblem::Expected("an array"))?;
                self.array(of, elements)
            }
        }
    }

    fn array(&mut self, of: Type, elements: &'a [Json]) -> Result<Value<'a>, JsonProblem> {
        let mut list = Vec::new();
        for (index, json) in elements.iter().enumerate() {
            self.path.push(Step::Index(index));
            list.push(self.one(of, json)?);
            self.path.pop();
        }
        Ok(match of.fixed_bytes() {
            Some(_) => Value::Run(of, write::run(of, &list).into()),
            None => Value::List(list),
        })
    }

    fn one(&mut self, of: Type, json: &'a Json) -> Result<Value<'a>, JsonProblem> {
        Ok(match of {
            Type::Bool => Value::Bool(
                json.as_bool()
                    .ok_or(JsonProblem::Expected("true or false"))?,
            ),
            Type::Int8 => Value::Int(int::<i8>(json, "a whole number, -128 to 127")?),
            Type::Int16 => Value::Int(int::<i16>(json, "a whole number, -32768 to 32767")?),
            Type::Uint16 => Value::Int(int::<u16>(json, "a whole number, 0 to 65535")?),
            Type::Int32 => Value::Int(int::<i32>(json, "a whole number of 32 bits")?),
            Type::Uint32 => Value::Int(int::<u32>(json, "a whole number, 0 to 4294967295")?),
            Type::Int64 => Value::Int(int::<i64>(json, "a whole number of 64 bits")?),
            Type::Float64 => Value::Float(float(json)?),
            Type::Uuid => Value::Uuid(uuid(json)?),
            Type::String => {
                let text = json.as_str().ok_or(JsonProblem::Expected("a string"))?;
                if text.len() > STRING_BYTES_MAX {
                    return Err(JsonProblem::StringTooLong);
                }
                Value::Text(Cow::Borrowed(text))
            }
            Type::Bytes | Type::Records => Value::Bytes(Cow::Owned(bytes(json)?)),
            Type::Struct(index) => Value::Struct(self.fields(self.message.structure(index), json)?),
        })
    }

    fn unknown(
        &mut self,
        of: &'a StructDescriptor,
        json: &'a Json,
    ) -> Result<Tags<'a>, JsonProblem> {
        let elements = json.as_array().ok_or(JsonProblem::Expected("an array"))?;
        if !self.message.flexible.contains(self.version) && !elements.is_empty() {
            return Err(JsonProblem::TagsNotInVersion);
        }
        let mut unknown = Tags::EMPTY;
        for (index, json) in elements.iter().enumerate() {
            self.path.push(Step::Index(index));
            let shape = JsonProblem::Expected("an object with `tag`, a number, and `data`, base64");
            let (Some(tag), Some(data)) = (json.get("tag"), json.get("data")) else {
                return Err(shape);
            };
            let tag = tag.as_u64().and_then(|tag| u32::try_from(tag).ok());
            let (Some(tag), Ok(data)) = (tag, bytes(data)) else {
                return Err(shape);
            };
            if of.tagged(tag, self.version).is_some() || unknown.get(tag).is_some() {
                return Err(JsonProblem::TagTaken(tag));
            }
            unknown.insert(tag, data);
            self.path.pop();
        }
        Ok(unknown)
    }
}

fn int<T: TryFrom<i64>>(json: &Json, expected: &'static str) -> Result<i64, JsonProblem> {
    json.as_i64()
        .filter(|&number| T::try_from(number).is_ok())
        .ok_or(JsonProblem::Expected(expected))
}

/// A number, or the text of one that JSON cannot say.
fn float(json: &Json) -> Result<f64, JsonProblem> {
    let text = match json {
        Json::Number(number) => return number.as_f64().ok_or(JsonProblem::Expected("a number")),
        Json::String(text) => text.as_str(),
        _ => "",
    };
    let bits = |text: &str| u64::from_str_radix(text, 16).ok().map(f64::from_bits);
    match text {
        "NaN" => Ok(f64::from_bits(NAN_BITS)),
        "Infinity" => Ok(f64::INFINITY),
        "-Infinity" => Ok(f64::NEG_INFINITY),
        _ => text
            .strip_prefix("NaN:")
            .and_then(bits)
            .filter(|number| number.is_nan())
            .ok_or(JsonProblem::Expected(
                "a number, `Infinity`, `-Infinity` or `NaN`",
            )),
    }
}

fn uuid(json: &Json) -> Result<Uuid, JsonProblem> {
    let decoded = json.as_str().and_then(|text| {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        Uuid::from_slice(&bytes).ok()
    });
    decoded.ok_or(JsonProblem::Expected("a uuid as 22 letters of base64"))
}

fn bytes(json: &Json) -> Result<Vec<u8>, JsonProblem> {
    let decoded = json.as_str().and_then(|text| STANDARD.decode(text).ok());
    decoded.ok_or(JsonProblem::Expected("base64"))
}
