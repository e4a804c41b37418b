//! Fetch (key 1), v4-v18.
//!
//! v4: isolation (KIP-98): readers of committed records get those before the last stable offset, and a list of what is aborted among
//! them. v7: sessions (KIP-227), kept in [`crate::fetch_session`]. v9: leader epochs are checked. v12: the same from v12 on in
//! flexible form. v13: topic ids (KIP-516). v16: the leader, where it is another (KIP-951). The first batch is sent however large it is. Records are never null
//! (KAFKA-18646).

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use protocol::ErrorCode;
use protocol::messages::fetch_request::FetchPartition;
use protocol::messages::fetch_response::{
    AbortedTransaction, FetchableTopicResponse, LeaderIdAndEpoch, NodeEndpoint, PartitionData,
};
use protocol::messages::{FetchRequest, FetchResponse};
use protocol::wire::Records;
use tokio::time::Instant;

use crate::context::{Context, Node, Request};
use crate::dispatch::Reply;
use crate::error::Failure;
use crate::fetch_session::{Begin, Key, Outcome, Position, Told};
use crate::handlers::leader_hints::LeaderHints;
use crate::log::{Aborted, Isolation, Leader, Partition, Read};
use crate::server::Reserved;

/// An answer may have this many bytes even when the memory for answers is short.
const ANSWER_BYTES_MIN: usize = 1024 * 1024;

/// The leader is told from this version on.
const LEADER_VERSION: i16 = 16;
/// Topics have ids instead of names from this version on.
const TOPIC_IDS_VERSION: i16 = 13;

const READ_COMMITTED: i8 = 1;

pub(crate) async fn handle<'a>(
    request: &Request,
    body: FetchRequest<'a>,
) -> Reply<FetchResponse<'a>> {
    let context = request.context();
    let isolation = match body.isolation_level {
        READ_COMMITTED => Isolation::Committed,
        _ => Isolation::Uncommitted,
    };
    let limits = Limits {
        bytes_max: non_negative(body.max_bytes).min(non_negative(context.config.fetch_max_bytes)),
        bytes_min: non_negative(body.min_bytes),
        deadline: Instant::now() + Duration::from_millis(body.max_wait_ms.try_into().unwrap_or(0)),
        isolation,
    };
    let begun = context
        .fetch_sessions
        .begin(session_of(request, &body), Instant::now().into_std());
    let fetch = match begun {
        Ok(fetch) => fetch,
        Err(code) => return refused(code),
    };
    let wanted = fetch.wanted.iter();
    let targets: Vec<_> = wanted
        .map(|(key, position)| target(request, key, *position))
        .collect();
    let (round, reserved) = read_enough(context, &targets, &limits).await;
    let outcomes: Vec<Outcome> = round.outcomes.iter().map(outcome).collect();
    let answered = context
        .fetch_sessions
        .answer(&fetch, &outcomes, Instant::now().into_std());
    let answer = match answered {
        Ok(answer) => answer,
        Err(code) => return refused(code),
    };
    let mut hints = LeaderHints::new(request);
    let mut responses: Vec<FetchableTopicResponse<'a>> = Vec::new();
    let named = round.outcomes.into_iter().zip(answer.named);
    for ((key, _), (outcome, is_named)) in fetch.wanted.iter().zip(named) {
        if !is_named {
            continue;
        }
        let mut data = partition_data(key.partition, outcome, isolation);
        if is_elsewhere(&data) && request.version >= LEADER_VERSION {
            let partition = partition_of(request, key);
            let leader = partition
                .ok()
                .and_then(|partition| hints.leader(&partition));
            data.current_leader = leader.map(current_leader).unwrap_or_default();
        }
        match responses.last_mut() {
            Some(topic) if topic.topic_id == key.topic_id && *topic.topic == *key.topic => {
                topic.partitions.push(data);
            }
            _ => responses.push(FetchableTopicResponse {
                topic: Cow::Owned(key.topic.to_string()),
                topic_id: key.topic_id,
                partitions: vec![data],
                ..FetchableTopicResponse::default()
            }),
        }
    }
    let response = FetchResponse {
        session_id: answer.session_id,
        responses,
        node_endpoints: hints.nodes().into_iter().map(endpoint).collect(),
        ..FetchResponse::default()
    };
    Reply::Holding(response, reserved)
}

/// Whether the client has to ask another broker, or under another epoch.
fn is_elsewhere(data: &PartitionData<'_>) -> bool {
    [ErrorCode::NotLeaderOrFollower, ErrorCode::FencedLeaderEpoch]
        .iter()
        .any(|code| code.code() == data.error_code)
}

fn current_leader<'a>(leader: Leader) -> LeaderIdAndEpoch<'a> {
    LeaderIdAndEpoch {
        leader_id: leader.node_id,
        leader_epoch: leader.epoch,
        ..LeaderIdAndEpoch::default()
    }
}

fn endpoint<'a>(node: Node) -> NodeEndpoint<'a> {
    NodeEndpoint {
        node_id: node.node_id,
        host: node.host.into(),
        port: node.port,
        rack: node.rack.map(Into::into),
        ..NodeEndpoint::default()
    }
}

fn refused<'a>(code: ErrorCode) -> Reply<FetchResponse<'a>> {
    Reply::Message(FetchResponse {
        error_code: code.code(),
        ..FetchResponse::default()
    })
}

/// What the request says of its session. One name serves all partitions of a topic.
fn session_of(request: &Request, body: &FetchRequest<'_>) -> Begin {
    let keys = |topic: &str, topic_id| {
        let topic: Arc<str> = topic.into();
        move |partition| Key {
            topic: topic.clone(),
            topic_id,
            partition,
        }
    };
    let wanted = body.topics.iter().flat_map(|topic| {
        let key = keys(&topic.topic, topic.topic_id);
        let partitions = topic.partitions.iter();
        partitions.map(move |wanted| (key(wanted.partition), position(wanted)))
    });
    let forgotten = body.forgotten_topics_data.iter().flat_map(|topic| {
        let key = keys(&topic.topic, topic.topic_id);
        topic.partitions.iter().map(key)
    });
    Begin {
        session_id: body.session_id,
        epoch: body.session_epoch,
        uses_topic_ids: request.version >= TOPIC_IDS_VERSION,
        wanted: wanted.collect(),
        forgotten: forgotten.collect(),
    }
}

fn position(wanted: &FetchPartition<'_>) -> Position {
    Position {
        fetch_offset: wanted.fetch_offset,
        leader_epoch: wanted.current_leader_epoch,
        bytes_max: non_negative(wanted.partition_max_bytes),
    }
}

fn outcome(outcome: &Result<Read, ErrorCode>) -> Outcome {
    Outcome {
        told: Told::of(
            outcome
                .as_ref()
                .map(|read| read.offsets)
                .map_err(|code| *code),
        ),
        has_records: outcome.as_ref().is_ok_and(|read| read.size_bytes > 0),
    }
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
    isolation: Isolation,
}

fn partition_of(request: &Request, key: &Key) -> Result<Arc<Partition>, ErrorCode> {
    let catalog = &request.context().catalog;
    let topic = if request.version >= TOPIC_IDS_VERSION {
        let topic = catalog.by_topic_id(key.topic_id);
        topic.ok_or(ErrorCode::UnknownTopicId)?
    } else {
        let topic = catalog.by_name(&key.topic);
        topic.ok_or(ErrorCode::UnknownTopicOrPartition)?
    };
    let partition = topic.partition(key.partition);
    partition.cloned().ok_or(ErrorCode::UnknownTopicOrPartition)
}

fn target(request: &Request, key: &Key, wanted: Position) -> Result<Target, ErrorCode> {
    let partition = partition_of(request, key)?;
    // -1 is a client that does not know the epoch.
    match wanted.leader_epoch {
        epoch if epoch < 0 => {}
        epoch if epoch < partition.leader_epoch() => return Err(ErrorCode::FencedLeaderEpoch),
        epoch if epoch > partition.leader_epoch() => return Err(ErrorCode::UnknownLeaderEpoch),
        _ => {}
    }
    Ok(Target {
        partition,
        offset: wanted.fetch_offset,
        bytes_max: wanted.bytes_max,
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
    targets: &[Result<Target, ErrorCode>],
    limits: &Limits,
) -> (Round, Reserved) {
    let partitions: Vec<Arc<Partition>> = targets
        .iter()
        .flatten()
        .map(|target| target.partition.clone())
        .collect();
    loop {
        // Made before reading, so that an append after the read wakes it.
        let waiter = context.catalog.log().waiter(&partitions);
        let (mut reserved, granted) = context
            .fetches
            .reserve_up_to(limits.bytes_max, ANSWER_BYTES_MIN.min(limits.bytes_max));
        let round = read_all(targets, granted, limits.isolation).await;
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

async fn read_all(
    targets: &[Result<Target, ErrorCode>],
    bytes_max: usize,
    isolation: Isolation,
) -> Round {
    let mut round = Round::default();
    for target in targets {
        let outcome = match target {
            Ok(target) => {
                let left = bytes_max.saturating_sub(round.bytes).min(target.bytes_max);
                let at_least_one = round.bytes == 0;
                let partition = &target.partition;
                let read = partition.read(target.offset, left, at_least_one, isolation);
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

fn aborted<'a>(aborted: &Aborted) -> AbortedTransaction<'a> {
    AbortedTransaction {
        producer_id: aborted.producer_id,
        first_offset: aborted.first_offset,
        ..AbortedTransaction::default()
    }
}

fn partition_data<'a>(
    partition_index: i32,
    outcome: Result<Read, ErrorCode>,
    isolation: Isolation,
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
            aborted_transactions: (isolation == Isolation::Committed)
                .then(|| read.aborted.iter().map(aborted).collect()),
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
