//! The table of settings: name, place in the help, what its value looks like, how it is read and shown.
//!
//! Kafka's names are used where Kafka has the setting. One row here is all that a new setting needs besides its field.

use std::path::PathBuf;

use super::given::GIVEN;
use super::{
    Assignors, CompressionType, Config, DatabaseUrl, Endpoint, LogFormat, MigrationPolicy,
    TimestampType,
};
use crate::settings::kind::Kind;
use crate::settings::topics::TopicSetting;

/// One setting.
#[derive(Debug)]
pub(crate) struct Setting {
    /// The heading it stands under.
    pub(super) section: &'static str,
    /// The dotted name, as in a Kafka `server.properties`.
    pub(crate) name: &'static str,
    /// What a value looks like, for the help.
    pub(super) value: &'static str,
    /// One or two sentences.
    pub(crate) help: &'static str,
    /// The least value of a number.
    pub(super) at_least: i64,
    /// Reads a text into the field.
    pub(super) set: fn(&mut Config, &str, i64) -> Result<(), String>,
    /// The field as a text; empty when it has no value.
    pub(super) show: fn(&Config) -> String,
    /// What the field holds.
    pub(super) kind: fn(&Config) -> ValueKind,
    /// What values it takes, where it is kept as a text.
    pub(super) rule: Option<Kind>,
    /// Whether it can be changed while brokers run.
    pub(crate) is_dynamic: bool,
}

/// What a value is, in the words of DescribeConfigs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ValueKind {
    Boolean,
    String,
    Int,
    Short,
    Long,
    Double,
    List,
    Password,
}

impl Setting {
    /// It can be changed while brokers run.
    const fn dynamic(mut self) -> Self {
        self.is_dynamic = true;
        self
    }

    /// It cannot be changed while brokers run.
    pub(super) const fn fixed(mut self) -> Self {
        self.is_dynamic = false;
        self
    }

    /// Reads `text` into `config`.
    pub(crate) fn set(&self, config: &mut Config, text: &str) -> Result<(), String> {
        (self.set)(config, text, self.at_least)
    }

    /// Its value in `config`; empty when it has none.
    pub(crate) fn show(&self, config: &Config) -> String {
        (self.show)(config)
    }

    /// What its value is.
    pub(crate) fn value_kind(&self, config: &Config) -> ValueKind {
        (self.kind)(config)
    }

    /// Whether an empty text is a value of it, not the lack of one.
    pub(crate) fn takes_empty(&self) -> bool {
        self.rule.is_some_and(Kind::is_list)
    }

    /// What values it takes, where that is more than its field can say: its own rule, or that of the topic setting whose
    /// default it is.
    pub(crate) fn rule(&self) -> Option<Kind> {
        let topics = || TopicSetting::defaulted_by(self.name).map(|setting| setting.kind);
        self.rule.or_else(topics)
    }

    /// Whether `value` will do; the error is Kafka's text.
    pub(crate) fn check(&self, value: &str) -> Result<(), String> {
        if let Some(rule) = self.rule() {
            rule.check(self.name, value)?;
        }
        self.set(&mut Config::default(), value).map_err(|reason| {
            format!(
                "Invalid value {value} for configuration {}: {reason}",
                self.name
            )
        })
    }

    /// `num.partitions` is the flag `--num-partitions`.
    pub(super) fn flag(&self) -> String {
        self.name.replace('.', "-")
    }

    /// `num.partitions` is the variable `PG_KAFKA_NUM_PARTITIONS`.
    pub(super) fn variable(&self) -> String {
        format!(
            "{}{}",
            super::sources::VARIABLE_PREFIX,
            self.name.replace('.', "_").to_uppercase()
        )
    }
}

/// A value that a setting can have.
trait Value: Sized {
    fn read(text: &str, at_least: i64) -> Result<Self, String>;
    fn show(&self) -> String;
    fn kind() -> ValueKind {
        ValueKind::String
    }
}

/// The kind of what a function returns.
fn kind_of<T: Value>(_: fn(&Config) -> &T) -> ValueKind {
    T::kind()
}

macro_rules! numbers {
    ($($number:ty: $kind:ident)*) => { $(
        impl Value for $number {
            fn read(text: &str, at_least: i64) -> Result<Self, String> {
                let number: i64 = text.trim().parse().map_err(|_| "a whole number is needed".to_owned())?;
                if number < at_least {
                    return Err(format!("the least value is {at_least}"));
                }
                Self::try_from(number).map_err(|_| format!("the largest value is {}", Self::MAX))
            }
            fn show(&self) -> String {
                self.to_string()
            }
            fn kind() -> ValueKind {
                ValueKind::$kind
            }
        }
    )* };
}
numbers! { i32: Int i64: Long u64: Long usize: Long }

impl Value for bool {
    fn read(text: &str, _: i64) -> Result<Self, String> {
        match text {
            "true" => Ok(true),
            "false" => Ok(false),
            _ => Err("write true or false".to_owned()),
        }
    }
    fn show(&self) -> String {
        self.to_string()
    }
    fn kind() -> ValueKind {
        ValueKind::Boolean
    }
}

impl Value for String {
    fn read(text: &str, _: i64) -> Result<Self, String> {
        Ok(text.to_owned())
    }
    fn show(&self) -> String {
        self.clone()
    }
}

impl Value for PathBuf {
    fn read(text: &str, _: i64) -> Result<Self, String> {
        if text.is_empty() {
            return Err("a path is needed".to_owned());
        }
        Ok(Self::from(text))
    }
    fn show(&self) -> String {
        self.display().to_string()
    }
}

impl Value for DatabaseUrl {
    fn read(text: &str, _: i64) -> Result<Self, String> {
        Ok(Self::new(text))
    }
    fn show(&self) -> String {
        self.to_string()
    }
    fn kind() -> ValueKind {
        ValueKind::Password
    }
}

impl Value for Endpoint {
    fn read(text: &str, _: i64) -> Result<Self, String> {
        text.parse()
    }
    fn show(&self) -> String {
        format!("PLAINTEXT://{self}")
    }
}

impl Value for TimestampType {
    fn read(text: &str, _: i64) -> Result<Self, String> {
        text.parse()
    }
    fn show(&self) -> String {
        self.name().to_owned()
    }
}

impl Value for CompressionType {
    fn read(text: &str, _: i64) -> Result<Self, String> {
        text.parse()
    }
    fn show(&self) -> String {
        self.name().to_owned()
    }
}

impl Value for Assignors {
    fn read(text: &str, _: i64) -> Result<Self, String> {
        text.parse()
    }
    fn show(&self) -> String {
        self.0.join(",")
    }
    fn kind() -> ValueKind {
        ValueKind::List
    }
}

impl Value for MigrationPolicy {
    fn read(text: &str, _: i64) -> Result<Self, String> {
        text.parse()
    }
    fn show(&self) -> String {
        self.name().to_owned()
    }
}

impl Value for LogFormat {
    fn read(text: &str, _: i64) -> Result<Self, String> {
        text.parse()
    }
    fn show(&self) -> String {
        match self {
            Self::Text => "text".to_owned(),
            Self::Json => "json".to_owned(),
        }
    }
}

/// An empty text is no value.
impl<T: Value> Value for Option<T> {
    fn read(text: &str, at_least: i64) -> Result<Self, String> {
        if text.is_empty() {
            return Ok(None);
        }
        T::read(text, at_least).map(Some)
    }
    fn show(&self) -> String {
        self.as_ref().map(T::show).unwrap_or_default()
    }
    fn kind() -> ValueKind {
        T::kind()
    }
}

macro_rules! setting {
    ($section:expr, $name:literal, $field:ident, $value:literal, at_least $least:expr, $help:literal) => {
        Setting {
            section: $section,
            name: $name,
            value: $value,
            help: $help,
            at_least: $least,
            set: |config, text, at_least| {
                config.$field = Value::read(text, at_least)?;
                Ok(())
            },
            show: |config| Value::show(&config.$field),
            kind: |_| kind_of(|config| &config.$field),
            rule: None,
            is_dynamic: false,
        }
    };
    ($section:expr, $name:literal, $field:ident, $value:literal, $help:literal) => {
        setting!($section, $name, $field, $value, at_least i64::MIN, $help)
    };
}

const NETWORK: &str = "Network";
const TOPICS: &str = "Topics";
pub(super) const GROUPS: &str = "Consumer groups";
const READING: &str = "Reading";
const DATABASE: &str = "Database";
const PROCESS: &str = "Process";

/// All settings that have a field, in the order of the help and of the printed file.
#[rustfmt::skip] // a table: one row a setting
pub(super) static SETTINGS: &[Setting] = &[
    setting!(NETWORK, "listeners", listeners, "PLAINTEXT://HOST:PORT",
        "Where connections are accepted. An empty host is every address; connections are neither encrypted nor authenticated."),
    setting!(NETWORK, "advertised.listeners", advertised_listeners, "PLAINTEXT://HOST:PORT",
        "What clients are told to connect to. Without it, the host of `listeners` or, if that is empty, the address the client reached the broker by."),
    setting!(NETWORK, "num.network.threads", num_network_threads, "COUNT", at_least 1,
        "Threads that serve connections. By default half as many as there are cores: the others are PostgreSQL's."),
    setting!(NETWORK, "max.connections", max_connections, "COUNT", at_least 1,
        "Open connections, all together. More are closed as they come.").dynamic(),
    setting!(NETWORK, "max.connections.per.ip", max_connections_per_ip, "COUNT", at_least 1,
        "Open connections from one address.").dynamic(),
    setting!(NETWORK, "connections.max.idle.ms", connections_max_idle_ms, "MS", at_least 1,
        "A connection without any request for this long is closed."),
    setting!(NETWORK, "socket.request.max.bytes", socket_request_max_bytes, "BYTES", at_least 1024,
        "The largest request. A larger one closes its connection."),
    setting!(NETWORK, "queued.max.request.bytes", queued_max_request_bytes, "BYTES", at_least 1024,
        "Bytes of requests in memory, all connections together. Beyond it sockets are left unread until others are answered."),
    setting!(NETWORK, "max.in.flight.requests.per.connection", max_in_flight_requests_per_connection, "COUNT", at_least 1,
        "Requests of one connection that are worked on at the same time. Beyond it its socket is left unread."),
    setting!(NETWORK, "shutdown.timeout.ms", shutdown_timeout_ms, "MS", at_least 0,
        "How long a stop waits for requests in flight."),
    setting!(TOPICS, "auto.create.topics.enable", auto_create_topics_enable, "true|false",
        "Whether a client that asks for an unknown topic, and wants it created, gets it."),
    setting!(TOPICS, "num.partitions", num_partitions, "COUNT", at_least 1,
        "Partitions of a topic whose creator does not say."),
    setting!(TOPICS, "max.partitions.per.topic", max_partitions_per_topic, "COUNT", at_least 1,
        "The most partitions that one topic may have."),
    setting!(TOPICS, "message.max.bytes", message_max_bytes, "BYTES", at_least 0,
        "The largest record batch, as sent. A topic's max.message.bytes goes before it.").dynamic(),
    setting!(TOPICS, "max.decompressed.message.bytes", max_decompressed_message_bytes, "BYTES", at_least 1024,
        "The largest that a compressed record batch may become when it is read to be checked."),
    setting!(TOPICS, "compression.type", compression_type, "TYPE",
        "How batches are kept: producer (as they were sent), uncompressed (SQL reads every record), gzip, snappy, lz4 or zstd. A topic's compression.type goes before it.").dynamic(),
    setting!(TOPICS, "log.message.timestamp.type", log_message_timestamp_type, "CreateTime|LogAppendTime",
        "Who sets the time of a record. A topic's message.timestamp.type goes before it.").dynamic(),
    setting!(TOPICS, "log.message.timestamp.after.max.ms", log_message_timestamp_after_max_ms, "MS", at_least 0,
        "How far ahead of this machine's clock a record's time may be.").dynamic(),
    setting!(TOPICS, "log.message.timestamp.before.max.ms", log_message_timestamp_before_max_ms, "MS", at_least 0,
        "How far behind this machine's clock a record's time may be.").dynamic(),
    setting!(TOPICS, "log.segment.table.bytes", log_segment_table_bytes, "BYTES", at_least 1_048_576,
        "The size at which the log goes on in a new segment. A segment is one table, which all partitions share and which is dropped whole."),
    setting!(TOPICS, "log.segment.table.ms", log_segment_table_ms, "MS", at_least 1000,
        "The age at which the log goes on in a new segment."),
    setting!(TOPICS, "log.retention.check.interval.ms", log_retention_check_interval_ms, "MS", at_least 1,
        "How often it is looked what retention.ms and retention.bytes of topics let go."),
    setting!(TOPICS, "producer.id.expiration.ms", producer_id_expiration_ms, "MS", at_least 1,
        "After how long a silent idempotent producer is forgotten."),
    setting!(TOPICS, "transaction.max.timeout.ms", transaction_max_timeout_ms, "MS", at_least 1,
        "The longest transaction.timeout.ms that a producer may ask for."),
    setting!(TOPICS, "transactional.id.expiration.ms", transactional_id_expiration_ms, "MS", at_least 1,
        "After how long a transactional id that nobody uses is forgotten."),
    setting!(TOPICS, "transaction.abort.timed.out.transaction.cleanup.interval.ms", transaction_abort_timed_out_transaction_cleanup_interval_ms, "MS", at_least 1,
        "How often transactions that are over their time are looked for, to be aborted."),
    setting!(TOPICS, "transaction.remove.expired.transaction.cleanup.interval.ms", transaction_remove_expired_transaction_cleanup_interval_ms, "MS", at_least 1,
        "How often transactional ids to be forgotten are looked for."),
    setting!(GROUPS, "group.initial.rebalance.delay.ms", group_initial_rebalance_delay_ms, "MS",
        "How long a classic group that was empty waits for more members before it is assigned for the first time."),
    setting!(GROUPS, "group.min.session.timeout.ms", group_min_session_timeout_ms, "MS",
        "The least session.timeout.ms of members of classic groups."),
    setting!(GROUPS, "group.max.session.timeout.ms", group_max_session_timeout_ms, "MS",
        "The largest session.timeout.ms of members of classic groups."),
    setting!(GROUPS, "group.max.size", group_max_size, "COUNT", at_least 1,
        "The most members of a classic group."),
    setting!(GROUPS, "group.consumer.session.timeout.ms", group_consumer_session_timeout_ms, "MS", at_least 1,
        "After how long a silent member of the new protocol (group.protocol=consumer) is removed."),
    setting!(GROUPS, "group.consumer.min.session.timeout.ms", group_consumer_min_session_timeout_ms, "MS", at_least 1,
        "The least value of group.consumer.session.timeout.ms."),
    setting!(GROUPS, "group.consumer.max.session.timeout.ms", group_consumer_max_session_timeout_ms, "MS", at_least 1,
        "The largest value of group.consumer.session.timeout.ms."),
    setting!(GROUPS, "group.consumer.heartbeat.interval.ms", group_consumer_heartbeat_interval_ms, "MS", at_least 1,
        "How often members of the new protocol are told to send heartbeats."),
    setting!(GROUPS, "group.consumer.min.heartbeat.interval.ms", group_consumer_min_heartbeat_interval_ms, "MS", at_least 1,
        "The least value of group.consumer.heartbeat.interval.ms."),
    setting!(GROUPS, "group.consumer.max.heartbeat.interval.ms", group_consumer_max_heartbeat_interval_ms, "MS", at_least 1,
        "The largest value of group.consumer.heartbeat.interval.ms."),
    setting!(GROUPS, "group.consumer.assignment.interval.ms", group_consumer_assignment_interval_ms, "MS", at_least 0,
        "The least time between two assignments of a group of the new protocol, so that members that come together are dealt with together.").dynamic(),
    setting!(GROUPS, "group.consumer.min.assignment.interval.ms", group_consumer_min_assignment_interval_ms, "MS", at_least 0,
        "The least value of group.consumer.assignment.interval.ms; a smaller one counts as this."),
    setting!(GROUPS, "group.consumer.max.assignment.interval.ms", group_consumer_max_assignment_interval_ms, "MS", at_least 0,
        "The largest value of group.consumer.assignment.interval.ms; a larger one counts as this."),
    setting!(GROUPS, "group.consumer.max.size", group_consumer_max_size, "COUNT", at_least 1,
        "The most members of a group of the new protocol."),
    setting!(GROUPS, "group.consumer.assignors", group_consumer_assignors, "LIST",
        "Assignors that members of the new protocol may ask for, uniform and range; the first one is the default."),
    setting!(GROUPS, "group.consumer.migration.policy", group_consumer_migration_policy, "POLICY",
        "Whether groups with members may go over to the new protocol (upgrade), back (downgrade), both (bidirectional) or neither (disabled)."),
    setting!(GROUPS, "offset.metadata.max.bytes", offset_metadata_max_bytes, "BYTES",
        "The longest text that a client may give with a committed offset."),
    setting!(GROUPS, "offsets.retention.minutes", offsets_retention_minutes, "MINUTES", at_least 1,
        "For how long committed offsets are kept when the group has no members any more, or none that subscribe to the topic."),
    setting!(GROUPS, "offsets.retention.check.interval.ms", offsets_retention_check_interval_ms, "MS", at_least 1,
        "How often offsets to be forgotten are looked for."),
    setting!(READING, "fetch.max.bytes", fetch_max_bytes, "BYTES", at_least 1024,
        "The most record bytes in one answer to a consumer. A first batch that is larger is sent all the same."),
    setting!(READING, "fetch.memory.bytes", fetch_memory_bytes, "BYTES", at_least 1_048_576,
        "Bytes of answers to consumers in memory, all connections together. Near it answers become smaller."),
    setting!(READING, "max.incremental.fetch.session.cache.slots", max_incremental_fetch_session_cache_slots, "COUNT", at_least 0,
        "Fetch sessions (KIP-227), all consumers together. Who gets none fetches in full."),
    setting!(READING, "max.incremental.fetch.session.cache.partitions", max_incremental_fetch_session_cache_partitions, "COUNT", at_least 0,
        "Partitions that all fetch sessions may hold together."),
    setting!(READING, "log.cache.bytes", log_cache_bytes, "BYTES", at_least 0,
        "Memory for the newest records, so that consumers near the end need no database."),
    setting!(READING, "log.read.ahead.bytes", log_read_ahead_bytes, "BYTES", at_least 0,
        "Memory for older records that are read from the database before their consumer asks for them, all consumers together. 0 reads nothing ahead."),
    setting!(DATABASE, "data.dir", data_dir, "DIR",
        "Where the private PostgreSQL keeps its data. Not used with database.url."),
    setting!(DATABASE, "database.url", database_url, "URL",
        "A PostgreSQL (14 or later) to use instead of a private one: postgres://user:password@host/database. Better given as the environment variable, which other users cannot see."),
    setting!(DATABASE, "database.pool.size", database_pool_size, "COUNT", at_least 1,
        "Connections to the database for reading and administration. The log's writers have their own."),
    setting!(DATABASE, "postgres.bin.dir", postgres_bin_dir, "DIR",
        "Where initdb and postgres are, for the private PostgreSQL. Without it PATH and the usual places are searched."),
    setting!(PROCESS, "node.id", node_id, "NUMBER", at_least 0,
        "This broker's number in the cluster. Brokers that serve one database need different ones."),
    setting!(PROCESS, "broker.session.timeout.ms", broker_session_timeout_ms, "MS", at_least 100,
        "After how long without a heartbeat the other brokers on the same database take over what this one led."),
    setting!(PROCESS, "broker.heartbeat.interval.ms", broker_heartbeat_interval_ms, "MS", at_least 10,
        "How often this broker tells the others that it lives."),
    setting!(PROCESS, "broker.rack", broker_rack, "NAME",
        "The rack or zone of this broker, told to clients."),
    setting!(PROCESS, "admin.listener", admin_listener, "HOST:PORT",
        "Where /metrics (for Prometheus), /healthz and /readyz are served, unencrypted and to everybody. An empty host is every address."),
    setting!(PROCESS, "log.format", log_format, "text|json",
        "How log lines look."),
    setting!(PROCESS, "log.level", log_level, "LEVEL",
        "Which log lines are written: error, warn, info, debug or trace, or pairs such as broker=debug. With info,wire=debug requests and responses are shown as JSON without secrets."),
];

/// Other names that Kafka has for the same setting.
pub(super) const SYNONYMS: &[(&str, &str)] = &[("broker.id", "node.id")];

/// All settings, in the order of the help and of the printed file.
pub(crate) fn all() -> impl Iterator<Item = &'static Setting> {
    SETTINGS.iter().chain(GIVEN)
}

/// The setting with this dotted name.
pub(crate) fn find(name: &str) -> Option<&'static Setting> {
    let name = SYNONYMS
        .iter()
        .find(|(synonym, _)| *synonym == name)
        .map_or(name, |(_, name)| name);
    all().find(|setting| setting.name == name)
}

/// The known name closest to an unknown one, when it is close enough to be meant.
pub(super) fn nearest(name: &str) -> Option<&'static str> {
    all()
        .map(|setting| (distance(name, setting.name), setting.name))
        .min()
        .filter(|(distance, known)| *distance <= known.len() / 3)
        .map(|(_, known)| known)
}

/// Levenshtein's distance: insertions, deletions and changes of one character.
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut previous: Vec<usize> = (0..=right.len()).collect();
    for (row, l) in left.chars().enumerate() {
        let mut current = vec![row + 1];
        for (column, r) in right.iter().enumerate() {
            let change = previous[column] + usize::from(l != *r);
            current.push(
                change
                    .min(previous[column + 1] + 1)
                    .min(current[column] + 1),
            );
        }
        previous = current;
    }
    previous[right.len()]
}
