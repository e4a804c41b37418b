//! What the APIs of transactions have in common.

use std::sync::Arc;

use protocol::ErrorCode;

use crate::context::Request;
use crate::log::Partition;

/// Clients older than `since` know a fenced producer by another code.
pub(super) fn fenced(code: ErrorCode, version: i16, since: i16) -> ErrorCode {
    match code {
        ErrorCode::ProducerFenced if version < since => ErrorCode::InvalidProducerEpoch,
        code => code,
    }
}

/// A partition by the name of its topic.
pub(super) fn partition(
    request: &Request,
    topic: &str,
    index: i32,
) -> Result<Arc<Partition>, ErrorCode> {
    let topic = request.context().catalog.by_name(topic);
    let partition = topic.as_ref().and_then(|topic| topic.partition(index));
    partition.cloned().ok_or(ErrorCode::UnknownTopicOrPartition)
}
