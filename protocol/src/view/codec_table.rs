//! The generated codecs as functions that descriptors point to. They make the compiler compile all of them, so they are there
//! for fuzzing and tests only.

use super::descriptor::Recoded;
use crate::api::Message;
use crate::error::DecodeError;
use crate::wire::{Reader, Writer};

/// Reads a message and drops it.
pub(crate) fn decode<'a, M: Message<'a>>(
    reader: &mut Reader<'a>,
    version: i16,
) -> Result<(), DecodeError> {
    M::decode(reader, version).map(drop)
}

/// Reads a message and writes it again, in the same version.
pub(crate) fn recode<'a, M: Message<'a> + PartialEq>(
    bytes: &'a [u8],
    version: i16,
) -> Result<Recoded, DecodeError> {
    let mut reader = Reader::new(bytes);
    let message = M::decode(&mut reader, version)?;
    let mut writer = Writer::new();
    let written = message.encode(&mut writer, version);
    Ok(Recoded {
        bytes: written.map(|()| writer.finish_contiguous().to_vec()),
        is_default: message == M::default(),
        left: reader.remaining().len(),
    })
}
