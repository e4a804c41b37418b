//! The passes of the cleaner over runs of a log: keys are noted, batches are kept or not, and what is kept becomes runs again.

use bytes::Bytes;
use protocol::records::Batches;
use storage::{PlacedRun, Run};

use super::compact::{CleanError, Filter, Kept, KeyMap};

/// Runs are joined up to this size.
const RUN_BYTES: usize = 1 << 20;

/// Notes the keys of runs; false when there is no more room.
pub(super) fn add_runs(
    mut keys: KeyMap,
    runs: &[PlacedRun],
    cap_bytes: usize,
) -> Result<(KeyMap, bool), CleanError> {
    for batch in runs.iter().flat_map(|run| Batches::strict(&run.data)) {
        let batch = batch?;
        if batch.last_offset() >= keys.end_offset() && !keys.add(&batch, cap_bytes)? {
            return Ok((keys, false));
        }
    }
    Ok((keys, true))
}

/// Cleans runs; `end_offset` is where the last batch of all ends.
pub(super) fn filter_runs(
    mut filter: Filter,
    mut joiner: Joiner,
    runs: &[PlacedRun],
    end_offset: i64,
) -> Result<(Filter, Joiner), CleanError> {
    for run in runs {
        let global_minus_local = run.global_base - run.base_offset;
        let mut at = 0;
        for batch in Batches::strict(&run.data) {
            let batch = batch?;
            let is_end = batch.last_offset() + 1 >= end_offset;
            let whole = at..at + batch.size_bytes();
            at = whole.end;
            let bytes = match filter.filter(&batch, is_end)? {
                Kept::Whole => run.data.slice(whole),
                Kept::Changed(bytes) => bytes,
                Kept::Nothing => continue,
            };
            let offsets = (batch.base_offset, batch.last_offset());
            joiner.add(bytes, offsets, global_minus_local);
        }
    }
    Ok((filter, joiner))
}

/// Makes runs of batches. Neighbours come into one as long as their global offsets follow each other as their offsets do.
#[derive(Debug)]
pub(super) struct Joiner {
    part: i32,
    full: Vec<(Run, i64)>,
    open: Option<OpenRun>,
    /// Of all that was added.
    pub(super) first_offset: Option<i64>,
    /// Of all that was added.
    pub(super) bytes: i64,
}

#[derive(Debug)]
struct OpenRun {
    base_offset: i64,
    last_offset: i64,
    global_minus_local: i64,
    data: Vec<Bytes>,
    size_bytes: usize,
}

impl Joiner {
    pub(super) fn new(part: i32) -> Self {
        Self {
            part,
            full: Vec::new(),
            open: None,
            first_offset: None,
            bytes: 0,
        }
    }

    fn add(
        &mut self,
        bytes: Bytes,
        (base_offset, last_offset): (i64, i64),
        global_minus_local: i64,
    ) {
        self.first_offset.get_or_insert(base_offset);
        self.bytes += bytes.len() as i64;
        let fits = self.open.as_ref().is_some_and(|open| {
            open.global_minus_local == global_minus_local
                && open.size_bytes + bytes.len() <= RUN_BYTES
                && last_offset - open.base_offset <= i64::from(i32::MAX)
        });
        if !fits {
            self.end_run();
        }
        let open = self.open.get_or_insert_with(|| OpenRun {
            base_offset,
            last_offset,
            global_minus_local,
            data: Vec::new(),
            size_bytes: 0,
        });
        open.last_offset = last_offset;
        open.size_bytes += bytes.len();
        open.data.push(bytes);
    }

    fn end_run(&mut self) {
        let Some(open) = self.open.take() else { return };
        let run = Run {
            part: self.part,
            base_offset: open.base_offset,
            span: i32::try_from(open.last_offset - open.base_offset).unwrap_or(i32::MAX),
            data: open.data,
        };
        let global_base = open.base_offset + open.global_minus_local;
        self.full.push((run, global_base));
    }

    /// The runs that are complete.
    pub(super) fn take_full(&mut self) -> Vec<(Run, i64)> {
        std::mem::take(&mut self.full)
    }

    /// All runs: nothing more comes.
    pub(super) fn take_all(&mut self) -> Vec<(Run, i64)> {
        self.end_run();
        self.take_full()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn joined(batches: &[(i64, i64, usize, i64)]) -> Vec<(i64, i32, usize, i64)> {
        let mut joiner = Joiner::new(1);
        for (base, last, size, global_minus_local) in batches {
            joiner.add(vec![0; *size].into(), (*base, *last), *global_minus_local);
        }
        let runs = joiner.take_all();
        let size = |run: &Run| run.data.iter().map(Bytes::len).sum();
        runs.iter()
            .map(|(run, global)| (run.base_offset, run.span, size(run), *global))
            .collect()
    }

    #[test]
    fn runs_are_joined_where_global_offsets_allow() {
        assert_eq!(
            joined(&[(5, 6, 10, 100), (20, 29, 10, 100), (30, 30, 10, 101)]),
            [(5, 24, 20, 105), (30, 0, 10, 131)]
        );
        let large = RUN_BYTES - 5;
        assert_eq!(
            joined(&[(0, 0, large, 0), (1, 1, 6, 0), (2, 2, large, 0)]).len(),
            3
        );
    }
}
