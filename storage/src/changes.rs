//! Word of topics that were changed in the database, by SQL or by another broker: NOTIFY where it comes through, and a look at
//! regular times where it does not (a pooler in between, a connection lost without notice).
//!
//! Reading the topics is `topics`'s; the triggers that notify are in the migrations.

use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::poll_fn;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_postgres::{AsyncMessage, Client, NoTls};

use crate::{Result, Store};

const LISTEN: &str = "listen kafka_topics";
/// Ids only grow and partitions are never taken away, so every change of topics changes one of these.
const STATE: &str = "select count(*), coalesce(sum(id), 0)::int8, coalesce(sum(partitions), 0)::int8 from kafka.topics";
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// A look, or a connection, that takes longer means that the connection is of no use.
const LOOK_TIMEOUT: Duration = Duration::from_secs(10);
/// Changes that wait to be taken up.
const WAITING_MAX: usize = 1024;
const RECONNECT_AFTER: Duration = Duration::from_millis(500);

/// What may have changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TopicChange {
    /// The topic with this id has this many partitions now; 0 if it was deleted.
    Topic {
        /// [`crate::Topic::id`]
        id: i32,
        /// Number of partitions.
        partitions: i32,
    },
    /// Anything: word may have been missed, or settings were changed.
    Unknown,
}

impl TopicChange {
    fn parse(payload: &str) -> Self {
        let parts = payload.split_once(':');
        let numbers = parts.and_then(|(id, count)| Some((id.parse().ok()?, count.parse().ok()?)));
        numbers.map_or(Self::Unknown, |(id, partitions)| Self::Topic {
            id,
            partitions,
        })
    }
}

/// Yields changes of topics for as long as it lives; it connects again by itself.
#[derive(Debug)]
pub struct TopicChanges {
    store: Store,
    link: Option<Link>,
}

/// Ids and partitions of all topics, as sums.
type State = (i64, i64, i64);

#[derive(Debug)]
struct Link {
    client: Client,
    driver: JoinHandle<()>,
    notified: mpsc::Receiver<TopicChange>,
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
    /// The changes of topics from now on. The first is always [`TopicChange::Unknown`].
    #[must_use]
    pub fn topic_changes(&self) -> TopicChanges {
        TopicChanges {
            store: self.clone(),
            link: None,
        }
    }
}

impl TopicChanges {
    /// The next change; waits for one. After every new connection, and wherever word may have been missed, it is
    /// [`TopicChange::Unknown`].
    pub async fn next(&mut self) -> TopicChange {
        loop {
            let Some(link) = &mut self.link else {
                match tokio::time::timeout(LOOK_TIMEOUT, Link::open(&self.store)).await {
                    Ok(Ok(link)) => {
                        self.link = Some(link);
                        return TopicChange::Unknown;
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
                    && notify.try_send(TopicChange::parse(word.payload())).is_err()
                {
                    return;
                }
            }
        });
        let mut link = Self {
            client,
            driver,
            notified,
            state: (0, 0, 0),
            look_at: Instant::now() + LOOK_EVERY,
            is_told: false,
        };
        link.client.batch_execute(LISTEN).await?;
        link.state = link.look().await?;
        Ok(link)
    }

    /// `None` when the connection is lost.
    async fn next(&mut self) -> Option<TopicChange> {
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
                return Some(TopicChange::Unknown);
            }
            self.is_told = false;
        }
    }

    async fn look(&self) -> Result<State> {
        let row = self.client.query_one(STATE, &[]).await?;
        Ok((row.get(0), row.get(1), row.get(2)))
    }
}
