//! A wire between client and server that can be cut at the worst moment.

use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wire {
    Whole,
    /// Requests arrive, the answers do not. After a moment of silence the wire is cut, and whole for the next connection.
    AnswersLost,
    /// The same from the request on that ends in `commit`.
    CommitAnswerLost,
    /// From the request on that ends in `commit` the client hears nothing more; that request arrives half a second later.
    CommitLate,
    /// Nothing arrives and nothing is closed.
    Hung,
    /// Connections are closed at once.
    Cut,
}

pub(crate) struct Proxy {
    pub(crate) url: String,
    wire: Arc<watch::Sender<Wire>>,
    _dir: tempfile::TempDir,
}

impl Proxy {
    /// Before the server of `url`, which names a socket directory.
    pub(crate) async fn before(url: &str) -> Self {
        let config: tokio_postgres::Config = url.parse().unwrap();
        let [tokio_postgres::config::Host::Unix(upstream)] = config.get_hosts() else {
            panic!("{url}")
        };
        let upstream = upstream.join(".s.PGSQL.5432");
        let dir = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(dir.path().join(".s.PGSQL.5432")).unwrap();
        let wire = Arc::new(watch::Sender::new(Wire::Whole));
        let state = wire.clone();
        tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                let server = UnixStream::connect(&upstream).await.unwrap();
                tokio::spawn(forward(client, server, state.clone()));
            }
        });
        let (_, database) = url.rsplit_once('/').unwrap();
        let host = dir.path().to_str().unwrap().replace('/', "%2F");
        Self {
            url: format!("postgresql://postgres@{host}/{database}"),
            wire,
            _dir: dir,
        }
    }

    pub(crate) fn set(&self, wire: Wire) {
        self.wire.send_replace(wire);
    }

    /// Whether an answer was lost since the wire was set to lose it.
    pub(crate) fn has_cut(&self) -> bool {
        *self.wire.borrow() == Wire::Whole
    }
}

async fn forward(client: UnixStream, server: UnixStream, state: Arc<watch::Sender<Wire>>) {
    let mut wire = state.subscribe();
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let mut request = vec![0; 64 << 10];
    let mut answer = vec![0; 64 << 10];
    let mut losing = false;
    let mut lost = false;
    loop {
        let now = *wire.borrow_and_update();
        losing |= now == Wire::AnswersLost;
        match now {
            Wire::Cut => return,
            Wire::Hung => {
                wire.changed().await.unwrap();
                continue;
            }
            Wire::Whole | Wire::AnswersLost | Wire::CommitAnswerLost | Wire::CommitLate => {}
        }
        let silence = async {
            match lost {
                true => tokio::time::sleep(std::time::Duration::from_millis(200)).await,
                false => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            // What the wire was set to before a request was made holds for that request.
            changed = wire.changed() => if changed.is_err() { return },
            read = from_client.read(&mut request) => match read {
                Ok(count) if count > 0 => {
                    let is_commit = request[..count].to_ascii_lowercase().ends_with(b"commit\0");
                    losing |= now == Wire::CommitAnswerLost && is_commit;
                    if now == Wire::CommitLate && is_commit {
                        drop((from_client, to_client));
                        state.send_replace(Wire::Whole);
                        tokio::time::sleep(std::time::Duration::from_millis(500)).await;
                        to_server.write_all(&request[..count]).await.unwrap();
                        let _ = from_server.read(&mut answer).await;
                        return;
                    }
                    to_server.write_all(&request[..count]).await.unwrap();
                }
                _ => return,
            },
            read = from_server.read(&mut answer) => match read {
                Ok(count) if count > 0 && losing => lost = true,
                Ok(count) if count > 0 => {
                    if to_client.write_all(&answer[..count]).await.is_err() {
                        return;
                    }
                }
                _ => return,
            },
            () = silence => {
                state.send_replace(Wire::Whole);
                return;
            }
        }
    }
}
