//! Where in a message reading failed, in words.

use std::fmt;

use thiserror::Error;

use super::descriptor::{MessageDescriptor, Shape, Type};
use super::read::{Step, Walk};
use crate::error::DecodeError;
use crate::wire::Reader;

/// A [`DecodeError`] with the field it is about.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{place}at byte {}: {}{of}", error.at, error.kind)]
pub struct Explained {
    /// What is wrong, and at which byte.
    pub error: DecodeError,
    /// The fields and indexes that lead to the fault, and a space; empty for the message itself.
    pub place: String,
    /// The type of the field in Kafka's words, in parentheses; empty for the message itself.
    pub of: String,
}

/// Names the field in `bytes` that `error` is about, by reading them again. The byte it gives is that of the very field,
/// where the generated code, which reads neighbouring fields at once, may give that of the first of them.
pub fn explain(
    message: &MessageDescriptor,
    version: i16,
    bytes: &[u8],
    error: &DecodeError,
) -> Explained {
    let mut walk = Walk::new(message, version);
    match walk.read(&mut Reader::new(bytes)) {
        Err(found) if found.kind == error.kind => explained(&walk, found),
        _ => Explained {
            error: *error,
            place: String::new(),
            of: String::new(),
        },
    }
}

/// What a walk that has failed says of it.
pub(super) fn explained(walk: &Walk<'_>, error: DecodeError) -> Explained {
    let path: String = walk.path.iter().map(Step::to_string).collect();
    let mut place = path.strip_prefix('.').unwrap_or_default().to_owned();
    if !place.is_empty() {
        place.push(' ');
    }
    Explained {
        error,
        place,
        of: type_of(walk).map_or_else(String::new, |of| format!(" ({of})")),
    }
}

/// The type of what the path leads to.
fn type_of(walk: &Walk<'_>) -> Option<String> {
    let name = |of| type_name(walk.message, of);
    match walk.path.as_slice() {
        [.., Step::Field(field)] => Some(match field.shape {
            Shape::One(of) => name(of).to_owned(),
            Shape::Many(of) => format!("[]{}", name(of)),
        }),
        [.., Step::Field(field), Step::Element(_)] => match field.shape {
            Shape::One(of) | Shape::Many(of) => Some(name(of).to_owned()),
        },
        _ => None,
    }
}

/// The type in Kafka's words.
pub(super) fn type_name(message: &MessageDescriptor, of: Type) -> &str {
    match of {
        Type::Bool => "bool",
        Type::Int8 => "int8",
        Type::Int16 => "int16",
        Type::Uint16 => "uint16",
        Type::Int32 => "int32",
        Type::Uint32 => "uint32",
        Type::Int64 => "int64",
        Type::Float64 => "float64",
        Type::Uuid => "uuid",
        Type::String => "string",
        Type::Bytes => "bytes",
        Type::Records => "records",
        Type::Struct(index) => message.structure(index).name,
    }
}

impl fmt::Display for Step<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Field(field) => write!(f, ".{}", snake_case(field.name)),
            Self::Element(index) => write!(f, "[{index}]"),
            Self::Tags => f.write_str(".tagged fields"),
        }
    }
}

/// Kafka's name of a field as Rust's.
fn snake_case(name: &str) -> String {
    let mut snake = String::with_capacity(name.len() + 4);
    let mut before = None;
    let mut letters = name.chars().peekable();
    while let Some(letter) = letters.next() {
        let ends_capitals = letters.peek().is_some_and(char::is_ascii_lowercase);
        let begins =
            before.is_some_and(|before: char| !before.is_ascii_uppercase() || ends_capitals);
        if letter.is_ascii_uppercase() && begins {
            snake.push('_');
        }
        snake.push(letter.to_ascii_lowercase());
        before = Some(letter);
    }
    snake
}
