//! The codecs of record batches, each with a cap on what it may put out.
//!
//! One file per codec; each reads what Kafka's clients really write and writes what all of them read. Sizes that a
//! compressed stream claims are hints at most: memory grows with the output that is really there and never past the cap.
//!
//! Not here: which codec a batch uses ([`crate::records::RecordBatch::compression`]) and what a broker allows.

mod gzip;
mod lz4;
mod snappy;
mod zstd;

/// A codec of record batches; its number is in the lowest three bits of the batch's attributes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Compression {
    /// Records as they are.
    #[default]
    None,
    /// RFC 1952, one or more members.
    Gzip,
    /// Snappy blocks, plain or in the framing of Java's `SnappyOutputStream`.
    Snappy,
    /// LZ4 frames.
    Lz4,
    /// Zstandard frames (KIP-110).
    Zstd,
}

/// Why bytes could not be compressed or decompressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CompressionError {
    /// The output is larger than the cap; a decompression bomb looks like this.
    #[error("decompressed records are larger than {cap_bytes} bytes")]
    TooLarge {
        /// The cap that was given.
        cap_bytes: usize,
    },
    /// The input does not follow its format, or is cut off.
    #[error("malformed {} data", .0.name())]
    Malformed(Compression),
    /// A level that the codec does not have.
    #[error("{} has no level {level}", .codec.name())]
    Level {
        /// The codec.
        codec: Compression,
        /// The level that was asked for.
        level: i32,
    },
    /// The codec refused to compress.
    #[error("{} could not compress the data", .0.name())]
    Failed(Compression),
}

impl Compression {
    /// All codecs, in the order of their numbers.
    pub const ALL: [Self; 5] = [Self::None, Self::Gzip, Self::Snappy, Self::Lz4, Self::Zstd];

    /// The codec with this number in the attributes of a batch.
    pub const fn from_id(id: u8) -> Option<Self> {
        match id {
            0 => Some(Self::None),
            1 => Some(Self::Gzip),
            2 => Some(Self::Snappy),
            3 => Some(Self::Lz4),
            4 => Some(Self::Zstd),
            _ => None,
        }
    }

    /// The number in the attributes of a batch.
    pub const fn id(self) -> u8 {
        match self {
            Self::None => 0,
            Self::Gzip => 1,
            Self::Snappy => 2,
            Self::Lz4 => 3,
            Self::Zstd => 4,
        }
    }

    /// The name in Kafka's settings (`compression.type`).
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Snappy => "snappy",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        }
    }

    /// The codec of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|codec| codec.name() == name)
    }

    /// Appends `input` to `out`, compressed. `None` is the codec's default level; gzip has 0 to 9, zstd those of its
    /// library. Snappy has no levels, and lz4 is always written at its fastest: both ignore the level.
    ///
    /// # Errors
    /// [`CompressionError::Level`], or [`CompressionError::Failed`] if the codec refuses.
    pub fn compress(
        self,
        level: Option<i32>,
        input: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), CompressionError> {
        match self {
            Self::None => {
                out.extend_from_slice(input);
                Ok(())
            }
            Self::Gzip => gzip::compress(level, input, out),
            Self::Snappy => snappy::compress(input, out),
            Self::Lz4 => lz4::compress(input, out),
            Self::Zstd => zstd::compress(level, input, out),
        }
    }

    /// Decompresses `input` into at most `output_cap_bytes` bytes. Neither output nor working memory of a codec grows
    /// past the cap because of what the input claims.
    ///
    /// # Errors
    /// [`CompressionError::TooLarge`] past the cap, [`CompressionError::Malformed`] for anything else.
    pub fn decompress(
        self,
        input: &[u8],
        output_cap_bytes: usize,
    ) -> Result<Vec<u8>, CompressionError> {
        match self {
            Self::Gzip | Self::Snappy | Self::Lz4 | Self::Zstd if input.is_empty() => {
                Err(CompressionError::Malformed(self))
            }
            Self::None if input.len() > output_cap_bytes => Err(CompressionError::TooLarge {
                cap_bytes: output_cap_bytes,
            }),
            Self::None => Ok(input.to_vec()),
            Self::Gzip => gzip::decompress(input, output_cap_bytes),
            Self::Snappy => snappy::decompress(input, output_cap_bytes),
            Self::Lz4 => lz4::decompress(input, output_cap_bytes),
            Self::Zstd => zstd::decompress(input, output_cap_bytes),
        }
    }
}

/// Room to start with: a few times the input, and never past the cap.
fn first_capacity(input_bytes: usize, cap_bytes: usize) -> usize {
    input_bytes.saturating_mul(4).max(1024).min(cap_bytes)
}

/// Makes room for `more` bytes, at least doubling the memory so that little is copied, and never past the cap.
fn reserve(out: &mut Vec<u8>, more: usize, cap_bytes: usize) -> Result<(), CompressionError> {
    let cap_left = cap_bytes.saturating_sub(out.len());
    if more > cap_left {
        return Err(CompressionError::TooLarge { cap_bytes });
    }
    if out.capacity() - out.len() < more {
        out.reserve_exact(out.len().max(more).min(cap_left));
    }
    Ok(())
}
