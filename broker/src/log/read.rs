//! Reading a partition: the tail in memory or the database, for readers of all records or of committed ones.

use std::sync::Arc;

use bytes::Bytes;
use protocol::records::{Batches, RecordBatch};

use super::ahead::{Place, Taken, size_bytes};
use super::meter::Source;
use super::partition::SCAN_BYTES;
use super::tail::Collector;
use super::transactions::Aborted;
use super::{Isolation, Offsets, Partition, Read, ReadError};

/// For whom a log is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reader {
    /// Reads ahead.
    Client,
    /// The broker itself.
    Log,
    /// Also what lies before the beginning of the log, as long as it is stored.
    LogWithDeleted,
}

/// Whether an answer is so full that there is probably more to come.
fn is_much(collector: &Collector) -> bool {
    collector.size_bytes > 0 && collector.size_bytes >= collector.max_bytes() / 2
}

impl Partition {
    /// Whole batches from the one that holds `offset` on, at most `max_bytes`; with `at_least_one` the first batch comes
    /// however large it is. Empty at the end of what the reader gets.
    pub async fn read(
        self: &Arc<Self>,
        offset: i64,
        max_bytes: usize,
        at_least_one: bool,
        isolation: Isolation,
    ) -> Result<Read, ReadError> {
        if isolation == Isolation::Committed {
            self.load().await?;
        }
        let collector = Collector::new(max_bytes, at_least_one);
        let (collector, offsets) = self
            .collect_if(offset, collector, isolation, Reader::Client)
            .await?;
        let aborted = match isolation {
            Isolation::Committed if collector.size_bytes > 0 => {
                self.aborted(offset, collector.end_offset).await?
            }
            _ => Vec::new(),
        };
        Ok(Read {
            records: collector.records,
            size_bytes: collector.size_bytes,
            offsets,
            aborted,
        })
    }

    /// What of the log goes into a collector, from `offset` on.
    pub(super) async fn collect(
        &self,
        offset: i64,
        collector: Collector,
        isolation: Isolation,
    ) -> Result<(Collector, Offsets), ReadError> {
        self.collect_if(offset, collector, isolation, Reader::Log)
            .await
    }

    /// As [`collect`](Self::collect), for any reader.
    async fn collect_if(
        &self,
        offset: i64,
        mut collector: Collector,
        isolation: Isolation,
        reader: Reader,
    ) -> Result<(Collector, Offsets), ReadError> {
        let deleted = reader == Reader::LogWithDeleted;
        let (offsets, end_offset) = {
            let state = self.state();
            let offsets = state.offsets();
            if state.closed {
                return Err(ReadError::UnknownPartition);
            }
            if !state.is_led || self.lane.is_fenced() {
                return Err(ReadError::NotLeader);
            }
            if (offset < state.log_start_offset && !deleted) || offset > state.high_watermark {
                return Err(ReadError::OutOfRange(offsets));
            }
            let end_offset = state.end_offset(isolation)?;
            let first = state
                .tail
                .partition_point(|piece| piece.end_offset <= offset);
            let in_memory = state
                .tail
                .get(first)
                .is_some_and(|piece| piece.base_offset <= offset && piece.size_bytes() > 0);
            if offset >= end_offset || in_memory || collector.is_full() {
                for piece in state.tail.range(first..) {
                    if offset >= end_offset || !collector.add_piece(piece, offset, end_offset) {
                        break;
                    }
                }
                self.config.meter.read(Source::Memory);
                return Ok((collector, offsets));
            }
            (offsets, end_offset)
        };
        match reader {
            Reader::Client => {
                self.collect_ahead(offset, end_offset, &mut collector)
                    .await?
            }
            Reader::Log | Reader::LogWithDeleted => {
                self.config.meter.read(Source::Database);
                self.collect_stored(offset, end_offset, &mut collector)
                    .await?
            }
        }
        // What was to be read may have been deleted meanwhile, and what follows is no answer.
        let now = self.offsets();
        if offset < now.log_start_offset && !deleted {
            return Err(ReadError::OutOfRange(now));
        }
        Ok((collector, offsets))
    }

    /// What the database has.
    async fn collect_stored(
        &self,
        offset: i64,
        end_offset: i64,
        collector: &mut Collector,
    ) -> Result<(), ReadError> {
        let max_bytes = collector.max_bytes().saturating_sub(collector.size_bytes);
        let runs = self.store.read(self.id(), offset, max_bytes).await;
        for run in runs.map_err(ReadError::Storage)? {
            if !collector.add_block(&run.data, offset, end_offset) {
                break;
            }
        }
        Ok(())
    }

    /// The same for a reader that will come back for what follows if there is much of it: what was read ahead for it, then the rest
    /// from the database; and what follows is read ahead.
    async fn collect_ahead(
        &self,
        offset: i64,
        end_offset: i64,
        collector: &mut Collector,
    ) -> Result<(), ReadError> {
        let at = |from_offset| Place {
            part: self.id(),
            leader_epoch: self.leader_epoch(),
            from_offset,
        };
        let mut ahead = self.ahead.take(at(offset)).await;
        self.config.meter.read(match ahead {
            Some(_) => Source::Ahead,
            None => Source::Database,
        });
        if let Some(taken) = &mut ahead {
            let runs = taken.runs.iter();
            let used = runs.take_while(|run| collector.add_block(&run.data, offset, end_offset));
            let used = used.count();
            taken.runs.drain(..used);
        }
        let rest = ahead.filter(|taken| !taken.runs.is_empty());
        if rest.is_none() && !is_much(collector) {
            let next = collector.end_offset.max(offset);
            self.collect_stored(next, end_offset, collector).await?;
        }
        let next = collector.end_offset.max(offset);
        let is_worth = |rest: &Taken| size_bytes(&rest.runs) > collector.max_bytes() / 2;
        match rest.filter(is_worth) {
            Some(rest) => self.ahead.keep(at(next), rest),
            None if is_much(collector) && next < end_offset && !self.is_in_memory(next) => {
                self.ahead.begin(at(next), collector.max_bytes());
            }
            None => {}
        }
        Ok(())
    }

    fn is_in_memory(&self, offset: i64) -> bool {
        let state = self.state();
        let first = state.tail.front();
        first.is_some_and(|piece| piece.base_offset <= offset)
    }

    /// Aborted transactions with records in `from_offset..to_offset`.
    async fn aborted(&self, from_offset: i64, to_offset: i64) -> Result<Vec<Aborted>, ReadError> {
        let in_memory = match &self.state().transactions {
            Some(transactions) => transactions.aborted(from_offset, to_offset),
            None => None,
        };
        if let Some(aborted) = in_memory {
            return Ok(aborted);
        }
        let stored = self
            .store
            .aborted_transactions(self.id(), from_offset, to_offset)
            .await?;
        Ok(stored.iter().map(Aborted::from).collect())
    }

    /// Calls `visit` for every batch from `from_offset` to the high watermark until it says stop.
    pub(crate) async fn scan(
        &self,
        from_offset: i64,
        visit: &mut (dyn FnMut(&RecordBatch<'_>) -> Result<bool, ReadError> + Send),
    ) -> Result<(), ReadError> {
        self.scan_if(from_offset, visit, Reader::Log).await
    }

    /// The same, beginning with what lies before the beginning of the log, as long as it is stored.
    pub(crate) async fn scan_stored(
        &self,
        from_offset: i64,
        visit: &mut (dyn FnMut(&RecordBatch<'_>) -> Result<bool, ReadError> + Send),
    ) -> Result<(), ReadError> {
        self.scan_if(from_offset, visit, Reader::LogWithDeleted)
            .await
    }

    async fn scan_if(
        &self,
        from_offset: i64,
        visit: &mut (dyn FnMut(&RecordBatch<'_>) -> Result<bool, ReadError> + Send),
        reader: Reader,
    ) -> Result<(), ReadError> {
        let mut next = from_offset;
        loop {
            let collector = Collector::new(SCAN_BYTES, true);
            let (read, _) = self
                .collect_if(next, collector, Isolation::Uncommitted, reader)
                .await?;
            if read.records.is_empty() {
                return Ok(());
            }
            let block: Bytes = match <[Bytes; 1]>::try_from(read.records) {
                Ok([only]) => only,
                Err(several) => several.concat().into(),
            };
            let before = next;
            for batch in Batches::new(&block) {
                let batch = batch.map_err(|_| ReadError::Damaged(next))?;
                next = batch.last_offset() + 1;
                if !visit(&batch)? {
                    return Ok(());
                }
            }
            if next <= before {
                return Err(ReadError::Damaged(next));
            }
        }
    }
}
