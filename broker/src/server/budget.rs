//! A number of bytes shared by all connections: who wants to hold some in memory reserves them first.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// How many bytes may be held at the same time.
#[derive(Debug, Clone)]
pub struct Budget {
    free: Arc<Semaphore>,
    bytes_max: usize,
}

/// Bytes that are held; given back when dropped.
#[derive(Debug)]
pub struct Reserved {
    permit: Option<OwnedSemaphorePermit>,
}

impl Budget {
    /// `bytes_max` is cut to what a semaphore can count, far above any memory.
    pub fn new(bytes_max: usize) -> Self {
        let bytes_max = bytes_max.min(Semaphore::MAX_PERMITS);
        Self {
            free: Arc::new(Semaphore::new(bytes_max)),
            bytes_max,
        }
    }

    /// Waits until `bytes` are free, in the order of asking. More than there are in all is cut to all.
    pub async fn reserve(&self, bytes: usize) -> Reserved {
        let bytes = u32::try_from(bytes.min(self.bytes_max)).unwrap_or(u32::MAX);
        // The semaphore is never closed, so there is no error to tell.
        let permit = self.free.clone().acquire_many_owned(bytes).await.ok();
        Reserved { permit }
    }

    /// Takes `wanted` bytes, or what is free now if that is less, but always `least`: that little is let through
    /// without being counted when nothing is free.
    pub(crate) fn reserve_up_to(&self, wanted: usize, least: usize) -> (Reserved, usize) {
        let grant = wanted.min(self.free.available_permits()).max(least);
        let permit = u32::try_from(grant)
            .ok()
            .and_then(|grant| self.free.clone().try_acquire_many_owned(grant).ok());
        let grant = if permit.is_some() { grant } else { least };
        (Reserved { permit }, grant)
    }

    /// Bytes that nobody holds.
    pub fn free_bytes(&self) -> usize {
        self.free.available_permits()
    }
}

impl Reserved {
    /// Nothing held.
    pub fn none() -> Self {
        Self { permit: None }
    }

    /// Gives back all but `bytes`.
    pub(crate) fn keep(&mut self, bytes: usize) {
        if let Some(permit) = &mut self.permit {
            let excess = permit.num_permits().saturating_sub(bytes);
            drop(permit.split(excess));
        }
    }

    /// Adds `other` to this.
    pub(crate) fn merge(&mut self, other: Self) {
        match (&mut self.permit, other.permit) {
            (Some(permit), Some(more)) => permit.merge(more),
            (permit @ None, more) => *permit = more,
            (Some(_), None) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn bytes_come_back_when_dropped() {
        let budget = Budget::new(100);
        let mut held = budget.reserve(60).await;
        held.merge(budget.reserve(30).await);
        assert_eq!(budget.free_bytes(), 10);
        drop(held);
        assert_eq!(budget.free_bytes(), 100);
    }

    #[tokio::test]
    async fn more_than_all_is_all() {
        let budget = Budget::new(100);
        let held = budget.reserve(1_000).await;
        assert_eq!(budget.free_bytes(), 0);
        drop(held);
        assert_eq!(budget.free_bytes(), 100);
    }

    #[test]
    fn a_short_budget_grants_less_but_never_less_than_the_least() {
        let budget = Budget::new(100);
        let (first, granted) = budget.reserve_up_to(80, 10);
        assert_eq!(granted, 80);
        let (second, granted) = budget.reserve_up_to(80, 10);
        assert_eq!(granted, 20);
        let (third, granted) = budget.reserve_up_to(80, 10);
        assert_eq!((granted, budget.free_bytes()), (10, 0));
        drop((first, second, third));
        assert_eq!(budget.free_bytes(), 100);
    }
}
