//! Producer ids and the snapshots of producer state.

use std::ops::Range;

use crate::{Result, Store};

/// State of a partition's producers as of an offset; the bytes are the caller's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProducerSnapshot {
    /// Partition, as [`crate::PartitionRow::id`].
    pub part: i32,
    /// The state covers all records below this offset.
    pub end_offset: i64,
    /// The caller's encoding of it.
    pub state: Vec<u8>,
}

impl Store {
    /// A block of `count` producer ids nobody else was or will be given, also after a crash.
    pub async fn allocate_producer_ids(&self, _count: i32) -> Result<Range<i64>> {
        unimplemented!()
    }

    /// Saves snapshots; one that does not reach beyond the stored one of its partition is ignored, as are deleted partitions.
    pub async fn save_producer_snapshots(&self, _snapshots: &[ProducerSnapshot]) -> Result<()> {
        unimplemented!()
    }

    /// The newest snapshot of a partition as `(end_offset, state)`.
    pub async fn load_producer_snapshot(&self, _part: i32) -> Result<Option<(i64, Vec<u8>)>> {
        unimplemented!()
    }
}
