//! The server all tests share, databases on it, and what most tests need: topics, runs, reading all back.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use bytes::Bytes;
use rustix::process::{Pid, Signal, kill_process};
use storage::embedded::{Embedded, EmbeddedConfig};
use storage::{DatabaseConfig, LaneWriter, NewTopic, Run, RunBytes, Store, Topic};
use tokio::time::Instant;
use tokio_postgres::{Client, NoTls};
use uuid::Uuid;

struct Server {
    url: String,
    _runtime: tokio::runtime::Runtime,
    _embedded: Embedded,
    /// Stops the server and removes its directory when this process has ended, however it ended.
    _sweeper: Child,
}

static SERVER: OnceLock<Server> = OnceLock::new();

/// A directory the server's account can enter, also when the tests run as root.
pub(crate) fn data_dir() -> tempfile::TempDir {
    let dir = tempfile::Builder::new()
        .prefix("pg_kafka-test-")
        .tempdir()
        .unwrap();
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o711)).unwrap();
    dir
}

pub(crate) fn small_server(dir: &Path) -> EmbeddedConfig {
    let setting = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    EmbeddedConfig {
        data_dir: dir.to_path_buf(),
        bin_dir: None,
        settings: vec![
            setting("shared_buffers", "64MB"),
            setting("max_wal_size", "1GB"),
            setting("min_wal_size", "80MB"),
        ],
    }
}

pub(crate) fn postmaster_pid(data_dir: &Path) -> i32 {
    noted_pid(data_dir).unwrap()
}

/// As the server has noted it, if it has.
fn noted_pid(data_dir: &Path) -> Option<i32> {
    let text = std::fs::read_to_string(data_dir.join("postgres/postmaster.pid")).ok()?;
    text.lines().next()?.parse().ok()
}

/// Kills the server and waits until another has taken its place; sessions of the first may answer for a moment longer.
pub(crate) async fn replace_postmaster(data_dir: &Path) {
    let before = postmaster_pid(data_dir);
    kill_process(Pid::from_raw(before).unwrap(), Signal::KILL).unwrap();
    until("another server", async || {
        noted_pid(data_dir).is_some_and(|pid| pid != before)
    })
    .await;
}

fn start() -> Server {
    std::thread::spawn(|| {
        let dir = data_dir().keep();
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let embedded = runtime
            .block_on(Embedded::start(&small_server(&dir)))
            .unwrap();
        let script =
            "read _; kill -INT $1; while kill -0 $1 2>/dev/null; do sleep 0.1; done; rm -rf \"$2\"";
        let sweeper = Command::new("/bin/sh")
            .args(["-c", script, "sh", &postmaster_pid(&dir).to_string()])
            .arg(&dir)
            .stdin(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Server {
            url: embedded.url().to_owned(),
            _runtime: runtime,
            _embedded: embedded,
            _sweeper: sweeper,
        }
    })
    .join()
    .unwrap()
}

pub(crate) async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

/// URL of a database that no other test has.
pub(crate) async fn fresh_database() -> String {
    let server = tokio::task::spawn_blocking(|| SERVER.get_or_init(start))
        .await
        .unwrap();
    let name = format!("test_{}", Uuid::new_v4().simple());
    connect(&server.url)
        .await
        .batch_execute(&format!("create database {name} template template0"))
        .await
        .unwrap();
    let (server, _) = server.url.rsplit_once('/').unwrap();
    format!("{server}/{name}")
}

pub(crate) fn config(url: &str) -> DatabaseConfig {
    let mut config = DatabaseConfig::new(url);
    config.pool_size = 3;
    config
}

pub(crate) struct TestStore {
    pub(crate) store: Store,
    pub(crate) url: String,
}

impl TestStore {
    pub(crate) async fn new() -> Self {
        Self::with(|_| {}).await
    }

    pub(crate) async fn with(change: impl FnOnce(&mut DatabaseConfig)) -> Self {
        let url = fresh_database().await;
        let mut config = config(&url);
        change(&mut config);
        Self {
            store: Store::open(&config).await.unwrap(),
            url,
        }
    }

    /// For looking at the tables.
    pub(crate) async fn sql(&self) -> Client {
        connect(&self.url).await
    }
}

pub(crate) async fn topic(store: &Store, name: &str, partitions: i32) -> Topic {
    let mut created = store
        .create_topics(&[new_topic(name, partitions)])
        .await
        .unwrap();
    created.remove(0).unwrap()
}

pub(crate) fn new_topic(name: &str, partitions: i32) -> NewTopic {
    NewTopic {
        name: name.to_owned(),
        topic_id: Uuid::new_v4(),
        partitions,
        lanes: vec![0],
        settings: Vec::new(),
    }
}

pub(crate) async fn writer(store: &Store) -> LaneWriter {
    let lease = store.claim_lane(0, Uuid::new_v4()).await.unwrap();
    store.lane_writer(lease).await.unwrap()
}

/// Only a limit, for a machine that does much else.
pub(crate) fn soon() -> Instant {
    Instant::now() + Duration::from_secs(120)
}

/// Bytes that tell where they come from, so that a mix-up shows.
pub(crate) fn payload(part: i32, base: i64, bytes: usize) -> Bytes {
    let mut state = (i64::from(part) << 32 | base)
        .cast_unsigned()
        .wrapping_mul(0x9e37_79b9_7f4a_7c15)
        | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    let mut data = Vec::with_capacity(bytes + 8);
    while data.len() < bytes {
        data.extend_from_slice(&next());
    }
    data.truncate(bytes);
    data.into()
}

/// `records` offsets from `base` in `bytes` bytes.
pub(crate) fn run(part: i32, base: i64, records: i32, bytes: usize) -> Run {
    Run {
        part,
        base_offset: base,
        span: records - 1,
        data: vec![payload(part, base, bytes)],
    }
}

pub(crate) fn stored(run: &Run) -> RunBytes {
    RunBytes {
        base_offset: run.base_offset,
        last_offset: run.base_offset + i64::from(run.span),
        data: run.data.concat().into(),
    }
}

/// The whole partition, read in steps of `max_bytes`.
pub(crate) async fn read_all(store: &Store, part: i32, max_bytes: usize) -> Vec<RunBytes> {
    let mut runs: Vec<RunBytes> = Vec::new();
    loop {
        let from = runs.last().map_or(0, |run| run.last_offset + 1);
        let read = store.read(part, from, max_bytes).await.unwrap();
        if read.is_empty() {
            return runs;
        }
        runs.extend(read);
    }
}

/// Polls until `done` says so; an event nobody signals, such as a background seal.
pub(crate) async fn until(what: &str, mut done: impl AsyncFnMut() -> bool) {
    let give_up = soon();
    while !done().await {
        assert!(Instant::now() < give_up, "never: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
