//! `LaneWriter`: puts one flush at a time into the lane's open segment, under the lane's fence.

use bytes::Bytes;
use tokio::time::Instant;

use crate::{LaneLease, Result, Store};

/// Consecutive record batches of one partition, as Kafka's own bytes: the unit of storage.
///
/// A run is read back whole, so callers cut at about 1 MiB between batches; a single larger batch is a run of its own.
#[derive(Debug, Clone)]
pub struct Run {
    /// Partition, as [`crate::PartitionRow::id`].
    pub part: i32,
    /// Offset of the first record.
    pub base_offset: i64,
    /// Last offset minus base offset.
    pub span: i32,
    /// The batches one after the other, in any number of pieces; not empty. They are cut into rows without being joined.
    pub data: Vec<Bytes>,
}

/// Appends to a lane over a connection of its own. One flush at a time: `flush` takes `&mut self`.
#[derive(Debug)]
pub struct LaneWriter {
    lease: LaneLease,
}

impl Store {
    /// Opens the writer of a lane just claimed. `Fenced` if somebody else has claimed it since.
    pub async fn lane_writer(&self, _lease: LaneLease) -> Result<LaneWriter> {
        unimplemented!()
    }
}

impl LaneWriter {
    /// The lease this writer was opened with; `flush_seq` moves with every flush.
    #[must_use]
    pub fn lease(&self) -> &LaneLease {
        &self.lease
    }

    /// Stores all runs in one transaction and returns after its commit. No runs: nothing happens.
    ///
    /// While the database is away this waits and tries again until `deadline`; each flush is stored at most once
    /// whatever happens to the connection. Errors:
    /// * `Fenced`: the lane belongs to somebody else; the writer is of no further use.
    /// * `Unavailable`: the deadline passed. With [`crate::Outcome::NotCommitted`] the caller is free. With
    ///   [`crate::Outcome::Unknown`] the flush may be stored: call again with the *same* runs (any other are refused with
    ///   `Bug` and not stored) until it is settled, or claim the lane again and read the end offsets.
    ///
    /// A future dropped half-way leaves the writer as after `Unknown`.
    pub async fn flush(&mut self, _runs: &[Run], _deadline: Instant) -> Result<()> {
        unimplemented!()
    }
}
