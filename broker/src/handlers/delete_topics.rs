//! DeleteTopics (key 20), v0-v6.
//!
//! v5: error messages. v6: topics by id as well as by name (KIP-516).

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use protocol::ErrorCode;
use protocol::messages::delete_topics_response::DeletableTopicResult;
use protocol::messages::{DeleteTopicsRequest, DeleteTopicsResponse};
use uuid::Uuid;

use crate::catalog::Topic;
use crate::context::{Context, Request};
use crate::error::Failure;

pub(crate) async fn handle<'a>(
    request: &Request,
    body: DeleteTopicsRequest<'a>,
) -> DeleteTopicsResponse<'a> {
    let context = request.context();
    context.catalog.refresh().await;
    let named: Vec<(Option<Cow<'a, str>>, Uuid)> = if request.version >= 6 {
        let topics = body.topics.into_iter();
        topics.map(|topic| (topic.name, topic.topic_id)).collect()
    } else {
        let names = body.topic_names.into_iter();
        names.map(|name| (Some(name), Uuid::nil())).collect()
    };

    let found: Vec<Result<Arc<Topic>, Failure>> = named
        .iter()
        .map(|(name, topic_id)| find(context, name.as_deref(), *topic_id))
        .collect();
    let mut times_named: HashMap<Uuid, usize> = HashMap::new();
    for topic in found.iter().flatten() {
        *times_named.entry(topic.topic_id).or_default() += 1;
    }
    let mut responses = Vec::with_capacity(named.len());
    let mut doomed: Vec<(usize, Arc<Topic>)> = Vec::new();
    for ((name, topic_id), found_topic) in named.into_iter().zip(&found) {
        let mut result = DeletableTopicResult {
            name,
            topic_id,
            ..DeletableTopicResult::default()
        };
        match found_topic {
            Ok(topic) if times_named.get(&topic.topic_id) > Some(&1) => {
                let text = "Duplicate topic name.";
                fail(&mut result, Failure::new(ErrorCode::InvalidRequest, text));
            }
            Ok(topic) => {
                result.name = Some(topic.name.to_string().into());
                result.topic_id = topic.topic_id;
                doomed.push((responses.len(), topic.clone()));
            }
            Err(failure) => fail(&mut result, failure.clone()),
        }
        responses.push(result);
    }
    if !doomed.is_empty() {
        delete(context, body.timeout_ms, doomed, &mut responses).await;
    }
    DeleteTopicsResponse {
        responses,
        ..DeleteTopicsResponse::default()
    }
}

fn find(context: &Context, name: Option<&str>, topic_id: Uuid) -> Result<Arc<Topic>, Failure> {
    match (name, topic_id.is_nil()) {
        (Some(_), false) => Err(Failure::new(
            ErrorCode::InvalidRequest,
            "You may not specify both topic name and topic id.",
        )),
        (None, true) => Err(Failure::new(
            ErrorCode::InvalidRequest,
            "Neither topic name nor id were specified.",
        )),
        (Some(name), true) => context.catalog.by_name(name).ok_or_else(|| {
            Failure::new(
                ErrorCode::UnknownTopicOrPartition,
                "This server does not host this topic-partition.",
            )
        }),
        (None, false) => context.catalog.by_topic_id(topic_id).ok_or_else(|| {
            Failure::new(
                ErrorCode::UnknownTopicId,
                "This server does not host this topic ID.",
            )
        }),
    }
}

async fn delete(
    context: &Context,
    timeout_ms: i32,
    doomed: Vec<(usize, Arc<Topic>)>,
    responses: &mut [DeletableTopicResult<'_>],
) {
    let (places, topics): (Vec<usize>, Vec<Arc<Topic>>) = doomed.into_iter().unzip();
    let patience = Duration::from_millis(timeout_ms.try_into().unwrap_or(0));
    let deleted = if patience.is_zero() {
        Err(Failure::of(ErrorCode::RequestTimedOut))
    } else {
        match tokio::time::timeout(patience, context.catalog.delete(topics)).await {
            Ok(Ok(deleted)) => Ok(deleted),
            Ok(Err(error)) => Err(Failure::from(&error)),
            Err(_) => Err(Failure::of(ErrorCode::RequestTimedOut)),
        }
    };
    let outcomes: Vec<Result<(), Failure>> = match deleted {
        Ok(deleted) => deleted
            .into_iter()
            .map(|outcome| outcome.map_err(|error| Failure::from(&error)))
            .collect(),
        Err(failure) => vec![Err(failure); places.len()],
    };
    for (place, outcome) in places.into_iter().zip(outcomes) {
        if let (Some(result), Err(failure)) = (responses.get_mut(place), outcome) {
            fail(result, failure);
        }
    }
}

fn fail(result: &mut DeletableTopicResult<'_>, failure: Failure) {
    result.error_code = failure.code.code();
    result.error_message = failure.message.map(Into::into);
}
