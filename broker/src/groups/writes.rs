//! The queue of writes to the database: one statement at a time, with as much of what is queued as goes into one. Writes are
//! done in the order in which they were queued.

use std::collections::{HashMap, VecDeque};

use protocol::ErrorCode;
use storage::{GroupChange, GroupWrite, GroupWriter};
use tokio::sync::{mpsc, oneshot};

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

async fn write_all(mut writer: GroupWriter, mut queued: mpsc::Receiver<Queued>) {
    let mut waiting: VecDeque<Queued> = VecDeque::new();
    loop {
        if waiting.is_empty() {
            match queued.recv().await {
                Some(first) => waiting.push_back(first),
                None => return,
            }
        }
        while waiting.len() < BATCH_MAX
            && let Ok(next) = queued.try_recv()
        {
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
