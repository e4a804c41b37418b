//! CreatePartitions (key 37), v0-v3. Partitions are only ever added.

use std::collections::HashMap;
use std::time::Duration;

use protocol::ErrorCode;
use protocol::messages::create_partitions_request::CreatePartitionsTopic;
use protocol::messages::create_partitions_response::CreatePartitionsTopicResult;
use protocol::messages::{CreatePartitionsRequest, CreatePartitionsResponse};

use super::topic_rules::{self, PARTITIONS_PER_REQUEST_MAX};
use crate::context::{Context, Request};
use crate::error::Failure;

pub(crate) async fn handle<'a>(
    request: &Request,
    body: CreatePartitionsRequest<'a>,
) -> CreatePartitionsResponse<'a> {
    let context = request.context();
    context.catalog.refresh().await;
    let patience = Duration::from_millis(body.timeout_ms.try_into().unwrap_or(0));
    let too_many = added(context, &body.topics) > PARTITIONS_PER_REQUEST_MAX;
    let twice = named_twice(&body.topics);
    let mut results = Vec::with_capacity(body.topics.len());
    for (topic, is_twice) in body.topics.into_iter().zip(twice) {
        let outcome = if is_twice {
            let text = "Duplicate topic name.";
            Err(Failure::new(ErrorCode::InvalidRequest, text))
        } else if too_many {
            let text = "Excessively large number of additional partitions per request.";
            Err(Failure::new(ErrorCode::PolicyViolation, text))
        } else {
            grow(context, &topic, patience, body.validate_only).await
        };
        let (error_code, error_message) = match outcome {
            Ok(()) => (ErrorCode::None, None),
            Err(failure) => (failure.code, failure.message),
        };
        results.push(CreatePartitionsTopicResult {
            name: topic.name,
            error_code: error_code.code(),
            error_message: error_message.map(Into::into),
            ..CreatePartitionsTopicResult::default()
        });
    }
    CreatePartitionsResponse {
        results,
        ..CreatePartitionsResponse::default()
    }
}

/// How many partitions the whole request adds.
fn added(context: &Context, topics: &[CreatePartitionsTopic<'_>]) -> i64 {
    let added = topics.iter().filter_map(|topic| {
        let present = context.catalog.by_name(&topic.name)?.partitions.len();
        let present = i64::try_from(present).ok()?;
        Some((i64::from(topic.count) - present).max(0))
    });
    added.sum()
}

fn named_twice(topics: &[CreatePartitionsTopic<'_>]) -> Vec<bool> {
    let mut count: HashMap<&str, usize> = HashMap::new();
    for topic in topics {
        *count.entry(&topic.name).or_default() += 1;
    }
    let twice = |topic: &CreatePartitionsTopic<'_>| count.get(&*topic.name) > Some(&1);
    topics.iter().map(twice).collect()
}

async fn grow(
    context: &Context,
    wanted: &CreatePartitionsTopic<'_>,
    patience: Duration,
    validate_only: bool,
) -> Result<(), Failure> {
    let topic = context
        .catalog
        .by_name(&wanted.name)
        .ok_or_else(|| Failure::of(ErrorCode::UnknownTopicOrPartition))?;
    let present = i32::try_from(topic.partitions.len()).unwrap_or(i32::MAX);
    check(context, wanted, present)?;
    if validate_only {
        return Ok(());
    }
    if patience.is_zero() {
        return Err(Failure::of(ErrorCode::RequestTimedOut));
    }
    let leaders = leaders(wanted, present);
    let grown = context.catalog.grow(topic, wanted.count, leaders);
    match tokio::time::timeout(patience, grown).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(storage::Error::Exists(_))) => Err(Failure::of(ErrorCode::InvalidPartitions)),
        Ok(Err(error)) => Err(Failure::from(&error)),
        Err(_) => Err(Failure::of(ErrorCode::RequestTimedOut)),
    }
}

/// The first broker of each new partition, so that partition `i` finds its own at `i` modulo their number; empty if none are
/// given.
fn leaders(wanted: &CreatePartitionsTopic<'_>, present: i32) -> Vec<i32> {
    let assignments = wanted.assignments.iter().flatten();
    let mut leaders: Vec<i32> = assignments
        .filter_map(|assignment| assignment.broker_ids.iter().next())
        .collect();
    if !leaders.is_empty() {
        let shift = usize::try_from(present).unwrap_or(0) % leaders.len();
        leaders.rotate_right(shift);
    }
    leaders
}

fn check(
    context: &Context,
    wanted: &CreatePartitionsTopic<'_>,
    present: i32,
) -> Result<(), Failure> {
    let (name, count) = (&wanted.name, wanted.count);
    if count == present {
        let text = format!("Topic already has {present} partition(s).");
        return Err(Failure::new(ErrorCode::InvalidPartitions, text));
    }
    if count < present {
        let text = format!(
            "The topic {name} currently has {present} partition(s); {count} would not be an increase."
        );
        return Err(Failure::new(ErrorCode::InvalidPartitions, text));
    }
    let limit = context.config.max_partitions_per_topic;
    if count > limit {
        let text = format!("{count} partitions are more than max.partitions.per.topic = {limit}.");
        return Err(Failure::new(ErrorCode::InvalidPartitions, text));
    }
    let Some(assignments) = &wanted.assignments else {
        return Ok(());
    };
    let more = count - present;
    if usize::try_from(more) != Ok(assignments.len()) {
        let text = format!(
            "Attempted to add {more} additional partition(s), but only {} assignment(s) were specified.",
            assignments.len()
        );
        return Err(Failure::new(ErrorCode::InvalidReplicaAssignment, text));
    }
    let brokers = context.cluster.view().node_ids();
    for assignment in assignments {
        topic_rules::check_replicas(assignment.broker_ids.iter(), &brokers)?;
    }
    Ok(())
}
