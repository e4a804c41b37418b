//! Sealed segments written anew, so that what is gone from them takes no space: into a new sealed segment, in one transaction
//! with the change of what is noted. Readers that go by an older note still find the old table until it is dropped.
//!
//! A table holds at most one stretch of a partition's offsets, without another segment's stretch in between, so that whoever
//! reads a table from an offset on may read it to its end.

use tokio_postgres::{Client, Transaction};

use crate::segments::create_table;
use crate::{LaneLease, Result};

/// Smaller tables are not worth it.
const SEGMENT_BYTES_MIN: i64 = 1 << 20;
/// Segments that are written into one new one.
const SEGMENTS_MAX: i64 = 8;

/// Segments of which less than a fifth is to be read any more.
const WASTED: &str = "select g.segment_id from kafka.segments g \
     cross join lateral (select sum(s.bytes) as bytes from kafka.segment_partitions s \
         join kafka.topic_partitions p on p.id = s.part and s.end_offset > p.log_start_offset \
         where s.segment_id = g.segment_id) living \
     where g.lane_id = $1 and g.state = 'sealed' and g.bytes >= $2 and living.bytes * 5 < g.bytes \
     order by g.segment_id limit $3";
/// Who writes the same segments anew waits here, and then finds nothing of them noted.
const LOCK: &str =
    "select 1 from kafka.segments where segment_id = any($1) order by segment_id for update";
/// Partitions that have a stretch in another segment between two in these.
const SCATTERED: &str = "select 1 from (select s.part, min(s.end_offset) as first_end, max(s.end_offset) as last_end \
         from kafka.segment_partitions s where s.segment_id = any($1) group by s.part) here \
     join kafka.segment_partitions other on other.part = here.part and not other.segment_id = any($1) \
         and other.end_offset > here.first_end and other.end_offset < here.last_end limit 1";
const REGISTER: &str = "insert into kafka.segments (lane_id, state, created_at, sealed_at, frozen_at) \
     select $1, 'sealed', min(created_at), max(sealed_at), null::timestamptz from kafka.segments where segment_id = any($2) \
     returning segment_id";
const MEASURE: &str = "update kafka.segments set bytes = pg_relation_size(('kafka.' || table_name)::regclass) \
     where segment_id = $1";
/// The end stays where it is, also where the last records of the stretch are gone.
const NOTE: &str = "with moved as (delete from kafka.segment_partitions s using kafka.topic_partitions p \
         where p.id = s.part and s.end_offset > p.log_start_offset and s.segment_id = any($2) \
         returning s.part, s.end_offset) \
     insert into kafka.segment_partitions (segment_id, part, first_offset, end_offset, bytes) \
     select $1, m.part, l.first_offset, m.end_offset, l.bytes \
     from (select part, max(end_offset) as end_offset from moved group by part) m \
     join unnest($3::int4[], $4::int8[], $5::int8[]) l (part, first_offset, bytes) on l.part = m.part";
const MOVED: &str =
    "update kafka.segments set moved_at = clock_timestamp() where segment_id = any($1)";

/// The rows of living partitions, from the runs on with which their logs begin.
fn copy_living(from: i32, to: i32) -> String {
    format!(
        "insert into kafka.log_{to} (base, global_base, part, span, chunk, data) \
         select l.base, l.global_base, l.part, l.span, l.chunk, l.data \
         from kafka.segment_partitions s \
         join kafka.topic_partitions p on p.id = s.part and s.end_offset > p.log_start_offset \
         join kafka.log_{from} l on l.part = s.part and l.base >= s.first_offset and l.base < s.end_offset \
             and l.base + l.span >= p.log_start_offset \
         where s.segment_id = {from}"
    )
}

fn contents(segment_id: i32) -> String {
    format!(
        "select part, min(base), sum(octet_length(data))::int8 from kafka.log_{segment_id} group by part"
    )
}

/// Frees the space of segments that are held by a small rest: writes the rest anew. What is left of them is to be dropped.
pub(crate) async fn rescue(client: &mut Client, lease: &LaneLease) -> Result<()> {
    let rows = client
        .query(WASTED, &[&lease.lane_id, &SEGMENT_BYTES_MIN, &SEGMENTS_MAX])
        .await?;
    let mut wasted: Vec<i32> = rows.iter().map(|row| row.get(0)).collect();
    if wasted.is_empty() {
        return Ok(());
    }
    let transaction = client.transaction().await?;
    transaction.query(LOCK, &[&wasted]).await?;
    lease.committed_flushes(&transaction).await?;
    if transaction
        .query_opt(SCATTERED, &[&wasted])
        .await?
        .is_some()
    {
        wasted.truncate(1);
    }
    let to = register(&transaction, lease, &wasted).await?;
    for from in &wasted {
        transaction.batch_execute(&copy_living(*from, to)).await?;
    }
    let rows = transaction.query(&contents(to), &[]).await?;
    let parts: Vec<i32> = rows.iter().map(|row| row.get(0)).collect();
    let firsts: Vec<i64> = rows.iter().map(|row| row.get(1)).collect();
    let bytes: Vec<i64> = rows.iter().map(|row| row.get(2)).collect();
    let note: [&(dyn tokio_postgres::types::ToSql + Sync); 5] =
        [&to, &wasted, &parts, &firsts, &bytes];
    transaction.execute(NOTE, &note).await?;
    transaction.execute(MOVED, &[&wasted]).await?;
    transaction.execute(MEASURE, &[&to]).await?;
    transaction.commit().await?;
    tracing::debug!(lane_id = lease.lane_id, from = ?wasted, to, "the rest of segments written anew");
    Ok(())
}

/// A new sealed segment with what was in `from`, still empty.
async fn register(transaction: &Transaction<'_>, lease: &LaneLease, from: &[i32]) -> Result<i32> {
    let row = transaction
        .query_one(REGISTER, &[&lease.lane_id, &from])
        .await?;
    let id = row.get(0);
    transaction.batch_execute(&create_table(id)).await?;
    Ok(id)
}
