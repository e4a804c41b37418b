//! Builds one batch from values: for control markers, the log cleaner, forwarding and tests.
//!
//! The bytes are those of Kafka's own `MemoryRecordsBuilder` for the same input; compressed ones decompress to the same.
//! Not here: batches from clients, which are stored as they came ([`super::validate()`], [`super::patch_base_offset`]).

use super::batch::{Attributes, TimestampType};
use super::control::EndTxnMarker;
use super::error::RecordError;
use super::patch::patch_crc;
use super::varint::{put_varint, put_varlong, varlong_bytes};
use super::{
    HEADER_BYTES, LOG_OVERHEAD, MAGIC, NO_LEADER_EPOCH, NO_PRODUCER_EPOCH, NO_PRODUCER_ID,
    NO_SEQUENCE, NO_TIMESTAMP,
};
use crate::compression::{Compression, CompressionError};

/// Why a batch cannot be built from the values given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BuildError {
    /// Offsets must ascend and stay within 2^31 of the base offset.
    #[error("offset {0} does not fit the batch")]
    Offset(i64),
    /// A key, value, header or the whole batch has more than 2^31 - 1 bytes.
    #[error("record or batch is larger than 2 GiB")]
    TooLarge,
    /// There is no record, and no range of offsets for an empty batch.
    #[error("a batch without records needs `build_empty`")]
    NoRecords,
    /// Producer id, epoch and sequence do not go together.
    #[error("producer id, epoch and sequence do not go together")]
    ProducerState,
    /// The codec failed.
    #[error(transparent)]
    Compression(#[from] CompressionError),
    /// The header could not be completed.
    #[error(transparent)]
    Header(#[from] RecordError),
}

/// Collects records and writes them as one batch.
#[derive(Debug, Clone)]
pub struct RecordBatchBuilder {
    base_offset: i64,
    compression: Compression,
    level: Option<i32>,
    attributes: i16,
    log_append_time: Option<i64>,
    base_timestamp: Option<i64>,
    max_timestamp: i64,
    last_offset: Option<i64>,
    partition_leader_epoch: i32,
    producer_id: i64,
    producer_epoch: i16,
    base_sequence: i32,
    record_count: i32,
    /// A header's worth of zeros, then the records without compression.
    buffer: Vec<u8>,
}

impl RecordBatchBuilder {
    /// A batch that starts at `base_offset`, is not compressed and comes from no idempotent producer.
    pub fn new(base_offset: i64) -> Self {
        Self {
            base_offset,
            compression: Compression::None,
            level: None,
            attributes: 0,
            log_append_time: None,
            base_timestamp: None,
            max_timestamp: NO_TIMESTAMP,
            last_offset: None,
            partition_leader_epoch: NO_LEADER_EPOCH,
            producer_id: NO_PRODUCER_ID,
            producer_epoch: NO_PRODUCER_EPOCH,
            base_sequence: NO_SEQUENCE,
            record_count: 0,
            buffer: vec![0; HEADER_BYTES],
        }
    }

    /// A control batch with one marker, as a transaction coordinator writes it.
    ///
    /// # Errors
    /// [`BuildError::ProducerState`] for a negative producer id or epoch.
    pub fn end_txn_marker(
        base_offset: i64,
        timestamp: i64,
        producer_id: i64,
        producer_epoch: i16,
        marker: EndTxnMarker,
    ) -> Result<Self, BuildError> {
        let mut builder = Self::new(base_offset);
        builder
            .producer(producer_id, producer_epoch, NO_SEQUENCE)
            .transactional()
            .control();
        builder.append(timestamp, Some(&marker.key()), Some(&marker.value()), &[])?;
        Ok(builder)
    }

    /// The codec and its level; `None` is the codec's default level.
    pub fn compression(&mut self, compression: Compression, level: Option<i32>) -> &mut Self {
        self.compression = compression;
        self.level = level;
        self
    }

    /// Uses log append time: `now_ms` is the timestamp of every record.
    pub fn log_append_time(&mut self, now_ms: i64) -> &mut Self {
        self.log_append_time = Some(now_ms);
        self.attributes |= Attributes::LOG_APPEND_TIME;
        self
    }

    /// Sets the delete horizon in milliseconds, which takes the place of the base timestamp (KIP-534); a negative one is none.
    /// To be called before the first record is appended.
    pub fn delete_horizon_ms(&mut self, horizon_ms: i64) -> &mut Self {
        if horizon_ms >= 0 {
            self.base_timestamp = Some(horizon_ms);
            self.attributes |= Attributes::DELETE_HORIZON;
        }
        self
    }

    /// Sets idempotent producer, epoch and the sequence of the first record.
    pub fn producer(&mut self, id: i64, epoch: i16, base_sequence: i32) -> &mut Self {
        self.producer_id = id;
        self.producer_epoch = epoch;
        self.base_sequence = base_sequence;
        self
    }

    /// Marks the batch as part of a transaction.
    pub fn transactional(&mut self) -> &mut Self {
        self.attributes |= Attributes::TRANSACTIONAL;
        self
    }

    /// Marks the batch as one of control records.
    pub fn control(&mut self) -> &mut Self {
        self.attributes |= Attributes::CONTROL;
        self
    }

    /// Sets the leader epoch.
    pub fn leader_epoch(&mut self, leader_epoch: i32) -> &mut Self {
        self.partition_leader_epoch = leader_epoch;
        self
    }

    /// Records appended so far.
    pub const fn record_count(&self) -> i32 {
        self.record_count
    }

    /// Bytes of the batch so far, without compression.
    pub const fn uncompressed_bytes(&self) -> usize {
        self.buffer.len()
    }

    /// Appends a record at the offset after the last one.
    ///
    /// # Errors
    /// As [`append_at`](Self::append_at).
    pub fn append(
        &mut self,
        timestamp: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[(&str, Option<&[u8]>)],
    ) -> Result<(), BuildError> {
        let offset = match self.last_offset {
            None => self.base_offset,
            Some(last) => last.checked_add(1).ok_or(BuildError::Offset(last))?,
        };
        self.append_at(offset, timestamp, key, value, headers)
    }

    /// Appends a record at `offset`, which may leave a gap. The batch is unchanged on error.
    ///
    /// # Errors
    /// [`BuildError::Offset`] and [`BuildError::TooLarge`].
    pub fn append_at(
        &mut self,
        offset: i64,
        timestamp: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[(&str, Option<&[u8]>)],
    ) -> Result<(), BuildError> {
        if self.last_offset.is_some_and(|last| offset <= last) {
            return Err(BuildError::Offset(offset));
        }
        let offset_delta = self.offset_delta(offset)?;
        let base_timestamp = self.base_timestamp.unwrap_or(timestamp);
        // Wraps, as in Kafka, and back again on reading.
        let timestamp_delta = timestamp.wrapping_sub(base_timestamp);
        let record_count = self
            .record_count
            .checked_add(1)
            .ok_or(BuildError::TooLarge)?;

        let body = 1 + varlong_bytes(timestamp_delta) + varlong_bytes(i64::from(offset_delta));
        let body = body + nullable_bytes(key)? + nullable_bytes(value)? + headers_bytes(headers)?;
        let body_length = length(body)?;
        length(self.buffer.len() + body + varlong_bytes(i64::from(body_length)))?;

        let out = &mut self.buffer;
        put_varint(out, body_length);
        out.push(0);
        put_varlong(out, timestamp_delta);
        put_varint(out, offset_delta);
        put_nullable(out, key)?;
        put_nullable(out, value)?;
        put_varint(out, length(headers.len())?);
        for (key, value) in headers {
            put_nullable(out, Some(key.as_bytes()))?;
            put_nullable(out, *value)?;
        }
        self.base_timestamp = Some(base_timestamp);
        self.max_timestamp = self.max_timestamp.max(timestamp);
        self.last_offset = Some(offset);
        self.record_count = record_count;
        Ok(())
    }

    /// The batch as bytes.
    ///
    /// # Errors
    /// [`BuildError::NoRecords`] if nothing was appended, and the other kinds.
    pub fn build(mut self) -> Result<Vec<u8>, BuildError> {
        let last_offset = self.last_offset.ok_or(BuildError::NoRecords)?;
        self.finish(last_offset)
    }

    /// As [`build`](Self::build), for a batch whose last records are gone: it keeps its range up to `last_offset`.
    ///
    /// # Errors
    /// [`BuildError::Offset`] if a record lies behind `last_offset`, and the other kinds.
    pub fn build_until(mut self, last_offset: i64) -> Result<Vec<u8>, BuildError> {
        let last_record = self.last_offset.ok_or(BuildError::NoRecords)?;
        if last_record > last_offset {
            return Err(BuildError::Offset(last_offset));
        }
        self.finish(last_offset)
    }

    /// A batch without records, which the cleaner keeps for its range of offsets and its producer's last sequence. Its
    /// base timestamp is -1 and it is never compressed; records appended before are dropped.
    ///
    /// # Errors
    /// [`BuildError::Offset`] if `last_offset` is before the base offset.
    pub fn build_empty(
        mut self,
        last_offset: i64,
        max_timestamp: i64,
    ) -> Result<Vec<u8>, BuildError> {
        self.buffer.truncate(HEADER_BYTES);
        self.record_count = 0;
        self.compression = Compression::None;
        self.attributes &= !Attributes::DELETE_HORIZON;
        self.base_timestamp = None;
        self.log_append_time = None;
        self.max_timestamp = max_timestamp;
        self.finish(last_offset)
    }

    /// What the header says about timestamps.
    const fn timestamp_type(&self) -> TimestampType {
        match self.log_append_time {
            Some(_) => TimestampType::LogAppendTime,
            None => TimestampType::CreateTime,
        }
    }

    fn offset_delta(&self, offset: i64) -> Result<i32, BuildError> {
        let delta = offset
            .checked_sub(self.base_offset)
            .filter(|delta| *delta >= 0);
        let delta = delta.and_then(|delta| i32::try_from(delta).ok());
        delta
            .filter(|_| self.base_offset >= 0)
            .ok_or(BuildError::Offset(offset))
    }

    fn finish(&mut self, last_offset: i64) -> Result<Vec<u8>, BuildError> {
        let last_offset_delta = self.offset_delta(last_offset)?;
        let sequenced = self.attributes & Attributes::CONTROL != 0 || self.base_sequence >= 0;
        if self.producer_id > NO_PRODUCER_ID && (self.producer_epoch < 0 || !sequenced) {
            return Err(BuildError::ProducerState);
        }
        if self.producer_id < 0 && self.attributes & Attributes::TRANSACTIONAL != 0 {
            return Err(BuildError::ProducerState);
        }
        let mut batch = std::mem::take(&mut self.buffer);
        if self.compression != Compression::None {
            let records = batch.split_off(HEADER_BYTES);
            self.compression
                .compress(self.level, &records, &mut batch)?;
        }
        let header = self.header(last_offset_delta, length(batch.len() - LOG_OVERHEAD)?);
        for (place, byte) in batch.iter_mut().zip(header) {
            *place = byte;
        }
        patch_crc(&mut batch)?;
        Ok(batch)
    }

    fn header(&self, last_offset_delta: i32, batch_length: i32) -> impl Iterator<Item = u8> {
        let attributes = self.attributes | i16::from(self.compression.id());
        let max_timestamp = match self.timestamp_type() {
            TimestampType::LogAppendTime => self.log_append_time.unwrap_or(self.max_timestamp),
            TimestampType::CreateTime => self.max_timestamp,
        };
        let base_timestamp = self.base_timestamp.unwrap_or(NO_TIMESTAMP);
        self.base_offset
            .to_be_bytes()
            .into_iter()
            .chain(batch_length.to_be_bytes())
            .chain(self.partition_leader_epoch.to_be_bytes())
            .chain(MAGIC.to_be_bytes())
            .chain([0; 4])
            .chain(attributes.to_be_bytes())
            .chain(last_offset_delta.to_be_bytes())
            .chain(base_timestamp.to_be_bytes())
            .chain(max_timestamp.to_be_bytes())
            .chain(self.producer_id.to_be_bytes())
            .chain(self.producer_epoch.to_be_bytes())
            .chain(self.base_sequence.to_be_bytes())
            .chain(self.record_count.to_be_bytes())
    }
}

fn length(bytes: usize) -> Result<i32, BuildError> {
    i32::try_from(bytes).map_err(|_| BuildError::TooLarge)
}

fn nullable_bytes(field: Option<&[u8]>) -> Result<usize, BuildError> {
    let Some(field) = field else { return Ok(1) };
    Ok(varlong_bytes(i64::from(length(field.len())?)) + field.len())
}

fn headers_bytes(headers: &[(&str, Option<&[u8]>)]) -> Result<usize, BuildError> {
    let mut sum = varlong_bytes(i64::from(length(headers.len())?));
    for (key, value) in headers {
        sum += nullable_bytes(Some(key.as_bytes()))? + nullable_bytes(*value)?;
    }
    Ok(sum)
}

fn put_nullable(out: &mut Vec<u8>, field: Option<&[u8]>) -> Result<(), BuildError> {
    let Some(field) = field else {
        put_varint(out, -1);
        return Ok(());
    };
    put_varint(out, length(field.len())?);
    out.extend_from_slice(field);
    Ok(())
}
