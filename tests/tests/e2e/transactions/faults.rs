//! Faults that brokers on PostgreSQL have had with idempotence and in transactions, on the transactional path; those of the plain
//! path are in `idempotence`. The table in ARCHITECTURE.md says which test stands for which fault.

use protocol::messages::ProduceRequest;
use tests::batch::NewBatch;
use tests::postgres::Postgres;
use tests::wire::{Connection, produce_request, produced};
use tests::{Broker, fresh_topic};

use super::{NONE, Txn, read, read_ended};

const OUT_OF_ORDER: i16 = protocol::ErrorCode::OutOfOrderSequenceNumber as i16;

fn produce_version(txn: &Txn) -> i16 {
    if txn.version == 1 { 11 } else { 12 }
}

/// Produces to several partitions by one request: code and base offset of each.
fn send_all(txn: &mut Txn, topic: &str, batches: &[&NewBatch]) -> Vec<(i16, i64)> {
    let bytes: Vec<Vec<u8>> = batches.iter().map(|batch| batch.bytes()).collect();
    let parts: Vec<(i32, &[u8])> = (0..).zip(bytes.iter().map(|bytes| &bytes[..])).collect();
    let request = ProduceRequest {
        transactional_id: Some(txn.id.clone().into()),
        ..produce_request(topic, &parts, -1)
    };
    let answer = txn.connection.call(&request, produce_version(txn));
    let produced = produced(&answer);
    produced.iter().map(|p| (p.error, p.base_offset)).collect()
}

#[test]
fn each_partition_of_a_transactional_request_is_judged_by_its_own_sequence() {
    let broker = Broker::shared();
    for version in [1, 2] {
        let topic = fresh_topic("faults");
        let mut reader = Connection::open(&broker);
        reader.create_topic(&topic, 3);
        let mut txn = Txn::new(&broker, version);
        for partition in 0..3 {
            // With transaction version 1 this adds the partition.
            txn.produce(&topic, partition, &["first"]);
        }
        let batch = |sequence: i32, values: &[&str]| {
            let mut batch = txn.batch(&topic, 0, values);
            batch.base_sequence = sequence;
            batch
        };
        let (first, next, gap) = (
            batch(0, &["first"]),
            batch(1, &["a", "b"]),
            batch(7, &["gap"]),
        );
        let answers = send_all(&mut txn, &topic, &[&first, &next, &gap]);
        assert_eq!(answers[..2], [(NONE, 0), (NONE, 1)], "version {version}");
        assert_eq!(answers[2].0, OUT_OF_ORDER);
        let answers = send_all(&mut txn, &topic, &[&next, &next, &next]);
        assert_eq!(answers, [(NONE, 1); 3]);
        txn.end(true);
        for partition in 0..3 {
            let seen = read_ended(&mut reader, &topic, partition);
            assert_eq!(seen.values, ["first", "a", "b"]);
        }
    }
}

#[test]
fn the_last_five_batches_of_a_transaction_are_known_by_their_offsets_across_the_wrap() {
    let broker = Broker::shared();
    for version in [1, 2] {
        let topic = fresh_topic("faults");
        let mut reader = Connection::open(&broker);
        reader.create_topic(&topic, 1);
        let mut txn = Txn::new(&broker, version);
        if version == 1 {
            assert_eq!(txn.try_add(&[(&topic, 0)]), [NONE]);
        }
        let batch = |i: i32| {
            let mut batch = txn.batch(&topic, 0, &["x", "y"]);
            let sequence = i64::from(i32::MAX) - 4 + 2 * i64::from(i);
            batch.base_sequence = (sequence % (1 << 31)) as i32;
            batch
        };
        let batches: Vec<NewBatch> = (0..7).map(batch).collect();
        let produce = produce_version(&txn);
        for (i, batch) in (0..).zip(&batches) {
            let sent = txn.send(&topic, 0, batch, produce, -1);
            assert_eq!((sent.error, sent.base_offset), (NONE, 2 * i));
        }
        for (i, batch) in (0..).zip(&batches).skip(2) {
            let again = txn.send(&topic, 0, batch, produce, -1);
            assert_eq!((again.error, again.base_offset), (NONE, 2 * i));
        }
        assert_ne!(txn.send(&topic, 0, &batches[1], produce, -1).error, NONE);
        txn.end(true);
        assert_eq!(read_ended(&mut reader, &topic, 0).values.len(), 14);
    }
}

/// No row of a record is touched again: in bytes of the database's log.
#[test]
fn the_end_of_a_transaction_costs_the_same_however_many_records_it_has() {
    let postgres = Postgres::start();
    let broker = Broker::start_with(&["--database-url", &postgres.url()]);
    let topic = fresh_topic("faults");
    let mut reader = Connection::open(&broker);
    reader.create_topic(&topic, 1);
    let mut txn = Txn::new(&broker, 2);
    let position = || {
        let at = postgres.query("select (pg_current_wal_insert_lsn() - '0/0')::text");
        at[0].parse::<u64>().unwrap()
    };
    let value = "x".repeat(200);
    for is_commit in [true, false, true] {
        let begun = position();
        for _ in 0..100 {
            txn.produce(&topic, 0, &[&*value; 100]);
        }
        let before_end = position();
        txn.end(is_commit);
        let (records, end) = (before_end - begun, position() - before_end);
        assert!(records > 2_000_000, "{records} bytes for the records");
        // Of some rows, and of pages that are written whole for the first time.
        assert!(
            end < records / 4,
            "{end} bytes for the end, {records} for the records"
        );
    }
    let seen = read(&mut reader, &topic, 0, 1);
    assert_eq!(seen.values.len(), 20_000);
}
