//! When the next flush of small batches begins.
//!
//! Clients that wait for one answer before they send again come back soon after a COMMIT. A flush that begins with the first
//! of them carries one batch and makes all others wait for the flush after it; begun a moment later it carries them all. So
//! after a flush of small batches the lane waits until as many batches are queued as were outstanding when it ended, but
//! for no longer than half a flush takes. Where they do not come in that time, it does not wait again for a while.

use std::time::Duration;

/// A flush with more bytes than this is spent on the bytes, not on the commit, and nothing is gained by waiting.
const SMALL_BYTES: usize = 64 << 10;
/// The longest pause between two attempts to wait is this power of two of flushes.
const PAUSE_POWER_MAX: u32 = 10;
/// Half of the longest flush that is waited for.
const WAIT_MAX: Duration = Duration::from_millis(5);

/// Learns from flushes how long to wait for the next; no I/O and no clock.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// Smoothed time of a small flush.
    flush: Duration,
    /// Batches that were outstanding at the end of the last flush: those just answered and those queued.
    outstanding: usize,
    /// Waits in a row that did not bring what they were for.
    misses: u32,
    /// Flushes until the next wait.
    pause: u32,
}

/// What to wait for before a flush.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Gather {
    /// That many batches queued,
    pub(super) batches: usize,
    /// or this time gone by.
    pub(super) longest: Duration,
}

impl Pace {
    /// A flush ended: it took `took` for `size_bytes` and `answered` batches, and `queued` came meanwhile.
    pub(super) fn flushed(
        &mut self,
        took: Duration,
        size_bytes: usize,
        answered: usize,
        queued: usize,
    ) {
        if size_bytes > SMALL_BYTES {
            self.outstanding = 0;
            return;
        }
        self.flush = match self.flush {
            Duration::ZERO => took,
            flush => (flush * 7 + took) / 8,
        };
        self.outstanding = answered + queued;
        self.pause = self.pause.saturating_sub(1);
    }

    /// Whether to wait before the next flush, `queued` batches being there.
    pub(super) fn gather(&self, queued: usize) -> Option<Gather> {
        (self.pause == 0 && queued < self.outstanding).then(|| Gather {
            batches: self.outstanding,
            longest: (self.flush / 2).min(WAIT_MAX),
        })
    }

    /// How a wait ended.
    pub(super) fn gathered(&mut self, has_all: bool) {
        if has_all {
            self.misses = 0;
        } else {
            self.misses = (self.misses + 1).min(PAUSE_POWER_MAX);
            self.pause = 1 << self.misses;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLUSH: Duration = Duration::from_millis(1);

    #[test]
    fn a_single_client_never_waits() {
        let mut pace = Pace::default();
        for _ in 0..10 {
            pace.flushed(FLUSH, 1_000, 1, 0);
            assert_eq!(pace.gather(1), None);
        }
    }

    #[test]
    fn waits_for_those_that_were_answered_and_those_that_are_there() {
        let mut pace = Pace::default();
        pace.flushed(FLUSH, 7_000, 7, 1);
        let wait = pace.gather(1).unwrap();
        assert_eq!((wait.batches, wait.longest), (8, FLUSH / 2));
        assert_eq!(pace.gather(8), None);
    }

    #[test]
    fn large_flushes_are_not_waited_for() {
        let mut pace = Pace::default();
        pace.flushed(FLUSH, SMALL_BYTES + 1, 5, 0);
        assert_eq!(pace.gather(1), None);
    }

    #[test]
    fn waits_in_vain_become_rare_and_one_that_succeeds_ends_that() {
        let mut pace = Pace::default();
        let mut waits = 0;
        for _ in 0..5_000 {
            pace.flushed(FLUSH, 1_000, 1, 1);
            if pace.gather(1).is_some() {
                waits += 1;
                pace.gathered(false);
            }
        }
        assert!((10..20).contains(&waits), "{waits} waits");
        while pace.gather(1).is_none() {
            pace.flushed(FLUSH, 1_000, 1, 1);
        }
        pace.gathered(true);
        pace.flushed(FLUSH, 1_000, 1, 1);
        assert!(pace.gather(1).is_some());
    }
}
