//! Zstandard: frames decoded straight into the output, so that the window size a frame claims allocates nothing.

use ::zstd::zstd_safe::{self, DCtx};

use super::{Compression, CompressionError, first_capacity};

/// `ZSTD_error_dstSize_tooSmall`, one of the library's stable error numbers, which it returns negated.
const OUTPUT_TOO_SMALL: zstd_safe::ErrorCode = 0usize.wrapping_sub(70);

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
    let malformed = CompressionError::Malformed(Compression::Zstd);
    let mut decoder = DCtx::try_create().ok_or(malformed)?;
    let mut capacity = first_capacity(input.len(), cap_bytes);
    loop {
        let mut out = Vec::with_capacity(capacity);
        match decoder.decompress(&mut out, input) {
            Ok(_) => return Ok(out),
            Err(OUTPUT_TOO_SMALL) if capacity < cap_bytes => {
                capacity = capacity.saturating_mul(2).min(cap_bytes);
            }
            Err(OUTPUT_TOO_SMALL) => return Err(CompressionError::TooLarge { cap_bytes }),
            Err(_) => return Err(malformed),
        }
    }
}
