//! The life of segment tables: made ahead, filled by their lane's owner, sealed, frozen, dropped whole when nothing in them is
//! to be read any more. Their rows are written by `writer` and read by `read`.
//!
//! A segment belongs to one lane, so its owner alone decides where a flush goes. Open segments of a lane, by id: those
//! already rolled over and waiting to be sealed, the current one, empty ones made ahead. A reader that looks at all of them
//! needs no word of a roll.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use tokio_postgres::{Client, Transaction};

use crate::{DatabaseConfig, Error, LaneLease, Result, Store, cleaning};

const RETRY_AFTER: Duration = Duration::from_secs(1);
/// How often a lane without a roll is looked after.
const TIDY_EVERY: Duration = Duration::from_secs(30);
/// The disk rests for so many times as long as the drop of a segment took.
const REST_FACTOR: u32 = 2;
/// Enough for all that has queued up meanwhile.
const REST_MAX: Duration = Duration::from_millis(500);

const OPEN: &str = "select segment_id from kafka.segments where lane_id = $1 and state = 'open' order by segment_id";
const REGISTER: &str = "insert into kafka.segments (lane_id) values ($1) returning segment_id";
const SEAL_LOCK: &str =
    "select 1 from kafka.segments where segment_id = $1 and state = 'open' for update";
const SEALED: &str = "update kafka.segments set state = 'sealed', sealed_at = now(), \
     bytes = pg_relation_size(('kafka.' || table_name)::regclass) where segment_id = $1";
const UNFROZEN: &str = "select segment_id from kafka.segments \
     where lane_id = $1 and state = 'sealed' and frozen_at is null order by segment_id";
const UNWEIGHED: &str = "select g.segment_id from kafka.segments g where g.lane_id = $1 and g.state = 'sealed' \
     and exists (select from kafka.segment_partitions s where s.segment_id = g.segment_id and s.bytes = 0)";
const FROZEN: &str = "update kafka.segments set frozen_at = now() where segment_id = $1";
/// Sealed segments whose partitions are gone or begin after them. What was moved out of one may still be read there by whoever began
/// before that; a session whose state is hidden from this one is taken to have ended its query after a minute.
const EXPIRED: &str = "select g.segment_id from kafka.segments g where g.lane_id = $1 and g.state = 'sealed' \
     and not exists (select 1 from kafka.segment_partitions s join kafka.topic_partitions p on p.id = s.part \
         where s.segment_id = g.segment_id and s.end_offset > p.log_start_offset) \
     and not exists (select 1 from pg_stat_activity a where g.moved_at is not null \
         and a.datname = current_database() and a.pid <> pg_backend_pid() \
         and (a.xact_start < g.moved_at + interval '1 second' \
             or (a.query = '<insufficient privilege>' and g.moved_at > now() - interval '1 minute'))) \
     order by g.segment_id";
const FORGET: &str = "delete from kafka.segments where segment_id = $1";
/// A reader of the table is not to be waited for long, as others would wait behind.
const DROP_PATIENCE: &str = "set local lock_timeout = '200ms'";

/// Rows of at most [`crate::chunks::CHUNK_BYTES`] fill a page each; PLAIN and the tuple target keep them out of TOAST.
pub(crate) fn create_table(segment_id: i32) -> String {
    format!(
        "create table kafka.log_{segment_id} (
             base int8 not null, global_base int8, part int4 not null, span int4 not null, chunk int4 not null, data bytea not null,
             primary key (part, base, chunk)
         ) with (toast_tuple_target = 8160, autovacuum_enabled = false);
         alter table kafka.log_{segment_id} alter data set storage plain;
         comment on table kafka.log_{segment_id} is 'Segment of the log: runs of record batches, cut into rows';
         comment on column kafka.log_{segment_id}.base is 'Offset of the first record of the run';
         comment on column kafka.log_{segment_id}.global_base is 'Records appended through the lane before this run';
         comment on column kafka.log_{segment_id}.part is 'Partition, kafka.partitions.part';
         comment on column kafka.log_{segment_id}.span is 'Last offset of the run minus its base';
         comment on column kafka.log_{segment_id}.chunk is 'Number of the piece within the run, from 0';
         comment on column kafka.log_{segment_id}.data is 'Record batches in Kafka''s format; join the chunks of a run in order'"
    )
}

/// When the bytes of each partition in a sealed segment are summed up, which reads all its rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Weigh {
    Now,
    /// By the keeper of its lane; 0 stands in `bytes` until then.
    Later,
}

/// Hops from partition to partition along the primary key, which needs no sort and little memory.
fn record_contents(segment_id: i32, weigh: Weigh) -> String {
    let bytes = match weigh {
        Weigh::Now => format!(
            "(select sum(octet_length(data)) from kafka.log_{segment_id} l where l.part = p.part)"
        ),
        Weigh::Later => "0".to_owned(),
    };
    format!(
        "with recursive p (part) as (
             (select part from kafka.log_{segment_id} order by part limit 1)
             union all
             select (select l.part from kafka.log_{segment_id} l where l.part > p.part order by l.part limit 1)
             from p where p.part is not null
         )
         insert into kafka.segment_partitions (segment_id, part, first_offset, end_offset, bytes)
         select {segment_id}, p.part,
             (select base from kafka.log_{segment_id} l where l.part = p.part order by base limit 1),
             (select base + span + 1 from kafka.log_{segment_id} l where l.part = p.part order by base desc limit 1),
             {bytes}
         from p where p.part is not null"
    )
}

fn weigh(segment_id: i32) -> String {
    format!(
        "update kafka.segment_partitions s set bytes = \
             (select sum(octet_length(data)) from kafka.log_{segment_id} l where l.part = s.part) \
         where s.segment_id = {segment_id} and s.bytes = 0"
    )
}

/// Where a lane's next flush goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct OpenSegment {
    pub(crate) id: i32,
    /// About the size of its table.
    pub(crate) bytes: u64,
    /// When its first flush was.
    since: Instant,
}

impl OpenSegment {
    pub(crate) fn empty(id: i32) -> Self {
        Self {
            id,
            bytes: 0,
            since: Instant::now(),
        }
    }

    /// Counts the rows of a flush.
    pub(crate) fn add(&mut self, table_bytes: u64) {
        if self.bytes == 0 {
            self.since = Instant::now();
        }
        self.bytes += table_bytes;
    }

    /// Whether it is time to go on in the next one.
    pub(crate) fn is_full(&self, config: &DatabaseConfig) -> bool {
        let is_old = self.bytes > 0 && self.since.elapsed() >= config.segment_age;
        self.bytes >= config.segment_bytes || is_old
    }
}

/// The current segment of a lane just claimed: the last one with rows, or the first if none has any, made if there is none.
pub(crate) async fn current(client: &mut Client, lease: &LaneLease) -> Result<OpenSegment> {
    let open = open_segments(client, lease).await?;
    for &id in open.iter().rev() {
        if !is_empty(client, id).await? {
            return found(client, id).await;
        }
    }
    let id = match open.first() {
        Some(&id) => id,
        None => create(client, lease).await?,
    };
    Ok(OpenSegment::empty(id))
}

/// A segment with rows. When its first came is not known; its table was made before that.
async fn found(client: &Client, id: i32) -> Result<OpenSegment> {
    const FOUND: &str = "select pg_relation_size(('kafka.' || table_name)::regclass), \
         greatest(0, extract(epoch from now() - created_at))::float8 from kafka.segments where segment_id = $1";
    let row = client.query_one(FOUND, &[&id]).await?;
    let (bytes, age_seconds): (i64, f64) = (row.get(0), row.get(1));
    let age = Duration::try_from_secs_f64(age_seconds).unwrap_or_default();
    let now = Instant::now();
    Ok(OpenSegment {
        id,
        bytes: bytes.unsigned_abs(),
        since: now.checked_sub(age).unwrap_or(now),
    })
}

pub(crate) async fn open_segments(client: &Client, lease: &LaneLease) -> Result<Vec<i32>> {
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
    let id = fresh(&transaction, lease.lane_id).await?;
    transaction.commit().await?;
    tracing::debug!(lane_id = lease.lane_id, segment_id = id, "segment made");
    Ok(id)
}

async fn seal(client: &mut Client, lease: &LaneLease, segment_id: i32) -> Result<()> {
    let transaction = client.transaction().await?;
    // A claim locks the same row before it commits: either it waits for this seal, or the epoch below is the new one.
    let is_open = transaction.query_opt(SEAL_LOCK, &[&segment_id]).await?;
    if is_open.is_none() {
        return Ok(());
    }
    lease.committed_flushes(&transaction).await?;
    seal_locked(&transaction, segment_id, Weigh::Now).await?;
    transaction.commit().await?;
    tracing::debug!(lane_id = lease.lane_id, segment_id, "segment sealed");
    Ok(())
}

async fn seal_locked(transaction: &Transaction<'_>, segment_id: i32, weigh: Weigh) -> Result<()> {
    transaction
        .batch_execute(&record_contents(segment_id, weigh))
        .await?;
    transaction.execute(SEALED, &[&segment_id]).await?;
    Ok(())
}

/// Seals all segments of a lane that are open, the one in use and the empty ones too. The transaction must hold the lane's row.
pub(crate) async fn seal_all(
    transaction: &Transaction<'_>,
    lane_id: i32,
    weigh: Weigh,
) -> Result<()> {
    for row in transaction.query(OPEN, &[&lane_id]).await? {
        let segment_id: i32 = row.get(0);
        let is_open = transaction.query_opt(SEAL_LOCK, &[&segment_id]).await?;
        if is_open.is_some() {
            seal_locked(transaction, segment_id, weigh).await?;
        }
    }
    Ok(())
}

/// A new open segment of a lane, for who holds the lane's row.
pub(crate) async fn fresh(transaction: &Transaction<'_>, lane_id: i32) -> Result<i32> {
    let id: i32 = transaction.query_one(REGISTER, &[&lane_id]).await?.get(0);
    transaction.batch_execute(&create_table(id)).await?;
    Ok(id)
}

/// Marks the rows as visible to all for good while their pages are still in the checkpoint cycle that wrote them;
/// otherwise the first read after a checkpoint writes each page to the WAL again. False if an older transaction that is
/// still open kept rows from being frozen.
async fn freeze(client: &Client, segment_id: i32) -> Result<bool> {
    client
        .batch_execute(&format!(
            "vacuum (freeze, index_cleanup off, truncate off) kafka.log_{segment_id}"
        ))
        .await?;
    let done = format!(
        "select relallvisible >= relpages from pg_class where oid = 'kafka.log_{segment_id}'::regclass"
    );
    Ok(client.query_one(&done, &[]).await?.get(0))
}

/// Drops the table with all its rows. False if somebody is reading it.
async fn drop_whole(client: &mut Client, segment_id: i32) -> Result<bool> {
    let transaction = client.transaction().await?;
    transaction.batch_execute(DROP_PATIENCE).await?;
    transaction.execute(FORGET, &[&segment_id]).await?;
    let dropped = transaction
        .batch_execute(&format!("drop table if exists kafka.log_{segment_id}"))
        .await;
    match dropped.map_err(Error::from) {
        Ok(()) => transaction.commit().await?,
        Err(Error::Conflict(_)) => return Ok(false),
        Err(error) => return Err(error),
    }
    tracing::debug!(segment_id, "segment dropped");
    Ok(true)
}

/// Keeps a lane's segments in order beside its writer, until the writer is gone or fenced. What the writer has left is frozen
/// at the end, before the checkpoint of a PostgreSQL that stops with it.
///
/// `current` tells where flushes go; `next` is set to an empty segment after it.
pub(crate) async fn keep(
    store: Store,
    lease: LaneLease,
    current: watch::Receiver<i32>,
    next: watch::Sender<i32>,
) {
    let every = TIDY_EVERY.min(store.inner.config.segment_age.max(RETRY_AFTER / 10));
    let mut keeper = Keeper {
        store,
        lease,
        current,
        next,
        flushes_seen: 0,
        flushes_frozen: 0,
        drops: Drops::new(),
    };
    let mut is_resting = false;
    loop {
        let kept = match is_resting {
            true => keeper.go_on_dropping().await,
            false => keeper.tidy().await,
        };
        is_resting = false;
        match kept {
            Ok(()) => {
                let changed = tokio::select! {
                    changed = keeper.current.changed() => changed,
                    () = keeper.store.inner.expired.notified() => Ok(()),
                    () = tokio::time::sleep_until(keeper.drops.not_before), if keeper.drops.is_under_way() => {
                        is_resting = true;
                        Ok(())
                    }
                    () = tokio::time::sleep(every) => Ok(()),
                };
                if changed.is_err() {
                    if let Err(error) = keeper.freeze_rest().await {
                        tracing::debug!("the last segment is not frozen: {error}");
                    }
                    return;
                }
            }
            Err(Error::Fenced { .. }) => return,
            Err(error) => {
                tracing::warn!(
                    lane_id = keeper.lease.lane_id,
                    "segments not kept in order, trying again: {error}"
                );
                tokio::select! {
                    () = keeper.next.closed() => return,
                    () = tokio::time::sleep(RETRY_AFTER) => {}
                }
            }
        }
    }
}

struct Keeper {
    store: Store,
    lease: LaneLease,
    current: watch::Receiver<i32>,
    next: watch::Sender<i32>,
    /// `flush_seq` when this looked last.
    flushes_seen: i64,
    /// `flush_seq` when the segment in use was frozen last.
    flushes_frozen: i64,
    drops: Drops,
}

/// How far the dropping of expired segments has come. The blocks of a table are freed while its drop is committed, which keeps
/// many a disk from anything else for a while, a flush of the log too. So they go one by one with rests in between.
#[derive(Debug)]
struct Drops {
    /// The one that was tried last; `None` between two passes.
    tried: Option<i32>,
    /// Whether any was dropped in this pass.
    is_worth_it: bool,
    /// How many were left after the last drop.
    left: usize,
    /// When the next may be dropped.
    not_before: Instant,
}

impl Drops {
    fn new() -> Self {
        Self {
            tried: None,
            is_worth_it: false,
            left: usize::MAX,
            not_before: Instant::now(),
        }
    }

    fn is_under_way(&self) -> bool {
        self.tried.is_some()
    }

    /// What of these, in order, is to be tried next.
    fn next(&mut self, expired: &[i32]) -> Option<i32> {
        let tried = self.tried.unwrap_or(i32::MIN);
        self.tried = expired.iter().copied().find(|id| *id > tried);
        self.tried
    }

    /// One is dropped and took so long.
    fn done(&mut self, took: Duration, left: usize) {
        self.is_worth_it = true;
        self.not_before = Instant::now() + self.rest(took, left);
    }

    /// None where as many have come as have gone: what has expired must get less.
    fn rest(&mut self, took: Duration, left: usize) -> Duration {
        let is_less = left < std::mem::replace(&mut self.left, left);
        match is_less {
            true => (took * REST_FACTOR).min(REST_MAX),
            false => Duration::ZERO,
        }
    }

    /// All are tried. What has expired meanwhile may be before those, so another pass follows one that was of use.
    fn pass_is_over(&mut self) {
        self.tried = self.is_worth_it.then_some(i32::MIN);
        self.is_worth_it = false;
        self.left = usize::MAX;
    }
}

impl Keeper {
    async fn go_on_dropping(&mut self) -> Result<()> {
        let mut connection = crate::pool::connect(&self.store.inner.connect).await?;
        self.lease.committed_flushes(&connection.client).await?;
        self.drop_expired(&mut connection.client).await
    }

    /// Drops one segment, if there is one to be dropped and it is time.
    async fn drop_expired(&mut self, client: &mut Client) -> Result<()> {
        if Instant::now() < self.drops.not_before {
            return Ok(());
        }
        let rows = client.query(EXPIRED, &[&self.lease.lane_id]).await?;
        let expired: Vec<i32> = rows.iter().map(|row| row.get(0)).collect();
        while let Some(id) = self.drops.next(&expired) {
            let begun = Instant::now();
            if drop_whole(client, id).await? {
                self.drops.done(begun.elapsed(), expired.len() - 1);
                return Ok(());
            }
        }
        self.drops.pass_is_over();
        Ok(())
    }

    async fn tidy(&mut self) -> Result<()> {
        let in_use = *self.current.borrow_and_update();
        // A connection of its own: sealing and freezing may take longer than a pooled one allows a statement.
        let mut connection = crate::pool::connect(&self.store.inner.connect).await?;
        let client = &mut connection.client;
        let lease = &self.lease;
        let flushes = lease.committed_flushes(client).await?;
        let open = open_segments(client, lease).await?;
        let ahead = match open.iter().find(|&&id| id > in_use) {
            Some(&id) => id,
            None => create(client, lease).await?,
        };
        self.next.send_replace(ahead);
        for &id in open.iter().filter(|&&id| id < in_use) {
            seal(client, lease, id).await?;
        }
        for row in client.query(UNWEIGHED, &[&lease.lane_id]).await? {
            client.batch_execute(&weigh(row.get(0))).await?;
        }
        cleaning::rescue(client, lease).await?;
        self.drop_expired(client).await?;
        let lease = &self.lease;
        for row in client.query(UNFROZEN, &[&lease.lane_id]).await? {
            let id: i32 = row.get(0);
            if freeze(client, id).await? {
                client.execute(FROZEN, &[&id]).await?;
            }
        }
        // A lane that has gone quiet may not roll for long. Not while it is busy: rows would go into the gaps of pages
        // that are done with.
        let is_quiet = flushes == self.flushes_seen;
        if is_quiet && flushes != self.flushes_frozen && freeze(client, in_use).await? {
            self.flushes_frozen = flushes;
        }
        self.flushes_seen = flushes;
        Ok(())
    }

    async fn freeze_rest(&mut self) -> Result<()> {
        let connection = crate::pool::connect(&self.store.inner.connect).await?;
        let flushes = self.lease.committed_flushes(&connection.client).await?;
        if flushes != self.flushes_frozen {
            let in_use = *self.current.borrow();
            freeze(&connection.client, in_use).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_disk_rests_while_what_has_expired_gets_less() {
        let mut drops = Drops::new();
        let mut rest = |took_ms, left| {
            let rest = drops.rest(Duration::from_millis(took_ms), left);
            rest.as_millis()
        };
        assert_eq!(rest(150, 9), 300);
        assert_eq!(rest(200, 8), 400);
        assert_eq!(rest(60_000, 7), 500);
        assert_eq!(rest(60_000, 7), 0, "one came, one went");
        assert_eq!(rest(60_000, 70), 0);
        assert_eq!(rest(150, 69), 300);
    }

    #[test]
    fn each_expired_segment_is_tried_once_in_a_pass() {
        let mut drops = Drops::new();
        assert_eq!(drops.next(&[3, 5]), Some(3));
        drops.done(Duration::ZERO, 1);
        assert_eq!(drops.next(&[1, 5]), Some(5), "1 has expired meanwhile");
        assert_eq!(drops.next(&[1, 5]), None, "5 is in use");
        drops.pass_is_over();
        assert!(drops.is_under_way());
        assert_eq!(drops.next(&[1, 5]), Some(1));
        assert_eq!(drops.next(&[1, 5]), Some(5));
        assert_eq!(drops.next(&[1, 5]), None);
        drops.pass_is_over();
        assert!(!drops.is_under_way(), "none could be dropped");
    }
}
