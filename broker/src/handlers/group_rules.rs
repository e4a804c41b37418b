//! What the APIs of groups have in common: who asks, and which ids are none.

use protocol::ErrorCode;

use crate::context::Request;
use crate::groups::Client;

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
