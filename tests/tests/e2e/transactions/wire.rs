//! Transactions on the wire, in both versions: what is visible when, and which error is given where.

use protocol::ErrorCode;
use protocol::messages::offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use protocol::messages::{OffsetFetchRequest, OffsetFetchResponse};
use tests::batch::NewBatch;
use tests::wire::{Connection, fetched};
use tests::{Broker, fresh_topic, wait_for};

use super::{LIMIT, NONE, Txn, ask, read, read_ended};

fn topic(broker: &Broker, partitions: i32) -> (Connection, String) {
    let mut connection = Connection::open(broker);
    let topic = fresh_topic("transactions");
    connection.create_topic(&topic, partitions);
    (connection, topic)
}

#[test]
fn records_are_there_when_they_are_committed_and_never_when_they_are_aborted() {
    let broker = Broker::shared();
    for version in [1, 2] {
        let (mut reader, topic) = topic(&broker, 2);
        let mut txn = Txn::new(&broker, version);
        assert_eq!(txn.produce(&topic, 0, &["a", "b"]), 0);
        assert_eq!(txn.produce(&topic, 1, &["c"]), 0);
        let plain = NewBatch::of(&["plain"]).bytes();
        assert_eq!(reader.produce(&topic, 0, &plain).base_offset, 2);

        let open = read(&mut reader, &topic, 0, 1);
        assert_eq!((open.values.len(), open.last_stable_offset), (0, 0));
        assert_eq!(open.high_watermark, 3);
        let all = read(&mut reader, &topic, 0, 0);
        assert_eq!(all.values, ["a", "b", "plain"]);

        txn.end(true);
        let committed = read_ended(&mut reader, &topic, 0);
        assert_eq!(committed.values, ["a", "b", "plain"]);
        assert_eq!(
            (committed.last_stable_offset, committed.high_watermark),
            (4, 4),
            "the marker has an offset"
        );
        assert_eq!(read_ended(&mut reader, &topic, 1).values, ["c"]);

        txn.produce(&topic, 0, &["never"]);
        txn.end(false);
        txn.produce(&topic, 0, &["again"]);
        txn.end(true);
        let seen = read_ended(&mut reader, &topic, 0);
        assert_eq!(seen.values, ["a", "b", "plain", "again"]);
        let all = read(&mut reader, &topic, 0, 0);
        assert_eq!(all.values, ["a", "b", "plain", "never", "again"]);
    }
}

#[test]
fn several_producers_on_one_partition_end_in_any_order() {
    let broker = Broker::shared();
    let (mut reader, topic) = topic(&broker, 1);
    let mut first = Txn::new(&broker, 2);
    let mut second = Txn::new(&broker, 1);
    first.produce(&topic, 0, &["1a"]);
    second.produce(&topic, 0, &["2a"]);
    first.produce(&topic, 0, &["1b"]);
    second.end(true);
    let seen = read(&mut reader, &topic, 0, 1);
    assert_eq!((seen.values.len(), seen.last_stable_offset), (0, 0));
    second.produce(&topic, 0, &["2b"]);
    first.end(false);
    // Up to where the second one's next transaction begins.
    let seen = wait_for("the marker", LIMIT, || {
        let seen = read(&mut reader, &topic, 0, 1);
        (seen.last_stable_offset == 4).then_some(seen)
    });
    assert_eq!(seen.values, ["2a"]);
    second.end(true);
    assert_eq!(read_ended(&mut reader, &topic, 0).values, ["2a", "2b"]);
}

#[test]
fn a_reader_that_waits_is_woken_by_the_end_of_a_transaction() {
    let broker = Broker::shared();
    let (mut reader, topic) = topic(&broker, 1);
    let mut txn = Txn::new(&broker, 2);
    txn.produce(&topic, 0, &["a"]);
    let mut request = tests::wire::fetch_request(&[(&topic, 0, 0, 1_000_000)]);
    request.isolation_level = 1;
    request.max_wait_ms = 60_000;
    reader.send(&request, 12);
    let begun = std::time::Instant::now();
    txn.end(true);
    let answer = reader.receive(protocol::ApiKey::Fetch, 12);
    assert!(!fetched(&answer)[0].records.is_empty());
    assert!(begun.elapsed().as_secs() < 30, "{:?}", begun.elapsed());
}

#[test]
fn the_end_of_the_log_is_the_last_stable_offset_for_readers_of_committed_records() {
    let broker = Broker::shared();
    let (mut reader, topic) = topic(&broker, 1);
    let mut txn = Txn::new(&broker, 2);
    txn.produce(&topic, 0, &["first"]);
    txn.end(true);
    assert_eq!(read_ended(&mut reader, &topic, 0).high_watermark, 2);
    txn.produce(&topic, 0, &["open"]);
    let end = |reader: &mut Connection, level: i8, timestamp: i64| {
        use protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
        use protocol::messages::{ListOffsetsRequest, ListOffsetsResponse};
        let request = ListOffsetsRequest {
            replica_id: -1,
            isolation_level: level,
            topics: vec![ListOffsetsTopic {
                name: topic.clone().into(),
                partitions: vec![ListOffsetsPartition {
                    current_leader_epoch: -1,
                    timestamp,
                    ..ListOffsetsPartition::default()
                }],
                ..ListOffsetsTopic::default()
            }],
            ..ListOffsetsRequest::default()
        };
        let answer = ask(reader, &request, 10);
        let response: ListOffsetsResponse<'_> = answer.read();
        response.topics[0].partitions[0].offset
    };
    assert_eq!(end(&mut reader, 0, -1), 3);
    assert_eq!(end(&mut reader, 1, -1), 2);
    assert_eq!(end(&mut reader, 1, 0), 0);
    txn.end(true);
    assert_eq!(read_ended(&mut reader, &topic, 0).values.len(), 2);
    assert_eq!(end(&mut reader, 1, -1), 4);
}

#[test]
fn a_lost_answer_to_the_end_is_no_error() {
    let broker = Broker::shared();
    let (_, topic) = topic(&broker, 1);
    for version in [1, 2] {
        for is_commit in [true, false] {
            let mut txn = Txn::new(&broker, version);
            txn.produce(&topic, 0, &["x"]);
            let before = (txn.producer_id, txn.epoch);
            txn.end(is_commit);
            let after = (txn.producer_id, txn.epoch);
            txn.take_on(before.0, before.1);
            let (code, id, epoch) = wait_for("an answer", LIMIT, || {
                Some(txn.try_end(is_commit)).filter(|(code, ..)| !super::is_passing(*code))
            });
            assert_eq!(code, NONE, "version {version}, commit {is_commit}");
            if version == 2 {
                assert_eq!((id, epoch), after);
            }
            let (code, ..) = txn.try_end(!is_commit);
            assert_eq!(code, ErrorCode::InvalidTxnState as i16);
        }
    }
}

#[test]
fn who_is_fenced_is_told_so() {
    let broker = Broker::shared();
    let (mut reader, topic) = topic(&broker, 1);
    for version in [1, 2] {
        let mut old = Txn::new(&broker, version);
        old.produce(&topic, 0, &["lost"]);
        let mut new = Txn::named(&broker, &old.id.clone(), version);
        new.init();
        assert_eq!(new.producer_id, old.producer_id);
        assert!(new.epoch > old.epoch);
        let batch = old.batch(&topic, 0, &["late"]);
        let produce_version = if version == 1 { 11 } else { 12 };
        let refused = old.send(&topic, 0, &batch, produce_version, -1);
        assert_eq!(refused.error, ErrorCode::InvalidProducerEpoch as i16);
        let (code, ..) = old.try_end(true);
        assert_eq!(code, ErrorCode::ProducerFenced as i16);
        if version == 1 {
            let codes = old.try_add(&[(&topic, 0)]);
            assert_eq!(codes, [ErrorCode::ProducerFenced as i16]);
        }
        new.produce(&topic, 0, &["kept"]);
        new.end(true);
    }
    assert_eq!(read_ended(&mut reader, &topic, 0).values, ["kept", "kept"]);
}

#[test]
fn what_is_wrong_with_a_request_is_told_with_kafkas_codes() {
    let broker = Broker::shared();
    let (_, topic) = topic(&broker, 1);
    let mut txn = Txn::named(&broker, &fresh_topic("nobody"), 1);
    txn.take_on(1, 0);
    let unknown = ErrorCode::InvalidProducerIdMapping as i16;
    assert_eq!(txn.try_add(&[(&topic, 0)]), [unknown]);
    assert_eq!(txn.try_end(true).0, unknown);
    let timeout = ErrorCode::InvalidTransactionTimeout as i16;
    assert_eq!(txn.try_init(900_001, (-1, -1)).0, timeout);
    assert_eq!(txn.try_init(0, (-1, -1)).0, timeout);

    let mut txn = Txn::new(&broker, 1);
    assert_eq!(txn.try_end(true).0, ErrorCode::InvalidTxnState as i16);
    let mut codes = txn.try_add(&[(&topic, 0), (&topic, 9)]);
    codes.sort_unstable();
    assert_eq!(
        codes,
        [
            ErrorCode::UnknownTopicOrPartition as i16,
            ErrorCode::OperationNotAttempted as i16
        ]
    );
    let other = txn.producer_id + 1_000_000;
    let epoch = txn.epoch;
    let own = txn.producer_id;
    txn.take_on(other, epoch);
    assert_eq!(txn.try_end(true).0, unknown);
    txn.take_on(own, epoch);
    // Not part of the transaction: the newest of these versions has a code of its own.
    for (version, code) in [
        (10, ErrorCode::InvalidTxnState),
        (11, ErrorCode::TransactionAbortable),
    ] {
        let batch = txn.batch(&topic, 0, &["x"]);
        let refused = txn.send(&topic, 0, &batch, version, -1);
        assert_eq!(refused.error, code as i16, "v{version}");
    }
    // A producer that recovers names its id and epoch.
    assert_eq!(txn.try_init(60_000, (own, epoch)), (NONE, own, epoch + 1));
    assert_eq!(txn.try_init(60_000, (own, epoch)), (NONE, own, epoch + 1));
    let fenced = ErrorCode::ProducerFenced as i16;
    assert_eq!(txn.try_init(60_000, (other, epoch)).0, fenced);
}

/// OffsetFetch of partition 0: offset and code.
pub(super) fn committed(
    connection: &mut Connection,
    group: &str,
    topic: &str,
    stable: bool,
) -> (i64, i16) {
    let request = OffsetFetchRequest {
        groups: vec![OffsetFetchRequestGroup {
            group_id: group.into(),
            topics: Some(vec![OffsetFetchRequestTopics {
                name: topic.into(),
                partition_indexes: [0].into_iter().collect(),
                ..OffsetFetchRequestTopics::default()
            }]),
            ..OffsetFetchRequestGroup::default()
        }],
        require_stable: stable,
        ..OffsetFetchRequest::default()
    };
    wait_for("the coordinator of the group", LIMIT, || {
        let answer = ask(connection, &request, 8);
        let response: OffsetFetchResponse<'_> = answer.read();
        let group = &response.groups[0];
        (!super::is_passing(group.error_code)).then(|| {
            assert_eq!(group.error_code, NONE);
            let partition = &group.topics[0].partitions[0];
            (partition.committed_offset, partition.error_code)
        })
    })
}

#[test]
fn offsets_are_committed_with_the_transaction() {
    let broker = Broker::shared();
    let unstable = ErrorCode::UnstableOffsetCommit as i16;
    for version in [1, 2] {
        let (mut reader, topic) = topic(&broker, 1);
        let group = fresh_topic("group");
        let mut txn = Txn::new(&broker, version);
        let mut expected = -1;
        for (offset, is_commit) in [(5, true), (7, false), (9, true)] {
            txn.commit_offset(&group, &topic, offset);
            txn.produce(&topic, 0, &["x"]);
            assert_eq!(committed(&mut reader, &group, &topic, true), (-1, unstable));
            assert_eq!(
                committed(&mut reader, &group, &topic, false),
                (expected, NONE)
            );
            txn.end(is_commit);
            if is_commit {
                expected = offset;
            }
            // Real Kafka writes its markers behind the answer.
            wait_for("stable offsets", LIMIT, || {
                let found = committed(&mut reader, &group, &topic, true);
                (found == (expected, NONE)).then_some(())
            });
        }
        let code = txn.try_commit_offset(&group, &topic, 11, ("stranger", 3), 4);
        assert_ne!(code, NONE);
    }
}

#[test]
fn a_batch_that_comes_twice_is_in_the_log_once() {
    let broker = Broker::shared();
    let (mut reader, topic) = topic(&broker, 2);
    let mut txn = Txn::new(&broker, 2);
    let batches = [0, 1].map(|partition| txn.batch(&topic, partition, &["a", "b", "c"]));
    for _ in 0..3 {
        for (partition, batch) in (0..).zip(&batches) {
            let produced = txn.send(&topic, partition, batch, 12, -1);
            assert_eq!((produced.error, produced.base_offset), (NONE, 0));
        }
    }
    txn.end(true);
    for partition in [0, 1] {
        assert_eq!(read_ended(&mut reader, &topic, partition).values.len(), 3);
    }
}

/// Every way of producing, crossed: what is answered is there once, and only what is not part of an aborted transaction is read.
#[test]
fn transactional_and_plain_with_every_kind_of_acknowledgement() {
    let broker = Broker::shared();
    for acks in [0, 1, -1] {
        for version in [1, 2] {
            let (mut reader, topic) = topic(&broker, 1);
            let mut txn = Txn::new(&broker, version);
            for (value, is_commit) in [("kept", true), ("lost", false)] {
                if version == 1 {
                    wait_for("the partition to be added", LIMIT, || {
                        (txn.try_add(&[(&topic, 0)]) == [NONE]).then_some(())
                    });
                }
                let batch = txn.batch(&topic, 0, &[value]);
                let produce_version = if version == 1 { 11 } else { 12 };
                let before = read(&mut reader, &topic, 0, 0).high_watermark;
                // Twice, as after an answer that was lost.
                for _ in 0..2 {
                    txn.send_without_answer(&topic, 0, &batch, produce_version, acks);
                }
                let plain = NewBatch::of(&["plain"]).bytes();
                let request = tests::wire::produce_request(&topic, &[(0, &plain)], acks);
                txn.connection.send(&request, 12);
                if acks != 0 {
                    txn.connection.receive(protocol::ApiKey::Produce, 12);
                }
                wait_for("the records", LIMIT, || {
                    let now = read(&mut reader, &topic, 0, 0).high_watermark;
                    (now == before + 2).then_some(())
                });
                txn.end(is_commit);
                txn.sent_one(&topic);
            }
            let seen = read_ended(&mut reader, &topic, 0);
            assert_eq!(
                seen.values,
                ["kept", "plain", "plain"],
                "acks={acks} {version}"
            );
        }
    }
}
