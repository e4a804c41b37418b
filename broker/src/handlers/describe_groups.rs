//! DescribeGroups (key 15), v0-v6: state and members of classic groups.
//!
//! v3: authorized operations (KIP-430). v4: static members (KIP-345). v6: a group that is not there is an error (KIP-1043);
//! before it is in state Dead.

use protocol::ErrorCode;
use protocol::messages::describe_groups_response::{DescribedGroup, DescribedGroupMember};
use protocol::messages::{DescribeGroupsRequest, DescribeGroupsResponse};

use super::group_rules;
use crate::context::Request;
use crate::groups::{Description, Event};

pub(crate) async fn handle<'a>(
    request: &Request,
    body: DescribeGroupsRequest<'a>,
) -> DescribeGroupsResponse<'a> {
    let mut groups = Vec::with_capacity(body.groups.len());
    for group_id in body.groups {
        let described = describe(request, &group_id).await;
        let mut group = match described {
            Ok(Some(Ok(description))) => described_group(description),
            Ok(Some(Err(_))) => {
                let text = format!("Group {group_id} is not a classic group.");
                absent(request.version, text)
            }
            Ok(None) => absent(request.version, format!("Group {group_id} not found.")),
            Err(code) => DescribedGroup {
                error_code: code.code(),
                ..DescribedGroup::default()
            },
        };
        group.group_id = group_id;
        group.authorized_operations =
            group_rules::operations(body.include_authorized_operations, group.error_code);
        groups.push(group);
    }
    DescribeGroupsResponse {
        groups,
        ..DescribeGroupsResponse::default()
    }
}

type Described = Option<Result<Description, ErrorCode>>;

async fn describe(request: &Request, group_id: &str) -> Result<Described, ErrorCode> {
    group_rules::check_group_id(group_id)?;
    let groups = &request.context().groups;
    groups.ask(group_id, Event::Describe).await
}

fn absent<'a>(version: i16, message: String) -> DescribedGroup<'a> {
    let mut group = DescribedGroup {
        group_state: "Dead".into(),
        ..DescribedGroup::default()
    };
    if version >= 6 {
        group.error_code = ErrorCode::GroupIdNotFound.code();
        group.error_message = Some(message.into());
    }
    group
}

fn described_group<'a>(description: Description) -> DescribedGroup<'a> {
    let members = description.members.into_iter();
    let members = members.map(|member| DescribedGroupMember {
        member_id: member.member_id.into(),
        group_instance_id: member.group_instance_id.map(Into::into),
        client_id: member.client.id.into(),
        client_host: member.client.host.into(),
        member_metadata: member.metadata.to_vec().into(),
        member_assignment: member.assignment.to_vec().into(),
        ..DescribedGroupMember::default()
    });
    DescribedGroup {
        group_state: description.state.into(),
        protocol_type: description.protocol_type.into(),
        protocol_data: description.protocol.into(),
        members: members.collect(),
        ..DescribedGroup::default()
    }
}
