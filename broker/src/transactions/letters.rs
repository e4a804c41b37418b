//! What brokers ask each other about transactions, by letters through the database: the leader of a partition, or the coordinator of a
//! group, asks the coordinator of the transaction. A letter may be lost, so every question ends after a while.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use protocol::ErrorCode;
use serde::{Deserialize, Serialize};
use storage::{Post, ShardLease};
use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

use super::machine::Event;
use super::{Producer, Transactions, VERSION_2};
use crate::log::Verdict;

/// How long an answer is waited for. Clients ask again.
const ANSWER_PATIENCE: Duration = Duration::from_secs(2);

#[derive(Debug, Serialize, Deserialize)]
enum Letter {
    Ask {
        from: i32,
        /// One broker after another may have a number.
        asker: String,
        number: u64,
        #[serde(with = "hex")]
        id: String,
        producer_id: i64,
        producer_epoch: i16,
        what: Question,
    },
    Answer {
        asker: String,
        number: u64,
        code: i16,
        coordinator_epoch: i32,
    },
    /// Markers became due in the receiver's lane, or some of what it decided are written.
    Look,
}

/// What is asked of a coordinator.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Question {
    /// To make partitions part of the transaction (transaction version 2).
    Add(Vec<i32>),
    /// Whether a partition is part of it.
    Verify(i32),
    /// To make a group part of it (transaction version 2).
    AddGroup(#[serde(with = "hex")] String),
    /// Whether a group is part of it.
    VerifyGroup(#[serde(with = "hex")] String),
}

/// Texts of which any may be in a letter: two digits for each byte, where JSON needs up to six.
mod hex {
    use std::fmt::Write;

    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(text: &str, serializer: S) -> Result<S::Ok, S::Error> {
        let digits = text.bytes().fold(String::new(), |mut digits, byte| {
            // Writing to a string does not fail.
            let _ = write!(digits, "{byte:02x}");
            digits
        });
        serializer.serialize_str(&digits)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(source: D) -> Result<String, D::Error> {
        let digits = String::deserialize(source)?;
        let pairs = digits.as_bytes().chunks(2);
        let bytes = pairs.map(|pair| {
            let pair = std::str::from_utf8(pair)
                .ok()
                .filter(|pair| pair.len() == 2);
            u8::from_str_radix(pair?, 16).ok()
        });
        let text = bytes
            .collect::<Option<Vec<u8>>>()
            .and_then(|bytes| String::from_utf8(bytes).ok());
        text.ok_or_else(|| D::Error::custom("not the digits of a text"))
    }
}

/// Questions that wait for their answers.
#[derive(Debug)]
pub(super) struct Letters {
    post: Post,
    node_id: i32,
    asker: String,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    last: u64,
    questions: HashMap<u64, oneshot::Sender<Verdict>>,
}

impl Letters {
    pub(super) fn new(post: Post, node_id: i32) -> Self {
        Self {
            post,
            node_id,
            asker: Uuid::new_v4().to_string(),
            open: Mutex::default(),
        }
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn send(&self, node_id: i32, letter: &Letter) -> bool {
        let text = serde_json::to_string(letter);
        text.is_ok_and(|text| self.post.send(node_id, text))
    }

    /// Asks a broker, and waits for its answer.
    async fn ask(&self, node_id: i32, id: &str, producer: Producer, what: Question) -> Verdict {
        let (reply, answer) = oneshot::channel();
        let number = {
            let mut open = self.open();
            open.last += 1;
            let number = open.last;
            open.questions.insert(number, reply);
            number
        };
        let letter = Letter::Ask {
            from: self.node_id,
            asker: self.asker.clone(),
            number,
            id: id.to_owned(),
            producer_id: producer.id,
            producer_epoch: producer.epoch,
            what,
        };
        let verdict = match self.send(node_id, &letter) {
            true => tokio::time::timeout(ANSWER_PATIENCE, answer).await,
            false => Ok(Ok(Err(ErrorCode::CoordinatorNotAvailable))),
        };
        self.open().questions.remove(&number);
        match verdict {
            Ok(Ok(verdict)) => verdict,
            Ok(Err(_)) | Err(_) => Err(ErrorCode::CoordinatorNotAvailable),
        }
    }

    fn answered(&self, asker: &str, number: u64, verdict: Verdict) {
        if asker != self.asker {
            return;
        }
        if let Some(reply) = self.open().questions.remove(&number) {
            // Whoever asked may have gone.
            let _ = reply.send(verdict);
        }
    }

    /// Tells a broker to look at what is stored.
    pub(super) fn tell_to_look(&self, node_id: i32) {
        // If it is lost the broker looks a little later.
        let _ = self.send(node_id, &Letter::Look);
    }
}

impl Transactions {
    /// Asks the coordinator of a transactional id, which is another broker.
    pub(super) async fn ask(&self, id: &str, producer: Producer, what: Question) -> Verdict {
        let view = self.cluster.view();
        match view.coordinator(id) {
            Some(node_id) if node_id != self.cluster.node_id() => {
                self.letters.ask(node_id, id, producer, what).await
            }
            // It is changing.
            _ => Err(ErrorCode::CoordinatorNotAvailable),
        }
    }

    /// Reads letters, for ever.
    pub(crate) async fn correspond(self: Arc<Self>, mut incoming: mpsc::Receiver<String>) {
        while let Some(text) = incoming.recv().await {
            match serde_json::from_str(&text) {
                Ok(letter) => self.read(letter),
                Err(error) => tracing::warn!(%error, "a letter that cannot be read"),
            }
        }
    }

    fn read(self: &Arc<Self>, letter: Letter) {
        match letter {
            Letter::Look => self.look_at_markers(),
            Letter::Answer {
                asker,
                number,
                code,
                coordinator_epoch,
            } => {
                let verdict = match code {
                    0 => Ok(coordinator_epoch),
                    code => Err(ErrorCode::from_i16(code).unwrap_or(ErrorCode::UnknownServerError)),
                };
                self.letters.answered(&asker, number, verdict);
            }
            Letter::Ask {
                from,
                asker,
                number,
                id,
                producer_id,
                producer_epoch,
                what,
            } => {
                let producer = Producer {
                    id: producer_id,
                    epoch: producer_epoch,
                };
                let transactions = self.clone();
                tokio::spawn(async move {
                    let verdict = transactions.judge(&id, producer, what).await;
                    let answer = Letter::Answer {
                        asker,
                        number,
                        code: verdict.err().map_or(0, ErrorCode::code),
                        coordinator_epoch: verdict.unwrap_or(-1),
                    };
                    // If it is lost the question is asked again.
                    let _ = transactions.letters.send(from, &answer);
                });
            }
        }
    }

    /// Answers a question as the coordinator.
    async fn judge(self: &Arc<Self>, id: &str, producer: Producer, what: Question) -> Verdict {
        let slot = self.known(id)?;
        let ShardLease { epoch, .. } = slot.lease;
        let (partitions, group) = match what {
            Question::Verify(part) => {
                let verified = slot.lock().verify(producer, Some(part), None);
                return verified.map(|()| epoch);
            }
            Question::VerifyGroup(group) => {
                let verified = slot.lock().verify(producer, None, Some(&group));
                return verified.map(|()| epoch);
            }
            Question::Add(partitions) => (partitions, None),
            Question::AddGroup(group) => (Vec::new(), Some(group)),
        };
        let groups: Vec<&str> = group.as_deref().into_iter().collect();
        let event = Event::Add {
            producer,
            partitions: &partitions,
            groups: &groups,
            version: VERSION_2,
            always: false,
        };
        let added = self.add_with(slot, event, Vec::new()).await;
        added.map(|()| epoch)
    }
}

#[cfg(test)]
mod tests {
    use storage::LETTER_BYTES_MAX;

    use super::super::ID_BYTES_MAX;
    use super::super::admit::PARTITIONS_MAX;
    use super::*;

    #[test]
    fn the_longest_letters_are_carried() {
        let longest = "\u{1}".repeat(ID_BYTES_MAX);
        for what in [
            Question::AddGroup(longest.clone()),
            Question::Add(vec![i32::MIN; PARTITIONS_MAX]),
        ] {
            let letter = Letter::Ask {
                from: i32::MIN,
                asker: Uuid::new_v4().to_string(),
                number: u64::MAX,
                id: longest.clone(),
                producer_id: i64::MIN,
                producer_epoch: i16::MIN,
                what,
            };
            let bytes = serde_json::to_string(&letter).unwrap().len();
            assert!(bytes <= LETTER_BYTES_MAX, "{bytes}");
        }
    }

    #[test]
    fn letters_say_after_the_way_what_they_said_before() {
        let letter = Letter::Ask {
            from: 3,
            asker: Uuid::new_v4().to_string(),
            number: u64::MAX,
            id: "an \"id\"\n".to_owned(),
            producer_id: 7,
            producer_epoch: 2,
            what: Question::AddGroup("g\u{1}é".to_owned()),
        };
        let text = serde_json::to_string(&letter).unwrap();
        let read: Letter = serde_json::from_str(&text).unwrap();
        assert_eq!(format!("{read:?}"), format!("{letter:?}"));
        assert!(serde_json::from_str::<Letter>("{\"Ask\":{}}").is_err());
        for bad in ["zz", "c", "ff", "é"] {
            let question = format!("{{\"AddGroup\":\"{bad}\"}}");
            assert!(
                serde_json::from_str::<Question>(&question).is_err(),
                "{bad}"
            );
        }
    }
}
