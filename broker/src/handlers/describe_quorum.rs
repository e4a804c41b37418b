//! DescribeQuorum (key 55), v0-v2: who decides about the cluster. That is PostgreSQL, through the broker that owns the lane: it is
//! the leader, the lane's epoch is the leader's, and its flushes are the log.
//!
//! v1: when replicas fetched last (KIP-836). v2: error texts, nodes and their listeners (KIP-853).

use protocol::ErrorCode;
use protocol::messages::describe_quorum_request::TopicData as AskedTopic;
use protocol::messages::describe_quorum_response::{
    Listener, Node, PartitionData, ReplicaState, TopicData,
};
use protocol::messages::{DescribeQuorumRequest, DescribeQuorumResponse};
use storage::LaneState;

use crate::context::Request;
use crate::error::Failure;
use crate::log::{LANE, now_ms};

/// Kafka's name for the one log that has a quorum.
const METADATA: &str = "__cluster_metadata";

pub(crate) async fn handle<'a>(
    request: &Request,
    body: DescribeQuorumRequest<'a>,
) -> DescribeQuorumResponse<'a> {
    let context = request.context();
    let lanes = match context.store.lane_states().await {
        Ok(lanes) => lanes,
        Err(error) => {
            let failure = Failure::from(&error);
            return DescribeQuorumResponse {
                error_code: failure.code.code(),
                error_message: failure.message.map(Into::into),
                ..DescribeQuorumResponse::default()
            };
        }
    };
    let lane = lanes.into_iter().find(|lane| lane.lane_id == LANE);
    let topics = body.topics.into_iter();
    let topics = topics.map(|topic| answer(topic, lane.as_ref(), request.version));
    let mut response = DescribeQuorumResponse {
        topics: topics.collect(),
        error_message: None,
        ..DescribeQuorumResponse::default()
    };
    if request.version >= 2 {
        let endpoint = context.advertised(&request.session);
        response.nodes = vec![Node {
            node_id: context.config.node_id,
            listeners: vec![Listener {
                name: "PLAINTEXT".into(),
                host: endpoint.host.into(),
                port: endpoint.port,
                ..Listener::default()
            }],
            ..Node::default()
        }];
    }
    response
}

fn answer<'a>(topic: AskedTopic<'a>, lane: Option<&LaneState>, version: i16) -> TopicData<'a> {
    let partitions = topic.partitions.iter().map(|asked| {
        let is_metadata = topic.topic_name == METADATA && asked.partition_index == 0;
        match lane.filter(|_| is_metadata) {
            Some(lane) => state(lane, version),
            None => PartitionData {
                partition_index: asked.partition_index,
                error_code: ErrorCode::UnknownTopicOrPartition.code(),
                error_message: None,
                ..PartitionData::default()
            },
        }
    });
    TopicData {
        partitions: partitions.collect(),
        topic_name: topic.topic_name,
        ..TopicData::default()
    }
}

fn state<'a>(lane: &LaneState, version: i16) -> PartitionData<'a> {
    let leader_id = lane.node_id.unwrap_or(-1);
    // What has no replicas is never behind.
    let caught_up_ms = if version >= 1 { now_ms() } else { -1 };
    PartitionData {
        partition_index: 0,
        error_message: None,
        leader_id,
        leader_epoch: lane.epoch,
        high_watermark: lane.flush_seq,
        current_voters: vec![ReplicaState {
            replica_id: leader_id,
            log_end_offset: lane.flush_seq,
            last_fetch_timestamp: caught_up_ms,
            last_caught_up_timestamp: caught_up_ms,
            ..ReplicaState::default()
        }],
        ..PartitionData::default()
    }
}
