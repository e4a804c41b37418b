//! ListOffsets (key 2), v1-v11: an offset for a time, or for one of Kafka's special times.
//!
//! v2: isolation (KIP-98). v4: leader epochs. v7: the record with the largest time (KIP-734). v8: earliest local offset (KIP-405). v9: last tiered
//! offset (KIP-1005). v11: earliest pending upload (KIP-1023); nothing is tiered, so the latter two are never known.
//! v0 answers with lists of segments and is not served, as in Kafka 4.

use std::collections::HashSet;
use std::sync::Arc;

use protocol::ErrorCode;
use protocol::messages::list_offsets_request::ListOffsetsPartition;
use protocol::messages::list_offsets_response::{
    ListOffsetsPartitionResponse, ListOffsetsTopicResponse,
};
use protocol::messages::{ListOffsetsRequest, ListOffsetsResponse};

use crate::catalog::Topic;
use crate::context::Request;
use crate::error::Failure;
use crate::log::{Isolation, Partition, ReadError, TimestampOffset};

const READ_COMMITTED: i8 = 1;

const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
const MAX_TIMESTAMP: i64 = -3;
const EARLIEST_LOCAL: i64 = -4;
const LATEST_TIERED: i64 = -5;
const EARLIEST_PENDING_UPLOAD: i64 = -6;

/// What is found; without a record, all of it is -1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Found {
    offset: i64,
    timestamp_ms: i64,
    leader_epoch: i32,
}

const NOTHING: Found = Found {
    offset: -1,
    timestamp_ms: -1,
    leader_epoch: -1,
};

pub(crate) async fn handle<'a>(
    request: &Request,
    body: ListOffsetsRequest<'a>,
) -> ListOffsetsResponse<'a> {
    let isolation = match body.isolation_level {
        READ_COMMITTED => Isolation::Committed,
        _ => Isolation::Uncommitted,
    };
    let mut topics = Vec::with_capacity(body.topics.len());
    for wanted in body.topics {
        let topic = request.context().catalog.by_name(&wanted.name);
        let mut seen = HashSet::new();
        let mut twice = HashSet::new();
        for partition in &wanted.partitions {
            if !seen.insert(partition.partition_index) {
                twice.insert(partition.partition_index);
            }
        }
        let mut partitions = Vec::with_capacity(wanted.partitions.len());
        for partition in &wanted.partitions {
            let found = if twice.contains(&partition.partition_index) {
                Err(ErrorCode::InvalidRequest)
            } else {
                look_up(request.version, topic.as_deref(), partition, isolation).await
            };
            partitions.push(partition_response(
                request.version,
                partition.partition_index,
                found,
            ));
        }
        topics.push(ListOffsetsTopicResponse {
            name: wanted.name,
            partitions,
            ..ListOffsetsTopicResponse::default()
        });
    }
    ListOffsetsResponse {
        topics,
        ..ListOffsetsResponse::default()
    }
}

/// The least version that knows a special time; `None` for one that Kafka does not have.
fn version_of(timestamp: i64) -> Option<i16> {
    match timestamp {
        LATEST | EARLIEST | 0.. => Some(1),
        MAX_TIMESTAMP => Some(7),
        EARLIEST_LOCAL => Some(8),
        LATEST_TIERED => Some(9),
        EARLIEST_PENDING_UPLOAD => Some(11),
        _ => None,
    }
}

async fn look_up(
    version: i16,
    topic: Option<&Topic>,
    wanted: &ListOffsetsPartition<'_>,
    isolation: Isolation,
) -> Result<Found, ErrorCode> {
    if version_of(wanted.timestamp).is_none_or(|least| version < least) {
        return Err(ErrorCode::UnsupportedVersion);
    }
    let partition = topic
        .and_then(|topic| topic.partition(wanted.partition_index))
        .ok_or(ErrorCode::UnknownTopicOrPartition)?;
    let leader_epoch = partition.leader_epoch();
    // -1 is a client that does not know the epoch.
    match wanted.current_leader_epoch {
        -1 => {}
        epoch if epoch < leader_epoch => return Err(ErrorCode::FencedLeaderEpoch),
        epoch if epoch > leader_epoch => return Err(ErrorCode::UnknownLeaderEpoch),
        _ => {}
    }
    find(partition, wanted.timestamp, isolation)
        .await
        .map_err(|error| Failure::from(&error).code)
}

async fn find(
    partition: &Arc<Partition>,
    timestamp: i64,
    isolation: Isolation,
) -> Result<Found, ReadError> {
    let edge = |offset| Found {
        offset,
        leader_epoch: partition.leader_epoch(),
        ..NOTHING
    };
    if !partition.is_led() {
        return Err(ReadError::NotLeader);
    }
    let offsets = match isolation {
        Isolation::Uncommitted => partition.offsets(),
        Isolation::Committed => partition.stable_offsets().await?,
    };
    let end_offset = match isolation {
        Isolation::Uncommitted => offsets.high_watermark,
        Isolation::Committed => offsets.last_stable_offset,
    };
    let record = match timestamp {
        LATEST => return Ok(edge(end_offset)),
        EARLIEST | EARLIEST_LOCAL => return Ok(edge(offsets.log_start_offset)),
        LATEST_TIERED | EARLIEST_PENDING_UPLOAD => return Ok(NOTHING),
        MAX_TIMESTAMP => partition.max_timestamp().await?,
        _ => partition.offset_for_timestamp(timestamp).await?,
    };
    // A record that such a reader does not get yet is as good as none.
    let record =
        record.filter(|record| isolation == Isolation::Uncommitted || record.offset < end_offset);
    Ok(record.map_or(NOTHING, |record: TimestampOffset| Found {
        offset: record.offset,
        timestamp_ms: record.timestamp_ms,
        leader_epoch: record.leader_epoch,
    }))
}

fn partition_response<'a>(
    version: i16,
    partition_index: i32,
    found: Result<Found, ErrorCode>,
) -> ListOffsetsPartitionResponse<'a> {
    let (code, found) = match found {
        Ok(found) => (ErrorCode::None, found),
        Err(code) => (code, NOTHING),
    };
    ListOffsetsPartitionResponse {
        partition_index,
        error_code: code.code(),
        timestamp: found.timestamp_ms,
        offset: found.offset,
        // Older versions cannot carry it.
        leader_epoch: if version >= 4 {
            found.leader_epoch
        } else {
            NOTHING.leader_epoch
        },
        ..ListOffsetsPartitionResponse::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn special_times_came_one_after_the_other() {
        let served = |version: i16| -> Vec<i64> {
            (-7..=0)
                .rev()
                .filter(|time| version_of(*time).is_some_and(|least| version >= least))
                .collect()
        };
        assert_eq!(served(1), [0, -1, -2]);
        assert_eq!(served(7), [0, -1, -2, -3]);
        assert_eq!(served(8), [0, -1, -2, -3, -4]);
        assert_eq!(served(9), [0, -1, -2, -3, -4, -5]);
        assert_eq!(served(11), [0, -1, -2, -3, -4, -5, -6]);
    }
}
