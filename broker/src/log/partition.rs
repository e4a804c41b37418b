//! One partition's log as this broker knows it: its leader, its offsets, the tail in memory, its waiters. Appends go through
//! the queue of this broker's lane; reads take the tail or go to the database. One that another broker leads serves nothing.

use std::collections::VecDeque;
use std::future::Future;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use bytes::Bytes;
use protocol::records::{Batches, RecordBatch, TimestampType};
use storage::{PartitionRow, Store};
use tokio::sync::oneshot;

use super::append::prepare;
use super::growth::Growth;
use super::lane::{Entry, LaneQueue};
use super::producers::Producers;
use super::tail::{Collector, Piece};
use super::waiter::Waiters;
use super::{AppendError, Appended, LogConfig, ReadError, TopicSettings};

/// Positions in a partition's log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Offsets {
    /// The first offset that can be read.
    pub log_start_offset: i64,
    /// One past the last committed record.
    pub high_watermark: i64,
    /// One past the last record that is not part of an open transaction.
    pub last_stable_offset: i64,
}

/// What an append is judged by, besides the topic's settings.
#[derive(Debug, Clone, Copy)]
pub struct AppendOptions {
    /// How long the answer may wait for the commit before it is REQUEST_TIMED_OUT.
    pub timeout: Duration,
    /// zstd came with Produce 7 (KIP-110).
    pub zstd_allowed: bool,
}

/// Whole record batches.
#[derive(Debug)]
pub struct Read {
    /// The batches' bytes, in order; a batch may be spread over two neighbours.
    pub records: Vec<Bytes>,
    /// The sum of their lengths.
    pub size_bytes: usize,
    /// The positions when they were read.
    pub offsets: Offsets,
}

/// The record a timestamp look-up found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimestampOffset {
    pub offset: i64,
    pub timestamp_ms: i64,
    pub leader_epoch: i32,
}

/// What only the lane task uses.
#[derive(Debug)]
pub(crate) struct Appender {
    /// The offset the next batch gets.
    pub(crate) next_offset: i64,
    /// `None` until they were rebuilt from the log.
    pub(crate) producers: Option<Producers>,
    /// The largest timestamp up to `next_offset`, -1 if there is none; known when the producers are.
    pub(crate) max_timestamp_ms: i64,
    /// Bytes appended since the last checkpoint.
    pub(crate) unsaved_bytes: usize,
    pub(crate) growth: Growth,
}

#[derive(Debug)]
struct State {
    log_start_offset: i64,
    high_watermark: i64,
    /// Ends at the high watermark, without gaps.
    tail: VecDeque<Piece>,
    closed: bool,
    /// Whether this broker leads the partition.
    is_led: bool,
}

/// Who leads a partition, since which epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leader {
    /// The broker, which is the lane.
    pub node_id: i32,
    pub epoch: i32,
}

/// The log of one partition.
#[derive(Debug)]
pub struct Partition {
    id: i32,
    index: i32,
    topic: Arc<str>,
    leader: AtomicI32,
    leader_epoch: AtomicI32,
    settings: RwLock<Arc<TopicSettings>>,
    config: Arc<LogConfig>,
    store: Store,
    lane: Arc<LaneQueue>,
    state: Mutex<State>,
    appender: Mutex<Appender>,
    pub(crate) waiters: Waiters,
}

/// How much of the log a look-up by timestamp or a rebuild reads at once.
pub(crate) const SCAN_BYTES: usize = 1 << 20;

impl Partition {
    /// Nobody leads it until [`Self::lead`] or [`Self::follow`] says who does.
    pub(crate) fn new(
        topic: Arc<str>,
        row: &PartitionRow,
        settings: Arc<TopicSettings>,
        (store, config, lane): (Store, Arc<LogConfig>, Arc<LaneQueue>),
    ) -> Self {
        let state = State {
            log_start_offset: row.log_start_offset,
            high_watermark: row.log_start_offset,
            tail: VecDeque::new(),
            closed: false,
            is_led: false,
        };
        let appender = Appender {
            next_offset: row.log_start_offset,
            producers: None,
            max_timestamp_ms: -1,
            unsaved_bytes: 0,
            growth: Growth::default(),
        };
        Self {
            id: row.id,
            index: row.index,
            topic,
            leader: AtomicI32::new(-1),
            leader_epoch: AtomicI32::new(-1),
            settings: RwLock::new(settings),
            config,
            store,
            lane,
            state: Mutex::new(state),
            appender: Mutex::new(appender),
            waiters: Waiters::default(),
        }
    }

    /// The partition's key in storage.
    pub fn id(&self) -> i32 {
        self.id
    }

    /// The partition's number within its topic.
    pub fn index(&self) -> i32 {
        self.index
    }

    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// The epoch that is written into batches.
    pub fn leader_epoch(&self) -> i32 {
        self.leader_epoch.load(Ordering::Acquire)
    }

    /// Who leads it.
    pub fn leader(&self) -> Leader {
        Leader {
            node_id: self.leader.load(Ordering::Acquire),
            epoch: self.leader_epoch(),
        }
    }

    /// Whether this broker leads it.
    pub fn is_led(&self) -> bool {
        self.state().is_led
    }

    /// Another broker leads from now on: appends and reads fail, waiters look again. A later epoch that is known already stands.
    pub(crate) fn follow(&self, leader: Leader) {
        let tail = {
            let mut state = self.state();
            if leader.epoch < self.leader_epoch() {
                return;
            }
            self.set(leader);
            state.is_led = false;
            std::mem::take(&mut state.tail)
        };
        drop(tail);
        {
            let mut appender = self.appender();
            appender.producers = None;
            appender.growth = Growth::default();
        }
        self.waiters.wake();
    }

    /// This broker leads from now on, and `row` and `end_offset` were read after it came to do so.
    pub(crate) fn lead(&self, row: &PartitionRow, end_offset: i64) {
        let mut appender = self.appender();
        let mut state = self.state();
        if row.leader_epoch < self.leader_epoch() || state.is_led {
            return;
        }
        *appender = Appender {
            next_offset: end_offset,
            producers: None,
            max_timestamp_ms: -1,
            unsaved_bytes: 0,
            growth: Growth::default(),
        };
        state.log_start_offset = row.log_start_offset;
        state.high_watermark = end_offset;
        state.tail.clear();
        state.is_led = true;
        self.set(Leader {
            node_id: row.lane,
            epoch: row.leader_epoch,
        });
    }

    fn set(&self, leader: Leader) {
        self.leader.store(leader.node_id, Ordering::Release);
        self.leader_epoch.store(leader.epoch, Ordering::Release);
    }

    /// The settings of the topic were changed: appends from now on are judged by these.
    pub(crate) fn set_settings(&self, settings: Arc<TopicSettings>) {
        *self
            .settings
            .write()
            .unwrap_or_else(PoisonError::into_inner) = settings;
    }

    pub(crate) fn settings(&self) -> Arc<TopicSettings> {
        let settings = self.settings.read();
        Arc::clone(&settings.unwrap_or_else(PoisonError::into_inner))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn appender(&self) -> MutexGuard<'_, Appender> {
        self.appender.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn offsets(&self) -> Offsets {
        let state = self.state();
        Offsets {
            log_start_offset: state.log_start_offset,
            high_watermark: state.high_watermark,
            last_stable_offset: state.high_watermark,
        }
    }

    /// The positions, if this broker serves the partition.
    pub(crate) fn served_offsets(&self) -> Result<Offsets, ReadError> {
        if self.is_closed() {
            return Err(ReadError::UnknownPartition);
        }
        if !self.is_led() || self.lane.is_fenced() {
            return Err(ReadError::NotLeader);
        }
        Ok(self.offsets())
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.state().closed
    }

    /// The topic was deleted: appends and reads fail from now on, waiters look again.
    pub(crate) fn close(&self) {
        let tail = {
            let mut state = self.state();
            state.closed = true;
            std::mem::take(&mut state.tail)
        };
        drop(tail);
        self.waiters.wake();
    }

    /// Judges `records`, the value of one partition in a Produce request, and queues its batch; it has its place in the
    /// order when this function returns. The future ends after the batch is committed, or refused.
    pub fn append(
        self: &Arc<Self>,
        records: Bytes,
        options: AppendOptions,
    ) -> impl Future<Output = Result<Appended, AppendError>> + Send + 'static {
        let now_ms = super::now_ms();
        let prepared = match self.is_led() {
            false => Err(AppendError::NotLeader),
            true => prepare(
                records,
                &self.settings(),
                &options,
                self.config.decompressed_bytes_max,
                now_ms,
            ),
        };
        let queued = prepared.and_then(|batch| {
            let (reply, answer) = oneshot::channel();
            self.lane.push(Entry {
                partition: Arc::clone(self),
                batch,
                reply,
            })?;
            Ok(answer)
        });
        async move {
            match tokio::time::timeout(options.timeout, queued?).await {
                Ok(Ok(result)) => result,
                Ok(Err(_)) => Err(AppendError::NotLeader),
                Err(_) => Err(AppendError::TimedOut),
            }
        }
    }

    /// Makes committed pieces readable and wakes the waiters. Returns the start of the log.
    pub(crate) fn publish(&self, pieces: Vec<Piece>, end_offset: i64) -> i64 {
        let log_start_offset = {
            let mut state = self.state();
            state.high_watermark = end_offset;
            if !state.closed {
                state.tail.extend(pieces);
            }
            state.log_start_offset
        };
        self.waiters.wake();
        log_start_offset
    }

    /// The log begins at `offset` from now on, if it began before that.
    pub(crate) fn raise_log_start(&self, offset: i64) {
        {
            let mut state = self.state();
            if offset <= state.log_start_offset {
                return;
            }
            state.log_start_offset = offset;
        }
        self.forget_tail(offset);
        self.waiters.wake();
    }

    /// What lies before `offset` is read from the database from now on: it is not there any more, or there is less of it.
    pub(crate) fn forget_tail(&self, offset: i64) {
        let mut freed = Vec::new();
        // Their places stay, as the tail cache counts pieces and takes the oldest away.
        for piece in &mut self.state().tail {
            if piece.end_offset > offset {
                break;
            }
            freed.push(std::mem::take(&mut piece.head));
            freed.push(std::mem::take(&mut piece.rest));
        }
    }

    pub(crate) fn evict_oldest_piece(&self) {
        let evicted = self.state().tail.pop_front();
        drop(evicted);
    }

    /// Whole batches from the one that holds `offset` on, at most `max_bytes`; with `at_least_one` the first batch comes
    /// however large it is. Empty at the end of the log.
    pub async fn read(
        &self,
        offset: i64,
        max_bytes: usize,
        at_least_one: bool,
    ) -> Result<Read, ReadError> {
        self.read_if(offset, max_bytes, at_least_one, false).await
    }

    /// As [`read`](Self::read); with `deleted` also what lies before the beginning of the log, as long as it is stored.
    async fn read_if(
        &self,
        offset: i64,
        max_bytes: usize,
        at_least_one: bool,
        deleted: bool,
    ) -> Result<Read, ReadError> {
        let mut collector = Collector::new(max_bytes, at_least_one);
        let offsets = self.offsets();
        {
            let state = self.state();
            if state.closed {
                return Err(ReadError::UnknownPartition);
            }
            if !state.is_led || self.lane.is_fenced() {
                return Err(ReadError::NotLeader);
            }
            if (offset < state.log_start_offset && !deleted) || offset > state.high_watermark {
                return Err(ReadError::OutOfRange(offsets));
            }
            let first = state
                .tail
                .partition_point(|piece| piece.end_offset <= offset);
            let in_memory = state
                .tail
                .get(first)
                .is_some_and(|piece| piece.base_offset <= offset && piece.size_bytes() > 0);
            if offset == state.high_watermark || in_memory {
                for piece in state.tail.range(first..) {
                    if !collector.add_piece(piece, offset) {
                        break;
                    }
                }
                self.config.meter.read(true);
                return Ok(Read {
                    records: collector.records,
                    size_bytes: collector.size_bytes,
                    offsets,
                });
            }
        }
        self.config.meter.read(false);
        let runs = self
            .store
            .read(self.id, offset, max_bytes)
            .await
            .map_err(ReadError::Storage)?;
        for run in runs {
            if !collector.add_block(&run.data, offset, offsets.high_watermark) {
                break;
            }
        }
        // What was to be read may have been deleted meanwhile, and what follows is no answer.
        let now = self.offsets();
        if offset < now.log_start_offset && !deleted {
            return Err(ReadError::OutOfRange(now));
        }
        Ok(Read {
            records: collector.records,
            size_bytes: collector.size_bytes,
            offsets,
        })
    }

    /// Calls `visit` for every batch from `from_offset` to the high watermark until it says stop.
    pub(crate) async fn scan(
        &self,
        from_offset: i64,
        visit: &mut (dyn FnMut(&RecordBatch<'_>) -> Result<bool, ReadError> + Send),
    ) -> Result<(), ReadError> {
        self.scan_if(from_offset, visit, false).await
    }

    /// The same, beginning with what lies before the beginning of the log, as long as it is stored.
    pub(crate) async fn scan_stored(
        &self,
        from_offset: i64,
        visit: &mut (dyn FnMut(&RecordBatch<'_>) -> Result<bool, ReadError> + Send),
    ) -> Result<(), ReadError> {
        self.scan_if(from_offset, visit, true).await
    }

    async fn scan_if(
        &self,
        from_offset: i64,
        visit: &mut (dyn FnMut(&RecordBatch<'_>) -> Result<bool, ReadError> + Send),
        deleted: bool,
    ) -> Result<(), ReadError> {
        let mut next = from_offset;
        loop {
            let read = self.read_if(next, SCAN_BYTES, true, deleted).await?;
            if read.records.is_empty() {
                return Ok(());
            }
            let block: Bytes = match <[Bytes; 1]>::try_from(read.records) {
                Ok([only]) => only,
                Err(several) => several.concat().into(),
            };
            let before = next;
            for batch in Batches::new(&block) {
                let batch = batch.map_err(|_| ReadError::Damaged(next))?;
                next = batch.last_offset() + 1;
                if !visit(&batch)? {
                    return Ok(());
                }
            }
            if next <= before {
                return Err(ReadError::Damaged(next));
            }
        }
    }

    /// The first record whose timestamp is `timestamp_ms` or later.
    pub async fn offset_for_timestamp(
        &self,
        timestamp_ms: i64,
    ) -> Result<Option<TimestampOffset>, ReadError> {
        let mark = self.store.time_mark_below(self.id, timestamp_ms).await?;
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
        let last_mark = self.store.time_mark_below(self.id, i64::MAX).await?;
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
