//! Checkpoints of partitions: what a lane saves of their producers and times, and how it is taken up again at the first append.

use std::sync::Arc;

use protocol::records::RecordBatch;
use storage::{Checkpoint, Mark, Store};

use super::ReadError;
use super::growth::Growth;
use super::partition::{Appender, Partition};
use super::producers::{ProducerBatch, Producers};
use super::transactions::{self, PartitionTransactions};

/// Checkpoints of those of `partitions` that are due, as of what is committed.
pub(super) fn checkpoints(partitions: &[Arc<Partition>], expiration_ms: i64) -> Vec<Checkpoint> {
    let mut checkpoints = Vec::with_capacity(partitions.len());
    for partition in partitions {
        let mut appender = partition.appender();
        if appender.unsaved_bytes > 0 {
            checkpoints.extend(checkpoint_of(partition, &mut appender, expiration_ms));
        }
    }
    checkpoints
}

/// The checkpoint of a partition, all of whose batches that have offsets are committed. `None` before its producers are known.
pub(super) fn checkpoint_of(
    partition: &Partition,
    appender: &mut Appender,
    expiration_ms: i64,
) -> Option<Checkpoint> {
    let producers = appender.producers.as_mut()?;
    producers.expire(super::now_ms() - expiration_ms);
    appender.unsaved_bytes = 0;
    appender.growth.marked();
    Some(Checkpoint {
        part: partition.id(),
        end_offset: appender.next_offset,
        producers: producers.to_snapshot(),
        max_timestamp_ms: appender.max_timestamp_ms,
        bytes: i64::try_from(appender.growth.bytes).unwrap_or(i64::MAX),
    })
}

/// Saves checkpoints of `partitions`, so that a restart reads only the log after this point. The lane must have stopped.
pub(super) async fn checkpoint(store: &Store, partitions: &[Arc<Partition>], expiration_ms: i64) {
    save(store, &checkpoints(partitions, expiration_ms)).await;
}

/// Marks made while something was appended to `partitions`, all of it committed by now.
pub(super) fn marks<'a>(partitions: impl Iterator<Item = &'a Arc<Partition>>) -> Vec<Mark> {
    let mut marks = Vec::new();
    for partition in partitions {
        let made = partition.appender().growth.take_marks();
        marks.extend(made.into_iter().map(|mark| Mark {
            part: partition.id(),
            end_offset: mark.end_offset,
            max_timestamp_ms: mark.max_timestamp_ms,
            bytes: i64::try_from(mark.bytes).unwrap_or(i64::MAX),
        }));
    }
    marks
}

/// A failure costs only the grain of retention.
pub(super) async fn save_marks(store: &Store, marks: &[Mark]) {
    if let Err(error) = store.save_marks(marks).await {
        tracing::warn!(marks = marks.len(), %error, "cannot save marks");
    }
}

/// A failure costs only time.
pub(super) async fn save(store: &Store, checkpoints: &[Checkpoint]) {
    if let Err(error) = store.save_checkpoints(checkpoints).await {
        tracing::warn!(partitions = checkpoints.len(), %error, "cannot save checkpoints");
    }
}

/// What a partition's log says of its producers, its largest timestamp and its size.
#[derive(Debug)]
pub(super) struct Loaded {
    pub(super) producers: Producers,
    pub(super) max_timestamp_ms: i64,
    pub(super) transactions: PartitionTransactions,
    /// Bytes of all batches ever appended.
    pub(super) bytes: u64,
    /// The same at the last checkpoint.
    pub(super) bytes_marked: u64,
}

impl Loaded {
    pub(super) fn growth(&self) -> Growth {
        Growth::of_log(self.bytes, self.bytes_marked, super::now_ms())
    }
}

pub(super) async fn load(store: &Store, partition: &Partition) -> Result<Loaded, ReadError> {
    let saved = store.load_checkpoint(partition.id()).await?;
    let saved = saved.and_then(|saved| {
        let producers = Producers::from_snapshot(&saved.producers)?;
        let bytes = u64::try_from(saved.bytes).unwrap_or(0);
        Some((saved.end_offset, saved.max_timestamp_ms, bytes, producers))
    });
    let (from_offset, mut max_timestamp_ms, bytes_marked, mut producers) =
        saved.unwrap_or((0, -1, 0, Producers::default()));
    let mut bytes = bytes_marked;
    let now_ms = super::now_ms();
    let mut remember = |batch: &RecordBatch<'_>| {
        if batch.base_offset >= from_offset {
            bytes += batch.bytes().len() as u64;
            max_timestamp_ms = max_timestamp_ms.max(batch.max_timestamp);
            if batch.is_control() {
                if let Some(marker) = transactions::marker_of(batch, now_ms)? {
                    producers.end(&marker);
                }
            } else if let Some(sent) = ProducerBatch::of(batch, now_ms) {
                producers.record(&sent, batch.base_offset);
            }
        }
        Ok(true)
    };
    // Also what lies before the beginning of the log, as long as it is stored: its producers go on.
    partition.scan_stored(from_offset, &mut remember).await?;
    let aborted = store
        .last_aborted_transactions(partition.id(), transactions::ABORTED_LOADED)
        .await?;
    Ok(Loaded {
        transactions: PartitionTransactions::new(producers.open_transactions(), aborted),
        producers,
        max_timestamp_ms,
        bytes,
        bytes_marked,
    })
}
