//! Settings of the broker that are kept as texts: the defaults of topic settings that the broker does not use itself, and those
//! of Kafka's dynamic settings that mean nothing here, which are taken so that tools and scripts that give them work.

use super::Config;
use super::settings::{Setting, ValueKind};
use crate::settings::kind::Kind;

const TOPICS: &str = "Defaults of topics";
const IDLE: &str = "Without a meaning here";
const LONG_MAX: &str = "9223372036854775807";

macro_rules! given {
    ($section:expr, $name:literal, $value:literal, $kind:expr, $default:expr, $help:literal) => {
        Setting {
            section: $section,
            name: $name,
            value: $value,
            help: $help,
            at_least: i64::MIN,
            set: |config, text, _| store(config, ($name, $kind, $default), text),
            show: |config| {
                let given = config.given.get($name);
                given.map_or_else(|| $default.to_owned(), Clone::clone)
            },
            kind: |_| -> ValueKind { $kind.value_kind() },
            rule: Some($kind),
            is_dynamic: true,
        }
    };
}

/// Keeps what is not the default. An empty text takes the value of a setting away that has no default.
fn store(
    config: &mut Config,
    (name, kind, default): (&'static str, Kind, &'static str),
    text: &str,
) -> Result<(), String> {
    if !text.trim().is_empty() || !default.is_empty() {
        kind.check(name, text)?;
    }
    match kind.normal(text) {
        value if value == default => config.given.remove(name),
        value => config.given.insert(name, value),
    };
    Ok(())
}

/// In the order of the help.
#[rustfmt::skip] // a table: one row a setting
pub(super) static GIVEN: &[Setting] = &[
    given!(TOPICS, "compression.gzip.level", "LEVEL", Kind::Level(1, 9, -1), "-1",
        "The level of gzip where the broker compresses; -1 is gzip's own default. Default of the topic setting of the same name."),
    given!(TOPICS, "compression.lz4.level", "LEVEL", Kind::Int { least: 1, most: 17 }, "9",
        "The level of lz4; the broker has one level, its fastest. Default of the topic setting of the same name."),
    given!(TOPICS, "compression.zstd.level", "LEVEL", Kind::Int { least: -131_072, most: 22 }, "3",
        "The level of zstd where the broker compresses. Default of the topic setting of the same name."),
    given!(TOPICS, "log.cleaner.delete.retention.ms", "MS", Kind::Long { least: 0 }, "86400000",
        "How long compacted topics keep the marks of deleted keys. Default of `delete.retention.ms` of topics."),
    given!(TOPICS, "log.cleaner.max.compaction.lag.ms", "MS", Kind::Long { least: 1 }, LONG_MAX,
        "The longest a record stays without being compacted. Default of `max.compaction.lag.ms` of topics."),
    given!(TOPICS, "log.cleaner.min.cleanable.ratio", "RATIO", Kind::Ratio, "0.5",
        "The share of uncompacted bytes from which on a log is compacted. Default of `min.cleanable.dirty.ratio` of topics."),
    given!(TOPICS, "log.cleaner.min.compaction.lag.ms", "MS", Kind::Long { least: 0 }, "0",
        "The least time a record stays uncompacted. Default of `min.compaction.lag.ms` of topics."),
    given!(TOPICS, "log.cleanup.policy", "POLICY", Kind::Words(&["compact", "delete"]), "delete",
        "What becomes of old records: delete, compact or both. Default of `cleanup.policy` of topics."),
    given!(TOPICS, "log.flush.interval.messages", "COUNT", Kind::Long { least: 1 }, LONG_MAX,
        "Default of `flush.messages` of topics; every acknowledged batch is committed in any case."),
    given!(TOPICS, "log.flush.interval.ms", "MS", Kind::Long { least: 0 }, "",
        "Default of `flush.ms` of topics; every acknowledged batch is committed in any case."),
    given!(TOPICS, "log.index.interval.bytes", "BYTES", Kind::int(0), "4096",
        "Default of `index.interval.bytes` of topics; PostgreSQL's index has every run."),
    given!(TOPICS, "log.index.size.max.bytes", "BYTES", Kind::int(4), "10485760",
        "Default of `segment.index.bytes` of topics; PostgreSQL's index grows as it must."),
    given!(TOPICS, "log.local.retention.bytes", "BYTES", Kind::Long { least: -2 }, "-2",
        "Default of `local.retention.bytes` of topics; there is no tiered storage."),
    given!(TOPICS, "log.local.retention.ms", "MS", Kind::Long { least: -2 }, "-2",
        "Default of `local.retention.ms` of topics; there is no tiered storage."),
    given!(TOPICS, "log.preallocate", "true|false", Kind::Boolean, "false",
        "Default of `preallocate` of topics; segments are made ahead in any case."),
    given!(TOPICS, "log.remote.copy.lag.bytes", "BYTES", Kind::Long { least: -1 }, "-1",
        "Default of `remote.copy.lag.bytes` of topics; there is no tiered storage."),
    given!(TOPICS, "log.remote.copy.lag.ms", "MS", Kind::Long { least: -1 }, "0",
        "Default of `remote.copy.lag.ms` of topics; there is no tiered storage."),
    given!(TOPICS, "log.retention.bytes", "BYTES", Kind::Long { least: i64::MIN }, "-1",
        "How many bytes of a partition are kept; -1 is all. Default of `retention.bytes` of topics."),
    given!(TOPICS, "log.retention.ms", "MS", Kind::Long { least: -1 }, "",
        "How long records are kept; -1 is for ever. Default of `retention.ms` of topics, before the minutes and the hours."),
    given!(TOPICS, "log.retention.minutes", "MINUTES", Kind::int(-1), "",
        "The same in minutes, where log.retention.ms is not given.").fixed(),
    given!(TOPICS, "log.retention.hours", "HOURS", Kind::int(-1), "168",
        "The same in hours, where neither of the others is given.").fixed(),
    given!(TOPICS, "log.roll.ms", "MS", Kind::Long { least: 1 }, "",
        "Default of `segment.ms` of topics, before log.roll.hours. The tables of the log are shared by all partitions: see log.segment.table.ms."),
    given!(TOPICS, "log.roll.hours", "HOURS", Kind::int(1), "168",
        "The same in hours, where log.roll.ms is not given.").fixed(),
    given!(TOPICS, "log.roll.jitter.ms", "MS", Kind::Long { least: 0 }, "",
        "Default of `segment.jitter.ms` of topics, before log.roll.jitter.hours."),
    given!(TOPICS, "log.roll.jitter.hours", "HOURS", Kind::int(0), "0",
        "The same in hours, where log.roll.jitter.ms is not given.").fixed(),
    given!(TOPICS, "log.segment.bytes", "BYTES", Kind::int(1_048_576), "1073741824",
        "Default of `segment.bytes` of topics. The tables of the log are shared by all partitions: see log.segment.table.bytes."),
    given!(TOPICS, "log.segment.delete.delay.ms", "MS", Kind::Long { least: 0 }, "60000",
        "Default of `file.delete.delay.ms` of topics."),
    given!(TOPICS, "min.insync.replicas", "COUNT", Kind::int(1), "1",
        "How many replicas must have a record before acks=all is answered; no more than there are, which is one. Default of the topic setting of the same name."),
    given!(TOPICS, "unclean.leader.election.enable", "true|false", Kind::Boolean, "false",
        "Default of the topic setting of the same name; all brokers have the same log, so no records can be lost by an election."),
    given!(IDLE, "background.threads", "COUNT", Kind::int(1), "10",
        "Kafka's threads for chores; here tasks share the runtime's threads."),
    given!(TOPICS, "log.cleaner.backoff.ms", "MS", Kind::Long { least: 0 }, "15000",
        "How long the log cleaner waits between two looks at what there is to compact."),
    given!(TOPICS, "log.cleaner.dedupe.buffer.size", "BYTES", Kind::Long { least: 1_048_576 }, "134217728",
        "Memory of the log cleaner for keys; a log with more new keys is compacted in several rounds."),
    given!(TOPICS, "log.cleaner.io.buffer.load.factor", "RATIO", Kind::Double, "0.9",
        "How full the log cleaner fills that memory."),
    given!(IDLE, "log.cleaner.io.buffer.size", "BYTES", Kind::int(0), "524288",
        "Memory of Kafka's log cleaner for reading and writing; here it reads a megabyte at once."),
    given!(TOPICS, "log.cleaner.io.max.bytes.per.second", "BYTES", Kind::Double, "1.7976931348623157E308",
        "How fast the log cleaner may read."),
    given!(IDLE, "log.cleaner.threads", "COUNT", Kind::int(0), "1",
        "Threads of Kafka's log cleaner; here one task cleans."),
    given!(IDLE, "num.io.threads", "COUNT", Kind::int(1), "8",
        "Kafka's threads for requests; here each request is a task."),
    given!(IDLE, "num.recovery.threads.per.data.dir", "COUNT", Kind::int(1), "2",
        "Kafka's threads for reading its log at the start; here PostgreSQL recovers."),
    given!(IDLE, "num.replica.fetchers", "COUNT", Kind::int(1), "1",
        "Kafka's threads for copying from leaders; here nothing is copied."),
];
