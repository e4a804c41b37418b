//! Record batches: built and read back, compared with Kafka's own, patched, and judged by the rules of Produce.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may panic"
)]

mod corpus;

use corpus::{Sample, samples};
use proptest::prelude::*;
use protocol::compression::Compression;
use protocol::records::{
    Batches, BuildError, ControlRecord, EndTxnMarker, HEADER_BYTES, Header, RecordBatch,
    RecordBatchBuilder, RecordErrorKind, TimestampType, TransactionResult, increment_sequence,
    patch_base_offset, patch_leader_epoch, patch_log_append_time, patch_max_timestamp,
};

const CAP_BYTES: usize = 1 << 20;

#[test]
fn kafkas_own_batches_read_as_kafka_reads_them() {
    for Sample {
        name,
        bytes,
        reading,
    } in samples()
    {
        assert_eq!(corpus::describe(&bytes), reading, "{name}");
    }
}

#[test]
fn uncompressed_batches_are_built_with_the_bytes_of_kafka() {
    let mut compared = 0;
    for Sample { name, bytes, .. } in samples() {
        let (batch, _) = RecordBatch::split_from(&bytes).unwrap();
        let rebuilt = rebuild(&batch, Compression::None);
        if batch.compression() == Compression::None {
            assert_eq!(rebuilt, bytes, "{name}");
            compared += 1;
        }
    }
    assert!(compared > 10);
}

#[test]
fn records_of_kafka_survive_every_codec() {
    for Sample { name, bytes, .. } in samples() {
        let (batch, _) = RecordBatch::split_from(&bytes).unwrap();
        let plain = rebuild(&batch, Compression::None);
        for codec in Compression::ALL {
            let again = rebuild(&batch, codec);
            let (again, _) = RecordBatch::split_from(&again).unwrap();
            again.verify_crc().unwrap();
            assert_eq!(
                rebuild(&again, Compression::None),
                plain,
                "{name} {codec:?}"
            );
        }
    }
}

/// The same batch, built anew.
fn rebuild(batch: &RecordBatch<'_>, codec: Compression) -> Vec<u8> {
    let mut builder = RecordBatchBuilder::new(batch.base_offset);
    builder.leader_epoch(batch.partition_leader_epoch);
    builder.producer(batch.producer_id, batch.producer_epoch, batch.base_sequence);
    if batch.is_transactional() {
        builder.transactional();
    }
    if batch.is_control() {
        builder.control();
    }
    if batch.timestamp_type() == TimestampType::LogAppendTime {
        builder.log_append_time(batch.max_timestamp);
    }
    if let Some(horizon) = batch.delete_horizon_ms() {
        builder.delete_horizon_ms(horizon);
    }
    if batch.record_count == 0 {
        return builder
            .build_empty(batch.last_offset(), batch.max_timestamp)
            .unwrap();
    }
    builder.compression(codec, None);
    // The records' own timestamps, which log append time hides.
    let mut bytes = batch.bytes().to_vec();
    patch_max_timestamp(&mut bytes, batch.max_timestamp).unwrap();
    let (batch, _) = RecordBatch::split_from(&bytes).unwrap();
    for record in &batch.records(CAP_BYTES).unwrap() {
        let record = record.unwrap();
        let headers: Vec<_> = record
            .headers()
            .map(Result::unwrap)
            .map(|h| (h.key, h.value))
            .collect();
        builder
            .append_at(
                record.offset,
                record.timestamp,
                record.key,
                record.value,
                &headers,
            )
            .unwrap();
    }
    builder.build_until(batch.last_offset()).unwrap()
}

#[test]
fn markers_are_control_records() {
    let marker = |name: &str| {
        let sample = samples()
            .into_iter()
            .find(|sample| sample.name == name)
            .unwrap();
        let (batch, _) = RecordBatch::split_from(&sample.bytes).unwrap();
        assert!(batch.is_control());
        let records = batch.records(0).unwrap();
        ControlRecord::parse(&records.iter().next().unwrap().unwrap()).unwrap()
    };
    let end = |result, coordinator_epoch| {
        ControlRecord::EndTxn(EndTxnMarker {
            result,
            coordinator_epoch,
        })
    };
    assert_eq!(marker("commit"), end(TransactionResult::Commit, 11));
    assert_eq!(marker("abort"), end(TransactionResult::Abort, -1));
    assert_eq!(marker("leader_change"), ControlRecord::Other(2));
}

#[test]
fn a_marker_is_built_with_the_bytes_of_kafka() {
    let marker = EndTxnMarker {
        result: TransactionResult::Commit,
        coordinator_epoch: 11,
    };
    let mut builder =
        RecordBatchBuilder::end_txn_marker(70, 1_700_000_000_888, 4000, 3, marker).unwrap();
    builder.leader_epoch(6);
    let commit = samples()
        .into_iter()
        .find(|sample| sample.name == "commit")
        .unwrap();
    assert_eq!(builder.build().unwrap(), commit.bytes);
}

#[test]
fn every_sample_walks_as_one_log() {
    let samples = samples();
    let log: Vec<u8> = samples
        .iter()
        .flat_map(|sample| sample.bytes.clone())
        .collect();
    let mut batches = Batches::strict(&log);
    for sample in &samples {
        assert_eq!(batches.next().unwrap().unwrap().bytes(), sample.bytes);
    }
    assert_eq!(batches.position(), log.len());
    assert!(batches.next().is_none());
}

#[test]
fn a_cut_off_last_batch_is_left_out_or_an_error() {
    let whole = small_batch();
    let log = [&whole[..], &whole].concat();
    for cut in whole.len() + 1..log.len() {
        let quiet: Vec<_> = Batches::new(&log[..cut]).collect();
        assert_eq!(quiet.len(), 1);
        assert_eq!(quiet[0].as_ref().unwrap().bytes(), whole);
        let strict: Vec<_> = Batches::strict(&log[..cut]).collect();
        assert_eq!(strict.len(), 2);
        let error = strict[1].as_ref().unwrap_err();
        assert_eq!((error.kind, error.at), (RecordErrorKind::CutOff, cut));
    }
}

#[test]
fn a_walk_ends_after_damage() {
    let whole = small_batch();
    let mut log = [&whole[..], &whole, &whole].concat();
    log[whole.len() + 16] = 1;
    let batches: Vec<_> = Batches::new(&log).collect();
    assert_eq!(batches.len(), 2);
    let error = batches[1].as_ref().unwrap_err();
    assert_eq!(
        (error.kind, error.at),
        (RecordErrorKind::UnsupportedMagic(1), whole.len() + 16)
    );
}

fn small_batch() -> Vec<u8> {
    let mut builder = RecordBatchBuilder::new(0);
    builder
        .append(1000, Some(b"key"), Some(b"value"), &[("a", None)])
        .unwrap();
    builder.append(2000, None, None, &[]).unwrap();
    builder.build().unwrap()
}

#[test]
fn offset_and_leader_epoch_are_outside_the_checksum() {
    let mut bytes = small_batch();
    patch_base_offset(&mut bytes, 1 << 40).unwrap();
    patch_leader_epoch(&mut bytes, 9).unwrap();
    let (batch, _) = RecordBatch::split_from(&bytes).unwrap();
    batch.verify_crc().unwrap();
    assert_eq!(
        (batch.base_offset, batch.last_offset()),
        (1 << 40, (1 << 40) + 1)
    );
    assert_eq!(batch.partition_leader_epoch, 9);
    let offsets: Vec<_> = batch
        .records(0)
        .unwrap()
        .iter()
        .map(|record| record.unwrap().offset)
        .collect();
    assert_eq!(offsets, [1 << 40, (1 << 40) + 1]);
}

#[test]
fn log_append_time_is_everyones_timestamp_and_can_be_taken_back() {
    let original = small_batch();
    let mut bytes = original.clone();
    patch_log_append_time(&mut bytes, 5555).unwrap();
    let (batch, _) = RecordBatch::split_from(&bytes).unwrap();
    batch.verify_crc().unwrap();
    assert_eq!(batch.timestamp_type(), TimestampType::LogAppendTime);
    assert_eq!(timestamps(&batch), [5555, 5555]);
    patch_max_timestamp(&mut bytes, 2000).unwrap();
    assert_eq!(bytes, original);
}

fn timestamps(batch: &RecordBatch<'_>) -> Vec<i64> {
    batch
        .records(0)
        .unwrap()
        .iter()
        .map(|record| record.unwrap().timestamp)
        .collect()
}

#[test]
fn less_than_a_header_cannot_be_patched() {
    let mut bytes = small_batch();
    bytes.truncate(HEADER_BYTES - 1);
    let before = bytes.clone();
    let cut_off = |result: Result<(), protocol::records::RecordError>| {
        assert_eq!(result.unwrap_err().kind, RecordErrorKind::CutOff);
    };
    cut_off(patch_base_offset(&mut bytes, 1));
    cut_off(patch_leader_epoch(&mut bytes, 1));
    cut_off(patch_log_append_time(&mut bytes, 1));
    cut_off(patch_max_timestamp(&mut bytes, 1));
    assert_eq!(bytes, before);
}

#[test]
fn sequences_wrap_after_the_largest() {
    assert_eq!(increment_sequence(2_147_483_646, 4), 2);
    assert_eq!(increment_sequence(i32::MAX, 1), 0);
    assert_eq!(increment_sequence(i32::MAX, 0), i32::MAX);
    assert_eq!(increment_sequence(0, i32::MAX), i32::MAX);
}

#[test]
fn the_builder_refuses_what_no_reader_takes() {
    let mut builder = RecordBatchBuilder::new(10);
    let mut at = |offset| builder.append_at(offset, 0, None, None, &[]);
    assert_eq!(at(9), Err(BuildError::Offset(9)));
    assert_eq!(at(12), Ok(()));
    assert_eq!(at(12), Err(BuildError::Offset(12)));
    let far = 10 + (1 << 31);
    assert_eq!(at(far), Err(BuildError::Offset(far)));
    assert_eq!(at(far - 1), Ok(()));
    assert_eq!(builder.clone().build_until(12), Err(BuildError::Offset(12)));
    assert!(builder.build().is_ok());

    assert_eq!(
        RecordBatchBuilder::new(0).build(),
        Err(BuildError::NoRecords)
    );
    let negative = RecordBatchBuilder::new(-1).append(0, None, None, &[]);
    assert_eq!(negative, Err(BuildError::Offset(-1)));

    let mut builder = RecordBatchBuilder::new(0);
    builder.append(0, None, None, &[]).unwrap();
    let refused = |builder: &RecordBatchBuilder| {
        assert_eq!(builder.clone().build(), Err(BuildError::ProducerState));
    };
    refused(builder.clone().transactional());
    refused(builder.clone().producer(1, -1, 0));
    refused(builder.clone().producer(1, 0, -1));
    assert!(
        builder
            .producer(1, 0, 0)
            .transactional()
            .clone()
            .build()
            .is_ok()
    );
}

type OwnedHeader = (String, Option<Vec<u8>>);

#[derive(Debug, Clone)]
struct OwnedRecord {
    gap: u8,
    timestamp: i64,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: Vec<OwnedHeader>,
}

fn any_record() -> impl Strategy<Value = OwnedRecord> {
    let bytes = |max| prop::option::of(prop::collection::vec(any::<u8>(), 0..max));
    let header = (any::<String>(), bytes(70));
    (
        prop_oneof![4 => Just(0), 1 => any::<u8>()],
        any::<i64>(),
        bytes(200),
        bytes(400),
        prop::collection::vec(header, 0..4),
    )
        .prop_map(|(gap, timestamp, key, value, headers)| OwnedRecord {
            gap,
            timestamp,
            key,
            value,
            headers,
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn what_is_built_is_read_back(
        records in prop::collection::vec(any_record(), 1..20),
        base_offset in 0..i64::MAX - 100_000,
        codec in prop::sample::select(&Compression::ALL[..]),
        append_time in prop::option::of(any::<i64>()),
        horizon in prop::option::of(any::<i64>()),
    ) {
        let mut builder = RecordBatchBuilder::new(base_offset);
        builder.compression(codec, None);
        if let Some(now_ms) = append_time {
            builder.log_append_time(now_ms);
        }
        if let Some(horizon_ms) = horizon {
            builder.delete_horizon_ms(horizon_ms);
        }
        let mut next_offset = base_offset;
        let mut offsets = Vec::new();
        for record in &records {
            let offset = next_offset + i64::from(record.gap);
            let headers: Vec<_> = record.headers.iter().map(|(key, value)| (key.as_str(), value.as_deref())).collect();
            builder.append_at(offset, record.timestamp, record.key.as_deref(), record.value.as_deref(), &headers).unwrap();
            offsets.push(offset);
            next_offset = offset + 1;
        }
        let bytes = builder.build().unwrap();
        let (batch, rest) = RecordBatch::split_from(&bytes).unwrap();
        prop_assert!(rest.is_empty());
        batch.verify_crc().unwrap();
        prop_assert_eq!(batch.last_offset(), next_offset - 1);
        prop_assert_eq!(batch.delete_horizon_ms(), horizon.filter(|horizon_ms| *horizon_ms >= 0));
        let read = batch.records(CAP_BYTES).unwrap();
        let read: Vec<_> = read.iter().map(Result::unwrap).collect();
        prop_assert_eq!(read.len(), records.len());
        for ((read, written), offset) in read.iter().zip(&records).zip(offsets) {
            prop_assert_eq!(read.offset, offset);
            prop_assert_eq!(read.timestamp, append_time.unwrap_or(written.timestamp));
            prop_assert_eq!(read.key, written.key.as_deref());
            prop_assert_eq!(read.value, written.value.as_deref());
            let expected: Vec<_> =
                written.headers.iter().map(|(key, value)| Header { key, value: value.as_deref() }).collect();
            let headers: Vec<_> = read.headers().map(Result::unwrap).collect();
            prop_assert_eq!(headers, expected);
        }
    }
}
