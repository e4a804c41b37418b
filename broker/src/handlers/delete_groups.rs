//! DeleteGroups (key 42), v0-v3: removes groups without members, with their offsets.
//!
//! v3: an error message.

use protocol::ErrorCode;
use protocol::messages::delete_groups_response::DeletableGroupResult;
use protocol::messages::{DeleteGroupsRequest, DeleteGroupsResponse};

use super::group_rules;
use crate::context::Request;
use crate::groups::Event;

pub(crate) async fn handle<'a>(
    request: &Request,
    body: DeleteGroupsRequest<'a>,
) -> DeleteGroupsResponse<'a> {
    let mut results: Vec<DeletableGroupResult<'a>> = Vec::new();
    for group_id in body.groups_names {
        // Named twice, it is answered once.
        if results.iter().any(|result| result.group_id == group_id) {
            continue;
        }
        let code = delete(request, &group_id).await.err();
        // v3's message is for groups whose deletion fails for reasons of their own, which these do not.
        results.push(DeletableGroupResult {
            error_code: code.unwrap_or(ErrorCode::None).code(),
            group_id,
            ..DeletableGroupResult::default()
        });
    }
    DeleteGroupsResponse {
        results,
        ..DeleteGroupsResponse::default()
    }
}

async fn delete(request: &Request, group_id: &str) -> Result<(), ErrorCode> {
    group_rules::check_group_id(group_id)?;
    let groups = &request.context().groups;
    groups.ask(group_id, Event::Delete).await?
}
