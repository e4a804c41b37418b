//! The codecs: any bytes as a compressed stream, and any bytes compressed and back.

use protocol::compression::{Compression, CompressionError};

use crate::choice::Verdict;

/// What a stream of one input may grow to.
const OUTPUT_BYTES_MAX: usize = 1 << 20;

/// The first byte chooses the codec and the second the level; the others are decompressed as they are, and then compressed.
pub fn compression(input: &[u8]) -> Verdict {
    let Some(([codec, level], rest)) = input.split_first_chunk() else {
        return Verdict::Skipped;
    };
    let codec = Compression::ALL[usize::from(*codec) % Compression::ALL.len()];
    decompress(codec, rest);
    compress(codec, i32::from(level.cast_signed()), rest);
    Verdict::Run
}

/// Whatever the input claims, no output passes the cap, and a larger cap gives the same output.
fn decompress(codec: Compression, input: &[u8]) {
    match codec.decompress(input, OUTPUT_BYTES_MAX) {
        Ok(output) => {
            assert!(output.len() <= OUTPUT_BYTES_MAX && output.capacity() <= OUTPUT_BYTES_MAX);
            let exact = codec.decompress(input, output.len());
            assert_eq!(exact.as_ref(), Ok(&output), "{codec:?} within its own size");
            if let Some(short) = output.len().checked_sub(1) {
                assert!(
                    codec.decompress(input, short).is_err(),
                    "{codec:?} past its cap"
                );
            }
        }
        Err(CompressionError::TooLarge { cap_bytes }) => assert_eq!(cap_bytes, OUTPUT_BYTES_MAX),
        Err(CompressionError::Malformed(of)) => assert_eq!(of, codec),
        Err(error) => panic!("{codec:?}: {error}"),
    }
}

fn compress(codec: Compression, level: i32, input: &[u8]) {
    let mut stream = Vec::new();
    let level = match codec.compress(Some(level), input, &mut stream) {
        Ok(()) => Some(level),
        Err(CompressionError::Level { .. }) => None,
        Err(error) => panic!("{codec:?}: {error}"),
    };
    if level.is_none() {
        stream.clear();
        codec.compress(None, input, &mut stream).unwrap();
    }
    let output = codec.decompress(&stream, input.len());
    assert_eq!(output.as_deref(), Ok(input), "{codec:?} at {level:?}");
    if codec == Compression::Snappy {
        let block = snap::raw::Encoder::new().compress_vec(input).unwrap();
        if !block.starts_with(b"\x82SNAPPY\0") {
            let output = codec.decompress(&block, input.len());
            assert_eq!(output.as_deref(), Ok(input), "snappy without frames");
        }
    }
}
