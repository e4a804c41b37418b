//! One lane: a queue of appends and the task that commits them in groups. While one flush is on its way to the database
//! the queue fills; when its COMMIT has returned, all that is queued goes next, see [`Pace`] for when. Offsets are assigned here, in
//! memory, by the lane's only owner; the database refuses the flush of a late one.

use std::collections::{HashMap, VecDeque};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use storage::{LaneWriter, Run, Store};
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::alarm::Alarm;
use super::append::{PreparedBatch, patched};
use super::checkpoint::{Loaded, checkpoints, load, marks, save, save_marks};
use super::pace::Pace;
use super::partition::{Leader, Partition};
use super::producers::{Sequence, SequenceError};
use super::tail::{Piece, TailCache};
use super::{AppendError, Appended, LogConfig, ReadError};

/// A batch that waits for its flush.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) partition: Arc<Partition>,
    pub(crate) batch: PreparedBatch,
    pub(crate) reply: oneshot::Sender<Result<Appended, AppendError>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Open,
    /// What is queued is flushed, nothing more is taken.
    Stopping,
    /// Another broker owns the lane.
    Fenced,
}

#[derive(Debug)]
struct Queue {
    entries: VecDeque<Entry>,
    phase: Phase,
}

/// The side of a lane that appends see.
#[derive(Debug)]
pub(crate) struct LaneQueue {
    queue: Mutex<Queue>,
    filled: Notify,
}

impl LaneQueue {
    pub(crate) fn new() -> Self {
        Self {
            queue: Mutex::new(Queue {
                entries: VecDeque::new(),
                phase: Phase::Open,
            }),
            filled: Notify::new(),
        }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn push(&self, entry: Entry) -> Result<(), AppendError> {
        {
            let mut queue = self.queue();
            match queue.phase {
                Phase::Open => queue.entries.push_back(entry),
                Phase::Stopping => return Err(AppendError::Stopping),
                Phase::Fenced => return Err(AppendError::NotLeader),
            }
        }
        self.filled.notify_one();
        Ok(())
    }

    pub(crate) fn is_fenced(&self) -> bool {
        self.queue().phase == Phase::Fenced
    }

    pub(crate) fn stop(&self) {
        {
            let mut queue = self.queue();
            if queue.phase == Phase::Open {
                queue.phase = Phase::Stopping;
            }
        }
        self.filled.notify_one();
    }

    fn fence(&self) {
        let entries = {
            let mut queue = self.queue();
            queue.phase = Phase::Fenced;
            std::mem::take(&mut queue.entries)
        };
        for entry in entries {
            answer(entry.reply, Err(AppendError::NotLeader));
        }
    }

    /// The next entries, at most `bytes_max` of batches but at least one; `None` when the lane has stopped and is empty.
    /// Nothing is taken by a wait that is dropped.
    async fn take(&self, bytes_max: usize, pacer: &mut Pacer) -> Option<Vec<Entry>> {
        loop {
            let queued = {
                let queue = self.queue();
                if queue.entries.is_empty() && queue.phase != Phase::Open {
                    return None;
                }
                queue.entries.len()
            };
            if queued > 0 {
                self.gather(queued, pacer).await;
                return Some(first_entries(&mut self.queue().entries, bytes_max));
            }
            self.filled.notified().await;
        }
    }

    /// Waits for batches that are about to come, see [`Pace`].
    async fn gather(&self, mut queued: usize, pacer: &mut Pacer) {
        let Some(wanted) = pacer.pace.gather(queued) else {
            return;
        };
        let mut time_is_up = pin!(pacer.alarm.after(wanted.longest));
        while queued < wanted.batches {
            tokio::select! {
                () = &mut time_is_up => break,
                () = self.filled.notified() => {}
            }
            let queue = self.queue();
            if queue.phase != Phase::Open {
                return;
            }
            queued = queue.entries.len();
        }
        pacer.pace.gathered(queued >= wanted.batches);
    }

    pub(crate) fn len(&self) -> usize {
        self.queue().entries.len()
    }
}

/// When the next flush begins, and the clock for it.
#[derive(Debug)]
struct Pacer {
    pace: Pace,
    alarm: Alarm,
}

fn first_entries(entries: &mut VecDeque<Entry>, bytes_max: usize) -> Vec<Entry> {
    let mut size_bytes = 0;
    let fitting = entries
        .iter()
        .take_while(|entry| {
            size_bytes += entry.batch.bytes.len();
            size_bytes <= bytes_max
        })
        .count();
    entries.drain(..fitting.max(1)).collect()
}

/// A client that went away does not want its answer any more.
fn answer(
    reply: oneshot::Sender<Result<Appended, AppendError>>,
    result: Result<Appended, AppendError>,
) {
    drop(reply.send(result));
}

/// An answer that waits for the COMMIT.
struct Pending {
    reply: oneshot::Sender<Result<Appended, AppendError>>,
    partition: Arc<Partition>,
    appended: Appended,
}

/// A batch up to this size is copied behind its neighbours, so that neither the database nor a fetch sees many small
/// pieces; a larger one is used as it came.
const COPIED_BYTES_MAX: usize = 8 << 10;

/// Between two attempts to flush.
const RETRY_PAUSE: Duration = Duration::from_millis(100);

/// What one flush holds for one partition.
struct PartitionRun {
    partition: Arc<Partition>,
    base_offset: i64,
    next_offset: i64,
    size_bytes: usize,
    pieces: Vec<Piece>,
    block: BytesMut,
    block_offset: i64,
}

impl PartitionRun {
    fn new(partition: Arc<Partition>, base_offset: i64) -> Self {
        Self {
            partition,
            base_offset,
            next_offset: base_offset,
            size_bytes: 0,
            pieces: Vec::new(),
            block: BytesMut::new(),
            block_offset: base_offset,
        }
    }

    fn add(&mut self, batch: &PreparedBatch) {
        let base_offset = self.next_offset;
        let end_offset = base_offset + i64::from(batch.last_offset_delta) + 1;
        let (head, rest) = patched(&batch.bytes, base_offset, self.partition.leader_epoch());
        if batch.bytes.len() <= COPIED_BYTES_MAX {
            self.block.extend_from_slice(&head);
            self.block.extend_from_slice(&rest);
        } else {
            self.end_block();
            self.pieces.push(Piece {
                base_offset,
                end_offset,
                head: Bytes::copy_from_slice(&head),
                rest,
            });
            self.block_offset = end_offset;
        }
        self.size_bytes += batch.bytes.len();
        self.next_offset = end_offset;
    }

    fn end_block(&mut self) {
        if !self.block.is_empty() {
            let head = self.block.split().freeze();
            self.pieces.push(Piece {
                base_offset: self.block_offset,
                end_offset: self.next_offset,
                head,
                rest: Bytes::new(),
            });
        }
        self.block_offset = self.next_offset;
    }

    fn run(&self) -> Run {
        let pieces = self
            .pieces
            .iter()
            .flat_map(|piece| [piece.head.clone(), piece.rest.clone()]);
        Run {
            part: self.partition.id(),
            base_offset: self.base_offset,
            span: i32::try_from(self.next_offset - 1 - self.base_offset).unwrap_or(i32::MAX),
            data: pieces.filter(|bytes| !bytes.is_empty()).collect(),
        }
    }
}

/// The task that owns a lane.
pub(crate) struct Lane {
    pub(crate) queue: Arc<LaneQueue>,
    pub(crate) writer: LaneWriter,
    pub(crate) store: Store,
    pub(crate) tail: Arc<TailCache>,
    pub(crate) config: Arc<LogConfig>,
    pub(crate) handovers: mpsc::Receiver<Handover>,
}

/// Partitions that are to be led by others, with the node id of each one's next leader.
#[derive(Debug)]
pub(crate) struct Handover {
    pub(crate) moves: Vec<(Arc<Partition>, i32)>,
    /// Answered when it is committed; dropped if the lane is lost.
    pub(crate) done: oneshot::Sender<()>,
}

impl Lane {
    /// Commits what is queued until the lane is stopped or fenced.
    pub(crate) async fn run(mut self, fenced: watch::Sender<bool>) {
        let mut pacer = Pacer {
            pace: Pace::default(),
            alarm: Alarm::new(),
        };
        let mut loads = Loads::default();
        let queue = Arc::clone(&self.queue);
        loop {
            let entries = tokio::select! {
                Some(entries) = loads.next(), if !loads.is_empty() => entries,
                Some(handover) = self.handovers.recv() => {
                    if !self.hand_over(handover).await {
                        return give_up(&queue, &mut loads, &fenced);
                    }
                    continue;
                }
                entries = queue.take(self.config.flush_bytes_max, &mut pacer) => match entries {
                    Some(entries) => loads.park(entries, &self.store),
                    None if loads.is_empty() => return self.writer.close().await,
                    None => loads.next().await.unwrap_or_default(),
                },
            };
            if !self.commit(entries, &mut pacer.pace).await {
                return give_up(&queue, &mut loads, &fenced);
            }
        }
    }

    /// Gives partitions away while no flush is under way; what is queued for them is refused after it. False when another
    /// broker owns the lane.
    async fn hand_over(&mut self, handover: Handover) -> bool {
        let led = handover.moves.into_iter().filter(|(p, _)| p.is_led());
        let (partitions, lanes): (Vec<Arc<Partition>>, Vec<i32>) = led.unzip();
        if !partitions.is_empty() {
            // The next leaders need not read what these say.
            let expiration_ms = self.config.producer_id_expiration_ms;
            save(&self.store, &checkpoints(&partitions, expiration_ms)).await;
            let ids = partitions.iter().map(|partition| partition.id());
            let moves: Vec<(i32, i32)> = ids.zip(lanes.iter().copied()).collect();
            loop {
                let deadline = Instant::now() + self.config.flush_attempt;
                match self.writer.hand_over(&moves, deadline).await {
                    Ok(()) => break,
                    Err(error @ storage::Error::Fenced { .. }) => {
                        tracing::warn!(%error, "another broker has taken over");
                        return false;
                    }
                    Err(error) => {
                        tracing::warn!(%error, "partitions are not handed over yet, trying again");
                        tokio::time::sleep(RETRY_PAUSE).await;
                    }
                }
            }
            for (partition, node_id) in partitions.iter().zip(lanes) {
                let epoch = partition.leader_epoch() + 1;
                partition.follow(Leader { node_id, epoch });
            }
        }
        // Who asked may have gone.
        let _ = handover.done.send(());
        true
    }

    /// Gives offsets to `entries`, stores them and answers; false when another broker owns the lane.
    async fn commit(&mut self, entries: Vec<Entry>, pace: &mut Pace) -> bool {
        let (runs, pending) = assign(entries);
        if !runs.is_empty() {
            let begun = Instant::now();
            if !self.flush(&runs).await {
                for pending in pending {
                    answer(pending.reply, Err(AppendError::NotLeader));
                }
                return false;
            }
            let size_bytes = runs.iter().map(|run| run.size_bytes).sum();
            pace.flushed(begun.elapsed(), size_bytes, pending.len(), self.queue.len());
        }
        let marks = marks(runs.iter().map(|run| &run.partition));
        let unsaved = self.publish(runs, pending);
        if !marks.is_empty() {
            let store = self.store.clone();
            tokio::spawn(async move { save_marks(&store, &marks).await });
        }
        // Now, while nothing is assigned that is not committed.
        let checkpoints = checkpoints(&unsaved, self.config.producer_id_expiration_ms);
        if !checkpoints.is_empty() {
            let store = self.store.clone();
            tokio::spawn(async move { save(&store, &checkpoints).await });
        }
        true
    }

    /// Commits `runs`; false when another broker owns the lane. While the database is away the same flush is tried again:
    /// it may have been committed, so nothing else can take its offsets.
    async fn flush(&mut self, runs: &[PartitionRun]) -> bool {
        let size_bytes = runs.iter().map(|run| run.size_bytes).sum();
        let runs: Vec<Run> = runs.iter().map(PartitionRun::run).collect();
        let started = Instant::now();
        loop {
            let deadline = Instant::now() + self.config.flush_attempt;
            match self.writer.flush(&runs, deadline).await {
                Ok(()) => {
                    self.config.meter.flushed(size_bytes, started.elapsed());
                    return true;
                }
                Err(error @ storage::Error::Fenced { .. }) => {
                    tracing::error!(%error, "another broker has taken over");
                    return false;
                }
                Err(error) => {
                    tracing::warn!(%error, "the flush is not committed yet, trying again");
                    tokio::time::sleep(RETRY_PAUSE).await;
                }
            }
        }
    }

    /// Makes the flushed runs readable and answers. Returns the partitions whose checkpoint is due.
    fn publish(&self, runs: Vec<PartitionRun>, pending: Vec<Pending>) -> Vec<Arc<Partition>> {
        let mut unsaved = Vec::new();
        for run in runs {
            let sizes: Vec<usize> = run.pieces.iter().map(Piece::size_bytes).collect();
            run.partition.publish(run.pieces, run.next_offset);
            for size_bytes in sizes {
                self.tail.added(Arc::downgrade(&run.partition), size_bytes);
            }
            let mut appender = run.partition.appender();
            appender.unsaved_bytes += run.size_bytes;
            if appender.unsaved_bytes >= self.config.checkpoint_bytes {
                drop(appender);
                unsaved.push(run.partition);
            }
        }
        for Pending {
            reply,
            partition,
            appended,
        } in pending
        {
            let log_start_offset = partition.offsets().log_start_offset;
            answer(
                reply,
                Ok(Appended {
                    log_start_offset,
                    ..appended
                }),
            );
        }
        unsaved
    }
}

/// The lane is another broker's: nothing that waits will be stored by this one.
fn give_up(queue: &LaneQueue, loads: &mut Loads, fenced: &watch::Sender<bool>) {
    queue.fence();
    loads.refuse();
    fenced.send_replace(true);
}

/// Partitions that were not appended to since the start: their producers are rebuilt, from the last snapshot and the batches
/// after it, while the lane goes on with others. Their entries wait here, in order.
#[derive(Debug, Default)]
struct Loads {
    running: JoinSet<(Arc<Partition>, i32, Result<Loaded, ReadError>)>,
    parked: HashMap<i32, Vec<Entry>>,
}

impl Loads {
    fn is_empty(&self) -> bool {
        self.running.is_empty()
    }

    /// Keeps the entries that have to wait, and gives back the others.
    fn park(&mut self, entries: Vec<Entry>, store: &Store) -> Vec<Entry> {
        let mut ready = Vec::with_capacity(entries.len());
        for entry in entries {
            let is_ready = entry.partition.appender().producers.is_some();
            if is_ready || !entry.partition.is_led() {
                ready.push(entry);
                continue;
            }
            let partition = Arc::clone(&entry.partition);
            let parked = self.parked.entry(partition.id()).or_insert_with(|| {
                let store = store.clone();
                let leader_epoch = partition.leader_epoch();
                self.running.spawn(async move {
                    let loaded = load(&store, &partition).await;
                    (partition, leader_epoch, loaded)
                });
                Vec::new()
            });
            parked.push(entry);
        }
        ready
    }

    /// The entries of the next partition that is ready; those of one that cannot be read are refused. `None` when nothing runs.
    async fn next(&mut self) -> Option<Vec<Entry>> {
        let (partition, leader_epoch, loaded) = match self.running.join_next().await? {
            Ok(loaded) => loaded,
            Err(failed) => std::panic::resume_unwind(failed.into_panic()),
        };
        let entries = self.parked.remove(&partition.id()).unwrap_or_default();
        match loaded {
            // Others may have appended meanwhile.
            _ if partition.leader_epoch() != leader_epoch => {
                for entry in entries {
                    answer(entry.reply, Err(AppendError::NotLeader));
                }
                Some(Vec::new())
            }
            Ok(loaded) => {
                let mut appender = partition.appender();
                appender.max_timestamp_ms = loaded.max_timestamp_ms;
                appender.growth = loaded.growth();
                appender.producers = Some(loaded.producers);
                Some(entries)
            }
            Err(error) => {
                let (topic, index) = (partition.topic(), partition.index());
                tracing::warn!(topic, partition = index, %error, "cannot rebuild the producers");
                let error = AppendError::Unavailable(Arc::new(error));
                for entry in entries {
                    answer(entry.reply, Err(error.clone()));
                }
                Some(Vec::new())
            }
        }
    }

    /// Another broker owns the lane.
    fn refuse(&mut self) {
        for entry in self.parked.drain().flat_map(|(_, entries)| entries) {
            answer(entry.reply, Err(AppendError::NotLeader));
        }
    }
}

/// Gives offsets to `entries` in their order. Those that are not to be appended are answered at once, except duplicates of
/// what is in this very flush, which wait for it like the others.
fn assign(entries: Vec<Entry>) -> (Vec<PartitionRun>, Vec<Pending>) {
    let mut runs: Vec<PartitionRun> = Vec::new();
    let mut run_of: HashMap<i32, usize> = HashMap::new();
    let mut pending = Vec::with_capacity(entries.len());
    for Entry {
        partition,
        batch,
        reply,
    } in entries
    {
        if partition.is_closed() {
            answer(reply, Err(AppendError::UnknownPartition));
            continue;
        }
        if !partition.is_led() {
            answer(reply, Err(AppendError::NotLeader));
            continue;
        }
        let base_offset = match place(&partition, &batch) {
            Ok(Place::Next(base_offset)) => {
                let index = *run_of.entry(partition.id()).or_insert_with(|| {
                    runs.push(PartitionRun::new(Arc::clone(&partition), base_offset));
                    runs.len() - 1
                });
                if let Some(run) = runs.get_mut(index) {
                    run.add(&batch);
                }
                base_offset
            }
            Ok(Place::Duplicate(base_offset)) => base_offset,
            Err(error) => {
                answer(reply, Err(error));
                continue;
            }
        };
        let appended = Appended {
            base_offset,
            log_append_time_ms: batch.log_append_time_ms,
            log_start_offset: -1,
        };
        pending.push(Pending {
            reply,
            partition,
            appended,
        });
    }
    for run in &mut runs {
        run.end_block();
    }
    (runs, pending)
}

enum Place {
    Next(i64),
    Duplicate(i64),
}

/// Where `batch` goes; its offsets are taken when it is to be appended.
fn place(partition: &Partition, batch: &PreparedBatch) -> Result<Place, AppendError> {
    let mut appender = partition.appender();
    let base_offset = appender.next_offset;
    if let Some(producer) = &batch.producer {
        let producers = appender.producers.get_or_insert_default();
        match producers.check(producer) {
            Ok(Sequence::Next) => producers.record(producer, base_offset),
            Ok(Sequence::Duplicate { base_offset }) => return Ok(Place::Duplicate(base_offset)),
            Err(SequenceError::StaleEpoch { current }) => {
                return Err(AppendError::InvalidProducerEpoch { current });
            }
            Err(SequenceError::OutOfOrder { expected }) => {
                return Err(AppendError::OutOfOrderSequence {
                    expected,
                    found: producer.base_sequence,
                });
            }
        }
    }
    let before = (base_offset, appender.max_timestamp_ms);
    let now_ms = super::now_ms();
    let settings = partition.settings();
    let growth = &mut appender.growth;
    growth.add(batch.bytes.len(), before, &settings, now_ms);
    appender.next_offset = base_offset + i64::from(batch.last_offset_delta) + 1;
    appender.max_timestamp_ms = appender.max_timestamp_ms.max(batch.max_timestamp_ms);
    Ok(Place::Next(base_offset))
}
