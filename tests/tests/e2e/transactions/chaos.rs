//! Exactly once while brokers and PostgreSQL are killed at random: what readers of committed records see in the end is what they
//! would see after a calm run. Kafka Streams, the Java client and librdkafka. `make chaos` has more rounds; `CHAOS_SEED` repeats a
//! run's choices.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message;
use rdkafka::producer::{BaseRecord, Producer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rustix::process::Signal;
use tests::java::Running;
use tests::librdkafka::{client, is_queue_full, producer};
use tests::wire::Connection;
use tests::{fresh_topic, wait_for};

use super::brokers::committed;
use super::restarts::{self, Load};
use crate::brokers::{Cluster, SHORT_SESSION};
use crate::load::{Random, number};

/// Of the topics.
pub(super) const PARTITIONS: i32 = 2;
/// Of a test's short form, on one broker and on several, which take longer to come back.
const ROUNDS: [u64; 2] = [3, 2];
/// How long clients may take to come through one fault.
const PATIENCE: Duration = Duration::from_secs(120);

#[derive(Debug, Clone, Copy)]
enum Fault {
    KillBroker,
    KillPostgres,
    KillBoth,
    StopBroker,
    PauseBroker,
}

const FAULTS: [Fault; 5] = [
    Fault::KillBroker,
    Fault::KillPostgres,
    Fault::KillBoth,
    Fault::StopBroker,
    Fault::PauseBroker,
];

/// Brokers on a PostgreSQL that suffer.
pub(super) struct Harmed {
    pub(super) cluster: Cluster,
    pub(super) random: Random,
    pub(super) rounds: u64,
}

impl Harmed {
    pub(super) fn start(brokers: usize, topics: &[&str]) -> Self {
        let random = Random::new();
        let cluster = Cluster::start(brokers, SHORT_SESSION);
        for topic in topics {
            Connection::open(&cluster.brokers[0]).create_topic(topic, PARTITIONS);
        }
        Self {
            cluster,
            random,
            rounds: number("CHAOS_ROUNDS").unwrap_or(ROUNDS[usize::from(brokers > 1)]),
        }
    }

    /// One fault, from which brokers and PostgreSQL come back.
    pub(super) fn strike(&mut self, round: u64) {
        let fault = FAULTS[self.random.below(FAULTS.len() as u64) as usize];
        let victim = self.random.below(self.cluster.brokers.len() as u64) as usize;
        eprintln!(
            "round {round} of {}: {fault:?}, broker {victim}",
            self.rounds
        );
        let away = Duration::from_millis(self.random.below(1_500));
        let Cluster { postgres, brokers } = &mut self.cluster;
        let victim = &mut brokers[victim];
        match fault {
            Fault::KillBroker => victim.kill(),
            Fault::StopBroker => victim.stop(),
            Fault::KillPostgres => postgres.kill(),
            Fault::KillBoth => {
                postgres.kill();
                victim.kill();
            }
            Fault::PauseBroker => victim.signal(Signal::STOP),
        }
        std::thread::sleep(away);
        if matches!(fault, Fault::KillPostgres | Fault::KillBoth) {
            postgres.start_again();
        }
        match fault {
            Fault::PauseBroker => victim.signal(Signal::CONT),
            Fault::KillPostgres => {}
            Fault::KillBroker | Fault::KillBoth | Fault::StopBroker => victim.start_again(),
        }
    }

    /// What is in a topic in the end, when no transaction is open any more, by partition.
    fn end(&self, topic: &str) -> Vec<Vec<String>> {
        self.cluster.wait_until_whole();
        committed(&self.cluster, topic, PARTITIONS)
    }
}

/// A reader of committed records through all that happens.
struct Reader {
    consumer: BaseConsumer,
    /// By partition.
    values: Vec<Vec<String>>,
}

impl Reader {
    fn of(bootstrap: &str, topic: &str) -> Self {
        let settings = [
            ("group.id", "unused"),
            ("enable.auto.commit", "false"),
            ("isolation.level", "read_committed"),
            ("auto.offset.reset", "error"),
            ("reconnect.backoff.max.ms", "500"),
        ];
        let consumer: BaseConsumer = client(bootstrap, &settings);
        let mut assignment = TopicPartitionList::new();
        for partition in 0..PARTITIONS {
            let added = assignment.add_partition_offset(topic, partition, Offset::Beginning);
            added.expect("an offset");
        }
        consumer.assign(&assignment).expect("an assignment");
        Self {
            consumer,
            values: vec![Vec::new(); PARTITIONS as usize],
        }
    }

    /// Waits until there are so many records, while a program makes them.
    fn wait_for(&mut self, count: usize, program: &mut Running) {
        wait_for("committed records", PATIENCE, || {
            program.assert_running();
            while let Some(polled) = self.consumer.poll(Duration::from_millis(50)) {
                // Brokers may be away.
                let Ok(message) = polled else { continue };
                let value = message.payload().expect("a value").to_vec();
                let value = String::from_utf8(value).expect("text");
                self.values[message.partition() as usize].push(value);
            }
            let found: usize = self.values.iter().map(Vec::len).sum();
            (found >= count).then_some(())
        });
    }
}

/// Words at random, some often and some seldom.
fn line(random: &mut Random) -> String {
    let words = (0..1 + random.below(6)).map(|_| {
        let limit = 1 + random.below(40);
        format!("word{}", random.below(limit))
    });
    words.collect::<Vec<_>>().join(" ")
}

/// Writes lines, each once.
fn write(bootstrap: &str, topic: &str, lines: &[String]) {
    let settings = [
        ("enable.idempotence", "true"),
        ("message.timeout.ms", "180000"),
        ("retry.backoff.ms", "50"),
        ("reconnect.backoff.max.ms", "500"),
    ];
    let (producer, outcomes) = producer(bootstrap, &settings);
    for (i, line) in lines.iter().enumerate() {
        let mut record = BaseRecord::<(), str>::to(topic)
            .partition(i as i32 % PARTITIONS)
            .payload(line);
        while let Err((error, same)) = producer.send(record) {
            assert!(is_queue_full(&error), "{error}");
            std::thread::sleep(Duration::from_millis(5));
            record = same;
        }
    }
    producer.flush(PATIENCE).expect("all lines acknowledged");
    assert_eq!(outcomes.count(), lines.len(), "lines were lost");
}

/// Counts by a plain map, as many as there are words.
fn counts(lines: &[String]) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for word in lines.iter().flat_map(|line| line.split(' ')) {
        *counts.entry(word.to_owned()).or_default() += 1;
    }
    counts
}

/// Each word is counted 1, 2, 3… without a gap or a repetition, in one partition.
fn check_counts(seen: &[Vec<String>], expected: &BTreeMap<String, u64>) {
    let mut found: BTreeMap<String, u64> = BTreeMap::new();
    let mut partition_of: HashMap<&str, usize> = HashMap::new();
    for (partition, values) in seen.iter().enumerate() {
        for value in values {
            let (word, count) = value.split_once(' ').expect("a word and its count");
            let last = found.entry(word.to_owned()).or_default();
            assert_eq!(count, (*last + 1).to_string(), "the next count of {word}");
            *last += 1;
            let home = *partition_of.entry(word).or_insert(partition);
            assert_eq!(home, partition, "the partition of {word}");
        }
    }
    assert_eq!(found, *expected);
}

/// Faults, and lines before and after each.
fn count_words(brokers: usize) {
    let (input, output) = (fresh_topic("lines"), fresh_topic("counts"));
    let mut harmed = Harmed::start(brokers, &[&input, &output]);
    let bootstrap = harmed.cluster.bootstrap();
    let directory = harmed.cluster.brokers[0].dir().to_owned();
    let application = fresh_topic("word-count");
    let arguments = [&*bootstrap, &input, &output, &application];
    let mut program = Running::source(&directory, "WordCount.java", &arguments);
    let mut reader = Reader::of(&bootstrap, &output);
    let mut lines = Vec::new();
    let mut written = 0;
    for round in 1..=harmed.rounds {
        let new: Vec<String> = (0..100 + harmed.random.below(200))
            .map(|_| line(&mut harmed.random))
            .collect();
        lines.extend(new.iter().cloned());
        let (to, topic) = (bootstrap.clone(), input.clone());
        let writing = std::thread::spawn(move || write(&to, &topic, &new));
        // So that the counts of the round before are done while this one's are disturbed.
        let words: u64 = counts(&lines[..written]).values().sum();
        reader.wait_for(words as usize, &mut program);
        std::thread::sleep(Duration::from_millis(harmed.random.below(400)));
        harmed.strike(round);
        writing.join().expect("the lines are written");
        written = lines.len();
    }
    let expected = counts(&lines);
    let words: u64 = expected.values().sum();
    reader.wait_for(words as usize, &mut program);
    drop(program);
    check_counts(&reader.values, &expected);
    assert_eq!(harmed.end(&output), reader.values);
    eprintln!("{} rounds, {words} words, each counted once", harmed.rounds);
}

#[test]
fn kafka_streams_counts_words_exactly_once() {
    count_words(1);
}

#[test]
fn kafka_streams_counts_words_exactly_once_on_three_brokers() {
    count_words(3);
}

#[test]
fn java_copies_with_offsets_exactly_once() {
    copy_with_offsets(1);
}

#[test]
fn java_copies_with_offsets_exactly_once_on_three_brokers() {
    copy_with_offsets(3);
}

fn copy_with_offsets(brokers: usize) {
    let (from, to) = (fresh_topic("from"), fresh_topic("to"));
    let mut harmed = Harmed::start(brokers, &[&from, &to]);
    let bootstrap = harmed.cluster.bootstrap();
    let directory = harmed.cluster.brokers[0].dir().to_owned();
    let group = fresh_topic("group");
    let arguments = ["copy-on", &*bootstrap, &from, &to, &group];
    let mut program = Running::client(&directory, &arguments);
    let mut reader = Reader::of(&bootstrap, &to);
    let mut lines: Vec<String> = Vec::new();
    for round in 1..=harmed.rounds {
        let first = lines.len();
        let new: Vec<String> = (0..500).map(|i| (first + i).to_string()).collect();
        write(&bootstrap, &from, &new);
        lines.extend(new);
        reader.wait_for(first + harmed.random.below(400) as usize, &mut program);
        harmed.strike(round);
    }
    reader.wait_for(lines.len(), &mut program);
    drop(program);
    let copied = harmed.end(&to);
    assert_eq!(copied, harmed.end(&from));
    assert_eq!(copied, reader.values);
}

#[test]
fn librdkafkas_transactions_are_whole_or_not_there() {
    let topic = fresh_topic("txn-chaos");
    let mut harmed = Harmed::start(1, &[&topic]);
    let load = Load::start(&harmed.cluster.bootstrap(), &topic);
    for round in 1..=harmed.rounds {
        load.progress(1 + harmed.random.below(30) as usize);
        std::thread::sleep(Duration::from_millis(harmed.random.below(200)));
        harmed.strike(round);
    }
    load.progress(30);
    restarts::check_all(load, &harmed.cluster.brokers[0], &topic);
}
