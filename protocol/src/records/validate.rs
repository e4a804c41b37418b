//! The rules for the `records` of one partition in a Produce request (Kafka's `ProduceRequest.validateRecords`,
//! `UnifiedLog.analyzeAndValidateRecords` and `LogValidator`).
//!
//! Not here: what depends on the topic or on what the partition holds already: keys in compacted topics, timestamp
//! bounds, sequences and epochs of producers.

use super::NO_TIMESTAMP;
use super::batch::{RecordBatch, TimestampType};
use super::error::{RecordError, RecordErrorKind};

/// What [`validate`] allows and how far it looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ValidateOptions {
    /// Largest batch, with its header and as sent (`max.message.bytes`).
    pub batch_bytes_max: usize,
    /// Most bytes that the records may have when decompressed.
    pub output_bytes_max: usize,
    /// Whether to read every record, decompressing if needed. Without it, records that no consumer can read may be
    /// stored, and the header's largest timestamp is taken on trust.
    pub walk_records: bool,
}

/// A batch that a client may append.
#[derive(Debug, Clone, Copy)]
pub struct Validated<'a> {
    /// The one batch.
    pub batch: RecordBatch<'a>,
    /// Largest timestamp of the records in milliseconds, where the header has another one or a client set log append
    /// time; Kafka then corrects the header ([`super::patch_max_timestamp`]). `None` also if the records were not read.
    pub corrected_max_timestamp: Option<i64>,
    /// Offset delta of the first record with the largest timestamp; `None` if the records were not read.
    pub max_timestamp_delta: Option<i32>,
    /// True if at least one record has no key; `None` if the records were not read.
    pub has_null_key: Option<bool>,
}

/// Checks that `bytes` is exactly one batch that a client may append: format 2, size, checksum, base offset 0, as many
/// records as offsets, a producer id with epoch and sequence, no control batch; and, if asked for, every record.
///
/// # Errors
/// The first rule that is broken.
pub fn validate<'a>(
    bytes: &'a [u8],
    options: &ValidateOptions,
) -> Result<Validated<'a>, RecordError> {
    if bytes.is_empty() {
        return Err(RecordError::new(RecordErrorKind::NoBatch, 0));
    }
    let (batch, rest) = RecordBatch::split_from(bytes)?;
    if !rest.is_empty() {
        return Err(RecordError::new(
            RecordErrorKind::MoreThanOneBatch,
            batch.size_bytes(),
        ));
    }
    if batch.size_bytes() > options.batch_bytes_max {
        let bytes = batch.size_bytes();
        return Err(RecordError::new(
            RecordErrorKind::BatchTooLarge { bytes },
            0,
        ));
    }
    batch.verify_crc()?;
    check_header(&batch)?;
    let mut validated = Validated {
        batch,
        corrected_max_timestamp: None,
        max_timestamp_delta: None,
        has_null_key: None,
    };
    if options.walk_records {
        walk(&mut validated, options.output_bytes_max)?;
    }
    Ok(validated)
}

fn check_header(batch: &RecordBatch<'_>) -> Result<(), RecordError> {
    let error = |kind, at| Err(RecordError::new(kind, at));
    if batch.base_offset != 0 {
        return error(RecordErrorKind::BaseOffset(batch.base_offset), 0);
    }
    if batch.is_control() {
        return error(RecordErrorKind::ControlBatch, 21);
    }
    if batch.has_delete_horizon() {
        return error(RecordErrorKind::DeleteHorizon, 21);
    }
    if i64::from(batch.record_count) != i64::from(batch.last_offset_delta) + 1 {
        return error(RecordErrorKind::RecordCount(batch.record_count), 57);
    }
    let sequenced = batch.producer_epoch >= 0 && batch.base_sequence >= 0;
    if batch.has_producer_id() && !sequenced || batch.is_transactional() && !batch.has_producer_id()
    {
        return error(RecordErrorKind::ProducerState, 43);
    }
    Ok(())
}

fn walk(validated: &mut Validated<'_>, output_bytes_max: usize) -> Result<(), RecordError> {
    let batch = validated.batch;
    let records = batch.records(output_bytes_max)?;
    let mut max_timestamp = NO_TIMESTAMP;
    let mut max_timestamp_delta = 0;
    let mut has_null_key = false;
    // As many records as offsets, and ascending offsets that stay in range, leave no room for a gap.
    for (delta, record) in (0..).zip(&records) {
        let record = record?;
        has_null_key |= record.key.is_none();
        if record.timestamp > max_timestamp {
            max_timestamp = record.timestamp;
            max_timestamp_delta = delta;
        }
    }
    validated.has_null_key = Some(has_null_key);
    validated.max_timestamp_delta = Some(max_timestamp_delta);
    let as_in_header =
        max_timestamp == batch.max_timestamp && batch.timestamp_type() == TimestampType::CreateTime;
    validated.corrected_max_timestamp = (!as_in_header).then_some(max_timestamp);
    Ok(())
}
