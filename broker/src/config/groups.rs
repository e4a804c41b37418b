//! Values of settings of groups, and what must hold between them.

use std::str::FromStr;

use super::{Config, ConfigError};

/// Names of assignors of the broker: at least one of `uniform` and `range`, none twice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assignors(pub Vec<String>);

/// The assignors there are.
const ASSIGNORS: [&str; 2] = ["uniform", "range"];

impl Default for Assignors {
    fn default() -> Self {
        Self(ASSIGNORS.map(str::to_owned).into())
    }
}

impl FromStr for Assignors {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut names: Vec<String> = Vec::new();
        for name in text.split(',').map(str::trim) {
            if !ASSIGNORS.contains(&name) || names.iter().any(|known| known == name) {
                return Err("write uniform, range or both, with a comma between them".to_owned());
            }
            names.push(name.to_owned());
        }
        Ok(Self(names))
    }
}

/// Whether a group with members may change between the classic and the new protocol: Kafka's
/// `group.consumer.migration.policy`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MigrationPolicy {
    /// Both ways.
    Bidirectional,
    /// From the classic to the new protocol.
    Upgrade,
    /// Back.
    Downgrade,
    /// Not at all.
    Disabled,
}

impl MigrationPolicy {
    const ALL: [Self; 4] = [
        Self::Bidirectional,
        Self::Upgrade,
        Self::Downgrade,
        Self::Disabled,
    ];

    /// Kafka's word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bidirectional => "bidirectional",
            Self::Upgrade => "upgrade",
            Self::Downgrade => "downgrade",
            Self::Disabled => "disabled",
        }
    }
}

impl FromStr for MigrationPolicy {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|policy| policy.name().eq_ignore_ascii_case(text))
            .ok_or_else(|| "write bidirectional, upgrade, downgrade or disabled".to_owned())
    }
}

impl Config {
    /// Least values are not above the largest, and what lies between them does.
    pub(super) fn check_spans(&self) -> Result<(), ConfigError> {
        let session =
            self.group_consumer_min_session_timeout_ms..=self.group_consumer_max_session_timeout_ms;
        let heartbeat = self.group_consumer_min_heartbeat_interval_ms
            ..=self.group_consumer_max_heartbeat_interval_ms;
        let rules = [
            (
                self.group_min_session_timeout_ms <= self.group_max_session_timeout_ms,
                "group.min.session.timeout.ms must not be above group.max.session.timeout.ms",
            ),
            (
                session.contains(&self.group_consumer_session_timeout_ms),
                "group.consumer.session.timeout.ms must lie between group.consumer.min.session.timeout.ms and group.consumer.max.session.timeout.ms",
            ),
            (
                heartbeat.contains(&self.group_consumer_heartbeat_interval_ms),
                "group.consumer.heartbeat.interval.ms must lie between group.consumer.min.heartbeat.interval.ms and group.consumer.max.heartbeat.interval.ms",
            ),
            (
                self.broker_heartbeat_interval_ms < self.broker_session_timeout_ms,
                "broker.heartbeat.interval.ms must be below broker.session.timeout.ms",
            ),
            (
                self.group_consumer_heartbeat_interval_ms < self.group_consumer_session_timeout_ms,
                "group.consumer.heartbeat.interval.ms must be below group.consumer.session.timeout.ms",
            ),
        ];
        match rules.into_iter().find(|(holds, _)| !holds) {
            Some((_, text)) => Err(ConfigError::Conflict(text)),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn assignors_are_named_once() {
        let names = |text: &str| text.parse::<Assignors>().map(|read| read.0);
        assert_eq!(
            names("range, uniform"),
            Ok(vec!["range".into(), "uniform".into()])
        );
        for wrong in ["", "range,range", "sticky", "range,"] {
            assert!(names(wrong).is_err(), "{wrong}");
        }
        assert_eq!("UPGRADE".parse(), Ok(MigrationPolicy::Upgrade));
        assert!("both".parse::<MigrationPolicy>().is_err());
    }

    #[test]
    fn a_session_lies_between_its_bounds_and_is_longer_than_a_heartbeat() {
        let refused = |change: fn(&mut Config), text: &str| {
            let mut config = Config::default();
            change(&mut config);
            let error = config.check_spans().unwrap_err().to_string();
            assert!(error.starts_with(text), "{error}");
        };
        Config::default().check_spans().unwrap();
        refused(
            |c| c.group_min_session_timeout_ms = 2_000_000,
            "group.min.session",
        );
        refused(
            |c| c.group_consumer_session_timeout_ms = 1,
            "group.consumer.session",
        );
        refused(
            |c| c.group_consumer_heartbeat_interval_ms = 1,
            "group.consumer.heartbeat.interval.ms must lie",
        );
        refused(
            |c| {
                c.group_consumer_max_heartbeat_interval_ms = 50_000;
                c.group_consumer_heartbeat_interval_ms = 45_000;
            },
            "group.consumer.heartbeat.interval.ms must be below",
        );
    }
}
