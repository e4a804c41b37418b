//! Members in other languages, two of them in one group: everything is consumed, and in the end all of it is committed.

use std::collections::BTreeSet;

use tests::clients::Language;
use tests::wire::Connection;
use tests::{Broker, fresh_topic};

use super::restarts::committed;
use super::{PARTITIONS, broker, filled};

fn two_members(language: Language) {
    let broker: Broker = broker();
    let topic = fresh_topic("language");
    filled(&broker, &topic, 20);
    let b = broker.bootstrap();
    let group = format!("of-{topic}");
    let lines: Vec<String> = std::thread::scope(|scope| {
        let members: Vec<_> = (0..2)
            .map(|_| scope.spawn(|| language.member(&b, &topic, &group).ok().text()))
            .collect();
        members
            .into_iter()
            .map(|member| member.join().unwrap())
            .collect()
    });
    assert!(
        lines.iter().all(|text| !text.trim().is_empty()),
        "a member got nothing: {lines:?}"
    );
    let seen: BTreeSet<&str> = lines.iter().flat_map(|text| text.lines()).collect();
    let expected: BTreeSet<String> = (0..PARTITIONS)
        .flat_map(|partition| (0..20).map(move |offset| format!("{partition} {offset}")))
        .collect();
    let missing: Vec<&String> = expected
        .iter()
        .filter(|record| !seen.contains(record.as_str()))
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
    let offsets = committed(&mut Connection::open(&broker), &group);
    assert_eq!(
        offsets,
        (0..PARTITIONS).map(|partition| (partition, 20)).collect()
    );
}

#[test]
fn kafkajs() {
    two_members(Language::Node);
}

#[test]
fn aiokafka() {
    two_members(Language::Python);
}

#[test]
fn franz_go() {
    two_members(Language::Go);
}
