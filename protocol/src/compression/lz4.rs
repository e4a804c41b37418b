//! LZ4: frames of the LZ4 frame format, one or more, of independent blocks.
//!
//! The frame reader is our own, over the block codec: a frame's header names block and content sizes, and a general
//! reader allocates by them. As in Kafka's Java client, blocks that depend on their predecessors are refused: no
//! Kafka client writes them, and Java consumers could not read them. The broken header checksum of record formats 0 and
//! 1 (KAFKA-3160) is not known here.

use std::io::Write;

use lz4_flex::block::{DecompressError, decompress_into};
use lz4_flex::frame::{BlockMode, BlockSize, FrameEncoder, FrameInfo};
use twox_hash::XxHash32;

use super::{Compression, CompressionError, first_capacity, reserve};

const MALFORMED: CompressionError = CompressionError::Malformed(Compression::Lz4);

const FRAME_MAGIC: u32 = 0x184D_2204;
/// Frames to be skipped have this magic, with any value in the lowest four bits.
const SKIPPABLE_MAGIC: u32 = 0x184D_2A50;
/// Bit of a block's size that says the block is stored as it is.
const STORED: u32 = 1 << 31;
/// A sequence of a block puts out at most 255 bytes for each of its own.
const EXPANSION_MAX: usize = 255;

pub(super) fn compress(input: &[u8], out: &mut Vec<u8>) -> Result<(), CompressionError> {
    let failed = CompressionError::Failed(Compression::Lz4);
    // As Java writes them, so that its readers take their usual path.
    let info = FrameInfo::new()
        .block_mode(BlockMode::Independent)
        .block_size(BlockSize::Max64KB);
    let mut encoder = FrameEncoder::with_frame_info(info, out);
    encoder.write_all(input).map_err(|_| failed)?;
    encoder.finish().map_err(|_| failed)?;
    Ok(())
}

pub(super) fn decompress(input: &[u8], cap_bytes: usize) -> Result<Vec<u8>, CompressionError> {
    let mut input = Input(input);
    let mut out = Vec::with_capacity(first_capacity(input.0.len(), cap_bytes));
    while !input.0.is_empty() {
        let magic = input.u32()?;
        if magic & !0xf == SKIPPABLE_MAGIC {
            let bytes = input.u32()?;
            input.bytes(bytes)?;
        } else if magic == FRAME_MAGIC {
            let frame = FrameHeader::read(&mut input)?;
            frame.append_blocks(&mut input, cap_bytes, &mut out)?;
        } else {
            return Err(MALFORMED);
        }
    }
    Ok(out)
}

/// What the header of a frame says about what follows.
struct FrameHeader {
    block_bytes_max: usize,
    block_checksums: bool,
    content_bytes: Option<u64>,
    content_checksum: bool,
}

impl FrameHeader {
    const VERSION: u8 = 0b1100_0000;
    const VERSION_1: u8 = 0b0100_0000;
    const INDEPENDENT_BLOCKS: u8 = 1 << 5;
    const BLOCK_CHECKSUMS: u8 = 1 << 4;
    const CONTENT_BYTES: u8 = 1 << 3;
    const CONTENT_CHECKSUM: u8 = 1 << 2;
    /// Reserved, and the dictionary that no reader of records has.
    const UNSUPPORTED: u8 = 0b11;

    /// Reads what follows the magic.
    fn read(input: &mut Input<'_>) -> Result<Self, CompressionError> {
        let start = input.0;
        let flags = input.u8()?;
        let block_descriptor = input.u8()?;
        let has = |flag| flags & flag != 0;
        if flags & Self::VERSION != Self::VERSION_1
            || has(Self::UNSUPPORTED)
            || !has(Self::INDEPENDENT_BLOCKS)
        {
            return Err(MALFORMED);
        }
        let block_bytes_max = match block_descriptor {
            0x40 => 64 << 10,
            0x50 => 256 << 10,
            0x60 => 1 << 20,
            0x70 => 4 << 20,
            _ => return Err(MALFORMED),
        };
        let content_bytes = if has(Self::CONTENT_BYTES) {
            Some(input.u64()?)
        } else {
            None
        };
        let descriptor_bytes = start.len() - input.0.len();
        let hash = XxHash32::oneshot(0, start.get(..descriptor_bytes).ok_or(MALFORMED)?);
        let [_, _, checksum, _] = hash.to_be_bytes();
        if input.u8()? != checksum {
            return Err(MALFORMED);
        }
        Ok(Self {
            block_bytes_max,
            block_checksums: has(Self::BLOCK_CHECKSUMS),
            content_bytes,
            content_checksum: has(Self::CONTENT_CHECKSUM),
        })
    }

    /// Reads the blocks up to the end mark and what follows it.
    fn append_blocks(
        &self,
        input: &mut Input<'_>,
        cap_bytes: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), CompressionError> {
        let start = out.len();
        loop {
            let size = input.u32()?;
            if size == 0 {
                break;
            }
            let block = input.bytes(size & !STORED)?;
            if self.block_checksums && input.u32()? != XxHash32::oneshot(0, block) {
                return Err(MALFORMED);
            }
            self.append_block(block, size & STORED != 0, cap_bytes, out)?;
        }
        let content = out.get(start..).ok_or(MALFORMED)?;
        let bytes = u64::try_from(content.len()).map_err(|_| MALFORMED)?;
        if self.content_bytes.is_some_and(|claimed| claimed != bytes) {
            return Err(MALFORMED);
        }
        if self.content_checksum && input.u32()? != XxHash32::oneshot(0, content) {
            return Err(MALFORMED);
        }
        Ok(())
    }

    fn append_block(
        &self,
        block: &[u8],
        stored: bool,
        cap_bytes: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), CompressionError> {
        if block.len() > self.block_bytes_max {
            return Err(MALFORMED);
        }
        if stored {
            reserve(out, block.len(), cap_bytes)?;
            out.extend_from_slice(block);
            return Ok(());
        }
        let start = out.len();
        let cap_left = cap_bytes.saturating_sub(start);
        let room = self
            .block_bytes_max
            .min(block.len().saturating_mul(EXPANSION_MAX));
        reserve(out, room.min(cap_left), cap_bytes)?;
        out.resize(start + room.min(cap_left), 0);
        let place = out.get_mut(start..).ok_or(MALFORMED)?;
        match decompress_into(block, place) {
            Ok(written) => {
                out.truncate(start + written);
                Ok(())
            }
            Err(DecompressError::OutputTooSmall { .. }) if cap_left < room => {
                Err(CompressionError::TooLarge { cap_bytes })
            }
            Err(_) => Err(MALFORMED),
        }
    }
}

/// The compressed bytes not read yet; numbers are little-endian.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn bytes(&mut self, count: u32) -> Result<&'a [u8], CompressionError> {
        let count = usize::try_from(count).map_err(|_| MALFORMED)?;
        let (bytes, rest) = self.0.split_at_checked(count).ok_or(MALFORMED)?;
        self.0 = rest;
        Ok(bytes)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], CompressionError> {
        let (bytes, rest) = self.0.split_first_chunk().ok_or(MALFORMED)?;
        self.0 = rest;
        Ok(*bytes)
    }

    fn u8(&mut self) -> Result<u8, CompressionError> {
        self.array().map(u8::from_le_bytes)
    }

    fn u32(&mut self) -> Result<u32, CompressionError> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, CompressionError> {
        self.array().map(u64::from_le_bytes)
    }
}
