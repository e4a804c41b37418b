//! From the settings of a topic, which are texts, to what the log judges by.

use std::sync::Arc;
use std::time::Duration;

use protocol::compression::Compression;
use protocol::records::TimestampType;

use super::kind::parts_of;
use super::snapshot::Snapshot;
use super::topics::TopicSetting;
use crate::config;
use crate::log::{CleanerLimits, TopicSettings};

/// What the log judges by in a topic with these settings.
pub(crate) fn log_settings(
    snapshot: &Snapshot,
    overrides: &[(String, String)],
) -> Arc<TopicSettings> {
    if overrides.is_empty() {
        return snapshot.log_defaults.clone();
    }
    Arc::new(effective(snapshot, overrides))
}

/// The settings were checked when they were given. A value that cannot be used all the same, because the database was changed
/// by force, is passed over with a line in the log.
pub(super) fn effective(snapshot: &Snapshot, overrides: &[(String, String)]) -> TopicSettings {
    let is_usable = |name: &str, value: &str| {
        TopicSetting::find(name).is_some_and(|setting| setting.kind.check(name, value).is_ok())
    };
    let mut usable = Vec::with_capacity(overrides.len());
    for (name, value) in overrides {
        if is_usable(name, value) {
            usable.push((name.clone(), value.clone()));
        } else {
            tracing::warn!(name, value, "a topic setting that cannot be used");
        }
    }
    let value = |name: &str| {
        TopicSetting::find(name).map(|setting| {
            let (value, _) = setting.value(&usable, snapshot);
            value.trim().to_owned()
        })
    };
    let policy = value("cleanup.policy").unwrap_or_default();
    let has_policy = |wanted| parts_of(&policy).any(|word| word == wanted);
    let codec =
        value("compression.type").and_then(|text| text.parse::<config::CompressionType>().ok());
    let compression = codec.and_then(|kind| kind.0);
    let defaults = TopicSettings::default();
    TopicSettings {
        max_message_bytes: number(value("max.message.bytes"), defaults.max_message_bytes),
        timestamp_type: match value("message.timestamp.type").as_deref() {
            Some("LogAppendTime") => TimestampType::LogAppendTime,
            _ => TimestampType::CreateTime,
        },
        timestamp_before_max_ms: number(
            value("message.timestamp.before.max.ms"),
            defaults.timestamp_before_max_ms,
        ),
        timestamp_after_max_ms: number(
            value("message.timestamp.after.max.ms"),
            defaults.timestamp_after_max_ms,
        ),
        compacted: has_policy("compact"),
        deleted: has_policy("delete"),
        retention_ms: number(value("retention.ms"), defaults.retention_ms),
        retention_bytes: number(value("retention.bytes"), defaults.retention_bytes),
        segment_bytes: number(value("segment.bytes"), defaults.segment_bytes),
        segment_ms: number(value("segment.ms"), defaults.segment_ms),
        delete_retention_ms: number(value("delete.retention.ms"), defaults.delete_retention_ms),
        min_compaction_lag_ms: number(
            value("min.compaction.lag.ms"),
            defaults.min_compaction_lag_ms,
        ),
        max_compaction_lag_ms: number(
            value("max.compaction.lag.ms"),
            defaults.max_compaction_lag_ms,
        ),
        min_cleanable_dirty_ratio: number(
            value("min.cleanable.dirty.ratio"),
            defaults.min_cleanable_dirty_ratio,
        ),
        compression,
        compression_level: compression_level(compression, value),
    }
}

/// What the log cleaner may take.
pub(crate) fn cleaner_limits(snapshot: &Snapshot) -> CleanerLimits {
    let value = |name| snapshot.broker_value(name);
    let memory_bytes: usize = number(value("log.cleaner.dedupe.buffer.size"), 128 << 20);
    let fill: f64 = number(value("log.cleaner.io.buffer.load.factor"), 0.9);
    CleanerLimits {
        memory_bytes: (memory_bytes as f64 * fill.clamp(0.0, 1.0)) as usize,
        bytes_per_second: number(value("log.cleaner.io.max.bytes.per.second"), f64::MAX),
        pause: Duration::from_millis(number(value("log.cleaner.backoff.ms"), 15_000)),
    }
}

/// The level given for `codec`. gzip's own default is -1; lz4 and snappy are written at one level here.
fn compression_level(
    codec: Option<Compression>,
    value: impl Fn(&str) -> Option<String>,
) -> Option<i32> {
    let name = match codec? {
        Compression::Gzip => "compression.gzip.level",
        Compression::Zstd => "compression.zstd.level",
        Compression::None | Compression::Snappy | Compression::Lz4 => return None,
    };
    let level: i32 = value(name)?.parse().ok()?;
    (level != -1 || codec != Some(Compression::Gzip)).then_some(level)
}

fn number<T: std::str::FromStr>(text: Option<String>, default: T) -> T {
    text.and_then(|text| text.parse().ok()).unwrap_or(default)
}

#[cfg(test)]
mod tests {
    use storage::ClusterSettings;

    use super::*;
    use crate::config::Config;

    fn with(stored: &[(i32, &str, &str)], overrides: &[(&str, &str)]) -> TopicSettings {
        let brokers = stored
            .iter()
            .map(|(node_id, name, value)| (*node_id, (*name).to_owned(), (*value).to_owned()));
        let stored = ClusterSettings {
            brokers: brokers.collect(),
            ..ClusterSettings::default()
        };
        let pair = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let overrides: Vec<_> = overrides.iter().map(pair).collect();
        let snapshot = Snapshot::new(Arc::new(Config::default()), stored);
        (*log_settings(&snapshot, &overrides)).clone()
    }

    #[test]
    fn nothing_given_is_kafkas_defaults() {
        assert_eq!(with(&[], &[]), TopicSettings::default());
    }

    #[test]
    fn the_topic_goes_before_the_broker_and_the_broker_before_all_brokers() {
        let name = "message.max.bytes";
        let size = |stored: &[(i32, &str, &str)], overrides: &[(&str, &str)]| {
            with(stored, overrides).max_message_bytes
        };
        assert_eq!(size(&[(-1, name, "5")], &[]), 5);
        assert_eq!(size(&[(-1, name, "5"), (1, name, "6")], &[]), 6);
        assert_eq!(size(&[(2, name, "5")], &[]), 1_048_588);
        let given = [("max.message.bytes", "7")];
        assert_eq!(size(&[(-1, name, "5"), (1, name, "6")], &given), 7);
    }

    #[test]
    fn values_that_cannot_be_used_are_passed_over() {
        let stored = [(-1, "message.max.bytes", "x"), (-1, "num.partitions", "4")];
        let given = [
            ("retention.ms", "x"),
            ("nosuch", "1"),
            ("max.message.bytes", "-1"),
        ];
        assert_eq!(with(&stored, &given), TopicSettings::default());
    }

    #[test]
    fn codecs_have_levels_of_their_own() {
        let level = |codec, name, value| {
            with(&[], &[("compression.type", codec), (name, value)]).compression_level
        };
        assert_eq!(level("gzip", "compression.gzip.level", "7"), Some(7));
        assert_eq!(level("gzip", "compression.gzip.level", "-1"), None);
        assert_eq!(level("zstd", "compression.zstd.level", "-1"), Some(-1));
        assert_eq!(level("zstd", "compression.gzip.level", "7"), Some(3));
        assert_eq!(level("lz4", "compression.lz4.level", "7"), None);
        let stored = [
            (-1, "compression.zstd.level", "9"),
            (-1, "compression.type", "zstd"),
        ];
        assert_eq!(with(&stored, &[]).compression_level, Some(9));
    }
}
