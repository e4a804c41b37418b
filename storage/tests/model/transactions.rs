//! A model of one transactional id whose coordinator and partitions are of two brokers, checked in all its states: questions that are
//! lost, batches that come late, coordinators that do not know that they are replaced, partitions that move. What a lane's fence
//! and the database guarantee (a flush of the owner is stored whole or not at all) is taken from the other model.

mod code;
mod state;
mod steps;

use std::collections::{BTreeMap, BTreeSet};

use stateright::{Checker, Model, Property};

const ORDER: &str = "a batch lies between the markers of the transaction before and of its own";
const ONE_MARKER: &str = "a partition has one marker of a transaction";
const NONE_HANGS: &str = "a complete transaction is open in no partition";
const ONE_OUTCOME: &str = "a transaction ends in one way";
const ALL_DONE: &str = "the last transaction is complete, with batches in both partitions";

/// A name, and whether it is so. The names are those in ARCHITECTURE.md.
type Condition = (&'static str, fn(&Transactions, &State) -> bool);

const ALWAYS: [Condition; 4] = [
    (ORDER, |_, state| state.is_in_order()),
    (ONE_MARKER, |_, state| state.has_one_marker()),
    (NONE_HANGS, |_, state| state.hangs_nowhere()),
    (ONE_OUTCOME, |_, state| state.has_one_outcome()),
];

/// Transactions of the producer.
const LAST: u8 = 2;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Logged {
    Batch { number: u8, epoch: u8 },
    Marker(Due),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Due {
    part: usize,
    number: u8,
    epoch: u8,
    is_commit: bool,
    coordinator: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Phase {
    Complete,
    Ongoing,
    Prepare,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Row {
    phase: Phase,
    number: u8,
    epoch: u8,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Database {
    row: Row,
    parts: BTreeSet<usize>,
    due: BTreeSet<Due>,
    shard_epoch: u8,
    shard_owner: usize,
    leaders: [usize; 2],
    logs: [Vec<Logged>; 2],
}

/// What a coordinator knows; it may have lost the shard.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Memory {
    lease: u8,
    row: Row,
    parts: BTreeSet<usize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Sent {
    part: usize,
    number: u8,
    epoch: u8,
}

/// In the queue of a lane.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Queued {
    Batch(Sent, u8),
    Due(Due),
    End {
        lease: u8,
        row: Row,
        parts: BTreeSet<usize>,
        own: BTreeSet<usize>,
        is_commit: bool,
    },
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Member {
    Asked(u8, Vec<Sent>),
    In(u8),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Letter {
    Ask {
        part: usize,
        question: u8,
        epoch: u8,
    },
    Answer {
        part: usize,
        question: u8,
        epoch: u8,
        coordinator: Option<u8>,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Budget {
    shard_moves: u8,
    part_moves: u8,
    fences: u8,
    losses: u8,
    repeats: u8,
    questions: u8,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct State {
    database: Database,
    memories: [Option<Memory>; 2],
    lanes: [Vec<Queued>; 2],
    /// By epoch, of each partition at its leader.
    members: [BTreeMap<u8, Member>; 2],
    letters: BTreeSet<Letter>,
    questions: u8,
    number: u8,
    epoch: u8,
    sent: BTreeSet<usize>,
    added: BTreeSet<usize>,
    in_flight: BTreeSet<Sent>,
    /// The producer has asked for the end of its transaction.
    has_ended: bool,
    /// It is gone, and batches of it may still come.
    has_left: bool,
    budget: Budget,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Step {
    Add(usize, usize),
    Send(usize),
    Arrive(Sent),
    Judge(Letter, usize),
    Answered(Letter),
    Lose(Letter),
    Flush(usize),
    End(usize, bool),
    Fence(usize),
    LookDue(usize, Due),
    Finish(usize),
    Next,
    MoveShard,
    Forget(usize),
    MovePart(usize),
}

/// Rules that can be broken, to see that they are needed.
#[derive(Debug, Clone, Copy)]
struct Rules {
    counts_questions: bool,
    takes_out_members: bool,
    checks_coordinator: bool,
    deletes_due: bool,
    waits_for_markers: bool,
    checks_shard: bool,
}

const ALL: Rules = Rules {
    counts_questions: true,
    takes_out_members: true,
    checks_coordinator: true,
    deletes_due: true,
    waits_for_markers: true,
    checks_shard: true,
};

#[derive(Debug, Clone)]
struct Transactions {
    /// Of the producer: 2 raises the epoch with each transaction, and adds partitions by producing.
    version: u8,
    budget: Budget,
    rules: Rules,
    /// The only property to look at, if there is one.
    only: Option<&'static str>,
}

const QUIET: Budget = Budget {
    shard_moves: 0,
    part_moves: 0,
    fences: 0,
    losses: 0,
    repeats: 0,
    questions: 2,
};

impl Model for Transactions {
    type State = State;
    type Action = Step;

    fn init_states(&self) -> Vec<State> {
        let row = Row {
            phase: Phase::Complete,
            number: 0,
            epoch: 0,
        };
        let memory = Memory {
            lease: 1,
            row,
            parts: BTreeSet::new(),
        };
        vec![State {
            database: Database {
                row,
                parts: BTreeSet::new(),
                due: BTreeSet::new(),
                shard_epoch: 1,
                shard_owner: 0,
                leaders: [0, 1],
                logs: [Vec::new(), Vec::new()],
            },
            memories: [Some(memory), None],
            lanes: [Vec::new(), Vec::new()],
            members: [BTreeMap::new(), BTreeMap::new()],
            letters: BTreeSet::new(),
            questions: 0,
            number: 1,
            epoch: 0,
            sent: BTreeSet::new(),
            added: BTreeSet::new(),
            in_flight: BTreeSet::new(),
            has_ended: false,
            has_left: false,
            budget: self.budget,
        }]
    }

    fn actions(&self, state: &State, steps: &mut Vec<Step>) {
        let is_begun = |part: &usize| self.version == 2 || state.added.contains(part);
        let is_adding = self.version == 1 && !state.has_ended;
        for at in 0..2 {
            for part in (0..2).filter(|part| is_adding && !state.added.contains(part)) {
                steps.push(Step::Add(at, part));
            }
            if is_begun(&at) && !state.sent.contains(&at) && !state.has_ended {
                steps.push(Step::Send(at));
            }
            steps.extend([Step::Flush(at), Step::End(at, true), Step::End(at, false)]);
            steps.extend([Step::Finish(at), Step::Forget(at)]);
            if state.budget.fences > 0 {
                steps.push(Step::Fence(at));
            }
            if state.budget.part_moves > 0 {
                steps.push(Step::MovePart(at));
            }
            let due = state.database.due.iter();
            let own = due.filter(|due| state.database.leaders[due.part] == at);
            steps.extend(own.map(|due| Step::LookDue(at, *due)));
        }
        steps.extend(state.in_flight.iter().map(|sent| Step::Arrive(*sent)));
        for letter in &state.letters {
            match letter {
                Letter::Ask { .. } => {
                    steps.extend((0..2).map(|broker| Step::Judge(*letter, broker)))
                }
                Letter::Answer { .. } => steps.push(Step::Answered(*letter)),
            }
            if state.budget.losses > 0 {
                steps.push(Step::Lose(*letter));
            }
        }
        let row = state.database.row;
        let is_over = row.number == state.number && row.phase != Phase::Ongoing;
        if is_over && !state.has_left && state.number < LAST {
            steps.push(Step::Next);
        }
        if state.budget.shard_moves > 0 {
            steps.push(Step::MoveShard);
        }
    }

    fn next_state(&self, state: &State, step: Step) -> Option<State> {
        let mut next = state.clone();
        self.take(&mut next, step)?;
        (next != *state).then_some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let always = ALWAYS.iter();
        let always = always.map(|(name, condition)| Property::always(name, *condition));
        let mut all: Vec<Property<Self>> = always.collect();
        all.push(Property::sometimes(ALL_DONE, |_, state: &State| {
            state.is_done()
        }));
        all.retain(|property| self.only.is_none_or(|only| property.name == only));
        all
    }
}

fn check(version: u8, budget: Budget) {
    let model = Transactions {
        version,
        budget,
        rules: ALL,
        only: None,
    };
    let checker = model.checker().threads(2).spawn_bfs().join();
    let states = checker.unique_state_count();
    eprintln!("{states} states, {} steps deep", checker.max_depth());
    checker.assert_properties();
    assert!(states >= 1_000, "{states} states");
}

#[test]
fn coordinators_change() {
    let budget = Budget {
        shard_moves: 1,
        ..QUIET
    };
    check(2, budget);
}

#[test]
fn partitions_move() {
    let budget = Budget {
        part_moves: 1,
        ..QUIET
    };
    check(1, budget);
}

#[test]
fn letters_are_lost() {
    let budget = Budget {
        losses: 1,
        fences: 1,
        ..QUIET
    };
    check(1, budget);
}

/// Without a rule the model fails.
fn fails(version: u8, budget: Budget, rules: Rules, property: &'static str) {
    let model = Transactions {
        version,
        budget,
        rules,
        only: Some(property),
    };
    let checker = model.checker().threads(2).spawn_bfs().join();
    let Some(path) = checker.discovery(property) else {
        panic!("still true without the rule: {property}");
    };
    eprintln!("not true that {property}: {:?}", path.into_actions());
}

#[test]
fn without_rows_that_go_with_the_marker() {
    let budget = Budget {
        repeats: 1,
        ..QUIET
    };
    let rules = Rules {
        deletes_due: false,
        ..ALL
    };
    fails(2, budget, rules, ONE_MARKER);
}

#[test]
fn without_counting_questions() {
    let rules = Rules {
        counts_questions: false,
        ..ALL
    };
    fails(1, QUIET, rules, ORDER);
}

#[test]
fn without_taking_out_members() {
    let rules = Rules {
        takes_out_members: false,
        ..ALL
    };
    fails(1, QUIET, rules, ORDER);
}

#[test]
fn without_the_epoch_of_the_coordinator() {
    let rules = Rules {
        checks_coordinator: false,
        ..ALL
    };
    let budget = Budget {
        shard_moves: 1,
        ..QUIET
    };
    fails(1, budget, rules, ORDER);
}

#[test]
fn without_waiting_for_markers() {
    let rules = Rules {
        waits_for_markers: false,
        ..ALL
    };
    fails(1, QUIET, rules, NONE_HANGS);
}

#[test]
fn without_the_epoch_of_the_shard() {
    let budget = Budget {
        shard_moves: 1,
        fences: 1,
        ..QUIET
    };
    let rules = Rules {
        checks_shard: false,
        ..ALL
    };
    fails(1, budget, rules, ONE_OUTCOME);
}
