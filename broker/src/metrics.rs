//! What the broker counts and measures, in the text format of Prometheus. All names of metrics are here.
//!
//! Counters are atomics that live where things happen; this is written when somebody asks. Who asks is `admin`'s business.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use protocol::ErrorCode;

use crate::dispatch::APIS;
use crate::log::Meter;

/// Upper limits of the buckets for times, in microseconds.
const TIME_LIMITS_US: [u64; 14] = [
    100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000,
    1_000_000, 5_000_000,
];
/// Upper limits of the buckets for sizes, in bytes.
const SIZE_LIMITS: [u64; 8] = [
    1 << 10,
    4 << 10,
    16 << 10,
    64 << 10,
    256 << 10,
    1 << 20,
    4 << 20,
    16 << 20,
];

/// How often values fell into which range, and their sum.
#[derive(Debug)]
pub(crate) struct Histogram {
    limits: &'static [u64],
    /// One for each limit, and one for what is above all.
    counts: Box<[AtomicU64]>,
    sum: AtomicU64,
}

impl Histogram {
    fn new(limits: &'static [u64]) -> Self {
        Self {
            limits,
            counts: (0..=limits.len()).map(|_| AtomicU64::new(0)).collect(),
            sum: AtomicU64::new(0),
        }
    }

    /// Of times.
    pub(crate) fn of_times() -> Self {
        Self::new(&TIME_LIMITS_US)
    }

    /// Of sizes.
    pub(crate) fn of_sizes() -> Self {
        Self::new(&SIZE_LIMITS)
    }

    /// Counts a number, of bytes or of microseconds.
    pub(crate) fn add(&self, value: u64) {
        let at = self.limits.partition_point(|limit| *limit < value);
        if let Some(count) = self.counts.get(at) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        self.sum.fetch_add(value, Ordering::Relaxed);
    }

    /// Counts a time.
    pub(crate) fn add_time(&self, time: Duration) {
        self.add(u64::try_from(time.as_micros()).unwrap_or(u64::MAX));
    }

    fn count(&self) -> u64 {
        let counts = self.counts.iter();
        counts.map(|count| count.load(Ordering::Relaxed)).sum()
    }

    /// Limits and sum are divided by `unit`.
    #[expect(clippy::cast_precision_loss, reason = "for people and graphs")]
    fn write(&self, text: &mut String, name: &str, labels: &str, unit: f64) {
        let comma = if labels.is_empty() { "" } else { "," };
        let mut total = 0;
        for (at, count) in self.counts.iter().enumerate() {
            total += count.load(Ordering::Relaxed);
            let limit = match self.limits.get(at) {
                Some(limit) => (*limit as f64 / unit).to_string(),
                None => "+Inf".to_owned(),
            };
            let _ = writeln!(
                text,
                "{name}_bucket{{{labels}{comma}le=\"{limit}\"}} {total}"
            );
        }
        let sum = self.sum.load(Ordering::Relaxed) as f64 / unit;
        let braces = |labels: &str| match labels {
            "" => String::new(),
            labels => format!("{{{labels}}}"),
        };
        let _ = writeln!(text, "{name}_sum{} {sum}", braces(labels));
        let _ = writeln!(text, "{name}_count{} {total}", braces(labels));
    }
}

/// Of one API.
#[derive(Debug)]
struct ApiMetrics {
    seconds: Histogram,
    /// By error code, 0 being none; one answer may have several.
    codes: Mutex<BTreeMap<i16, u64>>,
    closed: AtomicU64,
}

/// What is counted of requests, connections and the log.
#[derive(Debug)]
pub(crate) struct Metrics {
    /// In the order of the table.
    apis: Vec<ApiMetrics>,
    request_bytes: AtomicU64,
    response_bytes: AtomicU64,
}

/// What is true at the moment of asking.
#[derive(Debug, Default)]
pub(crate) struct Moment {
    pub(crate) connections: usize,
    pub(crate) topics: usize,
    pub(crate) partitions: usize,
    pub(crate) queued_appends: usize,
    pub(crate) tail_cache_bytes: usize,
    pub(crate) fetch_sessions: usize,
    /// Connections of the pool, those not in use, and those who wait for one.
    pub(crate) pool: (usize, usize, usize),
    /// `None` while the database does not answer.
    pub(crate) database: Option<storage::Pulse>,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let apis = APIS.iter().map(|_| ApiMetrics {
            seconds: Histogram::of_times(),
            codes: Mutex::default(),
            closed: AtomicU64::new(0),
        });
        Self {
            apis: apis.collect(),
            request_bytes: AtomicU64::new(0),
            response_bytes: AtomicU64::new(0),
        }
    }

    /// Counts a request of the API in row `api` of the table, its answer's bytes and error codes.
    pub(crate) fn answered(
        &self,
        api: usize,
        took: Duration,
        bytes: (usize, usize),
        codes: &[i16],
    ) {
        self.request_bytes
            .fetch_add(bytes.0 as u64, Ordering::Relaxed);
        self.response_bytes
            .fetch_add(bytes.1 as u64, Ordering::Relaxed);
        let Some(metrics) = self.apis.get(api) else {
            return;
        };
        metrics.seconds.add_time(took);
        let mut counts = metrics.codes.lock().unwrap_or_else(PoisonError::into_inner);
        for code in codes {
            *counts.entry(*code).or_default() += 1;
        }
    }

    /// Counts a request of that API whose answer was the end of its connection.
    pub(crate) fn closed(&self, api: usize) {
        if let Some(metrics) = self.apis.get(api) {
            metrics.closed.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Everything, as Prometheus reads it.
    pub(crate) fn text(&self, meter: &Meter, moment: &Moment) -> String {
        let mut text = String::with_capacity(16 << 10);
        self.write_requests(&mut text);
        write_log(&mut text, meter, moment);
        write_moment(&mut text, moment);
        text
    }

    fn write_requests(&self, text: &mut String) {
        let name = "pg_kafka_request_seconds";
        head(
            text,
            name,
            "histogram",
            "Time from a request's arrival to its answer, by API. Those of no request yet are left out.",
        );
        for (api, metrics) in APIS.iter().zip(&self.apis) {
            if metrics.seconds.count() > 0 {
                let labels = format!("api=\"{}\"", api.key.name());
                metrics.seconds.write(text, name, &labels, 1e6);
            }
        }
        let name = "pg_kafka_answers_total";
        head(
            text,
            name,
            "counter",
            "Error codes in answers, by API; NONE where there was no error.",
        );
        for (api, metrics) in APIS.iter().zip(&self.apis) {
            let counts = metrics.codes.lock().unwrap_or_else(PoisonError::into_inner);
            for (code, count) in counts.iter() {
                let error = ErrorCode::from_i16(*code).map_or("UNKNOWN", ErrorCode::name);
                let api = api.key.name();
                let _ = writeln!(text, "{name}{{api=\"{api}\",error=\"{error}\"}} {count}");
            }
        }
        let name = "pg_kafka_requests_closed_total";
        head(
            text,
            name,
            "counter",
            "Requests whose answer was the end of their connection, by API.",
        );
        for (api, metrics) in APIS.iter().zip(&self.apis) {
            let (api, count) = (api.key.name(), metrics.closed.load(Ordering::Relaxed));
            if count > 0 {
                let _ = writeln!(text, "{name}{{api=\"{api}\"}} {count}");
            }
        }
        let sum = |count: &AtomicU64| count.load(Ordering::Relaxed);
        value(
            text,
            "pg_kafka_request_bytes_total",
            "counter",
            "Bytes of requests.",
            sum(&self.request_bytes),
        );
        value(
            text,
            "pg_kafka_response_bytes_total",
            "counter",
            "Bytes of answers.",
            sum(&self.response_bytes),
        );
    }
}

fn write_log(text: &mut String, meter: &Meter, moment: &Moment) {
    let name = "pg_kafka_flush_seconds";
    head(
        text,
        name,
        "histogram",
        "Time of a flush, from its begin to its commit.",
    );
    meter.flush_seconds.write(text, name, "", 1e6);
    let name = "pg_kafka_flush_bytes";
    head(
        text,
        name,
        "histogram",
        "Bytes of record batches in a flush.",
    );
    meter.flush_bytes.write(text, name, "", 1.0);
    value(
        text,
        "pg_kafka_queued_appends",
        "gauge",
        "Record batches that wait for a flush.",
        moment.queued_appends,
    );
    let name = "pg_kafka_reads_total";
    head(
        text,
        name,
        "counter",
        "Reads of partitions, by whether memory had what was asked for.",
    );
    for (from, count) in [
        ("memory", &meter.reads_from_memory),
        ("database", &meter.reads_from_database),
        ("ahead", &meter.reads_ahead),
    ] {
        let count = count.load(Ordering::Relaxed);
        let _ = writeln!(text, "{name}{{from=\"{from}\"}} {count}");
    }
    value(
        text,
        "pg_kafka_tail_cache_bytes",
        "gauge",
        "Bytes of recent batches in memory.",
        moment.tail_cache_bytes,
    );
}

#[rustfmt::skip] // tables: one row a metric
fn write_moment(text: &mut String, moment: &Moment) {
    let (size, idle, waiting) = moment.pool;
    let counts = [
        ("pg_kafka_connections", moment.connections, "Open connections of clients."),
        ("pg_kafka_topics", moment.topics, "Topics."),
        ("pg_kafka_partitions", moment.partitions, "Partitions."),
        ("pg_kafka_fetch_sessions", moment.fetch_sessions, "Incremental fetch sessions."),
        ("pg_kafka_pool_connections", size, "Connections to the database in the pool."),
        ("pg_kafka_pool_connections_idle", idle, "Those that nobody uses."),
        ("pg_kafka_pool_waiting", waiting, "Who waits for a connection of the pool."),
        ("pg_kafka_database_up", usize::from(moment.database.is_some()), "Whether the database answers."),
    ];
    for (name, count, help) in counts {
        value(text, name, "gauge", help, count);
    }
    let Some(database) = &moment.database else {
        return;
    };
    let name = "pg_kafka_database_wal_bytes_total";
    value(text, name, "counter", "Bytes of write-ahead log that the database server has written.", database.wal_bytes);
    let name = "pg_kafka_database_size_bytes";
    value(text, name, "gauge", "Size of the database.", database.database_bytes);
    let name = "pg_kafka_database_oldest_transaction_seconds";
    value(text, name, "gauge", "Age of the oldest transaction in the database.", database.oldest_transaction_seconds);
    value(text, "pg_kafka_segments", "gauge", "Segment tables of the log.", database.segments);
    let name = "pg_kafka_groups";
    head(text, name, "gauge", "Groups of the cluster, by state. States without any are left out.");
    for (state, count) in &database.group_states {
        let _ = writeln!(text, "{name}{{state=\"{state}\"}} {count}");
    }
    let name = "pg_kafka_transactions";
    head(text, name, "gauge", "Transactional ids of the cluster, by the state of their transaction. States without any are left out.");
    for (state, count) in &database.transaction_states {
        let _ = writeln!(text, "{name}{{state=\"{state}\"}} {count}");
    }
}

fn head(text: &mut String, name: &str, kind: &str, help: &str) {
    let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

fn value(text: &mut String, name: &str, kind: &str, help: &str, value: impl std::fmt::Display) {
    head(text, name, kind, help);
    let _ = writeln!(text, "{name} {value}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn histograms_count_up_to_each_limit() {
        let histogram = Histogram::of_sizes();
        for size in [0, 1024, 1025, 20 << 20] {
            histogram.add(size);
        }
        let mut text = String::new();
        histogram.write(&mut text, "x", "a=\"b\"", 1.0);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "x_bucket{a=\"b\",le=\"1024\"} 2");
        assert_eq!(lines[1], "x_bucket{a=\"b\",le=\"4096\"} 3");
        assert_eq!(lines[8], "x_bucket{a=\"b\",le=\"+Inf\"} 4");
        assert_eq!(lines[9], format!("x_sum{{a=\"b\"}} {}", 2049 + (20 << 20)));
        assert_eq!(lines[10], "x_count{a=\"b\"} 4");
    }

    #[test]
    fn answers_are_counted_by_api_and_error() {
        let metrics = Metrics::new();
        let took = Duration::from_micros(300);
        metrics.answered(0, took, (10, 20), &[0, 0, 3]);
        metrics.closed(1);
        let text = metrics.text(&Meter::default(), &Moment::default());
        for line in [
            "pg_kafka_answers_total{api=\"Produce\",error=\"NONE\"} 2",
            "pg_kafka_answers_total{api=\"Produce\",error=\"UNKNOWN_TOPIC_OR_PARTITION\"} 1",
            "pg_kafka_requests_closed_total{api=\"Fetch\"} 1",
            "pg_kafka_request_seconds_bucket{api=\"Produce\",le=\"0.0005\"} 1",
            "pg_kafka_response_bytes_total 20",
            "pg_kafka_database_up 0",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} in\n{text}");
        }
    }
}
