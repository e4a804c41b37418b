//! A client that sends requests made beforehand, so that it costs next to nothing itself.

use std::io::Read;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use protocol::messages::{FetchResponse, ProduceResponse, ResponseHeader};
use protocol::wire::{Reader, Records};
use protocol::{ApiKey, Message};
use tests::batch::{NewBatch, read_batches};
use tests::fresh_topic;
use tests::wire::{
    Connection, FETCH, PRODUCE, fetch_request, fetched, frame, produce_request, request_bytes,
};

use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use crate::load::{Produce, Sample};

/// The share of a run that is not counted, at its start.
const WARM_UP: f64 = 0.2;
/// What a fetch may bring.
const FETCH_BYTES: i32 = 8 << 20;

/// Values that do not compress.
pub(crate) fn values(count: usize, bytes: usize) -> Vec<Vec<u8>> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut value = || {
        let mut out = Vec::with_capacity(bytes + 8);
        while out.len() < bytes {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            out.extend(state.to_be_bytes());
        }
        out.truncate(bytes);
        out
    };
    (0..count).map(|_| value()).collect()
}

/// A batch of at most `batch_bytes`, and how many records it has.
fn batch(batch_bytes: usize, record_bytes: usize) -> (Vec<u8>, u64) {
    const RECORD_OVERHEAD: usize = 12;
    let count = (batch_bytes.saturating_sub(tests::batch::HEADER_BYTES)
        / (record_bytes + RECORD_OVERHEAD))
        .max(1);
    let bytes = NewBatch::of(&values(count, record_bytes)).bytes();
    (bytes, count as u64)
}

fn produce_frame(topic: &str, partition: i32, batch: &[u8]) -> Vec<u8> {
    let request = produce_request(topic, &[(partition, batch)], -1);
    frame(&request_bytes(&request, PRODUCE, 1))
}

/// What one connection did.
#[derive(Debug, Default)]
struct Done {
    batches: u64,
    latencies: Vec<Duration>,
}

/// Sends batches over `connections`, each with `in_flight` requests outstanding, to a topic of their own.
pub(crate) fn produce(port: u16, load: Produce, length: Duration) -> Sample {
    let topic = fresh_topic("load");
    Connection::to_port(port).create_led_topic(&topic, load.partitions);
    produce_to(&topic, &vec![port; load.partitions as usize], load, length)
}

/// The same to a topic the ports of whose partitions' leaders are given. One thread does it all, woken once for many answers.
pub(crate) fn produce_to(topic: &str, leaders: &[u16], load: Produce, length: Duration) -> Sample {
    let mut ports = leaders.to_vec();
    ports.sort_unstable();
    ports.dedup();
    let (batch, records) = batch(load.batch_bytes, load.record_bytes);
    let start = Instant::now();
    let counted_from = start + length.mul_f64(WARM_UP);
    let end = start + length;
    let senders = (0..load.connections).map(|index| {
        let port = ports[index % ports.len()];
        let led = (0_i32..)
            .zip(leaders)
            .filter(|(_, leader)| **leader == port);
        let led: Vec<i32> = led.map(|(partition, _)| partition).collect();
        let of_port = (load.connections - index % ports.len()).div_ceil(ports.len());
        let nth = index / ports.len() % led.len();
        let mine = led.iter().enumerate().filter(|(at, _)| at % of_port == nth);
        let frames: Vec<Vec<u8>> = mine
            .map(|(_, p)| produce_frame(topic, *p, &batch))
            .collect();
        send(port, frames, load.in_flight, counted_from, end)
    });
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let done: Vec<Done> = runtime
        .expect("a runtime")
        .block_on(futures_util::future::join_all(senders));
    let batches = done.iter().map(|d| d.batches).sum::<u64>();
    let sample = Sample {
        seconds: (end - counted_from).as_secs_f64(),
        batches,
        records: batches * records,
        bytes: batches * batch.len() as u64,
        ..Sample::default()
    };
    sample.with_latencies(done.into_iter().flat_map(|d| d.latencies).collect())
}

async fn send(
    port: u16,
    frames: Vec<Vec<u8>>,
    in_flight: usize,
    counted_from: Instant,
    end: Instant,
) -> Done {
    let stream = TcpStream::connect(("127.0.0.1", port)).await;
    let mut stream = stream.expect("a connection");
    stream.set_nodelay(true).expect("no delay");
    let (read, mut write) = stream.split();
    let (sent, mut awaited) = tokio::sync::mpsc::unbounded_channel::<Instant>();
    let free = tokio::sync::Semaphore::new(in_flight);
    let sending = async {
        for frame in frames.iter().cycle() {
            let slot = free.acquire().await.expect("never closed");
            slot.forget();
            let now = Instant::now();
            if now >= end {
                break;
            }
            sent.send(now).expect("the other side reads to the end");
            write.write_all(frame).await.expect("the broker reads");
        }
        drop(sent);
    };
    let receiving = async {
        let mut read = BufReader::new(read);
        let mut body = Vec::new();
        let mut done = Done::default();
        while let Some(sent_at) = awaited.recv().await {
            let size = read.read_u32().await.expect("an answer");
            body.resize(size as usize, 0);
            read.read_exact(&mut body).await.expect("the whole answer");
            let now = Instant::now();
            free.add_permits(1);
            assert_appended(&body);
            if now >= counted_from && now < end {
                done.batches += 1;
                done.latencies.push(now - sent_at);
            }
        }
        done
    };
    futures_util::future::join(sending, receiving).await.1
}

fn assert_appended(body: &[u8]) {
    let mut reader = Reader::new(body);
    let mut header = ResponseHeader::default();
    let header_version = ApiKey::Produce.response_header_version(PRODUCE);
    header.read(&mut reader, header_version).expect("a header");
    let mut response = ProduceResponse::default();
    let read = response.read(&mut reader, PRODUCE);
    read.expect("a Produce answer");
    let partition = &response.responses[0].partition_responses[0];
    assert_eq!(partition.error_code, 0, "a batch was refused");
}

/// Fills a new topic of one partition and gives its name.
pub(crate) fn fill(port: u16, log_bytes: usize, record_bytes: usize) -> String {
    let topic = fresh_topic("filled");
    Connection::to_port(port).create_led_topic(&topic, 1);
    fill_more(port, &topic, log_bytes, record_bytes);
    topic
}

/// Appends so much to the first partition.
pub(crate) fn fill_more(port: u16, topic: &str, log_bytes: usize, record_bytes: usize) {
    let mut connection = Connection::to_port(port);
    let (batch, _) = batch(256 << 10, record_bytes);
    let frame = produce_frame(topic, 0, &batch);
    let count = log_bytes.div_ceil(batch.len());
    for number in 0..count + 4 {
        if number >= 4 {
            connection.receive(ApiKey::Produce, PRODUCE);
        }
        if number < count {
            connection.send_bytes(&frame);
        }
    }
}

/// Reads the topic from an offset to its end by one connection, once or over and over.
pub(crate) fn fetch(port: u16, topic: &str, from: i64, length: Option<Duration>) -> Sample {
    let mut connection = Connection::to_port(port);
    let end_offset = connection.list_offset(topic, 0, -1).1;
    let start = Instant::now();
    let (mut offset, mut bytes, mut records, mut answers) = (from, 0, 0, 0);
    let mut body = Vec::new();
    loop {
        let request = fetch_request(&[(topic, 0, offset, FETCH_BYTES)]);
        connection.send(&request, FETCH);
        let stream = connection.stream();
        let mut size = [0; 4];
        stream.read_exact(&mut size).expect("an answer");
        body.resize(u32::from_be_bytes(size) as usize, 0);
        stream.read_exact(&mut body).expect("the whole answer");
        let next = end_of(&body, offset);
        assert!(next > offset, "a fetch below the end brought nothing");
        records += (next - offset) as u64;
        (bytes, answers, offset) = (bytes + body.len() as u64, answers + 1, next);
        if offset >= end_offset {
            match length {
                Some(length) if start.elapsed() < length => offset = from,
                _ => break,
            }
        }
    }
    Sample {
        seconds: start.elapsed().as_secs_f64(),
        batches: answers,
        records,
        bytes,
        ..Sample::default()
    }
}

/// The offset after the last whole batch in a Fetch answer, found by hopping from batch to batch.
fn end_of(body: &[u8], asked: i64) -> i64 {
    let mut reader = Reader::new(body);
    let mut header = ResponseHeader::default();
    let header_version = ApiKey::Fetch.response_header_version(FETCH);
    header.read(&mut reader, header_version).expect("a header");
    let mut response = FetchResponse::default();
    response.read(&mut reader, FETCH).expect("a Fetch answer");
    let partition = &response.responses[0].partitions[0];
    assert_eq!(partition.error_code, 0, "a fetch failed");
    let Records::Wire(mut batches) = partition.records else {
        return asked;
    };
    let mut end = asked;
    while let Some(header) = batches.first_chunk::<{ tests::batch::HEADER_BYTES }>() {
        let base = i64::from_be_bytes(header[..8].try_into().expect("8 bytes"));
        let length = u32::from_be_bytes(header[8..12].try_into().expect("4 bytes"));
        let delta = i32::from_be_bytes(header[23..27].try_into().expect("4 bytes"));
        let Some(rest) = batches.get(12 + length as usize..) else {
            break;
        };
        end = base + i64::from(delta) + 1;
        batches = rest;
    }
    end
}

/// Fetches at the end of an empty log, each of which is answered only when its time is up.
pub(crate) fn idle_polls(port: u16, connections: usize, length: Duration) -> Sample {
    let topic = fresh_topic("idle");
    Connection::to_port(port).create_led_topic(&topic, 1);
    let mut request = fetch_request(&[(&topic, 0, 0, FETCH_BYTES)]);
    request.max_wait_ms = 500;
    let frame = frame(&request_bytes(&request, FETCH, 1));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let start = Instant::now();
    let pollers = (0..connections).map(|_| poll(port, &frame, start + length));
    let polls: Vec<u64> = runtime
        .expect("a runtime")
        .block_on(futures_util::future::join_all(pollers));
    let batches = polls.into_iter().sum();
    Sample {
        seconds: start.elapsed().as_secs_f64(),
        batches,
        ..Sample::default()
    }
}

/// How often a connection may be reset. Kafka does that to some of many that come at once.
const RESETS_MAX: usize = 10;

async fn poll(port: u16, frame: &[u8], end: Instant) -> u64 {
    let mut polls = 0;
    for _ in 0..=RESETS_MAX {
        match poll_by_one(port, frame, end, &mut polls).await {
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => {}
            done => {
                done.expect("answers");
                return polls;
            }
        }
    }
    panic!("more than {RESETS_MAX} connections of one poller were reset");
}

async fn poll_by_one(
    port: u16,
    frame: &[u8],
    end: Instant,
    polls: &mut u64,
) -> std::io::Result<()> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    let mut body = Vec::new();
    while Instant::now() < end {
        stream.write_all(frame).await?;
        let size = stream.read_u32().await?;
        body.resize(size as usize, 0);
        stream.read_exact(&mut body).await?;
        *polls += 1;
    }
    Ok(())
}

/// Produces single records at a steady rate and takes them with long polls on another connection.
pub(crate) fn end_to_end(port: u16, per_second: u32, length: Duration) -> Sample {
    let topic = fresh_topic("latency");
    Connection::to_port(port).create_led_topic(&topic, 1);
    let origin = Instant::now();
    let stop = AtomicBool::new(false);
    let latencies = std::thread::scope(|scope| {
        let consumer = scope.spawn(|| consume_stamped(port, &topic, origin, &stop));
        let mut connection = Connection::to_port(port);
        let mut answers = connection.stream().try_clone().expect("a second handle");
        let drain = scope.spawn(move || while answers.read(&mut [0; 4096]).is_ok_and(|n| n > 0) {});
        let mut next = origin + Duration::from_millis(200);
        while origin.elapsed() < length {
            std::thread::sleep(next.saturating_duration_since(Instant::now()));
            next += Duration::from_secs(1) / per_second;
            let stamp = origin.elapsed().as_nanos() as u64;
            let batch = NewBatch::of(&[stamp.to_be_bytes()]).bytes();
            connection.send_bytes(&produce_frame(&topic, 0, &batch));
        }
        stop.store(true, Ordering::Relaxed);
        std::thread::sleep(Duration::from_millis(100));
        let last = NewBatch::of(&[u64::MAX.to_be_bytes()]).bytes();
        connection.send_bytes(&produce_frame(&topic, 0, &last));
        let latencies = consumer.join().expect("the consumer");
        connection
            .stream()
            .shutdown(std::net::Shutdown::Both)
            .expect("an open connection");
        drain.join().expect("the reader of answers");
        latencies
    });
    let sample = Sample {
        seconds: length.as_secs_f64(),
        batches: latencies.len() as u64,
        records: latencies.len() as u64,
        ..Sample::default()
    };
    let skipped = latencies.len() / 5;
    sample.with_latencies(latencies.into_iter().skip(skipped).collect())
}

fn consume_stamped(port: u16, topic: &str, origin: Instant, stop: &AtomicBool) -> Vec<Duration> {
    let mut connection = Connection::to_port(port);
    let (mut offset, mut latencies) = (0, Vec::new());
    loop {
        let mut request = fetch_request(&[(topic, 0, offset, FETCH_BYTES)]);
        request.max_wait_ms = 500;
        let answer = connection.call(&request, FETCH);
        let now = origin.elapsed();
        for batch in read_batches(&fetched(&answer)[0].records) {
            offset = batch.base_offset + batch.records.len() as i64;
            for record in &batch.records {
                let value = record.value.as_deref().expect("a stamp");
                let stamp = u64::from_be_bytes(value.try_into().expect("8 bytes"));
                if stamp == u64::MAX {
                    return latencies;
                }
                latencies.push(now.saturating_sub(Duration::from_nanos(stamp)));
            }
        }
        assert!(
            !stop.load(Ordering::Relaxed) || origin.elapsed() < Duration::from_secs(120),
            "the last record never came"
        );
    }
}
