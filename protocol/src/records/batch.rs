//! One record batch as a view over its bytes, and the walk over batches that follow each other.
//!
//! Not here: the records inside ([`super::record`]) and the rules for batches from clients ([`super::validate()`]).

use super::error::{RecordError, RecordErrorKind};
use super::record::BatchRecords;
use super::{HEADER_BYTES, LOG_OVERHEAD, MAGIC, NO_PRODUCER_ID};
use crate::compression::Compression;

/// Position of the checksum in a batch.
pub(super) const CRC_AT: usize = 17;
/// Position of the attributes, the first bytes under the checksum.
pub(super) const ATTRIBUTES_AT: usize = 21;

/// What a record's timestamp means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TimestampType {
    /// Set by the producer.
    #[default]
    CreateTime,
    /// Set by the broker for the whole batch when it was appended.
    LogAppendTime,
}

/// The attribute bits of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Attributes(pub i16);

impl Attributes {
    const COMPRESSION: i16 = 0x07;
    /// Bit of [`TimestampType::LogAppendTime`].
    pub const LOG_APPEND_TIME: i16 = 0x08;
    /// Bit of a batch that belongs to a transaction.
    pub const TRANSACTIONAL: i16 = 0x10;
    /// Bit of a batch of control records.
    pub const CONTROL: i16 = 0x20;
    /// Bit that says the base timestamp is the delete horizon (KIP-534).
    pub const DELETE_HORIZON: i16 = 0x40;

    const fn has(self, bit: i16) -> bool {
        self.0 & bit != 0
    }
}

/// A view on one whole batch.
///
/// The fields are copies of the header as it stands in [`bytes`](Self::bytes).
#[derive(Debug, Clone, Copy)]
pub struct RecordBatch<'a> {
    /// Offset of the first record the batch ever had.
    pub base_offset: i64,
    /// Epoch of the leader that appended the batch, -1 before.
    pub partition_leader_epoch: i32,
    /// Always 2.
    pub magic: i8,
    /// CRC-32C as stored; see [`verify_crc`](Self::verify_crc).
    pub crc: u32,
    /// Codec, timestamp type and flags.
    pub attributes: Attributes,
    /// Last offset minus base offset. Kept by the cleaner even where the last records are gone.
    pub last_offset_delta: i32,
    /// Milliseconds that the timestamps of the records are relative to; with the delete horizon bit, that horizon.
    pub base_timestamp: i64,
    /// Largest timestamp in milliseconds; with log append time, the timestamp of every record.
    pub max_timestamp: i64,
    /// Idempotent producer, or -1.
    pub producer_id: i64,
    /// Epoch of the producer, or -1.
    pub producer_epoch: i16,
    /// Sequence of the first record, or -1.
    pub base_sequence: i32,
    /// Records in the batch; 0 in an empty batch that the cleaner kept for its sequence.
    pub record_count: i32,
    bytes: &'a [u8],
}

impl<'a> RecordBatch<'a> {
    /// The batch at the start of `bytes`, and the bytes after it.
    ///
    /// Checks only what is needed to find the end of the batch and its fields: sizes, the magic, the codec and that
    /// no count or delta is negative. Neither the checksum nor the records are looked at.
    ///
    /// # Errors
    /// [`RecordErrorKind::CutOff`] if `bytes` ends before the batch does; the other kinds for fields out of range.
    pub fn split_from(bytes: &'a [u8]) -> Result<(Self, &'a [u8]), RecordError> {
        let size = size_of_first(bytes)?;
        let Some((bytes, rest)) = bytes.split_at_checked(size) else {
            return Err(RecordError::new(RecordErrorKind::CutOff, bytes.len()));
        };
        let batch = Self::parse(bytes).ok_or(RecordError::new(RecordErrorKind::CutOff, 0))?;
        batch.check_header()?;
        Ok((batch, rest))
    }

    /// Reads the fields; `None` if there are fewer bytes than a header.
    fn parse(bytes: &'a [u8]) -> Option<Self> {
        let mut fields = bytes;
        let base_offset = i64::from_be_bytes(take(&mut fields)?);
        let _length: [u8; 4] = take(&mut fields)?;
        Some(Self {
            base_offset,
            partition_leader_epoch: i32::from_be_bytes(take(&mut fields)?),
            magic: i8::from_be_bytes(take(&mut fields)?),
            crc: u32::from_be_bytes(take(&mut fields)?),
            attributes: Attributes(i16::from_be_bytes(take(&mut fields)?)),
            last_offset_delta: i32::from_be_bytes(take(&mut fields)?),
            base_timestamp: i64::from_be_bytes(take(&mut fields)?),
            max_timestamp: i64::from_be_bytes(take(&mut fields)?),
            producer_id: i64::from_be_bytes(take(&mut fields)?),
            producer_epoch: i16::from_be_bytes(take(&mut fields)?),
            base_sequence: i32::from_be_bytes(take(&mut fields)?),
            record_count: i32::from_be_bytes(take(&mut fields)?),
            bytes,
        })
    }

    fn check_header(&self) -> Result<(), RecordError> {
        let error = |kind, at| Err(RecordError::new(kind, at));
        if self.magic != MAGIC {
            return error(RecordErrorKind::UnsupportedMagic(self.magic), 16);
        }
        if Compression::from_id(self.compression_id()).is_none() {
            let id = self.compression_id();
            return error(RecordErrorKind::UnknownCompression(id), ATTRIBUTES_AT);
        }
        if self.base_offset < 0 {
            return error(RecordErrorKind::BaseOffset(self.base_offset), 0);
        }
        if self.last_offset_delta < 0 {
            return error(RecordErrorKind::OffsetDelta(self.last_offset_delta), 23);
        }
        let last = i64::from(self.last_offset_delta);
        if self.base_offset.checked_add(last).is_none() {
            return error(RecordErrorKind::Overflow, 0);
        }
        if self.record_count < 0 {
            return error(RecordErrorKind::RecordCount(self.record_count), 57);
        }
        Ok(())
    }

    #[expect(clippy::cast_sign_loss, reason = "masked to three bits")]
    const fn compression_id(&self) -> u8 {
        (self.attributes.0 & Attributes::COMPRESSION) as u8
    }

    /// Offset of the last record the batch ever had.
    pub const fn last_offset(&self) -> i64 {
        self.base_offset + self.last_offset_delta as i64
    }

    /// The codec of the records.
    pub fn compression(&self) -> Compression {
        Compression::from_id(self.compression_id()).unwrap_or_default()
    }

    /// What the timestamps mean.
    pub const fn timestamp_type(&self) -> TimestampType {
        if self.attributes.has(Attributes::LOG_APPEND_TIME) {
            TimestampType::LogAppendTime
        } else {
            TimestampType::CreateTime
        }
    }

    /// True if the batch belongs to a transaction.
    pub const fn is_transactional(&self) -> bool {
        self.attributes.has(Attributes::TRANSACTIONAL)
    }

    /// True if the records are control records, which consumers never see.
    pub const fn is_control(&self) -> bool {
        self.attributes.has(Attributes::CONTROL)
    }

    /// True if the base timestamp is a delete horizon.
    pub const fn has_delete_horizon(&self) -> bool {
        self.attributes.has(Attributes::DELETE_HORIZON)
    }

    /// Time in milliseconds after which the cleaner drops the tombstones and markers in this batch (KIP-534).
    pub const fn delete_horizon_ms(&self) -> Option<i64> {
        if self.has_delete_horizon() {
            Some(self.base_timestamp)
        } else {
            None
        }
    }

    /// True if an idempotent or transactional producer wrote the batch.
    pub const fn has_producer_id(&self) -> bool {
        self.producer_id > NO_PRODUCER_ID
    }

    /// Sequence of the last record, which wraps at 2^31; -1 without a sequence.
    pub const fn last_sequence(&self) -> i32 {
        if self.base_sequence < 0 {
            return super::NO_SEQUENCE;
        }
        increment_sequence(self.base_sequence, self.last_offset_delta)
    }

    /// Size of the batch with its header.
    pub const fn size_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// The batch as it stands on the wire.
    pub const fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The records as they stand on the wire, compressed or not.
    pub(super) fn body(&self) -> &'a [u8] {
        self.bytes.get(HEADER_BYTES..).unwrap_or_default()
    }

    /// Computes the checksum over everything from the attributes on and compares it with the stored one.
    ///
    /// # Errors
    /// [`RecordErrorKind::Crc`].
    pub fn verify_crc(&self) -> Result<(), RecordError> {
        let computed = crc32c::crc32c(self.bytes.get(ATTRIBUTES_AT..).unwrap_or_default());
        if computed == self.crc {
            return Ok(());
        }
        let stored = self.crc;
        Err(RecordError::new(
            RecordErrorKind::Crc { stored, computed },
            CRC_AT,
        ))
    }

    /// The records: borrowed from the batch, or decompressed into at most `output_cap_bytes`.
    ///
    /// # Errors
    /// [`RecordErrorKind::Compression`]. Damaged records are found while iterating.
    pub fn records(&self, output_cap_bytes: usize) -> Result<BatchRecords<'a>, RecordError> {
        BatchRecords::new(*self, output_cap_bytes)
    }
}

/// Walks the batches in `bytes`; ends after the first error.
#[derive(Debug, Clone)]
pub struct Batches<'a> {
    rest: &'a [u8],
    at: usize,
    cut_off_is_error: bool,
}

impl<'a> Batches<'a> {
    /// Ends quietly at a batch that is cut off, as a Fetch answer may hold one.
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self {
            rest: bytes,
            at: 0,
            cut_off_is_error: false,
        }
    }

    /// Gives [`RecordErrorKind::CutOff`] for a batch that is cut off.
    pub const fn strict(bytes: &'a [u8]) -> Self {
        Self {
            rest: bytes,
            at: 0,
            cut_off_is_error: true,
        }
    }

    /// Position of the next batch in the bytes.
    pub const fn position(&self) -> usize {
        self.at
    }
}

impl<'a> Iterator for Batches<'a> {
    type Item = Result<RecordBatch<'a>, RecordError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        match RecordBatch::split_from(self.rest) {
            Ok((batch, rest)) => {
                self.rest = rest;
                self.at += batch.size_bytes();
                Some(Ok(batch))
            }
            Err(RecordError { kind, at }) => {
                self.rest = &[];
                if kind == RecordErrorKind::CutOff && !self.cut_off_is_error {
                    return None;
                }
                Some(Err(RecordError::new(kind, self.at + at)))
            }
        }
    }
}

impl std::iter::FusedIterator for Batches<'_> {}

/// The sequence `increment` after `sequence`; 2^31 - 1 is followed by 0.
///
/// Neither argument may be negative.
pub const fn increment_sequence(sequence: i32, increment: i32) -> i32 {
    if sequence > i32::MAX - increment {
        increment - (i32::MAX - sequence) - 1
    } else {
        sequence + increment
    }
}

/// Size of the first batch in `bytes` according to its length field, which need not all be there.
fn size_of_first(bytes: &[u8]) -> Result<usize, RecordError> {
    let length = bytes.get(8..).and_then(|from| from.first_chunk());
    let Some(length) = length.map(|length| i32::from_be_bytes(*length)) else {
        return Err(RecordError::new(RecordErrorKind::CutOff, bytes.len()));
    };
    match usize::try_from(length) {
        Ok(size) if size >= HEADER_BYTES - LOG_OVERHEAD => Ok(size + LOG_OVERHEAD),
        _ => Err(RecordError::new(RecordErrorKind::BatchLength(length), 8)),
    }
}

#[inline]
fn take<const N: usize>(fields: &mut &[u8]) -> Option<[u8; N]> {
    let (field, rest) = fields.split_first_chunk()?;
    *fields = rest;
    Some(*field)
}
