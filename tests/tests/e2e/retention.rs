//! What becomes of old records: deleted by clients, by age and by size. Offsets never go back, producers go on, space is returned.

use std::time::Duration;

use protocol::ErrorCode;
use protocol::messages::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
use protocol::messages::delete_topics_request::DeleteTopicState;
use protocol::messages::{
    DeleteRecordsRequest, DeleteRecordsResponse, DeleteTopicsRequest, DeleteTopicsResponse,
};
use tests::admin::{TOPIC, set};
use tests::batch::{NewBatch, read_batches};
use tests::java::kafka_tool;
use tests::postgres::Postgres;
use tests::wire::Connection;
use tests::{Broker, fresh_topic, wait_for};

const HOUR_MS: i64 = 3_600_000;
/// Longer than the broker takes to look for what has expired.
const SOON: Duration = Duration::from_secs(120);

/// A broker that looks often, and begins a new segment after a second.
fn quick() -> (Postgres, Broker) {
    let postgres = Postgres::start();
    let url = postgres.url();
    let broker = Broker::start_with(&[
        "--database-url",
        &url,
        "--log-retention-check-interval-ms",
        "200",
        "--log-segment-table-ms",
        "1000",
    ]);
    (postgres, broker)
}

/// Low watermark and error of each partition and offset.
pub(crate) fn delete_records(
    c: &mut Connection,
    version: i16,
    topic: &str,
    offsets: &[(i32, i64)],
) -> Vec<(i64, ErrorCode)> {
    let partitions = offsets
        .iter()
        .map(|(index, offset)| DeleteRecordsPartition {
            partition_index: *index,
            offset: *offset,
            ..DeleteRecordsPartition::default()
        });
    let request = DeleteRecordsRequest {
        topics: vec![DeleteRecordsTopic {
            name: topic.into(),
            partitions: partitions.collect(),
            ..DeleteRecordsTopic::default()
        }],
        timeout_ms: 30_000,
        ..DeleteRecordsRequest::default()
    };
    let answer = c.call(&request, version);
    let response: DeleteRecordsResponse<'_> = answer.read();
    assert_eq!(response.topics[0].name, topic);
    let results = response.topics[0].partitions.iter();
    let each = results.map(|result| {
        let code = ErrorCode::from_i16(result.error_code).unwrap();
        (result.low_watermark, code)
    });
    each.collect()
}

fn of_age(age_ms: i64, bytes: usize) -> Vec<u8> {
    let mut batch = NewBatch::of(&[vec![b'x'; bytes]]);
    batch.base_timestamp -= age_ms;
    batch.bytes()
}

fn begin(c: &mut Connection, topic: &str) -> i64 {
    c.list_offset(topic, 0, -2).1
}

fn end(c: &mut Connection, topic: &str) -> i64 {
    c.list_offset(topic, 0, -1).1
}

fn log_size(postgres: &Postgres) -> i64 {
    // One that is dropped meanwhile has no size.
    let sizes = postgres.query(
        "select coalesce(sum(pg_total_relation_size(to_regclass('kafka.' || table_name))), 0) from kafka.segments",
    );
    sizes[0].parse().unwrap()
}

fn wait_for_begin(c: &mut Connection, topic: &str, offset: i64) {
    wait_for("the log to begin later", SOON, || {
        let begin = begin(c, topic);
        assert!(begin <= offset, "the log begins at {begin}, not {offset}");
        (begin == offset).then_some(())
    });
}

#[test]
fn clients_delete_records() {
    let broker = Broker::shared();
    let mut c = Connection::open(&broker);
    let topic = fresh_topic("delete-records");
    c.create_topic(&topic, 2);
    for _ in 0..5 {
        c.produce(&topic, 0, &NewBatch::of(&["a", "b"]).bytes());
    }
    let out_of_range = (-1, ErrorCode::OffsetOutOfRange);
    for (offset, expected) in [
        (0, (0, ErrorCode::None)),
        (11, out_of_range),
        (-2, out_of_range),
        (3, (3, ErrorCode::None)),
        // Never back.
        (1, (3, ErrorCode::None)),
    ] {
        assert_eq!(
            delete_records(&mut c, 2, &topic, &[(0, offset)]),
            [expected],
            "{offset}"
        );
    }
    assert_eq!(begin(&mut c, &topic), 3);
    assert_eq!(
        c.fetch(&topic, 0, 2).error,
        ErrorCode::OffsetOutOfRange as i16
    );
    let fetched = c.fetch(&topic, 0, 3);
    assert_eq!((fetched.error, fetched.log_start_offset), (0, 3));
    // The batch is whole; clients pass over what is before the offset they asked for.
    assert_eq!(read_batches(&fetched.records)[0].base_offset, 2);
    // A look-up by time does not find what is gone.
    assert_eq!(c.list_offset(&topic, 0, 0).1, 3);
    // All of one partition, and one that there is not.
    let unknown = (-1, ErrorCode::UnknownTopicOrPartition);
    let answers = delete_records(&mut c, 2, &topic, &[(0, -1), (1, -1), (2, -1)]);
    assert_eq!(
        answers,
        [(10, ErrorCode::None), (0, ErrorCode::None), unknown]
    );
    assert_eq!(delete_records(&mut c, 2, "nosuch", &[(0, -1)]), [unknown]);
    assert_eq!((begin(&mut c, &topic), end(&mut c, &topic)), (10, 10));
    assert_eq!(
        c.produce(&topic, 0, &NewBatch::of(&["c"]).bytes())
            .base_offset,
        10
    );
    assert_eq!(read_batches(&c.fetch(&topic, 0, 10).records).len(), 1);
}

#[test]
fn compacted_topics_keep_their_records() {
    let broker = Broker::shared();
    let mut c = Connection::open(&broker);
    let topic = fresh_topic("delete-compacted");
    c.create_topic(&topic, 1);
    c.produce(&topic, 0, &NewBatch::of(&["a", "b"]).bytes());
    set(&mut c, (TOPIC, &topic), "cleanup.policy", "compact");
    let refused = (-1, ErrorCode::PolicyViolation);
    assert_eq!(delete_records(&mut c, 2, &topic, &[(0, 1)]), [refused]);
    set(&mut c, (TOPIC, &topic), "cleanup.policy", "compact,delete");
    assert_eq!(
        delete_records(&mut c, 2, &topic, &[(0, 1)]),
        [(1, ErrorCode::None)]
    );
}

#[test]
fn kafka_delete_records() {
    let broker = Broker::shared();
    let mut c = Connection::open(&broker);
    let topic = fresh_topic("delete-tool");
    c.create_topic(&topic, 2);
    for partition in 0..2 {
        c.produce(&topic, partition, &NewBatch::of(&["a", "b", "c"]).bytes());
    }
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("offsets.json");
    let text = format!(
        r#"{{"version":1,"partitions":[{{"topic":"{topic}","partition":0,"offset":2}},{{"topic":"{topic}","partition":1,"offset":-1}}]}}"#
    );
    std::fs::write(&file, text).unwrap();
    let path = file.display().to_string();
    let args = [
        "--bootstrap-server",
        &broker.bootstrap(),
        "--offset-json-file",
        &path,
    ];
    let said = kafka_tool("DeleteRecordsCommand", &args, b"").ok().text();
    for (partition, low_watermark) in [(0, 2), (1, 3)] {
        let line = format!("partition: {topic}-{partition}\tlow_watermark: {low_watermark}");
        assert!(said.contains(&line), "{line} in {said}");
    }
}

#[test]
fn retention_ms_and_segment_ms() {
    let (_postgres, mut broker) = quick();
    let mut c = Connection::open(&broker);
    for topic in ["fine", "coarse", "kept", "gone"] {
        c.create_topic(topic, 1);
    }
    set(&mut c, (TOPIC, "fine"), "segment.ms", "1000");
    set(&mut c, (TOPIC, "kept"), "segment.ms", "1000");
    for topic in ["fine", "coarse", "kept", "gone"] {
        c.produce(topic, 0, &of_age(HOUR_MS, 100));
    }
    std::thread::sleep(Duration::from_millis(1_500));
    for topic in ["fine", "coarse", "kept"] {
        c.produce(topic, 0, &of_age(0, 100));
    }
    // A producer whose records all expire.
    let (id, epoch) = c.init_producer_id();
    let mut sent = NewBatch::of(&["1", "2"]).from_producer(id, epoch, 0);
    sent.base_timestamp -= HOUR_MS;
    assert_eq!(c.produce("gone", 0, &sent.bytes()).base_offset, 1);
    for (topic, retention_ms) in [
        ("coarse", "600000"),
        ("gone", "600000"),
        ("kept", "-1"),
        ("fine", "600000"),
    ] {
        set(&mut c, (TOPIC, topic), "retention.ms", retention_ms);
    }
    wait_for_begin(&mut c, "fine", 1);
    wait_for_begin(&mut c, "gone", 3);
    assert_eq!((begin(&mut c, "coarse"), begin(&mut c, "kept")), (0, 0));
    assert_eq!(end(&mut c, "gone"), 3);

    broker.kill();
    broker.start_again();
    let mut c = Connection::open(&broker);
    for (topic, begins, ends) in [("fine", 1, 2), ("gone", 3, 3), ("coarse", 0, 2)] {
        assert_eq!(
            (begin(&mut c, topic), end(&mut c, topic)),
            (begins, ends),
            "{topic}"
        );
    }
    // What the producer sends again is known, though it is gone.
    let again = c.produce("gone", 0, &sent.bytes());
    assert_eq!((again.error, again.base_offset), (0, 1));
    let next = NewBatch::of(&["3"]).from_producer(id, epoch, 2);
    assert_eq!(c.produce("gone", 0, &next.bytes()).base_offset, 3);
}

#[test]
fn retention_bytes_and_segment_bytes() {
    let (_postgres, broker) = quick();
    let mut c = Connection::open(&broker);
    for topic in ["fine", "coarse"] {
        c.create_topic(topic, 1);
        set(&mut c, (TOPIC, topic), "retention.bytes", "2000000");
    }
    set(&mut c, (TOPIC, "fine"), "segment.bytes", "1048576");
    for topic in ["coarse", "fine"] {
        for _ in 0..5 {
            c.produce(topic, 0, &of_age(0, 900_000));
        }
    }
    // 4.5 MB: two stretches of 0.9 MB can go, the third would leave less than is to be kept.
    wait_for_begin(&mut c, "fine", 2);
    assert_eq!(begin(&mut c, "coarse"), 0);
    c.produce("fine", 0, &of_age(0, 900_000));
    wait_for_begin(&mut c, "fine", 3);
}

#[test]
fn space_of_what_expired_is_returned() {
    let (postgres, mut broker) = quick();
    let mut c = Connection::open(&broker);
    c.create_topic("old", 1);
    c.create_topic("tick", 1);
    for _ in 0..20 {
        c.produce("old", 0, &of_age(HOUR_MS, 1_000_000));
    }
    assert!(log_size(&postgres) > 20_000_000);
    set(&mut c, (TOPIC, "old"), "retention.ms", "600000");
    wait_for_begin(&mut c, "old", 20);
    wait_for("the space", SOON, || {
        // The lane goes on in a new segment with a flush.
        c.produce("tick", 0, &of_age(0, 10));
        (log_size(&postgres) < 2_000_000).then_some(())
    });
    assert_eq!((begin(&mut c, "old"), end(&mut c, "old")), (20, 20));
    broker.kill();
    broker.start_again();
    let mut c = Connection::open(&broker);
    assert_eq!((begin(&mut c, "old"), end(&mut c, "old")), (20, 20));
    assert_eq!(c.produce("old", 0, &of_age(0, 10)).base_offset, 20);
    assert_eq!(
        c.fetch("old", 0, 0).error,
        ErrorCode::OffsetOutOfRange as i16
    );
    assert_eq!(read_batches(&c.fetch("old", 0, 20).records).len(), 1);
}

/// `LARGE_TOPIC_MB` makes it larger.
#[test]
fn a_large_topic_is_deleted_at_once() {
    let (postgres, broker) = quick();
    let megabytes = std::env::var("LARGE_TOPIC_MB").map_or(30, |size| size.parse().unwrap());
    let mut c = Connection::open(&broker);
    c.create_topic("large", 1);
    c.create_topic("tick", 1);
    for _ in 0..megabytes {
        c.produce("large", 0, &of_age(0, 1_000_000));
    }
    let started = std::time::Instant::now();
    let request = DeleteTopicsRequest {
        topics: vec![DeleteTopicState {
            name: Some("large".into()),
            ..DeleteTopicState::default()
        }],
        timeout_ms: 30_000,
        ..DeleteTopicsRequest::default()
    };
    let answer = c.call(&request, 6);
    let response: DeleteTopicsResponse<'_> = answer.read();
    assert_eq!(response.responses[0].error_code, 0);
    eprintln!("{megabytes} MB deleted in {:?}", started.elapsed());
    wait_for("the space", SOON, || {
        c.produce("tick", 0, &of_age(0, 10));
        (log_size(&postgres) < 2_000_000).then_some(())
    });
    eprintln!("the space was free after {:?}", started.elapsed());
}
