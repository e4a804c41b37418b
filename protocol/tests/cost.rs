//! What codecs may cost: allocations of decoding and encoding, and lines of generated code.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

use allocation_counter::measure;
use protocol::Message;
use protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use protocol::messages::{MetadataResponse, ProduceRequest};
use protocol::wire::{Reader, Records, Writer};

/// Allocations of decoding the message, and of encoding it into a buffer with room for it.
fn allocations<'a, M: Message<'a>>(message: &M, version: i16) -> (u64, u64) {
    let mut writer = Writer::new();
    message.encode(&mut writer, version).unwrap();
    let bytes = writer.finish_contiguous().to_vec();
    let mut writer = Writer::with_capacity(bytes.len());
    let encode = measure(|| message.encode(&mut writer, version).unwrap());
    assert_eq!(writer.size(), bytes.len());
    // A test ends soon enough.
    let bytes: &'static [u8] = Box::leak(bytes.into_boxed_slice());
    let decode = measure(|| {
        M::decode(&mut Reader::new(bytes), version).unwrap();
    });
    (decode.count_total, encode.count_total)
}

/// A response with so many topics of twelve partitions, `replicas` for each, and names of `length` bytes.
fn metadata(topics: usize, replicas: &[i32], length: usize) -> MetadataResponse<'static> {
    let partition = |partition_index| MetadataResponsePartition {
        partition_index,
        replica_nodes: replicas.iter().copied().collect(),
        isr_nodes: replicas.iter().copied().collect(),
        ..MetadataResponsePartition::default()
    };
    let topic = |_| MetadataResponseTopic {
        name: Some("t".repeat(length).into()),
        partitions: (0..12).map(partition).collect(),
        ..MetadataResponseTopic::default()
    };
    let broker = MetadataResponseBroker {
        host: "h".repeat(length).into(),
        rack: Some("r".repeat(length).into()),
        ..MetadataResponseBroker::default()
    };
    MetadataResponse {
        brokers: vec![broker],
        cluster_id: Some("c".repeat(length).into()),
        topics: (0..topics).map(topic).collect(),
        ..MetadataResponse::default()
    }
}

#[test]
fn strings_and_integers_cost_no_allocation() {
    for version in [5, 12] {
        for (topics, replicas, length) in [(1, 1, 1), (1, 500, 1), (1, 1, 500), (100, 20, 20)] {
            let response = metadata(topics, &vec![7; replicas], length);
            // The brokers, the topics, and the partitions of each topic: arrays of structs, nothing else.
            let arrays = 2 + topics as u64;
            assert_eq!(
                allocations(&response, version),
                (arrays, 0),
                "version {version}, {topics} topics, {replicas} replicas, names of {length} bytes"
            );
        }
    }
}

#[test]
fn records_cost_no_allocation() {
    for bytes in [0, 1, 1_000, 100_000] {
        let value = vec![7; bytes];
        let partition = |index| PartitionProduceData {
            index,
            records: Records::from(value.as_slice()),
            ..PartitionProduceData::default()
        };
        let request = ProduceRequest {
            topic_data: vec![TopicProduceData {
                partition_data: (0..10).map(partition).collect(),
                ..TopicProduceData::default()
            }],
            ..ProduceRequest::default()
        };
        assert_eq!(allocations(&request, 9), (2, 0), "{bytes} bytes");
    }
}

#[test]
fn the_generated_code_stays_small() {
    let files = std::fs::read_dir(env!("OUT_DIR")).unwrap();
    let text = |path| std::fs::read_to_string(path).unwrap();
    let lines = files.map(|file| text(file.unwrap().path()).lines().count());
    let lines: usize = lines.sum();
    assert!((10_000..=45_000).contains(&lines), "{lines} lines");
}
