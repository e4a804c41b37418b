//! The messages that are measured, and what is measured of them: decoding and encoding, here and by the
//! `kafka-protocol` crate, of the same bytes. How it is measured is up to the benches.
//!
//! Decoding reads a body into fresh structs and drops them. Encoding builds nothing: it writes an answer that exists
//! into a buffer that is used again.

use std::borrow::Cow;
use std::fmt::Debug;
use std::hint::black_box;

use bytes::{Bytes, BytesMut};
use kafka_protocol::protocol::{Decodable, Encodable};
use protocol::Message;
use protocol::messages::api_versions_response::ApiVersion;
use protocol::messages::fetch_response::{FetchableTopicResponse, PartitionData};
use protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use protocol::messages::{
    ApiVersionsRequest, ApiVersionsResponse, FetchResponse, MetadataResponse, OffsetCommitRequest,
    ProduceRequest,
};
use protocol::wire::{Reader, Records, Writer};

/// One message.
pub(crate) struct Case {
    /// Its name, version and size.
    pub(crate) name: String,
    pub(crate) works: Vec<Work>,
}

/// One thing to be measured.
pub(crate) struct Work {
    /// `decode` or `encode`.
    pub(crate) what: &'static str,
    /// `pg_kafka` or `kafka-protocol`.
    pub(crate) by: &'static str,
    /// Does it once.
    pub(crate) run: Box<dyn FnMut()>,
}

/// What [`Work::by`] says of the codecs here, and of those they are compared with.
pub(crate) const OURS: &str = "pg_kafka";
pub(crate) const THEIRS: &str = "kafka-protocol";

/// `M` decodes and encodes here, `T` there. Both must agree on the bytes.
fn case<M, T>(name: &'static str, version: i16, message: M) -> Case
where
    M: Message<'static> + 'static,
    T: Decodable + Encodable + Debug + 'static,
{
    let body = body(&message, version);
    let theirs = T::decode(&mut body.clone(), version).expect("they decode it as well");
    let mut again = BytesMut::new();
    theirs
        .encode(&mut again, version)
        .expect("what was decoded");
    assert_eq!(again.freeze(), body, "{name}: they encode other bytes");

    let bytes = body.len();
    let (mut writer, mut buffer) = (Writer::with_capacity(bytes), BytesMut::with_capacity(bytes));
    let ours_body: &'static [u8] = Box::leak(body.to_vec().into_boxed_slice());
    let work = |what, by, run| Work { what, by, run };
    let works = vec![
        work(
            "decode",
            OURS,
            Box::new(move || {
                let mut reader = Reader::new(black_box(ours_body));
                drop(black_box(
                    M::decode(&mut reader, version).expect("the bytes were just encoded"),
                ));
            }) as Box<dyn FnMut()>,
        ),
        work(
            "decode",
            THEIRS,
            Box::new(move || {
                let mut bytes = black_box(&body).clone();
                drop(black_box(
                    T::decode(&mut bytes, version).expect("it was decoded before"),
                ));
            }),
        ),
        work(
            "encode",
            OURS,
            Box::new(move || {
                writer.clear();
                let written = black_box(&message).encode(&mut writer, version);
                written.expect("the message was encoded before");
                black_box(writer.size());
            }),
        ),
        work(
            "encode",
            THEIRS,
            Box::new(move || {
                buffer.clear();
                let written = black_box(&theirs).encode(&mut buffer, version);
                written.expect("the message was encoded before");
                black_box(buffer.len());
            }),
        ),
    ];
    let name = format!("{name} v{version}, {bytes} bytes");
    Case { name, works }
}

fn body<'a, M: Message<'a>>(message: &M, version: i16) -> Bytes {
    let mut writer = Writer::new();
    let written = message.encode(&mut writer, version);
    written.expect("the message fits its version");
    writer.finish_contiguous()
}

/// Topics for ever: a bench runs once.
pub(crate) fn names(count: usize) -> &'static [String] {
    let names = (0..count).map(|index| format!("topic-{index:05}"));
    Vec::leak(names.collect())
}

fn produce(names: &[String], records: &Bytes) -> ProduceRequest<'static> {
    let partition_data = |index| PartitionProduceData {
        index,
        records: Records::from(records.clone()),
        ..PartitionProduceData::default()
    };
    let topic = |name: &String| TopicProduceData {
        name: Cow::Owned(name.clone()),
        partition_data: (0..10).map(partition_data).collect(),
        ..TopicProduceData::default()
    };
    ProduceRequest {
        acks: -1,
        timeout_ms: 30_000,
        topic_data: names.iter().map(topic).collect(),
        ..ProduceRequest::default()
    }
}

fn fetch(names: &[String], records: &Bytes) -> FetchResponse<'static> {
    let partition = |index| PartitionData {
        partition_index: index,
        high_watermark: 1_000,
        last_stable_offset: 1_000,
        log_start_offset: 0,
        records: Records::from(records.clone()),
        ..PartitionData::default()
    };
    let topic = |name: &String| FetchableTopicResponse {
        topic: Cow::Owned(name.clone()),
        partitions: (0..10).map(partition).collect(),
        ..FetchableTopicResponse::default()
    };
    FetchResponse {
        responses: names.iter().map(topic).collect(),
        ..FetchResponse::default()
    }
}

/// As a handler builds it: names and node ids are borrowed from the broker's state.
pub(crate) fn metadata<'a>(
    names: &'a [String],
    nodes: &'a [i32],
    partitions: i32,
) -> MetadataResponse<'a> {
    let partition = |partition_index| MetadataResponsePartition {
        partition_index,
        leader_id: 1,
        leader_epoch: 5,
        replica_nodes: nodes.into(),
        isr_nodes: nodes.into(),
        ..MetadataResponsePartition::default()
    };
    let topic = |name: &'a String| MetadataResponseTopic {
        name: Some(name.into()),
        topic_id: uuid::Uuid::from_u128(7),
        partitions: (0..partitions).map(partition).collect(),
        ..MetadataResponseTopic::default()
    };
    let broker = |&node_id| MetadataResponseBroker {
        node_id,
        host: "broker.example.org".into(),
        port: 9092,
        ..MetadataResponseBroker::default()
    };
    MetadataResponse {
        brokers: nodes.iter().map(broker).collect(),
        cluster_id: Some("cluster".into()),
        controller_id: 1,
        topics: names.iter().map(topic).collect(),
        ..MetadataResponse::default()
    }
}

fn offset_commit(names: &[String]) -> OffsetCommitRequest<'_> {
    let partition = |partition_index| OffsetCommitRequestPartition {
        partition_index,
        committed_offset: 123_456,
        committed_metadata: Some("".into()),
        ..OffsetCommitRequestPartition::default()
    };
    let topic = |name| OffsetCommitRequestTopic {
        name: Cow::Borrowed(name),
        partitions: (0..10).map(partition).collect(),
        ..OffsetCommitRequestTopic::default()
    };
    OffsetCommitRequest {
        group_id: "group".into(),
        generation_id_or_member_epoch: 3,
        member_id: "consumer-1-0b0f5a0e".into(),
        topics: names.iter().map(String::as_str).map(topic).collect(),
        ..OffsetCommitRequest::default()
    }
}

fn api_versions() -> ApiVersionsResponse<'static> {
    let api_key = |api_key| ApiVersion {
        api_key,
        min_version: 0,
        max_version: 9,
        ..ApiVersion::default()
    };
    ApiVersionsResponse {
        api_keys: (0..60).map(api_key).collect(),
        ..ApiVersionsResponse::default()
    }
}

/// Every case.
pub(crate) fn all() -> Vec<Case> {
    use kafka_protocol::messages as theirs;
    let ten = names(10);
    let kilobyte = Bytes::from(vec![7; 1024]);
    let large = Bytes::from(vec![7; 16 * 1024]);
    let client = ApiVersionsRequest {
        client_software_name: "apache-kafka-java".into(),
        client_software_version: "4.4.0".into(),
        ..ApiVersionsRequest::default()
    };
    vec![
        case::<_, theirs::ProduceRequest>("produce request", 9, produce(ten, &kilobyte)),
        case::<_, theirs::FetchResponse>("fetch response", 12, fetch(ten, &kilobyte)),
        case::<_, theirs::FetchResponse>("fetch response, 16 KiB each", 12, fetch(ten, &large)),
        case::<_, theirs::MetadataResponse>(
            "metadata response",
            12,
            metadata(names(100), &[1, 2, 3], 12),
        ),
        case::<_, theirs::OffsetCommitRequest>("offset commit request", 8, offset_commit(ten)),
        case::<_, theirs::ApiVersionsRequest>("api versions request", 3, client),
        case::<_, theirs::ApiVersionsResponse>("api versions response", 3, api_versions()),
    ]
}
