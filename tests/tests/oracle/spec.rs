//! A record batch as values: built by us, asked of Kafka, taken from bytes.

use protocol::compression::Compression;
use protocol::records::{
    BuildError, RecordBatch, RecordBatchBuilder, TimestampType, patch_max_timestamp,
};
use serde_json::{Value, json};

use crate::hex::hex;

const CAP_BYTES: usize = 1 << 20;

/// What a batch is made from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BatchSpec {
    pub(crate) base_offset: i64,
    /// The last offset, if records behind the last one are gone.
    pub(crate) last_offset: Option<i64>,
    pub(crate) leader_epoch: i32,
    pub(crate) codec: Compression,
    pub(crate) level: Option<i32>,
    pub(crate) log_append_time: Option<i64>,
    pub(crate) delete_horizon: Option<i64>,
    pub(crate) producer_id: i64,
    pub(crate) producer_epoch: i16,
    pub(crate) base_sequence: i32,
    pub(crate) transactional: bool,
    pub(crate) control: bool,
    pub(crate) records: Vec<RecordSpec>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RecordSpec {
    pub(crate) offset: i64,
    pub(crate) timestamp: i64,
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) value: Option<Vec<u8>>,
    pub(crate) headers: Vec<(String, Option<Vec<u8>>)>,
}

impl BatchSpec {
    /// A plain batch with these records.
    pub(crate) fn new(base_offset: i64, records: Vec<RecordSpec>) -> Self {
        Self {
            base_offset,
            last_offset: None,
            leader_epoch: -1,
            codec: Compression::None,
            level: None,
            log_append_time: None,
            delete_horizon: None,
            producer_id: -1,
            producer_epoch: -1,
            base_sequence: -1,
            transactional: false,
            control: false,
            records,
        }
    }

    /// What a batch without compression that has records was made from.
    pub(crate) fn of(batch: &RecordBatch<'_>) -> Self {
        let append_time = batch.timestamp_type() == TimestampType::LogAppendTime;
        // The records' own timestamps, which log append time hides.
        let mut bytes = batch.bytes().to_vec();
        patch_max_timestamp(&mut bytes, batch.max_timestamp).unwrap();
        let (create_time, _) = RecordBatch::split_from(&bytes).unwrap();
        let records = create_time.records(CAP_BYTES).unwrap();
        let records = records.iter().map(|record| {
            let record = record.unwrap();
            let headers = record.headers().map(|header| {
                let header = header.unwrap();
                (header.key.to_owned(), header.value.map(<[u8]>::to_vec))
            });
            RecordSpec {
                offset: record.offset,
                timestamp: record.timestamp,
                key: record.key.map(<[u8]>::to_vec),
                value: record.value.map(<[u8]>::to_vec),
                headers: headers.collect(),
            }
        });
        Self {
            last_offset: Some(batch.last_offset()),
            leader_epoch: batch.partition_leader_epoch,
            log_append_time: append_time.then_some(batch.max_timestamp),
            delete_horizon: batch.delete_horizon_ms(),
            producer_id: batch.producer_id,
            producer_epoch: batch.producer_epoch,
            base_sequence: batch.base_sequence,
            transactional: batch.is_transactional(),
            control: batch.is_control(),
            ..Self::new(batch.base_offset, records.collect())
        }
    }

    /// The batch, built by us.
    pub(crate) fn build(&self) -> Result<Vec<u8>, BuildError> {
        let mut builder = self.builder();
        for record in &self.records {
            let headers = record.headers.iter();
            let headers: Vec<_> = headers
                .map(|(key, value)| (key.as_str(), value.as_deref()))
                .collect();
            let (key, value) = (record.key.as_deref(), record.value.as_deref());
            builder.append_at(record.offset, record.timestamp, key, value, &headers)?;
        }
        match self.last_offset {
            None => builder.build(),
            Some(last_offset) => builder.build_until(last_offset),
        }
    }

    /// The batch without its records, as the cleaner keeps it, built by us.
    pub(crate) fn build_empty(&self, last_offset: i64, max_timestamp: i64) -> Vec<u8> {
        let empty = self.builder().build_empty(last_offset, max_timestamp);
        empty.unwrap()
    }

    fn builder(&self) -> RecordBatchBuilder {
        let mut builder = RecordBatchBuilder::new(self.base_offset);
        builder
            .leader_epoch(self.leader_epoch)
            .compression(self.codec, self.level)
            .producer(self.producer_id, self.producer_epoch, self.base_sequence);
        if let Some(now_ms) = self.log_append_time {
            builder.log_append_time(now_ms);
        }
        if let Some(horizon_ms) = self.delete_horizon {
            builder.delete_horizon_ms(horizon_ms);
        }
        if self.transactional {
            builder.transactional();
        }
        if self.control {
            builder.control();
        }
        builder
    }

    /// The question for the batch, built by Kafka.
    pub(crate) fn question(&self) -> String {
        let bytes = |field: &Option<Vec<u8>>| field.as_deref().map(hex);
        let records = self.records.iter().map(|record| {
            let headers = record.headers.iter();
            let headers: Vec<_> = headers
                .map(|(key, value)| json!([hex(key.as_bytes()), bytes(value)]))
                .collect();
            json!({
                "offset": record.offset,
                "timestamp": record.timestamp,
                "key": bytes(&record.key),
                "value": bytes(&record.value),
                "headers": headers,
            })
        });
        let batch = json!({
            "baseOffset": self.base_offset,
            "lastOffset": self.last_offset,
            "leaderEpoch": self.leader_epoch,
            "codec": self.codec.name(),
            "level": self.level,
            "logAppendTime": self.log_append_time,
            "deleteHorizon": self.delete_horizon,
            "producerId": self.producer_id,
            "producerEpoch": self.producer_epoch,
            "baseSequence": self.base_sequence,
            "transactional": self.transactional,
            "control": self.control,
            "records": records.collect::<Value>(),
        });
        format!("build {batch}")
    }
}

/// A pass of the log cleaner over batches.
#[derive(Debug, Clone)]
pub(crate) struct Cleaning {
    pub(crate) batches: Vec<u8>,
    /// Offsets of the records that stay.
    pub(crate) keep: Vec<i64>,
    /// `RETAIN_EMPTY` keeps a batch that has lost all its records, `DELETE_EMPTY` does not.
    pub(crate) retention: &'static str,
    pub(crate) now_ms: i64,
    pub(crate) delete_retention_ms: i64,
}

impl Cleaning {
    /// The question for the batches, cleaned by Kafka.
    pub(crate) fn question(&self) -> String {
        let cleaning = json!({
            "batches": hex(&self.batches),
            "keep": self.keep,
            "retention": self.retention,
            "now": self.now_ms,
            "deleteRetention": self.delete_retention_ms,
        });
        format!("clean {cleaning}")
    }
}
