//! A group that changes its type while it has members: to the new protocol when the first member of it joins, back when the
//! last one leaves (`group.consumer.migration.policy`).

use std::sync::Arc;

use super::classic_members::{assignment_of, partitions_of};
use super::{ClassicSide, ConsumerGroup, Member};
use crate::config::MigrationPolicy;
use crate::groups::classic::{self, CONSUMER, ClassicGroup};
use crate::groups::config::GroupConfig;
use crate::groups::messages::Answers;
use crate::groups::subscription::{self, Subscription};
use crate::groups::topics::Topics;

impl ConsumerGroup {
    /// Goes on from the generation of a classic group that nobody is in any more.
    pub(crate) fn succeed(&mut self, generation_id: i32) {
        self.group_epoch = generation_id;
        self.assignment_epoch = generation_id;
    }

    pub(crate) fn group_epoch(&self) -> i32 {
        self.group_epoch
    }

    /// What a classic group with members becomes when a member of the new protocol joins; its members keep what they have. Those that
    /// wait for a rebalance of the classic kind are told to join again. The error says why not.
    pub(crate) fn upgrade(
        group_id: &Arc<str>,
        group: &mut ClassicGroup,
        config: &Arc<GroupConfig>,
        topics: &dyn Topics,
        now: u64,
        out: &mut Answers,
    ) -> Result<Self, String> {
        use MigrationPolicy::{Bidirectional, Upgrade};
        let policy = config.consumer.migration_policy;
        if !matches!(policy, Bidirectional | Upgrade) {
            return Err(format!(
                "group.consumer.migration.policy is {}",
                policy.name()
            ));
        }
        if group.protocol_type() != Some(CONSUMER) {
            return Err("the group does not use the consumer embedded protocol".to_owned());
        }
        if group.members().len() >= config.consumer.max_size {
            return Err("it has more members than group.consumer.max.size".to_owned());
        }
        let mut upgraded = Self::new(group_id.clone(), config.clone());
        let epoch = group.generation_id();
        upgraded.group_epoch = epoch;
        upgraded.assignment_epoch = epoch;
        for (id, member) in group.members() {
            let member = from_classic(member, epoch, topics, now)
                .ok_or("the embedded consumer protocol is malformed")?;
            if let Some(instance) = &member.instance_id {
                upgraded.static_members.insert(instance.clone(), id.clone());
            }
            upgraded.dirty_members.insert(id.clone());
            upgraded.members.insert(id.clone(), member);
        }
        upgraded.stored_members = group.stored_members().clone();
        upgraded.is_dirty = true;
        group.interrupt(now, out);
        tracing::info!(
            group = &*upgraded.group_id,
            epoch = upgraded.group_epoch,
            "upgraded to the new protocol"
        );
        Ok(upgraded)
    }

    /// Whether only classic members are left, and the group may become classic again.
    pub(crate) fn is_to_be_downgraded(&self) -> bool {
        use MigrationPolicy::{Bidirectional, Downgrade};
        let policy = self.config.consumer.migration_policy;
        matches!(policy, Bidirectional | Downgrade)
            && !self.members.is_empty()
            && self.members.len() <= self.config.max_size
            && self.members.values().all(|member| member.classic.is_some())
    }

    /// The classic group that it becomes, which rebalances at once.
    pub(crate) fn downgrade(
        &self,
        topics: &dyn Topics,
        now: u64,
        out: &mut Answers,
    ) -> ClassicGroup {
        let members = self.members.iter().filter_map(|(id, member)| {
            let side = member.classic.as_ref()?;
            let assignment = assignment_of(&member.assigned, topics);
            let member = classic::Member::converted(
                member.instance_id.clone(),
                member.client.clone(),
                (side.session_timeout_ms, member.rebalance_timeout_ms),
                side.protocols.clone(),
                subscription::write_assignment(&assignment, side.version),
                now,
            );
            Some((id.clone(), member))
        });
        let parts = classic::Parts {
            group_id: self.group_id.clone(),
            generation_id: self.group_epoch,
            members: members.collect(),
            stored_members: self.stored_members.clone(),
        };
        tracing::info!(
            group = &*self.group_id,
            epoch = self.group_epoch,
            "downgraded to the classic protocol"
        );
        let protocol = self.classic_protocol();
        ClassicGroup::converted(parts, protocol, self.config.clone(), now, out)
    }
}

fn from_classic(
    member: &classic::Member,
    epoch: i32,
    topics: &dyn Topics,
    now: u64,
) -> Option<Member> {
    let subscription = Subscription::read(&member.protocols.first()?.metadata)?;
    let assigned = partitions_of(&subscription::read_assignment(&member.assignment)?, topics);
    let mut converted = Member::new(member.client.clone(), member.group_instance_id.clone());
    converted.rack_id = subscription.rack_id;
    converted.rebalance_timeout_ms = member.rebalance_timeout_ms;
    converted.names = subscription.topics.into_iter().collect();
    converted.epoch = epoch;
    converted.previous_epoch = epoch;
    converted.target = assigned.clone();
    converted.assigned = assigned;
    converted.note_epochs();
    converted.session_deadline = now + member.session_timeout_ms;
    converted.classic = Some(ClassicSide {
        session_timeout_ms: member.session_timeout_ms,
        protocols: member.protocols.clone(),
        version: subscription.version,
    });
    Some(converted)
}
