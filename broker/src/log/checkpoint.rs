//! Checkpoints of partitions: what a lane saves of their producers and times, and how it is taken up again at the first append.

use std::sync::Arc;

use protocol::records::RecordBatch;
use storage::{Checkpoint, Store};

use super::ReadError;
use super::partition::Partition;
use super::producers::{ProducerBatch, Producers};

/// Checkpoints of those of `partitions` that are due, as of what is committed.
pub(super) fn checkpoints(partitions: &[Arc<Partition>], expiration_ms: i64) -> Vec<Checkpoint> {
    let mut checkpoints = Vec::with_capacity(partitions.len());
    for partition in partitions {
        let mut appender = partition.appender();
        let end_offset = appender.next_offset;
        let max_timestamp_ms = appender.max_timestamp_ms;
        let is_due = std::mem::take(&mut appender.unsaved_bytes) > 0;
        let Some(producers) = appender.producers.as_mut().filter(|_| is_due) else {
            continue;
        };
        producers.expire(super::now_ms() - expiration_ms);
        checkpoints.push(Checkpoint {
            part: partition.id(),
            end_offset,
            producers: producers.to_snapshot(),
            max_timestamp_ms,
        });
    }
    checkpoints
}

/// Saves checkpoints of `partitions`, so that a restart reads only the log after this point. The lane must have stopped.
pub(super) async fn checkpoint(store: &Store, partitions: &[Arc<Partition>], expiration_ms: i64) {
    save(store, &checkpoints(partitions, expiration_ms)).await;
}

/// A failure costs only time.
pub(super) async fn save(store: &Store, checkpoints: &[Checkpoint]) {
    if let Err(error) = store.save_checkpoints(checkpoints).await {
        tracing::warn!(partitions = checkpoints.len(), %error, "cannot save checkpoints");
    }
}

/// What a partition's log says of its producers, and its largest timestamp.
#[derive(Debug)]
pub(super) struct Loaded {
    pub(super) producers: Producers,
    pub(super) max_timestamp_ms: i64,
}

pub(super) async fn load(store: &Store, partition: &Partition) -> Result<Loaded, ReadError> {
    let saved = store.load_checkpoint(partition.id()).await?;
    let saved = saved.and_then(|saved| {
        let producers = Producers::from_snapshot(&saved.producers)?;
        Some((saved.end_offset, saved.max_timestamp_ms, producers))
    });
    let log_start_offset = partition.offsets().log_start_offset;
    let (end_offset, mut max_timestamp_ms, mut producers) =
        saved.unwrap_or((0, -1, Producers::default()));
    let from_offset = end_offset.max(log_start_offset);
    let now_ms = super::now_ms();
    let mut remember = |batch: &RecordBatch<'_>| {
        if batch.base_offset >= from_offset {
            max_timestamp_ms = max_timestamp_ms.max(batch.max_timestamp);
            if let Some(sent) = ProducerBatch::of(batch, now_ms) {
                producers.record(&sent, batch.base_offset);
            }
        }
        Ok(true)
    };
    partition.scan(from_offset, &mut remember).await?;
    Ok(Loaded {
        producers,
        max_timestamp_ms,
    })
}
