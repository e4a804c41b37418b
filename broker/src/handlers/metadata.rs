//! Metadata (key 3), v0-v13: the brokers, the topics and who leads their partitions.
//!
//! v0: an empty list asks for all topics; v1 and later: null does, and empty asks for none. v4: whether unknown topics may
//! be created. v8: authorized operations (KIP-430). v10, v12: topic ids (KIP-516).

use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::Arc;

use protocol::ErrorCode;
use protocol::messages::metadata_request::MetadataRequestTopic;
use protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use protocol::messages::{MetadataRequest, MetadataResponse};

use super::topic_rules;
use crate::catalog::{NewTopicSpec, Topic};
use crate::context::{Context, Request};
use crate::error::Failure;

/// What everybody may do with a topic, as the bits of Kafka's AclOperation codes: there are no ACLs.
pub(super) const TOPIC_OPERATIONS: i32 = 0b1101_1111_1000;

/// The same for the cluster.
pub(super) const CLUSTER_OPERATIONS: i32 = 0b1_1111_1010_0000;

/// "Not asked for".
const NO_OPERATIONS: i32 = i32::MIN;

pub(crate) async fn handle<'a>(
    request: &Request,
    body: MetadataRequest<'a>,
) -> MetadataResponse<'a> {
    let context = request.context();
    context.catalog.refresh().await;
    let may_create = context.config.auto_create_topics_enable
        && (request.version < 4 || body.allow_auto_topic_creation);
    let topics = match body.topics {
        None => all(context),
        Some(topics) if topics.is_empty() && request.version == 0 => all(context),
        Some(topics) if request.version < 12 && topics.iter().any(is_by_id) => {
            return refused(&topics);
        }
        Some(topics) if topics.iter().any(is_nameless) => return refused(&topics),
        Some(topics) => {
            let mut answers = Vec::new();
            let mut seen = HashSet::new();
            for topic in topics {
                if seen.insert((topic.name.clone(), topic.topic_id)) {
                    answers.push(one(context, topic, may_create).await);
                }
            }
            answers
        }
    };
    let mut response = MetadataResponse {
        brokers: brokers(request),
        cluster_id: Some(context.store.cluster_id().to_owned().into()),
        controller_id: context.cluster.view().controller_id(),
        cluster_authorized_operations: NO_OPERATIONS,
        topics,
        ..MetadataResponse::default()
    };
    if body.include_cluster_authorized_operations {
        response.cluster_authorized_operations = CLUSTER_OPERATIONS;
    }
    if body.include_topic_authorized_operations {
        for topic in &mut response.topics {
            if topic.error_code == ErrorCode::None.code() {
                topic.topic_authorized_operations = TOPIC_OPERATIONS;
            }
        }
    }
    response
}

fn is_by_id(topic: &MetadataRequestTopic<'_>) -> bool {
    !topic.topic_id.is_nil() || topic.name.is_none()
}

fn is_nameless(topic: &MetadataRequestTopic<'_>) -> bool {
    topic.name.is_none() && topic.topic_id.is_nil()
}

/// Kafka's answer to a request that names topics in a way its version does not have.
fn refused<'a>(topics: &[MetadataRequestTopic<'_>]) -> MetadataResponse<'a> {
    let topics = topics.iter().map(|topic| MetadataResponseTopic {
        error_code: ErrorCode::InvalidRequest.code(),
        name: Some(Cow::Borrowed("")),
        topic_id: topic.topic_id,
        topic_authorized_operations: NO_OPERATIONS,
        ..MetadataResponseTopic::default()
    });
    MetadataResponse {
        topics: topics.collect(),
        cluster_authorized_operations: NO_OPERATIONS,
        ..MetadataResponse::default()
    }
}

fn brokers(request: &Request) -> Vec<MetadataResponseBroker<'static>> {
    let nodes = request.context().nodes(&request.session).into_iter();
    let brokers = nodes.map(|node| MetadataResponseBroker {
        node_id: node.node_id,
        host: node.host.into(),
        port: node.port,
        rack: node.rack.map(Into::into),
        ..MetadataResponseBroker::default()
    });
    brokers.collect()
}

fn all<'a>(context: &Context) -> Vec<MetadataResponseTopic<'a>> {
    let topics = context.catalog.all();
    topics.iter().map(|topic| known(context, topic)).collect()
}

async fn one<'a>(
    context: &Context,
    wanted: MetadataRequestTopic<'a>,
    may_create: bool,
) -> MetadataResponseTopic<'a> {
    if !wanted.topic_id.is_nil() {
        return match context.catalog.by_topic_id(wanted.topic_id) {
            Some(topic) => known(context, &topic),
            None => MetadataResponseTopic {
                topic_id: wanted.topic_id,
                ..failed(None, ErrorCode::UnknownTopicId)
            },
        };
    }
    let name = wanted.name.unwrap_or_default();
    if let Some(topic) = context.catalog.by_name(&name) {
        return known(context, &topic);
    }
    if let Err(failure) = topic_rules::check_name(&name) {
        return failed(Some(name), failure.code);
    }
    if !may_create {
        return failed(Some(name), ErrorCode::UnknownTopicOrPartition);
    }
    match create(context, &name).await {
        Ok(topic) => known(context, &topic),
        Err(code) => failed(Some(name), code),
    }
}

async fn create(context: &Context, name: &str) -> Result<Arc<Topic>, ErrorCode> {
    if context.catalog.colliding(name).is_some() {
        return Err(ErrorCode::InvalidTopicException);
    }
    let spec = NewTopicSpec {
        name: name.to_owned(),
        partitions: context.config.num_partitions,
        settings: Vec::new(),
        leaders: Vec::new(),
    };
    let mut created = context
        .catalog
        .create(vec![spec])
        .await
        .map_err(|error| not_yet(Failure::from(&error).code))?;
    match created.pop() {
        Some(Ok(topic)) => Ok(topic),
        // Another request was faster.
        Some(Err(storage::Error::Exists(_))) => context
            .catalog
            .by_name(name)
            .ok_or(ErrorCode::UnknownTopicOrPartition),
        Some(Err(error)) => Err(not_yet(Failure::from(&error).code)),
        None => Err(ErrorCode::UnknownServerError),
    }
}

/// Clients ask again after LEADER_NOT_AVAILABLE, which is also Kafka's answer while a topic is being created.
fn not_yet(code: ErrorCode) -> ErrorCode {
    if code == ErrorCode::KafkaStorageError {
        ErrorCode::LeaderNotAvailable
    } else {
        code
    }
}

fn failed(name: Option<Cow<'_, str>>, code: ErrorCode) -> MetadataResponseTopic<'_> {
    MetadataResponseTopic {
        error_code: code.code(),
        name,
        topic_authorized_operations: NO_OPERATIONS,
        ..MetadataResponseTopic::default()
    }
}

fn known<'a>(context: &Context, topic: &Topic) -> MetadataResponseTopic<'a> {
    let view = context.cluster.view();
    let partitions = topic.partitions.iter().map(|partition| {
        let shown = topic_rules::shown(&view, partition);
        MetadataResponsePartition {
            error_code: shown.error_code,
            partition_index: shown.partition_index,
            leader_id: shown.leader_id,
            leader_epoch: shown.leader_epoch,
            isr_nodes: shown.replicas.clone().into(),
            replica_nodes: shown.replicas.into(),
            offline_replicas: shown.offline_replicas.into(),
            ..MetadataResponsePartition::default()
        }
    });
    MetadataResponseTopic {
        name: Some(topic.name.to_string().into()),
        topic_id: topic.topic_id,
        partitions: partitions.collect(),
        topic_authorized_operations: NO_OPERATIONS,
        ..MetadataResponseTopic::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bits(operations: &[u32]) -> i32 {
        operations.iter().map(|operation| 1 << operation).sum()
    }

    #[test]
    fn operations_are_the_bits_of_kafkas_codes() {
        let (read, write, create, delete, alter, describe) = (3, 4, 5, 6, 7, 8);
        let (cluster_action, describe_configs, alter_configs, idempotent_write) = (9, 10, 11, 12);
        let topic = [
            read,
            write,
            create,
            delete,
            alter,
            describe,
            describe_configs,
            alter_configs,
        ];
        assert_eq!(TOPIC_OPERATIONS, bits(&topic));
        let cluster = [
            create,
            alter,
            describe,
            cluster_action,
            describe_configs,
            alter_configs,
            idempotent_write,
        ];
        assert_eq!(CLUSTER_OPERATIONS, bits(&cluster));
    }
}
