//! Exactly once while brokers and PostgreSQL are killed at random: what readers of committed records see in the end is what they
//! would see after a calm run. Kafka Streams, the Java client and librdkafka. `make chaos` has more kills; `CHAOS_SEED` repeats a
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
use tests::{fresh_topic, wait_for};

use super::brokers::committed;
use super::copier::Copiers;
use super::restarts::{self, Load};
use crate::brokers::{Cluster, SHORT_SESSION};
use crate::load::{Random, number};

/// Of the topics.
pub(super) const PARTITIONS: i32 = 2;
/// Kills of a test's short form, on one broker and on several, which take longer to come back.
const KILLS: [u64; 2] = [2, 1];
/// How long clients may take to come through one fault.
const PATIENCE: Duration = Duration::from_secs(120);

#[derive(Debug, Clone, Copy)]
pub(super) enum Fault {
    KillBroker,
    KillPostgres,
    KillBoth,
    StopBroker,
    PauseBroker,
}

/// Those with kill -9 first.
const FAULTS: [Fault; 5] = [
    Fault::KillBroker,
    Fault::KillPostgres,
    Fault::KillBoth,
    Fault::StopBroker,
    Fault::PauseBroker,
];
const KILLING: usize = 3;

/// Brokers on a PostgreSQL that suffer.
pub(super) struct Harmed {
    pub(super) cluster: Cluster,
    pub(super) random: Random,
    faults: &'static [Fault],
    /// How often something is to be killed.
    kills_wanted: u64,
    /// How often something was, and what.
    kills: u64,
    broker_kills: u64,
    postgres_kills: u64,
    others: u64,
}

impl Harmed {
    pub(super) fn start(brokers: usize, topics: &[&str]) -> Self {
        let random = Random::new();
        let cluster = Cluster::start(brokers, SHORT_SESSION);
        for topic in topics {
            cluster.create_topic(topic, PARTITIONS);
        }
        let wanted = number("CHAOS_ROUNDS");
        Self {
            cluster,
            random,
            // The short form has no time for others.
            faults: &FAULTS[..wanted.map_or(KILLING, |_| FAULTS.len())],
            kills_wanted: wanted.unwrap_or(KILLS[usize::from(brokers > 1)]),
            kills: 0,
            broker_kills: 0,
            postgres_kills: 0,
            others: 0,
        }
    }

    /// Whether there is to be another fault.
    pub(super) fn goes_on(&self) -> bool {
        self.kills < self.kills_wanted
    }

    /// One fault at random, from which brokers and PostgreSQL come back.
    pub(super) fn strike(&mut self) {
        let fault = self.faults[self.random.below(self.faults.len() as u64) as usize];
        let victim = self.random.below(self.cluster.brokers.len() as u64) as usize;
        let away = Duration::from_millis(self.random.below(1_500));
        self.harm(fault, victim, away);
    }

    /// This fault, for so long.
    pub(super) fn harm(&mut self, fault: Fault, victim: usize, away: Duration) {
        eprintln!(
            "after {} kills of {}: {fault:?}, broker {victim}",
            self.kills, self.kills_wanted
        );
        self.count(fault);
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

    fn count(&mut self, fault: Fault) {
        let broker = matches!(fault, Fault::KillBroker | Fault::KillBoth);
        let postgres = matches!(fault, Fault::KillPostgres | Fault::KillBoth);
        self.broker_kills += u64::from(broker);
        self.postgres_kills += u64::from(postgres);
        self.kills += u64::from(broker || postgres);
        self.others += u64::from(!(broker || postgres));
    }

    /// How often what was killed, which is as often as was wanted.
    pub(super) fn report(&self) {
        eprintln!(
            "{} times kill -9: {} brokers, {} times PostgreSQL; {} stops and pauses",
            self.kills, self.broker_kills, self.postgres_kills, self.others
        );
        assert!(self.kills >= self.kills_wanted);
        assert!(self.broker_kills + self.postgres_kills >= self.kills);
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

    /// Waits until there are so many records, while somebody goes on to make them.
    fn wait_for(&mut self, count: usize, go_on: &mut dyn FnMut()) {
        wait_for("committed records", PATIENCE, || {
            go_on();
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
    let mut go_on = || program.assert_running();
    let mut reader = Reader::of(&bootstrap, &output);
    let mut lines = Vec::new();
    let mut written = 0;
    while harmed.goes_on() {
        let new: Vec<String> = (0..100 + harmed.random.below(200))
            .map(|_| line(&mut harmed.random))
            .collect();
        lines.extend(new.iter().cloned());
        let (to, topic) = (bootstrap.clone(), input.clone());
        let writing = std::thread::spawn(move || write(&to, &topic, &new));
        // So that the counts of the round before are done while this one's are disturbed.
        let words: u64 = counts(&lines[..written]).values().sum();
        reader.wait_for(words as usize, &mut go_on);
        std::thread::sleep(Duration::from_millis(harmed.random.below(400)));
        harmed.strike();
        writing.join().expect("the lines are written");
        written = lines.len();
    }
    let expected = counts(&lines);
    let words: u64 = expected.values().sum();
    reader.wait_for(words as usize, &mut go_on);
    drop(program);
    check_counts(&reader.values, &expected);
    assert_eq!(harmed.end(&output), reader.values);
    eprintln!("{words} words, each counted once");
    harmed.report();
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
    java_copies(1);
}

#[test]
fn java_copies_with_offsets_exactly_once_on_three_brokers() {
    java_copies(3);
}

#[test]
fn librdkafka_copies_with_offsets_exactly_once() {
    librdkafka_copies(1);
}

#[test]
fn librdkafka_copies_with_offsets_exactly_once_on_three_brokers() {
    librdkafka_copies(3);
}

/// From a topic to another, with the group that does it.
struct Copy {
    harmed: Harmed,
    from: String,
    to: String,
    group: String,
}

impl Copy {
    fn new(brokers: usize) -> Self {
        let (from, to) = (fresh_topic("from"), fresh_topic("to"));
        Self {
            harmed: Harmed::start(brokers, &[&from, &to]),
            from,
            to,
            group: fresh_topic("group"),
        }
    }

    /// Faults while somebody goes on to copy, and records before each. The copy is whole.
    fn run(mut self, go_on: &mut dyn FnMut()) {
        let bootstrap = self.harmed.cluster.bootstrap();
        let mut reader = Reader::of(&bootstrap, &self.to);
        let mut lines: Vec<String> = Vec::new();
        while self.harmed.goes_on() {
            let first = lines.len();
            let new: Vec<String> = (0..500).map(|i| (first + i).to_string()).collect();
            write(&bootstrap, &self.from, &new);
            lines.extend(new);
            let seen = first + self.harmed.random.below(400) as usize;
            reader.wait_for(seen, go_on);
            self.harmed.strike();
        }
        reader.wait_for(lines.len(), go_on);
        let copied = self.harmed.end(&self.to);
        assert_eq!(copied, self.harmed.end(&self.from));
        assert_eq!(copied, reader.values);
        self.harmed.report();
    }
}

fn java_copies(brokers: usize) {
    let copy = Copy::new(brokers);
    let bootstrap = copy.harmed.cluster.bootstrap();
    let directory = copy.harmed.cluster.brokers[0].dir().to_owned();
    let arguments = ["copy-on", &*bootstrap, &copy.from, &copy.to, &copy.group];
    let mut program = Running::client(&directory, &arguments);
    copy.run(&mut || program.assert_running());
}

fn librdkafka_copies(brokers: usize) {
    let copy = Copy::new(brokers);
    let bootstrap = copy.harmed.cluster.bootstrap();
    let copiers = Copiers::start(&bootstrap, &copy.from, &copy.to, &copy.group);
    copy.run(&mut || copiers.assert_running());
    copiers.end();
}

#[test]
fn librdkafkas_transactions_are_whole_or_not_there() {
    let topic = fresh_topic("txn-chaos");
    let mut harmed = Harmed::start(1, &[&topic]);
    let load = Load::start(&harmed.cluster.bootstrap(), &topic);
    while harmed.goes_on() {
        load.progress(1 + harmed.random.below(30) as usize);
        std::thread::sleep(Duration::from_millis(harmed.random.below(200)));
        harmed.strike();
    }
    load.progress(100);
    restarts::check_all(load, &harmed.cluster.brokers[0], &topic);
    harmed.report();
}
