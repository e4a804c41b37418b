//! Handing partitions to other lanes: one transaction under the fence of the lane that gives them away, after everything it
//! holds of them is sealed.

use tokio::time::Instant;

use super::{
    ATTEMPT_TIMEOUT, BACKOFF_MAX, BACKOFF_MIN, FENCE, Failure, LANE_SESSION, LaneWriter, committed,
};
use crate::segments::{self, OpenSegment, Weigh};
use crate::{Error, Outcome, Result, brokers, pool};

const FENCE_PATIENCE: &str = "set local lock_timeout = 1000";
const SEAL_PATIENCE: &str = "set local lock_timeout = 0";

impl LaneWriter {
    /// Binds partitions to other lanes, at the next leader epoch. `moves` are partitions with the lane of each; those that are
    /// not this lane's any more are passed over. Later flushes go to a new segment.
    ///
    /// To be called when no flush is in doubt. Errors as those of [`LaneWriter::flush`], and as there the same call is to be
    /// made again after [`Outcome::Unknown`]. `LaneLocked` too: nothing was moved.
    pub async fn hand_over(&mut self, moves: &[(i32, i32)], deadline: Instant) -> Result<()> {
        let mut backoff = BACKOFF_MIN;
        loop {
            let give_up = deadline.min(Instant::now() + ATTEMPT_TIMEOUT);
            let attempt = tokio::time::timeout_at(give_up, self.try_hand_over(moves)).await;
            let error = match attempt
                .unwrap_or_else(|_| Err(Error::unavailable(Outcome::Unknown, "no answer in time")))
            {
                Ok(segment_id) => {
                    self.is_handing_over = false;
                    self.lease.flush_seq += 1;
                    self.segment = OpenSegment::empty(segment_id);
                    self.current.send_replace(segment_id);
                    return Ok(());
                }
                // In doubt it may be locked by the former session of this handover.
                Err(Error::Conflict(error))
                    if !self.is_handing_over && Error::is_of_lock(&error) =>
                {
                    return Err(self.lease.locked());
                }
                Err(error @ (Error::Unavailable { .. } | Error::Conflict(_))) => error,
                Err(error) => return Err(error),
            };
            if Instant::now() + backoff >= deadline {
                let outcome = match self.is_handing_over {
                    true => Outcome::Unknown,
                    false => Outcome::NotCommitted,
                };
                let reason = format!("handover not done in time: {error}");
                return Err(Error::unavailable(outcome, reason));
            }
            tokio::time::sleep(backoff).await;
            backoff = (backoff * 2).min(BACKOFF_MAX);
        }
    }

    /// The segment to go on in.
    async fn try_hand_over(&mut self, moves: &[(i32, i32)]) -> Result<i32> {
        let mut connection = pool::connect(&self.store.inner.connect).await?;
        connection.client.batch_execute(LANE_SESSION).await?;
        let lease = &self.lease;
        if self.is_handing_over && committed(&connection.client, lease).await? {
            return self.made_by_handover(&connection.client).await;
        }
        let transaction = connection.client.transaction().await?;
        transaction.batch_execute(FENCE_PATIENCE).await?;
        let fence = [
            &lease.lane_id as &(dyn tokio_postgres::types::ToSql + Sync),
            &lease.epoch,
            &lease.flush_seq,
            &0i64,
        ];
        if transaction.execute(FENCE, &fence).await? == 0 {
            transaction.rollback().await?;
            // Ours if it was in doubt: the former session committed while this one waited for the row.
            if self.is_handing_over && committed(&connection.client, lease).await? {
                return self.made_by_handover(&connection.client).await;
            }
            return Err(lease.fenced());
        }
        // What is sealed may have to wait for the keeper of the lane, which seals too.
        transaction.batch_execute(SEAL_PATIENCE).await?;
        segments::seal_all(&transaction, lease.lane_id, Weigh::Later).await?;
        let segment_id = segments::fresh(&transaction, lease.lane_id).await?;
        brokers::move_partitions(&transaction, lease.lane_id, moves).await?;
        // An attempt in doubt may still be committed when this one fails, so the doubt stays until one of them is known to be.
        let was_in_doubt = std::mem::replace(&mut self.is_handing_over, true);
        match transaction.commit().await {
            Ok(()) => Ok(segment_id),
            Err(error) => {
                let failure = Failure::at_commit(error);
                self.is_handing_over = was_in_doubt || failure.in_doubt;
                Err(failure.error)
            }
        }
    }

    /// Of a handover whose commit was in doubt and had happened.
    async fn made_by_handover(&self, client: &tokio_postgres::Client) -> Result<i32> {
        let open = segments::open_segments(client, &self.lease).await?;
        let first = open.first().copied();
        first.ok_or_else(|| Error::bug("handover", "the lane has no open segment"))
    }
}
