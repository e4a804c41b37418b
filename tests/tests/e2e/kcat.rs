//! kcat: the commands of the quick start, and a large text with each codec.

use std::fs;

use tests::{Broker, fresh_topic, text, tool::kcat};

#[test]
fn quick_start() {
    let broker = Broker::shared();
    let (b, topic) = (broker.bootstrap(), fresh_topic("greetings"));
    kcat(&["-P", "-b", &b, "-t", &topic, "-K:"], b"k1:hello\n").ok();
    let read = kcat(
        &["-C", "-b", &b, "-t", &topic, "-o", "beginning", "-e"],
        b"",
    )
    .ok();
    assert_eq!(read.text(), "hello\n");
    let keyed = kcat(
        &[
            "-C",
            "-b",
            &b,
            "-t",
            &topic,
            "-o",
            "beginning",
            "-e",
            "-f",
            "%p %o %k=%s\n",
        ],
        b"",
    )
    .ok();
    assert_eq!(keyed.text(), "0 0 k1=hello\n");
}

#[test]
fn metadata_shows_broker_and_topics() {
    let broker = Broker::shared();
    let (b, topic) = (broker.bootstrap(), fresh_topic("listed"));
    kcat(&["-P", "-b", &b, "-t", &topic], b"one\n").ok();
    let shown = kcat(&["-L", "-b", &b], b"").ok().text();
    assert!(shown.contains(&format!("at {b}")), "{shown}");
    assert!(
        shown.contains(&format!("topic \"{topic}\" with 1 partitions")),
        "{shown}"
    );
}

#[test]
fn keys_headers_nulls_and_empty_values() {
    let broker = Broker::shared();
    let (b, topic) = (broker.bootstrap(), fresh_topic("shapes"));
    kcat(
        &[
            "-P", "-b", &b, "-t", &topic, "-Z", "-K:", "-H", "a=1", "-H", "a=2",
        ],
        b"gone:\n:kept\n",
    )
    .ok();
    let format = "%k|%K|%s|%S|%h\n";
    let read = kcat(
        &[
            "-C",
            "-b",
            &b,
            "-t",
            &topic,
            "-o",
            "beginning",
            "-e",
            "-f",
            format,
        ],
        b"",
    )
    .ok();
    assert_eq!(read.text(), "gone|4||-1|a=1,a=2\n|-1|kept|4|a=1,a=2\n");
}

#[test]
fn offsets_from_the_end_and_by_count() {
    let broker = Broker::shared();
    let (b, topic) = (broker.bootstrap(), fresh_topic("ends"));
    kcat(&["-P", "-b", &b, "-t", &topic], b"a\nb\nc\nd\n").ok();
    let last = kcat(&["-C", "-b", &b, "-t", &topic, "-o", "-2", "-e"], b"").ok();
    assert_eq!(last.text(), "c\nd\n");
    let two = kcat(&["-C", "-b", &b, "-t", &topic, "-o", "1", "-c", "2"], b"").ok();
    assert_eq!(two.text(), "b\nc\n");
    let at = kcat(&["-Q", "-b", &b, "-t", &format!("{topic}:0:-1")], b"").ok();
    assert!(at.text().contains("offset 4"), "{}", at.text());
}

fn large_text_comes_back_equal(codec: &str) {
    let broker = Broker::shared();
    let (b, topic) = (broker.bootstrap(), fresh_topic(&format!("text-{codec}")));
    let written = text::of_this_machine();
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), &written).unwrap();
    let path = file.path().to_str().unwrap();
    kcat(
        &["-P", "-b", &b, "-t", &topic, "-z", codec, "-l", path],
        b"",
    )
    .ok();
    let read = kcat(
        &["-C", "-b", &b, "-t", &topic, "-o", "beginning", "-e", "-q"],
        b"",
    )
    .ok();
    assert_eq!(read.stdout.len(), written.len());
    assert!(
        read.stdout == written,
        "the text read differs from the text written"
    );
}

#[test]
fn large_text_uncompressed() {
    large_text_comes_back_equal("none");
}

#[test]
fn large_text_gzip() {
    large_text_comes_back_equal("gzip");
}

#[test]
fn large_text_snappy() {
    large_text_comes_back_equal("snappy");
}

#[test]
fn large_text_lz4() {
    large_text_comes_back_equal("lz4");
}

#[test]
fn large_text_zstd() {
    large_text_comes_back_equal("zstd");
}
