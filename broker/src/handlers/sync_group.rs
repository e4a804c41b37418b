//! SyncGroup (key 14), v0-v5: the assignment of a classic group's generation, brought by the leader, given to all.
//!
//! v3: static members (KIP-345). v5: the protocol is named and checked (KIP-559).

use bytes::Bytes;
use protocol::ErrorCode;
use protocol::messages::{SyncGroupRequest, SyncGroupResponse};

use super::group_rules;
use crate::context::Request;
use crate::groups::{Event, MemberRef, SyncAnswer, SyncRequest};

pub(crate) async fn handle(
    request: &Request,
    body: SyncGroupRequest<'_>,
) -> SyncGroupResponse<'static> {
    let answer = match group_rules::check_joined_group_id(&body.group_id) {
        Err(code) => Err(code),
        Ok(()) if request.version >= 5 && !names_protocol(&body) => {
            Err(ErrorCode::InconsistentGroupProtocol)
        }
        Ok(()) => {
            let group_id = body.group_id.clone().into_owned();
            let sync = sync_request(body);
            let groups = &request.context().groups;
            groups
                .ask_patiently(&group_id, |reply| Event::Sync(sync, reply))
                .await
        }
    };
    let answer = answer.unwrap_or_else(SyncAnswer::refused);
    SyncGroupResponse {
        error_code: answer.error.code(),
        protocol_type: answer.protocol_type.map(Into::into),
        protocol_name: answer.protocol_name.map(Into::into),
        assignment: answer.assignment.to_vec().into(),
        ..SyncGroupResponse::default()
    }
}

fn names_protocol(body: &SyncGroupRequest<'_>) -> bool {
    body.protocol_type.is_some() && body.protocol_name.is_some()
}

fn sync_request(body: SyncGroupRequest<'_>) -> SyncRequest {
    let assignments = body.assignments.into_iter().map(|assignment| {
        let bytes = Bytes::from(assignment.assignment.into_owned());
        (assignment.member_id.into_owned(), bytes)
    });
    SyncRequest {
        member: MemberRef {
            member_id: body.member_id.into_owned(),
            group_instance_id: body.group_instance_id.map(|id| id.into_owned()),
            epoch: body.generation_id,
        },
        protocol_type: body.protocol_type.map(|kind| kind.into_owned()),
        protocol_name: body.protocol_name.map(|name| name.into_owned()),
        assignments: assignments.collect(),
    }
}
