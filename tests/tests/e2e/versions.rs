//! Every advertised version of every API, asked and answered: the list is the broker's own.

mod groups;
mod transactions;

use std::ops::RangeInclusive;

use protocol::messages::create_partitions_request::CreatePartitionsTopic;
use protocol::messages::create_topics_request::CreatableTopic;
use protocol::messages::delete_topics_request::DeleteTopicState;
use protocol::messages::describe_configs_request::DescribeConfigsResource;
use protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use protocol::messages::metadata_request::MetadataRequestTopic;
use protocol::messages::{
    ApiVersionsRequest, ApiVersionsResponse, CreatePartitionsRequest, CreatePartitionsResponse,
    CreateTopicsRequest, CreateTopicsResponse, DeleteTopicsRequest, DeleteTopicsResponse,
    FetchResponse, InitProducerIdRequest, InitProducerIdResponse, ListOffsetsRequest,
    ListOffsetsResponse, MetadataRequest, MetadataResponse, ProduceResponse,
};
use protocol::messages::{DescribeConfigsRequest, DescribeConfigsResponse};
use protocol::{ApiKey, ErrorCode, Request};
use tests::batch::NewBatch;
use tests::wire::{Answer, Connection, fetch_request, fetched, produce_request, request_bytes};
use tests::{Broker, fresh_topic};
use uuid::Uuid;

/// The APIs whose versions are checked, here and in `cluster` and `settings`; `answered` sends samples of all of them. A broker that
/// advertises another makes the test fail.
const CHECKED: &[ApiKey] = &[
    ApiKey::Produce,
    ApiKey::Fetch,
    ApiKey::ListOffsets,
    ApiKey::Metadata,
    ApiKey::OffsetCommit,
    ApiKey::OffsetFetch,
    ApiKey::FindCoordinator,
    ApiKey::JoinGroup,
    ApiKey::Heartbeat,
    ApiKey::LeaveGroup,
    ApiKey::SyncGroup,
    ApiKey::DescribeGroups,
    ApiKey::ListGroups,
    ApiKey::ApiVersions,
    ApiKey::CreateTopics,
    ApiKey::DeleteTopics,
    ApiKey::DeleteRecords,
    ApiKey::InitProducerId,
    ApiKey::OffsetForLeaderEpoch,
    ApiKey::AddPartitionsToTxn,
    ApiKey::AddOffsetsToTxn,
    ApiKey::EndTxn,
    ApiKey::WriteTxnMarkers,
    ApiKey::TxnOffsetCommit,
    ApiKey::DescribeConfigs,
    ApiKey::AlterConfigs,
    ApiKey::DescribeLogDirs,
    ApiKey::CreatePartitions,
    ApiKey::DeleteGroups,
    ApiKey::ElectLeaders,
    ApiKey::IncrementalAlterConfigs,
    ApiKey::AlterPartitionReassignments,
    ApiKey::ListPartitionReassignments,
    ApiKey::OffsetDelete,
    ApiKey::DescribeQuorum,
    ApiKey::UpdateFeatures,
    ApiKey::DescribeCluster,
    ApiKey::DescribeProducers,
    ApiKey::UnregisterBroker,
    ApiKey::DescribeTransactions,
    ApiKey::ListTransactions,
    ApiKey::ConsumerGroupHeartbeat,
    ApiKey::ConsumerGroupDescribe,
    ApiKey::ListConfigResources,
    ApiKey::DescribeTopicPartitions,
];

/// What the broker advertises.
pub(crate) fn advertised(connection: &mut Connection) -> Vec<(ApiKey, RangeInclusive<i16>)> {
    let answer = connection.call(&api_versions(), 3);
    let response: ApiVersionsResponse = answer.read();
    assert_eq!(response.error_code, 0);
    let apis = response.api_keys.iter().map(|a| {
        let key = ApiKey::from_i16(a.api_key).expect("a key that Kafka has");
        (key, a.min_version..=a.max_version)
    });
    apis.collect()
}

fn api_versions<'a>() -> ApiVersionsRequest<'a> {
    ApiVersionsRequest {
        client_software_name: "raw".into(),
        client_software_version: "1".into(),
        ..ApiVersionsRequest::default()
    }
}

/// A topic with one record, and a connection.
struct Asker {
    connection: Connection,
    topic: String,
    id: Uuid,
}

fn each_version(key: ApiKey, mut ask: impl FnMut(&mut Asker, i16)) {
    let broker = Broker::shared();
    let mut connection = Connection::open(&broker);
    let apis = advertised(&mut connection);
    let (_, versions) = apis
        .into_iter()
        .find(|(k, _)| *k == key)
        .expect("the API is advertised");
    let topic = fresh_topic("versions");
    let id = connection.create_topic(&topic, 1);
    connection.produce(&topic, 0, &NewBatch::of(&["one"]).bytes());
    let mut asker = Asker {
        connection,
        topic,
        id,
    };
    let mut asked = 0;
    // Produce is advertised below what is served; see the tests of malformed requests
    let first = if key == ApiKey::Produce { 3 } else { 0 };
    for version in versions.filter(|v| *v >= first) {
        ask(&mut asker, version);
        asked += 1;
    }
    assert!(asked > 0);
}

impl Asker {
    fn call<'a, R: Request<'a>>(&mut self, request: &R, version: i16) -> Answer {
        self.connection.call(request, version)
    }

    /// The request again with bytes that are only there in flexible versions: an unknown tagged field.
    fn with_unknown_tag<'a, R: Request<'a>>(
        &mut self,
        request: &R,
        version: i16,
    ) -> Option<Answer> {
        let flexible = R::FLEXIBLE.is_some_and(|first| version >= first);
        flexible.then(|| {
            let mut bytes = request_bytes(request, version, 77);
            assert_eq!(bytes.pop(), Some(0), "no tagged fields at the end");
            bytes.extend([1, 99, 3, b'n', b'e', b'w']);
            self.connection.send_bytes(&tests::wire::frame(&bytes));
            self.connection.receive(R::API_KEY, version)
        })
    }
}

#[test]
fn nothing_is_advertised_that_is_not_checked() {
    let broker = Broker::shared();
    let keys: Vec<ApiKey> = advertised(&mut Connection::open(&broker))
        .into_iter()
        .map(|(k, _)| k)
        .collect();
    assert_eq!(keys, CHECKED);
}

#[test]
fn produce() {
    let batch = NewBatch::of(&["again"]).bytes();
    each_version(ApiKey::Produce, |asker, version| {
        let topic = asker.topic.clone();
        let mut request = produce_request(&topic, &[(0, &batch)], 1);
        if version >= 13 {
            request.topic_data[0].name = "".into();
            request.topic_data[0].topic_id = asker.id;
        }
        let answer = asker.call(&request, version);
        let response: ProduceResponse = answer.read();
        let part = &response.responses[0].partition_responses[0];
        assert_eq!(
            (part.error_code, part.base_offset),
            (0, i64::from(version) - 2),
            "v{version}"
        );
        assert_eq!(
            part.log_start_offset,
            if version >= 5 { 0 } else { -1 },
            "v{version}"
        );
    });
}

#[test]
fn fetch() {
    each_version(ApiKey::Fetch, |asker, version| {
        let topic = asker.topic.clone();
        let mut request = fetch_request(&[(&topic, 0, 0, 1_000_000)]);
        if version < 7 {
            request.session_epoch = -1;
        }
        if version >= 13 {
            request.topics[0].topic = "".into();
            request.topics[0].topic_id = asker.id;
        }
        for answer in [
            Some(asker.call(&request, version)),
            asker.with_unknown_tag(&request, version),
        ]
        .into_iter()
        .flatten()
        {
            let part = fetched(&answer).swap_remove(0);
            assert_eq!((part.error, part.high_watermark), (0, 1), "v{version}");
            assert_eq!(
                tests::batch::read_batches(&part.records).len(),
                1,
                "v{version}"
            );
            let response: FetchResponse = answer.read();
            assert_eq!(
                response.responses[0].topic_id,
                if version >= 13 { asker.id } else { Uuid::nil() }
            );
        }
    });
}

#[test]
fn list_offsets() {
    each_version(ApiKey::ListOffsets, |asker, version| {
        let topic = asker.topic.clone();
        let entry = |timestamp| ListOffsetsPartition {
            current_leader_epoch: -1,
            timestamp,
            ..ListOffsetsPartition::default()
        };
        for (timestamp, offset) in [(-1, 1), (-2, 0), (0, 0)] {
            let request = ListOffsetsRequest {
                replica_id: -1,
                topics: vec![ListOffsetsTopic {
                    name: topic.as_str().into(),
                    partitions: vec![entry(timestamp)],
                    ..ListOffsetsTopic::default()
                }],
                ..ListOffsetsRequest::default()
            };
            let answer = asker.call(&request, version);
            let response: ListOffsetsResponse = answer.read();
            let part = &response.topics[0].partitions[0];
            assert_eq!(
                (part.error_code, part.offset),
                (0, offset),
                "v{version} for {timestamp}"
            );
        }
    });
}

#[test]
fn metadata() {
    each_version(ApiKey::Metadata, |asker, version| {
        let topic = asker.topic.clone();
        let request = MetadataRequest {
            topics: Some(vec![MetadataRequestTopic {
                name: Some(topic.as_str().into()),
                ..MetadataRequestTopic::default()
            }]),
            ..MetadataRequest::default()
        };
        for answer in [
            Some(asker.call(&request, version)),
            asker.with_unknown_tag(&request, version),
        ]
        .into_iter()
        .flatten()
        {
            let response: MetadataResponse = answer.read();
            assert_eq!(response.brokers.len(), 1, "v{version}");
            let found = &response.topics[0];
            assert_eq!(
                (found.error_code, found.partitions.len()),
                (0, 1),
                "v{version}"
            );
            assert_eq!(found.name.as_deref(), Some(topic.as_str()), "v{version}");
            assert_eq!(
                found.topic_id,
                if version >= 10 { asker.id } else { Uuid::nil() },
                "v{version}"
            );
            assert_eq!(
                found.partitions[0].leader_id, response.brokers[0].node_id,
                "v{version}"
            );
        }
    });
}

#[test]
fn api_versions_itself() {
    each_version(ApiKey::ApiVersions, |asker, version| {
        let mut request = api_versions();
        if version < 3 {
            request = ApiVersionsRequest::default();
        }
        let answer = asker.call(&request, version);
        let response: ApiVersionsResponse = answer.read();
        assert_eq!(response.error_code, 0, "v{version}");
        assert!(response.api_keys.len() >= CHECKED.len(), "v{version}");
    });
}

#[test]
fn delete_records() {
    each_version(ApiKey::DeleteRecords, |asker, version| {
        let topic = asker.topic.clone();
        asker
            .connection
            .produce(&topic, 0, &NewBatch::of(&["more"]).bytes());
        let to = i64::from(version) + 1;
        let deleted = crate::retention::delete_records(
            &mut asker.connection,
            version,
            &topic,
            &[(0, to), (7, 0)],
        );
        let unknown = (-1, ErrorCode::UnknownTopicOrPartition);
        assert_eq!(deleted, [(to, ErrorCode::None), unknown], "v{version}");
    });
}

#[test]
fn create_grow_and_delete_topics() {
    let name = fresh_topic("made");
    each_version(ApiKey::CreateTopics, |asker, version| {
        let topic = format!("{name}-v{version}");
        let request = CreateTopicsRequest {
            topics: vec![CreatableTopic {
                name: topic.as_str().into(),
                num_partitions: 1,
                replication_factor: 1,
                ..CreatableTopic::default()
            }],
            timeout_ms: 30_000,
            ..CreateTopicsRequest::default()
        };
        let answer = asker.call(&request, version);
        let response: CreateTopicsResponse = answer.read();
        assert_eq!(response.topics[0].error_code, 0, "v{version}");
    });
    each_version(ApiKey::CreatePartitions, |asker, version| {
        let topic = format!("{name}-v2");
        let request = CreatePartitionsRequest {
            topics: vec![CreatePartitionsTopic {
                name: topic.as_str().into(),
                count: 2 + i32::from(version),
                assignments: None,
                ..CreatePartitionsTopic::default()
            }],
            timeout_ms: 30_000,
            ..CreatePartitionsRequest::default()
        };
        let answer = asker.call(&request, version);
        let response: CreatePartitionsResponse = answer.read();
        assert_eq!(response.results[0].error_code, 0, "v{version}");
    });
    each_version(ApiKey::DeleteTopics, |asker, version| {
        // one of each version of CreateTopics, which has more of them
        let topic = format!("{name}-v{}", version + 1);
        let mut request = DeleteTopicsRequest {
            timeout_ms: 30_000,
            ..DeleteTopicsRequest::default()
        };
        if version >= 6 {
            request.topics = vec![DeleteTopicState {
                name: Some(topic.as_str().into()),
                ..DeleteTopicState::default()
            }];
        } else {
            request.topic_names = vec![topic.as_str().into()];
        }
        let answer = asker.call(&request, version);
        let response: DeleteTopicsResponse = answer.read();
        assert_eq!(response.responses[0].error_code, 0, "v{version}: {topic}");
    });
}

#[test]
fn init_producer_id() {
    each_version(ApiKey::InitProducerId, |asker, version| {
        let request = InitProducerIdRequest {
            transactional_id: None,
            transaction_timeout_ms: 60_000,
            ..InitProducerIdRequest::default()
        };
        for answer in [
            Some(asker.call(&request, version)),
            asker.with_unknown_tag(&request, version),
        ]
        .into_iter()
        .flatten()
        {
            let response: InitProducerIdResponse = answer.read();
            assert_eq!(
                (response.error_code, response.producer_epoch),
                (0, 0),
                "v{version}"
            );
            assert!(response.producer_id >= 0, "v{version}");
        }
    });
}

#[test]
fn describe_configs() {
    each_version(ApiKey::DescribeConfigs, |asker, version| {
        let topic = asker.topic.clone();
        let request = DescribeConfigsRequest {
            resources: vec![DescribeConfigsResource {
                resource_type: 2, // a topic
                resource_name: topic.as_str().into(),
                configuration_keys: None,
                ..DescribeConfigsResource::default()
            }],
            include_synonyms: version >= 1,
            include_documentation: version >= 3,
            ..DescribeConfigsRequest::default()
        };
        let answer = asker.call(&request, version);
        let response: DescribeConfigsResponse = answer.read();
        let result = &response.results[0];
        assert_eq!(
            (result.error_code, result.resource_name.as_ref()),
            (0, topic.as_str()),
            "v{version}"
        );
        let setting = result
            .configs
            .iter()
            .find(|c| c.name == "max.message.bytes");
        assert!(setting.is_some_and(|s| s.value.is_some()), "v{version}");
    });
}
