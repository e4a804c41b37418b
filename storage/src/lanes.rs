//! Lanes: who may append to the partitions bound to one, and since which epoch.

use uuid::Uuid;

use crate::{Result, Store};

/// The right to append through a lane until somebody else claims it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LaneLease {
    /// The lane.
    pub lane_id: i32,
    /// Epoch of this claim; a later claim has a higher one.
    pub epoch: i32,
    /// Flushes committed in this lane so far, by all its owners.
    pub flush_seq: i64,
}

impl Store {
    /// Takes the lane (which comes into being here) at the next epoch.
    ///
    /// Waits for a flush of the former owner that is under way; every later one of his is `Fenced`. Read
    /// [`Store::end_offsets`] after this, not before.
    pub async fn claim_lane(&self, _lane_id: i32, _owner: Uuid) -> Result<LaneLease> {
        unimplemented!()
    }
}
