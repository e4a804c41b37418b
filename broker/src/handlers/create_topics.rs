//! CreateTopics (key 19), v0-v7.
//!
//! v1: validate_only and error messages. v4: -1 partitions or replicas are the broker's defaults (KIP-464; accepted in every
//! version, as by Kafka). v5: the answer tells the topic's settings (KIP-525). v7: topic ids (KIP-516).

use std::collections::HashMap;
use std::time::Duration;

use protocol::ErrorCode;
use protocol::messages::create_topics_request::CreatableTopic;
use protocol::messages::create_topics_response::{CreatableTopicConfigs, CreatableTopicResult};
use protocol::messages::{CreateTopicsRequest, CreateTopicsResponse};

use super::topic_rules::{self, PARTITIONS_PER_REQUEST_MAX};
use crate::catalog::{NewTopicSpec, Topic};
use crate::config::Config;
use crate::context::{Context, Request};
use crate::error::Failure;
use crate::settings::Snapshot;
use crate::settings::topics::{TOPIC_SETTINGS, TopicSetting};

pub(crate) async fn handle<'a>(
    request: &Request,
    body: CreateTopicsRequest<'a>,
) -> CreateTopicsResponse<'a> {
    let context = request.context();
    context.catalog.refresh().await;
    let snapshot = context.settings.snapshot();
    let judged = judge_all(context, &body, &snapshot);
    let mut results: Vec<CreatableTopicResult<'a>> = Vec::with_capacity(body.topics.len());
    let mut wanted = Vec::new();
    for (topic, verdict) in body.topics.into_iter().zip(judged) {
        let mut result = CreatableTopicResult {
            name: topic.name,
            num_partitions: -1,
            replication_factor: -1,
            error_message: None,
            ..CreatableTopicResult::default()
        };
        match verdict {
            Ok(spec) => {
                describe(&mut result, &spec, &snapshot);
                wanted.push((results.len(), spec));
            }
            Err(failure) => fail(&mut result, failure),
        }
        results.push(result);
    }
    if !body.validate_only && !wanted.is_empty() {
        create(context, body.timeout_ms, wanted, &mut results).await;
    }
    CreateTopicsResponse {
        topics: results,
        ..CreateTopicsResponse::default()
    }
}

/// Each topic by itself, then all together.
fn judge_all(
    context: &Context,
    body: &CreateTopicsRequest<'_>,
    snapshot: &Snapshot,
) -> Vec<Result<NewTopicSpec, Failure>> {
    let mut names: HashMap<&str, usize> = HashMap::new();
    for topic in &body.topics {
        *names.entry(&topic.name).or_default() += 1;
    }
    let judged: Vec<_> = body
        .topics
        .iter()
        .map(|topic| {
            if names.get(&*topic.name).is_some_and(|count| *count > 1) {
                let text = "Duplicate topic name.";
                return Err(Failure::new(ErrorCode::InvalidRequest, text));
            }
            judge(context, topic, snapshot)
        })
        .collect();
    let partitions: i64 = judged
        .iter()
        .flatten()
        .map(|spec| i64::from(spec.partitions))
        .sum();
    if partitions <= PARTITIONS_PER_REQUEST_MAX {
        return judged;
    }
    let too_many = Failure::new(
        ErrorCode::PolicyViolation,
        "Excessively large number of partitions per request.",
    );
    judged
        .into_iter()
        .map(|verdict| verdict.and_then(|_| Err(too_many.clone())))
        .collect()
}

fn judge(
    context: &Context,
    topic: &CreatableTopic<'_>,
    snapshot: &Snapshot,
) -> Result<NewTopicSpec, Failure> {
    topic_rules::check_name(&topic.name)?;
    if context.catalog.by_name(&topic.name).is_some() {
        let text = format!("Topic '{}' already exists.", topic.name);
        return Err(Failure::new(ErrorCode::TopicAlreadyExists, text));
    }
    if let Some(other) = context.catalog.colliding(&topic.name) {
        let text = format!(
            "Topic '{}' collides with existing topic: {other}",
            topic.name
        );
        return Err(Failure::new(ErrorCode::InvalidTopicException, text));
    }
    let partitions = partitions(context, topic)?;
    let mut settings: Vec<(String, String)> = Vec::new();
    for setting in &topic.configs {
        let value = setting.value.as_deref();
        topic_rules::check_setting(&setting.name, value)?;
        settings.retain(|(name, _)| *name != *setting.name);
        let value = value.unwrap_or_default();
        let kind = TopicSetting::find(&setting.name).map(|setting| setting.kind);
        let value = kind.map_or_else(|| value.to_owned(), |kind| kind.normal(value));
        settings.push((setting.name.to_string(), value));
    }
    topic_rules::check_together(&settings, snapshot)?;
    Ok(NewTopicSpec {
        name: topic.name.to_string(),
        partitions,
        settings,
        leaders: leaders(topic),
    })
}

/// The first broker of each assigned partition, in order of the partitions.
fn leaders(topic: &CreatableTopic<'_>) -> Vec<i32> {
    let mut assigned: Vec<(i32, Option<i32>)> = topic
        .assignments
        .iter()
        .map(|each| (each.partition_index, each.broker_ids.iter().next()))
        .collect();
    assigned.sort_unstable();
    assigned
        .into_iter()
        .filter_map(|(_, leader)| leader)
        .collect()
}

/// How many partitions the topic gets.
fn partitions(context: &Context, topic: &CreatableTopic<'_>) -> Result<i32, Failure> {
    let config = &context.config;
    if !topic.assignments.is_empty() {
        let unset = |field: &str| {
            let text = format!(
                "A manual partition assignment was specified, but {field} was not set to -1."
            );
            Err(Failure::new(ErrorCode::InvalidRequest, text))
        };
        if topic.replication_factor != -1 {
            return unset("replication factor");
        }
        if topic.num_partitions != -1 {
            return unset("numPartitions");
        }
        let indexes = topic.assignments.iter().map(|each| each.partition_index);
        let brokers = context.cluster.view().node_ids();
        let count = topic_rules::check_assigned_partitions(indexes)?;
        for each in &topic.assignments {
            topic_rules::check_replicas(each.broker_ids.iter(), &brokers)?;
        }
        return check_count(count, config);
    }
    let brokers = context.cluster.view().brokers.len();
    topic_rules::check_replication_factor(topic.replication_factor, brokers)?;
    match topic.num_partitions {
        -1 => Ok(config.num_partitions),
        count @ 1.. => check_count(count, config),
        _ => Err(Failure::new(
            ErrorCode::InvalidPartitions,
            "Number of partitions was set to an invalid non-positive value.",
        )),
    }
}

fn check_count(count: i32, config: &Config) -> Result<i32, Failure> {
    if count > config.max_partitions_per_topic {
        let text = format!(
            "{count} partitions are more than max.partitions.per.topic = {}.",
            config.max_partitions_per_topic
        );
        return Err(Failure::new(ErrorCode::InvalidPartitions, text));
    }
    Ok(count)
}

async fn create(
    context: &Context,
    timeout_ms: i32,
    wanted: Vec<(usize, NewTopicSpec)>,
    results: &mut [CreatableTopicResult<'_>],
) {
    let (places, specs): (Vec<usize>, Vec<NewTopicSpec>) = wanted.into_iter().unzip();
    let patience = Duration::from_millis(timeout_ms.try_into().unwrap_or(0));
    let created = if patience.is_zero() {
        Err(Failure::of(ErrorCode::RequestTimedOut))
    } else {
        match tokio::time::timeout(patience, context.catalog.create(specs)).await {
            Ok(Ok(created)) => Ok(created),
            Ok(Err(error)) => Err(Failure::from(&error)),
            Err(_) => Err(Failure::of(ErrorCode::RequestTimedOut)),
        }
    };
    match created {
        Ok(created) => {
            for (place, outcome) in places.into_iter().zip(created) {
                let Some(result) = results.get_mut(place) else {
                    continue;
                };
                match outcome {
                    Ok(topic) => confirm(result, &topic),
                    Err(error) => fail(result, Failure::from(&error)),
                }
            }
        }
        Err(failure) => {
            for place in places {
                if let Some(result) = results.get_mut(place) {
                    fail(result, failure.clone());
                }
            }
        }
    }
}

fn confirm(result: &mut CreatableTopicResult<'_>, topic: &Topic) {
    result.topic_id = topic.topic_id;
}

fn fail(result: &mut CreatableTopicResult<'_>, failure: Failure) {
    result.error_code = failure.code.code();
    result.error_message = failure.message.map(Into::into);
    result.num_partitions = -1;
    result.replication_factor = -1;
    result.configs = Some(Vec::new());
}

fn describe(result: &mut CreatableTopicResult<'_>, spec: &NewTopicSpec, snapshot: &Snapshot) {
    result.num_partitions = spec.partitions;
    result.replication_factor = 1;
    let configs = TOPIC_SETTINGS.iter().map(|setting| {
        let (value, source) = setting.value(&spec.settings, snapshot);
        CreatableTopicConfigs {
            name: setting.name.into(),
            value: Some(value.into()),
            read_only: false,
            config_source: source as i8,
            is_sensitive: false,
            ..CreatableTopicConfigs::default()
        }
    });
    result.configs = Some(configs.collect());
}
