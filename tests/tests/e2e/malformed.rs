//! Hostile input: whatever one client sends, the others are served and memory stays within limits.

use std::io::Write;
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use protocol::messages::{ApiVersionsRequest, ApiVersionsResponse, MetadataRequest};
use protocol::{ApiKey, ErrorCode};
use tests::batch::{NewBatch, write_varint};
use tests::broker::read_until_closed;
use tests::wire::{
    Connection, FETCH, PRODUCE, fetch_request, frame, produce_request, produced, request_bytes,
};
use tests::{Broker, fresh_topic};

/// What the broker may grow by while it is being abused, in bytes.
const GROWTH_MAX: u64 = 400 << 20;

/// A broker of its own, another client at work, and the memory before the abuse.
struct Victim {
    broker: Broker,
    other: Connection,
    topic: String,
    written: i64,
    resident_before: u64,
}

impl Victim {
    fn new() -> Self {
        Self::with(&[])
    }

    fn with(args: &[&str]) -> Self {
        let broker = Broker::start_with(args);
        let mut other = Connection::open(&broker);
        let topic = fresh_topic("bystander");
        other.create_topic(&topic, 1);
        let resident_before = broker.resident_bytes();
        Self {
            broker,
            other,
            topic,
            written: 0,
            resident_before,
        }
    }

    /// The other client is served on the connection it had all along, and memory is within bounds.
    fn unharmed(&mut self, after: &str) {
        self.broker.assert_running();
        let batch = NewBatch::of(&["still here"]).bytes();
        let answer = self.other.produce(&self.topic, 0, &batch);
        assert_eq!(
            (answer.error, answer.base_offset),
            (0, self.written),
            "after {after}"
        );
        self.written += 1;
        let grown = self
            .broker
            .resident_bytes()
            .saturating_sub(self.resident_before);
        assert!(grown < GROWTH_MAX, "{} MiB more after {after}", grown >> 20);
    }

    /// Sends bytes on a new connection, which the broker must close without an answer.
    fn is_closed(&mut self, name: &str, bytes: &[u8]) {
        let mut stream =
            TcpStream::connect(("127.0.0.1", self.broker.port())).expect("a connection");
        // A broker that closes early is what is asked for.
        let _ = stream.write_all(bytes);
        let answer = read_until_closed(&mut stream, Duration::from_secs(60));
        assert_eq!(answer.as_deref(), Some(&b""[..]), "{name}");
        self.unharmed(name);
    }
}

/// A request header by hand: key, version, correlation id, client id.
fn head(key: i16, version: i16) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend(key.to_be_bytes());
    bytes.extend(version.to_be_bytes());
    bytes.extend(7_i32.to_be_bytes());
    bytes.extend([0, 3]);
    bytes.extend(b"bad");
    bytes
}

#[test]
fn bad_sizes_keys_and_versions_close_the_connection() {
    let mut victim = Victim::new();
    for size in [-1, i32::MIN, i32::MAX, 200 << 20] {
        victim.is_closed(&format!("size {size}"), &i32::to_be_bytes(size));
    }
    victim.is_closed("size 0", &[0; 4]);
    victim.is_closed("a short header", &frame(&[0, 3, 0]));
    victim.is_closed(
        "another protocol",
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    );
    for (key, version) in [
        (3000, 0),
        (-1, 0),
        (1, 0),
        (1, 99),
        (3, -1),
        (0, 2),
        (0, 99),
        (4, 0),
    ] {
        victim.is_closed(
            &format!("key {key} version {version}"),
            &frame(&head(key, version)),
        );
    }
}

#[test]
fn truncated_bodies_close_the_connection() {
    let mut victim = Victim::new();
    let topic = victim.topic.clone();
    let batch = NewBatch::of(&["cut"]).bytes();
    let produce = request_bytes(&produce_request(&topic, &[(0, &batch)], -1), PRODUCE, 1);
    let fetch = request_bytes(&fetch_request(&[(&topic, 0, 0, 1_000)]), FETCH, 1);
    for (name, whole) in [("Produce", produce), ("Fetch", fetch)] {
        for length in (8..whole.len() - 1).step_by(7) {
            victim.is_closed(
                &format!("{name} cut to {length} bytes"),
                &frame(&whole[..length]),
            );
        }
    }
    assert_eq!(
        victim.other.list_offset(&topic, 0, -1).1,
        victim.written,
        "nothing of them was written"
    );
}

#[test]
fn half_a_frame_and_then_nothing() {
    let mut victim = Victim::new();
    let request = frame(&request_bytes(&MetadataRequest::default(), 9, 1));
    let mut open = Vec::new();
    for _ in 0..100 {
        let mut stream = TcpStream::connect(("127.0.0.1", victim.broker.port())).unwrap();
        stream.write_all(&request[..request.len() / 2]).unwrap();
        open.push(stream);
    }
    victim.unharmed("100 half frames");
    for stream in &mut open {
        stream.shutdown(Shutdown::Write).unwrap();
        assert_eq!(
            read_until_closed(stream, Duration::from_secs(60)).as_deref(),
            Some(&b""[..])
        );
    }
    victim.unharmed("their end");
}

#[test]
fn announced_but_unsent_megabytes_are_not_allocated() {
    let mut victim = Victim::new();
    let mut open = Vec::new();
    for _ in 0..64 {
        let mut stream = TcpStream::connect(("127.0.0.1", victim.broker.port())).unwrap();
        // 64 times 100 MB announced, a few bytes sent
        stream.write_all(&(100_i32 << 20).to_be_bytes()).unwrap();
        stream.write_all(&head(0, PRODUCE)).unwrap();
        open.push(stream);
    }
    victim.unharmed("6.4 GB announced");
}

#[test]
fn lying_lengths_close_the_connection() {
    let mut victim = Victim::new();
    // Metadata v1: an array of two billion topics
    let mut metadata = head(3, 1);
    metadata.extend(i32::MAX.to_be_bytes());
    victim.is_closed("two billion topics", &frame(&metadata));
    // Metadata v1: one topic with a name of 32,767 bytes that are not there
    let mut name = head(3, 1);
    name.extend(1_i32.to_be_bytes());
    name.extend(i16::MAX.to_be_bytes());
    victim.is_closed("a name that is not there", &frame(&name));
    // Metadata v9: a compact array of 2^32-2 topics
    let mut compact = head(3, 9);
    compact.extend([0, 0xff, 0xff, 0xff, 0xff, 0x0f]);
    victim.is_closed("four billion topics", &frame(&compact));
    // Produce v3: records of two gigabytes
    let mut produce = head(0, 3);
    produce.extend((-1_i16).to_be_bytes());
    produce.extend((-1_i16).to_be_bytes());
    produce.extend(1000_i32.to_be_bytes());
    produce.extend([0, 0, 0, 1, 0, 1, b't', 0, 0, 0, 1, 0, 0, 0, 0]);
    produce.extend(i32::MAX.to_be_bytes());
    victim.is_closed("records of two gigabytes", &frame(&produce));
}

#[test]
fn api_versions_above_ours_is_answered_and_the_connection_goes_on() {
    let broker = Broker::shared();
    let mut connection = Connection::open(&broker);
    let request = ApiVersionsRequest {
        client_software_name: "raw".into(),
        client_software_version: "1".into(),
        ..ApiVersionsRequest::default()
    };
    let mut bytes = request_bytes(&request, 4, 5);
    bytes[2..4].copy_from_slice(&100_i16.to_be_bytes());
    connection.send_bytes(&frame(&bytes));
    let answer = connection.receive(ApiKey::ApiVersions, 0);
    let response: ApiVersionsResponse = answer.read();
    assert_eq!(
        (answer.correlation_id, response.error_code),
        (5, ErrorCode::UnsupportedVersion as i16)
    );
    let keys: Vec<i16> = response.api_keys.iter().map(|a| a.api_key).collect();
    assert_eq!(keys, [ApiKey::ApiVersions as i16]);
    let answer = connection.call(&request, 3);
    let response: ApiVersionsResponse = answer.read();
    assert_eq!(response.error_code, 0);
}

#[test]
fn broken_batches_are_refused_and_harm_nobody() {
    let mut victim = Victim::new();
    let topic = victim.topic.clone();
    let good = NewBatch::of(&["x", "y"]);
    let mut cases: Vec<(String, Vec<u8>)> = Vec::new();
    // the length and all that the checksum covers; between them is the leader epoch, which is the broker's to set
    for at in (8..12).chain((16..good.bytes().len()).step_by(3)) {
        let mut flipped = good.bytes();
        flipped[at] ^= 0x55;
        cases.push((format!("byte {at} flipped"), flipped));
    }
    for length in [0, 5, 12, 17, 60, 61, 70] {
        cases.push((
            format!("a batch cut to {length} bytes"),
            good.bytes()[..length].to_vec(),
        ));
    }
    // right checksums over wrong contents
    let mut record = Vec::new();
    write_varint(&mut record, 1 << 40);
    cases.push(("a record of a terabyte".to_owned(), good.around(&record)));
    cases.push(("records that are not there".to_owned(), good.around(&[])));
    for codec in 1..=7 {
        let mut compressed = good.clone();
        compressed.attributes = codec;
        cases.push((
            format!("garbage as codec {codec}"),
            compressed.around(&[0xfe; 300]),
        ));
    }
    for (name, bytes) in cases {
        let answer = Connection::open(&victim.broker).produce(&topic, 0, &bytes);
        assert!(answer.error != 0, "{name} was accepted");
        victim.unharmed(&name);
    }
}

#[test]
fn decompression_bombs_are_refused() {
    let mut victim = Victim::with(&["--max-decompressed-message-bytes", "8388608"]);
    let topic = victim.topic.clone();
    // 20 MiB of zeros, which each codec makes small enough for a batch
    for (codec, bomb) in [(1, bombs::gzip()), (3, bombs::lz4()), (4, bombs::zstd())] {
        let mut batch = NewBatch::of(&["boom"]);
        batch.attributes = codec;
        let bytes = batch.around(&bomb);
        assert!(bytes.len() < 1_000_000, "{} bytes", bytes.len());
        for _ in 0..2 {
            let mut connection = Connection::open(&victim.broker);
            let answer = connection.produce(&topic, 0, &bytes);
            let too_large = protocol::ErrorCode::MessageTooLarge as i16;
            assert_eq!(answer.error, too_large, "a bomb of codec {codec}");
        }
        victim.unharmed(&format!("a bomb of codec {codec}"));
    }
}

#[test]
fn a_client_that_never_reads_its_answers() {
    let mut victim = Victim::new();
    let topic = victim.topic.clone();
    let value = vec![b'z'; 900_000];
    for _ in 0..10 {
        let mut writer = Connection::open(&victim.broker);
        assert_eq!(
            writer
                .produce(&topic, 0, &NewBatch::of(&[&value]).bytes())
                .error,
            0
        );
        victim.written += 1;
    }
    let mut greedy: Vec<Connection> = (0..8).map(|_| Connection::open(&victim.broker)).collect();
    for connection in &mut greedy {
        // 200 answers of 9 MB each are asked for, and none is read
        let request = frame(&request_bytes(
            &fetch_request(&[(&topic, 0, 0, 50_000_000)]),
            FETCH,
            1,
        ));
        let all = request.repeat(200);
        connection
            .stream()
            .set_write_timeout(Some(Duration::from_secs(1)))
            .unwrap();
        let _ = connection.stream().write_all(&all);
    }
    for _ in 0..20 {
        victim.unharmed("answers nobody reads");
    }
}

#[test]
fn many_clients_write_at_once_each_in_order() {
    let broker = Broker::shared();
    let topic = fresh_topic("crowd");
    Connection::open(&broker).create_topic(&topic, 2);
    let clients: Vec<_> = (0..40)
        .map(|client| {
            let (mut connection, topic) = (Connection::open(&broker), topic.clone());
            std::thread::spawn(move || {
                for i in 0..25 {
                    let batch = NewBatch::of(&[format!("{client}:{i}")]).bytes();
                    connection.send(
                        &produce_request(&topic, &[(client % 2, &batch)], -1),
                        PRODUCE,
                    );
                }
                let answers = (0..25).map(|_| {
                    produced(&connection.receive(ApiKey::Produce, PRODUCE)).swap_remove(0)
                });
                let offsets: Vec<i64> = answers
                    .inspect(|a| assert_eq!(a.error, 0))
                    .map(|a| a.base_offset)
                    .collect();
                assert!(offsets.is_sorted(), "{offsets:?}");
            })
        })
        .collect();
    for client in clients {
        client.join().unwrap();
    }
    for partition in 0..2 {
        let records = tests::librdkafka::consume(&broker.bootstrap(), &topic, partition);
        assert_eq!(records.len(), 500);
        let mut next = [0; 40];
        for record in records {
            let value = String::from_utf8(record.value.unwrap()).unwrap();
            let (client, i) = value.split_once(':').unwrap();
            let client: usize = client.parse().unwrap();
            assert_eq!(i, next[client].to_string());
            next[client] += 1;
        }
    }
}

/// Streams that decompress to 200 MiB of zeros.
mod bombs {
    use std::io::Write;

    const OUTPUT_BYTES: usize = 20 << 20;
    const PIECE_BYTES: usize = 1 << 20;

    fn fill(mut out: impl Write) {
        let zeros = vec![0; PIECE_BYTES];
        for _ in 0..OUTPUT_BYTES / PIECE_BYTES {
            out.write_all(&zeros).expect("a compressor in memory");
        }
    }

    pub(super) fn gzip() -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        fill(&mut encoder);
        encoder.finish().expect("a compressor in memory")
    }

    pub(super) fn lz4() -> Vec<u8> {
        let mut encoder = lz4_flex::frame::FrameEncoder::new(Vec::new());
        fill(&mut encoder);
        encoder.finish().expect("a compressor in memory")
    }

    pub(super) fn zstd() -> Vec<u8> {
        let mut encoder = zstd::Encoder::new(Vec::new(), 1).expect("a compressor");
        fill(&mut encoder);
        encoder.finish().expect("a compressor in memory")
    }
}
