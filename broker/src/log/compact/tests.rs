//! What compaction keeps, batch by batch.

use protocol::compression::Compression;
use protocol::records::{ControlRecord, EndTxnMarker, TransactionResult};

use super::*;

const CAP_BYTES: usize = 1 << 20;

type KeyValue<'a> = (&'a str, Option<&'a str>);

fn batch(base_offset: i64, records: &[KeyValue<'_>]) -> Bytes {
    let mut builder = RecordBatchBuilder::new(base_offset);
    builder.producer(7, 0, i32::try_from(base_offset).unwrap());
    builder.compression(Compression::Lz4, None);
    for (index, (key, value)) in records.iter().enumerate() {
        let timestamp = 100 + index as i64;
        let value = value.map(str::as_bytes);
        let headers = [("h", Some(&b"x"[..]))];
        builder
            .append(timestamp, Some(key.as_bytes()), value, &headers)
            .unwrap();
    }
    builder.build().unwrap().into()
}

fn parse(bytes: &Bytes) -> RecordBatch<'_> {
    RecordBatch::split_from(bytes).unwrap().0
}

fn filter(batches: &[Bytes], now_ms: i64) -> Filter {
    let mut keys = KeyMap::new(1 << 20, 0, Arc::default());
    for bytes in batches {
        assert!(keys.add(&parse(bytes), CAP_BYTES).unwrap());
    }
    let rules = Rules {
        now_ms,
        delete_retention_ms: 1_000,
        cap_bytes: CAP_BYTES,
        log_start_offset: 0,
    };
    Filter::new(keys, rules)
}

fn changed(kept: Kept) -> Bytes {
    match kept {
        Kept::Changed(bytes) => bytes,
        other => panic!("{other:?}"),
    }
}

fn offsets_and_keys(bytes: &Bytes) -> Vec<(i64, String)> {
    let batch = parse(bytes);
    batch.verify_crc().unwrap();
    let records = batch.records(CAP_BYTES).unwrap();
    let each = records.iter().map(|record| {
        let record = record.unwrap();
        assert_eq!(record.headers().count(), 1);
        let key = String::from_utf8(record.key.unwrap().to_vec()).unwrap();
        (record.offset, key)
    });
    each.collect()
}

#[test]
fn the_last_of_each_key_stays_at_its_offset() {
    let batches = [
        batch(0, &[("a", Some("1")), ("b", Some("1")), ("a", Some("2"))]),
        batch(3, &[("b", Some("2"))]),
        batch(4, &[("c", Some("1"))]),
    ];
    let mut filter = filter(&batches, 0);
    let first = changed(filter.filter(&parse(&batches[0]), false).unwrap());
    assert_eq!(offsets_and_keys(&first), [(2, "a".to_owned())]);
    let (old, new) = (parse(&batches[0]), parse(&first));
    assert_eq!((new.base_offset, new.last_offset()), (0, 2));
    assert_eq!((new.producer_id, new.base_sequence), (7, 0));
    assert_eq!(
        (new.compression(), new.max_timestamp),
        (old.compression(), 102)
    );
    for whole in &batches[1..] {
        assert_eq!(filter.filter(&parse(whole), false).unwrap(), Kept::Whole);
    }
}

#[test]
fn tombstones_stay_until_their_horizon() {
    let batches = [
        batch(0, &[("a", Some("1"))]),
        batch(1, &[("a", None), ("b", Some("1"))]),
    ];
    let mut first = filter(&batches, 5_000);
    assert_eq!(
        first.filter(&parse(&batches[0]), false).unwrap(),
        Kept::Nothing
    );
    let marked = changed(first.filter(&parse(&batches[1]), false).unwrap());
    assert_eq!(parse(&marked).delete_horizon_ms(), Some(6_000));
    assert_eq!(offsets_and_keys(&marked).len(), 2);
    let marked = [marked];
    let mut early = filter(&marked, 5_999);
    assert_eq!(
        early.filter(&parse(&marked[0]), false).unwrap(),
        Kept::Whole
    );
    let mut late = filter(&marked, 6_000);
    let rest = changed(late.filter(&parse(&marked[0]), false).unwrap());
    assert_eq!(offsets_and_keys(&rest), [(2, "b".to_owned())]);
    assert_eq!(parse(&rest).base_offset, 1);
    assert_eq!(parse(&rest).delete_horizon_ms(), Some(6_000));
}

#[test]
fn the_last_batch_of_a_producer_stays_without_records() {
    let batches = [batch(0, &[("a", Some("1"))]), batch(1, &[("a", Some("2"))])];
    let mut filter = filter(&batches, 0);
    filter.last_of_producers.insert(7, 0);
    let kept = changed(filter.filter(&parse(&batches[0]), false).unwrap());
    let kept = parse(&kept);
    assert_eq!(
        (kept.record_count, kept.base_sequence, kept.last_offset()),
        (0, 0, 0)
    );
    // Once more, and nothing changes.
    let bytes = Bytes::copy_from_slice(kept.bytes());
    assert_eq!(filter.filter(&parse(&bytes), false).unwrap(), Kept::Whole);
    filter.last_of_producers.insert(7, 1);
    assert_eq!(filter.filter(&parse(&bytes), false).unwrap(), Kept::Nothing);
    assert_eq!(filter.filter(&parse(&bytes), true).unwrap(), Kept::Whole);
}

fn in_transaction(base_offset: i64, producer: (i64, i16), key: &str) -> Bytes {
    let mut builder = RecordBatchBuilder::new(base_offset);
    builder.producer(producer.0, producer.1, 0).transactional();
    let headers = [("h", Some(&b"x"[..]))];
    builder
        .append(1, Some(key.as_bytes()), Some(b"1"), &headers)
        .unwrap();
    builder.build().unwrap().into()
}

fn marker(base_offset: i64, producer: (i64, i16), result: TransactionResult) -> Bytes {
    let marker = EndTxnMarker {
        result,
        coordinator_epoch: 3,
    };
    let built = RecordBatchBuilder::end_txn_marker(base_offset, 50, producer.0, producer.1, marker);
    built.unwrap().build().unwrap().into()
}

/// Cleans `batches`, of which what lies in `aborted` is aborted; what is left, and the markers that went.
fn cleaned(
    batches: &[Bytes],
    aborted: &[AbortedTransaction],
    now_ms: i64,
    last: &[(i64, i64)],
) -> (Vec<Bytes>, Vec<i64>) {
    let aborted = Arc::new(AbortedIndex::new(aborted));
    let mut keys = KeyMap::new(1 << 20, 0, aborted);
    for bytes in batches {
        assert!(keys.add(&parse(bytes), CAP_BYTES).unwrap());
    }
    let mut filter = Filter::new(keys, filter(&[], now_ms).rules);
    filter.last_of_producers.extend(last.iter().copied());
    let mut left = Vec::new();
    for bytes in batches {
        match filter.filter(&parse(bytes), false).unwrap() {
            Kept::Whole => left.push(bytes.clone()),
            Kept::Changed(bytes) => left.push(bytes),
            Kept::Nothing => {}
        }
    }
    (left, filter.gone_markers)
}

fn offsets(batches: &[Bytes]) -> Vec<(i64, i32)> {
    let parsed = batches.iter().map(parse);
    parsed
        .map(|batch| (batch.base_offset, batch.record_count))
        .collect()
}

#[test]
fn aborted_records_go_and_hide_nothing_and_markers_follow_them() {
    let aborted = [AbortedTransaction {
        part: 1,
        producer_id: 9,
        first_offset: 1,
        last_offset: 2,
    }];
    let log = [
        batch(0, &[("a", Some("1"))]),
        in_transaction(1, (9, 0), "a"),
        marker(2, (9, 1), TransactionResult::Abort),
        in_transaction(3, (9, 1), "b"),
        marker(4, (9, 2), TransactionResult::Commit),
        in_transaction(5, (9, 2), "c"),
        marker(6, (9, 3), TransactionResult::Commit),
        batch(7, &[("b", Some("2"))]),
    ];
    let all = [0, 2, 4, 5, 6, 7].map(|offset| (offset, 1));
    // The records first. Their markers stay, as somebody may have read some.
    let (once, gone) = cleaned(&log, &aborted, 5_000, &[]);
    assert_eq!((offsets(&once), gone), (all.to_vec(), vec![]));
    assert!(parse(&once[3]).is_transactional());
    // Then they are marked, and still say what they said.
    let (twice, gone) = cleaned(&once, &aborted, 5_000, &[]);
    assert_eq!((offsets(&twice), gone), (all.to_vec(), vec![]));
    for (old, new) in [(&once[1], &twice[1]), (&once[2], &twice[2])] {
        let (old, new) = (parse(old), parse(new));
        new.verify_crc().unwrap();
        assert_eq!(new.delete_horizon_ms(), Some(6_000));
        assert!(new.is_control() && new.is_transactional());
        let said = |batch: &RecordBatch<'_>| {
            let records = batch.records(CAP_BYTES).unwrap();
            let record = records.iter().next().unwrap().unwrap();
            (
                record.offset,
                record.timestamp,
                ControlRecord::parse(&record).unwrap(),
            )
        };
        assert_eq!(said(&old), said(&new));
    }
    // The transaction that has a record keeps its marker as it is.
    assert_eq!(twice[4], log[6]);
    assert_eq!(cleaned(&twice, &aborted, 5_999, &[]).0, twice);
    let (last, gone) = cleaned(&twice, &aborted, 6_000, &[]);
    assert_eq!(offsets(&last), [0, 5, 6, 7].map(|offset| (offset, 1)));
    assert_eq!(gone, [2, 4]);
}

#[test]
fn a_marker_stays_while_a_batch_without_records_stands_for_its_producer() {
    let aborted = [AbortedTransaction {
        part: 1,
        producer_id: 9,
        first_offset: 0,
        last_offset: 1,
    }];
    let log = [
        in_transaction(0, (9, 0), "a"),
        marker(1, (9, 0), TransactionResult::Abort),
    ];
    let mut left = log.to_vec();
    for now_ms in [5_000, 10_000, 20_000] {
        left = cleaned(&left, &aborted, now_ms, &[(9, 0)]).0;
        assert_eq!(offsets(&left), [(0, 0), (1, 1)]);
        assert!(parse(&left[0]).is_transactional());
    }
    // When the producer is forgotten both go, one after the other.
    left = cleaned(&left, &aborted, 20_000, &[]).0;
    assert_eq!(offsets(&left), [(1, 1)]);
    left = cleaned(&left, &aborted, 20_000, &[]).0;
    assert_eq!(offsets(&left), [(1, 1)]);
    let (left, gone) = cleaned(&left, &aborted, 21_000, &[]);
    assert_eq!((left.len(), gone), (0, vec![1]));
}

#[test]
fn a_marker_that_alone_tells_its_producers_epoch_stays() {
    let log = marker(0, (9, 4), TransactionResult::Commit);
    for (epoch, expected) in [(4, true), (5, false)] {
        let mut filter = filter(std::slice::from_ref(&log), 0);
        filter.epochs_of_markers.insert(9, epoch);
        let kept = filter.filter(&parse(&log), false).unwrap();
        assert_eq!(kept == Kept::Whole, expected);
    }
}

#[test]
fn a_full_map_ends_within_a_batch() {
    let mut keys = KeyMap::new(0, 0, Arc::default());
    let names: Vec<String> = (0..ENTRIES_MIN + 5).map(|i| format!("{i}")).collect();
    let records: Vec<KeyValue<'_>> = names.iter().map(|name| (&**name, Some("v"))).collect();
    let first = batch(0, &records);
    assert!(!keys.add(&parse(&first), CAP_BYTES).unwrap());
    assert_eq!(keys.end_offset(), ENTRIES_MIN as i64);
    let rules = filter(&[], 0).rules;
    let mut filter = Filter::new(keys, rules);
    // What is beyond the map is kept.
    assert_eq!(filter.filter(&parse(&first), false).unwrap(), Kept::Whole);
}
