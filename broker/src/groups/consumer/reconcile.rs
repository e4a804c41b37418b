//! One step of a member towards its target: gives up first, moves to the next epoch, gets what others have released.

use super::{ConsumerGroup, Member, MemberState, Partitions, add, common, without};

impl ConsumerGroup {
    /// Takes the member as far as it can go. `owned` is what it says it has, where it says so.
    pub(super) fn reconcile(&mut self, member_id: &str, owned: Option<&Partitions>, now: u64) {
        let Some(member) = self.members.get(member_id) else {
            return;
        };
        let next = match member.state {
            MemberState::Stable if member.epoch == self.assignment_epoch => return,
            MemberState::Stable => self.next_step(member_id, member, member.epoch, owned),
            MemberState::UnrevokedPartitions if holds(owned, &member.revoking) => return,
            // All is given up, which is the way out of its epoch.
            MemberState::UnrevokedPartitions => {
                let epoch = member.epoch.saturating_add(1).min(self.assignment_epoch);
                self.next_step(member_id, member, epoch, owned)
            }
            MemberState::UnreleasedPartitions => {
                self.next_step(member_id, member, member.epoch, owned)
            }
        };
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

    fn next_step(
        &self,
        member_id: &str,
        member: &Member,
        epoch: i32,
        owned: Option<&Partitions>,
    ) -> Step {
        let mut assigned = common(&member.assigned, &member.target);
        let revoking = without(&member.assigned, &assigned);
        if holds(owned, &revoking) {
            return Step {
                state: MemberState::UnrevokedPartitions,
                epoch,
                assigned,
                revoking,
            };
        }
        let missing = without(&member.target, &assigned);
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

    /// Whether a member that waits for others would get something now.
    pub(super) fn can_go_on(&self, member_id: &str, member: &Member) -> bool {
        let missing = without(&member.target, &member.assigned);
        let held = self.held_by_others(member_id);
        !without(&missing, &held).is_empty()
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
