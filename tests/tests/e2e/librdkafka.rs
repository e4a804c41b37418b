//! librdkafka: produce, consume, metadata, admin, offsets for times, each codec, the idempotent producer.

use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::{Offset, TopicPartitionList};
use tests::librdkafka::{client, consume, consume_until, produce};
use tests::{Broker, fresh_topic};

/// Only a limit, for a machine that does much else.
const LIMIT: Duration = Duration::from_secs(120);

fn admin(bootstrap: &str) -> AdminClient<DefaultClientContext> {
    client(bootstrap, &[])
}

fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime")
        .block_on(future)
}

fn consumer(bootstrap: &str, settings: &[(&str, &str)]) -> BaseConsumer {
    client(
        bootstrap,
        &[
            &[("group.id", "unused"), ("enable.auto.commit", "false")],
            settings,
        ]
        .concat(),
    )
}

fn values(count: usize) -> Vec<Vec<u8>> {
    (0..count)
        .map(|i| format!("value {i} {}", "y".repeat(i % 200)).into_bytes())
        .collect()
}

fn codec_round_trip(codec: &str, settings: &[(&str, &str)]) {
    let broker = Broker::shared();
    let (b, topic) = (broker.bootstrap(), fresh_topic(&format!("rd-{codec}")));
    let values = values(20_000);
    let slices: Vec<&[u8]> = values.iter().map(Vec::as_slice).collect();
    let settings = [&[("compression.type", codec), ("linger.ms", "5")], settings].concat();
    let offsets = produce(&b, &topic, 0, &slices, &settings);
    assert_eq!(offsets, (0..20_000).collect::<Vec<i64>>());
    let read: Vec<Vec<u8>> = consume(&b, &topic, 0)
        .into_iter()
        .map(|r| r.value.unwrap())
        .collect();
    assert!(
        read == values,
        "the values read differ from the values written"
    );
}

#[test]
fn codec_none() {
    codec_round_trip("none", &[]);
}

#[test]
fn codec_gzip() {
    codec_round_trip("gzip", &[]);
}

#[test]
fn codec_snappy() {
    codec_round_trip("snappy", &[]);
}

#[test]
fn codec_lz4() {
    codec_round_trip("lz4", &[]);
}

#[test]
fn codec_zstd() {
    codec_round_trip("zstd", &[]);
}

#[test]
fn idempotent_producer() {
    codec_round_trip("lz4", &[("enable.idempotence", "true")]);
}

#[test]
fn acks_one_is_acknowledged_with_offsets() {
    codec_round_trip("none", &[("acks", "1")]);
}

#[test]
fn acks_zero_is_written_all_the_same() {
    let broker = Broker::shared();
    let (b, topic) = (broker.bootstrap(), fresh_topic("rd-acks0"));
    let values = values(1_000);
    let slices: Vec<&[u8]> = values.iter().map(Vec::as_slice).collect();
    produce(&b, &topic, 0, &slices, &[("acks", "0")]);
    // Nothing says when they are written, so a consumer waits for them.
    let read = consume_until(&consumer(&b, &[]), &topic, 0, 0, 1_000);
    let read: Vec<Vec<u8>> = read.into_iter().map(|r| r.value.unwrap()).collect();
    assert!(
        read == values,
        "the values read differ from the values written"
    );
}

#[test]
fn large_records() {
    let broker = Broker::shared();
    let (b, topic) = (broker.bootstrap(), fresh_topic("rd-large"));
    let values: Vec<Vec<u8>> = (0..8_u8).map(|i| vec![i; 900_000]).collect();
    let slices: Vec<&[u8]> = values.iter().map(Vec::as_slice).collect();
    produce(&b, &topic, 0, &slices, &[]);
    // Each is larger than what this consumer asks for at a time.
    let small = consumer(&b, &[("fetch.message.max.bytes", "1000")]);
    let read: Vec<Vec<u8>> = consume_until(&small, &topic, 0, 0, 8)
        .into_iter()
        .map(|r| r.value.unwrap())
        .collect();
    assert!(
        read == values,
        "the values read differ from the values written"
    );
}

#[test]
fn a_batch_above_max_message_bytes_is_refused() {
    let broker = Broker::shared();
    let (b, topic) = (broker.bootstrap(), fresh_topic("rd-too-large"));
    produce(&b, &topic, 0, &[b"fits"], &[]);
    let settings = [("message.max.bytes", "3000000")];
    let (producer, outcomes) = tests::librdkafka::producer(&b, &settings);
    let value = vec![7_u8; 2_000_000];
    let record = rdkafka::producer::BaseRecord::<(), [u8]>::to(&topic)
        .partition(0)
        .payload(&value);
    producer.send(record).map_err(|(e, _)| e).unwrap();
    rdkafka::producer::Producer::flush(&producer, LIMIT).unwrap();
    let failed = outcomes.failed.lock().unwrap().clone();
    assert_eq!(failed.len(), 1);
    assert_eq!(
        failed[0].rdkafka_error_code(),
        Some(RDKafkaErrorCode::MessageSizeTooLarge)
    );
    assert_eq!(consume(&b, &topic, 0).len(), 1);
}

#[test]
fn admin_create_grow_and_delete() {
    let broker = Broker::shared();
    let (b, topic) = (broker.bootstrap(), fresh_topic("rd-admin"));
    let admin = admin(&b);
    let options = AdminOptions::new();
    let create = |partitions| {
        let new = NewTopic::new(&topic, partitions, TopicReplication::Fixed(1));
        block_on(admin.create_topics(&[new], &options))
            .unwrap()
            .swap_remove(0)
    };
    assert_eq!(create(2), Ok(topic.clone()));
    assert_eq!(
        create(2),
        Err((topic.clone(), RDKafkaErrorCode::TopicAlreadyExists))
    );

    let grow = |to| {
        let new = NewPartitions::new(&topic, to);
        block_on(admin.create_partitions(&[new], &options))
            .unwrap()
            .swap_remove(0)
    };
    assert_eq!(grow(4), Ok(topic.clone()));
    assert_eq!(
        grow(4),
        Err((topic.clone(), RDKafkaErrorCode::InvalidPartitions))
    );
    let watcher = consumer(&b, &[]);
    let partitions = || {
        let metadata = watcher.fetch_metadata(None, LIMIT).unwrap();
        metadata
            .topics()
            .iter()
            .find(|t| t.name() == topic)
            .map(|t| t.partitions().len())
    };
    tests::wait_for("four partitions", LIMIT, || {
        (partitions() == Some(4)).then_some(())
    });

    let removed = block_on(admin.delete_topics(&[&topic], &options)).unwrap();
    assert_eq!(removed, [Ok(topic.clone())]);
    tests::wait_for("the end of the topic", LIMIT, || {
        partitions().is_none().then_some(())
    });
    let again = block_on(admin.delete_topics(&[&topic], &options)).unwrap();
    assert_eq!(
        again,
        [Err((
            topic.clone(),
            RDKafkaErrorCode::UnknownTopicOrPartition
        ))]
    );
}

#[test]
fn a_deleted_topic_starts_anew() {
    let broker = Broker::shared();
    let (b, topic) = (broker.bootstrap(), fresh_topic("rd-anew"));
    assert_eq!(produce(&b, &topic, 0, &[b"old", b"older"], &[]), [0, 1]);
    let removed = block_on(admin(&b).delete_topics(&[&topic], &AdminOptions::new())).unwrap();
    assert_eq!(removed, [Ok(topic.clone())]);
    assert_eq!(produce(&b, &topic, 0, &[b"new"], &[]), [0]);
    let read = consume(&b, &topic, 0);
    assert_eq!(read.len(), 1);
    assert_eq!(read[0].value.as_deref(), Some(&b"new"[..]));
}

#[test]
fn offsets_for_times() {
    let broker = Broker::shared();
    let (b, topic) = (broker.bootstrap(), fresh_topic("rd-times"));
    let (producer, _) = tests::librdkafka::producer(&b, &[]);
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    let base = i64::try_from(now.as_millis()).unwrap() - 100_000;
    for i in 0..10 {
        let record = rdkafka::producer::BaseRecord::<(), str>::to(&topic)
            .partition(0)
            .payload("x")
            .timestamp(base + i * 1_000);
        producer.send(record).map_err(|(e, _)| e).unwrap();
    }
    rdkafka::producer::Producer::flush(&producer, LIMIT).unwrap();
    let consumer = consumer(&b, &[]);
    let offset_at = |time: i64| {
        let mut asked = TopicPartitionList::new();
        asked
            .add_partition_offset(&topic, 0, Offset::Offset(time))
            .unwrap();
        let found = consumer.offsets_for_times(asked, LIMIT).unwrap();
        found.elements()[0].offset()
    };
    assert_eq!(offset_at(0), Offset::Offset(0));
    assert_eq!(offset_at(base + 3_000), Offset::Offset(3));
    assert_eq!(offset_at(base + 3_001), Offset::Offset(4));
    assert_eq!(offset_at(base + 9_001), Offset::End);
}

#[test]
fn a_waiting_consumer_gets_new_records_at_once() {
    let broker = Broker::shared();
    let (b, topic) = (broker.bootstrap(), fresh_topic("rd-tail"));
    produce(&b, &topic, 0, &[b"first"], &[]);
    // A poll that waits up to a minute for 1 byte must be woken by the append.
    let waiting = consumer(
        &b,
        &[
            ("fetch.wait.max.ms", "60000"),
            ("socket.timeout.ms", "120000"),
        ],
    );
    assert_eq!(consume_until(&waiting, &topic, 0, 0, 1).len(), 1);
    let none = waiting.poll(Duration::from_millis(300));
    assert!(none.is_none());
    produce(&b, &topic, 0, &[b"second"], &[]);
    let started = std::time::Instant::now();
    let second = waiting.poll(LIMIT).unwrap().unwrap();
    assert_eq!(rdkafka::Message::payload(&second), Some(&b"second"[..]));
    assert!(
        started.elapsed() < Duration::from_secs(30),
        "it took {:?}",
        started.elapsed()
    );
}

#[test]
fn fetch_beyond_the_end_is_out_of_range() {
    let broker = Broker::shared();
    let (b, topic) = (broker.bootstrap(), fresh_topic("rd-range"));
    produce(&b, &topic, 0, &[b"only"], &[]);
    let strict = consumer(&b, &[("auto.offset.reset", "error")]);
    let mut assignment = TopicPartitionList::new();
    assignment
        .add_partition_offset(&topic, 0, Offset::Offset(100))
        .unwrap();
    strict.assign(&assignment).unwrap();
    let error = strict.poll(LIMIT).unwrap().err().unwrap();
    assert_eq!(
        error.rdkafka_error_code(),
        Some(RDKafkaErrorCode::AutoOffsetReset),
        "{error}"
    );
}

#[test]
fn many_partitions_at_once() {
    let broker = Broker::shared();
    let (b, topic) = (broker.bootstrap(), fresh_topic("rd-many"));
    let new = NewTopic::new(&topic, 12, TopicReplication::Fixed(1));
    block_on(admin(&b).create_topics(&[new], &AdminOptions::new()))
        .unwrap()
        .swap_remove(0)
        .unwrap();
    let (producer, outcomes) =
        tests::librdkafka::producer(&b, &[("enable.idempotence", "true"), ("linger.ms", "20")]);
    for i in 0..24_000 {
        let value = format!("{i}");
        let record = rdkafka::producer::BaseRecord::<(), str>::to(&topic)
            .partition(i % 12)
            .payload(&value);
        producer.send(record).map_err(|(e, _)| e).unwrap();
    }
    rdkafka::producer::Producer::flush(&producer, LIMIT).unwrap();
    assert_eq!(*outcomes.failed.lock().unwrap(), []);
    for partition in 0..12 {
        let read = consume(&b, &topic, partition);
        let expected: Vec<String> = (0..24_000)
            .filter(|i| i % 12 == partition)
            .map(|i| i.to_string())
            .collect();
        let read: Vec<String> = read
            .into_iter()
            .map(|r| String::from_utf8(r.value.unwrap()).unwrap())
            .collect();
        assert_eq!(read, expected);
    }
}
