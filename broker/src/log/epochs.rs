//! Leader epochs of a partition's log, as its batches have them: they only grow along the log, so that the end of one is found by
//! halving.

use bytes::Bytes;
use protocol::records::{Batches, RecordBatch};

use super::tail::Collector;
use super::{Isolation, Partition, ReadError};

/// Offsets and epoch of one batch.
#[derive(Debug, Clone, Copy)]
struct Span {
    base_offset: i64,
    end_offset: i64,
    epoch: i32,
}

impl Partition {
    /// The largest epoch up to `epoch` that has records, or that of the present leader, and one past its last record. `None`
    /// for an epoch that there was none of yet.
    pub async fn epoch_end(&self, epoch: i32) -> Result<Option<(i32, i64)>, ReadError> {
        let offsets = self.offsets();
        if !self.is_led() {
            return Err(ReadError::NotLeader);
        }
        if epoch < 0 || epoch > self.leader_epoch() {
            return Ok(None);
        }
        if epoch == self.leader_epoch() {
            return Ok(Some((epoch, offsets.high_watermark)));
        }
        // All batches before `low` are of `epoch` or earlier, those from `high` on are later.
        let (mut low, mut high) = (offsets.log_start_offset, offsets.high_watermark);
        let mut found = epoch;
        while low < high {
            let middle = low + (high - low) / 2;
            let span = self.span_at(middle).await?;
            if span.epoch <= epoch {
                found = span.epoch;
                low = span.end_offset;
            } else {
                // There may be a gap before the batch.
                high = span.base_offset.min(middle);
            }
        }
        Ok(Some((found, low.min(offsets.high_watermark))))
    }

    /// The batch that holds `offset`, or the next one.
    async fn span_at(&self, offset: i64) -> Result<Span, ReadError> {
        let read = self
            .collect(offset, Collector::new(1, true), Isolation::Uncommitted)
            .await?
            .0;
        let block: Bytes = read.records.concat().into();
        let found =
            Batches::new(&block)
                .next()
                .and_then(Result::ok)
                .map(|batch: RecordBatch<'_>| Span {
                    base_offset: batch.base_offset,
                    end_offset: batch.last_offset() + 1,
                    epoch: batch.partition_leader_epoch,
                });
        found
            .filter(|span| span.end_offset > offset)
            .ok_or(ReadError::Damaged(offset))
    }
}
