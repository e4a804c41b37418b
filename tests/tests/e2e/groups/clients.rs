//! The Java client: both protocols, cooperative and static members; joining, leaving, standing still and being killed while
//! records flow.

use std::collections::BTreeSet;
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

/// Members come, go, stand still and are killed, up to eight of them; others take over whatever they had. `dies` are settings of
/// the one that is killed.
fn come_and_go(settings: &[&str], dies: &str) -> Report {
    let broker = broker();
    let topic = fresh_topic("flow");
    filled(&broker, &topic, 30);
    let script = format!(
        "start a\nsettle 32\nlaunch b {dies}\nsettle 32\nstart c\nstart d max.poll.interval.ms=3000\nsettle 32\nleave c\nsettle 32\n\
         pause d 4500\nwait 5000\nsettle 32\nstart e\nstart f\nstart g\nstart h\nstart i\nsettle 32\n\
         kill b\nsettle 32\nleave d\nstart j\nstart k\nsettle 32\nwait 2000\nsettle 32\nwait 2000\nseen 1920\n"
    );
    let flow = std::thread::scope(|scope| {
        scope.spawn(|| fill(&broker, &topic, 30));
        members(&broker, &topic, settings, &script)
    });
    flow.assert_complete(60);
    flow.assert_quiet_at_last(2_000);
    flow
}

/// Classic members with this assignor.
fn classic(assignor: &str) -> Report {
    let strategy = format!(
        "partition.assignment.strategy=org.apache.kafka.clients.consumer.{assignor}Assignor"
    );
    come_and_go(
        &["heartbeat.interval.ms=500", &strategy],
        "session.timeout.ms=6000",
    )
}

#[test]
fn eager_members() {
    classic("Range");
}

#[test]
fn cooperative_members_lose_only_what_moves() {
    let report = classic("CooperativeSticky");
    // The first one gave up half, then half of that, then some for e; never all.
    let lost = report.events.iter();
    let lost = lost.filter(|(_, name, what, _)| name == "a" && what == "revoked");
    let whole: Vec<_> = lost.filter(|(_, _, _, list)| list.len() == 32).collect();
    assert_eq!(whole.len(), 0, "{}", events(&report.lines));
}

/// The script of a group of eight static members; the last one, `h`, is in a process of its own.
fn eight_static_members(rest: &str) -> String {
    let start = |name| format!("start {name} group.instance.id={name}\n");
    let members: String = ["a", "b", "c", "d", "e", "f", "g"].map(start).concat();
    format!("{members}launch h group.instance.id=h\nsettle 32\nwait 1500\nsettle 32\n{rest}")
}

impl Report {
    /// What happened between two moments.
    fn between(&self, from: u64, to: u64) -> Vec<(&str, &str, &[i32])> {
        let events = self.events.iter();
        let events = events.filter(|(at, ..)| (from..=to).contains(at));
        events
            .map(|(_, name, what, list)| (&**name, &**what, &**list))
            .collect()
    }

    /// What a member has at the second moment of what it was given since the first.
    fn given(&self, member: &str, from: u64, to: u64) -> BTreeSet<i32> {
        let mut has = BTreeSet::new();
        for (name, what, list) in self.between(from, to) {
            match what {
                "assigned" if name == member => has.extend(list),
                _ if name == member => has.retain(|partition| !list.contains(partition)),
                _ => {}
            }
        }
        has
    }

    /// The failure by which a member ended that was to fail.
    fn refused(&self, member: &str) -> Option<&str> {
        let mut lines = self.lines.lines();
        lines.find_map(|line| {
            line.split_once(&format!(" {member} refused "))
                .map(|(_, why)| why)
        })
    }
}

#[test]
fn eight_static_members_one_killed_and_back_and_one_fenced() {
    let broker = broker();
    let topic = fresh_topic("static");
    filled(&broker, &topic, 10);
    let script = eight_static_members(
        "kill h\nlaunch h group.instance.id=h\nsettle 32\nstart x group.instance.id=a\nfails a\nsettle 32\nwait 2000\nseen 320\n",
    );
    let report = members(
        &broker,
        &topic,
        &["session.timeout.ms=300000", "heartbeat.interval.ms=500"],
        &script,
    );
    report.assert_complete(10);
    let settled = report.settled();
    let [fenced, bounced, before, _] = settled[..] else {
        panic!("{settled:?}\n{}", events(&report.lines));
    };
    // Only h, which comes back to what it had.
    let had = report.given("h", 0, before);
    assert_eq!(had.len(), 4, "{}", events(&report.lines));
    let seen = report.between(before + 1, bounced);
    let of_others = |name: &str| seen.iter().filter(|event| event.0 != name).count();
    assert_eq!(of_others("h"), 0, "{}", events(&report.lines));
    assert_eq!(report.given("h", before + 1, bounced), had);
    // Only x and the one whose place it took.
    assert_eq!(report.refused("a"), Some("FencedInstanceIdException"));
    let of_a = report.given("a", 0, before);
    assert_eq!(report.given("x", bounced + 1, fenced), of_a);
    let seen = report.between(bounced + 1, fenced + 1_500);
    let others: Vec<_> = seen
        .iter()
        .filter(|event| !matches!(event.0, "a" | "x"))
        .collect();
    assert!(others.is_empty(), "{}", events(&report.lines));
}

#[test]
fn eight_static_members_of_the_new_protocol_one_away_and_back_and_one_killed() {
    // No session ends here, however long a process takes to start.
    let broker = Broker::start_with(&[
        "--group-consumer-max-session-timeout-ms=300000",
        "--group-consumer-session-timeout-ms=300000",
        "--group-consumer-min-heartbeat-interval-ms=500",
        "--group-consumer-heartbeat-interval-ms=500",
    ]);
    let topic = fresh_topic("static-new");
    filled(&broker, &topic, 10);
    let script = eight_static_members(
        "leave h\nlaunch h group.instance.id=h\nsettle 32\nstart x group.instance.id=a\nfails x\nwait 1000\nsettle 32\nseen 320\n\
         kill h\nlaunch h group.instance.id=h\nfails h\n",
    );
    let report = members(&broker, &topic, &["group.protocol=consumer"], &script);
    report.assert_complete(10);
    let settled = report.settled();
    let [refused, bounced, before, _] = settled[..] else {
        panic!("{settled:?}\n{}", events(&report.lines));
    };
    let had = report.given("h", 0, before);
    assert_eq!(had.len(), 4, "{}", events(&report.lines));
    let seen = report.between(before + 1, refused);
    let others: Vec<_> = seen
        .iter()
        .filter(|event| !matches!(event.0, "h" | "x"))
        .collect();
    assert!(others.is_empty(), "{}", events(&report.lines));
    assert_eq!(report.given("h", before + 1, bounced), had);
    // The first one stays here, also one that was killed, until its session ends.
    for member in ["x", "h"] {
        let why = report.refused(member);
        assert_eq!(why, Some("UnreleasedInstanceIdException"), "{member}");
    }
}

#[test]
fn members_of_the_new_protocol_lose_only_what_moves() {
    let report = come_and_go(&["group.protocol=consumer"], "");
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
