//! Members in processes of their own, in several languages, that join, leave, are killed and stand still, while records flow:
//! everything is consumed at least once, and in the end all of it is committed.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use protocol::messages::consumer_group_describe_response::DescribedGroup as NewGroup;
use protocol::messages::{
    ConsumerGroupDescribeRequest, ConsumerGroupDescribeResponse, DescribeGroupsRequest,
    DescribeGroupsResponse,
};
use rustix::process::{Pid, Signal, kill_process};
use tests::batch::NewBatch;
use tests::clients::Language;
use tests::wire::Connection;
use tests::{Broker, fresh_topic, wait_for};

use super::restarts::committed;
use super::{PARTITIONS, broker};

const LIMIT: Duration = Duration::from_secs(120);

/// A member in a process of its own; it is killed with this value.
struct Member {
    process: Child,
    output: PathBuf,
}

impl Member {
    fn start(mut command: Command, broker: &Broker, number: usize) -> Self {
        let output = broker.dir().join(format!("member-{number}"));
        let process = command
            .stdin(Stdio::piped())
            .stdout(File::create(&output).unwrap())
            .spawn();
        Self {
            process: process.unwrap_or_else(|error| panic!("{command:?}: {error}")),
            output,
        }
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.process.id()).unwrap());
        kill_process(pid.unwrap(), signal).unwrap();
    }

    fn consumed(&self) -> BTreeSet<(i32, i64)> {
        Self::consumed_from(&self.output)
    }

    /// Partition and offset of what a member with this output has consumed.
    fn consumed_from(output: &Path) -> BTreeSet<(i32, i64)> {
        let text = std::fs::read_to_string(output).unwrap();
        // The last line of one that was killed may be half a line.
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        let pair = |line: &str| {
            let (partition, offset) = line.split_once(' ')?;
            Some((partition.parse().ok()?, offset.parse().ok()?))
        };
        whole.lines().filter_map(pair).collect()
    }

    /// Ends its input, and waits until it has left.
    fn leave(mut self) {
        drop(self.process.stdin.take());
        wait_for("the end of a member", LIMIT, || {
            self.process.try_wait().unwrap()
        });
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// How many members a stable group has, of either type.
fn stable(connection: &mut Connection, group: &str) -> Option<usize> {
    let request = ConsumerGroupDescribeRequest {
        group_ids: vec![group.into()],
        ..ConsumerGroupDescribeRequest::default()
    };
    let answer = connection.call(&request, 1);
    let response: ConsumerGroupDescribeResponse<'_> = answer.read();
    let found: &NewGroup<'_> = &response.groups[0];
    if found.error_code == 0 {
        return (found.group_state == "Stable").then_some(found.members.len());
    }
    let request = DescribeGroupsRequest {
        groups: vec![group.into()],
        ..DescribeGroupsRequest::default()
    };
    let answer = connection.call(&request, 5);
    let response: DescribeGroupsResponse<'_> = answer.read();
    let found = &response.groups[0];
    (found.group_state == "Stable").then_some(found.members.len())
}

/// A record in each partition, again and again until it is told to stop; how many there are in each.
fn flow(broker: &Broker, topic: &str, stops: &AtomicBool) -> i64 {
    let mut connection = Connection::open(broker);
    let batch = NewBatch::of(&["record"]).bytes();
    let all: Vec<(i32, &[u8])> = (0..PARTITIONS).map(|p| (p, &*batch)).collect();
    for count in 1.. {
        let produced = connection.produce_many(topic, &all);
        assert!(produced.iter().all(|produced| produced.error == 0));
        if stops.load(Ordering::Relaxed) {
            return count;
        }
        std::thread::sleep(Duration::from_millis(150));
    }
    0
}

/// From one member to eight; one is killed, one stands still until the group goes on without it, one leaves.
fn come_and_go(command: impl Fn(&str, &str, &str) -> Command) {
    let broker = broker();
    let topic = fresh_topic("rough");
    let mut c = Connection::open(&broker);
    c.create_topic(&topic, PARTITIONS);
    let (bootstrap, group) = (broker.bootstrap(), format!("of-{topic}"));
    let stops = AtomicBool::new(false);
    let mut number = 0;
    let mut start = || {
        number += 1;
        Member::start(command(&bootstrap, &topic, &group), &broker, number)
    };
    let (members, gone, count) = std::thread::scope(|scope| {
        let flowing = scope.spawn(|| flow(&broker, &topic, &stops));
        let mut settle = |count: usize| {
            wait_for(&format!("{count} members"), LIMIT, || {
                (stable(&mut c, &group) == Some(count)).then_some(())
            });
        };
        let mut members = vec![start()];
        settle(1);
        members.extend([start(), start(), start()]);
        settle(4);
        members[1].signal(Signal::KILL);
        members[2].signal(Signal::STOP);
        members.extend([start(), start(), start(), start(), start()]);
        settle(7);
        members[2].signal(Signal::CONT);
        settle(8);
        let leaving = members.remove(3);
        let output = leaving.output.clone();
        leaving.leave();
        let gone = Member::consumed_from(&output);
        settle(7);
        stops.store(true, Ordering::Relaxed);
        (members, gone, flowing.join().unwrap())
    });
    let all: BTreeSet<(i32, i64)> = (0..PARTITIONS)
        .flat_map(|partition| (0..count).map(move |offset| (partition, offset)))
        .collect();
    let missing = || {
        let seen = members.iter().flat_map(Member::consumed);
        let seen: BTreeSet<_> = seen.chain(gone.iter().copied()).collect();
        all.difference(&seen).copied().collect::<Vec<_>>()
    };
    wait_for("all records", LIMIT, || missing().is_empty().then_some(()));
    let ends = (0..PARTITIONS)
        .map(|partition| (partition, count))
        .collect();
    wait_for("all commits", LIMIT, || {
        (committed(&mut c, &group) == ends).then_some(())
    });
    members.into_iter().for_each(Member::leave);
}

fn of_language(language: Language) {
    come_and_go(|bootstrap, topic, group| language.member(bootstrap, topic, group));
}

fn of_librdkafka(settings: &[&str]) {
    come_and_go(|bootstrap, topic, group| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_member"));
        command.args([bootstrap, topic, group]).args(settings);
        command
    });
}

#[test]
fn kafkajs() {
    of_language(Language::Node);
}

#[test]
fn aiokafka() {
    of_language(Language::Python);
}

#[test]
fn franz_go() {
    of_language(Language::Go);
}

#[test]
fn librdkafka_of_the_classic_protocol() {
    of_librdkafka(&["session.timeout.ms=6000", "heartbeat.interval.ms=500"]);
}

#[test]
fn librdkafka_of_the_new_protocol() {
    of_librdkafka(&["group.protocol=consumer"]);
}
