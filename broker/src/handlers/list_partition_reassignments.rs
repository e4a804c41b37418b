//! ListPartitionReassignments (key 46), v0-v0: the partitions whose leader is to be another broker, and is not yet.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use protocol::messages::list_partition_reassignments_response::{
    OngoingPartitionReassignment, OngoingTopicReassignment,
};
use protocol::messages::{ListPartitionReassignmentsRequest, ListPartitionReassignmentsResponse};

use crate::context::Request;
use crate::error::Failure;

pub(crate) async fn handle<'a>(
    request: &Request,
    body: ListPartitionReassignmentsRequest<'a>,
) -> ListPartitionReassignmentsResponse<'a> {
    let context = request.context();
    let wished: HashMap<i32, i32> = match context.store.all_wanted_moves().await {
        Ok(wished) => wished.into_iter().collect(),
        Err(error) => {
            let failure = Failure::from(&error);
            return ListPartitionReassignmentsResponse {
                error_code: failure.code.code(),
                error_message: failure.message.map(Into::into),
                ..ListPartitionReassignmentsResponse::default()
            };
        }
    };
    let is_asked = |name: &str, index: i32| {
        body.topics.as_ref().is_none_or(|topics| {
            let mut named = topics.iter().filter(|topic| *topic.name == *name);
            named.any(|topic| topic.partition_indexes.iter().any(|asked| asked == index))
        })
    };
    let mut ongoing: BTreeMap<Arc<str>, Vec<OngoingPartitionReassignment<'a>>> = BTreeMap::new();
    for topic in context.catalog.all() {
        for partition in &topic.partitions {
            let Some(wanted) = wished.get(&partition.id()) else {
                continue;
            };
            if is_asked(&topic.name, partition.index()) {
                let leader = partition.leader().node_id;
                let of_topic = ongoing.entry(topic.name.clone()).or_default();
                of_topic.push(OngoingPartitionReassignment {
                    partition_index: partition.index(),
                    replicas: vec![*wanted, leader].into(),
                    adding_replicas: vec![*wanted].into(),
                    removing_replicas: vec![leader].into(),
                    ..OngoingPartitionReassignment::default()
                });
            }
        }
    }
    let topics = ongoing.into_iter();
    let topics = topics.map(|(name, partitions)| OngoingTopicReassignment {
        name: name.to_string().into(),
        partitions,
        ..OngoingTopicReassignment::default()
    });
    ListPartitionReassignmentsResponse {
        topics: topics.collect(),
        ..ListPartitionReassignmentsResponse::default()
    }
}
