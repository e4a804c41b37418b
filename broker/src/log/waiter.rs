//! Long polls: a waiter is registered with partitions and woken by the next append to any of them. Reading is the
//! caller's business.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::Notify;

/// Woken once by the first append, or the closing, of any partition it was made for.
#[derive(Debug)]
pub struct Waiter {
    notify: Arc<Notify>,
}

impl Waiter {
    /// Registers with every list.
    pub(crate) fn register<'a>(lists: impl Iterator<Item = &'a Waiters>) -> Self {
        let notify = Arc::new(Notify::new());
        for list in lists {
            list.add(&notify);
        }
        Self { notify }
    }

    /// Returns once something was appended since this waiter was made, at once if that has happened already.
    pub async fn changed(&self) {
        self.notify.notified().await;
    }
}

/// The waiters of one partition. Entries of waiters that went away are swept when the list has doubled.
#[derive(Debug, Default)]
pub(crate) struct Waiters {
    list: Mutex<List>,
}

#[derive(Debug, Default)]
struct List {
    waiting: Vec<Weak<Notify>>,
    sweep_at: usize,
}

/// A list shorter than this is not swept.
const SWEEP_MIN: usize = 16;

impl Waiters {
    fn add(&self, notify: &Arc<Notify>) {
        let mut list = self.list.lock().unwrap_or_else(PoisonError::into_inner);
        if list.waiting.len() >= list.sweep_at.max(SWEEP_MIN) {
            list.waiting.retain(|waiting| waiting.strong_count() > 0);
            list.sweep_at = list.waiting.len() * 2;
        }
        list.waiting.push(Arc::downgrade(notify));
    }

    /// Wakes and forgets all.
    pub(crate) fn wake(&self) {
        let waiting = {
            let mut list = self.list.lock().unwrap_or_else(PoisonError::into_inner);
            if list.waiting.is_empty() {
                return;
            }
            std::mem::take(&mut list.waiting)
        };
        for notify in waiting.iter().filter_map(Weak::upgrade) {
            notify.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_woken(waiter: &Waiter) -> bool {
        use std::future::Future;
        let mut changed = Box::pin(waiter.changed());
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        changed.as_mut().poll(&mut context).is_ready()
    }

    #[test]
    fn any_list_wakes_and_a_wake_before_the_wait_counts() {
        let lists = [Waiters::default(), Waiters::default()];
        let waiter = Waiter::register(lists.iter());
        assert!(!is_woken(&waiter));
        lists[1].wake();
        assert!(is_woken(&waiter));
    }

    #[test]
    fn waiters_that_went_away_are_swept() {
        let list = Waiters::default();
        for _ in 0..10_000 {
            drop(Waiter::register(std::iter::once(&list)));
        }
        assert!(list.list.lock().unwrap().waiting.len() <= 2 * SWEEP_MIN);
    }
}
