//! ElectLeaders (key 43), v0-v2: every partition is led by the broker that owns its lane, so that no election is ever needed.
//!
//! v1: unclean elections (KIP-460), which cannot lose records here, and are needed as little.

use std::time::Duration;

use protocol::ErrorCode;
use protocol::messages::elect_leaders_response::{PartitionResult, ReplicaElectionResult};
use protocol::messages::{ElectLeadersRequest, ElectLeadersResponse};

use crate::context::{Context, Request};

/// Kafka's numbers: preferred and unclean.
const ELECTION_TYPES: [i8; 2] = [0, 1];

pub(crate) async fn handle<'a>(
    request: &Request,
    body: ElectLeadersRequest<'a>,
) -> ElectLeadersResponse<'a> {
    let context = request.context();
    context.catalog.refresh().await;
    let is_known = ELECTION_TYPES.contains(&body.election_type);
    let patience = Duration::from_millis(body.timeout_ms.try_into().unwrap_or(0));
    let error = match () {
        () if !is_known => Some(ErrorCode::InvalidRequest),
        () if patience.is_zero() => Some(ErrorCode::RequestTimedOut),
        () => None,
    };
    if let Some(error) = error {
        return ElectLeadersResponse {
            // v0 has no room for it.
            error_code: if request.version == 0 {
                0
            } else {
                error.code()
            },
            ..ElectLeadersResponse::default()
        };
    }
    // Who asks for all is told only of those that needed an election.
    let topics = body.topic_partitions.unwrap_or_default().into_iter();
    let results = topics.map(|topic| ReplicaElectionResult {
        partition_result: topic
            .partitions
            .iter()
            .map(|partition| elect(context, &topic.topic, partition))
            .collect(),
        topic: topic.topic,
        ..ReplicaElectionResult::default()
    });
    ElectLeadersResponse {
        replica_election_results: results.collect(),
        ..ElectLeadersResponse::default()
    }
}

fn elect<'a>(context: &Context, topic: &str, partition: i32) -> PartitionResult<'a> {
    let (code, text) = match context.catalog.by_name(topic) {
        None => (
            ErrorCode::UnknownTopicOrPartition,
            format!("No such topic as {topic}"),
        ),
        Some(found) if found.partition(partition).is_none() => (
            ErrorCode::UnknownTopicOrPartition,
            format!("No such partition as {topic}-{partition}"),
        ),
        Some(_) => (
            ErrorCode::ElectionNotNeeded,
            "Leader election not needed for topic partition.".to_owned(),
        ),
    };
    PartitionResult {
        partition_id: partition,
        error_code: code.code(),
        error_message: Some(text.into()),
        ..PartitionResult::default()
    }
}
