//! A private PostgreSQL: found, initialised, tuned, started, watched and stopped here.

use std::path::PathBuf;

use crate::Result;

/// What to run and where.
#[derive(Debug, Clone, Default)]
pub struct EmbeddedConfig {
    /// Directory of the cluster, its lock and its log; made if it is missing.
    pub data_dir: PathBuf,
    /// Directory with `postgres` and `initdb`; searched for if not given.
    pub bin_dir: Option<PathBuf>,
    /// Further server settings, name and value, which win over ours.
    pub settings: Vec<(String, String)>,
}

/// A running private PostgreSQL, restarted if it dies.
#[derive(Debug)]
pub struct Embedded {
    url: String,
}

impl Embedded {
    /// Starts PostgreSQL on the data directory (initialising it the first time) and waits until it answers.
    ///
    /// Errors: `Setup` with what to do (binaries missing, directory in use or not reachable), `Unavailable`.
    pub async fn start(_config: &EmbeddedConfig) -> Result<Self> {
        unimplemented!()
    }

    /// For [`crate::DatabaseConfig::url`].
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Stops the server cleanly (fast shutdown) and returns when it is gone.
    pub async fn stop(self) -> Result<()> {
        unimplemented!()
    }
}
