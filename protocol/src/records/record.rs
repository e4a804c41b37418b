//! The records of one batch, read lazily: key, value and headers are slices of the batch or of its decompressed bytes.
//!
//! Not here: the rules for records from clients ([`super::validate()`]) and what control records mean
//! ([`super::control`]).

use std::borrow::Cow;

use super::HEADER_BYTES;
use super::batch::{RecordBatch, TimestampType};
use super::error::{RecordError, RecordErrorKind};
use super::varint::Cursor;
use crate::compression::Compression;

/// Fewest bytes a header takes: two lengths.
const HEADER_BYTES_MIN: usize = 2;

/// The records of one batch, decompressed where needed.
#[derive(Debug, Clone)]
pub struct BatchRecords<'a> {
    batch: RecordBatch<'a>,
    body: Cow<'a, [u8]>,
}

impl<'a> BatchRecords<'a> {
    pub(super) fn new(
        batch: RecordBatch<'a>,
        output_cap_bytes: usize,
    ) -> Result<Self, RecordError> {
        let body = match batch.compression() {
            Compression::None => Cow::Borrowed(batch.body()),
            codec => match codec.decompress(batch.body(), output_cap_bytes) {
                Ok(records) => Cow::Owned(records),
                Err(error) => {
                    let kind = RecordErrorKind::Compression(error);
                    return Err(RecordError::new(kind, HEADER_BYTES));
                }
            },
        };
        Ok(Self { batch, body })
    }

    /// Iterates from the first record; allocates nothing.
    pub fn iter(&self) -> RecordIter<'_> {
        let at = match self.body {
            Cow::Borrowed(_) => HEADER_BYTES,
            Cow::Owned(_) => 0,
        };
        RecordIter::new(&self.batch, Cursor::new(&self.body, at))
    }

    /// Bytes of the records without compression.
    pub fn size_bytes(&self) -> usize {
        self.body.len()
    }
}

impl<'r> IntoIterator for &'r BatchRecords<'_> {
    type Item = Result<Record<'r>, RecordError>;
    type IntoIter = RecordIter<'r>;

    fn into_iter(self) -> RecordIter<'r> {
        self.iter()
    }
}

/// Iterator over the records of one batch; ends after the first error.
///
/// Every record is checked whole, headers included. Offsets must ascend within the batch's range, gaps are allowed. The
/// last record must end where the batch ends.
#[derive(Debug, Clone)]
pub struct RecordIter<'r> {
    cursor: Cursor<'r>,
    record_count: i32,
    remaining: i32,
    previous_delta: i32,
    last_offset_delta: i32,
    base_offset: i64,
    base_timestamp: i64,
    /// Timestamp of all records, with log append time.
    append_timestamp: Option<i64>,
}

impl<'r> RecordIter<'r> {
    fn new(batch: &RecordBatch<'_>, cursor: Cursor<'r>) -> Self {
        let append_timestamp = match batch.timestamp_type() {
            TimestampType::LogAppendTime => Some(batch.max_timestamp),
            TimestampType::CreateTime => None,
        };
        Self {
            cursor,
            record_count: batch.record_count,
            remaining: batch.record_count,
            previous_delta: -1,
            last_offset_delta: batch.last_offset_delta,
            base_offset: batch.base_offset,
            base_timestamp: batch.base_timestamp,
            append_timestamp,
        }
    }

    #[inline]
    fn read(&mut self) -> Result<Record<'r>, RecordError> {
        if self.cursor.remaining() == 0 {
            let kind = RecordErrorKind::RecordsMissing(self.record_count);
            return Err(self.cursor.error(kind));
        }
        let start = self.cursor;
        let length = self.cursor.varint()?;
        let Ok(length) = usize::try_from(length) else {
            return Err(start.error(RecordErrorKind::NegativeLength(length)));
        };
        let at = self.cursor.at();
        let mut fields = Cursor::new(self.cursor.bytes(length)?, at);
        let record = self.read_fields(&mut fields)?;
        if fields.remaining() != 0 {
            return Err(fields.error(RecordErrorKind::RecordLength));
        }
        Ok(record)
    }

    #[inline]
    fn read_fields(&mut self, fields: &mut Cursor<'r>) -> Result<Record<'r>, RecordError> {
        let _attributes = fields.u8()?;
        let timestamp_delta = fields.varlong()?;
        // Wraps, as in Kafka: a producer may set any two timestamps in one batch.
        let own_timestamp = self.base_timestamp.wrapping_add(timestamp_delta);
        let timestamp = self.append_timestamp.unwrap_or(own_timestamp);
        let before = *fields;
        let delta = fields.varint()?;
        if delta <= self.previous_delta || delta > self.last_offset_delta {
            return Err(before.error(RecordErrorKind::OffsetDelta(delta)));
        }
        self.previous_delta = delta;
        let key = fields.nullable_bytes()?;
        let value = fields.nullable_bytes()?;
        Ok(Record {
            offset: self.base_offset + i64::from(delta),
            timestamp,
            key,
            value,
            headers: Headers::read(fields)?,
        })
    }
}

impl<'r> Iterator for RecordIter<'r> {
    type Item = Result<Record<'r>, RecordError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.remaining == 0 {
            if self.cursor.remaining() == 0 {
                return None;
            }
            let error = self.cursor.error(RecordErrorKind::TrailingBytes);
            self.cursor = Cursor::new(&[], self.cursor.at());
            return Some(Err(error));
        }
        let record = self.read();
        if record.is_err() {
            self.remaining = 0;
            self.cursor = Cursor::new(&[], self.cursor.at());
        } else {
            self.remaining -= 1;
        }
        Some(record)
    }
}

impl std::iter::FusedIterator for RecordIter<'_> {}

/// One record. Null and empty keys and values are different.
#[derive(Debug, Clone)]
pub struct Record<'r> {
    /// Absolute offset in the partition.
    pub offset: i64,
    /// Milliseconds since the epoch, or -1; with log append time, the batch's.
    pub timestamp: i64,
    /// `None` is null.
    pub key: Option<&'r [u8]>,
    /// `None` is null, a tombstone in a compacted topic.
    pub value: Option<&'r [u8]>,
    headers: Headers<'r>,
}

impl<'r> Record<'r> {
    /// The headers in their order, duplicates included.
    pub fn headers(&self) -> Headers<'r> {
        self.headers.clone()
    }
}

/// One header of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Header<'r> {
    /// May be empty, and the same as that of another header.
    pub key: &'r str,
    /// `None` is null.
    pub value: Option<&'r [u8]>,
}

/// Iterator over the headers of one record, whose structure has been checked already.
///
/// The only error left is [`RecordErrorKind::HeaderKeyNotUtf8`]: a broker passes such a header on, as Kafka does, and
/// only who reads the key meets it.
#[derive(Debug, Clone)]
pub struct Headers<'r> {
    cursor: Cursor<'r>,
    remaining: usize,
}

impl<'r> Headers<'r> {
    /// Checks the headers at the cursor and moves behind them.
    #[inline]
    fn read(fields: &mut Cursor<'r>) -> Result<Self, RecordError> {
        let before = *fields;
        let count = fields.varint()?;
        let fits = usize::try_from(count)
            .ok()
            .filter(|count| *count <= fields.remaining() / HEADER_BYTES_MIN);
        let Some(remaining) = fits else {
            return Err(before.error(RecordErrorKind::HeaderCount(count)));
        };
        let cursor = *fields;
        for _ in 0..remaining {
            Self::read_one(fields)?;
        }
        Ok(Self { cursor, remaining })
    }

    #[inline]
    fn read_one(cursor: &mut Cursor<'r>) -> Result<(&'r [u8], Option<&'r [u8]>), RecordError> {
        let before = *cursor;
        let Some(key) = cursor.nullable_bytes()? else {
            return Err(before.error(RecordErrorKind::NegativeLength(-1)));
        };
        Ok((key, cursor.nullable_bytes()?))
    }

    fn read_text(cursor: &mut Cursor<'r>) -> Result<Header<'r>, RecordError> {
        let before = *cursor;
        let (key, value) = Self::read_one(cursor)?;
        match std::str::from_utf8(key) {
            Ok(key) => Ok(Header { key, value }),
            Err(_) => Err(before.error(RecordErrorKind::HeaderKeyNotUtf8)),
        }
    }
}

impl<'r> Iterator for Headers<'r> {
    type Item = Result<Header<'r>, RecordError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.remaining = self.remaining.checked_sub(1)?;
        Some(Self::read_text(&mut self.cursor))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.remaining, Some(self.remaining))
    }
}

impl ExactSizeIterator for Headers<'_> {}
