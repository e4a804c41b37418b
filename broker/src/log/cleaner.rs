//! The log cleaner: which compacted logs are cleaned and when, and the two passes over one of them. What is kept is decided in
//! `compact`; `storage` puts what is kept in the place of what was there.
//!
//! A log is cleaned as far as it lies in sealed segments. Segments are shared by all logs of the lane; where Kafka would have begun
//! a new one for a compacted log by `segment.bytes`, `segment.ms` or `max.compaction.lag.ms`, the lane is asked to begin one. The first pass learns the last offset of each key, the second writes the
//! log anew from its beginning up to there. Memory is limited by `log.cleaner.dedupe.buffer.size`: with more keys it takes several
//! rounds.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use protocol::records::Batches;
use storage::{CleanSegment, Cleanable, LaneCleaner, Replacement, Store, Stretch};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::compact::{AbortedIndex, CleanError, Filter, KeyMap, Rules};
use super::runs::{Joiner, add_runs, filter_runs};
use super::{Log, Partition, ReadError, TopicSettings};

/// Pages of the log that are read at once.
const ROWS_MAX: i64 = 128;
/// Between two looks, however little `log.cleaner.backoff.ms` is.
const PAUSE_MIN: Duration = Duration::from_millis(50);
/// A new segment is begun after about this much.
const SEGMENT_BYTES: i64 = 256 << 20;
/// Between two segments that the lane is asked to begin: at first, and at most, as each costs a table that may stay for long.
const ROLL_PAUSE_MIN: Duration = Duration::from_secs(1);
const ROLL_PAUSE_MAX: Duration = Duration::from_secs(10 * 60);

/// How much the cleaner may take.
#[derive(Debug, Clone, Copy)]
pub struct CleanerLimits {
    /// Memory for keys.
    pub memory_bytes: usize,
    /// Of reading and writing together.
    pub bytes_per_second: f64,
    /// Between two looks at what there is to do.
    pub pause: Duration,
}

/// Why a log was not cleaned.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Clean(#[from] CleanError),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Storage(#[from] storage::Error),
}

/// Whether Kafka would have ended a segment of the log, behind what is sealed, that may be cleaned by now.
fn has_ended_segment(partition: &Partition, sealed_to: Option<i64>) -> bool {
    let Some(boundary) = partition.appender().growth.boundary() else {
        return false;
    };
    let log_start_offset = partition.offsets().log_start_offset;
    let lag_ms = partition.settings().min_compaction_lag_ms;
    boundary.end_offset > sealed_to.unwrap_or(0).max(log_start_offset)
        && is_old_enough(boundary.max_timestamp_ms, lag_ms, super::now_ms())
}

/// Without `min.compaction.lag.ms` no age is asked for: records may be of the future.
fn is_old_enough(newest_ms: i64, min_compaction_lag_ms: i64, now_ms: i64) -> bool {
    min_compaction_lag_ms <= 0 || newest_ms <= now_ms.saturating_sub(min_compaction_lag_ms)
}

/// A log that is worth it.
#[derive(Debug)]
struct Plan {
    partition: Arc<Partition>,
    settings: Arc<TopicSettings>,
    cleaned_to: i64,
    /// From the beginning of the log to where it may be cleaned.
    stretches: Vec<Stretch>,
    dirty_ratio: f64,
}

/// The cleaner of one lane.
#[derive(Debug)]
pub(super) struct Cleaner {
    lane: LaneCleaner,
    store: Store,
    cap_bytes: usize,
    producer_id_expiration_ms: i64,
    /// Partitions whose logs are damaged.
    damaged: HashSet<i32>,
    /// Timestamps of stretches, by partition and end.
    times: HashMap<(i32, i64), (i64, i64)>,
    rolls: Rolls,
}

/// Asks the lane to begin new segments, the less often the more it was asked.
#[derive(Debug)]
struct Rolls {
    lane: Arc<Notify>,
    pause: Duration,
    next: Instant,
}

impl Rolls {
    fn new(lane: Arc<Notify>) -> Self {
        Self {
            lane,
            pause: ROLL_PAUSE_MIN,
            next: Instant::now(),
        }
    }

    fn ask(&mut self) {
        let now = Instant::now();
        if now < self.next {
            return;
        }
        if now >= self.next + ROLL_PAUSE_MAX {
            self.pause = ROLL_PAUSE_MIN;
        }
        self.lane.notify_one();
        self.next = now + self.pause;
        self.pause = (self.pause * 2).min(ROLL_PAUSE_MAX);
    }
}

impl Log {
    /// Cleans compacted logs, for ever. `limits` tells what holds at the moment.
    pub async fn clean(self: Arc<Self>, limits: impl Fn() -> CleanerLimits) {
        let Some(lane) = self.take_cleaner() else {
            return;
        };
        let mut cleaner = Cleaner {
            lane,
            store: self.store.clone(),
            cap_bytes: self.config.decompressed_bytes_max,
            producer_id_expiration_ms: self.config.producer_id_expiration_ms,
            damaged: HashSet::new(),
            times: HashMap::new(),
            rolls: Rolls::new(Arc::clone(&self.roll)),
        };
        loop {
            let now = limits();
            match cleaner.round(self.led_partitions(), &now).await {
                Ok(0) => {}
                Ok(partitions) => {
                    tracing::info!(partitions, "compacted");
                    continue;
                }
                Err(Failure::Storage(error @ storage::Error::Fenced { .. })) => {
                    tracing::debug!(%error, "the cleaner ends");
                    return;
                }
                Err(error) => tracing::warn!(%error, "cannot compact now"),
            }
            tokio::time::sleep(now.pause.max(PAUSE_MIN)).await;
        }
    }
}

impl Cleaner {
    /// How many partitions were cleaned.
    async fn round(
        &mut self,
        partitions: Vec<Arc<Partition>>,
        limits: &CleanerLimits,
    ) -> Result<usize, Failure> {
        let mut plans = self.plans(partitions).await?;
        if plans.is_empty() {
            return Ok(0);
        }
        plans.sort_by(|a, b| b.dirty_ratio.total_cmp(&a.dirty_ratio));
        let mut output = Output::of(self.lane.begin().await?);
        let mut throttle = Throttle::new(limits.bytes_per_second);
        for plan in &plans {
            let cleaned = self.clean(plan, output, limits, &mut throttle).await;
            output = cleaned.inspect_err(|error| {
                if matches!(error, Failure::Clean(_)) {
                    let (topic, index) = (plan.partition.topic(), plan.partition.index());
                    tracing::error!(topic, partition = index, %error, "not compacted any more");
                    self.damaged.insert(plan.partition.id());
                }
            })?;
        }
        output.finish().await?;
        Ok(plans.len())
    }

    async fn plans(&mut self, partitions: Vec<Arc<Partition>>) -> Result<Vec<Plan>, Failure> {
        let compacted = partitions.into_iter().filter(|partition| {
            partition.settings().compacted
                && partition.served_offsets().is_ok()
                && !self.damaged.contains(&partition.id())
        });
        let by_id: HashMap<i32, Arc<Partition>> = compacted
            .map(|partition| (partition.id(), partition))
            .collect();
        self.times.retain(|(part, _), _| by_id.contains_key(part));
        let ids: Vec<i32> = by_id.keys().copied().collect();
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let mut plans = Vec::new();
        let found = self.store.cleanable(&ids).await?;
        let ends = found
            .iter()
            .filter_map(|one| Some((one.part, one.stretches.last()?.end_offset)));
        let sealed: HashMap<i32, i64> = ends.collect();
        let mut open = by_id.iter();
        if open.any(|(id, partition)| has_ended_segment(partition, sealed.get(id).copied())) {
            self.rolls.ask();
        }
        for found in found {
            if let Some(partition) = by_id.get(&found.part) {
                plans.extend(self.plan(partition, found).await?);
            }
        }
        Ok(plans)
    }

    /// Whether a log is worth it, as Kafka judges: by the share of bytes that were not cleaned yet, or by their age.
    async fn plan(
        &mut self,
        partition: &Arc<Partition>,
        found: Cleanable,
    ) -> Result<Option<Plan>, Failure> {
        let settings = partition.settings();
        let now_ms = super::now_ms();
        let stable = partition.stable_offsets().await?.last_stable_offset;
        let mut stretches = Vec::new();
        let (mut all_bytes, mut dirty_bytes) = (0, 0);
        let mut is_due = false;
        for stretch in found.stretches {
            let is_dirty = stretch.end_offset > found.cleaned_to;
            if stretch.end_offset > stable {
                break;
            }
            let lag_ms = settings.min_compaction_lag_ms;
            if is_dirty && lag_ms > 0 {
                let (_, newest_ms) = self.times(partition.id(), stretch).await?;
                if !is_old_enough(newest_ms, lag_ms, now_ms) {
                    break;
                }
            }
            if is_dirty && settings.max_compaction_lag_ms < i64::MAX && !is_due {
                let (oldest_ms, _) = self.times(partition.id(), stretch).await?;
                is_due = oldest_ms < now_ms.saturating_sub(settings.max_compaction_lag_ms);
            }
            all_bytes += stretch.bytes;
            dirty_bytes += if is_dirty { stretch.bytes } else { 0 };
            stretches.push(stretch);
        }
        let dirty_ratio = dirty_bytes as f64 / (all_bytes as f64).max(1.0);
        let is_worth_it = dirty_ratio > settings.min_cleanable_dirty_ratio || is_due;
        Ok((dirty_bytes > 0 && is_worth_it).then(|| Plan {
            partition: Arc::clone(partition),
            settings,
            cleaned_to: found.cleaned_to,
            stretches,
            dirty_ratio,
        }))
    }

    /// The timestamps of the first batch in a stretch and of the newest.
    async fn times(&mut self, part: i32, stretch: Stretch) -> Result<(i64, i64), Failure> {
        let key = (part, stretch.end_offset);
        if let Some(known) = self.times.get(&key) {
            return Ok(*known);
        }
        let mut times: Option<(i64, i64)> = None;
        let mut reader = self.store.read_stretch(part, stretch);
        loop {
            let runs = reader.next(ROWS_MAX).await?;
            if runs.is_empty() {
                break;
            }
            for batch in runs.iter().flat_map(|run| Batches::strict(&run.data)) {
                let time = batch.map_err(CleanError::from)?.max_timestamp;
                let (first, newest) = times.unwrap_or((time, time));
                times = Some((first, newest.max(time)));
            }
        }
        let times = times.unwrap_or((-1, -1));
        self.times.insert(key, times);
        Ok(times)
    }

    async fn clean(
        &self,
        plan: &Plan,
        mut output: Output,
        limits: &CleanerLimits,
        throttle: &mut Throttle,
    ) -> Result<Output, Failure> {
        let log_start_offset = plan.partition.offsets().log_start_offset;
        let keys = self
            .map_keys(plan, log_start_offset, limits, throttle)
            .await?;
        let cleaned_to = keys.end_offset();
        let rules = Rules {
            now_ms: super::now_ms(),
            delete_retention_ms: plan.settings.delete_retention_ms,
            cap_bytes: self.cap_bytes,
            log_start_offset,
        };
        let mut filter = self
            .keep_producers(&plan.partition, Filter::new(keys, rules))
            .await?;
        let touched = plan.stretches.iter();
        let touched = touched.filter(|stretch| stretch.first_offset < cleaned_to);
        let groups = groups(touched.copied());
        let last = groups.len().saturating_sub(1);
        for (index, group) in groups.into_iter().enumerate() {
            let bytes: i64 = group.iter().map(|stretch| stretch.bytes).sum();
            // A table holds one stretch of a log, and is not to become too large.
            if index > 0 || (output.bytes > 0 && output.bytes + bytes > SEGMENT_BYTES) {
                output.finish().await?;
                output = Output::of(self.lane.begin().await?);
            }
            let part = plan.partition.id();
            let (rest, mut replacement) =
                self.rewrite(part, group, filter, &output, throttle).await?;
            filter = rest;
            replacement.cleaned_to = (index == last).then_some(cleaned_to);
            replacement.gone_markers = std::mem::take(&mut filter.gone_markers);
            output.bytes += replacement.bytes;
            output.replacements.push(replacement);
            output.partitions.push(Arc::clone(&plan.partition));
        }
        Ok(output)
    }

    /// The first pass.
    async fn map_keys(
        &self,
        plan: &Plan,
        log_start_offset: i64,
        limits: &CleanerLimits,
        throttle: &mut Throttle,
    ) -> Result<KeyMap, Failure> {
        let first_offset = plan.cleaned_to.max(log_start_offset);
        // All that lies in sealed segments before the last stable offset is decided, and known there.
        let part = plan.partition.id();
        let end_offset = plan.stretches.last().map_or(0, |last| last.end_offset);
        let aborted = self.store.aborted_transactions(part, 0, end_offset).await?;
        let aborted = Arc::new(AbortedIndex::new(&aborted));
        let mut keys = KeyMap::new(limits.memory_bytes, first_offset, aborted);
        let cap_bytes = self.cap_bytes;
        let dirty = plan.stretches.iter();
        for stretch in dirty.filter(|stretch| stretch.end_offset > first_offset) {
            let mut reader = self.store.read_stretch(part, *stretch);
            loop {
                let runs = reader.next(ROWS_MAX).await?;
                if runs.is_empty() {
                    break;
                }
                throttle
                    .spend(runs.iter().map(|run| run.data.len()).sum())
                    .await;
                let has_room;
                (keys, has_room) = aside(move || add_runs(keys, &runs, cap_bytes)).await?;
                if !has_room {
                    return Ok(keys);
                }
            }
        }
        Ok(keys)
    }

    /// The second pass, over neighbouring stretches.
    async fn rewrite(
        &self,
        part: i32,
        group: Vec<Stretch>,
        mut filter: Filter,
        output: &Output,
        throttle: &mut Throttle,
    ) -> Result<(Filter, Replacement), Failure> {
        let end_offset = group.last().map_or(0, |stretch| stretch.end_offset);
        let mut joiner = Joiner::new(part);
        for stretch in &group {
            let mut reader = self.store.read_stretch(part, *stretch);
            loop {
                let runs = reader.next(ROWS_MAX).await?;
                if runs.is_empty() {
                    break;
                }
                throttle
                    .spend(runs.iter().map(|run| run.data.len()).sum())
                    .await;
                (filter, joiner) =
                    aside(move || filter_runs(filter, joiner, &runs, end_offset)).await?;
                output.segment.add(&joiner.take_full()).await?;
            }
        }
        output.segment.add(&joiner.take_all()).await?;
        let replacement = Replacement {
            part,
            first_offset: joiner.first_offset.unwrap_or(end_offset - 1),
            bytes: joiner.bytes,
            stretches: group,
            cleaned_to: None,
            gone_markers: Vec::new(),
        };
        Ok((filter, replacement))
    }

    /// What is known of producers that are not forgotten is to stay in the log.
    async fn keep_producers(
        &self,
        partition: &Arc<Partition>,
        mut filter: Filter,
    ) -> Result<Filter, Failure> {
        let oldest_ms = super::now_ms() - self.producer_id_expiration_ms;
        partition.load().await?;
        let appender = partition.appender();
        if let Some(producers) = appender.producers.as_ref() {
            filter.last_of_producers = producers.last_batches(oldest_ms);
            filter.epochs_of_markers = producers.epochs_of_markers(oldest_ms);
        }
        Ok(filter)
    }
}

/// Runs what takes a while where it holds nobody up.
async fn aside<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, CleanError> + Send + 'static,
) -> Result<T, Failure> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => Ok(result?),
        Err(failed) => match failed.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The runtime ends, and with it whoever waits here.
            Err(_) => std::future::pending().await,
        },
    }
}

/// Neighbouring stretches that are written into one segment.
fn groups(stretches: impl Iterator<Item = Stretch>) -> Vec<Vec<Stretch>> {
    let mut groups: Vec<Vec<Stretch>> = Vec::new();
    let mut bytes = 0;
    for stretch in stretches {
        bytes += stretch.bytes;
        match groups.last_mut() {
            Some(group) if bytes <= SEGMENT_BYTES => group.push(stretch),
            _ => {
                bytes = stretch.bytes;
                groups.push(vec![stretch]);
            }
        }
    }
    groups
}

/// The segment that is being written, and what it will replace.
#[derive(Debug)]
struct Output {
    segment: CleanSegment,
    bytes: i64,
    replacements: Vec<Replacement>,
    /// Theirs, in the same order.
    partitions: Vec<Arc<Partition>>,
}

impl Output {
    fn of(segment: CleanSegment) -> Self {
        Self {
            segment,
            bytes: 0,
            replacements: Vec::new(),
            partitions: Vec::new(),
        }
    }

    async fn finish(self) -> Result<(), Failure> {
        if self.replacements.is_empty() {
            return Ok(());
        }
        // Before their markers: nothing of these transactions is left, so who reads without knowing of them misses nothing.
        for (partition, replacement) in self.partitions.iter().zip(&self.replacements) {
            partition.forget_aborted(&replacement.gone_markers);
        }
        self.segment.finish(&self.replacements).await?;
        for (partition, replacement) in self.partitions.iter().zip(&self.replacements) {
            partition.forget_tail(replacement.end_offset());
        }
        Ok(())
    }
}

/// Spreads work over time.
#[derive(Debug)]
struct Throttle {
    bytes_per_second: f64,
    since: Instant,
    spent: f64,
}

impl Throttle {
    fn new(bytes_per_second: f64) -> Self {
        Self {
            bytes_per_second,
            since: Instant::now(),
            spent: 0.0,
        }
    }

    async fn spend(&mut self, bytes: usize) {
        self.spent += bytes as f64;
        let due = self.spent / self.bytes_per_second.max(1.0);
        if let Ok(due) = Duration::try_from_secs_f64(due) {
            tokio::time::sleep_until(self.since + due).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_of_the_future_are_compacted_unless_an_age_is_asked_for() {
        let now_ms = 1_000;
        for (newest_ms, lag_ms, expected) in [
            (5_000, 0, true),
            (5_000, 1, false),
            (1_000, 1, false),
            (999, 1, true),
            (-1, i64::MAX, false),
        ] {
            assert_eq!(
                is_old_enough(newest_ms, lag_ms, now_ms),
                expected,
                "{newest_ms} with a lag of {lag_ms}"
            );
        }
    }

    #[test]
    fn groups_are_neighbours_of_a_limited_size() {
        let stretch = |index: i32, bytes| Stretch {
            segment_id: index,
            first_offset: i64::from(index),
            end_offset: i64::from(index) + 1,
            bytes,
        };
        let sizes = [10, SEGMENT_BYTES, 5, 6, SEGMENT_BYTES - 10, 1];
        let stretches = (0..).zip(sizes).map(|(index, bytes)| stretch(index, bytes));
        let groups = groups(stretches);
        let sizes: Vec<usize> = groups.iter().map(Vec::len).collect();
        assert_eq!(sizes, [1, 1, 2, 2]);
    }
}
