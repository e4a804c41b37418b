//! The beginnings of the logs: what `retention.ms` and `retention.bytes` let go, and what a client deletes. Only the offset at which
//! a log begins is moved here; `storage` drops the segments that are not needed any more.
//!
//! Kafka deletes whole segments, so it keeps somewhat more than it must. Here a log is cut at its marks, see `growth`; and where
//! all of its records are too old, at its end, as Kafka does too.

use std::sync::Arc;
use std::time::Duration;

use storage::Expiry;

use super::checkpoint::{checkpoint_of, save};
use super::{Log, Partition, ReadError, TopicSettings};

/// Why records were not deleted.
#[derive(Debug, thiserror::Error)]
pub enum DeleteError {
    /// Beyond the end of the log, or no offset at all.
    #[error("there is no offset {0} in the log")]
    OutOfRange(i64),
    /// The topic is compacted, and keeps the last record of each key.
    #[error("cleanup.policy does not allow that records are deleted")]
    NotAllowed,
    /// The log cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The database's.
    #[error(transparent)]
    Storage(#[from] storage::Error),
}

impl Log {
    /// Deletes the records before an offset; `None` is all there are. Returns the offset at which the log begins.
    pub async fn delete_records(
        &self,
        partition: &Arc<Partition>,
        before: Option<i64>,
    ) -> Result<i64, DeleteError> {
        let offsets = partition.served_offsets()?;
        let settings = partition.settings();
        if settings.compacted && !settings.deleted {
            return Err(DeleteError::NotAllowed);
        }
        let before = before.unwrap_or(offsets.high_watermark);
        if before < 0 || before > offsets.high_watermark {
            return Err(DeleteError::OutOfRange(before));
        }
        if before > offsets.log_start_offset {
            self.cover(partition).await?;
            self.store
                .raise_log_starts(&[(partition.id(), before)])
                .await?;
            partition.raise_log_start(before);
        }
        Ok(partition.offsets().log_start_offset)
    }

    /// Lets go what has expired, at intervals, for ever.
    pub async fn expire(self: Arc<Self>, interval: Duration) {
        loop {
            tokio::time::sleep(interval).await;
            match self.expire_once().await {
                Ok(0) => {}
                Ok(partitions) => tracing::info!(partitions, "records expired"),
                Err(error) => tracing::warn!(%error, "expired records could not be deleted"),
            }
        }
    }

    /// In how many partitions records have expired.
    async fn expire_once(&self) -> Result<usize, storage::Error> {
        let now_ms = super::now_ms();
        let mut cuts: Vec<(Arc<Partition>, i64)> = Vec::new();
        let mut expiries = Vec::new();
        for partition in self.led_partitions() {
            let settings = partition.settings();
            let Ok(offsets) = partition.served_offsets() else {
                continue;
            };
            let is_limited = settings.retention_ms >= 0 || settings.retention_bytes >= 0;
            if !settings.deleted
                || !is_limited
                || offsets.log_start_offset >= offsets.high_watermark
            {
                continue;
            }
            let offsets = match partition.stable_offsets().await {
                Ok(offsets) => offsets,
                Err(error) => {
                    let (topic, index) = (partition.topic(), partition.index());
                    tracing::warn!(topic, partition = index, %error, "cannot look for expired records");
                    continue;
                }
            };
            if all_are_older(&partition, &settings, now_ms) {
                cuts.push((partition, offsets.last_stable_offset));
            } else {
                expiries.push((expiry(&partition, &settings, now_ms), partition));
            }
        }
        cuts.extend(self.at_marks(expiries).await?);
        self.cut(&cuts).await
    }

    /// The last mark of each partition before which all has expired.
    async fn at_marks(
        &self,
        expiries: Vec<(Expiry, Arc<Partition>)>,
    ) -> Result<Vec<(Arc<Partition>, i64)>, storage::Error> {
        let asked: Vec<Expiry> = expiries.iter().map(|(expiry, _)| *expiry).collect();
        let mut found = self.store.expired_marks(&asked).await?;
        found.sort_unstable();
        let cuts = expiries.into_iter().filter_map(|(expiry, partition)| {
            let at = found.binary_search_by_key(&expiry.part, |(part, _)| *part);
            let (_, offset) = found.get(at.ok()?)?;
            // A mark is saved after what lies before it was committed.
            let offset = (*offset).min(partition.offsets().last_stable_offset);
            Some((partition, offset))
        });
        Ok(cuts.collect())
    }

    async fn cut(&self, cuts: &[(Arc<Partition>, i64)]) -> Result<usize, storage::Error> {
        for (partition, _) in cuts {
            if let Err(error) = self.cover(partition).await {
                let (topic, index) = (partition.topic(), partition.index());
                tracing::debug!(topic, partition = index, %error, "producers not saved");
            }
        }
        let starts: Vec<(i32, i64)> = cuts
            .iter()
            .map(|(partition, offset)| (partition.id(), *offset))
            .collect();
        self.store.raise_log_starts(&starts).await?;
        for (partition, offset) in cuts {
            let (topic, index) = (partition.topic(), partition.index());
            tracing::debug!(topic, partition = index, offset, "the log begins later");
            partition.raise_log_start(*offset);
        }
        Ok(cuts.len())
    }

    /// Saves the state of the producers: what it is made of may be gone at the next start.
    async fn cover(&self, partition: &Arc<Partition>) -> Result<(), ReadError> {
        let expiration_ms = self.config.producer_id_expiration_ms;
        partition.load().await?;
        let checkpoint = {
            let mut appender = partition.appender();
            if partition.offsets().high_watermark == appender.next_offset {
                checkpoint_of(partition, &mut appender, expiration_ms)
            } else {
                // The lane makes one after the flush that is under way.
                appender.unsaved_bytes = appender.unsaved_bytes.max(self.config.checkpoint_bytes);
                None
            }
        };
        save(&self.store, checkpoint.as_slice()).await;
        Ok(())
    }
}

fn all_are_older(partition: &Partition, settings: &TopicSettings, now_ms: i64) -> bool {
    let appender = partition.appender();
    settings.retention_ms >= 0
        && appender.max_timestamp_ms >= 0
        && appender.max_timestamp_ms < now_ms.saturating_sub(settings.retention_ms)
}

fn expiry(partition: &Partition, settings: &TopicSettings, now_ms: i64) -> Expiry {
    let appender = partition.appender();
    let bytes = i64::try_from(appender.growth.bytes).unwrap_or(i64::MAX);
    Expiry {
        part: partition.id(),
        older_than_ms: match settings.retention_ms {
            ..0 => i64::MIN,
            retention_ms => now_ms.saturating_sub(retention_ms),
        },
        bytes_below: match settings.retention_bytes {
            ..0 => -1,
            retention_bytes => (bytes - retention_bytes).max(-1),
        },
    }
}
