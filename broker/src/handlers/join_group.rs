//! JoinGroup (key 11), v0-v9: becomes or stays a member of a classic group.
//!
//! v1: rebalance timeout. v4: a member gets its id first (KIP-394). v5: static members (KIP-345). v8: a reason (KIP-800).
//! v9: the leader may be told that there is nothing to assign (KIP-814).

use bytes::Bytes;
use protocol::ErrorCode;
use protocol::messages::join_group_response::JoinGroupResponseMember;
use protocol::messages::{JoinGroupRequest, JoinGroupResponse};
use uuid::Uuid;

use super::group_rules;
use crate::context::Request;
use crate::groups::{Event, JoinAnswer, JoinRequest, Protocol};

pub(crate) async fn handle(
    request: &Request,
    body: JoinGroupRequest<'_>,
) -> JoinGroupResponse<'static> {
    let groups = &request.context().groups;
    let member_id = body.member_id.clone().into_owned();
    let answer = match check(request, &body) {
        Err(code) => Err(code),
        Ok(()) => {
            let group_id = body.group_id.clone().into_owned();
            let join = join_request(request, body);
            groups
                .ask_patiently(&group_id, |reply| Event::Join(join, reply))
                .await
        }
    };
    let answer = answer.unwrap_or_else(|code| JoinAnswer::refused(code, member_id));
    response(request.version, answer)
}

fn check(request: &Request, body: &JoinGroupRequest<'_>) -> Result<(), ErrorCode> {
    group_rules::check_joined_group_id(&body.group_id)?;
    group_rules::check_member(&body.member_id, body.group_instance_id.as_deref())?;
    let config = &request.context().groups.config;
    if !config.session_timeout_ms.contains(&body.session_timeout_ms) {
        return Err(ErrorCode::InvalidSessionTimeout);
    }
    Ok(())
}

fn join_request(request: &Request, body: JoinGroupRequest<'_>) -> JoinRequest {
    let protocols = body.protocols.into_iter().map(|protocol| Protocol {
        name: protocol.name.into_owned(),
        // Not shared with the request: it is kept for long.
        metadata: Bytes::from(protocol.metadata.into_owned()),
    });
    JoinRequest {
        client: group_rules::client(request),
        session_timeout_ms: body.session_timeout_ms,
        rebalance_timeout_ms: if request.version == 0 {
            body.session_timeout_ms
        } else {
            body.rebalance_timeout_ms
        },
        member_id: body.member_id.into_owned(),
        unique: Uuid::new_v4().to_string(),
        group_instance_id: body.group_instance_id.map(|id| id.into_owned()),
        protocol_type: body.protocol_type.replace('\0', "\u{fffd}"),
        protocols: protocols.collect(),
        requires_known_member_id: request.version >= 4,
        can_skip_assignment: request.version >= 9,
        reason: body.reason.map(|reason| reason.into_owned()),
    }
}

fn response(version: i16, answer: JoinAnswer) -> JoinGroupResponse<'static> {
    let members = answer
        .members
        .into_iter()
        .map(|member| JoinGroupResponseMember {
            member_id: member.member_id.into(),
            group_instance_id: member.group_instance_id.map(Into::into),
            metadata: member.metadata.to_vec().into(),
            ..JoinGroupResponseMember::default()
        });
    // Null came with v7.
    let none = (version < 7).then(String::new);
    JoinGroupResponse {
        error_code: answer.error.code(),
        generation_id: answer.generation_id,
        protocol_type: answer.protocol_type.map(Into::into),
        protocol_name: answer.protocol_name.or(none).map(Into::into),
        leader: answer.leader.into(),
        skip_assignment: answer.skip_assignment,
        member_id: answer.member_id.into(),
        members: members.collect(),
        ..JoinGroupResponse::default()
    }
}
