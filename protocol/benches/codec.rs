//! Decoding and encoding of the messages that matter for throughput and for the size of a cluster's metadata.
//!
//! Decoding reads a body into fresh structs and drops them. Encoding builds nothing: it writes an answer that exists
//! into a buffer that is used again. `metadata response, built` adds the building, from borrowed state.

use std::borrow::Cow;
use std::hint::black_box;

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
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

/// The value that comes out of the bytes of `message`, borrowed for ever: a bench runs once.
fn measure<'a, M: Message<'a>>(criterion: &mut Criterion, name: &str, version: i16, message: &M) {
    let bytes = body(message, version);
    let mut group = criterion.benchmark_group(format!("{name} v{version}, {} bytes", bytes.len()));
    group.throughput(Throughput::Bytes(bytes.len() as u64));
    let bytes: &'static [u8] = Box::leak(bytes.into_boxed_slice());
    group.bench_function("decode", |bencher| {
        bencher.iter(|| {
            let mut reader = Reader::new(black_box(bytes));
            M::decode(&mut reader, version).expect("the bytes were just encoded")
        });
    });
    let mut writer = Writer::with_capacity(bytes.len());
    group.bench_function("encode", |bencher| {
        bencher.iter(|| {
            writer.clear();
            let written = black_box(message).encode(&mut writer, version);
            written.expect("the message was encoded before");
            writer.size()
        });
    });
    group.finish();
}

fn body<'a, M: Message<'a>>(message: &M, version: i16) -> Vec<u8> {
    let mut writer = Writer::new();
    let written = message.encode(&mut writer, version);
    written.expect("the message fits its version");
    writer.finish_contiguous().to_vec()
}

fn names(count: usize) -> Vec<String> {
    (0..count)
        .map(|index| format!("topic-{index:05}"))
        .collect()
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
fn metadata<'a>(names: &'a [String], nodes: &'a [i32], partitions: i32) -> MetadataResponse<'a> {
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

fn codec(criterion: &mut Criterion) {
    let ten = names(10);
    let hundred = names(100);
    let kilobyte = Bytes::from(vec![7; 1024]);
    let large = Bytes::from(vec![7; 16 * 1024]);
    measure(criterion, "produce request", 9, &produce(&ten, &kilobyte));
    measure(criterion, "fetch response", 12, &fetch(&ten, &kilobyte));
    measure(
        criterion,
        "fetch response, shared records",
        12,
        &fetch(&ten, &large),
    );
    let nodes = [1, 2, 3];
    measure(
        criterion,
        "metadata response",
        12,
        &metadata(&hundred, &nodes, 12),
    );
    measure(criterion, "offset commit request", 8, &offset_commit(&ten));
    let request = ApiVersionsRequest {
        client_software_name: "apache-kafka-java".into(),
        client_software_version: "4.4.0".into(),
        ..ApiVersionsRequest::default()
    };
    measure(criterion, "api versions request", 3, &request);
    measure(criterion, "api versions response", 3, &api_versions());

    let mut writer = Writer::new();
    criterion.bench_function("metadata response, built and encoded", |bencher| {
        bencher.iter(|| {
            writer.clear();
            let response = metadata(black_box(&hundred), &nodes, 12);
            let written = response.encode(&mut writer, 12);
            written.expect("the message fits its version");
            writer.size()
        });
    });
}

criterion_group!(benches, codec);
criterion_main!(benches);
