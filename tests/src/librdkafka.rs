//! Short ways to produce and consume with librdkafka.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, FromClientConfig};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, DeliveryResult, Message};
use rdkafka::producer::{BaseRecord, Producer, ProducerContext, ThreadedProducer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

/// How long a flush or a read of known length may take.
const LIMIT: Duration = Duration::from_secs(120);

/// A configuration that points at a broker.
pub fn config(bootstrap: &str, settings: &[(&str, &str)]) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", bootstrap);
    for (name, value) in settings {
        config.set(*name, *value);
    }
    config
}

/// Any client of librdkafka, with these settings.
pub fn client<T: FromClientConfig>(bootstrap: &str, settings: &[(&str, &str)]) -> T {
    config(bootstrap, settings)
        .create()
        .expect("settings that librdkafka knows")
}

/// A record that was acknowledged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acknowledged {
    pub partition: i32,
    pub offset: i64,
    pub value: Vec<u8>,
}

/// Collects the outcome of every record.
#[derive(Debug, Default, Clone)]
pub struct Outcomes {
    pub acknowledged: Arc<Mutex<Vec<Acknowledged>>>,
    pub failed: Arc<Mutex<Vec<KafkaError>>>,
}

impl ClientContext for Outcomes {}

impl ProducerContext for Outcomes {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        match result {
            Ok(message) => self
                .acknowledged
                .lock()
                .expect("the outcomes")
                .push(Acknowledged {
                    partition: message.partition(),
                    offset: message.offset(),
                    value: message.payload().unwrap_or_default().to_vec(),
                }),
            Err((error, _)) => self
                .failed
                .lock()
                .expect("the outcomes")
                .push(error.clone()),
        }
    }
}

impl Outcomes {
    /// What was acknowledged so far, in no order.
    pub fn acknowledged(&self) -> Vec<Acknowledged> {
        self.acknowledged.lock().expect("the outcomes").clone()
    }

    /// How many records were acknowledged so far.
    pub fn count(&self) -> usize {
        self.acknowledged.lock().expect("the outcomes").len()
    }
}

/// A producer whose records' outcomes are collected, polled by a thread of its own.
pub fn producer(
    bootstrap: &str,
    settings: &[(&str, &str)],
) -> (ThreadedProducer<Outcomes>, Outcomes) {
    let outcomes = Outcomes::default();
    let producer = config(bootstrap, settings)
        .create_with_context(outcomes.clone())
        .expect("settings that librdkafka knows");
    (producer, outcomes)
}

/// Produces values without keys to one partition and returns their offsets, sorted.
///
/// # Panics
/// When one of them is not acknowledged.
pub fn produce(
    bootstrap: &str,
    topic: &str,
    partition: i32,
    values: &[&[u8]],
    settings: &[(&str, &str)],
) -> Vec<i64> {
    let (producer, outcomes) = producer(bootstrap, settings);
    for value in values {
        let mut record = BaseRecord::<(), [u8]>::to(topic)
            .partition(partition)
            .payload(value);
        while let Err((error, same)) = producer.send(record) {
            assert!(is_queue_full(&error), "a record was refused: {error}");
            std::thread::sleep(Duration::from_millis(10));
            record = same;
        }
    }
    producer
        .flush(LIMIT)
        .expect("all records delivered in time");
    let failed = outcomes.failed.lock().expect("the outcomes").clone();
    assert_eq!(failed, Vec::new(), "records failed");
    // Two threads report: the producer's own and the one that flushes.
    let mut offsets: Vec<i64> = outcomes.acknowledged().iter().map(|a| a.offset).collect();
    offsets.sort_unstable();
    offsets
}

/// Whether a send failed only because librdkafka's own queue is full.
pub fn is_queue_full(error: &KafkaError) -> bool {
    error.rdkafka_error_code() == Some(rdkafka::types::RDKafkaErrorCode::QueueFull)
}

/// A record as a consumer got it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Consumed {
    pub partition: i32,
    pub offset: i64,
    pub timestamp: Option<i64>,
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub headers: Vec<(String, Option<Vec<u8>>)>,
}

impl Consumed {
    fn new(message: &BorrowedMessage<'_>) -> Self {
        use rdkafka::message::Headers;
        let headers = message.headers().map(|all| {
            let copy = |h: rdkafka::message::Header<'_, &[u8]>| {
                (h.key.to_owned(), h.value.map(<[u8]>::to_vec))
            };
            all.iter().map(copy).collect()
        });
        Self {
            partition: message.partition(),
            offset: message.offset(),
            timestamp: message.timestamp().to_millis(),
            key: message.key().map(<[u8]>::to_vec),
            value: message.payload().map(<[u8]>::to_vec),
            headers: headers.unwrap_or_default(),
        }
    }
}

/// Everything in a partition from its beginning to its end as it is now.
pub fn consume(bootstrap: &str, topic: &str, partition: i32) -> Vec<Consumed> {
    let consumer: BaseConsumer = client(
        bootstrap,
        &[("group.id", "unused"), ("enable.auto.commit", "false")],
    );
    let (first, end) = consumer
        .fetch_watermarks(topic, partition, LIMIT)
        .expect("the watermarks");
    consume_until(&consumer, topic, partition, first, end)
}

/// The records of a partition in `first..end`.
///
/// # Panics
/// When they don't arrive in time.
pub fn consume_until(
    consumer: &BaseConsumer,
    topic: &str,
    partition: i32,
    first: i64,
    end: i64,
) -> Vec<Consumed> {
    let mut assignment = TopicPartitionList::new();
    assignment
        .add_partition_offset(topic, partition, Offset::Offset(first))
        .expect("an offset");
    consumer.assign(&assignment).expect("an assignment");
    let mut records = Vec::new();
    let deadline = Instant::now() + LIMIT;
    while records.last().map_or(first, |r: &Consumed| r.offset + 1) < end {
        assert!(
            Instant::now() < deadline,
            "{} records of {first}..{end} came in time",
            records.len()
        );
        match consumer.poll(Duration::from_millis(200)) {
            Some(Ok(message)) => records.push(Consumed::new(&message)),
            Some(Err(error)) => panic!("consuming {topic}/{partition}: {error}"),
            None => {}
        }
    }
    records
}

/// Asserts that a partition holds every acknowledged record at the offset it was acknowledged with, and no value
/// twice. Returns what it holds.
pub fn assert_all_there_once(
    bootstrap: &str,
    topic: &str,
    partition: i32,
    acknowledged: &[Acknowledged],
) -> Vec<Consumed> {
    let records = consume(bootstrap, topic, partition);
    let mut seen: HashMap<&[u8], i64> = HashMap::new();
    for record in &records {
        let value = record.value.as_deref().unwrap_or_default();
        if let Some(earlier) = seen.insert(value, record.offset) {
            panic!(
                "{:?} is there twice, at {earlier} and {}",
                String::from_utf8_lossy(value),
                record.offset
            );
        }
    }
    for record in acknowledged.iter().filter(|a| a.partition == partition) {
        assert_eq!(
            seen.get(record.value.as_slice()),
            Some(&record.offset),
            "acknowledged record {:?} of partition {partition}",
            String::from_utf8_lossy(&record.value)
        );
    }
    records
}
