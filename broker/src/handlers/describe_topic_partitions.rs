//! DescribeTopicPartitions (key 75), v0-v0: the partitions of topics, page by page (KIP-966).

use std::collections::BTreeSet;
use std::sync::Arc;

use protocol::ErrorCode;
use protocol::messages::describe_topic_partitions_request::Cursor;
use protocol::messages::describe_topic_partitions_response::{
    Cursor as NextCursor, DescribeTopicPartitionsResponsePartition,
    DescribeTopicPartitionsResponseTopic,
};
use protocol::messages::{DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse};

use super::metadata::TOPIC_OPERATIONS;
use super::topic_rules;
use crate::catalog::Topic;
use crate::context::{Context, Request};

/// The most partitions of one page, whatever the client allows (Kafka's max.request.partition.size.limit).
const PAGE_PARTITIONS_MAX: usize = 2000;

pub(crate) async fn handle<'a>(
    request: &Request,
    body: DescribeTopicPartitionsRequest<'a>,
) -> DescribeTopicPartitionsResponse<'a> {
    let context = request.context();
    context.catalog.refresh().await;
    let limit = usize::try_from(body.response_partition_limit).unwrap_or(0);
    let mut left = limit.clamp(1, PAGE_PARTITIONS_MAX);
    let (mut topics, mut next_cursor) = (Vec::new(), None);
    for (name, topic) in wanted(context, &body) {
        let from = first_partition(&name, body.cursor.as_ref());
        let Some(topic) = topic else {
            topics.push(unknown(name));
            continue;
        };
        if left == 0 {
            next_cursor = Some(cursor(&name, from));
            break;
        }
        let partitions = page(context, &topic, from, left);
        left -= partitions.len();
        let next = from + partitions.len();
        let is_cut = next < topic.partitions.len();
        topics.push(DescribeTopicPartitionsResponseTopic {
            name: Some(topic.name.to_string().into()),
            topic_id: topic.topic_id,
            partitions,
            topic_authorized_operations: TOPIC_OPERATIONS,
            ..DescribeTopicPartitionsResponseTopic::default()
        });
        if is_cut {
            next_cursor = Some(cursor(&name, next));
            break;
        }
    }
    DescribeTopicPartitionsResponse {
        topics,
        next_cursor,
        ..DescribeTopicPartitionsResponse::default()
    }
}

/// By name, from that of the cursor on; all topics if none is named.
fn wanted(
    context: &Context,
    body: &DescribeTopicPartitionsRequest<'_>,
) -> Vec<(String, Option<Arc<Topic>>)> {
    let start = body.cursor.as_ref().map(|cursor| &*cursor.topic_name);
    let is_due = |name: &str| start.is_none_or(|start| name >= start);
    if body.topics.is_empty() {
        let all = context.catalog.all().into_iter();
        return all
            .filter(|topic| is_due(&topic.name))
            .map(|topic| (topic.name.to_string(), Some(topic)))
            .collect();
    }
    let names: BTreeSet<&str> = body.topics.iter().map(|topic| &*topic.name).collect();
    let due = names.into_iter().filter(|name| is_due(name));
    due.map(|name| (name.to_owned(), context.catalog.by_name(name)))
        .collect()
}

/// Where the page begins in topic `name`.
fn first_partition(name: &str, cursor: Option<&Cursor<'_>>) -> usize {
    let cursor = cursor.filter(|cursor| cursor.topic_name == name);
    cursor.map_or(0, |cursor| {
        usize::try_from(cursor.partition_index).unwrap_or(0)
    })
}

fn cursor<'a>(name: &str, partition: usize) -> NextCursor<'a> {
    NextCursor {
        topic_name: name.to_owned().into(),
        partition_index: i32::try_from(partition).unwrap_or(i32::MAX),
        ..NextCursor::default()
    }
}

fn page(
    context: &Context,
    topic: &Topic,
    from: usize,
    most: usize,
) -> Vec<DescribeTopicPartitionsResponsePartition<'static>> {
    let view = context.cluster.view();
    let partitions = topic.partitions.iter().skip(from).take(most);
    let partitions = partitions.map(|partition| {
        let shown = topic_rules::shown(&view, partition);
        DescribeTopicPartitionsResponsePartition {
            error_code: shown.error_code,
            partition_index: shown.partition_index,
            leader_id: shown.leader_id,
            leader_epoch: shown.leader_epoch,
            isr_nodes: shown.replicas.clone().into(),
            replica_nodes: shown.replicas.into(),
            eligible_leader_replicas: Some(Vec::new().into()),
            last_known_elr: Some(Vec::new().into()),
            offline_replicas: shown.offline_replicas.into(),
            ..DescribeTopicPartitionsResponsePartition::default()
        }
    });
    partitions.collect()
}

fn unknown<'a>(name: String) -> DescribeTopicPartitionsResponseTopic<'a> {
    let code = match topic_rules::check_name(&name) {
        Ok(()) => ErrorCode::UnknownTopicOrPartition,
        Err(failure) => failure.code,
    };
    DescribeTopicPartitionsResponseTopic {
        error_code: code.code(),
        name: Some(name.into()),
        ..DescribeTopicPartitionsResponseTopic::default()
    }
}
