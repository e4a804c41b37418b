//! The queue of writes to the database: one statement at a time, with as much of what is queued as goes into one.

use std::collections::{HashSet, VecDeque};

use protocol::ErrorCode;
use storage::{TransactionWrite, TransactionWriter};
use tokio::sync::{mpsc, oneshot};

/// Writes that may wait. Beyond it requests wait with what they want to write.
const QUEUE_MAX: usize = 10_000;
/// Writes of one statement.
const BATCH_MAX: usize = 500;

type Queued = (TransactionWrite, oneshot::Sender<Result<(), ErrorCode>>);

/// The queue; its task ends when the last handle is gone.
#[derive(Debug, Clone)]
pub(super) struct Writes {
    queue: mpsc::Sender<Queued>,
}

impl Writes {
    pub(super) fn start(writer: TransactionWriter) -> Self {
        let (queue, queued) = mpsc::channel(QUEUE_MAX);
        tokio::spawn(write_all(writer, queued));
        Self { queue }
    }

    /// Writes, and waits for it.
    pub(super) async fn write(&self, write: TransactionWrite) -> Result<(), ErrorCode> {
        let (done, outcome) = oneshot::channel();
        // An error drops `done`.
        let _ = self.queue.send((write, done)).await;
        outcome
            .await
            .unwrap_or(Err(ErrorCode::CoordinatorNotAvailable))
    }

    /// Writes if that is still right when it has its place in the queue, and waits for it.
    pub(super) async fn write_if(
        &self,
        write: TransactionWrite,
        is_right: impl FnOnce() -> bool,
    ) -> Result<(), ErrorCode> {
        let (done, outcome) = oneshot::channel();
        let place = self.queue.reserve().await;
        let place = place.map_err(|_| ErrorCode::CoordinatorNotAvailable)?;
        if !is_right() {
            return Err(ErrorCode::NotCoordinator);
        }
        place.send((write, done));
        outcome
            .await
            .unwrap_or(Err(ErrorCode::CoordinatorNotAvailable))
    }
}

async fn write_all(mut writer: TransactionWriter, mut queued: mpsc::Receiver<Queued>) {
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
        let (writes, replies): (Vec<_>, Vec<_>) = take_batch(&mut waiting).into_iter().unzip();
        let outcome = writer.write(&writes).await;
        if let (Err(error), 2..) = (&outcome, writes.len())
            && !matches!(error, storage::Error::Unavailable { .. })
        {
            // One of them is at fault; the others need not share its fate.
            tracing::warn!(%error, "a write of several transactions failed; each is tried alone");
            for (write, reply) in writes.into_iter().zip(replies) {
                let outcome = writer.write(&[write]).await;
                let _ = reply.send(result(&outcome, 0));
            }
            continue;
        }
        for (index, reply) in replies.into_iter().enumerate() {
            let _ = reply.send(result(&outcome, index));
        }
    }
}

/// The longest beginning of the queue that names no transactional id twice.
fn take_batch(waiting: &mut VecDeque<Queued>) -> Vec<Queued> {
    let mut ids = HashSet::new();
    let fitting = waiting
        .iter()
        .take_while(|(write, _)| ids.insert(write.transactional_id.clone()))
        .count();
    waiting.drain(..fitting).collect()
}

fn result(outcome: &Result<Vec<bool>, storage::Error>, index: usize) -> Result<(), ErrorCode> {
    match outcome {
        Ok(done) if done.get(index) == Some(&true) => Ok(()),
        Ok(_) => Err(ErrorCode::NotCoordinator),
        Err(error) => Err(crate::error::coordinator_code(error)),
    }
}

#[cfg(test)]
mod tests {
    use storage::ShardLease;

    use super::*;

    #[test]
    fn a_statement_names_no_id_twice() {
        let queued = |id: &str| {
            let write = TransactionWrite {
                transactional_id: id.to_owned(),
                lease: ShardLease { shard: 0, epoch: 1 },
                row: None,
                partitions: Vec::new(),
                groups: Vec::new(),
                offsets: Vec::new(),
                end: None,
            };
            (write, oneshot::channel().0)
        };
        let mut waiting: VecDeque<Queued> = ["a", "b", "a", "b", "c"].map(queued).into();
        let mut sizes = Vec::new();
        while !waiting.is_empty() {
            sizes.push(take_batch(&mut waiting).len());
        }
        assert_eq!(sizes, [2, 3]);
    }
}
