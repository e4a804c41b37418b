//! Moves in the model of transactions, and what is asked of its states.

use super::*;

impl Logged {
    pub(super) fn epoch(&self) -> u8 {
        let (Self::Batch { epoch, .. } | Self::Marker(Due { epoch, .. })) = self;
        *epoch
    }

    pub(super) fn coordinator(&self) -> Option<u8> {
        match self {
            Self::Batch { .. } => None,
            Self::Marker(due) => Some(due.coordinator),
        }
    }
}

impl State {
    pub(super) fn take_move(&mut self, step: &Step) -> Option<()> {
        match step {
            Step::MoveShard => {
                self.budget.shard_moves -= 1;
                self.database.shard_epoch += 1;
                let owner = 1 - self.database.shard_owner;
                self.database.shard_owner = owner;
                self.memories[owner] = Some(Memory {
                    lease: self.database.shard_epoch,
                    row: self.database.row,
                    parts: self.database.parts.clone(),
                });
            }
            Step::Forget(broker) => {
                let broker = *broker;
                if self.memories[broker].as_ref()?.lease == self.database.shard_epoch {
                    return None;
                }
                self.memories[broker] = None;
            }
            Step::MovePart(part) => {
                let part = *part;
                self.budget.part_moves -= 1;
                self.refuse_waiting(part);
                let former = self.database.leaders[part];
                self.database.leaders[part] = 1 - former;
                self.refuse_queued(former, part);
            }
            _ => return None,
        }
        Some(())
    }

    pub(super) fn refuse_waiting(&mut self, part: usize) {
        for member in std::mem::take(&mut self.members[part]).into_values() {
            if let Member::Asked(_, waiting) = member {
                self.in_flight.extend(waiting);
            }
        }
    }

    pub(super) fn refuse_queued(&mut self, broker: usize, part: usize) {
        let in_flight = &mut self.in_flight;
        self.lanes[broker].retain(|queued| match queued {
            Queued::Batch(sent, _) if sent.part == part => {
                in_flight.insert(*sent);
                false
            }
            Queued::Due(due) => due.part != part,
            _ => true,
        });
    }

    pub(super) fn markers(&self) -> impl Iterator<Item = Due> {
        self.database
            .logs
            .iter()
            .flatten()
            .filter_map(|logged| match logged {
                Logged::Marker(marker) => Some(*marker),
                Logged::Batch { .. } => None,
            })
    }

    pub(super) fn is_in_order(&self) -> bool {
        self.database.logs.iter().all(|log| {
            let numbers = log.iter().map(|logged| match logged {
                Logged::Batch { number, .. } => (*number, 0),
                Logged::Marker(due) => (due.number, 1),
            });
            numbers.is_sorted()
        })
    }

    pub(super) fn has_one_marker(&self) -> bool {
        let mut seen = BTreeSet::new();
        self.markers()
            .all(|marker| seen.insert((marker.part, marker.number)))
    }

    pub(super) fn hangs_nowhere(&self) -> bool {
        let row = self.database.row;
        row.phase != Phase::Complete
            || self.database.logs.iter().all(|log| {
                let last = log
                    .iter()
                    .rev()
                    .find(|logged| !matches!(logged, Logged::Marker(_)));
                let is_open = |number: u8| {
                    !log.iter()
                        .any(|l| matches!(l, Logged::Marker(due) if due.number == number))
                };
                !matches!(last, Some(Logged::Batch { number, .. }) if is_open(*number))
            })
    }

    pub(super) fn has_one_outcome(&self) -> bool {
        let mut outcomes = BTreeMap::new();
        self.markers().all(|marker| {
            *outcomes.entry(marker.number).or_insert(marker.is_commit) == marker.is_commit
        })
    }

    pub(super) fn is_done(&self) -> bool {
        let row = self.database.row;
        let has_batch = |log: &Vec<Logged>| {
            log.iter()
                .any(|logged| matches!(logged, Logged::Batch { number: LAST, .. }))
        };
        row.phase == Phase::Complete
            && row.number == LAST
            && self.database.logs.iter().all(has_batch)
    }
}
