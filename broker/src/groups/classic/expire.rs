//! What the passing of time does to a classic group.

use super::{ClassicGroup, ClassicState, Member};
use crate::groups::messages::Answers;

impl ClassicGroup {
    /// When [`ClassicGroup::tick`] has something to do.
    pub(crate) fn next_deadline(&self) -> Option<u64> {
        let sessions = self.members.values().filter_map(session_deadline);
        let pending = self.pending.values().copied();
        let phase = self.phase.map(|phase| phase.deadline);
        sessions
            .chain(pending)
            .chain(phase)
            .chain(self.sync_deadline)
            .min()
    }

    /// Does what is due at `now`.
    pub(crate) fn tick(&mut self, now: u64, out: &mut Answers) {
        self.expire_pending(now, out);
        self.expire_sessions(now, out);
        self.expire_syncs(now, out);
        self.end_phase(now, out);
    }

    fn expire_pending(&mut self, now: u64, out: &mut Answers) {
        let before = self.pending.len();
        self.pending.retain(|_, until| *until > now);
        if self.pending.len() < before {
            self.complete_if_all_joined(now, out);
        }
    }

    fn expire_sessions(&mut self, now: u64, out: &mut Answers) {
        let is_late = |member: &Member| session_deadline(member).is_some_and(|at| at <= now);
        let late = self.members.iter().filter(|(_, member)| is_late(member));
        let late: Vec<String> = late.map(|(id, _)| id.clone()).collect();
        for member_id in &late {
            tracing::info!(
                group = &*self.group_id,
                member_id,
                "removed: no sign of life within its session timeout"
            );
            self.remove_member(member_id, out);
        }
        if !late.is_empty() {
            self.rebalance_without("session timeout", now, out);
        }
    }

    /// Members that have joined but never asked for their assignment.
    fn expire_syncs(&mut self, now: u64, out: &mut Answers) {
        if self.sync_deadline.is_none_or(|at| at > now) {
            return;
        }
        self.sync_deadline = None;
        let silent = std::mem::take(&mut self.pending_sync);
        for member_id in &silent {
            tracing::info!(
                group = &*self.group_id,
                member_id,
                "removed: did not ask for its assignment in time"
            );
            self.remove_member(member_id, out);
        }
        if !silent.is_empty() {
            self.rebalance_without("members did not ask for their assignment", now, out);
        }
    }

    fn end_phase(&mut self, now: u64, out: &mut Answers) {
        let Some(phase) = &mut self.phase else { return };
        if self.state != ClassicState::PreparingRebalance || phase.deadline > now {
            return;
        }
        if let Some(left_ms) = &mut phase.extension_ms
            && self.member_added
            && *left_ms > 0
        {
            let more_ms = self.config.initial_rebalance_delay_ms.min(*left_ms);
            if more_ms > 0 {
                *left_ms -= more_ms;
                phase.deadline = now + more_ms;
                self.member_added = false;
                return;
            }
        }
        self.complete_join(now, out);
    }
}

/// A member that waits for an answer of ours is not silent; one that has never had any may not wait for ever.
fn session_deadline(member: &Member) -> Option<u64> {
    let waits = member.awaiting_join.is_some() || member.awaiting_sync.is_some();
    (!waits || member.is_new).then_some(member.session_deadline)
}
