//! The settings of topics, groups and brokers: which there are, what holds now, and how they are changed while brokers run.
//!
//! `kind` says what values there are, `topics` and `groups` are tables, those of brokers are in `config`. [`Settings`] follows
//! what is stored; a [`Snapshot`] of it says what holds. `change` turns requests into changes, `list` tells the database.

pub(crate) mod change;
pub(crate) mod features;
pub(crate) mod groups;
pub(crate) mod kind;
mod list;
mod log;
mod snapshot;
pub(crate) mod topics;

use std::sync::{Arc, PoisonError, RwLock};

use storage::{SettingsChange, Store};

use crate::config::Config;
use crate::server::ConnectionLimits;

pub(crate) use log::{cleaner_limits, log_settings};
pub(crate) use snapshot::{Layer, Snapshot};

/// Where the value of a setting comes from, with Kafka's numbers (KIP-226, KIP-848).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i8)]
pub(crate) enum ConfigSource {
    /// Given to the topic.
    Topic = 1,
    /// Given to this broker while it ran.
    DynamicBroker = 2,
    /// Given to all brokers while they ran.
    DynamicDefaultBroker = 3,
    /// Given to the broker when it started.
    StaticBroker = 4,
    /// Given to nobody.
    Default = 5,
    /// Given to the group.
    Group = 8,
}

/// The settings of brokers and groups as they are stored, followed by this broker.
#[derive(Debug)]
pub(crate) struct Settings {
    store: Store,
    given: Arc<Config>,
    present: RwLock<Arc<Snapshot>>,
    connections: Arc<ConnectionLimits>,
    /// One change of settings at a time.
    pub(crate) changes: tokio::sync::Mutex<()>,
}

impl Settings {
    /// Tells the database which settings there are, and loads those of brokers and groups.
    pub(crate) async fn open(
        store: Store,
        config: &Config,
        connections: Arc<ConnectionLimits>,
    ) -> Result<Arc<Self>, storage::Error> {
        store.note_setting_names(&list::names()).await?;
        let given = Arc::new(config.clone());
        let stored = store.load_settings().await?;
        let snapshot = Snapshot::new(given.clone(), stored);
        connections.change(&snapshot.config);
        Ok(Arc::new(Self {
            store,
            present: RwLock::new(Arc::new(snapshot)),
            connections,
            given,
            changes: tokio::sync::Mutex::default(),
        }))
    }

    /// The connections of clients and how many there may be.
    pub(crate) fn connections(&self) -> &ConnectionLimits {
        &self.connections
    }

    /// What holds now.
    pub(crate) fn snapshot(&self) -> Arc<Snapshot> {
        let present = self.present.read();
        Arc::clone(&present.unwrap_or_else(PoisonError::into_inner))
    }

    /// Loads the settings of brokers and groups again.
    pub(crate) async fn reload(&self) -> Result<(), storage::Error> {
        let stored = self.store.load_settings().await?;
        let snapshot = Arc::new(Snapshot::new(self.given.clone(), stored));
        self.connections.change(&snapshot.config);
        let present = self.present.write();
        *present.unwrap_or_else(PoisonError::into_inner) = snapshot;
        Ok(())
    }

    /// Stores the changes, all or none; they do not hold before they are loaded.
    pub(crate) async fn store(&self, changes: &[SettingsChange]) -> Result<(), storage::Error> {
        self.store.change_settings(changes).await
    }
}
