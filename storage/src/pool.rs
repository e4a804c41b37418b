//! Connections: how each is opened and what every session is set to. No statements of the log or the catalogue.

use std::str::FromStr;
use std::time::Duration;

use deadpool_postgres::{
    Hook, HookError, Manager, ManagerConfig, Object, Pool, PoolError, RecyclingMethod, Runtime,
    Timeouts,
};
use tokio::task::JoinHandle;
use tokio_postgres::{Client, Config, NoTls};

use crate::error::{Error, Outcome, describe};
use crate::{DatabaseConfig, Result};

/// Longest wait for a connection to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// After this long without an acknowledgement from the other host a connection counts as lost.
const TCP_USER_TIMEOUT: Duration = Duration::from_secs(15);
/// How soon a connection on which nothing is sent is probed; a server that is gone without a word would be waited for for hours.
const KEEPALIVES_IDLE: Duration = Duration::from_secs(10);
const KEEPALIVES_INTERVAL: Duration = Duration::from_secs(5);
/// What the client library has where the URL does not say.
const KEEPALIVES_IDLE_UNSET: Duration = Duration::from_secs(2 * 60 * 60);
/// Statements a pooled connection keeps prepared; those of old segments would pile up otherwise.
const STATEMENTS_MAX: usize = 256;

/// Every statement of this crate reads by key. Segment tables have no statistics (autovacuum is off), so the planner is told
/// instead of asked. A commit is durable when it returns, whatever the role's default.
const SESSION: &str = "set jit = off; set enable_seqscan = off; set enable_bitmapscan = off; set enable_sort = off; \
     set plan_cache_mode = force_generic_plan; \
     set idle_in_transaction_session_timeout = '60s'; \
     select set_config('synchronous_commit', 'on', false) where current_setting('synchronous_commit') = 'off'";

pub(crate) fn parse(config: &DatabaseConfig) -> Result<Config> {
    let mut parsed = Config::from_str(&config.url)
        .map_err(|e| Error::Setup(format!("the database URL is not valid: {}", describe(&e))))?;
    if parsed.get_application_name().is_none() {
        parsed.application_name(&config.application_name);
    }
    if parsed.get_connect_timeout().is_none() {
        parsed.connect_timeout(CONNECT_TIMEOUT);
    }
    if parsed.get_tcp_user_timeout().is_none() {
        parsed.tcp_user_timeout(TCP_USER_TIMEOUT);
    }
    if parsed.get_keepalives_idle() == KEEPALIVES_IDLE_UNSET {
        parsed.keepalives_idle(KEEPALIVES_IDLE);
    }
    if parsed.get_keepalives_interval().is_none() {
        parsed.keepalives_interval(KEEPALIVES_INTERVAL);
    }
    Ok(parsed)
}

/// A connection outside the pool; the task that drives it ends with it.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) client: Client,
    driver: JoinHandle<()>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

pub(crate) async fn connect(config: &Config) -> Result<Connection> {
    let (client, connection) = config.connect(NoTls).await?;
    let driver = tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!("connection to PostgreSQL ended: {}", describe(&error));
        }
    });
    let connection = Connection { client, driver };
    connection.client.batch_execute(SESSION).await?;
    Ok(connection)
}

pub(crate) fn pool(parsed: &Config, config: &DatabaseConfig) -> Result<Pool> {
    let session = format!(
        "{SESSION}; set statement_timeout = {}",
        config.statement_timeout.as_millis()
    );
    let manager = Manager::from_config(
        parsed.clone(),
        NoTls,
        ManagerConfig {
            recycling_method: RecyclingMethod::Fast,
        },
    );
    let on_create = Hook::async_fn(move |client: &mut deadpool_postgres::ClientWrapper, _| {
        let session = session.clone();
        Box::pin(async move {
            client
                .batch_execute(&session)
                .await
                .map_err(HookError::Backend)
        })
    });
    Pool::builder(manager)
        .max_size(config.pool_size.max(2))
        .runtime(Runtime::Tokio1)
        .timeouts(Timeouts {
            wait: Some(config.statement_timeout),
            create: Some(CONNECT_TIMEOUT),
            recycle: Some(CONNECT_TIMEOUT),
        })
        .post_create(on_create)
        .build()
        .map_err(|e| Error::bug("building the connection pool", e))
}

pub(crate) async fn checkout(pool: &Pool) -> Result<Object> {
    let client = pool.get().await?;
    if client.statement_cache.size() > STATEMENTS_MAX {
        client.statement_cache.clear();
    }
    Ok(client)
}

impl From<PoolError> for Error {
    fn from(error: PoolError) -> Self {
        let unavailable = |reason: String| Self::unavailable(Outcome::NotCommitted, reason);
        match error {
            PoolError::Backend(e) | PoolError::PostCreateHook(HookError::Backend(e)) => {
                match Self::from(e) {
                    Self::Unavailable { reason, .. } => unavailable(reason),
                    other => other,
                }
            }
            PoolError::Timeout(kind) => unavailable(format!("no connection in time ({kind:?})")),
            PoolError::Closed => unavailable("the store is closed".to_owned()),
            other => Self::bug("connection pool", other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_is_gone_without_a_word_is_noticed_unless_the_url_says_otherwise() {
        let idle = |url: &str| {
            let parsed = parse(&DatabaseConfig::new(url)).unwrap();
            let interval = parsed.get_keepalives_interval();
            (
                parsed.get_keepalives_idle().as_secs(),
                interval.map(|i| i.as_secs()),
            )
        };
        assert_eq!(idle("postgres://u@h/d"), (10, Some(5)));
        let url = "postgres://u@h/d?keepalives_idle=60&keepalives_interval=7";
        assert_eq!(idle(url), (60, Some(7)));
    }
}
