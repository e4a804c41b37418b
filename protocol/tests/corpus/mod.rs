//! Byte samples written by Kafka itself, and the words in which they and our reading of them are described.
#![allow(dead_code, reason = "each test binary uses a part")]

use std::fmt::Write;

use protocol::records::{Batches, Record, RecordBatch, TimestampType};

const JAVA: &str = include_str!("java_record_batches.txt");

pub(crate) struct Sample {
    pub(crate) name: String,
    pub(crate) bytes: Vec<u8>,
    /// What Kafka's reader says, line by line.
    pub(crate) reading: Vec<String>,
}

pub(crate) fn samples() -> Vec<Sample> {
    let mut samples: Vec<Sample> = Vec::new();
    for line in JAVA
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
    {
        let (word, rest) = line.split_once(' ').unwrap();
        if word == "sample" {
            samples.push(Sample {
                name: rest.to_owned(),
                bytes: Vec::new(),
                reading: Vec::new(),
            });
            continue;
        }
        let sample = samples.last_mut().unwrap();
        match word {
            "bytes" => sample.bytes.extend(unhex(rest)),
            _ => sample.reading.push(line.to_owned()),
        }
    }
    assert!(samples.len() > 15);
    samples
}

fn unhex(text: &str) -> Vec<u8> {
    let digit = |byte: u8| u8::try_from(char::from(byte).to_digit(16).unwrap()).unwrap();
    text.as_bytes()
        .chunks(2)
        .map(|pair| digit(pair[0]) << 4 | digit(pair[1]))
        .collect()
}

/// Our reading of some batches, in the words of the samples.
pub(crate) fn describe(bytes: &[u8]) -> Vec<String> {
    let mut lines = Vec::new();
    for batch in Batches::strict(bytes) {
        let batch = batch.unwrap();
        batch.verify_crc().unwrap();
        lines.push(describe_batch(&batch));
        let records = batch.records(1 << 20).unwrap();
        lines.extend(
            records
                .iter()
                .map(|record| describe_record(&record.unwrap())),
        );
    }
    lines
}

fn describe_batch(batch: &RecordBatch<'_>) -> String {
    let timestamp_type = match batch.timestamp_type() {
        TimestampType::CreateTime => "CreateTime",
        TimestampType::LogAppendTime => "LogAppendTime",
    };
    let horizon = batch
        .delete_horizon_ms()
        .map_or("none".to_owned(), |ms| ms.to_string());
    format!(
        "batch base_offset={} last_offset={} leader_epoch={} codec={} timestamp_type={timestamp_type} \
         base_timestamp={} max_timestamp={} producer={}/{}/{}/{} transactional={} control={} \
         delete_horizon={horizon} count={} crc={:08x} size={}",
        batch.base_offset,
        batch.last_offset(),
        batch.partition_leader_epoch,
        batch.compression().name(),
        batch.base_timestamp,
        batch.max_timestamp,
        batch.producer_id,
        batch.producer_epoch,
        batch.base_sequence,
        batch.last_sequence(),
        batch.is_transactional(),
        batch.is_control(),
        batch.record_count,
        batch.crc,
        batch.size_bytes(),
    )
}

fn describe_record(record: &Record<'_>) -> String {
    let headers: Vec<_> = record
        .headers()
        .map(Result::unwrap)
        .map(|header| format!("{}:{}", hex(Some(header.key.as_bytes())), hex(header.value)))
        .collect();
    format!(
        "record offset={} timestamp={} key={} value={} headers=[{}]",
        record.offset,
        record.timestamp,
        hex(record.key),
        hex(record.value),
        headers.join(","),
    )
}

fn hex(field: Option<&[u8]>) -> String {
    let Some(field) = field else {
        return "null".to_owned();
    };
    if field.len() > 40 {
        return format!("{}#{:08x}", field.len(), crc32c::crc32c(field));
    }
    field.iter().fold("x".to_owned(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}
