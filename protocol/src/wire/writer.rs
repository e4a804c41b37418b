//! Writing: one pass into one buffer, with lengths patched when they are known.
//!
//! Large record bytes are not copied: they are kept aside with the place they belong to. How fields are written, and what
//! becomes of those that cannot be, is in `field_writer.rs`.

use bytes::Bytes;

use super::limits::SPLICE_BYTES_MIN;
use super::varint::{UVARINT_BYTES_MAX, put_uvarint};
use crate::error::{EncodeError, EncodeFault};

/// Writes messages. `flexible` is as for [`Reader`](super::Reader).
#[derive(Debug, Default)]
pub struct Writer {
    pub(super) buffer: Vec<u8>,
    /// Bytes that belong before the byte of `buffer` at the given index, in ascending order.
    splices: Vec<(usize, Bytes)>,
    /// Bytes in `splices`.
    spliced: usize,
    /// The first field that could not be written.
    failure: Option<Failure>,
}

/// A field, named as in Kafka's schema, that cannot be written.
#[derive(Debug)]
struct Failure {
    fault: EncodeFault,
    field: &'static str,
}

/// Where a length stands that is patched later.
#[derive(Debug)]
#[must_use = "the length stays zero until it is ended"]
pub struct LengthMark {
    index: usize,
    /// The writer's size after the length.
    size: usize,
}

impl Writer {
    /// An empty writer.
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty writer with room for `bytes`.
    pub fn with_capacity(bytes: usize) -> Self {
        Self {
            buffer: Vec::with_capacity(bytes),
            ..Self::default()
        }
    }

    /// Bytes written so far, spliced ones included.
    #[inline]
    pub fn size(&self) -> usize {
        self.buffer.len() + self.spliced
    }

    /// Forgets what was written, errors too, and keeps the memory.
    pub fn clear(&mut self) {
        self.buffer.clear();
        self.splices.clear();
        self.spliced = 0;
        self.failure = None;
    }

    /// Writes the fields of `message` with `write`, and fails with the first error of any of them. What was written before
    /// and after that error is no message.
    #[inline]
    pub fn fields(
        &mut self,
        message: &'static str,
        version: i16,
        write: impl FnOnce(&mut Self),
    ) -> Result<(), EncodeError> {
        write(self);
        match self.failure.take() {
            None => Ok(()),
            Some(Failure { fault, field }) => Err(fault.of(message, field, version)),
        }
    }

    /// Keeps the first error.
    #[cold]
    pub(super) fn fail(&mut self, fault: EncodeFault, field: &'static str) {
        self.failure.get_or_insert(Failure { fault, field });
    }

    /// What was written, in order, for a vectored write.
    pub fn segments(&self) -> impl Iterator<Item = &[u8]> {
        let mut start = 0;
        let spliced = self.splices.iter().flat_map(move |(index, bytes)| {
            let before = self.buffer.get(start..*index).unwrap_or_default();
            start = *index;
            [before, bytes.as_ref()]
        });
        let last = self.splices.last().map_or(0, |(index, _)| *index);
        spliced
            .chain([self.buffer.get(last..).unwrap_or_default()])
            .filter(|segment| !segment.is_empty())
    }

    /// What was written, in order, as buffers of its own.
    pub fn finish(self) -> Vec<Bytes> {
        let buffer = Bytes::from(self.buffer);
        let mut segments = Vec::with_capacity(self.splices.len() * 2 + 1);
        let mut start = 0;
        for (index, bytes) in self.splices {
            segments.push(buffer.slice(start..index));
            segments.push(bytes);
            start = index;
        }
        segments.push(buffer.slice(start..));
        segments.retain(|segment| !segment.is_empty());
        segments
    }

    /// What was written, copied into one buffer if it is in several.
    pub fn finish_contiguous(self) -> Bytes {
        if self.splices.is_empty() {
            return Bytes::from(self.buffer);
        }
        let mut whole = Vec::with_capacity(self.size());
        for segment in self.segments() {
            whole.extend_from_slice(segment);
        }
        Bytes::from(whole)
    }

    /// Raw bytes without a length; from [`SPLICE_BYTES_MIN`] on they are shared, not copied.
    #[inline]
    pub fn splice(&mut self, bytes: &Bytes) {
        if bytes.len() < SPLICE_BYTES_MIN {
            self.buffer.extend_from_slice(bytes);
        } else {
            self.spliced += bytes.len();
            self.splices.push((self.buffer.len(), bytes.clone()));
        }
    }

    /// Raw bytes without a length.
    #[inline]
    pub(super) fn append(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// An unsigned varint.
    #[inline]
    pub fn uvarint(&mut self, value: u32) {
        let [low, ..] = value.to_le_bytes();
        if value < 0x80 {
            self.append(&[low]);
        } else if value < 0x4000 {
            let [high, ..] = (value >> 7).to_le_bytes();
            self.append(&[low | 0x80, high]);
        } else {
            self.long_uvarint(value);
        }
    }

    #[inline(never)]
    fn long_uvarint(&mut self, value: u32) {
        let mut encoded = [0; UVARINT_BYTES_MAX];
        let bytes = put_uvarint(value, &mut encoded);
        self.append(encoded.get(..bytes).unwrap_or_default());
    }

    /// Begins an `int32` length of what is written until [`end_i32_length`](Self::end_i32_length).
    pub fn begin_i32_length(&mut self) -> LengthMark {
        let index = self.buffer.len();
        self.buffer.extend_from_slice(&[0; 4]);
        LengthMark {
            index,
            size: self.size(),
        }
    }

    /// Writes the length into its place.
    pub fn end_i32_length(&mut self, mark: LengthMark) -> Result<(), EncodeFault> {
        let length = self.size_since(&mark)?;
        if let Some(place) = self.buffer.get_mut(mark.index..)
            && let Some(place) = place.first_chunk_mut()
        {
            *place = length.to_be_bytes();
        }
        Ok(())
    }

    /// Begins an unsigned varint that [`end_uvarint`](Self::end_uvarint) fills in.
    #[inline]
    pub(super) fn begin_uvarint(&mut self) -> LengthMark {
        let index = self.buffer.len();
        self.append(&[0]);
        LengthMark {
            index,
            size: self.size(),
        }
    }

    /// Writes `value` into its place and moves what follows if it takes more than one byte.
    pub(super) fn end_uvarint(&mut self, mark: &LengthMark, value: u32) {
        let mut encoded = [0; UVARINT_BYTES_MAX];
        let bytes = put_uvarint(value, &mut encoded);
        let encoded = encoded.iter().copied().take(bytes);
        self.buffer.splice(mark.index..=mark.index, encoded);
        for (index, _) in self.splices.iter_mut().rev() {
            if *index <= mark.index {
                break;
            }
            *index += bytes - 1;
        }
    }

    /// Bytes written since `mark`, as lengths are.
    pub(super) fn size_since(&self, mark: &LengthMark) -> Result<i32, EncodeFault> {
        i32::try_from(self.size() - mark.size).map_err(|_| EncodeFault::TooLong)
    }
}

#[cfg(test)]
#[path = "writer_tests.rs"]
mod tests;
