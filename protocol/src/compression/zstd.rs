//! Zstandard: frames decoded straight into the output, so that the window size a frame claims allocates nothing.
//!
//! Room for the output is made by what the blocks of the input can hold, found by walking their headers: Java and
//! librdkafka write frames without a content size, and one that is there may lie.

use std::cell::RefCell;

use ::zstd::zstd_safe::{self, DCtx};

use super::{Compression, CompressionError};

const MALFORMED: CompressionError = CompressionError::Malformed(Compression::Zstd);

/// `ZSTD_error_dstSize_tooSmall`, one of the library's stable error numbers, which it returns negated.
const OUTPUT_TOO_SMALL: zstd_safe::ErrorCode = 0usize.wrapping_sub(70);

const FRAME_MAGIC: u32 = 0xFD2F_B528;
/// Frames to be skipped have this magic, with any value in the lowest four bits.
const SKIPPABLE_MAGIC: u32 = 0x184D_2A50;
/// The format's limit for the output of one block.
const BLOCK_BYTES_MAX: usize = 128 << 10;

thread_local! {
    /// Some 100 KiB, which would take longer to set up than a small batch takes to decode.
    static DECODER: RefCell<Option<DCtx<'static>>> = const { RefCell::new(None) };
}

pub(super) fn compress(
    level: Option<i32>,
    input: &[u8],
    out: &mut Vec<u8>,
) -> Result<(), CompressionError> {
    let codec = Compression::Zstd;
    let level = level.unwrap_or(::zstd::DEFAULT_COMPRESSION_LEVEL);
    if !::zstd::compression_level_range().contains(&level) {
        return Err(CompressionError::Level { codec, level });
    }
    let compressed =
        ::zstd::bulk::compress(input, level).map_err(|_| CompressionError::Failed(codec))?;
    out.extend_from_slice(&compressed);
    Ok(())
}

pub(super) fn decompress(input: &[u8], cap_bytes: usize) -> Result<Vec<u8>, CompressionError> {
    let bound_bytes = output_bound_bytes(input)?;
    let mut out = Vec::with_capacity(bound_bytes.min(cap_bytes));
    let decoded = DECODER.with_borrow_mut(|decoder| {
        if decoder.is_none() {
            *decoder = DCtx::try_create();
        }
        Some(decoder.as_mut()?.decompress(&mut out, input))
    });
    match decoded.ok_or(MALFORMED)? {
        Ok(_) => Ok(out),
        Err(OUTPUT_TOO_SMALL) if bound_bytes > cap_bytes => {
            Err(CompressionError::TooLarge { cap_bytes })
        }
        Err(_) => Err(MALFORMED),
    }
}

/// Most bytes that the blocks of all frames can decode to.
fn output_bound_bytes(input: &[u8]) -> Result<usize, CompressionError> {
    let mut rest = input;
    let mut bound_bytes = 0usize;
    while !rest.is_empty() {
        let magic = u32::from_le_bytes(take(&mut rest)?);
        if magic & !0xf == SKIPPABLE_MAGIC {
            let size = u32::from_le_bytes(take(&mut rest)?);
            skip(&mut rest, usize::try_from(size).map_err(|_| MALFORMED)?)?;
        } else if magic == FRAME_MAGIC {
            let has_checksum = skip_frame_header(&mut rest)?;
            bound_bytes = bound_bytes.saturating_add(skip_blocks(&mut rest)?);
            skip(&mut rest, if has_checksum { 4 } else { 0 })?;
        } else {
            return Err(MALFORMED);
        }
    }
    Ok(bound_bytes)
}

/// Moves to the first block; tells whether a checksum follows the last one.
fn skip_frame_header(rest: &mut &[u8]) -> Result<bool, CompressionError> {
    let [descriptor] = take(rest)?;
    let single_segment = descriptor & 0x20 != 0;
    let dictionary_bytes = match descriptor & 3 {
        0 => 0,
        1 => 1,
        2 => 2,
        _ => 4,
    };
    let content_size_bytes = match descriptor >> 6 {
        0 => usize::from(single_segment),
        1 => 2,
        2 => 4,
        _ => 8,
    };
    skip(
        rest,
        usize::from(!single_segment) + dictionary_bytes + content_size_bytes,
    )?;
    Ok(descriptor & 4 != 0)
}

/// Moves behind the last block of a frame; gives the most bytes that the blocks can decode to.
fn skip_blocks(rest: &mut &[u8]) -> Result<usize, CompressionError> {
    let mut bound_bytes = 0usize;
    loop {
        let [low, middle, high] = take(rest)?;
        let header = u32::from_le_bytes([low, middle, high, 0]);
        let size = usize::try_from(header >> 3).map_err(|_| MALFORMED)?;
        // Raw, one byte repeated, compressed; the fourth is reserved.
        let (input_bytes, output_bytes) = match (header >> 1) & 3 {
            0 => (size, size),
            1 => (1, size),
            2 => (size, BLOCK_BYTES_MAX),
            _ => return Err(MALFORMED),
        };
        skip(rest, input_bytes)?;
        bound_bytes = bound_bytes.saturating_add(output_bytes);
        if header & 1 != 0 {
            return Ok(bound_bytes);
        }
    }
}

fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], CompressionError> {
    let (field, after) = rest.split_first_chunk().ok_or(MALFORMED)?;
    *rest = after;
    Ok(*field)
}

fn skip(rest: &mut &[u8], bytes: usize) -> Result<(), CompressionError> {
    *rest = rest.get(bytes..).ok_or(MALFORMED)?;
    Ok(())
}
