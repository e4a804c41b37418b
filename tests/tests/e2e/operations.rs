//! What operators use besides Kafka's tools: `pg_kafka status`, `check` and `dump`, metrics and health.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use protocol::messages::{OffsetCommitRequest, OffsetCommitResponse};
use tests::batch::NewBatch;
use tests::librdkafka::produce;
use tests::postgres::Postgres;
use tests::tool::Finished;
use tests::wire::Connection;
use tests::{Broker, wait_for, workspace};

const LIMIT: Duration = Duration::from_secs(60);

/// Status and body of a page.
pub(crate) fn page(port: u16, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let length = head
        .lines()
        .find_map(|l| l.strip_prefix("content-length: "));
    assert_eq!(length.unwrap().parse(), Ok(body.len()));
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, body.to_owned())
}

/// The value of one line of metrics.
pub(crate) fn metric(text: &str, line: &str) -> f64 {
    let found = text
        .lines()
        .find_map(|l| l.strip_prefix(line)?.strip_prefix(' '));
    let found = found.unwrap_or_else(|| panic!("{line} in\n{text}"));
    found.parse().unwrap()
}

/// Commits an offset of partition 0 as nobody's member.
fn commit(c: &mut Connection, group: &str, topic: &str, offset: i64) {
    let request = OffsetCommitRequest {
        group_id: group.into(),
        generation_id_or_member_epoch: -1,
        topics: vec![OffsetCommitRequestTopic {
            name: topic.into(),
            partitions: vec![OffsetCommitRequestPartition {
                committed_offset: offset,
                committed_leader_epoch: -1,
                ..OffsetCommitRequestPartition::default()
            }],
            ..OffsetCommitRequestTopic::default()
        }],
        ..OffsetCommitRequest::default()
    };
    let answer = c.call(&request, 8);
    let response: OffsetCommitResponse<'_> = answer.read();
    assert_eq!(response.topics[0].partitions[0].error_code, 0);
}

#[test]
fn metrics_count_what_happens() {
    let port = tests::broker::free_port();
    let broker = Broker::start_with(&["--admin-listener", &format!("127.0.0.1:{port}")]);
    let mut c = Connection::open(&broker);
    c.create_topic("a", 3);
    let batch = NewBatch::of(&[vec![b'x'; 1000]]).bytes();
    for _ in 0..5 {
        assert_eq!(c.produce("a", 0, &batch).error, 0);
    }
    assert_ne!(c.produce("nosuch", 0, &batch).error, 0);
    assert_eq!(c.fetch("a", 0, 0).error, 0);
    commit(&mut c, "g", "a", 3);
    let _producer = crate::transactions::Txn::new(&broker, 2);
    let text = wait_for("the end of other connections", LIMIT, || {
        let (status, text) = page(port, "/metrics");
        assert_eq!(status, 200);
        (metric(&text, "pg_kafka_connections") == 2.0).then_some(text)
    });
    let value = |line: &str| metric(&text, line);
    assert_eq!(
        value("pg_kafka_answers_total{api=\"Produce\",error=\"NONE\"}"),
        5.0
    );
    let unknown = "pg_kafka_answers_total{api=\"Produce\",error=\"UNKNOWN_TOPIC_OR_PARTITION\"}";
    assert_eq!(value(unknown), 1.0);
    assert_eq!(
        value("pg_kafka_request_seconds_count{api=\"Produce\"}"),
        6.0
    );
    assert!(value("pg_kafka_request_seconds_sum{api=\"Produce\"}") > 0.0);
    assert_eq!(value("pg_kafka_flush_seconds_count"), 5.0);
    assert_eq!(value("pg_kafka_flush_bytes_sum"), 5.0 * batch.len() as f64);
    assert!(value("pg_kafka_request_bytes_total") > 5.0 * batch.len() as f64);
    assert!(value("pg_kafka_reads_total{from=\"memory\"}") >= 1.0);
    assert_eq!(value("pg_kafka_tail_cache_bytes"), 5.0 * batch.len() as f64);
    assert_eq!(
        (value("pg_kafka_topics"), value("pg_kafka_partitions")),
        (1.0, 3.0)
    );
    assert_eq!(value("pg_kafka_database_up"), 1.0);
    assert_eq!(value("pg_kafka_groups{state=\"Empty\"}"), 1.0);
    assert_eq!(value("pg_kafka_transactions{state=\"Empty\"}"), 1.0);
    assert!(value("pg_kafka_database_wal_bytes_total") > 0.0);
    assert!(value("pg_kafka_database_size_bytes") > 1_000_000.0);
    the_dashboard_shows_only_these(&text);
    assert_eq!(page(port, "/nosuch").0, 404);
}

/// Every metric that the Grafana dashboard asks for is told, and the other way round.
fn the_dashboard_shows_only_these(text: &str) {
    let dashboard = fs::read_to_string(workspace().join("grafana/pg_kafka.json")).unwrap();
    let json: serde_json::Value = serde_json::from_str(&dashboard).unwrap();
    assert!(
        json["panels"]
            .as_array()
            .is_some_and(|panels| panels.len() > 10)
    );
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let asked: BTreeSet<String> = dashboard
        .split(|c: char| !is_name(c))
        .filter(|word| word.starts_with("pg_kafka_"))
        .map(|word| {
            let ends = ["_bucket", "_count", "_sum"];
            let end = ends.iter().find_map(|end| word.strip_suffix(end));
            end.unwrap_or(word).to_owned()
        })
        .collect();
    let told: BTreeSet<String> = text
        .lines()
        .filter_map(|l| l.strip_prefix("# TYPE ")?.split(' ').next())
        .map(str::to_owned)
        .collect();
    assert_eq!(asked, told);
}

#[test]
fn a_broker_is_ready_while_its_database_answers() {
    let port = tests::broker::free_port();
    let postgres = Postgres::start();
    let pages = format!("127.0.0.1:{port}");
    let args = [
        "--database-url",
        &postgres.url(),
        "--admin-listener",
        &pages,
    ];
    let broker = Broker::start_with(&args);
    // Connections are accepted before they are served.
    Connection::open(&broker).create_topic("a", 1);
    assert_eq!(page(port, "/healthz"), (200, "ok\n".to_owned()));
    assert_eq!(page(port, "/readyz"), (200, "ready\n".to_owned()));
    postgres.stop();
    wait_for("the broker to be unready", LIMIT, || {
        (page(port, "/readyz").0 == 503).then_some(())
    });
    assert_eq!(page(port, "/healthz").0, 200);
    postgres.start_again();
    wait_for("the broker to be ready again", LIMIT, || {
        (page(port, "/readyz").0 == 200).then_some(())
    });
}

fn pg_kafka(broker: &Broker, args: &[&str]) -> Finished {
    let data = broker.dir().join("data");
    let place = ["--data-dir", data.to_str().unwrap()];
    tests::broker::run_binary(&[args, &place].concat())
}

#[test]
fn status_shows_the_broker_and_its_database() {
    let broker = Broker::start();
    let mut c = Connection::open(&broker);
    c.create_topic("a", 3);
    c.produce("a", 0, &NewBatch::of(&["x", "y"]).bytes());
    commit(&mut c, "g", "a", 1);
    let said = pg_kafka(&broker, &["status"]).ok().text();
    for line in [
        "groups              1",
        "  g: Empty, 1 records behind in 1 partitions",
        "topics              1",
        "partitions          3",
        "lane 1              broker 1, epoch 1, 1 flushes, 2 records",
    ] {
        assert!(said.lines().any(|l| l == line), "{line} in\n{said}");
    }
    assert!(
        said.contains("PostgreSQL") && said.contains("open, "),
        "{said}"
    );
}

#[test]
fn without_a_database_the_commands_say_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().to_str().unwrap();
    let finished = tests::broker::run_binary(&["check", "--data-dir", place]);
    assert!(!finished.success);
    assert!(
        finished
            .stderr
            .contains("start the broker, or name its database"),
        "{}",
        finished.stderr
    );
}

#[test]
fn dump_prints_records_as_text_and_json() {
    let broker = Broker::start();
    let bootstrap = broker.bootstrap();
    Connection::open(&broker).create_topic("a", 2);
    for codec in ["none", "gzip", "snappy", "lz4", "zstd"] {
        let settings = [("compression.type", codec)];
        let value = format!("of {codec}\t{}", "1".repeat(500));
        produce(&bootstrap, "a", 1, &[value.as_bytes()], &settings);
    }
    let said = pg_kafka(&broker, &["dump", "a", "1"]).ok().text();
    let values: Vec<&str> = said
        .lines()
        .map(|l| l.rsplit('\t').next().unwrap())
        .collect();
    let expected = ["none", "gzip", "snappy", "lz4", "zstd"]
        .map(|codec| format!("of {codec}\\t{}", "1".repeat(500)));
    assert_eq!(values, expected);
    let said = pg_kafka(
        &broker,
        &["dump", "a", "1", "--json", "--from", "3", "--max", "1"],
    );
    let said = said.ok().text();
    let json: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!(
        (&json["offset"], &json["value"]),
        (&3.into(), &format!("of lz4\t{}", "1".repeat(500)).into())
    );
    assert_eq!(
        (&json["key"], &json["compression"]),
        (&serde_json::Value::Null, &"lz4".into())
    );
    assert_eq!(pg_kafka(&broker, &["dump", "a", "0"]).ok().text(), "");
    let missing = pg_kafka(&broker, &["dump", "a", "2"]);
    assert!(!missing.success && missing.stderr.contains("no partition 2 of a topic `a`"));
}

/// As a takeover does: bytes are summed up later.
fn seal_unweighed(postgres: &Postgres, table: &str) {
    let id = table.trim_start_matches("kafka.log_");
    postgres.execute(&format!(
        "update kafka.segments set state = 'sealed' where segment_id = {id}; \
         insert into kafka.segment_partitions (segment_id, part, first_offset, end_offset, bytes) \
         select {id}, part, min(base), max(base + span) + 1, 0 from {table} group by part"
    ));
}

#[test]
fn check_finds_damage_and_nothing_else() {
    let postgres = Postgres::start();
    let url = postgres.url();
    let mut broker = Broker::start_with(&["--database-url", &url]);
    let mut c = Connection::open(&broker);
    c.create_topic("a", 2);
    for partition in [0, 1, 1] {
        let batch = NewBatch::of(&[vec![b'x'; 20_000], vec![b'y'; 100]]).bytes();
        assert_eq!(c.produce("a", partition, &batch).error, 0);
    }
    let check = || tests::broker::run_binary(&["check", "--database-url", &url]);
    let said = check().ok().text();
    assert!(said.ends_with("nothing is wrong\n"), "{said}");
    assert!(
        said.contains("1 topics, 2 partitions, 0 sealed segments, 3 batches, 6 records"),
        "{said}"
    );
    broker.stop();
    let table = postgres
        .query("select 'kafka.' || table_name from kafka.segments order by segment_id limit 1");
    let table = &table[0];
    let damaged = |sql: &str, part: &str, repair: &str| {
        postgres.execute(sql);
        let finished = check();
        assert!(!finished.success, "{sql}");
        assert!(
            finished.text().contains(part),
            "{part} in {}",
            finished.text()
        );
        postgres.execute(repair);
        check().ok();
    };
    let flip = |at: &str| {
        format!(
            "update {table} set data = set_byte(data, 5000, get_byte(data, 5000) # 1) where {at}"
        )
    };
    let first =
        flip("base = 0 and chunk = 1 and part = (select min(id) from kafka.topic_partitions)");
    damaged(&first, "a-0 at offset 0: ", &first);
    postgres.execute(&format!("create table kept as select * from {table}"));
    let repair = format!("delete from {table}; insert into {table} select * from kept");
    damaged(
        &format!("delete from {table} where chunk = 2"),
        "a-",
        &repair,
    );
    let last = "base = 2";
    damaged(
        &format!("update {table} set base = 3 where {last}"),
        "a-1",
        &repair,
    );
    damaged(
        &format!("alter table {table} rename to elsewhere"),
        "is missing",
        &format!(
            "alter table kafka.elsewhere rename to {}",
            table.trim_start_matches("kafka.")
        ),
    );
    seal_unweighed(&postgres, table);
    check().ok();
    let noted = |bytes: i32| format!("update kafka.segment_partitions set bytes = {bytes}");
    damaged(&noted(1), "the catalogue has", &noted(0));
}
