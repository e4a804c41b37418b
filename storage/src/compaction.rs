//! What the log cleaner reads and writes: the stretches of a partition in sealed segments, their runs, and a new sealed segment
//! that takes the place of stretches. Which records stay is the caller's business.

use std::pin::pin;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::SinkExt;
use tokio_postgres::error::SqlState;

use crate::chunks::{CopyMessage, Rows};
use crate::pool::{self, Connection};
use crate::segments::create_table;
use crate::{Error, LaneLease, LaneWriter, Outcome, Result, Run, Store};

/// What a sealed segment holds of one partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stretch {
    /// The segment.
    pub segment_id: i32,
    /// Offset of the first batch.
    pub first_offset: i64,
    /// One past the last offset.
    pub end_offset: i64,
    /// Bytes of the batches.
    pub bytes: i64,
}

/// The part of a partition's log that may be cleaned, and how far that has been done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cleanable {
    /// Partition, as [`crate::PartitionRow::id`].
    pub part: i32,
    /// Cleaned before this offset.
    pub cleaned_to: i64,
    /// By offset.
    pub stretches: Vec<Stretch>,
}

/// A run with its place in the order over all partitions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlacedRun {
    /// Offset of its first record.
    pub base_offset: i64,
    /// Records appended through the lane before it.
    pub global_base: i64,
    /// The batches.
    pub data: Bytes,
}

/// Stretches of a partition that were written anew, as one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replacement {
    /// Partition, as [`crate::PartitionRow::id`].
    pub part: i32,
    /// What is replaced: neighbours, by offset.
    pub stretches: Vec<Stretch>,
    /// Offset of the first batch that was written.
    pub first_offset: i64,
    /// Bytes that were written.
    pub bytes: i64,
    /// Cleaned before this offset from now on; `None` if there is more to do.
    pub cleaned_to: Option<i64>,
    /// Offsets of markers that are gone, with all of their transactions.
    pub gone_markers: Vec<i64>,
}

const STRETCHES: &str = "select s.part, coalesce(c.end_offset, 0), s.segment_id, s.first_offset, s.end_offset, s.bytes \
     from kafka.segment_partitions s \
     join kafka.topic_partitions p on p.id = s.part and s.end_offset > p.log_start_offset \
     left join kafka.cleaned c on c.part = s.part \
     where s.part = any($1) order by s.part, s.end_offset";
const SESSION: &str = "set idle_in_transaction_session_timeout = '10min'; set tcp_keepalives_idle = 10; \
     set tcp_keepalives_interval = 5; set tcp_keepalives_count = 2";
const REGISTER: &str = "insert into kafka.segments (lane_id, state, frozen_at) values ($1, 'sealed', now()) \
     returning segment_id";
/// Who writes the same segments anew waits here, and then finds nothing of the stretches.
const LOCK: &str =
    "select 1 from kafka.segments where segment_id = any($1) order by segment_id for update";
const TAKE: &str = "delete from kafka.segment_partitions s \
     using unnest($1::int4[], $2::int4[], $3::int8[], $4::int8[]) u (part, segment_id, first_offset, end_offset) \
     where s.part = u.part and s.segment_id = u.segment_id \
         and s.first_offset = u.first_offset and s.end_offset = u.end_offset";
const NOTE: &str = "insert into kafka.segment_partitions (segment_id, part, first_offset, end_offset, bytes) \
     select $1, u.* from unnest($2::int4[], $3::int8[], $4::int8[], $5::int8[]) u";
const CLEANED: &str = "insert into kafka.cleaned as c (part, end_offset) \
     select u.* from unnest($1::int4[], $2::int8[]) u (part, end_offset) \
     where exists (select 1 from kafka.topic_partitions p where p.id = u.part for key share) \
     on conflict (part) do update set end_offset = greatest(c.end_offset, excluded.end_offset), cleaned_at = now()";
const FORGET_ABORTED: &str = "delete from kafka.aborted_transactions a \
     using unnest($1::int4[], $2::int8[]) u (part, last_offset) where a.part = u.part and a.last_offset = u.last_offset";
/// Marks within what was cleaned lie before fewer bytes than they did, which is as if more had been appended before them.
const SHIFT_MARKS: &str = "update kafka.time_index i set bytes = i.bytes + u.saved \
     from unnest($1::int4[], $2::int8[], $3::int8[]) u (part, end_offset, saved) \
     where i.part = u.part and i.end_offset < u.end_offset";
const TIMES: &str = "update kafka.segments n set created_at = o.created_at, sealed_at = o.sealed_at, \
         bytes = pg_relation_size(('kafka.' || n.table_name)::regclass) \
     from (select min(created_at) as created_at, max(sealed_at) as sealed_at \
         from kafka.segments where segment_id = any($2)) o where n.segment_id = $1";
const MOVED: &str =
    "update kafka.segments set moved_at = clock_timestamp() where segment_id = any($1)";
/// Size of the messages the rows are sent in.
const COPY_MESSAGE_BYTES: usize = 256 << 10;
/// A statement that takes longer is given up, with the segment.
const PATIENCE: Duration = Duration::from_secs(120);

/// Rows of a stretch behind one of them, whole runs as far as the limit goes.
fn rows_after(segment_id: i32) -> String {
    format!(
        "select base, coalesce(global_base, 0), chunk, data from kafka.log_{segment_id} \
         where part = $1 and base < $2 and (base, chunk) > ($3, $4) order by base, chunk limit $5"
    )
}

/// Reads the runs of one stretch in their order.
#[derive(Debug)]
pub struct StretchReader {
    store: Store,
    part: i32,
    stretch: Stretch,
    /// The last row that was read.
    after: (i64, i32),
    /// The run that it belongs to, as far as it was read.
    open: Option<(i64, i64, BytesMut)>,
    is_at_end: bool,
}

impl StretchReader {
    /// The next runs, whole, about `rows_max` pages of them and at least one; empty at the end. `NotFound` when the stretch was
    /// moved meanwhile.
    pub async fn next(&mut self, rows_max: i64) -> Result<Vec<PlacedRun>> {
        let mut runs = Vec::new();
        while runs.is_empty() && !self.is_at_end {
            self.read(rows_max, &mut runs).await?;
        }
        Ok(runs)
    }

    async fn read(&mut self, rows_max: i64, runs: &mut Vec<PlacedRun>) -> Result<()> {
        let client = self.store.client().await?;
        let text = rows_after(self.stretch.segment_id);
        let gone = |error: tokio_postgres::Error| match error.code() {
            Some(&SqlState::UNDEFINED_TABLE) => Error::NotFound("a segment to clean".to_owned()),
            _ => Error::from(error),
        };
        let statement = client.prepare_cached(&text).await.map_err(gone)?;
        let (base, chunk) = self.after;
        let rows = client
            .query(
                &statement,
                &[
                    &self.part,
                    &self.stretch.end_offset,
                    &base,
                    &chunk,
                    &rows_max,
                ],
            )
            .await
            .map_err(gone)?;
        for row in &rows {
            let (base, global_base, chunk): (i64, i64, i32) = (row.get(0), row.get(1), row.get(2));
            if self.open.as_ref().is_some_and(|(open, ..)| *open != base) {
                runs.extend(self.end_run());
            }
            let (_, _, data) = self
                .open
                .get_or_insert_with(|| (base, global_base, BytesMut::new()));
            data.extend_from_slice(row.get(3));
            self.after = (base, chunk);
        }
        if (rows.len() as i64) < rows_max {
            self.is_at_end = true;
            runs.extend(self.end_run());
        }
        Ok(())
    }

    fn end_run(&mut self) -> Option<PlacedRun> {
        let (base_offset, global_base, data) = self.open.take()?;
        Some(PlacedRun {
            base_offset,
            global_base,
            data: data.freeze(),
        })
    }
}

impl Store {
    /// The stretches of partitions in sealed segments, those that can be told of; partitions without any are left out.
    pub async fn cleanable(&self, parts: &[i32]) -> Result<Vec<Cleanable>> {
        let client = self.client().await?;
        let rows = client.query(STRETCHES, &[&parts]).await?;
        let mut found: Vec<Cleanable> = Vec::new();
        // What a segment just sealed holds may not be measured yet; what follows has to wait with it.
        let mut unmeasured = None;
        for row in &rows {
            let part: i32 = row.get(0);
            let bytes: i64 = row.get(5);
            if bytes == 0 {
                unmeasured = Some(part);
            }
            if unmeasured == Some(part) {
                continue;
            }
            if found.last().is_none_or(|last| last.part != part) {
                found.push(Cleanable {
                    part,
                    cleaned_to: row.get(1),
                    stretches: Vec::new(),
                });
            }
            if let Some(last) = found.last_mut() {
                last.stretches.push(Stretch {
                    segment_id: row.get(2),
                    first_offset: row.get(3),
                    end_offset: row.get(4),
                    bytes,
                });
            }
        }
        Ok(found)
    }

    /// Reads one stretch from its beginning.
    #[must_use]
    pub fn read_stretch(&self, part: i32, stretch: Stretch) -> StretchReader {
        StretchReader {
            store: self.clone(),
            part,
            stretch,
            after: (stretch.first_offset - 1, i32::MAX),
            open: None,
            is_at_end: false,
        }
    }
}

/// The right to write sealed segments of a lane anew, as long as its writer has the lane.
#[derive(Debug)]
pub struct LaneCleaner {
    store: Store,
    lease: LaneLease,
}

impl LaneWriter {
    /// For the cleaner that works beside this writer.
    #[must_use]
    pub fn cleaner(&self) -> LaneCleaner {
        LaneCleaner {
            store: self.store().clone(),
            lease: self.lease().share(),
        }
    }
}

impl LaneCleaner {
    /// A new segment, which nobody sees before it is finished. Dropped before that, it is as if it had never been.
    pub async fn begin(&self) -> Result<CleanSegment> {
        let connection = pool::connect(&self.store.inner.connect).await?;
        let client = &connection.client;
        client.batch_execute(SESSION).await?;
        client.batch_execute("begin").await?;
        self.lease.committed_flushes(client).await?;
        let segment_id: i32 = client
            .query_one(REGISTER, &[&self.lease.lane_id])
            .await?
            .get(0);
        client.batch_execute(&create_table(segment_id)).await?;
        Ok(CleanSegment {
            store: self.store.clone(),
            lease: self.lease.share(),
            connection,
            segment_id,
        })
    }
}

/// A sealed segment that is being written.
#[derive(Debug)]
pub struct CleanSegment {
    store: Store,
    lease: LaneLease,
    connection: Connection,
    segment_id: i32,
}

impl CleanSegment {
    /// Adds runs, each with its `global_base`.
    pub async fn add(&self, runs: &[(Run, i64)]) -> Result<()> {
        if runs.is_empty() {
            return Ok(());
        }
        let rows = Rows::cut_at(runs);
        let copying = async {
            // Nobody sees the table yet, so its rows may be frozen from the beginning.
            let copy = format!(
                "copy kafka.log_{} (base, global_base, part, span, chunk, data) \
                 from stdin with (format binary, freeze)",
                self.segment_id
            );
            let sink = self
                .connection
                .client
                .copy_in::<_, CopyMessage>(&copy)
                .await?;
            let mut sink = pin!(sink);
            for message in rows.copy_messages(COPY_MESSAGE_BYTES) {
                sink.feed(message).await?;
            }
            sink.finish().await?;
            Ok(())
        };
        in_time(copying).await
    }

    /// Puts what was added in the place of stretches. `NotFound` if one of them was moved by somebody else: nothing is done then.
    pub async fn finish(self, replacements: &[Replacement]) -> Result<()> {
        in_time(self.replace(replacements)).await?;
        self.store.look_for_expired_segments();
        Ok(())
    }

    async fn replace(&self, replacements: &[Replacement]) -> Result<()> {
        let client = &self.connection.client;
        let old: Vec<(i32, Stretch)> = replacements
            .iter()
            .flat_map(|r| r.stretches.iter().map(|stretch| (r.part, *stretch)))
            .collect();
        let parts: Vec<i32> = old.iter().map(|(part, _)| *part).collect();
        let segments: Vec<i32> = old.iter().map(|(_, stretch)| stretch.segment_id).collect();
        let firsts: Vec<i64> = old
            .iter()
            .map(|(_, stretch)| stretch.first_offset)
            .collect();
        let ends: Vec<i64> = old.iter().map(|(_, stretch)| stretch.end_offset).collect();
        client.query(LOCK, &[&segments]).await?;
        self.lease.committed_flushes(client).await?;
        let taken = client
            .execute(TAKE, &[&parts, &segments, &firsts, &ends])
            .await?;
        if taken != old.len() as u64 {
            return Err(Error::NotFound("a stretch that was cleaned".to_owned()));
        }
        self.note(replacements).await?;
        client.execute(MOVED, &[&segments]).await?;
        client
            .execute(TIMES, &[&self.segment_id, &segments])
            .await?;
        client.batch_execute("commit").await?;
        tracing::debug!(segment_id = self.segment_id, from = ?segments, "segments cleaned");
        Ok(())
    }

    async fn note(&self, replacements: &[Replacement]) -> Result<()> {
        let client = &self.connection.client;
        let parts: Vec<i32> = replacements.iter().map(|r| r.part).collect();
        let firsts: Vec<i64> = replacements.iter().map(|r| r.first_offset).collect();
        let ends: Vec<i64> = replacements.iter().map(Replacement::end_offset).collect();
        let bytes: Vec<i64> = replacements.iter().map(|r| r.bytes).collect();
        let saved: Vec<i64> = replacements.iter().map(Replacement::saved_bytes).collect();
        client
            .execute(NOTE, &[&self.segment_id, &parts, &firsts, &ends, &bytes])
            .await?;
        client
            .execute(SHIFT_MARKS, &[&parts, &ends, &saved])
            .await?;
        let gone = replacements.iter();
        let gone = gone.flat_map(|r| r.gone_markers.iter().map(|marker| (r.part, *marker)));
        let (parts, markers): (Vec<i32>, Vec<i64>) = gone.unzip();
        if !markers.is_empty() {
            client.execute(FORGET_ABORTED, &[&parts, &markers]).await?;
        }
        let (parts, cleaned): (Vec<i32>, Vec<i64>) = replacements
            .iter()
            .filter_map(|r| Some((r.part, r.cleaned_to?)))
            .unzip();
        client.execute(CLEANED, &[&parts, &cleaned]).await?;
        Ok(())
    }
}

impl Replacement {
    /// One past the last offset of what is replaced.
    #[must_use]
    pub fn end_offset(&self) -> i64 {
        self.stretches
            .last()
            .map_or(self.first_offset, |stretch| stretch.end_offset)
    }

    fn saved_bytes(&self) -> i64 {
        let before: i64 = self.stretches.iter().map(|stretch| stretch.bytes).sum();
        before - self.bytes
    }
}

async fn in_time<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    match tokio::time::timeout(PATIENCE, work).await {
        Ok(result) => result,
        Err(_) => Err(Error::unavailable(
            Outcome::Unknown,
            "a segment could not be written anew in time",
        )),
    }
}
