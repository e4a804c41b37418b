//! Reading runs back from the segment tables, and where each partition ends.
//!
//! A roll or seal at the same time changes nothing for a reader: tables named by an older list are still there, and sealed
//! ones hold what they held when they were open.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use deadpool_postgres::Object;
use futures_util::TryStream;
use tokio::runtime::Handle;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::ToSql;
use tokio_postgres::{IsolationLevel, Row, RowStream};

use crate::chunks::CHUNK_BYTES;
use crate::{Result, Store};

/// A stored run: one or more whole record batches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunBytes {
    /// Offset of its first record.
    pub base_offset: i64,
    /// Offset of its last record.
    pub last_offset: i64,
    /// The batches, byte for byte as flushed.
    pub data: Bytes,
}

/// Sealed segments looked up at once.
const SEALED_MAX: i64 = 4;
/// Rows of one query at most; bounds its memory where rows are small.
const ROWS_MAX: usize = 4_096;
/// Memory is taken for this much at first, then for as much again as has been read.
const ROOM_BYTES_MIN: usize = 256 << 10;
/// How often a segment may be dropped under a reader before that is an error.
const LOCATE_MAX: usize = 3;

/// Segments that may hold offset `$2` of partition `$1` or later ones, in offset order: sealed ones by what they are known
/// to hold (`end_offset` not null), then the open ones of its lane.
const LOCATE: &str = "(select segment_id, end_offset from kafka.segment_partitions \
       where part = $1 and end_offset > $2 order by end_offset limit $3) \
     union all \
     select segment_id, null from kafka.segments where state = 'open' \
       and lane_id = (select lane from kafka.topic_partitions where id = $1)";

const OPEN_OF_ALL: &str =
    "select segment_id from kafka.segments where state = 'open' order by segment_id";

/// From the run that holds `$2`, or the first after it.
fn rows_from(segment_id: i32) -> String {
    format!(
        "select base, span, chunk, data from kafka.log_{segment_id} \
         where part = $1 and base >= coalesce( \
             (select case when f.base + f.span >= $2 then f.base end from \
                 (select base, span from kafka.log_{segment_id} where part = $1 and base <= $2 \
                  order by base desc limit 1) f), \
             $2) \
         order by base, chunk limit $3"
    )
}

/// What follows chunk `$3` of the run at `$2`.
fn rows_after(segment_id: i32) -> String {
    format!(
        "select base, span, chunk, data from kafka.log_{segment_id} \
         where part = $1 and (base, chunk) > ($2, $3) order by base, chunk limit $4"
    )
}

fn end_offsets(open_segments: &[i32]) -> String {
    let mut ends = String::new();
    for id in open_segments {
        ends.push_str(&format!(
            ", (select base + span + 1 from kafka.log_{id} where part = p.id order by base desc limit 1)"
        ));
    }
    format!(
        "select p.id, greatest(p.log_start_offset, \
             (select end_offset from kafka.segment_partitions s where s.part = p.id order by end_offset desc limit 1){ends}) \
         from kafka.topic_partitions p where p.id = any($1)"
    )
}

impl Store {
    /// Runs of partition `part` in offset order, from the one that holds `from_offset` (or the first after it) on.
    ///
    /// Whole runs only, about `max_bytes` of them at most, but always at least one if there is any at or after
    /// `from_offset`; empty at the end of the log. The first run may begin before `from_offset`.
    /// `log_start_offset` is the caller's to keep: runs below it may still be stored and are returned.
    pub async fn read(
        &self,
        part: i32,
        from_offset: i64,
        max_bytes: usize,
    ) -> Result<Vec<RunBytes>> {
        let client = self.client().await?;
        let mut reader = Reader {
            client: &client,
            part,
            from_offset,
            max_bytes,
            block: BytesMut::new(),
            last_row: None,
            bytes: 0,
            runs: Vec::new(),
        };
        let mut tries = 0;
        loop {
            match reader.read_located().await {
                Ok(true) => return Ok(reader.runs),
                Ok(false) => {}
                Err(error)
                    if error.code() == Some(&SqlState::UNDEFINED_TABLE) && tries < LOCATE_MAX =>
                {
                    tries += 1
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Log end offset (the next to be assigned) of each partition, in the order asked; partitions that do not exist are
    /// left out.
    pub async fn end_offsets(&self, parts: &[i32]) -> Result<Vec<(i32, i64)>> {
        let mut client = self.client().await?;
        // One snapshot: no segment is rolled or sealed between the two queries.
        let transaction = client
            .build_transaction()
            .isolation_level(IsolationLevel::RepeatableRead)
            .read_only(true)
            .start()
            .await?;
        let rows = transaction.query(OPEN_OF_ALL, &[]).await?;
        let open: Vec<i32> = rows.iter().map(|row| row.get(0)).collect();
        let rows = transaction.query(&end_offsets(&open), &[&parts]).await?;
        transaction.commit().await?;
        let ends: std::collections::HashMap<i32, i64> =
            rows.iter().map(|row| (row.get(0), row.get(1))).collect();
        Ok(parts
            .iter()
            .filter_map(|part| ends.get(part).map(|end| (*part, *end)))
            .collect())
    }
}

/// Progress of one `read`; `from_offset` moves on behind what has been read.
struct Reader<'a> {
    client: &'a Object,
    part: i32,
    from_offset: i64,
    max_bytes: usize,
    /// The chunks of the run that is being read. Rows are copied as they come, so that the connection's buffer is free for the next.
    block: BytesMut,
    /// The last of these chunks.
    last_row: Option<ChunkAt>,
    /// Of `runs`.
    bytes: usize,
    runs: Vec<RunBytes>,
}

/// Where a row lies in its partition.
#[derive(Debug, Clone, Copy)]
struct ChunkAt {
    base: i64,
    span: i32,
    chunk: i32,
}

/// How long the next row is waited for awake.
const AWAKE: Duration = Duration::from_micros(50);
/// Waits of a query that may be longer before it is not worth it.
const SLEEPS_MAX: u32 = 8;

/// Waits for the rows of a query. PostgreSQL sends them in pieces of 8 KiB, and to be woken by each costs both sides more than the
/// piece itself. So where one thread does all the work it stays awake between rows: the task asks to be polled again, other
/// tasks and the sockets have their turns meanwhile. Where the next row takes longer than that, the thread may sleep.
struct Vigil {
    /// When the last row came; none while it is not worth it.
    since: Option<Instant>,
    sleeps_left: u32,
}

impl Vigil {
    fn new() -> Self {
        let is_alone = Handle::current().metrics().num_workers() == 1;
        Self {
            since: None,
            sleeps_left: if is_alone { SLEEPS_MAX } else { 0 },
        }
    }

    async fn next(
        &mut self,
        mut rows: Pin<&mut RowStream>,
    ) -> Result<Option<Row>, tokio_postgres::Error> {
        let is_awake = |since: &Instant| since.elapsed() < AWAKE;
        let row = poll_fn(|context| {
            let row = rows.as_mut().try_poll_next(context);
            if row.is_pending() && self.since.as_ref().is_some_and(is_awake) {
                context.waker().wake_by_ref();
            }
            row
        });
        let row = row.await.transpose();
        if !self.since.as_ref().is_some_and(is_awake) {
            self.sleeps_left = self.sleeps_left.saturating_sub(1);
        }
        self.since = (self.sleeps_left > 0).then(Instant::now);
        row
    }
}

/// Whether to go on in later segments.
enum Page {
    Full,
    EndOfSegment,
}

impl Reader<'_> {
    /// Reads the segments found for `from_offset`; true when the read is complete.
    async fn read_located(&mut self) -> Result<bool, tokio_postgres::Error> {
        self.block.clear();
        self.last_row = None;
        let locate = self.client.prepare_cached(LOCATE).await?;
        let rows = self
            .client
            .query(&locate, &[&self.part, &self.from_offset, &SEALED_MAX])
            .await?;
        let mut located: Vec<(i32, Option<i64>)> =
            rows.iter().map(|row| (row.get(0), row.get(1))).collect();
        located.sort_by_key(|&(id, end_offset)| (end_offset.is_none(), end_offset, id));
        let sealed = located
            .iter()
            .filter(|(_, end_offset)| end_offset.is_some())
            .count();
        let more_sealed = sealed as i64 == SEALED_MAX;
        for (segment_id, end_offset) in located {
            if more_sealed && end_offset.is_none() {
                // There may be further sealed segments before the open ones.
                return Ok(false);
            }
            if let Page::Full = self.read_segment(segment_id).await? {
                return Ok(true);
            }
            self.from_offset = self.from_offset.max(end_offset.unwrap_or(0));
        }
        Ok(!more_sealed)
    }

    async fn read_segment(&mut self, segment_id: i32) -> Result<Page, tokio_postgres::Error> {
        let mut row_bytes = CHUNK_BYTES;
        loop {
            let missing = self.max_bytes.saturating_sub(self.bytes + self.block.len());
            let limit = (missing.div_ceil(row_bytes) + 1).min(ROWS_MAX);
            let mut rows = pin!(self.query(segment_id, limit as i64).await?);
            let (mut count, mut bytes) = (0, 0);
            let mut vigil = Vigil::new();
            while let Some(row) = vigil.next(rows.as_mut()).await? {
                let data: &[u8] = row.get(3);
                count += 1;
                bytes += data.len();
                if !self.take(&row, data) {
                    return Ok(Page::Full);
                }
            }
            if count < limit {
                let fits = self.end_run();
                return Ok(if fits { Page::EndOfSegment } else { Page::Full });
            }
            row_bytes = (bytes / count).max(1);
        }
    }

    /// The next rows of a segment, `limit` at most.
    async fn query(&self, segment_id: i32, limit: i64) -> Result<RowStream, tokio_postgres::Error> {
        let mut parameters: Vec<&(dyn ToSql + Sync)> = vec![&self.part];
        let text = match &self.last_row {
            None => {
                parameters.push(&self.from_offset);
                rows_from(segment_id)
            }
            Some(last) => {
                parameters.extend([&last.base as &(dyn ToSql + Sync), &last.chunk]);
                rows_after(segment_id)
            }
        };
        parameters.push(&limit);
        let statement = self.client.prepare_cached(&text).await?;
        self.client.query_raw(&statement, parameters).await
    }

    /// Adds a chunk to its run; false when no more is wanted.
    fn take(&mut self, row: &Row, data: &[u8]) -> bool {
        let at = ChunkAt {
            base: row.get(0),
            span: row.get(1),
            chunk: row.get(2),
        };
        if self.last_row.is_some_and(|last| last.base != at.base) && !self.end_run() {
            return false;
        }
        let has_any = !self.runs.is_empty();
        if has_any && self.bytes + self.block.len() + data.len() > self.max_bytes {
            return false;
        }
        if self.block.capacity() - self.block.len() < data.len() {
            // Each run takes its part of it.
            let so_far = self.bytes + self.block.len();
            let missing = self.max_bytes.saturating_sub(so_far);
            let room = so_far.max(ROOM_BYTES_MIN).min(missing);
            self.block.reserve(room.max(data.len()));
        }
        self.block.extend_from_slice(data);
        self.last_row = Some(at);
        true
    }

    /// Ends the run that is being read, if there is one; false when the answer has all it may have.
    fn end_run(&mut self) -> bool {
        if let Some(ChunkAt { base, span, .. }) = self.last_row.take() {
            let last_offset = base + i64::from(span);
            let data = self.block.split().freeze();
            self.bytes += data.len();
            self.from_offset = last_offset + 1;
            self.runs.push(RunBytes {
                base_offset: base,
                last_offset,
                data,
            });
        }
        self.runs.is_empty() || self.bytes < self.max_bytes
    }
}
