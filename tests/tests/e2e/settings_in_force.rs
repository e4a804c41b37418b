//! What settings do: each with a test that sees the effect, given by clients and by SQL, before records and between them.

use std::time::Duration;

use protocol::ErrorCode;
use protocol::compression::Compression;
use protocol::messages::ProduceResponse;
use protocol::records::{Batches, TimestampType};
use tests::admin::{BROKER, GROUP, TOPIC, set, unset, value};
use tests::batch::NewBatch;
use tests::postgres::Postgres;
use tests::wire::{Connection, produce_request};
use tests::{Broker, Prompt, fresh_topic, wait_for};

use crate::brokers::{Cluster, LONG_SESSION};

/// Within this time most changes by SQL must be in force.
const SOON: Duration = Duration::from_secs(1);

/// Within this time most changes must have come to another broker that is busy; only NOTIFY is that fast.
const ELSEWHERE: Duration = Duration::from_secs(2);

/// Only a limit, for a machine that does much else.
const LIMIT: Duration = Duration::from_secs(60);

fn start(stem: &str) -> (Connection, String) {
    let broker = Broker::shared();
    let mut connection = Connection::open(&broker);
    let topic = fresh_topic(stem);
    connection.create_topic(&topic, 1);
    (connection, topic)
}

fn produce(c: &mut Connection, topic: &str, batch: &NewBatch) -> ErrorCode {
    let produced = c.produce(topic, 0, &batch.bytes());
    ErrorCode::from_i16(produced.error).unwrap()
}

fn of_bytes(count: usize) -> NewBatch {
    NewBatch::of(&[vec![b'x'; count]])
}

#[test]
fn max_message_bytes() {
    let (mut c, topic) = start("max-message-bytes");
    let resource = (TOPIC, topic.as_str());
    assert_eq!(produce(&mut c, &topic, &of_bytes(2000)), ErrorCode::None);
    set(&mut c, resource, "max.message.bytes", "1000");
    assert_eq!(
        produce(&mut c, &topic, &of_bytes(2000)),
        ErrorCode::MessageTooLarge
    );
    assert_eq!(produce(&mut c, &topic, &of_bytes(100)), ErrorCode::None);
    set(&mut c, resource, "max.message.bytes", "5000000");
    assert_eq!(
        produce(&mut c, &topic, &of_bytes(4_000_000)),
        ErrorCode::None
    );
    unset(&mut c, resource, "max.message.bytes");
    assert_eq!(
        produce(&mut c, &topic, &of_bytes(4_000_000)),
        ErrorCode::MessageTooLarge
    );
}

#[test]
fn message_timestamp_type() {
    let (mut c, topic) = start("timestamp-type");
    let mut old = NewBatch::of(&["a"]);
    old.base_timestamp = 1_000;
    let appended = |c: &mut Connection| {
        let bytes = old.bytes();
        let answer = c.call(&produce_request(&topic, &[(0, &bytes)], -1), 9);
        let response: ProduceResponse<'_> = answer.read();
        let part = &response.responses[0].partition_responses[0];
        assert_eq!(part.error_code, 0);
        (part.base_offset, part.log_append_time_ms)
    };
    assert_eq!(appended(&mut c), (0, -1));
    set(
        &mut c,
        (TOPIC, &topic),
        "message.timestamp.type",
        "LogAppendTime",
    );
    let (offset, time) = appended(&mut c);
    assert!(offset == 1 && time > 1_600_000_000_000, "{offset} {time}");
    set(
        &mut c,
        (TOPIC, &topic),
        "message.timestamp.type",
        "CreateTime",
    );
    assert_eq!(appended(&mut c), (2, -1));
    let records = c.fetch(&topic, 0, 0).records;
    let stored: Vec<_> = Batches::new(&records)
        .map(|batch| batch.unwrap())
        .map(|batch| (batch.timestamp_type(), batch.max_timestamp))
        .collect();
    let created = (TimestampType::CreateTime, 1_000);
    assert_eq!(
        stored,
        [created, (TimestampType::LogAppendTime, time), created]
    );
}

#[test]
fn message_timestamp_before_and_after_max_ms() {
    let (mut c, topic) = start("timestamp-bounds");
    let resource = (TOPIC, topic.as_str());
    let at = |delta_ms: i64| {
        let mut batch = NewBatch::of(&["a"]);
        batch.base_timestamp += delta_ms;
        batch
    };
    let hour = 3_600_000;
    let refused = ErrorCode::InvalidTimestamp;
    assert_eq!(produce(&mut c, &topic, &at(2 * hour)), refused);
    assert_eq!(produce(&mut c, &topic, &at(-2 * hour)), ErrorCode::None);
    set(
        &mut c,
        resource,
        "message.timestamp.after.max.ms",
        "10800000",
    );
    set(
        &mut c,
        resource,
        "message.timestamp.before.max.ms",
        "3600000",
    );
    assert_eq!(produce(&mut c, &topic, &at(2 * hour)), ErrorCode::None);
    assert_eq!(produce(&mut c, &topic, &at(4 * hour)), refused);
    assert_eq!(produce(&mut c, &topic, &at(-2 * hour)), refused);
}

#[test]
fn compression_type_and_levels() {
    let (mut c, topic) = start("compression");
    let resource = (TOPIC, topic.as_str());
    // Compresses, but not to nothing, so that levels differ.
    let text: Vec<String> = (0..4000_u32)
        .map(|i| {
            format!(
                "{:x} the quick brown fox {}",
                i.wrapping_mul(2_654_435_761),
                i % 97
            )
        })
        .collect();
    let batch = NewBatch::of(&text);
    let mut sizes = Vec::new();
    for (codec, level, expected) in [
        ("producer", None, Compression::None),
        (
            "gzip",
            Some(("compression.gzip.level", "1")),
            Compression::Gzip,
        ),
        (
            "gzip",
            Some(("compression.gzip.level", "9")),
            Compression::Gzip,
        ),
        (
            "zstd",
            Some(("compression.zstd.level", "1")),
            Compression::Zstd,
        ),
        (
            "zstd",
            Some(("compression.zstd.level", "19")),
            Compression::Zstd,
        ),
        (
            "lz4",
            Some(("compression.lz4.level", "1")),
            Compression::Lz4,
        ),
        ("snappy", None, Compression::Snappy),
        ("uncompressed", None, Compression::None),
    ] {
        set(&mut c, resource, "compression.type", codec);
        if let Some((name, level)) = level {
            set(&mut c, resource, name, level);
        }
        let produced = c.produce(&topic, 0, &batch.bytes());
        assert_eq!(produced.error, 0, "{codec}");
        let records = c.fetch(&topic, 0, produced.base_offset).records;
        let stored = Batches::new(&records).next().unwrap().unwrap();
        assert_eq!(stored.compression(), expected, "{codec}");
        sizes.push(records.len());
    }
    assert!(sizes[1] > sizes[2], "levels of gzip: {sizes:?}");
    assert!(sizes[3] > sizes[4], "levels of zstd: {sizes:?}");
    assert!(sizes[1..7].iter().all(|size| *size < sizes[0]), "{sizes:?}");
}

#[test]
fn min_insync_replicas_is_never_more_than_there_are() {
    let (mut c, topic) = start("min-insync");
    set(&mut c, (TOPIC, &topic), "min.insync.replicas", "2");
    for acks in [1, -1] {
        let bytes = NewBatch::of(&["a"]).bytes();
        let answer = c.call(&produce_request(&topic, &[(0, &bytes)], acks), 9);
        let response: ProduceResponse<'_> = answer.read();
        let part = &response.responses[0].partition_responses[0];
        assert_eq!(part.error_code, 0, "acks={acks}");
    }
}

#[test]
fn cleanup_policy_compact_needs_keys() {
    let (mut c, topic) = start("compact");
    let resource = (TOPIC, topic.as_str());
    let keyless = NewBatch::of(&["a"]);
    assert_eq!(produce(&mut c, &topic, &keyless), ErrorCode::None);
    set(&mut c, resource, "cleanup.policy", "compact,delete");
    assert_eq!(produce(&mut c, &topic, &keyless), ErrorCode::InvalidRecord);
    set(&mut c, resource, "cleanup.policy", "delete");
    assert_eq!(produce(&mut c, &topic, &keyless), ErrorCode::None);
}

#[test]
fn settings_of_brokers_are_the_defaults_of_topics_at_once() {
    let broker = Broker::start();
    let mut c = Connection::open(&broker);
    for topic in ["plain", "own"] {
        c.create_topic(topic, 1);
    }
    set(&mut c, (TOPIC, "own"), "max.message.bytes", "3000");
    set(&mut c, (BROKER, ""), "message.max.bytes", "1000");
    assert_eq!(
        produce(&mut c, "plain", &of_bytes(2000)),
        ErrorCode::MessageTooLarge
    );
    assert_eq!(produce(&mut c, "own", &of_bytes(2000)), ErrorCode::None);
    c.create_topic("later", 1);
    assert_eq!(
        produce(&mut c, "later", &of_bytes(2000)),
        ErrorCode::MessageTooLarge
    );
    set(&mut c, (BROKER, "1"), "message.max.bytes", "2500");
    assert_eq!(produce(&mut c, "plain", &of_bytes(2000)), ErrorCode::None);
    unset(&mut c, (BROKER, "1"), "message.max.bytes");
    unset(&mut c, (BROKER, ""), "message.max.bytes");
    assert_eq!(produce(&mut c, "plain", &of_bytes(20_000)), ErrorCode::None);
}

#[test]
fn connections_are_limited_from_the_next_on() {
    let broker = Broker::start();
    let mut c = Connection::open(&broker);
    set(&mut c, (BROKER, ""), "max.connections", "1");
    let mut refused = Connection::open(&broker);
    let closed = tests::broker::read_until_closed(refused.stream(), LIMIT);
    assert_eq!(closed.as_deref(), Some(&[][..]));
    unset(&mut c, (BROKER, ""), "max.connections");
    let mut next = Connection::open(&broker);
    assert_eq!(next.create_topic("a", 1).get_version_num(), 4);
}

#[test]
fn settings_given_by_sql_are_in_force_within_a_second_and_after_a_restart() {
    let postgres = Postgres::start();
    let url = postgres.url();
    let mut broker = Broker::start_with(&["--database-url", &url]);
    let mut c = Connection::open(&broker);
    c.create_topic("a", 1);
    let mut prompt = Prompt::default();
    let mut soon = |sql: &str, resource: (i8, &str), setting: &str, expected: &str| {
        postgres.execute(sql);
        prompt.wait_for(sql, || {
            (value(&mut c, resource, setting).0 == expected).then_some(())
        });
    };
    let topic = (TOPIC, "a");
    soon(
        "insert into kafka.topic_settings select id, 'max.message.bytes', '900' from kafka.topics",
        topic,
        "max.message.bytes",
        "900",
    );
    soon(
        "update kafka.topic_settings set value = '1000'",
        topic,
        "max.message.bytes",
        "1000",
    );
    soon(
        "insert into kafka.broker_settings values (-1, 'log.retention.ms', '7000')",
        topic,
        "retention.ms",
        "7000",
    );
    soon(
        "insert into kafka.broker_settings values (1, 'log.retention.ms', '8000')",
        topic,
        "retention.ms",
        "8000",
    );
    soon(
        "insert into kafka.group_settings values ('g', 'consumer.session.timeout.ms', '46000')",
        (GROUP, "g"),
        "consumer.session.timeout.ms",
        "46000",
    );
    soon(
        "delete from kafka.broker_settings where node_id = 1",
        topic,
        "retention.ms",
        "7000",
    );
    prompt.assert_most_within(SOON);
    assert_eq!(
        produce(&mut c, "a", &of_bytes(2000)),
        ErrorCode::MessageTooLarge
    );
    broker.stop();
    broker.start_again();
    let mut c = Connection::open(&broker);
    assert_eq!(value(&mut c, topic, "retention.ms").0, "7000");
    assert_eq!(
        value(&mut c, (GROUP, "g"), "consumer.session.timeout.ms").0,
        "46000"
    );
    assert_eq!(
        produce(&mut c, "a", &of_bytes(2000)),
        ErrorCode::MessageTooLarge
    );
    postgres.execute("delete from kafka.topic_settings");
    wait_for("a change by SQL", LIMIT, || {
        (produce(&mut c, "a", &of_bytes(2000)) == ErrorCode::None).then_some(())
    });
}

#[test]
fn settings_given_to_one_broker_are_in_force_on_the_other() {
    let cluster = Cluster::start(2, LONG_SESSION);
    let [mut one, mut two] = [0, 1].map(|index| Connection::open(&cluster.brokers[index]));
    cluster.create_topic("a", 4);
    let mut prompt = Prompt::default();
    let mut soon = |resource: (i8, &str), setting: &str, given: &str, shown: &str| {
        set(&mut one, resource, setting, given);
        prompt.wait_for("a setting on the other broker", || {
            let topic = (TOPIC, "a");
            let place = if resource.0 == BROKER {
                topic
            } else {
                resource
            };
            (value(&mut two, place, shown).0 == given).then_some(())
        });
    };
    soon(
        (BROKER, ""),
        "message.max.bytes",
        "1000",
        "max.message.bytes",
    );
    soon((BROKER, ""), "log.retention.ms", "7000", "retention.ms");
    soon((TOPIC, "a"), "retention.bytes", "5000", "retention.bytes");
    let session = "consumer.session.timeout.ms";
    soon((GROUP, "g"), session, "46000", session);
    prompt.assert_most_within(ELSEWHERE);
    // Whoever leads the partitions goes by them.
    for partition in 0..4 {
        let mut codes = [&mut one, &mut two].map(|c| {
            let produced = c.produce("a", partition, &of_bytes(2000).bytes());
            ErrorCode::from_i16(produced.error).unwrap()
        });
        codes.sort_by_key(|code| *code == ErrorCode::NotLeaderOrFollower);
        let elsewhere = ErrorCode::NotLeaderOrFollower;
        assert_eq!(codes, [ErrorCode::MessageTooLarge, elsewhere]);
    }
}

#[test]
fn wrong_settings_by_sql_are_refused() {
    let postgres = Postgres::start();
    let broker = Broker::start_with(&["--database-url", &postgres.url()]);
    Connection::open(&broker).create_topic("a", 1);
    for wrong in [
        "insert into kafka.topic_settings select id, 'retention.ms', '-5' from kafka.topics",
        "insert into kafka.topic_settings select id, 'nosuch', '5' from kafka.topics",
        "insert into kafka.topic_settings select id, 'compression.type', 'none' from kafka.topics",
        "insert into kafka.broker_settings values (-1, 'num.partitions', '5')",
        "insert into kafka.group_settings values ('g', 'consumer.heartbeat.interval.ms', 'x')",
    ] {
        let refused = format!(
            "do $$ begin {wrong}; raise 'taken'; exception when check_violation then null; end $$"
        );
        postgres.execute(&refused);
    }
}
