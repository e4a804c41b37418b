//! The log: appends are queued, committed in groups and published; reads take the tail from memory and the rest from the
//! database; long polls are woken by appends. No sockets, no API messages, no SQL.
//!
//! Start with [`Log`] and [`Partition`]; `lane` holds the group commit, `producers` what makes producers idempotent.

mod ahead;
mod alarm;
mod append;
mod assign;
mod checkpoint;
mod cleaner;
mod compact;
mod epochs;
mod growth;
mod lane;
mod members;
mod meter;
mod pace;
mod partition;
mod producers;
mod read;
mod retention;
mod runs;
mod tail;
mod times;
mod transactions;
mod waiter;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use protocol::compression::Compression;
use protocol::records::TimestampType;
use storage::{LaneCleaner, PartitionRow, Store};
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use uuid::Uuid;

pub use cleaner::CleanerLimits;
pub(crate) use members::Verdict;
pub use meter::Meter;
pub use partition::{
    Admission, AppendOptions, Batch, Isolation, Leader, Offsets, Partition, Read, TimestampOffset,
};
pub use producers::ProducerState;
pub use retention::DeleteError;
pub use transactions::Aborted;
pub(crate) use transactions::{EndError, EndTransaction, Ended};
pub use waiter::Waiter;

use ahead::ReadAhead;
use lane::{Entry, Handover, Lane, LaneQueue};
use partition::Shared;
use tail::TailCache;
use transactions::End;

/// Limits of the log.
#[derive(Debug, Clone)]
pub struct LogConfig {
    /// How many bytes of recent batches stay in memory for readers, over all partitions.
    pub tail_cache_bytes: usize,
    /// How many bytes of older batches are read ahead for readers, over all partitions; 0 for none.
    pub read_ahead_bytes: usize,
    /// How many bytes of batches one flush takes; a larger batch goes alone.
    pub flush_bytes_max: usize,
    /// How many bytes the records of one compressed batch may have when they are decompressed to be checked.
    pub decompressed_bytes_max: usize,
    /// After how long a silent idempotent producer is forgotten (Kafka's producer.id.expiration.ms).
    pub producer_id_expiration_ms: i64,
    /// After how many appended bytes a partition gets a checkpoint: neither a restart nor a look-up by time reads more than that.
    pub checkpoint_bytes: usize,
    /// How long one attempt to flush may wait for a database that is away before it is reported; it is then repeated.
    pub flush_attempt: Duration,
    /// How long a stop waits for what is queued.
    pub stop_timeout: Duration,
    /// Counts what the log does.
    pub meter: Arc<Meter>,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self {
            tail_cache_bytes: 128 << 20,
            read_ahead_bytes: 16 << 20,
            flush_bytes_max: 1 << 20,
            decompressed_bytes_max: 64 << 20,
            producer_id_expiration_ms: 24 * 60 * 60 * 1000,
            checkpoint_bytes: 32 << 20,
            flush_attempt: Duration::from_secs(10),
            stop_timeout: Duration::from_secs(20),
            meter: Arc::default(),
        }
    }
}

/// The settings of a topic that the log goes by; the defaults are Kafka's.
#[derive(Debug, Clone, PartialEq)]
pub struct TopicSettings {
    /// `max.message.bytes`: the largest batch, with its header.
    pub max_message_bytes: usize,
    /// `message.timestamp.type`
    pub timestamp_type: TimestampType,
    /// `message.timestamp.before.max.ms`
    pub timestamp_before_max_ms: i64,
    /// `message.timestamp.after.max.ms`
    pub timestamp_after_max_ms: i64,
    /// `cleanup.policy` contains `compact`: records must have a key.
    pub compacted: bool,
    /// `cleanup.policy` contains `delete`: `retention.ms` and `retention.bytes` hold.
    pub deleted: bool,
    /// `retention.ms`; negative is for ever.
    pub retention_ms: i64,
    /// `retention.bytes`; negative is without limit.
    pub retention_bytes: i64,
    /// `segment.bytes`: after how many bytes a partition gets a mark to cut at.
    pub segment_bytes: u64,
    /// `segment.ms`: after which time it does.
    pub segment_ms: i64,
    /// `delete.retention.ms`: how long compaction keeps tombstones.
    pub delete_retention_ms: i64,
    /// `min.compaction.lag.ms`: the least age of what is compacted.
    pub min_compaction_lag_ms: i64,
    /// `max.compaction.lag.ms`: from this age on it is compacted in any case.
    pub max_compaction_lag_ms: i64,
    /// `min.cleanable.dirty.ratio`: the share of new bytes from which on it is.
    pub min_cleanable_dirty_ratio: f64,
    /// `compression.type`: how batches are kept; `None` is `producer`, as they were sent.
    pub compression: Option<Compression>,
    /// `compression.<codec>.level` of that codec; `None` is the codec's default.
    pub compression_level: Option<i32>,
}

impl TopicSettings {
    /// After which time a new segment begins: what must be compacted soon may not stay in the one that is appended to.
    fn longest_segment_ms(&self) -> i64 {
        if self.compacted {
            self.segment_ms.min(self.max_compaction_lag_ms)
        } else {
            self.segment_ms
        }
    }
}

impl Default for TopicSettings {
    fn default() -> Self {
        Self {
            max_message_bytes: 1_048_588,
            timestamp_type: TimestampType::CreateTime,
            timestamp_before_max_ms: i64::MAX,
            timestamp_after_max_ms: 3_600_000,
            compacted: false,
            deleted: true,
            retention_ms: 7 * 24 * 60 * 60 * 1000,
            retention_bytes: -1,
            segment_bytes: 1 << 30,
            segment_ms: 7 * 24 * 60 * 60 * 1000,
            delete_retention_ms: 24 * 60 * 60 * 1000,
            min_compaction_lag_ms: 0,
            max_compaction_lag_ms: i64::MAX,
            min_cleanable_dirty_ratio: 0.5,
            compression: None,
            compression_level: None,
        }
    }
}

/// A committed append.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    /// The offset of the batch's first record; of the first time it was appended, if it is a repetition.
    pub base_offset: i64,
    /// -1 where the timestamps are the producer's.
    pub log_append_time_ms: i64,
    /// The first offset that can be read.
    pub log_start_offset: i64,
}

/// Why a batch was not appended. After `TimedOut` it may still be.
#[derive(Debug, Clone, thiserror::Error)]
pub enum AppendError {
    /// The bytes are damaged.
    #[error("corrupt record batch: {0}")]
    Corrupt(String),
    /// The bytes are whole, but break a rule; `records` names the records that do, by their index in the batch.
    #[error("{message}")]
    InvalidRecord {
        /// Index and fault of single records, where the fault is theirs.
        records: Vec<(i32, String)>,
        /// For the client's log.
        message: String,
    },
    /// Not record format 2.
    #[error("record format {0} is not supported, only 2")]
    UnsupportedFormat(i8),
    /// The codec came after this version of Produce.
    #[error("zstd needs Produce 7 or later")]
    UnsupportedCompression,
    /// The batch is larger than the topic allows.
    #[error("the record batch has {size_bytes} bytes, more than max.message.bytes = {max_bytes}")]
    TooLarge {
        /// Of the batch.
        size_bytes: usize,
        /// The setting.
        max_bytes: usize,
    },
    /// The batch becomes larger than the broker reads to check it. A client that splits it may succeed.
    #[error(
        "the decompressed records have more bytes than max.decompressed.message.bytes = {max_bytes}"
    )]
    TooLargeDecompressed {
        /// The setting.
        max_bytes: usize,
    },
    /// Records too far from the present.
    #[error("{message}")]
    InvalidTimestamp {
        /// Index and fault of the records.
        records: Vec<(i32, String)>,
        /// For the client's log.
        message: String,
    },
    /// A batch of no transaction from a producer whose transaction is open in the partition.
    #[error("the producer's transaction is open, and the batch does not belong to it")]
    OutsideTransaction,
    /// Not the sequence number that follows the producer's last.
    #[error("sequence {found} is out of order, expected {expected}")]
    OutOfOrderSequence {
        /// The sequence number that would follow.
        expected: i32,
        /// The batch's.
        found: i32,
    },
    /// A later epoch of this producer id has appended.
    #[error("the producer's epoch is older than {current}")]
    InvalidProducerEpoch {
        /// The latest epoch.
        current: i16,
    },
    /// A later coordinator than the one that let the batch in has ended a transaction of the producer here.
    #[error("the transaction has another coordinator now")]
    StaleCoordinator,
    /// Another broker has taken over.
    #[error("this broker does not lead the partition any more")]
    NotLeader,
    /// The topic was deleted.
    #[error("the partition does not exist any more")]
    UnknownPartition,
    /// The commit took longer than the request allows.
    #[error("not committed in time")]
    TimedOut,
    /// The broker is stopping.
    #[error("the broker is stopping")]
    Stopping,
    /// The log could not be read to learn what its producers sent before.
    #[error("cannot read the log: {0}")]
    Unavailable(Arc<ReadError>),
}

/// Why nothing was read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// Before the start of the log or after its end.
    #[error("offset out of range, the log is {}..{}", .0.log_start_offset, .0.high_watermark)]
    OutOfRange(Offsets),
    /// The topic was deleted.
    #[error("the partition does not exist any more")]
    UnknownPartition,
    /// Another broker has taken over.
    #[error("this broker does not lead the partition any more")]
    NotLeader,
    /// What is stored is not what was appended.
    #[error("the stored log is damaged at offset {0}")]
    Damaged(i64),
    /// The database's.
    #[error(transparent)]
    Storage(#[from] storage::Error),
    /// What is known of producers and transactions could not be read.
    #[error(transparent)]
    Unloaded(Arc<Self>),
}

/// Milliseconds since the epoch.
pub(crate) fn now_ms() -> i64 {
    let since_epoch = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX)
}

/// Handovers that wait for the lane.
const HANDOVERS_MAX: usize = 16;

/// All partitions, and the lane of those that this broker leads: one broker writes best through one connection as long as
/// its queue stays short of a flush. The lane's number is the broker's.
#[derive(Debug)]
pub struct Log {
    store: Store,
    config: Arc<LogConfig>,
    node_id: i32,
    handovers: mpsc::Sender<Handover>,
    /// Wakes the lane to begin a new segment.
    roll: Arc<Notify>,
    lane: Arc<LaneQueue>,
    task: Mutex<Option<JoinHandle<()>>>,
    fenced: watch::Receiver<bool>,
    tail: Arc<TailCache>,
    ahead: Arc<ReadAhead>,
    partitions: Mutex<HashMap<i32, Arc<Partition>>>,
    /// Until the cleaner is started.
    cleaner: Mutex<Option<LaneCleaner>>,
}

impl Log {
    /// Takes the lane of broker `node_id` from whoever had it, and starts to serve it as `owner`.
    pub async fn open(
        store: Store,
        node_id: i32,
        owner: Uuid,
        config: LogConfig,
    ) -> Result<Arc<Self>, storage::Error> {
        let config = Arc::new(config);
        let lease = store.claim_lane(node_id, owner).await?;
        let (handovers, handovers_asked) = mpsc::channel(HANDOVERS_MAX);
        let roll = Arc::new(Notify::new());
        let writer = store.lane_writer(lease).await?;
        let cleaner = Mutex::new(Some(writer.cleaner()));
        let queue = Arc::new(LaneQueue::new());
        let tail = Arc::new(TailCache::new(config.tail_cache_bytes));
        let ahead = Arc::new(ReadAhead::new(store.clone(), config.read_ahead_bytes));
        let (fenced_sender, fenced) = watch::channel(false);
        let lane = Lane {
            queue: Arc::clone(&queue),
            writer,
            store: store.clone(),
            tail: Arc::clone(&tail),
            config: Arc::clone(&config),
            handovers: handovers_asked,
            roll: Arc::clone(&roll),
        };
        let task = tokio::spawn(async move {
            lane.run(fenced_sender).await;
        });
        Ok(Arc::new(Self {
            store,
            config,
            node_id,
            handovers,
            roll,
            lane: queue,
            task: Mutex::new(Some(task)),
            fenced,
            tail,
            ahead,
            partitions: Mutex::default(),
            cleaner,
        }))
    }

    /// Returns when another broker has taken over: this one can serve nothing more.
    pub async fn fenced(&self) {
        let mut fenced = self.fenced.clone();
        if fenced.wait_for(|fenced| *fenced).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Opens the partitions of `rows`, in their order, with one query for the ends of those that this broker has come to lead.
    /// Those that are open already get the leader that `rows` say.
    pub async fn open_partitions(
        &self,
        rows: &[(Arc<str>, PartitionRow, Arc<TopicSettings>)],
    ) -> Result<Vec<Arc<Partition>>, storage::Error> {
        let opened = self.opened(rows);
        let is_new = |(row, partition): &(&PartitionRow, &Arc<Partition>)| {
            row.lane == self.node_id && !partition.is_led()
        };
        let rows = rows.iter().map(|(_, row, _)| row);
        let pairs: Vec<(&PartitionRow, &Arc<Partition>)> = rows.zip(&opened).collect();
        let led = pairs.iter().filter(|pair| is_new(pair));
        let ids: Vec<i32> = led.map(|(row, _)| row.id).collect();
        let ends: HashMap<i32, i64> = match ids.is_empty() {
            true => HashMap::new(),
            false => self.store.end_offsets(&ids).await?.into_iter().collect(),
        };
        for (row, partition) in pairs {
            if row.lane != self.node_id {
                partition.follow(Leader {
                    node_id: row.lane,
                    epoch: row.leader_epoch,
                });
            } else if !partition.is_led()
                && let Some(end_offset) = ends.get(&row.id)
            {
                partition.lead(row, (*end_offset).max(row.log_start_offset));
            }
        }
        Ok(opened)
    }

    fn opened(&self, rows: &[(Arc<str>, PartitionRow, Arc<TopicSettings>)]) -> Vec<Arc<Partition>> {
        let mut open = self
            .partitions
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let opened = rows.iter().map(|(topic, row, settings)| {
            let partition = open.entry(row.id).or_insert_with(|| {
                let parts = Shared {
                    config: Arc::clone(&self.config),
                    store: self.store.clone(),
                    lane: Arc::clone(&self.lane),
                    ahead: Arc::clone(&self.ahead),
                };
                Arc::new(Partition::new(
                    Arc::clone(topic),
                    row,
                    Arc::clone(settings),
                    parts,
                ))
            });
            partition.set_settings(Arc::clone(settings));
            Arc::clone(partition)
        });
        opened.collect()
    }

    /// Gives partitions to other brokers, each to the one with the node id beside it. Those that this broker does not lead
    /// are passed over. Returns when it is committed; false if the lane is lost, or locked by SQL.
    pub async fn hand_over(&self, moves: Vec<(Arc<Partition>, i32)>) -> bool {
        let (done, is_done) = oneshot::channel();
        self.handovers.send(Handover { moves, done }).await.is_ok() && is_done.await.is_ok()
    }

    /// The topic was deleted: appends and reads of `partition` fail from now on.
    pub fn close_partition(&self, partition: &Partition) {
        self.partitions
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&partition.id());
        partition.close();
    }

    fn take_cleaner(&self) -> Option<LaneCleaner> {
        let mut cleaner = self.cleaner.lock();
        cleaner
            .as_mut()
            .unwrap_or_else(|poisoned| poisoned.get_mut())
            .take()
    }

    /// The partitions that this broker leads.
    fn led_partitions(&self) -> Vec<Arc<Partition>> {
        let open = self.partitions.lock();
        let open = open.unwrap_or_else(PoisonError::into_inner);
        let led = open.values().filter(|partition| partition.is_led());
        led.cloned().collect()
    }

    /// An open partition, by its key in storage.
    pub(crate) fn partition(&self, id: i32) -> Option<Arc<Partition>> {
        let open = self
            .partitions
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        open.get(&id).cloned()
    }

    /// A waiter for the next append to any of `partitions`. Make it before reading, so that no append falls in between.
    pub fn waiter(&self, partitions: &[Arc<Partition>]) -> Waiter {
        Waiter::register(partitions.iter().map(|partition| &partition.waiters))
    }

    /// Queues the end of a transaction behind all that was queued before; the answer comes when it is committed, or refused. What
    /// the producer sends from now on is asked about anew.
    pub(crate) fn end_transaction(
        &self,
        transaction: EndTransaction,
    ) -> Result<oneshot::Receiver<Ended>, AppendError> {
        for partition in &transaction.partitions {
            partition.members().leave(transaction.producer_id);
        }
        let (reply, ended) = oneshot::channel();
        let transaction = Box::new(transaction);
        self.lane.push(Entry::End(End { transaction, reply }))?;
        Ok(ended)
    }

    /// What the log counted so far.
    pub fn meter(&self) -> &Meter {
        &self.config.meter
    }

    /// Whether another broker has taken over.
    pub fn is_fenced(&self) -> bool {
        self.lane.is_fenced()
    }

    /// Batches that wait for a flush.
    pub fn queued(&self) -> usize {
        self.lane.len()
    }

    /// Bytes of batches in memory.
    pub fn tail_cache_bytes(&self) -> usize {
        self.tail.size_bytes()
    }

    /// Commits what is queued, saves checkpoints, and ends the lane. Appends from now on are refused.
    pub async fn stop(&self) {
        self.lane.stop();
        let task = self
            .task
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let Some(mut task) = task else { return };
        if tokio::time::timeout(self.config.stop_timeout, &mut task)
            .await
            .is_err()
        {
            tracing::error!(
                "the database did not take what was queued before the stop; none of it was acknowledged"
            );
            task.abort();
            return;
        }
        if self.lane.is_fenced() {
            return;
        }
        checkpoint::checkpoint(
            &self.store,
            &self.led_partitions(),
            self.config.producer_id_expiration_ms,
        )
        .await;
    }
}
