//! Markers that other coordinators have decided and that are due in this broker's lane: they are found in the database, and each goes
//! from there with the flush that writes it. Which partitions the lane has by then does not matter to who decided.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use storage::DueMarker;
use tokio::sync::{Notify, oneshot};

use super::Transactions;
use crate::log::{EndError, EndTransaction, Partition};

/// How often markers are looked for where nobody says that there are any.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// The same where some could not be written: the partitions are changing their leader.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// What is known of markers that are due.
#[derive(Debug, Default)]
pub(super) struct Due {
    /// It is to be looked for markers.
    look: Notify,
    /// Markers may have been written.
    changed: Notify,
    markers: Mutex<Markers>,
    /// Who waits until all markers of transactional ids are written.
    awaited: Mutex<Awaited>,
}

type Awaited = HashMap<Arc<str>, Vec<oneshot::Sender<()>>>;

/// By transactional id and partition.
#[derive(Debug, Default)]
struct Markers {
    queued: HashSet<(String, i32)>,
    /// No longer queued since the last look began, which may not know it.
    left: HashSet<(String, i32)>,
}

impl Due {
    fn markers(&self) -> MutexGuard<'_, Markers> {
        self.markers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn awaited(&self) -> MutexGuard<'_, Awaited> {
        self.awaited.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells when all markers of a transaction that was decided before are written.
    pub(super) fn all_written(&self, id: &Arc<str>) -> oneshot::Receiver<()> {
        let (teller, written) = oneshot::channel();
        self.awaited().entry(id.clone()).or_default().push(teller);
        self.changed.notify_one();
        written
    }
}

impl Transactions {
    /// Markers may be due, or have been written.
    pub(super) fn look_at_markers(&self) {
        self.due.look.notify_one();
        self.due.changed.notify_one();
    }

    /// Tells who waits for markers that they are written, for ever; one query for all.
    pub(crate) async fn see_written_markers(self: Arc<Self>) {
        loop {
            let is_awaited = !self.due.awaited().is_empty();
            tokio::select! {
                () = self.due.changed.notified() => {}
                () = tokio::time::sleep(LOOK_AGAIN), if is_awaited => {}
            }
            let ids: Vec<Arc<str>> = self.due.awaited().keys().cloned().collect();
            if ids.is_empty() {
                continue;
            }
            let asked: Vec<&str> = ids.iter().map(|id| &**id).collect();
            let left = match self.store.transactions_with_markers(&asked).await {
                Ok(left) => left,
                Err(error) => {
                    tracing::debug!(%error, "it is not known which markers are written");
                    tokio::time::sleep(LOOK_AGAIN).await;
                    continue;
                }
            };
            let mut awaited = self.due.awaited();
            for id in ids.iter().filter(|id| !left.contains(&***id)) {
                for teller in awaited.remove(id).unwrap_or_default() {
                    // Whoever waited may have left it to another broker.
                    let _ = teller.send(());
                }
            }
        }
    }

    /// Writes what is due in this broker's lane, for ever.
    pub(crate) async fn write_due_markers(self: Arc<Self>) {
        let mut pause = LOOK_EVERY;
        let mut is_blind = false;
        loop {
            tokio::select! {
                () = self.due.look.notified() => {}
                () = tokio::time::sleep(pause) => {}
            }
            self.due.markers().left.clear();
            let due = self.store.due_markers(self.cluster.node_id()).await;
            let was_blind = std::mem::replace(&mut is_blind, due.is_err());
            pause = match due {
                Ok(due) => match self.queue_due(due) {
                    true => LOOK_EVERY,
                    false => LOOK_AGAIN,
                },
                Err(error) => {
                    if !was_blind {
                        tracing::warn!(%error, "markers of transactions cannot be looked for");
                    }
                    LOOK_EVERY
                }
            };
        }
    }

    /// False if it has to be tried again.
    fn queue_due(self: &Arc<Self>, due: Vec<DueMarker>) -> bool {
        let mut are_all_led = true;
        for marker in due {
            let key = (marker.transactional_id.clone(), marker.part);
            let partition = self.log.partition(marker.part);
            let Some(partition) = partition.filter(|partition| partition.is_led()) else {
                are_all_led = false;
                continue;
            };
            let is_new = {
                let mut markers = self.due.markers();
                !markers.left.contains(&key) && markers.queued.insert(key)
            };
            if is_new {
                self.write_soon(marker, partition);
            }
        }
        are_all_led
    }

    fn write_soon(self: &Arc<Self>, marker: DueMarker, partition: Arc<Partition>) {
        let queued = self.log.end_transaction(EndTransaction {
            producer_id: marker.producer_id,
            producer_epoch: marker.producer_epoch,
            coordinator_epoch: marker.coordinator_epoch,
            is_commit: marker.is_commit,
            is_epoch_bumped: marker.is_epoch_bumped,
            partitions: vec![partition],
            change: None,
            due: Vec::new(),
            written: Some(marker.clone()),
        });
        let transactions = self.clone();
        tokio::spawn(async move {
            let written = match queued {
                Ok(written) => written.await.unwrap_or(Err(EndError::NotLeader)),
                Err(_) => Err(EndError::NotLeader),
            };
            transactions.written(marker, written);
        });
    }

    fn written(&self, marker: DueMarker, written: Result<Vec<Result<(), EndError>>, EndError>) {
        let id = marker.transactional_id;
        {
            let mut markers = self.due.markers();
            let key = (id.clone(), marker.part);
            markers.queued.remove(&key);
            markers.left.insert(key);
        }
        match written {
            Ok(results) => {
                for error in results.into_iter().filter_map(Result::err) {
                    tracing::warn!(id, part = marker.part, %error, "a partition got no marker");
                }
                match self.cluster.view().coordinator(&id) {
                    Some(node_id) if node_id != self.cluster.node_id() => {
                        self.letters.tell_to_look(node_id);
                    }
                    _ => self.due.changed.notify_one(),
                }
            }
            // The next look finds it where it is due then.
            Err(error) => tracing::debug!(id, part = marker.part, %error, "a marker is still due"),
        }
    }
}
