//! Compacted topics: the last record of each key stays, tombstones for a while, and nobody is disturbed.

use std::collections::BTreeMap;
use std::time::Duration;

use tests::admin::{TOPIC, set};
use tests::batch::{NewBatch, NewRecord, read_batches};
use tests::broker::run_binary;
use tests::postgres::Postgres;
use tests::wire::Connection;
use tests::{Broker, wait_for};

const SOON: Duration = Duration::from_secs(120);

/// A broker whose cleaner looks often, and that begins a new segment after a second.
pub(crate) fn quick(more: &[&str]) -> (Postgres, Broker) {
    let postgres = Postgres::start();
    let url = postgres.url();
    let args = [
        "--database-url",
        &url,
        "--log-cleaner-backoff-ms",
        "100",
        "--log-segment-table-ms",
        "1000",
    ];
    let broker = Broker::start_with(&[&args[..], more].concat());
    (postgres, broker)
}

fn compacted(c: &mut Connection, topic: &str, settings: &[(&str, &str)]) {
    c.create_topic(topic, 1);
    set(c, (TOPIC, topic), "cleanup.policy", "compact");
    for (name, value) in settings {
        set(c, (TOPIC, topic), name, value);
    }
}

type Pair = (String, Option<String>);

fn pair(key: &str, value: Option<&str>) -> Pair {
    (key.to_owned(), value.map(str::to_owned))
}

fn batch(pairs: &[Pair]) -> NewBatch {
    let mut batch = NewBatch::of::<&str>(&[]);
    let record = |(key, value): &Pair| NewRecord {
        key: Some(key.clone().into_bytes()),
        value: value.clone().map(String::into_bytes),
        ..NewRecord::default()
    };
    batch.records = pairs.iter().map(record).collect();
    batch
}

fn put(c: &mut Connection, topic: &str, pairs: &[Pair]) -> i64 {
    let produced = c.produce(topic, 0, &batch(pairs).bytes());
    assert_eq!(produced.error, 0);
    produced.base_offset
}

/// All records of a topic, by offset, read as a consumer does.
fn read_all(c: &mut Connection, topic: &str) -> Vec<(i64, Pair)> {
    let mut next = c.list_offset(topic, 0, -2).1;
    let end = c.list_offset(topic, 0, -1).1;
    let mut all = Vec::new();
    while next < end {
        let fetched = c.fetch(topic, 0, next);
        if fetched.error == protocol::ErrorCode::OffsetOutOfRange as i16 {
            // The log has been cut since.
            next = c.list_offset(topic, 0, -2).1;
            all.clear();
            continue;
        }
        assert_eq!(fetched.error, 0, "at {next} of {end}");
        let batches = read_batches(&fetched.records);
        assert!(!batches.is_empty(), "nothing at {next} of {end}");
        for batch in batches {
            for record in batch.records {
                let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
                let pair = (text(record.key.unwrap()), record.value.map(text));
                if record.offset >= next {
                    all.push((record.offset, pair));
                }
            }
            next = batch.last_offset + 1;
        }
    }
    all
}

pub(crate) fn tick(c: &mut Connection) {
    // The lane goes on in a new segment with a flush.
    c.produce("tick", 0, &NewBatch::of(&["tick"]).bytes());
}

fn wait_until_read(c: &mut Connection, topic: &str, expected: &[(i64, Pair)]) {
    wait_for("the topic to be compacted", SOON, || {
        tick(c);
        std::thread::sleep(Duration::from_millis(100));
        (read_all(c, topic) == expected).then_some(())
    });
}

/// Until the records before this offset of `t` and of `long` are in segments that may be cleaned.
fn wait_until_sealed(c: &mut Connection, postgres: &Postgres, end: i64) {
    let ends = "select max(s.end_offset)::text from kafka.segment_partitions s join kafka.topic_partitions p on p.id = s.part \
         join kafka.topics t on t.id = p.topic where t.name in ('t', 'long') group by t.name";
    wait_for("sealed segments", SOON, || {
        tick(c);
        (postgres.query(ends) == [end.to_string(), end.to_string()]).then_some(())
    });
}

/// What stays stays: nothing more happens while the lane makes several segments.
fn stays(c: &mut Connection, topic: &str, expected: &[(i64, Pair)]) {
    for _ in 0..30 {
        tick(c);
        std::thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(read_all(c, topic), expected);
}

pub(crate) fn check(postgres: &Postgres) {
    let said = run_binary(&["check", "--database-url", &postgres.url()]);
    assert!(said.success, "{}{}", said.text(), said.stderr);
}

#[test]
fn the_last_of_each_key_and_tombstones_for_a_while() {
    let (postgres, mut broker) = quick(&[]);
    let mut c = Connection::open(&broker);
    c.create_topic("tick", 1);
    let eager = ("min.cleanable.dirty.ratio", "0");
    let later = ("min.compaction.lag.ms", "3600000");
    for (topic, kept_ms) in [("t", "1"), ("long", "3600000")] {
        let settings = [eager, later, ("delete.retention.ms", kept_ms)];
        compacted(&mut c, topic, &settings);
    }
    for topic in ["t", "long"] {
        let first = [
            pair("a", Some("1")),
            pair("b", Some("1")),
            pair("a", Some("2")),
        ];
        put(&mut c, topic, &first);
        put(&mut c, topic, &[pair("a", None), pair("c", Some("1"))]);
        put(&mut c, topic, &[pair("d", Some("1"))]);
    }
    // Whatever is cleaned is cleaned at once: a second time would take the tombstone.
    wait_until_sealed(&mut c, &postgres, 6);
    for topic in ["t", "long"] {
        set(&mut c, (TOPIC, topic), later.0, "0");
    }
    let a_is_gone = (3, pair("a", None));
    let others = [
        (1, pair("b", Some("1"))),
        (4, pair("c", Some("1"))),
        (5, pair("d", Some("1"))),
    ];
    let with_tombstone = [&others[..1], &[a_is_gone], &others[1..]].concat();
    wait_until_read(&mut c, "long", &with_tombstone);
    wait_until_read(&mut c, "t", &with_tombstone);
    // An offset whose record is gone is answered with the batch that had it, and a look-up by time finds what is left.
    let batches = read_batches(&c.fetch("long", 0, 2).records);
    assert_eq!(
        (batches[0].last_offset, batches[0].records[0].offset),
        (2, 1)
    );
    assert_eq!(c.list_offset("long", 0, 0).1, 1);
    // Tombstones go when there is something new to clean.
    put(&mut c, "t", &[pair("d", Some("2")), pair("e", Some("1"))]);
    put(
        &mut c,
        "t",
        &[
            pair("d", Some("3")),
            pair("f", Some("1")),
            pair("g", Some("1")),
        ],
    );
    let expected = [
        (1, pair("b", Some("1"))),
        (4, pair("c", Some("1"))),
        (7, pair("e", Some("1"))),
        (8, pair("d", Some("3"))),
        (9, pair("f", Some("1"))),
        (10, pair("g", Some("1"))),
    ];
    wait_until_read(&mut c, "t", &expected);
    assert_eq!(read_all(&mut c, "long"), with_tombstone);
    let by_sql = postgres.query(
        "select partition_offset || ' ' || convert_from(key, 'UTF8') from kafka.messages where topic = 't' order by 1",
    );
    assert_eq!(by_sql, ["1 b", "10 g", "4 c", "7 e", "8 d", "9 f"]);
    check(&postgres);

    broker.kill();
    broker.start_again();
    let mut c = Connection::open(&broker);
    assert_eq!(read_all(&mut c, "t"), expected);
    assert_eq!(put(&mut c, "t", &[pair("h", Some("1"))]), 11);
    check(&postgres);
}

#[test]
fn a_segment_that_kafka_would_have_ended_is_compacted_soon() {
    // Tables of the log of the usual size and age.
    let broker = Broker::start_with(&["--log-cleaner-backoff-ms", "100"]);
    let mut c = Connection::open(&broker);
    let eager = ("min.cleanable.dirty.ratio", "0");
    compacted(&mut c, "by-time", &[eager, ("segment.ms", "200")]);
    compacted(&mut c, "by-lag", &[eager, ("max.compaction.lag.ms", "200")]);
    for topic in ["by-time", "by-lag"] {
        let twice = [pair("a", Some("1")), pair("a", Some("2"))];
        put(&mut c, topic, &twice);
        // Kafka begins a new segment with what comes after that time.
        wait_for("the topic to be compacted", SOON, || {
            std::thread::sleep(Duration::from_millis(250));
            put(&mut c, topic, &[pair("b", Some("1"))]);
            let first = read_all(&mut c, topic).swap_remove(0);
            (first == (1, twice[1].clone())).then_some(())
        });
    }
}

#[test]
fn settings_of_compaction() {
    let (_postgres, broker) = quick(&[]);
    let mut c = Connection::open(&broker);
    c.create_topic("tick", 1);
    let forever = ("min.cleanable.dirty.ratio", "1");
    compacted(&mut c, "young", &[("min.compaction.lag.ms", "3600000")]);
    compacted(&mut c, "lazy", &[forever]);
    compacted(&mut c, "due", &[forever, ("max.compaction.lag.ms", "1000")]);
    compacted(&mut c, "eager", &[("min.cleanable.dirty.ratio", "0")]);
    let mut all = Vec::new();
    for topic in ["young", "lazy", "due", "eager"] {
        all = vec![pair("a", Some("1")), pair("a", Some("2"))];
        put(&mut c, topic, &all);
    }
    let all: Vec<_> = (0..).zip(all).collect();
    wait_until_read(&mut c, "eager", &all[1..]);
    wait_until_read(&mut c, "due", &all[1..]);
    stays(&mut c, "young", &all);
    assert_eq!(read_all(&mut c, "lazy"), all);
    set(&mut c, (TOPIC, "young"), "min.compaction.lag.ms", "100");
    wait_until_read(&mut c, "young", &all[1..]);
    set(&mut c, (TOPIC, "lazy"), "min.cleanable.dirty.ratio", "0.5");
    wait_until_read(&mut c, "lazy", &all[1..]);
}

#[test]
fn compact_and_delete() {
    let args = ["--log-retention-check-interval-ms", "200"];
    let (_postgres, broker) = quick(&args);
    let mut c = Connection::open(&broker);
    c.create_topic("tick", 1);
    compacted(&mut c, "both", &[("cleanup.policy", "compact,delete")]);
    put(
        &mut c,
        "both",
        &[pair("a", Some("1")), pair("a", Some("2"))],
    );
    wait_until_read(&mut c, "both", &[(1, pair("a", Some("2")))]);
    set(&mut c, (TOPIC, "both"), "retention.ms", "1000");
    wait_until_read(&mut c, "both", &[]);
    assert_eq!(c.list_offset("both", 0, -2).1, 2);
}

/// What a topic must come to: the last value of each key with its offset.
#[derive(Default)]
struct Model {
    last: BTreeMap<String, (i64, Option<String>)>,
    next: i64,
    random: u64,
}

impl Model {
    const KEYS: u64 = 10_000;
    const BATCH: i64 = 500;

    fn random(&mut self, below: u64) -> u64 {
        let next = self.random.wrapping_mul(6_364_136_223_846_793_005);
        self.random = next.wrapping_add(1_442_695_040_888_963_407);
        (self.random >> 33) % below
    }

    fn batch(&mut self) -> Vec<Pair> {
        let mut pairs = Vec::new();
        for offset in self.next..self.next + Self::BATCH {
            let key = format!("key-{}", self.random(Self::KEYS));
            let is_tombstone = self.random(10) == 0;
            let value = (!is_tombstone).then(|| format!("{offset} {}", "x".repeat(40)));
            self.last.insert(key.clone(), (offset, value.clone()));
            pairs.push((key, value));
        }
        self.next += Self::BATCH;
        pairs
    }

    /// By offset.
    fn living(&self, tombstones: bool) -> BTreeMap<i64, Pair> {
        let kept = self.last.iter();
        let kept = kept.filter(|(_, (_, value))| tombstones || value.is_some());
        kept.map(|(key, (offset, value))| (*offset, (key.clone(), value.clone())))
            .collect()
    }

    /// Whatever has been cleaned: the last of each key is what it is, and no deleted key has come back.
    fn check(&self, read: &[(i64, Pair)]) {
        let seen: BTreeMap<&String, &Option<String>> =
            read.iter().map(|(_, (key, value))| (key, value)).collect();
        for (key, (_, value)) in &self.last {
            let seen = seen.get(key).copied().cloned().flatten();
            assert_eq!(seen, *value, "{key}");
        }
    }
}

/// Compaction beside a producer, with kill -9 in between, against a plain map.
#[test]
fn many_records_over_many_keys_while_they_are_produced() {
    let more = ["--log-segment-table-bytes", "2097152"];
    let (postgres, mut broker) = quick(&more);
    let mut c = Connection::open(&broker);
    c.create_topic("tick", 1);
    let settings = [
        ("delete.retention.ms", "100"),
        ("min.cleanable.dirty.ratio", "0"),
    ];
    compacted(&mut c, "t", &settings);
    let (id, epoch) = c.init_producer_id();
    let mut model = Model::default();
    let batches = std::env::var("COMPACTION_RECORDS").map_or(100, |records| {
        records.parse::<i64>().unwrap() / Model::BATCH
    });
    for round in 0..batches {
        let next = model.next;
        let sequence = i32::try_from(next).unwrap();
        let new = batch(&model.batch()).from_producer(id, epoch, sequence);
        if round == batches / 2 {
            broker.kill();
            broker.start_again();
            c = Connection::open(&broker);
        }
        let produced = c.produce("t", 0, &new.bytes());
        assert_eq!((produced.error, produced.base_offset), (0, next));
    }
    model.check(&read_all(&mut c, "t"));
    let (values, all) = (model.living(false), model.living(true));
    wait_for("few records to be left", SOON, || {
        tick(&mut c);
        std::thread::sleep(Duration::from_millis(300));
        let read = read_all(&mut c, "t");
        model.check(&read);
        let is_value = |record: &&(i64, Pair)| record.1.1.is_some();
        let is_clean = read.iter().filter(is_value).count() == values.len();
        is_clean.then(|| {
            let is_last = |(offset, pair): &(i64, Pair)| all.get(offset) == Some(pair);
            assert!(read.iter().all(is_last));
        })
    });
    let count = "select count(*) from kafka.messages where topic = 't' and value is not null";
    assert_eq!(postgres.query(count), [values.len().to_string()]);
    check(&postgres);
    let sequence = i32::try_from(model.next).unwrap();
    let more = batch(&[pair("key-0", Some("end"))]).from_producer(id, epoch, sequence);
    assert_eq!(c.produce("t", 0, &more.bytes()).base_offset, model.next);
}
