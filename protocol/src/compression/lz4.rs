//! LZ4: frames of the LZ4 frame format, one or more.

use std::io::{Read, Write};

use lz4_flex::frame::{BlockMode, BlockSize, FrameDecoder, FrameEncoder, FrameInfo};

use super::{Compression, CompressionError, first_capacity};

pub(super) fn compress(input: &[u8], out: &mut Vec<u8>) -> Result<(), CompressionError> {
    let failed = CompressionError::Failed(Compression::Lz4);
    // Java reads independent blocks only, and writes blocks of 64 KiB.
    let info = FrameInfo::new()
        .block_mode(BlockMode::Independent)
        .block_size(BlockSize::Max64KB);
    let mut encoder = FrameEncoder::with_frame_info(info, out);
    encoder.write_all(input).map_err(|_| failed)?;
    encoder.finish().map_err(|_| failed)?;
    Ok(())
}

pub(super) fn decompress(input: &[u8], cap_bytes: usize) -> Result<Vec<u8>, CompressionError> {
    let malformed = CompressionError::Malformed(Compression::Lz4);
    let mut out = Vec::with_capacity(first_capacity(input.len(), cap_bytes));
    let past_cap = u64::try_from(cap_bytes)
        .unwrap_or(u64::MAX)
        .saturating_add(1);
    let mut decoder = FrameDecoder::new(input).take(past_cap);
    decoder.read_to_end(&mut out).map_err(|_| malformed)?;
    if out.len() > cap_bytes {
        return Err(CompressionError::TooLarge { cap_bytes });
    }
    Ok(out)
}
