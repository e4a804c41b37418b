//! Writing: one pass into one buffer, with lengths patched when they are known.
//!
//! A counting writer runs the same code without a buffer, so a size can never disagree with what is
//! written. Large record bytes are not copied: they are kept aside with the place they belong to.

use bytes::Bytes;

use super::fixed::{Fixed, FixedRun};
use super::ints::Ints;
use super::limits::{SPLICE_BYTES_MIN, STRING_BYTES_MAX};
use super::records::Records;
use super::tags::Tags;
use super::varint::{UVARINT_BYTES_MAX, put_uvarint, uvarint_bytes};
use crate::error::{EncodeError, EncodeFault, FaultIn};

/// Writes one message, or counts its bytes. `flexible` is as for [`Reader`](super::Reader).
#[derive(Debug, Default)]
pub struct Writer {
    buffer: Vec<u8>,
    /// Bytes that belong before the byte of `buffer` at the given index, in ascending order.
    splices: Vec<(usize, Bytes)>,
    /// Bytes that are not in `buffer`: spliced, or only counted.
    elsewhere: usize,
    counting: bool,
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

    /// A writer that only counts.
    pub fn counting() -> Self {
        Self {
            counting: true,
            ..Self::default()
        }
    }

    /// Bytes written so far, spliced ones included.
    #[inline]
    pub fn size(&self) -> usize {
        self.buffer.len() + self.elsewhere
    }

    /// Forgets what was written and keeps the memory.
    pub fn clear(&mut self) {
        self.buffer.clear();
        self.splices.clear();
        self.elsewhere = 0;
    }

    /// What was written, in order, for a vectored write. A counting writer has nothing.
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

    /// What was written, in order, as buffers of its own. A counting writer has nothing.
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

    #[inline]
    fn append(&mut self, bytes: &[u8]) {
        if self.counting {
            self.elsewhere += bytes.len();
        } else {
            self.buffer.extend_from_slice(bytes);
        }
    }

    /// A value of fixed size.
    #[inline]
    pub fn value<T: Fixed>(&mut self, value: T) {
        if self.counting {
            self.elsewhere += T::BYTES;
        } else {
            value.append(&mut self.buffer);
        }
    }

    /// Neighbouring values of fixed size: `w.run((self.port, self.epoch))`.
    #[inline]
    pub fn run<T: FixedRun>(&mut self, values: T) {
        if self.counting {
            self.elsewhere += T::BYTES;
        } else {
            values.append(&mut self.buffer);
        }
    }

    /// A boolean.
    #[inline]
    pub fn bool(&mut self, value: bool) {
        self.value(value);
    }

    /// An `int8`.
    #[inline]
    pub fn i8(&mut self, value: i8) {
        self.value(value);
    }

    /// An `int16`.
    #[inline]
    pub fn i16(&mut self, value: i16) {
        self.value(value);
    }

    /// A `uint16`.
    #[inline]
    pub fn u16(&mut self, value: u16) {
        self.value(value);
    }

    /// An `int32`.
    #[inline]
    pub fn i32(&mut self, value: i32) {
        self.value(value);
    }

    /// A `uint32`.
    #[inline]
    pub fn u32(&mut self, value: u32) {
        self.value(value);
    }

    /// An `int64`.
    #[inline]
    pub fn i64(&mut self, value: i64) {
        self.value(value);
    }

    /// A `float64`.
    #[inline]
    pub fn f64(&mut self, value: f64) {
        self.value(value);
    }

    /// A `uuid`.
    #[inline]
    pub fn uuid(&mut self, value: uuid::Uuid) {
        self.value(value);
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

    fn long_uvarint(&mut self, value: u32) {
        let mut encoded = [0; UVARINT_BYTES_MAX];
        let bytes = put_uvarint(value, &mut encoded);
        self.append(encoded.get(..bytes).unwrap_or_default());
    }

    /// The length of bytes or of an array, `None` for null.
    #[inline]
    fn length(&mut self, length: Option<usize>, flexible: bool) -> Result<(), EncodeFault> {
        let length = match length.map(i32::try_from) {
            None => -1,
            Some(Ok(length)) => length,
            Some(Err(_)) => return Err(EncodeFault::TooLong),
        };
        if flexible {
            // -1 to i32::MAX plus one is never negative.
            self.uvarint(length.wrapping_add(1).cast_unsigned());
        } else {
            self.i32(length);
        }
        Ok(())
    }

    /// A string that may be null.
    #[inline]
    pub fn nullable_string(
        &mut self,
        text: Option<&str>,
        flexible: bool,
    ) -> Result<(), EncodeFault> {
        if flexible && text.is_none_or(|text| text.len() <= STRING_BYTES_MAX) {
            self.length(text.map(str::len), true)?;
        } else {
            match text.map(|text| i16::try_from(text.len())) {
                None => self.i16(-1),
                Some(Ok(length)) => self.i16(length),
                Some(Err(_)) => return Err(EncodeFault::StringTooLong),
            }
        }
        self.append(text.unwrap_or_default().as_bytes());
        Ok(())
    }

    /// A string.
    #[inline]
    pub fn string(&mut self, text: &str, flexible: bool) -> Result<(), EncodeFault> {
        self.nullable_string(Some(text), flexible)
    }

    /// Bytes that may be null.
    #[inline]
    pub fn nullable_bytes(
        &mut self,
        bytes: Option<&[u8]>,
        flexible: bool,
    ) -> Result<(), EncodeFault> {
        self.length(bytes.map(<[u8]>::len), flexible)?;
        self.append(bytes.unwrap_or_default());
        Ok(())
    }

    /// Bytes.
    #[inline]
    pub fn bytes(&mut self, bytes: &[u8], flexible: bool) -> Result<(), EncodeFault> {
        self.nullable_bytes(Some(bytes), flexible)
    }

    /// Records that may be null.
    pub fn nullable_records(
        &mut self,
        records: &Records<'_>,
        flexible: bool,
    ) -> Result<(), EncodeFault> {
        let length = (!records.is_null()).then(|| records.len());
        self.length(length, flexible)?;
        match records {
            Records::Null => {}
            Records::Wire(bytes) => self.append(bytes),
            Records::Shared(pieces) => pieces.iter().for_each(|piece| self.splice(piece)),
        }
        Ok(())
    }

    /// Records.
    pub fn records(&mut self, records: &Records<'_>, flexible: bool) -> Result<(), EncodeFault> {
        if records.is_null() {
            return Err(EncodeFault::UnexpectedNull);
        }
        self.nullable_records(records, flexible)
    }

    /// Raw bytes without a length; from [`SPLICE_BYTES_MIN`] on they are shared, not copied.
    #[inline]
    pub fn splice(&mut self, bytes: &Bytes) {
        if bytes.len() < SPLICE_BYTES_MIN || self.counting {
            self.append(bytes);
        } else {
            self.elsewhere += bytes.len();
            self.splices.push((self.buffer.len(), bytes.clone()));
        }
    }

    /// An array of fixed-size elements that may be null.
    #[inline]
    pub fn nullable_ints<T: Fixed>(
        &mut self,
        ints: Option<&Ints<'_, T>>,
        flexible: bool,
    ) -> Result<(), EncodeFault> {
        self.length(ints.map(Ints::len), flexible)?;
        if let Some(ints) = ints {
            if self.counting {
                self.elsewhere += ints.len() * T::BYTES;
            } else {
                ints.append(&mut self.buffer);
            }
        }
        Ok(())
    }

    /// An array of fixed-size elements.
    #[inline]
    pub fn ints<T: Fixed>(
        &mut self,
        ints: &Ints<'_, T>,
        flexible: bool,
    ) -> Result<(), EncodeFault> {
        self.nullable_ints(Some(ints), flexible)
    }

    /// The count before the elements of an array, `None` for a null array.
    #[inline]
    pub fn array_length(
        &mut self,
        count: Option<usize>,
        flexible: bool,
    ) -> Result<(), EncodeFault> {
        self.length(count, flexible)
    }

    /// The marker before a nullable struct that is not tagged.
    pub fn presence(&mut self, present: bool) {
        self.i8(if present { 1 } else { -1 });
    }

    /// The marker before a nullable struct inside a tagged field.
    pub fn tagged_presence(&mut self, present: bool) {
        self.uvarint(u32::from(present));
    }

    /// Begins an `int32` length of what is written until [`end_i32_length`](Self::end_i32_length).
    pub fn begin_i32_length(&mut self) -> LengthMark {
        let index = self.buffer.len();
        self.i32(0);
        LengthMark {
            index,
            size: self.size(),
        }
    }

    /// Writes the length into its place.
    pub fn end_i32_length(&mut self, mark: LengthMark) -> Result<(), EncodeFault> {
        let length = i32::try_from(self.size() - mark.size).map_err(|_| EncodeFault::TooLong)?;
        if let Some(place) = self.buffer.get_mut(mark.index..)
            && let Some(place) = place.first_chunk_mut()
        {
            *place = length.to_be_bytes();
        }
        Ok(())
    }

    /// Begins an unsigned varint that [`end_uvarint`](Self::end_uvarint) fills in.
    fn begin_uvarint(&mut self) -> LengthMark {
        let index = self.buffer.len();
        self.append(&[0]);
        LengthMark {
            index,
            size: self.size(),
        }
    }

    /// Writes `value` into its place and moves what follows if it takes more than one byte.
    fn end_uvarint(&mut self, mark: &LengthMark, value: u32) {
        if self.counting {
            self.elsewhere += uvarint_bytes(value) - 1;
            return;
        }
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

    /// The tagged fields at the end of a struct: `fields` writes the known ones by ascending tag,
    /// the unknown ones go between them. `message` and `version` are for errors.
    #[inline]
    pub fn tags(
        &mut self,
        unknown: &Tags<'_>,
        message: &'static str,
        version: i16,
        fields: impl FnOnce(&mut TagWriter<'_, '_>) -> Result<(), EncodeError>,
    ) -> Result<(), EncodeError> {
        let mark = self.begin_uvarint();
        let mut tags = TagWriter {
            writer: self,
            unknown,
            message,
            version,
            count: 0,
            next: 0,
        };
        fields(&mut tags)?;
        if !unknown.is_empty() {
            tags.unknown_below(None)?;
        }
        match tags.count {
            0 => {}
            count => self.end_uvarint(&mark, count),
        }
        Ok(())
    }

    /// The tagged fields at the end of a struct that knows none.
    #[inline]
    pub fn unknown_tags(
        &mut self,
        unknown: &Tags<'_>,
        message: &'static str,
        version: i16,
    ) -> Result<(), EncodeError> {
        if unknown.is_empty() {
            self.append(&[0]);
            return Ok(());
        }
        self.tags(unknown, message, version, |_| Ok(()))
    }

    /// Fails if there are tagged fields: for versions that cannot carry any.
    #[inline]
    pub fn no_tags(&self, unknown: &Tags<'_>) -> Result<(), EncodeFault> {
        if unknown.is_empty() {
            Ok(())
        } else {
            Err(EncodeFault::TagsNotInVersion)
        }
    }
}

/// Writes the tagged fields of one struct.
#[derive(Debug)]
pub struct TagWriter<'w, 't> {
    writer: &'w mut Writer,
    unknown: &'t Tags<'t>,
    message: &'static str,
    version: i16,
    /// Fields written.
    count: u32,
    /// The lowest unknown tag that is not written yet.
    next: u64,
}

impl TagWriter<'_, '_> {
    /// A known field, if `present`: not equal to its default. Call by ascending tag.
    #[inline]
    pub fn field(
        &mut self,
        tag: u32,
        name: &'static str,
        present: bool,
        write: impl FnOnce(&mut Writer) -> Result<(), EncodeError>,
    ) -> Result<(), EncodeError> {
        if !self.unknown.is_empty() {
            self.unknown_below(Some((tag, name)))?;
        }
        if !present {
            return Ok(());
        }
        self.count += 1;
        self.writer.uvarint(tag);
        let mark = self.writer.begin_uvarint();
        write(self.writer)?;
        let size = i32::try_from(self.writer.size() - mark.size)
            .map_err(|_| EncodeFault::TooLong)
            .of(self.message, name, self.version)?;
        self.writer.end_uvarint(&mark, size.cast_unsigned());
        Ok(())
    }

    /// Writes the unknown fields that are due before a known one, or all that are left.
    fn unknown_below(&mut self, known: Option<(u32, &'static str)>) -> Result<(), EncodeError> {
        for (tag, payload) in self.unknown.iter() {
            if u64::from(tag) < self.next {
                continue;
            }
            match known {
                Some((known, name)) if tag == known => {
                    return Err(EncodeFault::TagTaken.of(self.message, name, self.version));
                }
                Some((known, _)) if tag > known => break,
                Some(_) | None => {}
            }
            let size = i32::try_from(payload.len())
                .map_err(|_| EncodeFault::TooLong)
                .of(self.message, "unknown_tags", self.version)?;
            self.count += 1;
            self.writer.uvarint(tag);
            self.writer.uvarint(size.cast_unsigned());
            self.writer.append(payload);
            self.next = u64::from(tag) + 1;
        }
        Ok(())
    }
}

/// The value of a field that this version does not allow to be null.
#[inline]
pub fn required<T>(value: Option<T>) -> Result<T, EncodeFault> {
    value.ok_or(EncodeFault::UnexpectedNull)
}

#[cfg(test)]
#[path = "writer_tests.rs"]
mod tests;
