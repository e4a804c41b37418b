//! What all messages have in common, and the keys of the APIs.
//!
//! The keys, their names and their versions are generated from `schemas/`; so are the messages.

use std::fmt;
use std::ops::RangeInclusive;

use crate::error::{DecodeError, DecodeErrorKind, EncodeError, EncodeFault};
use crate::wire::{Reader, Struct, Writer};

include!(concat!(env!("OUT_DIR"), "/api_key.rs"));

impl ApiKey {
    /// The versions that will not change any more: those of the schemas without an unstable last one.
    pub const fn stable_versions(self) -> RangeInclusive<i16> {
        let versions = self.request_versions();
        if self.latest_version_unstable() {
            *versions.start()..=*versions.end() - 1
        } else {
            versions
        }
    }
}

impl fmt::Display for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A message of Kafka's protocol, in all its versions.
///
/// Fields that a version does not have hold their default after reading. Writing a version that cannot carry a field
/// whose value is not the default is an error, unless Kafka's schema lets the value be dropped.
pub trait Message<'a>: Struct<'a> {
    /// Kafka's name for the message.
    const NAME: &'static str;
    /// The versions that the schema describes, an unstable last one included.
    const VERSIONS: RangeInclusive<i16>;
    /// The first version with tagged fields and compact lengths; all later ones have them too.
    const FLEXIBLE: Option<i16>;

    /// Reads the fields of `version`, which must be one of [`VERSIONS`](Self::VERSIONS), into a value that holds the
    /// defaults. What follows the message is left in the reader.
    fn read(&mut self, r: &mut Reader<'a>, version: i16) -> Result<(), DecodeError> {
        r.fields(|r| self.read_fields(r, version))
    }

    /// Writes the fields of `version`, which must be one of [`VERSIONS`](Self::VERSIONS).
    fn write(&self, w: &mut Writer, version: i16) -> Result<(), EncodeError> {
        w.fields(Self::NAME, version, |w| self.write_fields(w, version))
    }

    /// Reads a message, refusing versions that it does not have. What follows it is left in the reader.
    fn decode(r: &mut Reader<'a>, version: i16) -> Result<Self, DecodeError> {
        if !Self::VERSIONS.contains(&version) {
            return Err(r.error(DecodeErrorKind::UnsupportedVersion));
        }
        let mut message = Self::default();
        message.read(r, version)?;
        Ok(message)
    }

    /// Writes the message, refusing versions that it does not have.
    fn encode(&self, w: &mut Writer, version: i16) -> Result<(), EncodeError> {
        if !Self::VERSIONS.contains(&version) {
            return Err(EncodeFault::UnsupportedVersion.of(Self::NAME, "", version));
        }
        self.write(w, version)
    }
}

/// A message that a client sends.
pub trait Request<'a>: Message<'a> {
    /// The key that stands in its header.
    const API_KEY: ApiKey;
}

/// A message that answers a [`Request`].
pub trait Response<'a>: Message<'a> {
    /// The key of the request.
    const API_KEY: ApiKey;
}
