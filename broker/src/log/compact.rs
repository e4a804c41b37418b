//! What compaction keeps: the last record of each key, and tombstones for a while. Pure functions over record batches, no I/O and no
//! clock; which stretches of which logs are cleaned, and when, is in `cleaner`.
//!
//! The rules are those of Kafka's cleaner. Batches keep their offsets and sequences, records leave gaps. Batches of transactions and
//! control batches stay as they are, and no tombstone behind one goes, as it may hide a record in it.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

use bytes::Bytes;
use protocol::records::{
    BuildError, Header, Record, RecordBatch, RecordBatchBuilder, RecordError, TimestampType,
};

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

/// The offset of the last record of each key, up to an offset. Keys are known by 128 bits of hash.
#[derive(Debug)]
pub(super) struct KeyMap {
    hashers: [RandomState; 2],
    last: HashMap<[u64; 2], i64>,
    entries_max: usize,
    /// One past the last offset that was looked at.
    end_offset: i64,
}

impl KeyMap {
    /// An empty map that takes about `memory_bytes` at most, for records from `first_offset` on.
    pub(super) fn new(memory_bytes: usize, first_offset: i64) -> Self {
        Self {
            hashers: [RandomState::new(), RandomState::new()],
            last: HashMap::new(),
            entries_max: (memory_bytes / ENTRY_BYTES).max(ENTRIES_MIN),
            end_offset: first_offset,
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
        if !is_left_alone(batch) {
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

fn is_left_alone(batch: &RecordBatch<'_>) -> bool {
    batch.is_control() || batch.is_transactional()
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
    /// Whether a batch of a transaction came before.
    transaction_seen: bool,
}

impl Filter {
    pub(super) fn new(keys: KeyMap, rules: Rules, last_of_producers: HashMap<i64, i64>) -> Self {
        Self {
            keys,
            rules,
            last_of_producers,
            transaction_seen: false,
        }
    }

    /// What becomes of `batch`; `is_end` if it must stay for its offsets.
    pub(super) fn filter(
        &mut self,
        batch: &RecordBatch<'_>,
        is_end: bool,
    ) -> Result<Kept, CleanError> {
        let stays = is_end
            || (batch.has_producer_id()
                && self.last_of_producers.get(&batch.producer_id) == Some(&batch.base_offset));
        if batch.last_offset() < self.rules.log_start_offset {
            return if stays {
                empty(batch)
            } else {
                Ok(Kept::Nothing)
            };
        }
        if is_left_alone(batch) {
            self.transaction_seen |= !batch.is_control();
            return Ok(Kept::Whole);
        }
        if batch.base_offset >= self.keys.end_offset {
            return Ok(Kept::Whole);
        }
        self.filter_records(batch, stays)
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
            let is_gone = is_tombstone && is_past && !self.transaction_seen;
            let is_later = record.offset >= self.keys.end_offset;
            if is_later || (self.keys.is_last(&record) && !is_gone) {
                has_tombstones |= is_tombstone;
                kept.push(record);
            }
        }
        let new_horizon_ms = (has_tombstones && horizon_ms.is_none()).then(|| {
            let now_ms = self.rules.now_ms;
            now_ms.saturating_add(self.rules.delete_retention_ms)
        });
        let count = usize::try_from(batch.record_count).unwrap_or(0);
        if kept.is_empty() {
            return match stays {
                true if count == 0 => Ok(Kept::Whole),
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
    builder
}

fn empty(batch: &RecordBatch<'_>) -> Result<Kept, CleanError> {
    if is_left_alone(batch) {
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
mod tests {
    use protocol::compression::Compression;

    use super::*;

    const CAP_BYTES: usize = 1 << 20;

    type KeyValue<'a> = (&'a str, Option<&'a str>);

    fn batch(base_offset: i64, records: &[KeyValue<'_>]) -> Bytes {
        let mut builder = RecordBatchBuilder::new(base_offset);
        builder.producer(7, 0, i32::try_from(base_offset).unwrap());
        builder.compression(Compression::Lz4, None);
        for (index, (key, value)) in records.iter().enumerate() {
            let timestamp = 100 + index as i64;
            let value = value.map(str::as_bytes);
            let headers = [("h", Some(&b"x"[..]))];
            builder
                .append(timestamp, Some(key.as_bytes()), value, &headers)
                .unwrap();
        }
        builder.build().unwrap().into()
    }

    fn parse(bytes: &Bytes) -> RecordBatch<'_> {
        RecordBatch::split_from(bytes).unwrap().0
    }

    fn filter(batches: &[Bytes], now_ms: i64) -> Filter {
        let mut keys = KeyMap::new(1 << 20, 0);
        for bytes in batches {
            assert!(keys.add(&parse(bytes), CAP_BYTES).unwrap());
        }
        let rules = Rules {
            now_ms,
            delete_retention_ms: 1_000,
            cap_bytes: CAP_BYTES,
            log_start_offset: 0,
        };
        Filter::new(keys, rules, HashMap::new())
    }

    fn changed(kept: Kept) -> Bytes {
        match kept {
            Kept::Changed(bytes) => bytes,
            other => panic!("{other:?}"),
        }
    }

    fn offsets_and_keys(bytes: &Bytes) -> Vec<(i64, String)> {
        let batch = parse(bytes);
        batch.verify_crc().unwrap();
        let records = batch.records(CAP_BYTES).unwrap();
        let each = records.iter().map(|record| {
            let record = record.unwrap();
            assert_eq!(record.headers().count(), 1);
            let key = String::from_utf8(record.key.unwrap().to_vec()).unwrap();
            (record.offset, key)
        });
        each.collect()
    }

    #[test]
    fn the_last_of_each_key_stays_at_its_offset() {
        let batches = [
            batch(0, &[("a", Some("1")), ("b", Some("1")), ("a", Some("2"))]),
            batch(3, &[("b", Some("2"))]),
            batch(4, &[("c", Some("1"))]),
        ];
        let mut filter = filter(&batches, 0);
        let first = changed(filter.filter(&parse(&batches[0]), false).unwrap());
        assert_eq!(offsets_and_keys(&first), [(2, "a".to_owned())]);
        let (old, new) = (parse(&batches[0]), parse(&first));
        assert_eq!((new.base_offset, new.last_offset()), (0, 2));
        assert_eq!((new.producer_id, new.base_sequence), (7, 0));
        assert_eq!(
            (new.compression(), new.max_timestamp),
            (old.compression(), 102)
        );
        for whole in &batches[1..] {
            assert_eq!(filter.filter(&parse(whole), false).unwrap(), Kept::Whole);
        }
    }

    #[test]
    fn tombstones_stay_until_their_horizon() {
        let batches = [
            batch(0, &[("a", Some("1"))]),
            batch(1, &[("a", None), ("b", Some("1"))]),
        ];
        let mut first = filter(&batches, 5_000);
        assert_eq!(
            first.filter(&parse(&batches[0]), false).unwrap(),
            Kept::Nothing
        );
        let marked = changed(first.filter(&parse(&batches[1]), false).unwrap());
        assert_eq!(parse(&marked).delete_horizon_ms(), Some(6_000));
        assert_eq!(offsets_and_keys(&marked).len(), 2);
        let marked = [marked];
        let mut early = filter(&marked, 5_999);
        assert_eq!(
            early.filter(&parse(&marked[0]), false).unwrap(),
            Kept::Whole
        );
        let mut late = filter(&marked, 6_000);
        let rest = changed(late.filter(&parse(&marked[0]), false).unwrap());
        assert_eq!(offsets_and_keys(&rest), [(2, "b".to_owned())]);
        assert_eq!(parse(&rest).base_offset, 1);
        assert_eq!(parse(&rest).delete_horizon_ms(), Some(6_000));
    }

    #[test]
    fn the_last_batch_of_a_producer_stays_without_records() {
        let batches = [batch(0, &[("a", Some("1"))]), batch(1, &[("a", Some("2"))])];
        let mut filter = filter(&batches, 0);
        filter.last_of_producers.insert(7, 0);
        let kept = changed(filter.filter(&parse(&batches[0]), false).unwrap());
        let kept = parse(&kept);
        assert_eq!(
            (kept.record_count, kept.base_sequence, kept.last_offset()),
            (0, 0, 0)
        );
        // Once more, and nothing changes.
        let bytes = Bytes::copy_from_slice(kept.bytes());
        assert_eq!(filter.filter(&parse(&bytes), false).unwrap(), Kept::Whole);
        filter.last_of_producers.insert(7, 1);
        assert_eq!(filter.filter(&parse(&bytes), false).unwrap(), Kept::Nothing);
        assert_eq!(filter.filter(&parse(&bytes), true).unwrap(), Kept::Whole);
    }

    #[test]
    fn transactions_stay_and_so_do_tombstones_behind_them() {
        let mut builder = RecordBatchBuilder::new(0);
        builder.producer(9, 0, 0).transactional();
        builder.append(1, Some(b"a"), Some(b"1"), &[]).unwrap();
        let transactional = Bytes::from(builder.build().unwrap());
        let tombstone = batch(1, &[("a", None)]);
        let marked = changed(
            filter(std::slice::from_ref(&tombstone), 0)
                .filter(&parse(&tombstone), false)
                .unwrap(),
        );
        let batches = [transactional, marked, batch(2, &[("c", Some("1"))])];
        let mut filter = filter(&batches, 1_000_000);
        for bytes in &batches {
            assert_eq!(filter.filter(&parse(bytes), false).unwrap(), Kept::Whole);
        }
    }

    #[test]
    fn a_full_map_ends_within_a_batch() {
        let mut keys = KeyMap::new(0, 0);
        let names: Vec<String> = (0..ENTRIES_MIN + 5).map(|i| format!("{i}")).collect();
        let records: Vec<KeyValue<'_>> = names.iter().map(|name| (&**name, Some("v"))).collect();
        let first = batch(0, &records);
        assert!(!keys.add(&parse(&first), CAP_BYTES).unwrap());
        assert_eq!(keys.end_offset(), ENTRIES_MIN as i64);
        let rules = filter(&[], 0).rules;
        let mut filter = Filter::new(keys, rules, HashMap::new());
        // What is beyond the map is kept.
        assert_eq!(filter.filter(&parse(&first), false).unwrap(), Kept::Whole);
    }
}
