//! A group of either type, or none: which state machine a request goes to, and when the type changes.

use std::collections::BTreeSet;
use std::sync::Arc;

use protocol::ErrorCode;
use storage::{GroupChange, GroupRow, MemberRow};

use super::classic::{ClassicGroup, ClassicState};
use super::config::GroupConfig;
use super::consumer::{ConsumerDescription, ConsumerGroup, ConsumerHeartbeat, HeartbeatAnswer};
use super::messages::{
    Answers, CommitCheck, Description, JoinAnswer, JoinRequest, Leaving, MemberRef, SyncAnswer,
    SyncRequest, Ticket,
};
use super::topics::Topics;
use crate::error::Failure;

/// The state machine of a group.
#[derive(Debug)]
pub(super) enum Machine {
    /// There is no such group.
    None,
    Classic(ClassicGroup),
    Consumer(ConsumerGroup),
}

/// A group with what its steps need.
#[derive(Debug)]
pub(super) struct Group {
    group_id: Arc<str>,
    config: Arc<GroupConfig>,
    machine: Machine,
}

/// A step's surroundings.
pub(super) struct Moment<'a> {
    pub(super) topics: &'a dyn Topics,
    pub(super) now: u64,
    pub(super) out: &'a mut Answers,
}

impl Group {
    pub(super) fn none(group_id: Arc<str>, config: Arc<GroupConfig>) -> Self {
        Self {
            group_id,
            config,
            machine: Machine::None,
        }
    }

    /// The group as it was stored.
    pub(super) fn restore(
        row: GroupRow,
        members: Vec<MemberRow>,
        config: Arc<GroupConfig>,
        now: u64,
    ) -> Result<Self, String> {
        let mut group = Self::none(row.group_id.as_str().into(), config.clone());
        group.machine = if row.group_type == "consumer" {
            Machine::Consumer(ConsumerGroup::restore(row, members, config, now)?)
        } else {
            Machine::Classic(ClassicGroup::restore(row, members, config, now)?)
        };
        Ok(group)
    }

    /// Goes by other settings from now on.
    pub(super) fn configure(&mut self, config: Arc<GroupConfig>) {
        match &mut self.machine {
            Machine::None => {}
            Machine::Classic(group) => group.configure(config.clone()),
            Machine::Consumer(group) => group.configure(config.clone()),
        }
        self.config = config;
    }

    pub(super) fn machine(&self) -> &Machine {
        &self.machine
    }

    fn new_classic(&self) -> ClassicGroup {
        ClassicGroup::new(self.group_id.clone(), self.config.clone())
    }

    pub(super) fn join(&mut self, ticket: Ticket, request: JoinRequest, moment: Moment<'_>) {
        match &mut self.machine {
            Machine::Consumer(group) if !group.is_empty() => {
                let answer = group.classic_join(request, moment.topics, moment.now);
                moment.out.joins.push((ticket, answer));
                self.downgrade_if_due(moment);
                return;
            }
            Machine::None | Machine::Consumer(_) => {
                if !request.member_id.is_empty() {
                    let code = ErrorCode::UnknownMemberId;
                    let answer = JoinAnswer::refused(code, request.member_id);
                    moment.out.joins.push((ticket, answer));
                    return;
                }
                let mut group = self.new_classic();
                if let Machine::Consumer(former) = &self.machine {
                    group.succeed(former.group_epoch());
                }
                self.machine = Machine::Classic(group);
            }
            Machine::Classic(_) => {}
        }
        if let Machine::Classic(group) = &mut self.machine {
            group.join(ticket, request, moment.now, moment.out);
        }
    }

    pub(super) fn sync(&mut self, ticket: Ticket, request: SyncRequest, moment: Moment<'_>) {
        match &mut self.machine {
            Machine::None => {
                let answer = SyncAnswer::refused(ErrorCode::UnknownMemberId);
                moment.out.syncs.push((ticket, answer));
            }
            Machine::Classic(group) => {
                group.sync(ticket, request, moment.topics, moment.now, moment.out);
            }
            Machine::Consumer(group) => {
                let answer = group.classic_sync(&request, moment.topics, moment.now);
                moment.out.syncs.push((ticket, answer));
            }
        }
    }

    pub(super) fn heartbeat(
        &mut self,
        member: &MemberRef,
        moment: Moment<'_>,
    ) -> Result<(), ErrorCode> {
        match &mut self.machine {
            Machine::None => Err(ErrorCode::UnknownMemberId),
            Machine::Classic(group) => group.heartbeat(member, moment.now),
            Machine::Consumer(group) => group.classic_heartbeat(member, moment.topics, moment.now),
        }
    }

    /// None: there is no such group.
    pub(super) fn leave(
        &mut self,
        members: &[Leaving],
        moment: Moment<'_>,
    ) -> Option<Vec<Result<(), ErrorCode>>> {
        match &mut self.machine {
            Machine::None => None,
            Machine::Classic(group) => Some(group.leave(members, moment.now, moment.out)),
            Machine::Consumer(group) => {
                let results = group.classic_leave(members);
                self.downgrade_if_due(moment);
                Some(results)
            }
        }
    }

    pub(super) fn consumer_heartbeat(
        &mut self,
        request: ConsumerHeartbeat,
        mut moment: Moment<'_>,
    ) -> Result<HeartbeatAnswer, Failure> {
        request.check(&self.config)?;
        self.become_consumer(&request, &mut moment)?;
        let group = match &mut self.machine {
            Machine::Consumer(group) => group,
            Machine::None if request.member_epoch > 0 => {
                let text = format!("Consumer group {} not found.", self.group_id);
                return Err(Failure::new(ErrorCode::GroupIdNotFound, text));
            }
            Machine::None => return self.no_consumer_group("not found"),
            Machine::Classic(_) => return self.no_consumer_group("is not a consumer group"),
        };
        let answer = group.heartbeat(request, moment.topics, moment.now);
        self.downgrade_if_due(moment);
        answer
    }

    fn no_consumer_group<T>(&self, what: &str) -> Result<T, Failure> {
        let text = format!("Group {} {what}.", self.group_id);
        Err(Failure::new(ErrorCode::GroupIdNotFound, text))
    }

    /// A member of the new protocol that joins makes the group one of it, if it may be.
    fn become_consumer(
        &mut self,
        request: &ConsumerHeartbeat,
        moment: &mut Moment<'_>,
    ) -> Result<(), Failure> {
        let is_joining = request.member_epoch == 0;
        let fresh = ConsumerGroup::new(self.group_id.clone(), self.config.clone());
        match &mut self.machine {
            Machine::None if is_joining => self.machine = Machine::Consumer(fresh),
            Machine::Classic(group) if is_joining && group.state() == ClassicState::Empty => {
                let mut fresh = fresh;
                fresh.succeed(group.generation_id());
                self.machine = Machine::Consumer(fresh);
            }
            Machine::Classic(group) if is_joining => {
                let upgraded = ConsumerGroup::upgrade(
                    &self.group_id,
                    group,
                    &self.config,
                    moment.topics,
                    moment.now,
                    moment.out,
                );
                let upgraded = upgraded.map_err(|reason| {
                    let text = format!(
                        "Cannot upgrade classic group {} to consumer group because {reason}.",
                        self.group_id
                    );
                    tracing::info!("{text}");
                    Failure::new(ErrorCode::GroupIdNotFound, text)
                })?;
                self.machine = Machine::Consumer(upgraded);
            }
            Machine::None | Machine::Classic(_) | Machine::Consumer(_) => {}
        }
        Ok(())
    }

    fn downgrade_if_due(&mut self, moment: Moment<'_>) {
        if let Machine::Consumer(group) = &self.machine
            && group.is_to_be_downgraded()
        {
            let classic = group.downgrade(moment.topics, moment.now, moment.out);
            self.machine = Machine::Classic(classic);
        }
    }

    pub(super) fn tick(&mut self, moment: Moment<'_>) {
        match &mut self.machine {
            Machine::None => {}
            Machine::Classic(group) => group.tick(moment.now, moment.out),
            Machine::Consumer(group) => {
                group.tick(moment.topics, moment.now);
                self.downgrade_if_due(moment);
            }
        }
    }

    pub(super) fn next_deadline(&self) -> Option<u64> {
        match &self.machine {
            Machine::None => None,
            Machine::Classic(group) => group.next_deadline(),
            Machine::Consumer(group) => group.next_deadline(),
        }
    }

    pub(super) fn take_change(&mut self) -> Option<GroupChange> {
        match &mut self.machine {
            Machine::None => None,
            Machine::Classic(group) => group.take_change(),
            Machine::Consumer(group) => group.take_change(),
        }
    }

    /// Forgets a group that has never come to be.
    pub(super) fn tidy(&mut self) {
        let is_nothing = match &self.machine {
            Machine::None => false,
            Machine::Classic(group) => group.is_nothing(),
            Machine::Consumer(group) => group.is_nothing(),
        };
        if is_nothing {
            self.machine = Machine::None;
        }
    }

    /// Nobody is in it or about to join.
    pub(super) fn is_unused(&self) -> bool {
        match &self.machine {
            Machine::None => true,
            Machine::Classic(group) => group.is_unused(),
            Machine::Consumer(group) => group.is_empty(),
        }
    }

    /// Whether a commit is accepted, in this version of OffsetCommit. The first one makes a group.
    pub(super) fn check_commit(
        &mut self,
        commit: &CommitCheck<'_>,
        version: i16,
        topics: &dyn Topics,
        now: u64,
    ) -> Result<(), ErrorCode> {
        let member = commit.member;
        match &mut self.machine {
            Machine::None if member.epoch < 0 => {
                let mut group = self.new_classic();
                group.note_stored();
                self.machine = Machine::Classic(group);
                Ok(())
            }
            Machine::None if version >= 9 => Err(ErrorCode::GroupIdNotFound),
            Machine::None => Err(ErrorCode::IllegalGeneration),
            Machine::Classic(group) => {
                group.check_commit(member, now)?;
                group.note_stored();
                Ok(())
            }
            Machine::Consumer(group) => group.check_commit(commit, version, topics),
        }
    }

    /// Whether a commit as part of a transaction is accepted (KIP-447), in this version of TxnOffsetCommit. Before v6 there is one
    /// error for all that is behind.
    pub(super) fn check_txn_commit(
        &mut self,
        commit: &CommitCheck<'_>,
        version: i16,
        topics: &dyn Topics,
        now: u64,
    ) -> Result<(), ErrorCode> {
        let member = commit.member;
        let checked = match &mut self.machine {
            Machine::None if member.epoch < 0 => Ok(()),
            Machine::None => Err(ErrorCode::GroupIdNotFound),
            Machine::Classic(group) => group.check_txn_commit(member, now),
            Machine::Consumer(group) => group.check_txn_commit(commit, topics),
        };
        checked.map_err(|code| match code {
            ErrorCode::GroupIdNotFound | ErrorCode::StaleMemberEpoch if version < 6 => {
                ErrorCode::IllegalGeneration
            }
            code => code,
        })
    }

    pub(super) fn check_fetch(&self, member: &MemberRef) -> Result<(), ErrorCode> {
        match &self.machine {
            Machine::None | Machine::Classic(_) => Ok(()),
            Machine::Consumer(group) => group.check_fetch(member),
        }
    }

    /// Whether it may be deleted.
    pub(super) fn check_delete(&self) -> Result<(), ErrorCode> {
        match &self.machine {
            Machine::None => Err(ErrorCode::GroupIdNotFound),
            Machine::Classic(group) if group.state() == ClassicState::Empty => Ok(()),
            Machine::Consumer(group) if group.is_empty() => Ok(()),
            Machine::Classic(_) | Machine::Consumer(_) => Err(ErrorCode::NonEmptyGroup),
        }
    }

    pub(super) fn note_deleted(&mut self) {
        self.machine = Machine::None;
    }

    /// The topics whose offsets may not be deleted. None: all, as it can't be told which ones the consumers read.
    pub(super) fn subscribed(
        &self,
        topics: &dyn Topics,
    ) -> Result<Option<BTreeSet<String>>, ErrorCode> {
        match &self.machine {
            Machine::None => Err(ErrorCode::GroupIdNotFound),
            Machine::Classic(group) => match group.subscribed_topics() {
                None if !group.has_consumers() => Err(ErrorCode::NonEmptyGroup),
                subscribed => Ok(subscribed),
            },
            Machine::Consumer(group) => Ok(Some(group.subscribed_topics(topics))),
        }
    }

    /// The topics whose offsets are kept, of a group with members whose other offsets may be forgotten.
    pub(super) fn kept(&self, topics: &dyn Topics) -> Option<BTreeSet<String>> {
        match &self.machine {
            Machine::Classic(group) if group.state() == ClassicState::Stable => {
                group.subscribed_topics()
            }
            Machine::Consumer(group) if !group.is_empty() => Some(group.subscribed_topics(topics)),
            Machine::None | Machine::Classic(_) | Machine::Consumer(_) => None,
        }
    }

    /// Of a classic group.
    pub(super) fn describe(&self) -> Option<Result<Description, ErrorCode>> {
        match &self.machine {
            Machine::None => None,
            Machine::Classic(group) => Some(Ok(group.describe())),
            Machine::Consumer(_) => Some(Err(ErrorCode::GroupIdNotFound)),
        }
    }

    /// Of a group of the new protocol.
    pub(super) fn describe_consumer(&self) -> Option<Result<ConsumerDescription, ErrorCode>> {
        match &self.machine {
            Machine::None => None,
            Machine::Classic(_) => Some(Err(ErrorCode::GroupIdNotFound)),
            Machine::Consumer(group) => Some(Ok(group.describe())),
        }
    }

    /// Type, state and type of protocol.
    pub(super) fn summary(&self) -> Option<(&'static str, &'static str, &str)> {
        match &self.machine {
            Machine::None => None,
            Machine::Classic(group) => {
                let protocol_type = group.protocol_type().unwrap_or_default();
                Some(("classic", group.state().name(), protocol_type))
            }
            Machine::Consumer(group) => Some(("consumer", group.state(), "consumer")),
        }
    }
}
