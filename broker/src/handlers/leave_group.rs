//! LeaveGroup (key 13), v0-v5: members leave, one or many.
//!
//! v3: many members, static ones by their instance id (KIP-345). v5: reasons (KIP-800).

use protocol::ErrorCode;
use protocol::messages::leave_group_request::MemberIdentity;
use protocol::messages::leave_group_response::MemberResponse;
use protocol::messages::{LeaveGroupRequest, LeaveGroupResponse};

use super::group_rules;
use crate::context::Request;
use crate::groups::{Event, Leaving};

pub(crate) async fn handle<'a>(
    request: &Request,
    body: LeaveGroupRequest<'a>,
) -> LeaveGroupResponse<'a> {
    let members = if request.version >= 3 {
        body.members
    } else {
        vec![MemberIdentity {
            member_id: body.member_id,
            ..MemberIdentity::default()
        }]
    };
    let results = match group_rules::check_joined_group_id(&body.group_id) {
        Err(code) => Err(code),
        Ok(()) => leave(request, &body.group_id, &members).await,
    };
    let results = match results {
        Ok(results) => results,
        Err(code) => return failed(code),
    };
    if request.version < 3 {
        return failed(results.first().copied().unwrap_or(ErrorCode::None));
    }
    let members = members.into_iter().zip(results);
    LeaveGroupResponse {
        members: members
            .map(|(member, code)| MemberResponse {
                member_id: member.member_id,
                group_instance_id: member.group_instance_id,
                error_code: code.code(),
                ..MemberResponse::default()
            })
            .collect(),
        ..LeaveGroupResponse::default()
    }
}

/// A result for each member.
async fn leave(
    request: &Request,
    group_id: &str,
    members: &[MemberIdentity<'_>],
) -> Result<Vec<ErrorCode>, ErrorCode> {
    let leaving = members.iter().map(|member| Leaving {
        member_id: member.member_id.clone().into_owned(),
        group_instance_id: member.group_instance_id.clone().map(|id| id.into_owned()),
        reason: member.reason.clone().map(|reason| reason.into_owned()),
    });
    let leaving = leaving.collect();
    let groups = &request.context().groups;
    let results = groups
        .ask(group_id, |reply| Event::Leave(leaving, reply))
        .await?;
    Ok(match results {
        Some(results) => results
            .into_iter()
            .map(|result| result.err().unwrap_or(ErrorCode::None))
            .collect(),
        None => vec![ErrorCode::UnknownMemberId; members.len()],
    })
}

fn failed<'a>(code: ErrorCode) -> LeaveGroupResponse<'a> {
    LeaveGroupResponse {
        error_code: code.code(),
        ..LeaveGroupResponse::default()
    }
}
