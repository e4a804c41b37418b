//! What Kafka itself wrote, in every message and version of two releases, is read and written back byte for byte.
//! How the corpus was made stands in it; `tests/tests/oracle` compares with Kafka's code while it runs.

use std::collections::{BTreeMap, BTreeSet};

use protocol::view::{self, Kind, MESSAGES};

const CORPUS: &str = include_str!("corpus/kafka_messages.txt");

/// Message-versions of 4.4.0 and 3.9.2 by the names of their classes.
const MESSAGE_VERSIONS: usize = 761;

/// Names that 4.x has replaced; the bytes of version 0 stayed the same.
const RENAMED: [(&str, &str); 2] = [
    (
        "ListClientMetricsResourcesRequest",
        "ListConfigResourcesRequest",
    ),
    (
        "ListClientMetricsResourcesResponse",
        "ListConfigResourcesResponse",
    ),
];

#[test]
fn every_message_of_kafka_comes_back_byte_for_byte() {
    let mut seen = BTreeMap::new();
    let mut messages = 0;
    for (name, version, bytes) in corpus() {
        let place = format!("{name} {version}");
        let ours = view::find(our_name(name)).unwrap_or_else(|| panic!("{name}"));
        let recoded = (ours.recode)(&bytes, version).unwrap_or_else(|e| panic!("{place}: {e}"));
        assert_eq!(recoded.left, 0, "{place}");
        assert_eq!(recoded.bytes.as_ref(), Ok(&bytes), "{place}");
        let json = view::to_json(ours, version, &bytes).unwrap_or_else(|e| panic!("{place}: {e}"));
        let written = view::from_json(ours, version, &json);
        assert_eq!(written.as_ref(), Ok(&bytes), "{place}: {json}");
        seen.insert((name, version), ours.kind);
        messages += 1;
    }
    let of = |kind| seen.values().filter(|it| **it == kind).count();
    println!(
        "{messages} messages in {} message-versions: {} request, {} response, {} header, {} data",
        seen.len(),
        of(Kind::Request),
        of(Kind::Response),
        of(Kind::Header),
        of(Kind::Data),
    );
    assert_eq!(seen.len(), MESSAGE_VERSIONS);

    let seen: BTreeSet<_> = seen.keys().map(|(name, v)| (our_name(name), *v)).collect();
    let ours = MESSAGES.iter().flat_map(|message| {
        let versions = message.versions.iter();
        versions.map(|version| (message.name, version))
    });
    assert_eq!(seen, ours.collect(), "of the corpus and of our schemas");
}

fn our_name(name: &str) -> &str {
    let renamed = RENAMED.iter().find(|(old, _)| *old == name);
    renamed.map_or(name, |(_, new)| new)
}

/// Name, version and bytes of every message.
fn corpus() -> Vec<(&'static str, i16, Vec<u8>)> {
    let mut all = Vec::new();
    let mut name = "";
    for line in CORPUS.lines().filter(|line| !line.starts_with('#')) {
        // A line without versions is the name of the messages that follow. A message may have no bytes.
        let Some((versions, bytes)) = line.split_once(' ') else {
            name = line;
            continue;
        };
        for version in versions.split(',') {
            let version = version.parse().expect("a version");
            all.push((name, version, unhex(bytes)));
        }
    }
    all
}

fn unhex(text: &str) -> Vec<u8> {
    let pairs = text.as_bytes().chunks(2);
    let byte = |pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    pairs.map(|pair| byte(pair).expect("two digits")).collect()
}
