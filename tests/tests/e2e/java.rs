//! The Java client at its defaults: idempotent producer, consumer by assignment, admin.

use tests::{Broker, fresh_topic, java::client, librdkafka, tool::kcat};

/// Lines "partition offset" as numbers.
fn positions(text: &str) -> Vec<(i32, i64)> {
    let lines = text.lines().map(|line| {
        let (partition, offset) = line.split_once(' ').expect("partition and offset");
        (
            partition.parse().expect("a partition"),
            offset.parse().expect("an offset"),
        )
    });
    lines.collect()
}

fn produced_and_consumed(codec: &str) {
    let broker = Broker::shared();
    let (b, topic) = (broker.bootstrap(), fresh_topic(&format!("java-{codec}")));
    let lines: Vec<String> = (0..5_000)
        .map(|i| format!("key-{}\tvalue number {i} {}", i % 50, "x".repeat(i % 300)))
        .collect();
    let written = client(
        &["produce", &b, &topic, codec],
        (lines.join("\n") + "\n").as_bytes(),
    )
    .ok();
    let acknowledged = positions(&written.text());
    let in_order: Vec<(i32, i64)> = (0..5_000).map(|offset| (0, offset)).collect();
    assert_eq!(acknowledged, in_order);

    let read = client(&["consume", &b, &topic, "5000"], b"").ok().text();
    let expected: String = lines
        .iter()
        .enumerate()
        .map(|(i, l)| format!("0 {i} {}\n", l.replace('\t', " ")))
        .collect();
    assert_eq!(read, expected);
}

#[test]
fn idempotent_producer_uncompressed() {
    produced_and_consumed("none");
}

#[test]
fn idempotent_producer_gzip() {
    produced_and_consumed("gzip");
}

#[test]
fn idempotent_producer_snappy() {
    produced_and_consumed("snappy");
}

#[test]
fn idempotent_producer_lz4() {
    produced_and_consumed("lz4");
}

#[test]
fn idempotent_producer_zstd() {
    produced_and_consumed("zstd");
}

#[test]
fn headers_with_duplicate_empty_and_null_values() {
    let broker = Broker::shared();
    let (b, topic) = (broker.bootstrap(), fresh_topic("java-headers"));
    kcat(&["-P", "-b", &b, "-t", &topic], b"first\n").ok();
    let at = client(&["headers", &b, &topic], b"").ok().text();
    assert_eq!(at, "0 1\n");
    let read = client(&["consume", &b, &topic, "2"], b"").ok().text();
    assert_eq!(
        read,
        "0 0 null first\n0 1 null empty a=1 b=empty a=2 c=null\n"
    );
    // and the same through librdkafka
    let headers = librdkafka::consume(&b, &topic, 0).swap_remove(1).headers;
    let pairs: Vec<(&str, Option<&[u8]>)> = headers
        .iter()
        .map(|(k, v)| (k.as_str(), v.as_deref()))
        .collect();
    assert_eq!(
        pairs,
        [
            ("a", Some(&b"1"[..])),
            ("b", Some(b"")),
            ("a", Some(b"2")),
            ("c", None)
        ]
    );
}

#[test]
fn offsets_for_times() {
    let broker = Broker::shared();
    let (b, topic) = (broker.bootstrap(), fresh_topic("java-times"));
    client(&["produce", &b, &topic, "none"], b"a\t1\nb\t2\n").ok();
    let first = librdkafka::consume(&b, &topic, 0)[0]
        .timestamp
        .expect("a timestamp");
    let at = client(&["times", &b, &topic, "0"], b"").ok().text();
    assert_eq!(at, format!("0 0 {first}\n"));
    let after = client(
        &["times", &b, &topic, &(first + 3_600_000).to_string()],
        b"",
    )
    .ok()
    .text();
    assert_eq!(after, "0 none\n");
}

#[test]
fn admin_creates_grows_lists_and_deletes() {
    let broker = Broker::shared();
    let done = client(
        &["admin", &broker.bootstrap(), &fresh_topic("java-admin")],
        b"",
    )
    .ok()
    .text();
    assert_eq!(
        done,
        "created 0+,1+,2+\nagain TopicExistsException\ngrown 0+,1+,2+,3+,4+\nend 0\nnodes 1\nlisted false\n"
    );
}
