//! The settings that a topic can have: names, kinds, limits and defaults as Kafka has them.
//!
//! All of them are checked and kept; which ones have an effect is the log's business. One row here adds a setting.

use crate::config::{self, Config, ValueKind};
use crate::log::TopicSettings;
use protocol::compression::Compression;
use protocol::records::TimestampType;

/// What values a setting takes.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Int {
        least: i32,
    },
    Long {
        least: i64,
    },
    /// Between 0 and 1.
    Ratio,
    Boolean,
    /// One of these words.
    Word(&'static [&'static str]),
    /// Any of these words, separated by commas.
    Words(&'static [&'static str]),
    /// Any texts, separated by commas.
    List,
    /// From the first to the second, both included, or the third.
    Level(i32, i32, i32),
}

/// Where the value of a setting comes from, with Kafka's numbers (KIP-226).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i8)]
pub(crate) enum ConfigSource {
    /// Given to the topic.
    Topic = 1,
    /// Given to the broker when it started.
    StaticBroker = 4,
    /// Given to nobody.
    Default = 5,
}

/// One setting of topics.
#[derive(Debug)]
pub(crate) struct TopicSetting {
    pub(crate) name: &'static str,
    kind: Kind,
    default: &'static str,
    /// Kafka's name for the broker's setting that is the default; empty if there is none.
    pub(crate) broker_name: &'static str,
    /// What it is for.
    pub(crate) documentation: &'static str,
}

const fn row(
    name: &'static str,
    kind: Kind,
    default: &'static str,
    broker_name: &'static str,
    documentation: &'static str,
) -> TopicSetting {
    TopicSetting {
        name,
        kind,
        default,
        broker_name,
        documentation,
    }
}

const LONG_MAX: &str = "9223372036854775807";
const COMPRESSION_TYPES: &[&str] = &["uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"];

/// In Kafka's order: by name.
#[rustfmt::skip] // a table: one row a setting; name, kind, default, the broker's setting that is the default, what it is for
pub(crate) const TOPIC_SETTINGS: &[TopicSetting] = &[
    row("cleanup.policy", Kind::Words(&["compact", "delete"]), "delete", "log.cleanup.policy",
        "What becomes of old records: delete them, compact them to the last of each key, or both."),
    row("compression.gzip.level", Kind::Level(1, 9, -1), "-1", "compression.gzip.level",
        "The level of gzip, where the broker compresses."),
    row("compression.lz4.level", Kind::Level(1, 17, 9), "9", "compression.lz4.level",
        "The level of lz4, where the broker compresses."),
    row("compression.type", Kind::Word(COMPRESSION_TYPES), "producer", "compression.type",
        "How batches are kept; producer keeps them as they were sent."),
    row("compression.zstd.level", Kind::Level(-131_072, 22, 3), "3", "compression.zstd.level",
        "The level of zstd, where the broker compresses."),
    row("delete.retention.ms", Kind::Long { least: 0 }, "86400000", "log.cleaner.delete.retention.ms",
        "How long a compacted topic keeps the marks of deleted keys."),
    row("errors.deadletterqueue.group.enable", Kind::Boolean, "false", "",
        "Whether share groups may use this topic for records they could not process."),
    row("file.delete.delay.ms", Kind::Long { least: 0 }, "60000", "log.segment.delete.delay.ms",
        "How long deleted data stays before its space is freed."),
    row("flush.messages", Kind::Long { least: 1 }, LONG_MAX, "log.flush.interval.messages",
        "After how many records the log is forced to disk; every acknowledged batch is committed in any case."),
    row("flush.ms", Kind::Long { least: 0 }, LONG_MAX, "",
        "After how long the log is forced to disk; every acknowledged batch is committed in any case."),
    row("follower.replication.throttled.replicas", Kind::List, "", "",
        "Replicas whose copying is slowed down on the follower's side."),
    row("index.interval.bytes", Kind::Int { least: 0 }, "4096", "log.index.interval.bytes",
        "How many bytes of log lie between two entries of its index."),
    row("leader.replication.throttled.replicas", Kind::List, "", "",
        "Replicas whose copying is slowed down on the leader's side."),
    row("local.retention.bytes", Kind::Long { least: -2 }, "-2", "log.local.retention.bytes",
        "Bytes kept locally of a partition that is also tiered; -2 is retention.bytes."),
    row("local.retention.ms", Kind::Long { least: -2 }, "-2", "log.local.retention.ms",
        "How long records that are also tiered are kept locally; -2 is retention.ms."),
    row("max.compaction.lag.ms", Kind::Long { least: 1 }, LONG_MAX, "log.cleaner.max.compaction.lag.ms",
        "The longest a record may stay without being compacted."),
    row("max.decompressed.message.bytes", Kind::Int { least: 0 }, "2147483639", "max.decompressed.message.bytes",
        "The largest that a compressed batch may become when it is read."),
    row("max.message.bytes", Kind::Int { least: 0 }, "1048588", "message.max.bytes",
        "The largest record batch, as sent."),
    row("message.timestamp.after.max.ms", Kind::Long { least: 0 }, "3600000", "log.message.timestamp.after.max.ms",
        "How far ahead of the broker's clock a record's time may be."),
    row("message.timestamp.before.max.ms", Kind::Long { least: 0 }, LONG_MAX, "log.message.timestamp.before.max.ms",
        "How far behind the broker's clock a record's time may be."),
    row("message.timestamp.type", Kind::Word(&["CreateTime", "LogAppendTime"]), "CreateTime", "log.message.timestamp.type",
        "Who sets the time of a record: the producer or the broker."),
    row("min.cleanable.dirty.ratio", Kind::Ratio, "0.5", "log.cleaner.min.cleanable.ratio",
        "The share of uncompacted bytes from which on a log is compacted."),
    row("min.compaction.lag.ms", Kind::Long { least: 0 }, "0", "log.cleaner.min.compaction.lag.ms",
        "The least time a record stays uncompacted."),
    row("min.insync.replicas", Kind::Int { least: 1 }, "1", "min.insync.replicas",
        "How many replicas must have a record before acks=all is answered."),
    row("preallocate", Kind::Boolean, "false", "log.preallocate",
        "Whether space for a new segment is taken in advance."),
    row("remote.copy.lag.bytes", Kind::Long { least: -1 }, "-1", "log.remote.copy.lag.bytes",
        "After how many bytes a segment may be copied to tiered storage."),
    row("remote.copy.lag.ms", Kind::Long { least: -1 }, "0", "log.remote.copy.lag.ms",
        "After how long a segment may be copied to tiered storage."),
    row("remote.log.copy.disable", Kind::Boolean, "false", "",
        "Whether tiered data becomes read-only."),
    row("remote.log.delete.on.disable", Kind::Boolean, "false", "",
        "Whether tiered data is deleted when tiering is switched off."),
    row("remote.storage.enable", Kind::Boolean, "false", "",
        "Whether the topic is tiered."),
    row("retention.bytes", Kind::Long { least: i64::MIN }, "-1", "log.retention.bytes",
        "How many bytes of a partition are kept; -1 is all."),
    row("retention.ms", Kind::Long { least: -1 }, "604800000", "",
        "How long records are kept; -1 is for ever."),
    row("segment.bytes", Kind::Int { least: 1_048_576 }, "1073741824", "log.segment.bytes",
        "The size of a segment of the log."),
    row("segment.index.bytes", Kind::Int { least: 4 }, "10485760", "log.index.size.max.bytes",
        "The size of a segment's index."),
    row("segment.jitter.ms", Kind::Long { least: 0 }, "0", "",
        "The most that is taken off segment.ms at random."),
    row("segment.ms", Kind::Long { least: 1 }, "604800000", "",
        "After how long a new segment is begun."),
    row("unclean.leader.election.enable", Kind::Boolean, "false", "unclean.leader.election.enable",
        "Whether a replica that is not in sync may lead, at the cost of records."),
];

impl TopicSetting {
    /// The setting of this name.
    pub(crate) fn find(name: &str) -> Option<&'static Self> {
        TOPIC_SETTINGS.iter().find(|setting| setting.name == name)
    }

    /// For clients that show it.
    pub(crate) fn value_kind(&self) -> ValueKind {
        match self.kind {
            Kind::Int { .. } | Kind::Level(..) => ValueKind::Int,
            Kind::Long { .. } => ValueKind::Long,
            Kind::Ratio => ValueKind::Double,
            Kind::Boolean => ValueKind::Boolean,
            Kind::Word(_) => ValueKind::String,
            Kind::Words(_) | Kind::List => ValueKind::List,
        }
    }

    /// What Kafka's own software would do, whatever this broker's settings are.
    pub(crate) fn kafka_default(&self) -> &'static str {
        self.default
    }

    /// The broker's default, and whether the configuration file, a variable or a flag has changed it from Kafka's.
    pub(crate) fn default(&self, config: &Config) -> (String, bool) {
        let value = match self.name {
            "max.message.bytes" => config.message_max_bytes.to_string(),
            "max.decompressed.message.bytes" => config.max_decompressed_message_bytes.to_string(),
            "compression.type" => config.compression_type.name().to_owned(),
            "message.timestamp.type" => config.log_message_timestamp_type.name().to_owned(),
            "message.timestamp.after.max.ms" => {
                config.log_message_timestamp_after_max_ms.to_string()
            }
            "message.timestamp.before.max.ms" => {
                config.log_message_timestamp_before_max_ms.to_string()
            }
            _ => self.default.to_owned(),
        };
        let changed = value != self.default;
        (value, changed)
    }

    /// The value in a topic that was given `overrides`, and where it comes from.
    pub(crate) fn value(
        &self,
        overrides: &[(String, String)],
        config: &Config,
    ) -> (String, ConfigSource) {
        let given = overrides.iter().find(|(name, _)| name == self.name);
        match given {
            Some((_, value)) => (value.clone(), ConfigSource::Topic),
            None => match self.default(config) {
                (value, true) => (value, ConfigSource::StaticBroker),
                (value, false) => (value, ConfigSource::Default),
            },
        }
    }

    /// Whether `value` will do; the error is Kafka's text.
    pub(crate) fn check(&self, value: &str) -> Result<(), String> {
        let text = value.trim();
        self.kind.check(text).map_err(|reason| {
            format!(
                "Invalid value {value} for configuration {}: {reason}",
                self.name
            )
        })
    }
}

/// What the log judges by in a topic without settings of its own.
pub(crate) fn log_defaults(config: &Config) -> TopicSettings {
    TopicSettings {
        max_message_bytes: usize::try_from(config.message_max_bytes).unwrap_or(0),
        timestamp_type: match config.log_message_timestamp_type {
            config::TimestampType::CreateTime => TimestampType::CreateTime,
            config::TimestampType::LogAppendTime => TimestampType::LogAppendTime,
        },
        timestamp_before_max_ms: config.log_message_timestamp_before_max_ms,
        timestamp_after_max_ms: config.log_message_timestamp_after_max_ms,
        compacted: false,
        compression: config.compression_type.0,
        compression_level: None,
    }
}

/// What the log judges by in a topic with these settings, which were checked when they were given. A value that cannot be
/// used all the same, because somebody wrote it into the database, is passed over with a line in the log.
pub(crate) fn log_settings(
    defaults: &TopicSettings,
    settings: &[(String, String)],
) -> TopicSettings {
    let mut result = defaults.clone();
    for (name, value) in settings {
        if TopicSetting::find(name).is_none_or(|setting| setting.check(value).is_err()) {
            tracing::warn!(name, value, "a topic setting that cannot be used");
            continue;
        }
        let text = value.trim();
        let (before, after) = (
            &mut result.timestamp_before_max_ms,
            &mut result.timestamp_after_max_ms,
        );
        match name.as_str() {
            "max.message.bytes" => assign(&mut result.max_message_bytes, text),
            "message.timestamp.before.max.ms" => assign(before, text),
            "message.timestamp.after.max.ms" => assign(after, text),
            "message.timestamp.type" if text == "LogAppendTime" => {
                result.timestamp_type = TimestampType::LogAppendTime;
            }
            "message.timestamp.type" => result.timestamp_type = TimestampType::CreateTime,
            "cleanup.policy" => {
                result.compacted = text.split(',').any(|word| word.trim() == "compact");
            }
            "compression.type" => {
                if let Ok(kind) = text.parse::<config::CompressionType>() {
                    result.compression = kind.0;
                }
            }
            _ => {}
        }
    }
    result.compression_level = compression_level(result.compression, settings);
    result
}

/// The level given for `codec`. gzip's own default is -1; lz4 and snappy are written at one level here.
fn compression_level(codec: Option<Compression>, settings: &[(String, String)]) -> Option<i32> {
    let name = match codec? {
        Compression::Gzip => "compression.gzip.level",
        Compression::Zstd => "compression.zstd.level",
        Compression::None | Compression::Snappy | Compression::Lz4 => return None,
    };
    let setting = TopicSetting::find(name)?;
    let (_, value) = settings.iter().find(|(given, _)| given == name)?;
    setting.check(value).ok()?;
    value
        .trim()
        .parse()
        .ok()
        .filter(|level| *level != -1 || codec != Some(Compression::Gzip))
}

fn assign<T: std::str::FromStr>(field: &mut T, text: &str) {
    if let Ok(value) = text.parse() {
        *field = value;
    }
}

impl Kind {
    fn check(self, text: &str) -> Result<(), String> {
        match self {
            Self::Int { least } => at_least(text.parse::<i32>().ok(), least, "INT"),
            Self::Long { least } => at_least(text.parse::<i64>().ok(), least, "LONG"),
            Self::Level(first, last, other) => match text.parse::<i32>() {
                Ok(level) if level == other || (first..=last).contains(&level) => Ok(()),
                Ok(_) => Err(format!(
                    "Value must be between {first} and {last} or equal to {other}"
                )),
                Err(_) => Err("Not a number of type INT".to_owned()),
            },
            Self::Ratio => match text.parse::<f64>() {
                Ok(ratio) if ratio > 1.0 => Err("Value must be no more than 1".to_owned()),
                Ok(ratio) if ratio >= 0.0 => Ok(()),
                Ok(_) => Err("Value must be at least 0".to_owned()),
                Err(_) => Err("Not a number of type DOUBLE".to_owned()),
            },
            Self::Boolean => match text.to_ascii_lowercase().as_str() {
                "true" | "false" => Ok(()),
                _ => Err("Expected value to be either true or false".to_owned()),
            },
            Self::Word(words) => one_of(text, words),
            Self::Words(words) => text
                .split(',')
                .map(str::trim)
                .filter(|word| !word.is_empty())
                .try_for_each(|word| one_of(word, words)),
            Self::List => Ok(()),
        }
    }
}

fn one_of(text: &str, words: &[&str]) -> Result<(), String> {
    if words.contains(&text) {
        return Ok(());
    }
    Err(format!("String must be one of: {}", words.join(", ")))
}

fn at_least<N>(number: Option<N>, least: N, kind: &str) -> Result<(), String>
where
    N: PartialOrd + std::fmt::Display,
{
    match number {
        None => Err(format!("Not a number of type {kind}")),
        Some(number) if number < least => Err(format!("Value must be at least {least}")),
        Some(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_default_is_a_valid_value_and_names_are_in_order() {
        for setting in TOPIC_SETTINGS {
            let (default, _) = setting.default(&Config::default());
            assert_eq!(setting.check(&default), Ok(()), "{}", setting.name);
        }
        assert!(
            TOPIC_SETTINGS
                .windows(2)
                .all(|pair| pair[0].name < pair[1].name)
        );
    }

    #[track_caller]
    fn refused(name: &str, value: &str, text: &str) {
        let setting = TopicSetting::find(name).unwrap();
        assert_eq!(setting.check(value), Err(text.to_owned()));
    }

    #[test]
    fn wrong_values_get_kafkas_texts() {
        let number = "Invalid value abc for configuration retention.ms: Not a number of type LONG";
        refused("retention.ms", "abc", number);
        let least = "Invalid value -5 for configuration retention.ms: Value must be at least -1";
        refused("retention.ms", "-5", least);
        let large = "Invalid value 3000000000 for configuration max.message.bytes: Not a number of type INT";
        refused("max.message.bytes", "3000000000", large);
        let policy = "Invalid value foo for configuration cleanup.policy: String must be one of: compact, delete";
        refused("cleanup.policy", "foo", policy);
        let ratio = "Invalid value 1.5 for configuration min.cleanable.dirty.ratio: Value must be no more than 1";
        refused("min.cleanable.dirty.ratio", "1.5", ratio);
        let boolean = "Invalid value maybe for configuration preallocate: Expected value to be either true or false";
        refused("preallocate", "maybe", boolean);
    }

    #[test]
    fn lists_may_be_empty_or_have_several_words() {
        let setting = TopicSetting::find("cleanup.policy").unwrap();
        assert_eq!(setting.check(""), Ok(()));
        assert_eq!(setting.check("compact, delete"), Ok(()));
    }
}
