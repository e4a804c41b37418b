//! Consume, transform, produce with librdkafka: members of a group that copy a topic, each batch in one transaction with the offsets
//! of what it was made of. They go on whatever happens to the brokers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaResult;
use rdkafka::message::Message;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use tests::librdkafka::{client, is_queue_full};
use tests::wait_for;

use super::restarts::{PATIENCE, abort, initialised, insist};

/// Members of the group.
const MEMBERS: usize = 2;
/// Records of one transaction.
const RECORDS_MAX: usize = 50;
/// How long to wait for them.
const GATHER: Duration = Duration::from_millis(100);
/// One look at the committed offsets.
const LOOK: Duration = Duration::from_secs(5);

/// A record: partition, offset, value.
type Polled = (i32, i64, Vec<u8>);

/// Threads that copy until they are told to stop.
pub(super) struct Copiers {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Copiers {
    pub(super) fn start(bootstrap: &str, from: &str, to: &str, group: &str) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let threads = (0..MEMBERS).map(|member| {
            let stop = stop.clone();
            let copier = Copier {
                bootstrap: bootstrap.to_owned(),
                from: from.to_owned(),
                to: to.to_owned(),
                id: format!("{group}-{member}"),
            };
            let consumer = consumer(bootstrap, group);
            std::thread::spawn(move || copier.run(&consumer, &stop))
        });
        Self {
            threads: threads.collect(),
            stop,
        }
    }

    pub(super) fn assert_running(&self) {
        let has_ended = self.threads.iter().any(JoinHandle::is_finished);
        assert!(!has_ended, "a copier has failed");
    }

    pub(super) fn end(self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads {
            thread.join().expect("a copier");
        }
    }
}

fn consumer(bootstrap: &str, group: &str) -> BaseConsumer {
    let settings = [
        ("group.id", group),
        ("enable.auto.commit", "false"),
        ("isolation.level", "read_committed"),
        ("auto.offset.reset", "earliest"),
        // A member that could not say goodbye is to be gone soon.
        ("session.timeout.ms", "6000"),
        ("reconnect.backoff.max.ms", "500"),
    ];
    client(bootstrap, &settings)
}

struct Copier {
    bootstrap: String,
    from: String,
    to: String,
    id: String,
}

impl Copier {
    fn run(&self, consumer: &BaseConsumer, stop: &AtomicBool) {
        consumer.subscribe(&[&self.from]).expect("a subscription");
        let mut producer = initialised(&self.bootstrap, &self.id);
        while !stop.load(Ordering::Relaxed) {
            let records = polled(consumer);
            if records.is_empty() || self.transaction(consumer, &producer, &records) {
                continue;
            }
            let is_fatal = producer.client().fatal_error().is_some();
            if is_fatal || !abort(&producer) {
                // Its successor ends what it has begun.
                drop(producer);
                producer = initialised(&self.bootstrap, &self.id);
            }
            rewind(consumer);
        }
    }

    /// Whether it is known to be committed.
    fn transaction(
        &self,
        consumer: &BaseConsumer,
        producer: &BaseProducer,
        records: &[Polled],
    ) -> bool {
        if producer.begin_transaction().is_err() {
            return false;
        }
        let mut ends: BTreeMap<i32, i64> = BTreeMap::new();
        for (partition, offset, value) in records {
            let mut record = BaseRecord::<(), [u8]>::to(&self.to)
                .partition(*partition)
                .payload(value);
            while let Err((error, same)) = producer.send(record) {
                if !is_queue_full(&error) {
                    return false;
                }
                producer.poll(Duration::from_millis(5));
                record = same;
            }
            ends.insert(*partition, offset + 1);
        }
        let mut offsets = TopicPartitionList::new();
        for (partition, end) in ends {
            let end = Offset::Offset(end);
            let added = offsets.add_partition_offset(&self.from, partition, end);
            added.expect("an offset");
        }
        let Some(member) = consumer.group_metadata() else {
            return false;
        };
        insist(|| producer.send_offsets_to_transaction(&offsets, &member, PATIENCE))
            && insist(|| producer.commit_transaction(PATIENCE))
    }
}

fn polled(consumer: &BaseConsumer) -> Vec<Polled> {
    let mut records = Vec::new();
    let begun = Instant::now();
    while records.len() < RECORDS_MAX && begun.elapsed() < GATHER {
        // Brokers may be away.
        if let Some(Ok(message)) = consumer.poll(Duration::from_millis(10)) {
            let value = message.payload().expect("a value").to_vec();
            records.push((message.partition(), message.offset(), value));
        }
    }
    records
}

/// To where the last commit was.
fn rewind(consumer: &BaseConsumer) {
    let seek = || -> KafkaResult<()> {
        let committed = consumer.committed_offsets(consumer.assignment()?, LOOK)?;
        for partition in committed.elements() {
            partition.error()?;
            let offset = match partition.offset() {
                Offset::Offset(offset) => Offset::Offset(offset),
                _ => Offset::Beginning,
            };
            consumer.seek(partition.topic(), partition.partition(), offset, LOOK)?;
        }
        Ok(())
    };
    wait_for("the committed offsets", PATIENCE, || seek().ok());
}
