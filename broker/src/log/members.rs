//! Whose open transactions are known to have a partition, where other brokers coordinate them. The first batch of a transaction waits
//! here while its coordinator is asked; later ones pass. Asking is not done here.
//!
//! A batch gets its place in the queue under the same lock under which the end of the transaction takes the producer out, before
//! its marker is queued. So a batch that was let in lies before the marker, and one that was asked about before it is not let in.

use std::collections::HashMap;
use std::fmt;

use protocol::ErrorCode;

/// What the coordinator says: its epoch, if the batch may be appended.
pub(crate) type Verdict = Result<i32, ErrorCode>;

/// Queues a batch, or refuses it. Dropped if the transaction ends, or another broker comes to lead, before there is a verdict.
pub(crate) type Waiting = Box<dyn FnOnce(Verdict) + Send>;

enum Member {
    /// The coordinator is being asked.
    Asked {
        question: u64,
        waiting: Vec<Waiting>,
    },
    /// The transaction has the partition, by the word of the coordinator with this epoch.
    In { coordinator_epoch: i32 },
}

/// The members of one partition, by producer id and epoch.
#[derive(Default)]
pub(crate) struct Members {
    by_producer: HashMap<(i64, i16), Member>,
    questions: u64,
}

impl fmt::Debug for Members {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.by_producer.keys()).finish()
    }
}

impl Members {
    /// Lets a batch in, or makes it wait. The number of a question that is to be asked now, if it is the first to wait.
    pub(crate) fn enter(&mut self, producer: (i64, i16), batch: Waiting) -> Option<u64> {
        match self.by_producer.get_mut(&producer) {
            Some(Member::In { coordinator_epoch }) => batch(Ok(*coordinator_epoch)),
            Some(Member::Asked { waiting, .. }) => waiting.push(batch),
            None => {
                self.questions += 1;
                let asked = Member::Asked {
                    question: self.questions,
                    waiting: vec![batch],
                };
                self.by_producer.insert(producer, asked);
                return Some(self.questions);
            }
        }
        None
    }

    /// The answer to a question, which counts if the producer has not been taken out since it was asked.
    pub(crate) fn answered(&mut self, producer: (i64, i16), question: u64, verdict: Verdict) {
        let waiting = match self.by_producer.remove(&producer) {
            Some(Member::Asked {
                question: asked,
                waiting,
            }) if asked == question => waiting,
            Some(other) => {
                self.by_producer.insert(producer, other);
                return;
            }
            None => return,
        };
        if let Ok(coordinator_epoch) = verdict {
            self.by_producer
                .insert(producer, Member::In { coordinator_epoch });
        }
        waiting.into_iter().for_each(|batch| batch(verdict));
    }

    /// Another broker comes to lead, or this one does anew.
    pub(crate) fn clear(&mut self) {
        self.by_producer.clear();
    }

    /// A transaction of the producer ends.
    pub(crate) fn leave(&mut self, producer_id: i64) {
        if !self.by_producer.is_empty() {
            self.by_producer.retain(|(id, _), _| *id != producer_id);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, channel};

    use super::*;

    fn batch() -> (Waiting, Receiver<Verdict>) {
        let (sender, verdict) = channel();
        // Not every test waits for it.
        let batch = move |verdict| {
            let _ = sender.send(verdict);
        };
        (Box::new(batch), verdict)
    }

    #[test]
    fn the_first_batch_is_asked_about_and_others_follow_it() {
        let mut members = Members::default();
        let ((first, first_verdict), (second, second_verdict)) = (batch(), batch());
        let question = members.enter((1, 0), first).unwrap();
        assert_eq!(members.enter((1, 0), second), None);
        assert!(first_verdict.try_recv().is_err());
        members.answered((1, 0), question, Ok(7));
        assert_eq!(first_verdict.recv(), Ok(Ok(7)));
        assert_eq!(second_verdict.recv(), Ok(Ok(7)));
        let (third, verdict) = batch();
        assert_eq!(members.enter((1, 0), third), None);
        assert_eq!(verdict.recv(), Ok(Ok(7)));
        // Another epoch is another transaction.
        assert!(members.enter((1, 1), batch().0).is_some());
    }

    #[test]
    fn an_answer_from_before_the_end_does_not_count() {
        let mut members = Members::default();
        let (first, verdict) = batch();
        let question = members.enter((1, 0), first).unwrap();
        members.leave(1);
        assert!(verdict.recv().is_err(), "it is dropped");
        let (second, verdict) = batch();
        let again = members.enter((1, 0), second).unwrap();
        members.answered((1, 0), question, Ok(7));
        assert!(verdict.try_recv().is_err());
        members.answered((1, 0), again, Err(ErrorCode::ConcurrentTransactions));
        assert_eq!(verdict.recv(), Ok(Err(ErrorCode::ConcurrentTransactions)));
        assert!(members.enter((1, 0), batch().0).is_some(), "asked again");
    }

    #[test]
    fn only_the_producer_that_ends_leaves() {
        let mut members = Members::default();
        for id in [1, 2] {
            let question = members.enter((id, 0), batch().0).unwrap();
            members.answered((id, 0), question, Ok(7));
        }
        members.leave(1);
        assert!(members.enter((1, 0), batch().0).is_some());
        assert!(members.enter((2, 0), batch().0).is_none());
    }
}
