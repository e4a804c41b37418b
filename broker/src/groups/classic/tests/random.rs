//! Random interleavings of clients that behave like clients, some of which die, with restarts of the broker between.

use proptest::prelude::*;

use super::*;

/// A client of the group as it sees itself.
#[derive(Debug, Default)]
struct Actor {
    member_id: String,
    generation_id: i32,
    joining: Option<Ticket>,
    syncing: Option<Ticket>,
    /// What it owns since its last assignment.
    owns: Option<Bytes>,
}

#[derive(Debug, Clone)]
enum Step {
    /// The client does what comes next for it.
    Act(usize),
    /// The client falls silent and forgets all.
    Die(usize),
    Leave(usize),
    Pass(u64),
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => (0..4usize).prop_map(Step::Act),
        1 => (0..4usize).prop_map(Step::Die),
        1 => (0..4usize).prop_map(Step::Leave),
        4 => (0..8_000u64).prop_map(Step::Pass),
        1 => Just(Step::Restart),
    ]
}

struct World {
    bench: Bench,
    actors: Vec<Actor>,
    /// The last group that was stored.
    stored: Option<(Box<storage::GroupRow>, BTreeMap<String, storage::MemberRow>)>,
    /// The highest generation that anybody was told of.
    newest: i32,
}

impl World {
    fn store(&mut self) {
        if let Some(storage::GroupChange::State {
            group,
            members,
            removed,
        }) = self.bench.group.take_change()
        {
            let mut rows = self.stored.take().map(|(_, rows)| rows).unwrap_or_default();
            removed.iter().for_each(|id| {
                rows.remove(id);
            });
            rows.extend(members.into_iter().map(|row| (row.member_id.clone(), row)));
            self.stored = Some((group, rows));
        }
    }

    fn restart(&mut self) {
        let config = self.bench.group.config.clone();
        self.bench.group = match &self.stored {
            None => ClassicGroup::new("g".into(), config),
            Some((group, rows)) => {
                let rows = rows.values().cloned().collect();
                ClassicGroup::restore((**group).clone(), rows, config, self.bench.now).unwrap()
            }
        };
        // Connections are lost; clients ask again.
        for actor in &mut self.actors {
            actor.joining = None;
            actor.syncing = None;
        }
    }

    fn act(&mut self, index: usize) {
        let bench = &mut self.bench;
        let actor = &mut self.actors[index];
        if let Some(ticket) = actor.joining {
            let Some(answer) = bench.joins.get(&ticket) else {
                return;
            };
            actor.joining = None;
            match answer.error {
                ErrorCode::None => {
                    assert!(answer.generation_id >= actor.generation_id);
                    actor.generation_id = answer.generation_id;
                    actor.member_id.clone_from(&answer.member_id);
                    self.newest = self.newest.max(answer.generation_id);
                    let is_leader = answer.leader == answer.member_id;
                    let all: Vec<(String, String)> = answer
                        .members
                        .iter()
                        .map(|m| (m.member_id.clone(), m.member_id.clone()))
                        .collect();
                    let given: Vec<(&str, &str)> = all
                        .iter()
                        .filter(|_| is_leader)
                        .map(|(id, bytes)| (id.as_str(), bytes.as_str()))
                        .collect();
                    let (epoch, id) = (actor.generation_id, actor.member_id.clone());
                    actor.syncing = Some(bench.sync_at(epoch, &id, &given));
                }
                ErrorCode::MemberIdRequired => {
                    let id = answer.member_id.clone();
                    actor.member_id.clone_from(&id);
                    actor.joining = Some(bench.join(&id));
                }
                _ => *actor = Actor::default(),
            }
            return;
        }
        if let Some(ticket) = actor.syncing {
            let Some(answer) = bench.syncs.get(&ticket) else {
                return;
            };
            actor.syncing = None;
            match answer.error {
                ErrorCode::None => actor.owns = Some(answer.assignment.clone()),
                ErrorCode::RebalanceInProgress => actor.owns = None,
                _ => *actor = Actor::default(),
            }
            return;
        }
        if actor.owns.is_some() {
            let own = member(&actor.member_id, actor.generation_id);
            match bench.group.heartbeat(&own, bench.now) {
                Ok(()) => return,
                Err(ErrorCode::RebalanceInProgress) => actor.owns = None,
                Err(_) => *actor = Actor::default(),
            }
        }
        let id = actor.member_id.clone();
        let mut request = request(&id);
        request.unique = format!("{}", bench.next);
        actor.joining = Some(bench.join_with(request));
    }

    /// What must hold after every step.
    fn check(&mut self) {
        let group = &mut self.bench.group;
        assert!(
            group.generation_id >= self.newest,
            "a generation was given twice"
        );
        let stable = group.state() == ClassicState::Stable;
        for actor in &self.actors {
            let own = member(&actor.member_id, actor.generation_id);
            let accepted = group.check_commit(&own, self.bench.now).is_ok();
            if accepted && !actor.member_id.is_empty() {
                assert_eq!(
                    actor.generation_id, group.generation_id,
                    "a commit from the past"
                );
            }
            // One owner: whoever may commit owns what it was given, and that bears its name.
            if accepted
                && stable
                && let Some(owns) = &actor.owns
            {
                assert_eq!(*owns, actor.member_id.as_bytes());
            }
        }
        if stable {
            let assigned = group.members.values().map(|m| m.assignment.clone());
            let mut assigned: Vec<Bytes> = assigned.filter(|a| !a.is_empty()).collect();
            let count = assigned.len();
            assigned.sort();
            assigned.dedup();
            assert_eq!(assigned.len(), count, "two owners");
        }
        assert!(
            !(group.members.is_empty() && stable),
            "stable without members"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_partition_has_two_owners_and_no_commit_comes_from_the_past(
        steps in proptest::collection::vec(step(), 1..200),
    ) {
        let mut world = World {
            bench: Bench::new(),
            actors: (0..4).map(|_| Actor::default()).collect(),
            stored: None,
            newest: 0,
        };
        for step in steps {
            match step {
                Step::Act(index) => world.act(index),
                Step::Die(index) => world.actors[index] = Actor::default(),
                Step::Leave(index) => {
                    let id = world.actors[index].member_id.clone();
                    let _ = world.bench.leave(&id);
                    world.actors[index] = Actor::default();
                }
                Step::Pass(ms) => world.bench.pass(ms),
                Step::Restart => world.restart(),
            }
            world.store();
            world.check();
        }
        // Left alone with clients that keep on, the group becomes stable and everybody has its own.
        for _ in 0..200 {
            (0..4).for_each(|index| world.act(index));
            world.bench.pass(500);
            world.store();
            world.check();
        }
        prop_assert_eq!(world.bench.group.state(), ClassicState::Stable);
        prop_assert!(world.actors.iter().all(|actor| actor.owns.as_deref() == Some(actor.member_id.as_bytes())));
    }
}
