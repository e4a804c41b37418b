//! From the first member to the next generation: waiting, voting, assigning.

use super::*;

#[test]
fn an_empty_group_waits_for_more_members_as_long_as_they_keep_coming() {
    let mut bench = Bench::new();
    let (first, _) = bench.join_fresh("a");
    bench.pass(DELAY_MS - 1);
    assert!(
        !bench.joins.contains_key(&first),
        "answered before the delay"
    );
    let (second, _) = bench.join_fresh("b");
    bench.pass(1);
    assert!(
        !bench.joins.contains_key(&first),
        "the second extends the wait"
    );
    bench.pass(DELAY_MS);
    let leader = bench.joins[&first].clone();
    assert_eq!((leader.error, leader.generation_id), (ErrorCode::None, 1));
    assert_eq!(leader.members.len(), 2);
    assert_eq!(leader.members[0].metadata, "m-range");
    let follower = &bench.joins[&second];
    assert_eq!((follower.members.len(), follower.generation_id), (0, 1));
    assert_eq!(follower.leader, leader.member_id);
}

#[test]
fn without_delay_a_single_member_is_answered_at_once() {
    let mut bench = Bench::with(&Config {
        group_initial_rebalance_delay_ms: 0,
        ..config()
    });
    let (ticket, _) = bench.join_fresh("a");
    bench.pass(0);
    assert_eq!(bench.joins[&ticket].generation_id, 1);
}

#[test]
fn the_wait_of_an_empty_group_ends_with_the_rebalance_timeout() {
    let mut bench = Bench::new();
    let (first, _) = bench.join_fresh("a");
    for _ in 0..20 {
        bench.pass(DELAY_MS - 1_000);
        bench.join_fresh("b");
    }
    assert!(bench.joins.contains_key(&first));
}

#[test]
fn a_rebalance_ends_when_all_have_joined_again() {
    let mut bench = Bench::new();
    let ids = bench.stable(3);
    let (fourth, _) = bench.join_fresh("d");
    assert_eq!(
        bench.heartbeat(&ids[0]),
        Err(ErrorCode::RebalanceInProgress)
    );
    let rejoined: Vec<Ticket> = ids.iter().map(|id| bench.join(id)).collect();
    for ticket in rejoined.iter().chain([&fourth]) {
        assert_eq!(bench.joins[ticket].generation_id, 2);
    }
    assert_eq!(bench.joins[&rejoined[0]].members.len(), 4);
}

#[test]
fn who_does_not_join_again_in_time_is_removed() {
    let mut bench = Bench::new();
    let ids = bench.stable(2);
    let (third, _) = bench.join_fresh("d");
    bench.join(&ids[0]);
    for _ in 0..4 {
        bench.pass(SESSION_MS - 1);
        let _ = bench.heartbeat(&ids[1]);
    }
    assert_eq!(bench.joins[&third].generation_id, 2);
    assert_eq!(bench.group.members.len(), 2);
    assert_eq!(bench.heartbeat(&ids[1]), Err(ErrorCode::UnknownMemberId));
}

#[test]
fn the_leader_that_joins_again_begins_a_rebalance_and_a_follower_without_news_does_not() {
    let mut bench = Bench::new();
    let ids = bench.stable(2);
    let ticket = bench.join(&ids[1]);
    assert_eq!(bench.joins[&ticket].generation_id, 1);
    assert_eq!(bench.group.state(), ClassicState::Stable);
    bench.join(&ids[0]);
    assert_eq!(bench.group.state(), ClassicState::PreparingRebalance);
}

#[test]
fn most_members_first_choice_is_the_protocol_and_all_must_speak_it() {
    let mut bench = Bench::new();
    let wishes = [
        &["range", "roundrobin", "x"][..],
        &["roundrobin", "range"],
        &["y", "roundrobin", "range"],
    ];
    let tickets: Vec<Ticket> = wishes
        .iter()
        .map(|names| {
            bench.join_with(JoinRequest {
                protocols: protocols(names),
                requires_known_member_id: false,
                unique: names[0].to_owned(),
                ..request("")
            })
        })
        .collect();
    let alien = bench.join_with(JoinRequest {
        protocols: protocols(&["x"]),
        ..request("")
    });
    assert_eq!(
        bench.joins[&alien].error,
        ErrorCode::InconsistentGroupProtocol
    );
    let other_type = bench.join_with(JoinRequest {
        protocol_type: "connect".to_owned(),
        ..request("")
    });
    let answer = &bench.joins[&other_type];
    assert_eq!(answer.error, ErrorCode::InconsistentGroupProtocol);
    bench.pass(2 * DELAY_MS);
    let answer = &bench.joins[&tickets[0]];
    assert_eq!(answer.protocol_name.as_deref(), Some("roundrobin"));
    let leader = bench
        .joins
        .values()
        .find(|answer| !answer.members.is_empty());
    let members = &leader.unwrap().members;
    assert!(
        members.iter().all(|m| m.metadata == "m-roundrobin"),
        "{members:?}"
    );
}

#[test]
fn followers_wait_for_the_leaders_assignment() {
    let mut bench = Bench::new();
    let joined = [bench.join_fresh("a"), bench.join_fresh("b")];
    bench.pass(2 * DELAY_MS);
    let (leader, follower) = (&joined[0].1, &joined[1].1);
    let waiting = bench.sync(follower, &[]);
    assert!(bench.syncs.is_empty());
    let own = bench.sync(leader, &[(follower, "yours"), (leader, "mine")]);
    assert_eq!(bench.syncs[&waiting].assignment, "yours");
    assert_eq!(bench.syncs[&own].assignment, "mine");
    let again = bench.sync(follower, &[]);
    assert_eq!(bench.syncs[&again].assignment, "yours");
}

#[test]
fn a_sync_of_another_generation_is_refused() {
    let mut bench = Bench::new();
    let ids = bench.stable(1);
    let late = bench.sync_at(0, &ids[0], &[]);
    assert_eq!(bench.syncs[&late].error, ErrorCode::IllegalGeneration);
    let stranger = bench.sync("nobody", &[]);
    assert_eq!(bench.syncs[&stranger].error, ErrorCode::UnknownMemberId);
}

#[test]
fn the_broker_assigns_where_the_leader_assigns_nothing() {
    let subscription = subscription::write_subscription(&["t"], &BTreeMap::new(), 1);
    let join = |unique: &str, protocol: &str| JoinRequest {
        protocols: vec![Protocol {
            name: protocol.to_owned(),
            metadata: subscription.clone(),
        }],
        unique: unique.to_owned(),
        requires_known_member_id: false,
        ..request("")
    };
    for (protocol, expected) in [
        ("range", [vec![0, 1], vec![2, 3]]),
        ("roundrobin", [vec![0, 2], vec![1, 3]]),
        ("sticky", [vec![0, 2], vec![1, 3]]),
    ] {
        let mut bench = Bench::new();
        bench.join_with(join("0", protocol));
        bench.join_with(join("1", protocol));
        bench.pass(2 * DELAY_MS);
        let other = bench.sync("c-1", &[]);
        let leader = bench.sync("c-0", &[]);
        for (ticket, partitions) in [leader, other].into_iter().zip(expected) {
            let bytes = &bench.syncs[&ticket].assignment;
            let read = subscription::read_assignment(bytes).unwrap();
            assert_eq!(read["t"], partitions, "{protocol}");
        }
    }
}

#[test]
fn who_never_asks_for_its_assignment_is_removed() {
    let mut bench = Bench::new();
    let joined = [bench.join_fresh("a"), bench.join_fresh("b")];
    bench.pass(6_000);
    let leader = joined[0].1.clone();
    bench.sync(&leader, &[]);
    for _ in 0..6 {
        bench.pass(SESSION_MS - 1);
        for (_, id) in &joined {
            let _ = bench.heartbeat(id);
        }
    }
    assert!(!bench.group.members.contains_key(&joined[1].1));
    assert_eq!(bench.group.state(), ClassicState::PreparingRebalance);
}

#[test]
fn a_stable_group_goes_on_after_a_restart() {
    let mut bench = Bench::new();
    let ids = bench.stable(3);
    bench.restarted();
    for id in &ids {
        assert_eq!(bench.heartbeat(id), Ok(()));
        let again = bench.sync(id, &[]);
        assert_eq!(bench.syncs[&again].assignment, id.as_bytes());
    }
    assert_eq!(
        bench.group.check_commit(&member(&ids[0], 1), bench.now),
        Ok(())
    );
    bench.pass(SESSION_MS);
    assert_eq!(
        bench.group.state(),
        ClassicState::Empty,
        "sessions run after it"
    );
}

#[test]
fn a_restart_between_join_and_sync_loses_no_generation() {
    let mut bench = Bench::new();
    let (_, id) = bench.join_fresh("a");
    bench.pass(DELAY_MS);
    bench.restarted();
    let ticket = bench.sync(&id, &[(&id, "mine")]);
    assert_eq!(bench.syncs[&ticket].assignment, "mine");
}
