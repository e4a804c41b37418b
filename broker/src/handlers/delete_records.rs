//! DeleteRecords (key 21), v0-v2 (KIP-107): lets the logs of partitions begin later. v2 is flexible.

use protocol::ErrorCode;
use protocol::messages::delete_records_request::DeleteRecordsPartition;
use protocol::messages::delete_records_response::{
    DeleteRecordsPartitionResult, DeleteRecordsTopicResult,
};
use protocol::messages::{DeleteRecordsRequest, DeleteRecordsResponse};

use crate::catalog::Topic;
use crate::context::{Context, Request};
use crate::error::Failure;
use crate::log::DeleteError;

/// Stands for all records.
const HIGH_WATERMARK: i64 = -1;
/// What goes with an error.
const NO_LOW_WATERMARK: i64 = -1;

pub(crate) async fn handle<'a>(
    request: &Request,
    body: DeleteRecordsRequest<'a>,
) -> DeleteRecordsResponse<'a> {
    let context = request.context();
    let mut topics = Vec::with_capacity(body.topics.len());
    for asked in body.topics {
        let topic = context.catalog.by_name(&asked.name);
        let mut partitions = Vec::with_capacity(asked.partitions.len());
        for partition in &asked.partitions {
            let deleted = delete(context, topic.as_deref(), partition).await;
            let (error, low_watermark) = match deleted {
                Ok(low_watermark) => (ErrorCode::None, low_watermark),
                Err(code) => (code, NO_LOW_WATERMARK),
            };
            partitions.push(DeleteRecordsPartitionResult {
                partition_index: partition.partition_index,
                low_watermark,
                error_code: error.code(),
                ..DeleteRecordsPartitionResult::default()
            });
        }
        topics.push(DeleteRecordsTopicResult {
            name: asked.name,
            partitions,
            ..DeleteRecordsTopicResult::default()
        });
    }
    DeleteRecordsResponse {
        topics,
        ..DeleteRecordsResponse::default()
    }
}

async fn delete(
    context: &Context,
    topic: Option<&Topic>,
    asked: &DeleteRecordsPartition<'_>,
) -> Result<i64, ErrorCode> {
    let partition = topic
        .and_then(|topic| topic.partition(asked.partition_index))
        .ok_or(ErrorCode::UnknownTopicOrPartition)?;
    let before = (asked.offset != HIGH_WATERMARK).then_some(asked.offset);
    let log = context.catalog.log();
    let deleted = log.delete_records(partition, before).await;
    deleted.map_err(|error| match error {
        DeleteError::OutOfRange(_) => ErrorCode::OffsetOutOfRange,
        DeleteError::NotAllowed => ErrorCode::PolicyViolation,
        DeleteError::Read(error) => Failure::from(&error).code,
        DeleteError::Storage(error) => Failure::from(&error).code,
    })
}
