//! One lane: a queue of appends and the task that commits them in groups. While one flush is on its way to the database
//! the queue fills; when its COMMIT has returned, all that is queued goes next, see [`Pace`] for when. Offsets are assigned here, in
//! memory, by the lane's only owner; the database refuses the flush of a late one.

use std::collections::{HashMap, VecDeque};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use storage::{FlushChanges, LaneWriter, Run, Store};
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::alarm::Alarm;
use super::append::PreparedBatch;
use super::assign::{Assigned, PartitionRun, Pending, assign};
use super::checkpoint::{Loaded, checkpoints, load, marks, save, save_marks};
use super::pace::Pace;
use super::partition::{Admission, Leader, Partition};
use super::tail::{Piece, TailCache};
use super::transactions::{End, EndError};
use super::{AppendError, Appended, LogConfig, ReadError};

/// What waits for a flush.
#[derive(Debug)]
pub(crate) enum Entry {
    Append(Append),
    End(End),
    /// Answered when what is known of the partition's producers and transactions is in memory.
    Load(Arc<Partition>, oneshot::Sender<Result<(), Arc<ReadError>>>),
}

/// A batch that waits for its flush.
#[derive(Debug)]
pub(crate) struct Append {
    pub(crate) partition: Arc<Partition>,
    pub(crate) batch: PreparedBatch,
    pub(crate) admission: Admission,
    pub(crate) reply: oneshot::Sender<Result<Appended, AppendError>>,
}

impl Entry {
    fn size_bytes(&self) -> usize {
        match self {
            Self::Append(append) => append.batch.bytes.len(),
            Self::End(end) => end.transaction.partitions.len() * MARKER_BYTES,
            Self::Load(..) => 0,
        }
    }

    /// The first of its partitions that must be loaded before anything can be done.
    fn unloaded(&self) -> Option<&Arc<Partition>> {
        let is_unloaded = |partition: &Arc<Partition>| {
            !partition.is_loaded() && partition.is_led() && !partition.is_closed()
        };
        match self {
            Self::Append(append) => Some(&append.partition).filter(|one| is_unloaded(one)),
            Self::End(end) => {
                let mut partitions = end.transaction.partitions.iter();
                partitions.find(|partition| is_unloaded(partition))
            }
            Self::Load(partition, _) => Some(partition).filter(|one| is_unloaded(one)),
        }
    }

    /// Another broker leads.
    fn refuse(self) {
        match self {
            Self::Append(append) => answer(append.reply, Err(AppendError::NotLeader)),
            Self::End(end) => drop(end.reply.send(Err(EndError::NotLeader))),
            Self::Load(_, reply) => drop(reply.send(Err(Arc::new(ReadError::NotLeader)))),
        }
    }

    /// The log could not be read.
    fn fail(self, error: &Arc<ReadError>) {
        match self {
            Self::Append(append) => {
                answer(append.reply, Err(AppendError::Unavailable(error.clone())));
            }
            Self::End(end) => drop(end.reply.send(Err(EndError::Unavailable))),
            Self::Load(_, reply) => drop(reply.send(Err(error.clone()))),
        }
    }
}

/// About what a marker has.
const MARKER_BYTES: usize = 100;

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
        entries.into_iter().for_each(Entry::refuse);
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
            size_bytes += entry.size_bytes();
            size_bytes <= bytes_max
        })
        .count();
    entries.drain(..fitting.max(1)).collect()
}

/// A client that went away does not want its answer any more.
pub(super) fn answer(
    reply: oneshot::Sender<Result<Appended, AppendError>>,
    result: Result<Appended, AppendError>,
) {
    drop(reply.send(result));
}

/// Between two attempts to flush.
const RETRY_PAUSE: Duration = Duration::from_millis(100);

/// The task that owns a lane.
pub(crate) struct Lane {
    pub(crate) queue: Arc<LaneQueue>,
    pub(crate) writer: LaneWriter,
    pub(crate) store: Store,
    pub(crate) tail: Arc<TailCache>,
    pub(crate) config: Arc<LogConfig>,
    pub(crate) handovers: mpsc::Receiver<Handover>,
    /// The cleaner waits for what lies in the segment of the moment.
    pub(crate) roll: Arc<Notify>,
}

/// Partitions that are to be led by others, with the node id of each one's next leader.
#[derive(Debug)]
pub(crate) struct Handover {
    pub(crate) moves: Vec<(Arc<Partition>, i32)>,
    /// Answered when it is committed; dropped if the lane is lost, or locked by SQL.
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
                Some(entries) = loads.next(), if !loads.is_empty() => loads.park(entries, &self.store),
                Some(handover) = self.handovers.recv() => {
                    if !self.hand_over(handover).await {
                        return give_up(&queue, &mut loads, &fenced);
                    }
                    continue;
                }
                () = self.roll.notified() => {
                    self.writer.roll();
                    continue;
                }
                entries = queue.take(self.config.flush_bytes_max, &mut pacer) => match entries {
                    Some(entries) => loads.park(entries, &self.store),
                    None if loads.is_empty() => return self.writer.close().await,
                    None => {
                        let entries = loads.next().await.unwrap_or_default();
                        loads.park(entries, &self.store)
                    }
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
            // Now: the catalog may hear of the handover before this task does.
            let epochs: Vec<i32> = partitions.iter().map(|p| p.leader_epoch() + 1).collect();
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
                    Err(error @ storage::Error::LaneLocked { .. }) => {
                        tracing::warn!(%error, "partitions are not handed over");
                        return true;
                    }
                    Err(error) => {
                        tracing::warn!(%error, "partitions are not handed over yet, trying again");
                        tokio::time::sleep(RETRY_PAUSE).await;
                    }
                }
            }
            for ((partition, node_id), epoch) in partitions.iter().zip(lanes).zip(epochs) {
                partition.follow(Leader { node_id, epoch });
            }
        }
        // Who asked may have gone.
        let _ = handover.done.send(());
        true
    }

    /// Gives offsets to `entries`, stores them and answers; false when another broker owns the lane.
    async fn commit(&mut self, entries: Vec<Entry>, pace: &mut Pace) -> bool {
        let Assigned {
            runs,
            changes,
            pending,
        } = assign(entries);
        if !runs.is_empty() || !changes.is_empty() {
            let begun = Instant::now();
            match self.flush(&runs, &changes).await {
                Flushed::Committed => {}
                Flushed::Fenced => {
                    let refuse = |pending: Pending| pending.refuse(EndError::NotLeader);
                    pending.into_iter().for_each(refuse);
                    return false;
                }
                Flushed::Refused(why) => {
                    // Whoever asked asks again, for nothing of this was stored.
                    runs.iter().for_each(|run| run.partition.forget_unflushed());
                    let refuse = |pending: Pending| pending.refuse(why);
                    pending.into_iter().for_each(refuse);
                    return true;
                }
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

    /// Commits `runs` and `changes`. While the database is away the same flush is tried again: it may have been committed, so
    /// nothing else can take its offsets.
    async fn flush(&mut self, runs: &[PartitionRun], changes: &FlushChanges) -> Flushed {
        let size_bytes = runs.iter().map(|run| run.size_bytes).sum();
        let runs: Vec<Run> = runs.iter().map(PartitionRun::run).collect();
        let started = Instant::now();
        loop {
            let deadline = Instant::now() + self.config.flush_attempt;
            match self.writer.flush_with(&runs, changes, deadline).await {
                Ok(()) => {
                    self.config.meter.flushed(size_bytes, started.elapsed());
                    return Flushed::Committed;
                }
                Err(error @ storage::Error::Fenced { .. }) => {
                    tracing::error!(%error, "another broker has taken over");
                    return Flushed::Fenced;
                }
                Err(error @ storage::Error::NotCoordinator) => {
                    tracing::warn!(%error, "a flush is not committed");
                    return Flushed::Refused(EndError::NotCoordinator);
                }
                Err(error @ storage::Error::Locked) => {
                    tracing::warn!(%error, "a flush is not committed");
                    return Flushed::Refused(EndError::Locked);
                }
                Err(error @ storage::Error::LaneLocked { .. }) => {
                    tracing::warn!(%error, "a flush is not committed");
                    return Flushed::Refused(EndError::Unavailable);
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
            run.partition
                .publish(run.pieces, &run.events, run.next_offset);
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
        pending.into_iter().for_each(Pending::commit);
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
            let Some(partition) = entry.unloaded().cloned() else {
                ready.push(entry);
                continue;
            };
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
        match loaded.map(|loaded| partition.set_loaded(loaded, leader_epoch)) {
            Ok(true) => return Some(entries),
            Err(error) if partition.leader_epoch() == leader_epoch => {
                let (topic, index) = (partition.topic(), partition.index());
                tracing::warn!(topic, partition = index, %error, "cannot rebuild the producers");
                let error = Arc::new(error);
                entries.into_iter().for_each(|entry| entry.fail(&error));
            }
            // Others may have appended meanwhile.
            Ok(false) | Err(_) => entries.into_iter().for_each(Entry::refuse),
        }
        Some(Vec::new())
    }

    /// Another broker owns the lane.
    fn refuse(&mut self) {
        let parked = self.parked.drain().flat_map(|(_, entries)| entries);
        parked.for_each(Entry::refuse);
    }
}

/// What became of a flush.
enum Flushed {
    Committed,
    /// Another broker owns the lane.
    Fenced,
    /// Another broker coordinates a transaction of it, or rows that it needs are locked. Nothing is stored.
    Refused(EndError),
}
