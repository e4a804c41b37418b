//! A batch with another codec, as a broker keeps it where `compression.type` asks for one.
//!
//! The records stay what they are byte for byte, and so do all fields of the header but length, codec and checksum.

use super::batch::{ATTRIBUTES_AT, RecordBatch};
use super::error::{RecordError, RecordErrorKind};
use super::patch::patch_crc;
use super::{HEADER_BYTES, LOG_OVERHEAD};
use crate::compression::Compression;

/// Bits of the attributes that number the codec.
const CODEC_MASK: u8 = 0b111;

/// `batch` compressed with `codec`; `level` as in [`Compression::compress`], `output_cap_bytes` is the most that the
/// records may have without compression.
///
/// # Errors
/// [`RecordErrorKind::Compression`] if the records cannot be decompressed or compressed, [`RecordErrorKind::BatchTooLarge`]
/// past 2 GiB.
pub fn recompress(
    batch: &RecordBatch<'_>,
    codec: Compression,
    level: Option<i32>,
    output_cap_bytes: usize,
) -> Result<Vec<u8>, RecordError> {
    let wrong = |error| RecordError::new(RecordErrorKind::Compression(error), HEADER_BYTES);
    let cut_off = RecordError::new(RecordErrorKind::CutOff, batch.size_bytes());
    let header = batch.bytes().get(..HEADER_BYTES).ok_or(cut_off)?;
    let plain = batch.compression();
    let records = plain.decompress(batch.body(), output_cap_bytes);
    let records = records.map_err(wrong)?;
    let mut out = Vec::with_capacity(match codec {
        Compression::None => HEADER_BYTES + records.len(),
        _ => HEADER_BYTES + records.len() / 2,
    });
    out.extend_from_slice(header);
    codec.compress(level, &records, &mut out).map_err(wrong)?;

    let bytes = out.len();
    let too_large = RecordError::new(RecordErrorKind::BatchTooLarge { bytes }, 0);
    let length = i32::try_from(bytes - LOG_OVERHEAD).map_err(|_| too_large)?;
    let places = out.get_mut(LOG_OVERHEAD - 4..LOG_OVERHEAD);
    places
        .ok_or(cut_off)?
        .copy_from_slice(&length.to_be_bytes());
    let attributes = out.get_mut(ATTRIBUTES_AT + 1).ok_or(cut_off)?;
    *attributes = *attributes & !CODEC_MASK | codec.id();
    patch_crc(&mut out)?;
    Ok(out)
}
