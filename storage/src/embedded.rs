//! A private PostgreSQL: found, initialised, tuned, started, watched and stopped here.
//!
//! ```text
//! <data_dir>/lock          held while a broker uses the directory
//! <data_dir>/postgres/     the cluster, owned by the account the server runs as
//! <data_dir>/socket/       its Unix socket (a short directory in /tmp instead if that path would be too long)
//! <data_dir>/postgres.log  what the server prints
//! ```
//! The server listens on nothing but the socket, which only its own account and root can reach.

mod account;
mod binaries;
mod cluster;
mod postmaster;

use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::{Error, Result};
use cluster::Cluster;
use postmaster::Postmaster;

const RESTART_AFTER_MIN: Duration = Duration::from_millis(100);
const RESTART_AFTER_MAX: Duration = Duration::from_secs(5);

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

/// The database of the private PostgreSQL that a broker runs on `data_dir` just now.
///
/// Errors: `Setup` if none runs there.
pub fn running_url(data_dir: &std::path::Path) -> Result<String> {
    cluster::running_url(data_dir)
}

/// A running private PostgreSQL, restarted if it dies. Dropping it asks the server to stop; [`Embedded::stop`] waits for it.
#[derive(Debug)]
pub struct Embedded {
    url: String,
    stop: oneshot::Sender<()>,
    watch: JoinHandle<Result<()>>,
}

impl Embedded {
    /// Starts PostgreSQL on the data directory (initialising it the first time) and waits until it answers.
    ///
    /// A server left behind by a broker that was killed is stopped first. Errors: `Setup` with what to do (binaries
    /// missing, directory in use or not reachable, server refuses to start), `Unavailable`.
    pub async fn start(config: &EmbeddedConfig) -> Result<Self> {
        let cluster = Cluster::prepare(config).await?;
        let postmaster = Postmaster::start(&cluster).await?;
        cluster.create_database().await?;
        let url = cluster.url();
        let (stop, stopped) = oneshot::channel();
        let watch = tokio::spawn(watch(cluster, postmaster, stopped));
        Ok(Self { url, stop, watch })
    }

    /// For [`crate::DatabaseConfig::url`].
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Stops the server cleanly (fast shutdown) and returns when it is gone.
    pub async fn stop(self) -> Result<()> {
        // An error means that the watcher has ended, which the next line reports.
        let _ = self.stop.send(());
        self.watch
            .await
            .map_err(|e| Error::bug("watching PostgreSQL", e))?
    }
}

/// Restarts the server whenever it ends, until told to stop it. Holds the lock on the directory.
async fn watch(
    cluster: Cluster,
    mut postmaster: Postmaster,
    mut stopped: oneshot::Receiver<()>,
) -> Result<()> {
    loop {
        tokio::select! {
            _ = &mut stopped => {
                let result = postmaster.stop().await;
                cluster.clean_up();
                return result;
            }
            status = postmaster.ended() => tracing::error!("PostgreSQL ended by itself ({status}), starting it again"),
        }
        let mut pause = RESTART_AFTER_MIN;
        postmaster = loop {
            tokio::select! {
                _ = &mut stopped => return Ok(()),
                () = tokio::time::sleep(pause) => {}
            }
            match Postmaster::start(&cluster).await {
                Ok(started) => break started,
                Err(error) => tracing::error!("PostgreSQL did not start: {error}"),
            }
            pause = (pause * 2).min(RESTART_AFTER_MAX);
        };
        tracing::info!("PostgreSQL is running again");
    }
}
