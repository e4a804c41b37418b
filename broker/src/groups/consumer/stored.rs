//! What of a group of the new protocol is stored, and a group from what was stored.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use storage::{GroupChange, GroupRow, MemberRow};
use uuid::Uuid;

use super::{ClassicSide, ConsumerGroup, Member, MemberState, Pattern};
use crate::groups::config::GroupConfig;
use crate::groups::messages::{Client, Protocol};
use crate::groups::stored::{self, Hex};

/// Partitions by the text of a topic id.
type StoredPartitions = BTreeMap<String, BTreeSet<i32>>;

#[derive(Debug, Serialize, Deserialize)]
struct GroupDetail {
    assignment_epoch: i32,
    topics: BTreeMap<String, i32>,
}

#[derive(Debug, Serialize, Deserialize)]
struct MemberDetail {
    rack_id: Option<String>,
    rebalance_timeout_ms: u64,
    names: BTreeSet<String>,
    regex: Option<String>,
    assignor: Option<String>,
    previous_epoch: i32,
    state: StoredState,
    assigned: StoredPartitions,
    revoking: StoredPartitions,
    target: StoredPartitions,
    epochs: BTreeMap<String, BTreeMap<i32, i32>>,
    classic: Option<ClassicDetail>,
}

#[derive(Debug, Serialize, Deserialize)]
struct ClassicDetail {
    session_timeout_ms: u64,
    protocols: Vec<(String, Hex)>,
    version: i16,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
enum StoredState {
    Stable,
    UnrevokedPartitions,
    UnreleasedPartitions,
}

impl ConsumerGroup {
    /// What has to be stored before any answer that came out since leaves.
    pub(crate) fn take_change(&mut self) -> Option<GroupChange> {
        if !std::mem::take(&mut self.is_dirty) {
            return None;
        }
        let dirty = std::mem::take(&mut self.dirty_members);
        let members = dirty
            .iter()
            .filter_map(|id| Some(row(id, self.members.get(id)?)));
        let members: Vec<MemberRow> = members.collect();
        let removed = self
            .stored_members
            .iter()
            .filter(|id| !self.members.contains_key(*id));
        let removed = removed.cloned().collect();
        self.stored_members = self.members.keys().cloned().collect();
        let topics = self.topics.iter();
        let detail = GroupDetail {
            assignment_epoch: self.assignment_epoch,
            topics: topics.map(|(id, count)| (id.to_string(), *count)).collect(),
        };
        Some(GroupChange::State {
            group: Box::new(GroupRow {
                group_id: self.group_id.to_string(),
                group_type: "consumer".to_owned(),
                group_state: self.state().to_owned(),
                epoch: self.group_epoch,
                protocol_type: Some("consumer".to_owned()),
                protocol: Some(self.assignor.clone()),
                leader: None,
                detail: stored::encode(&detail),
            }),
            members,
            removed,
        })
    }

    /// A group as it was stored; every member's session begins anew at `now`.
    pub(crate) fn restore(
        row: GroupRow,
        members: Vec<MemberRow>,
        config: Arc<GroupConfig>,
        now: u64,
    ) -> Result<Self, String> {
        let detail: GroupDetail = stored::decode(&row.detail)?;
        let mut group = Self::new(row.group_id.as_str().into(), config);
        group.group_epoch = row.epoch;
        group.assignment_epoch = detail.assignment_epoch;
        if let Some(assignor) = row.protocol {
            group.assignor = assignor;
        }
        for (id, count) in detail.topics {
            group.topics.insert(topic_id(&id)?, count);
        }
        for row in members {
            let id = row.member_id.clone();
            let member = restore_member(row, &group.config, now)?;
            if let Some(instance) = &member.instance_id {
                group.static_members.insert(instance.clone(), id.clone());
            }
            group.stored_members.insert(id.clone());
            group.members.insert(id, member);
        }
        Ok(group)
    }
}

fn row(member_id: &str, member: &Member) -> MemberRow {
    let classic = member.classic.as_ref().map(|side| ClassicDetail {
        session_timeout_ms: side.session_timeout_ms,
        protocols: side
            .protocols
            .iter()
            .map(|protocol| (protocol.name.clone(), Hex(protocol.metadata.clone())))
            .collect(),
        version: side.version,
    });
    let detail = MemberDetail {
        rack_id: member.rack_id.clone(),
        rebalance_timeout_ms: member.rebalance_timeout_ms,
        names: member.names.clone(),
        regex: member
            .pattern
            .as_ref()
            .map(|pattern| pattern.text().to_owned()),
        assignor: member.assignor.clone(),
        previous_epoch: member.previous_epoch,
        state: match member.state {
            MemberState::Stable => StoredState::Stable,
            MemberState::UnrevokedPartitions => StoredState::UnrevokedPartitions,
            MemberState::UnreleasedPartitions => StoredState::UnreleasedPartitions,
        },
        assigned: texts(&member.assigned),
        revoking: texts(&member.revoking),
        target: texts(&member.target),
        epochs: texts(&member.epochs),
        classic,
    };
    MemberRow {
        member_id: member_id.to_owned(),
        group_instance_id: member.instance_id.clone(),
        client_id: member.client.id.clone(),
        client_host: member.client.host.clone(),
        epoch: member.epoch,
        detail: stored::encode(&detail),
    }
}

fn restore_member(row: MemberRow, config: &GroupConfig, now: u64) -> Result<Member, String> {
    let detail: MemberDetail = stored::decode(&row.detail)?;
    let client = Client {
        id: row.client_id,
        host: row.client_host,
    };
    let mut member = Member::new(client, row.group_instance_id);
    member.rack_id = detail.rack_id;
    member.rebalance_timeout_ms = detail.rebalance_timeout_ms;
    member.names = detail.names;
    member.pattern = detail.regex.as_deref().map(Pattern::new).transpose()?;
    member.assignor = detail.assignor;
    member.epoch = row.epoch;
    member.previous_epoch = detail.previous_epoch;
    member.state = match detail.state {
        StoredState::Stable => MemberState::Stable,
        StoredState::UnrevokedPartitions => MemberState::UnrevokedPartitions,
        StoredState::UnreleasedPartitions => MemberState::UnreleasedPartitions,
    };
    member.assigned = partitions(detail.assigned)?;
    member.revoking = partitions(detail.revoking)?;
    member.target = partitions(detail.target)?;
    member.epochs = partitions(detail.epochs)?;
    member.classic = detail.classic.map(|classic| ClassicSide {
        session_timeout_ms: classic.session_timeout_ms,
        protocols: classic
            .protocols
            .into_iter()
            .map(|(name, metadata)| Protocol {
                name,
                metadata: metadata.0,
            })
            .collect(),
        version: classic.version,
    });
    let session_timeout_ms = match &member.classic {
        Some(side) => side.session_timeout_ms,
        None => config.consumer.session_timeout_ms,
    };
    member.session_deadline = now + session_timeout_ms;
    if member.state == MemberState::UnrevokedPartitions {
        member.rebalance_deadline = Some(now + member.rebalance_timeout_ms);
    }
    Ok(member)
}

fn texts<T: Clone>(by_id: &BTreeMap<Uuid, T>) -> BTreeMap<String, T> {
    let topics = by_id.iter();
    topics
        .map(|(id, partitions)| (id.to_string(), partitions.clone()))
        .collect()
}

fn topic_id(text: &str) -> Result<Uuid, String> {
    text.parse().map_err(|_| format!("`{text}` is no topic id"))
}

fn partitions<T>(stored: BTreeMap<String, T>) -> Result<BTreeMap<Uuid, T>, String> {
    let topics = stored.into_iter();
    topics
        .map(|(id, partitions)| Ok((topic_id(&id)?, partitions)))
        .collect()
}
