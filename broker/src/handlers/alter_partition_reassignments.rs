//! AlterPartitionReassignments (key 45), v0-v1: a partition's one replica is this broker, so that it can be moved to nowhere else,
//! and a move to where it is has nothing to do (KIP-455).
//!
//! v1: whether the number of replicas may change (KIP-860).

use protocol::ErrorCode;
use protocol::messages::alter_partition_reassignments_request::ReassignablePartition;
use protocol::messages::alter_partition_reassignments_response::{
    ReassignablePartitionResponse, ReassignableTopicResponse,
};
use protocol::messages::{AlterPartitionReassignmentsRequest, AlterPartitionReassignmentsResponse};

use super::topic_rules;
use crate::context::{Context, Request};
use crate::error::Failure;

pub(crate) async fn handle<'a>(
    request: &Request,
    body: AlterPartitionReassignmentsRequest<'a>,
) -> AlterPartitionReassignmentsResponse<'a> {
    let context = request.context();
    context.catalog.refresh().await;
    let topics = body.topics.into_iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|partition| {
            let failure = judge(context, &topic.name, partition).err();
            ReassignablePartitionResponse {
                partition_index: partition.partition_index,
                error_code: failure.as_ref().map_or(0, |failure| failure.code.code()),
                error_message: failure.and_then(|failure| failure.message).map(Into::into),
                ..ReassignablePartitionResponse::default()
            }
        });
        ReassignableTopicResponse {
            partitions: partitions.collect(),
            name: topic.name,
            ..ReassignableTopicResponse::default()
        }
    });
    AlterPartitionReassignmentsResponse {
        responses: topics.collect(),
        allow_replication_factor_change: body.allow_replication_factor_change,
        ..AlterPartitionReassignmentsResponse::default()
    }
}

fn judge(context: &Context, name: &str, wanted: &ReassignablePartition<'_>) -> Result<(), Failure> {
    let unknown = |text| Failure::new(ErrorCode::UnknownTopicOrPartition, text);
    let topic = context.catalog.by_name(name);
    let topic = topic.ok_or_else(|| unknown(format!("Unable to find a topic named {name}.")))?;
    let index = wanted.partition_index;
    if topic.partition(index).is_none() {
        return Err(unknown(format!("Unable to find partition {name}:{index}.")));
    }
    match &wanted.replicas {
        Some(replicas) => topic_rules::check_replicas(replicas.iter(), context.config.node_id),
        // A move under way is to be given up; there is none.
        None => Err(Failure::new(
            ErrorCode::NoReassignmentInProgress,
            "No partition reassignment is in progress.",
        )),
    }
}
