//! What can be wrong with the bytes of a record batch, and where.
//!
//! Not here: errors of building a batch from values ([`super::BuildError`]).

use crate::compression::CompressionError;

/// A batch or record that does not follow the format.
///
/// `at` counts from the start of the bytes that were given; inside a compressed batch it counts from the start of the
/// decompressed records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{kind} at byte {at}")]
pub struct RecordError {
    /// The rule that was broken.
    pub kind: RecordErrorKind,
    /// Byte offset of the part that broke it.
    pub at: usize,
}

impl RecordError {
    pub(crate) const fn new(kind: RecordErrorKind, at: usize) -> Self {
        Self { kind, at }
    }

    /// True where Kafka answers CORRUPT_MESSAGE: the bytes are damaged. Everything else is INVALID_RECORD, except
    /// [`RecordErrorKind::BatchTooLarge`] (MESSAGE_TOO_LARGE) and [`RecordErrorKind::UnsupportedMagic`]
    /// (UNSUPPORTED_FOR_MESSAGE_FORMAT).
    pub const fn is_corruption(&self) -> bool {
        matches!(
            self.kind,
            RecordErrorKind::CutOff
                | RecordErrorKind::BatchLength(_)
                | RecordErrorKind::Crc { .. }
                | RecordErrorKind::UnknownCompression(_)
                | RecordErrorKind::Compression(_)
        )
    }
}

/// The rule of the record format that was broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RecordErrorKind {
    /// The bytes end inside a batch.
    #[error("the last batch is cut off")]
    CutOff,
    /// There is no batch at all.
    #[error("no record batch")]
    NoBatch,
    /// Bytes follow the one batch that is allowed.
    #[error("more than one record batch")]
    MoreThanOneBatch,
    /// The length field is negative or smaller than a batch header.
    #[error("batch length {0} is smaller than its header")]
    BatchLength(i32),
    /// The batch has more bytes than allowed.
    #[error("batch of {bytes} bytes is larger than the limit")]
    BatchTooLarge {
        /// Size of the batch with its header.
        bytes: usize,
    },
    /// Not record format 2.
    #[error("record format {0} is not supported")]
    UnsupportedMagic(i8),
    /// The checksum does not match the bytes.
    #[error("checksum is {computed:#010x} and not {stored:#010x}")]
    Crc {
        /// As in the batch header.
        stored: u32,
        /// CRC-32C of the bytes from the attributes to the end.
        computed: u32,
    },
    /// The attributes name a codec that does not exist.
    #[error("compression type {0} does not exist")]
    UnknownCompression(u8),
    /// The records could not be decompressed.
    #[error(transparent)]
    Compression(#[from] CompressionError),
    /// The bytes end inside a record.
    #[error("record is cut off")]
    RecordCutOff,
    /// A variable-length integer has too many bytes or bits.
    #[error("variable-length integer is too long")]
    Varint,
    /// The length of a record is not the length of its fields.
    #[error("record length does not match its fields")]
    RecordLength,
    /// A length below -1, or -1 where null is not allowed.
    #[error("negative length {0}")]
    NegativeLength(i32),
    /// A header count that is negative or larger than the record can hold.
    #[error("header count {0} does not fit the record")]
    HeaderCount(i32),
    /// A header key that is not UTF-8.
    #[error("header key is not UTF-8")]
    HeaderKeyNotUtf8,
    /// A record count that is negative, or zero or different from the offsets where that is not allowed.
    #[error("record count {0} does not match the batch")]
    RecordCount(i32),
    /// Fewer records than the header says.
    #[error("fewer records than the {0} of the header")]
    RecordsMissing(i32),
    /// Bytes after the last record.
    #[error("bytes after the last record")]
    TrailingBytes,
    /// The offset delta of a record is negative, out of order, or not the next one where there may be no gap.
    #[error("offset delta {0} is out of order")]
    OffsetDelta(i32),
    /// The base offset is negative or, in Produce, not zero.
    #[error("base offset {0} is not allowed")]
    BaseOffset(i64),
    /// The base offset plus the last offset delta leaves the range of 64 bits.
    #[error("offsets leave the range of 64 bits")]
    Overflow,
    /// A client sent a control batch.
    #[error("clients may not write control batches")]
    ControlBatch,
    /// A control record whose key or value is not one.
    #[error("malformed control record")]
    ControlRecord,
    /// Producer id, epoch and sequence do not go together.
    #[error("producer id, epoch and sequence do not go together")]
    ProducerState,
    /// A client set the delete horizon, which belongs to the log cleaner.
    #[error("clients may not set a delete horizon")]
    DeleteHorizon,
}
