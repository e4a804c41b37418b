//! The primitives every message is read and written with.
//!
//! Nothing here knows an API: which fields a message has, and in which versions, is generated code.

pub mod limits;

mod field_reader;
mod fixed;
mod ints;
mod reader;
mod records;
mod tags;
mod varint;
mod writer;

pub use crate::error::{DecodeError, DecodeErrorKind, EncodeError, EncodeFault, FaultIn};
pub use field_reader::FieldReader;
pub use fixed::{Fixed, FixedRun};
pub use ints::Ints;
pub use reader::Reader;
pub use records::Records;
pub use tags::Tags;
pub use varint::{UVARINT_BYTES_MAX, uvarint_bytes};
pub use writer::{LengthMark, TagWriter, Writer, required};
