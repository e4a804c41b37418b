//! Reading: a bounded cursor over the bytes of one message.
//!
//! Every length is checked against the bytes that are left, and every allocation is charged to a
//! budget before it is made, so a message costs no more memory than its size justifies.

use std::borrow::Cow;

use super::fixed::{Fixed, FixedRun};
use super::ints::Ints;
use super::limits::{STRING_BYTES_MAX, memory_budget};
use super::records::Records;
use super::tags::Tags;
use super::varint::{UvarintFault, take_uvarint};
use crate::error::{DecodeError, DecodeErrorKind};

/// Fewest bytes of a tagged field: its tag and its size.
const TAG_BYTES_MIN: usize = 2;

/// A bounded cursor. `flexible` chooses between the two wire forms of lengths: `true` for an unsigned
/// varint that is one more than the length, `false` for a big-endian integer.
#[derive(Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
    /// Offset of the end of `rest` in what the outermost reader was given.
    end: usize,
    /// Bytes of memory that may still be allocated.
    budget: usize,
}

impl<'a> Reader<'a> {
    /// Reads `bytes` with the budget that [`memory_budget`] allows for their size.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self::with_budget(bytes, memory_budget(bytes.len()))
    }

    /// Reads `bytes` and allocates at most `budget` bytes of memory for decoded values.
    pub const fn with_budget(bytes: &'a [u8], budget: usize) -> Self {
        Self {
            rest: bytes,
            end: bytes.len(),
            budget,
        }
    }

    /// The same reader, to be put back in the place of this one.
    #[inline]
    pub(super) const fn take_over(&self) -> Self {
        Self { ..*self }
    }

    /// Leaves no bytes.
    #[inline]
    pub(super) const fn exhaust(&mut self) {
        self.rest = &[];
    }

    /// Where the next field begins, from the start of what the outermost reader was given.
    pub const fn offset(&self) -> usize {
        self.end - self.rest.len()
    }

    /// The bytes that are left.
    pub const fn remaining(&self) -> &'a [u8] {
        self.rest
    }

    /// Fails if bytes are left.
    pub fn finish(&self) -> Result<(), DecodeError> {
        if self.rest.is_empty() {
            return Ok(());
        }
        Err(self.error(DecodeErrorKind::TrailingBytes))
    }

    /// An error at the next field.
    #[cold]
    pub fn error(&self, kind: DecodeErrorKind) -> DecodeError {
        self.error_at(self.offset(), kind)
    }

    #[cold]
    pub(crate) fn error_at(&self, at: usize, kind: DecodeErrorKind) -> DecodeError {
        DecodeError {
            kind,
            at: u32::try_from(at).unwrap_or(u32::MAX),
        }
    }

    /// Charges memory to the budget before it is allocated.
    #[inline]
    fn charge(&mut self, bytes: usize) -> Result<(), DecodeError> {
        match self.budget.checked_sub(bytes) {
            Some(left) => {
                self.budget = left;
                Ok(())
            }
            None => Err(self.error(DecodeErrorKind::OverBudget)),
        }
    }

    /// The next `len` bytes.
    #[inline]
    pub(crate) fn take(&mut self, len: usize) -> Result<&'a [u8], DecodeError> {
        match self.rest.split_at_checked(len) {
            Some((taken, rest)) => {
                self.rest = rest;
                Ok(taken)
            }
            None => Err(self.error(DecodeErrorKind::Truncated)),
        }
    }

    /// The next `N` bytes.
    #[inline]
    pub fn fixed<const N: usize>(&mut self) -> Result<&'a [u8; N], DecodeError> {
        match self.rest.split_first_chunk() {
            Some((chunk, rest)) => {
                self.rest = rest;
                Ok(chunk)
            }
            None => Err(self.error(DecodeErrorKind::Truncated)),
        }
    }

    /// A value of fixed size: `let port: i32 = r.value()?`.
    #[inline]
    pub fn value<T: Fixed>(&mut self) -> Result<T, DecodeError> {
        match T::split(self.rest) {
            Some((value, rest)) => {
                self.rest = rest;
                Ok(value)
            }
            None => Err(self.error(DecodeErrorKind::Truncated)),
        }
    }

    /// Neighbouring values of fixed size, with one check: `(self.port, self.epoch) = r.run()?`.
    #[inline]
    pub fn run<T: FixedRun>(&mut self) -> Result<T, DecodeError> {
        let split = self.rest.split_at_checked(T::BYTES);
        match split.and_then(|(run, rest)| Some((T::take(run)?, rest))) {
            Some((values, rest)) => {
                self.rest = rest;
                Ok(values)
            }
            None => Err(self.error(DecodeErrorKind::Truncated)),
        }
    }

    /// A boolean; any byte but zero is `true`.
    #[inline]
    pub fn bool(&mut self) -> Result<bool, DecodeError> {
        self.value()
    }

    /// An `int8`.
    #[inline]
    pub fn i8(&mut self) -> Result<i8, DecodeError> {
        self.value()
    }

    /// An `int16`.
    #[inline]
    pub fn i16(&mut self) -> Result<i16, DecodeError> {
        self.value()
    }

    /// A `uint16`.
    #[inline]
    pub fn u16(&mut self) -> Result<u16, DecodeError> {
        self.value()
    }

    /// An `int32`.
    #[inline]
    pub fn i32(&mut self) -> Result<i32, DecodeError> {
        self.value()
    }

    /// A `uint32`.
    #[inline]
    pub fn u32(&mut self) -> Result<u32, DecodeError> {
        self.value()
    }

    /// An `int64`.
    #[inline]
    pub fn i64(&mut self) -> Result<i64, DecodeError> {
        self.value()
    }

    /// A `float64`.
    #[inline]
    pub fn f64(&mut self) -> Result<f64, DecodeError> {
        self.value()
    }

    /// A `uuid`; all zero means none.
    #[inline]
    pub fn uuid(&mut self) -> Result<uuid::Uuid, DecodeError> {
        self.value()
    }

    /// An unsigned varint: at most five bytes, the fifth at most `0x0f`.
    #[inline]
    pub fn uvarint(&mut self) -> Result<u32, DecodeError> {
        match self.rest {
            [byte @ ..0x80, rest @ ..] => {
                self.rest = rest;
                Ok(u32::from(*byte))
            }
            [low, high @ ..0x80, rest @ ..] => {
                self.rest = rest;
                Ok(u32::from(low & 0x7f) | u32::from(*high) << 7)
            }
            _ => self.long_uvarint(),
        }
    }

    fn long_uvarint(&mut self) -> Result<u32, DecodeError> {
        match take_uvarint(self.rest) {
            Ok((value, bytes)) => {
                self.take(bytes)?;
                Ok(value)
            }
            Err(UvarintFault::Truncated) => Err(self.error(DecodeErrorKind::Truncated)),
            Err(UvarintFault::TooLong) => Err(self.error(DecodeErrorKind::VarintTooLong)),
        }
    }

    /// The length of bytes or of an array; `None` for null.
    #[inline]
    fn length(&mut self, flexible: bool) -> Result<Option<usize>, DecodeError> {
        let at = self.offset();
        if flexible {
            let length = self.uvarint()?.checked_sub(1).map(usize::try_from);
            return match length.transpose() {
                Ok(length) => Ok(length),
                Err(_) => Err(self.error_at(at, DecodeErrorKind::CountTooLarge)),
            };
        }
        self.signed_length(at)
    }

    #[inline]
    fn signed_length(&mut self, at: usize) -> Result<Option<usize>, DecodeError> {
        let length = self.i32()?;
        match usize::try_from(length) {
            Ok(length) => Ok(Some(length)),
            Err(_) if length == -1 => Ok(None),
            Err(_) => Err(self.error_at(at, DecodeErrorKind::NegativeLength)),
        }
    }

    /// A string that may be null.
    #[inline]
    pub fn nullable_string(&mut self, flexible: bool) -> Result<Option<Cow<'a, str>>, DecodeError> {
        let at = self.offset();
        let length = if flexible {
            self.length(true)?
        } else {
            let length = self.i16()?;
            match usize::try_from(length) {
                Ok(length) => Some(length),
                Err(_) if length == -1 => None,
                Err(_) => return Err(self.error_at(at, DecodeErrorKind::NegativeLength)),
            }
        };
        let Some(length) = length else {
            return Ok(None);
        };
        if length > STRING_BYTES_MAX {
            return Err(self.error_at(at, DecodeErrorKind::StringTooLong));
        }
        match std::str::from_utf8(self.take(length)?) {
            Ok(text) => Ok(Some(Cow::Borrowed(text))),
            Err(_) => Err(self.error_at(at, DecodeErrorKind::InvalidUtf8)),
        }
    }

    /// A string.
    #[inline]
    pub fn string(&mut self, flexible: bool) -> Result<Cow<'a, str>, DecodeError> {
        let at = self.offset();
        let text = self.nullable_string(flexible)?;
        self.not_null(text, at)
    }

    /// Bytes that may be null.
    #[inline]
    pub fn nullable_bytes(&mut self, flexible: bool) -> Result<Option<Cow<'a, [u8]>>, DecodeError> {
        match self.length(flexible)? {
            Some(length) => Ok(Some(Cow::Borrowed(self.take(length)?))),
            None => Ok(None),
        }
    }

    /// Bytes.
    #[inline]
    pub fn bytes(&mut self, flexible: bool) -> Result<Cow<'a, [u8]>, DecodeError> {
        let at = self.offset();
        let bytes = self.nullable_bytes(flexible)?;
        self.not_null(bytes, at)
    }

    /// Records that may be null.
    #[inline]
    pub fn nullable_records(&mut self, flexible: bool) -> Result<Records<'a>, DecodeError> {
        match self.length(flexible)? {
            Some(length) => Ok(Records::Wire(self.take(length)?)),
            None => Ok(Records::Null),
        }
    }

    /// Records.
    #[inline]
    pub fn records(&mut self, flexible: bool) -> Result<Records<'a>, DecodeError> {
        let at = self.offset();
        match self.nullable_records(flexible)? {
            Records::Null => Err(self.error_at(at, DecodeErrorKind::UnexpectedNull)),
            records => Ok(records),
        }
    }

    /// An array of fixed-size elements that may be null. Allocates nothing.
    #[inline]
    pub fn nullable_ints<T: Fixed>(
        &mut self,
        flexible: bool,
    ) -> Result<Option<Ints<'a, T>>, DecodeError> {
        let at = self.offset();
        let Some(count) = self.length(flexible)? else {
            return Ok(None);
        };
        let split = count
            .checked_mul(T::BYTES)
            .and_then(|bytes| self.rest.split_at_checked(bytes));
        match split {
            Some((elements, rest)) => {
                self.rest = rest;
                Ok(Some(Ints::wire(elements)))
            }
            None => Err(self.error_at(at, DecodeErrorKind::CountTooLarge)),
        }
    }

    /// An array of fixed-size elements. Allocates nothing.
    #[inline]
    pub fn ints<T: Fixed>(&mut self, flexible: bool) -> Result<Ints<'a, T>, DecodeError> {
        let at = self.offset();
        let ints = self.nullable_ints(flexible)?;
        self.not_null(ints, at)
    }

    /// The number of elements of an array, `None` for null: of that many the bytes that are left can hold at least
    /// `bytes_min` each, and the budget `memory_bytes` each.
    #[inline]
    pub(crate) fn element_count(
        &mut self,
        flexible: bool,
        bytes_min: usize,
        memory_bytes: usize,
    ) -> Result<Option<usize>, DecodeError> {
        let at = self.offset();
        let count = match self.length(flexible)? {
            None => return Ok(None),
            Some(0) => return Ok(Some(0)),
            Some(count) => count,
        };
        if count > self.rest.len() / bytes_min.max(1) {
            return Err(self.error_at(at, DecodeErrorKind::CountTooLarge));
        }
        self.charge(count.saturating_mul(memory_bytes))?;
        Ok(Some(count))
    }

    /// As [`element_count`](Self::element_count) of an array that may not be null.
    #[inline]
    pub(super) fn required_count(
        &mut self,
        flexible: bool,
        bytes_min: usize,
        memory_bytes: usize,
    ) -> Result<usize, DecodeError> {
        let at = self.offset();
        let count = self.element_count(flexible, bytes_min, memory_bytes)?;
        self.not_null(count, at)
    }

    #[inline]
    fn not_null<T>(&self, value: Option<T>, at: usize) -> Result<T, DecodeError> {
        match value {
            Some(value) => Ok(value),
            None => Err(self.error_at(at, DecodeErrorKind::UnexpectedNull)),
        }
    }

    /// The marker before a nullable struct that is not tagged: -1 for null, 1 for present.
    pub fn presence(&mut self) -> Result<bool, DecodeError> {
        let at = self.offset();
        match self.i8()? {
            1 => Ok(true),
            -1 => Ok(false),
            _ => Err(self.error_at(at, DecodeErrorKind::InvalidPresence)),
        }
    }

    /// The marker before a nullable struct inside a tagged field: 0 for null, 1 for present.
    pub fn tagged_presence(&mut self) -> Result<bool, DecodeError> {
        let at = self.offset();
        match self.uvarint()? {
            1 => Ok(true),
            0 => Ok(false),
            _ => Err(self.error_at(at, DecodeErrorKind::InvalidPresence)),
        }
    }

    /// The tagged fields at the end of a struct. `known` reads the payload of a tag it knows in this
    /// version and says `true`, with a reader that ends where the field ends; all others are kept.
    #[inline]
    pub fn tags(
        &mut self,
        known: impl FnMut(u32, &mut Self) -> Result<bool, DecodeError>,
    ) -> Result<Tags<'a>, DecodeError> {
        let at = self.offset();
        match self.uvarint()? {
            0 => Ok(Tags::EMPTY),
            count => self.some_tags(count, at, known),
        }
    }

    /// The tagged fields at the end of a struct that knows none.
    #[inline]
    pub fn unknown_tags(&mut self) -> Result<Tags<'a>, DecodeError> {
        self.tags(|_, _| Ok(false))
    }

    fn some_tags(
        &mut self,
        count: u32,
        at: usize,
        mut known: impl FnMut(u32, &mut Self) -> Result<bool, DecodeError>,
    ) -> Result<Tags<'a>, DecodeError> {
        let count_max = self.rest.len() / TAG_BYTES_MIN;
        let count = match usize::try_from(count) {
            Ok(count) if count <= count_max => count,
            _ => return Err(self.error_at(at, DecodeErrorKind::CountTooLarge)),
        };
        let mut unknown = Tags::EMPTY;
        for _ in 0..count {
            let tag = self.uvarint()?;
            let size = usize::try_from(self.uvarint()?).unwrap_or(usize::MAX);
            let payload = self.take(size)?;
            let after = self.narrow(payload);
            if known(tag, self)? {
                if !self.rest.is_empty() {
                    return Err(self.error(DecodeErrorKind::TagSize));
                }
            } else {
                if unknown.is_empty() {
                    self.charge(Tags::memory_bytes(count))?;
                    unknown = Tags::with_capacity(count);
                }
                unknown.push(tag, Cow::Borrowed(payload));
            }
            (self.rest, self.end) = after;
        }
        unknown.normalise();
        Ok(unknown)
    }

    /// Confines the reader to `payload`, which was just taken; returns what undoes it.
    fn narrow(&mut self, payload: &'a [u8]) -> (&'a [u8], usize) {
        let after = (self.rest, self.end);
        self.end -= self.rest.len();
        self.rest = payload;
        after
    }
}

#[cfg(test)]
#[path = "reader_tests.rs"]
mod tests;
