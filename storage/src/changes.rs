//! Word of topics and settings that were changed in the database, by SQL or by another broker: NOTIFY where it comes through,
//! and a look at regular times where it does not (a pooler in between, a connection lost without notice).
//!
//! Reading them is `topics`'s and `settings`'s; the triggers that notify are in the migrations.

use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::poll_fn;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_postgres::{AsyncMessage, Client, NoTls};

use crate::{Result, Store};

const LISTEN: &str = "listen kafka_topics";
/// Ids and leader epochs only grow and partitions are never taken away, so every change of topics changes one of the first
/// four; the others are sums over all settings and features.
const STATE: &str = "select count(*), coalesce(sum(id), 0)::int8, coalesce(sum(partitions), 0)::int8, \
     (select coalesce(sum(leader_epoch), 0) from kafka.topic_partitions)::int8, \
     (select coalesce(sum(hashtext(s.topic || ' ' || s.name || ' ' || s.value)), 0) from kafka.topic_settings s)::int8, \
     (select coalesce(sum(hashtext(s.node_id || ' ' || s.name || ' ' || s.value)), 0) from kafka.broker_settings s)::int8, \
     (select coalesce(sum(hashtext(s.group_id || ' ' || s.name || ' ' || s.value)), 0) from kafka.group_settings s)::int8, \
     (select coalesce(sum(f.epoch), 0) from kafka.features f)::int8 \
     from kafka.topics";
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// A look, or a connection, that takes longer means that the connection is of no use.
const LOOK_TIMEOUT: Duration = Duration::from_secs(10);
/// Changes that wait to be taken up.
const WAITING_MAX: usize = 1024;
const RECONNECT_AFTER: Duration = Duration::from_millis(500);

/// What may have changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// The topic with this id has this many partitions now; 0 if it was deleted.
    Topic {
        /// [`crate::Topic::id`]
        id: i32,
        /// Number of partitions.
        partitions: i32,
    },
    /// The topic with this id has other settings, or is gone.
    TopicSettings {
        /// [`crate::Topic::id`]
        id: i32,
    },
    /// Settings of brokers or groups, or levels of features.
    ClusterSettings,
    /// Who leads partitions, coordinates groups, or is in the cluster.
    Leaders,
    /// Anything: word may have been missed.
    Unknown,
}

impl Change {
    fn parse(payload: &str) -> Self {
        if payload == "settings" {
            return Self::ClusterSettings;
        }
        if payload == "leaders" {
            return Self::Leaders;
        }
        let parts = payload.split_once(':');
        if let Some(("settings", id)) = parts {
            return id
                .parse()
                .map_or(Self::Unknown, |id| Self::TopicSettings { id });
        }
        let numbers = parts.and_then(|(id, count)| Some((id.parse().ok()?, count.parse().ok()?)));
        numbers.map_or(Self::Unknown, |(id, partitions)| Self::Topic {
            id,
            partitions,
        })
    }
}

/// Yields changes of topics and settings for as long as it lives; it connects again by itself.
#[derive(Debug)]
pub struct Changes {
    store: Store,
    link: Option<Link>,
}

/// What every change changes one of, see [`STATE`].
type State = [i64; 8];

#[derive(Debug)]
struct Link {
    client: Client,
    driver: JoinHandle<()>,
    notified: mpsc::Receiver<Change>,
    state: State,
    look_at: Instant,
    /// Whether NOTIFY came through since the last look.
    is_told: bool,
}

impl Drop for Link {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Store {
    /// The changes of topics and settings from now on. The first is always [`Change::Unknown`].
    #[must_use]
    pub fn changes(&self) -> Changes {
        Changes {
            store: self.clone(),
            link: None,
        }
    }
}

impl Changes {
    /// The next change; waits for one. After every new connection, and wherever word may have been missed, it is
    /// [`Change::Unknown`].
    pub async fn next(&mut self) -> Change {
        loop {
            let Some(link) = &mut self.link else {
                match tokio::time::timeout(LOOK_TIMEOUT, Link::open(&self.store)).await {
                    Ok(Ok(link)) => {
                        self.link = Some(link);
                        return Change::Unknown;
                    }
                    Ok(Err(error)) => {
                        tracing::debug!(%error, "not told of changed topics, connecting again");
                    }
                    Err(_) => {
                        tracing::debug!("no answer, connecting again to hear of changed topics")
                    }
                }
                tokio::time::sleep(RECONNECT_AFTER).await;
                continue;
            };
            match link.next().await {
                Some(change) => return change,
                None => self.link = None,
            }
        }
    }
}

impl Link {
    async fn open(store: &Store) -> Result<Self> {
        let (client, mut connection) = store.inner.connect.connect(NoTls).await?;
        let (notify, notified) = mpsc::channel(WAITING_MAX);
        let driver = tokio::spawn(async move {
            let mut messages = poll_fn(move |context| connection.poll_message(context));
            while let Some(Ok(message)) = messages.next().await {
                // Where nobody keeps up, the connection ends, and the next begins with `Unknown`.
                if let AsyncMessage::Notification(word) = message
                    && notify.try_send(Change::parse(word.payload())).is_err()
                {
                    return;
                }
            }
        });
        let mut link = Self {
            client,
            driver,
            notified,
            state: [0; 8],
            look_at: Instant::now() + LOOK_EVERY,
            is_told: false,
        };
        link.client.batch_execute(LISTEN).await?;
        link.state = link.look().await?;
        Ok(link)
    }

    /// `None` when the connection is lost.
    async fn next(&mut self) -> Option<Change> {
        loop {
            tokio::select! {
                change = self.notified.recv() => {
                    self.is_told = true;
                    return change;
                }
                () = tokio::time::sleep_until(self.look_at) => {}
            }
            let state = tokio::time::timeout(LOOK_TIMEOUT, self.look()).await;
            let state = state.ok()?.ok()?;
            self.look_at = Instant::now() + LOOK_EVERY;
            let is_news = std::mem::replace(&mut self.state, state) != state;
            if is_news && !self.is_told && self.notified.is_empty() {
                return Some(Change::Unknown);
            }
            self.is_told = false;
        }
    }

    async fn look(&self) -> Result<State> {
        let row = self.client.query_one(STATE, &[]).await?;
        Ok(std::array::from_fn(|column| row.get(column)))
    }
}
