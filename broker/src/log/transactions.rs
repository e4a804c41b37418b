//! Transactions in the log: where they are open in a partition, which were aborted, and their ends, which are queued behind the
//! appends they end. What a transaction is and when it ends is the coordinator's business.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use protocol::records::{
    ControlRecord, EndTxnMarker, RecordBatch, RecordBatchBuilder, TransactionResult,
};
use storage::{AbortedTransaction, DueMarker, TransactionWrite};
use tokio::sync::oneshot;

use super::append::PreparedBatch;
use super::partition::Partition;
use super::producers::{Marker, MarkerError};
use super::{ReadError, now_ms};

/// How many aborted transactions of a partition are read when it is taken up.
pub(super) const ABORTED_LOADED: i64 = 1_000;
/// How many stay in memory; those before are looked up in the database.
const ABORTED_MAX: usize = 2 * 1_000;
/// A marker is smaller than this.
const MARKER_BYTES_MAX: usize = 1 << 10;

/// An aborted transaction, as consumers are told of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Aborted {
    pub producer_id: i64,
    pub first_offset: i64,
}

/// What a flush did to the transactions of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TransactionEvent {
    Begun {
        producer_id: i64,
        first_offset: i64,
    },
    Ended {
        first_offset: i64,
        aborted: Option<AbortedTransaction>,
    },
}

/// The transactions of one partition, as of what is committed.
#[derive(Debug, Default)]
pub(crate) struct PartitionTransactions {
    /// Open ones: producers by first offset.
    open: BTreeMap<i64, i64>,
    /// In the order of their markers.
    aborted: VecDeque<AbortedTransaction>,
    /// `aborted` has all that ended at this offset or later.
    aborted_from: i64,
}

impl PartitionTransactions {
    /// `aborted` are the last [`ABORTED_LOADED`], the last one first.
    pub(super) fn new(
        open: impl Iterator<Item = (i64, i64)>,
        aborted: Vec<AbortedTransaction>,
    ) -> Self {
        let are_all = i64::try_from(aborted.len()).unwrap_or(i64::MAX) < ABORTED_LOADED;
        let earliest = aborted.last().map_or(0, |first| first.last_offset);
        Self {
            open: open.collect(),
            aborted: aborted.into_iter().rev().collect(),
            aborted_from: if are_all { 0 } else { earliest },
        }
    }

    pub(super) fn apply(&mut self, event: TransactionEvent) {
        match event {
            TransactionEvent::Begun {
                producer_id,
                first_offset,
            } => {
                self.open.insert(first_offset, producer_id);
            }
            TransactionEvent::Ended {
                first_offset,
                aborted,
            } => {
                self.open.remove(&first_offset);
                self.aborted.extend(aborted);
                if self.aborted.len() > ABORTED_MAX
                    && let Some(dropped) = self.aborted.pop_front()
                {
                    self.aborted_from = dropped.last_offset + 1;
                }
            }
        }
    }

    /// Nothing of those that ended at these offsets, in ascending order, is left.
    pub(super) fn forget_aborted(&mut self, last_offsets: &[i64]) {
        self.aborted
            .retain(|aborted| last_offsets.binary_search(&aborted.last_offset).is_err());
    }

    /// One past the last record before which all is decided.
    pub(super) fn last_stable_offset(&self, high_watermark: i64) -> i64 {
        let first = self.open.first_key_value();
        first.map_or(high_watermark, |(offset, _)| (*offset).min(high_watermark))
    }

    /// Aborted transactions with records in `from_offset..to_offset`; `None` if the database has to be asked.
    pub(super) fn aborted(&self, from_offset: i64, to_offset: i64) -> Option<Vec<Aborted>> {
        if from_offset < self.aborted_from {
            return None;
        }
        let first = self
            .aborted
            .partition_point(|aborted| aborted.last_offset < from_offset);
        let overlapping = self.aborted.range(first..);
        let overlapping = overlapping.filter(|aborted| aborted.first_offset < to_offset);
        Some(overlapping.map(Aborted::from).collect())
    }
}

impl From<&AbortedTransaction> for Aborted {
    fn from(aborted: &AbortedTransaction) -> Self {
        Self {
            producer_id: aborted.producer_id,
            first_offset: aborted.first_offset,
        }
    }
}

/// Ends a transaction in its partitions.
#[derive(Debug)]
pub(crate) struct EndTransaction {
    pub(crate) producer_id: i64,
    pub(crate) producer_epoch: i16,
    pub(crate) coordinator_epoch: i32,
    pub(crate) is_commit: bool,
    /// As in [`Marker`].
    pub(crate) is_epoch_bumped: bool,
    pub(crate) partitions: Vec<Arc<Partition>>,
    /// What is stored with the markers.
    pub(crate) change: Option<TransactionWrite>,
    /// Markers for partitions of other brokers, stored with it too.
    pub(crate) due: Vec<DueMarker>,
    /// The marker that was due, if it is one of another broker's transaction.
    pub(crate) written: Option<DueMarker>,
}

/// What became of each partition of an [`EndTransaction`], in their order.
pub(crate) type Ended = Result<Vec<Result<(), EndError>>, EndError>;

/// Why a transaction was not ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum EndError {
    #[error("another broker leads the partition")]
    NotLeader,
    #[error("another broker coordinates the transaction")]
    NotCoordinator,
    #[error("the partition does not exist any more")]
    UnknownPartition,
    #[error("the producer's epoch is an older one")]
    StaleEpoch,
    #[error("the coordinator's epoch is an older one")]
    StaleCoordinator,
    #[error("the log could not be read")]
    Unavailable,
    #[error("another session of the database has locked what it changes")]
    Locked,
}

impl From<MarkerError> for EndError {
    fn from(error: MarkerError) -> Self {
        match error {
            MarkerError::StaleEpoch => Self::StaleEpoch,
            MarkerError::StaleCoordinator => Self::StaleCoordinator,
        }
    }
}

/// An [`EndTransaction`] in the queue of a lane.
#[derive(Debug)]
pub(crate) struct End {
    pub(crate) transaction: Box<EndTransaction>,
    pub(crate) reply: oneshot::Sender<Ended>,
}

impl EndTransaction {
    pub(super) fn marker(&self) -> Marker {
        Marker {
            producer_id: self.producer_id,
            producer_epoch: self.producer_epoch,
            coordinator_epoch: self.coordinator_epoch,
            is_epoch_bumped: self.is_epoch_bumped,
            seen_ms: now_ms(),
        }
    }

    /// The control batch, which is the same for all partitions but for its offset.
    pub(super) fn control_batch(&self, now_ms: i64) -> Option<PreparedBatch> {
        let result = match self.is_commit {
            true => TransactionResult::Commit,
            false => TransactionResult::Abort,
        };
        let marker = EndTxnMarker {
            result,
            coordinator_epoch: self.coordinator_epoch,
        };
        let built = RecordBatchBuilder::end_txn_marker(
            0,
            now_ms,
            self.producer_id,
            self.producer_epoch,
            marker,
        )
        .and_then(RecordBatchBuilder::build);
        match built {
            Ok(bytes) => Some(PreparedBatch::control(bytes.into(), now_ms)),
            Err(error) => {
                tracing::error!(%error, "a marker could not be written");
                None
            }
        }
    }
}

/// The marker in a control batch; none in one of another type.
pub(super) fn marker_of(
    batch: &RecordBatch<'_>,
    seen_ms: i64,
) -> Result<Option<Marker>, ReadError> {
    let damaged = |_| ReadError::Damaged(batch.base_offset);
    let records = batch.records(MARKER_BYTES_MAX).map_err(damaged)?;
    let Some(record) = records.iter().next() else {
        return Ok(None);
    };
    let record = record.map_err(damaged)?;
    Ok(match ControlRecord::parse(&record).map_err(damaged)? {
        ControlRecord::EndTxn(marker) => Some(Marker {
            producer_id: batch.producer_id,
            producer_epoch: batch.producer_epoch,
            coordinator_epoch: marker.coordinator_epoch,
            is_epoch_bumped: false,
            seen_ms,
        }),
        ControlRecord::Other(_) => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn aborted(first_offset: i64, last_offset: i64) -> AbortedTransaction {
        AbortedTransaction {
            part: 1,
            producer_id: first_offset,
            first_offset,
            last_offset,
        }
    }

    fn begun(first_offset: i64) -> TransactionEvent {
        TransactionEvent::Begun {
            producer_id: first_offset,
            first_offset,
        }
    }

    fn firsts(transactions: &PartitionTransactions, from: i64, to: i64) -> Option<Vec<i64>> {
        let aborted = transactions.aborted(from, to)?;
        Some(aborted.iter().map(|aborted| aborted.first_offset).collect())
    }

    #[test]
    fn the_first_open_transaction_holds_the_last_stable_offset() {
        let mut transactions = PartitionTransactions::default();
        assert_eq!(transactions.last_stable_offset(9), 9);
        transactions.apply(begun(3));
        transactions.apply(begun(5));
        assert_eq!(transactions.last_stable_offset(9), 3);
        transactions.apply(TransactionEvent::Ended {
            first_offset: 3,
            aborted: None,
        });
        assert_eq!(transactions.last_stable_offset(9), 5);
        transactions.apply(TransactionEvent::Ended {
            first_offset: 5,
            aborted: Some(aborted(5, 9)),
        });
        assert_eq!(transactions.last_stable_offset(10), 10);
        assert_eq!(firsts(&transactions, 0, 10), Some(vec![5]));
    }

    #[test]
    fn aborted_transactions_are_those_that_overlap() {
        let mut transactions = PartitionTransactions::default();
        for (first_offset, last) in [(0, 4), (2, 8), (9, 12)] {
            transactions.apply(TransactionEvent::Ended {
                first_offset,
                aborted: Some(aborted(first_offset, last)),
            });
        }
        assert_eq!(firsts(&transactions, 0, 1), Some(vec![0]));
        assert_eq!(firsts(&transactions, 4, 9), Some(vec![0, 2]));
        assert_eq!(firsts(&transactions, 5, 10), Some(vec![2, 9]));
        assert_eq!(firsts(&transactions, 13, 20), Some(vec![]));
    }

    #[test]
    fn what_is_no_longer_in_memory_is_for_the_database() {
        let mut transactions = PartitionTransactions::default();
        for at in 0..=i64::try_from(ABORTED_MAX).unwrap() {
            transactions.apply(TransactionEvent::Ended {
                first_offset: 2 * at,
                aborted: Some(aborted(2 * at, 2 * at + 1)),
            });
        }
        assert_eq!(firsts(&transactions, 1, 4), None);
        assert_eq!(firsts(&transactions, 2, 4), Some(vec![2]));
        let last_first = (0..ABORTED_LOADED).rev().map(|at| aborted(at, at));
        let loaded = PartitionTransactions::new(std::iter::empty(), last_first.collect());
        assert_eq!(loaded.aborted_from, 0);
        let loaded = PartitionTransactions::new([(7, 1)].into_iter(), vec![aborted(4, 6)]);
        assert_eq!(firsts(&loaded, 0, 7), Some(vec![4]));
        assert_eq!(loaded.last_stable_offset(20), 7);
    }

    #[test]
    fn control_batches_are_read_as_they_were_written() {
        for is_commit in [true, false] {
            let end = EndTransaction {
                producer_id: 5,
                producer_epoch: 3,
                coordinator_epoch: 11,
                is_commit,
                is_epoch_bumped: false,
                partitions: Vec::new(),
                change: None,
                due: Vec::new(),
                written: None,
            };
            let batch = end.control_batch(77).unwrap();
            let (batch, _) = RecordBatch::split_from(&batch.bytes).unwrap();
            assert!(batch.is_control() && batch.is_transactional());
            let read = marker_of(&batch, 1).unwrap().unwrap();
            assert_eq!(
                Marker {
                    seen_ms: 1,
                    ..end.marker()
                },
                read
            );
        }
    }
}
