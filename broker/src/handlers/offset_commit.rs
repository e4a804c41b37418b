//! OffsetCommit (key 8), v0-v10: commits the offsets that a group has consumed up to.
//!
//! v1: generation and member; a time of the commit, in v1 alone. v2-v4: for how long the offsets are kept. v6: leader epochs
//! (KIP-320). v7: static members (KIP-345). v9: member epochs (KIP-848). v10: topic ids (KIP-848).

use std::sync::Arc;

use protocol::ErrorCode;
use protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use protocol::messages::offset_commit_response::{
    OffsetCommitResponsePartition, OffsetCommitResponseTopic,
};
use protocol::messages::{OffsetCommitRequest, OffsetCommitResponse};
use storage::OffsetWrite;

use super::group_rules::{self, AskedOffset};
use crate::catalog::Topic;
use crate::context::Request;
use crate::groups::{Commit, Event, MemberRef};

/// Topics have ids instead of names from this version on.
const TOPIC_IDS_VERSION: i16 = 10;

pub(crate) async fn handle<'a>(
    request: &Request,
    body: OffsetCommitRequest<'a>,
) -> OffsetCommitResponse<'a> {
    let mut offsets = Vec::new();
    let mut topics: Vec<OffsetCommitResponseTopic<'a>> = body
        .topics
        .iter()
        .filter_map(|topic| take_topic(request, topic, body.retention_time_ms, &mut offsets))
        .collect();
    let outcome = match group_rules::check_group_id(&body.group_id) {
        Err(code) => Err(code),
        Ok(()) => {
            let commit = Commit {
                member: MemberRef {
                    member_id: body.member_id.into_owned(),
                    group_instance_id: body.group_instance_id.map(|id| id.into_owned()),
                    epoch: body.generation_id_or_member_epoch,
                },
                api_version: request.version,
                offsets,
            };
            let groups = &request.context().groups;
            groups
                .ask(&body.group_id, |reply| Event::Commit(commit, reply))
                .await
                .and_then(|outcome| outcome)
        }
    };
    if let Err(code) = outcome {
        let partitions = topics.iter_mut().flat_map(|topic| &mut topic.partitions);
        for partition in partitions {
            // Those that were refused by themselves keep their reason.
            if partition.error_code == ErrorCode::None.code() {
                partition.error_code = code.code();
            }
        }
    }
    OffsetCommitResponse {
        topics,
        ..OffsetCommitResponse::default()
    }
}

/// Checks each partition; what can be committed goes to `offsets`. A topic of which none is named is not answered.
fn take_topic<'a>(
    request: &Request,
    topic: &OffsetCommitRequestTopic<'a>,
    retention_ms: i64,
    offsets: &mut Vec<OffsetWrite>,
) -> Option<OffsetCommitResponseTopic<'a>> {
    let by_id = request.version >= TOPIC_IDS_VERSION;
    let found = group_rules::find_topic(request, by_id, topic.topic_id, &topic.name);
    if found.is_ok() && topic.partitions.is_empty() {
        return None;
    }
    let partitions = topic.partitions.iter().map(|partition| {
        let taken = take(request, &found, partition, retention_ms);
        let code = taken.as_ref().err().copied().unwrap_or(ErrorCode::None);
        offsets.extend(taken);
        OffsetCommitResponsePartition {
            partition_index: partition.partition_index,
            error_code: code.code(),
            ..OffsetCommitResponsePartition::default()
        }
    });
    Some(OffsetCommitResponseTopic {
        partitions: partitions.collect(),
        name: topic.name.clone(),
        topic_id: topic.topic_id,
        ..OffsetCommitResponseTopic::default()
    })
}

fn take(
    request: &Request,
    topic: &Result<Arc<Topic>, ErrorCode>,
    partition: &OffsetCommitRequestPartition<'_>,
    retention_ms: i64,
) -> Result<OffsetWrite, ErrorCode> {
    let asked = AskedOffset {
        partition: partition.partition_index,
        offset: partition.committed_offset,
        leader_epoch: partition.committed_leader_epoch,
        metadata: partition.committed_metadata.as_deref(),
    };
    let mut write = group_rules::offset_write(request, topic, asked)?;
    write.timestamp_ms = (request.version == 1 && partition.commit_timestamp >= 0)
        .then_some(partition.commit_timestamp);
    write.retention_ms = (retention_ms >= 0).then_some(retention_ms);
    Ok(write)
}
