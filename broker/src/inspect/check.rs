//! `pg_kafka check`: reads everything that is stored and says what is wrong with it. Batches must be whole and their checksums
//! right, offsets must follow each other, and sealed segments must hold what the catalogue says.

use std::io::{self, Write};

use protocol::records::{Batches, RecordBatch};
use storage::{PartitionRow, RunBytes, SegmentPart, SegmentState, Store, Topic};

use super::InspectError;

/// How much of a partition is read at once.
const READ_BYTES: usize = 4 << 20;
/// The largest that a batch may become when it is decompressed.
const DECOMPRESSED_BYTES_MAX: usize = 1 << 30;

/// What has been read so far, and what was found to be wrong.
#[derive(Debug, Default)]
struct Findings {
    batches: u64,
    records: u64,
    bytes: u64,
    problems: Vec<String>,
}

/// Prints what is wrong, and a summary. Whether nothing is.
pub(super) async fn print(
    store: &Store,
    out: &mut (dyn Write + Send),
    mut progress: Option<&mut (dyn Write + Send)>,
) -> Result<bool, InspectError> {
    let topics = store.load_topics().await?;
    let total: usize = topics.iter().map(|topic| topic.partitions.len()).sum();
    let mut found = Findings::default();
    let mut done = 0;
    for topic in &topics {
        for partition in &topic.partitions {
            check_partition(store, topic, partition, &mut found).await?;
            done += 1;
            show(&mut progress, done, total)?;
        }
    }
    let segments = check_segments(store, &mut found).await?;
    if let Some(progress) = progress {
        writeln!(progress)?;
    }
    for problem in &found.problems {
        writeln!(out, "{problem}")?;
    }
    writeln!(
        out,
        "{} topics, {total} partitions, {segments} sealed segments, {} batches, {} records, {} bytes: {}",
        topics.len(),
        found.batches,
        found.records,
        found.bytes,
        match found.problems.len() {
            0 => "nothing is wrong".to_owned(),
            count => format!("{count} problems"),
        }
    )?;
    Ok(found.problems.is_empty())
}

fn show(
    progress: &mut Option<&mut (dyn Write + Send)>,
    done: usize,
    total: usize,
) -> io::Result<()> {
    const WIDTH: usize = 40;
    let Some(progress) = progress else {
        return Ok(());
    };
    let filled = WIDTH * done / total.max(1);
    let (full, empty) = ("#".repeat(filled), " ".repeat(WIDTH - filled));
    write!(progress, "\r[{full}{empty}] {done} of {total} partitions")?;
    progress.flush()
}

async fn check_partition(
    store: &Store,
    topic: &Topic,
    partition: &PartitionRow,
    found: &mut Findings,
) -> Result<(), InspectError> {
    let name = format!("{}-{}", topic.name, partition.index);
    let compact = ("cleanup.policy", "compact");
    let may_have_gaps = topic
        .settings
        .iter()
        .any(|(name, value)| name == compact.0 && value.contains(compact.1));
    let mut next = partition.log_start_offset;
    let mut is_first = true;
    loop {
        let runs = match store.read(partition.id, next, READ_BYTES).await {
            Ok(runs) => runs,
            // What cannot be put together again is a finding; a database that is away is not.
            Err(error) if !error.is_retriable() => {
                let problem = format!("{name} from offset {next}: {error}");
                found.problems.push(problem);
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        };
        if runs.is_empty() {
            return Ok(());
        }
        for run in runs {
            // The first run may begin before the start of the log, which is no gap.
            let expected = (!is_first && !may_have_gaps).then_some(next);
            let end = check_run(&name, &run, expected, found);
            is_first = false;
            next = end.max(run.last_offset + 1).max(next + 1);
        }
    }
}

/// The offset behind the run's last record.
fn check_run(name: &str, run: &RunBytes, expected: Option<i64>, found: &mut Findings) -> i64 {
    let mut next = expected.unwrap_or(run.base_offset);
    if next != run.base_offset {
        let base = run.base_offset;
        found
            .problems
            .push(format!("{name}: offsets {next} to {base} are missing"));
        next = base;
    }
    for batch in Batches::new(&run.data) {
        let batch = match batch {
            Ok(batch) => batch,
            Err(error) => {
                found
                    .problems
                    .push(format!("{name} at offset {next}: {error}"));
                return run.last_offset + 1;
            }
        };
        if let Err(reason) = check_batch(&batch, next) {
            let at = batch.base_offset;
            found
                .problems
                .push(format!("{name} at offset {at}: {reason}"));
        }
        next = batch.last_offset() + 1;
        found.batches += 1;
        found.records += u64::try_from(batch.record_count).unwrap_or(0);
        found.bytes += batch.bytes().len() as u64;
    }
    if next != run.last_offset + 1 {
        let last = run.last_offset;
        found.problems.push(format!(
            "{name}: the run up to offset {last} ends at {next}"
        ));
    }
    next
}

fn check_batch(batch: &RecordBatch<'_>, expected: i64) -> Result<(), String> {
    batch.verify_crc().map_err(|error| error.to_string())?;
    if batch.base_offset < expected {
        return Err(format!("it overlaps what ends at {expected}"));
    }
    let records = batch.records(DECOMPRESSED_BYTES_MAX);
    let records = records.map_err(|error| error.to_string())?;
    let mut count = 0;
    for record in &records {
        let record = record.map_err(|error| error.to_string())?;
        if record.offset < batch.base_offset || record.offset > batch.last_offset() {
            return Err(format!("a record has offset {}", record.offset));
        }
        count += 1;
    }
    if count != batch.record_count {
        return Err(format!("{count} records instead of {}", batch.record_count));
    }
    Ok(())
}

/// How many sealed segments there are.
async fn check_segments(store: &Store, found: &mut Findings) -> Result<usize, InspectError> {
    let mut count = 0;
    for segment in store.segment_states().await? {
        count += usize::from(segment.is_sealed && segment.table_bytes.is_some());
        let mut problems = contradictions(store, &segment).await?;
        if !problems.is_empty() {
            // What was in it may have been moved, or all of it dropped, between two looks; not so the second time.
            let now = store.segment_states().await?;
            let now = now.iter().find(|now| now.segment_id == segment.segment_id);
            problems = match now {
                Some(now) => contradictions(store, now).await?,
                None => Vec::new(),
            };
        }
        found.problems.extend(problems);
    }
    Ok(count)
}

/// Where a segment is not what the catalogue says of it.
async fn contradictions(
    store: &Store,
    segment: &SegmentState,
) -> Result<Vec<String>, InspectError> {
    let id = segment.segment_id;
    if segment.table_bytes.is_none() {
        return Ok(vec![format!(
            "segment {id}: table kafka.log_{id} is missing"
        )]);
    }
    if !segment.is_sealed {
        return Ok(Vec::new());
    }
    let noted = store.noted_contents(id).await?;
    let real = match store.real_contents(id).await {
        Ok(real) => real,
        // Dropped since, as it should be when nothing in it is to be read any more.
        Err(storage::Error::NotFound(_)) => return Ok(Vec::new()),
        Err(error) => return Err(error.into()),
    };
    let missing = noted
        .iter()
        .filter(|part| !real.iter().any(|real| is_noted_as(part, real)));
    let missing =
        missing.map(|part| format!("segment {id}: the catalogue has {part:?}, the table has not"));
    let unknown = real
        .iter()
        .filter(|part| !segment.is_moved && !noted.iter().any(|noted| is_noted_as(noted, part)));
    let unknown =
        unknown.map(|part| format!("segment {id}: the table has {part:?}, the catalogue has not"));
    Ok(missing.chain(unknown).collect())
}

/// The bytes are noted some time after the offsets.
fn is_noted_as(noted: &SegmentPart, real: &SegmentPart) -> bool {
    *noted == *real || *noted == SegmentPart { bytes: 0, ..*real }
}
