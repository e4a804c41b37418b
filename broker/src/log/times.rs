//! Records by their time: the first one at or after it, and the one with the largest.

use protocol::records::{RecordBatch, TimestampType};

use super::{Partition, ReadError, TimestampOffset};

impl Partition {
    /// The first record whose timestamp is `timestamp_ms` or later.
    pub async fn offset_for_timestamp(
        &self,
        timestamp_ms: i64,
    ) -> Result<Option<TimestampOffset>, ReadError> {
        let mark = self.store.time_mark_below(self.id(), timestamp_ms).await?;
        let start = self.offsets().log_start_offset;
        let from_offset = mark.map_or(start, |mark| mark.end_offset.max(start));
        let mut found = None;
        let cap_bytes = self.config.decompressed_bytes_max;
        self.scan(from_offset, &mut |batch| {
            if batch.max_timestamp >= timestamp_ms {
                found = first_at_or_after(batch, timestamp_ms, start, cap_bytes)?;
            }
            Ok(found.is_none())
        })
        .await?;
        Ok(found)
    }

    /// The first of the records with the largest timestamp (KIP-734).
    pub async fn max_timestamp(&self) -> Result<Option<TimestampOffset>, ReadError> {
        let start = self.offsets().log_start_offset;
        let last_mark = self.store.time_mark_below(self.id(), i64::MAX).await?;
        let Some(mark) = last_mark.filter(|mark| mark.end_offset > start) else {
            return self.max_timestamp_from(start).await;
        };
        let after_mark = self.max_timestamp_from(mark.end_offset).await?;
        if after_mark.is_some_and(|found| found.timestamp_ms > mark.max_timestamp_ms) {
            return Ok(after_mark);
        }
        let before_mark = self.offset_for_timestamp(mark.max_timestamp_ms).await?;
        if before_mark.is_some_and(|found| found.timestamp_ms == mark.max_timestamp_ms) {
            return Ok(before_mark);
        }
        // The record that made the mark has expired.
        self.max_timestamp_from(start).await
    }

    async fn max_timestamp_from(
        &self,
        from_offset: i64,
    ) -> Result<Option<TimestampOffset>, ReadError> {
        let mut found: Option<TimestampOffset> = None;
        let cap_bytes = self.config.decompressed_bytes_max;
        self.scan(from_offset, &mut |batch| {
            if batch.record_count > 0
                && found.is_none_or(|found| found.timestamp_ms < batch.max_timestamp)
            {
                found = first_at_or_after(batch, batch.max_timestamp, from_offset, cap_bytes)?
                    .or(found);
            }
            Ok(true)
        })
        .await?;
        Ok(found)
    }
}

/// The first record of `batch` at or after a time, and not before an offset.
fn first_at_or_after(
    batch: &RecordBatch<'_>,
    timestamp_ms: i64,
    from_offset: i64,
    cap_bytes: usize,
) -> Result<Option<TimestampOffset>, ReadError> {
    let leader_epoch = batch.partition_leader_epoch;
    if batch.timestamp_type() == TimestampType::LogAppendTime {
        let timestamp_ms = batch.max_timestamp;
        return Ok(Some(TimestampOffset {
            offset: batch.base_offset.max(from_offset),
            timestamp_ms,
            leader_epoch,
        }));
    }
    let records = batch
        .records(cap_bytes)
        .map_err(|_| ReadError::Damaged(batch.base_offset))?;
    for record in records.iter() {
        let record = record.map_err(|_| ReadError::Damaged(batch.base_offset))?;
        if record.timestamp >= timestamp_ms && record.offset >= from_offset {
            return Ok(Some(TimestampOffset {
                offset: record.offset,
                timestamp_ms: record.timestamp,
                leader_epoch,
            }));
        }
    }
    Ok(None)
}
