//! OffsetFetch (key 9), v0-v10: the offsets that groups have committed.
//!
//! v1: a partition without one is no error. v2: null asks for all; an error of the group. v5: leader epochs (KIP-320).
//! v7: stable offsets only (KIP-447):
//! where an open transaction will commit one, that is an error. v8: many groups (KIP-709). v9: member
//! epochs (KIP-848). v10: topic ids (KIP-848).

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use protocol::ErrorCode;
use protocol::messages::offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use protocol::messages::offset_fetch_response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions,
    OffsetFetchResponseTopic, OffsetFetchResponseTopics,
};
use protocol::messages::{OffsetFetchRequest, OffsetFetchResponse};
use protocol::wire::Ints;
use storage::CommittedOffset;
use uuid::Uuid;

use super::group_rules;
use crate::context::Request;
use crate::groups::{Event, MemberRef};

pub(crate) async fn handle<'a>(
    request: &Request,
    body: OffsetFetchRequest<'a>,
) -> OffsetFetchResponse<'a> {
    if request.version >= 8 {
        let groups = body.groups.into_iter();
        let groups = groups.map(|group| fetch(request, group, body.require_stable));
        return OffsetFetchResponse {
            groups: futures_util::future::join_all(groups).await,
            ..OffsetFetchResponse::default()
        };
    }
    let topics = body.topics.map(|topics| {
        let topics = topics.into_iter().map(|topic| OffsetFetchRequestTopics {
            name: topic.name,
            partition_indexes: topic.partition_indexes,
            ..OffsetFetchRequestTopics::default()
        });
        topics.collect()
    });
    let wanted = OffsetFetchRequestGroup {
        group_id: body.group_id,
        topics,
        ..OffsetFetchRequestGroup::default()
    };
    single(
        request.version,
        fetch(request, wanted, body.require_stable).await,
    )
}

/// One group's answer in the form of v0 to v7.
fn single(version: i16, group: OffsetFetchResponseGroup<'_>) -> OffsetFetchResponse<'_> {
    let topics = group.topics.into_iter().map(|topic| {
        let partitions = topic.partitions.into_iter();
        let partitions = partitions.map(|partition| OffsetFetchResponsePartition {
            partition_index: partition.partition_index,
            committed_offset: partition.committed_offset,
            committed_leader_epoch: partition.committed_leader_epoch,
            metadata: partition.metadata,
            // What v0 says of a partition without an offset, as it knew no -1.
            error_code: if version == 0 && partition.committed_offset < 0 && group.error_code == 0 {
                ErrorCode::UnknownTopicOrPartition.code()
            } else {
                partition.error_code
            },
            ..OffsetFetchResponsePartition::default()
        });
        OffsetFetchResponseTopic {
            partitions: partitions.collect(),
            name: topic.name,
            ..OffsetFetchResponseTopic::default()
        }
    });
    let topics = topics.collect();
    OffsetFetchResponse {
        // From v2 on the error stands for all.
        topics: if version >= 2 && group.error_code != 0 {
            Vec::new()
        } else {
            topics
        },
        error_code: group.error_code,
        ..OffsetFetchResponse::default()
    }
}

async fn fetch<'a>(
    request: &Request,
    wanted: OffsetFetchRequestGroup<'a>,
    require_stable: bool,
) -> OffsetFetchResponseGroup<'a> {
    // Before the offsets: what is pending no more is among these then.
    let pending = match require_stable {
        true => request.context().groups.pending(&wanted.group_id).await,
        false => Ok(HashSet::new()),
    };
    let offsets = committed(request, &wanted).await;
    let (offsets, pending) = match (offsets, pending) {
        (Ok(offsets), Ok(pending)) => (Ok(offsets), pending),
        (Err(code), _) | (Ok(_), Err(code)) => (Err(code), HashSet::new()),
    };
    let code = offsets.as_ref().err().copied().unwrap_or(ErrorCode::None);
    let mut topics = match (&offsets, wanted.topics) {
        (Ok(offsets), None) => all(offsets),
        (Ok(offsets), Some(topics)) => listed(request, offsets, topics, ErrorCode::None),
        // In v0 and v1 each partition says what is wrong.
        (Err(code), Some(topics)) if request.version < 2 => listed(request, &[], topics, *code),
        (Err(_), _) => Vec::new(),
    };
    if !pending.is_empty() {
        refuse_unstable(request, &pending, &mut topics);
    }
    OffsetFetchResponseGroup {
        topics,
        error_code: code.code(),
        group_id: wanted.group_id,
        ..OffsetFetchResponseGroup::default()
    }
}

/// An open transaction will commit offsets of these, by topic and partition.
fn refuse_unstable(
    request: &Request,
    pending: &HashSet<(i32, i32)>,
    topics: &mut [OffsetFetchResponseTopics<'_>],
) {
    let catalog = &request.context().catalog;
    for topic in topics {
        let found = match request.version >= 10 {
            true => catalog.by_topic_id(topic.topic_id),
            false => catalog.by_name(&topic.name),
        };
        let Some(found) = found else { continue };
        for partition in &mut topic.partitions {
            if pending.contains(&(found.id, partition.partition_index)) {
                let unstable = ErrorCode::UnstableOffsetCommit;
                *partition = nothing(partition.partition_index, unstable);
            }
        }
    }
}

async fn committed(
    request: &Request,
    wanted: &OffsetFetchRequestGroup<'_>,
) -> Result<Vec<CommittedOffset>, ErrorCode> {
    group_rules::check_group_id(&wanted.group_id)?;
    let groups = &request.context().groups;
    if wanted.member_id.is_some() || wanted.member_epoch >= 0 {
        let member = MemberRef {
            member_id: wanted.member_id.clone().unwrap_or_default().into_owned(),
            group_instance_id: None,
            epoch: wanted.member_epoch,
        };
        groups
            .ask(&wanted.group_id, |reply| Event::CheckFetch(member, reply))
            .await??;
    }
    groups.committed(&wanted.group_id).await
}

/// Everything, by topic.
fn all<'a>(offsets: &[CommittedOffset]) -> Vec<OffsetFetchResponseTopics<'a>> {
    let topics = offsets.chunk_by(|left, right| left.topic == right.topic);
    let topics = topics.filter_map(|offsets| {
        let first = offsets.first()?;
        Some(OffsetFetchResponseTopics {
            name: first.topic_name.clone().into(),
            topic_id: first.topic_id,
            partitions: offsets.iter().map(found).collect(),
            ..OffsetFetchResponseTopics::default()
        })
    });
    topics.collect()
}

/// What was asked for, in that order.
fn listed<'a>(
    request: &Request,
    offsets: &[CommittedOffset],
    topics: Vec<OffsetFetchRequestTopics<'a>>,
    code: ErrorCode,
) -> Vec<OffsetFetchResponseTopics<'a>> {
    let by_id = request.version >= 10;
    let key = |name: &str, topic_id: Uuid| {
        if by_id {
            (String::new(), topic_id)
        } else {
            (name.to_owned(), Uuid::nil())
        }
    };
    let known: HashMap<_, _> = offsets
        .iter()
        .map(|offset| {
            let key = key(&offset.topic_name, offset.topic_id);
            ((key, offset.partition), offset)
        })
        .collect();
    let topics = topics.into_iter().map(|topic| {
        let is_unknown = by_id && {
            let catalog = &request.context().catalog;
            catalog.by_topic_id(topic.topic_id).is_none()
        };
        let code = if is_unknown {
            ErrorCode::UnknownTopicId
        } else {
            code
        };
        let key = key(&topic.name, topic.topic_id);
        let partition = |index| match known.get(&(key.clone(), index)) {
            Some(offset) if code == ErrorCode::None => found(offset),
            _ => nothing(index, code),
        };
        OffsetFetchResponseTopics {
            partitions: partitions(&topic.partition_indexes, partition),
            name: topic.name,
            topic_id: topic.topic_id,
            ..OffsetFetchResponseTopics::default()
        }
    });
    topics.collect()
}

fn partitions<'a>(
    indexes: &Ints<'_, i32>,
    partition: impl Fn(i32) -> OffsetFetchResponsePartitions<'a>,
) -> Vec<OffsetFetchResponsePartitions<'a>> {
    indexes.iter().map(partition).collect()
}

fn found<'a>(offset: &CommittedOffset) -> OffsetFetchResponsePartitions<'a> {
    OffsetFetchResponsePartitions {
        partition_index: offset.partition,
        committed_offset: offset.offset,
        committed_leader_epoch: offset.leader_epoch,
        metadata: Some(offset.metadata.clone().into()),
        ..OffsetFetchResponsePartitions::default()
    }
}

fn nothing<'a>(partition_index: i32, code: ErrorCode) -> OffsetFetchResponsePartitions<'a> {
    OffsetFetchResponsePartitions {
        partition_index,
        committed_offset: -1,
        committed_leader_epoch: -1,
        metadata: Some(Cow::Borrowed("")),
        error_code: code.code(),
        ..OffsetFetchResponsePartitions::default()
    }
}
