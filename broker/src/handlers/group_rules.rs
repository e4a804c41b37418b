//! What the APIs of groups have in common: who asks, and which ids are none.

use std::sync::Arc;

use protocol::ErrorCode;
use storage::OffsetWrite;
use uuid::Uuid;

use crate::catalog::Topic;
use crate::context::Request;
use crate::groups::Client;
use crate::settings::features;

/// Every operation that Kafka knows on groups, as there is no authorizer: READ, DELETE, DESCRIBE, DESCRIBE_CONFIGS and
/// ALTER_CONFIGS as bits.
const ALL_OPERATIONS: i32 = 1 << 3 | 1 << 6 | 1 << 8 | 1 << 10 | 1 << 11;

/// What an answer says that carries no operations.
const NO_OPERATIONS: i32 = i32::MIN;

/// The operations on a group for an answer with this error code, where they were asked for.
pub(super) fn operations(asked: bool, error_code: i16) -> i32 {
    if asked && error_code == ErrorCode::None.code() {
        ALL_OPERATIONS
    } else {
        NO_OPERATIONS
    }
}

/// Who asks. The database stores no zero characters.
pub(super) fn client(request: &Request) -> Client {
    let id = request.client_id.as_deref().unwrap_or_default();
    Client {
        id: id.replace('\0', "\u{fffd}"),
        host: format!("/{}", request.session.peer.ip().to_canonical()),
    }
}

/// Whether there is a new protocol of groups: `group.version` is not 0, and `group.coordinator.rebalance.protocols` has it.
pub(super) fn has_new_protocol(request: &Request) -> bool {
    let snapshot = request.context().settings.snapshot();
    snapshot.features.of(features::GROUPS) > 0 && snapshot.config.has_protocol("consumer")
}

/// An id that a group may have. An empty one has no members, only offsets.
pub(super) fn check_group_id(group_id: &str) -> Result<(), ErrorCode> {
    if group_id.contains('\0') {
        return Err(ErrorCode::InvalidGroupId);
    }
    Ok(())
}

/// An id that a group with members may have.
pub(super) fn check_joined_group_id(group_id: &str) -> Result<(), ErrorCode> {
    if group_id.is_empty() {
        return Err(ErrorCode::InvalidGroupId);
    }
    check_group_id(group_id)
}

/// An id that a member may have or say it has.
pub(super) fn check_member(
    member_id: &str,
    group_instance_id: Option<&str>,
) -> Result<(), ErrorCode> {
    if member_id.contains('\0') || group_instance_id.is_some_and(|id| id.contains('\0')) {
        return Err(ErrorCode::InvalidRequest);
    }
    Ok(())
}

/// The topic that a request names by its id or, before it could, by its name.
pub(super) fn find_topic(
    request: &Request,
    by_id: bool,
    topic_id: Uuid,
    name: &str,
) -> Result<Arc<Topic>, ErrorCode> {
    let catalog = &request.context().catalog;
    if by_id {
        let found = catalog.by_topic_id(topic_id);
        found.ok_or(ErrorCode::UnknownTopicId)
    } else {
        let found = catalog.by_name(name);
        found.ok_or(ErrorCode::UnknownTopicOrPartition)
    }
}

/// What a request to commit says of one partition.
#[derive(Debug, Clone, Copy)]
pub(super) struct AskedOffset<'a> {
    pub(super) partition: i32,
    pub(super) offset: i64,
    pub(super) leader_epoch: i32,
    pub(super) metadata: Option<&'a str>,
}

/// The write of an offset of a topic that was found or not.
pub(super) fn offset_write(
    request: &Request,
    topic: &Result<Arc<Topic>, ErrorCode>,
    asked: AskedOffset<'_>,
) -> Result<OffsetWrite, ErrorCode> {
    let topic = topic.as_ref().map_err(|code| *code)?;
    if topic.partition(asked.partition).is_none() {
        return Err(ErrorCode::UnknownTopicOrPartition);
    }
    let metadata = asked.metadata.unwrap_or_default();
    // Kafka counts what Java has in a string, in spite of the name of the setting.
    if metadata.encode_utf16().count() > request.context().groups.config.metadata_length_max {
        return Err(ErrorCode::OffsetMetadataTooLarge);
    }
    Ok(OffsetWrite {
        topic: topic.id,
        partition: asked.partition,
        offset: asked.offset,
        leader_epoch: asked.leader_epoch,
        metadata: metadata.to_owned(),
        timestamp_ms: None,
        retention_ms: None,
    })
}
