//! The settings that a topic can have: names, kinds, limits and defaults as Kafka has them. One row here adds a setting.
//!
//! All of them are checked and kept; what those mean that have an effect is in `log`.

use super::ConfigSource;
use super::kind::Kind;
use super::snapshot::{Layer, Snapshot};

/// One setting of topics.
#[derive(Debug)]
pub(crate) struct TopicSetting {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    /// What Kafka's own software would do, whatever this broker's settings are.
    pub(crate) default: &'static str,
    pub(crate) fallback: Fallback,
    /// What it is for.
    pub(crate) documentation: &'static str,
}

/// Where a topic that was given no value has it from.
#[derive(Debug)]
pub(crate) enum Fallback {
    /// From no setting of the broker.
    Nobody,
    /// From this setting of the broker, which has the same default.
    Setting(&'static str),
    /// From the first of these settings of the broker that was given; each with its unit in milliseconds.
    Times(&'static [(&'static str, i64)]),
}

const fn row(
    name: &'static str,
    kind: Kind,
    default: &'static str,
    fallback: Fallback,
    documentation: &'static str,
) -> TopicSetting {
    TopicSetting {
        name,
        kind,
        default,
        fallback,
        documentation,
    }
}

const LONG_MAX: &str = "9223372036854775807";
const COMPRESSION_TYPES: &[&str] = &["uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"];

/// By name.
#[rustfmt::skip] // a table: one row a setting; name, kind, default, the broker's setting that is the default, what it is for
pub(crate) static TOPIC_SETTINGS: &[TopicSetting] = &[
    row("cleanup.policy", Kind::Words(&["compact", "delete"]), "delete", Fallback::Setting("log.cleanup.policy"),
        "What becomes of old records: delete them, compact them to the last of each key, or both."),
    row("compression.gzip.level", Kind::Level(1, 9, -1), "-1", Fallback::Setting("compression.gzip.level"),
        "The level of gzip, where the broker compresses."),
    row("compression.lz4.level", Kind::Int { least: 1, most: 17 }, "9", Fallback::Setting("compression.lz4.level"),
        "The level of lz4, where the broker compresses."),
    row("compression.type", Kind::Word(COMPRESSION_TYPES), "producer", Fallback::Setting("compression.type"),
        "How batches are kept; producer keeps them as they were sent."),
    row("compression.zstd.level", Kind::Int { least: -131_072, most: 22 }, "3", Fallback::Setting("compression.zstd.level"),
        "The level of zstd, where the broker compresses."),
    row("delete.retention.ms", Kind::Long { least: 0 }, "86400000", Fallback::Setting("log.cleaner.delete.retention.ms"),
        "How long a compacted topic keeps the marks of deleted keys."),
    row("errors.deadletterqueue.group.enable", Kind::Boolean, "false", Fallback::Nobody,
        "Whether share groups may use this topic for records they could not process."),
    row("file.delete.delay.ms", Kind::Long { least: 0 }, "60000", Fallback::Setting("log.segment.delete.delay.ms"),
        "How long deleted data stays before its space is freed."),
    row("flush.messages", Kind::Long { least: 1 }, LONG_MAX, Fallback::Setting("log.flush.interval.messages"),
        "After how many records the log is forced to disk; every acknowledged batch is committed in any case."),
    row("flush.ms", Kind::Long { least: 0 }, LONG_MAX, Fallback::Times(&[("log.flush.interval.ms", 1)]),
        "After how long the log is forced to disk; every acknowledged batch is committed in any case."),
    row("follower.replication.throttled.replicas", Kind::Replicas, "", Fallback::Nobody,
        "Replicas whose copying is slowed down on the follower's side."),
    row("index.interval.bytes", Kind::int(0), "4096", Fallback::Setting("log.index.interval.bytes"),
        "How many bytes of log lie between two entries of its index."),
    row("leader.replication.throttled.replicas", Kind::Replicas, "", Fallback::Nobody,
        "Replicas whose copying is slowed down on the leader's side."),
    row("local.retention.bytes", Kind::Long { least: -2 }, "-2", Fallback::Setting("log.local.retention.bytes"),
        "Bytes kept locally of a partition that is also tiered; -2 is retention.bytes."),
    row("local.retention.ms", Kind::Long { least: -2 }, "-2", Fallback::Setting("log.local.retention.ms"),
        "How long records that are also tiered are kept locally; -2 is retention.ms."),
    row("max.compaction.lag.ms", Kind::Long { least: 1 }, LONG_MAX, Fallback::Setting("log.cleaner.max.compaction.lag.ms"),
        "The longest a record may stay without being compacted."),
    row("max.decompressed.message.bytes", Kind::Int { least: 1, most: 2_147_483_639 }, "2147483639", Fallback::Setting("max.decompressed.message.bytes"),
        "The largest that a compressed batch may become when it is read."),
    row("max.message.bytes", Kind::int(0), "1048588", Fallback::Setting("message.max.bytes"),
        "The largest record batch, as sent."),
    row("message.timestamp.after.max.ms", Kind::Long { least: 0 }, "3600000", Fallback::Setting("log.message.timestamp.after.max.ms"),
        "How far ahead of the broker's clock a record's time may be."),
    row("message.timestamp.before.max.ms", Kind::Long { least: 0 }, LONG_MAX, Fallback::Setting("log.message.timestamp.before.max.ms"),
        "How far behind the broker's clock a record's time may be."),
    row("message.timestamp.type", Kind::Word(&["CreateTime", "LogAppendTime"]), "CreateTime", Fallback::Setting("log.message.timestamp.type"),
        "Who sets the time of a record: the producer or the broker."),
    row("min.cleanable.dirty.ratio", Kind::Ratio, "0.5", Fallback::Setting("log.cleaner.min.cleanable.ratio"),
        "The share of uncompacted bytes from which on a log is compacted."),
    row("min.compaction.lag.ms", Kind::Long { least: 0 }, "0", Fallback::Setting("log.cleaner.min.compaction.lag.ms"),
        "The least time a record stays uncompacted."),
    row("min.insync.replicas", Kind::int(1), "1", Fallback::Setting("min.insync.replicas"),
        "How many replicas must have a record before acks=all is answered."),
    row("preallocate", Kind::Boolean, "false", Fallback::Setting("log.preallocate"),
        "Whether space for a new segment is taken in advance."),
    row("remote.copy.lag.bytes", Kind::Long { least: -1 }, "-1", Fallback::Setting("log.remote.copy.lag.bytes"),
        "After how many bytes a segment may be copied to tiered storage."),
    row("remote.copy.lag.ms", Kind::Long { least: -1 }, "0", Fallback::Setting("log.remote.copy.lag.ms"),
        "After how long a segment may be copied to tiered storage."),
    row("remote.log.copy.disable", Kind::Boolean, "false", Fallback::Nobody,
        "Whether tiered data becomes read-only."),
    row("remote.log.delete.on.disable", Kind::Boolean, "false", Fallback::Nobody,
        "Whether tiered data is deleted when tiering is switched off."),
    row("remote.storage.enable", Kind::Boolean, "false", Fallback::Nobody,
        "Whether the topic is tiered."),
    row("retention.bytes", Kind::Long { least: i64::MIN }, "-1", Fallback::Setting("log.retention.bytes"),
        "How many bytes of a partition are kept at least; -1 is all."),
    row("retention.ms", Kind::Long { least: -1 }, "604800000", Fallback::Times(&[("log.retention.ms", 1), ("log.retention.minutes", 60_000), ("log.retention.hours", 3_600_000)]),
        "How long records are kept; -1 is for ever."),
    row("segment.bytes", Kind::int(1_048_576), "1073741824", Fallback::Setting("log.segment.bytes"),
        "After how many bytes a partition gets another place at which retention may cut it; there is one every 32 MiB at least."),
    row("segment.index.bytes", Kind::int(4), "10485760", Fallback::Setting("log.index.size.max.bytes"),
        "The size of a segment's index."),
    row("segment.jitter.ms", Kind::Long { least: 0 }, "0", Fallback::Times(&[("log.roll.jitter.ms", 1), ("log.roll.jitter.hours", 3_600_000)]),
        "The most that is taken off segment.ms at random."),
    row("segment.ms", Kind::Long { least: 1 }, "604800000", Fallback::Times(&[("log.roll.ms", 1), ("log.roll.hours", 3_600_000)]),
        "After how long a partition that is appended to gets another place at which retention may cut it."),
    row("unclean.leader.election.enable", Kind::Boolean, "false", Fallback::Setting("unclean.leader.election.enable"),
        "Whether a replica that is not in sync may lead, at the cost of records."),
];

impl TopicSetting {
    /// The setting of this name.
    pub(crate) fn find(name: &str) -> Option<&'static Self> {
        let at = TOPIC_SETTINGS.binary_search_by(|setting| setting.name.cmp(name));
        TOPIC_SETTINGS.get(at.ok()?)
    }

    /// The setting whose default the broker's setting `name` is, where both have the same values.
    pub(crate) fn defaulted_by(name: &str) -> Option<&'static Self> {
        TOPIC_SETTINGS
            .iter()
            .find(|setting| matches!(setting.fallback, Fallback::Setting(broker) if broker == name))
    }

    /// The value in a topic that was given `overrides`, and where it comes from.
    pub(crate) fn value(
        &self,
        overrides: &[(String, String)],
        snapshot: &Snapshot,
    ) -> (String, ConfigSource) {
        if let Some((_, value)) = overrides.iter().find(|(name, _)| name == self.name) {
            return (value.clone(), ConfigSource::Topic);
        }
        match self.broker_layers(snapshot).into_iter().next() {
            Some((layer, unit_ms)) => (in_ms(layer.value, unit_ms), layer.source),
            None => (self.default.to_owned(), ConfigSource::Default),
        }
    }

    /// All values that the setting has, the one in force first.
    pub(crate) fn synonyms(
        &self,
        overrides: &[(String, String)],
        snapshot: &Snapshot,
    ) -> Vec<Layer> {
        let given = overrides.iter().find(|(name, _)| name == self.name);
        let given = given.map(|(_, value)| Layer {
            name: self.name,
            value: value.clone(),
            source: ConfigSource::Topic,
        });
        let layers = self.broker_layers(snapshot);
        given
            .into_iter()
            .chain(layers.into_iter().map(|(layer, _)| layer))
            .collect()
    }

    /// The broker's values for topics without their own, the one in force first, with their units.
    fn broker_layers(&self, snapshot: &Snapshot) -> Vec<(Layer, i64)> {
        match self.fallback {
            Fallback::Nobody => Vec::new(),
            Fallback::Setting(name) => {
                let layers = snapshot.broker_layers(name).into_iter();
                layers.map(|layer| (layer, 1)).collect()
            }
            Fallback::Times(names) => {
                let all = names.iter().flat_map(|(name, unit_ms)| {
                    let layers = snapshot.broker_layers(name).into_iter();
                    layers.map(move |layer| (layer, *unit_ms))
                });
                let all: Vec<(Layer, i64)> = all.collect();
                let is_given = all
                    .iter()
                    .any(|(layer, _)| layer.source != ConfigSource::Default);
                if is_given { all } else { Vec::new() }
            }
        }
    }
}

fn in_ms(value: String, unit_ms: i64) -> String {
    match value.trim().parse::<i64>() {
        Ok(count) if unit_ms != 1 => count.saturating_mul(unit_ms).max(-1).to_string(),
        _ => value,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn every_default_is_a_valid_value_and_names_are_in_order() {
        let snapshot = Snapshot::of(&Config::default());
        for setting in TOPIC_SETTINGS {
            let (default, _) = setting.value(&[], &snapshot);
            let checked = setting.kind.check(setting.name, &default);
            assert_eq!(checked, Ok(()), "{}", setting.name);
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
        assert_eq!(setting.kind.check(name, value), Err(text.to_owned()));
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
        assert_eq!(setting.kind.check(setting.name, ""), Ok(()));
        assert_eq!(setting.kind.check(setting.name, "compact, delete"), Ok(()));
    }
}
