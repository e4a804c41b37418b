//! TxnOffsetCommit (key 28), v0-v6: offsets that a group has committed when the transaction is.
//!
//! v2: leader epochs. v3: who commits, so that a member that was left behind is fenced (KIP-447). v4: TRANSACTION_ABORTABLE. v5:
//! the group becomes part of the transaction (KIP-890). v6: topic ids.

use std::sync::Arc;

use protocol::ErrorCode;
use protocol::messages::txn_offset_commit_request::{
    TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic,
};
use protocol::messages::txn_offset_commit_response::{
    TxnOffsetCommitResponsePartition, TxnOffsetCommitResponseTopic,
};
use protocol::messages::{TxnOffsetCommitRequest, TxnOffsetCommitResponse};
use storage::OffsetWrite;

use super::group_rules::{self, AskedOffset};
use crate::catalog::Topic;
use crate::context::Request;
use crate::groups::{Event, MemberRef};
use crate::transactions::Producer;

/// Topics have ids instead of names from this version on.
const TOPIC_IDS_VERSION: i16 = 6;

pub(crate) async fn handle<'a>(
    request: &Request,
    body: TxnOffsetCommitRequest<'a>,
) -> TxnOffsetCommitResponse<'a> {
    let mut offsets = Vec::new();
    let topics = body.topics.iter();
    let mut topics: Vec<TxnOffsetCommitResponseTopic<'a>> = topics
        .map(|topic| take_topic(request, topic, &mut offsets))
        .collect();
    if let Err(code) = commit(request, &body, offsets).await {
        let partitions = topics.iter_mut().flat_map(|topic| &mut topic.partitions);
        for partition in partitions {
            // Those that were refused by themselves keep their reason.
            if partition.error_code == ErrorCode::None.code() {
                partition.error_code = code.code();
            }
        }
    }
    TxnOffsetCommitResponse {
        topics,
        ..TxnOffsetCommitResponse::default()
    }
}

async fn commit(
    request: &Request,
    body: &TxnOffsetCommitRequest<'_>,
    offsets: Vec<OffsetWrite>,
) -> Result<(), ErrorCode> {
    group_rules::check_joined_group_id(&body.group_id)?;
    let member = MemberRef {
        member_id: body.member_id.clone().into_owned(),
        group_instance_id: body.group_instance_id.as_deref().map(str::to_owned),
        epoch: body.generation_id_or_member_epoch,
    };
    let context = request.context();
    let partitions = offsets.iter();
    let partitions = partitions.map(|offset| (offset.topic, offset.partition));
    let partitions = partitions.collect();
    context
        .groups
        .ask(&body.group_id, |reply| {
            Event::CheckTxnCommit(member, partitions, request.version, reply)
        })
        .await??;
    if offsets.is_empty() {
        return Ok(());
    }
    let producer = Producer {
        id: body.producer_id,
        epoch: body.producer_epoch,
    };
    let (id, group_id) = (&body.transactional_id, &body.group_id);
    context
        .transactions
        .commit_offsets(id, producer, group_id, offsets, request.version)
        .await
}

/// Checks each partition; what can be committed goes to `offsets`.
fn take_topic<'a>(
    request: &Request,
    topic: &TxnOffsetCommitRequestTopic<'a>,
    offsets: &mut Vec<OffsetWrite>,
) -> TxnOffsetCommitResponseTopic<'a> {
    let by_id = request.version >= TOPIC_IDS_VERSION;
    let found = group_rules::find_topic(request, by_id, topic.topic_id, &topic.name);
    let partitions = topic.partitions.iter().map(|partition| {
        let taken = take(request, &found, partition);
        let code = taken.as_ref().err().copied().unwrap_or(ErrorCode::None);
        offsets.extend(taken);
        TxnOffsetCommitResponsePartition {
            partition_index: partition.partition_index,
            error_code: code.code(),
            ..TxnOffsetCommitResponsePartition::default()
        }
    });
    TxnOffsetCommitResponseTopic {
        partitions: partitions.collect(),
        name: topic.name.clone(),
        topic_id: topic.topic_id,
        ..TxnOffsetCommitResponseTopic::default()
    }
}

fn take(
    request: &Request,
    topic: &Result<Arc<Topic>, ErrorCode>,
    partition: &TxnOffsetCommitRequestPartition<'_>,
) -> Result<OffsetWrite, ErrorCode> {
    let asked = AskedOffset {
        partition: partition.partition_index,
        offset: partition.committed_offset,
        leader_epoch: partition.committed_leader_epoch,
        metadata: partition.committed_metadata.as_deref(),
    };
    group_rules::offset_write(request, topic, asked)
}
