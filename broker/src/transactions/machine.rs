//! The state machine of one transactional id. Pure: requests and the time go in, what is to be answered, written or ended comes
//! out. Rules and error codes are Kafka's, for transaction versions 1 and 2 (KIP-890).

mod state;

use std::collections::BTreeMap;

use protocol::ErrorCode;
use storage::TransactionRow;

use state::is_exhausted;
pub(crate) use state::{Core, Producer, STATE_NAMES, State};
pub(super) use state::{NO_EPOCH, NO_ID};

/// The transaction version that raises the epoch with each transaction.
const EPOCH_BUMPED: i16 = 2;

/// One transactional id.
#[derive(Debug)]
pub(super) struct Transaction {
    core: Core,
    /// The partitions of the open transaction, and whether that is stored.
    partitions: BTreeMap<i32, bool>,
    /// The groups whose offsets it commits, and whether that is stored.
    groups: BTreeMap<String, bool>,
    /// What the state becomes when it is written; nothing else is begun until then.
    next: Option<Core>,
    /// Additions that are being written; the transaction does not end before.
    adding: usize,
}

/// What happens.
#[derive(Debug, Clone, Copy)]
pub(super) enum Event<'a> {
    /// InitProducerId. `fresh_id` is a producer id that nobody has, if one is at hand.
    Init {
        timeout_ms: i32,
        expected: Option<Producer>,
        fresh_id: Option<i64>,
    },
    /// AddPartitionsToTxn, AddOffsetsToTxn, and what implies them.
    Add {
        producer: Producer,
        partitions: &'a [i32],
        groups: &'a [&'a str],
        version: i16,
        /// Whether something is written even if all of them are part of it.
        always: bool,
    },
    /// EndTxn.
    End {
        producer: Producer,
        is_commit: bool,
        version: i16,
        fresh_id: Option<i64>,
    },
    /// Time has passed.
    Tick,
    /// What [`Step::Write`] asked for was written, or was not.
    Written(bool),
    /// What [`Step::Add`] asked for was written, or was not.
    Added(&'a Addition, bool),
    /// What [`Step::End`] asked for was committed.
    Ended,
    /// Nothing happened to the id for long enough to forget it, if it was so for this time.
    Forget { unused_ms: i64 },
}

/// What is to be done.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    Nothing,
    Answer(Result<Producer, ErrorCode>),
    /// The same event once more, with a fresh producer id.
    NeedsProducerId,
    /// To write the row, to say that it was [`Event::Written`], then to answer.
    Write(TransactionRow, Producer),
    /// To write the addition, to say that it was [`Event::Added`], then to answer.
    Add(Addition),
    /// To end the transaction in its partitions, to say that it is [`Event::Ended`], then to answer.
    End(Ending),
    /// To remove the id, and to say that this was not [`Event::Written`] if it was not.
    Forget,
}

/// What becomes part of a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Addition {
    pub(super) row: TransactionRow,
    pub(super) partitions: Vec<i32>,
    pub(super) groups: Vec<String>,
    pub(super) producer: Producer,
}

/// The end of a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ending {
    /// As the markers have it.
    pub(super) marker: Producer,
    pub(super) is_commit: bool,
    /// Whether the marker has an epoch that no record has.
    pub(super) is_epoch_bumped: bool,
    pub(super) partitions: Vec<i32>,
    pub(super) groups: Vec<String>,
    /// The state while markers are due in partitions of other brokers.
    pub(super) prepared: TransactionRow,
    /// The state afterwards.
    pub(super) row: TransactionRow,
    pub(super) answer: Producer,
    /// Not by its producer.
    pub(super) is_forced: bool,
}

impl Transaction {
    /// An id that is used for the first time; it is stored when it gets its first epoch.
    pub(super) fn new(producer_id: i64, now: i64) -> Self {
        let core = Core {
            producer: Producer {
                id: producer_id,
                epoch: NO_EPOCH,
            },
            last: Producer {
                id: NO_ID,
                epoch: NO_EPOCH,
            },
            state: State::Empty,
            timeout_ms: 0,
            started_ms: None,
            updated_ms: now,
            version: 0,
        };
        Self::of(core, Vec::new(), Vec::new())
    }

    /// As it was stored.
    pub(super) fn restore(
        row: &TransactionRow,
        partitions: Vec<i32>,
        groups: Vec<String>,
    ) -> Option<Self> {
        let core = Core {
            producer: Producer {
                id: row.producer_id,
                epoch: row.producer_epoch,
            },
            last: Producer {
                id: row.last_producer_id,
                epoch: row.last_producer_epoch,
            },
            state: State::of_name(&row.state)?,
            timeout_ms: row.timeout_ms,
            started_ms: row.started_ms,
            updated_ms: row.updated_ms,
            version: row.version,
        };
        Some(Self::of(core, partitions, groups))
    }

    fn of(core: Core, partitions: Vec<i32>, groups: Vec<String>) -> Self {
        Self {
            core,
            partitions: partitions.into_iter().map(|part| (part, true)).collect(),
            groups: groups.into_iter().map(|group| (group, true)).collect(),
            next: None,
            adding: 0,
        }
    }

    pub(super) fn core(&self) -> &Core {
        &self.core
    }

    /// The partitions of the open transaction.
    pub(super) fn partitions(&self) -> impl Iterator<Item = i32> {
        self.partitions.keys().copied()
    }

    /// Whether it has never come to be.
    pub(super) fn is_nothing(&self) -> bool {
        self.core.producer.epoch == NO_EPOCH && self.next.is_none()
    }

    pub(super) fn step(&mut self, event: Event<'_>, now: i64) -> Step {
        match event {
            Event::Init {
                timeout_ms,
                expected,
                fresh_id,
            } => self.init(timeout_ms, expected, fresh_id, now),
            Event::Add {
                producer,
                partitions,
                groups,
                version,
                always,
            } => match self.check(producer) {
                Ok(()) => self.add(producer, partitions, groups, (version, always), now),
                Err(code) => Self::refuse(code),
            },
            Event::End {
                producer,
                is_commit,
                version,
                fresh_id,
            } if version >= EPOCH_BUMPED => self.end_2(producer, is_commit, version, fresh_id, now),
            Event::End {
                producer,
                is_commit,
                version,
                ..
            } => self.end_1(producer, is_commit, version, now),
            Event::Tick => self.tick(now),
            Event::Written(is_written) => {
                if let Some(next) = self.next.take()
                    && is_written
                {
                    self.core = next;
                }
                Step::Nothing
            }
            Event::Added(addition, is_written) => {
                self.added(addition, is_written);
                Step::Nothing
            }
            Event::Ended => {
                if let Some(next) = self.next.take() {
                    self.core = next;
                }
                self.partitions.clear();
                self.groups.clear();
                Step::Nothing
            }
            Event::Forget { unused_ms } => {
                let is_unused = !self.is_busy()
                    && self.core.state != State::Ongoing
                    && now.saturating_sub(self.core.updated_ms) >= unused_ms;
                if !is_unused {
                    return Step::Nothing;
                }
                self.next = Some(self.core.clone());
                Step::Forget
            }
        }
    }

    /// A transition is under way.
    fn is_busy(&self) -> bool {
        self.next.is_some() || self.core.state.is_ending() || self.adding > 0
    }

    fn refuse(code: ErrorCode) -> Step {
        Step::Answer(Err(code))
    }

    fn init(
        &mut self,
        timeout_ms: i32,
        expected: Option<Producer>,
        fresh_id: Option<i64>,
        now: i64,
    ) -> Step {
        if self.next.is_some() || self.adding > 0 {
            return Self::refuse(ErrorCode::ConcurrentTransactions);
        }
        let core = &self.core;
        let is_known = |expected: Producer| {
            core.producer.epoch == NO_EPOCH
                || expected.id == core.producer.id
                || (expected.id == core.last.id && is_exhausted(expected.epoch))
        };
        if expected.is_some_and(|expected| !is_known(expected)) {
            return Self::refuse(ErrorCode::ProducerFenced);
        }
        match core.state {
            State::PrepareCommit | State::PrepareAbort => {
                return Self::refuse(ErrorCode::ConcurrentTransactions);
            }
            State::Ongoing => return self.fence(now),
            State::Empty | State::CompleteCommit | State::CompleteAbort => {}
        }
        let mut next = Core {
            state: State::Empty,
            timeout_ms,
            started_ms: None,
            updated_ms: now,
            ..core.clone()
        };
        let is_current = expected.is_none_or(|expected| expected.epoch == core.producer.epoch);
        if core.is_exhausted() && is_current {
            let Some(fresh_id) = fresh_id else {
                return Step::NeedsProducerId;
            };
            next.producer = Producer {
                id: fresh_id,
                epoch: 0,
            };
            next.last = Producer {
                id: core.producer.id,
                epoch: expected.map_or(NO_EPOCH, |_| core.producer.epoch),
            };
        } else if is_current || core.producer.epoch == NO_EPOCH {
            next.producer.epoch += 1;
            next.last.epoch = expected.map_or(NO_EPOCH, |_| core.producer.epoch);
        } else if expected.is_some_and(|expected| expected.epoch != core.last.epoch) {
            return Self::refuse(ErrorCode::ProducerFenced);
        }
        // Otherwise the producer did not get the answer that told it the present epoch.
        let answer = Step::Write(next.row(), next.producer);
        self.next = Some(next);
        answer
    }

    /// Aborts the open transaction with an epoch that its producer does not have.
    fn fence(&mut self, now: i64) -> Step {
        let epoch = self.core.producer.epoch.saturating_add(1);
        self.core.producer.epoch = epoch;
        self.core.last.epoch = NO_EPOCH;
        let Step::End(mut ending) = self.prepare(false, None, now) else {
            return Step::Nothing;
        };
        ending.is_forced = true;
        Step::End(ending)
    }

    fn check(&self, producer: Producer) -> Result<(), ErrorCode> {
        if producer.id != self.core.producer.id {
            return Err(ErrorCode::InvalidProducerIdMapping);
        }
        if producer.epoch != self.core.producer.epoch {
            return Err(ErrorCode::ProducerFenced);
        }
        if self.next.is_some() || self.core.state.is_ending() {
            return Err(ErrorCode::ConcurrentTransactions);
        }
        Ok(())
    }

    /// Whether a partition or a group is part of the producer's transaction: the error says why not.
    pub(super) fn verify(
        &self,
        producer: Producer,
        part: Option<i32>,
        group: Option<&str>,
    ) -> Result<(), ErrorCode> {
        if producer.id != self.core.producer.id {
            return Err(ErrorCode::InvalidProducerIdMapping);
        }
        if producer.epoch != self.core.producer.epoch {
            return Err(ErrorCode::ProducerFenced);
        }
        if self.core.state.is_ending() {
            return Err(ErrorCode::ConcurrentTransactions);
        }
        let has_part = part.is_none_or(|part| self.partitions.get(&part) == Some(&true));
        let has_group = group.is_none_or(|group| self.groups.get(group) == Some(&true));
        if has_part && has_group {
            Ok(())
        } else {
            Err(ErrorCode::TransactionAbortable)
        }
    }

    fn add(
        &mut self,
        producer: Producer,
        partitions: &[i32],
        groups: &[&str],
        (version, always): (i16, bool),
        now: i64,
    ) -> Step {
        let core = &mut self.core;
        if core.state != State::Ongoing {
            core.state = State::Ongoing;
            core.started_ms = Some(now);
        }
        core.updated_ms = now;
        core.version = version;
        let new_partitions = partitions.iter().copied();
        let new_partitions: Vec<i32> = new_partitions
            .filter(|part| !*self.partitions.entry(*part).or_insert(false))
            .collect();
        let new_groups = groups.iter().map(|group| (*group).to_owned());
        let new_groups: Vec<String> = new_groups
            .filter(|group| !*self.groups.entry(group.clone()).or_insert(false))
            .collect();
        if new_partitions.is_empty() && new_groups.is_empty() && !always {
            return Step::Answer(Ok(producer));
        }
        Step::Add(Addition {
            row: self.core.row(),
            partitions: new_partitions,
            groups: new_groups,
            producer,
        })
    }

    /// An addition is being written by itself, and not with records.
    pub(super) fn begin_adding(&mut self) {
        self.adding += 1;
    }

    pub(super) fn end_adding(&mut self) {
        self.adding = self.adding.saturating_sub(1);
    }

    fn added(&mut self, addition: &Addition, is_written: bool) {
        if !is_written || addition.producer != self.core.producer {
            return;
        }
        for part in &addition.partitions {
            if let Some(is_saved) = self.partitions.get_mut(part) {
                *is_saved = true;
            }
        }
        for group in &addition.groups {
            if let Some(is_saved) = self.groups.get_mut(group) {
                *is_saved = true;
            }
        }
    }

    /// EndTxn of transaction version 1.
    fn end_1(&mut self, producer: Producer, is_commit: bool, version: i16, now: i64) -> Step {
        if producer.id != self.core.producer.id {
            return Self::refuse(ErrorCode::InvalidProducerIdMapping);
        }
        if producer.epoch != self.core.producer.epoch {
            return Self::refuse(ErrorCode::ProducerFenced);
        }
        if (self.next.is_some() && !self.core.state.is_ending()) || self.adding > 0 {
            return Self::refuse(ErrorCode::ConcurrentTransactions);
        }
        let state = self.core.state;
        match state {
            State::Ongoing => {
                self.core.version = version;
                self.prepare(is_commit, None, now)
            }
            State::CompleteCommit | State::CompleteAbort if state == State::complete(is_commit) => {
                Step::Answer(Ok(self.core.producer))
            }
            State::PrepareCommit | State::PrepareAbort if state == State::prepare(is_commit) => {
                Self::refuse(ErrorCode::ConcurrentTransactions)
            }
            _ => Self::refuse(ErrorCode::InvalidTxnState),
        }
    }

    /// EndTxn of transaction version 2, where a producer that repeats its request has the epoch before, or the id before.
    fn end_2(
        &mut self,
        producer: Producer,
        is_commit: bool,
        version: i16,
        fresh_id: Option<i64>,
        now: i64,
    ) -> Step {
        let core = &self.core;
        let is_overflow = producer.id == core.last.id
            && producer.epoch == i16::MAX - 1
            && core.producer.epoch == 0;
        if producer.id != core.producer.id && !is_overflow {
            return Self::refuse(ErrorCode::InvalidProducerIdMapping);
        }
        let is_repeated =
            is_overflow || i32::from(core.producer.epoch) == i32::from(producer.epoch) + 1;
        if producer.epoch != core.producer.epoch && !is_repeated {
            return Self::refuse(ErrorCode::ProducerFenced);
        }
        if (self.next.is_some() && !core.state.is_ending()) || self.adding > 0 {
            return Self::refuse(ErrorCode::ConcurrentTransactions);
        }
        let begins = match core.state {
            State::Ongoing => !is_repeated,
            // A transaction to which nothing was added may be aborted all the same.
            State::Empty | State::CompleteCommit | State::CompleteAbort => {
                !is_commit && !is_repeated
            }
            State::PrepareCommit | State::PrepareAbort => false,
        };
        if begins {
            if core.is_exhausted() && fresh_id.is_none() {
                return Step::NeedsProducerId;
            }
            let fresh_id = fresh_id.filter(|_| core.is_exhausted());
            let last = core.producer;
            self.core.version = version;
            self.core.producer.epoch = last.epoch.saturating_add(1);
            self.core.last.epoch = last.epoch;
            return self.prepare(is_commit, fresh_id, now);
        }
        match core.state {
            State::CompleteCommit | State::CompleteAbort
                if is_repeated && core.state == State::complete(is_commit) =>
            {
                Step::Answer(Ok(core.producer))
            }
            State::PrepareCommit | State::PrepareAbort
                if core.state == State::prepare(is_commit) =>
            {
                Self::refuse(ErrorCode::ConcurrentTransactions)
            }
            State::Ongoing => Self::refuse(ErrorCode::ProducerFenced),
            _ => Self::refuse(ErrorCode::InvalidTxnState),
        }
    }

    /// The end begins: nothing is added any more.
    fn prepare(&mut self, is_commit: bool, fresh_id: Option<i64>, now: i64) -> Step {
        let marker = self.core.producer;
        if self.core.state != State::Ongoing && !self.core.state.is_ending() {
            self.core.started_ms = Some(now);
        }
        self.core.state = State::prepare(is_commit);
        self.core.updated_ms = now;
        let mut next = Core {
            state: State::complete(is_commit),
            ..self.core.clone()
        };
        if let Some(id) = fresh_id {
            next.last.id = marker.id;
            next.producer = Producer { id, epoch: 0 };
        }
        let ending = Ending {
            marker,
            is_commit,
            is_epoch_bumped: self.core.version >= EPOCH_BUMPED,
            partitions: self.partitions.keys().copied().collect(),
            groups: self.groups.keys().cloned().collect(),
            prepared: self.core.row(),
            row: next.row(),
            answer: next.producer,
            is_forced: false,
        };
        self.next = Some(next);
        Step::End(ending)
    }

    fn tick(&mut self, now: i64) -> Step {
        let core = &self.core;
        let is_over = core.state == State::Ongoing
            && !self.is_busy()
            && core
                .started_ms
                .is_some_and(|started| started.saturating_add(i64::from(core.timeout_ms)) < now);
        if is_over {
            self.fence(now)
        } else {
            Step::Nothing
        }
    }

    /// The transaction was decided by a former coordinator, and is completed when its markers are written. `fresh_id` as with an
    /// [`Event::End`].
    pub(super) fn resume(&mut self, fresh_id: Option<i64>, now: i64) -> Step {
        let is_commit = match self.core.state {
            State::PrepareCommit => true,
            State::PrepareAbort => false,
            _ => return Step::Nothing,
        };
        // The marker has the last epoch of the id.
        let is_used_up = self.core.producer.epoch == i16::MAX;
        if is_used_up && fresh_id.is_none() {
            return Step::NeedsProducerId;
        }
        self.prepare(is_commit, fresh_id.filter(|_| is_used_up), now)
    }
}

#[cfg(test)]
mod tests;
