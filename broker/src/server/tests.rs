//! Connections against a service without a database: what is malformed, what is too much, what comes in which order.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::{Answer, Begin, ConnectionError, Limits, Reserved, Server, Work};
use crate::config::Config;

/// Longer than anything here takes; reaching it is a failure.
const PATIENCE: Duration = Duration::from_secs(120);

/// What the service does is said by the first byte of a request; its answer is the request.
fn echo(
    release: &Arc<Notify>,
    begun: &Arc<AtomicUsize>,
    frame: Bytes,
) -> Result<Work, ConnectionError> {
    begun.fetch_add(1, Ordering::SeqCst);
    let release = release.clone();
    let answer = |frame: Bytes| {
        let size = u32::try_from(frame.len()).unwrap().to_be_bytes();
        Answer::Send {
            frame: vec![Bytes::copy_from_slice(&size), frame],
            reserved: Reserved::none(),
        }
    };
    match frame[0] {
        b'!' => Err(ConnectionError::Malformed("as the test wants".to_owned())),
        b'p' => Ok(Box::pin(async { panic!("as the test wants") })),
        b'w' => Ok(Box::pin(async move {
            release.notified().await;
            answer(frame)
        })),
        b'n' => Ok(Box::pin(std::future::ready(Answer::Nothing))),
        _ => Ok(Box::pin(std::future::ready(answer(frame)))),
    }
}

/// A server, what frees its waiting requests, how many requests have begun, and its end.
struct Running {
    address: std::net::SocketAddr,
    release: Arc<Notify>,
    begun: Arc<AtomicUsize>,
    shutdown: CancellationToken,
    server: Arc<Server>,
    task: tokio::task::JoinHandle<()>,
}

async fn start(change: impl FnOnce(&mut Config)) -> Running {
    let mut config = Config {
        shutdown_timeout_ms: 60_000,
        ..Config::default()
    };
    change(&mut config);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (release, begun) = (Arc::new(Notify::new()), Arc::new(AtomicUsize::new(0)));
    let open = {
        let (release, begun) = (release.clone(), begun.clone());
        Box::new(move |_, _| -> Begin {
            let (release, begun) = (release.clone(), begun.clone());
            Box::new(move |frame| echo(&release, &begun, frame))
        })
    };
    let server = Server::new(open, Limits::new(&config));
    let shutdown = CancellationToken::new();
    let task = {
        let (server, shutdown) = (server.clone(), shutdown.clone());
        tokio::spawn(async move { server.run(vec![listener], &shutdown).await })
    };
    Running {
        address,
        release,
        begun,
        shutdown,
        server,
        task,
    }
}

impl Running {
    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Waits until this many requests have begun.
    async fn begun(&self, count: usize) {
        let reached = async {
            while self.begun.load(Ordering::SeqCst) < count {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, reached).await.unwrap();
    }

    async fn works(&self) {
        let mut stream = self.connect().await;
        stream.write_all(&framed(b"are you there")).await.unwrap();
        assert_eq!(receive(&mut stream).await.unwrap(), b"are you there"[..]);
    }
}

fn framed(request: &[u8]) -> Vec<u8> {
    let mut frame = u32::try_from(request.len()).unwrap().to_be_bytes().to_vec();
    frame.extend_from_slice(request);
    frame
}

/// The next answer, or `None` when the server has closed the connection.
async fn receive(stream: &mut TcpStream) -> Option<Bytes> {
    let read = async {
        let size = stream.read_u32().await.ok()?;
        let mut answer = BytesMut::zeroed(usize::try_from(size).unwrap());
        stream.read_exact(&mut answer).await.ok()?;
        Some(answer.freeze())
    };
    tokio::time::timeout(PATIENCE, read).await.unwrap()
}

#[tokio::test]
async fn wrong_sizes_close_the_connection_and_no_other() {
    let running = start(|_| {}).await;
    let too_large = 100 * 1024 * 1024 + 1;
    for size in [-1, i32::MIN, 0, 1, 7, too_large, i32::MAX] {
        let mut stream = running.connect().await;
        let mut bytes = i32::to_be_bytes(size).to_vec();
        bytes.extend_from_slice(&[0; 8]);
        stream.write_all(&bytes).await.unwrap();
        assert_eq!(receive(&mut stream).await, None, "{size}");
    }
    for other in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        b"\x16\x03\x01\x02\x00\x01\x00",
        b"SSH-2.0-x\r\n",
    ] {
        let mut stream = running.connect().await;
        stream.write_all(other).await.unwrap();
        assert_eq!(receive(&mut stream).await, None, "{other:?}");
    }
    assert_eq!(running.begun.load(Ordering::SeqCst), 0);
    running.works().await;
}

#[tokio::test]
async fn announced_bytes_are_not_taken_from_the_memory_before_they_come() {
    let running = start(|config| {
        config.socket_request_max_bytes = 8 * 1024 * 1024;
        config.queued_max_request_bytes = 8 * 1024 * 1024;
    })
    .await;
    let mut liars = Vec::new();
    for _ in 0..10 {
        let mut stream = running.connect().await;
        let size: i32 = 8 * 1024 * 1024;
        stream.write_all(&size.to_be_bytes()).await.unwrap();
        stream.write_all(b"only this").await.unwrap();
        liars.push(stream);
    }
    running.works().await;
}

#[tokio::test]
async fn a_request_cut_off_ends_quietly() {
    let running = start(|_| {}).await;
    let mut stream = running.connect().await;
    stream.write_all(&framed(b"0123456789")[..9]).await.unwrap();
    stream.shutdown().await.unwrap();
    assert_eq!(receive(&mut stream).await, None);
    assert_eq!(running.begun.load(Ordering::SeqCst), 0);
    running.works().await;
}

#[tokio::test]
async fn answers_come_in_the_order_of_the_requests() {
    let running = start(|_| {}).await;
    let mut stream = running.connect().await;
    let requests = [
        &b"waits.....1"[..],
        b"at once...2",
        b"no answer.x",
        b"at once...3",
    ];
    for request in requests {
        stream.write_all(&framed(request)).await.unwrap();
    }
    // All have begun although the first is not answered.
    running.begun(4).await;
    running.release.notify_one();
    for expected in [requests[0], requests[1], requests[3]] {
        assert_eq!(receive(&mut stream).await.unwrap(), expected);
    }
}

#[tokio::test]
async fn large_requests_and_many_small_ones_come_through_whole() {
    let running = start(|_| {}).await;
    let mut stream = running.connect().await;
    let large: Vec<u8> = (0..3_000_000u32).flat_map(|n| n.to_le_bytes()).collect();
    let large = [&b"large"[..], &large].concat();
    let (mut read, mut write) = stream.split();
    let sent = large.clone();
    let send = async move {
        for number in 0..1_000u32 {
            let small = format!("small {number:>8}");
            write.write_all(&framed(small.as_bytes())).await.unwrap();
        }
        write.write_all(&framed(&sent)).await.unwrap();
    };
    let receive = async {
        for number in 0..1_000u32 {
            let mut answer = vec![0; 4 + 14];
            read.read_exact(&mut answer).await.unwrap();
            assert_eq!(&answer[4..], format!("small {number:>8}").as_bytes());
        }
        let mut answer = vec![0; 4 + large.len()];
        read.read_exact(&mut answer).await.unwrap();
        assert!(answer[4..] == large);
    };
    tokio::time::timeout(PATIENCE, async { tokio::join!(send, receive) })
        .await
        .unwrap();
}

#[tokio::test]
async fn requests_before_a_malformed_one_are_answered() {
    let running = start(|_| {}).await;
    let mut stream = running.connect().await;
    stream.write_all(&framed(b"good one")).await.unwrap();
    stream.write_all(&framed(b"!malformed")).await.unwrap();
    stream.write_all(&framed(b"never read")).await.unwrap();
    assert_eq!(receive(&mut stream).await.unwrap(), b"good one"[..]);
    assert_eq!(receive(&mut stream).await, None);
    assert_eq!(running.begun.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_panic_ends_its_own_connection_only() {
    let running = start(|config| config.max_connections = 2).await;
    let mut other = running.connect().await;
    let mut stream = running.connect().await;
    stream.write_all(&framed(b"panic now")).await.unwrap();
    assert_eq!(receive(&mut stream).await, None);
    other.write_all(&framed(b"still here")).await.unwrap();
    assert_eq!(receive(&mut other).await.unwrap(), b"still here"[..]);
    // The place of the connection that panicked is free again.
    running.works().await;
}

#[tokio::test]
async fn one_connection_too_many_is_closed() {
    for limit in ["all", "per ip"] {
        let running = start(|config| match limit {
            "all" => config.max_connections = 1,
            _ => config.max_connections_per_ip = 1,
        })
        .await;
        let mut first = running.connect().await;
        first.write_all(&framed(b"first one")).await.unwrap();
        assert_eq!(receive(&mut first).await.unwrap(), b"first one"[..]);
        let mut second = running.connect().await;
        assert_eq!(receive(&mut second).await, None, "{limit}");
    }
}

#[tokio::test]
async fn requests_in_flight_are_limited() {
    let running = start(|config| config.max_in_flight_requests_per_connection = 2).await;
    let mut stream = running.connect().await;
    for _ in 0..4 {
        stream.write_all(&framed(b"wait here")).await.unwrap();
    }
    running.begun(2).await;
    running.works().await;
    // The two, and the one of `works`; the third and fourth are still unread.
    assert_eq!(running.begun.load(Ordering::SeqCst), 3);
    for _ in 0..4 {
        running.release.notify_one();
        assert_eq!(receive(&mut stream).await.unwrap(), b"wait here"[..]);
    }
}

#[tokio::test]
async fn an_idle_connection_is_closed_but_not_one_that_waits_for_an_answer() {
    let running = start(|config| config.connections_max_idle_ms = 300).await;
    let mut waiting = running.connect().await;
    waiting.write_all(&framed(b"wait here")).await.unwrap();
    running.begun(1).await;
    let mut idle = running.connect().await;
    assert_eq!(receive(&mut idle).await, None);
    let mut idle = running.connect().await;
    assert_eq!(receive(&mut idle).await, None);
    running.release.notify_one();
    assert_eq!(receive(&mut waiting).await.unwrap(), b"wait here"[..]);
}

#[tokio::test]
async fn a_stop_answers_what_has_begun_and_reads_no_more() {
    let running = start(|_| {}).await;
    let mut stream = running.connect().await;
    stream.write_all(&framed(b"wait here")).await.unwrap();
    running.begun(1).await;
    running.shutdown.cancel();
    running.release.notify_one();
    assert_eq!(receive(&mut stream).await.unwrap(), b"wait here"[..]);
    assert_eq!(receive(&mut stream).await, None);
    tokio::time::timeout(PATIENCE, running.task)
        .await
        .unwrap()
        .unwrap();
    assert!(TcpStream::connect(running.address).await.is_err());
    drop(running.server);
}
