//! A topic of 10,000 partitions: made, described, deleted and loaded at a start without a long wait.

use std::time::{Duration, Instant};

use protocol::messages::create_topics_request::CreatableTopic;
use protocol::messages::delete_topics_request::DeleteTopicState;
use protocol::messages::describe_topic_partitions_request::Cursor;
use protocol::messages::{
    CreateTopicsRequest, CreateTopicsResponse, DeleteTopicsRequest, DeleteTopicsResponse,
    DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse, MetadataRequest,
    MetadataResponse,
};
use tests::Broker;
use tests::batch::NewBatch;
use tests::postgres::Postgres;
use tests::wire::Connection;

/// How long each of creating, describing and deleting may take on any machine, busy ones and unoptimised builds included. The
/// aim is 10 s; how long it took is printed.
const LIMIT: Duration = Duration::from_secs(120);
/// How long a broker may take to start on them, likewise. The aim is 3 s.
const START_LIMIT: Duration = Duration::from_secs(60);

fn timed<T>(what: &str, limit: Duration, work: impl FnOnce() -> T) -> T {
    let started = Instant::now();
    let result = work();
    let took = started.elapsed();
    eprintln!("{what}: {took:?}");
    assert!(took < limit, "{what} took {took:?}");
    result
}

fn create(c: &mut Connection, names: &[String], partitions: i32) {
    let topics = names.iter().map(|name| CreatableTopic {
        name: name.as_str().into(),
        num_partitions: partitions,
        replication_factor: -1,
        ..CreatableTopic::default()
    });
    let request = CreateTopicsRequest {
        topics: topics.collect(),
        timeout_ms: 120_000,
        ..CreateTopicsRequest::default()
    };
    let answer = c.call(&request, 7);
    let response: CreateTopicsResponse<'_> = answer.read();
    let failed = response.topics.iter().find(|topic| topic.error_code != 0);
    assert_eq!(failed, None);
}

fn delete(c: &mut Connection, names: &[String]) {
    let topics = names.iter().map(|name| DeleteTopicState {
        name: Some(name.as_str().into()),
        ..DeleteTopicState::default()
    });
    let request = DeleteTopicsRequest {
        topics: topics.collect(),
        timeout_ms: 120_000,
        ..DeleteTopicsRequest::default()
    };
    let answer = c.call(&request, 6);
    let response: DeleteTopicsResponse<'_> = answer.read();
    let failed = response
        .responses
        .iter()
        .find(|topic| topic.error_code != 0);
    assert_eq!(failed, None);
}

/// How many partitions Metadata tells of, and how many the pages of DescribeTopicPartitions.
fn described(c: &mut Connection) -> (usize, usize) {
    let request = MetadataRequest {
        topics: None,
        ..MetadataRequest::default()
    };
    let answer = c.call(&request, 13);
    let response: MetadataResponse<'_> = answer.read();
    let in_metadata = response
        .topics
        .iter()
        .map(|topic| topic.partitions.len())
        .sum();
    let (mut in_pages, mut cursor) = (0, None);
    loop {
        let request = DescribeTopicPartitionsRequest {
            cursor: cursor.take(),
            ..DescribeTopicPartitionsRequest::default()
        };
        let answer = c.call(&request, 0);
        let response: DescribeTopicPartitionsResponse<'_> = answer.read();
        let topics = response.topics.iter();
        in_pages += topics.map(|topic| topic.partitions.len()).sum::<usize>();
        match response.next_cursor {
            None => return (in_metadata, in_pages),
            Some(next) => {
                cursor = Some(Cursor {
                    topic_name: next.topic_name.to_string().into(),
                    partition_index: next.partition_index,
                    ..Cursor::default()
                });
            }
        }
    }
}

#[test]
fn one_topic_of_ten_thousand_partitions() {
    lives_through("one topic", vec!["wide".to_owned()], 10_000);
}

#[test]
fn a_thousand_topics_of_ten_partitions() {
    let names = (0..1_000).map(|i| format!("narrow-{i}"));
    lives_through("a thousand topics", names.collect(), 10);
}

fn lives_through(shape: &str, names: Vec<String>, partitions: i32) {
    let postgres = Postgres::start();
    let url = postgres.url();
    let mut broker = Broker::start_with(&["--database-url", &url]);
    let mut c = Connection::open(&broker);
    timed(&format!("creating {shape}"), LIMIT, || {
        create(&mut c, &names, partitions)
    });
    let counts = timed(&format!("describing {shape}"), LIMIT, || described(&mut c));
    assert_eq!(counts, (10_000, 10_000));
    assert_eq!(
        c.produce(&names[0], 9, &NewBatch::of(&["a"]).bytes()).error,
        0
    );
    broker.stop();
    // Connections are accepted before they are served: the first answer tells.
    timed(&format!("starting with {shape}"), START_LIMIT, || {
        broker.start_again();
        Connection::open(&broker).list_offset(&names[0], 9, -1)
    });
    eprintln!("memory with {shape}: {} MiB", broker.resident_bytes() >> 20);
    let mut c = Connection::open(&broker);
    assert_eq!(c.fetch(&names[0], 9, 0).high_watermark, 1);
    timed(&format!("deleting {shape}"), LIMIT, || {
        delete(&mut c, &names)
    });
    assert_eq!(described(&mut c), (0, 0));
}
