//! One partition's log as this broker knows it: its leader, its offsets, the tail in memory, its waiters. Appends go through
//! the queue of this broker's lane; reads take the tail or go to the database. One that another broker leads serves nothing.

use std::collections::VecDeque;
use std::future::Future;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use bytes::Bytes;
use storage::{PartitionRow, Store, TransactionWrite};
use tokio::sync::oneshot;

use super::ahead::ReadAhead;
use super::append::{PreparedBatch, prepare};
use super::checkpoint::Loaded;
use super::growth::Growth;
use super::lane::{Append, Entry, LaneQueue};
use super::members::Members;
use super::producers::{ProducerState, Producers};
use super::tail::Piece;
use super::transactions::{Aborted, PartitionTransactions, TransactionEvent};
use super::waiter::Waiters;
use super::{AppendError, Appended, LogConfig, ReadError, TopicSettings};

/// The last stable offset where it is not known.
const UNKNOWN_OFFSET: i64 = -1;

/// Positions in a partition's log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Offsets {
    /// The first offset that can be read.
    pub log_start_offset: i64,
    /// One past the last committed record.
    pub high_watermark: i64,
    /// One past the last record before which no transaction is open; -1 until that is known.
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
    /// The positions when they were read. A reader of all records does not wait for the last stable offset.
    pub offsets: Offsets,
    /// Where some of the records are not for readers of committed records; filled for such readers alone.
    pub aborted: Vec<Aborted>,
}

/// Which records a reader gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Isolation {
    /// All.
    Uncommitted,
    /// Those before the last stable offset, and word of what is aborted among them.
    Committed,
}

/// A batch that was judged, to be queued.
#[derive(Debug)]
pub struct Batch {
    prepared: PreparedBatch,
}

impl Batch {
    /// Producer id and epoch, if the batch belongs to a transaction.
    pub fn transaction(&self) -> Option<(i64, i16)> {
        let producer = self.prepared.producer.as_ref()?;
        producer
            .is_transactional
            .then_some((producer.producer_id, producer.producer_epoch))
    }
}

/// By what right a batch of a transaction is appended.
#[derive(Debug, Default)]
pub struct Admission {
    /// Stored together with the batch: the partition becomes part of a transaction.
    pub change: Option<Box<TransactionWrite>>,
    /// The coordinator that says so: it must be no earlier one than that of the producer's last marker in the partition.
    pub coordinator_epoch: Option<i32>,
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

impl Appender {
    /// The offsets of a batch that is to be appended are its own from now on.
    pub(crate) fn take_offsets(&mut self, batch: &PreparedBatch, settings: &TopicSettings) {
        let before = (self.next_offset, self.max_timestamp_ms);
        let now_ms = super::now_ms();
        self.growth.add(batch.bytes.len(), before, settings, now_ms);
        self.next_offset += i64::from(batch.last_offset_delta) + 1;
        self.max_timestamp_ms = self.max_timestamp_ms.max(batch.max_timestamp_ms);
    }
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) log_start_offset: i64,
    pub(super) high_watermark: i64,
    /// Ends at the high watermark, without gaps.
    pub(super) tail: VecDeque<Piece>,
    /// `None` until this broker has read the log since it came to lead.
    pub(super) transactions: Option<PartitionTransactions>,
    pub(super) closed: bool,
    /// Whether this broker leads the partition.
    pub(super) is_led: bool,
}

impl State {
    pub(super) fn offsets(&self) -> Offsets {
        Offsets {
            log_start_offset: self.log_start_offset,
            high_watermark: self.high_watermark,
            last_stable_offset: self.transactions.as_ref().map_or(UNKNOWN_OFFSET, |known| {
                known
                    .last_stable_offset(self.high_watermark)
                    .max(self.log_start_offset)
            }),
        }
    }

    /// One past the last record for such a reader.
    pub(super) fn end_offset(&self, isolation: Isolation) -> Result<i64, ReadError> {
        match (isolation, self.offsets().last_stable_offset) {
            (Isolation::Uncommitted, _) => Ok(self.high_watermark),
            // It has come back to this broker since its transactions were known.
            (Isolation::Committed, UNKNOWN_OFFSET) => Err(ReadError::NotLeader),
            (Isolation::Committed, stable) => Ok(stable),
        }
    }
}

/// Who leads a partition, since which epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leader {
    /// The broker, which is the lane.
    pub node_id: i32,
    pub epoch: i32,
}

/// What all partitions of a log have in common.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) config: Arc<LogConfig>,
    pub(crate) store: Store,
    pub(crate) lane: Arc<LaneQueue>,
    pub(crate) ahead: Arc<ReadAhead>,
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
    pub(super) config: Arc<LogConfig>,
    pub(super) store: Store,
    pub(super) lane: Arc<LaneQueue>,
    pub(super) ahead: Arc<ReadAhead>,
    state: Mutex<State>,
    appender: Mutex<Appender>,
    members: Mutex<Members>,
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
        shared: Shared,
    ) -> Self {
        let state = State {
            log_start_offset: row.log_start_offset,
            high_watermark: row.log_start_offset,
            tail: VecDeque::new(),
            transactions: None,
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
            config: shared.config,
            store: shared.store,
            lane: shared.lane,
            ahead: shared.ahead,
            state: Mutex::new(state),
            appender: Mutex::new(appender),
            members: Mutex::default(),
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
            let mut appender = self.appender();
            let mut state = self.state();
            if leader.epoch < self.leader_epoch() {
                return;
            }
            self.set(leader);
            appender.producers = None;
            appender.growth = Growth::default();
            state.is_led = false;
            state.transactions = None;
            std::mem::take(&mut state.tail)
        };
        drop(tail);
        self.members().clear();
        self.waiters.wake();
    }

    /// This broker leads from now on, and `row` and `end_offset` were read after it came to do so.
    pub(crate) fn lead(&self, row: &PartitionRow, end_offset: i64) {
        self.members().clear();
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
        state.transactions = None;
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

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn appender(&self) -> MutexGuard<'_, Appender> {
        self.appender.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whose transactions are known to have the partition, where other brokers coordinate them.
    pub(crate) fn members(&self) -> MutexGuard<'_, Members> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn offsets(&self) -> Offsets {
        self.state().offsets()
    }

    /// As [`Partition::offsets`], when all is known that the last stable offset depends on.
    pub async fn stable_offsets(self: &Arc<Self>) -> Result<Offsets, ReadError> {
        self.load().await?;
        let state = self.state();
        state.end_offset(Isolation::Committed)?;
        Ok(state.offsets())
    }

    /// The producers that are remembered.
    pub async fn producers(self: &Arc<Self>) -> Result<Vec<ProducerState>, ReadError> {
        self.load().await?;
        let appender = self.appender();
        let producers = appender.producers.as_ref();
        Ok(producers.map_or_else(Vec::new, Producers::states))
    }

    pub(crate) fn is_loaded(&self) -> bool {
        self.appender().producers.is_some()
    }

    /// What the log says of producers and transactions, as it was read under a leader epoch; false if that is over.
    pub(super) fn set_loaded(&self, loaded: Loaded, leader_epoch: i32) -> bool {
        let growth = loaded.growth();
        let mut appender = self.appender();
        let mut state = self.state();
        if !state.is_led || self.leader_epoch() != leader_epoch {
            return false;
        }
        appender.producers = Some(loaded.producers);
        appender.max_timestamp_ms = loaded.max_timestamp_ms;
        appender.growth = growth;
        state.transactions = Some(loaded.transactions);
        true
    }

    /// What was given offsets is not stored and never will be.
    pub(crate) fn forget_unflushed(&self) {
        let mut appender = self.appender();
        appender.next_offset = self.state().high_watermark;
        appender.producers = None;
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

    /// Judges `records`, the value of one partition in a Produce request.
    pub fn prepare(&self, records: Bytes, options: AppendOptions) -> Result<Batch, AppendError> {
        if !self.is_led() {
            return Err(AppendError::NotLeader);
        }
        let prepared = prepare(
            records,
            &self.settings(),
            &options,
            self.config.decompressed_bytes_max,
            super::now_ms(),
        )?;
        Ok(Batch { prepared })
    }

    /// Queues a batch, which has its place in the order when this function returns. The future ends after it is committed, or
    /// refused.
    pub fn append(
        self: &Arc<Self>,
        batch: Batch,
        admission: Admission,
        timeout: Duration,
    ) -> impl Future<Output = Result<Appended, AppendError>> + Send + 'static + use<> {
        let (reply, answer) = oneshot::channel();
        let queued = self.lane.push(Entry::Append(Append {
            partition: Arc::clone(self),
            batch: batch.prepared,
            admission,
            reply,
        }));
        async move {
            queued?;
            match tokio::time::timeout(timeout, answer).await {
                Ok(Ok(result)) => result,
                Ok(Err(_)) => Err(AppendError::NotLeader),
                Err(_) => Err(AppendError::TimedOut),
            }
        }
    }

    /// Returns when producers and transactions are known.
    pub(super) async fn load(self: &Arc<Self>) -> Result<(), ReadError> {
        if self.is_loaded() {
            return Ok(());
        }
        if self.is_closed() {
            return Err(ReadError::UnknownPartition);
        }
        let (reply, loaded) = oneshot::channel();
        let queued = self.lane.push(Entry::Load(Arc::clone(self), reply));
        queued.map_err(|_| ReadError::NotLeader)?;
        let loaded = loaded.await.unwrap_or(Ok(()));
        loaded.map_err(ReadError::Unloaded)
    }

    /// Makes committed pieces readable and wakes the waiters. Returns the start of the log.
    pub(crate) fn publish(
        &self,
        pieces: Vec<Piece>,
        events: &[TransactionEvent],
        end_offset: i64,
    ) -> i64 {
        let log_start_offset = {
            let mut state = self.state();
            state.high_watermark = end_offset;
            if let Some(transactions) = &mut state.transactions {
                events.iter().for_each(|event| transactions.apply(*event));
            }
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

    /// Aborted transactions of which nothing is left, by the offsets of their markers.
    pub(crate) fn forget_aborted(&self, markers: &[i64]) {
        if let Some(transactions) = &mut self.state().transactions {
            transactions.forget_aborted(markers);
        }
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
        self.ahead.forget(self.id);
    }

    pub(crate) fn evict_oldest_piece(&self) {
        let evicted = self.state().tail.pop_front();
        drop(evicted);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readers_of_committed_records_get_nothing_before_it_is_known_what_is_open() {
        let mut state = State {
            log_start_offset: 3,
            high_watermark: 9,
            tail: VecDeque::new(),
            transactions: None,
            closed: false,
            is_led: true,
        };
        assert_eq!(state.offsets().last_stable_offset, UNKNOWN_OFFSET);
        assert_eq!(state.end_offset(Isolation::Uncommitted).unwrap(), 9);
        let refused = state.end_offset(Isolation::Committed);
        assert!(matches!(refused, Err(ReadError::NotLeader)));
        let open = PartitionTransactions::new([(5, 1)].into_iter(), Vec::new());
        state.transactions = Some(open);
        assert_eq!(state.end_offset(Isolation::Committed).unwrap(), 5);
        state.log_start_offset = 7;
        assert_eq!(state.end_offset(Isolation::Committed).unwrap(), 7);
    }
}
