//! A raw client: sends any request in any version, or any bytes, and gives the exact answer.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use protocol::messages::create_topics_request::CreatableTopic;
use protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use protocol::messages::{
    CreateTopicsRequest, CreateTopicsResponse, FetchRequest, FetchResponse, InitProducerIdRequest,
    InitProducerIdResponse, ListOffsetsRequest, ListOffsetsResponse, ProduceRequest,
    ProduceResponse, RequestHeader, ResponseHeader,
};
use protocol::wire::{Reader, Records, Writer};
use protocol::{ApiKey, ErrorCode, Message, Request, Response};
use uuid::Uuid;

use crate::Broker;

/// How long an answer may take.
const LIMIT: Duration = Duration::from_secs(120);

/// The version the short ways below speak, the newest that names topics.
pub const PRODUCE: i16 = 12;
pub const FETCH: i16 = 12;
pub const LIST_OFFSETS: i16 = 10;

/// A connection to a broker.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    next_correlation_id: i32,
}

/// The answer to one request: its bytes after the header.
#[derive(Debug)]
pub struct Answer {
    pub correlation_id: i32,
    version: i16,
    body: Vec<u8>,
}

impl Answer {
    /// The bytes after the header.
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// The answer as a message.
    ///
    /// # Panics
    /// When it can't be decoded or has bytes left over.
    pub fn read<'a, T: Response<'a>>(&'a self) -> T {
        let mut reader = Reader::new(&self.body);
        let mut message = T::default();
        let read = message.read(&mut reader, self.version);
        read.unwrap_or_else(|e| panic!("{} v{}: {e}", T::NAME, self.version));
        let rest = reader.finish();
        rest.unwrap_or_else(|e| panic!("{} v{}: {e}", T::NAME, self.version));
        message
    }
}

/// The bytes of one request, header and body, without the size before it.
pub fn request_bytes<'a, R: Request<'a>>(
    request: &R,
    version: i16,
    correlation_id: i32,
) -> Vec<u8> {
    let mut writer = Writer::new();
    let written = request.write(&mut writer, version);
    written.unwrap_or_else(|e| panic!("{} v{version}: {e}", R::NAME));
    let mut bytes = header_bytes(R::API_KEY, version, correlation_id);
    bytes.extend_from_slice(&writer.finish_contiguous());
    bytes
}

/// The header of a request.
pub fn header_bytes(key: ApiKey, version: i16, correlation_id: i32) -> Vec<u8> {
    let mut writer = Writer::new();
    let header = RequestHeader {
        request_api_key: key as i16,
        request_api_version: version,
        correlation_id,
        client_id: Some("raw".into()),
        ..RequestHeader::default()
    };
    header
        .write(&mut writer, key.request_header_version(version))
        .expect("a request header");
    writer.finish_contiguous().to_vec()
}

/// A frame: the size, then the bytes.
pub fn frame(bytes: &[u8]) -> Vec<u8> {
    let size = i32::try_from(bytes.len()).expect("a small frame");
    [&size.to_be_bytes(), bytes].concat()
}

/// NOT_LEADER_OR_FOLLOWER
const NOT_LEADER: i16 = 6;

impl Connection {
    /// Connects.
    ///
    /// # Panics
    /// When the broker does not accept.
    pub fn open(broker: &Broker) -> Self {
        Self::to_port(broker.port())
    }

    /// Connects to whatever listens on this port of loopback.
    ///
    /// # Panics
    /// When nothing accepts.
    pub fn to_port(port: u16) -> Self {
        Self::try_to_port(port, LIMIT).expect("a connection")
    }

    /// The same, if there is somebody; answers may take so long.
    pub fn try_to_port(port: u16, limit: Duration) -> std::io::Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(limit))?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            next_correlation_id: 1,
        })
    }

    /// Asks over a connection of its own. An error where the broker does not accept or closes it, as one that has just been
    /// taken for dead does.
    pub fn ask<'a, R: Request<'a>>(
        broker: &Broker,
        request: &R,
        version: i16,
    ) -> std::io::Result<Answer> {
        Self::try_to_port(broker.port(), LIMIT)?.try_call(request, version)
    }

    /// The socket itself.
    pub fn stream(&mut self) -> &mut TcpStream {
        &mut self.stream
    }

    /// Sends a request and returns its correlation id.
    pub fn send<'a, R: Request<'a>>(&mut self, request: &R, version: i16) -> i32 {
        self.try_send(request, version).expect("the broker reads")
    }

    /// Sends bytes as they are.
    pub fn send_bytes(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the broker reads");
    }

    /// The next frame, without its size.
    pub fn receive_frame(&mut self) -> Vec<u8> {
        self.try_frame().expect("an answer")
    }

    fn try_frame(&mut self) -> std::io::Result<Vec<u8>> {
        let mut size = [0; 4];
        self.stream.read_exact(&mut size)?;
        let size = usize::try_from(i32::from_be_bytes(size)).expect("a size");
        let mut frame = vec![0; size];
        self.stream.read_exact(&mut frame)?;
        Ok(frame)
    }

    /// The next answer, which must be one to a request of this kind.
    pub fn receive(&mut self, key: ApiKey, version: i16) -> Answer {
        Self::answer(&self.receive_frame(), key, version)
    }

    fn answer(frame: &[u8], key: ApiKey, version: i16) -> Answer {
        let mut reader = Reader::new(frame);
        let mut header = ResponseHeader::default();
        let read = header.read(&mut reader, key.response_header_version(version));
        read.expect("a response header");
        let body = frame[reader.offset()..].to_vec();
        Answer {
            correlation_id: header.correlation_id,
            version,
            body,
        }
    }

    /// Sends a request and waits for its answer.
    pub fn call<'a, R: Request<'a>>(&mut self, request: &R, version: i16) -> Answer {
        let id = self.send(request, version);
        let answer = self.receive(R::API_KEY, version);
        assert_eq!(answer.correlation_id, id, "the answer's correlation id");
        answer
    }

    /// Sends a request to a broker that may have gone away, and returns its correlation id.
    pub fn try_send<'a, R: Request<'a>>(
        &mut self,
        request: &R,
        version: i16,
    ) -> std::io::Result<i32> {
        let id = self.next_correlation_id;
        self.next_correlation_id += 1;
        let bytes = request_bytes(request, version, id);
        self.stream.write_all(&frame(&bytes))?;
        Ok(id)
    }

    /// Sends a request and waits for its answer, from a broker that may go away in the middle of it; then the connection is of no further use.
    pub fn try_call<'a, R: Request<'a>>(
        &mut self,
        request: &R,
        version: i16,
    ) -> std::io::Result<Answer> {
        let id = self.try_send(request, version)?;
        let answer = Self::answer(&self.try_frame()?, R::API_KEY, version);
        assert_eq!(answer.correlation_id, id, "the answer's correlation id");
        Ok(answer)
    }

    /// Creates a topic and waits until its partitions take records.
    pub fn create_topic(&mut self, name: &str, partitions: i32) -> Uuid {
        let request = CreateTopicsRequest {
            topics: vec![CreatableTopic {
                name: name.into(),
                num_partitions: partitions,
                replication_factor: 1,
                ..CreatableTopic::default()
            }],
            timeout_ms: 60_000,
            ..CreateTopicsRequest::default()
        };
        let answer = self.call(&request, 7);
        let response: CreateTopicsResponse = answer.read();
        assert_eq!(response.topics[0].error_code, 0, "{:?}", response.topics[0]);
        for partition in 0..partitions {
            crate::wait_for("the new topic", LIMIT, || {
                // Of a cluster, another broker may lead it.
                let error = self.list_offset(name, partition, -1).0;
                matches!(error, 0 | NOT_LEADER).then_some(())
            });
        }
        response.topics[0].topic_id
    }

    /// The same at a broker without peers, which leads every partition of it when this returns.
    pub fn create_led_topic(&mut self, name: &str, partitions: i32) {
        self.create_topic(name, partitions);
        for partition in 0..partitions {
            crate::wait_for("a led partition", LIMIT, || {
                (self.list_offset(name, partition, -1).0 == 0).then_some(())
            });
        }
    }

    /// Produces to one partition with acks=all.
    pub fn produce(&mut self, topic: &str, partition: i32, records: &[u8]) -> Produced {
        self.produce_many(topic, &[(partition, records)])
            .swap_remove(0)
    }

    /// Produces to several partitions of a topic in one request with acks=all.
    pub fn produce_many(&mut self, topic: &str, parts: &[(i32, &[u8])]) -> Vec<Produced> {
        let answer = self.call(&produce_request(topic, parts, -1), PRODUCE);
        produced(&answer)
    }

    /// Fetches one partition, waiting for nothing.
    pub fn fetch(&mut self, topic: &str, partition: i32, offset: i64) -> Fetched {
        let request = fetch_request(&[(topic, partition, offset, 10_000_000)]);
        let answer = self.call(&request, FETCH);
        fetched(&answer).swap_remove(0)
    }

    /// Error code, offset and timestamp for a timestamp, or -1 for the end, -2 for the beginning, -3 for the largest.
    pub fn list_offset(&mut self, topic: &str, partition: i32, timestamp: i64) -> (i16, i64, i64) {
        let request = ListOffsetsRequest {
            replica_id: -1,
            topics: vec![ListOffsetsTopic {
                name: topic.into(),
                partitions: vec![ListOffsetsPartition {
                    partition_index: partition,
                    current_leader_epoch: -1,
                    timestamp,
                    ..ListOffsetsPartition::default()
                }],
                ..ListOffsetsTopic::default()
            }],
            ..ListOffsetsRequest::default()
        };
        let answer = self.call(&request, LIST_OFFSETS);
        let response: ListOffsetsResponse = answer.read();
        let found = &response.topics[0].partitions[0];
        (found.error_code, found.offset, found.timestamp)
    }

    /// A new producer id with its epoch.
    pub fn init_producer_id(&mut self) -> (i64, i16) {
        let request = InitProducerIdRequest {
            transactional_id: None,
            transaction_timeout_ms: 60_000,
            ..InitProducerIdRequest::default()
        };
        crate::wait_for("a producer id", LIMIT, || {
            let answer = self.call(&request, 5);
            let response: InitProducerIdResponse = answer.read();
            // a broker that has just started may still be loading its state
            let loading = ErrorCode::CoordinatorLoadInProgress as i16;
            assert!([0, loading].contains(&response.error_code), "{response:?}");
            (response.error_code == 0).then_some((response.producer_id, response.producer_epoch))
        })
    }
}

/// A Produce request for partitions of one topic.
pub fn produce_request<'a>(
    topic: &'a str,
    parts: &[(i32, &'a [u8])],
    acks: i16,
) -> ProduceRequest<'a> {
    let part = |(index, records): &(i32, &'a [u8])| PartitionProduceData {
        index: *index,
        records: Records::Wire(records),
        ..PartitionProduceData::default()
    };
    ProduceRequest {
        transactional_id: None,
        acks,
        timeout_ms: 30_000,
        topic_data: vec![TopicProduceData {
            name: topic.into(),
            partition_data: parts.iter().map(part).collect(),
            ..TopicProduceData::default()
        }],
        ..ProduceRequest::default()
    }
}

/// What a Produce answer says of one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Produced {
    pub partition: i32,
    pub error: i16,
    pub base_offset: i64,
}

/// All partitions of a Produce answer, sorted.
pub fn produced(answer: &Answer) -> Vec<Produced> {
    let response: ProduceResponse = answer.read();
    let topics = response.responses.iter();
    let parts = topics
        .flat_map(|t| &t.partition_responses)
        .map(|p| Produced {
            partition: p.index,
            error: p.error_code,
            base_offset: p.base_offset,
        });
    parts.collect()
}

/// A Fetch request, of (topic, partition, offset, most bytes), that does not wait. Topics that stand side by side are
/// one entry.
pub fn fetch_request<'a>(parts: &[(&'a str, i32, i64, i32)]) -> FetchRequest<'a> {
    let mut topics: Vec<FetchTopic<'a>> = Vec::new();
    for &(topic, partition, fetch_offset, partition_max_bytes) in parts {
        if topics.last().is_none_or(|t| t.topic != topic) {
            topics.push(FetchTopic {
                topic: topic.into(),
                ..FetchTopic::default()
            });
        }
        let entry = FetchPartition {
            partition,
            current_leader_epoch: -1,
            fetch_offset,
            partition_max_bytes,
            ..FetchPartition::default()
        };
        if let Some(last) = topics.last_mut() {
            last.partitions.push(entry);
        }
    }
    FetchRequest {
        replica_id: -1,
        max_wait_ms: 0,
        min_bytes: 1,
        max_bytes: 100_000_000,
        session_epoch: -1,
        topics,
        ..FetchRequest::default()
    }
}

/// What a Fetch answer says of one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    pub partition: i32,
    pub error: i16,
    pub high_watermark: i64,
    pub last_stable_offset: i64,
    pub log_start_offset: i64,
    /// What readers of committed records are to skip: first offset, producer id.
    pub aborted: Vec<(i64, i64)>,
    pub records: Vec<u8>,
}

/// All partitions of a Fetch answer, in its order.
pub fn fetched(answer: &Answer) -> Vec<Fetched> {
    let response: FetchResponse = answer.read();
    assert_eq!(response.error_code, 0, "the answer as a whole");
    let topics = response.responses.iter();
    let parts = topics.flat_map(|t| &t.partitions).map(|p| Fetched {
        partition: p.partition_index,
        error: p.error_code,
        high_watermark: p.high_watermark,
        last_stable_offset: p.last_stable_offset,
        log_start_offset: p.log_start_offset,
        aborted: {
            let aborted = p.aborted_transactions.iter().flatten();
            aborted.map(|a| (a.first_offset, a.producer_id)).collect()
        },
        records: match &p.records {
            Records::Null => Vec::new(),
            Records::Wire(bytes) => bytes.to_vec(),
            Records::Shared(pieces) => pieces.concat(),
        },
    });
    parts.collect()
}
