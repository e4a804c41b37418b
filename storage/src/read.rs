//! Reading runs back from the segment tables.

use bytes::Bytes;

use crate::{Result, Store};

/// A stored run: one or more whole record batches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunBytes {
    /// Offset of its first record.
    pub base_offset: i64,
    /// Offset of its last record.
    pub last_offset: i64,
    /// The batches, byte for byte as flushed.
    pub data: Bytes,
}

impl Store {
    /// Runs of partition `part` in offset order, from the one that holds `from_offset` (or the first after it) on.
    ///
    /// Whole runs only, about `max_bytes` of them at most, but always at least one if there is any at or after
    /// `from_offset`; empty at the end of the log. The first run may begin before `from_offset`.
    pub async fn read(
        &self,
        _part: i32,
        _from_offset: i64,
        _max_bytes: usize,
    ) -> Result<Vec<RunBytes>> {
        unimplemented!()
    }

    /// Log end offset (the next to be assigned) of each partition, in the order asked; partitions that do not exist are left out.
    pub async fn end_offsets(&self, _parts: &[i32]) -> Result<Vec<(i32, i64)>> {
        unimplemented!()
    }
}
