//! The settings that groups go by, in the units they count in.

use crate::config::{Config, MigrationPolicy};
use crate::settings::Snapshot;

/// What state machines need of the broker's settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct GroupConfig {
    /// group.initial.rebalance.delay.ms
    pub(crate) initial_rebalance_delay_ms: u64,
    /// group.min.session.timeout.ms and group.max.session.timeout.ms
    pub(crate) session_timeout_ms: std::ops::RangeInclusive<i32>,
    /// group.max.size
    pub(crate) max_size: usize,
    /// offset.metadata.max.bytes
    pub(crate) metadata_length_max: usize,
    pub(crate) consumer: ConsumerConfig,
}

/// `group.consumer.*`
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ConsumerConfig {
    pub(crate) session_timeout_ms: u64,
    pub(crate) heartbeat_interval_ms: i32,
    pub(crate) max_size: usize,
    /// Names of the assignors, the default first.
    pub(crate) assignors: Vec<String>,
    pub(crate) migration_policy: MigrationPolicy,
    /// The least time between two assignments.
    pub(crate) assignment_interval_ms: u64,
}

impl GroupConfig {
    pub(crate) fn new(config: &Config) -> Self {
        let size = |value: i32| usize::try_from(value).unwrap_or(0);
        let millis = |value: i32| u64::try_from(value).unwrap_or(0);
        Self {
            initial_rebalance_delay_ms: millis(config.group_initial_rebalance_delay_ms),
            session_timeout_ms: config.group_min_session_timeout_ms
                ..=config.group_max_session_timeout_ms,
            max_size: size(config.group_max_size),
            metadata_length_max: size(config.offset_metadata_max_bytes),
            consumer: ConsumerConfig {
                session_timeout_ms: millis(config.group_consumer_session_timeout_ms),
                heartbeat_interval_ms: config.group_consumer_heartbeat_interval_ms,
                max_size: size(config.group_consumer_max_size),
                assignors: config.group_consumer_assignors.0.clone(),
                migration_policy: config.group_consumer_migration_policy,
                assignment_interval_ms: millis(within(
                    config.group_consumer_assignment_interval_ms,
                    config.group_consumer_min_assignment_interval_ms,
                    config.group_consumer_max_assignment_interval_ms,
                )),
            },
        }
    }

    /// What holds in one group: its own settings, within the limits of the broker, then those of the broker.
    pub(crate) fn of(snapshot: &Snapshot, group_id: &str) -> Self {
        let broker = &snapshot.config;
        let mut config = Self::new(broker);
        let Some(given) = snapshot.groups.get(group_id) else {
            return config;
        };
        let number = |name: &str, least: i32, most: i32| {
            let number: i32 = given.get(name)?.trim().parse().ok()?;
            Some(within(number, least, most))
        };
        let millis = |value: i32| u64::try_from(value).unwrap_or(0);
        if let Some(ms) = number(
            "consumer.session.timeout.ms",
            broker.group_consumer_min_session_timeout_ms,
            broker.group_consumer_max_session_timeout_ms,
        ) {
            config.consumer.session_timeout_ms = millis(ms);
        }
        if let Some(ms) = number(
            "consumer.heartbeat.interval.ms",
            broker.group_consumer_min_heartbeat_interval_ms,
            broker.group_consumer_max_heartbeat_interval_ms,
        ) {
            config.consumer.heartbeat_interval_ms = ms;
        }
        if let Some(ms) = number(
            "consumer.assignment.interval.ms",
            broker.group_consumer_min_assignment_interval_ms,
            broker.group_consumer_max_assignment_interval_ms,
        ) {
            config.consumer.assignment_interval_ms = millis(ms);
        }
        config
    }
}

/// The value, or the limit that it is beyond.
fn within(value: i32, least: i32, most: i32) -> i32 {
    value.max(least).min(most)
}
