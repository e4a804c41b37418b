//! A coordinator that dies: stable groups go on without a rebalance, and no committed offset goes back.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::ScopedJoinHandle;
use std::time::{Duration, Instant};

use protocol::messages::consumer_group_heartbeat_request::TopicPartitions;
use protocol::messages::join_group_request::JoinGroupRequestProtocol;
use protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use protocol::messages::{
    ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse, FindCoordinatorRequest,
    FindCoordinatorResponse, HeartbeatRequest, HeartbeatResponse, JoinGroupRequest,
    JoinGroupResponse, OffsetCommitRequest, OffsetCommitResponse, OffsetFetchRequest,
    OffsetFetchResponse, SyncGroupRequest, SyncGroupResponse,
};
use tests::wire::Connection;
use tests::{Broker, fresh_topic};

use super::broker;
use crate::brokers::{Cluster, LIMIT, SHORT_SESSION};

/// To join with this id, or none yet.
pub(super) fn join_request<'a>(group: &'a str, member_id: &'a str) -> JoinGroupRequest<'a> {
    JoinGroupRequest {
        group_id: group.into(),
        session_timeout_ms: 60_000,
        rebalance_timeout_ms: 60_000,
        member_id: member_id.into(),
        protocol_type: "consumer".into(),
        protocols: vec![JoinGroupRequestProtocol {
            name: "range".into(),
            ..JoinGroupRequestProtocol::default()
        }],
        ..JoinGroupRequest::default()
    }
}

/// A member in generation 1 of a group of its own.
pub(super) fn join(connection: &mut Connection, group: &str) -> String {
    let mut request = join_request(group, "");
    let answer = connection.call(&request, 9);
    let first: JoinGroupResponse<'_> = answer.read();
    request.member_id = first.member_id.into_owned().into();
    let answer = connection.call(&request, 9);
    let joined: JoinGroupResponse<'_> = answer.read();
    assert_eq!((joined.error_code, joined.generation_id), (0, 1));
    joined.member_id.into_owned()
}

fn sync(connection: &mut Connection, group: &str, member_id: &str) {
    let request = SyncGroupRequest {
        group_id: group.into(),
        generation_id: 1,
        member_id: member_id.into(),
        protocol_type: Some("consumer".into()),
        protocol_name: Some("range".into()),
        assignments: vec![SyncGroupRequestAssignment {
            member_id: member_id.into(),
            assignment: b"mine"[..].into(),
            ..SyncGroupRequestAssignment::default()
        }],
        ..SyncGroupRequest::default()
    };
    let answer = connection.call(&request, 5);
    let synced: SyncGroupResponse<'_> = answer.read();
    assert_eq!((synced.error_code, &*synced.assignment), (0, &b"mine"[..]));
}

pub(super) fn heartbeat(
    connection: &mut Connection,
    group: &str,
    member_id: &str,
    generation_id: i32,
) -> i16 {
    let request = HeartbeatRequest {
        group_id: group.into(),
        generation_id,
        member_id: member_id.into(),
        ..HeartbeatRequest::default()
    };
    let answer = connection.call(&request, 4);
    answer.read::<HeartbeatResponse<'_>>().error_code
}

/// The error code of a commit of these offsets, partitions counted from 0.
fn commit(
    connection: &mut Connection,
    topic: &str,
    group: &str,
    member: Option<&str>,
    offsets: &[i64],
) -> i16 {
    let partitions = (0..).zip(offsets);
    let partitions = partitions.map(|(partition_index, offset)| OffsetCommitRequestPartition {
        partition_index,
        committed_offset: *offset,
        ..OffsetCommitRequestPartition::default()
    });
    let request = OffsetCommitRequest {
        group_id: group.into(),
        member_id: member.unwrap_or_default().into(),
        generation_id_or_member_epoch: if member.is_some() { 1 } else { -1 },
        topics: vec![OffsetCommitRequestTopic {
            name: topic.into(),
            partitions: partitions.collect(),
            ..OffsetCommitRequestTopic::default()
        }],
        ..OffsetCommitRequest::default()
    };
    let answer = connection.call(&request, 8);
    let response: OffsetCommitResponse<'_> = answer.read();
    let codes = response.topics[0].partitions.iter();
    codes
        .map(|p| p.error_code)
        .find(|code| *code != 0)
        .unwrap_or(0)
}

pub(super) fn committed(connection: &mut Connection, group: &str) -> BTreeMap<i32, i64> {
    let request = OffsetFetchRequest {
        group_id: group.into(),
        topics: None,
        ..OffsetFetchRequest::default()
    };
    let answer = connection.call(&request, 7);
    let response: OffsetFetchResponse<'_> = answer.read();
    assert_eq!(response.error_code, 0);
    let partitions = response.topics.iter().flat_map(|topic| &topic.partitions);
    partitions
        .map(|p| (p.partition_index, p.committed_offset))
        .collect()
}

#[test]
fn groups_go_on_after_kill_9_without_a_rebalance() {
    // With sessions of the usual length, which nothing here outlasts.
    let mut broker = Broker::start_with(&["--group-initial-rebalance-delay-ms=100"]);
    let topic = fresh_topic("kill");
    let mut connection = Connection::open(&broker);
    let topic_id = connection.create_topic(&topic, 2);
    let stable = join(&mut connection, "stable");
    sync(&mut connection, "stable", &stable);
    assert_eq!(
        commit(&mut connection, &topic, "stable", Some(&stable), &[5, 6]),
        0
    );
    let waiting = join(&mut connection, "waiting");
    let beat = |connection: &mut Connection, epoch: i32, owned: Option<&[i32]>| {
        let request = ConsumerGroupHeartbeatRequest {
            group_id: "new".into(),
            member_id: "m".into(),
            member_epoch: epoch,
            rebalance_timeout_ms: if epoch == 0 { 60_000 } else { -1 },
            subscribed_topic_names: (epoch == 0).then(|| vec![topic.clone().into()]),
            topic_partitions: owned.map(|owned| {
                let one = TopicPartitions {
                    topic_id,
                    partitions: owned.to_vec().into(),
                    ..TopicPartitions::default()
                };
                Vec::from_iter((!owned.is_empty()).then_some(one))
            }),
            ..ConsumerGroupHeartbeatRequest::default()
        };
        let answer = connection.call(&request, 1);
        let response: ConsumerGroupHeartbeatResponse<'_> = answer.read();
        (
            response.error_code,
            response.member_epoch,
            response.assignment.is_some(),
        )
    };
    let (code, epoch, _) = beat(&mut connection, 0, Some(&[]));
    assert_eq!(code, 0);

    broker.kill();
    broker.start_again();
    let mut connection = Connection::open(&broker);
    assert_eq!(heartbeat(&mut connection, "stable", &stable, 1), 0);
    assert_eq!(
        committed(&mut connection, "stable"),
        [(0, 5), (1, 6)].into()
    );
    assert_eq!(
        commit(&mut connection, &topic, "stable", Some(&stable), &[7]),
        0
    );
    // It had joined, and now brings its assignment to the broker after the crash.
    sync(&mut connection, "waiting", &waiting);
    assert_eq!(
        beat(&mut connection, epoch, Some(&[0, 1])),
        (0, epoch, false)
    );
    assert_eq!(
        committed(&mut connection, "stable"),
        [(0, 7), (1, 6)].into()
    );
}

/// Rounds of [`no_committed_offset_goes_back`]; `make chaos` asks for more.
fn rounds() -> usize {
    let asked = std::env::var("CHAOS_ROUNDS").ok();
    asked.and_then(|text| text.parse().ok()).unwrap_or(3)
}

/// Commits as fast as they are answered until one is not, or the broker is gone. From and to are the offset acknowledged last, and the
/// one asked for last. `begun` is raised by the first that is acknowledged.
fn commit_until_it_ends(
    (port, begun): (u16, &AtomicUsize),
    topic: &str,
    group: &str,
    from: (i64, i64),
) -> (i64, i64) {
    let progress = std::cell::Cell::new(from);
    let run = std::panic::AssertUnwindSafe(|| {
        let mut connection = Connection::to_port(port);
        for next in from.1 + 1.. {
            progress.set((progress.get().0, next));
            let code = commit(&mut connection, topic, group, None, &[next, next]);
            assert_eq!(code, 0, "a commit was refused");
            progress.set((next, next));
            if next == from.1 + 1 {
                begun.fetch_add(1, Ordering::Relaxed);
            }
        }
    });
    let ended: Result<(), _> = std::panic::catch_unwind(run);
    assert!(ended.is_err());
    progress.get()
}

/// Waits until each has had a commit acknowledged, or has ended without.
fn wait_until_begun<T>(committers: &[ScopedJoinHandle<'_, T>], begun: &AtomicUsize) {
    tests::wait_for("commits", LIMIT, || {
        let ended = committers
            .iter()
            .filter(|committer| committer.is_finished());
        (begun.load(Ordering::Relaxed) + ended.count() >= committers.len()).then_some(())
    });
}

#[test]
fn no_committed_offset_goes_back() {
    let mut broker = broker();
    let topic = fresh_topic("back");
    Connection::open(&broker).create_topic(&topic, 2);
    let groups = ["one", "two", "three"];
    let mut known = [(0, 0); 3];
    for round in 0..rounds() {
        let port = broker.port();
        let begun = &AtomicUsize::new(0);
        known = std::thread::scope(|scope| {
            let committers: Vec<_> = groups
                .iter()
                .zip(known)
                .map(|(group, from)| {
                    let topic = &topic;
                    scope.spawn(move || commit_until_it_ends((port, begun), topic, group, from))
                })
                .collect();
            wait_until_begun(&committers, begun);
            std::thread::sleep(Duration::from_millis(300 + 70 * round as u64 % 500));
            broker.kill();
            let ended: Vec<(i64, i64)> =
                committers.into_iter().map(|c| c.join().unwrap()).collect();
            [ended[0], ended[1], ended[2]]
        });
        let started = Instant::now();
        broker.start_again();
        println!(
            "round {round}: back after {:?}, {known:?}",
            started.elapsed()
        );
        let mut connection = Connection::open(&broker);
        for (group, (acknowledged, asked)) in groups.iter().zip(known) {
            let found = committed(&mut connection, group);
            assert_eq!(found[&0], found[&1], "a commit is whole or not at all");
            assert!(
                (acknowledged..=asked).contains(&found[&0]),
                "{group}: {found:?}, acknowledged {acknowledged}, asked for {asked}"
            );
            assert!(acknowledged > 0, "nothing was committed");
        }
    }
    let _: &Broker = &broker;
}

/// The port of the broker that coordinates a group, as another says; none while nobody does.
fn coordinator(broker: &Broker, group: &str) -> Option<u16> {
    let request = FindCoordinatorRequest {
        key: group.into(),
        ..FindCoordinatorRequest::default()
    };
    let answer = Connection::open(broker).call(&request, 2);
    let response: FindCoordinatorResponse<'_> = answer.read();
    (response.error_code == 0).then(|| u16::try_from(response.port).unwrap())
}

/// As above, where another broker takes the groups over.
#[test]
fn no_committed_offset_goes_back_with_a_second_broker() {
    let mut cluster = Cluster::start(2, SHORT_SESSION);
    let topic = fresh_topic("back-of-two");
    cluster.create_topic(&topic, 2);
    let groups: Vec<String> = (0..6).map(|number| format!("group-{number}")).collect();
    let mut known = vec![(0, 0); groups.len()];
    let mut round = 0;
    // A group whose coordinator is just about to change may have to wait for another round.
    while round < rounds() || known.iter().any(|(acknowledged, _)| *acknowledged == 0) {
        assert!(round < rounds() + 4, "{known:?}");
        let (killed, other) = (round % 2, 1 - round % 2);
        let port = cluster.brokers[killed].port();
        let of_killed: Vec<usize> = (0..groups.len())
            .filter(|group| coordinator(&cluster.brokers[other], &groups[*group]) == Some(port))
            .collect();
        let begun = &AtomicUsize::new(0);
        std::thread::scope(|scope| {
            let committers: Vec<_> = of_killed
                .iter()
                .map(|group| {
                    let (topic, name, from) = (&topic, &groups[*group], known[*group]);
                    scope.spawn(move || commit_until_it_ends((port, begun), topic, name, from))
                })
                .collect();
            wait_until_begun(&committers, begun);
            std::thread::sleep(Duration::from_millis(300 + 70 * round as u64 % 500));
            cluster.brokers[killed].kill();
            for (group, committer) in of_killed.iter().zip(committers) {
                known[*group] = committer.join().unwrap();
            }
        });
        let port = cluster.brokers[other].port();
        for (group, (acknowledged, asked)) in groups.iter().zip(&known) {
            tests::wait_for("the other broker to coordinate", LIMIT, || {
                (coordinator(&cluster.brokers[other], group) == Some(port)).then_some(())
            });
            let found = committed(&mut Connection::to_port(port), group);
            let found = found.get(&0).copied().unwrap_or(0);
            assert!(
                (*acknowledged..=*asked).contains(&found),
                "{group}: {found}, acknowledged {acknowledged}, asked for {asked}"
            );
        }
        cluster.brokers[killed].start_again();
        cluster.wait_until_whole();
        tests::wait_for("both to coordinate", LIMIT, || {
            let ports = groups
                .iter()
                .map(|group| coordinator(&cluster.brokers[0], group));
            let ports: Option<std::collections::BTreeSet<u16>> = ports.collect();
            (ports?.len() == 2).then_some(())
        });
        round += 1;
    }
}
