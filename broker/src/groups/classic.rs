//! A group of the classic protocol as a state machine: requests and the passing of time go in with `now` (milliseconds of any
//! clock that does not go back), answers come out. No I/O, no clock, no random numbers.
//!
//! Here: what a group is, its members, and rebalances from their beginning to the next generation. Requests are in `join` and
//! `requests`, time in `expire`, what is stored in `stored`. The rules are those of Kafka's `GroupMetadataManager`.

mod assign;
mod convert;
mod expire;
mod join;
mod requests;
mod stored;
#[cfg(test)]
mod tests;

pub(crate) use convert::Parts;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use bytes::Bytes;
use protocol::ErrorCode;

use super::config::GroupConfig;
use super::messages::{
    Answers, Client, DescribedMember, Description, JoinAnswer, JoinedMember, Protocol, SyncAnswer,
    Ticket,
};
use super::subscription;

/// Of the clients whose members consume.
pub(crate) const CONSUMER: &str = "consumer";

/// The least time between two looks at static members that are away.
const RETRY_MS: u64 = 1_000;

/// Kafka's states, without Dead: a group that is gone is no group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ClassicState {
    Empty,
    /// Waiting for members to join.
    PreparingRebalance,
    /// Waiting for the leader's assignment.
    CompletingRebalance,
    Stable,
}

impl ClassicState {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Empty => "Empty",
            Self::PreparingRebalance => "PreparingRebalance",
            Self::CompletingRebalance => "CompletingRebalance",
            Self::Stable => "Stable",
        }
    }
}

/// A member.
#[derive(Debug, Clone)]
pub(crate) struct Member {
    pub(crate) group_instance_id: Option<String>,
    pub(crate) client: Client,
    pub(crate) session_timeout_ms: u64,
    pub(crate) rebalance_timeout_ms: u64,
    pub(crate) protocols: Vec<Protocol>,
    pub(crate) assignment: Bytes,
    /// The JoinGroup that waits for the next generation.
    awaiting_join: Option<Ticket>,
    /// The SyncGroup that waits for the leader's assignment.
    awaiting_sync: Option<Ticket>,
    /// When it counts as gone, unless it waits for an answer.
    session_deadline: u64,
    /// Has not been in a generation yet.
    is_new: bool,
}

impl Member {
    fn metadata(&self, protocol: &str) -> Bytes {
        let found = self.protocols.iter().find(|known| known.name == protocol);
        found.map_or_else(Bytes::new, |known| known.metadata.clone())
    }

    fn speaks(&self, protocol: &str) -> bool {
        self.protocols.iter().any(|known| known.name == protocol)
    }

    fn is_static(&self) -> bool {
        self.group_instance_id.is_some()
    }
}

/// How long joins are waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct JoinPhase {
    deadline: u64,
    /// In an empty group: how much longer the wait may become while members keep coming. The whole time is waited.
    extension_ms: Option<u64>,
}

/// A group of the classic protocol.
#[derive(Debug)]
pub(crate) struct ClassicGroup {
    group_id: Arc<str>,
    config: Arc<GroupConfig>,
    state: ClassicState,
    generation_id: i32,
    protocol_type: Option<String>,
    protocol: Option<String>,
    leader: Option<String>,
    members: BTreeMap<String, Member>,
    /// Member id by group instance id.
    static_members: HashMap<String, String>,
    /// Ids that were given to clients which have not joined with them yet, with the time they are kept until.
    pending: BTreeMap<String, u64>,
    /// Members of this generation that have not asked for their assignment, and when they count as gone for it.
    pending_sync: BTreeSet<String>,
    sync_deadline: Option<u64>,
    phase: Option<JoinPhase>,
    /// Somebody joined since the wait of an empty group was last extended.
    member_added: bool,
    /// Members have left, and what follows from it has not been done.
    rejoin_needed: bool,
    /// The database has a row of it.
    is_stored: bool,
    /// Members that are stored.
    stored_members: BTreeSet<String>,
    /// Something that has to outlive the broker has changed.
    is_dirty: bool,
}

impl ClassicGroup {
    pub(crate) fn new(group_id: Arc<str>, config: Arc<GroupConfig>) -> Self {
        Self {
            group_id,
            config,
            state: ClassicState::Empty,
            generation_id: 0,
            protocol_type: None,
            protocol: None,
            leader: None,
            members: BTreeMap::new(),
            static_members: HashMap::new(),
            pending: BTreeMap::new(),
            pending_sync: BTreeSet::new(),
            sync_deadline: None,
            phase: None,
            member_added: false,
            rejoin_needed: false,
            is_stored: false,
            stored_members: BTreeSet::new(),
            is_dirty: false,
        }
    }

    /// Goes by other settings from now on.
    pub(crate) fn configure(&mut self, config: Arc<GroupConfig>) {
        self.config = config;
    }

    pub(crate) fn state(&self) -> ClassicState {
        self.state
    }

    pub(crate) fn protocol_type(&self) -> Option<&str> {
        self.protocol_type.as_deref()
    }

    /// Nobody is in it or about to join.
    pub(crate) fn is_unused(&self) -> bool {
        self.state == ClassicState::Empty && self.members.is_empty() && self.pending.is_empty()
    }

    /// Nobody has ever been in it, and nothing was committed: there is no such group.
    pub(crate) fn is_nothing(&self) -> bool {
        self.is_unused() && !self.is_stored
    }

    /// Offsets are committed, which stores the group.
    pub(crate) fn note_stored(&mut self) {
        self.is_stored = true;
    }

    /// Its members are consumers.
    pub(crate) fn has_consumers(&self) -> bool {
        self.protocol_type.as_deref() == Some(CONSUMER)
    }

    /// The topics that members are subscribed to; `None` where they do not say so in Kafka's form.
    pub(crate) fn subscribed_topics(&self) -> Option<BTreeSet<String>> {
        if self.members.is_empty() {
            return Some(BTreeSet::new());
        }
        if !self.has_consumers() {
            return None;
        }
        let protocol = self.protocol.as_deref()?;
        let mut topics = BTreeSet::new();
        for member in self.members.values() {
            let subscription = subscription::Subscription::read(&member.metadata(protocol))?;
            topics.extend(subscription.topics);
        }
        Some(topics)
    }

    pub(crate) fn describe(&self) -> Description {
        let is_stable = self.state == ClassicState::Stable;
        let protocol = self.protocol.as_deref().filter(|_| is_stable);
        let members = self.members.iter().map(|(id, member)| DescribedMember {
            member_id: id.clone(),
            group_instance_id: member.group_instance_id.clone(),
            client: member.client.clone(),
            metadata: protocol.map_or_else(Bytes::new, |name| member.metadata(name)),
            assignment: protocol.map_or_else(Bytes::new, |_| member.assignment.clone()),
        });
        Description {
            state: self.state.name(),
            protocol_type: self.protocol_type.clone().unwrap_or_default(),
            protocol: protocol.unwrap_or_default().to_owned(),
            members: members.collect(),
        }
    }

    fn is_leader(&self, member_id: &str) -> bool {
        self.leader.as_deref() == Some(member_id)
    }

    fn rebalance_timeout_ms(&self) -> u64 {
        let timeouts = self
            .members
            .values()
            .map(|member| member.rebalance_timeout_ms);
        timeouts.max().unwrap_or(0)
    }

    /// That the member is one, and that nobody else has taken its place.
    fn check_member(
        &self,
        member_id: &str,
        group_instance_id: Option<&str>,
    ) -> Result<(), ErrorCode> {
        if let Some(instance) = group_instance_id {
            match self.static_members.get(instance) {
                None => return Err(ErrorCode::UnknownMemberId),
                Some(known) if known != member_id => return Err(ErrorCode::FencedInstanceId),
                Some(_) => {}
            }
        }
        if self.members.contains_key(member_id) {
            Ok(())
        } else {
            Err(ErrorCode::UnknownMemberId)
        }
    }

    /// Begins a rebalance, or, when one waits for members already, ends the wait if all are there.
    fn rebalance_or_complete(&mut self, reason: &str, now: u64, out: &mut Answers) {
        if self.state == ClassicState::PreparingRebalance {
            self.complete_if_all_joined(now, out);
        } else {
            self.prepare_rebalance(reason, now, out);
        }
    }

    fn prepare_rebalance(&mut self, reason: &str, now: u64, out: &mut Answers) {
        tracing::info!(
            group = &*self.group_id,
            generation = self.generation_id,
            reason,
            "rebalance begins"
        );
        if self.state == ClassicState::CompletingRebalance {
            self.fail_syncs(ErrorCode::RebalanceInProgress, now, out);
        }
        self.pending_sync.clear();
        self.sync_deadline = None;
        let is_first = self.state == ClassicState::Empty;
        self.state = ClassicState::PreparingRebalance;
        let timeout_ms = self.rebalance_timeout_ms();
        let delay_ms = self.config.initial_rebalance_delay_ms;
        self.phase = Some(if is_first {
            JoinPhase {
                deadline: now + delay_ms,
                extension_ms: Some(timeout_ms.saturating_sub(delay_ms)),
            }
        } else {
            JoinPhase {
                deadline: now + timeout_ms,
                extension_ms: None,
            }
        });
        self.member_added = false;
        self.complete_if_all_joined(now, out);
    }

    /// Assignments of a generation that never became one, answered with `code`.
    fn fail_syncs(&mut self, code: ErrorCode, now: u64, out: &mut Answers) {
        for member in self.members.values_mut() {
            member.assignment = Bytes::new();
            if let Some(ticket) = member.awaiting_sync.take() {
                member.session_deadline = now + member.session_timeout_ms;
                out.syncs.push((ticket, SyncAnswer::refused(code)));
            }
        }
    }

    fn complete_if_all_joined(&mut self, now: u64, out: &mut Answers) {
        let is_first = self.phase.is_none_or(|phase| phase.extension_ms.is_some());
        let mut members = self.members.values();
        if self.state == ClassicState::PreparingRebalance
            && !is_first
            && self.pending.is_empty()
            && members.all(|member| member.awaiting_join.is_some())
        {
            self.complete_join(now, out);
        }
    }

    /// The next generation, of those who have joined. Static members that have not are in it all the same.
    fn complete_join(&mut self, now: u64, out: &mut Answers) {
        let silent = self
            .members
            .iter()
            .filter(|(_, member)| member.awaiting_join.is_none() && !member.is_static());
        let silent: Vec<String> = silent.map(|(id, _)| id.clone()).collect();
        for member_id in &silent {
            tracing::info!(
                group = &*self.group_id,
                member_id,
                "removed: did not join again in time"
            );
            self.remove_member(member_id, out);
        }
        if !self.members.is_empty() && !self.elect_leader() {
            // Only static members are left, and none has come: their sessions decide.
            let deadline = now + self.rebalance_timeout_ms().max(RETRY_MS);
            self.phase = Some(JoinPhase {
                deadline,
                extension_ms: None,
            });
            return;
        }
        self.phase = None;
        self.is_dirty = true;
        self.generation_id = self.generation_id.checked_add(1).unwrap_or(1);
        if self.members.is_empty() {
            self.state = ClassicState::Empty;
            self.protocol = None;
            tracing::info!(
                group = &*self.group_id,
                generation = self.generation_id,
                "no members are left"
            );
            return;
        }
        self.protocol = self.vote();
        self.state = ClassicState::CompletingRebalance;
        self.pending_sync = self.members.keys().cloned().collect();
        self.sync_deadline = Some(now + self.rebalance_timeout_ms());
        tracing::info!(
            group = &*self.group_id,
            generation = self.generation_id,
            protocol = self.protocol,
            members = self.members.len(),
            "next generation"
        );
        self.answer_joins(now, out);
    }

    fn answer_joins(&mut self, now: u64, out: &mut Answers) {
        let ids: Vec<String> = self.members.keys().cloned().collect();
        for id in ids {
            let answer = self.present_generation(&id);
            let Some(member) = self.members.get_mut(&id) else {
                continue;
            };
            if let Some(ticket) = member.awaiting_join.take() {
                member.is_new = false;
                member.session_deadline = now + member.session_timeout_ms;
                out.joins.push((ticket, answer));
            }
        }
    }

    /// What a member that has joined is told; the leader with all members.
    fn present_generation(&self, member_id: &str) -> JoinAnswer {
        JoinAnswer {
            error: ErrorCode::None,
            generation_id: self.generation_id,
            protocol_type: self.protocol_type.clone(),
            protocol_name: self.protocol.clone(),
            leader: self.leader.clone().unwrap_or_default(),
            skip_assignment: false,
            member_id: member_id.to_owned(),
            members: if self.is_leader(member_id) {
                self.joined_members()
            } else {
                Vec::new()
            },
        }
    }

    fn joined_members(&self) -> Vec<JoinedMember> {
        let protocol = self.protocol.as_deref().unwrap_or_default();
        let members = self.members.iter().map(|(id, member)| JoinedMember {
            member_id: id.clone(),
            group_instance_id: member.group_instance_id.clone(),
            metadata: member.metadata(protocol),
        });
        members.collect()
    }

    /// Sees to it that the leader is one of those who have joined; false if nobody has.
    fn elect_leader(&mut self) -> bool {
        let waits = |member: &Member| member.awaiting_join.is_some();
        let leader = self.leader.as_ref().and_then(|id| self.members.get(id));
        if leader.is_some_and(waits) {
            return true;
        }
        let next = self.members.iter().find(|(_, member)| waits(member));
        let Some((id, _)) = next else { return false };
        self.leader = Some(id.clone());
        true
    }

    /// The protocol that most members would like best, of those that all can speak; the leader's order decides a tie.
    fn vote(&self) -> Option<String> {
        let leader = self.leader.as_ref().and_then(|id| self.members.get(id));
        let ballot = leader.or_else(|| self.members.values().next())?;
        let mut candidates: Vec<(&str, usize)> = ballot
            .protocols
            .iter()
            .filter(|protocol| {
                self.members
                    .values()
                    .all(|member| member.speaks(&protocol.name))
            })
            .map(|protocol| (protocol.name.as_str(), 0))
            .collect();
        for member in self.members.values() {
            let mut wishes = member.protocols.iter();
            let choice =
                wishes.find_map(|wish| candidates.iter().position(|(name, _)| *name == wish.name));
            if let Some((_, votes)) = choice.and_then(|index| candidates.get_mut(index)) {
                *votes += 1;
            }
        }
        let most = candidates.iter().map(|(_, votes)| *votes).max()?;
        let winner = candidates.iter().find(|(_, votes)| *votes == most)?;
        Some(winner.0.to_owned())
    }

    /// Removes a member, with UNKNOWN_MEMBER_ID for what it waits for. What follows for the group is the caller's.
    fn remove_member(&mut self, member_id: &str, out: &mut Answers) {
        let Some(member) = self.members.remove(member_id) else {
            return;
        };
        let code = ErrorCode::UnknownMemberId;
        if let Some(ticket) = member.awaiting_join {
            out.joins
                .push((ticket, JoinAnswer::refused(code, member_id)));
        }
        if let Some(ticket) = member.awaiting_sync {
            out.syncs.push((ticket, SyncAnswer::refused(code)));
        }
        if let Some(instance) = &member.group_instance_id {
            self.static_members.remove(instance);
        }
        self.pending_sync.remove(member_id);
        if self.is_leader(member_id) {
            self.leader = self.members.keys().next().cloned();
        }
    }

    /// After members were removed.
    fn rebalance_without(&mut self, reason: &str, now: u64, out: &mut Answers) {
        match self.state {
            ClassicState::Empty => {}
            ClassicState::PreparingRebalance => self.complete_if_all_joined(now, out),
            ClassicState::CompletingRebalance | ClassicState::Stable => {
                self.prepare_rebalance(reason, now, out);
            }
        }
    }
}
