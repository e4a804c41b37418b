//! The transaction coordinator: who holds which transactional id, and what its transaction consists of.
//!
//! A transactional id is a pure state machine (`machine`). What a step changes is written before it is answered: by itself
//! (`writes`), with the records that make a partition part of a transaction, or with the markers that end it, which are queued in
//! the log behind all that they end (`ending`). Other brokers write the markers of what they lead when they are due (`due`), and ask
//! before they take a batch (`admit`, `letters`). Handlers ask by the methods of [`Transactions`]. No messages and no SQL here.

mod admit;
mod due;
mod ending;
mod expire;
mod letters;
mod machine;
mod producer_ids;
mod shards;
mod writes;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use protocol::ErrorCode;
use storage::{OffsetWrite, Pended, Post, ShardLease, Store, TransactionRow, TransactionWrite};
use tokio::sync::oneshot;

use crate::cluster::Cluster;
use crate::config::Config;
use crate::groups::Groups;
use crate::log::Log;
use admit::Collecting;
pub(crate) use admit::{Admitted, produce_code};
use due::Due;
use letters::{Letters, Question};
use machine::{Addition, Event, Step, Transaction};
pub(crate) use machine::{Core, Producer, STATE_NAMES};
pub(crate) use producer_ids::ProducerIds;
use writes::Writes;

/// `transaction.version` of producers that add partitions by producing.
pub(crate) const VERSION_2: i16 = 2;
/// Of the others.
pub(crate) const VERSION_1: i16 = 1;
/// The longest transactional id, and the longest id of a group in a transaction: together they are a key in PostgreSQL's indexes,
/// and fit into a letter.
pub(crate) const ID_BYTES_MAX: usize = 1_000;

/// The transactional ids that this broker coordinates.
#[derive(Debug)]
pub(crate) struct Transactions {
    store: Store,
    log: Arc<Log>,
    groups: Arc<Groups>,
    cluster: Arc<Cluster>,
    writes: Writes,
    letters: Letters,
    asking: Mutex<Collecting>,
    due: Due,
    pub(crate) producer_ids: ProducerIds,
    timeout_max_ms: i32,
    /// By what right the ids of a shard were taken up.
    taken_up: Mutex<HashMap<i32, ShardLease>>,
    by_id: Mutex<HashMap<Arc<str>, Arc<Slot>>>,
}

/// One transactional id.
#[derive(Debug)]
struct Slot {
    id: Arc<str>,
    /// By what right it is coordinated.
    lease: ShardLease,
    transaction: Mutex<Transaction>,
}

impl Slot {
    fn lock(&self) -> MutexGuard<'_, Transaction> {
        self.transaction
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// A transactional id as it is shown.
#[derive(Debug, Clone)]
pub(crate) struct Shown {
    pub(crate) id: Arc<str>,
    pub(crate) core: Core,
    /// Partitions of the open transaction, by topic and number.
    pub(crate) partitions: Vec<(String, i32)>,
}

fn now_ms() -> i64 {
    crate::log::now_ms()
}

impl Transactions {
    /// Takes up what is stored.
    pub(crate) async fn open(
        store: Store,
        log: Arc<Log>,
        groups: Arc<Groups>,
        (cluster, post): (Arc<Cluster>, Post),
        config: &Config,
    ) -> Result<Arc<Self>, storage::Error> {
        let transactions = Arc::new(Self {
            writes: Writes::start(store.transaction_writer()),
            store,
            log,
            groups,
            letters: Letters::new(post, cluster.node_id()),
            cluster,
            asking: Mutex::default(),
            due: Due::default(),
            producer_ids: ProducerIds::default(),
            timeout_max_ms: config.transaction_max_timeout_ms,
            taken_up: Mutex::default(),
            by_id: Mutex::default(),
        });
        transactions.take_up().await?;
        Ok(transactions)
    }

    fn slots(&self) -> MutexGuard<'_, HashMap<Arc<str>, Arc<Slot>>> {
        self.by_id.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn asking(&self) -> MutexGuard<'_, Collecting> {
        self.asking.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn slot(&self, id: &str) -> Option<Arc<Slot>> {
        self.slots().get(id).cloned()
    }

    /// For a request that names a transactional id that must be known.
    fn known(&self, id: &str) -> Result<Arc<Slot>, ErrorCode> {
        check_id(id)?;
        self.lease(id)?;
        self.slot(id).ok_or(ErrorCode::InvalidProducerIdMapping)
    }

    /// The right to coordinate an id, which was taken up by it.
    fn lease(&self, id: &str) -> Result<ShardLease, ErrorCode> {
        let lease = self.groups.lease(id).ok_or(ErrorCode::NotCoordinator)?;
        match self.taken_up().get(&lease.shard) {
            Some(taken_up) if *taken_up == lease => Ok(lease),
            _ => Err(ErrorCode::CoordinatorLoadInProgress),
        }
    }

    /// InitProducerId with a transactional id.
    pub(crate) async fn init(
        self: &Arc<Self>,
        id: &str,
        timeout_ms: i32,
        expected: Option<Producer>,
    ) -> Result<Producer, ErrorCode> {
        check_id(id)?;
        let lease = self.lease(id)?;
        if timeout_ms <= 0 || timeout_ms > self.timeout_max_ms {
            return Err(ErrorCode::InvalidTransactionTimeout);
        }
        let mut fresh_id = None;
        loop {
            let Some(slot) = self.slot(id) else {
                let fresh = self.fresh_id().await?;
                let id: Arc<str> = id.into();
                let slot = || {
                    Arc::new(Slot {
                        id: id.clone(),
                        lease,
                        transaction: Mutex::new(Transaction::new(fresh, now_ms())),
                    })
                };
                self.slots().entry(id.clone()).or_insert_with(slot);
                continue;
            };
            let event = Event::Init {
                timeout_ms,
                expected,
                fresh_id,
            };
            match self.begin(&slot, event) {
                Begun::NeedsProducerId => fresh_id = Some(self.fresh_id().await?),
                Begun::Answer(answer) => return answer,
                Begun::Write(row, producer) => return self.write(slot, row, producer).await,
                // As in Kafka the producer asks again, and gets its epoch when the abort is done.
                Begun::End(_, _) => return Err(ErrorCode::ConcurrentTransactions),
                Begun::Add(_) => return Err(ErrorCode::UnknownServerError),
            }
        }
    }

    async fn fresh_id(&self) -> Result<i64, ErrorCode> {
        let next = self.producer_ids.next(&self.store).await;
        next.map_err(|error| crate::error::coordinator_code(&error))
    }

    /// Steps, and queues what has to be in the log's order while nothing else can.
    fn begin(self: &Arc<Self>, slot: &Arc<Slot>, event: Event<'_>) -> Begun {
        let mut transaction = slot.lock();
        match transaction.step(event, now_ms()) {
            Step::Nothing | Step::Forget => Begun::Answer(Err(ErrorCode::UnknownServerError)),
            Step::Answer(answer) => Begun::Answer(answer),
            Step::NeedsProducerId => Begun::NeedsProducerId,
            Step::Write(row, producer) => Begun::Write(row, producer),
            Step::Add(addition) => {
                transaction.begin_adding();
                Begun::Add(addition)
            }
            Step::End(ending) => {
                let answer = ending.answer;
                Begun::End(self.end_soon(slot, ending), answer)
            }
        }
    }

    /// What is written for an id besides its row is up to the caller.
    fn write_of(slot: &Slot, row: TransactionRow) -> TransactionWrite {
        TransactionWrite {
            transactional_id: slot.id.to_string(),
            lease: slot.lease,
            row: Some(row),
            partitions: Vec::new(),
            groups: Vec::new(),
            offsets: Vec::new(),
            end: None,
        }
    }

    /// Writes a state; this is done even if nobody waits for it any more.
    async fn write(
        self: &Arc<Self>,
        slot: Arc<Slot>,
        row: TransactionRow,
        producer: Producer,
    ) -> Result<Producer, ErrorCode> {
        let write = Self::write_of(&slot, row);
        let transactions = self.clone();
        let writing = tokio::spawn(async move {
            let written = transactions.writes.write(write).await;
            let is_nothing = {
                let mut transaction = slot.lock();
                transaction.step(Event::Written(written.is_ok()), now_ms());
                transaction.is_nothing()
            };
            if is_nothing {
                transactions.slots().remove(&slot.id);
            }
            written
        });
        writing
            .await
            .unwrap_or(Err(ErrorCode::UnknownServerError))
            .map(|()| producer)
    }

    /// EndTxn. The producer's id and epoch from now on.
    pub(crate) async fn end(
        self: &Arc<Self>,
        id: &str,
        producer: Producer,
        is_commit: bool,
        version: i16,
    ) -> Result<Producer, ErrorCode> {
        let slot = self.known(id)?;
        let mut fresh_id = None;
        loop {
            let event = Event::End {
                producer,
                is_commit,
                version,
                fresh_id,
            };
            match self.begin(&slot, event) {
                Begun::NeedsProducerId => fresh_id = Some(self.fresh_id().await?),
                Begun::Answer(answer) => return answer,
                Begun::End(ended, answer) => {
                    let ended = ended.await;
                    ended.unwrap_or(Err(ErrorCode::CoordinatorNotAvailable))?;
                    return Ok(answer);
                }
                Begun::Write(..) | Begun::Add(_) => return Err(ErrorCode::UnknownServerError),
            }
        }
    }

    /// AddPartitionsToTxn, of a producer with this `transaction.version`.
    pub(crate) async fn add_partitions(
        self: &Arc<Self>,
        id: &str,
        producer: Producer,
        partitions: &[i32],
        version: i16,
    ) -> Result<(), ErrorCode> {
        let slot = self.known(id)?;
        let event = Event::Add {
            producer,
            partitions,
            groups: &[],
            version,
            always: false,
        };
        self.add_with(slot, event, Vec::new()).await
    }

    /// AddOffsetsToTxn, which producers of transaction version 2 do not send.
    pub(crate) async fn add_group(
        self: &Arc<Self>,
        id: &str,
        producer: Producer,
        group_id: &str,
    ) -> Result<(), ErrorCode> {
        let slot = self.known(id)?;
        check_group(group_id)?;
        let event = Event::Add {
            producer,
            partitions: &[],
            groups: &[group_id],
            version: VERSION_1,
            always: false,
        };
        self.add_with(slot, event, Vec::new()).await
    }

    async fn add_with(
        self: &Arc<Self>,
        slot: Arc<Slot>,
        event: Event<'_>,
        offsets: Vec<(String, OffsetWrite)>,
    ) -> Result<(), ErrorCode> {
        let addition = match self.begin(&slot, event) {
            Begun::Add(addition) => addition,
            Begun::Answer(answer) => return answer.map(|_| ()),
            _ => return Err(ErrorCode::UnknownServerError),
        };
        let write = TransactionWrite {
            partitions: addition.partitions.clone(),
            groups: addition.groups.clone(),
            offsets,
            ..Self::write_of(&slot, addition.row.clone())
        };
        let transactions = self.clone();
        let writing = tokio::spawn(async move {
            let written = transactions.writes.write(write).await;
            let mut transaction = slot.lock();
            transaction.end_adding();
            transaction.step(Event::Added(&addition, written.is_ok()), now_ms());
            written
        });
        writing.await.unwrap_or(Err(ErrorCode::UnknownServerError))
    }

    /// Whether partitions are part of a transaction, for brokers (AddPartitionsToTxn, verify only).
    pub(crate) fn verify(&self, id: &str, producer: Producer, part: i32) -> Result<(), ErrorCode> {
        self.known(id)?.lock().verify(producer, Some(part), None)
    }

    /// TxnOffsetCommit: offsets that become those of the group when the transaction is committed.
    pub(crate) async fn commit_offsets(
        self: &Arc<Self>,
        id: &str,
        producer: Producer,
        group_id: &str,
        offsets: Vec<OffsetWrite>,
        version: i16,
    ) -> Result<(), ErrorCode> {
        check_group(group_id)?;
        let known = match self.known(id) {
            Err(ErrorCode::NotCoordinator) => None,
            known => Some(known?),
        };
        let Some(slot) = known else {
            return self
                .commit_offsets_for(id, producer, group_id, &offsets, version)
                .await;
        };
        let groups = [group_id];
        if version < ADDING_OFFSET_COMMIT {
            let verified = slot.lock().verify(producer, None, Some(group_id));
            verified.map_err(|code| offset_commit_code(code, version))?;
        }
        let event = Event::Add {
            producer,
            partitions: &[],
            groups: &groups,
            version: if version < ADDING_OFFSET_COMMIT {
                VERSION_1
            } else {
                VERSION_2
            },
            always: true,
        };
        let offsets = offsets.into_iter();
        let offsets = offsets.map(|offset| (group_id.to_owned(), offset));
        let added = self.add_with(slot, event, offsets.collect()).await;
        added.map_err(|code| match code {
            ErrorCode::ProducerFenced => ErrorCode::InvalidProducerEpoch,
            code => code,
        })
    }

    /// As [`Self::commit_offsets`], of a group that this broker coordinates, where another one coordinates the transaction.
    async fn commit_offsets_for(
        &self,
        id: &str,
        producer: Producer,
        group_id: &str,
        offsets: &[OffsetWrite],
        version: i16,
    ) -> Result<(), ErrorCode> {
        let question = match version < ADDING_OFFSET_COMMIT {
            true => Question::VerifyGroup(group_id.to_owned()),
            false => Question::AddGroup(group_id.to_owned()),
        };
        let asked = self.ask(id, producer, question).await;
        asked.map_err(|code| match code {
            // It is the group's that clients would look up again.
            ErrorCode::NotCoordinator => ErrorCode::CoordinatorLoadInProgress,
            code => offset_commit_code(code, version),
        })?;
        let lease = self.groups.lease(group_id);
        let lease = lease.ok_or(ErrorCode::NotCoordinator)?;
        // The last of those that name a partition twice.
        let mut last: HashMap<(i32, i32), &OffsetWrite> = HashMap::new();
        for offset in offsets {
            last.insert((offset.topic, offset.partition), offset);
        }
        let offsets: Vec<OffsetWrite> = last.into_values().cloned().collect();
        let transaction = (id, producer.id, producer.epoch);
        let pended = self
            .store
            .pend_offsets(transaction, (group_id, lease), &offsets);
        match pended.await {
            Ok(Pended::Done) => Ok(()),
            Ok(Pended::NotCoordinator) => Err(ErrorCode::NotCoordinator),
            // It was ended since, which the coordinator says when it is asked again.
            Ok(Pended::NotOpen) => Err(ErrorCode::CoordinatorLoadInProgress),
            Err(error) => Err(crate::error::coordinator_code(&error)),
        }
    }

    fn show(&self, slot: &Slot) -> Option<Shown> {
        let transaction = slot.lock();
        if transaction.is_nothing() {
            return None;
        }
        let partitions = transaction.partitions();
        let partitions = partitions.filter_map(|part| {
            let partition = self.log.partition(part)?;
            Some((partition.topic().to_owned(), partition.index()))
        });
        Some(Shown {
            id: slot.id.clone(),
            core: transaction.core().clone(),
            partitions: partitions.collect(),
        })
    }

    /// One transactional id.
    pub(crate) fn describe(&self, id: &str) -> Result<Shown, ErrorCode> {
        if id.is_empty() {
            return Err(ErrorCode::InvalidRequest);
        }
        self.lease(id)?;
        let shown = self.slot(id).and_then(|slot| self.show(&slot));
        shown.ok_or(ErrorCode::TransactionalIdNotFound)
    }

    /// All transactional ids.
    pub(crate) fn list(&self) -> Vec<Shown> {
        let slots: Vec<Arc<Slot>> = self.slots().values().cloned().collect();
        let mut shown: Vec<Shown> = slots.iter().filter_map(|slot| self.show(slot)).collect();
        shown.sort_unstable_by(|left, right| left.id.cmp(&right.id));
        shown
    }
}

fn check_id(id: &str) -> Result<(), ErrorCode> {
    match id.is_empty() || id.len() > ID_BYTES_MAX || id.contains('\0') {
        true => Err(ErrorCode::InvalidRequest),
        false => Ok(()),
    }
}

fn check_group(group_id: &str) -> Result<(), ErrorCode> {
    match group_id.len() > ID_BYTES_MAX {
        true => Err(ErrorCode::InvalidGroupId),
        false => Ok(()),
    }
}

/// The TxnOffsetCommit version that makes the group part of a transaction (KIP-890).
const ADDING_OFFSET_COMMIT: i16 = 5;
/// The TxnOffsetCommit version that knows TRANSACTION_ABORTABLE.
const ABORTABLE_OFFSET_COMMIT: i16 = 4;

fn offset_commit_code(code: ErrorCode, version: i16) -> ErrorCode {
    match code {
        ErrorCode::ProducerFenced => ErrorCode::InvalidProducerEpoch,
        ErrorCode::ConcurrentTransactions if version < ADDING_OFFSET_COMMIT => {
            ErrorCode::CoordinatorNotAvailable
        }
        ErrorCode::TransactionAbortable if version < ABORTABLE_OFFSET_COMMIT => {
            ErrorCode::InvalidTxnState
        }
        code => code,
    }
}

/// A step as far as it is done under the lock.
enum Begun {
    Answer(Result<Producer, ErrorCode>),
    NeedsProducerId,
    Write(TransactionRow, Producer),
    Add(Addition),
    End(oneshot::Receiver<Result<(), ErrorCode>>, Producer),
}
