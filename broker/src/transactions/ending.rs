//! The end of a transaction. It is decided in one flush of this broker's lane: the markers of the partitions that it leads, the
//! offsets of groups, the new state, and where else markers are due. Without any of these the transaction is complete then;
//! with them it is when their leaders have written them.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use protocol::ErrorCode;
use storage::{DueMarker, TransactionRow, TransactionWrite};
use tokio::sync::oneshot;

use super::machine::{Ending, Event};
use super::{Slot, Transactions, now_ms};
use crate::log::{EndError, EndTransaction, Ended, Partition};

/// Between two attempts to end a transaction whose partitions could not be read.
const END_PAUSE: Duration = Duration::from_secs(1);
/// Between two where a partition has got another leader.
const MOVE_PAUSE: Duration = Duration::from_millis(20);
/// Between two where another broker seems to coordinate.
const LOST_PAUSE: Duration = Duration::from_millis(200);
/// How long the producer waits for what is decided to be complete, so that it can go on at once.
const COMPLETION_PATIENCE: Duration = Duration::from_secs(1);
/// How often it is looked whether this broker is still the one to complete it.
const RIGHT_LOOK: Duration = Duration::from_millis(500);

/// Who waits for the end.
type Waiting = Option<oneshot::Sender<Result<(), ErrorCode>>>;

fn answer(waiting: &mut Waiting, result: Result<(), ErrorCode>) {
    if let Some(reply) = waiting.take() {
        // The client may have gone.
        let _ = reply.send(result);
    }
}

/// The end of a transaction as it is queued in the log.
struct Queued {
    ended: Result<oneshot::Receiver<Ended>, EndError>,
    /// Brokers that are to write markers.
    others: Vec<i32>,
    is_complete: bool,
}

impl Transactions {
    /// Puts the markers of a transaction behind all that was queued in the log. The receiver learns of its end.
    pub(super) fn end_soon(
        self: &Arc<Self>,
        slot: &Arc<Slot>,
        ending: Ending,
    ) -> oneshot::Receiver<Result<(), ErrorCode>> {
        let (reply, answer) = oneshot::channel();
        let queued = self.queue_end(slot, &ending);
        let (transactions, slot) = (self.clone(), slot.clone());
        tokio::spawn(async move {
            transactions
                .end_queued(slot, ending, queued, Some(reply))
                .await;
        });
        answer
    }

    /// Waits for what was decided before to be complete.
    pub(super) fn complete_soon(self: &Arc<Self>, slot: Arc<Slot>, ending: Ending) {
        let transactions = self.clone();
        tokio::spawn(async move { transactions.complete(slot, ending, None).await });
    }

    async fn end_queued(
        &self,
        slot: Arc<Slot>,
        ending: Ending,
        mut queued: Queued,
        mut waiting: Waiting,
    ) {
        loop {
            let ended = match queued.ended {
                Ok(ended) => ended.await.unwrap_or(Err(EndError::NotLeader)),
                Err(error) => Err(error),
            };
            match ended {
                Ok(results) => {
                    note(&slot.id, &ending, &results);
                    if queued.is_complete {
                        slot.lock().step(Event::Ended, now_ms());
                        answer(&mut waiting, Ok(()));
                        return;
                    }
                    for node_id in queued.others {
                        self.letters.tell_to_look(node_id);
                    }
                    self.look_at_markers();
                    return self.complete(slot, ending, waiting).await;
                }
                Err(error @ (EndError::Unavailable | EndError::Locked)) => {
                    // It is decided; the producer may ask how far it is.
                    answer(&mut waiting, Err(ErrorCode::ConcurrentTransactions));
                    tokio::time::sleep(END_PAUSE).await;
                    if error == EndError::Locked {
                        self.wait_for_locks(&slot, &ending).await;
                    }
                }
                Err(EndError::NotLeader) if !self.log.is_fenced() => {
                    tokio::time::sleep(MOVE_PAUSE).await;
                }
                // For the sake of another transaction in the same flush, or this broker has yet to hear of it.
                Err(EndError::NotCoordinator) if !self.log.is_fenced() => {
                    answer(&mut waiting, Err(ErrorCode::NotCoordinator));
                    tokio::time::sleep(LOST_PAUSE).await;
                }
                Err(error) => return leave(&slot, &mut waiting, error),
            }
            if !self.has(&slot) {
                return leave(&slot, &mut waiting, EndError::NotCoordinator);
            }
            queued = self.queue_end(&slot, &ending);
        }
    }

    /// Returns when nobody holds by SQL what the end of a transaction changes, so that no flush of the lane waits for it.
    async fn wait_for_locks(&self, slot: &Arc<Slot>, ending: &Ending) {
        let change = change_of(slot, ending, ending.row.clone());
        let mut writer = self.store.transaction_writer();
        while self.has(slot) {
            match writer.is_free(&change).await {
                Ok(true) => return,
                Ok(false) => tracing::warn!(
                    id = &*slot.id,
                    "a transaction cannot end: its rows are locked"
                ),
                Err(error) => tracing::warn!(id = &*slot.id, %error, "a transaction cannot end"),
            }
            tokio::time::sleep(END_PAUSE).await;
        }
    }

    /// Whether this broker still coordinates an id, and as it was taken up with the slot.
    fn has(&self, slot: &Arc<Slot>) -> bool {
        let present = self.slot(&slot.id);
        !self.groups.is_stopping()
            && self.groups.lease(&slot.id) == Some(slot.lease)
            && present.is_some_and(|present| Arc::ptr_eq(&present, slot))
    }

    fn queue_end(&self, slot: &Slot, ending: &Ending) -> Queued {
        let (mut own, mut due, mut others) = (Vec::new(), Vec::new(), Vec::new());
        for part in &ending.partitions {
            match self.log.partition(*part) {
                Some(partition) if partition.is_led() => own.push(partition),
                other => {
                    others.extend(other.map(|partition| partition.leader().node_id));
                    due.push(due_marker(slot, ending, *part));
                }
            }
        }
        others.sort_unstable();
        others.dedup();
        let is_complete = due.is_empty();
        let end = end_of(slot, ending, own, due);
        let queued = self.log.end_transaction(end);
        Queued {
            ended: queued.map_err(|_| EndError::NotLeader),
            others,
            is_complete,
        }
    }

    /// Returns when all markers of a decided transaction are written and its state says so, or another broker coordinates it.
    async fn complete(&self, slot: Arc<Slot>, ending: Ending, mut waiting: Waiting) {
        let mut patience = pin!(tokio::time::sleep(COMPLETION_PATIENCE));
        // Another producer id is stored with the last state alone.
        let mut may_go_on = ending.answer.id == ending.marker.id;
        let mut are_written = self.due.all_written(&slot.id);
        while self.has(&slot) {
            tokio::select! {
                written = &mut are_written => match written {
                    Ok(()) if self.write_last_state(&slot, &ending).await => {
                        slot.lock().step(Event::Ended, now_ms());
                        return answer(&mut waiting, Ok(()));
                    }
                    _ => are_written = self.due.all_written(&slot.id),
                },
                () = &mut patience, if may_go_on => {
                    // As in Kafka: it is decided, and what is begun next is CONCURRENT_TRANSACTIONS until it is complete.
                    answer(&mut waiting, Ok(()));
                    may_go_on = false;
                }
                () = tokio::time::sleep(RIGHT_LOOK) => {}
            }
        }
        answer(&mut waiting, Err(ErrorCode::NotCoordinator));
    }

    /// False if it is not known to be written.
    async fn write_last_state(&self, slot: &Arc<Slot>, ending: &Ending) -> bool {
        let write = TransactionWrite {
            end: Some(ending.is_commit),
            ..Self::write_of(slot, ending.row.clone())
        };
        // Once it is queued nothing of the next transaction comes before it.
        let written = self.writes.write_if(write, || self.has(slot)).await;
        if written.is_err() {
            tokio::time::sleep(MOVE_PAUSE).await;
        }
        written.is_ok()
    }
}

/// Another broker takes a transaction up as it is stored; or this one does by another lease, which refuses what is on its way by
/// this one.
fn leave(slot: &Slot, waiting: &mut Waiting, why: EndError) {
    tracing::warn!(id = &*slot.id, error = %why, "a transaction is left to another broker");
    answer(waiting, Err(ErrorCode::NotCoordinator));
}

fn end_of(
    slot: &Slot,
    ending: &Ending,
    partitions: Vec<Arc<Partition>>,
    due: Vec<DueMarker>,
) -> EndTransaction {
    let row = match due.is_empty() {
        true => ending.row.clone(),
        false => ending.prepared.clone(),
    };
    EndTransaction {
        producer_id: ending.marker.id,
        producer_epoch: ending.marker.epoch,
        coordinator_epoch: slot.lease.epoch,
        is_commit: ending.is_commit,
        is_epoch_bumped: ending.is_epoch_bumped,
        partitions,
        change: Some(change_of(slot, ending, row)),
        due,
        written: None,
    }
}

/// What is stored with the markers.
fn change_of(slot: &Slot, ending: &Ending, row: TransactionRow) -> TransactionWrite {
    TransactionWrite {
        groups: ending.groups.clone(),
        end: Some(ending.is_commit),
        ..Transactions::write_of(slot, row)
    }
}

fn due_marker(slot: &Slot, ending: &Ending, part: i32) -> DueMarker {
    DueMarker {
        transactional_id: slot.id.to_string(),
        part,
        producer_id: ending.marker.id,
        producer_epoch: ending.marker.epoch,
        is_commit: ending.is_commit,
        is_epoch_bumped: ending.is_epoch_bumped,
        coordinator_epoch: slot.lease.epoch,
    }
}

fn note(id: &str, ending: &Ending, results: &[Result<(), EndError>]) {
    for error in results.iter().filter_map(|result| result.err()) {
        if error != EndError::UnknownPartition {
            tracing::warn!(id, %error, "a partition got no marker");
        }
    }
    let how = if ending.is_commit {
        "committed"
    } else {
        "aborted"
    };
    if ending.is_forced {
        tracing::info!(id, "a transaction was aborted for its producer");
    } else {
        tracing::debug!(id, how, "transaction");
    }
}
