//! The codecs: round trips, what clients of other languages write, bombs and damage.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may panic"
)]

mod corpus;

use std::io::Write;

use lz4_flex::frame::{BlockMode, BlockSize, FrameEncoder, FrameInfo};
use proptest::prelude::*;
use protocol::compression::{Compression, CompressionError};
use protocol::records::{HEADER_BYTES, RecordBatch};

const CODECS: [Compression; 4] = [
    Compression::Gzip,
    Compression::Snappy,
    Compression::Lz4,
    Compression::Zstd,
];

fn compress(codec: Compression, input: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    codec.compress(None, input, &mut out).unwrap();
    out
}

fn text(bytes: usize) -> Vec<u8> {
    (0..)
        .flat_map(|line| format!("{line} bottles of beer, {}\n", line % 7).into_bytes())
        .take(bytes)
        .collect()
}

/// Bytes that no codec makes smaller.
fn noise(bytes: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_be_bytes()[3]
    };
    (0..bytes).map(|_| next()).collect()
}

#[test]
fn all_sizes_and_kinds_round_trip() {
    let sizes = [
        0, 1, 2, 31, 1023, 32_767, 32_768, 32_769, 65_535, 65_536, 65_537, 300_000,
    ];
    for codec in Compression::ALL {
        for size in sizes {
            for input in [text(size), noise(size), vec![0; size]] {
                let compressed = compress(codec, &input);
                let exact = codec.decompress(&compressed, size).unwrap();
                assert_eq!(exact, input, "{codec:?} {size}");
                assert!(
                    exact.capacity() <= size,
                    "{codec:?} {size}: {}",
                    exact.capacity()
                );
                assert_eq!(codec.decompress(&compressed, 2 * size + 5).unwrap(), input);
                if size > 0 {
                    let short = codec.decompress(&compressed, size - 1);
                    let too_large = CompressionError::TooLarge {
                        cap_bytes: size - 1,
                    };
                    assert_eq!(short, Err(too_large), "{codec:?} {size}");
                }
            }
        }
    }
}

#[test]
fn output_is_appended_and_text_gets_smaller() {
    for codec in CODECS {
        let mut out = b"before".to_vec();
        codec.compress(None, &text(50_000), &mut out).unwrap();
        assert!(out.starts_with(b"before"));
        assert!(out.len() < 20_000, "{codec:?} {}", out.len());
        assert_eq!(codec.decompress(&out[6..], 50_000).unwrap(), text(50_000));
    }
}

#[test]
fn levels_are_those_of_the_codec() {
    let input = text(200_000);
    let size = |codec: Compression, level| {
        let mut out = Vec::new();
        codec.compress(Some(level), &input, &mut out)?;
        assert_eq!(codec.decompress(&out, input.len()).unwrap(), input);
        Ok(out.len())
    };
    let wrong = |codec, level| Err(CompressionError::Level { codec, level });
    assert!(size(Compression::Gzip, 9).unwrap() < size(Compression::Gzip, 1).unwrap());
    assert!(size(Compression::Gzip, 0).unwrap() > input.len());
    assert_eq!(size(Compression::Gzip, 10), wrong(Compression::Gzip, 10));
    assert_eq!(size(Compression::Gzip, -1), wrong(Compression::Gzip, -1));
    assert!(size(Compression::Zstd, 19).unwrap() < size(Compression::Zstd, -5).unwrap());
    assert_eq!(size(Compression::Zstd, 23), wrong(Compression::Zstd, 23));
}

#[test]
fn numbers_and_names_are_kafkas() {
    for (id, name) in (0..).zip(["none", "gzip", "snappy", "lz4", "zstd"]) {
        let codec = Compression::from_id(id).unwrap();
        assert_eq!((codec.id(), codec.name()), (id, name));
        assert_eq!(Compression::from_name(name), Some(codec));
    }
    assert_eq!(Compression::from_id(5), None);
    assert_eq!(Compression::from_name("brotli"), None);
}

#[test]
fn gzip_members_follow_each_other() {
    let input = text(70_000);
    let members: Vec<u8> = input
        .chunks(9_999)
        .flat_map(|part| compress(Compression::Gzip, part))
        .collect();
    assert_eq!(
        Compression::Gzip.decompress(&members, input.len()).unwrap(),
        input
    );
    let too_large = CompressionError::TooLarge {
        cap_bytes: input.len() - 1,
    };
    assert_eq!(
        Compression::Gzip.decompress(&members, input.len() - 1),
        Err(too_large)
    );
}

#[test]
fn snappy_without_framing_is_what_librdkafka_writes() {
    let input = text(100_000);
    let block = snap::raw::Encoder::new().compress_vec(&input).unwrap();
    assert_eq!(
        Compression::Snappy.decompress(&block, input.len()).unwrap(),
        input
    );
    let too_large = CompressionError::TooLarge {
        cap_bytes: input.len() - 1,
    };
    assert_eq!(
        Compression::Snappy.decompress(&block, input.len() - 1),
        Err(too_large)
    );
}

#[test]
fn snappy_streams_with_their_headers_follow_each_other() {
    let input = text(100_000);
    let streams: Vec<u8> = input
        .chunks(40_000)
        .flat_map(|part| compress(Compression::Snappy, part))
        .collect();
    assert_eq!(
        Compression::Snappy
            .decompress(&streams, input.len())
            .unwrap(),
        input
    );
}

#[test]
fn snappy_is_written_with_the_header_of_java() {
    let sample = java_stream("snappy");
    assert_eq!(compress(Compression::Snappy, b"x")[..16], sample[..16]);
}

/// The compressed records of one of Kafka's own batches.
fn java_stream(name: &str) -> Vec<u8> {
    let sample = corpus::samples()
        .into_iter()
        .find(|sample| sample.name == name)
        .unwrap();
    let (batch, _) = RecordBatch::split_from(&sample.bytes).unwrap();
    batch.bytes()[HEADER_BYTES..].to_vec()
}

#[test]
fn lz4_is_written_with_the_frame_header_of_java() {
    let sample = java_stream("lz4");
    assert_eq!(compress(Compression::Lz4, b"x")[..7], sample[..7]);
}

fn lz4_frame(info: FrameInfo, input: &[u8]) -> Vec<u8> {
    let mut encoder = FrameEncoder::with_frame_info(info, Vec::new());
    encoder.write_all(input).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn lz4_frames_of_every_kind_follow_each_other() {
    let input = text(5_000_000);
    let sizes = [
        BlockSize::Max64KB,
        BlockSize::Max256KB,
        BlockSize::Max1MB,
        BlockSize::Max4MB,
    ];
    let mut frames = Vec::new();
    for size in sizes {
        for checksums in [false, true] {
            let info = FrameInfo::new()
                .block_mode(BlockMode::Independent)
                .block_size(size);
            let info = info.block_checksums(checksums).content_checksum(checksums);
            let info = info.content_size(checksums.then_some(5_000_000));
            frames.extend(lz4_frame(info, &input));
            frames.extend([0x5a, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 9, 9, 9]);
        }
    }
    let output = Compression::Lz4
        .decompress(&frames, 8 * input.len())
        .unwrap();
    assert_eq!(output.len(), 8 * input.len());
    assert!(output.chunks(input.len()).all(|part| part == input));
}

#[test]
fn lz4_blocks_that_need_their_predecessors_are_refused_as_by_java() {
    let info = FrameInfo::new()
        .block_mode(BlockMode::Linked)
        .block_size(BlockSize::Max64KB);
    let frame = lz4_frame(info, &text(100_000));
    assert_eq!(
        Compression::Lz4.decompress(&frame, 1 << 20),
        Err(CompressionError::Malformed(Compression::Lz4))
    );
}

#[test]
fn lz4_checksums_and_sizes_are_checked() {
    let info = FrameInfo::new()
        .block_mode(BlockMode::Independent)
        .block_size(BlockSize::Max64KB);
    let info = info
        .block_checksums(true)
        .content_checksum(true)
        .content_size(Some(1000));
    let frame = lz4_frame(info, &noise(1000));
    assert_eq!(
        Compression::Lz4.decompress(&frame, 1000).unwrap(),
        noise(1000)
    );
    for at in 0..frame.len() {
        for bit in 0..8 {
            let mut damaged = frame.clone();
            damaged[at] ^= 1 << bit;
            assert!(Compression::Lz4.decompress(&damaged, 1000).is_err(), "{at}");
        }
    }
}

#[test]
fn zstd_without_content_size_and_in_several_frames() {
    let input = text(300_000);
    let mut frames = Vec::new();
    for part in input.chunks(110_000) {
        frames.extend(zstd::stream::encode_all(part, 3).unwrap());
    }
    assert_eq!(
        Compression::Zstd.decompress(&frames, input.len()).unwrap(),
        input
    );
    let too_large = CompressionError::TooLarge {
        cap_bytes: input.len() - 1,
    };
    assert_eq!(
        Compression::Zstd.decompress(&frames, input.len() - 1),
        Err(too_large)
    );
}

#[test]
fn zstd_frames_with_checksums_long_windows_and_skipped_frames() {
    let input = text(100_000);
    let mut frames = Vec::new();
    for (level, window_log) in [(1, 10), (3, 27), (19, 22)] {
        let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), level).unwrap();
        encoder.include_checksum(true).unwrap();
        encoder.window_log(window_log).unwrap();
        encoder.write_all(&input).unwrap();
        frames.extend(encoder.finish().unwrap());
        frames.extend([0x5f, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 9, 9, 9]);
    }
    let output = Compression::Zstd
        .decompress(&frames, 3 * input.len())
        .unwrap();
    assert_eq!(output, input.repeat(3));
    let last = frames.len() - 12;
    frames[last] ^= 1;
    malformed(Compression::Zstd, &frames, 3 * input.len());
}

#[test]
fn bombs_stop_at_the_cap() {
    const CAP_BYTES: usize = 1 << 20;
    let zeros = vec![0; 64 << 20];
    let mut bombs: Vec<_> = CODECS.map(|codec| (codec, compress(codec, &zeros))).into();
    let member = compress(Compression::Gzip, &zeros[..CAP_BYTES / 2]);
    bombs.push((Compression::Gzip, member.repeat(100)));
    bombs.push((
        Compression::Zstd,
        zstd::stream::encode_all(&zeros[..], 3).unwrap(),
    ));
    bombs.push((
        Compression::Snappy,
        snap::raw::Encoder::new().compress_vec(&zeros).unwrap(),
    ));
    bombs.push((
        Compression::Lz4,
        compress(Compression::Lz4, &zeros[..CAP_BYTES / 2]).repeat(100),
    ));
    let large = FrameInfo::new()
        .block_mode(BlockMode::Independent)
        .block_size(BlockSize::Max4MB);
    bombs.push((Compression::Lz4, lz4_frame(large, &zeros)));
    for (codec, bomb) in bombs {
        let result = codec.decompress(&bomb, CAP_BYTES);
        assert_eq!(
            result,
            Err(CompressionError::TooLarge {
                cap_bytes: CAP_BYTES
            }),
            "{codec:?}"
        );
    }
}

#[test]
fn claims_without_content_are_refused() {
    let cap_bytes = 1 << 30;
    // 1 GiB by its header, and one empty block.
    let zstd = [0x28, 0xb5, 0x2f, 0xfd, 0xa0, 0, 0, 0, 0x40, 1, 0, 0];
    malformed(Compression::Zstd, &zstd, cap_bytes);
    // Blocks of up to 4 MiB, and none there.
    let large = FrameInfo::new()
        .block_mode(BlockMode::Independent)
        .block_size(BlockSize::Max4MB);
    let frame = lz4_frame(large, &[]);
    malformed(Compression::Lz4, &frame[..frame.len() - 4], cap_bytes);
    // 1 GiB by the length in front, and one byte.
    let snappy = [0xff, 0xff, 0xff, 0xff, 0x03, 0];
    malformed(Compression::Snappy, &snappy, cap_bytes);
    let framed = [&compress(Compression::Snappy, b"")[..], &[0xff; 4], b"x"].concat();
    malformed(Compression::Snappy, &framed, cap_bytes);
}

#[track_caller]
fn malformed(codec: Compression, input: &[u8], cap_bytes: usize) {
    assert_eq!(
        codec.decompress(input, cap_bytes),
        Err(CompressionError::Malformed(codec))
    );
}

/// Streams of our own and of Java's codecs.
fn streams() -> Vec<(Compression, Vec<u8>, usize)> {
    let mut streams = Vec::new();
    for codec in CODECS {
        for input in [text(3000), noise(700)] {
            streams.push((codec, compress(codec, &input), input.len()));
        }
        let stream = java_stream(codec.name());
        let bytes = codec.decompress(&stream, 1 << 20).unwrap().len();
        streams.push((codec, stream, bytes));
    }
    let block = snap::raw::Encoder::new().compress_vec(&text(3000)).unwrap();
    streams.push((Compression::Snappy, block, 3000));
    streams
}

#[test]
fn a_stream_cut_off_is_never_taken_for_the_whole() {
    for (codec, stream, bytes) in streams() {
        for cut in 0..stream.len() {
            // Framed snappy has no end mark: cut between two blocks it is a shorter stream.
            if let Ok(output) = codec.decompress(&stream[..cut], bytes) {
                assert!(
                    codec == Compression::Snappy && output.len() < bytes,
                    "{codec:?} {cut}"
                );
            }
        }
    }
}

#[test]
fn damage_never_panics_nor_breaks_the_cap() {
    for (codec, stream, bytes) in streams() {
        for at in 0..stream.len() {
            let mut damaged = stream.clone();
            damaged[at] ^= 1 << (at % 8);
            if let Ok(output) = codec.decompress(&damaged, bytes) {
                assert!(output.capacity() <= bytes, "{codec:?} {at}");
            }
        }
    }
}

proptest! {
    #[test]
    fn any_bytes_round_trip(input in prop::collection::vec(any::<u8>(), 0..5000)) {
        for codec in Compression::ALL {
            prop_assert_eq!(&codec.decompress(&compress(codec, &input), input.len()).unwrap(), &input);
        }
    }

    #[test]
    fn any_bytes_are_output_or_an_error(input in prop::collection::vec(any::<u8>(), 0..500)) {
        for codec in Compression::ALL {
            if let Ok(output) = codec.decompress(&input, 10_000) {
                prop_assert!(output.len() <= 10_000);
            }
        }
    }
}
