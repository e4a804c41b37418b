//! The queue of writes to the database: one statement at a time, with as much of what is queued as goes into one. Writes are
//! done in the order in which they were queued.
//!
//! Where many groups write all the time, a statement waits for a moment for more of them ([`Pace`]): a thousand groups that commit at
//! regular times would otherwise cost a transaction each. A group that is alone, or one of few, waits for nobody.

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::Duration;

use protocol::ErrorCode;
use storage::{GroupChange, GroupWrite, GroupWriter};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

/// Writes that may wait. Beyond it groups wait with what they want to write.
const QUEUE_MAX: usize = 10_000;
/// Writes of one statement.
const BATCH_MAX: usize = 1_000;

/// What became of a write.
pub(super) type Written = Result<(), ErrorCode>;

#[derive(Debug)]
enum Queued {
    Write(Box<GroupWrite>, oneshot::Sender<Written>),
    /// Answered when all before it has been written.
    Barrier(oneshot::Sender<()>),
}

/// The queue; its task ends when the last handle is gone.
#[derive(Debug, Clone)]
pub(super) struct Writes {
    queue: mpsc::Sender<Queued>,
}

impl Writes {
    pub(super) fn start(writer: GroupWriter) -> Self {
        let (queue, queued) = mpsc::channel(QUEUE_MAX);
        tokio::spawn(write_all(writer, queued));
        Self { queue }
    }

    /// Queues a write; `done` learns what became of it, or is dropped with the queue.
    pub(super) async fn queue(&self, write: GroupWrite, done: oneshot::Sender<Written>) {
        // An error drops `done`, which tells whoever waits.
        let _ = self.queue.send(Queued::Write(Box::new(write), done)).await;
    }

    /// Writes, and waits for it.
    pub(super) async fn write(&self, write: GroupWrite) -> Written {
        let (done, outcome) = oneshot::channel();
        self.queue(write, done).await;
        outcome
            .await
            .unwrap_or(Err(ErrorCode::CoordinatorNotAvailable))
    }

    /// Returns when everything queued before has been written, or has failed.
    pub(super) async fn flushed(&self) {
        let (done, outcome) = oneshot::channel();
        if self.queue.send(Queued::Barrier(done)).await.is_ok() {
            let _ = outcome.await;
        }
    }
}

/// The longest that a write waits for others.
const LINGER: Duration = Duration::from_millis(10);
/// For how long it is counted how many groups write.
const WINDOW: Duration = Duration::from_millis(100);
/// Where fewer groups write within a window, nobody waits.
const GROUPS_MIN: usize = 16;

/// How many groups write, and so how long a write waits for others.
#[derive(Debug)]
struct Pace {
    until: Instant,
    /// In this window.
    groups: HashSet<String>,
    /// How many there were in the one before.
    usual: usize,
}

impl Pace {
    fn new(now: Instant) -> Self {
        Self {
            until: now + WINDOW,
            groups: HashSet::new(),
            usual: 0,
        }
    }

    fn note(&mut self, queued: &Queued, now: Instant) {
        if now >= self.until {
            let is_next = now < self.until + WINDOW;
            self.usual = if is_next { self.groups.len() } else { 0 };
            self.groups.clear();
            self.until = now + WINDOW;
        }
        if let Queued::Write(write, _) = queued
            && !self.groups.contains(&write.group_id)
        {
            self.groups.insert(write.group_id.clone());
        }
    }

    /// Whether more writes are worth waiting for. Where all that write are waiting for their answers, nobody else will come; and
    /// who waits for all that was written before does not wait for more.
    fn waits(&self, waiting: &VecDeque<Queued>) -> bool {
        self.usual >= GROUPS_MIN
            && waiting.len() < self.usual.min(BATCH_MAX)
            && !matches!(waiting.back(), Some(Queued::Barrier(_)))
    }
}

async fn write_all(mut writer: GroupWriter, mut queued: mpsc::Receiver<Queued>) {
    let mut waiting: VecDeque<Queued> = VecDeque::new();
    let mut pace = Pace::new(Instant::now());
    loop {
        if waiting.is_empty() {
            match queued.recv().await {
                Some(first) => {
                    pace.note(&first, Instant::now());
                    waiting.push_back(first);
                }
                None => return,
            }
        }
        let deadline = Instant::now() + LINGER;
        while waiting.len() < BATCH_MAX {
            let next = match queued.try_recv() {
                Ok(next) => next,
                Err(_) if pace.waits(&waiting) => {
                    match tokio::time::timeout_at(deadline, queued.recv()).await {
                        Ok(Some(next)) => next,
                        Ok(None) | Err(_) => break,
                    }
                }
                Err(_) => break,
            };
            pace.note(&next, Instant::now());
            waiting.push_back(next);
        }
        let batch = take_batch(&mut waiting);
        write_batch(&mut writer, batch).await;
    }
}

/// What kind of statement a change is part of, and what else it cannot be together with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    State,
    Commit,
    DeleteOffsets,
}

fn kind(change: &GroupChange) -> Kind {
    match change {
        GroupChange::State { .. } | GroupChange::Delete => Kind::State,
        GroupChange::Offsets(_) => Kind::Commit,
        GroupChange::DeleteOffsets(_) => Kind::DeleteOffsets,
    }
}

type Batch = Vec<(Box<GroupWrite>, oneshot::Sender<Written>)>;

/// The longest beginning of the queue that one statement can write. Barriers on the way are answered.
fn take_batch(waiting: &mut VecDeque<Queued>) -> Batch {
    let mut batch = Batch::new();
    let mut groups: HashMap<String, Kind> = HashMap::new();
    let mut statement = None;
    while let Some(next) = waiting.pop_front() {
        match next {
            Queued::Barrier(done) if batch.is_empty() => {
                let _ = done.send(());
            }
            Queued::Write(write, done) => {
                let kind = kind(&write.change);
                let is_state = kind == Kind::State;
                let fits = *statement.get_or_insert(is_state) == is_state
                    && groups
                        .get(&write.group_id)
                        .is_none_or(|known| *known == kind && kind == Kind::Commit);
                if !fits {
                    waiting.push_front(Queued::Write(write, done));
                    break;
                }
                groups.insert(write.group_id.clone(), kind);
                batch.push((write, done));
            }
            barrier @ Queued::Barrier(_) => {
                waiting.push_front(barrier);
                break;
            }
        }
    }
    batch
}

async fn write_batch(writer: &mut GroupWriter, batch: Batch) {
    if batch.is_empty() {
        return;
    }
    let writes: Vec<&GroupWrite> = batch.iter().map(|(write, _)| &**write).collect();
    let outcome = attempt(writer, &writes).await;
    if let Err(error) = &outcome
        && batch.len() > 1
        && !matches!(error, storage::Error::Unavailable { .. })
    {
        // One of them is at fault; the others need not share its fate.
        tracing::warn!(%error, "a write of several groups failed; each is tried alone");
        for (write, done) in batch {
            let outcome = attempt(writer, &[&write]).await;
            let _ = done.send(result(&outcome, 0));
        }
        return;
    }
    for (index, (_, done)) in batch.into_iter().enumerate() {
        let _ = done.send(result(&outcome, index));
    }
}

async fn attempt(
    writer: &mut GroupWriter,
    writes: &[&GroupWrite],
) -> Result<Vec<bool>, storage::Error> {
    let is_state = writes
        .first()
        .is_some_and(|write| kind(&write.change) == Kind::State);
    if is_state {
        writer.write_states(writes).await
    } else {
        writer.write_offsets(writes).await
    }
}

fn result(outcome: &Result<Vec<bool>, storage::Error>, index: usize) -> Written {
    match outcome {
        Ok(done) if done.get(index) == Some(&true) => Ok(()),
        Ok(_) => Err(ErrorCode::NotCoordinator),
        Err(error) => Err(crate::error::coordinator_code(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use storage::ShardLease;

    fn queued(group: &str, change: GroupChange) -> Queued {
        let write = GroupWrite {
            group_id: group.to_owned(),
            lease: ShardLease { shard: 0, epoch: 1 },
            change,
        };
        Queued::Write(Box::new(write), oneshot::channel().0)
    }

    fn batches(queue: Vec<Queued>) -> Vec<usize> {
        let mut waiting: VecDeque<Queued> = queue.into();
        let mut sizes = Vec::new();
        while !waiting.is_empty() {
            sizes.push(take_batch(&mut waiting).len());
        }
        sizes
    }

    #[test]
    fn one_statement_takes_what_it_can_and_keeps_the_order() {
        let commit = || GroupChange::Offsets(Vec::new());
        let delete = || GroupChange::DeleteOffsets(Vec::new());
        let all = vec![
            queued("a", commit()),
            queued("b", commit()),
            queued("a", commit()),
            queued("c", delete()),
            queued("a", delete()),
            queued("a", GroupChange::Delete),
            queued("b", GroupChange::Delete),
            queued("a", GroupChange::Delete),
        ];
        assert_eq!(batches(all), [4, 1, 2, 1]);
    }

    #[test]
    fn only_one_of_many_groups_waits_for_others() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let write = |group: usize| queued(&group.to_string(), GroupChange::Delete);
        let mut pace = Pace::new(start);
        let one: VecDeque<Queued> = [write(0)].into();
        // One group that writes all the time, then a few of them.
        (0..90).for_each(|ms| pace.note(&write(0), at(ms)));
        (90..100).for_each(|ms| pace.note(&write(0), at(ms)));
        (100..200).for_each(|ms| pace.note(&write(ms as usize % 15), at(ms)));
        pace.note(&write(0), at(201));
        assert!(!pace.waits(&one));
        // Many of them.
        (202..300).for_each(|ms| pace.note(&write(ms as usize % 20), at(ms)));
        pace.note(&write(0), at(302));
        assert!(pace.waits(&one));
        let (done, _) = oneshot::channel();
        assert!(!pace.waits(&[write(0), Queued::Barrier(done)].into()));
        assert!(!pace.waits(&(0..20).map(write).collect()), "all are here");
        // After a pause the first one is alone.
        pace.note(&write(0), at(1_000));
        assert!(!pace.waits(&one));
    }

    #[test]
    fn a_barrier_waits_for_what_is_before_it() {
        let (done, mut outcome) = oneshot::channel();
        let mut waiting: VecDeque<Queued> = vec![
            queued("a", GroupChange::Delete),
            Queued::Barrier(done),
            queued("b", GroupChange::Delete),
        ]
        .into();
        assert_eq!(take_batch(&mut waiting).len(), 1);
        assert!(outcome.try_recv().is_err());
        assert_eq!(take_batch(&mut waiting).len(), 1);
        assert!(outcome.try_recv().is_ok());
    }
}
