//! Fetch (key 1), v4-v18.
//!
//! v7: sessions (KIP-227): every answer is a full one with session id 0, as Kafka's is when its session cache is full, and a
//! client that names a session is told that there is none. v9: leader epochs are checked. v12: the same from v12 on in
//! flexible form. v13: topic ids (KIP-516). The first batch is sent however large it is. Records are never null
//! (KAFKA-18646).

use std::sync::Arc;
use std::time::Duration;

use protocol::ErrorCode;
use protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use protocol::messages::fetch_response::{FetchableTopicResponse, PartitionData};
use protocol::messages::{FetchRequest, FetchResponse};
use protocol::wire::Records;
use tokio::time::Instant;

use crate::catalog::Topic;
use crate::context::{Context, Request};
use crate::dispatch::Reply;
use crate::error::Failure;
use crate::log::{Partition, Read};
use crate::server::Reserved;

/// An answer may have this many bytes even when the memory for answers is short.
const ANSWER_BYTES_MIN: usize = 1024 * 1024;

/// Kafka's names for the values of a session epoch.
const FINAL_EPOCH: i32 = -1;
const INITIAL_EPOCH: i32 = 0;

const READ_COMMITTED: i8 = 1;

pub(crate) async fn handle<'a>(
    request: &Request,
    body: FetchRequest<'a>,
) -> Reply<FetchResponse<'a>> {
    let context = request.context();
    if !matches!(body.session_epoch, FINAL_EPOCH | INITIAL_EPOCH) {
        return Reply::Message(FetchResponse {
            error_code: ErrorCode::FetchSessionIdNotFound.code(),
            ..FetchResponse::default()
        });
    }
    let targets: Vec<Vec<Result<Target, ErrorCode>>> = body
        .topics
        .iter()
        .map(|topic| targets(request, topic))
        .collect();
    let limits = Limits {
        bytes_max: non_negative(body.max_bytes).min(non_negative(context.config.fetch_max_bytes)),
        bytes_min: non_negative(body.min_bytes),
        deadline: Instant::now() + Duration::from_millis(body.max_wait_ms.try_into().unwrap_or(0)),
    };
    let (round, reserved) = read_enough(context, &targets, &limits).await;
    let is_committed_only = body.isolation_level == READ_COMMITTED;
    let mut outcomes = round.outcomes.into_iter();
    let responses = body.topics.into_iter().map(|topic| {
        let partitions = topic.partitions.iter().zip(outcomes.by_ref());
        FetchableTopicResponse {
            partitions: partitions
                .map(|(partition, outcome)| {
                    partition_data(partition.partition, outcome, is_committed_only)
                })
                .collect(),
            topic: topic.topic,
            topic_id: topic.topic_id,
            ..FetchableTopicResponse::default()
        }
    });
    let response = FetchResponse {
        responses: responses.collect(),
        ..FetchResponse::default()
    };
    Reply::Holding(response, reserved)
}

fn non_negative(number: i32) -> usize {
    usize::try_from(number).unwrap_or(0)
}

/// What one partition of the request asks for.
#[derive(Debug)]
struct Target {
    partition: Arc<Partition>,
    offset: i64,
    bytes_max: usize,
}

/// What the whole request allows.
#[derive(Debug)]
struct Limits {
    bytes_max: usize,
    bytes_min: usize,
    deadline: Instant,
}

fn targets(request: &Request, wanted: &FetchTopic<'_>) -> Vec<Result<Target, ErrorCode>> {
    let catalog = &request.context().catalog;
    let (topic, unknown) = if request.version >= 13 {
        let topic = catalog.by_topic_id(wanted.topic_id);
        (topic, ErrorCode::UnknownTopicId)
    } else {
        let topic = catalog.by_name(&wanted.topic);
        (topic, ErrorCode::UnknownTopicOrPartition)
    };
    let partitions = wanted.partitions.iter();
    partitions
        .map(|partition| target(topic.as_deref().ok_or(unknown)?, partition))
        .collect()
}

fn target(topic: &Topic, wanted: &FetchPartition<'_>) -> Result<Target, ErrorCode> {
    let partition = topic
        .partition(wanted.partition)
        .ok_or(ErrorCode::UnknownTopicOrPartition)?;
    // -1 is a client that does not know the epoch.
    match wanted.current_leader_epoch {
        epoch if epoch < 0 => {}
        epoch if epoch < partition.leader_epoch() => return Err(ErrorCode::FencedLeaderEpoch),
        epoch if epoch > partition.leader_epoch() => return Err(ErrorCode::UnknownLeaderEpoch),
        _ => {}
    }
    Ok(Target {
        partition: partition.clone(),
        offset: wanted.fetch_offset,
        bytes_max: non_negative(wanted.partition_max_bytes),
    })
}

/// One pass over all partitions.
#[derive(Debug, Default)]
struct Round {
    outcomes: Vec<Result<Read, ErrorCode>>,
    bytes: usize,
    has_error: bool,
}

/// Reads until there is enough, something is wrong with a partition, the time is over, or the broker stops.
async fn read_enough(
    context: &Context,
    targets: &[Vec<Result<Target, ErrorCode>>],
    limits: &Limits,
) -> (Round, Reserved) {
    let partitions: Vec<Arc<Partition>> = targets
        .iter()
        .flatten()
        .flatten()
        .map(|target| target.partition.clone())
        .collect();
    loop {
        // Made before reading, so that an append after the read wakes it.
        let waiter = context.catalog.log().waiter(&partitions);
        let (mut reserved, granted) = context
            .fetches
            .reserve_up_to(limits.bytes_max, ANSWER_BYTES_MIN.min(limits.bytes_max));
        let round = read_all(targets, granted).await;
        let is_enough = round.bytes >= limits.bytes_min
            || round.bytes >= granted
            || round.has_error
            || partitions.is_empty()
            || Instant::now() >= limits.deadline
            || context.stopping.is_cancelled();
        if is_enough {
            reserved.keep(round.bytes);
            return (round, reserved);
        }
        drop((round, reserved));
        tokio::select! {
            () = waiter.changed() => {}
            () = tokio::time::sleep_until(limits.deadline) => {}
            () = context.stopping.cancelled() => {}
        }
    }
}

async fn read_all(targets: &[Vec<Result<Target, ErrorCode>>], bytes_max: usize) -> Round {
    let mut round = Round::default();
    for target in targets.iter().flatten() {
        let outcome = match target {
            Ok(target) => {
                let left = bytes_max.saturating_sub(round.bytes).min(target.bytes_max);
                let at_least_one = round.bytes == 0;
                let read = target.partition.read(target.offset, left, at_least_one);
                read.await.map_err(|error| Failure::from(&error).code)
            }
            Err(code) => Err(*code),
        };
        match &outcome {
            Ok(read) => round.bytes += read.size_bytes,
            // As in Kafka, what does not exist does not end the wait for the others.
            Err(ErrorCode::UnknownTopicOrPartition | ErrorCode::UnknownTopicId) => {}
            Err(_) => round.has_error = true,
        }
        round.outcomes.push(outcome);
    }
    round
}

fn partition_data<'a>(
    partition_index: i32,
    outcome: Result<Read, ErrorCode>,
    is_committed_only: bool,
) -> PartitionData<'a> {
    let data = PartitionData {
        partition_index,
        preferred_read_replica: -1,
        records: Records::EMPTY,
        ..PartitionData::default()
    };
    match outcome {
        Ok(read) => PartitionData {
            high_watermark: read.offsets.high_watermark,
            last_stable_offset: read.offsets.last_stable_offset,
            log_start_offset: read.offsets.log_start_offset,
            aborted_transactions: is_committed_only.then(Vec::new),
            records: read.records.into(),
            ..data
        },
        Err(code) => PartitionData {
            error_code: code.code(),
            high_watermark: -1,
            last_stable_offset: -1,
            log_start_offset: -1,
            aborted_transactions: Some(Vec::new()),
            ..data
        },
    }
}
