//! OffsetDelete (key 47), v0-v0: forgets committed offsets of topics that the group is not subscribed to (KIP-496).

use protocol::ErrorCode;
use protocol::messages::offset_delete_request::OffsetDeleteRequestTopic;
use protocol::messages::offset_delete_response::{
    OffsetDeleteResponsePartition, OffsetDeleteResponseTopic,
};
use protocol::messages::{OffsetDeleteRequest, OffsetDeleteResponse};

use super::group_rules;
use crate::context::Request;
use crate::groups::Event;

pub(crate) async fn handle<'a>(
    request: &Request,
    body: OffsetDeleteRequest<'a>,
) -> OffsetDeleteResponse<'a> {
    let codes = match group_rules::check_joined_group_id(&body.group_id) {
        Err(code) => Err(code),
        Ok(()) => delete(request, &body.group_id, &body.topics).await,
    };
    let mut codes = match codes {
        Ok(codes) => codes.into_iter(),
        Err(code) => {
            return OffsetDeleteResponse {
                error_code: code.code(),
                ..OffsetDeleteResponse::default()
            };
        }
    };
    let catalog = &request.context().catalog;
    // A topic of which no partition is named is not answered.
    let is_answered = |topic: &OffsetDeleteRequestTopic<'_>| {
        !topic.partitions.is_empty() || catalog.by_name(&topic.name).is_none()
    };
    let topics = body.topics.into_iter().filter(is_answered).map(|topic| {
        let partitions = topic.partitions.iter();
        let partitions = partitions.map(|partition| OffsetDeleteResponsePartition {
            partition_index: partition.partition_index,
            error_code: codes.next().unwrap_or(ErrorCode::UnknownServerError).code(),
            ..OffsetDeleteResponsePartition::default()
        });
        OffsetDeleteResponseTopic {
            partitions: partitions.collect(),
            name: topic.name,
            ..OffsetDeleteResponseTopic::default()
        }
    });
    OffsetDeleteResponse {
        topics: topics.collect(),
        ..OffsetDeleteResponse::default()
    }
}

/// A code for each partition, in the order of the request.
async fn delete(
    request: &Request,
    group_id: &str,
    topics: &[OffsetDeleteRequestTopic<'_>],
) -> Result<Vec<ErrorCode>, ErrorCode> {
    let catalog = &request.context().catalog;
    let mut codes = Vec::new();
    let mut known = Vec::new();
    let mut places = Vec::new();
    for topic in topics {
        let found = catalog.by_name(&topic.name);
        for partition in &topic.partitions {
            let index = partition.partition_index;
            match &found {
                Some(found) if found.partition(index).is_some() => {
                    places.push(codes.len());
                    known.push((topic.name.clone().into_owned(), found.id, index));
                    codes.push(ErrorCode::None);
                }
                _ => codes.push(ErrorCode::UnknownTopicOrPartition),
            }
        }
    }
    let groups = &request.context().groups;
    let results = groups
        .ask(group_id, |reply| Event::DeleteOffsets(known, reply))
        .await??;
    for (place, result) in places.into_iter().zip(results) {
        if let (Some(code), Err(refused)) = (codes.get_mut(place), result) {
            *code = refused;
        }
    }
    Ok(codes)
}
