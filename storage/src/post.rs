//! Letters from broker to broker, by NOTIFY: short texts that come at once, or never. What is true is in tables; a letter asks, answers
//! or says where to look, and whoever sent one is ready not to hear of it again.

use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::poll_fn;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_postgres::{AsyncMessage, Client, NoTls, Statement};

use crate::{Error, Outcome, Result, Store};

/// PostgreSQL takes less than 8,000 bytes.
pub const LETTER_BYTES_MAX: usize = 7_900;
/// Letters that wait, on either side. Those beyond it are lost.
const WAITING_MAX: usize = 10_000;
/// Letters of one statement.
const BATCH_MAX: usize = 200;
const RECONNECT_AFTER: Duration = Duration::from_millis(200);
/// How often it is looked whether the connection still is one.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// An answer of the database that takes longer means that it is none.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// Nothing is lost that is worth a wait for the disk.
const SESSION: &str = "set synchronous_commit = off";
const SEND: &str = "select pg_notify('kafka_broker_' || u.node_id, u.letter) from unnest($1::int4[], $2::text[]) u (node_id, letter)";

/// Where letters are handed in.
#[derive(Debug, Clone)]
pub struct Post {
    outgoing: mpsc::Sender<(i32, String)>,
}

impl Post {
    /// Sends a letter to the broker with this number; false if that is not possible.
    pub fn send(&self, node_id: i32, letter: String) -> bool {
        letter.len() <= LETTER_BYTES_MAX && self.outgoing.try_send((node_id, letter)).is_ok()
    }
}

impl Store {
    /// Letters to others, and those to this broker, for as long as somebody receives them.
    #[must_use]
    pub fn post(&self) -> (Post, mpsc::Receiver<String>) {
        let (outgoing, outbox) = mpsc::channel(WAITING_MAX);
        let (inbox, incoming) = mpsc::channel(WAITING_MAX);
        tokio::spawn(carry(self.clone(), outbox, inbox));
        (Post { outgoing }, incoming)
    }
}

async fn carry(
    store: Store,
    mut outbox: mpsc::Receiver<(i32, String)>,
    inbox: mpsc::Sender<String>,
) {
    while !inbox.is_closed() {
        let carried = async {
            let link = Link::open(&store, inbox.clone()).await?;
            link.carry(&mut outbox, &inbox).await
        };
        match carried.await {
            Ok(()) => return,
            Err(error) => tracing::debug!(%error, "letters are not carried, connecting again"),
        }
        tokio::time::sleep(RECONNECT_AFTER).await;
    }
}

struct Link {
    client: Client,
    driver: JoinHandle<()>,
    send: Statement,
}

impl Drop for Link {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Link {
    async fn open(store: &Store, inbox: mpsc::Sender<String>) -> Result<Self> {
        let opening = async {
            let (client, mut connection) = store.inner.connect.connect(NoTls).await?;
            let driver = tokio::spawn(async move {
                let mut messages = poll_fn(move |context| connection.poll_message(context));
                while let Some(Ok(message)) = messages.next().await {
                    if let AsyncMessage::Notification(word) = message {
                        // One that nobody has room for is lost.
                        let _ = inbox.try_send(word.payload().to_owned());
                    }
                }
            });
            let listen = format!("listen kafka_broker_{}", store.config().node_id);
            client
                .batch_execute(&format!("{SESSION}; {listen}"))
                .await?;
            let send = client.prepare(SEND).await?;
            Ok(Self {
                client,
                driver,
                send,
            })
        };
        in_time(opening).await
    }

    /// Until nobody sends or receives any more.
    async fn carry(
        &self,
        outbox: &mut mpsc::Receiver<(i32, String)>,
        inbox: &mpsc::Sender<String>,
    ) -> Result<()> {
        loop {
            let first = tokio::select! {
                first = outbox.recv() => first,
                () = inbox.closed() => None,
                () = tokio::time::sleep(LOOK_EVERY) => {
                    in_time(async { Ok(self.client.batch_execute("select").await?) }).await?;
                    continue;
                }
            };
            let Some((node_id, letter)) = first else {
                return Ok(());
            };
            let (mut node_ids, mut letters) = (vec![node_id], vec![letter]);
            while letters.len() < BATCH_MAX
                && let Ok((node_id, letter)) = outbox.try_recv()
            {
                node_ids.push(node_id);
                letters.push(letter);
            }
            let sent = async {
                Ok(self
                    .client
                    .query(&self.send, &[&node_ids, &letters])
                    .await?)
            };
            in_time(sent).await?;
        }
    }
}

async fn in_time<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    match tokio::time::timeout(ANSWER_TIMEOUT, work).await {
        Ok(result) => result,
        Err(_) => Err(Error::unavailable(Outcome::Unknown, "no answer in time")),
    }
}
