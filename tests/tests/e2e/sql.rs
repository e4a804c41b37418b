//! SQL and Kafka's clients on the same topics: records that clients wrote are read by SQL, topics that SQL makes, grows and
//! deletes are so for clients at once.

use std::time::Duration;

use protocol::ErrorCode;
use protocol::messages::metadata_request::MetadataRequestTopic;
use protocol::messages::{MetadataRequest, MetadataResponse};
use tests::batch::NewBatch;
use tests::librdkafka::{consume, produce};
use tests::postgres::Postgres;
use tests::tool::kcat;
use tests::wire::Connection;
use tests::{Broker, Prompt, wait_for, workspace};

/// Longer than word of most changes may take, and far shorter than it takes without it.
const AT_ONCE: Duration = Duration::from_secs(2);
const LIMIT: Duration = Duration::from_secs(60);

fn start(args: &[&str]) -> (Postgres, Broker) {
    let postgres = Postgres::start();
    let url = postgres.url();
    let broker = Broker::start_with(&[&["--database-url", &url], args].concat());
    (postgres, broker)
}

#[test]
fn what_clients_write_is_read_by_sql() {
    let (postgres, broker) = start(&["--compression-type", "uncompressed"]);
    let b = broker.bootstrap();
    for codec in ["none", "gzip", "snappy", "lz4", "zstd"] {
        let arguments = [
            "-P",
            "-b",
            &b,
            "-t",
            "t",
            "-K:",
            "-H",
            "from=kcat",
            "-H",
            "from=again",
            "-z",
            codec,
        ];
        kcat(
            &arguments,
            format!("k-{codec}:value of {codec}\n").as_bytes(),
        )
        .ok();
    }
    let values: Vec<Vec<u8>> = (0..10_000)
        .map(|i| format!("{i} {}", "z".repeat(i % 300)).into_bytes())
        .collect();
    let slices: Vec<&[u8]> = values.iter().map(Vec::as_slice).collect();
    produce(
        &b,
        "t",
        0,
        &slices,
        &[("compression.type", "zstd"), ("enable.idempotence", "true")],
    );
    let shown = postgres.query(
        "select format('%s %s %s %s %s', partition_offset, convert_from(key, 'UTF8'), convert_from(value, 'UTF8'), headers, compression) \
         from kafka.messages where topic = 't' and partition = 0 and partition_offset < 5 order by 1",
    );
    let headers = r#"[{"key": "from", "value": "kcat"}, {"key": "from", "value": "again"}]"#;
    let codecs = ["none", "gzip", "snappy", "lz4", "zstd"];
    let expected = (0..)
        .zip(codecs)
        .map(|(offset, codec)| format!("{offset} k-{codec} value of {codec} {headers} none"));
    assert_eq!(shown, expected.collect::<Vec<_>>());
    let read = postgres.query(
        "select convert_from(value, 'UTF8') from kafka.read('t', 0, 5, 20000) order by partition_offset",
    );
    let written = values
        .into_iter()
        .map(|value| String::from_utf8(value).unwrap());
    assert!(
        read == written.collect::<Vec<_>>(),
        "SQL reads other records"
    );
    let sequences = "select concat_ws(' ', count(distinct producer_id), min(sequence), max(sequence) = count(*) - 1) \
         from kafka.messages where producer_id is not null";
    assert_eq!(postgres.query(sequences), ["1 0 t"]);
    assert_eq!(consume(&b, "t", 0).len(), 10_005);
}

#[test]
fn topics_made_grown_and_deleted_by_sql_are_so_for_clients_at_once() {
    let (postgres, broker) = start(&["--auto-create-topics-enable", "false"]);
    let unknown = ErrorCode::UnknownTopicOrPartition as i16;
    assert_eq!(produce_one(&broker, 0), unknown);
    postgres.execute("insert into kafka.topics (name, partitions) values ('orders', 3)");
    let mut prompt = Prompt::default();
    let mut grown_to = |count| {
        prompt.wait_for("the partitions", || {
            (partitions(&broker) == count).then_some(())
        });
    };
    grown_to(3);
    assert_eq!(produce_one(&broker, 2), 0);
    let b = broker.bootstrap();
    kcat(&["-P", "-b", &b, "-t", "orders", "-p", "1"], b"by kcat\n").ok();
    postgres.execute("update kafka.topics set partitions = 5 where name = 'orders'");
    grown_to(5);
    assert_eq!(produce_one(&broker, 4), 0);
    let ends = "select partition || ' ' || log_end_offset from kafka.partitions order by partition";
    assert_eq!(postgres.query(ends), ["0 0", "1 1", "2 1", "3 0", "4 1"]);
    for count in 6..10 {
        postgres.execute("update kafka.topics set partitions = partitions + 1");
        grown_to(count);
    }
    postgres.execute("delete from kafka.topics where name = 'orders'");
    grown_to(0);
    prompt.assert_most_within(AT_ONCE);
    assert_eq!(produce_one(&broker, 2), unknown);
}

#[test]
fn a_broker_whose_word_was_cut_off_hears_again() {
    let (postgres, broker) = start(&["--auto-create-topics-enable", "false"]);
    let listener = "select pid from pg_stat_activity where query in ('listen kafka_topics') \
         or query like 'select count(*), coalesce(sum(id)%'";
    let cut = format!("select pg_terminate_backend(pid)::text from ({listener}) l");
    wait_for("the broker to listen", LIMIT, || {
        (postgres.query(&cut) == ["true"]).then_some(())
    });
    postgres.execute("insert into kafka.topics (name, partitions) values ('orders', 2)");
    wait_for("the topic", LIMIT, || {
        (partitions(&broker) == 2).then_some(())
    });
    let mut prompt = Prompt::default();
    for count in 3..10 {
        postgres.execute("update kafka.topics set partitions = partitions + 1");
        prompt.wait_for("the partition", || {
            (partitions(&broker) == count).then_some(())
        });
    }
    prompt.assert_most_within(AT_ONCE);
}

#[test]
fn settings_changed_by_sql_are_in_force_at_once() {
    let (postgres, broker) = start(&[]);
    let b = broker.bootstrap();
    let codecs = "select compression from kafka.messages";
    let zstd = [("compression.type", "zstd")];
    let value = [b'x'; 1_000];
    produce(&b, "t", 0, &[&value[..]], &zstd);
    assert_eq!(postgres.query(codecs), ["zstd"]);
    let mut count = 1;
    let mut prompt = Prompt::default();
    let mut produce_until = |codec: &str| {
        prompt.wait_for(codec, || {
            produce(&b, "t", 0, &[&value[..]], &zstd);
            count += 1;
            let last = format!(
                "select compression from kafka.read('t', 0, {}, 1)",
                count - 1
            );
            (postgres.query(&last) == [codec]).then_some(())
        });
    };
    postgres.execute(
        "insert into kafka.topic_settings select id, 'compression.type', 'uncompressed' from kafka.topics",
    );
    produce_until("none");
    postgres.execute("update kafka.topic_settings set value = 'gzip'");
    produce_until("gzip");
    postgres.execute("delete from kafka.topic_settings");
    produce_until("zstd");
    prompt.assert_most_within(AT_ONCE);
}

#[test]
fn the_sql_of_the_readme_runs() {
    let (postgres, broker) = start(&["--compression-type", "uncompressed"]);
    let b = broker.bootstrap();
    kcat(&["-P", "-b", &b, "-t", "greetings", "-K:"], b"k1:hello\n").ok();
    let readme = std::fs::read_to_string(workspace().join("README.md")).unwrap();
    let (_, section) = readme.split_once("## Read it by SQL").unwrap();
    let (section, _) = section.split_once("\n## ").unwrap();
    let blocks: Vec<&str> = section
        .split("```sql\n")
        .skip(1)
        .map(|rest| rest.split_once("```").unwrap().0)
        .collect();
    assert!(blocks.len() >= 3, "{} blocks", blocks.len());
    for block in &blocks {
        postgres.execute(block);
    }
    let reader = postgres.as_role("reader");
    for statement in blocks[0]
        .split(";\n")
        .filter(|text| text.contains("select"))
    {
        assert!(!reader.query(statement).is_empty(), "{statement}");
    }
    let value = "select convert_from(value, 'UTF8') from kafka.read('greetings', 0)";
    assert_eq!(reader.query(value), ["hello"]);
}

/// Partitions of the topic `orders` as a client sees it; 0 if there is none.
fn partitions(broker: &Broker) -> usize {
    let request = MetadataRequest {
        topics: Some(vec![MetadataRequestTopic {
            name: Some("orders".into()),
            ..MetadataRequestTopic::default()
        }]),
        allow_auto_topic_creation: false,
        ..MetadataRequest::default()
    };
    let answer = Connection::open(broker).call(&request, 12);
    let response: MetadataResponse = answer.read();
    response.topics[0].partitions.len()
}

/// The error of a Produce of one record.
fn produce_one(broker: &Broker, partition: i32) -> i16 {
    let batch = NewBatch::of(&["one"]).bytes();
    let mut connection = Connection::open(broker);
    connection.produce("orders", partition, &batch).error
}
