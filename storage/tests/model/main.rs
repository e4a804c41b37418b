//! A model of how brokers share one database, checked in all its states: lanes with leases, flushes and handovers whose answers
//! are lost, takeovers of brokers that may live. It knows no SQL and no time; `code` says which function does which step.
//!
//! With --nocapture each test says how many states it has seen, and those of `faults` by which steps the model failed.

mod code;
mod faults;
mod properties;
mod state;
mod steps;
mod transactions;

use stateright::{Checker, Model, Property};

use properties::*;
use state::{Broker, Budget, Database, Known, LaneRow, Life, PartitionRow, Rules, State};
use steps::Step;

/// The brokers of one run of the checker, and how much may happen to them.
#[derive(Debug, Clone)]
struct Cluster {
    /// The number of each broker process. The first of a number serves from the start.
    numbers: Vec<u8>,
    partitions: usize,
    records: u8,
    budget: Budget,
    rules: Rules,
    /// What is to happen within these bounds.
    sees: &'static [&'static str],
    /// The only property to look at, if there is one.
    only: Option<&'static str>,
}

const QUIET: Budget = Budget {
    sends: 2,
    cuts: 0,
    crashes: 0,
    pauses: 0,
    takeovers: 0,
    handovers: 0,
    joins: 0,
};

impl Cluster {
    fn two_brokers(budget: Budget, sees: &'static [&'static str]) -> Self {
        Self {
            numbers: vec![0, 1],
            partitions: 1,
            records: 2,
            budget,
            rules: Rules::ALL,
            sees,
            only: None,
        }
    }
}

impl Model for Cluster {
    type State = State;
    type Action = Step;

    fn init_states(&self) -> Vec<State> {
        let lane = LaneRow {
            epoch: 1,
            flush_seq: 0,
            open: vec![false; self.partitions],
        };
        let partition = PartitionRow {
            lane: 0,
            leader_epoch: 0,
            log: Vec::new(),
        };
        let mut database = Database {
            registered: vec![0, 0],
            lanes: vec![lane.clone(), lane],
            partitions: vec![partition; self.partitions],
        };
        let mut brokers = Vec::new();
        for (incarnation, number) in (1..).zip(&self.numbers) {
            let mut broker = Broker::down(*number, self.partitions);
            let registered = &mut database.registered[usize::from(*number)];
            if *registered == 0 {
                *registered = incarnation;
                broker.life = Life::Serving;
                broker.incarnation = incarnation;
                broker.epoch = 1;
                let rows = database.partitions.iter();
                let known = rows.map(|row| Known {
                    is_led: row.lane == *number,
                    ..Known::default()
                });
                broker.partitions = known.collect();
            }
            brokers.push(broker);
        }
        vec![State {
            database,
            requests: Vec::new(),
            brokers,
            sent: 0,
            acknowledged: Vec::new(),
            budget: self.budget,
            gave_up_for_nothing: false,
        }]
    }

    fn actions(&self, state: &State, steps: &mut Vec<Step>) {
        for id in 0..state.brokers.len() {
            state.steps_of(id, self.records, steps);
        }
        for (index, request) in state.requests.iter().enumerate() {
            steps.push(Step::Execute(index));
            if request.from.is_none() {
                steps.push(Step::Lose(index));
            }
        }
        for lane in 0..2u8 {
            let is_registered = state.database.registered[usize::from(lane)] != 0;
            let mut rows = state.database.partitions.iter();
            if state.budget.takeovers > 0 && (is_registered || rows.any(|row| row.lane == lane)) {
                steps.push(Step::TakeOver(lane));
            }
        }
    }

    fn next_state(&self, state: &State, step: Step) -> Option<State> {
        let mut next = state.clone();
        next.take(&step, &self.rules).then_some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        properties::all(self)
    }
}

/// Looks at all states. At least so many there must be, or the bounds have lost their meaning.
fn check(cluster: Cluster, states_min: usize) {
    let checker = cluster.checker().threads(2).spawn_bfs().join();
    let (states, depth) = (checker.unique_state_count(), checker.max_depth());
    eprintln!("{states} states, {depth} steps deep");
    checker.assert_properties();
    assert!(states >= states_min, "{states} states");
}

#[test]
fn takeovers_of_brokers_that_may_live() {
    let budget = Budget {
        sends: 3,
        cuts: 1,
        pauses: 1,
        takeovers: 1,
        joins: 1,
        ..QUIET
    };
    let sees = &[
        TAKEN_OVER_IN_DOUBT,
        PAUSED_AND_REFUSED,
        FLUSHED_UNHEARD,
        REFUSED_AS_STORED,
        LEARNED_FROM_LOG,
        ALL_BY_TWO,
    ];
    check(Cluster::two_brokers(budget, sees), 50_000);
}

#[test]
fn handovers_to_and_fro() {
    let budget = Budget {
        cuts: 2,
        handovers: 2,
        ..QUIET
    };
    let sees = &[HANDED_OVER_UNHEARD, FLUSHED_UNHEARD, ALL_BY_TWO];
    check(Cluster::two_brokers(budget, sees), 20_000);
}

#[test]
fn takeovers_beside_handovers() {
    let budget = Budget {
        cuts: 1,
        takeovers: 1,
        handovers: 1,
        joins: 1,
        ..QUIET
    };
    let sees = &[TAKEN_OVER_IN_DOUBT, HANDED_OVER_UNHEARD, LEARNED_FROM_LOG];
    check(Cluster::two_brokers(budget, sees), 50_000);
}

#[test]
fn two_takeovers_and_a_crash() {
    let budget = Budget {
        crashes: 1,
        takeovers: 2,
        joins: 1,
        ..QUIET
    };
    check(Cluster::two_brokers(budget, &[ALL_BY_TWO]), 20_000);
}

/// One is handed over while the other stays.
#[test]
fn two_partitions() {
    let budget = Budget {
        sends: 4,
        cuts: 1,
        handovers: 1,
        ..QUIET
    };
    let cluster = Cluster {
        partitions: 2,
        records: 3,
        ..Cluster::two_brokers(budget, &[HANDED_OVER_UNHEARD, ALL_BY_TWO])
    };
    check(cluster, 20_000);
}

#[test]
fn two_brokers_with_one_number() {
    let budget = Budget {
        cuts: 1,
        pauses: 1,
        joins: 2,
        ..QUIET
    };
    let cluster = Cluster {
        numbers: vec![0, 0],
        ..Cluster::two_brokers(budget, &[PAUSED_AND_REFUSED, REFUSED_AS_STORED])
    };
    check(cluster, 20_000);
}

/// Many states, a minute with `--release`.
#[test]
#[cfg(feature = "deep-model")]
fn two_partitions_taken_over() {
    let budget = Budget {
        cuts: 1,
        handovers: 1,
        takeovers: 1,
        joins: 1,
        ..QUIET
    };
    let cluster = Cluster {
        partitions: 2,
        ..Cluster::two_brokers(budget, &[HANDED_OVER_UNHEARD, TAKEN_OVER_IN_DOUBT])
    };
    check(cluster, 200_000);
}
