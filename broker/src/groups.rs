//! Groups: who coordinates them, and the tasks that own them.
//!
//! A group is a pure state machine (`group`: `classic` or `consumer`) that a task (`task`) feeds with requests and time. What a step changes is written
//! (`writes`) before the answers of the step leave; when that fails, the task ends without answering, and the next one takes
//! up what is stored. Handlers ask by [`Groups::ask`]. No messages and no SQL here.

mod assignors;
mod classic;
mod config;
mod consumer;
mod group;
mod messages;
mod retention;
mod stored;
mod subscription;
mod summary;
mod task;
mod topics;
mod writes;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use protocol::ErrorCode;
use storage::{CommittedOffset, ShardLease, ShardOwner, Store};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::catalog::Catalog;
use crate::config::Config;
use crate::settings::Settings;
pub(crate) use config::GroupConfig;
pub(crate) use consumer::{
    ConsumerDescription, ConsumerHeartbeat, HeartbeatAnswer, Member as ConsumerMember, Partitions,
    Pattern,
};
pub(crate) use messages::{
    Client, Description, JoinAnswer, JoinRequest, Leaving, MemberRef, Protocol, SyncAnswer,
    SyncRequest,
};
pub(crate) use summary::Summary;
pub(crate) use task::{Commit, Event, Reply};
use writes::Writes;

/// Requests of one group that wait for their turn. Beyond it connections wait.
const EVENTS_MAX: usize = 1_000;
/// Between two attempts to take up a group whose task ended for want of the database.
const RESTORE_PAUSE: Duration = Duration::from_secs(1);

/// The groups that this broker coordinates.
#[derive(Debug)]
pub(crate) struct Groups {
    /// What was given at the start; what a group may have of its own is its task's.
    pub(crate) config: Arc<GroupConfig>,
    store: Store,
    catalog: Arc<Catalog>,
    settings: Arc<Settings>,
    /// By shard; `None` where another broker coordinates.
    leases: RwLock<Vec<Option<ShardLease>>>,
    writes: Writes,
    tasks: Mutex<HashMap<Arc<str>, GroupTask>>,
    /// What state machines count their time from.
    started: Instant,
    stopping: CancellationToken,
}

/// A task that owns a group.
#[derive(Debug, Clone)]
struct GroupTask {
    events: mpsc::Sender<Event>,
    /// Cancelled when another broker is to coordinate the group.
    resigning: CancellationToken,
    summary: summary::Place,
}

impl Groups {
    /// Coordinates nothing until [`Self::claim`].
    pub(crate) async fn open(
        (store, catalog, settings): (Store, Arc<Catalog>, Arc<Settings>),
        config: &Config,
        stopping: CancellationToken,
    ) -> Result<Arc<Self>, storage::Error> {
        let shards = store.group_shards().await?.len();
        Ok(Arc::new(Self {
            config: Arc::new(GroupConfig::new(config)),
            writes: Writes::start(store.group_writer()),
            store,
            catalog,
            settings,
            leases: RwLock::new(vec![None; shards]),
            tasks: Mutex::default(),
            started: Instant::now(),
            stopping,
        }))
    }

    fn leases(&self) -> RwLockReadGuard<'_, Vec<Option<ShardLease>>> {
        self.leases.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn leases_mut(&self) -> RwLockWriteGuard<'_, Vec<Option<ShardLease>>> {
        self.leases.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Claims those of `shards` that no living broker has, and takes up their groups that have members, whose sessions begin
    /// anew.
    pub(crate) async fn claim(
        self: &Arc<Self>,
        owner: Uuid,
        shards: &[i32],
    ) -> Result<(), storage::Error> {
        let leases = self.store.claim_group_shards(owner, Some(shards)).await?;
        if leases.is_empty() {
            return Ok(());
        }
        let claimed: HashSet<i32> = leases.iter().map(|lease| lease.shard).collect();
        {
            let mut own = self.leases_mut();
            for lease in leases {
                let place = usize::try_from(lease.shard).ok();
                if let Some(slot) = place.and_then(|place| own.get_mut(place)) {
                    *slot = Some(lease);
                }
            }
        }
        for group_id in self.store.groups_with_members().await? {
            let is_claimed = self.lease(&group_id);
            if is_claimed.is_some_and(|lease| claimed.contains(&lease.shard)) {
                self.task_of(&group_id);
            }
        }
        Ok(())
    }

    /// Coordinates the groups of these shards no longer, and lets other brokers claim them.
    pub(crate) async fn give_up(&self, given_up: &[ShardLease]) -> Result<(), storage::Error> {
        {
            let mut own = self.leases_mut();
            for lease in given_up {
                let place = usize::try_from(lease.shard).ok();
                if let Some(slot) = place.and_then(|place| own.get_mut(place)) {
                    *slot = None;
                }
            }
        }
        self.resign();
        self.store.release_group_shards(given_up).await
    }

    /// Forgets shards that other brokers have claimed, by what is stored now.
    pub(crate) fn forget_lost(&self, stored: &[ShardOwner]) {
        let mut own = self.leases_mut();
        let mut has_lost = false;
        for owner in stored {
            let place = usize::try_from(owner.lease.shard).ok();
            if let Some(slot) = place.and_then(|place| own.get_mut(place))
                && slot.is_some_and(|lease| lease.epoch < owner.lease.epoch)
            {
                *slot = None;
                has_lost = true;
            }
        }
        drop(own);
        if has_lost {
            self.resign();
        }
    }

    /// Ends the tasks of groups that another broker coordinates.
    fn resign(&self) {
        self.tasks().retain(|group_id, task| {
            let is_kept = self.lease(group_id).is_some();
            if !is_kept {
                task.resigning.cancel();
            }
            is_kept
        });
    }

    pub(crate) fn has_shard(&self, shard: i32) -> bool {
        let place = usize::try_from(shard).ok();
        place.is_some_and(|place| matches!(self.leases().get(place), Some(Some(_))))
    }

    /// The shards that this broker has, and by what right.
    pub(crate) fn shard_leases(&self) -> Vec<ShardLease> {
        self.leases().iter().flatten().copied().collect()
    }

    /// Asks a group and waits for its answer. An error says that the group could not be asked.
    pub(crate) async fn ask<T>(
        self: &Arc<Self>,
        group_id: &str,
        event: impl FnOnce(Reply<T>) -> Event,
    ) -> Result<T, ErrorCode> {
        let (reply, answer) = oneshot::channel();
        self.send(group_id, event(reply)).await;
        answer.await.map_err(|_| match self.lease(group_id) {
            Some(_) => ErrorCode::CoordinatorNotAvailable,
            None => ErrorCode::NotCoordinator,
        })
    }

    /// As [`Groups::ask`], for answers that may take long: the end of the broker ends the wait.
    pub(crate) async fn ask_patiently<T>(
        self: &Arc<Self>,
        group_id: &str,
        event: impl FnOnce(Reply<T>) -> Event,
    ) -> Result<T, ErrorCode> {
        tokio::select! {
            answer = self.ask(group_id, event) => answer,
            () = self.stopping.cancelled() => Err(ErrorCode::NotCoordinator),
        }
    }

    async fn send(self: &Arc<Self>, group_id: &str, mut event: Event) {
        loop {
            // Without an answer, if another broker coordinates.
            let Some(task) = self.task_of(group_id) else {
                return;
            };
            match task.events.send(event).await {
                Ok(()) => return,
                // The task is about to end; the next one takes it.
                Err(mpsc::error::SendError(unsent)) => event = unsent,
            }
            tokio::task::yield_now().await;
        }
    }

    fn tasks(&self) -> MutexGuard<'_, HashMap<Arc<str>, GroupTask>> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `None` if another broker coordinates the group.
    fn task_of(self: &Arc<Self>, group_id: &str) -> Option<GroupTask> {
        let mut tasks = self.tasks();
        if let Some(task) = tasks.get(group_id) {
            return Some(task.clone());
        }
        let lease = self.lease(group_id)?;
        let group_id: Arc<str> = group_id.into();
        let (events, sent) = mpsc::channel(EVENTS_MAX);
        let task = GroupTask {
            events,
            resigning: CancellationToken::new(),
            summary: summary::Place::default(),
        };
        tasks.insert(group_id.clone(), task.clone());
        let right = task::Right {
            lease,
            resigning: task.resigning.clone(),
        };
        let shown = task.summary.clone();
        tokio::spawn(task::run(self.clone(), group_id, right, shown, sent));
        Some(task)
    }

    /// Ids of the groups that have a task: all with members, and others that were asked lately.
    pub(crate) fn live(&self) -> Vec<Arc<str>> {
        self.tasks().keys().cloned().collect()
    }

    /// What the groups that have a task say of themselves.
    pub(crate) fn summaries(&self) -> Vec<(Arc<str>, Summary)> {
        let tasks = self.tasks();
        let shown = tasks
            .iter()
            .filter_map(|(group_id, task)| Some((group_id.clone(), task.summary.read()?)));
        shown.collect()
    }

    /// Every group that is stored and coordinated by this broker.
    pub(crate) async fn stored(&self) -> Result<Vec<storage::ListedGroup>, ErrorCode> {
        let groups = self.store.list_groups().await;
        let mut groups = groups.map_err(|error| crate::error::coordinator_code(&error))?;
        groups.retain(|group| self.lease(&group.group_id).is_some());
        Ok(groups)
    }

    /// What a group has committed, all commits that were asked for before included.
    pub(crate) async fn committed(
        &self,
        group_id: &str,
    ) -> Result<Vec<CommittedOffset>, ErrorCode> {
        if self.lease(group_id).is_none() {
            return Err(ErrorCode::NotCoordinator);
        }
        self.writes.flushed().await;
        let offsets = self.store.committed_offsets(group_id).await;
        offsets.map_err(|error| crate::error::coordinator_code(&error))
    }

    /// Topics and partitions of which open transactions will commit offsets for a group.
    pub(crate) async fn pending(&self, group_id: &str) -> Result<HashSet<(i32, i32)>, ErrorCode> {
        let pending = self.store.pending_offsets(group_id).await;
        pending.map_err(|error| crate::error::coordinator_code(&error))
    }

    /// Takes a group up again that could not be loaded or written, so that silent members do not stay for ever.
    fn restore_later(self: &Arc<Self>, group_id: Arc<str>) {
        let groups = self.clone();
        tokio::spawn(async move {
            tokio::time::sleep(RESTORE_PAUSE).await;
            if !groups.stopping.is_cancelled() {
                groups.task_of(&group_id);
            }
        });
    }

    /// The right to coordinate what has this id, a group or a transactional id; `None` if another broker does.
    pub(crate) fn lease(&self, id: &str) -> Option<ShardLease> {
        let leases = self.leases();
        *leases.get(shard_of(id, leases.len()))?
    }

    /// Whether the broker is about to end.
    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.is_cancelled()
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

/// Kafka's rule: the hash code that Java gives the id, modulo the number of shards.
pub(crate) fn shard_of(key: &str, shards: usize) -> usize {
    let hash = key.encode_utf16().fold(0i32, |hash, unit| {
        hash.wrapping_mul(31).wrapping_add(i32::from(unit))
    });
    // As Kafka's: the least number has no positive one.
    let positive = usize::try_from(hash.checked_abs().unwrap_or(0)).unwrap_or(0);
    positive.checked_rem(shards).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_are_those_of_javas_hash_codes() {
        // "abc".hashCode() is 96354, "polygenelubricants".hashCode() the least int, "é".hashCode() 233.
        assert_eq!(shard_of("abc", 50), 96354 % 50);
        assert_eq!(shard_of("polygenelubricants", 50), 0);
        assert_eq!(shard_of("é", 50), 233 % 50);
        assert_eq!(shard_of("", 50), 0);
        assert_eq!(shard_of("abc", 0), 0);
    }
}
