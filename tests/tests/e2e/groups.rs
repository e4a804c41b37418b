//! Consumer groups with real clients: the Java client, librdkafka, Kafka's own tool; restarts of the broker; SQL.

mod answers;
mod clients;
mod languages;
mod librdkafka;
mod overrides;
mod restarts;
mod tool;
mod waits;

use std::collections::BTreeMap;

use tests::wire::Connection;
use tests::{Broker, librdkafka as rd, tool::Finished};

/// Partitions of the topics that groups consume here.
const PARTITIONS: i32 = 32;

/// A broker whose groups need not wait, and notice soon that a member has died.
fn broker() -> Broker {
    Broker::start_with(&[
        "--group-initial-rebalance-delay-ms=100",
        "--group-consumer-min-session-timeout-ms=6000",
        "--group-consumer-session-timeout-ms=6000",
        "--group-consumer-min-heartbeat-interval-ms=500",
        "--group-consumer-heartbeat-interval-ms=500",
    ])
}

/// A topic with so many records in each of its partitions.
fn filled(broker: &Broker, topic: &str, records: usize) {
    Connection::open(broker).create_topic(topic, PARTITIONS);
    fill(broker, topic, records);
}

fn fill(broker: &Broker, topic: &str, records: usize) {
    let values: Vec<Vec<u8>> = (0..records).map(|n| n.to_string().into_bytes()).collect();
    let values: Vec<&[u8]> = values.iter().map(Vec::as_slice).collect();
    for partition in 0..PARTITIONS {
        rd::produce(&broker.bootstrap(), topic, partition, &values, &[]);
    }
}

/// What members that ran said: events by member, and how often each record was consumed.
struct Report {
    events: Vec<(u64, String, String, Vec<i32>)>,
    records: BTreeMap<(i32, i64), u32>,
    lines: String,
}

impl Report {
    fn read(finished: Finished) -> Self {
        let finished = finished.ok();
        let lines = finished.text();
        let mut report = Self {
            events: Vec::new(),
            records: BTreeMap::new(),
            lines: lines.clone(),
        };
        for line in lines.lines() {
            let words: Vec<&str> = line.split(' ').collect();
            match words.as_slice() {
                ["record", _, partition, offset, times] => {
                    let key = (partition.parse().unwrap(), offset.parse().unwrap());
                    report.records.insert(key, times.parse().unwrap());
                }
                [millis, member, what, list] => {
                    let partitions = list.split(',').filter(|part| !part.is_empty());
                    report.events.push((
                        millis.parse().unwrap(),
                        (*member).to_owned(),
                        (*what).to_owned(),
                        partitions.filter_map(|part| part.parse().ok()).collect(),
                    ));
                }
                _ => {}
            }
        }
        assert!(
            !report.lines.contains("never settled"),
            "{}{}",
            events(&report.lines),
            finished.stderr
        );
        assert!(
            !report.lines.contains(" failed "),
            "{}",
            events(&report.lines)
        );
        report
    }

    /// When the group settled, the last time first.
    fn settled(&self) -> Vec<u64> {
        let lines = self.lines.lines().rev();
        let settled = lines.filter_map(|line| line.strip_suffix(" settled")?.parse().ok());
        settled.collect()
    }

    /// Nothing is assigned or taken away for so long after one of the last two times the group has settled; a machine that stands
    /// still for a session costs one of them.
    fn assert_quiet_at_last(&self, millis: u64) {
        let is_quiet = |settled: &u64| {
            let quiet = *settled..*settled + millis;
            !self.events.iter().any(|(at, ..)| quiet.contains(at))
        };
        let last = self.settled();
        assert!(last[..2].iter().any(is_quiet), "{}", events(&self.lines));
    }

    /// Every record of every partition, at least once.
    fn assert_complete(&self, records: i64) {
        let missing: Vec<(i32, i64)> = (0..PARTITIONS)
            .flat_map(|partition| (0..records).map(move |offset| (partition, offset)))
            .filter(|record| !self.records.contains_key(record))
            .collect();
        assert_eq!(missing, [], "{}", events(&self.lines));
    }
}

fn events(lines: &str) -> String {
    let lines = lines.lines().filter(|line| !line.starts_with("record"));
    lines.map(|line| format!("{line}\n")).collect()
}
