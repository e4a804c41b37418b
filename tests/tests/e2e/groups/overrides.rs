//! Settings that one group has for itself (`kafka-configs --entity-type groups`), in force while it is used; and racks.

use std::time::{Duration, Instant};

use protocol::messages::{
    ConsumerGroupDescribeRequest, ConsumerGroupDescribeResponse, ConsumerGroupHeartbeatRequest,
    ConsumerGroupHeartbeatResponse, MetadataRequest, MetadataResponse,
};
use tests::admin::{BROKER, GROUP, SET, alter, describe, set, unset};
use tests::wire::Connection;
use tests::{Broker, fresh_topic, wait_for};

use super::restarts::join;
use super::waits::quickest;

#[test]
fn racks_of_brokers_and_members_are_told() {
    let broker = Broker::start_with(&["--broker-rack=zone-a"]);
    let mut c = Connection::open(&broker);
    c.create_topic("t", 2);
    let answer = c.call(&MetadataRequest::default(), 9);
    let metadata: MetadataResponse<'_> = answer.read();
    assert_eq!(metadata.brokers[0].rack.as_deref(), Some("zone-a"));
    let request = ConsumerGroupHeartbeatRequest {
        group_id: "g".into(),
        member_id: "m".into(),
        rebalance_timeout_ms: 60_000,
        rack_id: Some("zone-b".into()),
        subscribed_topic_names: Some(vec!["t".into()]),
        topic_partitions: Some(Vec::new()),
        ..ConsumerGroupHeartbeatRequest::default()
    };
    let answer = c.call(&request, 1);
    let joined: ConsumerGroupHeartbeatResponse<'_> = answer.read();
    // Another rack than the member's is none the worse.
    let assigned = &joined.assignment.unwrap().topic_partitions[0].partitions;
    assert_eq!(assigned.iter().count(), 2);
    let request = ConsumerGroupDescribeRequest {
        group_ids: vec!["g".into()],
        ..ConsumerGroupDescribeRequest::default()
    };
    let answer = c.call(&request, 1);
    let described: ConsumerGroupDescribeResponse<'_> = answer.read();
    let member = &described.groups[0].members[0];
    assert_eq!(member.rack_id.as_deref(), Some("zone-b"));
}

/// What a heartbeat is answered.
#[derive(Debug, PartialEq, Eq)]
struct Answer {
    error: i16,
    epoch: i32,
    interval_ms: i32,
    has_assignment: bool,
}

/// Joins with epoch 0.
fn beat(c: &mut Connection, group: &str, member: &str, epoch: i32, topics: &[&str]) -> Answer {
    let is_joining = epoch == 0;
    let names = topics.iter().map(|topic| (*topic).into()).collect();
    let request = ConsumerGroupHeartbeatRequest {
        group_id: group.into(),
        member_id: member.into(),
        member_epoch: epoch,
        rebalance_timeout_ms: if is_joining { 60_000 } else { -1 },
        subscribed_topic_names: (!topics.is_empty()).then_some(names),
        topic_partitions: is_joining.then(Vec::new),
        ..ConsumerGroupHeartbeatRequest::default()
    };
    let answer = c.call(&request, 1);
    let response: ConsumerGroupHeartbeatResponse<'_> = answer.read();
    Answer {
        error: response.error_code,
        epoch: response.member_epoch,
        interval_ms: response.heartbeat_interval_ms,
        has_assignment: response.assignment.is_some(),
    }
}

fn broker() -> Broker {
    Broker::start_with(&[
        "--group-consumer-min-session-timeout-ms=500",
        "--group-consumer-min-heartbeat-interval-ms=100",
        "--group-consumer-max-session-timeout-ms=120000",
    ])
}

#[test]
fn heartbeat_interval_and_session_of_one_group() {
    let broker = broker();
    let mut c = Connection::open(&broker);
    let topic = fresh_topic("own");
    c.create_topic(&topic, 2);
    let interval = |c: &mut Connection, group: &str| {
        let answer = beat(c, group, "m", 0, &[&topic]);
        assert_eq!(answer.error, 0);
        answer.interval_ms
    };
    let own = (GROUP, "own");
    set(&mut c, own, "consumer.heartbeat.interval.ms", "300");
    assert_eq!(interval(&mut c, "own"), 300);
    assert_eq!(interval(&mut c, "other"), 5_000);
    // While the group is in use.
    set(&mut c, own, "consumer.heartbeat.interval.ms", "400");
    assert_eq!(interval(&mut c, "own"), 400);
    unset(&mut c, own, "consumer.heartbeat.interval.ms");
    assert_eq!(interval(&mut c, "own"), 5_000);

    set(&mut c, own, "consumer.session.timeout.ms", "500");
    let epoch = beat(&mut c, "own", "m", 0, &[&topic]).epoch;
    let other = beat(&mut c, "other", "m", 0, &[&topic]).epoch;
    wait_for("the end of a session", Duration::from_secs(30), || {
        std::thread::sleep(Duration::from_millis(700));
        let unknown = protocol::ErrorCode::UnknownMemberId.code();
        (beat(&mut c, "own", "m", epoch, &[]).error == unknown).then_some(())
    });
    let answer = beat(&mut c, "other", "m", other, &[]);
    assert_eq!(answer.error, 0, "45 s is what the others have");
}

#[test]
fn assignment_interval_of_one_group_and_of_the_broker() {
    let broker = broker();
    let mut c = Connection::open(&broker);
    let topics = [fresh_topic("soon"), fresh_topic("soon")];
    topics.iter().for_each(|topic| {
        c.create_topic(topic, 1);
    });
    let [one, two] = [&*topics[0], &*topics[1]];
    // A new subscription raises the epoch of a member as soon as there is an assignment for it. The first is after `started`.
    let wait = |c: &mut Connection, group: &str| {
        let started = Instant::now();
        let epoch = beat(c, group, "m", 0, &[one]).epoch;
        wait_for("the next assignment", Duration::from_secs(60), || {
            (beat(c, group, "m", epoch, &[one, two]).epoch > epoch).then_some(())
        });
        started.elapsed()
    };
    set(
        &mut c,
        (GROUP, "slow"),
        "consumer.assignment.interval.ms",
        "4000",
    );
    set(
        &mut c,
        (BROKER, ""),
        "group.consumer.assignment.interval.ms",
        "0",
    );
    let slow = wait(&mut c, "slow");
    assert!(slow > Duration::from_millis(3_500), "{slow:?}");
    let limit = Duration::from_secs(2);
    let quick = quickest(limit, |n| wait(&mut c, &format!("quick-{n}")));
    assert!(quick < limit, "{quick:?}, {slow:?}");
}

#[test]
fn limits_of_the_brokers_settings_hold_while_it_runs() {
    let limit = "--group-consumer-max-assignment-interval-ms=2000";
    let broker = Broker::start_with(&[limit]);
    let mut c = Connection::open(&broker);
    let mut code = |resource, name: &str, value: &str| {
        alter(&mut c, resource, &[(SET, name, Some(value))], true)
    };
    let own = "consumer.assignment.interval.ms";
    let all = "group.consumer.assignment.interval.ms";
    assert_eq!(code((GROUP, "g"), own, "2000").0, 0);
    assert_eq!(code((BROKER, ""), all, "2000").0, 0);
    let (error, text) = code((GROUP, "g"), own, "2001");
    assert_eq!(error, protocol::ErrorCode::InvalidConfig.code(), "{text}");
    let (error, text) = code((BROKER, ""), all, "2001");
    assert_eq!(error, protocol::ErrorCode::InvalidRequest.code(), "{text}");
    let limit = "group.consumer.max.assignment.interval.ms";
    assert!(text.contains(limit), "{text}");
    let limit = describe(&mut c, (BROKER, "1"), limit).unwrap();
    assert!(limit.is_read_only);
    assert_eq!(limit.value.as_deref(), Some("2000"));
}

#[test]
fn a_broker_without_the_new_protocol_says_so() {
    let broker = Broker::start_with(&["--group-coordinator-rebalance-protocols=classic"]);
    let mut c = Connection::open(&broker);
    let unsupported = protocol::ErrorCode::UnsupportedVersion.code();
    assert_eq!(beat(&mut c, "g", "m", 0, &["t"]).error, unsupported);
    join(&mut c, "g");
}
