//! librdkafka at its defaults, as applications use it.

use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use tests::fresh_topic;
use tests::librdkafka::{client, is_queue_full};
use tests::wire::Connection;

use crate::load::Sample;
use crate::raw::values;

/// How long the last records may take.
const LIMIT: Duration = Duration::from_secs(120);

/// Produces for so long, and until the last record is acknowledged.
pub(crate) fn produce(port: u16, record_bytes: usize, partitions: i32, length: Duration) -> Sample {
    let topic = fresh_topic("client");
    Connection::to_port(port).create_led_topic(&topic, partitions);
    let producer: BaseProducer = client(
        &format!("127.0.0.1:{port}"),
        // a report per record would be the test's own cost; an error of any record still comes, and fails the flush
        &[
            ("acks", "all"),
            ("delivery.report.only.error", "true"),
            ("queue.buffering.max.messages", "1000000"),
        ],
    );
    let values = values(1_000, record_bytes);
    let start = Instant::now();
    let mut records: u64 = 0;
    for (number, value) in values.iter().cycle().enumerate() {
        if number % 1_000 == 0 {
            producer.poll(Duration::ZERO);
            if start.elapsed() >= length {
                break;
            }
        }
        let partition = i32::try_from(number % partitions as usize).expect("a small number");
        let mut record = BaseRecord::<(), [u8]>::to(&topic)
            .partition(partition)
            .payload(value);
        while let Err((error, same)) = producer.send(record) {
            assert!(is_queue_full(&error), "a record was refused: {error}");
            // a poll with a time would spin, and take a core from the broker
            std::thread::sleep(Duration::from_millis(1));
            producer.poll(Duration::ZERO);
            record = same;
        }
        records += 1;
    }
    producer.flush(LIMIT).expect("all records in time");
    let seconds = start.elapsed().as_secs_f64();
    let mut connection = Connection::to_port(port);
    let stored: i64 = (0..partitions)
        .map(|p| connection.list_offset(&topic, p, -1).1)
        .sum();
    assert_eq!(
        stored.cast_unsigned(),
        records,
        "not every record is stored"
    );
    Sample {
        seconds,
        batches: 0,
        records,
        bytes: records * record_bytes as u64,
        ..Sample::default()
    }
}

/// Commits transactions of so many records for so long.
pub(crate) fn transactions(port: u16, records_each: usize, length: Duration) -> Sample {
    let topic = fresh_topic("transactions");
    Connection::to_port(port).create_led_topic(&topic, 1);
    let producer: BaseProducer = client(
        &format!("127.0.0.1:{port}"),
        &[
            ("transactional.id", &topic),
            ("delivery.report.only.error", "true"),
            ("linger.ms", "0"),
        ],
    );
    producer.init_transactions(LIMIT).expect("a producer id");
    let values = values(1_000, 100);
    let start = Instant::now();
    let (mut count, mut latencies) = (0, Vec::new());
    while start.elapsed() < length {
        let begun = Instant::now();
        producer.begin_transaction().expect("a transaction");
        for value in values.iter().cycle().take(records_each) {
            let record = BaseRecord::<(), [u8]>::to(&topic)
                .partition(0)
                .payload(value);
            producer.send(record).expect("room for a record");
        }
        producer.commit_transaction(LIMIT).expect("a commit");
        latencies.push(begun.elapsed());
        count += 1;
    }
    let records = count * records_each as u64;
    Sample {
        seconds: start.elapsed().as_secs_f64(),
        batches: count,
        records,
        bytes: records * 100,
        ..Sample::default()
    }
    .with_latencies(latencies)
}

/// Consumes a topic of one partition from its start to its end.
pub(crate) fn consume(port: u16, topic: &str) -> Sample {
    let end = Connection::to_port(port).list_offset(topic, 0, -1).1;
    let consumer: BaseConsumer = client(
        &format!("127.0.0.1:{port}"),
        // by default it asks for nothing during a second once it has 100,000 records, which is what it is handed in a tenth of one
        &[
            ("group.id", "bench"),
            ("enable.auto.commit", "false"),
            ("fetch.queue.backoff.ms", "10"),
        ],
    );
    let mut assignment = TopicPartitionList::new();
    assignment
        .add_partition_offset(topic, 0, Offset::Beginning)
        .expect("an offset");
    let start = Instant::now();
    consumer.assign(&assignment).expect("an assignment");
    let (mut records, mut bytes) = (0, 0);
    loop {
        let message = consumer
            .poll(LIMIT)
            .expect("a record in time")
            .expect("a record");
        records += 1;
        bytes += message.payload_len() as u64;
        if message.offset() + 1 >= end {
            break;
        }
    }
    Sample {
        seconds: start.elapsed().as_secs_f64(),
        batches: 0,
        records,
        bytes,
        ..Sample::default()
    }
}
