//! Record batches: built, read back, and damaged in every way.
#![allow(clippy::unwrap_used)]

use protocol::compression::Compression;
use protocol::records::{
    Batches, Header, RecordBatch, RecordBatchBuilder, RecordErrorKind, ValidateOptions,
    patch_base_offset, patch_leader_epoch, patch_log_append_time, validate,
};

const OPTIONS: ValidateOptions = ValidateOptions {
    batch_bytes_max: 1 << 20,
    output_bytes_max: 1 << 20,
    walk_records: true,
};

/// One batch with every kind of key, value and header.
fn sample(codec: Compression) -> Vec<u8> {
    let mut builder = RecordBatchBuilder::new(0);
    builder.compression(codec, None).producer(4000, 3, 17);
    let headers = [
        ("a", Some(&b"1"[..])),
        ("a", None),
        ("", Some(&b""[..])),
        ("a", Some(&b"2"[..])),
    ];
    builder
        .append(1000, Some(b"key"), Some(b"value"), &headers)
        .unwrap();
    builder.append(999, None, Some(b""), &[]).unwrap();
    builder.append(2000, Some(b""), None, &[]).unwrap();
    builder
        .append(1500, None, None, &[("long", Some(&[7; 300]))])
        .unwrap();
    builder.build().unwrap()
}

#[test]
fn every_codec_round_trips() {
    for codec in Compression::ALL {
        let bytes = sample(codec);
        let validated = validate(&bytes, &OPTIONS).unwrap();
        assert_eq!(validated.corrected_max_timestamp, None);
        assert_eq!(validated.max_timestamp_delta, Some(2));
        assert_eq!(validated.has_null_key, Some(true));
        let batch = validated.batch;
        assert_eq!(batch.compression(), codec);
        let records = batch.records(1 << 20).unwrap();
        let records: Vec<_> = records.iter().map(Result::unwrap).collect();
        let timestamps: Vec<_> = records.iter().map(|r| (r.offset, r.timestamp)).collect();
        assert_eq!(timestamps, [(0, 1000), (1, 999), (2, 2000), (3, 1500)]);
        let fields: Vec<_> = records.iter().map(|r| (r.key, r.value)).collect();
        assert_eq!(fields[0], (Some(&b"key"[..]), Some(&b"value"[..])));
        assert_eq!(fields[1], (None, Some(&b""[..])));
        assert_eq!(fields[2], (Some(&b""[..]), None));
        assert_eq!(fields[3], (None, None));
        let headers: Vec<_> = records[0].headers().map(Result::unwrap).collect();
        let header = |key, value| Header { key, value };
        let expected = [
            header("a", Some(&b"1"[..])),
            header("a", None),
            header("", Some(&b""[..])),
            header("a", Some(&b"2"[..])),
        ];
        assert_eq!(headers, expected);
    }
}

#[test]
fn patches_keep_the_batch_valid() {
    for codec in Compression::ALL {
        let mut bytes = sample(codec);
        patch_base_offset(&mut bytes, 1 << 40).unwrap();
        patch_leader_epoch(&mut bytes, 9).unwrap();
        let (batch, _) = RecordBatch::split_from(&bytes).unwrap();
        batch.verify_crc().unwrap();
        assert_eq!(
            (batch.base_offset, batch.partition_leader_epoch),
            (1 << 40, 9)
        );
        assert_eq!(batch.last_offset(), (1 << 40) + 3);
        patch_log_append_time(&mut bytes, 5555).unwrap();
        let (batch, _) = RecordBatch::split_from(&bytes).unwrap();
        batch.verify_crc().unwrap();
        let records = batch.records(1 << 20).unwrap();
        let timestamps: Vec<_> = records.iter().map(|r| r.unwrap().timestamp).collect();
        assert_eq!(timestamps, [5555; 4]);
    }
}

#[test]
fn a_cut_off_last_batch_is_left_out_or_an_error() {
    let whole = sample(Compression::None);
    let mut bytes = whole.clone();
    bytes.extend_from_slice(&whole);
    for cut in whole.len() + 1..bytes.len() {
        let quiet: Vec<_> = Batches::new(&bytes[..cut]).collect();
        assert_eq!(quiet.len(), 1);
        assert!(quiet[0].is_ok());
        let strict: Vec<_> = Batches::strict(&bytes[..cut]).collect();
        assert_eq!(strict.len(), 2);
        assert_eq!(
            strict[1].as_ref().unwrap_err().kind,
            RecordErrorKind::CutOff
        );
    }
    assert_eq!(Batches::strict(&bytes).count(), 2);
}
