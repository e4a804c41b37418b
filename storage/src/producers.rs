//! Producer ids and the snapshots of producer state.

use std::ops::Range;

use crate::{Error, Result, Store};

/// State of a partition's producers as of an offset; the bytes are the caller's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProducerSnapshot {
    /// Partition, as [`crate::PartitionRow::id`].
    pub part: i32,
    /// The state covers all records below this offset.
    pub end_offset: i64,
    /// The caller's encoding of it.
    pub state: Vec<u8>,
}

/// The range is gone once this commits, whether or not the broker lives to use it.
const ALLOCATE: &str = "update kafka.producer_id_blocks set next_producer_id = next_producer_id + $1 \
     returning next_producer_id - $1, next_producer_id";
const SAVE: &str = "insert into kafka.producer_snapshots as old (part, end_offset, state) \
     select u.part, u.end_offset, u.state \
     from unnest($1::int4[], $2::int8[], $3::bytea[]) u (part, end_offset, state) \
     where exists (select 1 from kafka.topic_partitions p where p.id = u.part for key share) \
     on conflict (part) do update set end_offset = excluded.end_offset, state = excluded.state, saved_at = now() \
     where old.end_offset < excluded.end_offset";
const LOAD: &str = "select end_offset, state from kafka.producer_snapshots where part = $1";

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

    /// Saves snapshots; one that does not reach beyond the stored one of its partition is ignored, as are deleted partitions.
    ///
    /// At most one per partition in a call.
    pub async fn save_producer_snapshots(&self, snapshots: &[ProducerSnapshot]) -> Result<()> {
        if snapshots.is_empty() {
            return Ok(());
        }
        // By partition, so that two callers lock the rows in one order.
        let mut sorted: Vec<&ProducerSnapshot> = snapshots.iter().collect();
        sorted.sort_by_key(|snapshot| snapshot.part);
        let parts: Vec<i32> = sorted.iter().map(|s| s.part).collect();
        let ends: Vec<i64> = sorted.iter().map(|s| s.end_offset).collect();
        let states: Vec<&[u8]> = sorted.iter().map(|s| s.state.as_slice()).collect();
        let client = self.client().await?;
        let statement = client.prepare_cached(SAVE).await?;
        client
            .execute(&statement, &[&parts, &ends, &states])
            .await?;
        Ok(())
    }

    /// The newest snapshot of a partition as `(end_offset, state)`.
    pub async fn load_producer_snapshot(&self, part: i32) -> Result<Option<(i64, Vec<u8>)>> {
        let client = self.client().await?;
        let statement = client.prepare_cached(LOAD).await?;
        let row = client.query_opt(&statement, &[&part]).await?;
        Ok(row.map(|row| (row.get(0), row.get(1))))
    }
}
