//! What groups cost that just stay: a thousand of three members each, with heartbeats and commits at the rates of Kafka's
//! clients by default. Prints the CPU time of the broker and of its PostgreSQL, as parts of one core. Before that, how long one
//! member waits for its first generation, and three for the next one.
//!
//! `cargo bench -p tests --bench groups [-- SECONDS]`

use std::fs;
use std::time::{Duration, Instant};

use protocol::ApiKey;
use protocol::messages::join_group_request::JoinGroupRequestProtocol;
use protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use protocol::messages::{
    HeartbeatRequest, HeartbeatResponse, JoinGroupRequest, JoinGroupResponse, ListGroupsRequest,
    ListGroupsResponse, OffsetCommitRequest, OffsetCommitResponse, SyncGroupRequest,
    SyncGroupResponse,
};
use tests::Broker;
use tests::wire::Connection;

const CONNECTIONS: usize = 10;
const GROUPS: usize = 100;
const MEMBERS: usize = 3;
const DELAY: Duration = Duration::from_secs(1);
/// How often waiting is measured.
const ROUNDS: usize = 20;
/// `heartbeat.interval.ms` and `auto.commit.interval.ms` of the Java client.
const HEARTBEAT_EVERY: Duration = Duration::from_secs(3);
const COMMIT_EVERY: Duration = Duration::from_secs(5);
/// Partitions in a commit.
const PARTITIONS: i32 = 4;
/// Requests of one connection that the broker works on at the same time, at most.
const IN_FLIGHT: usize = 60;
/// Versions of the requests.
const HEARTBEAT: i16 = 4;
const COMMIT: i16 = 9;

fn main() {
    let seconds = std::env::args().nth(1).and_then(|text| text.parse().ok());
    let time = Duration::from_secs(seconds.unwrap_or(30));
    let broker = Broker::start_with(&[
        &format!("--group-initial-rebalance-delay-ms={}", DELAY.as_millis()),
        "--log-level=warn",
    ]);
    Connection::open(&broker).create_topic("t", PARTITIONS);
    write_line(&format!(
        "one member of an idle group: {} after group.initial.rebalance.delay.ms; three members: {} after the last join",
        spread(|round| joined_alone(&broker, round).saturating_sub(DELAY)),
        spread(|round| rebalanced(&broker, round)),
    ));
    let mut members: Vec<Vec<Member>> = std::thread::scope(|scope| {
        let joining: Vec<_> = (0..CONNECTIONS)
            .map(|index| {
                scope.spawn({
                    let broker = &broker;
                    move || join_all(broker, index)
                })
            })
            .collect();
        joining
            .into_iter()
            .map(|thread| thread.join().expect("all have joined"))
            .collect()
    });
    let listed = list(&broker);
    let before = cpu(&broker);
    let started = Instant::now();
    let counts: Vec<(u64, u64)> = std::thread::scope(|scope| {
        let staying: Vec<_> = members
            .iter_mut()
            .map(|own| {
                scope.spawn({
                    let broker = &broker;
                    move || stay(broker, own, time)
                })
            })
            .collect();
        staying
            .into_iter()
            .map(|thread| thread.join().expect("all have stayed"))
            .collect()
    });
    let wall = started.elapsed().as_secs_f64();
    let after = cpu(&broker);
    let (heartbeats, commits) = counts
        .iter()
        .fold((0, 0), |sum, more| (sum.0 + more.0, sum.1 + more.1));
    let part = |index: usize| 100.0 * (after[index] - before[index]) / wall;
    let rate = |count: u64| count as f64 / wall;
    write_line(&format!(
        "{} groups of {MEMBERS}: {:.0} heartbeats/s, {:.0} commits/s of {PARTITIONS} partitions; broker {:.1} %, PostgreSQL {:.1} % of one core; listed in {:.1} ms",
        CONNECTIONS * GROUPS,
        rate(heartbeats),
        rate(commits),
        part(0),
        part(1),
        1e3 * listed.as_secs_f64(),
    ));
}

#[expect(clippy::print_stdout, reason = "the result of a program")]
fn write_line(text: &str) {
    println!("{text}");
}

/// Median and maximum of several rounds.
fn spread(measure: impl FnMut(usize) -> Duration) -> String {
    let mut times: Vec<Duration> = (0..ROUNDS).map(measure).collect();
    times.sort_unstable();
    let millis = |time: Duration| 1e3 * time.as_secs_f64();
    let most = millis(times[ROUNDS - 1]);
    format!("{:.1} ms (at most {most:.1})", millis(times[ROUNDS / 2]))
}

/// How long the only member of a new group waits for the answer to its join.
fn joined_alone(broker: &Broker, round: usize) -> Duration {
    let mut connection = Connection::open(broker);
    let group = format!("alone-{round}");
    let id = new_member(&mut connection, &group);
    let started = Instant::now();
    let answer = connection.call(&join_request(&group, &id), 9);
    let took = started.elapsed();
    assert_eq!(answer.read::<JoinGroupResponse<'_>>().error_code, 0);
    took
}

/// How long it takes from the last of three joins until all have their assignments.
fn rebalanced(broker: &Broker, round: usize) -> Duration {
    let group = format!("three-{round}");
    let mut members: Vec<(Connection, String)> = (0..MEMBERS)
        .map(|_| {
            let mut connection = Connection::open(broker);
            let id = new_member(&mut connection, &group);
            (connection, id)
        })
        .collect();
    let mut took = Duration::ZERO;
    // The first generation waits for more members; its leader, who joins first again, starts the second.
    for generation in [1, 2] {
        let [(first, first_id), others @ ..] = &mut members[..] else {
            unreachable!("there are several members");
        };
        first.send(&join_request(&group, first_id), 9);
        // Until it is known, the others would be told of the first generation.
        while generation == 2 && heartbeat(&mut others[0], &group) == 0 {}
        for (connection, id) in others {
            connection.send(&join_request(&group, id), 9);
        }
        let started = Instant::now();
        let mut leader = String::new();
        for (connection, id) in &mut members {
            let answer = connection.receive(ApiKey::JoinGroup, 9);
            let joined: JoinGroupResponse<'_> = answer.read();
            assert_eq!((joined.error_code, joined.generation_id), (0, generation));
            leader = joined.leader.into_owned();
            connection.send(&sync_request(&group, id, generation), 5);
        }
        for (connection, _) in &mut members {
            let answer = connection.receive(ApiKey::SyncGroup, 5);
            assert_eq!(answer.read::<SyncGroupResponse<'_>>().error_code, 0);
        }
        took = started.elapsed();
        members.sort_by_key(|(_, id)| *id != leader);
    }
    took
}

/// The error code of a heartbeat in generation 1.
fn heartbeat((connection, id): &mut (Connection, String), group: &str) -> i16 {
    let request = HeartbeatRequest {
        group_id: group.into(),
        generation_id: 1,
        member_id: id.as_str().into(),
        ..HeartbeatRequest::default()
    };
    let answer = connection.call(&request, HEARTBEAT);
    answer.read::<HeartbeatResponse<'_>>().error_code
}

/// The id that the group gives to a member.
fn new_member(connection: &mut Connection, group: &str) -> String {
    let answer = connection.call(&join_request(group, ""), 9);
    let given: JoinGroupResponse<'_> = answer.read();
    given.member_id.into_owned()
}

fn sync_request<'a>(group: &'a str, id: &'a str, generation_id: i32) -> SyncGroupRequest<'a> {
    SyncGroupRequest {
        group_id: group.into(),
        generation_id,
        member_id: id.into(),
        protocol_type: Some("consumer".into()),
        protocol_name: Some("range".into()),
        ..SyncGroupRequest::default()
    }
}

#[derive(Debug)]
struct Member {
    group: String,
    id: String,
    next_heartbeat: Duration,
    next_commit: Duration,
}

fn join_request<'a>(group: &'a str, id: &'a str) -> JoinGroupRequest<'a> {
    JoinGroupRequest {
        group_id: group.into(),
        session_timeout_ms: 45_000,
        rebalance_timeout_ms: 60_000,
        member_id: id.into(),
        protocol_type: "consumer".into(),
        protocols: vec![JoinGroupRequestProtocol {
            name: "range".into(),
            ..JoinGroupRequestProtocol::default()
        }],
        ..JoinGroupRequest::default()
    }
}

fn join_all(broker: &Broker, index: usize) -> Vec<Member> {
    let mut connection = Connection::open(broker);
    let mut members = Vec::new();
    let groups: Vec<String> = (0..GROUPS).map(|n| format!("group-{index}-{n}")).collect();
    for groups in groups.chunks(IN_FLIGHT / MEMBERS) {
        let ids: Vec<(String, String)> = groups
            .iter()
            .flat_map(|group| (0..MEMBERS).map(move |_| group.clone()))
            .map(|group| {
                let id = new_member(&mut connection, &group);
                (group, id)
            })
            .collect();
        for (group, id) in &ids {
            connection.send(&join_request(group, id), 9);
        }
        for _ in &ids {
            let answer = connection.receive(ApiKey::JoinGroup, 9);
            let joined: JoinGroupResponse<'_> = answer.read();
            assert_eq!((joined.error_code, joined.generation_id), (0, 1));
        }
        for (group, id) in &ids {
            connection.send(&sync_request(group, id, 1), 5);
        }
        for _ in &ids {
            let answer = connection.receive(ApiKey::SyncGroup, 5);
            assert_eq!(answer.read::<SyncGroupResponse<'_>>().error_code, 0);
        }
        members.extend(ids.into_iter().map(|(group, id)| Member {
            group,
            id,
            next_heartbeat: Duration::ZERO,
            next_commit: Duration::ZERO,
        }));
    }
    let count = u32::try_from(members.len()).expect("few");
    for (place, member) in (0..).zip(&mut members) {
        member.next_heartbeat = HEARTBEAT_EVERY * place / count;
        member.next_commit = COMMIT_EVERY * place / count;
    }
    members
}

/// How long it takes to list all groups.
fn list(broker: &Broker) -> Duration {
    let mut connection = Connection::open(broker);
    let started = Instant::now();
    let answer = connection.call(&ListGroupsRequest::default(), 5);
    let took = started.elapsed();
    let listed: ListGroupsResponse<'_> = answer.read();
    let names = listed.groups.iter().map(|group| &*group.group_id);
    let loaded = names.filter(|name| name.starts_with("group-")).count();
    assert_eq!(loaded, CONNECTIONS * GROUPS);
    took
}

/// How many heartbeats and commits were answered. What is due at once is sent at once, as by clients that do not know each other.
fn stay(broker: &Broker, members: &mut [Member], time: Duration) -> (u64, u64) {
    let mut connection = Connection::open(broker);
    let started = Instant::now();
    let (mut heartbeats, mut commits) = (0, 0);
    let mut sent = Vec::new();
    while started.elapsed() < time {
        for member in members.iter_mut() {
            if member.next_heartbeat <= started.elapsed() {
                member.next_heartbeat += HEARTBEAT_EVERY;
                connection.send(&heartbeat_request(member), HEARTBEAT);
                heartbeats += 1;
                sent.push(ApiKey::Heartbeat);
            }
            if member.next_commit <= started.elapsed() {
                member.next_commit += COMMIT_EVERY;
                connection.send(&commit_request(member, commits), COMMIT);
                commits += 1;
                sent.push(ApiKey::OffsetCommit);
            }
        }
        for key in sent.drain(..) {
            let error_code = match key {
                ApiKey::Heartbeat => {
                    let answer = connection.receive(key, HEARTBEAT);
                    answer.read::<HeartbeatResponse<'_>>().error_code
                }
                _ => {
                    let answer = connection.receive(key, COMMIT);
                    let response: OffsetCommitResponse<'_> = answer.read();
                    response.topics[0].partitions[0].error_code
                }
            };
            assert_eq!(error_code, 0, "{key:?}");
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    (heartbeats, commits)
}

fn heartbeat_request(member: &Member) -> HeartbeatRequest<'_> {
    HeartbeatRequest {
        group_id: member.group.as_str().into(),
        generation_id: 1,
        member_id: member.id.as_str().into(),
        ..HeartbeatRequest::default()
    }
}

fn commit_request(member: &Member, offset: u64) -> OffsetCommitRequest<'_> {
    let partitions = (0..PARTITIONS).map(|partition_index| OffsetCommitRequestPartition {
        partition_index,
        committed_offset: i64::try_from(offset).expect("a small number"),
        ..OffsetCommitRequestPartition::default()
    });
    OffsetCommitRequest {
        group_id: member.group.as_str().into(),
        member_id: member.id.as_str().into(),
        generation_id_or_member_epoch: 1,
        topics: vec![OffsetCommitRequestTopic {
            name: "t".into(),
            partitions: partitions.collect(),
            ..OffsetCommitRequestTopic::default()
        }],
        ..OffsetCommitRequest::default()
    }
}

/// CPU seconds so far of the broker and of PostgreSQL with all its processes.
fn cpu(broker: &Broker) -> [f64; 2] {
    let postmaster = broker.postmaster().expect("a private PostgreSQL");
    let number = |pid: rustix::process::Pid| pid.as_raw_nonzero().get();
    let (broker, postmaster) = (number(broker.pid()), number(postmaster));
    let mut seconds = [0.0; 2];
    for entry in fs::read_dir("/proc").expect("/proc").flatten() {
        let Ok(stat) = fs::read_to_string(entry.path().join("stat")) else {
            continue;
        };
        let Some((head, rest)) = stat.rsplit_once(") ") else {
            continue;
        };
        let pid = head
            .split(' ')
            .next()
            .and_then(|text| text.parse::<i32>().ok());
        let fields: Vec<&str> = rest.split(' ').collect();
        let field = |index: usize| fields.get(index).and_then(|text| text.parse::<f64>().ok());
        // Parent, then user and system time in hundredths of a second, those of ended children too.
        let parent = field(1).unwrap_or(0.0);
        let used = [11, 12, 13, 14]
            .map(|index| field(index).unwrap_or(0.0))
            .iter()
            .sum::<f64>()
            / 100.0;
        if pid == Some(broker) {
            seconds[0] += (field(11).unwrap_or(0.0) + field(12).unwrap_or(0.0)) / 100.0;
        } else if pid == Some(postmaster) || parent == f64::from(postmaster) {
            seconds[1] += used;
        }
    }
    seconds
}
