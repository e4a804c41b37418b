//! One step of a member towards its target: gives up first, moves to the next epoch, gets what others have released.

use super::{ConsumerGroup, Member, MemberState, Partitions, add, common, without};
use crate::groups::topics::Topics;

/// What is known of a member when a step is made.
#[derive(Clone, Copy)]
pub(super) struct Said<'a> {
    /// What it says it has, where it says so.
    pub(super) owned: Option<&'a Partitions>,
    /// It has just subscribed to something else.
    pub(super) subscribes_anew: bool,
    pub(super) topics: &'a dyn Topics,
}

impl ConsumerGroup {
    /// Takes the member as far as it can go.
    pub(super) fn reconcile(&mut self, member_id: &str, said: Said<'_>, now: u64) {
        let Some(member) = self.members.get(member_id) else {
            return;
        };
        let next = match member.state {
            MemberState::Stable if member.epoch == self.assignment_epoch => {
                self.without_unsubscribed(member, said)
            }
            MemberState::UnrevokedPartitions if holds(said.owned, &member.revoking) => {
                self.without_unsubscribed(member, said)
            }
            MemberState::Stable
            | MemberState::UnrevokedPartitions
            | MemberState::UnreleasedPartitions => Some(self.next_step(member_id, member, said)),
        };
        let Some(next) = next else { return };
        let Some(member) = self.members.get_mut(member_id) else {
            return;
        };
        let is_news = next.state != member.state
            || next.epoch != member.epoch
            || next.assigned != member.assigned
            || next.revoking != member.revoking;
        if !is_news {
            return;
        }
        if next.epoch != member.epoch {
            member.previous_epoch = member.epoch;
        }
        member.rebalance_deadline = (next.state == MemberState::UnrevokedPartitions)
            .then(|| now + member.rebalance_timeout_ms);
        member.epoch = next.epoch;
        member.state = next.state;
        member.assigned = next.assigned;
        member.revoking = next.revoking;
        member.note_epochs();
        tracing::debug!(
            group = &*self.group_id,
            member_id,
            epoch = member.epoch,
            state = ?member.state,
            "member reconciled"
        );
        self.dirty_members.insert(member_id.to_owned());
        self.is_dirty = true;
    }

    fn next_step(&self, member_id: &str, member: &Member, said: Said<'_>) -> Step {
        let subscribed = self.subscribed_ids(member, said.topics);
        let mut target = member.target.clone();
        target.retain(|topic, _| subscribed.contains(topic));
        let mut assigned = common(&member.assigned, &target);
        let revoking = without(&member.assigned, &assigned);
        if holds(said.owned, &revoking) {
            return Step {
                state: MemberState::UnrevokedPartitions,
                epoch: member.epoch,
                assigned,
                revoking,
            };
        }
        let missing = without(&target, &assigned);
        let unreleased = common(&missing, &self.held_by_others(member_id));
        let state = if unreleased.is_empty() {
            MemberState::Stable
        } else {
            MemberState::UnreleasedPartitions
        };
        add(&mut assigned, without(&missing, &unreleased));
        Step {
            state,
            epoch: self.assignment_epoch,
            assigned,
            revoking: Partitions::new(),
        }
    }

    /// What a member that has nothing else to do gives up because it does not subscribe to it any more: the next target, which may
    /// be a while in coming, is not waited for.
    fn without_unsubscribed(&self, member: &Member, said: Said<'_>) -> Option<Step> {
        if !said.subscribes_anew {
            return None;
        }
        let subscribed = self.subscribed_ids(member, said.topics);
        let mut assigned = member.assigned.clone();
        assigned.retain(|topic, _| subscribed.contains(topic));
        if assigned == member.assigned {
            return None;
        }
        let mut revoking = member.revoking.clone();
        add(&mut revoking, without(&member.assigned, &assigned));
        let must_wait = holds(said.owned, &revoking);
        Some(Step {
            state: if must_wait {
                MemberState::UnrevokedPartitions
            } else {
                member.state
            },
            epoch: member.epoch,
            assigned,
            revoking: if must_wait {
                revoking
            } else {
                member.revoking.clone()
            },
        })
    }

    /// Whether a member that waits for others would get all of it now.
    pub(super) fn can_go_on(&self, member_id: &str, member: &Member) -> bool {
        let missing = without(&member.target, &member.assigned);
        common(&missing, &self.held_by_others(member_id)).is_empty()
    }

    /// What other members have, or have not given up yet.
    fn held_by_others(&self, member_id: &str) -> Partitions {
        let mut held = Partitions::new();
        for (_, other) in self.members.iter().filter(|(id, _)| *id != member_id) {
            add(&mut held, other.assigned.clone());
            add(&mut held, other.revoking.clone());
        }
        held
    }
}

/// What a member becomes.
#[derive(Debug)]
struct Step {
    state: MemberState,
    epoch: i32,
    assigned: Partitions,
    revoking: Partitions,
}

/// Whether a member that says it has `owned` still holds some of these. One that does not say may.
fn holds(owned: Option<&Partitions>, partitions: &Partitions) -> bool {
    match owned {
        None => !partitions.is_empty(),
        Some(owned) => !common(owned, partitions).is_empty(),
    }
}
