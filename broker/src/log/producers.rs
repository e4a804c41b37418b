//! What a partition remembers of its idempotent producers: the epoch and the last five batches of each (KIP-98, KIP-360).
//! Pure state, no I/O and no clock. It is kept by the lane task, rebuilt from a snapshot and the batch headers after it.

use std::collections::HashMap;
use std::collections::VecDeque;

use protocol::records::RecordBatch;

/// How many batches of a producer can be told apart from new ones, as in Kafka's `ProducerStateEntry`.
const BATCHES_REMEMBERED: usize = 5;

/// First byte of a snapshot.
const SNAPSHOT_VERSION: u8 = 1;

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
        match producer
            .batches
            .back()
            .map(|last| advance(last.last_sequence, 1))
        {
            Some(expected) if expected != batch.base_sequence => {
                Err(SequenceError::OutOfOrder { expected })
            }
            _ => Ok(Sequence::Next),
        }
    }

    /// Remembers `batch` as appended at `base_offset`.
    pub(crate) fn record(&mut self, batch: &ProducerBatch, base_offset: i64) {
        let producer = self
            .by_id
            .entry(batch.producer_id)
            .or_insert_with(|| Producer {
                epoch: batch.producer_epoch,
                last_seen_ms: batch.seen_ms,
                batches: VecDeque::with_capacity(BATCHES_REMEMBERED),
            });
        if producer.epoch != batch.producer_epoch {
            producer.epoch = batch.producer_epoch;
            producer.batches.clear();
        }
        if producer.batches.len() == BATCHES_REMEMBERED {
            producer.batches.pop_front();
        }
        producer.last_seen_ms = producer.last_seen_ms.max(batch.seen_ms);
        producer.batches.push_back(Appended {
            base_sequence: batch.base_sequence,
            last_sequence: batch.last_sequence(),
            base_offset,
        });
    }

    /// Offset of the last batch of each producer that was seen at `oldest_ms` or later.
    pub(crate) fn last_batches(&self, oldest_ms: i64) -> HashMap<i64, i64> {
        let living = self.by_id.iter();
        let living = living.filter(|(_, producer)| producer.last_seen_ms >= oldest_ms);
        living
            .filter_map(|(id, producer)| Some((*id, producer.batches.back()?.base_offset)))
            .collect()
    }

    /// Forgets producers whose last batch was seen before `oldest_ms` (producer.id.expiration.ms).
    pub(crate) fn expire(&mut self, oldest_ms: i64) {
        self.by_id
            .retain(|_, producer| producer.last_seen_ms >= oldest_ms);
    }

    /// The bytes of a snapshot: version, count, then per producer its id, epoch, when it was last seen and its batches; big-endian.
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
}
