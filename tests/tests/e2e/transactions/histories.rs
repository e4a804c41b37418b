//! Random histories of transactions on the wire, with producers that are fenced, come too late or are never heard of again, with
//! repeated requests and kill -9 of the broker, beside a plain model of what is in the log. After each step both kinds of readers
//! see what the model says: values and their order, the last stable offset, the list of aborted transactions, offsets of groups.
//! A failure shows the shortest history that was found; `CHAOS_SEED` repeats a run, and `make chaos` has more of them.

mod model;
mod steps;

use std::cell::RefCell;
use std::collections::HashMap;
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use protocol::messages::EndTxnRequest;
use tests::batch::{NewBatch, read_batches};
use tests::postgres::Postgres;
use tests::wire::{Connection, fetch_request, fetched, produce_request};
use tests::{Broker, fresh_topic, wait_for};

use self::model::{Model, PARTITIONS};
use self::steps::{Deed, Step, step};
use super::wire::committed;
use super::{LIMIT, NONE, Txn, is_passing};
use crate::load::{Random, number};

const IDS: usize = 3;
/// Of a history.
const STEPS_MAX: usize = 30;
/// A transaction that is to be over its time soon.
const SHORT_MS: i32 = 200;
const OUT_OF_ORDER: i16 = protocol::ErrorCode::OutOfOrderSequenceNumber as i16;

/// A transactional id, as its producers know it.
struct Id {
    current: Option<Txn>,
    late: Vec<Txn>,
    /// Id and epoch that the last end was sent with, and how it ended.
    last_end: Option<(i64, i16, bool)>,
    /// The last batch of the open transaction in each partition, and where it is.
    last_batches: HashMap<usize, (NewBatch, i64)>,
}

struct World<'a> {
    broker: &'a RefCell<Broker>,
    topic: String,
    group: String,
    names: Vec<String>,
    ids: Vec<Id>,
    plain: (i64, i16),
    plain_sequences: [i32; PARTITIONS],
    reader: Connection,
    model: Model,
    values: usize,
}

/// Of each id: both versions are there.
fn version(id: usize) -> i16 {
    if id == 0 { 1 } else { 2 }
}

fn produce_version(id: usize) -> i16 {
    if id == 0 { 11 } else { 12 }
}

impl<'a> World<'a> {
    fn new(broker: &'a RefCell<Broker>) -> Self {
        let mut reader = Connection::open(&broker.borrow());
        let topic = fresh_topic("history");
        reader.create_topic(&topic, PARTITIONS as i32);
        let plain = reader.init_producer_id();
        let new = |_| Id {
            current: None,
            late: Vec::new(),
            last_end: None,
            last_batches: HashMap::new(),
        };
        Self {
            broker,
            group: fresh_topic("group"),
            names: (0..IDS).map(|_| fresh_topic("txn")).collect(),
            ids: (0..IDS).map(new).collect(),
            plain,
            plain_sequences: [0; PARTITIONS],
            reader,
            model: Model::new(IDS),
            values: 0,
            topic,
        }
    }

    fn take(&mut self, step: &Step) {
        match *step {
            Step::Init { id } => self.init(id, 60_000),
            Step::Recover { id } => self.recover(id),
            Step::Add { id, partition } => self.add(id, partition),
            Step::Produce {
                id,
                partition,
                records,
            } => self.produce(id, partition, records),
            Step::Repeat { id, partition } => self.repeat(id, partition),
            Step::Plain { partition, records } => self.plain(partition, records),
            Step::Offset { id } => self.offset(id),
            Step::End { id, is_commit } => self.end(id, is_commit),
            Step::EndAgain { id } => self.end_again(id),
            Step::Late { id, partition } => self.late(id, partition),
            Step::Vanish { id, partition } => self.vanish(id, partition),
            Step::Read { partition, share } => {
                let from = self.model.end(partition) * i64::from(share) / 256;
                self.check_reader(partition, from, 1);
            }
            Step::Crash {
                id,
                partition,
                deed,
                pause_us,
            } => self.crash(id, partition, deed, Duration::from_micros(pause_us)),
        }
        self.check();
    }

    fn new_values(&mut self, count: usize) -> Vec<String> {
        let first = self.values;
        self.values += count;
        (first..self.values).map(|i| format!("v{i}")).collect()
    }

    /// The producer of an id, which gets one if it has none.
    fn producer(&mut self, id: usize) -> &mut Txn {
        if self.ids[id].current.is_none() {
            self.init(id, 60_000);
        }
        self.ids[id].current.as_mut().expect("a producer")
    }

    fn init(&mut self, id: usize, timeout_ms: i32) {
        let broker = self.broker.borrow();
        let mut producer = Txn::named(&broker, &self.names[id], version(id));
        drop(broker);
        producer.init_for(timeout_ms);
        self.initialised(id, producer);
    }

    fn initialised(&mut self, id: usize, producer: Txn) {
        self.model.fence(id);
        let slot = &mut self.ids[id];
        slot.late.extend(slot.current.replace(producer));
        slot.last_end = None;
        slot.last_batches.clear();
    }

    fn recover(&mut self, id: usize) {
        if self.model.is_open(id) {
            return;
        }
        let producer = self.producer(id);
        let before = (producer.producer_id, producer.epoch);
        let (code, producer_id, epoch) = producer.try_init(60_000, before);
        assert_eq!((code, producer_id, epoch), (NONE, before.0, before.1 + 1));
        producer.take_on(producer_id, epoch);
        self.ids[id].last_end = None;
        self.model.forget_end(id);
    }

    fn add(&mut self, id: usize, partition: usize) {
        if version(id) == 1 {
            let topic = self.topic.clone();
            let codes = self.producer(id).try_add(&[(&topic, partition as i32)]);
            assert_eq!(codes, [NONE]);
            self.model.add(id, partition);
        }
    }

    fn produce(&mut self, id: usize, partition: usize, records: usize) {
        let values = self.new_values(records);
        let texts: Vec<&str> = values.iter().map(String::as_str).collect();
        let topic = self.topic.clone();
        let producer = self.producer(id);
        let batch = producer.batch(&topic, partition as i32, &texts);
        let offset = producer.produce(&topic, partition as i32, &texts);
        self.produced(id, partition, (batch, offset), values);
    }

    fn produced(
        &mut self,
        id: usize,
        partition: usize,
        (batch, offset): (NewBatch, i64),
        values: Vec<String>,
    ) {
        assert_eq!(offset, self.model.end(partition));
        self.model.produce(id, partition, batch.producer_id, values);
        self.ids[id].last_batches.insert(partition, (batch, offset));
    }

    fn repeat(&mut self, id: usize, partition: usize) {
        let Some((batch, offset)) = self.ids[id].last_batches.get(&partition).cloned() else {
            return;
        };
        let (topic, index) = (self.topic.clone(), partition as i32);
        let producer = self.producer(id);
        let repeated = producer.send(&topic, index, &batch, produce_version(id), -1);
        assert_eq!((repeated.error, repeated.base_offset), (NONE, offset));
        let mut gap = batch;
        gap.base_sequence += 100;
        let refused = producer.send(&topic, index, &gap, produce_version(id), -1);
        assert_eq!(refused.error, OUT_OF_ORDER);
    }

    fn plain(&mut self, partition: usize, records: usize) {
        let values = self.new_values(records);
        let (producer_id, epoch) = self.plain;
        let sequence = self.plain_sequences[partition];
        let batch = NewBatch::of(&values).from_producer(producer_id, epoch, sequence);
        for _ in 0..2 {
            let produced = self
                .reader
                .produce(&self.topic, partition as i32, &batch.bytes());
            let expected = (NONE, self.model.end(partition));
            assert_eq!((produced.error, produced.base_offset), expected);
        }
        self.plain_sequences[partition] += records as i32;
        self.model.plain(partition, values);
    }

    fn offset(&mut self, id: usize) {
        self.values += 1;
        let (topic, group, offset) = (self.topic.clone(), self.group.clone(), self.values as i64);
        self.producer(id).commit_offset(&group, &topic, offset);
        self.model.offset(id, offset);
    }

    fn end(&mut self, id: usize, is_commit: bool) {
        let expected = self.model.expected_end(id, version(id), is_commit);
        let producer = self.producer(id);
        let before = (producer.producer_id, producer.epoch);
        let (code, producer_id, epoch) = producer.try_end(is_commit);
        assert_eq!(code, expected as i16, "commit {is_commit}");
        if code == NONE {
            self.ended(id, before, (producer_id, epoch), is_commit);
        }
    }

    fn ended(&mut self, id: usize, before: (i64, i16), after: (i64, i16), is_commit: bool) {
        if version(id) == 2 {
            assert_eq!(after, (before.0, before.1 + 1));
            self.producer(id).take_on(after.0, after.1);
        }
        self.model.end_transaction(id, is_commit);
        let slot = &mut self.ids[id];
        slot.last_end = Some((before.0, before.1, is_commit));
        slot.last_batches.clear();
    }

    fn end_again(&mut self, id: usize) {
        let is_open = self.model.is_open(id);
        let Some((producer_id, epoch, is_commit)) = self.ids[id].last_end else {
            return;
        };
        // With transaction version 1 this would be the end of the next transaction.
        if is_open && version(id) == 1 {
            return;
        }
        let producer = self.producer(id);
        let present = (producer.producer_id, producer.epoch);
        (producer.producer_id, producer.epoch) = (producer_id, epoch);
        let again = producer.try_end(is_commit);
        (producer.producer_id, producer.epoch) = present;
        let fenced = protocol::ErrorCode::ProducerFenced as i16;
        let expected = if is_open { fenced } else { NONE };
        assert_eq!(again.0, expected);
        if version(id) == 2 && !is_open {
            assert_eq!((again.1, again.2), present);
        }
    }

    /// Nothing that a fenced producer does succeeds.
    fn late(&mut self, id: usize, partition: usize) {
        let (topic, group) = (self.topic.clone(), self.group.clone());
        for producer in &mut self.ids[id].late {
            let batch = producer.batch(&topic, partition as i32, &["late"]);
            wait_for("a refusal", LIMIT, || {
                let produced =
                    producer.send(&topic, partition as i32, &batch, produce_version(id), -1);
                let offset_version = if version(id) == 1 { 4 } else { 5 };
                let mut codes = vec![produced.error, producer.try_end(true).0];
                codes.extend(producer.try_add(&[(&topic, partition as i32)]));
                codes.push(producer.try_commit_offset(&group, &topic, 1, ("", -1), offset_version));
                assert!(!codes.contains(&NONE), "{codes:?}");
                codes.iter().all(|code| !is_passing(*code)).then_some(())
            });
        }
    }

    fn vanish(&mut self, id: usize, partition: usize) {
        self.init(id, SHORT_MS);
        let values = self.new_values(1);
        let (topic, index) = (self.topic.clone(), partition as i32);
        let producer = self.producer(id);
        if version(id) == 1 {
            assert_eq!(producer.try_add(&[(&topic, index)]), [NONE]);
        }
        let batch = producer.batch(&topic, index, &[&values[0]]);
        let produced = producer.send(&topic, index, &batch, produce_version(id), -1);
        if version(id) == 1 {
            self.model.add(id, partition);
        }
        if produced.error == NONE {
            self.produced(id, partition, (batch, produced.base_offset), values);
        } else {
            // Its time was over before the records came.
            assert_eq!(version(id), 1, "{produced:?}");
        }
        self.model.fence(id);
        let slot = &mut self.ids[id];
        slot.late.extend(slot.current.take());
        slot.last_batches.clear();
        let end = self.model.end(partition);
        wait_for("the abort", LIMIT, || {
            let now = self.reader.list_offset(&self.topic, index, -1);
            (now == (NONE, end, -1)).then_some(())
        });
    }

    fn crash(&mut self, id: usize, partition: usize, deed: Deed, pause: Duration) {
        let values = self.new_values(1);
        let (topic, index) = (self.topic.clone(), partition as i32);
        if version(id) == 1 && matches!(deed, Deed::Produce) {
            self.add(id, partition);
        }
        let is_open = self.model.is_open(id);
        let producer = self.producer(id);
        let batch = producer.batch(&topic, index, &[&values[0]]);
        let bytes = batch.bytes();
        match deed {
            Deed::Produce => {
                let mut request = produce_request(&topic, &[(index, &bytes)], -1);
                request.transactional_id = Some(producer.id.clone().into());
                producer.connection.send(&request, produce_version(id));
            }
            Deed::Commit | Deed::Abort if is_open => {
                let request = EndTxnRequest {
                    transactional_id: producer.id.clone().into(),
                    producer_id: producer.producer_id,
                    producer_epoch: producer.epoch,
                    committed: matches!(deed, Deed::Commit),
                    ..EndTxnRequest::default()
                };
                let version = if version(id) == 1 { 4 } else { 5 };
                producer.connection.send(&request, version);
            }
            Deed::Init => producer.send_init(60_000),
            Deed::Nothing | Deed::Commit | Deed::Abort => {}
        }
        std::thread::sleep(pause);
        self.restart();
        match deed {
            Deed::Produce => {
                let producer = self.producer(id);
                let texts = [values[0].as_str()];
                let offset = producer.produce(&topic, index, &texts);
                self.produced(id, partition, (batch, offset), values);
            }
            Deed::Commit | Deed::Abort if is_open => {
                let is_commit = matches!(deed, Deed::Commit);
                let producer = self.producer(id);
                let before = (producer.producer_id, producer.epoch);
                producer.end(is_commit);
                let after = (producer.producer_id, producer.epoch);
                self.ended(id, before, after, is_commit);
            }
            Deed::Init => self.init(id, 60_000),
            Deed::Nothing | Deed::Commit | Deed::Abort => {}
        }
    }

    fn restart(&mut self) {
        let mut broker = self.broker.borrow_mut();
        broker.kill();
        broker.start_again();
        self.reader = Connection::open(&broker);
        for slot in &mut self.ids {
            for producer in slot.current.iter_mut().chain(&mut slot.late) {
                producer.connection = Connection::open(&broker);
                producer.find_coordinator();
            }
        }
    }

    fn check(&mut self) {
        for partition in 0..PARTITIONS {
            self.check_reader(partition, 0, 0);
            self.check_reader(partition, 0, 1);
        }
        let unstable = protocol::ErrorCode::UnstableOffsetCommit as i16;
        let expected = match self.model.is_group_waiting() {
            true => (-1, unstable),
            false => (self.model.group_offset(), NONE),
        };
        let found = committed(&mut self.reader, &self.group, &self.topic, true);
        assert_eq!(found, expected, "the offset of the group");
    }

    /// What SQL says of each record, and of what waits for the end of a transaction.
    fn check_sql(&self, postgres: &Postgres) {
        for partition in 0..PARTITIONS {
            let states = format!(
                "select coalesce(txn_state, 'none') from kafka.messages \
                 where topic = '{}' and partition = {partition} order by partition_offset",
                self.topic
            );
            assert_eq!(postgres.query(&states), self.model.states(partition));
        }
        let names = self.names.join("', '");
        let open = format!(
            "select transactional_id from kafka.transactions where state = 'Ongoing' \
             and transactional_id in ('{names}') order by transactional_id"
        );
        let ids = self.names.iter().enumerate();
        let ids = ids.filter(|(id, _)| self.model.is_open(*id));
        let mut ids: Vec<String> = ids.map(|(_, name)| name.clone()).collect();
        ids.sort();
        assert_eq!(postgres.query(&open), ids);
        let waiting = format!(
            "select committed_offset::text from kafka.txn_pending_offsets \
             where group_id = '{}' order by txn_pending_offsets.committed_offset",
            self.group
        );
        assert_eq!(postgres.query(&waiting), self.model.waiting_offsets());
    }

    /// What one Fetch from an offset gives.
    fn check_reader(&mut self, partition: usize, from: i64, level: i8) {
        let mut request = fetch_request(&[(&self.topic, partition as i32, from, 10_000_000)]);
        request.isolation_level = level;
        let answer = self.reader.call(&request, 12);
        let mut fetched = fetched(&answer).swap_remove(0);
        let offsets = (fetched.error, fetched.high_watermark);
        assert_eq!(offsets, (NONE, self.model.end(partition)));
        let stable = fetched.last_stable_offset;
        // After a start it is not known before a reader of committed records asks.
        if level == 1 || stable >= 0 {
            assert_eq!(stable, self.model.last_stable_offset(partition));
        }
        fetched.aborted.sort_unstable();
        if level == 0 {
            assert_eq!(fetched.aborted, []);
        } else {
            assert_eq!(
                fetched.aborted,
                self.model.aborted(partition, from),
                "from {from}"
            );
        }
        let mut values = Vec::new();
        for batch in read_batches(&fetched.records) {
            let known = values.len();
            super::take(&batch, &mut fetched.aborted, &mut values);
            // The first batch may begin before the offset.
            let missed = (from - batch.base_offset).clamp(0, (values.len() - known) as i64);
            values.drain(known..known + missed as usize);
        }
        assert_eq!(
            values,
            self.model.values(partition, from, level),
            "from {from}"
        );
    }
}

#[test]
fn random_histories_are_as_a_plain_model_says() {
    let cases = number("CHAOS_ROUNDS").map_or(8, |rounds| 10 * rounds);
    let postgres = Postgres::start();
    let every = "--transaction-abort-timed-out-transaction-cleanup-interval-ms=50";
    let broker = Broker::start_with(&["--database-url", &postgres.url(), every]);
    let broker = RefCell::new(broker);
    let mut random = Random::new();
    let seed: [u8; 32] = std::array::from_fn(|_| random.below(256) as u8);
    let config = Config {
        cases: cases as u32,
        failure_persistence: None,
        max_shrink_iters: 200,
        ..Config::default()
    };
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &seed);
    let histories = prop::collection::vec(step(), 1..=STEPS_MAX);
    let result = TestRunner::new_with_rng(config, rng).run(&histories, |steps| {
        let mut world = World::new(&broker);
        for step in &steps {
            world.take(step);
        }
        world.check_sql(&postgres);
        Ok(())
    });
    if let Err(error) = result {
        panic!("{error}");
    }
}
