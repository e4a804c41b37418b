//! `Store`: a cheap handle on the database, cloned into whoever needs it.

use std::sync::Arc;
use std::time::Duration;

use deadpool_postgres::{Object, Pool};
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_postgres::{Client, SimpleQueryMessage};
use uuid::Uuid;

use crate::{Error, Outcome, Result, migrate, pool};

/// Oldest server that has everything used here, as `server_version_num`.
const SERVER_VERSION_MIN: i32 = 140_000;
const RETRY_EVERY: Duration = Duration::from_millis(200);
/// How long a second session may take to come.
const SECOND_SESSION_WAIT: Duration = Duration::from_secs(3);
/// How often it is looked whether sessions are shared.
const SESSION_CHECKS: usize = 3;

/// How to reach the database, and the sizes that belong to it.
#[derive(Debug, Clone)]
pub struct DatabaseConfig {
    /// `postgresql://…` URL or `key=value` string, as libpq takes it.
    pub url: String,
    /// Connections for the catalogue and for reads together, at least 2; each [`crate::LaneWriter`] has one more of its own.
    pub pool_size: usize,
    /// How long [`Store::open`] waits for a database that does not answer yet.
    pub connect_wait: Duration,
    /// Longest time one catalogue or read statement may take.
    pub statement_timeout: Duration,
    /// A segment table is rolled once it holds this many bytes.
    pub segment_bytes: u64,
    /// A segment table is rolled by the first flush after this time since its first one.
    pub segment_age: Duration,
    /// Name of the sessions, where the URL gives none.
    pub application_name: String,
    /// The broker's number, shown to readers of `kafka.partitions` as the leader.
    pub node_id: i32,
    /// The most partitions a topic made or grown by SQL may have.
    pub max_partitions_per_topic: i32,
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
            segment_age: Duration::from_secs(6 * 60 * 60),
            application_name: "pg_kafka".to_owned(),
            node_id: 1,
            max_partitions_per_topic: 10_000,
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
    pub(crate) connect: tokio_postgres::Config,
    pool: Pool,
    cluster_id: String,
    /// Segments may have become useless.
    pub(crate) expired: Notify,
}

impl Store {
    /// Connects, brings the schema up to this release, and reads the cluster's identity.
    ///
    /// Safe when several brokers start at once. Errors: `Unavailable` after `connect_wait`, `Newer`, `Setup`.
    pub async fn open(config: &DatabaseConfig) -> Result<Self> {
        let connect = pool::parse(config)?;
        let give_up = Instant::now() + config.connect_wait;
        let cluster_id = loop {
            match prepare(&connect, config).await {
                Err(error) if error.is_retriable() && Instant::now() + RETRY_EVERY < give_up => {
                    tracing::info!("waiting for PostgreSQL: {error}");
                    tokio::time::sleep(RETRY_EVERY).await;
                }
                other => break other?,
            }
        };
        Self::of_parts(connect, config, cluster_id)
    }

    /// A store whose database was found fit.
    pub(crate) fn of_parts(
        connect: tokio_postgres::Config,
        config: &DatabaseConfig,
        cluster_id: String,
    ) -> Result<Self> {
        let pool = pool::pool(&connect, config)?;
        Ok(Self {
            inner: Arc::new(Inner {
                config: config.clone(),
                connect,
                pool,
                cluster_id,
                expired: Notify::new(),
            }),
        })
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

    /// Connections of the pool, those of them that nobody uses, and who waits for one.
    #[must_use]
    pub fn pool_use(&self) -> (usize, usize, usize) {
        let status = self.inner.pool.status();
        (status.size, status.available, status.waiting)
    }

    /// Something was deleted: whoever keeps this broker's segments looks which are not needed any more, and drops them.
    pub(crate) fn look_for_expired_segments(&self) {
        self.inner.expired.notify_one();
    }

    /// A connection of the pool.
    pub(crate) async fn client(&self) -> Result<Object> {
        pool::checkout(&self.inner.pool).await
    }
}

async fn prepare(connect: &tokio_postgres::Config, config: &DatabaseConfig) -> Result<String> {
    const CLUSTER: &str = "select cluster_id from kafka.cluster";
    const LIMIT: &str = "update kafka.cluster set max_partitions_per_topic = $1 \
         where max_partitions_per_topic <> $1";
    let mut connection = pool::connect(connect).await?;
    // Before anything is prepared, which such a pooler may not know any more the next moment.
    check_session(connect, &connection.client).await?;
    check_server(&connection.client).await?;
    migrate::migrate(&mut connection.client).await?;
    let client = &connection.client;
    client
        .execute(LIMIT, &[&config.max_partitions_per_topic])
        .await?;
    Ok(client.query_one(CLUSTER, &[]).await?.get(0))
}

/// A pooler that gives each transaction another session, as pgbouncer does with `pool_mode=transaction`, takes away what
/// sessions are set to, what they have prepared and what they listen to.
async fn check_session(connect: &tokio_postgres::Config, client: &Client) -> Result<()> {
    match tokio::time::timeout(SECOND_SESSION_WAIT, keeps_session(connect, client)).await {
        Ok(Ok(true)) => Ok(()),
        Ok(Ok(false)) => Err(Error::Setup(
            "the connection goes through a pooler that shares sessions between transactions (pgbouncer with pool_mode=transaction), \
             which pg_kafka cannot use: connect to PostgreSQL itself, or set pool_mode=session"
                .to_owned(),
        )),
        Ok(Err(error)) => Err(error),
        Err(_) => Err(Error::unavailable(
            Outcome::NotCommitted,
            "no second session is given; a pooler must have one for each connection (pgbouncer with pool_mode=session \
             and a default_pool_size that is large enough)",
        )),
    }
}

/// Whether a connection has the same session again while another one has a transaction.
async fn keeps_session(connect: &tokio_postgres::Config, client: &Client) -> Result<bool> {
    const READ: &str = "select current_setting('pg_kafka.session', true)";
    let other = pool::connect(connect).await?;
    // Others may use the pooler at the same time.
    for _ in 0..SESSION_CHECKS {
        // Another each time, as sessions that are shared stay marked.
        let mark = Uuid::new_v4().to_string();
        let set = format!("set pg_kafka.session = '{mark}'");
        client.batch_execute(&set).await?;
        // Takes the session that was used last, if sessions are shared.
        other.client.batch_execute("begin").await?;
        let read = client.simple_query(READ).await?;
        other.client.batch_execute("rollback").await?;
        let is_marked = read.iter().any(|message| match message {
            SimpleQueryMessage::Row(row) => row.get(0) == Some(&mark),
            _ => false,
        });
        if !is_marked {
            return Ok(false);
        }
    }
    Ok(true)
}

async fn check_server(client: &Client) -> Result<()> {
    const SERVER: &str = "select current_setting('server_version_num')::int4, current_setting('server_version'), \
         pg_is_in_recovery()";
    let row = client.query_one(SERVER, &[]).await?;
    let (number, version, standby): (i32, String, bool) = (row.get(0), row.get(1), row.get(2));
    if number < SERVER_VERSION_MIN {
        return Err(Error::Setup(format!(
            "the server is PostgreSQL {version}; pg_kafka needs 14 or newer"
        )));
    }
    if standby {
        return Err(Error::unavailable(
            Outcome::NotCommitted,
            "the server is a standby, which cannot be written",
        ));
    }
    Ok(())
}
