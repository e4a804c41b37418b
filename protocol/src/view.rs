//! What the schemas say of every message, as data, and what can be done with a message knowing nothing but that.
//!
//! This is the second reading of the schemas, beside the generated `read` and `write`: it shares no code with them.

mod descriptor;
mod sample;

pub use descriptor::{
    DefaultValue, FieldDescriptor, Kind, MessageDescriptor, Recoded, Shape, StructDescriptor, Type,
    Versions,
};
pub(crate) use descriptor::{Many, One, field, recode};
pub use sample::{Sample, sample};

use crate::messages;

include!(concat!(env!("OUT_DIR"), "/descriptors.rs"));
