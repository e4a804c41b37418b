//! ListGroups (key 16), v0-v5: every group, with its state and type.
//!
//! v4: states (KIP-518). v5: types (KIP-848). Filters do not look at upper and lower case.

use std::collections::BTreeMap;

use protocol::ErrorCode;
use protocol::messages::list_groups_response::ListedGroup;
use protocol::messages::{ListGroupsRequest, ListGroupsResponse};

use crate::context::Request;

/// What a group is listed as.
#[derive(Debug)]
struct Listed {
    group_type: String,
    state: String,
    protocol_type: String,
}

pub(crate) async fn handle(
    request: &Request,
    body: ListGroupsRequest<'_>,
) -> ListGroupsResponse<'static> {
    let groups = match list(request).await {
        Ok(groups) => groups,
        Err(code) => {
            return ListGroupsResponse {
                error_code: code.code(),
                ..ListGroupsResponse::default()
            };
        }
    };
    let is_wanted = |filter: &[std::borrow::Cow<'_, str>], value: &str| {
        filter.is_empty()
            || filter
                .iter()
                .any(|wanted| wanted.eq_ignore_ascii_case(value))
    };
    let groups = groups.into_iter().filter(|(_, group)| {
        is_wanted(&body.states_filter, &group.state)
            && is_wanted(&body.types_filter, &group.group_type)
    });
    ListGroupsResponse {
        groups: groups
            .map(|(group_id, group)| ListedGroup {
                group_id: group_id.into(),
                protocol_type: group.protocol_type.into(),
                group_state: group.state.into(),
                group_type: group.group_type.into(),
                ..ListedGroup::default()
            })
            .collect(),
        ..ListGroupsResponse::default()
    }
}

/// What is stored, and what those in use say of themselves.
async fn list(request: &Request) -> Result<BTreeMap<String, Listed>, ErrorCode> {
    let groups = &request.context().groups;
    let stored = groups.stored().await?;
    let mut listed: BTreeMap<String, Listed> = stored
        .into_iter()
        .map(|group| {
            let entry = Listed {
                group_type: group.group_type,
                state: group.group_state,
                protocol_type: group.protocol_type.unwrap_or_default(),
            };
            (group.group_id, entry)
        })
        .collect();
    for (group_id, summary) in groups.summaries() {
        let entry = Listed {
            group_type: summary.group_type.to_owned(),
            state: summary.state.to_owned(),
            protocol_type: summary.protocol_type,
        };
        listed.insert(group_id.to_string(), entry);
    }
    Ok(listed)
}
