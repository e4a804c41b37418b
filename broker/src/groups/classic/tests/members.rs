//! Members: ids, sessions, static members, leaving, and whose commits are accepted.

use super::*;

#[test]
fn an_id_that_is_not_used_in_time_is_forgotten() {
    let mut bench = Bench::new();
    let ticket = bench.join("");
    let id = bench.joins[&ticket].member_id.clone();
    assert_eq!(id, "c-u");
    assert!(!bench.group.is_unused());
    bench.pass(SESSION_MS);
    assert!(bench.group.is_unused());
    let late = bench.join(&id);
    assert_eq!(bench.joins[&late].error, ErrorCode::UnknownMemberId);
}

#[test]
fn a_rebalance_waits_for_those_that_have_got_an_id() {
    let mut bench = Bench::new();
    let ids = bench.stable(1);
    let ticket = bench.join("");
    let pending = bench.joins[&ticket].member_id.clone();
    let rejoined = bench.join(&ids[0]);
    assert!(!bench.joins.contains_key(&rejoined));
    bench.join(&pending);
    assert_eq!(bench.joins[&rejoined].members.len(), 2);
}

#[test]
fn a_silent_member_is_removed_and_one_that_waits_is_not_silent() {
    let mut bench = Bench::new();
    let ids = bench.stable(2);
    for _ in 0..3 {
        bench.pass(SESSION_MS / 2);
        let _ = bench.heartbeat(&ids[0]);
    }
    assert_eq!(bench.group.members.len(), 1);
    assert_eq!(bench.group.state(), ClassicState::PreparingRebalance);
    let rejoined = bench.join(&ids[0]);
    assert_eq!(bench.joins[&rejoined].generation_id, 2);
}

#[test]
fn the_last_one_that_leaves_empties_the_group() {
    let mut bench = Bench::new();
    let ids = bench.stable(2);
    assert_eq!(bench.leave(&ids[0]), Ok(()));
    assert_eq!(bench.leave(&ids[0]), Err(ErrorCode::UnknownMemberId));
    assert_eq!(bench.leave(&ids[1]), Ok(()));
    assert_eq!(bench.group.state(), ClassicState::Empty);
    assert_eq!(bench.heartbeat(&ids[1]), Err(ErrorCode::UnknownMemberId));
    bench.restarted();
    assert_eq!(bench.group.describe().members, []);
}

#[test]
fn a_group_has_no_more_members_than_it_may() {
    let mut bench = Bench::with(&Config {
        group_max_size: 2,
        ..config()
    });
    let ids = bench.stable(2);
    let third = bench.join("");
    let answer = &bench.joins[&third];
    assert_eq!(answer.error, ErrorCode::GroupMaxSizeReached);
    assert_eq!(bench.leave(&ids[1]), Ok(()));
    bench.join_fresh("d");
}

#[test]
fn a_static_member_comes_back_without_a_rebalance_and_fences_its_former_self() {
    let mut bench = Bench::new();
    bench.join_with(static_request("i", "1"));
    bench.join_with(static_request("j", "1"));
    bench.pass(2 * DELAY_MS);
    bench.sync("i-1", &[("i-1", "mine"), ("j-1", "yours")]);
    bench.sync("j-1", &[]);
    bench.group.take_change();

    let back = bench.join_with(static_request("j", "2"));
    let answer = bench.joins[&back].clone();
    assert_eq!((answer.error, answer.generation_id), (ErrorCode::None, 1));
    assert_eq!(
        (answer.member_id.as_str(), answer.leader.as_str()),
        ("j-2", "i-1")
    );
    assert_eq!(bench.group.state(), ClassicState::Stable);
    let ticket = bench.sync("j-2", &[]);
    assert_eq!(bench.syncs[&ticket].assignment, "yours");
    let mut old = member("j-1", 1);
    old.group_instance_id = Some("j".to_owned());
    let fenced = Err(ErrorCode::FencedInstanceId);
    assert_eq!(bench.group.heartbeat(&old, bench.now), fenced);
    bench.restarted();
    assert_eq!(bench.heartbeat("j-2"), Ok(()));
}

#[test]
fn the_leader_that_comes_back_has_nothing_to_assign() {
    for (can_skip, leader, members) in [(true, "i-2", 1), (false, "i-1", 0)] {
        let mut bench = Bench::new();
        bench.join_with(static_request("i", "1"));
        bench.pass(2 * DELAY_MS);
        bench.sync("i-1", &[("i-1", "mine")]);
        let back = bench.join_with(JoinRequest {
            can_skip_assignment: can_skip,
            ..static_request("i", "2")
        });
        let answer = &bench.joins[&back];
        assert_eq!(answer.skip_assignment, can_skip);
        assert_eq!(
            (answer.leader.as_str(), answer.members.len()),
            (leader, members)
        );
        assert_eq!(answer.generation_id, 1);
    }
}

#[test]
fn a_static_member_that_is_away_stays_until_its_session_ends() {
    let mut bench = Bench::new();
    bench.join_with(static_request("i", "1"));
    let (_, other) = bench.join_fresh("a");
    bench.pass(6_000);
    bench.sync("i-1", &[]);
    bench.sync(&other, &[]);
    let rejoined = bench.join_with(JoinRequest {
        protocols: protocols(&["range", "more"]),
        ..request(&other)
    });
    bench.pass(SESSION_MS - 1);
    assert!(!bench.joins.contains_key(&rejoined));
    bench.pass(1);
    assert_eq!(bench.joins[&rejoined].leader, other);
    assert_eq!(bench.group.members.len(), 1);
}

#[test]
fn static_members_leave_by_their_instance() {
    let mut bench = Bench::new();
    bench.join_with(static_request("i", "1"));
    bench.pass(2 * DELAY_MS);
    assert_eq!(
        bench.leave_as("other", Some("i")),
        Err(ErrorCode::FencedInstanceId)
    );
    assert_eq!(
        bench.leave_as("", Some("j")),
        Err(ErrorCode::UnknownMemberId)
    );
    assert_eq!(bench.leave_as("", Some("i")), Ok(()));
    assert_eq!(bench.group.state(), ClassicState::Empty);
}

#[test]
fn commits_are_accepted_from_members_of_the_generation_alone() {
    let mut bench = Bench::new();
    let now = bench.now;
    let nobody = member("", -1);
    assert_eq!(
        bench.group.check_commit(&nobody, now),
        Ok(()),
        "an empty group"
    );
    let ids = bench.stable(1);
    let commit = |bench: &mut Bench, id: &str, epoch| {
        let now = bench.now;
        bench.group.check_commit(&member(id, epoch), now)
    };
    assert_eq!(commit(&mut bench, "", -1), Err(ErrorCode::UnknownMemberId));
    assert_eq!(commit(&mut bench, &ids[0], 1), Ok(()));
    assert_eq!(
        commit(&mut bench, &ids[0], 0),
        Err(ErrorCode::IllegalGeneration)
    );
    assert_eq!(
        commit(&mut bench, &ids[0], 2),
        Err(ErrorCode::IllegalGeneration)
    );
    assert_eq!(
        commit(&mut bench, "nobody", 1),
        Err(ErrorCode::UnknownMemberId)
    );
    // Alone it is in the next generation at once, and has no assignment yet.
    bench.join(&ids[0]);
    let refused = commit(&mut bench, &ids[0], 2);
    assert_eq!(refused, Err(ErrorCode::RebalanceInProgress));
    let past = commit(&mut bench, &ids[0], 1);
    assert_eq!(past, Err(ErrorCode::IllegalGeneration));
    // While another one is waited for, those of the last generation may still commit.
    bench.sync(&ids[0], &[]);
    bench.join_fresh("b");
    assert_eq!(bench.group.state(), ClassicState::PreparingRebalance);
    assert_eq!(commit(&mut bench, &ids[0], 2), Ok(()));
}

#[test]
fn topics_are_known_of_consumers_alone() {
    let mut bench = Bench::new();
    assert_eq!(bench.group.subscribed_topics(), Some(BTreeSet::new()));
    bench.stable(1);
    assert_eq!(bench.group.subscribed_topics(), None, "no subscription");
    let mut bench = Bench::new();
    bench.join_with(JoinRequest {
        protocols: vec![Protocol {
            name: "range".to_owned(),
            metadata: subscription::write_subscription(&["t", "u"], &BTreeMap::new(), 0),
        }],
        requires_known_member_id: false,
        ..request("")
    });
    bench.pass(2 * DELAY_MS);
    let topics = ["t".to_owned(), "u".to_owned()].into();
    assert_eq!(bench.group.subscribed_topics(), Some(topics));
}
