//! The primitives every message is read and written with.
//!
//! Nothing here knows an API: which fields a message has, and in which versions, is generated code.

pub mod limits;

mod field_reader;
mod field_writer;
mod fixed;
mod ints;
mod reader;
mod records;
mod structure;
mod tags;
mod varint;
mod writer;

pub use crate::error::{DecodeError, DecodeErrorKind, EncodeError, EncodeFault};
pub use field_reader::FieldReader;
pub use field_writer::TagWriter;
pub use fixed::{Fixed, FixedRun};
pub use ints::Ints;
pub use reader::Reader;
pub use records::{Pieces, Records};
pub use structure::{Element, Struct};
pub use tags::Tags;
pub use writer::{LengthMark, Writer};
