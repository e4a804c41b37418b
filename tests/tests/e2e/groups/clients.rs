//! The Java client: both protocols, cooperative and static members; joining, leaving and crashing while records flow.

use std::time::Duration;

use tests::wire::Connection;
use tests::{Broker, fresh_topic, java::client, wait_for};

use super::restarts::committed;
use super::{PARTITIONS, Report, broker, events, fill, filled};

fn members(broker: &Broker, topic: &str, settings: &[&str], script: &str) -> Report {
    let (b, group) = (broker.bootstrap(), format!("group-of-{topic}"));
    let args = [&["members", &b, topic, &group][..], settings].concat();
    Report::read(client(&args, script.as_bytes()))
}

/// Members come, go, stand still and die, up to eight of them; others take over whatever they had.
fn come_and_go(settings: &[&str]) -> Report {
    let broker = broker();
    let topic = fresh_topic("flow");
    filled(&broker, &topic, 30);
    let settings = [settings, &["max.poll.interval.ms=3000"]].concat();
    let flow = std::thread::scope(|scope| {
        scope.spawn(|| fill(&broker, &topic, 30));
        members(
            &broker,
            &topic,
            &settings,
            "start a\nsettle 32\nstart b\nsettle 32\nstart c\nstart d\nsettle 32\nleave b\nsettle 32\n\
             pause d 4500\nwait 5000\nsettle 32\ncrash c\nsettle 32\n\
             start e\nstart f\nstart g\nstart h\nstart i\nstart j\nsettle 32\nwait 2000\nsettle 32\nwait 2000\nseen 1920\n",
        )
    });
    flow.assert_complete(60);
    flow.assert_quiet_at_last(2_000);
    flow
}

#[test]
fn eager_members() {
    come_and_go(&[
        "session.timeout.ms=6000",
        "heartbeat.interval.ms=500",
        "partition.assignment.strategy=org.apache.kafka.clients.consumer.RangeAssignor",
    ]);
}

#[test]
fn cooperative_members_lose_only_what_moves() {
    let report = come_and_go(&[
        "session.timeout.ms=6000",
        "heartbeat.interval.ms=500",
        "partition.assignment.strategy=org.apache.kafka.clients.consumer.CooperativeStickyAssignor",
    ]);
    // The first one gave up half, then half of that, then some for e; never all.
    let lost = report.events.iter();
    let lost = lost.filter(|(_, name, what, _)| name == "a" && what == "revoked");
    let whole: Vec<_> = lost.filter(|(_, _, _, list)| list.len() == 32).collect();
    assert_eq!(whole.len(), 0, "{}", events(&report.lines));
}

#[test]
fn a_static_member_that_comes_back_disturbs_nobody() {
    let broker = broker();
    let topic = fresh_topic("static");
    filled(&broker, &topic, 10);
    let report = members(
        &broker,
        &topic,
        &["session.timeout.ms=20000", "heartbeat.interval.ms=500"],
        "start a group.instance.id=a\nstart b group.instance.id=b\nsettle 32\nwait 1500\nsettle 32\n\
         crash b\nstart b group.instance.id=b\nsettle 32\nwait 3000\nseen 320\n",
    );
    report.assert_complete(10);
    // The two tell of the first assignment in any order.
    let settled = ["a", "b"].map(|member| {
        let half = |(_, name, what, list): &(_, String, String, Vec<_>)| {
            name == member && what == "assigned" && list.len() == 16
        };
        report.events.iter().position(half).unwrap()
    });
    let later = &report.events[settled[0].max(settled[1]) + 1..];
    let disturbed = later
        .iter()
        .filter(|(_, name, _, list)| name == "a" && !list.is_empty());
    // Only the end of the test takes anything from a.
    assert!(disturbed.count() <= 1, "{}", events(&report.lines));
    let again = later
        .iter()
        .filter(|(_, name, what, _)| name == "b" && what == "assigned");
    assert_eq!(again.count(), 1, "{}", events(&report.lines));
}

#[test]
fn members_of_the_new_protocol_lose_only_what_moves() {
    let report = come_and_go(&["group.protocol=consumer"]);
    let lost = report.events.iter();
    // In the end all leave, and the last one has all.
    let whole = lost
        .filter(|(at, ..)| *at < report.settled()[0])
        .filter(|(_, _, what, list)| what == "revoked" && list.len() == 32);
    assert_eq!(whole.count(), 0, "{}", events(&report.lines));
}

#[test]
fn topics_by_regular_expression() {
    let broker = broker();
    let topic = fresh_topic("regex");
    filled(&broker, &topic, 2);
    let (b, pattern) = (broker.bootstrap(), format!("re2:{topic}.*"));
    let report = std::thread::scope(|scope| {
        scope.spawn(|| {
            // Made when the member has consumed all of the first.
            let mut c = Connection::open(&broker);
            let all = (0..PARTITIONS).map(|partition| (partition, 2)).collect();
            wait_for("a member", Duration::from_secs(120), || {
                (committed(&mut c, "by-pattern") == all).then_some(())
            });
            filled(&broker, &format!("{topic}-more"), 2);
        });
        let args = [
            "members",
            &b,
            &pattern,
            "by-pattern",
            "group.protocol=consumer",
        ];
        let script = "start a\nseen 64\nsettle 64\nseen 128\n";
        Report::read(client(&args, script.as_bytes()))
    });
    assert_eq!(
        report
            .lines
            .lines()
            .filter(|line| line.starts_with("record"))
            .count(),
        128
    );
}

#[test]
fn a_group_goes_over_to_the_new_protocol_and_back_while_records_flow() {
    let broker = broker();
    let topic = fresh_topic("over");
    filled(&broker, &topic, 30);
    let old = "session.timeout.ms=6000 heartbeat.interval.ms=500 \
               partition.assignment.strategy=org.apache.kafka.clients.consumer.CooperativeStickyAssignor";
    let new = "group.protocol=consumer";
    let script = format!(
        "start a {old}\nsettle 32\nstart b {new}\nsettle 32\nleave a\nsettle 32\nstart c {old}\nsettle 32\n\
         leave b\nsettle 32\nstart d {old}\nsettle 32\nseen 1920\n"
    );
    let report = std::thread::scope(|scope| {
        scope.spawn(|| fill(&broker, &topic, 30));
        members(&broker, &topic, &[], &script)
    });
    report.assert_complete(60);
}
