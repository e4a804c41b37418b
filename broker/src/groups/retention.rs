//! Forgets what nobody will ask for: committed offsets after offsets.retention.minutes (KIP-211), then groups that have
//! neither members nor offsets.

use std::sync::Arc;
use std::time::Duration;

use super::{Event, Groups};
use crate::config::Config;

/// A group without members and offsets stays for this long, so that one is not removed while its first commit is under way.
const EMPTY_FOR_MS: i64 = 60_000;

impl Groups {
    /// For ever, at intervals.
    pub(crate) fn expire_offsets(
        self: Arc<Self>,
        config: &Config,
    ) -> impl Future<Output = ()> + use<> {
        let retention_ms = i64::from(config.offsets_retention_minutes) * 60_000;
        let interval = Duration::from_millis(config.offsets_retention_check_interval_ms);
        self.expire(retention_ms, interval)
    }

    async fn expire(self: Arc<Self>, retention_ms: i64, interval: Duration) {
        loop {
            tokio::time::sleep(interval).await;
            match self.expire_once(retention_ms).await {
                Ok(0) => {}
                Ok(offsets) => tracing::info!(offsets, "committed offsets expired"),
                Err(error) => tracing::warn!(%error, "committed offsets could not be expired"),
            }
        }
    }

    async fn expire_once(self: &Arc<Self>, retention_ms: i64) -> Result<u64, storage::Error> {
        let mut expired = self.store.expire_offsets(retention_ms).await?;
        for group_id in self.live() {
            let Ok(Some(subscribed)) = self.ask(&group_id, Event::Subscribed).await else {
                continue;
            };
            let topics = subscribed
                .iter()
                .filter_map(|name| Some(self.catalog.by_name(name)?.id));
            let topics: Vec<i32> = topics.collect();
            expired += self
                .store
                .expire_unsubscribed_offsets(&group_id, &topics, retention_ms)
                .await?;
        }
        for group_id in self.store.forget_empty_groups(EMPTY_FOR_MS).await? {
            tracing::info!(group = group_id, "removed: without members and offsets");
        }
        Ok(expired)
    }
}
