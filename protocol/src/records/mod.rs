//! Record batches of format 2, the only one this broker stores: views over borrowed bytes, a builder, checks for Produce.
//!
//! A `records` field on the wire, a run in the database and a Fetch answer are all the same thing: whole batches one
//! after another. Nothing here copies them: [`Batches`] walks the batches, [`RecordBatch`] is a view on one of them,
//! [`BatchRecords`] its records (decompressed if need be) and [`Record`] one record with borrowed key, value and headers.
//!
//! Not here: message formats 0 and 1 (refused by their magic), the codecs themselves ([`crate::compression`]), and
//! anything that needs to know what a partition already holds (offset assignment, sequence checks).

mod batch;
mod builder;
mod control;
mod error;
mod patch;
mod recompress;
mod record;
mod validate;
mod varint;

pub use batch::{Attributes, Batches, RecordBatch, TimestampType, increment_sequence};
pub use builder::{BuildError, RecordBatchBuilder};
pub use control::{ControlRecord, EndTxnMarker, TransactionResult};
pub use error::{RecordError, RecordErrorKind};
pub use patch::{
    patch_base_offset, patch_leader_epoch, patch_log_append_time, patch_max_timestamp,
};
pub use recompress::recompress;
pub use record::{BatchRecords, Header, Headers, Record, RecordIter};
pub use validate::{ValidateOptions, Validated, validate};

/// Bytes before the part of a batch that its length field counts: base offset and the length itself.
pub const LOG_OVERHEAD: usize = 12;

/// Bytes of a batch before its first record.
pub const HEADER_BYTES: usize = 61;

/// The record format this module reads and writes.
pub const MAGIC: i8 = 2;

/// `producer_id` of a batch from a producer that is not idempotent.
pub const NO_PRODUCER_ID: i64 = -1;

/// `producer_epoch` of a batch from a producer that is not idempotent.
pub const NO_PRODUCER_EPOCH: i16 = -1;

/// `base_sequence` of a batch from a producer that is not idempotent, and of control batches.
pub const NO_SEQUENCE: i32 = -1;

/// `partition_leader_epoch` of a batch that no leader has taken yet.
pub const NO_LEADER_EPOCH: i32 = -1;

/// Timestamp of a record or batch without one, in milliseconds.
pub const NO_TIMESTAMP: i64 = -1;
