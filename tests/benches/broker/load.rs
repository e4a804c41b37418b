//! The loads, and what one run of a load gives.

use std::time::Duration;

use crate::{raw, rdkafka_client, transactions};

/// One line of the table.
#[derive(Debug, Clone)]
pub(crate) struct Load {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
}

/// What is done.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind {
    /// Produce requests made beforehand, one batch each.
    Produce(Produce),
    /// Single records at a steady rate, from the send to the arrival at a consumer that waits.
    EndToEnd { records_per_second: u32 },
    /// Fetches of up to 8 MiB by one connection over and over a log of this size, which the system's caches hold.
    FetchTail { log_bytes: usize },
    /// The same once through a larger log, with an empty cache in the broker.
    FetchCold { log_bytes: usize },
    /// Connections that each wait in a Fetch at the end of a log that does not grow, over and over.
    IdlePolls { connections: usize },
    /// librdkafka's producer at its defaults.
    ClientProduce {
        record_bytes: usize,
        partitions: i32,
    },
    /// A producer on the wire: so many records of 100 bytes, then a commit, over and over.
    RawTransactions { records: usize },
    /// librdkafka's transactional producer: so many records of 100 bytes, then a commit, over and over.
    Transactions { records: usize },
    /// librdkafka's consumer at its defaults.
    ClientConsume { record_bytes: usize },
}

/// The form of a load of Produce requests.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Produce {
    pub(crate) connections: usize,
    pub(crate) partitions: i32,
    pub(crate) in_flight: usize,
    pub(crate) batch_bytes: usize,
    pub(crate) record_bytes: usize,
}

/// What was measured.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sample {
    pub(crate) seconds: f64,
    pub(crate) batches: u64,
    pub(crate) records: u64,
    /// Bytes of record batches.
    pub(crate) bytes: u64,
    pub(crate) p50: Duration,
    pub(crate) p99: Duration,
    /// Of the system, not of the client.
    pub(crate) cpu_seconds: f64,
    /// Of these, all but PostgreSQL's.
    pub(crate) broker_cpu_seconds: f64,
    pub(crate) client_cpu_seconds: f64,
    pub(crate) wal_bytes: u64,
    pub(crate) disk_bytes: u64,
    pub(crate) resident_bytes: u64,
}

impl Sample {
    pub(crate) fn with_latencies(mut self, mut latencies: Vec<Duration>) -> Self {
        latencies.sort_unstable();
        let at = |percent: usize| {
            let last = latencies.len().saturating_sub(1);
            latencies
                .get(last * percent / 100)
                .copied()
                .unwrap_or_default()
        };
        (self.p50, self.p99) = (at(50), at(99));
        self
    }
}

const fn produce(
    connections: usize,
    partitions: i32,
    in_flight: usize,
    batch_bytes: usize,
    record_bytes: usize,
) -> Kind {
    Kind::Produce(Produce {
        connections,
        partitions,
        in_flight,
        batch_bytes,
        record_bytes,
    })
}

/// All of them, in the order of the table.
#[rustfmt::skip] // a table: one row a load
const LOADS: &[(&str, Kind)] = &[
    ("1 MiB batches of 100 B, 1 partition, 5 in flight", produce(1, 1, 5, 1 << 20, 100)),
    ("1 MiB batches of 100 B, 6 partitions, 2 connections, 5 in flight", produce(2, 6, 5, 1 << 20, 100)),
    ("1 MiB batches of 1 KiB, 1 partition, 5 in flight", produce(1, 1, 5, 1 << 20, 1 << 10)),
    ("64 KiB batches of 100 B, 1 partition, 5 in flight", produce(1, 1, 5, 64 << 10, 100)),
    ("64 KiB batches of 100 B, 64 partitions, 8 connections, 5 in flight", produce(8, 64, 5, 64 << 10, 100)),
    ("16 KiB batches, 1 connection, 1 in flight", produce(1, 1, 1, 16 << 10, 100)),
    ("1 KiB batches, 1 connection, 1 in flight", produce(1, 1, 1, 1 << 10, 100)),
    ("1 KiB batches, 8 connections, 1 in flight", produce(8, 6, 1, 1 << 10, 100)),
    ("1 KiB batches, 64 connections, 64 partitions, 1 in flight", produce(64, 64, 1, 1 << 10, 100)),
    ("produce to consumer, 1,000 records/s", Kind::EndToEnd { records_per_second: 1_000 }),
    ("fetch from memory, 48 MiB over and over", Kind::FetchTail { log_bytes: 48 << 20 }),
    ("fetch cold, 1 GiB of 100 B records", Kind::FetchCold { log_bytes: 1 << 30 }),
    ("2,000 connections that wait in a Fetch of 500 ms", Kind::IdlePolls { connections: 2_000 }),
    ("librdkafka produce, 100 B, 1 partition", Kind::ClientProduce { record_bytes: 100, partitions: 1 }),
    ("librdkafka produce, 100 B, 6 partitions", Kind::ClientProduce { record_bytes: 100, partitions: 6 }),
    ("librdkafka produce, 1 KiB, 1 partition", Kind::ClientProduce { record_bytes: 1 << 10, partitions: 1 }),
    ("transactions of 100 records of 100 B, 1 producer", Kind::RawTransactions { records: 100 }),
    ("transactions of 10,000 records of 100 B, 1 producer", Kind::RawTransactions { records: 10_000 }),
    ("librdkafka transactions of 100 records of 100 B", Kind::Transactions { records: 100 }),
    ("librdkafka transactions of 10,000 records of 100 B", Kind::Transactions { records: 10_000 }),
    ("librdkafka consume, 100 B", Kind::ClientConsume { record_bytes: 100 }),
    ("librdkafka consume, 1 KiB", Kind::ClientConsume { record_bytes: 1 << 10 }),
];

pub(crate) fn all() -> impl Iterator<Item = Load> {
    LOADS.iter().map(|(name, kind)| Load { name, kind: *kind })
}

impl Load {
    /// Prepares the log where the load needs one. What is prepared is not measured.
    pub(crate) fn prepare(&self, port: u16) -> Option<String> {
        match self.kind {
            Kind::FetchTail { log_bytes } | Kind::FetchCold { log_bytes } => {
                Some(raw::fill(port, log_bytes, 100))
            }
            Kind::ClientConsume { record_bytes } => Some(raw::fill(port, 256 << 20, record_bytes)),
            _ => None,
        }
    }

    /// Runs on a broker for about so many seconds, on a topic of its own.
    pub(crate) fn run(&self, port: u16, seconds: f64) -> Sample {
        let topic = self.prepare(port);
        self.run_prepared(port, topic.as_deref(), seconds)
    }

    /// The measured part of [`Self::run`].
    pub(crate) fn run_prepared(&self, port: u16, topic: Option<&str>, seconds: f64) -> Sample {
        let seconds = Duration::from_secs_f64(seconds);
        match (self.kind, topic) {
            (Kind::Produce(produce), _) => raw::produce(port, produce, seconds),
            (Kind::EndToEnd { records_per_second }, _) => {
                raw::end_to_end(port, records_per_second, seconds)
            }
            (Kind::IdlePolls { connections }, _) => raw::idle_polls(port, connections, seconds),
            (Kind::FetchTail { .. }, Some(topic)) => raw::fetch(port, topic, 0, Some(seconds)),
            (Kind::FetchCold { .. }, Some(topic)) => raw::fetch(port, topic, 0, None),
            (
                Kind::ClientProduce {
                    record_bytes,
                    partitions,
                },
                _,
            ) => rdkafka_client::produce(port, record_bytes, partitions, seconds),
            (Kind::RawTransactions { records }, _) => transactions::run(port, records, seconds),
            (Kind::Transactions { records }, _) => {
                rdkafka_client::transactions(port, records, seconds)
            }
            (Kind::ClientConsume { .. }, Some(topic)) => rdkafka_client::consume(port, topic),
            (_, None) => unreachable!("prepared by `prepare`"),
        }
    }

    /// Whether the broker must be started anew between preparing and running, so that its caches are empty.
    pub(crate) fn is_cold(&self) -> bool {
        matches!(self.kind, Kind::FetchCold { .. })
    }

    /// Whether the load is one to warm a Java machine with.
    pub(crate) fn warms_up(&self) -> bool {
        matches!(self.kind, Kind::Produce(_) | Kind::EndToEnd { .. })
    }
}
