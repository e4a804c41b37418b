//! Groups that change their type while they have members, and members of both protocols in one group.

use super::*;
use crate::config::MigrationPolicy;
use crate::groups::classic::{ClassicGroup, ClassicState};
use crate::groups::messages::{Answers, JoinAnswer, JoinRequest, Leaving, SyncRequest};
use crate::groups::subscription::{self, Assignment};

fn classic_request(member_id: &str, owned: &[i32]) -> JoinRequest {
    let mut assignment = Assignment::new();
    if !owned.is_empty() {
        assignment.insert("t".to_owned(), owned.to_vec());
    }
    JoinRequest {
        client: Client {
            id: "c".to_owned(),
            host: "/127.0.0.1".to_owned(),
        },
        session_timeout_ms: 10_000,
        rebalance_timeout_ms: 60_000,
        member_id: member_id.to_owned(),
        unique: "u".to_owned(),
        group_instance_id: None,
        protocol_type: "consumer".to_owned(),
        protocols: vec![Protocol {
            name: "cooperative-sticky".to_owned(),
            metadata: subscription::write_subscription(&["t"], &assignment, 1),
        }],
        requires_known_member_id: false,
        can_skip_assignment: true,
        reason: None,
    }
}

/// A stable classic group of one member that has all four partitions.
fn classic(config: &Config) -> (ClassicGroup, Arc<GroupConfig>) {
    let config = Arc::new(GroupConfig::new(config));
    let mut group = ClassicGroup::new("g".into(), config.clone());
    let mut out = Answers::default();
    group.join(1, classic_request("", &[]), 1_000_000, &mut out);
    group.tick(1_100_000, &mut out);
    let all: Assignment = [("t".to_owned(), vec![0, 1, 2, 3])].into();
    let sync = SyncRequest {
        member: member("c-u", 1),
        protocol_type: None,
        protocol_name: None,
        assignments: vec![("c-u".to_owned(), subscription::write_assignment(&all, 1))],
    };
    group.sync(2, sync, &Cluster::default(), 1_100_000, &mut out);
    assert_eq!(group.state(), ClassicState::Stable);
    (group, config)
}

fn upgraded() -> Bench {
    let (mut group, config) = classic(&Config::default());
    let mut bench = Bench::new(4);
    bench.now = 1_100_000;
    let mut out = Answers::default();
    bench.group = ConsumerGroup::upgrade(
        &"g".into(),
        &mut group,
        &config,
        &bench.cluster,
        bench.now,
        &mut out,
    )
    .unwrap();
    bench
}

impl Bench {
    fn classic_join(&mut self, member_id: &str, owned: &[i32]) -> JoinAnswer {
        let request = classic_request(member_id, owned);
        self.group.classic_join(request, &self.cluster, self.now)
    }

    /// The partitions that a SyncGroup gives.
    fn classic_sync(&mut self, member_id: &str, epoch: i32) -> Result<Vec<i32>, ErrorCode> {
        let request = SyncRequest {
            member: member(member_id, epoch),
            protocol_type: None,
            protocol_name: Some("cooperative-sticky".to_owned()),
            assignments: Vec::new(),
        };
        let answer = self.group.classic_sync(&request, &self.cluster, self.now);
        if answer.error != ErrorCode::None {
            return Err(answer.error);
        }
        let mut read = subscription::read_assignment(&answer.assignment).unwrap();
        Ok(read.remove("t").unwrap_or_default())
    }

    fn classic_beat(&mut self, member_id: &str, epoch: i32) -> Result<(), ErrorCode> {
        let member = member(member_id, epoch);
        self.group
            .classic_heartbeat(&member, &self.cluster, self.now)
    }
}

#[test]
fn classic_members_give_up_partitions_to_a_new_one_and_nobody_else_has_them_before() {
    let mut bench = upgraded();
    let joined = bench.join("n");
    assert_eq!(joined.assignment, Some(Partitions::new()));
    assert_eq!(
        bench.classic_beat("c-u", 1),
        Err(ErrorCode::RebalanceInProgress)
    );
    let rejoined = bench.classic_join("c-u", &[0, 1, 2, 3]);
    assert_eq!(
        (rejoined.error, rejoined.generation_id),
        (ErrorCode::None, 1)
    );
    let kept = bench.classic_sync("c-u", 1).unwrap();
    assert_eq!(kept, [0, 1]);
    assert_eq!(
        bench
            .beat("n", joined.member_epoch, &[])
            .unwrap()
            .assignment,
        None
    );
    assert_eq!(
        bench.classic_beat("c-u", 1),
        Err(ErrorCode::RebalanceInProgress)
    );
    let moved = bench.classic_join("c-u", &kept);
    assert_eq!(moved.generation_id, joined.member_epoch);
    assert_eq!(
        bench.classic_sync("c-u", moved.generation_id),
        Ok(vec![0, 1])
    );
    let gets = bench.beat("n", joined.member_epoch, &[]).unwrap();
    assert_eq!(gets.assignment, Some(of(&[2, 3])));
    assert_eq!(bench.classic_beat("c-u", moved.generation_id), Ok(()));
    assert_eq!(bench.group.state(), "Stable");
}

#[test]
fn the_policy_says_which_way() {
    for (policy, up) in [("disabled", false), ("downgrade", false), ("upgrade", true)] {
        let config = Config {
            group_consumer_migration_policy: policy.parse().unwrap(),
            ..Config::default()
        };
        let (mut group, config) = classic(&config);
        let (id, mut out) = ("g".into(), Answers::default());
        let cluster = Cluster(vec![("t", 4)]);
        let result = ConsumerGroup::upgrade(&id, &mut group, &config, &cluster, 0, &mut out);
        assert_eq!(result.is_ok(), up, "{policy}");
        if let Ok(group) = result {
            assert!(!group.is_to_be_downgraded(), "{policy}");
        }
    }
}

#[test]
fn the_last_new_member_that_leaves_makes_the_group_classic_again() {
    let mut bench = upgraded();
    let epoch = bench.join("n").member_epoch;
    assert!(!bench.group.is_to_be_downgraded());
    bench.send(beating("n", LEAVING)).unwrap();
    assert!(bench.group.is_to_be_downgraded());
    let mut out = Answers::default();
    let mut group = bench.group.downgrade(&bench.cluster, bench.now, &mut out);
    assert_eq!(group.state(), ClassicState::PreparingRebalance);
    group.join(
        9,
        classic_request("c-u", &[0, 1, 2, 3]),
        bench.now,
        &mut out,
    );
    let (_, answer) = &out.joins[0];
    assert!(answer.generation_id > epoch, "{answer:?}");
    assert_eq!((answer.leader.as_str(), answer.members.len()), ("c-u", 1));
}

#[test]
fn a_classic_member_of_the_new_group_obeys_the_rules() {
    let mut bench = upgraded();
    let epoch = bench.join("n").member_epoch;
    assert_eq!(
        bench.classic_sync("c-u", 7),
        Err(ErrorCode::IllegalGeneration)
    );
    assert_eq!(
        bench.classic_sync("n", epoch),
        Err(ErrorCode::UnknownMemberId)
    );
    assert_eq!(
        bench.classic_sync("c-u", 1),
        Err(ErrorCode::RebalanceInProgress)
    );
    let mut alien = classic_request("", &[]);
    alien.protocols[0].name = "range".to_owned();
    let answer = bench.group.classic_join(alien, &bench.cluster, bench.now);
    assert_eq!(answer.error, ErrorCode::InconsistentGroupProtocol);
    let mut fresh = classic_request("", &[]);
    fresh.unique = "v".to_owned();
    fresh.requires_known_member_id = true;
    let answer = bench.group.classic_join(fresh, &bench.cluster, bench.now);
    assert_eq!(
        (answer.error, answer.member_id.as_str()),
        (ErrorCode::MemberIdRequired, "c-v")
    );
    let answer = bench.classic_join("c-v", &[]);
    assert_eq!(answer.error, ErrorCode::None);
    let leave = |id: &str| Leaving {
        member_id: id.to_owned(),
        group_instance_id: None,
        reason: None,
    };
    let results = bench.group.classic_leave(&[leave("c-v"), leave("c-v")]);
    assert_eq!(results, [Ok(()), Err(ErrorCode::UnknownMemberId)]);
}

#[test]
fn a_classic_member_that_does_not_follow_is_removed() {
    let mut bench = upgraded();
    let epoch = bench.join("n").member_epoch;
    for _ in 0..7 {
        let _ = bench.classic_beat("c-u", 1);
        let _ = bench.beat("n", bench.group.members["n"].epoch, &[]);
        bench.pass(9_000);
    }
    assert!(!bench.group.members.contains_key("c-u"));
    let epoch = bench.group.members["n"].epoch.max(epoch);
    bench.beat("n", epoch, &[]).unwrap();
    assert_eq!(bench.group.members["n"].assigned, of(&[0, 1, 2, 3]));
}

#[test]
fn classic_members_wait_for_the_assignment_interval_too() {
    let mut bench = Bench::new(4);
    let first = bench.join("n").member_epoch;
    bench.pass(10);
    let joined = bench.classic_join("", &[]);
    assert_eq!(
        (joined.error, joined.generation_id),
        (ErrorCode::None, first)
    );
    assert_eq!(bench.classic_sync("c-u", first), Ok(Vec::new()));
    assert_eq!(bench.classic_beat("c-u", first), Ok(()));
    bench.pass(1_000);
    let rejoin = Err(ErrorCode::RebalanceInProgress);
    assert_eq!(bench.classic_beat("c-u", first), rejoin);
    let joined = bench.classic_join("c-u", &[]);
    assert_eq!(joined.generation_id, first + 1);
    assert_eq!(bench.classic_sync("c-u", first + 1), Ok(Vec::new()));
    // Once all that it is to have is free.
    assert_eq!(bench.classic_beat("c-u", first + 1), Ok(()));
    bench.beat("n", first, &[0, 1, 2, 3]).unwrap();
    assert_eq!(bench.classic_beat("c-u", first + 1), Ok(()));
    bench.beat("n", first, &[0, 1]).unwrap();
    assert_eq!(bench.classic_beat("c-u", first + 1), rejoin);
    bench.classic_join("c-u", &[]);
    assert_eq!(bench.classic_sync("c-u", first + 1), Ok(vec![2, 3]));
}

#[test]
fn classic_members_may_not_join_where_migration_is_disabled() {
    let config = Config {
        group_consumer_migration_policy: MigrationPolicy::Disabled,
        ..Config::default()
    };
    let mut bench = Bench::with(4, &config);
    bench.join("n");
    let code = ErrorCode::InconsistentGroupProtocol;
    assert_eq!(bench.classic_join("", &[]).error, code);
}
