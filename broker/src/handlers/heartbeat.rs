//! Heartbeat (key 12), v0-v4: a classic member's sign of life, and how it learns of a rebalance.
//!
//! v3: static members (KIP-345).

use protocol::ErrorCode;
use protocol::messages::{HeartbeatRequest, HeartbeatResponse};

use super::group_rules;
use crate::context::Request;
use crate::groups::{Event, MemberRef};

pub(crate) async fn handle(
    request: &Request,
    body: HeartbeatRequest<'_>,
) -> HeartbeatResponse<'static> {
    let answer = match group_rules::check_joined_group_id(&body.group_id) {
        Err(code) => Err(code),
        Ok(()) => {
            let member = MemberRef {
                member_id: body.member_id.into_owned(),
                group_instance_id: body.group_instance_id.map(|id| id.into_owned()),
                epoch: body.generation_id,
            };
            let groups = &request.context().groups;
            groups
                .ask(&body.group_id, |reply| Event::Heartbeat(member, reply))
                .await
                .and_then(|answer| answer)
        }
    };
    HeartbeatResponse {
        error_code: answer.err().unwrap_or(ErrorCode::None).code(),
        ..HeartbeatResponse::default()
    }
}
