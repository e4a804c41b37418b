//! How a partition's log grows, and where it gets the marks at which retention may cut it: Kafka cuts between segments, so
//! `segment.bytes` and `segment.ms` say how far apart the marks are. Pure state, no I/O and no clock.

use super::TopicSettings;

/// Marks are not closer in time than this, whatever `segment.ms` says.
const MARK_MS_MIN: i64 = 100;

/// The place of a mark, and all that lies before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mark {
    pub(crate) end_offset: i64,
    pub(crate) max_timestamp_ms: i64,
    pub(crate) bytes: u64,
}

/// What was appended so far, and since the last mark.
#[derive(Debug, Default)]
pub(crate) struct Growth {
    /// Bytes of all batches ever appended.
    pub(crate) bytes: u64,
    /// The same at the last mark.
    bytes_marked: u64,
    /// When the first batch after the last mark was appended.
    unmarked_since_ms: Option<i64>,
    /// Marks that are to be saved once what lies before them is committed.
    marks: Vec<Mark>,
    /// The last place where Kafka would have begun a new segment.
    boundary: Option<Mark>,
}

impl Growth {
    /// The log has `bytes`, and a mark where it had `bytes_marked`.
    pub(crate) fn of_log(bytes: u64, bytes_marked: u64, now_ms: i64) -> Self {
        Self {
            bytes,
            bytes_marked,
            unmarked_since_ms: (bytes > bytes_marked).then_some(now_ms),
            marks: Vec::new(),
            boundary: None,
        }
    }

    /// Where the segment that Kafka would append to begins, if it began since the log was opened.
    pub(crate) fn boundary(&self) -> Option<Mark> {
        self.boundary
    }

    /// A batch of `size_bytes` is about to be appended behind `end_offset`, before which the largest timestamp is
    /// `max_timestamp_ms`. Makes a mark there where Kafka would begin a new segment with it.
    pub(crate) fn add(
        &mut self,
        size_bytes: usize,
        (end_offset, max_timestamp_ms): (i64, i64),
        settings: &TopicSettings,
        now_ms: i64,
    ) {
        let size_bytes = size_bytes as u64;
        let unmarked = self.bytes - self.bytes_marked;
        let is_full = unmarked + size_bytes > settings.segment_bytes;
        let is_old = self.unmarked_since_ms.is_some_and(|since_ms| {
            now_ms.saturating_sub(since_ms) >= settings.longest_segment_ms().max(MARK_MS_MIN)
        });
        if unmarked > 0 && (is_full || is_old) {
            let mark = Mark {
                end_offset,
                max_timestamp_ms,
                bytes: self.bytes,
            };
            self.marks.push(mark);
            self.boundary = Some(mark);
            self.marked();
        }
        self.bytes += size_bytes;
        self.unmarked_since_ms.get_or_insert(now_ms);
    }

    /// There is a mark at the end.
    pub(crate) fn marked(&mut self) {
        self.bytes_marked = self.bytes;
        self.unmarked_since_ms = None;
    }

    /// The marks made since this was asked last.
    pub(crate) fn take_marks(&mut self) -> Vec<Mark> {
        std::mem::take(&mut self.marks)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(segment_bytes: u64, segment_ms: i64) -> TopicSettings {
        TopicSettings {
            segment_bytes,
            segment_ms,
            ..TopicSettings::default()
        }
    }

    #[test]
    fn a_batch_that_does_not_fit_begins_a_new_stretch() {
        let settings = settings(100, i64::MAX);
        let mut growth = Growth::of_log(1_000, 1_000, 0);
        for offset in 0..5 {
            growth.add(40, (offset, 10 * offset), &settings, 0);
        }
        let expected = [(2, 20, 1_080), (4, 40, 1_160)];
        let marks = growth.take_marks();
        assert_eq!(
            marks
                .iter()
                .map(|m| (m.end_offset, m.max_timestamp_ms, m.bytes))
                .collect::<Vec<_>>(),
            expected
        );
        assert_eq!(growth.take_marks(), []);
        // One that is larger than a stretch is one by itself.
        growth.add(500, (5, 50), &settings, 0);
        growth.add(1, (6, 60), &settings, 0);
        assert_eq!(growth.take_marks().len(), 2);
    }

    #[test]
    fn time_passes_from_the_first_batch_after_a_mark() {
        let settings = settings(u64::MAX, 1_000);
        let mut growth = Growth::of_log(0, 0, 0);
        growth.add(1, (0, -1), &settings, 5_000);
        growth.add(1, (1, 7), &settings, 5_999);
        assert_eq!(growth.take_marks(), []);
        growth.add(1, (2, 8), &settings, 6_000);
        assert_eq!(growth.take_marks().len(), 1);
        growth.add(1, (3, 9), &settings, 6_999);
        assert_eq!(growth.take_marks(), []);
        // A checkpoint is a mark too.
        growth.marked();
        growth.add(1, (4, 9), &settings, 7_100);
        assert_eq!(growth.take_marks(), []);
    }

    #[test]
    fn what_must_be_compacted_soon_ends_its_segment_soon() {
        let lazy = settings(u64::MAX, 1_000);
        let due = TopicSettings {
            compacted: true,
            max_compaction_lag_ms: 200,
            ..lazy
        };
        for (settings, expected) in [(lazy, None), (due, Some(1))] {
            let mut growth = Growth::of_log(0, 0, 0);
            growth.add(1, (0, -1), &settings, 5_000);
            growth.add(1, (1, 7), &settings, 5_200);
            let boundary = growth.boundary();
            assert_eq!(boundary.map(|mark| mark.end_offset), expected);
        }
    }
}
