//! The corpora in `protocol/tests/corpus`, which stand for Kafka where there is no Java: each line is what Kafka writes.
//!
//! `CORPUS=write` in the environment writes them anew.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::fs;
use std::path::PathBuf;

use protocol::compression::Compression;
use protocol::view::{self, MessageDescriptor, Sample};
use tests::oracle::{JarMessage, Oracle, Release};

use crate::batches::{lines, without_sizes};
use crate::hex::{hex, unhex};
use crate::kafka_batches::samples;
use crate::messages::arbitrary;
use crate::named::{Source, named};
use crate::names::{self, Direction};

/// Arbitrary messages of each version beside the samples, and the most bytes of each.
const ARBITRARY_COUNT: usize = 2;
const ARBITRARY_BYTES_MAX: usize = 160;

const HEX_PER_LINE: usize = 120;

const MESSAGES_HEAD: &str = "\
# Messages written by Apache Kafka's own code, the generated classes of kafka-clients 4.4.0 and, for versions that it does not
# have, 3.9.2. Written by: CORPUS=write cargo test -p tests --test oracle corpus
# A name, then lines of versions and the bytes of a message that all of them write for the same values.
";

const BATCHES_HEAD: &str = "\
# Record batches written by Apache Kafka's own code: kafka-clients 4.4.0 (org.apache.kafka.common.record.internal:
# MemoryRecordsBuilder, MemoryRecords and DefaultRecordBatch) with zstd-jni 1.5.7-17, lz4-java 1.11.2, snappy-java 1.1.10.7.
# Written by: CORPUS=write cargo test -p tests --test oracle corpus
# Each sample is its bytes in hexadecimal, then what Kafka's own reader says about them. A value is x and its bytes in
# hexadecimal or, if longer than 40 bytes, its length and CRC-32C.
";

fn path(file: &str) -> PathBuf {
    tests::workspace().join("protocol/tests/corpus").join(file)
}

fn to_be_written() -> bool {
    std::env::var("CORPUS").is_ok_and(|value| value == "write")
}

#[test]
fn every_message_of_the_corpus_is_kafkas() {
    let oracles = [Oracle::of(Release::New), Oracle::of(Release::Old)];
    let known = oracles.each_ref().map(Oracle::messages);
    let file = path("kafka_messages.txt");
    if to_be_written() {
        fs::write(&file, write_messages(&oracles, &known)).unwrap();
    }
    let text = fs::read_to_string(&file).unwrap();
    let mut seen = BTreeSet::new();
    let mut questions = [Vec::new(), Vec::new()];
    for (name, version, bytes) in parse(&text) {
        let of = usize::from(!knows(&known[0], name, version));
        questions[of].push((format!("recode {name} {version} {bytes}"), bytes));
        seen.insert((name, version));
    }
    for (oracle, questions) in oracles.iter().zip(questions) {
        let asked: Vec<_> = questions.iter().map(|(question, _)| question).collect();
        for ((question, bytes), answer) in questions.iter().zip(oracle.ask_all(&asked)) {
            assert_eq!(answer.as_deref(), Ok(*bytes), "{question}");
        }
    }
    let all: BTreeSet<_> = known
        .iter()
        .flatten()
        .flat_map(|it| (it.lowest..=it.highest).map(|version| (it.name.as_str(), version)))
        .collect();
    assert_eq!(
        seen, all,
        "the message-versions of the corpus and of the jars"
    );
}

fn knows(messages: &[JarMessage], name: &str, version: i16) -> bool {
    let mut messages = messages.iter();
    messages.any(|it| it.name == name && (it.lowest..=it.highest).contains(&version))
}

/// Name, version and bytes of every message.
fn parse(text: &str) -> impl Iterator<Item = (&str, i16, &str)> {
    let mut name = "";
    text.lines()
        .filter(|line| !line.starts_with('#'))
        .flat_map(move |line| {
            let (versions, bytes) = line.split_once(' ').unwrap_or_default();
            if versions.is_empty() {
                name = line;
            }
            let of = name;
            versions
                .split_terminator(',')
                .map(move |version| (of, version.parse().unwrap(), bytes))
        })
}

fn write_messages(oracles: &[Oracle; 2], known: &[Vec<JarMessage>; 2]) -> String {
    let mut all: BTreeMap<&str, BTreeSet<i16>> = BTreeMap::new();
    for message in known.iter().flatten() {
        all.entry(&message.name)
            .or_default()
            .extend(message.lowest..=message.highest);
    }
    let mut text = MESSAGES_HEAD.to_owned();
    for (name, versions) in all {
        let ours = view::find(names::ours(name)).unwrap();
        // In the order of their first version.
        let mut lines: Vec<(String, Vec<i16>)> = Vec::new();
        for version in versions {
            let of = usize::from(!knows(&known[0], name, version));
            let release = [Release::New, Release::Old][of];
            for bytes in instances(ours, version) {
                let json = view::to_json(ours, version, &bytes).unwrap();
                let json = names::rename(release, ours.name, json, Direction::ToOld);
                let bytes = oracles[of]
                    .ask(&format!("write {name} {version} {json}"))
                    .unwrap();
                match lines.iter_mut().find(|(line, _)| *line == bytes) {
                    Some((_, of)) if of.last() == Some(&version) => {}
                    Some((_, of)) => of.push(version),
                    None => lines.push((bytes, vec![version])),
                }
            }
        }
        writeln!(text, "{name}").unwrap();
        for (bytes, versions) in lines {
            let versions: Vec<_> = versions.iter().map(i16::to_string).collect();
            writeln!(text, "{} {bytes}", versions.join(",")).unwrap();
        }
    }
    text
}

/// Some short ones.
fn instances(of: &'static MessageDescriptor, version: i16) -> Vec<Vec<u8>> {
    let samples = Sample::SHORT.map(|kind| view::sample(of, version, kind).0);
    let arbitrary = arbitrary(of, version).filter(|it| !it.has_foreign_tag);
    let short = arbitrary
        .map(|it| it.bytes)
        .filter(|it| it.len() <= ARBITRARY_BYTES_MAX);
    samples
        .into_iter()
        .chain(short.take(ARBITRARY_COUNT))
        .collect()
}

#[test]
fn every_batch_of_the_corpus_is_kafkas() {
    let oracle = Oracle::of(Release::New);
    let made = named(&oracle);
    if to_be_written() {
        let text = write_batches(&oracle, &made);
        fs::write(path("java_record_batches.txt"), text).unwrap();
        return;
    }
    let committed = samples();
    assert_eq!(
        committed
            .iter()
            .map(|sample| sample.name.as_str())
            .collect::<Vec<_>>(),
        made.iter().map(|(name, _)| *name).collect::<Vec<_>>(),
    );
    for (sample, (name, source)) in committed.iter().zip(&made) {
        let reading = oracle.ask(&format!("batches {}", hex(&sample.bytes)));
        assert_eq!(lines(reading).as_ref(), Ok(&sample.reading), "{name}");
        // Another build of a compressor may give other bytes.
        let fresh = unhex(&oracle.ask(&source.question()).unwrap());
        let reading = lines(oracle.ask(&format!("batches {}", hex(&fresh)))).unwrap();
        let content = without_sizes(sample.reading.clone());
        assert_eq!(without_sizes(reading), content, "{name}");
        if sample.reading[0].contains(&format!("codec={} ", Compression::None.name())) {
            assert_eq!(hex(&fresh), hex(&sample.bytes), "{name}");
        }
    }
}

fn write_batches(oracle: &Oracle, made: &[(&str, Source)]) -> String {
    let mut text = BATCHES_HEAD.to_owned();
    for (name, source) in made {
        let bytes = oracle.ask(&source.question()).unwrap();
        let reading = lines(oracle.ask(&format!("batches {bytes}"))).unwrap();
        writeln!(text, "\nsample {name}").unwrap();
        for line in bytes.as_bytes().chunks(HEX_PER_LINE) {
            writeln!(text, "bytes {}", std::str::from_utf8(line).unwrap()).unwrap();
        }
        for line in reading {
            writeln!(text, "{line}").unwrap();
        }
    }
    text
}
