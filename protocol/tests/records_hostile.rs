//! Record batches from clients: the rules of Produce, and bytes damaged in every way.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may panic"
)]

mod corpus;

use corpus::samples;
use proptest::prelude::*;
use protocol::compression::{Compression, CompressionError};
use protocol::records::{
    HEADER_BYTES, RecordBatch, RecordBatchBuilder, RecordError, RecordErrorKind, ValidateOptions,
    validate,
};

const CAP_BYTES: usize = 1 << 20;

const OPTIONS: ValidateOptions = ValidateOptions {
    batch_bytes_max: 1 << 20,
    output_bytes_max: CAP_BYTES,
    walk_records: true,
};

/// Makes a batch of these record bytes, whatever they are.
fn batch_of(records: &[u8], record_count: i32) -> Vec<u8> {
    let mut bytes = plain_batch();
    bytes.truncate(HEADER_BYTES);
    bytes.extend_from_slice(records);
    put(&mut bytes, 23, &(record_count - 1).to_be_bytes());
    put(&mut bytes, 57, &record_count.to_be_bytes());
    seal(&mut bytes);
    bytes
}

fn plain_batch() -> Vec<u8> {
    let mut builder = RecordBatchBuilder::new(0);
    builder.append(1000, Some(b"k"), Some(b"v"), &[]).unwrap();
    builder.build().unwrap()
}

fn put(bytes: &mut [u8], at: usize, field: &[u8]) {
    bytes[at..at + field.len()].copy_from_slice(field);
}

/// Sets length and checksum to what the bytes are.
fn seal(bytes: &mut [u8]) {
    let length = i32::try_from(bytes.len() - 12).unwrap();
    put(bytes, 8, &length.to_be_bytes());
    let crc = crc32c::crc32c(&bytes[21..]);
    put(bytes, 17, &crc.to_be_bytes());
}

fn refusal(bytes: &[u8]) -> RecordError {
    validate(bytes, &OPTIONS).unwrap_err()
}

#[track_caller]
fn refused(bytes: &[u8], kind: RecordErrorKind, at: usize) {
    let error = refusal(bytes);
    assert_eq!((error.kind, error.at), (kind, at));
}

#[test]
fn what_the_records_say_is_told() {
    for codec in Compression::ALL {
        let mut builder = RecordBatchBuilder::new(0);
        builder.compression(codec, None);
        builder.append(1000, Some(b"k"), None, &[]).unwrap();
        builder.append(3000, Some(b"k"), None, &[]).unwrap();
        builder.append(3000, Some(b"k"), None, &[]).unwrap();
        let keyed = builder.clone().build().unwrap();
        let validated = validate(&keyed, &OPTIONS).unwrap();
        assert_eq!(validated.batch.bytes(), keyed);
        assert_eq!(validated.has_null_key, Some(false));
        assert_eq!(validated.max_timestamp_delta, Some(1));
        assert_eq!(validated.corrected_max_timestamp, None);

        builder.append(2000, None, None, &[]).unwrap();
        let mut bytes = builder.build().unwrap();
        put(&mut bytes, 35, &7777i64.to_be_bytes());
        seal(&mut bytes);
        let validated = validate(&bytes, &OPTIONS).unwrap();
        assert_eq!(validated.has_null_key, Some(true));
        assert_eq!(validated.corrected_max_timestamp, Some(3000));
    }
}

#[test]
fn without_a_walk_only_the_header_is_judged() {
    let options = ValidateOptions {
        walk_records: false,
        ..OPTIONS
    };
    let bytes = batch_of(&[0xff; 20], 4);
    let validated = validate(&bytes, &options).unwrap();
    assert_eq!(
        (validated.has_null_key, validated.max_timestamp_delta),
        (None, None)
    );
    assert!(validate(&bytes, &OPTIONS).is_err());
}

#[test]
fn exactly_one_batch_of_format_2_within_the_limit() {
    let batch = plain_batch();
    refused(&[], RecordErrorKind::NoBatch, 0);
    let two = [&batch[..], &batch].concat();
    refused(&two, RecordErrorKind::MoreThanOneBatch, batch.len());
    let options = ValidateOptions {
        batch_bytes_max: batch.len(),
        ..OPTIONS
    };
    assert!(validate(&batch, &options).is_ok());
    let options = ValidateOptions {
        batch_bytes_max: batch.len() - 1,
        ..OPTIONS
    };
    let error = validate(&batch, &options).unwrap_err();
    assert_eq!(
        error.kind,
        RecordErrorKind::BatchTooLarge { bytes: batch.len() }
    );
    for magic in [0, 1, 3, -1] {
        let mut bytes = batch.clone();
        put(&mut bytes, 16, &i8::to_be_bytes(magic));
        refused(&bytes, RecordErrorKind::UnsupportedMagic(magic), 16);
    }
}

#[test]
fn lying_lengths_are_refused() {
    for length in [0, 1, 48, -1, i32::MIN] {
        let mut bytes = plain_batch();
        put(&mut bytes, 8, &length.to_be_bytes());
        refused(&bytes, RecordErrorKind::BatchLength(length), 8);
    }
    let mut bytes = plain_batch();
    put(&mut bytes, 8, &i32::MAX.to_be_bytes());
    refused(&bytes, RecordErrorKind::CutOff, bytes.len());
}

/// A batch whose header field at this place has been changed, and the checksum with it.
fn with_field(at: usize, field: &[u8]) -> Vec<u8> {
    let mut bytes = plain_batch();
    put(&mut bytes, at, field);
    seal(&mut bytes);
    bytes
}

#[test]
fn header_fields_out_of_range_are_refused() {
    let offset = |offset: i64| with_field(0, &offset.to_be_bytes());
    refused(&offset(-1), RecordErrorKind::BaseOffset(-1), 0);
    refused(&offset(1), RecordErrorKind::BaseOffset(1), 0);
    let delta = |delta: i32| with_field(23, &delta.to_be_bytes());
    refused(&delta(-1), RecordErrorKind::OffsetDelta(-1), 23);
    refused(&delta(1), RecordErrorKind::RecordCount(1), 57);
    let count = |count: i32| with_field(57, &count.to_be_bytes());
    refused(&count(-1), RecordErrorKind::RecordCount(-1), 57);
    refused(&count(0), RecordErrorKind::RecordCount(0), 57);
    refused(&count(2), RecordErrorKind::RecordCount(2), 57);
    let attributes = |bits: i16| with_field(21, &bits.to_be_bytes());
    refused(&attributes(5), RecordErrorKind::UnknownCompression(5), 21);
    refused(&attributes(0x20), RecordErrorKind::ControlBatch, 21);
    refused(&attributes(0x40), RecordErrorKind::DeleteHorizon, 21);
    refused(&attributes(0x10), RecordErrorKind::ProducerState, 43);
    let mut bytes = plain_batch();
    put(&mut bytes, 0, &i64::MAX.to_be_bytes());
    put(&mut bytes, 23, &1i32.to_be_bytes());
    refused(&bytes, RecordErrorKind::Overflow, 0);
}

#[test]
fn a_producer_id_needs_epoch_and_sequence() {
    let producer = |id: i64, epoch: i16, sequence: i32| {
        let fields = [
            &id.to_be_bytes()[..],
            &epoch.to_be_bytes(),
            &sequence.to_be_bytes(),
        ]
        .concat();
        validate(&with_field(43, &fields), &OPTIONS)
            .map(|_| ())
            .map_err(|error| error.kind)
    };
    assert_eq!(producer(5, 0, 0), Ok(()));
    assert_eq!(producer(5, i16::MAX, i32::MAX), Ok(()));
    assert_eq!(producer(-1, -1, 0), Ok(()));
    assert_eq!(producer(5, -1, 0), Err(RecordErrorKind::ProducerState));
    assert_eq!(producer(5, 0, -1), Err(RecordErrorKind::ProducerState));
}

/// Body of a record without its length: attributes, timestamp and offset deltas, then the rest.
fn record(offset_delta: u8, rest: &[u8]) -> Vec<u8> {
    let mut body = vec![0, 0, offset_delta << 1];
    body.extend_from_slice(rest);
    let length = u8::try_from(body.len() << 1).unwrap();
    assert!(length < 0x80);
    [&[length][..], &body].concat()
}

/// Null key, null value, no headers.
const NOTHING: [u8; 3] = [1, 1, 0];

#[test]
fn offsets_of_records_follow_each_other() {
    let at = |deltas: [u8; 3]| batch_of(&deltas.map(|delta| record(delta, &NOTHING)).concat(), 3);
    assert!(validate(&at([0, 1, 2]), &OPTIONS).is_ok());
    refused(
        &at([0, 0, 1]),
        RecordErrorKind::OffsetDelta(0),
        HEADER_BYTES + 7 + 3,
    );
    refused(
        &at([0, 2, 1]),
        RecordErrorKind::OffsetDelta(1),
        HEADER_BYTES + 14 + 3,
    );
    refused(
        &at([0, 1, 3]),
        RecordErrorKind::OffsetDelta(3),
        HEADER_BYTES + 14 + 3,
    );
    refused(
        &at([1, 2, 3]),
        RecordErrorKind::OffsetDelta(3),
        HEADER_BYTES + 14 + 3,
    );
}

#[test]
fn malformed_records_are_refused() {
    let first = HEADER_BYTES;
    let one = |body: &[u8], kind, at: usize| refused(&batch_of(body, 1), kind, first + at);
    let nothing = record(0, &NOTHING);
    one(&[], RecordErrorKind::RecordsMissing(1), 0);
    refused(
        &batch_of(&nothing, 2),
        RecordErrorKind::RecordsMissing(2),
        first + nothing.len(),
    );
    one(
        &[&nothing[..], &[0]].concat(),
        RecordErrorKind::TrailingBytes,
        nothing.len(),
    );
    one(&[1], RecordErrorKind::NegativeLength(-1), 0);
    one(&[0x80], RecordErrorKind::RecordCutOff, 1);
    one(&[0xff; 9], RecordErrorKind::Varint, 0);
    one(&[8, 0], RecordErrorKind::RecordCutOff, 1);
    one(&[0], RecordErrorKind::RecordCutOff, 1);
    let fields = |rest: &[u8], kind, at: usize| one(&record(0, rest), kind, 4 + at);
    fields(&[], RecordErrorKind::RecordCutOff, 0);
    fields(&[3, 1, 0], RecordErrorKind::NegativeLength(-2), 0);
    fields(&[1, 3, 0], RecordErrorKind::NegativeLength(-2), 1);
    fields(&[10, 1, 0], RecordErrorKind::RecordCutOff, 1);
    fields(
        &[0xfe, 0xff, 0xff, 0xff, 0x0f, 1, 0],
        RecordErrorKind::RecordCutOff,
        5,
    );
    fields(&[1, 1, 0, 0], RecordErrorKind::RecordLength, 3);
    fields(&[1, 1, 1], RecordErrorKind::HeaderCount(-1), 2);
    fields(&[1, 1, 2], RecordErrorKind::HeaderCount(1), 2);
    fields(
        &[1, 1, 0xfe, 0xff, 0xff, 0xff, 0x0f],
        RecordErrorKind::HeaderCount(i32::MAX),
        2,
    );
    fields(&[1, 1, 2, 1, 1], RecordErrorKind::NegativeLength(-1), 3);
    fields(&[1, 1, 2, 0, 3], RecordErrorKind::NegativeLength(-2), 4);
    fields(&[1, 1, 2, 2, b'a'], RecordErrorKind::RecordCutOff, 5);
}

#[test]
fn a_header_key_that_is_no_text_troubles_only_who_reads_it() {
    let bytes = batch_of(&record(0, &[1, 1, 4, 2, 0xff, 1, 2, b'k', 1]), 1);
    let batch = validate(&bytes, &OPTIONS).unwrap().batch;
    let records = batch.records(0).unwrap();
    let headers: Vec<_> = records.iter().next().unwrap().unwrap().headers().collect();
    let error = headers[0].unwrap_err();
    assert_eq!(
        (error.kind, error.at),
        (RecordErrorKind::HeaderKeyNotUtf8, HEADER_BYTES + 7)
    );
    assert_eq!(headers[1].unwrap().key, "k");
}

#[test]
fn a_bomb_is_stopped_at_the_cap() {
    for codec in [
        Compression::Gzip,
        Compression::Snappy,
        Compression::Lz4,
        Compression::Zstd,
    ] {
        let mut builder = RecordBatchBuilder::new(0);
        builder.compression(codec, None);
        builder
            .append(0, None, Some(&vec![0; 2 * CAP_BYTES]), &[])
            .unwrap();
        let bytes = builder.build().unwrap();
        let too_large = CompressionError::TooLarge {
            cap_bytes: CAP_BYTES,
        };
        refused(
            &bytes,
            RecordErrorKind::Compression(too_large),
            HEADER_BYTES,
        );
    }
}

#[test]
fn a_batch_cut_off_anywhere_is_an_error() {
    for sample in samples() {
        for cut in 0..sample.bytes.len() {
            let error = RecordBatch::split_from(&sample.bytes[..cut]).unwrap_err();
            assert_eq!(
                (error.kind, error.at),
                (RecordErrorKind::CutOff, cut),
                "{}",
                sample.name
            );
        }
    }
}

#[test]
fn records_cut_off_anywhere_are_an_error() {
    for sample in samples() {
        for cut in HEADER_BYTES..sample.bytes.len() {
            let mut bytes = sample.bytes[..cut].to_vec();
            seal(&mut bytes);
            assert!(read_all(&bytes).is_err(), "{} at {cut}", sample.name);
        }
    }
}

/// Reads everything there is in one batch.
fn read_all(bytes: &[u8]) -> Result<usize, RecordError> {
    let (batch, _) = RecordBatch::split_from(bytes)?;
    batch.verify_crc()?;
    let records = batch.records(CAP_BYTES)?;
    let mut headers = 0;
    for record in &records {
        for header in record?.headers() {
            header?;
            headers += 1;
        }
    }
    Ok(headers)
}

#[test]
fn the_checksum_finds_a_flipped_bit_anywhere() {
    for sample in samples() {
        for at in 17..sample.bytes.len() {
            let mut bytes = sample.bytes.clone();
            bytes[at] ^= 1 << (at % 8);
            assert!(read_all(&bytes).is_err(), "{} at {at}", sample.name);
        }
    }
}

#[test]
fn flipped_bits_under_a_good_checksum_never_panic() {
    let mut still_read = 0;
    for sample in samples() {
        for at in 0..sample.bytes.len() {
            let mut bytes = sample.bytes.clone();
            bytes[at] ^= if at < HEADER_BYTES {
                0xff
            } else {
                1 << (at % 8)
            };
            let crc = crc32c::crc32c(&bytes[21..]);
            put(&mut bytes, 17, &crc.to_be_bytes());
            still_read += usize::from(read_all(&bytes).is_ok());
            let _ = validate(&bytes, &OPTIONS);
        }
    }
    assert!(still_read > 0);
}

proptest! {
    #[test]
    fn no_bytes_panic(records in prop::collection::vec(any::<u8>(), 0..300), count in 0..200i32, codec in 0..8i16) {
        let mut bytes = batch_of(&records, count);
        put(&mut bytes, 21, &codec.to_be_bytes());
        seal(&mut bytes);
        let _ = validate(&bytes, &OPTIONS);
        let _ = validate(&records, &OPTIONS);
        if let Ok(headers) = read_all(&bytes) {
            prop_assert!(headers <= CAP_BYTES);
        }
    }
}
