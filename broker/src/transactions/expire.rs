//! What time brings: transactions that took too long are aborted, ids that nobody uses are forgotten, and with the records of
//! aborted transactions what is known of them.

use std::sync::Arc;
use std::time::Duration;

use storage::TransactionWrite;

use super::machine::{Event, Step};
use super::{Slot, Transactions, now_ms};
use crate::config::Config;

impl Transactions {
    /// Aborts transactions that are over their time, for ever, at intervals.
    pub(crate) fn abort_timed_out(
        self: Arc<Self>,
        config: &Config,
    ) -> impl Future<Output = ()> + use<> {
        let pause = config.transaction_abort_timed_out_transaction_cleanup_interval_ms;
        let pause = Duration::from_millis(pause);
        async move {
            loop {
                tokio::time::sleep(pause).await;
                for slot in self.all() {
                    let mut transaction = slot.lock();
                    if let Step::End(ending) = transaction.step(Event::Tick, now_ms()) {
                        tracing::info!(id = &*slot.id, "a transaction is over its time");
                        drop(self.end_soon(&slot, ending));
                    }
                }
            }
        }
    }

    /// Forgets what nobody uses, for ever, at intervals.
    pub(crate) fn forget_unused(
        self: Arc<Self>,
        config: &Config,
    ) -> impl Future<Output = ()> + use<> {
        let pause = config.transaction_remove_expired_transaction_cleanup_interval_ms;
        let pause = Duration::from_millis(pause);
        let unused_ms = config.transactional_id_expiration_ms;
        async move {
            loop {
                tokio::time::sleep(pause).await;
                for slot in self.all() {
                    self.forget_if_unused(&slot, unused_ms).await;
                }
                match self.store.forget_aborted_transactions().await {
                    Ok(0) => {}
                    Ok(count) => tracing::debug!(count, "aborted transactions forgotten"),
                    Err(error) => {
                        tracing::warn!(%error, "aborted transactions could not be forgotten");
                    }
                }
            }
        }
    }

    fn all(&self) -> Vec<Arc<Slot>> {
        self.slots().values().cloned().collect()
    }

    async fn forget_if_unused(&self, slot: &Slot, unused_ms: i64) {
        let step = slot.lock().step(Event::Forget { unused_ms }, now_ms());
        if step != Step::Forget {
            return;
        }
        let write = TransactionWrite {
            transactional_id: slot.id.to_string(),
            lease: slot.lease,
            row: None,
            partitions: Vec::new(),
            groups: Vec::new(),
            offsets: Vec::new(),
            end: None,
        };
        if self.writes.write(write).await.is_ok() {
            self.slots().remove(&slot.id);
            tracing::info!(id = &*slot.id, "transactional id forgotten");
        } else {
            slot.lock().step(Event::Written(false), now_ms());
        }
    }
}
