//! DescribeProducers (key 61), v0-v0: the idempotent and transactional producers that partitions remember (KIP-664).

use protocol::ErrorCode;
use protocol::messages::describe_producers_response::{
    PartitionResponse, ProducerState as Described, TopicResponse,
};
use protocol::messages::{DescribeProducersRequest, DescribeProducersResponse};

use super::transaction_rules;
use crate::context::Request;
use crate::error::Failure;
use crate::log::ProducerState;

pub(crate) async fn handle<'a>(
    request: &Request,
    body: DescribeProducersRequest<'a>,
) -> DescribeProducersResponse<'a> {
    let mut topics = Vec::with_capacity(body.topics.len());
    for topic in body.topics {
        let mut partitions = Vec::new();
        for index in &topic.partition_indexes {
            partitions.push(describe(request, &topic.name, index).await);
        }
        topics.push(TopicResponse {
            name: topic.name,
            partitions,
            ..TopicResponse::default()
        });
    }
    DescribeProducersResponse {
        topics,
        ..DescribeProducersResponse::default()
    }
}

async fn describe<'a>(request: &Request, topic: &str, index: i32) -> PartitionResponse<'a> {
    let producers = match transaction_rules::partition(request, topic, index) {
        Ok(partition) => {
            let producers = partition.producers().await;
            producers.map_err(|error| Failure::from(&error).code)
        }
        Err(code) => Err(code),
    };
    let code = producers.as_ref().err().copied();
    let producers = producers.unwrap_or_default();
    PartitionResponse {
        partition_index: index,
        error_code: code.unwrap_or(ErrorCode::None).code(),
        active_producers: producers.iter().map(described).collect(),
        ..PartitionResponse::default()
    }
}

fn described<'a>(state: &ProducerState) -> Described<'a> {
    Described {
        producer_id: state.producer_id,
        producer_epoch: i32::from(state.producer_epoch),
        last_sequence: state.last_sequence,
        last_timestamp: state.last_seen_ms,
        coordinator_epoch: state.coordinator_epoch,
        current_txn_start_offset: state.transaction_offset.unwrap_or(-1),
        ..Described::default()
    }
}
