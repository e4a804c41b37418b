//! ConsumerGroupHeartbeat: joining, staying, leaving.

use std::collections::BTreeSet;

use protocol::ErrorCode;

use super::{
    AWAY, ConsumerGroup, Epochs, HeartbeatAnswer, LEAVING, Member, MemberState, Partitions,
    Pattern, common, reconcile::Said, refused,
};
use crate::error::Failure;
use crate::groups::config::GroupConfig;
use crate::groups::messages::Client;
use crate::groups::topics::Topics;

/// A heartbeat of a member of the new protocol; what is none has not changed since the last one.
#[derive(Debug, Clone)]
pub(crate) struct ConsumerHeartbeat {
    pub(crate) client: Client,
    pub(crate) member_id: String,
    /// 0 joins, [`LEAVING`] leaves, [`AWAY`] leaves for a while.
    pub(crate) member_epoch: i32,
    pub(crate) instance_id: Option<String>,
    pub(crate) rack_id: Option<String>,
    pub(crate) rebalance_timeout_ms: Option<u64>,
    pub(crate) names: Option<BTreeSet<String>>,
    /// Empty for none any more.
    pub(crate) regex: Option<String>,
    pub(crate) assignor: Option<String>,
    /// What the member has.
    pub(crate) owned: Option<Partitions>,
}

impl ConsumerHeartbeat {
    /// That the broker has the assignor, and that the pattern is one.
    pub(crate) fn check(&self, config: &GroupConfig) -> Result<(), Failure> {
        let known = &config.consumer.assignors;
        if let Some(name) = &self.assignor
            && !known.contains(name)
        {
            let text = format!(
                "ServerAssignor {name} is not supported. Supported assignors: {}.",
                known.join(", ")
            );
            return refused(ErrorCode::UnsupportedAssignor, text);
        }
        self.pattern().map(|_| ())
    }

    /// The pattern that the member asks for; the inner none ends an earlier one.
    fn pattern(&self) -> Result<Option<Option<Pattern>>, Failure> {
        match self.regex.as_deref() {
            None => Ok(None),
            Some("") => Ok(Some(None)),
            Some(text) => match Pattern::new(text) {
                Ok(pattern) => Ok(Some(Some(pattern))),
                Err(reason) => refused(
                    ErrorCode::InvalidRegularExpression,
                    format!(
                        "SubscribedTopicRegex `{text}` is not a valid regular expression: {reason}."
                    ),
                ),
            },
        }
    }

    fn is_full(&self) -> bool {
        self.rebalance_timeout_ms.is_some()
            && (self.names.is_some() || self.regex.is_some())
            && self.owned.is_some()
    }
}

impl ConsumerGroup {
    /// Whatever a heartbeat may be.
    pub(crate) fn heartbeat(
        &mut self,
        request: ConsumerHeartbeat,
        topics: &dyn Topics,
        now: u64,
    ) -> Result<HeartbeatAnswer, Failure> {
        if request.member_epoch < 0 {
            return self.leave(&request);
        }
        self.stay(request, topics, now)
    }

    fn stay(
        &mut self,
        request: ConsumerHeartbeat,
        topics: &dyn Topics,
        now: u64,
    ) -> Result<HeartbeatAnswer, Failure> {
        let is_joining = request.member_epoch == 0;
        let pattern = request.pattern()?;
        self.admit(&request, is_joining, now)?;
        let before = self.members.get(&request.member_id);
        let before = before.map(|member| (member.epoch, member.assigned.clone()));
        let is_new = before.is_none();
        let assignor = self.wanted_assignor();
        let subscribes_anew = self.update(&request, pattern, now);
        if subscribes_anew || is_new || self.wanted_assignor() != assignor {
            let _ = self.refresh_topics(topics, now);
            self.bump();
        } else {
            self.refresh_topics_if_due(topics, now);
        }
        self.assign_if_due(topics, now);
        let said = Said {
            owned: request.owned.as_ref(),
            subscribes_anew,
            topics,
        };
        self.reconcile(&request.member_id, said, now);
        let Some(member) = self.members.get(&request.member_id) else {
            return refused(ErrorCode::UnknownMemberId, "The member is gone.");
        };
        let is_told = is_joining
            || request.is_full()
            || before.is_none_or(|(_, assigned)| assigned != member.assigned);
        Ok(HeartbeatAnswer {
            member_epoch: member.epoch,
            heartbeat_interval_ms: self.config.consumer.heartbeat_interval_ms,
            assignment: is_told.then(|| member.assigned.clone()),
            member_id: request.member_id,
        })
    }

    /// That the request comes from a member with the right epoch, or from one that may join. A static member that comes
    /// back takes the place it left.
    fn admit(
        &mut self,
        request: &ConsumerHeartbeat,
        is_joining: bool,
        now: u64,
    ) -> Result<(), Failure> {
        let id = &request.member_id;
        if !is_joining {
            if let Some(instance) = &request.instance_id {
                self.check_instance(id, instance)?;
            }
            return self.check_epoch(request);
        }
        let instance = request.instance_id.as_ref();
        let holder = instance.and_then(|instance| self.static_members.get_key_value(instance));
        match holder.map(|(instance, holder)| (instance.clone(), holder.clone())) {
            Some((instance, holder)) if holder != *id => {
                self.replace_static(&instance, &holder, id, now)
            }
            _ if self.members.contains_key(id) => Ok(()),
            _ if self.members.len() >= self.config.consumer.max_size => refused(
                ErrorCode::GroupMaxSizeReached,
                format!(
                    "The consumer group has reached its maximum capacity of {} members.",
                    self.config.consumer.max_size
                ),
            ),
            _ => Ok(()),
        }
    }

    /// That the instance id is this member's.
    fn check_instance(&self, id: &str, instance: &str) -> Result<(), Failure> {
        match self.static_members.get(instance) {
            Some(holder) if holder == id => Ok(()),
            Some(holder) => refused(
                ErrorCode::FencedInstanceId,
                format!(
                    "Static member {id} with instance id {instance} was fenced by member {holder}."
                ),
            ),
            None => refused(
                ErrorCode::UnknownMemberId,
                format!("Instance id {instance} is unknown."),
            ),
        }
    }

    fn check_epoch(&self, request: &ConsumerHeartbeat) -> Result<(), Failure> {
        let id = &request.member_id;
        let Some(member) = self.members.get(id) else {
            return refused(
                ErrorCode::UnknownMemberId,
                format!("Member {id} is not a member of group {}.", self.group_id),
            );
        };
        let (said, known) = (request.member_epoch, member.epoch);
        // The answer with the newer epoch may have been lost.
        let repeats = said == member.previous_epoch
            && request
                .owned
                .as_ref()
                .is_some_and(|owned| common(owned, &member.assigned) == *owned);
        if said == known || (said < known && repeats) {
            return Ok(());
        }
        let relation = if said > known { "greater" } else { "smaller" };
        refused(
            ErrorCode::FencedMemberEpoch,
            format!(
                "The consumer group member has a {relation} member epoch ({said}) than the one known by the group coordinator ({known}). \
                 The member must abandon all its partitions and rejoin."
            ),
        )
    }

    /// A new member takes over what a static member left, if it is away.
    fn replace_static(
        &mut self,
        instance: &str,
        old_id: &str,
        new_id: &str,
        now: u64,
    ) -> Result<(), Failure> {
        let is_away = self
            .members
            .get(old_id)
            .is_none_or(|member| member.epoch == AWAY);
        if !is_away {
            return refused(
                ErrorCode::UnreleasedInstanceId,
                format!(
                    "Static member {new_id} with instance id {instance} cannot join the group because the instance id is owned by {old_id} member."
                ),
            );
        }
        self.take_place(old_id, new_id, now);
        Ok(())
    }

    /// The member goes on under another id, with all it has.
    pub(super) fn take_place(&mut self, old_id: &str, new_id: &str, now: u64) {
        let Some(mut member) = self.members.remove(old_id) else {
            return;
        };
        tracing::info!(
            group = &*self.group_id,
            old_id,
            new_id,
            "static member replaced"
        );
        member.epoch = 0;
        member.previous_epoch = 0;
        member.state = MemberState::Stable;
        member.revoking.clear();
        member.note_epochs();
        member.forget_epochs();
        member.rebalance_deadline = None;
        member.session_deadline = now + self.config.consumer.session_timeout_ms;
        if let Some(instance) = &member.instance_id {
            self.static_members
                .insert(instance.clone(), new_id.to_owned());
        }
        self.members.insert(new_id.to_owned(), member);
        self.dirty_members.remove(old_id);
        self.dirty_members.insert(new_id.to_owned());
        self.is_dirty = true;
    }

    /// Notes what the member says of itself; true if its subscription has changed.
    fn update(
        &mut self,
        request: &ConsumerHeartbeat,
        pattern: Option<Option<Pattern>>,
        now: u64,
    ) -> bool {
        let id = &request.member_id;
        let member = self.members.entry(id.clone()).or_insert_with(|| {
            self.dirty_members.insert(id.clone());
            Member::new(request.client.clone(), request.instance_id.clone())
        });
        if let Some(instance) = &request.instance_id {
            self.static_members.insert(instance.clone(), id.clone());
        }
        let old = member.clone();
        // It speaks the new protocol from now on.
        member.classic = None;
        member.client.clone_from(&request.client);
        set(&mut member.rack_id, request.rack_id.clone());
        set(&mut member.assignor, request.assignor.clone());
        if let Some(timeout_ms) = request.rebalance_timeout_ms {
            member.rebalance_timeout_ms = timeout_ms;
        }
        if let Some(names) = &request.names {
            member.names.clone_from(names);
        }
        if let Some(pattern) = pattern {
            member.pattern = pattern;
        }
        member.session_deadline = now + self.config.consumer.session_timeout_ms;
        let is_news = member.names != old.names || member.pattern != old.pattern;
        let is_changed = is_news
            || member.rack_id != old.rack_id
            || member.assignor != old.assignor
            || member.rebalance_timeout_ms != old.rebalance_timeout_ms
            || member.client != old.client
            || old.classic.is_some();
        if is_changed {
            self.dirty_members.insert(id.clone());
            self.is_dirty = true;
        }
        is_news
    }

    fn leave(&mut self, request: &ConsumerHeartbeat) -> Result<HeartbeatAnswer, Failure> {
        let id = &request.member_id;
        if let Some(instance) = &request.instance_id {
            self.check_instance(id, instance)?;
        }
        let Some(member) = self.members.get_mut(id) else {
            return refused(
                ErrorCode::UnknownMemberId,
                format!("Member {id} is not a member of group {}.", self.group_id),
            );
        };
        if request.member_epoch == AWAY && member.instance_id.is_some() {
            member.epoch = AWAY;
            member.state = MemberState::Stable;
            member.revoking.clear();
            member.note_epochs();
            member.forget_epochs();
            member.rebalance_deadline = None;
            self.dirty_members.insert(id.clone());
            self.is_dirty = true;
        } else {
            self.remove(id, "leaves");
        }
        Ok(HeartbeatAnswer {
            member_id: id.clone(),
            member_epoch: request.member_epoch.min(LEAVING),
            heartbeat_interval_ms: 0,
            assignment: None,
        })
    }
}

impl Member {
    pub(super) fn new(client: Client, instance_id: Option<String>) -> Self {
        Self {
            instance_id,
            rack_id: None,
            client,
            rebalance_timeout_ms: 0,
            names: BTreeSet::new(),
            pattern: None,
            assignor: None,
            epoch: 0,
            previous_epoch: -1,
            state: MemberState::Stable,
            assigned: Partitions::new(),
            revoking: Partitions::new(),
            epochs: Epochs::new(),
            target: Partitions::new(),
            classic: None,
            session_deadline: u64::MAX,
            rebalance_deadline: None,
        }
    }
}

fn set<T>(field: &mut Option<T>, value: Option<T>) {
    if value.is_some() {
        *field = value;
    }
}
