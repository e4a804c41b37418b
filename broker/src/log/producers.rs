//! What a partition remembers of its idempotent producers: the epoch and the last five batches of each (KIP-98, KIP-360), and
//! where its open transaction begins. Pure state, no I/O and no clock. It is kept by the lane task, rebuilt from a snapshot and
//! the batch headers after it.

use std::collections::HashMap;
use std::collections::VecDeque;

use protocol::records::RecordBatch;

/// How many batches of a producer can be told apart from new ones, as in Kafka's `ProducerStateEntry`.
const BATCHES_REMEMBERED: usize = 5;

/// First byte of a snapshot.
const SNAPSHOT_VERSION: u8 = 2;

/// Of a producer that no transaction coordinator has written a marker for.
const NO_COORDINATOR: i32 = -1;

/// In a snapshot: no transaction is open.
const NO_OFFSET: i64 = -1;

/// The sequence number that follows `sequence` after `delta` more records: it wraps from 2^31 - 1 to 0.
fn advance(sequence: i32, delta: i32) -> i32 {
    i32::try_from((i64::from(sequence) + i64::from(delta)) % (i64::from(i32::MAX) + 1)).unwrap_or(0)
}

/// The producer fields of one batch that is to be appended, or was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ProducerBatch {
    pub(crate) producer_id: i64,
    pub(crate) producer_epoch: i16,
    pub(crate) base_sequence: i32,
    pub(crate) last_offset_delta: i32,
    pub(crate) is_transactional: bool,
    /// When the broker saw it, in milliseconds; only used to forget producers that were silent for long.
    pub(crate) seen_ms: i64,
}

impl ProducerBatch {
    /// The fields of `batch`, or `None` when it was not sent by an idempotent producer.
    pub(crate) fn of(batch: &RecordBatch<'_>, seen_ms: i64) -> Option<Self> {
        (batch.has_producer_id() && !batch.is_control()).then_some(Self {
            producer_id: batch.producer_id,
            producer_epoch: batch.producer_epoch,
            base_sequence: batch.base_sequence,
            last_offset_delta: batch.last_offset_delta,
            is_transactional: batch.is_transactional(),
            seen_ms,
        })
    }

    fn last_sequence(&self) -> i32 {
        advance(self.base_sequence, self.last_offset_delta)
    }
}

/// A batch that was appended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Appended {
    base_sequence: i32,
    last_sequence: i32,
    base_offset: i64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Producer {
    epoch: i16,
    last_seen_ms: i64,
    batches: VecDeque<Appended>,
    coordinator_epoch: i32,
    /// First offset of the open transaction.
    transaction: Option<i64>,
}

/// The end of a transaction in one partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Marker {
    pub(crate) producer_id: i64,
    pub(crate) producer_epoch: i16,
    pub(crate) coordinator_epoch: i32,
    /// Whether only a later epoch than the present one will do (transaction version 2).
    pub(crate) is_epoch_bumped: bool,
    pub(crate) seen_ms: i64,
}

/// Why a marker must not be appended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MarkerError {
    /// The producer id has been used with a later epoch.
    StaleEpoch,
    /// A later coordinator has written a marker.
    StaleCoordinator,
}

/// A producer as it is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProducerState {
    pub producer_id: i64,
    pub producer_epoch: i16,
    /// -1 if none is known.
    pub last_sequence: i32,
    /// When it last appended, in milliseconds.
    pub last_seen_ms: i64,
    /// -1 if no coordinator has written a marker.
    pub coordinator_epoch: i32,
    /// Of the open transaction.
    pub transaction_offset: Option<i64>,
}

/// What to do with a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sequence {
    /// Append it.
    Next,
    /// It is there already, from this offset.
    Duplicate { base_offset: i64 },
}

/// Why a batch must not be appended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SequenceError {
    /// The producer id has been used with a later epoch.
    StaleEpoch { current: i16 },
    /// Not the sequence number that follows the last one.
    OutOfOrder { expected: i32 },
    /// The producer's transaction is open, and the batch does not belong to it: it is of none, or of one with a later epoch, which
    /// begins after the marker.
    OutsideTransaction,
}

/// The producers of one partition.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Producers {
    by_id: HashMap<i64, Producer>,
}

impl Producers {
    /// Judges `batch` against what was appended before, as Kafka's `ProducerAppendInfo` does: an unknown producer may
    /// start with any sequence number, a new epoch must start with 0.
    pub(crate) fn check(&self, batch: &ProducerBatch) -> Result<Sequence, SequenceError> {
        let Some(producer) = self.by_id.get(&batch.producer_id) else {
            return Ok(Sequence::Next);
        };
        if batch.producer_epoch < producer.epoch {
            return Err(SequenceError::StaleEpoch {
                current: producer.epoch,
            });
        }
        if batch.producer_epoch > producer.epoch {
            if producer.transaction.is_some() {
                return Err(SequenceError::OutsideTransaction);
            }
            return if batch.base_sequence == 0 {
                Ok(Sequence::Next)
            } else {
                Err(SequenceError::OutOfOrder { expected: 0 })
            };
        }
        let last_sequence = batch.last_sequence();
        let known = producer.batches.iter().find(|known| {
            known.base_sequence == batch.base_sequence && known.last_sequence == last_sequence
        });
        if let Some(known) = known {
            return Ok(Sequence::Duplicate {
                base_offset: known.base_offset,
            });
        }
        // Without batches the epoch is that of a marker.
        let last = producer.batches.back();
        let expected = last.map_or(0, |last| advance(last.last_sequence, 1));
        if expected != batch.base_sequence {
            return Err(SequenceError::OutOfOrder { expected });
        }
        if producer.transaction.is_some() && !batch.is_transactional {
            return Err(SequenceError::OutsideTransaction);
        }
        Ok(Sequence::Next)
    }

    fn of(&mut self, producer_id: i64, epoch: i16, seen_ms: i64) -> &mut Producer {
        let producer = self.by_id.entry(producer_id).or_insert_with(|| Producer {
            epoch,
            last_seen_ms: seen_ms,
            batches: VecDeque::with_capacity(BATCHES_REMEMBERED),
            coordinator_epoch: NO_COORDINATOR,
            transaction: None,
        });
        if producer.epoch != epoch {
            producer.epoch = epoch;
            producer.batches.clear();
        }
        producer.last_seen_ms = producer.last_seen_ms.max(seen_ms);
        producer
    }

    /// Remembers `batch` as appended at `base_offset`. True if a transaction begins with it.
    pub(crate) fn record(&mut self, batch: &ProducerBatch, base_offset: i64) -> bool {
        let producer = self.of(batch.producer_id, batch.producer_epoch, batch.seen_ms);
        if producer.batches.len() == BATCHES_REMEMBERED {
            producer.batches.pop_front();
        }
        producer.batches.push_back(Appended {
            base_sequence: batch.base_sequence,
            last_sequence: batch.last_sequence(),
            base_offset,
        });
        let begins = batch.is_transactional && producer.transaction.is_none();
        if begins {
            producer.transaction = Some(base_offset);
        }
        begins
    }

    /// Offset of the last batch of each producer that was seen at `oldest_ms` or later.
    pub(crate) fn last_batches(&self, oldest_ms: i64) -> HashMap<i64, i64> {
        let living = self.by_id.iter();
        let living = living.filter(|(_, producer)| producer.last_seen_ms >= oldest_ms);
        living
            .filter_map(|(id, producer)| Some((*id, producer.batches.back()?.base_offset)))
            .collect()
    }

    /// The epoch of each producer that was seen at `oldest_ms` or later and has written no batch with it: that of a marker.
    pub(crate) fn epochs_of_markers(&self, oldest_ms: i64) -> HashMap<i64, i16> {
        let living = self.by_id.iter();
        let living = living.filter(|(_, producer)| {
            producer.last_seen_ms >= oldest_ms && producer.batches.is_empty()
        });
        living.map(|(id, producer)| (*id, producer.epoch)).collect()
    }

    /// Judges a marker.
    pub(crate) fn check_marker(&self, marker: &Marker) -> Result<(), MarkerError> {
        let Some(producer) = self.by_id.get(&marker.producer_id) else {
            return Ok(());
        };
        let is_stale = marker.producer_epoch < producer.epoch
            || (marker.is_epoch_bumped && marker.producer_epoch == producer.epoch);
        if is_stale {
            return Err(MarkerError::StaleEpoch);
        }
        if marker.coordinator_epoch < producer.coordinator_epoch {
            return Err(MarkerError::StaleCoordinator);
        }
        Ok(())
    }

    /// Of the last marker of a producer.
    pub(crate) fn coordinator_epoch(&self, producer_id: i64) -> Option<i32> {
        let producer = self.by_id.get(&producer_id)?;
        Some(producer.coordinator_epoch)
    }

    /// Remembers that a marker was appended. The first offset of the transaction it ended, if one was open.
    pub(crate) fn end(&mut self, marker: &Marker) -> Option<i64> {
        let producer = self.of(marker.producer_id, marker.producer_epoch, marker.seen_ms);
        producer.coordinator_epoch = marker.coordinator_epoch;
        producer.transaction.take()
    }

    /// First offset and producer of all open transactions.
    pub(crate) fn open_transactions(&self) -> impl Iterator<Item = (i64, i64)> {
        let producers = self.by_id.iter();
        producers.filter_map(|(id, producer)| Some((producer.transaction?, *id)))
    }

    /// All, as they are shown, by id.
    pub(crate) fn states(&self) -> Vec<ProducerState> {
        let states = self.by_id.iter().map(|(id, producer)| ProducerState {
            producer_id: *id,
            producer_epoch: producer.epoch,
            last_sequence: producer
                .batches
                .back()
                .map_or(-1, |last| last.last_sequence),
            last_seen_ms: producer.last_seen_ms,
            coordinator_epoch: producer.coordinator_epoch,
            transaction_offset: producer.transaction,
        });
        let mut states: Vec<ProducerState> = states.collect();
        states.sort_unstable_by_key(|state| state.producer_id);
        states
    }

    /// Forgets producers whose last batch was seen before `oldest_ms` (producer.id.expiration.ms), but for those with an open
    /// transaction.
    pub(crate) fn expire(&mut self, oldest_ms: i64) {
        self.by_id.retain(|_, producer| {
            producer.last_seen_ms >= oldest_ms || producer.transaction.is_some()
        });
    }

    /// The bytes of a snapshot: version, count, then per producer its id, epoch, when it was last seen, the epoch of its coordinator,
    /// where its transaction begins and its batches; big-endian.
    pub(crate) fn to_snapshot(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(5 + self.by_id.len() * 100);
        out.push(SNAPSHOT_VERSION);
        out.extend_from_slice(
            &u32::try_from(self.by_id.len())
                .unwrap_or(u32::MAX)
                .to_be_bytes(),
        );
        for (producer_id, producer) in &self.by_id {
            out.extend_from_slice(&producer_id.to_be_bytes());
            out.extend_from_slice(&producer.epoch.to_be_bytes());
            out.extend_from_slice(&producer.last_seen_ms.to_be_bytes());
            out.extend_from_slice(&producer.coordinator_epoch.to_be_bytes());
            let transaction = producer.transaction.unwrap_or(NO_OFFSET);
            out.extend_from_slice(&transaction.to_be_bytes());
            out.push(u8::try_from(producer.batches.len()).unwrap_or(u8::MAX));
            for batch in &producer.batches {
                out.extend_from_slice(&batch.base_sequence.to_be_bytes());
                out.extend_from_slice(&batch.last_sequence.to_be_bytes());
                out.extend_from_slice(&batch.base_offset.to_be_bytes());
            }
        }
        out
    }

    /// Reads a snapshot; `None` when it is not one, and then the log has to be read from its start.
    pub(crate) fn from_snapshot(bytes: &[u8]) -> Option<Self> {
        let mut rest = bytes;
        if u8::from_be_bytes(take(&mut rest)?) != SNAPSHOT_VERSION {
            return None;
        }
        let count = u32::from_be_bytes(take(&mut rest)?);
        let mut by_id = HashMap::new();
        for _ in 0..count {
            let producer_id = i64::from_be_bytes(take(&mut rest)?);
            let epoch = i16::from_be_bytes(take(&mut rest)?);
            let last_seen_ms = i64::from_be_bytes(take(&mut rest)?);
            let coordinator_epoch = i32::from_be_bytes(take(&mut rest)?);
            let transaction = i64::from_be_bytes(take(&mut rest)?);
            let batch_count = u8::from_be_bytes(take(&mut rest)?);
            let mut batches = VecDeque::with_capacity(BATCHES_REMEMBERED);
            for _ in 0..batch_count {
                batches.push_back(Appended {
                    base_sequence: i32::from_be_bytes(take(&mut rest)?),
                    last_sequence: i32::from_be_bytes(take(&mut rest)?),
                    base_offset: i64::from_be_bytes(take(&mut rest)?),
                });
            }
            by_id.insert(
                producer_id,
                Producer {
                    epoch,
                    last_seen_ms,
                    batches,
                    coordinator_epoch,
                    transaction: (transaction != NO_OFFSET).then_some(transaction),
                },
            );
        }
        rest.is_empty().then_some(Self { by_id })
    }
}

/// The next `N` bytes of `rest`, which moves on.
fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (head, tail) = rest.split_first_chunk::<N>()?;
    *rest = tail;
    Some(*head)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(epoch: i16, base_sequence: i32, count: i32) -> ProducerBatch {
        ProducerBatch {
            producer_id: 7,
            producer_epoch: epoch,
            base_sequence,
            last_offset_delta: count - 1,
            is_transactional: false,
            seen_ms: 1_000,
        }
    }

    fn in_transaction(epoch: i16, base_sequence: i32) -> ProducerBatch {
        ProducerBatch {
            is_transactional: true,
            ..batch(epoch, base_sequence, 1)
        }
    }

    fn marker(epoch: i16, coordinator_epoch: i32, is_epoch_bumped: bool) -> Marker {
        Marker {
            producer_id: 7,
            producer_epoch: epoch,
            coordinator_epoch,
            is_epoch_bumped,
            seen_ms: 1_000,
        }
    }

    /// Appends batches of one record each with these sequences, at offset = position.
    fn after(sequences: &[i32]) -> Producers {
        let mut producers = Producers::default();
        for (offset, sequence) in sequences.iter().enumerate() {
            let one = batch(0, *sequence, 1);
            assert_eq!(producers.check(&one), Ok(Sequence::Next));
            producers.record(&one, offset as i64);
        }
        producers
    }

    #[test]
    fn a_repeated_batch_is_answered_with_its_first_offset() {
        let producers = after(&[0, 1, 2, 3, 4]);
        for sequence in 0..5 {
            let expected = Sequence::Duplicate {
                base_offset: i64::from(sequence),
            };
            assert_eq!(producers.check(&batch(0, sequence, 1)), Ok(expected));
        }
    }

    #[test]
    fn only_five_batches_are_remembered() {
        let producers = after(&[0, 1, 2, 3, 4, 5]);
        assert_eq!(
            producers.check(&batch(0, 0, 1)),
            Err(SequenceError::OutOfOrder { expected: 6 })
        );
        assert_eq!(
            producers.check(&batch(0, 1, 1)),
            Ok(Sequence::Duplicate { base_offset: 1 })
        );
    }

    #[test]
    fn a_gap_is_out_of_order_and_an_overlap_too() {
        let producers = after(&[0, 1]);
        assert_eq!(
            producers.check(&batch(0, 3, 1)),
            Err(SequenceError::OutOfOrder { expected: 2 })
        );
        assert_eq!(
            producers.check(&batch(0, 1, 2)),
            Err(SequenceError::OutOfOrder { expected: 2 })
        );
    }

    #[test]
    fn an_old_epoch_is_refused_and_a_new_one_starts_at_zero() {
        let mut producers = after(&[0, 1]);
        assert_eq!(
            producers.check(&batch(1, 2, 1)),
            Err(SequenceError::OutOfOrder { expected: 0 })
        );
        assert_eq!(producers.check(&batch(1, 0, 1)), Ok(Sequence::Next));
        producers.record(&batch(1, 0, 1), 2);
        assert_eq!(
            producers.check(&batch(0, 2, 1)),
            Err(SequenceError::StaleEpoch { current: 1 })
        );
        assert_eq!(producers.check(&batch(1, 1, 1)), Ok(Sequence::Next));
    }

    #[test]
    fn sequences_wrap_at_two_to_the_31() {
        let mut producers = Producers::default();
        let first = batch(0, i32::MAX - 1, 4);
        assert_eq!(first.last_sequence(), 1);
        producers.record(&first, 0);
        assert_eq!(producers.check(&batch(0, 2, 1)), Ok(Sequence::Next));
        assert_eq!(
            producers.check(&first),
            Ok(Sequence::Duplicate { base_offset: 0 })
        );
        let up_to_the_end = batch(0, i32::MAX, 1);
        producers.record(&up_to_the_end, 4);
        assert_eq!(producers.check(&batch(0, 0, 1)), Ok(Sequence::Next));
    }

    #[test]
    fn an_unknown_producer_may_start_anywhere() {
        assert_eq!(
            Producers::default().check(&batch(3, 17, 1)),
            Ok(Sequence::Next)
        );
    }

    #[test]
    fn a_snapshot_gives_back_the_same_state() {
        let producers = after(&[0, 1, 2, 3, 4, 5, 6]);
        let snapshot = producers.to_snapshot();
        assert_eq!(Producers::from_snapshot(&snapshot), Some(producers));
        for cut in 0..snapshot.len() {
            assert_eq!(
                Producers::from_snapshot(&snapshot[..cut]),
                None,
                "cut at {cut}"
            );
        }
    }

    #[test]
    fn silent_producers_are_forgotten() {
        let mut producers = after(&[0]);
        producers.expire(1_000);
        assert_eq!(producers.by_id.len(), 1);
        producers.expire(1_001);
        assert_eq!(producers.by_id.len(), 0);
    }

    #[test]
    fn a_later_epoch_does_not_take_over_what_is_open() {
        let mut producers = Producers::default();
        producers.record(&in_transaction(0, 0), 0);
        let outside = Err(SequenceError::OutsideTransaction);
        assert_eq!(producers.check(&in_transaction(1, 0)), outside);
        producers.end(&marker(1, 1, true));
        assert_eq!(producers.check(&in_transaction(1, 0)), Ok(Sequence::Next));
    }

    #[test]
    fn a_transaction_is_open_from_its_first_batch_to_its_marker() {
        let mut producers = after(&[0]);
        assert!(producers.record(&in_transaction(0, 1), 10));
        assert!(!producers.record(&in_transaction(0, 2), 11));
        assert_eq!(producers.open_transactions().collect::<Vec<_>>(), [(10, 7)]);
        assert_eq!(
            producers.check(&batch(0, 3, 1)),
            Err(SequenceError::OutsideTransaction)
        );
        producers.expire(i64::MAX);
        assert_eq!(producers.by_id.len(), 1);
        let snapshot = producers.to_snapshot();
        assert_eq!(Producers::from_snapshot(&snapshot), Some(producers.clone()));
        assert_eq!(producers.end(&marker(0, 3, false)), Some(10));
        assert_eq!(producers.end(&marker(0, 3, false)), None);
        assert_eq!(producers.open_transactions().count(), 0);
        assert_eq!(producers.check(&batch(0, 3, 1)), Ok(Sequence::Next));
    }

    #[test]
    fn a_marker_with_the_next_epoch_fences_what_comes_late() {
        let mut producers = Producers::default();
        producers.record(&in_transaction(4, 0), 0);
        producers.end(&marker(5, 0, true));
        assert_eq!(
            producers.check(&in_transaction(4, 1)),
            Err(SequenceError::StaleEpoch { current: 5 })
        );
        assert_eq!(
            producers.check(&in_transaction(5, 1)),
            Err(SequenceError::OutOfOrder { expected: 0 })
        );
        assert_eq!(producers.check(&in_transaction(5, 0)), Ok(Sequence::Next));
    }

    #[test]
    fn markers_of_older_epochs_and_coordinators_are_refused() {
        let mut producers = Producers::default();
        assert_eq!(producers.check_marker(&marker(0, 0, true)), Ok(()));
        producers.record(&in_transaction(4, 0), 0);
        assert_eq!(
            producers.check_marker(&marker(3, 0, false)),
            Err(MarkerError::StaleEpoch)
        );
        assert_eq!(producers.check_marker(&marker(4, 0, false)), Ok(()));
        assert_eq!(
            producers.check_marker(&marker(4, 0, true)),
            Err(MarkerError::StaleEpoch)
        );
        producers.end(&marker(4, 9, false));
        assert_eq!(
            producers.check_marker(&marker(5, 8, true)),
            Err(MarkerError::StaleCoordinator)
        );
    }
}
