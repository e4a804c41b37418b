//! Producer ids, and checkpoints of partitions: the state of their producers and marks in time, so that neither needs the whole log.

use std::ops::Range;

use crate::{Error, Result, Store};

/// What is known of a partition's log up to an offset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// Partition, as [`crate::PartitionRow::id`].
    pub part: i32,
    /// It covers all records below this offset.
    pub end_offset: i64,
    /// The state of the producers, in the caller's encoding.
    pub producers: Vec<u8>,
    /// The largest timestamp of these records, in milliseconds since 1970; -1 where none has one.
    pub max_timestamp_ms: i64,
    /// Bytes of all batches ever appended before it.
    pub bytes: i64,
}

/// A mark of the time index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeMark {
    /// It is before this offset.
    pub end_offset: i64,
    /// The largest timestamp before it, in milliseconds since 1970.
    pub max_timestamp_ms: i64,
}

/// The range is gone once this commits, whether or not the broker lives to use it.
const ALLOCATE: &str = "update kafka.producer_id_blocks set next_producer_id = next_producer_id + $1 \
     returning next_producer_id - $1, next_producer_id";
const SAVE: &str = "with saved (part, end_offset, state, max_timestamp, bytes) as ( \
         select u.* from unnest($1::int4[], $2::int8[], $3::bytea[], $4::int8[], $5::int8[]) \
             u (part, end_offset, state, max_timestamp, bytes) \
         where exists (select 1 from kafka.topic_partitions p where p.id = u.part for key share)), \
     marked as (insert into kafka.time_index (part, end_offset, max_timestamp, bytes) \
         select part, end_offset, max_timestamp, bytes from saved on conflict do nothing) \
     insert into kafka.producer_snapshots as old (part, end_offset, state) select part, end_offset, state from saved \
     on conflict (part) do update set end_offset = excluded.end_offset, state = excluded.state, saved_at = now() \
     where old.end_offset < excluded.end_offset";
const LOAD: &str = "select part, end_offset, state, max_timestamp, bytes from kafka.producer_snapshots \
     join kafka.time_index using (part, end_offset) where part = $1";
const MARK_BELOW: &str = "select end_offset, max_timestamp from kafka.time_index \
     where part = $1 and max_timestamp < $2 order by end_offset desc limit 1";

impl Store {
    /// A block of `count` producer ids nobody else was or will be given, also after a crash. `count` is at least 1.
    pub async fn allocate_producer_ids(&self, count: i32) -> Result<Range<i64>> {
        if count < 1 {
            return Err(Error::bug(
                "allocating producer ids",
                format!("{count} asked for"),
            ));
        }
        let client = self.client().await?;
        let row = client.query_one(ALLOCATE, &[&i64::from(count)]).await?;
        Ok(row.get(0)..row.get(1))
    }

    /// Saves checkpoints. The producers of one that does not reach beyond the stored one of its partition are ignored, as are
    /// deleted partitions.
    ///
    /// At most one per partition in a call.
    pub async fn save_checkpoints(&self, checkpoints: &[Checkpoint]) -> Result<()> {
        if checkpoints.is_empty() {
            return Ok(());
        }
        // By partition, so that two callers lock the rows in one order.
        let mut sorted: Vec<&Checkpoint> = checkpoints.iter().collect();
        sorted.sort_by_key(|checkpoint| checkpoint.part);
        let parts: Vec<i32> = sorted.iter().map(|c| c.part).collect();
        let ends: Vec<i64> = sorted.iter().map(|c| c.end_offset).collect();
        let states: Vec<&[u8]> = sorted.iter().map(|c| c.producers.as_slice()).collect();
        let timestamps: Vec<i64> = sorted.iter().map(|c| c.max_timestamp_ms).collect();
        let bytes: Vec<i64> = sorted.iter().map(|c| c.bytes).collect();
        let client = self.client().await?;
        let statement = client.prepare_cached(SAVE).await?;
        client
            .execute(&statement, &[&parts, &ends, &states, &timestamps, &bytes])
            .await?;
        Ok(())
    }

    /// The newest checkpoint of a partition.
    pub async fn load_checkpoint(&self, part: i32) -> Result<Option<Checkpoint>> {
        let client = self.client().await?;
        let statement = client.prepare_cached(LOAD).await?;
        let row = client.query_opt(&statement, &[&part]).await?;
        Ok(row.map(|row| Checkpoint {
            part: row.get(0),
            end_offset: row.get(1),
            producers: row.get(2),
            max_timestamp_ms: row.get(3),
            bytes: row.get(4),
        }))
    }

    /// The last mark of a partition before which every record is older than `timestamp_ms`.
    pub async fn time_mark_below(&self, part: i32, timestamp_ms: i64) -> Result<Option<TimeMark>> {
        let client = self.client().await?;
        let statement = client.prepare_cached(MARK_BELOW).await?;
        let row = client
            .query_opt(&statement, &[&part, &timestamp_ms])
            .await?;
        Ok(row.map(|row| TimeMark {
            end_offset: row.get(0),
            max_timestamp_ms: row.get(1),
        }))
    }
}
