//! gzip: RFC 1952, read with any number of members.

use std::io::{Read, Write};

use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;

use super::{Compression, CompressionError, first_capacity};

const LEVEL_MAX: u32 = 9;

pub(super) fn compress(
    level: Option<i32>,
    input: &[u8],
    out: &mut Vec<u8>,
) -> Result<(), CompressionError> {
    let codec = Compression::Gzip;
    let level = match level {
        None => flate2::Compression::default(),
        Some(level) => match u32::try_from(level) {
            Ok(level) if level <= LEVEL_MAX => flate2::Compression::new(level),
            _ => return Err(CompressionError::Level { codec, level }),
        },
    };
    let mut encoder = GzEncoder::new(out, level);
    let written = encoder.write_all(input).and_then(|()| encoder.finish());
    written
        .map(|_| ())
        .map_err(|_| CompressionError::Failed(codec))
}

pub(super) fn decompress(input: &[u8], cap_bytes: usize) -> Result<Vec<u8>, CompressionError> {
    let mut out = Vec::with_capacity(first_capacity(input.len(), cap_bytes));
    let past_cap = u64::try_from(cap_bytes)
        .unwrap_or(u64::MAX)
        .saturating_add(1);
    let read = MultiGzDecoder::new(input)
        .take(past_cap)
        .read_to_end(&mut out);
    if out.len() > cap_bytes {
        return Err(CompressionError::TooLarge { cap_bytes });
    }
    match read {
        Ok(_) => Ok(out),
        Err(_) => Err(CompressionError::Malformed(Compression::Gzip)),
    }
}
