//! A classic group from a group of the new protocol, and what that needs of a classic one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use protocol::ErrorCode;

use super::{CONSUMER, ClassicGroup, ClassicState, Member};
use crate::groups::config::GroupConfig;
use crate::groups::messages::{Answers, Client, JoinAnswer, Protocol};

/// What a classic group is made of.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) group_id: Arc<str>,
    pub(crate) generation_id: i32,
    pub(crate) members: BTreeMap<String, Member>,
    /// Members that the database has.
    pub(crate) stored_members: BTreeSet<String>,
}

impl Member {
    /// A member that has an assignment; its timeouts are those of session and rebalance.
    pub(crate) fn converted(
        group_instance_id: Option<String>,
        client: Client,
        (session_timeout_ms, rebalance_timeout_ms): (u64, u64),
        protocols: Vec<Protocol>,
        assignment: Bytes,
        now: u64,
    ) -> Self {
        Self {
            group_instance_id,
            client,
            session_timeout_ms,
            rebalance_timeout_ms,
            protocols,
            assignment,
            awaiting_join: None,
            awaiting_sync: None,
            session_deadline: now + session_timeout_ms,
            is_new: false,
        }
    }
}

impl ClassicGroup {
    /// A stable group of consumers, which begins to rebalance.
    pub(crate) fn converted(
        parts: Parts,
        protocol: Option<String>,
        config: Arc<GroupConfig>,
        now: u64,
        out: &mut Answers,
    ) -> Self {
        let mut group = Self::new(parts.group_id, config);
        group.generation_id = parts.generation_id;
        group.state = ClassicState::Stable;
        group.protocol_type = Some(CONSUMER.to_owned());
        group.protocol = protocol;
        let instances = parts.members.iter();
        group.static_members = instances
            .filter_map(|(id, member)| Some((member.group_instance_id.clone()?, id.clone())))
            .collect();
        group.leader = parts.members.keys().next().cloned();
        group.members = parts.members;
        group.stored_members = parts.stored_members;
        group.is_stored = true;
        group.prepare_rebalance("downgrade from the new protocol", now, out);
        group
    }

    /// Goes on from the epoch of a group of the other type that nobody is in any more.
    pub(crate) fn succeed(&mut self, epoch: i32) {
        self.generation_id = epoch;
        self.is_stored = true;
    }

    pub(crate) fn generation_id(&self) -> i32 {
        self.generation_id
    }

    pub(crate) fn members(&self) -> &BTreeMap<String, Member> {
        &self.members
    }

    pub(crate) fn stored_members(&self) -> &BTreeSet<String> {
        &self.stored_members
    }

    /// Tells those that wait for a join or an assignment to join again.
    pub(crate) fn interrupt(&mut self, now: u64, out: &mut Answers) {
        let code = ErrorCode::RebalanceInProgress;
        for (id, member) in &mut self.members {
            if let Some(ticket) = member.awaiting_join.take() {
                out.joins
                    .push((ticket, JoinAnswer::refused(code, id.as_str())));
            }
        }
        self.fail_syncs(code, now, out);
    }
}
