//! A load of idempotent producers that goes on while brokers and databases are harmed, and what must hold of it in the end; and
//! choices at random that can be repeated.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rdkafka::producer::{BaseRecord, Producer};
use tests::librdkafka::{Acknowledged, Outcomes, assert_all_there_once, is_queue_full, producer};
use tests::wait_for;
use tests::wire::Connection;

/// Of the topic.
pub(crate) const PARTITIONS: i32 = 4;
const PRODUCERS: usize = 3;

/// Idempotent producers that write numbered records to all partitions until they are told to stop.
#[derive(Debug)]
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    outcomes: Vec<Outcomes>,
    threads: Vec<std::thread::JoinHandle<()>>,
}

impl Load {
    /// `bootstrap` may name several brokers. The topic is made.
    pub(crate) fn start(bootstrap: &str, topic: &str) -> Self {
        let port = bootstrap
            .split([',', ':'])
            .nth(1)
            .and_then(|port| port.parse().ok());
        let mut connection = Connection::to_port(port.expect("host:port"));
        connection.create_topic(topic, PARTITIONS);
        let stop = Arc::new(AtomicBool::new(false));
        let mut load = Self {
            stop,
            outcomes: Vec::new(),
            threads: Vec::new(),
        };
        for number in 0..PRODUCERS {
            let settings = [
                ("enable.idempotence", "true"),
                ("message.timeout.ms", "180000"),
                ("retry.backoff.ms", "50"),
                ("reconnect.backoff.max.ms", "500"),
                ("linger.ms", "2"),
            ];
            let (producer, outcomes) = producer(bootstrap, &settings);
            let (stop, topic) = (Arc::clone(&load.stop), topic.to_owned());
            load.outcomes.push(outcomes);
            load.threads.push(std::thread::spawn(move || {
                for i in 0_u64.. {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    for partition in 0..PARTITIONS {
                        let value = format!("{number}:{i}");
                        let mut record = BaseRecord::<(), str>::to(&topic)
                            .partition(partition)
                            .payload(&value);
                        while let Err((error, same)) = producer.send(record) {
                            assert!(is_queue_full(&error), "a record was refused: {error}");
                            std::thread::sleep(Duration::from_millis(5));
                            record = same;
                        }
                    }
                    if i % 5 == 0 {
                        std::thread::sleep(Duration::from_millis(2));
                    }
                }
                producer
                    .flush(Duration::from_secs(180))
                    .expect("all records delivered in time");
            }));
        }
        load
    }

    pub(crate) fn count(&self) -> usize {
        self.outcomes.iter().map(Outcomes::count).sum()
    }

    /// Waits until so many more records are acknowledged: the load goes on.
    pub(crate) fn progress(&self, records: usize) {
        let goal = self.count() + records;
        wait_for("acknowledgements", Duration::from_secs(120), || {
            (self.count() >= goal).then_some(())
        });
    }

    /// Ends the load and checks that every record is there once, acknowledged, and each producer's in order.
    pub(crate) fn check(self, bootstrap: &str, topic: &str) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads {
            thread.join().expect("a producer ends well");
        }
        let mut acknowledged: Vec<Acknowledged> = Vec::new();
        for outcomes in &self.outcomes {
            assert_eq!(
                *outcomes.failed.lock().expect("the outcomes"),
                [],
                "records failed"
            );
            acknowledged.extend(outcomes.acknowledged());
        }
        let mut found = 0;
        for partition in 0..PARTITIONS {
            let records = assert_all_there_once(bootstrap, topic, partition, &acknowledged);
            found += records.len();
            let mut next = [0_u64; PRODUCERS];
            for record in &records {
                let value =
                    String::from_utf8(record.value.clone().expect("a value")).expect("text");
                let (number, i) = value.split_once(':').expect("producer and number");
                let number: usize = number.parse().expect("a producer");
                assert_eq!(
                    i,
                    next[number].to_string(),
                    "producer {number} at offset {}",
                    record.offset
                );
                next[number] += 1;
            }
        }
        assert_eq!(
            found,
            acknowledged.len(),
            "no record that was not acknowledged, as none failed"
        );
        eprintln!("{topic}: {found} acknowledged records, all there once and in order");
    }

    /// Says what happens next, so that it shows how far a failed run came.
    pub(crate) fn announce(&self, (round, rounds): (u64, u64), what: &str) {
        let (test, records) = (test_name(), self.count());
        eprintln!("{test}: round {round} of {rounds}: {what} after {records} records");
    }
}

/// Rounds of a fault: so many in `make test`, more in `make chaos`.
pub(crate) fn rounds(short: u64) -> u64 {
    number("CHAOS_ROUNDS").unwrap_or(short)
}

fn test_name() -> String {
    let thread = std::thread::current();
    thread.name().unwrap_or_default().to_owned()
}

/// A number that the environment gives.
pub(crate) fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Numbers at random; `CHAOS_SEED` repeats those of a former run.
#[derive(Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new() -> Self {
        let seed = number("CHAOS_SEED").unwrap_or_else(|| {
            let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
            now.map_or(1, |since| since.as_millis() as u64)
        });
        eprintln!("{}: CHAOS_SEED={seed}", test_name());
        Self(seed | 1)
    }

    /// Sleeps for less than so many milliseconds.
    pub(crate) fn sleep(&mut self, limit_ms: u64) {
        std::thread::sleep(Duration::from_millis(self.below(limit_ms)));
    }

    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % limit
    }
}
