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
    /// Of the database's, those that had been begun before they were asked for.
    pub(crate) reads_ahead: AtomicU64,
}

/// Where what a reader got came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    Memory,
    Ahead,
    Database,
}

impl Default for Meter {
    fn default() -> Self {
        Self {
            flush_seconds: Histogram::of_times(),
            flush_bytes: Histogram::of_sizes(),
            reads_from_memory: AtomicU64::new(0),
            reads_from_database: AtomicU64::new(0),
            reads_ahead: AtomicU64::new(0),
        }
    }
}

impl Meter {
    pub(crate) fn flushed(&self, bytes: usize, took: Duration) {
        self.flush_seconds.add_time(took);
        self.flush_bytes.add(bytes as u64);
    }

    pub(crate) fn read(&self, source: Source) {
        let count = match source {
            Source::Memory => &self.reads_from_memory,
            Source::Ahead => &self.reads_ahead,
            Source::Database => &self.reads_from_database,
        };
        count.fetch_add(1, Ordering::Relaxed);
    }
}
