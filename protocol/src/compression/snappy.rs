//! Snappy: written in the framing of Java's `SnappyOutputStream` ("xerial"), read with it and without.
//!
//! The framing is eight bytes of magic, a version and the lowest version that can read it (both 1, big-endian), then
//! blocks: a big-endian length and that many bytes of plain snappy. Streams may follow each other, each with its own
//! magic. Java reads and writes the framing, and takes what does not start with the magic as one plain block; librdkafka
//! writes one plain block and reads both.

use snap::raw::{Decoder, Encoder, decompress_len, max_compress_len};

use super::{Compression, CompressionError, reserve};

const MAGIC: [u8; 8] = [0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0];
const VERSION: i32 = 1;
/// Magic, version, and lowest version that can read the stream.
const STREAM_HEADER_BYTES: usize = 16;
/// Input bytes per block, the default of Java's stream.
const BLOCK_BYTES: usize = 32 * 1024;
/// A snappy block has at least one byte for 64 of output, less the length in front: what claims more is lying.
const EXPANSION_MAX: usize = 64;

pub(super) fn compress(input: &[u8], out: &mut Vec<u8>) -> Result<(), CompressionError> {
    let failed = CompressionError::Failed(Compression::Snappy);
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&VERSION.to_be_bytes());
    out.extend_from_slice(&VERSION.to_be_bytes());
    let mut encoder = Encoder::new();
    let mut block = vec![0; max_compress_len(BLOCK_BYTES.min(input.len()))];
    for chunk in input.chunks(BLOCK_BYTES) {
        let size = encoder.compress(chunk, &mut block).map_err(|_| failed)?;
        out.extend_from_slice(&u32::try_from(size).map_err(|_| failed)?.to_be_bytes());
        out.extend_from_slice(block.get(..size).ok_or(failed)?);
    }
    Ok(())
}

pub(super) fn decompress(input: &[u8], cap_bytes: usize) -> Result<Vec<u8>, CompressionError> {
    let mut out = Vec::new();
    if !input.starts_with(&MAGIC) {
        append_block(input, cap_bytes, &mut out)?;
        return Ok(out);
    }
    let mut rest = input;
    while !rest.is_empty() {
        if rest.starts_with(&MAGIC) {
            rest = after_stream_header(rest)?;
            continue;
        }
        let (length, blocks) = rest.split_first_chunk().ok_or(MALFORMED)?;
        let length = usize::try_from(u32::from_be_bytes(*length)).map_err(|_| MALFORMED)?;
        let (block, after) = blocks.split_at_checked(length).ok_or(MALFORMED)?;
        append_block(block, cap_bytes, &mut out)?;
        rest = after;
    }
    Ok(out)
}

const MALFORMED: CompressionError = CompressionError::Malformed(Compression::Snappy);

/// What follows the header of a stream. Like Java, takes any version from the first on.
fn after_stream_header(stream: &[u8]) -> Result<&[u8], CompressionError> {
    let (header, rest) = stream
        .split_at_checked(STREAM_HEADER_BYTES)
        .ok_or(MALFORMED)?;
    let version = header
        .get(MAGIC.len()..)
        .and_then(|from| from.first_chunk());
    if i32::from_be_bytes(*version.ok_or(MALFORMED)?) < VERSION {
        return Err(MALFORMED);
    }
    Ok(rest)
}

fn append_block(block: &[u8], cap_bytes: usize, out: &mut Vec<u8>) -> Result<(), CompressionError> {
    let size = decompress_len(block).map_err(|_| MALFORMED)?;
    if size <= cap_bytes && size > block.len().saturating_mul(EXPANSION_MAX) {
        return Err(MALFORMED);
    }
    reserve(out, size, cap_bytes)?;
    let start = out.len();
    out.resize(start + size, 0);
    let place = out.get_mut(start..).ok_or(MALFORMED)?;
    let written = Decoder::new()
        .decompress(block, place)
        .map_err(|_| MALFORMED)?;
    out.truncate(start + written);
    Ok(())
}
