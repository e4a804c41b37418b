//! Shards that come and go: the transactional ids of one are taken up as they are stored when this broker comes to coordinate
//! it, and forgotten when another does.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use storage::ShardLease;

use super::machine::{Step, Transaction};
use super::{Slot, Transactions, now_ms};

/// How often shards are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(100);

impl Transactions {
    /// Takes up what this broker comes to coordinate, for ever.
    pub(crate) async fn follow_shards(self: Arc<Self>) {
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            if let Err(error) = self.take_up().await {
                tracing::warn!(%error, "transactional ids could not be taken up");
            }
        }
    }

    pub(super) fn taken_up(&self) -> MutexGuard<'_, HashMap<i32, ShardLease>> {
        self.taken_up.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Goes on with what was decided by a former coordinator.
    async fn resume(self: &Arc<Self>, slot: Arc<Slot>) -> Result<(), storage::Error> {
        let mut fresh_id = None;
        loop {
            let step = slot.lock().resume(fresh_id, now_ms());
            match step {
                Step::NeedsProducerId => {
                    fresh_id = Some(self.producer_ids.next(&self.store).await?)
                }
                Step::End(ending) => {
                    self.complete_soon(slot, ending);
                    return Ok(());
                }
                _ => return Ok(()),
            }
        }
    }

    /// Makes what is in memory that of the shards which this broker has.
    pub(super) async fn take_up(self: &Arc<Self>) -> Result<(), storage::Error> {
        let leases = self.groups.shard_leases();
        let leases: HashMap<i32, ShardLease> = leases
            .into_iter()
            .map(|lease| (lease.shard, lease))
            .collect();
        if *self.taken_up() == leases {
            return Ok(());
        }
        let fresh: HashMap<i32, ShardLease> = {
            let mut taken_up = self.taken_up();
            taken_up.retain(|shard, lease| leases.get(shard) == Some(&*lease));
            let fresh = leases
                .iter()
                .filter(|(shard, _)| !taken_up.contains_key(shard));
            fresh.map(|(shard, lease)| (*shard, *lease)).collect()
        };
        self.slots()
            .retain(|_, slot| leases.get(&slot.lease.shard) == Some(&slot.lease));
        if fresh.is_empty() {
            return Ok(());
        }
        // After the claims, so that it is as the former owners left it.
        let stored = self.store.transactions().await?;
        let mut resumed = Vec::new();
        {
            let mut slots = self.slots();
            slots.retain(|_, slot| !fresh.contains_key(&slot.lease.shard));
            for stored in stored {
                let lease = self.groups.lease(&stored.transactional_id);
                let Some(lease) = lease.filter(|lease| fresh.get(&lease.shard) == Some(lease))
                else {
                    continue;
                };
                let id: Arc<str> = stored.transactional_id.into();
                let Some(transaction) =
                    Transaction::restore(&stored.row, stored.partitions, stored.groups)
                else {
                    tracing::error!(id = &*id, state = &*stored.row.state, "an unknown state");
                    continue;
                };
                let slot = Arc::new(Slot {
                    id: id.clone(),
                    lease,
                    transaction: Mutex::new(transaction),
                });
                if slot.lock().core().state.is_ending() {
                    resumed.push(slot.clone());
                }
                slots.insert(id, slot);
            }
        }
        self.taken_up().extend(fresh);
        for slot in resumed {
            self.resume(slot).await?;
        }
        Ok(())
    }
}
