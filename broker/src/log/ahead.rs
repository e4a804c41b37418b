//! What readers of old records will ask for next, read from the database while the answer before it is on its way. It is what was
//! stored when it was read; what a reader gets of it is decided when it is asked for.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use storage::{RunBytes, Store};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

/// Whoever asks for little at a time gets some of it from the same stretch.
const STRETCH_BYTES_MIN: usize = 1 << 20;
const STRETCH_BYTES_MAX: usize = 8 << 20;
/// Of the connections, these are not kept from readers who wait.
const IN_FLIGHT_MAX: usize = 4;
/// A reader that does not come for its stretch in this time is gone.
const AGE_MAX: Duration = Duration::from_secs(5);

/// Where a stretch begins, and under which leader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) part: i32,
    pub(crate) leader_epoch: i32,
    pub(crate) from_offset: i64,
}

/// Stretches of logs that are likely to be asked for, of all partitions, bounded in bytes.
#[derive(Debug)]
pub(crate) struct ReadAhead {
    store: Store,
    max_bytes: usize,
    in_flight: Arc<Semaphore>,
    stretches: Mutex<Vec<Stretch>>,
    /// How often logs were not any more what had been read of them; changed while the stretches are locked.
    forgotten: AtomicU64,
}

/// What was read ahead.
#[derive(Debug)]
pub(crate) struct Taken {
    pub(crate) runs: Vec<RunBytes>,
    forgotten: u64,
}

#[derive(Debug)]
struct Stretch {
    at: Place,
    begun: Instant,
    size_bytes: usize,
    runs: Runs,
}

#[derive(Debug)]
enum Runs {
    Coming(JoinHandle<Result<Vec<RunBytes>, storage::Error>>),
    /// What a reader left of a stretch.
    Rest(Vec<RunBytes>),
}

impl ReadAhead {
    /// With no bytes nothing is read ahead.
    pub(crate) fn new(store: Store, max_bytes: usize) -> Self {
        Self {
            store,
            max_bytes,
            in_flight: Arc::new(Semaphore::new(IN_FLIGHT_MAX)),
            stretches: Mutex::default(),
            forgotten: AtomicU64::new(0),
        }
    }

    /// Those that readers may still come for.
    fn stretches(&self) -> MutexGuard<'_, Vec<Stretch>> {
        let mut stretches = self
            .stretches
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        stretches.retain(|stretch| stretch.begun.elapsed() < AGE_MAX);
        stretches
    }

    /// Begins to read at `at` for a reader that asks for `max_bytes` at a time, where there is room for it.
    pub(crate) fn begin(&self, at: Place, max_bytes: usize) {
        let size_bytes = max_bytes.clamp(STRETCH_BYTES_MIN, STRETCH_BYTES_MAX);
        let mut stretches = self.stretches();
        if !has_room(&stretches, at, size_bytes, self.max_bytes) {
            return;
        }
        let Ok(permit) = Arc::clone(&self.in_flight).try_acquire_owned() else {
            return;
        };
        let store = self.store.clone();
        let task = tokio::spawn(async move {
            let runs = store.read(at.part, at.from_offset, size_bytes).await;
            drop(permit);
            runs
        });
        stretches.push(Stretch {
            at,
            begun: Instant::now(),
            size_bytes,
            runs: Runs::Coming(task),
        });
    }

    /// What was read ahead from there on; `None` where nothing was, or there was nothing to be read.
    pub(crate) async fn take(&self, at: Place) -> Option<Taken> {
        let (stretch, forgotten) = {
            let mut stretches = self.stretches();
            let position = stretches.iter().position(|stretch| stretch.at == at)?;
            let forgotten = self.forgotten.load(Ordering::Relaxed);
            (stretches.swap_remove(position), forgotten)
        };
        let runs = match stretch.runs {
            Runs::Coming(task) => task.await.ok()?.ok()?,
            Runs::Rest(runs) => runs,
        };
        (!runs.is_empty()).then_some(Taken { runs, forgotten })
    }

    /// Keeps what a reader left, for its next request.
    pub(crate) fn keep(&self, at: Place, rest: Taken) {
        let size_bytes = size_bytes(&rest.runs);
        let mut stretches = self.stretches();
        let is_true = rest.forgotten == self.forgotten.load(Ordering::Relaxed);
        if is_true && has_room(&stretches, at, size_bytes, self.max_bytes) {
            stretches.push(Stretch {
                at,
                begun: Instant::now(),
                size_bytes,
                runs: Runs::Rest(rest.runs),
            });
        }
    }

    /// The log of this partition is not what it was: records are deleted or compacted.
    pub(crate) fn forget(&self, part: i32) {
        let mut stretches = self.stretches();
        self.forgotten.fetch_add(1, Ordering::Relaxed);
        stretches.retain(|stretch| stretch.at.part != part);
    }
}

/// Of the batches in them.
pub(crate) fn size_bytes(runs: &[RunBytes]) -> usize {
    runs.iter().map(|run| run.data.len()).sum()
}

/// Older stretches are not thrown away for a new one: where there are more readers than room, each would be read in vain.
fn has_room(stretches: &[Stretch], at: Place, size_bytes: usize, max_bytes: usize) -> bool {
    let taken: usize = stretches.iter().map(|stretch| stretch.size_bytes).sum();
    taken + size_bytes <= max_bytes && stretches.iter().all(|stretch| stretch.at != at)
}
