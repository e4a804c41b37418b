//! The protocol with one of its rules broken: the model must fail, each time in the way that is named. So the rules are needed,
//! and the model can see what it looks for.

use stateright::{Checker, Model};

use crate::properties::*;
use crate::state::{Budget, Rules};
use crate::{Cluster, QUIET};

const ALL: Rules = Rules::ALL;

fn fails(cluster: Cluster, rules: Rules, property: &'static str) {
    let cluster = Cluster {
        rules,
        only: Some(property),
        ..cluster
    };
    let checker = cluster.checker().threads(2).spawn_bfs().join();
    let Some(path) = checker.discovery(property) else {
        panic!("still true without the rule: {property}");
    };
    eprintln!("not true that {property}: {:?}", path.into_actions());
}

fn taken_over() -> Cluster {
    let budget = Budget {
        takeovers: 1,
        ..QUIET
    };
    Cluster::two_brokers(budget, &[])
}

fn handed_over(cuts: u8) -> Cluster {
    let budget = Budget {
        cuts,
        handovers: 1,
        ..QUIET
    };
    Cluster::two_brokers(budget, &[])
}

fn cut() -> Cluster {
    Cluster::two_brokers(Budget { cuts: 1, ..QUIET }, &[])
}

#[test]
fn without_the_epoch_in_the_fence() {
    let checks_epoch = false;
    fails(
        taken_over(),
        Rules {
            checks_epoch,
            ..ALL
        },
        OFFSETS_ONCE,
    );
}

#[test]
fn without_the_flush_seq_in_the_fence() {
    let checks_flush_seq = false;
    fails(
        cut(),
        Rules {
            checks_flush_seq,
            ..ALL
        },
        OFFSETS_ONCE,
    );
}

#[test]
fn without_a_look_at_flush_seq_after_a_lost_connection() {
    let looks_at_flush_seq = false;
    let rules = Rules {
        looks_at_flush_seq,
        ..ALL
    };
    fails(cut(), rules, ONLY_THE_DEPOSED);
    let checks_flush_seq = false;
    fails(
        cut(),
        Rules {
            checks_flush_seq,
            ..rules
        },
        NOT_DOUBLED,
    );
}

#[test]
fn with_partitions_moved_without_a_fence() {
    let takeover_deposes = false;
    let rules = Rules {
        takeover_deposes,
        ..ALL
    };
    fails(taken_over(), rules, OFFSETS_ONCE);
    fails(taken_over(), rules, LEADER_KNOWS);
}

#[test]
fn without_an_epoch_for_each_claim() {
    let claim_raises_epoch = false;
    let rules = Rules {
        claim_raises_epoch,
        ..ALL
    };
    let budget = Budget { joins: 1, ..QUIET };
    let cluster = Cluster {
        numbers: vec![0, 0],
        ..Cluster::two_brokers(budget, &[])
    };
    fails(cluster.clone(), rules, ONE_LEASE);
    fails(cluster, rules, LEADER_KNOWS);
}

#[test]
fn without_sealing_what_is_moved() {
    let seals_before_move = false;
    let rules = Rules {
        seals_before_move,
        ..ALL
    };
    fails(taken_over(), rules, SEALED);
    fails(handed_over(0), rules, SEALED);
}

#[test]
fn without_a_leader_epoch_for_each_move() {
    let move_raises_leader_epoch = false;
    fails(
        handed_over(0),
        Rules {
            move_raises_leader_epoch,
            ..ALL
        },
        EPOCHS_GIVEN,
    );
}

#[test]
fn without_the_producers_of_the_leader_before() {
    let rebuilds_producers = false;
    let rules = Rules {
        rebuilds_producers,
        ..ALL
    };
    fails(taken_over(), rules, NOT_DOUBLED);
    fails(taken_over(), rules, ACKNOWLEDGED_ONCE);
}

/// As it once was: a handover that was sent again took its own commit for another broker's.
#[test]
fn with_a_handover_that_is_sent_again_as_if_for_the_first_time() {
    let handover_stays_in_doubt = false;
    fails(
        handed_over(1),
        Rules {
            handover_stays_in_doubt,
            ..ALL
        },
        ONLY_THE_DEPOSED,
    );
}

/// As it once was: the catalog may have heard of the handover before the lane's task did, and the epoch was raised twice.
#[test]
fn with_the_leader_epoch_of_a_handover_counted_after_it() {
    let fixes_epoch_of_handover = false;
    fails(
        handed_over(0),
        Rules {
            fixes_epoch_of_handover,
            ..ALL
        },
        EPOCHS_GIVEN,
    );
}
