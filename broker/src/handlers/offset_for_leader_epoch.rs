//! OffsetForLeaderEpoch (key 23), v0-v4: where the records of a leader epoch end, by which consumers notice that the log was cut
//! (KIP-320).
//!
//! v2: the epoch that the client believes to be the present one. The epochs are those in the batches themselves.

use protocol::ErrorCode;
use protocol::messages::offset_for_leader_epoch_request::OffsetForLeaderPartition;
use protocol::messages::offset_for_leader_epoch_response::{
    EpochEndOffset, OffsetForLeaderTopicResult,
};
use protocol::messages::{OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse};

use super::topic_rules::check_leader_epoch;
use crate::context::{Context, Request};
use crate::error::Failure;

pub(crate) async fn handle<'a>(
    request: &Request,
    body: OffsetForLeaderEpochRequest<'a>,
) -> OffsetForLeaderEpochResponse<'a> {
    let context = request.context();
    let mut topics = Vec::with_capacity(body.topics.len());
    for topic in body.topics {
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for asked in &topic.partitions {
            partitions.push(match end_offset(context, &topic.topic, asked).await {
                Ok((leader_epoch, end_offset)) => EpochEndOffset {
                    partition: asked.partition,
                    leader_epoch,
                    end_offset,
                    ..EpochEndOffset::default()
                },
                Err(code) => EpochEndOffset {
                    partition: asked.partition,
                    error_code: code.code(),
                    ..EpochEndOffset::default()
                },
            });
        }
        topics.push(OffsetForLeaderTopicResult {
            topic: topic.topic,
            partitions,
            ..OffsetForLeaderTopicResult::default()
        });
    }
    OffsetForLeaderEpochResponse {
        topics,
        ..OffsetForLeaderEpochResponse::default()
    }
}

async fn end_offset(
    context: &Context,
    topic: &str,
    asked: &OffsetForLeaderPartition<'_>,
) -> Result<(i32, i64), ErrorCode> {
    let topic = context.catalog.by_name(topic);
    let partition = topic
        .as_ref()
        .and_then(|topic| topic.partition(asked.partition))
        .ok_or(ErrorCode::UnknownTopicOrPartition)?;
    check_leader_epoch(asked.current_leader_epoch, partition.leader_epoch())?;
    let found = partition.epoch_end(asked.leader_epoch).await;
    let found = found.map_err(|error| Failure::from(&error).code)?;
    Ok(found.unwrap_or((-1, -1)))
}
