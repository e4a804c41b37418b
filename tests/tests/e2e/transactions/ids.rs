//! What a transactional id and the id of its group may be, and what is kept of who adds to a transaction.

use protocol::ErrorCode;
use protocol::messages::add_partitions_to_txn_request::{
    AddPartitionsToTxnTopic, AddPartitionsToTxnTransaction,
};
use protocol::messages::{AddPartitionsToTxnRequest, AddPartitionsToTxnResponse};
use tests::postgres::Postgres;
use tests::wire::Connection;
use tests::{Broker, fresh_topic};

use super::brokers::World;
use super::{NONE, Txn, add_request};
use crate::brokers::LONG_SESSION;
use crate::load::Random;

/// README says so.
const ID_BYTES_MAX: usize = 1_000;

/// Of which nothing can be left out by compression.
fn long_name(random: &mut Random) -> String {
    let mut letter =
        || char::from(b"0123456789abcdefghijklmnopqrstuvwxyz"[random.below(36) as usize]);
    (0..ID_BYTES_MAX).map(|_| letter()).collect()
}

#[test]
fn the_longest_ids_work_over_several_brokers_and_longer_ones_are_refused() {
    let world = World::start(2, LONG_SESSION);
    let topic = world.topic("longest");
    let mut random = Random::new();
    let id = long_name(&mut random);
    let coordinator = world.coordinator(&id, 1);
    let group = loop {
        let group = long_name(&mut random);
        if world.coordinator(&group, 0) != coordinator {
            break group;
        }
    };
    let mut txn = Txn::named(world.broker(coordinator), &id, 2);
    txn.init();
    for offset in [1, 2] {
        world.produce_to_all(&mut txn, &topic, "long");
        world.commit_offset(&mut txn, &group, &topic, offset);
        world.end(&mut txn, true);
        assert_eq!(world.committed_offset(&group), [offset.to_string()]);
    }
    world.assert_all_have(&topic, &["long", "long"]);

    let longer = group + "x";
    txn.connection = Connection::open(world.broker(world.coordinator(&longer, 0)));
    let refused = ErrorCode::InvalidGroupId as i16;
    let code = txn.try_commit_offset(&longer, &topic, 3, ("", -1), 5);
    assert_eq!(code, refused);
    let code = world.at_coordinator(&mut txn, |txn| txn.try_add_offsets(&longer));
    assert_eq!(code, refused);
    let longer = id + "x";
    let mut txn = Txn::named(world.broker(world.coordinator(&longer, 1)), &longer, 2);
    let refused = ErrorCode::InvalidRequest as i16;
    assert_eq!(txn.try_init(60_000, (-1, -1)).0, refused);
    world.assert_all_have(&topic, &["long", "long"]);
}

#[test]
fn who_adds_partitions_by_a_newer_request_is_of_transaction_version_2() {
    let postgres = Postgres::start();
    let broker = Broker::start_with(&["--database-url", &postgres.url()]);
    let topic = fresh_topic("version");
    Connection::open(&broker).create_topic(&topic, 1);
    for (version, expected) in [(3, "1"), (4, "2"), (5, "2")] {
        let mut txn = Txn::new(&broker, 2);
        let request = match version {
            ..4 => add_request(txn.who(), &[(&topic, 0)]),
            _ => AddPartitionsToTxnRequest {
                transactions: vec![AddPartitionsToTxnTransaction {
                    transactional_id: txn.id.clone().into(),
                    producer_id: txn.producer_id,
                    producer_epoch: txn.epoch,
                    topics: vec![AddPartitionsToTxnTopic {
                        name: topic.clone().into(),
                        partitions: [0].into_iter().collect(),
                        ..AddPartitionsToTxnTopic::default()
                    }],
                    ..AddPartitionsToTxnTransaction::default()
                }],
                ..AddPartitionsToTxnRequest::default()
            },
        };
        let answer = txn.connection.call(&request, version);
        let response: AddPartitionsToTxnResponse<'_> = answer.read();
        let of_many = response.results_by_transaction.iter();
        let topics = of_many.flat_map(|one| &one.topic_results);
        let topics = topics.chain(&response.results_by_topic_v3_and_below);
        let partitions = topics.flat_map(|topic| &topic.results_by_partition);
        let codes: Vec<i16> = partitions.map(|p| p.partition_error_code).collect();
        assert_eq!(codes, [NONE], "v{version}");
        let stored = format!(
            "select transaction_version::text from kafka.transactions where transactional_id = '{}'",
            txn.id
        );
        assert_eq!(postgres.query(&stored), [expected], "v{version}");
        txn.end(true);
    }
}
