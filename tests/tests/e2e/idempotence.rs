//! The idempotent producer on the wire: sequences, duplicates, epochs, restarts.

use protocol::ErrorCode;
use tests::batch::{NewBatch, read_batches};
use tests::wire::{Connection, Produced, produce_request, produced};
use tests::{Broker, fresh_topic};

const NONE: i16 = ErrorCode::None as i16;
const OUT_OF_ORDER: i16 = ErrorCode::OutOfOrderSequenceNumber as i16;
const INVALID_EPOCH: i16 = ErrorCode::InvalidProducerEpoch as i16;
const DUPLICATE_SEQUENCE: i16 = ErrorCode::DuplicateSequenceNumber as i16;

/// A connection, a topic of its own and a producer id.
struct Producer {
    connection: Connection,
    topic: String,
    id: i64,
    epoch: i16,
}

impl Producer {
    fn new(broker: &Broker, partitions: i32) -> Self {
        let mut connection = Connection::open(broker);
        let topic = fresh_topic("idempotent");
        connection.create_topic(&topic, partitions);
        let (id, epoch) = connection.init_producer_id();
        Self {
            connection,
            topic,
            id,
            epoch,
        }
    }

    /// A batch of `count` records that name the producer's sequence.
    fn batch(&self, sequence: i32, count: i32) -> NewBatch {
        let values: Vec<String> = (0..count)
            .map(|i| format!("{}", sequence.wrapping_add(i) & i32::MAX))
            .collect();
        NewBatch::of(&values).from_producer(self.id, self.epoch, sequence)
    }

    fn send(&mut self, partition: i32, batch: &NewBatch) -> (i16, i64) {
        let topic = self.topic.clone();
        let produced = self.connection.produce(&topic, partition, &batch.bytes());
        (produced.error, produced.base_offset)
    }

    /// The values of a partition, checked to lie at offsets 0, 1, 2 …
    fn values(&mut self, partition: i32) -> Vec<String> {
        let topic = self.topic.clone();
        let mut values = Vec::new();
        loop {
            let next = i64::try_from(values.len()).expect("a small log");
            let fetched = self.connection.fetch(&topic, partition, next);
            assert_eq!(fetched.error, NONE);
            let batches = read_batches(&fetched.records);
            if batches.is_empty() {
                assert_eq!(fetched.high_watermark, next);
                return values;
            }
            for record in batches.into_iter().flat_map(|b| b.records) {
                assert_eq!(
                    record.offset,
                    i64::try_from(values.len()).expect("a small log")
                );
                values.push(String::from_utf8(record.value.expect("a value")).expect("text"));
            }
        }
    }
}

#[test]
fn producer_ids_differ() {
    let broker = Broker::shared();
    let mut connection = Connection::open(&broker);
    let mut ids: Vec<i64> = (0..20).map(|_| connection.init_producer_id().0).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 20);
}

#[test]
fn duplicates_are_answered_with_their_first_offset() {
    let broker = Broker::shared();
    let mut p = Producer::new(&broker, 1);
    for sequence in [0, 3, 6, 9, 12] {
        let batch = p.batch(sequence, 3);
        assert_eq!(p.send(0, &batch), (NONE, i64::from(sequence)));
    }
    // each of the last five, in any order, more than once
    for sequence in [12, 0, 6, 3, 9, 0] {
        let batch = p.batch(sequence, 3);
        assert_eq!(p.send(0, &batch), (NONE, i64::from(sequence)));
    }
    assert_eq!(p.values(0).len(), 15);
}

#[test]
fn a_duplicate_before_the_last_five_is_not_written_again() {
    let broker = Broker::shared();
    let mut p = Producer::new(&broker, 1);
    for sequence in 0..6 {
        let batch = p.batch(sequence, 1);
        assert_eq!(p.send(0, &batch), (NONE, i64::from(sequence)));
    }
    let batch = p.batch(0, 1);
    let (error, _) = p.send(0, &batch);
    assert!(
        [OUT_OF_ORDER, DUPLICATE_SEQUENCE].contains(&error),
        "error {error}"
    );
    assert_eq!(p.values(0).len(), 6);
}

#[test]
fn a_gap_is_out_of_order() {
    let broker = Broker::shared();
    let mut p = Producer::new(&broker, 1);
    let (first, gap, next) = (p.batch(0, 2), p.batch(3, 1), p.batch(2, 1));
    assert_eq!(p.send(0, &first), (NONE, 0));
    assert_eq!(p.send(0, &gap).0, OUT_OF_ORDER);
    assert_eq!(p.send(0, &next), (NONE, 2));
    assert_eq!(p.send(0, &gap), (NONE, 3));
    assert_eq!(p.values(0), ["0", "1", "2", "3"]);
}

#[test]
fn part_of_a_duplicate_is_out_of_order() {
    let broker = Broker::shared();
    let mut p = Producer::new(&broker, 1);
    let (first, overlapping) = (p.batch(0, 4), p.batch(2, 4));
    assert_eq!(p.send(0, &first), (NONE, 0));
    assert_eq!(p.send(0, &overlapping).0, OUT_OF_ORDER);
    assert_eq!(p.values(0).len(), 4);
}

#[test]
fn epochs_fence_and_start_anew() {
    let broker = Broker::shared();
    let mut p = Producer::new(&broker, 1);
    let old = p.batch(0, 1);
    assert_eq!(p.send(0, &old), (NONE, 0));
    p.epoch += 1;
    let not_from_zero = p.batch(1, 1);
    assert_eq!(p.send(0, &not_from_zero).0, OUT_OF_ORDER);
    let new = p.batch(0, 1);
    assert_eq!(p.send(0, &new), (NONE, 1));
    p.epoch -= 1;
    let stale = p.batch(1, 1);
    assert_eq!(p.send(0, &stale).0, INVALID_EPOCH);
    assert_eq!(p.values(0).len(), 2);
}

#[test]
fn sequences_wrap_at_two_to_the_31() {
    let broker = Broker::shared();
    let mut p = Producer::new(&broker, 1);
    // a producer the partition does not know may start anywhere
    let before = p.batch(i32::MAX - 1, 1);
    assert_eq!(p.send(0, &before), (NONE, 0));
    let across = p.batch(i32::MAX, 3); // 2147483647, 0, 1
    assert_eq!(p.send(0, &across), (NONE, 1));
    let after = p.batch(2, 1);
    assert_eq!(p.send(0, &after), (NONE, 4));
    assert_eq!(p.send(0, &across), (NONE, 1));
    let gap = p.batch(4, 1);
    assert_eq!(p.send(0, &gap).0, OUT_OF_ORDER);
    assert_eq!(p.values(0), ["2147483646", "2147483647", "0", "1", "2"]);
}

#[test]
fn partitions_of_one_request_are_judged_each_on_its_own() {
    let broker = Broker::shared();
    let mut p = Producer::new(&broker, 3);
    let (topic, first, second) = (p.topic.clone(), p.batch(0, 1), p.batch(0, 2));
    assert_eq!(p.send(1, &first), (NONE, 0));
    // partition 0: new; 1: a gap; 2: new with another count
    let gap = p.batch(5, 1).bytes();
    let (a, c) = (first.bytes(), second.bytes());
    let answers = p
        .connection
        .produce_many(&topic, &[(0, &a), (1, &gap), (2, &c), (9, &a)]);
    let errors: Vec<(i32, i16)> = answers.iter().map(|x| (x.partition, x.error)).collect();
    let unknown = ErrorCode::UnknownTopicOrPartition as i16;
    assert_eq!(
        errors,
        [(0, NONE), (1, OUT_OF_ORDER), (2, NONE), (9, unknown)]
    );
    // each goes on with its own sequence: 1, 1 and 2
    let (one, two) = (p.batch(1, 1).bytes(), p.batch(2, 1).bytes());
    let answers = p
        .connection
        .produce_many(&topic, &[(0, &one), (1, &one), (2, &two)]);
    let expected = [(0, 1), (1, 1), (2, 2)].map(|(partition, base_offset)| Produced {
        partition,
        error: NONE,
        base_offset,
    });
    assert_eq!(answers, expected);
    // and the whole request again is nothing but duplicates
    assert_eq!(
        p.connection
            .produce_many(&topic, &[(0, &one), (1, &one), (2, &two)]),
        expected
    );
    assert_eq!(
        (p.values(0).len(), p.values(1).len(), p.values(2).len()),
        (2, 2, 3)
    );
}

#[test]
fn requests_in_flight_keep_their_order() {
    let broker = Broker::shared();
    let mut p = Producer::new(&broker, 1);
    let topic = p.topic.clone();
    for sequence in 0..200 {
        let bytes = p.batch(sequence, 1).bytes();
        p.connection.send(
            &produce_request(&topic, &[(0, &bytes)], -1),
            tests::wire::PRODUCE,
        );
    }
    for offset in 0..200 {
        let answer = p
            .connection
            .receive(protocol::ApiKey::Produce, tests::wire::PRODUCE);
        let part = produced(&answer).swap_remove(0);
        assert_eq!((part.error, part.base_offset), (NONE, offset));
    }
    assert_eq!(p.values(0).len(), 200);
}

#[test]
fn two_producers_do_not_mix() {
    let broker = Broker::shared();
    let mut p = Producer::new(&broker, 1);
    let first = p.id;
    let (second, _) = p.connection.init_producer_id();
    for sequence in 0..3 {
        for id in [first, second] {
            p.id = id;
            let batch = p.batch(sequence, 1);
            assert_eq!(p.send(0, &batch).0, NONE);
        }
    }
    assert_eq!(p.values(0), ["0", "0", "1", "1", "2", "2"]);
}

#[test]
fn the_state_survives_restarts() {
    let mut broker = Broker::start();
    let mut p = Producer::new(&broker, 1);
    for sequence in 0..7 {
        let batch = p.batch(sequence, 1);
        assert_eq!(p.send(0, &batch), (NONE, i64::from(sequence)));
    }
    for restart in 0..2 {
        if restart == 0 {
            broker.stop();
        } else {
            broker.kill();
        }
        broker.start_again();
        p.connection = Connection::open(&broker);
        let (duplicate, oldest, gap) = (
            p.batch(6 + restart, 1),
            p.batch(2 + restart, 1),
            p.batch(8 + restart, 1),
        );
        assert_eq!(
            p.send(0, &duplicate),
            (NONE, i64::from(6 + restart)),
            "after restart {restart}"
        );
        assert_eq!(
            p.send(0, &oldest),
            (NONE, i64::from(2 + restart)),
            "the last of the window after restart {restart}"
        );
        assert_eq!(p.send(0, &gap).0, OUT_OF_ORDER, "after restart {restart}");
        let next = p.batch(7 + restart, 1);
        assert_eq!(
            p.send(0, &next),
            (NONE, i64::from(7 + restart)),
            "after restart {restart}"
        );
        let (fresh, _) = p.connection.init_producer_id();
        assert_ne!(fresh, p.id);
    }
    assert_eq!(p.values(0).len(), 9);
}
