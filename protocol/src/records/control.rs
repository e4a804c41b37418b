//! Control records: the COMMIT and ABORT markers that end a transaction in a partition.
//!
//! Not here: who writes markers and when. The control records of KRaft's own log are not known here either.

use super::error::{RecordError, RecordErrorKind};
use super::record::Record;

/// How a transaction ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TransactionResult {
    /// Its records are not to be read.
    Abort,
    /// Its records count.
    Commit,
}

/// The marker that ends a producer's transaction in one partition (Kafka's `EndTransactionMarker`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct EndTxnMarker {
    /// How the transaction ended.
    pub result: TransactionResult,
    /// Epoch of the transaction coordinator that decided.
    pub coordinator_epoch: i32,
}

impl EndTxnMarker {
    /// Version of key and value that is written.
    const VERSION: i16 = 0;

    /// The record's key: version and type.
    pub fn key(&self) -> [u8; 4] {
        let kind: i16 = match self.result {
            TransactionResult::Abort => 0,
            TransactionResult::Commit => 1,
        };
        let [v0, v1] = Self::VERSION.to_be_bytes();
        let [k0, k1] = kind.to_be_bytes();
        [v0, v1, k0, k1]
    }

    /// The record's value: version and coordinator epoch.
    pub fn value(&self) -> [u8; 6] {
        let [v0, v1] = Self::VERSION.to_be_bytes();
        let [e0, e1, e2, e3] = self.coordinator_epoch.to_be_bytes();
        [v0, v1, e0, e1, e2, e3]
    }
}

/// What a record of a control batch says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ControlRecord {
    /// End of a transaction.
    EndTxn(EndTxnMarker),
    /// A type that belongs to other logs or to a newer Kafka: to be skipped.
    Other(i16),
}

impl ControlRecord {
    /// Reads key and value of a record of a control batch. A higher version reads as version 0, with what follows
    /// ignored, as in Kafka.
    ///
    /// # Errors
    /// [`RecordErrorKind::ControlRecord`], at byte 0: a record does not know its place.
    pub fn parse(record: &Record<'_>) -> Result<Self, RecordError> {
        Self::from_parts(record.key, record.value)
            .ok_or(RecordError::new(RecordErrorKind::ControlRecord, 0))
    }

    fn from_parts(key: Option<&[u8]>, value: Option<&[u8]>) -> Option<Self> {
        let (version, kind) = key?.split_first_chunk()?;
        if i16::from_be_bytes(*version) < 0 {
            return None;
        }
        let result = match i16::from_be_bytes(*kind.first_chunk()?) {
            0 => TransactionResult::Abort,
            1 => TransactionResult::Commit,
            other => return Some(Self::Other(other)),
        };
        let (version, epoch) = value?.split_first_chunk()?;
        if i16::from_be_bytes(*version) < 0 {
            return None;
        }
        let coordinator_epoch = i32::from_be_bytes(*epoch.first_chunk()?);
        Some(Self::EndTxn(EndTxnMarker {
            result,
            coordinator_epoch,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markers_round_trip() {
        for result in [TransactionResult::Abort, TransactionResult::Commit] {
            let marker = EndTxnMarker {
                result,
                coordinator_epoch: 77,
            };
            let parsed = ControlRecord::from_parts(Some(&marker.key()), Some(&marker.value()));
            assert_eq!(parsed, Some(ControlRecord::EndTxn(marker)));
        }
    }

    #[test]
    fn malformed_markers_are_refused() {
        let marker = EndTxnMarker {
            result: TransactionResult::Commit,
            coordinator_epoch: 1,
        };
        let (key, value) = (marker.key(), marker.value());
        for cut in 0..key.len() {
            assert_eq!(
                ControlRecord::from_parts(Some(&key[..cut]), Some(&value)),
                None
            );
        }
        for cut in 0..value.len() {
            assert_eq!(
                ControlRecord::from_parts(Some(&key), Some(&value[..cut])),
                None
            );
        }
        assert_eq!(ControlRecord::from_parts(None, Some(&value)), None);
        assert_eq!(ControlRecord::from_parts(Some(&key), None), None);
        assert_eq!(
            ControlRecord::from_parts(Some(&[0xff, 0, 0, 1]), Some(&value)),
            None
        );
    }

    #[test]
    fn other_types_are_known_as_such() {
        let parsed = ControlRecord::from_parts(Some(&[0, 0, 0, 2]), Some(&[]));
        assert_eq!(parsed, Some(ControlRecord::Other(2)));
    }
}
