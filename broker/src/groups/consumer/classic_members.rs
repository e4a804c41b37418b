//! Members of the classic protocol in a group of the new one: their JoinGroup, SyncGroup, Heartbeat and LeaveGroup. Nobody waits for
//! others here: each is told what it has, and to join again when there is more to do.

use bytes::Bytes;
use protocol::ErrorCode;

use super::reconcile::Said;
use super::{ClassicSide, ConsumerGroup, Member, MemberState, Partitions};
use crate::config::MigrationPolicy;
use crate::groups::classic::CONSUMER;
use crate::groups::messages::{
    JoinAnswer, JoinRequest, Leaving, MemberRef, SyncAnswer, SyncRequest,
};
use crate::groups::subscription::{self, Assignment, Subscription};
use crate::groups::topics::Topics;

impl ConsumerGroup {
    /// JoinGroup, answered at once.
    pub(crate) fn classic_join(
        &mut self,
        request: JoinRequest,
        topics: &dyn Topics,
        now: u64,
    ) -> JoinAnswer {
        let member_id = request.member_id.clone();
        match self.try_classic_join(request, topics, now) {
            Ok(answer) => answer,
            Err(Refusal::Code(code)) => JoinAnswer::refused(code, member_id),
            Err(Refusal::NewId(id)) => JoinAnswer::refused(ErrorCode::MemberIdRequired, id),
        }
    }

    fn try_classic_join(
        &mut self,
        request: JoinRequest,
        topics: &dyn Topics,
        now: u64,
    ) -> Result<JoinAnswer, Refusal> {
        let inconsistent = Refusal::Code(ErrorCode::InconsistentGroupProtocol);
        if self.config.consumer.migration_policy == MigrationPolicy::Disabled {
            return Err(inconsistent);
        }
        let first = request.protocols.first();
        let subscription = first.and_then(|protocol| Subscription::read(&protocol.metadata));
        let (Some(subscription), true) = (subscription, request.protocol_type == CONSUMER) else {
            return Err(inconsistent);
        };
        if !self.speaks_with(&request) {
            return Err(inconsistent);
        }
        let member_id = self.classic_id(&request, now)?;
        let owned = partitions_of(&subscription.owned, topics);
        let session_timeout_ms = u64::try_from(request.session_timeout_ms).unwrap_or(0);
        let is_new = !self.members.contains_key(&member_id);
        let member = self.members.entry(member_id.clone()).or_insert_with(|| {
            Member::new(request.client.clone(), request.group_instance_id.clone())
        });
        let names = subscription.topics.into_iter().collect();
        let is_news = is_new || member.names != names || member.pattern.is_some();
        member.names = names;
        member.pattern = None;
        member.client = request.client;
        member.rack_id = subscription.rack_id;
        member.rebalance_timeout_ms = u64::try_from(request.rebalance_timeout_ms).unwrap_or(0);
        member.classic = Some(ClassicSide {
            session_timeout_ms,
            protocols: request.protocols,
            version: subscription.version,
        });
        member.session_deadline = now + session_timeout_ms;
        self.dirty_members.insert(member_id.clone());
        self.is_dirty = true;
        if let Some(instance) = request.group_instance_id {
            self.static_members.insert(instance, member_id.clone());
        }
        if self.refresh_topics(topics, now) || is_news {
            self.bump();
        }
        self.assign_if_due(topics, now);
        let said = Said {
            owned: Some(&owned),
            subscribes_anew: is_news,
            topics,
        };
        self.reconcile(&member_id, said, now);
        Ok(self.joined(&member_id, now))
    }

    fn joined(&mut self, member_id: &str, now: u64) -> JoinAnswer {
        let protocol_name = self.classic_protocol();
        let mut generation_id = -1;
        if let Some(member) = self.members.get_mut(member_id) {
            generation_id = member.epoch;
            // Until then it asks for its assignment.
            member.rebalance_deadline = Some(now + member.rebalance_timeout_ms);
        }
        JoinAnswer {
            error: ErrorCode::None,
            generation_id,
            protocol_type: Some(CONSUMER.to_owned()),
            protocol_name,
            leader: String::new(),
            skip_assignment: false,
            member_id: member_id.to_owned(),
            members: Vec::new(),
        }
    }

    /// Whether the request's protocols have one in common with all other classic members.
    fn speaks_with(&self, request: &JoinRequest) -> bool {
        let others = self.members.iter().filter(|(id, member)| {
            **id != request.member_id
                && (member.instance_id.is_none() || member.instance_id != request.group_instance_id)
        });
        let sides: Vec<&ClassicSide> = others.filter_map(|(_, m)| m.classic.as_ref()).collect();
        request
            .protocols
            .iter()
            .any(|protocol| sides.iter().all(|side| side.speaks(&protocol.name)))
    }

    /// The protocol that classic members are told: the first that all of them speak.
    pub(super) fn classic_protocol(&self) -> Option<String> {
        let sides: Vec<&ClassicSide> = self
            .members
            .values()
            .filter_map(|member| member.classic.as_ref())
            .collect();
        let first = sides.first()?;
        let mut protocols = first.protocols.iter();
        let shared =
            protocols.find(|protocol| sides.iter().all(|side| side.speaks(&protocol.name)));
        shared.map(|protocol| protocol.name.clone())
    }

    /// The id under which the member joins. A static member takes the place of who holds its instance id, which is fenced.
    fn classic_id(&mut self, request: &JoinRequest, now: u64) -> Result<String, Refusal> {
        let id = &request.member_id;
        let instance = request.group_instance_id.as_ref();
        let holder = instance
            .and_then(|name| self.static_members.get(name))
            .cloned();
        if !id.is_empty() {
            return match (instance, holder) {
                (None, _) => self.check_room(id).map(|()| id.clone()),
                (Some(_), None) => Err(Refusal::Code(ErrorCode::UnknownMemberId)),
                (Some(_), Some(holder)) if holder == *id => Ok(holder),
                (Some(_), Some(_)) => Err(Refusal::Code(ErrorCode::FencedInstanceId)),
            };
        }
        let fresh = format!(
            "{}-{}",
            instance.unwrap_or(&request.client.id),
            request.unique
        );
        if let Some(holder) = holder {
            self.take_place(&holder, &fresh, now);
            return Ok(fresh);
        }
        self.check_room(&fresh)?;
        if request.requires_known_member_id && instance.is_none() {
            return Err(Refusal::NewId(fresh));
        }
        Ok(fresh)
    }

    fn check_room(&self, member_id: &str) -> Result<(), Refusal> {
        let most = self.config.consumer.max_size;
        if self.members.len() < most || self.members.contains_key(member_id) {
            Ok(())
        } else {
            Err(Refusal::Code(ErrorCode::GroupMaxSizeReached))
        }
    }

    /// SyncGroup: what the member has.
    pub(crate) fn classic_sync(
        &mut self,
        request: &SyncRequest,
        topics: &dyn Topics,
        now: u64,
    ) -> SyncAnswer {
        match self.try_classic_sync(request, topics, now) {
            Ok(assignment) => SyncAnswer {
                error: ErrorCode::None,
                protocol_type: Some(CONSUMER.to_owned()),
                protocol_name: self.classic_protocol(),
                assignment,
            },
            Err(code) => SyncAnswer::refused(code),
        }
    }

    fn try_classic_sync(
        &mut self,
        request: &SyncRequest,
        topics: &dyn Topics,
        now: u64,
    ) -> Result<Bytes, ErrorCode> {
        self.check_classic(&request.member)?;
        let differs = |said: &Option<String>, own: Option<String>| said.is_some() && *said != own;
        if differs(&request.protocol_type, Some(CONSUMER.to_owned()))
            || differs(&request.protocol_name, self.classic_protocol())
        {
            return Err(ErrorCode::InconsistentGroupProtocol);
        }
        let assignment_epoch = self.assignment_epoch;
        let id = &request.member.member_id;
        let member = self.members.get_mut(id).ok_or(ErrorCode::UnknownMemberId)?;
        // A member that gives up partitions learns here which it keeps.
        if assignment_epoch > member.epoch && member.state != MemberState::UnrevokedPartitions {
            member.must_join(now);
            return Err(ErrorCode::RebalanceInProgress);
        }
        member.rebalance_deadline = None;
        member.session_deadline = now + member.session_timeout_ms().unwrap_or(0);
        let version = member.classic.as_ref().map_or(0, |side| side.version);
        let assignment = assignment_of(&member.assigned, topics);
        Ok(subscription::write_assignment(&assignment, version))
    }

    fn check_classic(&self, member: &MemberRef) -> Result<(), ErrorCode> {
        if let Some(instance) = &member.group_instance_id {
            match self.static_members.get(instance) {
                None => return Err(ErrorCode::UnknownMemberId),
                Some(holder) if *holder != member.member_id => {
                    return Err(ErrorCode::FencedInstanceId);
                }
                Some(_) => {}
            }
        }
        let known = self.members.get(&member.member_id);
        match known.filter(|known| known.classic.is_some()) {
            None => Err(ErrorCode::UnknownMemberId),
            Some(known) if known.epoch != member.epoch => Err(ErrorCode::IllegalGeneration),
            Some(_) => Ok(()),
        }
    }

    /// Heartbeat: tells a member that has to go on to join again.
    pub(crate) fn classic_heartbeat(
        &mut self,
        member: &MemberRef,
        topics: &dyn Topics,
        now: u64,
    ) -> Result<(), ErrorCode> {
        self.check_classic(member)?;
        self.refresh_topics_if_due(topics, now);
        let id = &member.member_id;
        let known = self.members.get(id).ok_or(ErrorCode::UnknownMemberId)?;
        let must_join = self.assignment_epoch > known.epoch
            || match known.state {
                MemberState::Stable => false,
                MemberState::UnrevokedPartitions => true,
                MemberState::UnreleasedPartitions => self.can_go_on(id, known),
            };
        let known = self.members.get_mut(id).ok_or(ErrorCode::UnknownMemberId)?;
        known.session_deadline = now + known.session_timeout_ms().unwrap_or(0);
        if must_join {
            known.must_join(now);
            return Err(ErrorCode::RebalanceInProgress);
        }
        Ok(())
    }

    /// LeaveGroup, of members of either protocol.
    pub(crate) fn classic_leave(&mut self, members: &[Leaving]) -> Vec<Result<(), ErrorCode>> {
        let leave = |leaving: &Leaving| {
            let mut id = leaving.member_id.clone();
            if let Some(instance) = &leaving.group_instance_id {
                let holder = self.static_members.get(instance);
                let holder = holder.ok_or(ErrorCode::UnknownMemberId)?;
                if !id.is_empty() && id != *holder {
                    return Err(ErrorCode::FencedInstanceId);
                }
                id.clone_from(holder);
            }
            if !self.members.contains_key(&id) {
                return Err(ErrorCode::UnknownMemberId);
            }
            self.remove(&id, leaving.reason.as_deref().unwrap_or("leaves"));
            Ok(())
        };
        members.iter().map(leave).collect()
    }
}

impl ClassicSide {
    fn speaks(&self, name: &str) -> bool {
        self.protocols.iter().any(|protocol| protocol.name == name)
    }
}

impl Member {
    /// Of a classic member, which chooses its own.
    fn session_timeout_ms(&self) -> Option<u64> {
        Some(self.classic.as_ref()?.session_timeout_ms)
    }

    fn must_join(&mut self, now: u64) {
        let timeout_ms = self.rebalance_timeout_ms;
        self.rebalance_deadline.get_or_insert(now + timeout_ms);
    }
}

/// Why a member may not join.
#[derive(Debug)]
enum Refusal {
    Code(ErrorCode),
    /// It has to come back with this id.
    NewId(String),
}

/// By topic id; topics that do not exist are left out.
pub(super) fn partitions_of(assignment: &Assignment, topics: &dyn Topics) -> Partitions {
    let known = assignment.iter().filter_map(|(name, partitions)| {
        let topic = topics.by_name(name)?;
        let partitions = partitions.iter().copied().collect();
        Some((topic.topic_id, partitions))
    });
    known.collect()
}

/// By name; topics that do not exist are left out.
pub(super) fn assignment_of(partitions: &Partitions, topics: &dyn Topics) -> Assignment {
    let known = partitions.iter().filter_map(|(topic_id, partitions)| {
        let topic = topics.by_id(*topic_id)?;
        Some((topic.name.to_string(), partitions.iter().copied().collect()))
    });
    known.collect()
}
