//! What the log counts of itself.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::metrics::Histogram;

/// Counters of flushes and reads.
#[derive(Debug)]
pub struct Meter {
    pub(crate) flush_seconds: Histogram,
    pub(crate) flush_bytes: Histogram,
    pub(crate) reads_from_memory: AtomicU64,
    pub(crate) reads_from_database: AtomicU64,
}

impl Default for Meter {
    fn default() -> Self {
        Self {
            flush_seconds: Histogram::of_times(),
            flush_bytes: Histogram::of_sizes(),
            reads_from_memory: AtomicU64::new(0),
            reads_from_database: AtomicU64::new(0),
        }
    }
}

impl Meter {
    pub(crate) fn flushed(&self, bytes: usize, took: Duration) {
        self.flush_seconds.add_time(took);
        self.flush_bytes.add(bytes as u64);
    }

    pub(crate) fn read(&self, from_memory: bool) {
        let count = match from_memory {
            true => &self.reads_from_memory,
            false => &self.reads_from_database,
        };
        count.fetch_add(1, Ordering::Relaxed);
    }
}
