//! A group of the new protocol (KIP-848) as a state machine, like `classic`: requests and the passing of time go in with `now`
//! (milliseconds of any clock that does not go back), answers come out.
//!
//! The group has an epoch that every change of members, subscriptions and topics raises; the assignor then gives each member
//! a target (`target`), and each heartbeat takes its member a step towards it (`reconcile`). Members may be of the classic
//! protocol (`classic_members`), and a group can change its type while it has members (`convert`). The rules are those of Kafka's
//! `GroupMetadataManager` and `CurrentAssignmentBuilder`.

mod classic_members;
mod convert;
mod heartbeat;
mod pattern;
mod re2j;
mod reconcile;
mod stored;
mod target;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use protocol::ErrorCode;
use uuid::Uuid;

use super::config::GroupConfig;
use super::messages::{Client, CommitCheck, MemberRef, Protocol};
use super::topics::Topics;
use crate::error::Failure;
pub(crate) use heartbeat::ConsumerHeartbeat;
pub(crate) use pattern::Pattern;

/// Partitions by topic id; no topic without any.
pub(crate) type Partitions = BTreeMap<Uuid, BTreeSet<i32>>;
/// The member epoch at which each partition was given, by topic id (KIP-1251).
pub(crate) type Epochs = BTreeMap<Uuid, BTreeMap<i32, i32>>;

/// The member epoch of a static member that is away.
pub(crate) const AWAY: i32 = -2;
/// The member epoch that says goodbye.
pub(crate) const LEAVING: i32 = -1;

/// How far a member has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MemberState {
    /// It has all that its epoch gives it.
    Stable,
    /// It has to give partitions up before it goes on.
    UnrevokedPartitions,
    /// Others have not given up yet what it is to get.
    UnreleasedPartitions,
}

/// A member.
#[derive(Debug, Clone)]
pub(crate) struct Member {
    pub(crate) instance_id: Option<String>,
    pub(crate) rack_id: Option<String>,
    pub(crate) client: Client,
    pub(crate) rebalance_timeout_ms: u64,
    /// Names of topics; those that do not exist too.
    pub(crate) names: BTreeSet<String>,
    pub(crate) pattern: Option<Pattern>,
    /// The assignor that it would like.
    pub(crate) assignor: Option<String>,
    /// 0 before its first step, [`AWAY`] for a static member that is.
    pub(crate) epoch: i32,
    pub(crate) previous_epoch: i32,
    pub(crate) state: MemberState,
    /// What it may consume.
    pub(crate) assigned: Partitions,
    /// What it is to give up.
    pub(crate) revoking: Partitions,
    /// Since when it has either.
    pub(crate) epochs: Epochs,
    /// What it is to have.
    pub(crate) target: Partitions,
    /// Of a member that speaks the classic protocol.
    pub(crate) classic: Option<ClassicSide>,
    session_deadline: u64,
    /// Until when it may take to give up partitions, to join again or to ask for its assignment.
    rebalance_deadline: Option<u64>,
}

/// What a classic member brings along.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ClassicSide {
    pub(crate) session_timeout_ms: u64,
    pub(crate) protocols: Vec<Protocol>,
    /// Of its subscription.
    pub(crate) version: i16,
}

/// A group of the new protocol.
#[derive(Debug)]
pub(crate) struct ConsumerGroup {
    group_id: Arc<str>,
    config: Arc<GroupConfig>,
    group_epoch: i32,
    /// The group epoch that targets are of.
    assignment_epoch: i32,
    /// The assignor that made them.
    assignor: String,
    members: BTreeMap<String, Member>,
    /// Member id by instance id.
    static_members: HashMap<String, String>,
    /// Partition counts of the subscribed topics that exist, as the group epoch knows them.
    topics: BTreeMap<Uuid, i32>,
    topics_checked: Option<u64>,
    assigned_at: Option<u64>,
    /// The group's row has to be written.
    is_dirty: bool,
    dirty_members: BTreeSet<String>,
    stored_members: BTreeSet<String>,
}

/// A heartbeat's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HeartbeatAnswer {
    pub(crate) member_id: String,
    pub(crate) member_epoch: i32,
    /// After which time the next one is expected; 0 for none.
    pub(crate) heartbeat_interval_ms: i32,
    /// If the member needs to be told.
    pub(crate) assignment: Option<Partitions>,
}

/// What ConsumerGroupDescribe shows.
#[derive(Debug, Clone)]
pub(crate) struct ConsumerDescription {
    pub(crate) state: &'static str,
    pub(crate) group_epoch: i32,
    pub(crate) assignment_epoch: i32,
    pub(crate) assignor: String,
    pub(crate) members: Vec<(String, Member)>,
}

impl ConsumerGroup {
    pub(crate) fn new(group_id: Arc<str>, config: Arc<GroupConfig>) -> Self {
        let assignor = config.consumer.assignors.first().cloned();
        Self {
            group_id,
            config,
            group_epoch: 0,
            assignment_epoch: 0,
            assignor: assignor.unwrap_or_default(),
            members: BTreeMap::new(),
            static_members: HashMap::new(),
            topics: BTreeMap::new(),
            topics_checked: None,
            assigned_at: None,
            is_dirty: false,
            dirty_members: BTreeSet::new(),
            stored_members: BTreeSet::new(),
        }
    }

    /// Goes by other settings from now on: a session from its next heartbeat.
    pub(crate) fn configure(&mut self, config: Arc<GroupConfig>) {
        self.config = config;
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Nothing of it has ever happened.
    pub(crate) fn is_nothing(&self) -> bool {
        self.members.is_empty() && self.group_epoch == 0
    }

    /// Kafka's name of the state.
    pub(crate) fn state(&self) -> &'static str {
        if self.members.is_empty() {
            return "Empty";
        }
        if self.group_epoch > self.assignment_epoch {
            return "Assigning";
        }
        let is_there = |member: &Member| {
            member.state == MemberState::Stable && member.epoch == self.assignment_epoch
        };
        if self.members.values().all(is_there) {
            "Stable"
        } else {
            "Reconciling"
        }
    }

    pub(crate) fn describe(&self) -> ConsumerDescription {
        let members = self.members.iter();
        ConsumerDescription {
            state: self.state(),
            group_epoch: self.group_epoch,
            assignment_epoch: self.assignment_epoch,
            assignor: self.assignor.clone(),
            members: members
                .map(|(id, member)| (id.clone(), member.clone()))
                .collect(),
        }
    }

    /// Names of the topics that members are subscribed to.
    pub(crate) fn subscribed_topics(&self, topics: &dyn Topics) -> BTreeSet<String> {
        // The topics of those that have left are known until somebody joins.
        if self.members.is_empty() {
            return BTreeSet::new();
        }
        let mut subscribed: BTreeSet<String> = self
            .members
            .values()
            .flat_map(|member| member.names.iter().cloned())
            .collect();
        let ids = self.topics.keys();
        let names = ids.filter_map(|id| Some(topics.by_id(*id)?.name.to_string()));
        subscribed.extend(names);
        subscribed
    }

    /// Whether a commit of offsets is accepted, in this version of OffsetCommit.
    pub(crate) fn check_commit(
        &self,
        commit: &CommitCheck<'_>,
        version: i16,
        topics: &dyn Topics,
    ) -> Result<(), ErrorCode> {
        if commit.member.epoch < 0 && self.members.is_empty() {
            return Ok(());
        }
        let known = self.members.get(&commit.member.member_id);
        let known = known.ok_or(ErrorCode::UnknownMemberId)?;
        if known.classic.is_none() && version < 9 {
            return Err(ErrorCode::UnsupportedVersion);
        }
        known.check_epochs(commit, topics)
    }

    /// Whether a commit as part of a transaction is accepted. Older producers do not say which member they are.
    pub(crate) fn check_txn_commit(
        &self,
        commit: &CommitCheck<'_>,
        topics: &dyn Topics,
    ) -> Result<(), ErrorCode> {
        let member = commit.member;
        let names_itself = !member.member_id.is_empty() || member.group_instance_id.is_some();
        if member.epoch < 0 && (self.members.is_empty() || !names_itself) {
            return Ok(());
        }
        let known = self.members.get(&member.member_id);
        let known = known.ok_or(ErrorCode::UnknownMemberId)?;
        known.check_epochs(commit, topics)
    }

    /// Whether a member may ask for the group's offsets.
    pub(crate) fn check_fetch(&self, member: &MemberRef) -> Result<(), ErrorCode> {
        match self.members.get(&member.member_id) {
            None => Err(ErrorCode::UnknownMemberId),
            Some(known) if known.epoch != member.epoch => Err(ErrorCode::StaleMemberEpoch),
            Some(_) => Ok(()),
        }
    }

    /// Removes a member, whose partitions become free.
    fn remove(&mut self, member_id: &str, reason: &str) {
        let Some(member) = self.members.remove(member_id) else {
            return;
        };
        tracing::info!(group = &*self.group_id, member_id, reason, "member removed");
        if let Some(instance) = &member.instance_id {
            self.static_members.remove(instance);
        }
        self.dirty_members.remove(member_id);
        self.bump();
        if self.members.is_empty() {
            // There is nothing to assign.
            self.assignment_epoch = self.group_epoch;
        }
    }

    /// Raises the group epoch: the next target is due.
    fn bump(&mut self) {
        self.group_epoch = self.group_epoch.saturating_add(1);
        self.is_dirty = true;
    }

    /// When [`ConsumerGroup::tick`] has something to do.
    pub(crate) fn next_deadline(&self) -> Option<u64> {
        let members = self.members.values();
        let deadlines =
            members.flat_map(|member| [Some(member.session_deadline), member.rebalance_deadline]);
        deadlines.flatten().chain(self.assignment_due()).min()
    }

    /// When the next target may be made, if one is due.
    fn assignment_due(&self) -> Option<u64> {
        let is_due = self.group_epoch > self.assignment_epoch && !self.members.is_empty();
        let interval_ms = self.config.consumer.assignment_interval_ms;
        is_due.then(|| self.assigned_at.map_or(0, |at| at + interval_ms))
    }

    /// Does what is due at `now`.
    pub(crate) fn tick(&mut self, topics: &dyn Topics, now: u64) {
        let late = self.members.iter().filter_map(|(id, member)| {
            if member.session_deadline <= now {
                Some((id.clone(), "no sign of life within the session timeout"))
            } else if member.rebalance_deadline.is_some_and(|at| at <= now) {
                Some((id.clone(), "did not follow a rebalance in time"))
            } else {
                None
            }
        });
        for (member_id, reason) in late.collect::<Vec<_>>() {
            self.remove(&member_id, reason);
        }
        if self.assignment_due().is_some_and(|at| at <= now) {
            // The epoch that is about to be assigned knows of it.
            let _ = self.refresh_topics(topics, now);
            self.assign(topics, now);
        }
    }
}

impl Member {
    /// That the member had all that it commits at the epoch that it knows. That may be an earlier one than it has by now: the answer
    /// to a heartbeat can be under way (KIP-1251).
    fn check_epochs(&self, commit: &CommitCheck<'_>, topics: &dyn Topics) -> Result<(), ErrorCode> {
        let epoch = commit.member.epoch;
        if epoch == self.epoch {
            return Ok(());
        }
        let code = match self.classic {
            Some(_) => ErrorCode::IllegalGeneration,
            None => ErrorCode::StaleMemberEpoch,
        };
        if epoch > self.epoch {
            return Err(code);
        }
        let given = self.epochs.iter();
        let given = given.filter_map(|(id, given)| Some((topics.by_id(*id)?.key, given)));
        let given: HashMap<i32, &BTreeMap<i32, i32>> = given.collect();
        let is_own = |(topic, partition): &(i32, i32)| {
            let since = given.get(topic).and_then(|given| given.get(partition));
            since.is_some_and(|since| *since <= epoch)
        };
        match commit.partitions.iter().all(is_own) {
            true => Ok(()),
            false => Err(code),
        }
    }

    /// Notes since when it has its partitions: those that are new since its present epoch.
    fn note_epochs(&mut self) {
        let mut epochs = Epochs::new();
        for (topic, partitions) in self.assigned.iter().chain(&self.revoking) {
            let known = self.epochs.get(topic);
            let since = partitions.iter().map(|partition| {
                let known = known.and_then(|known| known.get(partition));
                (*partition, known.copied().unwrap_or(self.epoch))
            });
            epochs.entry(*topic).or_default().extend(since);
        }
        self.epochs = epochs;
    }

    /// Whoever takes its place has had all of it from the beginning.
    fn forget_epochs(&mut self) {
        let given = self.epochs.values_mut();
        given
            .flat_map(BTreeMap::values_mut)
            .for_each(|since| *since = 0);
    }
}

fn refused<T>(code: ErrorCode, message: impl Into<String>) -> Result<T, Failure> {
    Err(Failure::new(code, message))
}

/// What both have.
fn common(left: &Partitions, right: &Partitions) -> Partitions {
    let topics = left.iter().filter_map(|(topic, partitions)| {
        let both = partitions & right.get(topic)?;
        (!both.is_empty()).then_some((*topic, both))
    });
    topics.collect()
}

/// What `left` has and `right` has not.
fn without(left: &Partitions, right: &Partitions) -> Partitions {
    let topics = left.iter().filter_map(|(topic, partitions)| {
        let rest = match right.get(topic) {
            Some(other) => partitions - other,
            None => partitions.clone(),
        };
        (!rest.is_empty()).then_some((*topic, rest))
    });
    topics.collect()
}

fn add(to: &mut Partitions, more: Partitions) {
    for (topic, partitions) in more {
        to.entry(topic).or_default().extend(partitions);
    }
}
