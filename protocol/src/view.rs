//! What the schemas say of every message, as data, and what can be done with a message knowing nothing but that: JSON,
//! errors that name a field, arbitrary messages, and a second decoder and encoder to compare the generated ones with.
//!
//! Of the generated code nothing is used here; of [`wire`](crate::wire) only the reader, for its limits.

#[cfg(feature = "arbitrary")]
mod arbitrary;
#[cfg(feature = "codec-table")]
mod codec_table;
mod descriptor;
mod explain;
mod json;
mod log;
mod parse;
mod read;
mod sample;
mod value;
mod write;

#[cfg(feature = "arbitrary")]
pub use arbitrary::arbitrary;
#[cfg(feature = "codec-table")]
pub(crate) use codec_table::{decode, recode};
pub use descriptor::{
    DefaultValue, FieldDescriptor, Kind, MessageDescriptor, Recoded, Shape, StructDescriptor, Type,
    Versions,
};
pub(crate) use descriptor::{Many, One, field};
pub use explain::{Explained, explain};
pub use log::to_log;
pub use parse::{JsonError, JsonProblem};
pub use sample::{Sample, sample};

use serde_json::Value as Json;

use crate::api::ApiKey;
use crate::error::DecodeError;
use crate::messages;
use crate::wire::Reader;

include!(concat!(env!("OUT_DIR"), "/descriptors.rs"));

/// The message of this name, which is Kafka's: `FetchRequest`.
pub fn find(name: &str) -> Option<&'static MessageDescriptor> {
    let index = MESSAGES.binary_search_by(|message| message.name.cmp(name));
    index.ok().and_then(|index| MESSAGES.get(index)).copied()
}

/// The request or response of an API.
pub fn of_api(api: ApiKey, kind: Kind) -> Option<&'static MessageDescriptor> {
    let mut messages = MESSAGES.iter().copied();
    messages.find(|message| message.api_key == Some(api) && message.kind == kind)
}

/// The message as JSON, in the shape of Kafka's `…JsonConverter` classes: one object, its keys the names of the fields
/// with a small first letter, null as null, bytes as base64, a uuid as Kafka's 22 letters, numbers as numbers. Tagged
/// fields that hold their default are left out.
///
/// Where those classes lose something this does not: records are base64 as bytes are; unknown tagged fields stand under
/// `_unknownTaggedFields` as objects of `tag` and `data`; a float that is no number is a string.
///
/// # Errors
/// When the bytes are not one message, or more than one.
pub fn to_json(message: &MessageDescriptor, version: i16, bytes: &[u8]) -> Result<Json, Explained> {
    let mut reader = Reader::new(bytes);
    let json = next_json(message, version, &mut reader)?;
    match reader.finish() {
        Ok(()) => Ok(json),
        Err(error) => Err(explain::explain(message, version, bytes, &error)),
    }
}

/// As [`to_json`], of a message that something may follow, which is left in the reader.
///
/// # Errors
/// When the bytes do not begin with such a message.
pub fn next_json<'a>(
    message: &'a MessageDescriptor,
    version: i16,
    reader: &mut Reader<'a>,
) -> Result<Json, Explained> {
    let mut walk = read::Walk::new(message, version);
    let read = walk.read(reader);
    let fields = read.map_err(|error| explain::explained(&walk, error))?;
    Ok(serde_json::to_value(fields).unwrap_or_default())
}

/// The bytes of a message that stands in JSON as [`to_json`] writes it. Every field of the version must be there, but for
/// tagged ones; what the version does not have must not.
///
/// # Errors
/// When the JSON is not such a message.
pub fn from_json(
    message: &MessageDescriptor,
    version: i16,
    json: &Json,
) -> Result<Vec<u8>, JsonError> {
    let fields = parse::parse(message, version, json)?;
    let bytes = write::message(message, version, &fields);
    if i32::try_from(bytes.len()).is_err() {
        return Err(parse::error(message, version, "", JsonProblem::TooLarge));
    }
    Ok(bytes)
}

/// Reads a message and writes it again without the generated code, for comparison with
/// [`MessageDescriptor::recode`], which takes the same bytes and leaves the same.
///
/// # Errors
/// When the bytes do not begin with such a message. Of neighbouring fixed-size fields the generated code gives the first as the
/// place of the error, this the one that is cut off.
pub fn interpret(
    message: &MessageDescriptor,
    version: i16,
    bytes: &[u8],
) -> Result<Recoded, DecodeError> {
    let mut reader = Reader::new(bytes);
    let fields = read::Walk::new(message, version).read(&mut reader)?;
    Ok(Recoded {
        bytes: Ok(write::message(message, version, &fields)),
        is_default: fields.are_default(),
        left: reader.remaining().len(),
    })
}
