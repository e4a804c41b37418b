//! What of a classic group is stored, and a group from what was stored.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use storage::{GroupChange, GroupRow, MemberRow};

use super::{ClassicGroup, ClassicState, Member};
use crate::groups::config::GroupConfig;
use crate::groups::messages::{Client, Protocol};
use crate::groups::stored::{self, Hex};

/// A member besides the columns of its row.
#[derive(Debug, Serialize, Deserialize)]
struct MemberDetail {
    session_timeout_ms: u64,
    rebalance_timeout_ms: u64,
    protocols: Vec<ProtocolDetail>,
    assignment: Hex,
}

#[derive(Debug, Serialize, Deserialize)]
struct ProtocolDetail {
    name: String,
    metadata: Hex,
}

impl ClassicGroup {
    /// What has to be stored before any answer that came out since leaves.
    pub(crate) fn take_change(&mut self) -> Option<GroupChange> {
        if !std::mem::take(&mut self.is_dirty) {
            return None;
        }
        self.is_stored = true;
        let removed = self
            .stored_members
            .iter()
            .filter(|id| !self.members.contains_key(*id));
        let removed = removed.cloned().collect();
        self.stored_members = self.members.keys().cloned().collect();
        let members = self.members.iter();
        Some(GroupChange::State {
            group: Box::new(GroupRow {
                group_id: self.group_id.to_string(),
                group_type: "classic".to_owned(),
                group_state: self.state.name().to_owned(),
                epoch: self.generation_id,
                protocol_type: self.protocol_type.clone(),
                protocol: self.protocol.clone(),
                leader: self.leader.clone(),
                detail: b"{}".to_vec(),
            }),
            members: members.map(|(id, member)| self.row(id, member)).collect(),
            removed,
        })
    }

    fn row(&self, member_id: &str, member: &Member) -> MemberRow {
        let protocols = member.protocols.iter().map(|protocol| ProtocolDetail {
            name: protocol.name.clone(),
            metadata: Hex(protocol.metadata.clone()),
        });
        let detail = MemberDetail {
            session_timeout_ms: member.session_timeout_ms,
            rebalance_timeout_ms: member.rebalance_timeout_ms,
            protocols: protocols.collect(),
            assignment: Hex(member.assignment.clone()),
        };
        MemberRow {
            member_id: member_id.to_owned(),
            group_instance_id: member.group_instance_id.clone(),
            client_id: member.client.id.clone(),
            client_host: member.client.host.clone(),
            epoch: self.generation_id,
            detail: stored::encode(&detail),
        }
    }

    /// A group as it was stored; every member's session begins anew at `now`.
    pub(crate) fn restore(
        row: GroupRow,
        members: Vec<MemberRow>,
        config: Arc<GroupConfig>,
        now: u64,
    ) -> Result<Self, String> {
        let mut group = Self::new(row.group_id.as_str().into(), config);
        group.is_stored = true;
        group.generation_id = row.epoch;
        group.protocol_type = row.protocol_type;
        group.protocol = row.protocol;
        group.leader = row.leader;
        group.state = match row.group_state.as_str() {
            "Empty" => ClassicState::Empty,
            "CompletingRebalance" => ClassicState::CompletingRebalance,
            "Stable" => ClassicState::Stable,
            other => return Err(format!("a classic group is not {other}")),
        };
        group.members = members
            .into_iter()
            .map(|row| restore_member(row, now))
            .collect::<Result<BTreeMap<_, _>, String>>()?;
        let instances = group.members.iter();
        group.static_members = instances
            .filter_map(|(id, member)| Some((member.group_instance_id.clone()?, id.clone())))
            .collect();
        group.stored_members = group.members.keys().cloned().collect();
        if group.state == ClassicState::CompletingRebalance {
            group.pending_sync = group.stored_members.clone();
            group.sync_deadline = Some(now + group.rebalance_timeout_ms());
        }
        Ok(group)
    }
}

fn restore_member(row: MemberRow, now: u64) -> Result<(String, Member), String> {
    let detail: MemberDetail = stored::decode(&row.detail)?;
    let protocols = detail.protocols.into_iter().map(|protocol| Protocol {
        name: protocol.name,
        metadata: protocol.metadata.0,
    });
    let member = Member {
        group_instance_id: row.group_instance_id,
        client: Client {
            id: row.client_id,
            host: row.client_host,
        },
        session_timeout_ms: detail.session_timeout_ms,
        rebalance_timeout_ms: detail.rebalance_timeout_ms,
        protocols: protocols.collect(),
        assignment: detail.assignment.0,
        awaiting_join: None,
        awaiting_sync: None,
        session_deadline: now + detail.session_timeout_ms,
        is_new: false,
    };
    Ok((row.member_id, member))
}
