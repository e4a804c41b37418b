//! What groups are asked and what they answer, in the words of the classic protocol, without versions and bytes.

use bytes::Bytes;
use protocol::ErrorCode;

/// A request whose answer is given later names itself by this.
pub(crate) type Ticket = u64;

/// Who a member is, for tools.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Client {
    pub(crate) id: String,
    pub(crate) host: String,
}

/// A protocol (an assignor) that a member can speak, with what it says there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Protocol {
    pub(crate) name: String,
    pub(crate) metadata: Bytes,
}

/// JoinGroup.
#[derive(Debug, Clone)]
pub(crate) struct JoinRequest {
    pub(crate) client: Client,
    pub(crate) session_timeout_ms: i32,
    pub(crate) rebalance_timeout_ms: i32,
    /// Empty for a member that has none yet.
    pub(crate) member_id: String,
    /// A text nobody else has, for the id of a new member.
    pub(crate) unique: String,
    pub(crate) group_instance_id: Option<String>,
    pub(crate) protocol_type: String,
    pub(crate) protocols: Vec<Protocol>,
    /// Whether a new dynamic member first gets its id, and joins then (v4, KIP-394).
    pub(crate) requires_known_member_id: bool,
    /// Whether the leader understands that there is nothing to assign (v9, KIP-814).
    pub(crate) can_skip_assignment: bool,
    /// The client's own words.
    pub(crate) reason: Option<String>,
}

/// The answer to JoinGroup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct JoinAnswer {
    pub(crate) error: ErrorCode,
    pub(crate) generation_id: i32,
    pub(crate) protocol_type: Option<String>,
    pub(crate) protocol_name: Option<String>,
    pub(crate) leader: String,
    pub(crate) skip_assignment: bool,
    pub(crate) member_id: String,
    /// For the leader alone.
    pub(crate) members: Vec<JoinedMember>,
}

impl JoinAnswer {
    pub(crate) fn refused(error: ErrorCode, member_id: impl Into<String>) -> Self {
        Self {
            error,
            generation_id: -1,
            protocol_type: None,
            protocol_name: None,
            leader: String::new(),
            skip_assignment: false,
            member_id: member_id.into(),
            members: Vec::new(),
        }
    }
}

/// What the leader learns of a member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct JoinedMember {
    pub(crate) member_id: String,
    pub(crate) group_instance_id: Option<String>,
    /// Of the protocol that was chosen.
    pub(crate) metadata: Bytes,
}

/// SyncGroup.
#[derive(Debug, Clone)]
pub(crate) struct SyncRequest {
    pub(crate) member: MemberRef,
    pub(crate) protocol_type: Option<String>,
    pub(crate) protocol_name: Option<String>,
    /// From the leader: member and what it gets.
    pub(crate) assignments: Vec<(String, Bytes)>,
}

/// The answer to SyncGroup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SyncAnswer {
    pub(crate) error: ErrorCode,
    pub(crate) protocol_type: Option<String>,
    pub(crate) protocol_name: Option<String>,
    pub(crate) assignment: Bytes,
}

impl SyncAnswer {
    pub(crate) fn refused(error: ErrorCode) -> Self {
        Self {
            error,
            protocol_type: None,
            protocol_name: None,
            assignment: Bytes::new(),
        }
    }
}

/// A member as it names itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MemberRef {
    pub(crate) member_id: String,
    pub(crate) group_instance_id: Option<String>,
    /// Generation or member epoch; -1 for none.
    pub(crate) epoch: i32,
}

/// Who wants to commit offsets of which partitions, by topic key and number.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CommitCheck<'a> {
    pub(crate) member: &'a MemberRef,
    pub(crate) partitions: &'a [(i32, i32)],
}

/// A member that leaves: LeaveGroup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Leaving {
    pub(crate) member_id: String,
    pub(crate) group_instance_id: Option<String>,
    pub(crate) reason: Option<String>,
}

/// Answers that are due, in the order in which they came to be.
#[derive(Debug, Default)]
pub(crate) struct Answers {
    pub(crate) joins: Vec<(Ticket, JoinAnswer)>,
    pub(crate) syncs: Vec<(Ticket, SyncAnswer)>,
}

/// A group as DescribeGroups and ConsumerGroupDescribe show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Description {
    pub(crate) state: &'static str,
    pub(crate) protocol_type: String,
    /// The chosen protocol, empty without one.
    pub(crate) protocol: String,
    pub(crate) members: Vec<DescribedMember>,
}

/// One member of a [`Description`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DescribedMember {
    pub(crate) member_id: String,
    pub(crate) group_instance_id: Option<String>,
    pub(crate) client: Client,
    pub(crate) metadata: Bytes,
    pub(crate) assignment: Bytes,
}
