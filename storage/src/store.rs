//! `Store`: a cheap handle on the database, cloned into whoever needs it.

use std::sync::Arc;
use std::time::Duration;

use crate::Result;

/// How to reach the database, and the sizes that belong to it.
#[derive(Debug, Clone)]
pub struct DatabaseConfig {
    /// `postgresql://…` URL or `key=value` string, as libpq takes it.
    pub url: String,
    /// Connections for the catalogue and for reads together; each [`crate::LaneWriter`] has one more of its own.
    pub pool_size: usize,
    /// How long [`Store::open`] waits for a database that does not answer yet.
    pub connect_wait: Duration,
    /// Longest time one catalogue or read statement may take.
    pub statement_timeout: Duration,
    /// A segment table is rolled once it holds this many bytes.
    pub segment_bytes: u64,
}

impl DatabaseConfig {
    /// The defaults for a database at `url`.
    #[must_use]
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            pool_size: 8,
            connect_wait: Duration::from_secs(30),
            statement_timeout: Duration::from_secs(30),
            segment_bytes: 512 << 20,
        }
    }
}

/// Handle on one database; clones share its connections.
#[derive(Debug, Clone)]
pub struct Store {
    pub(crate) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) config: DatabaseConfig,
    pub(crate) cluster_id: String,
}

impl Store {
    /// Connects, brings the schema up to this release, and reads the cluster's identity.
    ///
    /// Safe when several brokers start at once. Errors: `Unavailable` after `connect_wait`, `Newer`, `Setup`.
    pub async fn open(_config: &DatabaseConfig) -> Result<Self> {
        unimplemented!()
    }

    /// Identity of the cluster, made when the schema was: 22 characters as Kafka prints UUIDs.
    #[must_use]
    pub fn cluster_id(&self) -> &str {
        &self.inner.cluster_id
    }

    /// The configuration the store was opened with.
    #[must_use]
    pub fn config(&self) -> &DatabaseConfig {
        &self.inner.config
    }
}
