//! Random interleavings of members that behave like clients, some of which die, with restarts of the broker between.

use proptest::prelude::*;

use super::*;

#[derive(Debug, Default, Clone)]
struct Actor {
    id: Option<String>,
    epoch: i32,
    /// What it consumes from.
    owns: Partitions,
    /// What it was told to have, and has not taken up yet.
    told: Option<Partitions>,
}

#[derive(Debug, Clone)]
enum Step {
    Beat(usize),
    /// The client does what it was last told.
    Obey(usize),
    Die(usize),
    Leave(usize),
    Pass(u64),
    Grow,
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0..4usize).prop_map(Step::Beat),
        6 => (0..4usize).prop_map(Step::Obey),
        1 => (0..4usize).prop_map(Step::Die),
        1 => (0..4usize).prop_map(Step::Leave),
        4 => (0..20_000u64).prop_map(Step::Pass),
        1 => Just(Step::Grow),
        1 => Just(Step::Restart),
    ]
}

struct World {
    bench: Bench,
    actors: Vec<Actor>,
    next_id: u32,
    stored: Option<(storage::GroupRow, BTreeMap<String, storage::MemberRow>)>,
}

impl World {
    fn store(&mut self) {
        let change = self.bench.group.take_change();
        if let Some(storage::GroupChange::State {
            group,
            members,
            removed,
        }) = change
        {
            let mut rows = self.stored.take().map(|(_, rows)| rows).unwrap_or_default();
            removed.iter().for_each(|id| {
                rows.remove(id);
            });
            rows.extend(members.into_iter().map(|row| (row.member_id.clone(), row)));
            self.stored = Some((*group, rows));
        }
    }

    fn restart(&mut self) {
        if let Some((group, rows)) = &self.stored {
            let config = self.bench.group.config.clone();
            let rows = rows.values().cloned().collect();
            let restored = ConsumerGroup::restore(group.clone(), rows, config, self.bench.now);
            self.bench.group = restored.unwrap();
        }
    }

    fn beat(&mut self, index: usize) {
        let actor = &mut self.actors[index];
        let request = match &actor.id {
            None => {
                self.next_id += 1;
                let id = format!("m{}", self.next_id);
                *actor = Actor {
                    id: Some(id.clone()),
                    ..Actor::default()
                };
                joining(&id)
            }
            Some(id) => ConsumerHeartbeat {
                owned: Some(actor.owns.clone()),
                ..beating(id, actor.epoch)
            },
        };
        match self.bench.send(request) {
            Ok(answer) => {
                assert!(answer.member_epoch >= actor.epoch, "an epoch went back");
                actor.epoch = answer.member_epoch;
                actor.told = answer.assignment.or(actor.told.take());
            }
            // It gives everything up and joins anew.
            Err(_) => *actor = Actor::default(),
        }
    }

    /// A client may commit what it consumes from as long as nobody else may consume from it, as far as it knows an epoch.
    fn check_commits(&self) {
        let members = &self.bench.group.members;
        for actor in &self.actors {
            let Some(id) = actor.id.as_ref().filter(|id| members.contains_key(*id)) else {
                continue;
            };
            for partition in actor.owns.values().flatten() {
                let others = members.iter().filter(|(other, _)| *other != id);
                let mut held = others.flat_map(|(_, member)| member.assigned.values());
                let is_taken = held.any(|partitions| partitions.contains(partition));
                let accepted = self.bench.check_commit(id, actor.epoch, 9, &[*partition]);
                assert_eq!(accepted.is_ok(), !is_taken, "{id} {partition} {accepted:?}");
            }
        }
    }

    fn check(&self) {
        self.check_commits();
        let mut held = Partitions::new();
        for (id, member) in &self.bench.group.members {
            let mut all = member.assigned.clone();
            assert!(
                common(&all, &member.revoking).is_empty(),
                "{id} has and gives up the same"
            );
            add(&mut all, member.revoking.clone());
            assert!(
                common(&held, &all).is_empty(),
                "two members hold a partition"
            );
            add(&mut held, all);
        }
        // What a client consumes from is its own, as far as the group knows the client.
        let mut consumed = Partitions::new();
        for actor in &self.actors {
            let known = actor
                .id
                .as_ref()
                .and_then(|id| self.bench.group.members.get(id));
            if known.is_some_and(|member| member.epoch == actor.epoch) {
                assert!(
                    common(&consumed, &actor.owns).is_empty(),
                    "two consume the same"
                );
                add(&mut consumed, actor.owns.clone());
            }
        }
        if self.bench.group.state() == "Stable" {
            let counts = self.bench.group.topics.iter();
            let all: Partitions = counts
                .map(|(id, count)| (*id, (0..*count).collect()))
                .collect();
            assert_eq!(held, all, "every partition has an owner in a stable group");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_partition_has_two_owners_and_all_have_one_in_the_end(
        steps in proptest::collection::vec(step(), 1..200),
    ) {
        let mut world = World {
            bench: Bench::new(5),
            actors: vec![Actor::default(); 4],
            next_id: 0,
            stored: None,
        };
        for step in steps {
            match step {
                Step::Beat(index) => world.beat(index),
                Step::Obey(index) => {
                    let actor = &mut world.actors[index];
                    if let Some(told) = actor.told.take() {
                        actor.owns = told;
                    }
                }
                Step::Die(index) => world.actors[index] = Actor::default(),
                Step::Leave(index) => {
                    let actor = std::mem::take(&mut world.actors[index]);
                    if let Some(id) = actor.id {
                        let _ = world.bench.send(beating(&id, LEAVING));
                    }
                }
                Step::Pass(ms) => world.bench.pass(ms),
                Step::Grow => world.bench.cluster.0[0].1 += 1,
                Step::Restart => world.restart(),
            }
            world.store();
            world.check();
        }
        for _ in 0..60 {
            for index in 0..4 {
                world.beat(index);
                let actor = &mut world.actors[index];
                if let Some(told) = actor.told.take() {
                    actor.owns = told;
                }
            }
            world.bench.pass(2_000);
            world.store();
            world.check();
        }
        prop_assert_eq!(world.bench.group.state(), "Stable");
        let sizes: Vec<usize> = world.actors.iter().map(|a| a.owns.values().map(BTreeSet::len).sum()).collect();
        let (least, most) = (sizes.iter().min().unwrap(), sizes.iter().max().unwrap());
        prop_assert!(most - least <= 1, "{:?}", sizes);
    }
}
