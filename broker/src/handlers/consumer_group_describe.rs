//! ConsumerGroupDescribe (key 69), v0-v1: state and members of groups of the new protocol (KIP-848).
//!
//! v1: the type of each member (KIP-1099).

use protocol::ErrorCode;
use protocol::messages::consumer_group_describe_response::{
    Assignment, DescribedGroup, Member, TopicPartitions,
};
use protocol::messages::{ConsumerGroupDescribeRequest, ConsumerGroupDescribeResponse};

use super::group_rules;
use crate::context::Request;
use crate::groups::{ConsumerDescription, ConsumerMember, Event, Partitions};

/// Kafka's types of members.
const CLASSIC: i8 = 0;
const CONSUMER: i8 = 1;

pub(crate) async fn handle<'a>(
    request: &Request,
    body: ConsumerGroupDescribeRequest<'a>,
) -> ConsumerGroupDescribeResponse<'a> {
    let mut groups = Vec::with_capacity(body.group_ids.len());
    for group_id in body.group_ids {
        let described = describe(request, &group_id).await;
        let mut group = match described {
            Ok(Some(Ok(description))) => described_group(request, description),
            Ok(Some(Err(_))) => absent(format!("Group {group_id} is not a consumer group.")),
            Ok(None) => absent(format!("Group {group_id} not found.")),
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
    ConsumerGroupDescribeResponse {
        groups,
        ..ConsumerGroupDescribeResponse::default()
    }
}

type Described = Option<Result<ConsumerDescription, ErrorCode>>;

async fn describe(request: &Request, group_id: &str) -> Result<Described, ErrorCode> {
    if !group_rules::has_new_protocol(request) {
        return Err(ErrorCode::UnsupportedVersion);
    }
    group_rules::check_joined_group_id(group_id)?;
    let groups = &request.context().groups;
    groups.ask(group_id, Event::DescribeConsumer).await
}

fn absent<'a>(message: String) -> DescribedGroup<'a> {
    DescribedGroup {
        error_code: ErrorCode::GroupIdNotFound.code(),
        error_message: Some(message.into()),
        ..DescribedGroup::default()
    }
}

fn described_group<'a>(request: &Request, group: ConsumerDescription) -> DescribedGroup<'a> {
    let members = group.members.into_iter();
    DescribedGroup {
        group_state: group.state.into(),
        group_epoch: group.group_epoch,
        assignment_epoch: group.assignment_epoch,
        assignor_name: group.assignor.into(),
        members: members
            .map(|(id, member)| described_member(request, id, member))
            .collect(),
        ..DescribedGroup::default()
    }
}

fn described_member<'a>(request: &Request, id: String, member: ConsumerMember) -> Member<'a> {
    Member {
        member_id: id.into(),
        assignment: assignment(request, &member.assigned),
        target_assignment: assignment(request, &member.target),
        // Earlier versions do not carry it.
        member_type: match (request.version, &member.classic) {
            (0, _) => -1,
            (_, Some(_)) => CLASSIC,
            (_, None) => CONSUMER,
        },
        instance_id: member.instance_id.map(Into::into),
        rack_id: member.rack_id.map(Into::into),
        member_epoch: member.epoch,
        client_id: member.client.id.into(),
        client_host: member.client.host.into(),
        subscribed_topic_names: member.names.into_iter().map(Into::into).collect(),
        // A text, empty for none, as Kafka's.
        subscribed_topic_regex: Some(
            member
                .pattern
                .map(|pattern| pattern.text().to_owned())
                .unwrap_or_default()
                .into(),
        ),
        ..Member::default()
    }
}

/// By topic; a topic that is gone is left out.
fn assignment<'a>(request: &Request, partitions: &Partitions) -> Assignment<'a> {
    let catalog = &request.context().catalog;
    let topics = partitions.iter().filter_map(|(topic_id, partitions)| {
        let topic = catalog.by_topic_id(*topic_id)?;
        Some(TopicPartitions {
            topic_id: *topic_id,
            topic_name: topic.name.to_string().into(),
            partitions: partitions.iter().copied().collect(),
            ..TopicPartitions::default()
        })
    });
    Assignment {
        topic_partitions: topics.collect(),
        ..Assignment::default()
    }
}
