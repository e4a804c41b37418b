//! What goes into a flush: offsets are given to appends and markers here, in the order of the queue.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use storage::{AbortedTransaction, FlushChanges, Run};
use tokio::sync::oneshot;

use super::append::{PreparedBatch, patched};
use super::lane::{Append, Entry, answer};
use super::partition::Partition;
use super::producers::{Sequence, SequenceError};
use super::tail::Piece;
use super::transactions::{End, EndError, EndTransaction, Ended, TransactionEvent};
use super::{AppendError, Appended, ReadError};

/// An answer that waits for the COMMIT.
pub(super) enum Pending {
    Append {
        reply: oneshot::Sender<Result<Appended, AppendError>>,
        partition: Arc<Partition>,
        appended: Appended,
    },
    End(oneshot::Sender<Ended>, Vec<Result<(), EndError>>),
}

impl Pending {
    pub(super) fn commit(self) {
        match self {
            Self::Append {
                reply,
                partition,
                appended,
            } => {
                let log_start_offset = partition.offsets().log_start_offset;
                let appended = Appended {
                    log_start_offset,
                    ..appended
                };
                answer(reply, Ok(appended));
            }
            Self::End(reply, results) => drop(reply.send(Ok(results))),
        }
    }

    pub(super) fn refuse(self, why: EndError) {
        match self {
            Self::Append { reply, .. } => answer(reply, Err(AppendError::NotLeader)),
            Self::End(reply, _) => drop(reply.send(Err(why))),
        }
    }
}

/// A batch up to this size is copied behind its neighbours, so that neither the database nor a fetch sees many small
/// pieces; a larger one is used as it came.
const COPIED_BYTES_MAX: usize = 8 << 10;

/// What one flush holds for one partition.
pub(super) struct PartitionRun {
    pub(super) partition: Arc<Partition>,
    pub(super) base_offset: i64,
    pub(super) next_offset: i64,
    pub(super) size_bytes: usize,
    pub(super) pieces: Vec<Piece>,
    pub(super) block: BytesMut,
    pub(super) block_offset: i64,
    pub(super) events: Vec<TransactionEvent>,
}

impl PartitionRun {
    fn new(partition: Arc<Partition>, base_offset: i64) -> Self {
        Self {
            partition,
            base_offset,
            next_offset: base_offset,
            size_bytes: 0,
            pieces: Vec::new(),
            block: BytesMut::new(),
            block_offset: base_offset,
            events: Vec::new(),
        }
    }

    fn add(&mut self, batch: &PreparedBatch) {
        let base_offset = self.next_offset;
        let end_offset = base_offset + i64::from(batch.last_offset_delta) + 1;
        let (head, rest) = patched(&batch.bytes, base_offset, self.partition.leader_epoch());
        if batch.bytes.len() <= COPIED_BYTES_MAX {
            self.block.extend_from_slice(&head);
            self.block.extend_from_slice(&rest);
        } else {
            self.end_block();
            self.pieces.push(Piece {
                base_offset,
                end_offset,
                head: Bytes::copy_from_slice(&head),
                rest,
            });
            self.block_offset = end_offset;
        }
        self.size_bytes += batch.bytes.len();
        self.next_offset = end_offset;
    }

    fn end_block(&mut self) {
        if !self.block.is_empty() {
            let head = self.block.split().freeze();
            self.pieces.push(Piece {
                base_offset: self.block_offset,
                end_offset: self.next_offset,
                head,
                rest: Bytes::new(),
            });
        }
        self.block_offset = self.next_offset;
    }

    pub(super) fn run(&self) -> Run {
        let pieces = self
            .pieces
            .iter()
            .flat_map(|piece| [piece.head.clone(), piece.rest.clone()]);
        Run {
            part: self.partition.id(),
            base_offset: self.base_offset,
            span: i32::try_from(self.next_offset - 1 - self.base_offset).unwrap_or(i32::MAX),
            data: pieces.filter(|bytes| !bytes.is_empty()).collect(),
        }
    }
}

/// What one flush stores, and who waits for it.
#[derive(Default)]
pub(super) struct Assigned {
    pub(super) runs: Vec<PartitionRun>,
    pub(super) changes: FlushChanges,
    pub(super) pending: Vec<Pending>,
}

/// Gives offsets to `entries` in their order. Those that are not to be appended are answered at once, except duplicates of
/// what is in this very flush, which wait for it like the others.
pub(super) fn assign(entries: Vec<Entry>) -> Assigned {
    let mut assigned = Assigned::default();
    let mut run_of = HashMap::new();
    for entry in entries {
        match entry {
            Entry::Append(append) => assigned.append(append, &mut run_of),
            Entry::End(end) => assigned.end(end, &mut run_of),
            // It is loaded, or it would not be here.
            Entry::Load(partition, reply) => drop(reply.send(match partition.is_led() {
                true => Ok(()),
                false => Err(Arc::new(ReadError::NotLeader)),
            })),
        }
    }
    for run in &mut assigned.runs {
        run.end_block();
    }
    assigned
}

impl Assigned {
    fn run(
        &mut self,
        partition: &Arc<Partition>,
        base_offset: i64,
        run_of: &mut HashMap<i32, usize>,
    ) -> Option<&mut PartitionRun> {
        let index = *run_of.entry(partition.id()).or_insert_with(|| {
            self.runs
                .push(PartitionRun::new(Arc::clone(partition), base_offset));
            self.runs.len() - 1
        });
        self.runs.get_mut(index)
    }

    fn append(&mut self, append: Append, run_of: &mut HashMap<i32, usize>) {
        let Append {
            partition,
            batch,
            admission,
            reply,
        } = append;
        if partition.is_closed() {
            return answer(reply, Err(AppendError::UnknownPartition));
        }
        if !partition.is_led() {
            return answer(reply, Err(AppendError::NotLeader));
        }
        let base_offset = match place(&partition, &batch, admission.coordinator_epoch) {
            Ok(Place::Next { base_offset, event }) => {
                if let Some(run) = self.run(&partition, base_offset, run_of) {
                    run.add(&batch);
                    run.events.extend(event);
                }
                self.changes
                    .transactions
                    .extend(admission.change.map(|change| *change));
                base_offset
            }
            Ok(Place::Duplicate(base_offset)) => base_offset,
            Err(error) => return answer(reply, Err(error)),
        };
        let appended = Appended {
            base_offset,
            log_append_time_ms: batch.log_append_time_ms,
            log_start_offset: -1,
        };
        self.pending.push(Pending::Append {
            reply,
            partition,
            appended,
        });
    }

    fn end(&mut self, end: End, run_of: &mut HashMap<i32, usize>) {
        let End { transaction, reply } = end;
        // All or none, so that whoever ends it can tell where its markers are. This task alone hands partitions over.
        let is_elsewhere = |partition: &Arc<Partition>| {
            !(partition.is_closed() || partition.is_led() && partition.is_loaded())
        };
        if transaction.partitions.iter().any(is_elsewhere) {
            drop(reply.send(Err(EndError::NotLeader)));
            return;
        }
        let Some(batch) = transaction.control_batch(super::now_ms()) else {
            drop(reply.send(Err(EndError::Unavailable)));
            return;
        };
        let mut results = Vec::with_capacity(transaction.partitions.len());
        for partition in &transaction.partitions {
            let placed = place_marker(partition, &transaction, &batch);
            results.push(placed.map(|(base_offset, event)| {
                if let Some(TransactionEvent::Ended {
                    aborted: Some(aborted),
                    ..
                }) = event
                {
                    self.changes.aborted.push(aborted);
                }
                if let Some(run) = self.run(partition, base_offset, run_of) {
                    run.add(&batch);
                    run.events.extend(event);
                }
            }));
        }
        self.changes.transactions.extend(transaction.change);
        self.changes.due.extend(transaction.due);
        // Also where none could be written, as it never can.
        self.changes.written.extend(transaction.written);
        self.pending.push(Pending::End(reply, results));
    }
}

enum Place {
    Next {
        base_offset: i64,
        event: Option<TransactionEvent>,
    },
    Duplicate(i64),
}

/// Where `batch` goes; its offsets are taken when it is to be appended.
fn place(
    partition: &Partition,
    batch: &PreparedBatch,
    coordinator_epoch: Option<i32>,
) -> Result<Place, AppendError> {
    let mut appender = partition.appender();
    let base_offset = appender.next_offset;
    let mut event = None;
    if let Some(producer) = &batch.producer {
        // The partition was lost and came back since its producers were asked for.
        let producers = appender.producers.as_mut().ok_or(AppendError::NotLeader)?;
        let last_coordinator = producers.coordinator_epoch(producer.producer_id);
        match producers.check(producer) {
            Ok(Sequence::Next)
                if coordinator_epoch.is_some_and(|epoch| Some(epoch) < last_coordinator) =>
            {
                return Err(AppendError::StaleCoordinator);
            }
            Ok(Sequence::Next) => {
                if producers.record(producer, base_offset) {
                    event = Some(TransactionEvent::Begun {
                        producer_id: producer.producer_id,
                        first_offset: base_offset,
                    });
                }
            }
            Ok(Sequence::Duplicate { base_offset }) => return Ok(Place::Duplicate(base_offset)),
            Err(SequenceError::StaleEpoch { current }) => {
                return Err(AppendError::InvalidProducerEpoch { current });
            }
            Err(SequenceError::OutOfOrder { expected }) => {
                return Err(AppendError::OutOfOrderSequence {
                    expected,
                    found: producer.base_sequence,
                });
            }
            Err(SequenceError::OutsideTransaction) => {
                return Err(AppendError::OutsideTransaction);
            }
        }
    }
    appender.take_offsets(batch, &partition.settings());
    Ok(Place::Next { base_offset, event })
}

/// Where a marker goes, and what it does to the partition's transactions.
fn place_marker(
    partition: &Partition,
    transaction: &EndTransaction,
    batch: &PreparedBatch,
) -> Result<(i64, Option<TransactionEvent>), EndError> {
    if partition.is_closed() {
        return Err(EndError::UnknownPartition);
    }
    if !partition.is_led() {
        return Err(EndError::NotLeader);
    }
    let mut appender = partition.appender();
    let base_offset = appender.next_offset;
    let marker = transaction.marker();
    let producers = appender.producers.as_mut().ok_or(EndError::NotLeader)?;
    producers.check_marker(&marker)?;
    let event = producers.end(&marker).map(|first_offset| {
        let aborted = (!transaction.is_commit).then_some(AbortedTransaction {
            part: partition.id(),
            producer_id: transaction.producer_id,
            first_offset,
            last_offset: base_offset,
        });
        TransactionEvent::Ended {
            first_offset,
            aborted,
        }
    });
    appender.take_offsets(batch, &partition.settings());
    Ok((base_offset, event))
}
