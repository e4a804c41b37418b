//! ConsumerGroupHeartbeat (key 68), v0-v1: all that a member of the new protocol does (KIP-848).
//!
//! v1: members choose their ids; regular expressions.

use std::collections::BTreeSet;

use protocol::ErrorCode;
use protocol::messages::consumer_group_heartbeat_response::{Assignment, TopicPartitions};
use protocol::messages::{ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse};
use uuid::Uuid;

use super::group_rules;
use crate::context::Request;
use crate::error::Failure;
use crate::groups::{ConsumerHeartbeat, Event, HeartbeatAnswer, Partitions};

/// A member leaves.
const LEAVING: i32 = -1;
/// A static member leaves for a while.
const AWAY: i32 = -2;

pub(crate) async fn handle(
    request: &Request,
    body: ConsumerGroupHeartbeatRequest<'_>,
) -> ConsumerGroupHeartbeatResponse<'static> {
    match heartbeat(request, body).await {
        Ok(answer) => response(answer),
        Err(failure) => ConsumerGroupHeartbeatResponse {
            error_code: failure.code.code(),
            error_message: failure.message.map(Into::into),
            ..ConsumerGroupHeartbeatResponse::default()
        },
    }
}

async fn heartbeat(
    request: &Request,
    body: ConsumerGroupHeartbeatRequest<'_>,
) -> Result<HeartbeatAnswer, Failure> {
    if !group_rules::has_new_protocol(request) {
        return Err(Failure::of(ErrorCode::UnsupportedVersion));
    }
    check(request.version, &body)?;
    let group_id = body.group_id.clone().into_owned();
    let heartbeat = to_heartbeat(request, body);
    let groups = &request.context().groups;
    let event = |reply| Event::ConsumerHeartbeat(heartbeat, reply);
    groups.ask(&group_id, event).await.map_err(Failure::of)?
}

/// What can be said of a request without its group; the texts are those that clients show.
fn check(version: i16, body: &ConsumerGroupHeartbeatRequest<'_>) -> Result<(), Failure> {
    let invalid = |text: &str| Err(Failure::new(ErrorCode::InvalidRequest, text));
    let is_blank = |text: &str| text.trim().is_empty();
    let has_id = version >= 1 || body.member_epoch > 0 || body.member_epoch == LEAVING;
    if has_id && is_blank(&body.member_id) {
        return invalid("MemberId can't be empty.");
    }
    if is_blank(&body.group_id) {
        return invalid("GroupId can't be empty.");
    }
    if body.instance_id.as_deref().is_some_and(is_blank) {
        return invalid("InstanceId can't be empty.");
    }
    if body.rack_id.as_deref().is_some_and(is_blank) {
        return invalid("RackId can't be empty.");
    }
    group_rules::check_group_id(&body.group_id).map_err(Failure::of)?;
    group_rules::check_member(&body.member_id, body.instance_id.as_deref()).map_err(Failure::of)?;
    match body.member_epoch {
        0 if body.rebalance_timeout_ms == -1 => {
            invalid("RebalanceTimeoutMs must be provided in first request.")
        }
        0 if body
            .topic_partitions
            .as_ref()
            .is_none_or(|owned| !owned.is_empty()) =>
        {
            invalid("TopicPartitions must be empty when (re-)joining.")
        }
        0 if body.subscribed_topic_names.is_none() && body.subscribed_topic_regex.is_none() => {
            invalid(
                "Either SubscribedTopicNames or SubscribedTopicRegex must be non-null when (re-)joining.",
            )
        }
        AWAY if body.instance_id.is_none() => invalid("InstanceId can't be null."),
        i32::MIN..AWAY => invalid("MemberEpoch is invalid."),
        _ => Ok(()),
    }
}

fn to_heartbeat(request: &Request, body: ConsumerGroupHeartbeatRequest<'_>) -> ConsumerHeartbeat {
    let names = body.subscribed_topic_names;
    let names = names.map(|names| names.into_iter().map(|name| name.into_owned()).collect());
    let owned = body.topic_partitions.map(|topics| {
        let topics = topics.into_iter().map(|topic| {
            let partitions: BTreeSet<i32> = topic.partitions.iter().collect();
            (topic.topic_id, partitions)
        });
        topics.collect::<Partitions>()
    });
    ConsumerHeartbeat {
        client: group_rules::client(request),
        member_id: if body.member_id.is_empty() {
            Uuid::new_v4().to_string()
        } else {
            body.member_id.into_owned()
        },
        member_epoch: body.member_epoch,
        instance_id: body.instance_id.map(|id| id.into_owned()),
        rack_id: body.rack_id.map(|rack| rack.into_owned()),
        rebalance_timeout_ms: u64::try_from(body.rebalance_timeout_ms).ok(),
        names,
        regex: body.subscribed_topic_regex.map(|regex| regex.into_owned()),
        assignor: body.server_assignor.map(|name| name.into_owned()),
        owned,
    }
}

fn response(answer: HeartbeatAnswer) -> ConsumerGroupHeartbeatResponse<'static> {
    let assignment = answer.assignment.map(|assignment| Assignment {
        topic_partitions: assignment
            .into_iter()
            .map(|(topic_id, partitions)| TopicPartitions {
                topic_id,
                partitions: partitions.into_iter().collect(),
                ..TopicPartitions::default()
            })
            .collect(),
        ..Assignment::default()
    });
    ConsumerGroupHeartbeatResponse {
        member_id: Some(answer.member_id.into()),
        member_epoch: answer.member_epoch,
        heartbeat_interval_ms: answer.heartbeat_interval_ms,
        assignment,
        ..ConsumerGroupHeartbeatResponse::default()
    }
}
