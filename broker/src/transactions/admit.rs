//! Batches of transactions on their way into the log: each is let in if its transaction is open and has the partition. Where another
//! broker coordinates the transaction, it is asked once for each transaction and partition.

use std::collections::HashMap;
use std::sync::Arc;

use protocol::ErrorCode;
use storage::TransactionWrite;
use tokio::sync::oneshot;

use super::letters::Question;
use super::machine::{Addition, Event, Producer, Step};
use super::{Slot, Transactions, VERSION_2, now_ms};
use crate::log::{Admission, Partition, Verdict};

/// The Produce version that makes partitions part of a transaction (KIP-890).
const ADDING_PRODUCE: i16 = 12;
/// The Produce version that knows TRANSACTION_ABORTABLE.
const ABORTABLE_PRODUCE: i16 = 11;
/// Partitions of one question, so that it fits into a letter.
pub(super) const PARTITIONS_MAX: usize = 400;

/// A partition that became part of a transaction with a batch.
#[derive(Debug)]
pub(crate) struct Joined {
    slot: Arc<Slot>,
    addition: Addition,
}

impl Joined {
    /// The batch is committed.
    pub(crate) fn confirm(self) {
        let event = Event::Added(&self.addition, true);
        self.slot.lock().step(event, now_ms());
    }
}

/// A batch that is let in.
#[derive(Debug)]
pub(crate) enum Admitted<T> {
    /// It has its place in the log.
    Now(T, Option<Joined>),
    /// It has its place in the order of its producer, and the coordinator is being asked. Nothing comes if that is in vain.
    Later(oneshot::Receiver<Result<T, ErrorCode>>),
}

/// What one question is about.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Asking {
    id: Arc<str>,
    producer: Producer,
    /// Whether partitions are to be added, or to be there.
    is_adding: bool,
}

/// Partitions, with the number of the question about each, of which other coordinators are asked next.
pub(super) type Collecting = HashMap<Asking, Vec<(Arc<Partition>, u64)>>;

impl Transactions {
    /// Lets a batch of a transaction into the log: `queue` gives it its place there.
    pub(crate) fn admit<T: Send + 'static>(
        self: &Arc<Self>,
        id: &str,
        producer: Producer,
        partition: &Arc<Partition>,
        produce_version: i16,
        queue: impl FnOnce(Admission) -> T + Send + 'static,
    ) -> Result<Admitted<T>, ErrorCode> {
        let slot = match self.known(id) {
            Ok(slot) => slot,
            Err(ErrorCode::NotCoordinator) => {
                let is_adding = produce_version >= ADDING_PRODUCE;
                return Ok(self.admit_elsewhere(id, producer, partition, is_adding, queue));
            }
            Err(code) => return Err(produce_code(code, produce_version)),
        };
        let mut transaction = slot.lock();
        let admission = |change| Admission {
            change,
            coordinator_epoch: Some(slot.lease.epoch),
        };
        if produce_version < ADDING_PRODUCE {
            let verified = transaction.verify(producer, Some(partition.id()), None);
            verified.map_err(|code| produce_code(code, produce_version))?;
            return Ok(Admitted::Now(queue(admission(None)), None));
        }
        let event = Event::Add {
            producer,
            partitions: &[partition.id()],
            groups: &[],
            version: VERSION_2,
            always: false,
        };
        match transaction.step(event, now_ms()) {
            Step::Answer(Ok(_)) => Ok(Admitted::Now(queue(admission(None)), None)),
            Step::Add(addition) => {
                let write = TransactionWrite {
                    partitions: addition.partitions.clone(),
                    ..Self::write_of(&slot, addition.row.clone())
                };
                let queued = queue(admission(Some(Box::new(write))));
                drop(transaction);
                Ok(Admitted::Now(queued, Some(Joined { slot, addition })))
            }
            Step::Answer(Err(code)) => Err(produce_code(code, produce_version)),
            _ => Err(ErrorCode::UnknownServerError),
        }
    }

    fn admit_elsewhere<T: Send + 'static>(
        self: &Arc<Self>,
        id: &str,
        producer: Producer,
        partition: &Arc<Partition>,
        is_adding: bool,
        queue: impl FnOnce(Admission) -> T + Send + 'static,
    ) -> Admitted<T> {
        let (reply, answer) = oneshot::channel();
        let batch = move |verdict: Verdict| {
            let queued = verdict.map(|coordinator_epoch| {
                queue(Admission {
                    change: None,
                    coordinator_epoch: Some(coordinator_epoch),
                })
            });
            // The client may have gone.
            let _ = reply.send(queued);
        };
        let question = partition
            .members()
            .enter((producer.id, producer.epoch), Box::new(batch));
        if let Some(question) = question {
            let asking = Asking {
                id: id.into(),
                producer,
                is_adding,
            };
            self.ask_about(asking, partition.clone(), question);
        }
        Admitted::Later(answer)
    }

    /// Asks soon, about all partitions of the same request at once.
    fn ask_about(self: &Arc<Self>, asking: Asking, partition: Arc<Partition>, question: u64) {
        let is_first = {
            let mut all = self.asking();
            let partitions = all.entry(asking.clone()).or_default();
            partitions.push((partition, question));
            partitions.len() == 1
        };
        if !is_first {
            return;
        }
        let transactions = self.clone();
        tokio::spawn(async move {
            tokio::task::yield_now().await;
            let partitions = transactions.asking().remove(&asking).unwrap_or_default();
            let each = match asking.is_adding {
                true => PARTITIONS_MAX,
                // Each has an answer of its own.
                false => 1,
            };
            let questions = partitions.chunks(each);
            let asked =
                questions.map(|partitions| transactions.ask_coordinator(&asking, partitions));
            futures_util::future::join_all(asked).await;
        });
    }

    async fn ask_coordinator(&self, asking: &Asking, partitions: &[(Arc<Partition>, u64)]) {
        let mut parts = partitions.iter().map(|(partition, _)| partition.id());
        let question = match (asking.is_adding, parts.len()) {
            (false, 1) => Question::Verify(parts.next().unwrap_or(-1)),
            _ => Question::Add(parts.collect()),
        };
        let verdict = self.ask(&asking.id, asking.producer, question).await;
        let producer = (asking.producer.id, asking.producer.epoch);
        for (partition, question) in partitions {
            partition.members().answered(producer, *question, verdict);
        }
    }
}

/// What producers are told. Where they may try again all of them know that by NOT_ENOUGH_REPLICAS.
pub(crate) fn produce_code(code: ErrorCode, version: i16) -> ErrorCode {
    match code {
        ErrorCode::ProducerFenced => ErrorCode::InvalidProducerEpoch,
        ErrorCode::ConcurrentTransactions if version < ADDING_PRODUCE => {
            ErrorCode::NotEnoughReplicas
        }
        ErrorCode::NotCoordinator
        | ErrorCode::CoordinatorNotAvailable
        | ErrorCode::CoordinatorLoadInProgress => ErrorCode::NotEnoughReplicas,
        ErrorCode::TransactionAbortable if version < ABORTABLE_PRODUCE => {
            ErrorCode::InvalidTxnState
        }
        code => code,
    }
}
