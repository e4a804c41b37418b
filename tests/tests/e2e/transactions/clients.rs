//! The Java client's transactions, and Kafka's tool for them.

use tests::wire::Connection;
use tests::{Broker, fresh_topic, java::client, java::kafka_tool};

use super::{Txn, read};

#[test]
fn java_copies_a_topic_exactly_once_through_failures() {
    let broker = Broker::shared();
    let b = broker.bootstrap();
    let (from, to, group) = (
        fresh_topic("java-from"),
        fresh_topic("java-to"),
        fresh_topic("group"),
    );
    let mut connection = Connection::open(&broker);
    connection.create_topic(&from, 2);
    connection.create_topic(&to, 2);
    let lines: String = (0..1_000).map(|i| format!("key-{i}\t{i}\n")).collect();
    client(&["produce", &b, &from, "none"], lines.as_bytes()).ok();
    // Every fourth transaction is aborted and done again; twice the producer is thrown away in the middle of one.
    let report = client(&["copy", &b, &from, &to, &group, "1000"], b"")
        .ok()
        .text();
    assert!(report.contains("copied 1000"), "{report}");
    let mut values = Vec::new();
    for partition in [0, 1] {
        values.extend(read(&mut connection, &to, partition, 1).values);
    }
    let mut numbers: Vec<i32> = values.iter().map(|value| value.parse().unwrap()).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (0..1_000).collect::<Vec<_>>());
    let all: usize = [0, 1]
        .map(|partition| read(&mut connection, &to, partition, 0).values.len())
        .iter()
        .sum();
    assert!(all > 1_000, "nothing was ever aborted");
    let read = client(&["committed", &b, &to, "1000"], b"").ok().text();
    assert_eq!(read.lines().count(), 1_000);
}

fn tool(bootstrap: &str, args: &[&str]) -> String {
    let all = [&["--bootstrap-server", bootstrap], args].concat();
    kafka_tool("TransactionsCommand", &all, b"").ok().text()
}

#[test]
fn kafka_transactions_lists_describes_and_aborts() {
    let broker = Broker::shared();
    let b = broker.bootstrap();
    let topic = fresh_topic("tool");
    let mut reader = Connection::open(&broker);
    reader.create_topic(&topic, 1);
    let mut txn = Txn::named(&broker, &fresh_topic("txn"), 2);
    // Longer than all these programs take.
    txn.init_for(900_000);
    let start = txn.produce(&topic, 0, &["hanging"]);
    let listed = tool(&b, &["list"]);
    let own = listed.lines().find(|line| line.contains(&txn.id));
    assert!(own.is_some_and(|line| line.contains("Ongoing")), "{listed}");
    let described = tool(&b, &["describe", "--transactional-id", &txn.id]);
    assert!(described.contains(&format!("{topic}-0")), "{described}");
    let producers = tool(
        &b,
        &["describe-producers", "--topic", &topic, "--partition", "0"],
    );
    let id = txn.producer_id.to_string();
    assert!(
        producers.lines().any(|line| line.starts_with(&id)),
        "{producers}"
    );
    let hanging = tool(
        &b,
        &[
            "find-hanging",
            "--topic",
            &topic,
            "--max-transaction-timeout",
            "0",
        ],
    );
    assert!(
        !hanging.contains(&id),
        "its coordinator knows of it: {hanging}"
    );
    tool(
        &b,
        &[
            "abort",
            "--topic",
            &topic,
            "--partition",
            "0",
            "--start-offset",
            &start.to_string(),
        ],
    );
    let seen = read(&mut reader, &topic, 0, 1);
    assert_eq!(seen.last_stable_offset, seen.high_watermark);
    assert!(seen.values.is_empty());
}
