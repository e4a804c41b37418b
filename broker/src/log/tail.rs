//! The end of every partition's log in memory: what was flushed last, bounded in bytes over all partitions, oldest out
//! first. The bytes are shared with the answers.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError, Weak};

use bytes::Bytes;
use protocol::records::Batches;

use super::partition::Partition;

/// Whole record batches that follow each other: either a block of small ones in `head`, or one large batch whose patched
/// first bytes are `head` and whose others, as the client sent them, are `rest`.
#[derive(Debug, Clone)]
pub(crate) struct Piece {
    pub(crate) base_offset: i64,
    /// Exclusive.
    pub(crate) end_offset: i64,
    pub(crate) head: Bytes,
    pub(crate) rest: Bytes,
}

impl Piece {
    pub(crate) fn size_bytes(&self) -> usize {
        self.head.len() + self.rest.len()
    }
}

/// Collects whole batches for an answer, up to a number of bytes.
#[derive(Debug)]
pub(crate) struct Collector {
    pub(crate) records: Vec<Bytes>,
    pub(crate) size_bytes: usize,
    /// One past the last record taken.
    pub(crate) end_offset: i64,
    max_bytes: usize,
    at_least_one: bool,
}

impl Collector {
    pub(crate) fn new(max_bytes: usize, at_least_one: bool) -> Self {
        Self {
            records: Vec::new(),
            size_bytes: 0,
            end_offset: 0,
            max_bytes,
            at_least_one,
        }
    }

    pub(crate) fn max_bytes(&self) -> usize {
        self.max_bytes
    }

    /// Whether nothing can be taken any more, as where other partitions have had all that an answer may have.
    pub(crate) fn is_full(&self) -> bool {
        !self.takes(1)
    }

    fn takes(&self, size_bytes: usize) -> bool {
        self.size_bytes + size_bytes <= self.max_bytes
            || (self.at_least_one && self.size_bytes == 0)
    }

    /// Takes what fits of `piece` from the batch that holds `from_offset` and ends at or before `end_offset`; false when no more
    /// can be taken.
    pub(crate) fn add_piece(&mut self, piece: &Piece, from_offset: i64, end_offset: i64) -> bool {
        if piece.rest.is_empty() {
            return self.add_block(&piece.head, from_offset, end_offset);
        }
        if piece.end_offset > end_offset || !self.takes(piece.size_bytes()) {
            return false;
        }
        self.end_offset = piece.end_offset;
        self.size_bytes += piece.size_bytes();
        self.records.push(piece.head.clone());
        self.records.push(piece.rest.clone());
        true
    }

    /// Takes what fits of a block of whole batches: from the one that holds `from_offset` to the last one that ends at or
    /// before `end_offset`; false when no more can be taken.
    pub(crate) fn add_block(&mut self, block: &Bytes, from_offset: i64, end_offset: i64) -> bool {
        let (mut start, mut end, mut full) = (None, 0, false);
        let mut position = 0;
        for batch in Batches::new(block) {
            let Ok(batch) = batch else { break };
            let size_bytes = batch.bytes().len();
            if batch.last_offset() >= from_offset {
                let taken = end - start.unwrap_or(end);
                let fits = self.size_bytes + taken + size_bytes <= self.max_bytes
                    || (self.at_least_one && self.size_bytes + taken == 0);
                if !fits || batch.last_offset() >= end_offset {
                    full = true;
                    break;
                }
                start = start.or(Some(position));
                end = position + size_bytes;
                self.end_offset = batch.last_offset() + 1;
            }
            position += size_bytes;
            if start.is_none() {
                end = position;
            }
        }
        if let Some(start) = start {
            self.size_bytes += end - start;
            self.records.push(block.slice(start..end));
        }
        !full
    }
}

/// Which pieces are in memory, over all partitions, oldest first.
#[derive(Debug)]
pub(crate) struct TailCache {
    max_bytes: usize,
    order: Mutex<Order>,
}

#[derive(Debug, Default)]
struct Order {
    size_bytes: usize,
    oldest_first: VecDeque<(Weak<Partition>, usize)>,
}

impl TailCache {
    pub(crate) fn new(max_bytes: usize) -> Self {
        Self {
            max_bytes,
            order: Mutex::default(),
        }
    }

    pub(crate) fn size_bytes(&self) -> usize {
        self.order
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .size_bytes
    }

    /// Notes that `partition` has one more piece of `size_bytes`, and drops the oldest pieces of all while there is too much.
    pub(crate) fn added(&self, partition: Weak<Partition>, size_bytes: usize) {
        let mut evicted = Vec::new();
        {
            let mut order = self.order.lock().unwrap_or_else(PoisonError::into_inner);
            order.size_bytes += size_bytes;
            order.oldest_first.push_back((partition, size_bytes));
            while order.size_bytes > self.max_bytes {
                let Some((partition, size_bytes)) = order.oldest_first.pop_front() else {
                    break;
                };
                order.size_bytes -= size_bytes;
                evicted.push(partition);
            }
        }
        for partition in evicted.iter().filter_map(Weak::upgrade) {
            partition.evict_oldest_piece();
        }
    }
}

#[cfg(test)]
mod tests {
    use protocol::records::RecordBatchBuilder;

    use super::*;

    /// Batches of two records each from offset 10 on.
    fn block(batches: usize) -> (Bytes, usize) {
        let mut bytes = Vec::new();
        let mut size_bytes = 0;
        for index in 0..batches {
            let mut builder = RecordBatchBuilder::new(10 + 2 * index as i64);
            builder.append(1, None, Some(b"a"), &[]).unwrap();
            builder.append(1, None, Some(b"b"), &[]).unwrap();
            let batch = builder.build().unwrap();
            size_bytes = batch.len();
            bytes.extend(batch);
        }
        (bytes.into(), size_bytes)
    }

    /// What a collector takes of four batches: position and number of batches.
    fn taken(
        from_offset: i64,
        end_offset: i64,
        max_bytes: usize,
        at_least_one: bool,
    ) -> Option<(usize, usize)> {
        let (block, size_bytes) = block(4);
        let mut collector = Collector::new(max_bytes, at_least_one);
        collector.add_block(&block, from_offset, end_offset);
        assert!(collector.records.len() <= 1);
        assert_eq!(
            collector.size_bytes,
            collector.records.iter().map(Bytes::len).sum::<usize>()
        );
        let only = collector.records.first()?;
        let position = only.as_ptr() as usize - block.as_ptr() as usize;
        Some((position / size_bytes, only.len() / size_bytes))
    }

    #[test]
    fn a_block_is_cut_at_batches() {
        let size_bytes = block(1).1;
        assert_eq!(taken(10, 18, usize::MAX, false), Some((0, 4)));
        assert_eq!(taken(13, 18, usize::MAX, false), Some((1, 3)));
        assert_eq!(taken(14, 18, 2 * size_bytes, false), Some((2, 2)));
        assert_eq!(taken(10, 18, 2 * size_bytes - 1, false), Some((0, 1)));
        assert_eq!(taken(10, 18, size_bytes - 1, false), None);
        assert_eq!(taken(12, 18, 0, true), Some((1, 1)));
    }

    #[test]
    fn nothing_beyond_the_high_watermark_is_taken() {
        assert_eq!(taken(10, 14, usize::MAX, true), Some((0, 2)));
        assert_eq!(taken(14, 14, usize::MAX, true), None);
    }
}
