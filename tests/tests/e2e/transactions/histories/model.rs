//! What is in a topic after a history: a list for each partition, and what became of each transaction. Nothing of the broker is in
//! it but the rule that each record and each marker takes one offset.

use std::collections::BTreeSet;

use protocol::ErrorCode;

pub(super) const PARTITIONS: usize = 2;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    Committed,
    Aborted,
}

#[derive(Debug)]
struct Transaction {
    state: State,
    producer_id: i64,
    /// Those that get a marker.
    partitions: BTreeSet<usize>,
    /// Offset to be committed for the group.
    offset: Option<i64>,
    /// First record and marker in each partition.
    firsts: [Option<i64>; PARTITIONS],
    markers: [Option<i64>; PARTITIONS],
}

/// Takes one offset.
#[derive(Debug)]
enum Entry {
    Plain(String),
    /// Of a transaction, by number.
    Record(usize, String),
    Marker,
}

#[derive(Debug)]
pub(super) struct Model {
    logs: [Vec<Entry>; PARTITIONS],
    transactions: Vec<Transaction>,
    /// The open transaction of each transactional id.
    open: Vec<Option<usize>>,
    /// How the last one ended, if nothing came since.
    ended: Vec<Option<bool>>,
    group_offset: i64,
}

impl Model {
    pub(super) fn new(ids: usize) -> Self {
        Self {
            logs: std::array::from_fn(|_| Vec::new()),
            transactions: Vec::new(),
            open: vec![None; ids],
            ended: vec![None; ids],
            group_offset: -1,
        }
    }

    fn begun(&mut self, id: usize) -> &mut Transaction {
        let number = *self.open[id].get_or_insert_with(|| {
            self.transactions.push(Transaction {
                state: State::Open,
                producer_id: -1,
                partitions: BTreeSet::new(),
                offset: None,
                firsts: [None; PARTITIONS],
                markers: [None; PARTITIONS],
            });
            self.transactions.len() - 1
        });
        &mut self.transactions[number]
    }

    pub(super) fn add(&mut self, id: usize, partition: usize) {
        self.begun(id).partitions.insert(partition);
    }

    pub(super) fn produce(
        &mut self,
        id: usize,
        partition: usize,
        producer_id: i64,
        values: Vec<String>,
    ) {
        let end = self.end(partition);
        let transaction = self.begun(id);
        transaction.partitions.insert(partition);
        transaction.producer_id = producer_id;
        transaction.firsts[partition].get_or_insert(end);
        let number = self.open[id].expect("it has begun");
        let records = values.into_iter().map(|value| Entry::Record(number, value));
        self.logs[partition].extend(records);
    }

    pub(super) fn plain(&mut self, partition: usize, values: Vec<String>) {
        self.logs[partition].extend(values.into_iter().map(Entry::Plain));
    }

    pub(super) fn offset(&mut self, id: usize, offset: i64) {
        self.begun(id).offset = Some(offset);
    }

    pub(super) fn is_open(&self, id: usize) -> bool {
        self.open[id].is_some()
    }

    /// The code of an EndTxn.
    pub(super) fn expected_end(&self, id: usize, version: i16, is_commit: bool) -> ErrorCode {
        let is_fine = match version {
            _ if self.is_open(id) => true,
            // Repeated, as far as anybody can tell.
            1 => self.ended[id] == Some(is_commit),
            _ => !is_commit,
        };
        if is_fine {
            ErrorCode::None
        } else {
            ErrorCode::InvalidTxnState
        }
    }

    /// The end of what is open, if anything is.
    pub(super) fn end_transaction(&mut self, id: usize, is_commit: bool) {
        self.ended[id] = Some(is_commit);
        let Some(number) = self.open[id].take() else {
            return;
        };
        let transaction = &mut self.transactions[number];
        for partition in &transaction.partitions {
            let log = &mut self.logs[*partition];
            transaction.markers[*partition] = Some(log.len() as i64);
            log.push(Entry::Marker);
        }
        transaction.state = match is_commit {
            true => State::Committed,
            false => State::Aborted,
        };
        if let (true, Some(offset)) = (is_commit, transaction.offset) {
            self.group_offset = offset;
        }
    }

    /// Another producer has the id, or nobody.
    pub(super) fn fence(&mut self, id: usize) {
        self.end_transaction(id, false);
        self.ended[id] = None;
    }

    /// A new epoch begins.
    pub(super) fn forget_end(&mut self, id: usize) {
        self.ended[id] = None;
    }

    /// Where the next record goes.
    pub(super) fn end(&self, partition: usize) -> i64 {
        self.logs[partition].len() as i64
    }

    pub(super) fn last_stable_offset(&self, partition: usize) -> i64 {
        let open = self.open.iter().flatten();
        let firsts = open.filter_map(|number| self.transactions[*number].firsts[partition]);
        firsts.min().unwrap_or_else(|| self.end(partition))
    }

    /// First offset and producer of aborted transactions, as a reader of committed records from an offset on is told.
    pub(super) fn aborted(&self, partition: usize, from: i64) -> Vec<(i64, i64)> {
        let stable = self.last_stable_offset(partition);
        let aborted = self.transactions.iter();
        let aborted = aborted.filter(|transaction| transaction.state == State::Aborted);
        let overlapping = aborted.filter_map(|transaction| {
            let (first, marker) = (
                transaction.firsts[partition]?,
                transaction.markers[partition]?,
            );
            let is_seen = from < stable && first < stable && marker >= from;
            is_seen.then_some((first, transaction.producer_id))
        });
        let mut overlapping: Vec<(i64, i64)> = overlapping.collect();
        overlapping.sort_unstable();
        overlapping
    }

    pub(super) fn values(&self, partition: usize, from: i64, level: i8) -> Vec<String> {
        let stable = self.last_stable_offset(partition);
        let visible = (0..)
            .zip(&self.logs[partition])
            .filter_map(|(offset, entry)| {
                let is_in_reach = offset >= from && (level == 0 || offset < stable);
                let value = match entry {
                    Entry::Plain(value) => value,
                    Entry::Record(number, value)
                        if level == 0 || self.transactions[*number].state == State::Committed =>
                    {
                        value
                    }
                    Entry::Record(..) | Entry::Marker => return None,
                };
                is_in_reach.then(|| value.clone())
            });
        visible.collect()
    }

    /// `txn_state` of each record and marker.
    pub(super) fn states(&self, partition: usize) -> Vec<&'static str> {
        let log = self.logs[partition].iter();
        log.map(|entry| match entry {
            Entry::Plain(_) => "none",
            Entry::Marker => "control",
            Entry::Record(number, _) => match self.transactions[*number].state {
                State::Open => "open",
                State::Committed => "committed",
                State::Aborted => "aborted",
            },
        })
        .collect()
    }

    /// What open transactions will commit for the group.
    pub(super) fn waiting_offsets(&self) -> Vec<String> {
        let open = self.open.iter().flatten();
        let offsets = open.filter_map(|number| self.transactions[*number].offset);
        let mut offsets: Vec<i64> = offsets.collect();
        offsets.sort_unstable();
        offsets.iter().map(i64::to_string).collect()
    }

    pub(super) fn group_offset(&self) -> i64 {
        self.group_offset
    }

    /// Whether an open transaction has an offset for the group.
    pub(super) fn is_group_waiting(&self) -> bool {
        let mut open = self.open.iter().flatten();
        open.any(|number| self.transactions[*number].offset.is_some())
    }
}
