//! Values of settings of groups, and what must hold between them.

use std::str::FromStr;

use super::Config;

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

/// Kinds of groups with settings that have a least and a largest value.
const KINDS: [&str; 3] = ["consumer", "share", "streams"];

impl Config {
    /// Least values are not above the largest, and what lies between them does; in Kafka's words.
    pub(crate) fn check_spans(&self) -> Result<(), String> {
        for kind in KINDS {
            let names = super::settings()
                .filter_map(|setting| setting.name.strip_prefix(&*format!("group.{kind}.min.")));
            for rest in names {
                let [least, value, most] =
                    ["min.", "", "max."].map(|limit| format!("group.{kind}.{limit}{rest}"));
                self.in_order(&least, "greater than or equal to", &most)?;
                self.in_order(&least, "greater than or equal to", &value)?;
                self.in_order(&value, "less than or equal to", &most)?;
            }
            let [heartbeat, session] = ["heartbeat.interval.ms", "session.timeout.ms"]
                .map(|rest| format!("group.{kind}.{rest}"));
            self.in_order(&heartbeat, "less than", &session)?;
        }
        self.in_order(
            "group.streams.num.standby.replicas",
            "less than or equal to",
            "group.streams.max.standby.replicas",
        )?;
        self.in_order(
            "broker.heartbeat.interval.ms",
            "less than",
            "broker.session.timeout.ms",
        )?;
        if self.has_protocol("classic") {
            return Ok(());
        }
        Err("group.coordinator.rebalance.protocols must contain classic".to_owned())
    }

    /// Of two numbers the first is the smaller one, or as large as the other where the relation allows that. The larger one is said
    /// to be "greater than or equal to" the smaller one.
    fn in_order(&self, small: &str, relation: &str, large: &str) -> Result<(), String> {
        let number = |name: &str| -> Option<i64> { super::setting(name)?.show(self).parse().ok() };
        let (Some(least), Some(most)) = (number(small), number(large)) else {
            return Ok(());
        };
        if least < most || (least == most && relation != "less than") {
            return Ok(());
        }
        let (first, second) = match relation {
            "greater than or equal to" => (large, small),
            _ => (small, large),
        };
        Err(format!("{first} must be {relation} {second}"))
    }

    /// Whether groups may be of this protocol: `group.coordinator.rebalance.protocols`.
    pub(crate) fn has_protocol(&self, protocol: &str) -> bool {
        let name = "group.coordinator.rebalance.protocols";
        let given = super::setting(name).map(|setting| setting.show(self));
        given.is_some_and(|given| given.split(',').any(|word| word == protocol))
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
            assert_eq!(config.check_spans(), Err(text.to_owned()));
        };
        Config::default().check_spans().unwrap();
        refused(
            |c| c.group_consumer_session_timeout_ms = 1,
            "group.consumer.session.timeout.ms must be greater than or equal to group.consumer.min.session.timeout.ms",
        );
        refused(
            |c| c.group_consumer_assignment_interval_ms = 15_001,
            "group.consumer.assignment.interval.ms must be less than or equal to group.consumer.max.assignment.interval.ms",
        );
        refused(
            |c| c.group_consumer_max_session_timeout_ms = 1,
            "group.consumer.max.session.timeout.ms must be greater than or equal to group.consumer.min.session.timeout.ms",
        );
        refused(
            |c| {
                c.group_consumer_max_heartbeat_interval_ms = 50_000;
                c.group_consumer_heartbeat_interval_ms = 45_000;
            },
            "group.consumer.heartbeat.interval.ms must be less than group.consumer.session.timeout.ms",
        );
        let set = |config: &mut Config, name: &str, value: &str| {
            super::super::setting(name)
                .unwrap()
                .set(config, value)
                .unwrap();
        };
        let mut config = Config::default();
        set(&mut config, "group.streams.num.standby.replicas", "3");
        assert!(config.check_spans().is_err());
        set(&mut config, "group.streams.max.standby.replicas", "3");
        assert_eq!(config.check_spans(), Ok(()));
        set(
            &mut config,
            "group.coordinator.rebalance.protocols",
            "consumer",
        );
        assert!(config.check_spans().is_err());
        set(
            &mut config,
            "group.coordinator.rebalance.protocols",
            "classic",
        );
        assert_eq!(config.check_spans(), Ok(()));
        assert!(config.has_protocol("classic") && !config.has_protocol("consumer"));
    }
}
