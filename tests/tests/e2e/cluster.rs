//! What a cluster tells of itself: brokers, partitions page by page, sizes, leader epochs, and what on one broker cannot be moved,
//! elected or taken out.

use protocol::ErrorCode;
use protocol::messages::alter_partition_reassignments_request::{
    ReassignablePartition, ReassignableTopic,
};
use protocol::messages::describe_log_dirs_request::DescribableLogDirTopic;
use protocol::messages::describe_quorum_request::{PartitionData, TopicData};
use protocol::messages::describe_topic_partitions_request::{Cursor, TopicRequest};
use protocol::messages::elect_leaders_request::TopicPartitions;
use protocol::messages::offset_for_leader_epoch_request::{
    OffsetForLeaderPartition, OffsetForLeaderTopic,
};
use protocol::messages::update_features_request::FeatureUpdateKey;
use protocol::messages::{
    AlterPartitionReassignmentsRequest, AlterPartitionReassignmentsResponse, ApiVersionsRequest,
    ApiVersionsResponse, ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse,
    DescribeClusterRequest, DescribeClusterResponse, DescribeLogDirsRequest,
    DescribeLogDirsResponse, DescribeQuorumRequest, DescribeQuorumResponse,
    DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse, ElectLeadersRequest,
    ElectLeadersResponse, ListPartitionReassignmentsRequest, ListPartitionReassignmentsResponse,
    OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse, UnregisterBrokerRequest,
    UnregisterBrokerResponse, UpdateFeaturesRequest, UpdateFeaturesResponse,
};
use tests::batch::NewBatch;
use tests::postgres::Postgres;
use tests::wire::Connection;
use tests::{Broker, fresh_topic};

fn start(stem: &str, partitions: i32) -> (Connection, String) {
    let broker = Broker::shared();
    let mut connection = Connection::open(&broker);
    let topic = fresh_topic(stem);
    connection.create_topic(&topic, partitions);
    (connection, topic)
}

#[test]
fn the_cluster_is_described() {
    let broker = Broker::shared();
    let mut c = Connection::open(&broker);
    for version in 0..=2 {
        let request = DescribeClusterRequest {
            include_cluster_authorized_operations: version == 1,
            ..DescribeClusterRequest::default()
        };
        let answer = c.call(&request, version);
        let response: DescribeClusterResponse<'_> = answer.read();
        assert_eq!((response.error_code, response.cluster_id.len()), (0, 22));
        let brokers: Vec<_> = response
            .brokers
            .iter()
            .map(|b| (b.broker_id, b.port))
            .collect();
        assert_eq!(brokers, [(1, i32::from(broker.port()))], "v{version}");
        let operations = if version == 1 { 8096 } else { i32::MIN };
        assert_eq!(response.cluster_authorized_operations, operations);
    }
    for (endpoint_type, code) in [
        (2, ErrorCode::MismatchedEndpointType),
        (3, ErrorCode::UnsupportedEndpointType),
    ] {
        let request = DescribeClusterRequest {
            endpoint_type,
            ..DescribeClusterRequest::default()
        };
        let answer = c.call(&request, 2);
        let response: DescribeClusterResponse<'_> = answer.read();
        assert_eq!(response.error_code, code as i16);
        assert!(response.error_message.is_some());
    }
}

#[test]
fn partitions_come_page_by_page() {
    let (mut c, a) = start("pages", 5);
    let b = format!("{a}-b");
    c.create_topic(&b, 3);
    let nosuch = format!("{a}-a");
    let mut seen: Vec<(String, i32)> = Vec::new();
    let mut pages = Vec::new();
    let mut cursor: Option<(String, i32)> = None;
    loop {
        let request = DescribeTopicPartitionsRequest {
            topics: [&b, &nosuch, &a, &b]
                .map(|name| TopicRequest {
                    name: name.as_str().into(),
                    ..TopicRequest::default()
                })
                .into(),
            response_partition_limit: 3,
            cursor: cursor.take().map(|(name, index)| Cursor {
                topic_name: name.into(),
                partition_index: index,
                ..Cursor::default()
            }),
            ..DescribeTopicPartitionsRequest::default()
        };
        let answer = c.call(&request, 0);
        let response: DescribeTopicPartitionsResponse<'_> = answer.read();
        let mut count = 0;
        for topic in &response.topics {
            let name = topic.name.as_deref().unwrap_or_default().to_owned();
            if name == nosuch {
                assert_eq!(topic.error_code, ErrorCode::UnknownTopicOrPartition as i16);
                continue;
            }
            assert_eq!(topic.error_code, 0);
            for partition in &topic.partitions {
                assert_eq!((partition.leader_id, partition.error_code), (1, 0));
                seen.push((name.clone(), partition.partition_index));
                count += 1;
            }
        }
        pages.push(count);
        match response.next_cursor {
            None => break,
            Some(next) => cursor = Some((next.topic_name.to_string(), next.partition_index)),
        }
    }
    let of = |name: &str, count: i32| (0..count).map(|i| (name.to_owned(), i)).collect::<Vec<_>>();
    assert_eq!(seen, [of(&a, 5), of(&b, 3)].concat());
    assert_eq!(pages, [3, 3, 2]);
}

#[test]
fn log_dirs_have_the_sizes_of_the_records() {
    let (mut c, topic) = start("sizes", 2);
    let batch = NewBatch::of(&[vec![b'x'; 5000]]).bytes();
    let produced: usize = (0..3)
        .map(|_| {
            assert_eq!(c.produce(&topic, 1, &batch).error, 0);
            batch.len()
        })
        .sum();
    for version in 1..=4 {
        let request = DescribeLogDirsRequest {
            topics: Some(vec![DescribableLogDirTopic {
                topic: topic.as_str().into(),
                partitions: vec![0, 1, 7].into(),
                ..DescribableLogDirTopic::default()
            }]),
            ..DescribeLogDirsRequest::default()
        };
        let answer = c.call(&request, version);
        let response: DescribeLogDirsResponse<'_> = answer.read();
        let dir = &response.results[0];
        assert_eq!((response.results.len(), dir.error_code), (1, 0));
        let mut sizes: Vec<_> = dir.topics[0]
            .partitions
            .iter()
            .map(|p| (p.partition_index, p.partition_size))
            .collect();
        sizes.sort_unstable();
        let bytes = i64::try_from(produced).unwrap();
        assert_eq!(sizes, [(0, 0), (1, bytes)], "v{version}");
    }
    let all = DescribeLogDirsRequest {
        topics: None,
        ..DescribeLogDirsRequest::default()
    };
    let answer = c.call(&all, 4);
    let response: DescribeLogDirsResponse<'_> = answer.read();
    let found = response.results[0]
        .topics
        .iter()
        .find(|t| t.name == topic)
        .unwrap();
    let size: i64 = found.partitions.iter().map(|p| p.partition_size).sum();
    assert_eq!(usize::try_from(size), Ok(produced));
}

fn epoch_end(c: &mut Connection, topic: &str, current: i32, epoch: i32) -> (i16, i32, i64) {
    let request = OffsetForLeaderEpochRequest {
        topics: vec![OffsetForLeaderTopic {
            topic: topic.into(),
            partitions: vec![OffsetForLeaderPartition {
                partition: 0,
                current_leader_epoch: current,
                leader_epoch: epoch,
                ..OffsetForLeaderPartition::default()
            }],
            ..OffsetForLeaderTopic::default()
        }],
        ..OffsetForLeaderEpochRequest::default()
    };
    let answer = c.call(&request, 4);
    let response: OffsetForLeaderEpochResponse<'_> = answer.read();
    let part = &response.topics[0].partitions[0];
    (part.error_code, part.leader_epoch, part.end_offset)
}

#[test]
fn the_present_epoch_ends_with_the_log() {
    let (mut c, topic) = start("epoch", 1);
    assert_eq!(epoch_end(&mut c, &topic, -1, 0), (0, 0, 0));
    c.produce(&topic, 0, &NewBatch::of(&["a", "b"]).bytes());
    assert_eq!(epoch_end(&mut c, &topic, 0, 0), (0, 0, 2));
    assert_eq!(epoch_end(&mut c, &topic, -1, 1), (0, -1, -1));
    assert_eq!(epoch_end(&mut c, &topic, -1, -1), (0, -1, -1));
    let unknown = ErrorCode::UnknownLeaderEpoch as i16;
    assert_eq!(epoch_end(&mut c, &topic, 1, 0), (unknown, -1, -1));
    let unknown = ErrorCode::UnknownTopicOrPartition as i16;
    assert_eq!(
        epoch_end(&mut c, &format!("{topic}-nosuch"), -1, 0),
        (unknown, -1, -1)
    );
}

#[test]
fn earlier_epochs_end_where_a_later_one_begins() {
    let postgres = Postgres::start();
    let url = postgres.url();
    let mut broker = Broker::start_with(&["--database-url", &url]);
    // Epochs 0, 2 and 5 with 7, 8 and 9 batches of two records.
    for (epoch, batches) in [(0, 7), (2, 8), (5, 9)] {
        let mut c = Connection::open(&broker);
        if epoch == 0 {
            c.create_topic("a", 1);
        }
        for _ in 0..batches {
            assert_eq!(
                c.produce("a", 0, &NewBatch::of(&["x", "y"]).bytes()).error,
                0
            );
        }
        broker.stop();
        let next = if epoch == 0 {
            2
        } else if epoch == 2 {
            5
        } else {
            6
        };
        postgres.execute(&format!(
            "update kafka.topic_partitions set leader_epoch = {next}"
        ));
        broker.start_again();
    }
    let mut c = Connection::open(&broker);
    for (epoch, found, end) in [
        (0, 0, 14),
        (1, 0, 14),
        (2, 2, 30),
        (4, 2, 30),
        (5, 5, 48),
        (6, 6, 48),
        (7, -1, -1),
    ] {
        assert_eq!(
            epoch_end(&mut c, "a", 6, epoch),
            (0, found, end),
            "epoch {epoch}"
        );
    }
    let fenced = ErrorCode::FencedLeaderEpoch as i16;
    assert_eq!(epoch_end(&mut c, "a", 5, 0).0, fenced);
}

#[test]
fn no_election_is_needed() {
    let (mut c, topic) = start("elected", 1);
    let mut elect = |topic: &str, partition: i32, version: i16, timeout_ms: i32| {
        let request = ElectLeadersRequest {
            election_type: 0,
            topic_partitions: Some(vec![TopicPartitions {
                topic: topic.into(),
                partitions: vec![partition].into(),
                ..TopicPartitions::default()
            }]),
            timeout_ms,
            ..ElectLeadersRequest::default()
        };
        let answer = c.call(&request, version);
        let response: ElectLeadersResponse<'_> = answer.read();
        let result = response.replica_election_results.first().map(|topic| {
            let partition = &topic.partition_result[0];
            (
                partition.error_code,
                partition
                    .error_message
                    .as_deref()
                    .unwrap_or_default()
                    .to_owned(),
            )
        });
        (response.error_code, result)
    };
    let not_needed = (
        ErrorCode::ElectionNotNeeded as i16,
        "Leader election not needed for topic partition.".to_owned(),
    );
    for version in 0..=2 {
        assert_eq!(
            elect(&topic, 0, version, 10_000),
            (0, Some(not_needed.clone()))
        );
    }
    let unknown = ErrorCode::UnknownTopicOrPartition as i16;
    let missing = (unknown, format!("No such partition as {topic}-9"));
    assert_eq!(elect(&topic, 9, 2, 10_000), (0, Some(missing)));
    let missing = (unknown, "No such topic as nosuch".to_owned());
    assert_eq!(elect("nosuch", 0, 2, 10_000), (0, Some(missing)));
    assert_eq!(elect(&topic, 0, 2, 0).0, ErrorCode::RequestTimedOut as i16);
    let all = ElectLeadersRequest {
        topic_partitions: None,
        ..ElectLeadersRequest::default()
    };
    let answer = c.call(&all, 2);
    let response: ElectLeadersResponse<'_> = answer.read();
    assert_eq!(
        (response.error_code, response.replica_election_results.len()),
        (0, 0)
    );
}

#[test]
fn partitions_are_moved_to_where_they_are_and_nowhere_else() {
    let (mut c, topic) = start("moved", 1);
    let mut moved = |topic: &str, partition: i32, replicas: Option<&[i32]>| {
        let request = AlterPartitionReassignmentsRequest {
            topics: vec![ReassignableTopic {
                name: topic.into(),
                partitions: vec![ReassignablePartition {
                    partition_index: partition,
                    replicas: replicas.map(|replicas| replicas.to_vec().into()),
                    ..ReassignablePartition::default()
                }],
                ..ReassignableTopic::default()
            }],
            ..AlterPartitionReassignmentsRequest::default()
        };
        let answer = c.call(&request, 1);
        let response: AlterPartitionReassignmentsResponse<'_> = answer.read();
        assert_eq!(response.error_code, 0);
        let part = &response.responses[0].partitions[0];
        (
            ErrorCode::from_i16(part.error_code).unwrap(),
            part.error_message.as_deref().unwrap_or_default().to_owned(),
        )
    };
    let invalid = ErrorCode::InvalidReplicaAssignment;
    let unknown = ErrorCode::UnknownTopicOrPartition;
    assert_eq!(
        moved(&topic, 0, Some(&[1])),
        (ErrorCode::None, String::new())
    );
    let text =
        "The manual partition assignment includes broker 2, but no such broker is registered.";
    assert_eq!(moved(&topic, 0, Some(&[2])), (invalid, text.to_owned()));
    let text = "The manual partition assignment includes the broker 1 more than once.";
    assert_eq!(moved(&topic, 0, Some(&[1, 1])), (invalid, text.to_owned()));
    let text = "No partition reassignment is in progress.";
    assert_eq!(
        moved(&topic, 0, None),
        (ErrorCode::NoReassignmentInProgress, text.to_owned())
    );
    assert_eq!(
        moved("nosuch", 0, Some(&[1])),
        (unknown, "Unable to find a topic named nosuch.".to_owned())
    );
    assert_eq!(
        moved(&topic, 9, Some(&[1])),
        (unknown, format!("Unable to find partition {topic}:9."))
    );
    let request = ListPartitionReassignmentsRequest {
        topics: None,
        ..ListPartitionReassignmentsRequest::default()
    };
    let answer = c.call(&request, 0);
    let response: ListPartitionReassignmentsResponse<'_> = answer.read();
    assert_eq!((response.error_code, response.topics.len()), (0, 0));
}

#[test]
fn the_quorum_is_the_broker_that_owns_the_log() {
    let mut c = Connection::open(&Broker::shared());
    for version in 0..=2 {
        let request = DescribeQuorumRequest {
            topics: vec![TopicData {
                topic_name: "__cluster_metadata".into(),
                partitions: vec![PartitionData::default()],
                ..TopicData::default()
            }],
            ..DescribeQuorumRequest::default()
        };
        let answer = c.call(&request, version);
        let response: DescribeQuorumResponse<'_> = answer.read();
        assert_eq!(response.error_code, 0);
        let part = &response.topics[0].partitions[0];
        assert_eq!((part.error_code, part.leader_id), (0, 1));
        assert!(part.leader_epoch >= 1, "{part:?}");
        let voters: Vec<i32> = part.current_voters.iter().map(|v| v.replica_id).collect();
        assert_eq!(voters, [1]);
        let nodes: Vec<i32> = response.nodes.iter().map(|n| n.node_id).collect();
        assert_eq!(nodes, if version >= 2 { vec![1] } else { vec![] });
    }
}

#[test]
fn features_and_brokers_that_are_not_there_stay_so() {
    let mut c = Connection::open(&Broker::shared());
    let request = UpdateFeaturesRequest {
        feature_updates: vec![FeatureUpdateKey {
            feature: "foo".into(),
            max_version_level: 1,
            ..FeatureUpdateKey::default()
        }],
        ..UpdateFeaturesRequest::default()
    };
    let answer = c.call(&request, 2);
    let response: UpdateFeaturesResponse<'_> = answer.read();
    assert_eq!(response.error_code, ErrorCode::InvalidUpdateVersion as i16);
    assert_eq!(
        response.error_message.as_deref(),
        Some(
            "The update failed for all features since the following feature had an error: Invalid update version 1 for \
              feature foo. Local controller 1 does not support this feature."
        )
    );
    let request = UnregisterBrokerRequest {
        broker_id: 7,
        ..UnregisterBrokerRequest::default()
    };
    let answer = c.call(&request, 0);
    let response: UnregisterBrokerResponse<'_> = answer.read();
    let text = "Broker ID 7 is not currently registered";
    assert_eq!(response.error_code, ErrorCode::BrokerIdNotRegistered as i16);
    assert_eq!(response.error_message.as_deref(), Some(text));
}

/// Changes the level of a feature, by Kafka's number of how; the error code.
fn change_feature(c: &mut Connection, feature: &str, level: i16, kind: i8) -> i16 {
    let request = UpdateFeaturesRequest {
        feature_updates: vec![FeatureUpdateKey {
            feature: feature.into(),
            max_version_level: level,
            upgrade_type: kind,
            ..FeatureUpdateKey::default()
        }],
        ..UpdateFeaturesRequest::default()
    };
    let answer = c.call(&request, 2);
    answer.read::<UpdateFeaturesResponse<'_>>().error_code
}

/// Names and levels of the features that are in force, and their epoch.
fn features(c: &mut Connection) -> (Vec<(String, i16)>, i64) {
    let request = ApiVersionsRequest {
        client_software_name: "test".into(),
        client_software_version: "1".into(),
        ..ApiVersionsRequest::default()
    };
    let answer = c.call(&request, 4);
    let response: ApiVersionsResponse<'_> = answer.read();
    let known = response.supported_features.iter();
    let known: Vec<_> = known
        .map(|feature| (&*feature.name, feature.min_version, feature.max_version))
        .collect();
    assert_eq!(
        known,
        [("group.version", 0, 1), ("transaction.version", 0, 2)]
    );
    let levels = response.finalized_features.iter();
    let levels = levels.map(|feature| (feature.name.to_string(), feature.max_version_level));
    (levels.collect(), response.finalized_features_epoch)
}

#[test]
fn features_are_lowered_and_raised_and_stay_so() {
    const UPGRADE: i8 = 1;
    const SAFE: i8 = 2;
    let mut broker = Broker::start();
    let mut c = Connection::open(&broker);
    let level = |name: &str, level: i16| (name.to_owned(), level);
    let (newest, first) = features(&mut c);
    assert_eq!(
        newest,
        [level("group.version", 1), level("transaction.version", 2)]
    );
    let refused = ErrorCode::InvalidUpdateVersion as i16;
    for (feature, level, kind) in [
        ("transaction.version", 1, UPGRADE),
        ("transaction.version", 3, UPGRADE),
        ("transaction.version", 1, 9),
        ("transaction.version", -1, SAFE),
        ("metadata.version", 1, UPGRADE),
    ] {
        assert_eq!(change_feature(&mut c, feature, level, kind), refused);
    }
    assert_eq!(change_feature(&mut c, "transaction.version", 1, SAFE), 0);
    assert_eq!(change_feature(&mut c, "group.version", 0, SAFE), 0);
    let (levels, epoch) = features(&mut c);
    assert_eq!(levels, [level("transaction.version", 1)]);
    assert!(epoch > first);
    let heartbeat = ConsumerGroupHeartbeatRequest {
        group_id: "g".into(),
        member_id: "m".into(),
        rebalance_timeout_ms: 60_000,
        subscribed_topic_names: Some(vec!["t".into()]),
        topic_partitions: Some(Vec::new()),
        ..ConsumerGroupHeartbeatRequest::default()
    };
    let beat = |c: &mut Connection| {
        let answer = c.call(&heartbeat, 1);
        answer
            .read::<ConsumerGroupHeartbeatResponse<'_>>()
            .error_code
    };
    assert_eq!(beat(&mut c), ErrorCode::UnsupportedVersion as i16);
    broker.stop();
    broker.start_again();
    let mut c = Connection::open(&broker);
    assert_eq!(features(&mut c), (levels, epoch));
    assert_eq!(change_feature(&mut c, "group.version", 1, SAFE), refused);
    assert_eq!(change_feature(&mut c, "group.version", 1, UPGRADE), 0);
    assert_eq!(beat(&mut c), 0);
}

#[test]
fn a_broker_that_runs_is_not_taken_out() {
    let broker = Broker::start();
    let mut c = Connection::open(&broker);
    let request = UnregisterBrokerRequest {
        broker_id: 1,
        ..UnregisterBrokerRequest::default()
    };
    let answer = c.call(&request, 0);
    let response: UnregisterBrokerResponse<'_> = answer.read();
    assert_eq!(response.error_code, ErrorCode::InvalidRequest as i16);
    c.create_topic("still-there", 1);
}
