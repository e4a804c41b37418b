//! gzip: RFC 1952, read with any number of members.

use std::io::{Read, Write};

use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;

use super::{Compression, CompressionError, first_capacity, reserve};

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
    let malformed = CompressionError::Malformed(Compression::Gzip);
    let mut decoder = MultiGzDecoder::new(input);
    let mut out = Vec::with_capacity(first_capacity(input.len(), cap_bytes));
    loop {
        if out.len() == cap_bytes {
            // Reads on: the checksum of the last member has not been looked at yet.
            return match decoder.read(&mut [0]) {
                Ok(0) => Ok(out),
                Ok(_) => Err(CompressionError::TooLarge { cap_bytes }),
                Err(_) => Err(malformed),
            };
        }
        reserve(&mut out, 1, cap_bytes)?;
        let start = out.len();
        out.resize(out.capacity().min(cap_bytes), 0);
        let place = out.get_mut(start..).ok_or(malformed)?;
        let read = decoder.read(place).map_err(|_| malformed)?;
        out.truncate(start + read);
        if read == 0 {
            return Ok(out);
        }
    }
}
