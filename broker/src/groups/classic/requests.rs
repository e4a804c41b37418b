//! SyncGroup, Heartbeat, LeaveGroup, and whether a commit of offsets is accepted.

use std::collections::BTreeMap;

use bytes::Bytes;
use protocol::ErrorCode;

use super::{ClassicGroup, ClassicState, assign};
use crate::groups::messages::{Answers, Leaving, MemberRef, SyncAnswer, SyncRequest, Ticket};
use crate::groups::topics::Topics;

impl ClassicGroup {
    /// A member asks for its assignment; the leader brings all of them.
    pub(crate) fn sync(
        &mut self,
        ticket: Ticket,
        request: SyncRequest,
        topics: &dyn Topics,
        now: u64,
        out: &mut Answers,
    ) {
        if let Err(code) = self.try_sync(ticket, request, topics, now, out) {
            out.syncs.push((ticket, SyncAnswer::refused(code)));
        }
    }

    fn try_sync(
        &mut self,
        ticket: Ticket,
        request: SyncRequest,
        topics: &dyn Topics,
        now: u64,
        out: &mut Answers,
    ) -> Result<(), ErrorCode> {
        self.check_generation(&request.member)?;
        let differs = |own: &Option<String>, said: &Option<String>| said.is_some() && own != said;
        if differs(&self.protocol_type, &request.protocol_type)
            || differs(&self.protocol, &request.protocol_name)
        {
            return Err(ErrorCode::InconsistentGroupProtocol);
        }
        let member_id = request.member.member_id;
        match self.state {
            ClassicState::Empty => return Err(ErrorCode::UnknownMemberId),
            ClassicState::PreparingRebalance => return Err(ErrorCode::RebalanceInProgress),
            ClassicState::CompletingRebalance => {
                self.pending_sync.remove(&member_id);
                if let Some(member) = self.members.get_mut(&member_id)
                    && let Some(older) = member.awaiting_sync.replace(ticket)
                {
                    let code = ErrorCode::RebalanceInProgress;
                    out.syncs.push((older, SyncAnswer::refused(code)));
                }
                if self.is_leader(&member_id) {
                    self.assign(request.assignments, topics, now, out);
                }
            }
            ClassicState::Stable => {
                self.pending_sync.remove(&member_id);
                let answer = self.assignment_of(&member_id);
                self.touch(&member_id, now);
                out.syncs.push((ticket, answer));
            }
        }
        Ok(())
    }

    /// The leader's assignment makes the generation stable. A leader of consumers that assigns nothing to anybody leaves it to
    /// the broker, as far as it knows the assignor.
    fn assign(
        &mut self,
        given: Vec<(String, Bytes)>,
        topics: &dyn Topics,
        now: u64,
        out: &mut Answers,
    ) {
        let mut given: BTreeMap<String, Bytes> = given.into_iter().collect();
        if given.is_empty() && self.has_consumers() {
            given = assign::by_broker(self, topics);
        }
        for (id, member) in &mut self.members {
            member.assignment = given.remove(id).unwrap_or_default();
        }
        self.state = ClassicState::Stable;
        self.is_dirty = true;
        if self.pending_sync.is_empty() {
            self.sync_deadline = None;
        }
        let waiting: Vec<(String, Ticket)> = self
            .members
            .iter_mut()
            .filter_map(|(id, member)| Some((id.clone(), member.awaiting_sync.take()?)))
            .collect();
        for (member_id, ticket) in waiting {
            let answer = self.assignment_of(&member_id);
            self.touch(&member_id, now);
            out.syncs.push((ticket, answer));
        }
        tracing::info!(
            group = &*self.group_id,
            generation = self.generation_id,
            "assigned by {}",
            self.leader.as_deref().unwrap_or_default()
        );
    }

    fn assignment_of(&self, member_id: &str) -> SyncAnswer {
        let member = self.members.get(member_id);
        SyncAnswer {
            error: ErrorCode::None,
            protocol_type: self.protocol_type.clone(),
            protocol_name: self.protocol.clone(),
            assignment: member.map_or_else(Bytes::new, |member| member.assignment.clone()),
        }
    }

    fn touch(&mut self, member_id: &str, now: u64) {
        if let Some(member) = self.members.get_mut(member_id) {
            member.session_deadline = now + member.session_timeout_ms;
        }
    }

    fn check_generation(&self, member: &MemberRef) -> Result<(), ErrorCode> {
        self.check_member(&member.member_id, member.group_instance_id.as_deref())?;
        if member.epoch == self.generation_id {
            Ok(())
        } else {
            Err(ErrorCode::IllegalGeneration)
        }
    }

    /// A sign of life.
    pub(crate) fn heartbeat(&mut self, member: &MemberRef, now: u64) -> Result<(), ErrorCode> {
        self.check_generation(member)?;
        match self.state {
            ClassicState::Empty => Err(ErrorCode::UnknownMemberId),
            ClassicState::PreparingRebalance => {
                self.touch(&member.member_id, now);
                Err(ErrorCode::RebalanceInProgress)
            }
            ClassicState::CompletingRebalance | ClassicState::Stable => {
                self.touch(&member.member_id, now);
                Ok(())
            }
        }
    }

    /// Members leave, each with a result of its own. A static member may be named by its instance alone.
    pub(crate) fn leave(
        &mut self,
        members: &[Leaving],
        now: u64,
        out: &mut Answers,
    ) -> Vec<Result<(), ErrorCode>> {
        let results = members
            .iter()
            .map(|leaving| self.leave_one(leaving, out))
            .collect();
        let reasons = members.iter().filter_map(|member| member.reason.as_deref());
        let reason = format!("members leave: {}", reasons.collect::<Vec<_>>().join(", "));
        if self.rejoin_needed {
            self.rejoin_needed = false;
            self.rebalance_without(&reason, now, out);
        }
        results
    }

    fn leave_one(&mut self, leaving: &Leaving, out: &mut Answers) -> Result<(), ErrorCode> {
        let known;
        let member_id = match &leaving.group_instance_id {
            Some(instance) if leaving.member_id.is_empty() => {
                let found = self.static_members.get(instance);
                known = found.cloned().ok_or(ErrorCode::UnknownMemberId)?;
                &known
            }
            _ => &leaving.member_id,
        };
        if leaving.group_instance_id.is_none() && self.pending.remove(member_id).is_some() {
            self.rejoin_needed = true;
            return Ok(());
        }
        self.check_member(member_id, leaving.group_instance_id.as_deref())?;
        tracing::info!(
            group = &*self.group_id,
            member_id = member_id.as_str(),
            reason = leaving.reason.as_deref(),
            "leaves"
        );
        let member_id = member_id.clone();
        self.remove_member(&member_id, out);
        self.rejoin_needed = true;
        Ok(())
    }

    /// Whether a commit as part of a transaction is accepted. Older producers do not say which member they are.
    pub(crate) fn check_txn_commit(
        &mut self,
        member: &MemberRef,
        now: u64,
    ) -> Result<(), ErrorCode> {
        let names_itself = !member.member_id.is_empty() || member.group_instance_id.is_some();
        if member.epoch < 0 && (self.members.is_empty() || !names_itself) {
            return Ok(());
        }
        self.check_generation(member)?;
        self.touch(&member.member_id, now);
        Ok(())
    }

    /// Whether a commit of offsets is accepted. A member's commit is a sign of life too.
    pub(crate) fn check_commit(&mut self, member: &MemberRef, now: u64) -> Result<(), ErrorCode> {
        if member.epoch < 0 && self.members.is_empty() {
            return Ok(());
        }
        let names_itself = !member.member_id.is_empty() || member.group_instance_id.is_some();
        if member.epoch < 0 && !names_itself {
            return Err(ErrorCode::UnknownMemberId);
        }
        self.check_generation(member)?;
        if self.state == ClassicState::CompletingRebalance {
            return Err(ErrorCode::RebalanceInProgress);
        }
        self.touch(&member.member_id, now);
        Ok(())
    }
}
