//! AlterPartitionReassignments (key 45), v0-v1: a partition's one replica is its leader, so that a move is one of the leader to the
//! first broker that is named (KIP-455). The wish is stored; the present leader fulfils it.
//!
//! v1: whether the number of replicas may change (KIP-860).

use std::collections::HashMap;

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
    let wished = match context.store.all_wanted_moves().await {
        Ok(wished) => wished.into_iter().collect(),
        Err(error) => return refused(&Failure::from(&error)),
    };
    let mut moves = Vec::new();
    let topics = body.topics.into_iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|partition| {
            let judged = judge(context, &topic.name, partition, &wished);
            let failure = judged.map(|wish| moves.extend(wish)).err();
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
    let responses = topics.collect();
    if !moves.is_empty()
        && let Err(error) = context.store.want_moves(&moves).await
    {
        return refused(&Failure::from(&error));
    }
    AlterPartitionReassignmentsResponse {
        responses,
        allow_replication_factor_change: body.allow_replication_factor_change,
        ..AlterPartitionReassignmentsResponse::default()
    }
}

fn refused<'a>(failure: &Failure) -> AlterPartitionReassignmentsResponse<'a> {
    AlterPartitionReassignmentsResponse {
        error_code: failure.code.code(),
        error_message: failure.message.clone().map(Into::into),
        ..AlterPartitionReassignmentsResponse::default()
    }
}

/// The partition's key, and the broker that is to lead it, if that is news.
fn judge(
    context: &Context,
    name: &str,
    wanted: &ReassignablePartition<'_>,
    wished: &HashMap<i32, i32>,
) -> Result<Option<(i32, i32)>, Failure> {
    let unknown = |text| Failure::new(ErrorCode::UnknownTopicOrPartition, text);
    let topic = context.catalog.by_name(name);
    let topic = topic.ok_or_else(|| unknown(format!("Unable to find a topic named {name}.")))?;
    let index = wanted.partition_index;
    let partition = topic.partition(index);
    let partition =
        partition.ok_or_else(|| unknown(format!("Unable to find partition {name}:{index}.")))?;
    let leader = partition.leader().node_id;
    match &wanted.replicas {
        Some(replicas) => {
            let brokers = context.cluster.view().node_ids();
            topic_rules::check_replicas(replicas.iter(), &brokers)?;
            let wish = replicas
                .iter()
                .next()
                .map(|broker| (partition.id(), broker));
            let is_pending = wished.contains_key(&partition.id());
            Ok(wish.filter(|(_, broker)| *broker != leader || is_pending))
        }
        // A move under way is given up.
        None if wished.contains_key(&partition.id()) => Ok(Some((partition.id(), leader))),
        None => Err(Failure::new(
            ErrorCode::NoReassignmentInProgress,
            "No partition reassignment is in progress.",
        )),
    }
}
