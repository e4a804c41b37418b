//! Lanes: who may append to the partitions bound to one, and since which epoch.

use tokio_postgres::GenericClient;
use uuid::Uuid;

use crate::{Error, Result, Store};

/// The right to append through a lane until somebody else claims it.
///
/// Not `Clone`: a lease makes one writer.
#[derive(Debug, PartialEq, Eq)]
pub struct LaneLease {
    /// The lane.
    pub lane_id: i32,
    /// Epoch of this claim; a later claim has a higher one.
    pub epoch: i32,
    /// Flushes committed in this lane so far, by all its owners.
    pub flush_seq: i64,
    /// Records appended through this lane so far, by all its owners: the global offset of the next one.
    pub records: i64,
}

const CREATE: &str = "insert into kafka.lanes (lane_id) values ($1) on conflict do nothing";
const CLAIM: &str = "update kafka.lanes set owner = $2, epoch = epoch + 1, heartbeat = now(), node_id = $3 \
     where lane_id = $1 and not exists (select from kafka.brokers b where b.node_id = $1 and b.incarnation <> $2 for share) \
     returning epoch, flush_seq, records";
/// Waits for a seal by the former owner; one that comes later sees the new epoch and gives up.
const LOCK_SEGMENTS: &str =
    "select 1 from kafka.segments where lane_id = $1 and state = 'open' for update";
const STATES: &str =
    "select lane_id, node_id, epoch, flush_seq, records from kafka.lanes order by lane_id";
const STATE: &str = "select epoch, flush_seq from kafka.lanes where lane_id = $1";

/// A lane as the database has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LaneState {
    /// The lane.
    pub lane_id: i32,
    /// The number of the broker that owns it; `None` if none has ever.
    pub node_id: Option<i32>,
    /// Raised by every change of owner.
    pub epoch: i32,
    /// Flushes committed so far.
    pub flush_seq: i64,
    /// Records appended so far.
    pub records: i64,
}

impl Store {
    /// All lanes, by number.
    pub async fn lane_states(&self) -> Result<Vec<LaneState>> {
        let client = self.client().await?;
        let rows = client.query(STATES, &[]).await?;
        let state = |row: &tokio_postgres::Row| LaneState {
            lane_id: row.get(0),
            node_id: row.get(1),
            epoch: row.get(2),
            flush_seq: row.get(3),
            records: row.get(4),
        };
        Ok(rows.iter().map(state).collect())
    }

    /// Takes the lane (which comes into being here) at the next epoch.
    ///
    /// Waits for a flush of the former owner that is under way; every later one of theirs is `Fenced`. So is this, if another
    /// broker has registered with the lane's number. Read [`Store::end_offsets`] after this, not before.
    pub async fn claim_lane(&self, lane_id: i32, owner: Uuid) -> Result<LaneLease> {
        let mut client = self.client().await?;
        let transaction = client.transaction().await?;
        transaction.execute(CREATE, &[&lane_id]).await?;
        // The row lock of the lane waits for a flush under way; that of its segments for a seal.
        let node_id = self.inner.config.node_id;
        let row = transaction
            .query_opt(CLAIM, &[&lane_id, &owner, &node_id])
            .await?;
        let row = row.ok_or(Error::Fenced { lane_id, epoch: 0 })?;
        transaction.query(LOCK_SEGMENTS, &[&lane_id]).await?;
        transaction.commit().await?;
        Ok(LaneLease {
            lane_id,
            epoch: row.get(0),
            flush_seq: row.get(1),
            records: row.get(2),
        })
    }
}

impl LaneLease {
    /// For the keeper of the writer's segments, which writes no flush.
    pub(crate) fn share(&self) -> Self {
        Self { ..*self }
    }

    pub(crate) fn fenced(&self) -> Error {
        Error::Fenced {
            lane_id: self.lane_id,
            epoch: self.epoch,
        }
    }

    pub(crate) fn locked(&self) -> Error {
        Error::LaneLocked {
            lane_id: self.lane_id,
        }
    }

    /// Flushes committed in the lane as the database has it now; `Fenced` if the epoch is another.
    pub(crate) async fn committed_flushes(&self, client: &impl GenericClient) -> Result<i64> {
        match client.query_opt(STATE, &[&self.lane_id]).await? {
            Some(row) if row.get::<_, i32>(0) == self.epoch => Ok(row.get(1)),
            _ => Err(self.fenced()),
        }
    }
}
