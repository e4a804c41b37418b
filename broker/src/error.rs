//! The errors of the broker's parts as Kafka's error codes. Every match names every case, so that a new error has to be
//! given its code here.

use protocol::ErrorCode;

use crate::log::{AppendError, ReadError};

/// A code for a response, and a text where the answer has room for one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) code: ErrorCode,
    pub(crate) message: Option<String>,
}

impl Failure {
    /// A code that says it all.
    pub(crate) fn of(code: ErrorCode) -> Self {
        Self {
            code,
            message: None,
        }
    }

    /// A code and what to do about it.
    pub(crate) fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: Some(message.into()),
        }
    }
}

/// What a storage error means for a client. Faults are logged here; what a client may try again is not.
impl From<&storage::Error> for Failure {
    fn from(error: &storage::Error) -> Self {
        use storage::Error;
        match error {
            Error::NotFound(_) => Self::of(ErrorCode::UnknownTopicOrPartition),
            Error::Exists(_) => Self::of(ErrorCode::TopicAlreadyExists),
            Error::Fenced { .. } => Self::of(ErrorCode::NotLeaderOrFollower),
            Error::NotCoordinator => Self::of(ErrorCode::NotCoordinator),
            Error::Locked
            | Error::LaneLocked { .. }
            | Error::Conflict(_)
            | Error::Unavailable { .. } => {
                tracing::warn!(%error, "a request failed and may be tried again");
                Self::new(
                    ErrorCode::KafkaStorageError,
                    "the database is not available",
                )
            }
            Error::Newer { .. } | Error::Setup(_) | Error::Bug { .. } => {
                tracing::error!(%error, "a request failed");
                Self::of(ErrorCode::UnknownServerError)
            }
        }
    }
}

/// What a storage error means for who asked a coordinator: clients look for the coordinator again, and repeat what they asked.
pub(crate) fn coordinator_code(error: &storage::Error) -> ErrorCode {
    use storage::Error;
    match error {
        Error::Fenced { .. } | Error::NotCoordinator => ErrorCode::NotCoordinator,
        Error::Locked
        | Error::LaneLocked { .. }
        | Error::Conflict(_)
        | Error::Unavailable { .. } => {
            tracing::warn!(%error, "a request to a group failed and may be tried again");
            ErrorCode::CoordinatorNotAvailable
        }
        Error::NotFound(_)
        | Error::Exists(_)
        | Error::Newer { .. }
        | Error::Setup(_)
        | Error::Bug { .. } => {
            tracing::error!(%error, "a request to a group failed");
            ErrorCode::UnknownServerError
        }
    }
}

impl From<&ReadError> for Failure {
    fn from(error: &ReadError) -> Self {
        match error {
            ReadError::OutOfRange(_) => Self::of(ErrorCode::OffsetOutOfRange),
            ReadError::UnknownPartition => Self::of(ErrorCode::UnknownTopicOrPartition),
            ReadError::NotLeader => Self::of(ErrorCode::NotLeaderOrFollower),
            ReadError::Damaged(_) => {
                tracing::error!(%error, "a read failed");
                Self::of(ErrorCode::KafkaStorageError)
            }
            ReadError::Storage(error) => Self::from(error),
            ReadError::Unloaded(error) => Self::from(&**error),
        }
    }
}

impl From<&AppendError> for Failure {
    fn from(error: &AppendError) -> Self {
        let code = match error {
            AppendError::Corrupt(_) => ErrorCode::CorruptMessage,
            AppendError::InvalidRecord { .. } | AppendError::UnsupportedFormat(_) => {
                ErrorCode::InvalidRecord
            }
            AppendError::UnsupportedCompression => ErrorCode::UnsupportedCompressionType,
            AppendError::TooLarge { .. } | AppendError::TooLargeDecompressed { .. } => {
                ErrorCode::MessageTooLarge
            }
            AppendError::InvalidTimestamp { .. } => ErrorCode::InvalidTimestamp,
            AppendError::OutsideTransaction => ErrorCode::InvalidTxnState,
            AppendError::OutOfOrderSequence { .. } => ErrorCode::OutOfOrderSequenceNumber,
            AppendError::InvalidProducerEpoch { .. } => ErrorCode::InvalidProducerEpoch,
            AppendError::StaleCoordinator => ErrorCode::NotEnoughReplicas,
            AppendError::NotLeader | AppendError::Stopping => ErrorCode::NotLeaderOrFollower,
            AppendError::UnknownPartition => ErrorCode::UnknownTopicOrPartition,
            AppendError::TimedOut => ErrorCode::RequestTimedOut,
            AppendError::Unavailable(read) => return Self::from(&**read),
        };
        Self::new(code, error.to_string())
    }
}
