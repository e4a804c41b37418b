//! The settings of a broker: their values, defaults and checks.
//!
//! What each setting is called and how its text is read is in `settings`; where values come from (flags, environment,
//! file) and which one wins is in `sources`. Nothing here reads the environment or a socket.

mod given;
mod groups;
mod inspection;
mod settings;
mod sources;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::LazyLock;

use protocol::compression::Compression;

pub use groups::{Assignors, MigrationPolicy};
pub(crate) use settings::{Setting, ValueKind, all as settings, find as setting};
pub use sources::{Command, ConfigError, load};

/// Every setting of the broker, checked. `Config::default()` is what runs without any flag.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Where connections are accepted.
    pub listeners: Endpoint,
    /// What clients are told to connect to. `None`: the host of `listeners`, or, where that is a wildcard, the address
    /// the client reached us by.
    pub advertised_listeners: Option<Endpoint>,
    /// Threads that serve connections. Half of the cores by default: the others are for PostgreSQL.
    pub num_network_threads: usize,
    /// Open connections, all together.
    pub max_connections: usize,
    /// Open connections from one address.
    pub max_connections_per_ip: usize,
    /// A connection without a request in flight is closed after this time, in milliseconds.
    pub connections_max_idle_ms: u64,
    /// The largest request, in bytes, without its size field.
    pub socket_request_max_bytes: usize,
    /// Bytes of requests in memory, all connections together. Beyond it sockets are not read.
    pub queued_max_request_bytes: usize,
    /// Requests of one connection that are being worked on. Beyond it the socket is not read.
    pub max_in_flight_requests_per_connection: usize,
    /// How long a stop waits for requests in flight, in milliseconds.
    pub shutdown_timeout_ms: u64,

    /// This broker's number in the cluster.
    pub node_id: i32,
    /// After how long without a heartbeat others take over, in milliseconds.
    pub broker_session_timeout_ms: u64,
    /// How often this broker tells that it lives, in milliseconds.
    pub broker_heartbeat_interval_ms: u64,
    /// The rack told to clients.
    pub broker_rack: Option<String>,

    /// Whether a Metadata request may create the topics it names.
    pub auto_create_topics_enable: bool,
    /// Partitions of a topic whose creator does not say.
    pub num_partitions: i32,
    /// The most partitions that one topic may have.
    pub max_partitions_per_topic: i32,
    /// The largest record batch, in bytes, of a topic without `max.message.bytes`.
    pub message_max_bytes: i32,
    /// The largest a record batch may become when it is decompressed to be checked, in bytes.
    pub max_decompressed_message_bytes: i32,
    /// How batches are kept in a topic without `compression.type`.
    pub compression_type: CompressionType,
    /// Who sets the time of a record in a topic without `message.timestamp.type`.
    pub log_message_timestamp_type: TimestampType,
    /// How far ahead of the broker's clock a record's time may be, in milliseconds.
    pub log_message_timestamp_after_max_ms: i64,
    /// How far behind the broker's clock a record's time may be, in milliseconds.
    pub log_message_timestamp_before_max_ms: i64,

    /// The size at which the log goes on in a new segment, in bytes.
    pub log_segment_table_bytes: u64,
    /// The age at which it does, in milliseconds.
    pub log_segment_table_ms: u64,
    /// How often it is looked what `retention.ms` and `retention.bytes` let go, in milliseconds.
    pub log_retention_check_interval_ms: u64,
    /// After how long a silent idempotent producer is forgotten, in milliseconds.
    pub producer_id_expiration_ms: i64,
    pub transaction_max_timeout_ms: i32,
    pub transactional_id_expiration_ms: i64,
    pub transaction_abort_timed_out_transaction_cleanup_interval_ms: u64,
    pub transaction_remove_expired_transaction_cleanup_interval_ms: u64,

    /// How long a classic group that was empty waits for more members, in milliseconds.
    pub group_initial_rebalance_delay_ms: i32,
    /// The least session timeout of a classic member, in milliseconds.
    pub group_min_session_timeout_ms: i32,
    /// The largest, in milliseconds.
    pub group_max_session_timeout_ms: i32,
    /// The most members of a classic group.
    pub group_max_size: i32,
    /// After how long a silent member of the new protocol is removed, in milliseconds.
    pub group_consumer_session_timeout_ms: i32,
    /// The least that a group's own setting may be.
    pub group_consumer_min_session_timeout_ms: i32,
    /// The largest.
    pub group_consumer_max_session_timeout_ms: i32,
    /// How often members of the new protocol send heartbeats, in milliseconds.
    pub group_consumer_heartbeat_interval_ms: i32,
    /// The least that a group's own setting may be.
    pub group_consumer_min_heartbeat_interval_ms: i32,
    /// The largest.
    pub group_consumer_max_heartbeat_interval_ms: i32,
    /// The least time between two assignments of a group, in milliseconds.
    pub group_consumer_assignment_interval_ms: i32,
    /// The least that it may be, in one group too.
    pub group_consumer_min_assignment_interval_ms: i32,
    /// The largest.
    pub group_consumer_max_assignment_interval_ms: i32,
    /// The most members of a group of the new protocol.
    pub group_consumer_max_size: i32,
    /// Assignors of the new protocol, the default first.
    pub group_consumer_assignors: Assignors,
    /// Whether groups may change their protocol while they have members.
    pub group_consumer_migration_policy: MigrationPolicy,
    /// The longest text that may go with a committed offset, in bytes.
    pub offset_metadata_max_bytes: i32,
    /// For how long offsets of a group without members are kept, in minutes.
    pub offsets_retention_minutes: i32,
    /// How often that is looked at, in milliseconds.
    pub offsets_retention_check_interval_ms: u64,

    /// The most record bytes in one Fetch answer.
    pub fetch_max_bytes: i32,
    /// Bytes of Fetch answers in memory, all connections together. Near it answers become smaller.
    pub fetch_memory_bytes: usize,
    pub max_incremental_fetch_session_cache_slots: usize,
    pub max_incremental_fetch_session_cache_partitions: usize,
    /// Bytes of recent records kept in memory for consumers near the end of the log.
    pub log_cache_bytes: usize,
    /// Bytes of older records read before their consumer asks for them.
    pub log_read_ahead_bytes: usize,

    /// Where the private PostgreSQL keeps its data.
    pub data_dir: PathBuf,
    /// A PostgreSQL to use instead of a private one.
    pub database_url: Option<DatabaseUrl>,
    /// Connections to the database, besides the log's writers.
    pub database_pool_size: usize,
    /// Where the programs of PostgreSQL (`initdb`, `postgres`) are, for a private one.
    pub postgres_bin_dir: Option<PathBuf>,

    /// Settings that are kept as texts, by name; see `given`.
    pub given: BTreeMap<&'static str, String>,

    /// Where metrics and health are told of.
    pub admin_listener: Option<Endpoint>,

    /// How log lines look.
    pub log_format: LogFormat,
    /// Which log lines are written: a level, or `target=level` pairs.
    pub log_level: String,
}

/// Asked once, as the system reads files to tell.
static CORES: LazyLock<usize> =
    LazyLock::new(|| std::thread::available_parallelism().map_or(1, NonZeroUsize::get));

impl Default for Config {
    fn default() -> Self {
        Self {
            listeners: Endpoint {
                host: "localhost".to_owned(),
                port: 9092,
            },
            advertised_listeners: None,
            num_network_threads: (*CORES / 2).max(1),
            max_connections: 10_000,
            max_connections_per_ip: 10_000,
            connections_max_idle_ms: 600_000,
            socket_request_max_bytes: 100 * 1024 * 1024,
            queued_max_request_bytes: 256 * 1024 * 1024,
            max_in_flight_requests_per_connection: 64,
            shutdown_timeout_ms: 10_000,
            node_id: 1,
            broker_session_timeout_ms: 9_000,
            broker_heartbeat_interval_ms: 2_000,
            broker_rack: None,
            auto_create_topics_enable: true,
            num_partitions: 1,
            max_partitions_per_topic: 10_000,
            message_max_bytes: 1_048_588,
            max_decompressed_message_bytes: 128 * 1024 * 1024,
            compression_type: CompressionType(None),
            log_message_timestamp_type: TimestampType::CreateTime,
            log_message_timestamp_after_max_ms: 3_600_000,
            log_message_timestamp_before_max_ms: i64::MAX,
            log_segment_table_bytes: 512 * 1024 * 1024,
            log_segment_table_ms: 6 * 60 * 60 * 1000,
            log_retention_check_interval_ms: 300_000,
            producer_id_expiration_ms: 86_400_000,
            transaction_max_timeout_ms: 900_000,
            transactional_id_expiration_ms: 604_800_000,
            transaction_abort_timed_out_transaction_cleanup_interval_ms: 10_000,
            transaction_remove_expired_transaction_cleanup_interval_ms: 3_600_000,
            group_initial_rebalance_delay_ms: 3_000,
            group_min_session_timeout_ms: 6_000,
            group_max_session_timeout_ms: 1_800_000,
            group_max_size: i32::MAX,
            group_consumer_session_timeout_ms: 45_000,
            group_consumer_min_session_timeout_ms: 45_000,
            group_consumer_max_session_timeout_ms: 60_000,
            group_consumer_heartbeat_interval_ms: 5_000,
            group_consumer_min_heartbeat_interval_ms: 5_000,
            group_consumer_max_heartbeat_interval_ms: 15_000,
            group_consumer_assignment_interval_ms: 1_000,
            group_consumer_min_assignment_interval_ms: 0,
            group_consumer_max_assignment_interval_ms: 15_000,
            group_consumer_max_size: i32::MAX,
            group_consumer_assignors: Assignors::default(),
            group_consumer_migration_policy: MigrationPolicy::Bidirectional,
            offset_metadata_max_bytes: 4_096,
            offsets_retention_minutes: 10_080,
            offsets_retention_check_interval_ms: 600_000,
            fetch_max_bytes: 55 * 1024 * 1024,
            fetch_memory_bytes: 512 * 1024 * 1024,
            max_incremental_fetch_session_cache_slots: 1_000,
            max_incremental_fetch_session_cache_partitions: 1_000_000,
            log_cache_bytes: 128 * 1024 * 1024,
            log_read_ahead_bytes: 16 * 1024 * 1024,
            data_dir: PathBuf::from("./data"),
            database_url: None,
            database_pool_size: 8,
            postgres_bin_dir: None,
            given: BTreeMap::new(),
            admin_listener: None,
            log_format: LogFormat::Text,
            log_level: "info".to_owned(),
        }
    }
}

impl Config {
    /// What a client is told to connect to: `advertised.listeners`, or the host of `listeners`, or `reached` where that
    /// is a wildcard. `port` is the one that is listened on, which stands for 0.
    pub(crate) fn advertised(&self, port: u16, reached: Option<SocketAddr>) -> Endpoint {
        if let Some(advertised) = &self.advertised_listeners {
            let port = if advertised.port == 0 {
                port
            } else {
                advertised.port
            };
            return Endpoint {
                host: advertised.host.clone(),
                port,
            };
        }
        let host = match reached {
            Some(address) if self.listeners.is_wildcard() => {
                address.ip().to_canonical().to_string()
            }
            None if self.listeners.is_wildcard() => "localhost".to_owned(),
            _ => self.listeners.host.clone(),
        };
        Endpoint { host, port }
    }

    /// What no single setting can check for itself.
    fn check(&self) -> Result<(), ConfigError> {
        if self.queued_max_request_bytes < self.socket_request_max_bytes {
            return Err(ConfigError::Conflict(
                "queued.max.request.bytes must be at least socket.request.max.bytes, else the largest request never fits".to_owned(),
            ));
        }
        if let Some(advertised) = &self.advertised_listeners
            && advertised.is_wildcard()
        {
            return Err(ConfigError::Conflict(
                "advertised.listeners must name a host that clients can connect to".to_owned(),
            ));
        }
        if self.num_partitions > self.max_partitions_per_topic {
            return Err(ConfigError::Conflict(
                "num.partitions must not be above max.partitions.per.topic".to_owned(),
            ));
        }
        self.check_spans().map_err(ConfigError::Conflict)
    }
}

/// A host and a port. Written `PLAINTEXT://host:port`, the scheme may be left out; an empty host is every address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// A name or an address, without brackets; empty for every address of this machine.
    pub host: String,
    /// The TCP port; 0 lets the system choose.
    pub port: u16,
}

impl Endpoint {
    /// Whether this names no particular host, so that it cannot be told to clients.
    pub fn is_wildcard(&self) -> bool {
        matches!(self.host.as_str(), "" | "0.0.0.0" | "::")
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

impl FromStr for Endpoint {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.contains(',') {
            return Err("one listener is served, not several".to_owned());
        }
        let address = match text.split_once("://") {
            Some(("PLAINTEXT", address)) => address,
            Some((scheme, _)) => {
                return Err(format!(
                    "only PLAINTEXT:// is served, not {scheme}://; write PLAINTEXT://host:port"
                ));
            }
            None => text,
        };
        let (host, port) = address
            .rsplit_once(':')
            .ok_or_else(|| "the port is missing; write PLAINTEXT://host:port".to_owned())?;
        let port = port
            .parse()
            .map_err(|_| format!("`{port}` is not a port (0 to 65535)"))?;
        let bare = host
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'));
        match bare {
            Some(address) => Ok(Self {
                host: address.to_owned(),
                port,
            }),
            None if host.contains(':') => {
                Err("an IPv6 address is written in brackets: PLAINTEXT://[::1]:9092".to_owned())
            }
            None => Ok(Self {
                host: host.to_owned(),
                port,
            }),
        }
    }
}

/// A PostgreSQL connection string. Its `Debug` and `Display` hide the password.
#[derive(Clone, PartialEq, Eq)]
pub struct DatabaseUrl(String);

impl DatabaseUrl {
    /// Takes any text; whether it can be used shows when the database is opened.
    pub fn new(url: impl Into<String>) -> Self {
        Self(url.into())
    }

    /// The whole string, password and all.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(hidden) = hide_url_password(&self.0) {
            return f.write_str(&hidden);
        }
        let words: Vec<&str> = self
            .0
            .split_whitespace()
            .map(|word| match word.split_once('=') {
                Some(("password", _)) => "password=***",
                _ => word,
            })
            .collect();
        f.write_str(&words.join(" "))
    }
}

/// `scheme://user:password@host` with the password replaced; `None` when the text has no such part.
fn hide_url_password(url: &str) -> Option<String> {
    let (scheme, rest) = url.split_once("://")?;
    let (credentials, host) = rest.rsplit_once('@')?;
    let (user, _) = credentials.split_once(':')?;
    Some(format!("{scheme}://{user}:***@{host}"))
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DatabaseUrl({self})")
    }
}

/// Who sets the time of a record: Kafka's `message.timestamp.type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimestampType {
    /// The producer.
    CreateTime,
    /// The broker, when it appends.
    LogAppendTime,
}

impl TimestampType {
    /// Kafka's word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::CreateTime => "CreateTime",
            Self::LogAppendTime => "LogAppendTime",
        }
    }
}

impl FromStr for TimestampType {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "CreateTime" => Ok(Self::CreateTime),
            "LogAppendTime" => Ok(Self::LogAppendTime),
            _ => Err("write CreateTime or LogAppendTime".to_owned()),
        }
    }
}

/// How batches are kept, Kafka's `compression.type`: with this codec, or, without one, as they were sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CompressionType(pub Option<Compression>);

impl CompressionType {
    /// Kafka's word for it.
    pub fn name(self) -> &'static str {
        match self.0 {
            None => "producer",
            Some(Compression::None) => "uncompressed",
            Some(codec) => codec.name(),
        }
    }
}

impl FromStr for CompressionType {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let codecs = Compression::ALL.into_iter().map(Some);
        let mut types = std::iter::once(None).chain(codecs).map(Self);
        types
            .find(|kind| kind.name() == text)
            .ok_or_else(|| "write producer, uncompressed, gzip, snappy, lz4 or zstd".to_owned())
    }
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

impl FromStr for LogFormat {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err("write text or json".to_owned()),
        }
    }
}
