//! Changes a broker makes to the header of a batch in place when it appends it.
//!
//! Offset and leader epoch lie outside the checksum; timestamps lie under it and make it be computed anew.
//! Not here: anything that changes the records.

use super::HEADER_BYTES;
use super::batch::{ATTRIBUTES_AT, Attributes, CRC_AT};
use super::error::{RecordError, RecordErrorKind};

const LEADER_EPOCH_AT: usize = 12;
const MAX_TIMESTAMP_AT: usize = 35;

/// Sets the base offset of the batch at the start of `batch`; the offsets of its records follow it.
///
/// # Errors
/// [`RecordErrorKind::CutOff`] if there are fewer bytes than a header.
pub fn patch_base_offset(batch: &mut [u8], base_offset: i64) -> Result<(), RecordError> {
    put(batch, 0, base_offset.to_be_bytes())
}

/// Sets the leader epoch of the batch at the start of `batch`.
///
/// # Errors
/// [`RecordErrorKind::CutOff`] if there are fewer bytes than a header.
pub fn patch_leader_epoch(batch: &mut [u8], leader_epoch: i32) -> Result<(), RecordError> {
    put(batch, LEADER_EPOCH_AT, leader_epoch.to_be_bytes())
}

/// Sets log append time as timestamp type and `now_ms` as the timestamp of all records. `batch` is one whole batch and
/// nothing else, since its checksum is computed anew.
///
/// # Errors
/// [`RecordErrorKind::CutOff`] if there are fewer bytes than a header.
pub fn patch_log_append_time(batch: &mut [u8], now_ms: i64) -> Result<(), RecordError> {
    let attributes = attributes(batch)? | Attributes::LOG_APPEND_TIME;
    patch_timestamps(batch, attributes, now_ms)
}

/// Sets create time as timestamp type and the largest timestamp, in milliseconds. `batch` is one whole batch and nothing
/// else, since its checksum is computed anew.
///
/// # Errors
/// [`RecordErrorKind::CutOff`] if there are fewer bytes than a header.
pub fn patch_max_timestamp(batch: &mut [u8], max_timestamp: i64) -> Result<(), RecordError> {
    let attributes = attributes(batch)? & !Attributes::LOG_APPEND_TIME;
    patch_timestamps(batch, attributes, max_timestamp)
}

fn attributes(batch: &[u8]) -> Result<i16, RecordError> {
    let from = batch.get(ATTRIBUTES_AT..).ok_or(cut_off(batch))?;
    let attributes = from.first_chunk().ok_or(cut_off(batch))?;
    Ok(i16::from_be_bytes(*attributes))
}

fn patch_timestamps(
    batch: &mut [u8],
    attributes: i16,
    max_timestamp: i64,
) -> Result<(), RecordError> {
    put(batch, ATTRIBUTES_AT, attributes.to_be_bytes())?;
    put(batch, MAX_TIMESTAMP_AT, max_timestamp.to_be_bytes())?;
    patch_crc(batch)
}

/// Computes the checksum of one whole batch and stores it.
pub(super) fn patch_crc(batch: &mut [u8]) -> Result<(), RecordError> {
    let covered = batch.get(ATTRIBUTES_AT..).ok_or(cut_off(batch))?;
    let crc = crc32c::crc32c(covered);
    put(batch, CRC_AT, crc.to_be_bytes())
}

fn put<const N: usize>(batch: &mut [u8], at: usize, field: [u8; N]) -> Result<(), RecordError> {
    let error = cut_off(batch);
    let header = batch.first_chunk_mut::<HEADER_BYTES>().ok_or(error)?;
    let place = header.get_mut(at..at + N).ok_or(error)?;
    place.copy_from_slice(&field);
    Ok(())
}

const fn cut_off(batch: &[u8]) -> RecordError {
    RecordError::new(RecordErrorKind::CutOff, batch.len())
}
