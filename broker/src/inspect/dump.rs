//! `pg_kafka dump`: the records of a partition, as text or as JSON, one a line. Unlike SQL it reads compressed ones too.

use std::fmt::Write as _;
use std::io::Write;

use protocol::compression::Compression;
use protocol::records::{Batches, Record, RecordBatch};
use serde_json::{Value, json};
use storage::Store;

use super::{Dump, InspectError};

/// How much is read at once.
const READ_BYTES: usize = 1 << 20;
/// The largest that a batch may become when it is decompressed.
const DECOMPRESSED_BYTES_MAX: usize = 1 << 30;

pub(super) async fn print(
    store: &Store,
    dump: &Dump,
    out: &mut (dyn Write + Send),
) -> Result<(), InspectError> {
    let topics = store.load_topics().await?;
    let topic = topics.iter().find(|topic| topic.name == dump.topic);
    let partition = topic.and_then(|topic| {
        let mut partitions = topic.partitions.iter();
        partitions.find(|partition| partition.index == dump.partition)
    });
    let Some(partition) = partition else {
        return Err(InspectError::NoPartition(
            dump.topic.clone(),
            dump.partition,
        ));
    };
    let mut next = dump.from_offset.max(partition.log_start_offset);
    let mut left = dump.records_max;
    while left > 0 {
        let runs = store.read(partition.id, next, READ_BYTES).await?;
        let Some(last) = runs.last() else { break };
        let end = last.last_offset + 1;
        for run in &runs {
            for batch in Batches::new(&run.data) {
                let batch = batch.map_err(|error| damaged(run.base_offset, &error))?;
                left -= print_batch(&batch, next, left, dump.is_json, out)?;
            }
        }
        next = end;
    }
    out.flush()?;
    Ok(())
}

fn damaged(offset: i64, error: &dyn std::error::Error) -> InspectError {
    InspectError::Damaged {
        offset,
        reason: error.to_string(),
    }
}

/// How many records were printed.
fn print_batch(
    batch: &RecordBatch<'_>,
    from_offset: i64,
    most: u64,
    is_json: bool,
    out: &mut (dyn Write + Send),
) -> Result<u64, InspectError> {
    let at = batch.base_offset;
    let records = batch.records(DECOMPRESSED_BYTES_MAX);
    let records = records.map_err(|error| damaged(at, &error))?;
    let mut printed = 0;
    for record in &records {
        if printed == most {
            break;
        }
        let record = record.map_err(|error| damaged(at, &error))?;
        if record.offset < from_offset {
            continue;
        }
        let line = match is_json {
            true => as_json(batch, &record).map_err(|error| damaged(at, &*error))?,
            false => as_text(&record).map_err(|error| damaged(at, &*error))?,
        };
        writeln!(out, "{line}")?;
        printed += 1;
    }
    Ok(printed)
}

type Printed = Result<String, Box<dyn std::error::Error>>;

/// Offset, time, key, value and headers with tabs between them. What is no text is shown with escapes; null is `\N`, as in
/// PostgreSQL's COPY.
fn as_text(record: &Record<'_>) -> Printed {
    let mut line = format!("{}\t{}", record.offset, record.timestamp);
    for bytes in [record.key, record.value] {
        line.push('\t');
        push_escaped(&mut line, bytes);
    }
    for header in record.headers() {
        let header = header?;
        let _ = write!(line, "\t{}=", header.key.escape_default());
        push_escaped(&mut line, header.value);
    }
    Ok(line)
}

fn push_escaped(line: &mut String, bytes: Option<&[u8]>) {
    let Some(bytes) = bytes else {
        line.push_str("\\N");
        return;
    };
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            match character {
                '\\' | '\t' | '\n' | '\r' => line.extend(character.escape_default()),
                character if character.is_control() => line.extend(character.escape_default()),
                character => line.push(character),
            }
        }
        for byte in chunk.invalid() {
            let _ = write!(line, "\\x{byte:02x}");
        }
    }
}

fn as_json(batch: &RecordBatch<'_>, record: &Record<'_>) -> Printed {
    let mut headers = Vec::new();
    for header in record.headers() {
        let header = header?;
        headers.push(json!({ "key": header.key, "value": json_of(header.value) }));
    }
    let codec = match batch.compression() {
        Compression::None => "none",
        codec => codec.name(),
    };
    let line = json!({
        "offset": record.offset,
        "timestamp_ms": record.timestamp,
        "key": json_of(record.key),
        "value": json_of(record.value),
        "headers": headers,
        "producer_id": batch.producer_id,
        "producer_epoch": batch.producer_epoch,
        "is_transactional": batch.is_transactional(),
        "is_control": batch.is_control(),
        "compression": codec,
    });
    Ok(line.to_string())
}

/// Text as it is; other bytes as `{"hex": …}`.
fn json_of(bytes: Option<&[u8]>) -> Value {
    match bytes.map(std::str::from_utf8) {
        None => Value::Null,
        Some(Ok(text)) => Value::from(text),
        Some(Err(_)) => {
            let hex = bytes.unwrap_or_default().iter();
            let hex: String = hex.map(|byte| format!("{byte:02x}")).collect();
            json!({ "hex": hex })
        }
    }
}
