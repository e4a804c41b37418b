//! DescribeQuorum (key 55), v0-v2: who decides about the cluster. That is PostgreSQL, and all brokers through it: the one that is
//! shown as the controller is the leader, its lane's epoch is the leader's, and its flushes are the log; the others observe.
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
use crate::log::now_ms;

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
    let view = context.cluster.view();
    let leader_id = view.controller_id();
    let lane = lanes.iter().find(|lane| lane.lane_id == leader_id);
    let others = lanes.iter().filter(|lane| lane.lane_id != leader_id);
    let others = others.filter(|lane| view.broker(lane.lane_id).is_some());
    let others: Vec<&LaneState> = others.collect();
    let topics = body.topics.into_iter();
    let topics = topics.map(|topic| answer(topic, lane, &others, request.version));
    let mut response = DescribeQuorumResponse {
        topics: topics.collect(),
        error_message: None,
        ..DescribeQuorumResponse::default()
    };
    if request.version >= 2 {
        let nodes = context.nodes(&request.session).into_iter();
        let nodes = nodes.map(|node| Node {
            node_id: node.node_id,
            listeners: vec![Listener {
                name: "PLAINTEXT".into(),
                host: node.host.into(),
                port: u16::try_from(node.port).unwrap_or(0),
                ..Listener::default()
            }],
            ..Node::default()
        });
        response.nodes = nodes.collect();
    }
    response
}

fn answer<'a>(
    topic: AskedTopic<'a>,
    lane: Option<&LaneState>,
    others: &[&LaneState],
    version: i16,
) -> TopicData<'a> {
    let partitions = topic.partitions.iter().map(|asked| {
        let is_metadata = topic.topic_name == METADATA && asked.partition_index == 0;
        match lane.filter(|_| is_metadata) {
            Some(lane) => state(lane, others, version),
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

fn state<'a>(lane: &LaneState, others: &[&LaneState], version: i16) -> PartitionData<'a> {
    // What has no replicas is never behind.
    let caught_up_ms = if version >= 1 { now_ms() } else { -1 };
    let replica = |replica_id: i32| ReplicaState {
        replica_id,
        log_end_offset: lane.flush_seq,
        last_fetch_timestamp: caught_up_ms,
        last_caught_up_timestamp: caught_up_ms,
        ..ReplicaState::default()
    };
    PartitionData {
        partition_index: 0,
        error_message: None,
        leader_id: lane.lane_id,
        leader_epoch: lane.epoch,
        high_watermark: lane.flush_seq,
        current_voters: vec![replica(lane.lane_id)],
        observers: others.iter().map(|other| replica(other.lane_id)).collect(),
        ..PartitionData::default()
    }
}
