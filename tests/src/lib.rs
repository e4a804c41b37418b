//! What the end-to-end tests share: starting and stopping the real broker, running real clients, and a raw client
//! for exact answers. The tests themselves are in `tests/`.
//!
//! `KAFKA_BOOTSTRAP=host:port` points the tests that need no broker of their own at another broker, for example an
//! Apache Kafka, to check the tests.

pub mod admin;
pub mod batch;
pub mod broker;
pub mod clients;
pub mod java;
pub mod kafka;
pub mod librdkafka;
pub mod oracle;
pub mod pgbouncer;
pub mod postgres;
pub mod proxy;
pub mod text;
pub mod tool;
pub mod wire;

pub use broker::Broker;

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// A topic name nobody else uses, not even an earlier run against the same broker.
pub fn fresh_topic(stem: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let n = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("{stem}-{}-{n}", std::process::id())
}

/// The root of the workspace.
pub fn workspace() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// How long it took until changes were seen. All of them are waited for, and most must be seen soon: what else a machine does
/// may hold up some.
#[derive(Debug, Default)]
pub struct Prompt(Vec<Duration>);

impl Prompt {
    /// Waits until a change that was just made is seen.
    ///
    /// # Panics
    /// When it never is.
    pub fn wait_for<T>(&mut self, what: &str, condition: impl FnMut() -> Option<T>) -> T {
        let made = Instant::now();
        let seen = wait_for(what, Duration::from_secs(120), condition);
        self.0.push(made.elapsed());
        seen
    }

    /// Asserts that more than half of the changes were seen within `limit`.
    ///
    /// # Panics
    /// When they were not.
    #[track_caller]
    pub fn assert_most_within(mut self, limit: Duration) {
        self.0.sort_unstable();
        let soon = self.0.iter().filter(|took| **took < limit).count();
        assert!(2 * soon > self.0.len(), "within {limit:?}: {:?}", self.0);
    }
}

/// Polls `condition` until it gives something.
///
/// # Panics
/// When `limit` has passed, naming `what` was waited for.
pub fn wait_for<T>(what: &str, limit: Duration, mut condition: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(
            Instant::now() < deadline,
            "waited {limit:?} in vain for {what}"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}
