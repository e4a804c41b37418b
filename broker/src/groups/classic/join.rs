//! JoinGroup: new members, members that come again, static members that take their own place.

use bytes::Bytes;
use protocol::ErrorCode;

use super::{ClassicGroup, ClassicState, Member};
use crate::groups::messages::{Answers, JoinAnswer, JoinRequest, SyncAnswer, Ticket};

/// How long a member that has never been in a generation may wait for its first.
const NEW_MEMBER_JOIN_TIMEOUT_MS: u64 = 5 * 60 * 1000;

impl ClassicGroup {
    /// A member joins, for the first time or again. It is answered at once or when the next generation begins.
    pub(crate) fn join(
        &mut self,
        ticket: Ticket,
        request: JoinRequest,
        now: u64,
        out: &mut Answers,
    ) {
        if let Err(answer) = self.try_join(ticket, request, now, out) {
            out.joins.push((ticket, *answer));
        }
    }

    fn try_join(
        &mut self,
        ticket: Ticket,
        request: JoinRequest,
        now: u64,
        out: &mut Answers,
    ) -> Result<(), Box<JoinAnswer>> {
        let refused = |code| Box::new(JoinAnswer::refused(code, request.member_id.as_str()));
        if !self.has_room(&request.member_id) {
            let code = ErrorCode::GroupMaxSizeReached;
            return Err(Box::new(JoinAnswer::refused(code, "")));
        }
        if !self.supports(&request) {
            return Err(refused(ErrorCode::InconsistentGroupProtocol));
        }
        if request.member_id.is_empty() {
            return self.join_new(ticket, request, now, out);
        }
        if self.pending.contains_key(&request.member_id) {
            if request.group_instance_id.is_some() {
                // Static members are never told to come back with an id.
                return Err(refused(ErrorCode::UnknownMemberId));
            }
            let member_id = request.member_id.clone();
            self.add_member(ticket, member_id, request, now, out);
            return Ok(());
        }
        self.check_member(&request.member_id, request.group_instance_id.as_deref())
            .map_err(refused)?;
        self.join_again(ticket, request, now, out);
        Ok(())
    }

    fn has_room(&self, member_id: &str) -> bool {
        let most = self.config.max_size;
        match self.state {
            ClassicState::Empty => true,
            ClassicState::PreparingRebalance => {
                let waits = |member: &Member| member.awaiting_join.is_some();
                self.members.get(member_id).is_some_and(waits)
                    || self.members.values().filter(|member| waits(member)).count() < most
            }
            ClassicState::CompletingRebalance | ClassicState::Stable => {
                self.members.contains_key(member_id) || self.members.len() < most
            }
        }
    }

    /// Whether the request's protocols go together with those of the members that are there.
    fn supports(&self, request: &JoinRequest) -> bool {
        if request.protocols.is_empty() || request.protocol_type.is_empty() {
            return false;
        }
        if self.members.is_empty() {
            return true;
        }
        let all_speak = |name: &str| self.members.values().all(|member| member.speaks(name));
        self.protocol_type.as_deref() == Some(&request.protocol_type)
            && request
                .protocols
                .iter()
                .any(|protocol| all_speak(&protocol.name))
    }

    fn join_new(
        &mut self,
        ticket: Ticket,
        request: JoinRequest,
        now: u64,
        out: &mut Answers,
    ) -> Result<(), Box<JoinAnswer>> {
        let prefix = request
            .group_instance_id
            .as_ref()
            .unwrap_or(&request.client.id);
        let member_id = format!("{prefix}-{}", request.unique);
        let instance = request.group_instance_id.as_ref();
        if let Some(old) = instance.and_then(|id| self.static_members.get(id)) {
            let old = old.clone();
            self.replace_static(ticket, &old, member_id, request, now, out);
            return Ok(());
        }
        if request.requires_known_member_id && instance.is_none() {
            let until = now + millis(request.session_timeout_ms);
            self.pending.insert(member_id.clone(), until);
            let code = ErrorCode::MemberIdRequired;
            return Err(Box::new(JoinAnswer::refused(code, member_id)));
        }
        self.add_member(ticket, member_id, request, now, out);
        Ok(())
    }

    fn add_member(
        &mut self,
        ticket: Ticket,
        member_id: String,
        request: JoinRequest,
        now: u64,
        out: &mut Answers,
    ) {
        self.pending.remove(&member_id);
        if self.members.is_empty() {
            self.protocol_type = Some(request.protocol_type.clone());
        }
        if self.leader.is_none() {
            self.leader = Some(member_id.clone());
        }
        if let Some(instance) = &request.group_instance_id {
            self.static_members
                .insert(instance.clone(), member_id.clone());
        }
        self.member_added = true;
        let reason = format!(
            "{member_id} joins: {}",
            request.reason.as_deref().unwrap_or("no reason given")
        );
        let member = Member {
            group_instance_id: request.group_instance_id.clone(),
            client: request.client.clone(),
            session_timeout_ms: 0,
            rebalance_timeout_ms: 0,
            protocols: Vec::new(),
            assignment: Bytes::new(),
            awaiting_join: None,
            awaiting_sync: None,
            session_deadline: now + NEW_MEMBER_JOIN_TIMEOUT_MS,
            is_new: true,
        };
        self.members.insert(member_id.clone(), member);
        self.take_up(ticket, &member_id, request, now, out);
        self.rebalance_or_complete(&reason, now, out);
    }

    /// Notes what a member now says of itself, and that it waits for the next generation.
    fn take_up(
        &mut self,
        ticket: Ticket,
        member_id: &str,
        request: JoinRequest,
        now: u64,
        out: &mut Answers,
    ) {
        let Some(member) = self.members.get_mut(member_id) else {
            return;
        };
        member.protocols = request.protocols;
        member.client = request.client;
        member.session_timeout_ms = millis(request.session_timeout_ms);
        member.rebalance_timeout_ms = millis(request.rebalance_timeout_ms);
        member.session_deadline = now
            + if member.is_new {
                NEW_MEMBER_JOIN_TIMEOUT_MS
            } else {
                member.session_timeout_ms
            };
        // The client has given up on an earlier request.
        if let Some(older) = member.awaiting_join.replace(ticket) {
            let code = ErrorCode::RebalanceInProgress;
            out.joins
                .push((older, JoinAnswer::refused(code, member_id)));
        }
    }

    fn join_again(&mut self, ticket: Ticket, request: JoinRequest, now: u64, out: &mut Answers) {
        let member_id = request.member_id.clone();
        let is_same = self
            .members
            .get(&member_id)
            .is_some_and(|member| member.protocols == request.protocols);
        let is_leader = self.is_leader(&member_id);
        let needs_no_rebalance = match self.state {
            // It may have missed the answer to its JoinGroup.
            ClassicState::CompletingRebalance => is_same,
            // The leader joins again to ask for a rebalance; a follower without news just learns the generation.
            ClassicState::Stable => is_same && !is_leader,
            ClassicState::PreparingRebalance | ClassicState::Empty => false,
        };
        if needs_no_rebalance {
            let answer = self.present_generation(&member_id);
            if let Some(member) = self.members.get_mut(&member_id) {
                member.session_deadline = now + member.session_timeout_ms;
            }
            out.joins.push((ticket, answer));
            return;
        }
        let who = if is_leader { "leader" } else { "member" };
        let reason = format!(
            "{who} {member_id} joins again: {}",
            request.reason.as_deref().unwrap_or("no reason given")
        );
        self.take_up(ticket, &member_id, request, now, out);
        self.rebalance_or_complete(&reason, now, out);
    }

    /// A new instance of a static member takes the place of the old one, which is fenced; without a rebalance where the
    /// group is stable and the choice of the protocol does not change.
    fn replace_static(
        &mut self,
        ticket: Ticket,
        old_id: &str,
        new_id: String,
        request: JoinRequest,
        now: u64,
        out: &mut Answers,
    ) {
        let Some(mut member) = self.members.remove(old_id) else {
            return;
        };
        let fenced = ErrorCode::FencedInstanceId;
        if let Some(older) = member.awaiting_join.take() {
            out.joins.push((older, JoinAnswer::refused(fenced, old_id)));
        }
        if let Some(older) = member.awaiting_sync.take() {
            out.syncs.push((older, SyncAnswer::refused(fenced)));
        }
        if let Some(instance) = &request.group_instance_id {
            self.static_members.insert(instance.clone(), new_id.clone());
        }
        if self.pending_sync.remove(old_id) {
            self.pending_sync.insert(new_id.clone());
        }
        let old_leader = self.leader.clone().unwrap_or_default();
        if self.is_leader(old_id) {
            self.leader = Some(new_id.clone());
        }
        tracing::info!(
            group = &*self.group_id,
            old_id,
            new_id,
            "static member replaced"
        );
        self.members.insert(new_id.clone(), member);
        let can_skip = request.can_skip_assignment;
        self.take_up(ticket, &new_id, request, now, out);
        if self.state != ClassicState::Stable || self.vote() != self.protocol {
            let reason = format!("static member {new_id} joins");
            self.rebalance_or_complete(&reason, now, out);
            return;
        }
        self.is_dirty = true;
        let mut answer = self.present_generation(&new_id);
        if can_skip {
            answer.skip_assignment = self.is_leader(&new_id);
        } else {
            // An old client that learned it leads would assign anew; it is told of the leader that it replaced.
            answer.leader = old_leader;
            answer.members = Vec::new();
        }
        if let Some(member) = self.members.get_mut(&new_id) {
            member.awaiting_join = None;
            member.is_new = false;
            member.session_deadline = now + member.session_timeout_ms;
        }
        out.joins.push((ticket, answer));
    }
}

fn millis(value: i32) -> u64 {
    u64::try_from(value).unwrap_or(0)
}
