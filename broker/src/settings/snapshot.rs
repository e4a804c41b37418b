//! What holds at one moment: what the broker was given when it started, under what brokers and groups were given since.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use storage::ClusterSettings;

use super::features::Levels;
use super::{ConfigSource, log};
use crate::config::{self, Config};
use crate::log::TopicSettings;

/// The number under which the settings of all brokers are stored.
pub(crate) const ALL_BROKERS: i32 = -1;

/// Name and value of settings.
pub(crate) type Given = BTreeMap<String, String>;

/// One value that a setting has, and who gave it under which name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Layer {
    pub(crate) name: &'static str,
    pub(crate) value: String,
    pub(crate) source: ConfigSource,
}

/// Settings of brokers and groups at one moment.
#[derive(Debug)]
pub(crate) struct Snapshot {
    given: Arc<Config>,
    /// The broker's configuration with what was given while it ran.
    pub(crate) config: Config,
    all_brokers: Given,
    this_broker: Given,
    pub(crate) groups: HashMap<String, Given>,
    pub(crate) features: Levels,
    /// What the log judges by in a topic without settings of its own.
    pub(crate) log_defaults: Arc<TopicSettings>,
}

impl Snapshot {
    /// A value that cannot be used, which only a database changed by force can have, is passed over with a line in the log.
    pub(crate) fn new(given: Arc<Config>, stored: ClusterSettings) -> Self {
        let mut all_brokers = Given::new();
        let mut this_broker = Given::new();
        for (node_id, name, value) in stored.brokers {
            let usable = config::setting(&name)
                .is_some_and(|setting| setting.is_dynamic && setting.check(&value).is_ok());
            if !usable {
                tracing::warn!(name, value, "a broker setting that cannot be used");
            } else if node_id == ALL_BROKERS {
                all_brokers.insert(name, value);
            } else if node_id == given.node_id {
                this_broker.insert(name, value);
            }
        }
        let mut groups: HashMap<String, Given> = HashMap::new();
        for (group_id, name, value) in stored.groups {
            groups.entry(group_id).or_default().insert(name, value);
        }
        let mut config = Config::clone(&given);
        for (name, value) in all_brokers.iter().chain(&this_broker) {
            if let Some(setting) = config::setting(name)
                && let Err(reason) = setting.set(&mut config, value)
            {
                tracing::warn!(name, value, reason, "a broker setting that cannot be used");
            }
        }
        let mut snapshot = Self {
            given,
            config,
            all_brokers,
            this_broker,
            groups,
            features: Levels::new(stored.features),
            log_defaults: Arc::default(),
        };
        snapshot.log_defaults = Arc::new(log::effective(&snapshot, &[]));
        snapshot
    }

    /// Without anything given while the broker runs.
    #[cfg(test)]
    pub(crate) fn of(config: &Config) -> Self {
        Self::new(Arc::new(config.clone()), ClusterSettings::default())
    }

    /// What was given to this broker, or to all of them, while they ran.
    pub(crate) fn dynamic(&self, all_brokers: bool) -> &Given {
        if all_brokers {
            &self.all_brokers
        } else {
            &self.this_broker
        }
    }

    /// The values of the broker's setting `name`, the one in force first; without those that nobody gave and that have no default.
    pub(crate) fn broker_layers(&self, name: &str) -> Vec<Layer> {
        let Some(setting) = config::setting(name) else {
            return Vec::new();
        };
        let dynamic = [
            (&self.this_broker, ConfigSource::DynamicBroker),
            (&self.all_brokers, ConfigSource::DynamicDefaultBroker),
        ];
        let dynamic = dynamic
            .into_iter()
            .filter_map(|(given, source)| Some((given.get(setting.name)?.clone(), source)));
        let default = setting.show(&Config::default());
        let at_start = setting.show(&self.given);
        let at_start = (at_start != default).then_some((at_start, ConfigSource::StaticBroker));
        let default = (!default.is_empty() || setting.takes_empty())
            .then_some((default, ConfigSource::Default));
        dynamic
            .chain(at_start)
            .chain(default)
            .map(|(value, source)| Layer {
                name: setting.name,
                value,
                source,
            })
            .collect()
    }

    /// The value of the broker's setting `name` that is in force.
    pub(crate) fn broker_value(&self, name: &str) -> Option<String> {
        let layers = self.broker_layers(name);
        layers.into_iter().next().map(|layer| layer.value)
    }
}
