//! What compaction keeps: the last record of each key, and tombstones for a while. Pure functions over record batches, no I/O and no
//! clock; which stretches of which logs are cleaned, and when, is in `cleaner`.
//!
//! The rules are those of Kafka's cleaner. Batches keep their offsets and sequences, records leave gaps. Records of aborted
//! transactions go. A marker stays until nothing of its transaction is left, and then for `delete.retention.ms`, so that whoever has
//! read some of the records finds it.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use bytes::Bytes;
use protocol::records::{
    BuildError, Header, Record, RecordBatch, RecordBatchBuilder, RecordError, TimestampType,
};
use storage::AbortedTransaction;

/// Bytes of memory that one key takes.
const ENTRY_BYTES: usize = 28;
/// Room for this many keys in any case, or a log would never be cleaned.
const ENTRIES_MIN: usize = 1_000;

/// Why a batch cannot be cleaned.
#[derive(Debug, thiserror::Error)]
pub(super) enum CleanError {
    #[error("a batch is damaged: {0}")]
    Damaged(#[from] RecordError),
    #[error("a batch cannot be written anew: {0}")]
    Build(#[from] BuildError),
}

/// The aborted transactions of a log, all others of which are committed as far as it is cleaned.
#[derive(Debug, Default)]
pub(super) struct AbortedIndex {
    /// First and last offset, by producer and in their order.
    by_producer: HashMap<i64, Vec<(i64, i64)>>,
}

impl AbortedIndex {
    /// Of transactions in the order of their markers.
    pub(super) fn new(aborted: &[AbortedTransaction]) -> Self {
        let mut by_producer: HashMap<i64, Vec<(i64, i64)>> = HashMap::new();
        for one in aborted {
            let ranges = by_producer.entry(one.producer_id).or_default();
            ranges.push((one.first_offset, one.last_offset));
        }
        Self { by_producer }
    }

    /// Whether a batch holds records of an aborted transaction.
    fn has(&self, batch: &RecordBatch<'_>) -> bool {
        let ranges = self.by_producer.get(&batch.producer_id);
        batch.is_transactional()
            && ranges.is_some_and(|ranges| {
                let at = ranges.partition_point(|(_, last)| *last < batch.base_offset);
                let range = ranges.get(at);
                range.is_some_and(|(first, _)| *first <= batch.base_offset)
            })
    }
}

/// The offset of the last record of each key, up to an offset. Keys are known by 128 bits of hash.
#[derive(Debug)]
pub(super) struct KeyMap {
    hashers: [RandomState; 2],
    last: HashMap<[u64; 2], i64>,
    entries_max: usize,
    /// One past the last offset that was looked at.
    end_offset: i64,
    /// Their records are not noted.
    aborted: Arc<AbortedIndex>,
}

impl KeyMap {
    /// An empty map that takes about `memory_bytes` at most, for records from `first_offset` on.
    pub(super) fn new(memory_bytes: usize, first_offset: i64, aborted: Arc<AbortedIndex>) -> Self {
        Self {
            hashers: [RandomState::new(), RandomState::new()],
            last: HashMap::new(),
            entries_max: (memory_bytes / ENTRY_BYTES).max(ENTRIES_MIN),
            end_offset: first_offset,
            aborted,
        }
    }

    /// Records at and after this are not in it.
    pub(super) fn end_offset(&self) -> i64 {
        self.end_offset
    }

    fn hash(&self, key: &[u8]) -> [u64; 2] {
        let [first, second] = &self.hashers;
        [first.hash_one(key), second.hash_one(key)]
    }

    /// Takes the records of a batch; false when there is no more room, and then those that it took are the first.
    pub(super) fn add(
        &mut self,
        batch: &RecordBatch<'_>,
        cap_bytes: usize,
    ) -> Result<bool, CleanError> {
        if !batch.is_control() && !self.aborted.has(batch) {
            for record in &batch.records(cap_bytes)? {
                let record = record?;
                if record.offset < self.end_offset {
                    continue;
                }
                if let Some(key) = record.key {
                    let hash = self.hash(key);
                    if self.last.len() >= self.entries_max && !self.last.contains_key(&hash) {
                        return Ok(false);
                    }
                    self.last.insert(hash, record.offset);
                }
                self.end_offset = record.offset + 1;
            }
        }
        self.end_offset = self.end_offset.max(batch.last_offset() + 1);
        Ok(true)
    }

    /// Whether no later record is known with the record's key. Those without a key are none of a compacted log.
    fn is_last(&self, record: &Record<'_>) -> bool {
        record.key.is_some_and(|key| {
            let last = self.last.get(&self.hash(key));
            last.is_none_or(|last| record.offset >= *last)
        })
    }
}

/// What besides the keys decides.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rules {
    pub(super) now_ms: i64,
    /// `delete.retention.ms`
    pub(super) delete_retention_ms: i64,
    /// How large a batch may become when it is decompressed.
    pub(super) cap_bytes: usize,
    /// Nothing before this is to be read any more.
    pub(super) log_start_offset: i64,
}

/// What becomes of a batch.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Kept {
    /// It stays as it is.
    Whole,
    /// This takes its place.
    Changed(Bytes),
    Nothing,
}

/// Cleans the batches of one pass, in their order.
#[derive(Debug)]
pub(super) struct Filter {
    pub(super) keys: KeyMap,
    pub(super) rules: Rules,
    /// Offset of the last batch of each producer that is not forgotten; it stays, without records if need be, for its sequence.
    pub(super) last_of_producers: HashMap<i64, i64>,
    /// The epoch of producers that have written nothing but a marker with it, which tells it.
    pub(super) epochs_of_markers: HashMap<i64, i16>,
    /// Producers of whose transaction a batch came, and no marker yet.
    unended: HashSet<i64>,
    /// Offsets of the markers that went.
    pub(super) gone_markers: Vec<i64>,
}

impl Filter {
    pub(super) fn new(keys: KeyMap, rules: Rules) -> Self {
        Self {
            keys,
            rules,
            last_of_producers: HashMap::new(),
            epochs_of_markers: HashMap::new(),
            unended: HashSet::new(),
            gone_markers: Vec::new(),
        }
    }

    /// What becomes of `batch`; `is_end` if it must stay for its offsets.
    pub(super) fn filter(
        &mut self,
        batch: &RecordBatch<'_>,
        is_end: bool,
    ) -> Result<Kept, CleanError> {
        if batch.is_control() {
            return self.filter_marker(batch, is_end);
        }
        if batch.is_transactional() {
            self.unended.insert(batch.producer_id);
        }
        let stays = is_end
            || (batch.has_producer_id()
                && self.last_of_producers.get(&batch.producer_id) == Some(&batch.base_offset));
        let is_beyond = batch.base_offset >= self.keys.end_offset;
        let is_deleted = batch.last_offset() < self.rules.log_start_offset;
        if is_deleted || (!is_beyond && self.keys.aborted.has(batch)) {
            return match stays {
                true => empty(batch),
                false => Ok(Kept::Nothing),
            };
        }
        if is_beyond {
            return Ok(Kept::Whole);
        }
        self.filter_records(batch, stays)
    }

    /// A marker has nothing to say any more when the batches of its transaction are gone, those without records too, as who reads
    /// the log anew would take the transaction for open.
    fn filter_marker(&mut self, batch: &RecordBatch<'_>, is_end: bool) -> Result<Kept, CleanError> {
        let has_batches = self.unended.remove(&batch.producer_id);
        let tells_epoch =
            self.epochs_of_markers.get(&batch.producer_id) == Some(&batch.producer_epoch);
        let is_beyond = batch.base_offset >= self.keys.end_offset;
        if has_batches || tells_epoch || is_beyond || is_end {
            return Ok(Kept::Whole);
        }
        match batch.delete_horizon_ms() {
            Some(horizon_ms) if self.rules.now_ms >= horizon_ms => {
                self.gone_markers.push(batch.base_offset);
                Ok(Kept::Nothing)
            }
            Some(_) => Ok(Kept::Whole),
            None => {
                let records = batch.records(self.rules.cap_bytes)?;
                let records: Result<Vec<Record<'_>>, RecordError> = records.iter().collect();
                rebuilt(batch, &records?, Some(self.horizon_ms()))
            }
        }
    }

    /// Of what is to go, and was not marked yet.
    fn horizon_ms(&self) -> i64 {
        let now_ms = self.rules.now_ms;
        now_ms.saturating_add(self.rules.delete_retention_ms)
    }

    fn filter_records(&self, batch: &RecordBatch<'_>, stays: bool) -> Result<Kept, CleanError> {
        let horizon_ms = batch.delete_horizon_ms();
        let is_past = horizon_ms.is_some_and(|horizon_ms| self.rules.now_ms >= horizon_ms);
        let mut has_tombstones = false;
        let mut kept = Vec::new();
        let records = batch.records(self.rules.cap_bytes)?;
        for record in &records {
            let record = record?;
            let is_tombstone = record.value.is_none();
            let is_gone = is_tombstone && is_past;
            let is_later = record.offset >= self.keys.end_offset;
            if is_later || (self.keys.is_last(&record) && !is_gone) {
                has_tombstones |= is_tombstone;
                kept.push(record);
            }
        }
        let new_horizon_ms = (has_tombstones && horizon_ms.is_none()).then(|| self.horizon_ms());
        let count = usize::try_from(batch.record_count).unwrap_or(0);
        if kept.is_empty() {
            return match stays {
                true => empty(batch),
                false => Ok(Kept::Nothing),
            };
        }
        if kept.len() == count && new_horizon_ms.is_none() {
            return Ok(Kept::Whole);
        }
        rebuilt(batch, &kept, horizon_ms.or(new_horizon_ms))
    }
}

fn builder(batch: &RecordBatch<'_>) -> RecordBatchBuilder {
    let mut builder = RecordBatchBuilder::new(batch.base_offset);
    builder
        .compression(batch.compression(), None)
        .leader_epoch(batch.partition_leader_epoch)
        .producer(batch.producer_id, batch.producer_epoch, batch.base_sequence);
    if batch.timestamp_type() == TimestampType::LogAppendTime {
        builder.log_append_time(batch.max_timestamp);
    }
    if batch.is_transactional() {
        builder.transactional();
    }
    if batch.is_control() {
        builder.control();
    }
    builder
}

fn empty(batch: &RecordBatch<'_>) -> Result<Kept, CleanError> {
    if batch.record_count == 0 {
        return Ok(Kept::Whole);
    }
    let bytes = builder(batch).build_empty(batch.last_offset(), batch.max_timestamp)?;
    Ok(Kept::Changed(bytes.into()))
}

/// The batch with these of its records. One with a header whose name is no text stays as it is.
fn rebuilt(
    batch: &RecordBatch<'_>,
    records: &[Record<'_>],
    horizon_ms: Option<i64>,
) -> Result<Kept, CleanError> {
    let mut builder = builder(batch);
    builder.delete_horizon_ms(horizon_ms.unwrap_or(-1));
    for record in records {
        let headers: Result<Vec<Header<'_>>, RecordError> = record.headers().collect();
        let Ok(headers) = headers else {
            return Ok(Kept::Whole);
        };
        let headers: Vec<(&str, Option<&[u8]>)> = headers
            .iter()
            .map(|header| (header.key, header.value))
            .collect();
        builder.append_at(
            record.offset,
            record.timestamp,
            record.key,
            record.value,
            &headers,
        )?;
    }
    Ok(Kept::Changed(
        builder.build_until(batch.last_offset())?.into(),
    ))
}

#[cfg(test)]
mod tests;
