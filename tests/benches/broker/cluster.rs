//! What several brokers over one database give and cost: the throughput of two beside that of one, what producers notice when one
//! joins, stops or dies, and what they notice of retention, of the cleaner, and of a log that is ten times longer.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use protocol::messages::metadata_request::MetadataRequestTopic;
use protocol::messages::{MetadataRequest, MetadataResponse};
use rdkafka::ClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{DeliveryResult, Message};
use rdkafka::producer::{BaseRecord, Producer, ProducerContext, ThreadedProducer};
use tests::admin::{TOPIC, set};
use tests::batch::{NewBatch, NewRecord};
use tests::librdkafka::{client, config, is_queue_full};
use tests::wire::Connection;
use tests::{Broker, fresh_topic, wait_for};

use crate::load::{Produce, Sample};
use crate::system::{query, start_cold, url};
use crate::{median, raw};

const LIMIT: Duration = Duration::from_secs(120);
/// Of the topics whose producers are watched.
const PARTITIONS: i32 = 8;
/// Records a second of a watched producer.
const RATE: u32 = 1_000;

const SMALL: Produce = Produce {
    connections: 64,
    partitions: 64,
    in_flight: 1,
    batch_bytes: 1 << 10,
    record_bytes: 100,
};
const LARGE: Produce = Produce {
    connections: 8,
    partitions: 16,
    in_flight: 5,
    batch_bytes: 64 << 10,
    record_bytes: 100,
};

/// Prints one line for each thing that is measured; of the five parts those whose names `picks` takes.
pub(crate) fn run(rounds: usize, seconds: f64, log_gib: u64, picks: impl Fn(&str) -> bool) {
    let mut first = Broker::start_with(&["--log-retention-check-interval-ms", "1000"]);
    assert!(first.is_ready_or_ended(), "the broker has ended");
    let url = url(&first);
    let mut second = Broker::stopped(&["--node-id", "2", "--database-url", &url]);
    let length = Duration::from_secs_f64(seconds);
    if picks("throughput") {
        throughput(&first, &mut second, rounds, length);
    }
    if picks("changes") {
        changes(&first, &mut second, rounds);
    }
    if picks("retention") {
        retention(&first, &url, log_gib);
    }
    if picks("compaction") {
        compaction(&first, &url);
    }
    if picks("growth") {
        growth(&mut first, log_gib, rounds, length);
    }
}

/// The port of each partition's leader.
fn leaders(broker: &Broker, topic: &str) -> Vec<u16> {
    let asked = MetadataRequestTopic {
        name: Some(topic.into()),
        ..MetadataRequestTopic::default()
    };
    let request = MetadataRequest {
        topics: Some(vec![asked]),
        ..MetadataRequest::default()
    };
    let answer = Connection::open(broker).call(&request, 9);
    let response: MetadataResponse<'_> = answer.read();
    let port_of = |id: i32| {
        let mut brokers = response.brokers.iter();
        brokers
            .find(|b| b.node_id == id)
            .and_then(|b| u16::try_from(b.port).ok())
    };
    let mut partitions = response.topics[0].partitions.clone();
    partitions.sort_by_key(|partition| partition.partition_index);
    let ports = partitions.iter().map(|p| port_of(p.leader_id));
    ports.collect::<Option<_>>().unwrap_or_default()
}

/// Waits until so many brokers lead partitions of the topic, and know it.
fn wait_until_spread(broker: &Broker, topic: &str, count: usize) -> Vec<u16> {
    wait_for("leaders on all brokers", LIMIT, || {
        let ports = leaders(broker, topic);
        let mut distinct = ports.clone();
        distinct.sort_unstable();
        distinct.dedup();
        let mut led = (0..).zip(&ports);
        let is_known = |(partition, port): (i32, &u16)| {
            Connection::to_port(*port)
                .list_offset(topic, partition, -1)
                .0
                == 0
        };
        (distinct.len() == count && led.all(is_known)).then_some(ports)
    })
}

fn throughput(first: &Broker, second: &mut Broker, rounds: usize, length: Duration) {
    for (name, load) in [
        ("1 KiB batches, 64 connections", SMALL),
        ("64 KiB batches, 8 connections, 5 in flight", LARGE),
    ] {
        let measure = |count: usize| {
            let topic = fresh_topic("cluster");
            Connection::open(first).create_topic(&topic, load.partitions);
            let ports = wait_until_spread(first, &topic, count);
            let sample = raw::produce_to(&topic, &ports, load, length);
            sample.batches as f64 / sample.seconds
        };
        let (mut alone, mut together) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            alone.push(measure(1));
            let topic = fresh_topic("spread");
            Connection::open(first).create_topic(&topic, PARTITIONS);
            second.start_again();
            wait_until_spread(first, &topic, 2);
            together.push(measure(2));
            second.stop();
        }
        let (alone, together) = (median(alone), median(together));
        println!(
            "{name}: one broker {alone:.0}/s, two over the same database {together:.0}/s, {:.2}",
            together / alone
        );
    }
}

/// What the times in records count from.
static BEGUN: LazyLock<Instant> = LazyLock::new(Instant::now);

/// A value of 100 bytes that tells when it was sent.
fn payload() -> [u8; 100] {
    let mut payload = [7; 100];
    let sent = BEGUN.elapsed().as_nanos() as u64;
    payload[..8].copy_from_slice(&sent.to_le_bytes());
    payload
}

/// The longest that a record took from its producer to a member of a group, and the offsets after the last ones that came.
#[derive(Debug, Default)]
struct Arrived {
    longest: Duration,
    ends: [i64; PARTITIONS as usize],
}

/// A consumer of a group that reads all partitions of a topic, on a thread of its own.
struct Arrivals {
    arrived: Arc<Mutex<Arrived>>,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Arrivals {
    /// Begins to read.
    fn start(bootstrap: &str, topic: &str) -> Self {
        let settings = [
            ("group.id", &*fresh_topic("arrivals")),
            ("auto.offset.reset", "earliest"),
        ];
        let consumer: BaseConsumer = client(bootstrap, &settings);
        consumer.subscribe(&[topic]).expect("a subscription");
        let arrived = Arc::new(Mutex::new(Arrived::default()));
        let stop = Arc::new(AtomicBool::new(false));
        let (theirs, until) = (arrived.clone(), stop.clone());
        let thread = std::thread::spawn(move || {
            while !until.load(Ordering::Relaxed) {
                // Brokers may be away.
                let Some(Ok(message)) = consumer.poll(Duration::from_millis(100)) else {
                    continue;
                };
                let value = message.payload().expect("a value");
                let sent = u64::from_le_bytes(value[..8].try_into().expect("a time"));
                let took = BEGUN.elapsed().saturating_sub(Duration::from_nanos(sent));
                let mut arrived = theirs.lock().unwrap_or_else(PoisonError::into_inner);
                arrived.longest = arrived.longest.max(took);
                arrived.ends[message.partition() as usize] = message.offset() + 1;
            }
        });
        Self {
            arrived,
            stop,
            thread,
        }
    }

    fn arrived(&self) -> MutexGuard<'_, Arrived> {
        self.arrived.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until all records have come, and begins anew.
    fn take(&self, broker: &Broker, topic: &str) -> Duration {
        let ports = leaders(broker, topic);
        for (partition, port) in (0..).zip(ports) {
            let end = Connection::to_port(port)
                .list_offset(topic, partition, -1)
                .1;
            wait_for("all records", LIMIT, || {
                (self.arrived().ends[partition as usize] >= end).then_some(())
            });
        }
        std::mem::take(&mut self.arrived().longest)
    }

    fn end(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("a consumer");
    }
}

/// From send to acknowledgement, of each record.
#[derive(Debug, Clone, Default)]
struct Watch(Arc<Mutex<Vec<Duration>>>);

impl ClientContext for Watch {}

impl ProducerContext for Watch {
    type DeliveryOpaque = Box<Instant>;
    fn delivery(&self, result: &DeliveryResult<'_>, sent: Self::DeliveryOpaque) {
        assert!(result.is_ok(), "a record failed");
        let mut latencies = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        latencies.push(sent.elapsed());
    }
}

/// Produces with an idempotent librdkafka at a steady rate while `event` happens, and for two seconds more; what the records waited.
fn watched(bootstrap: &str, topic: &str, event: impl FnOnce() + Send) -> Sample {
    let watch = Watch::default();
    let settings = [("enable.idempotence", "true"), ("linger.ms", "0")];
    let producer: ThreadedProducer<Watch> = config(bootstrap, &settings)
        .create_with_context(watch.clone())
        .expect("a producer");
    std::thread::scope(|scope| {
        let event = scope.spawn(|| {
            std::thread::sleep(Duration::from_secs(2));
            watch
                .0
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clear();
            event();
            std::thread::sleep(Duration::from_secs(2));
        });
        let mut next = Instant::now();
        for number in 0_i32.. {
            if event.is_finished() {
                break;
            }
            std::thread::sleep(next.saturating_duration_since(Instant::now()));
            next += Duration::from_secs(1) / RATE;
            let payload = payload();
            let mut record =
                BaseRecord::<(), [u8], _>::with_opaque_to(topic, Box::new(Instant::now()))
                    .partition(number % PARTITIONS)
                    .payload(&payload);
            while let Err((error, same)) = producer.send(record) {
                assert!(is_queue_full(&error), "a record was refused: {error}");
                std::thread::sleep(Duration::from_millis(5));
                record = same;
            }
        }
        event.join().expect("what was to be watched");
    });
    producer.flush(LIMIT).expect("all records acknowledged");
    let latencies = std::mem::take(&mut *watch.0.lock().unwrap_or_else(PoisonError::into_inner));
    let longest = latencies.iter().max().copied().unwrap_or_default();
    Sample {
        seconds: longest.as_secs_f64(),
        ..Sample::default()
    }
    .with_latencies(latencies)
}

/// What producers and consumers notice of brokers that come and go: the longest that a record took to its acknowledgement, and to a
/// member of a group.
fn changes(first: &Broker, second: &mut Broker, rounds: usize) {
    let topic = fresh_topic("watched");
    Connection::open(first).create_topic(&topic, PARTITIONS);
    second.start_again();
    let bootstrap = format!("{},{}", first.bootstrap(), second.bootstrap());
    wait_until_spread(first, &topic, 2);
    let arrivals = Arrivals::start(&bootstrap, &topic);
    // Until the group has its first generation.
    watched(&bootstrap, &topic, || {
        std::thread::sleep(Duration::from_secs(5))
    });
    arrivals.take(first, &topic);
    let mut longest = [const { (Vec::new(), Vec::new()) }; 4];
    let mut watched = |number: usize, event: &mut (dyn FnMut() + Send)| {
        let sample = watched(&bootstrap, &topic, || {
            arrivals.arrived().longest = Duration::ZERO;
            event();
        });
        let arrival = arrivals.take(first, &topic);
        longest[number].0.push(sample.seconds);
        longest[number].1.push(arrival.as_secs_f64());
    };
    for _ in 0..rounds {
        watched(0, &mut || std::thread::sleep(Duration::from_secs(3)));
        watched(1, &mut || second.stop());
        watched(2, &mut || {
            second.start_again();
            wait_until_spread(first, &topic, 2);
        });
        watched(3, &mut || {
            second.kill();
            wait_until_spread(first, &topic, 1);
        });
        second.start_again();
        wait_until_spread(first, &topic, 2);
    }
    arrivals.end();
    second.stop();
    let names = [
        "nothing happens",
        "a broker stops (SIGTERM)",
        "a broker joins",
        "a broker dies (kill -9), broker.session.timeout.ms=9000",
    ];
    for (name, (acknowledged, arrived)) in names.into_iter().zip(longest) {
        println!(
            "{RATE} records/s over two brokers while {name}: the longest that a record waited to be acknowledged {}, to reach a consumer {}",
            worst(acknowledged),
            worst(arrived)
        );
    }
}

fn worst(seconds: Vec<f64>) -> String {
    let worst = seconds.iter().copied().fold(0.0, f64::max);
    format!("{:.3} s (at worst {worst:.3} s)", median(seconds))
}

fn size_bytes(url: &str) -> u64 {
    query(url, "select pg_database_size(current_database())")
}

fn say(name: &str, calm: &Sample, busy: &Sample) {
    let ms = |time: Duration| time.as_secs_f64() * 1e3;
    println!(
        "{RATE} records/s while {name}: p50 {:.2} p99 {:.2} longest {:.0} ms; while nothing happens {:.2} {:.2} {:.0} ms",
        ms(busy.p50),
        ms(busy.p99),
        busy.seconds * 1e3,
        ms(calm.p50),
        ms(calm.p99),
        calm.seconds * 1e3
    );
}

fn retention(broker: &Broker, url: &str, log_gib: u64) {
    let topic = fresh_topic("steady");
    let mut connection = Connection::open(broker);
    connection.create_topic(&topic, PARTITIONS);
    let before = size_bytes(url);
    let old = raw::fill(
        broker.port(),
        usize::try_from(log_gib << 30).expect("a size"),
        1 << 10,
    );
    let full = size_bytes(url);
    let calm = watched(&broker.bootstrap(), &topic, || {
        std::thread::sleep(Duration::from_secs(5))
    });
    let mut took = Duration::ZERO;
    let busy = watched(&broker.bootstrap(), &topic, || {
        set(&mut connection, (TOPIC, &old), "retention.ms", "1");
        let begun = Instant::now();
        wait_for("the space of the old log", LIMIT, || {
            (size_bytes(url) < before + (full - before) / 10).then_some(())
        });
        took = begun.elapsed();
        std::thread::sleep(Duration::from_secs(3));
    });
    println!(
        "{log_gib} GiB expire: {:.1} GB are back after {:.1} s (looked for every second)",
        (full - size_bytes(url)) as f64 / 1e9,
        took.as_secs_f64()
    );
    say("they do", &calm, &busy);
}

/// Appends and reads at the end of a log, and a cold read of all of it, when it has a tenth of `log_gib` and when it has all.
fn growth(broker: &mut Broker, log_gib: u64, rounds: usize, length: Duration) {
    const TAIL_RECORDS: i64 = 400_000;
    let bytes = usize::try_from(log_gib << 30).expect("a size");
    let port = broker.port();
    let topic = fresh_topic("growing");
    Connection::open(broker).create_led_topic(&topic, 1);
    for (name, more) in [("a tenth", bytes / 10), ("all", bytes - bytes / 10)] {
        raw::fill_more(port, &topic, more, 100);
        let (mut appended, mut tail, mut cold) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..rounds {
            let load = Produce {
                connections: 8,
                partitions: 1,
                ..SMALL
            };
            let sample = raw::produce_to(&topic, &[port], load, length);
            appended.push(sample.batches as f64 / sample.seconds);
            raw::fill_more(port, &topic, 64 << 20, 100);
            let end = Connection::to_port(port).list_offset(&topic, 0, -1).1;
            let sample = raw::fetch(port, &topic, end - TAIL_RECORDS, Some(length));
            tail.push(sample.bytes as f64 / sample.seconds / 1e6);
            start_cold(broker);
            let sample = raw::fetch(port, &topic, 0, None);
            cold.push(sample.seconds / (sample.bytes as f64 / 1e9));
        }
        println!(
            "{name} of {log_gib} GiB: {:.0} batches/s appended by 8 connections, {:.0} MB/s read at the end, {:.2} s for each GB of all of it, read cold",
            median(appended),
            median(tail),
            median(cold)
        );
    }
}

/// A million records over ten thousand keys.
fn compaction(broker: &Broker, url: &str) {
    const BATCHES: usize = 1_000;
    let topic = fresh_topic("steady");
    let mut connection = Connection::open(broker);
    connection.create_topic(&topic, PARTITIONS);
    let old = fresh_topic("compacted");
    connection.create_topic(&old, 1);
    for number in 0..BATCHES {
        let mut batch = NewBatch::of::<&str>(&[]);
        let keys = (0..1_000).map(|at| (number * 1_000 + at) * 7_919 % 10_000);
        batch.records = keys
            .map(|key| NewRecord {
                key: Some(key.to_string().into_bytes()),
                value: Some(vec![7; 100]),
                ..NewRecord::default()
            })
            .collect();
        let produced = connection.produce(&old, 0, &batch.bytes());
        assert_eq!(produced.error, 0, "a batch was refused");
    }
    let calm = watched(&broker.bootstrap(), &topic, || {
        std::thread::sleep(Duration::from_secs(5))
    });
    let full = size_bytes(url);
    let mut took = Duration::ZERO;
    let busy = watched(&broker.bootstrap(), &topic, || {
        set(
            &mut connection,
            (TOPIC, &old),
            "min.cleanable.dirty.ratio",
            "0",
        );
        set(&mut connection, (TOPIC, &old), "segment.ms", "1");
        set(&mut connection, (TOPIC, &old), "cleanup.policy", "compact");
        let begun = Instant::now();
        wait_for("the log to be compacted", LIMIT, || {
            let record = NewRecord {
                key: Some(b"0".to_vec()),
                value: Some(vec![7; 100]),
                ..NewRecord::default()
            };
            let mut batch = NewBatch::of::<&str>(&[]);
            batch.records = vec![record];
            connection.produce(&old, 0, &batch.bytes());
            std::thread::sleep(Duration::from_millis(200));
            (size_bytes(url) < full - 80_000_000).then_some(())
        });
        took = begun.elapsed();
        std::thread::sleep(Duration::from_secs(3));
    });
    println!(
        "1,000,000 records over 10,000 keys are compacted within {:.1} s (looked for every log.cleaner.backoff.ms=15000)",
        took.as_secs_f64()
    );
    say("they are", &calm, &busy);
}
