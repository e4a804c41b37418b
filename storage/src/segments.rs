//! The life of segment tables: made ahead, filled by their lane's owner, sealed, frozen. Their rows are written by `writer`
//! and read by `read`.
//!
//! A segment belongs to one lane, so its owner alone decides where a flush goes. Open segments of a lane, by id: those
//! already rolled over and waiting to be sealed, the current one, empty ones made ahead. A reader that looks at all of them
//! needs no word of a roll.

use std::time::Duration;

use tokio::sync::watch;
use tokio_postgres::Client;

use crate::{Error, LaneLease, Result, Store};

const RETRY_AFTER: Duration = Duration::from_secs(1);

const OPEN: &str = "select segment_id from kafka.segments where lane_id = $1 and state = 'open' order by segment_id";
const REGISTER: &str = "insert into kafka.segments (lane_id) values ($1) returning segment_id";
const SEAL_LOCK: &str =
    "select 1 from kafka.segments where segment_id = $1 and state = 'open' for update";
const SEALED: &str = "update kafka.segments set state = 'sealed', sealed_at = now(), \
     bytes = pg_relation_size(('kafka.' || table_name)::regclass) where segment_id = $1";
const UNFROZEN: &str = "select segment_id from kafka.segments \
     where lane_id = $1 and state = 'sealed' and frozen_at is null order by segment_id";
const FROZEN: &str = "update kafka.segments set frozen_at = now() where segment_id = $1";

/// Rows of at most [`crate::chunks::CHUNK_BYTES`] fill a page each; PLAIN and the tuple target keep them out of TOAST.
fn create_table(segment_id: i32) -> String {
    format!(
        "create table kafka.log_{segment_id} (
             base int8 not null, part int4 not null, span int4 not null, chunk int4 not null, data bytea not null,
             primary key (part, base, chunk)
         ) with (toast_tuple_target = 8160, autovacuum_enabled = false);
         alter table kafka.log_{segment_id} alter data set storage plain;
         comment on table kafka.log_{segment_id} is 'Segment of the log: runs of record batches, cut into rows';
         comment on column kafka.log_{segment_id}.base is 'Offset of the first record of the run';
         comment on column kafka.log_{segment_id}.part is 'Partition, kafka.partitions.id';
         comment on column kafka.log_{segment_id}.span is 'Last offset of the run minus its base';
         comment on column kafka.log_{segment_id}.chunk is 'Number of the piece within the run, from 0';
         comment on column kafka.log_{segment_id}.data is 'Record batches in Kafka''s format; join the chunks of a run in order'"
    )
}

/// Hops from partition to partition along the primary key instead of reading the rows.
fn record_contents(segment_id: i32) -> String {
    format!(
        "with recursive p (part) as (
             (select part from kafka.log_{segment_id} order by part limit 1)
             union all
             select (select l.part from kafka.log_{segment_id} l where l.part > p.part order by l.part limit 1)
             from p where p.part is not null
         )
         insert into kafka.segment_partitions (segment_id, part, first_offset, end_offset)
         select {segment_id}, p.part,
             (select base from kafka.log_{segment_id} l where l.part = p.part order by base limit 1),
             (select base + span + 1 from kafka.log_{segment_id} l where l.part = p.part order by base desc limit 1)
         from p where p.part is not null"
    )
}

/// Where a lane's next flush goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct OpenSegment {
    pub(crate) id: i32,
    /// About the size of its table.
    pub(crate) bytes: u64,
}

/// The current segment of a lane just claimed: the last one with rows, or the first if none has any, made if there is none.
pub(crate) async fn current(client: &mut Client, lease: &LaneLease) -> Result<OpenSegment> {
    let open = open_segments(client, lease).await?;
    for &id in open.iter().rev() {
        if !is_empty(client, id).await? {
            let size = format!("select pg_relation_size('kafka.log_{id}')");
            let bytes: i64 = client.query_one(&size, &[]).await?.get(0);
            return Ok(OpenSegment {
                id,
                bytes: bytes.unsigned_abs(),
            });
        }
    }
    let id = match open.first() {
        Some(&id) => id,
        None => create(client, lease).await?,
    };
    Ok(OpenSegment { id, bytes: 0 })
}

async fn open_segments(client: &Client, lease: &LaneLease) -> Result<Vec<i32>> {
    let rows = client.query(OPEN, &[&lease.lane_id]).await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

async fn is_empty(client: &Client, segment_id: i32) -> Result<bool> {
    let any = format!("select 1 from kafka.log_{segment_id} limit 1");
    Ok(client.query_opt(&any, &[]).await?.is_none())
}

async fn create(client: &mut Client, lease: &LaneLease) -> Result<i32> {
    let transaction = client.transaction().await?;
    lease.committed_flushes(&transaction).await?;
    let id: i32 = transaction
        .query_one(REGISTER, &[&lease.lane_id])
        .await?
        .get(0);
    transaction.batch_execute(&create_table(id)).await?;
    transaction.commit().await?;
    tracing::debug!(lane_id = lease.lane_id, segment_id = id, "segment made");
    Ok(id)
}

async fn seal(client: &mut Client, lease: &LaneLease, segment_id: i32) -> Result<()> {
    let transaction = client.transaction().await?;
    // A claim locks the same row before it commits: either it waits for this seal, or the epoch below is the new one.
    if transaction
        .query_opt(SEAL_LOCK, &[&segment_id])
        .await?
        .is_none()
    {
        return Ok(());
    }
    lease.committed_flushes(&transaction).await?;
    transaction
        .batch_execute(&record_contents(segment_id))
        .await?;
    transaction.execute(SEALED, &[&segment_id]).await?;
    transaction.commit().await?;
    tracing::debug!(lane_id = lease.lane_id, segment_id, "segment sealed");
    Ok(())
}

/// Marks the rows as visible to all for good while their pages are still in the checkpoint cycle that wrote them;
/// otherwise the first read after a checkpoint writes each page to the WAL again.
async fn freeze(client: &Client, segment_id: i32) -> Result<()> {
    client
        .batch_execute(&format!(
            "vacuum (freeze, index_cleanup off, truncate off) kafka.log_{segment_id}"
        ))
        .await?;
    client.execute(FROZEN, &[&segment_id]).await?;
    Ok(())
}

/// Keeps a lane's segments in order beside its writer, until the writer is gone or fenced.
///
/// `current` tells where flushes go; `next` is set to an empty segment after it.
pub(crate) async fn keep(
    store: Store,
    lease: LaneLease,
    mut current: watch::Receiver<i32>,
    next: watch::Sender<i32>,
) {
    loop {
        let in_use = *current.borrow_and_update();
        match keep_once(&store, &lease, in_use, &next).await {
            Ok(()) => {
                if current.changed().await.is_err() {
                    return;
                }
            }
            Err(Error::Fenced { .. }) => return,
            Err(error) => {
                tracing::warn!(
                    lane_id = lease.lane_id,
                    "segments not kept in order, trying again: {error}"
                );
                tokio::select! {
                    () = next.closed() => return,
                    () = tokio::time::sleep(RETRY_AFTER) => {}
                }
            }
        }
    }
}

async fn keep_once(
    store: &Store,
    lease: &LaneLease,
    in_use: i32,
    next: &watch::Sender<i32>,
) -> Result<()> {
    // A connection of its own: sealing and freezing may take longer than a pooled one allows a statement.
    let mut connection = crate::pool::connect(&store.inner.connect).await?;
    let client = &mut connection.client;
    let open = open_segments(client, lease).await?;
    let ahead = match open.iter().find(|&&id| id > in_use) {
        Some(&id) => id,
        None => create(client, lease).await?,
    };
    next.send_replace(ahead);
    for &id in open.iter().filter(|&&id| id < in_use) {
        seal(client, lease, id).await?;
    }
    for row in client.query(UNFROZEN, &[&lease.lane_id]).await? {
        freeze(client, row.get(0)).await?;
    }
    Ok(())
}
