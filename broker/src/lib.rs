//! A Kafka broker that keeps everything in PostgreSQL.
//!
//! Start reading at [`run`]: `server` owns the sockets, `dispatch` is the table of APIs, `handlers` has one file per API,
//! `catalog` knows the topics, `log` appends and reads, `groups` coordinates consumers, `cluster` knows the other brokers. The
//! binary reads arguments and environment; nothing here does.

pub mod config;
pub mod inspect;
pub mod log;
pub mod server;

mod admin;
mod catalog;
mod cluster;
mod context;
mod dispatch;
mod error;
mod error_codes;
mod fetch_session;
mod groups;
mod handlers;
mod metrics;
mod settings;
mod transactions;
mod wire_log;

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use storage::embedded::{Embedded, EmbeddedConfig};
use storage::{DatabaseConfig, Registration, Store};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use catalog::Catalog;
use cluster::{Cluster, Expelled};
use config::{Config, DatabaseUrl, Endpoint};
use context::{Context, Session};
use fetch_session::FetchSessions;
use groups::Groups;
use log::{Log, LogConfig};
use metrics::Metrics;
use server::{Begin, Budget, Limits, Server, serve_http};
pub use server::{BindError, bind};
use settings::Settings;
use transactions::Transactions;

/// Why a broker could not start, or had to end.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database, private or not.
    #[error(transparent)]
    Storage(#[from] storage::Error),
    /// No listener was given, or its address cannot be told.
    #[error("no address to accept connections on: {0}")]
    Listener(std::io::Error),
    /// Where metrics and health are to be served.
    #[error("admin.listener: cannot listen on {0}: {1}")]
    AdminListener(String, std::io::Error),
    /// Another broker of the cluster has the same number.
    #[error(
        "another broker with node.id={0} was started on this database; give each broker a number of its own"
    )]
    Replaced(i32),
}

/// A broker that accepts connections.
#[derive(Debug, Clone)]
pub struct Ready {
    /// What to give clients as `bootstrap.servers`.
    pub bootstrap: Endpoint,
    /// Where the broker listens.
    pub listening: Vec<SocketAddr>,
    /// The database; shown without its password.
    pub database: DatabaseUrl,
    /// Whether the database is the broker's own.
    pub is_private: bool,
    /// Kafka's id of the cluster.
    pub cluster_id: String,
}

impl fmt::Display for Ready {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.is_private {
            "private PostgreSQL"
        } else {
            "PostgreSQL"
        };
        write!(
            f,
            "pg_kafka is ready: bootstrap.servers={} | {kind}: psql '{}'",
            self.bootstrap, self.database
        )
    }
}

/// Runs a broker on `listeners` until `shutdown` is cancelled, then answers what is in flight, writes what is queued, and
/// stops the private PostgreSQL. `ready` is called once, when connections are served.
pub async fn run(
    config: Config,
    listeners: Vec<TcpListener>,
    shutdown: CancellationToken,
    ready: impl FnOnce(&Ready),
) -> Result<(), Error> {
    for (setting, value) in config.without_effect() {
        tracing::info!(setting, value, "has no effect on this broker");
    }
    let embedded = match &config.database_url {
        Some(_) => None,
        None => Some(start_embedded(&config).await?),
    };
    let url = match (&embedded, &config.database_url) {
        (Some(embedded), _) => DatabaseUrl::new(embedded.url()),
        (None, Some(url)) => url.clone(),
        (None, None) => DatabaseUrl::new(""),
    };
    let result = serve_again(config, &url, listeners, shutdown, ready).await;
    if let Some(embedded) = embedded {
        embedded.stop().await?;
    }
    result
}

/// Between two attempts to come into the cluster.
const JOIN_PAUSE: Duration = Duration::from_millis(500);

/// What a round of serving ended with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Served {
    /// It was told to stop.
    ToTheEnd,
    /// The others took over, as it was silent for too long.
    UntilExpelled,
}

/// Serves until it is told to stop. A broker that was taken for dead forgets everything and joins the cluster anew.
async fn serve_again(
    config: Config,
    url: &DatabaseUrl,
    listeners: Vec<TcpListener>,
    shutdown: CancellationToken,
    ready: impl FnOnce(&Ready),
) -> Result<(), Error> {
    let mut ready = Some(ready);
    let mut was_open = false;
    let listeners = listeners.into_iter().map(TcpListener::into_std);
    let listeners: Vec<_> = listeners
        .collect::<Result<_, _>>()
        .map_err(Error::Listener)?;
    loop {
        let again = listeners
            .iter()
            .map(|listener| TcpListener::from_std(listener.try_clone()?));
        let again: Vec<_> = again.collect::<Result<_, _>>().map_err(Error::Listener)?;
        let announce = |announcement: &Ready| {
            if let Some(ready) = ready.take() {
                ready(announcement);
            }
        };
        let served = serve(
            config.clone(),
            url,
            again,
            shutdown.clone(),
            &mut was_open,
            announce,
        );
        match after(served.await, was_open, shutdown.is_cancelled()) {
            After::End(result) => return result,
            After::Pause => tokio::time::sleep(JOIN_PAUSE).await,
            After::JoinAnew => {}
        }
    }
}

/// What follows a round of serving.
#[derive(Debug)]
enum After {
    End(Result<(), Error>),
    /// Another round after a while.
    Pause,
    JoinAnew,
}

fn after(served: Result<Served, Error>, was_open: bool, is_stopping: bool) -> After {
    match served {
        Ok(Served::ToTheEnd) => After::End(Ok(())),
        Ok(Served::UntilExpelled) if is_stopping => After::End(Ok(())),
        Ok(Served::UntilExpelled) => {
            tracing::warn!(
                "this broker was silent for too long and others have taken over; joining the cluster anew"
            );
            After::JoinAnew
        }
        Err(Error::Storage(error)) if was_open && error.is_retriable() => {
            tracing::warn!(%error, "not in the cluster");
            match is_stopping {
                true => After::End(Ok(())),
                false => After::Pause,
            }
        }
        Err(error) => After::End(Err(error)),
    }
}

async fn start_embedded(config: &Config) -> Result<Embedded, storage::Error> {
    Embedded::start(&EmbeddedConfig {
        data_dir: config.data_dir.clone(),
        bin_dir: config.postgres_bin_dir.clone(),
        ..EmbeddedConfig::default()
    })
    .await
}

async fn serve(
    config: Config,
    url: &DatabaseUrl,
    listeners: Vec<TcpListener>,
    shutdown: CancellationToken,
    was_open: &mut bool,
    ready: impl FnOnce(&Ready),
) -> Result<Served, Error> {
    let listening = listeners
        .iter()
        .map(TcpListener::local_addr)
        .collect::<Result<Vec<_>, _>>()
        .map_err(Error::Listener)?;
    let port = listening.first().map_or(0, SocketAddr::port);

    let me = registration(&config, port);
    let database = database_config(&config, url, me.incarnation);
    let store = tokio::select! {
        store = Store::open(&database) => store?,
        // It may wait for its database for long.
        () = shutdown.cancelled() => return Ok(Served::ToTheEnd),
    };
    *was_open = true;
    let (node_id, incarnation) = (me.node_id, me.incarnation);
    let heartbeat_every = Duration::from_millis(config.broker_heartbeat_interval_ms);
    let cluster = Cluster::join(store.clone(), me, heartbeat_every).await?;
    // From now on, however long it takes to load the topics. It ends with this function.
    let mut heart = JoinSet::new();
    heart.spawn(cluster.clone().beat());
    let log = match Log::open(store.clone(), node_id, incarnation, log_config(&config)).await {
        Ok(log) => log,
        Err(storage::Error::Fenced { .. }) => return expelled(&cluster).await,
        Err(error) => return Err(error.into()),
    };
    let announcement = Ready {
        bootstrap: config.advertised(port, None),
        listening,
        database: url.clone(),
        is_private: config.database_url.is_none(),
        cluster_id: store.cluster_id().to_owned(),
    };
    let joined = Joined {
        config,
        port,
        store,
        cluster: cluster.clone(),
        log: log.clone(),
    };
    let served = joined.serve(listeners, &shutdown, || ready(&announcement));
    let served = served.await;
    log.stop().await;
    served?;
    if shutdown.is_cancelled() {
        cluster.unregister().await;
        return Ok(Served::ToTheEnd);
    }
    expelled(&cluster).await
}

/// A broker in the cluster, with its lane.
struct Joined {
    config: Config,
    port: u16,
    store: Store,
    cluster: Arc<Cluster>,
    log: Arc<Log>,
}

impl Joined {
    /// Serves clients until the broker is to stop or is out of the cluster.
    async fn serve(
        self,
        listeners: Vec<TcpListener>,
        shutdown: &CancellationToken,
        ready: impl FnOnce(),
    ) -> Result<(), Error> {
        let Self {
            config,
            port,
            store,
            cluster,
            log,
        } = self;
        cluster.take_over_orphans().await?;
        let limits = Limits::new(&config);
        let connections = limits.connections().clone();
        let settings = Settings::open(store.clone(), &config, connections).await?;
        let catalog = Catalog::open(store.clone(), log.clone(), settings.clone()).await?;
        // These end with this function.
        let mut tasks = JoinSet::new();
        tasks.spawn(catalog.clone().follow());
        // A broker that is out of the cluster stops as if it had been told to, but has nothing to hand over.
        let (leaving, stopping) = (shutdown.child_token(), CancellationToken::new());
        let parts = (store.clone(), catalog.clone(), settings.clone());
        let groups = Groups::open(parts, &config, stopping.clone()).await?;
        cluster.begin(&groups).await?;
        tasks.spawn(groups.clone().expire_offsets(&config));
        let interval = Duration::from_millis(config.log_retention_check_interval_ms);
        tasks.spawn(log.clone().expire(interval));
        let (post, letters) = store.post();
        let (ours, theirs) = ((log.clone(), groups.clone()), (cluster.clone(), post));
        let transactions =
            Transactions::open(store.clone(), ours.0, ours.1, theirs, &config).await?;
        tasks.spawn(transactions.clone().correspond(letters));
        tasks.spawn(transactions.clone().write_due_markers());
        tasks.spawn(transactions.clone().see_written_markers());
        tasks.spawn(transactions.clone().follow_shards());
        tasks.spawn(transactions.clone().abort_timed_out(&config));
        tasks.spawn(transactions.clone().forget_unused(&config));
        let limited = settings.clone();
        let cleaner_limits = move || settings::cleaner_limits(&limited.snapshot());
        tasks.spawn(log.clean(cleaner_limits));
        let context = Arc::new(Context {
            catalog: catalog.clone(),
            cluster: cluster.clone(),
            settings,
            store,
            groups: groups.clone(),
            transactions,
            fetches: Budget::new(config.fetch_memory_bytes),
            fetch_sessions: fetch_sessions(&config),
            metrics: Metrics::new(),
            stopping: stopping.clone(),
            port,
            config,
        });
        if let Some(pages) = serve_admin(&context, &stopping).await? {
            tasks.spawn(pages);
        }
        cluster.open().await?;
        tasks.spawn(cluster.run(catalog, groups, leaving.clone()));
        ready();
        serve_clients(context, &leaving, listeners, limits).await;
        Ok(())
    }
}

/// A broker that is out of the cluster comes back, unless another has its number.
async fn expelled(cluster: &Cluster) -> Result<Served, Error> {
    match cluster.reason().await {
        Expelled::Replaced => Err(Error::Replaced(cluster.node_id())),
        Expelled::Silent => Ok(Served::UntilExpelled),
    }
}

/// Serves connections until the broker is to stop, after it has handed over what it leads, or is out of the cluster.
async fn serve_clients(
    context: Arc<Context>,
    leaving: &CancellationToken,
    listeners: Vec<TcpListener>,
    limits: Limits,
) {
    let stopping = context.stopping.clone();
    let (cluster, catalog, groups) = (
        context.cluster.clone(),
        context.catalog.clone(),
        context.groups.clone(),
    );
    let open = move |peer, local| -> Begin {
        let session = Arc::new(Session::new(context.clone(), peer, local));
        Box::new(move |frame| dispatch::begin(&session, frame))
    };
    let server = Server::new(Box::new(open), limits);
    let end = async {
        tokio::select! {
            () = leaving.cancelled() => cluster.leave(&catalog, &groups).await,
            () = cluster.expelled() => {}
            () = catalog.log().fenced() => {}
        }
        stopping.cancel();
    };
    tokio::join!(server.run(listeners, &stopping), end);
}

fn registration(config: &Config, port: u16) -> Registration {
    let endpoint = config.advertised(port, None);
    Registration {
        node_id: config.node_id,
        incarnation: Uuid::new_v4(),
        host: endpoint.host,
        port: endpoint.port,
        rack: config.broker_rack.clone(),
        session_timeout: Duration::from_millis(config.broker_session_timeout_ms),
    }
}

/// What serves metrics and health where `admin.listener` says.
async fn serve_admin(
    context: &Arc<Context>,
    stopping: &CancellationToken,
) -> Result<Option<impl Future<Output = ()> + Send + use<>>, Error> {
    let Some(endpoint) = &context.config.admin_listener else {
        return Ok(None);
    };
    let host = match endpoint.is_wildcard() {
        true => "0.0.0.0",
        false => endpoint.host.as_str(),
    };
    let bound = TcpListener::bind((host, endpoint.port)).await;
    let listener = bound.map_err(|error| Error::AdminListener(endpoint.to_string(), error))?;
    if let Ok(address) = listener.local_addr() {
        tracing::info!(%address, "metrics and health");
    }
    let pages = admin::pages(context.clone());
    Ok(Some(serve_http(listener, pages, stopping.clone())))
}

fn database_config(config: &Config, url: &DatabaseUrl, incarnation: Uuid) -> DatabaseConfig {
    DatabaseConfig {
        application_name: storage::session_name(incarnation),
        pool_size: config.database_pool_size,
        segment_bytes: config.log_segment_table_bytes,
        segment_age: Duration::from_millis(config.log_segment_table_ms),
        node_id: config.node_id,
        max_partitions_per_topic: config.max_partitions_per_topic,
        ..DatabaseConfig::new(url.expose())
    }
}

fn fetch_sessions(config: &Config) -> FetchSessions {
    FetchSessions::new(
        config.max_incremental_fetch_session_cache_slots,
        config.max_incremental_fetch_session_cache_partitions,
    )
}

fn log_config(config: &Config) -> LogConfig {
    LogConfig {
        tail_cache_bytes: config.log_cache_bytes,
        read_ahead_bytes: config.log_read_ahead_bytes,
        decompressed_bytes_max: usize::try_from(config.max_decompressed_message_bytes).unwrap_or(0),
        producer_id_expiration_ms: config.producer_id_expiration_ms,
        stop_timeout: Duration::from_millis(config.shutdown_timeout_ms).max(Duration::from_secs(1)),
        ..LogConfig::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stop_hides_no_error_but_that_the_database_is_away() {
        let away = || storage::Error::Unavailable {
            outcome: storage::Outcome::NotCommitted,
            reason: "away".to_owned(),
        };
        for is_stopping in [false, true] {
            let replaced = after(Err(Error::Replaced(1)), true, is_stopping);
            assert!(matches!(replaced, After::End(Err(Error::Replaced(1)))));
            let setup = storage::Error::Setup("no privilege".to_owned());
            let refused = after(Err(Error::Storage(setup)), true, is_stopping);
            assert!(matches!(refused, After::End(Err(Error::Storage(_)))));
            let never_there = after(Err(Error::Storage(away())), false, is_stopping);
            assert!(matches!(never_there, After::End(Err(_))));
            let to_the_end = after(Ok(Served::ToTheEnd), true, is_stopping);
            assert!(matches!(to_the_end, After::End(Ok(()))));
        }
        let gone = |is_stopping| after(Err(Error::Storage(away())), true, is_stopping);
        assert!(matches!(gone(false), After::Pause));
        assert!(matches!(gone(true), After::End(Ok(()))));
        let expelled = |is_stopping| after(Ok(Served::UntilExpelled), true, is_stopping);
        assert!(matches!(expelled(false), After::JoinAnew));
        assert!(matches!(expelled(true), After::End(Ok(()))));
    }
}
