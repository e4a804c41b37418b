//! The states of a transactional id, and what of it is stored.

use storage::TransactionRow;

/// No producer id.
pub(in crate::transactions) const NO_ID: i64 = -1;
/// No epoch.
pub(in crate::transactions) const NO_EPOCH: i16 = -1;
/// A producer id and its epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Producer {
    pub(crate) id: i64,
    pub(crate) epoch: i16,
}

/// Kafka's states. Dead and PrepareEpochFence are passed through in one step here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    Empty,
    Ongoing,
    PrepareCommit,
    PrepareAbort,
    CompleteCommit,
    CompleteAbort,
}

/// Names of the states that Kafka knows.
pub(crate) const STATE_NAMES: [&str; 8] = [
    "Empty",
    "Ongoing",
    "PrepareCommit",
    "PrepareAbort",
    "CompleteCommit",
    "CompleteAbort",
    "Dead",
    "PrepareEpochFence",
];

impl State {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Empty => "Empty",
            Self::Ongoing => "Ongoing",
            Self::PrepareCommit => "PrepareCommit",
            Self::PrepareAbort => "PrepareAbort",
            Self::CompleteCommit => "CompleteCommit",
            Self::CompleteAbort => "CompleteAbort",
        }
    }

    pub(super) fn of_name(name: &str) -> Option<Self> {
        let all = [
            Self::Empty,
            Self::Ongoing,
            Self::PrepareCommit,
            Self::PrepareAbort,
            Self::CompleteCommit,
            Self::CompleteAbort,
        ];
        all.into_iter().find(|state| state.name() == name)
    }

    pub(in crate::transactions) fn is_ending(self) -> bool {
        matches!(self, Self::PrepareCommit | Self::PrepareAbort)
    }

    pub(super) fn prepare(is_commit: bool) -> Self {
        if is_commit {
            Self::PrepareCommit
        } else {
            Self::PrepareAbort
        }
    }

    pub(super) fn complete(is_commit: bool) -> Self {
        if is_commit {
            Self::CompleteCommit
        } else {
            Self::CompleteAbort
        }
    }
}

/// What is stored in one row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Core {
    pub(crate) producer: Producer,
    /// [`NO_ID`] and [`NO_EPOCH`] where there is none.
    pub(crate) last: Producer,
    pub(crate) state: State,
    pub(crate) timeout_ms: i32,
    /// When the last transaction began.
    pub(crate) started_ms: Option<i64>,
    pub(crate) updated_ms: i64,
    pub(crate) version: i16,
}

impl Core {
    pub(super) fn row(&self) -> TransactionRow {
        TransactionRow {
            producer_id: self.producer.id,
            producer_epoch: self.producer.epoch,
            last_producer_id: self.last.id,
            last_producer_epoch: self.last.epoch,
            state: self.state.name().into(),
            timeout_ms: self.timeout_ms,
            started_ms: self.started_ms,
            updated_ms: self.updated_ms,
            version: self.version,
        }
    }

    pub(super) fn is_exhausted(&self) -> bool {
        is_exhausted(self.producer.epoch)
    }
}

/// The last epoch is kept for a marker.
pub(super) fn is_exhausted(epoch: i16) -> bool {
    epoch >= i16::MAX - 1
}
