//! Joining, reconciling, leaving; epochs, static members, patterns, what is stored.

use super::*;

#[test]
fn the_first_member_gets_everything_at_once() {
    let mut bench = Bench::new(4);
    let answer = bench.join("a");
    assert_eq!(answer.assignment, Some(of(&[0, 1, 2, 3])));
    assert_eq!(bench.group.state(), "Stable");
    assert_eq!(answer.member_epoch, bench.group.group_epoch);
    let quiet = bench.send(beating("a", answer.member_epoch)).unwrap();
    assert_eq!(quiet.assignment, None);
}

#[test]
fn partitions_move_when_their_owner_has_let_go() {
    let mut bench = Bench::new(4);
    let first = bench.join("a").member_epoch;
    bench.pass(1_000);
    let second = bench.join("b");
    assert_eq!(second.assignment, Some(Partitions::new()), "a has them all");
    assert_eq!(bench.group.state(), "Reconciling");
    let told = bench.beat("a", first, &[0, 1, 2, 3]).unwrap();
    assert_eq!(
        (told.member_epoch, told.assignment),
        (first, Some(of(&[0, 1])))
    );
    // It has heard, but not done it yet.
    bench.beat("a", first, &[0, 1, 2, 3]).unwrap();
    let waits = bench.beat("b", second.member_epoch, &[]).unwrap();
    assert_eq!(waits.assignment, None);
    let done = bench.beat("a", first, &[0, 1]).unwrap();
    assert_eq!(done.member_epoch, second.member_epoch);
    let gets = bench.beat("b", second.member_epoch, &[]).unwrap();
    assert_eq!(gets.assignment, Some(of(&[2, 3])));
    assert_eq!(bench.group.state(), "Stable");
}

#[test]
fn assignments_keep_their_distance() {
    let mut bench = Bench::new(4);
    bench.join("a");
    bench.pass(10);
    bench.join("b");
    assert_eq!(bench.group.state(), "Assigning");
    bench.pass(1_000);
    assert_eq!(bench.group.state(), "Reconciling");
}

#[test]
fn a_member_that_does_not_let_go_in_time_is_fenced() {
    let mut bench = Bench::new(4);
    let first = bench.join("a").member_epoch;
    bench.pass(1_000);
    let second = bench.join("b").member_epoch;
    bench.beat("a", first, &[0, 1, 2, 3]).unwrap();
    for _ in 0..6 {
        bench.pass(REBALANCE_MS / 6);
        let _ = bench.beat("a", first, &[0, 1, 2, 3]);
        let _ = bench.send(beating("b", bench.group.members["b"].epoch));
    }
    let gone = bench.beat("a", first, &[0, 1, 2, 3]);
    assert_eq!(code(gone), ErrorCode::UnknownMemberId);
    bench.pass(1_000);
    let epoch = bench.group.members["b"].epoch.max(second);
    let all = bench.beat("b", epoch, &[]).unwrap();
    assert_eq!(
        bench.group.members["b"].assigned,
        of(&[0, 1, 2, 3]),
        "{all:?}"
    );
}

#[test]
fn a_silent_member_is_removed_after_its_session() {
    let mut bench = Bench::new(2);
    let epoch = bench.join("a").member_epoch;
    bench.pass(SESSION_MS - 1);
    bench.send(beating("a", epoch)).unwrap();
    bench.pass(SESSION_MS);
    assert_eq!(bench.group.state(), "Empty");
    assert_eq!(bench.group.assignment_epoch, bench.group.group_epoch);
    assert_eq!(
        code(bench.send(beating("a", epoch))),
        ErrorCode::UnknownMemberId
    );
}

#[test]
fn epochs_are_those_of_the_group() {
    let mut bench = Bench::new(2);
    bench.group.succeed(4);
    let epoch = bench.join("a").member_epoch;
    assert_eq!(
        code(bench.send(beating("a", epoch + 1))),
        ErrorCode::FencedMemberEpoch
    );
    assert_eq!(
        code(bench.send(beating("b", epoch))),
        ErrorCode::UnknownMemberId
    );
    // The answer that told it of its epoch was lost.
    bench.group.members.get_mut("a").unwrap().previous_epoch = epoch - 1;
    assert_eq!(
        code(bench.send(beating("a", epoch - 1))),
        ErrorCode::FencedMemberEpoch
    );
    assert!(bench.beat("a", epoch - 1, &[0]).is_ok());
    assert_eq!(
        code(bench.beat("a", epoch - 1, &[7])),
        ErrorCode::FencedMemberEpoch
    );
}

#[test]
fn commits_are_of_the_members_epoch() {
    let mut bench = Bench::new(2);
    assert_eq!(bench.check_commit("", -1, 9, &[0]), Ok(()));
    let epoch = bench.join("a").member_epoch;
    let check = |id: &str, epoch, version| bench.check_commit(id, epoch, version, &[0]);
    assert_eq!(check("a", epoch, 9), Ok(()));
    assert_eq!(check("a", epoch, 8), Err(ErrorCode::UnsupportedVersion));
    assert_eq!(check("a", epoch - 1, 9), Err(ErrorCode::StaleMemberEpoch));
    assert_eq!(check("a", epoch + 1, 9), Err(ErrorCode::StaleMemberEpoch));
    assert_eq!(check("", -1, 9), Err(ErrorCode::UnknownMemberId));
    let fetch = |id: &str, epoch| bench.group.check_fetch(&member(id, epoch));
    assert_eq!(fetch("", -1), Err(ErrorCode::UnknownMemberId));
    assert_eq!(fetch("a", epoch), Ok(()));
    assert_eq!(fetch("a", epoch - 1), Err(ErrorCode::StaleMemberEpoch));
    assert_eq!(fetch("b", epoch), Err(ErrorCode::UnknownMemberId));
}

#[test]
fn a_commit_may_be_behind_as_long_as_its_partitions_were_there_already() {
    let mut bench = Bench::new(4);
    let first = bench.join("a").member_epoch;
    bench.join("b");
    bench.pass(1_000);
    // Both have two partitions in the end, those of a since the beginning.
    let kept = bench.beat("a", first, &[0, 1, 2, 3]).unwrap();
    let kept: Vec<i32> = kept.assignment.unwrap()[&Uuid::from_u128(1)]
        .iter()
        .copied()
        .collect();
    let lost: Vec<i32> = (0..4).filter(|p| !kept.contains(p)).collect();
    let check =
        |bench: &Bench, epoch, partitions: &[i32]| bench.check_commit("a", epoch, 9, partitions);
    let stale = Err(ErrorCode::StaleMemberEpoch);
    assert_eq!(
        check(&bench, first, &[0, 1, 2, 3]),
        Ok(()),
        "not yet let go"
    );
    let second = bench.beat("a", first, &kept).unwrap().member_epoch;
    assert!(second > first);
    assert_eq!(check(&bench, first, &kept), Ok(()));
    assert_eq!(check(&bench, first - 1, &kept), stale);
    assert_eq!(check(&bench, first, &lost), stale);
    assert_eq!(
        check(&bench, first, &[kept[0], lost[0]]),
        stale,
        "all or none"
    );
    assert_eq!(check(&bench, second, &lost), Ok(()), "as KIP-848 has it");
    // What comes back is new.
    bench.pass(1);
    bench.send(beating("b", LEAVING)).unwrap();
    bench.pass(1_000);
    let third = bench.beat("a", second, &kept).unwrap();
    assert_eq!(third.assignment, Some(of(&[0, 1, 2, 3])));
    assert_eq!(check(&bench, second, &kept), Ok(()));
    assert_eq!(check(&bench, second, &lost), stale);
    assert_eq!(check(&bench, third.member_epoch, &lost), Ok(()));
    // As part of a transaction.
    let member = member("a", second);
    let check = |partitions: &[(i32, i32)]| {
        let commit = CommitCheck {
            member: &member,
            partitions,
        };
        bench.group.check_txn_commit(&commit, &bench.cluster)
    };
    assert_eq!(check(&[(1, kept[0])]), Ok(()));
    assert_eq!(check(&[(1, lost[0])]), stale);
    assert_eq!(check(&[(2, kept[0])]), stale, "of another topic");
}

#[test]
fn a_static_member_that_is_away_keeps_its_partitions_and_the_first_holder_stays() {
    let mut bench = Bench::new(4);
    let join = |id: &str| ConsumerHeartbeat {
        instance_id: Some("i".to_owned()),
        ..joining(id)
    };
    let epoch = bench.send(join("a")).unwrap().member_epoch;
    assert_eq!(code(bench.send(join("b"))), ErrorCode::UnreleasedInstanceId);
    let leave = ConsumerHeartbeat {
        instance_id: Some("i".to_owned()),
        ..beating("a", AWAY)
    };
    assert_eq!(bench.send(leave).unwrap().member_epoch, AWAY);
    let back = bench.send(join("b")).unwrap();
    assert_eq!(
        (back.member_epoch, back.assignment),
        (epoch, Some(of(&[0, 1, 2, 3])))
    );
    assert_eq!(bench.group.group_epoch, epoch, "no rebalance");
    let old = ConsumerHeartbeat {
        instance_id: Some("i".to_owned()),
        ..beating("a", epoch)
    };
    assert_eq!(code(bench.send(old)), ErrorCode::FencedInstanceId);
}

#[test]
fn patterns_follow_the_topics_and_may_end() {
    let mut bench = Bench::new(1);
    bench.cluster.0.push(("other", 1));
    let pattern = |text: &str, epoch| ConsumerHeartbeat {
        names: None,
        regex: Some(text.to_owned()),
        member_epoch: epoch,
        ..joining("a")
    };
    assert_eq!(
        code(bench.send(pattern("[", 0))),
        ErrorCode::InvalidRegularExpression
    );
    let epoch = bench.send(pattern("t|u", 0)).unwrap().member_epoch;
    assert_eq!(bench.group.members["a"].assigned.len(), 1);
    bench.cluster.0.push(("u", 2));
    bench.pass(5_000);
    let told = bench.beat("a", epoch, &[0]).unwrap();
    assert_eq!(told.assignment.unwrap()[&Uuid::from_u128(3)], [0, 1].into());
    bench.pass(5_000);
    let none = ConsumerHeartbeat {
        names: Some(["other".to_owned()].into()),
        ..pattern("", told.member_epoch)
    };
    bench.send(none).unwrap();
    assert_eq!(bench.group.members["a"].assigned.keys().count(), 1);
    assert!(
        bench.group.members["a"]
            .assigned
            .contains_key(&Uuid::from_u128(2))
    );
}

#[test]
fn members_choose_the_assignor() {
    let mut bench = Bench::new(4);
    let ask = |name: &str| ConsumerHeartbeat {
        assignor: Some(name.to_owned()),
        ..joining("a")
    };
    assert_eq!(
        code(bench.send(ask("sticky"))),
        ErrorCode::UnsupportedAssignor
    );
    let epoch = bench.send(ask("range")).unwrap().member_epoch;
    assert_eq!(bench.group.describe().assignor, "range");
    // Another choice is a reason to assign again.
    let other = ConsumerHeartbeat {
        assignor: Some("uniform".to_owned()),
        ..beating("a", epoch)
    };
    bench.send(other.clone()).unwrap();
    assert_eq!(bench.group.group_epoch, epoch + 1);
    bench.pass(1_000);
    assert_eq!(bench.group.describe().assignor, "uniform");
    bench.send(beating("a", epoch)).unwrap();
    let same = ConsumerHeartbeat {
        member_epoch: epoch + 1,
        ..other
    };
    bench.send(same).unwrap();
    assert_eq!(bench.group.group_epoch, epoch + 1);
    assert_eq!(Bench::new(1).group.describe().assignor, "uniform");
}

#[test]
fn what_is_not_subscribed_to_any_more_is_given_up_before_the_next_assignment() {
    let mut bench = Bench::new(2);
    bench.cluster.0.push(("u", 1));
    let both = ConsumerHeartbeat {
        names: Some(["t".to_owned(), "u".to_owned()].into()),
        ..joining("a")
    };
    let epoch = bench.send(both).unwrap().member_epoch;
    let less = ConsumerHeartbeat {
        names: Some(["u".to_owned()].into()),
        ..beating("a", epoch)
    };
    let told = bench.send(less).unwrap();
    assert_eq!(bench.group.state(), "Assigning");
    let left: Partitions = [(Uuid::from_u128(2), [0].into())].into();
    assert_eq!(told.assignment, Some(left.clone()));
    // Nobody else has them until it says that it has let go.
    assert_eq!(bench.group.members["a"].revoking, of(&[0, 1]));
    let done = ConsumerHeartbeat {
        owned: Some(left.clone()),
        ..beating("a", epoch)
    };
    assert_eq!(bench.send(done.clone()).unwrap().member_epoch, epoch);
    assert_eq!(bench.group.members["a"].revoking, Partitions::new());
    bench.pass(1_000);
    let next = bench.send(done).unwrap();
    assert_eq!(next.member_epoch, epoch + 1);
    assert_eq!(bench.group.state(), "Stable");
    assert_eq!(bench.group.members["a"].assigned, left);
}

#[test]
fn the_assignment_interval_has_limits() {
    let waits = |least: i32, interval: i32, most: i32| {
        let config = Config {
            group_consumer_assignment_interval_ms: interval,
            group_consumer_min_assignment_interval_ms: least,
            group_consumer_max_assignment_interval_ms: most,
            ..Config::default()
        };
        let mut bench = Bench::with(4, &config);
        bench.join("a");
        bench.pass(10);
        bench.join("b");
        bench.group.assignment_due().map(|at| at - bench.now)
    };
    assert_eq!(waits(0, 0, 15_000), None);
    assert_eq!(waits(0, 500, 15_000), Some(490));
    assert_eq!(waits(2_000, 500, 15_000), Some(1_990));
    assert_eq!(waits(0, 5_000, 3_000), Some(2_990));
}

#[test]
fn a_full_group_takes_nobody() {
    let mut bench = Bench::with(
        4,
        &Config {
            group_consumer_max_size: 1,
            ..Config::default()
        },
    );
    bench.join("a");
    assert_eq!(
        code(bench.send(joining("b"))),
        ErrorCode::GroupMaxSizeReached
    );
    bench.join("a");
}

#[test]
fn a_group_goes_on_as_it_was_stored() {
    let mut bench = Bench::new(4);
    let first = bench.join("a").member_epoch;
    bench.pass(1_000);
    let second = bench.send(ConsumerHeartbeat {
        instance_id: Some("i".to_owned()),
        regex: Some("t.*".to_owned()),
        rack_id: Some("r".to_owned()),
        ..joining("b")
    });
    let second = second.unwrap().member_epoch;
    bench.beat("a", first, &[0, 1, 2, 3]).unwrap();
    let Some(storage::GroupChange::State { group, members, .. }) = bench.group.take_change() else {
        panic!("nothing to store");
    };
    assert_eq!(bench.group.take_change(), None);
    let config = bench.group.config.clone();
    let before = bench.group.describe();
    bench.group = ConsumerGroup::restore(*group, members, config, bench.now).unwrap();
    let after = bench.group.describe();
    assert_eq!(after.state, before.state);
    for ((id, old), (_, new)) in before.members.iter().zip(&after.members) {
        assert_eq!(
            (
                &old.assigned,
                &old.revoking,
                &old.target,
                old.epoch,
                old.state
            ),
            (
                &new.assigned,
                &new.revoking,
                &new.target,
                new.epoch,
                new.state
            ),
            "{id}"
        );
        assert_eq!((&old.pattern, &old.names), (&new.pattern, &new.names));
    }
    let done = bench.beat("a", first, &[0, 1]).unwrap();
    assert_eq!(done.member_epoch, second);
    let gets = bench.beat("b", second, &[]).unwrap();
    assert_eq!(gets.assignment, Some(of(&[2, 3])));
}
