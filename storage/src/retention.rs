//! The beginning of partitions' logs: marks at which it may be set, and the one statement that sets it. Rows below it are not
//! deleted: they go with their segment tables.

use crate::{Result, Store};

/// A place in a partition's log at which it may be cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// Partition, as [`crate::PartitionRow::id`].
    pub part: i32,
    /// The mark is before this offset.
    pub end_offset: i64,
    /// The largest timestamp before it, in milliseconds since 1970; -1 where there is none.
    pub max_timestamp_ms: i64,
    /// Bytes of all batches ever appended before it.
    pub bytes: i64,
}

/// What may go of a partition: all before a mark that meets either limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expiry {
    /// Partition, as [`crate::PartitionRow::id`].
    pub part: i32,
    /// Marks before which all timestamps are below this; `i64::MIN` for none.
    pub older_than_ms: i64,
    /// Marks with at most this many bytes before them; -1 for none.
    pub bytes_below: i64,
}

/// Existing partitions only; a mark that is there stays as it is.
const SAVE: &str = "insert into kafka.time_index (part, end_offset, max_timestamp, bytes) \
     select u.* from unnest($1::int4[], $2::int8[], $3::int8[], $4::int8[]) u (part, end_offset, max_timestamp, bytes) \
     where exists (select 1 from kafka.topic_partitions p where p.id = u.part for key share) \
     on conflict do nothing";
const EXPIRED: &str = "select u.part, m.end_offset \
     from unnest($1::int4[], $2::int8[], $3::int8[]) u (part, older_than, bytes_below) \
     join kafka.topic_partitions p on p.id = u.part \
     cross join lateral (select i.end_offset from kafka.time_index i \
         where i.part = u.part and i.end_offset > p.log_start_offset \
             and ((i.max_timestamp >= 0 and i.max_timestamp < u.older_than) or i.bytes <= u.bytes_below) \
         order by i.end_offset desc limit 1) m";
/// In the order of the keys, so that two callers wait for each other instead of deadlocking.
const RAISE: &str = "with wanted as ( \
         select p.id, u.log_start from unnest($1::int4[], $2::int8[]) u (part, log_start) \
         join kafka.topic_partitions p on p.id = u.part and p.log_start_offset < u.log_start \
         order by p.id for no key update of p) \
     update kafka.topic_partitions p set log_start_offset = w.log_start from wanted w where p.id = w.id";
/// The mark of the producers' state stays: it is loaded together with it.
const FORGET_MARKS: &str = "delete from kafka.time_index i using kafka.topic_partitions p \
     where p.id = any($1) and i.part = p.id and i.end_offset <= p.log_start_offset \
         and not exists (select 1 from kafka.producer_snapshots s \
             where s.part = i.part and s.end_offset = i.end_offset)";

impl Store {
    /// Saves marks; those of deleted partitions are passed over.
    pub async fn save_marks(&self, marks: &[Mark]) -> Result<()> {
        if marks.is_empty() {
            return Ok(());
        }
        let parts: Vec<i32> = marks.iter().map(|mark| mark.part).collect();
        let ends: Vec<i64> = marks.iter().map(|mark| mark.end_offset).collect();
        let times: Vec<i64> = marks.iter().map(|mark| mark.max_timestamp_ms).collect();
        let bytes: Vec<i64> = marks.iter().map(|mark| mark.bytes).collect();
        let client = self.client().await?;
        let statement = client.prepare_cached(SAVE).await?;
        client
            .execute(&statement, &[&parts, &ends, &times, &bytes])
            .await?;
        Ok(())
    }

    /// The last mark of each partition before which all may go, beyond the beginning of its log.
    pub async fn expired_marks(&self, expiries: &[Expiry]) -> Result<Vec<(i32, i64)>> {
        if expiries.is_empty() {
            return Ok(Vec::new());
        }
        let parts: Vec<i32> = expiries.iter().map(|expiry| expiry.part).collect();
        let times: Vec<i64> = expiries.iter().map(|expiry| expiry.older_than_ms).collect();
        let bytes: Vec<i64> = expiries.iter().map(|expiry| expiry.bytes_below).collect();
        let client = self.client().await?;
        let rows = client.query(EXPIRED, &[&parts, &times, &bytes]).await?;
        Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
    }

    /// Lets the logs of partitions begin at these offsets, none of which may lie beyond the end of its log. A beginning is only
    /// ever raised. What is below it may not be read any more; segments without anything else are dropped soon.
    pub async fn raise_log_starts(&self, starts: &[(i32, i64)]) -> Result<()> {
        if starts.is_empty() {
            return Ok(());
        }
        let (parts, offsets): (Vec<i32>, Vec<i64>) = starts.iter().copied().unzip();
        let client = self.client().await?;
        client.execute(RAISE, &[&parts, &offsets]).await?;
        client.execute(FORGET_MARKS, &[&parts]).await?;
        self.look_for_expired_segments();
        Ok(())
    }
}
