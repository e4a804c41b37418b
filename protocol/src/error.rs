//! What can be wrong with bytes that were read, or with values that are to be written.
//!
//! Kafka's own error codes, which travel inside responses, do not live here.

use thiserror::Error;

/// Bytes that are not a valid message: what is wrong, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("{kind} at byte {at}")]
pub struct DecodeError {
    /// What is wrong.
    pub kind: DecodeErrorKind,
    /// Offset of the offending field from the start of what the outermost reader was given.
    pub at: u32,
}

/// What is wrong with the bytes of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum DecodeErrorKind {
    /// The bytes end inside a field.
    #[error("the message ends inside a field")]
    Truncated,
    /// A varint runs past five bytes or past 32 bits.
    #[error("a varint does not fit in 32 bits")]
    VarintTooLong,
    /// A length below -1.
    #[error("a length is negative")]
    NegativeLength,
    /// A null where this version allows none.
    #[error("a null stands where none is allowed")]
    UnexpectedNull,
    /// A string over [`STRING_BYTES_MAX`](crate::wire::limits::STRING_BYTES_MAX).
    #[error("a string is longer than 32767 bytes")]
    StringTooLong,
    /// A string that is not UTF-8.
    #[error("a string is not valid UTF-8")]
    InvalidUtf8,
    /// A count of elements that the remaining bytes cannot hold.
    #[error("more elements are announced than the remaining bytes can hold")]
    CountTooLarge,
    /// The decoded form would take more memory than the reader may spend.
    #[error("the message would take more memory than its size justifies")]
    OverBudget,
    /// The marker before a nullable struct is neither "null" nor "present".
    #[error("the marker of a nullable struct is neither null nor present")]
    InvalidPresence,
    /// A known tagged field does not end where its size says.
    #[error("a tagged field does not fill its announced size")]
    TagSize,
    /// The message has no such version.
    #[error("the message has no such version")]
    UnsupportedVersion,
    /// Bytes are left after the message.
    #[error("bytes are left after the end of the message")]
    TrailingBytes,
}

/// A value that cannot be written in the version asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("{message} version {version}: {field}: {fault}")]
pub struct EncodeError {
    /// Name of the message, as in Kafka's schema.
    pub message: &'static str,
    /// Name of the field, as in Kafka's schema.
    pub field: &'static str,
    /// The version it was to be written in.
    pub version: i16,
    /// Why it cannot be.
    pub fault: EncodeFault,
}

/// Why a value cannot be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum EncodeFault {
    /// The field is set, but this version cannot carry it.
    #[error("is set, but does not exist in this version")]
    NotInVersion,
    /// The field is null, and this version allows none.
    #[error("is null, but this version allows none")]
    UnexpectedNull,
    /// A string over [`STRING_BYTES_MAX`](crate::wire::limits::STRING_BYTES_MAX).
    #[error("is longer than 32767 bytes")]
    StringTooLong,
    /// More bytes or elements than a length on the wire can say.
    #[error("is longer than 2147483647")]
    TooLong,
    /// Unknown tagged fields in a version that has none.
    #[error("unknown tagged fields cannot be written in a version without tagged fields")]
    TagsNotInVersion,
    /// A field kept as unknown has the tag of a known one.
    #[error("an unknown tagged field has the tag of this field")]
    TagTaken,
    /// The message has no such version.
    #[error("the message has no such version")]
    UnsupportedVersion,
}

impl EncodeFault {
    /// Names the message, field and version this fault was found in.
    #[cold]
    pub fn of(self, message: &'static str, field: &'static str, version: i16) -> EncodeError {
        EncodeError {
            message,
            field,
            version,
            fault: self,
        }
    }
}
