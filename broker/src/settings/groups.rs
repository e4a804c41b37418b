//! The settings that a group can have, as Kafka has them (KIP-848, KIP-932, KIP-1071). One row here adds a setting.
//!
//! They are checked and kept here; what they do is the groups' business.

use super::ConfigSource;
use super::kind::Kind;
use super::snapshot::{Layer, Snapshot};

/// One setting of groups.
#[derive(Debug)]
pub(crate) struct GroupSetting {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    pub(crate) default: &'static str,
    /// What a value must lie between, where the broker has settings for it.
    range: Range,
    pub(crate) documentation: &'static str,
}

/// The limits of a value, which the broker's settings are.
#[derive(Debug, Clone, Copy)]
enum Range {
    Any,
    /// `group.<kind>.min.<name>` to `group.<kind>.max.<name>`, both included.
    Between,
    /// At most the broker's setting of this name.
    AtMost(&'static str),
}

const fn row(
    name: &'static str,
    kind: Kind,
    default: &'static str,
    range: Range,
    documentation: &'static str,
) -> GroupSetting {
    GroupSetting {
        name,
        kind,
        default,
        range,
        documentation,
    }
}

/// By name.
#[rustfmt::skip] // a table: one row a setting; name, kind, default, range, what it is for
pub(crate) static GROUP_SETTINGS: &[GroupSetting] = &[
    row("consumer.assignment.interval.ms", Kind::int(0), "1000", Range::Between,
        "The least time between two computations of the group's assignment."),
    row("consumer.heartbeat.interval.ms", Kind::int(1), "5000", Range::Between,
        "How often members of a consumer group are to report."),
    row("consumer.session.timeout.ms", Kind::int(1), "45000", Range::Between,
        "After how long a silent member has left a consumer group."),
    row("errors.deadletterqueue.copy.record.enable", Kind::Boolean, "false", Range::Any,
        "Whether the dead letter queue gets keys and values of the records that could not be processed."),
    row("errors.deadletterqueue.topic.name", Kind::Text, "", Range::Any,
        "The topic for records that the share group could not process; empty for none."),
    row("share.assignment.interval.ms", Kind::int(0), "1000", Range::Between,
        "The least time between two computations of the share group's assignment."),
    row("share.auto.offset.reset", Kind::OffsetReset, "latest", Range::Any,
        "Where a new share group begins: earliest, latest or by_duration:PnDTnHnMn.nS before now."),
    row("share.delivery.count.limit", Kind::int(2), "5", Range::Between,
        "How often a record is delivered before it is given up."),
    row("share.heartbeat.interval.ms", Kind::int(1), "5000", Range::Between,
        "How often members of a share group are to report."),
    row("share.isolation.level", Kind::Word(&["read_committed", "read_uncommitted"]), "read_uncommitted", Range::Any,
        "Whether the share group sees records of open and aborted transactions."),
    row("share.partition.max.record.locks", Kind::int(100), "2000", Range::Between,
        "The most records of a partition that members may hold at once."),
    row("share.record.lock.duration.ms", Kind::int(1_000), "30000", Range::Between,
        "How long a member may hold a record before others get it."),
    row("share.renew.acknowledge.enable", Kind::Boolean, "true", Range::Any,
        "Whether members may prolong their hold on records."),
    row("share.session.timeout.ms", Kind::int(1), "45000", Range::Between,
        "After how long a silent member has left a share group."),
    row("streams.assignment.interval.ms", Kind::int(0), "1000", Range::Between,
        "The least time between two computations of the streams group's assignment."),
    row("streams.assignor.name", Kind::Word(&["sticky"]), "sticky", Range::Any,
        "How tasks are dealt to the members of a streams group."),
    row("streams.heartbeat.interval.ms", Kind::int(1), "5000", Range::Between,
        "How often members of a streams group are to report."),
    row("streams.initial.rebalance.delay.ms", Kind::int(0), "3000", Range::Any,
        "How long an empty streams group waits for more members before it assigns tasks."),
    row("streams.num.standby.replicas", Kind::int(0), "0", Range::AtMost("group.streams.max.standby.replicas"),
        "How many copies of each state store are kept on other members."),
    row("streams.rack.aware.assignment.tags", Kind::List, "", Range::Any,
        "Tags of members over which copies of state stores are spread."),
    row("streams.session.timeout.ms", Kind::int(1), "45000", Range::Between,
        "After how long a silent member has left a streams group."),
];

impl GroupSetting {
    /// The setting of this name.
    pub(crate) fn find(name: &str) -> Option<&'static Self> {
        GROUP_SETTINGS.iter().find(|setting| setting.name == name)
    }

    /// The value in `group_id`, and where it comes from.
    pub(crate) fn value(&self, group_id: &str, snapshot: &Snapshot) -> (String, ConfigSource) {
        let given = snapshot.groups.get(group_id);
        if let Some(value) = given.and_then(|given| given.get(self.name)) {
            return (value.clone(), ConfigSource::Group);
        }
        let layers = snapshot.broker_layers(&self.broker_name());
        match layers.into_iter().next() {
            Some(layer) => (layer.value, layer.source),
            None => (self.default.to_owned(), ConfigSource::Default),
        }
    }

    /// All values that the setting has, the one in force first.
    pub(crate) fn synonyms(&self, group_id: &str, snapshot: &Snapshot) -> Vec<Layer> {
        let given = snapshot.groups.get(group_id);
        let given = given.and_then(|given| given.get(self.name));
        let given = given.map(|value| Layer {
            name: self.name,
            value: value.clone(),
            source: ConfigSource::Group,
        });
        let layers = snapshot.broker_layers(&self.broker_name());
        given.into_iter().chain(layers).collect()
    }

    /// Kafka's name for the broker's setting that is the default.
    fn broker_name(&self) -> String {
        format!("group.{}", self.name)
    }

    /// Whether `value` will do; the error is Kafka's text.
    pub(crate) fn check(&self, value: &str, snapshot: &Snapshot) -> Result<(), String> {
        self.kind.check(self.name, value)?;
        let limit = |name: &str| {
            let set = snapshot.broker_value(name);
            set.and_then(|text| text.parse::<i32>().ok())
        };
        let number: i32 = match self.range {
            Range::Any => return Ok(()),
            Range::Between | Range::AtMost(_) => value.trim().parse().unwrap_or(i32::MIN),
        };
        match self.range {
            Range::Any => Ok(()),
            Range::Between => {
                let (group, rest) = self.name.split_once('.').unwrap_or_default();
                let least = limit(&format!("group.{group}.min.{rest}")).unwrap_or(i32::MIN);
                let most = limit(&format!("group.{group}.max.{rest}")).unwrap_or(i32::MAX);
                if (least..=most).contains(&number) {
                    return Ok(());
                }
                Err(format!(
                    "{} must be in the range {least} to {most} inclusive.",
                    self.name
                ))
            }
            Range::AtMost(name) => match limit(name).unwrap_or(i32::MAX) {
                most if number <= most => Ok(()),
                most => Err(format!(
                    "{} must be less than or equal to {most}",
                    self.name
                )),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{self, Config};

    #[test]
    fn every_default_is_a_valid_value_and_names_are_in_order() {
        let snapshot = Snapshot::of(&Config::default());
        for setting in GROUP_SETTINGS {
            let checked = setting.check(setting.default, &snapshot);
            assert_eq!(checked, Ok(()), "{}", setting.name);
        }
        let names: Vec<_> = GROUP_SETTINGS.iter().map(|setting| setting.name).collect();
        assert!(names.is_sorted());
    }

    #[test]
    fn limits_are_settings_of_the_broker() {
        let mut config = Config {
            group_consumer_max_assignment_interval_ms: 20_000,
            ..Config::default()
        };
        let longer = config::setting("group.share.max.heartbeat.interval.ms").unwrap();
        longer.set(&mut config, "20000").unwrap();
        for setting in GROUP_SETTINGS {
            if matches!(setting.range, Range::Between) {
                let (group, rest) = setting.name.split_once('.').unwrap();
                for limit in ["min", "max"] {
                    let name = format!("group.{group}.{limit}.{rest}");
                    assert!(config::setting(&name).is_some(), "{name}");
                }
            }
        }
        let check = |name: &str, config: &Config| {
            let setting = GroupSetting::find(name).unwrap();
            setting.check("20000", &Snapshot::of(config))
        };
        for name in [
            "consumer.assignment.interval.ms",
            "share.heartbeat.interval.ms",
        ] {
            assert_eq!(check(name, &config), Ok(()));
            let text = check(name, &Config::default()).unwrap_err();
            assert!(text.ends_with(" to 15000 inclusive."), "{text}");
        }
    }

    #[test]
    fn values_outside_of_the_range_get_kafkas_texts() {
        let snapshot = Snapshot::of(&Config::default());
        for (name, value, text) in [
            (
                "consumer.session.timeout.ms",
                "5",
                "consumer.session.timeout.ms must be in the range 45000 to 60000 inclusive.",
            ),
            (
                "share.heartbeat.interval.ms",
                "99",
                "share.heartbeat.interval.ms must be in the range 5000 to 15000 inclusive.",
            ),
            (
                "streams.num.standby.replicas",
                "9",
                "streams.num.standby.replicas must be less than or equal to 2",
            ),
            (
                "share.record.lock.duration.ms",
                "1",
                "Invalid value 1 for configuration share.record.lock.duration.ms: Value must be at least 1000",
            ),
        ] {
            let setting = GroupSetting::find(name).unwrap();
            assert_eq!(setting.check(value, &snapshot), Err(text.to_owned()));
        }
    }
}
