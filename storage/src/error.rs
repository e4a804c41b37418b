//! Storage errors, sorted by what the caller may do next. SQLSTATEs are mapped here and nowhere else.

use std::borrow::Cow;

use tokio_postgres::error::SqlState;

/// Whether the work of a failed call may have reached the database all the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing of the call was stored.
    NotCommitted,
    /// The connection was lost while a commit may have been under way: it is stored, or it is not.
    Unknown,
}

/// What went wrong, named after what the caller may do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The thing named does not exist (any more).
    #[error("{0} does not exist")]
    NotFound(String),
    /// The thing named exists already.
    #[error("{0} exists already")]
    Exists(String),
    /// Another owner has taken the lane, or the database went back in time: nothing more may be written with this lease.
    /// The flush that got this answer may have been stored before the lane was taken.
    #[error("lane {lane_id} is no longer held at epoch {epoch}")]
    Fenced {
        /// The lane that was lost.
        lane_id: i32,
        /// The epoch of the lease that is void now.
        epoch: i32,
    },
    /// A change in a flush was by the right of a shard that another broker has claimed, or a marker of a transaction that was not due;
    /// nothing of the flush was stored.
    #[error("the coordinator of a transaction in the flush is another broker")]
    NotCoordinator,
    /// Another session holds a row that a change in a flush needs; nothing of the flush was stored.
    #[error("a row that a transaction in the flush needs is locked by another session")]
    Locked,
    /// Another session holds the lane's row or its segment's table; nothing of the flush was stored.
    #[error(
        "the row of lane {lane_id} in kafka.lanes, or the table of its segment, is locked by another session of the database"
    )]
    LaneLocked {
        /// The lane that nothing is appended to meanwhile.
        lane_id: i32,
    },
    /// Lost a race with another transaction; the same call may be tried again at once.
    #[error("conflict with another transaction: {0}")]
    Conflict(#[source] tokio_postgres::Error),
    /// The database cannot be reached or cannot serve at the moment; the same call may be tried again later.
    #[error("the database is unavailable: {reason}")]
    Unavailable {
        /// Whether the call may have been stored.
        outcome: Outcome,
        /// For the log.
        reason: String,
    },
    /// The schema in the database was made by a newer release.
    #[error(
        "the database has schema version {found}, this release of pg_kafka knows versions up to {known}: \
         start the newer release of pg_kafka that made it, or point --database-url at another database"
    )]
    Newer {
        /// Schema version in the database.
        found: i32,
        /// Newest version this release knows.
        known: i32,
    },
    /// A person has to change something: address, password, privilege, missing binaries. The text says what.
    #[error("{0}")]
    Setup(String),
    /// A mistake in this program or its database; trying again will not help.
    #[error("{context}: {detail}")]
    Bug {
        /// What was being done.
        context: Cow<'static, str>,
        /// What the database or a check answered.
        detail: String,
    },
}

impl Error {
    /// True where the same call may succeed when it is repeated.
    #[must_use]
    pub fn is_retriable(&self) -> bool {
        matches!(self, Self::Conflict(_) | Self::Unavailable { .. })
    }

    /// Whether a statement waited for a lock in vain.
    pub(crate) fn is_of_lock(error: &tokio_postgres::Error) -> bool {
        error.code() == Some(&SqlState::LOCK_NOT_AVAILABLE)
    }

    pub(crate) fn bug(
        context: impl Into<Cow<'static, str>>,
        detail: impl std::fmt::Display,
    ) -> Self {
        Self::Bug {
            context: context.into(),
            detail: detail.to_string(),
        }
    }

    pub(crate) fn unavailable(outcome: Outcome, reason: impl std::fmt::Display) -> Self {
        Self::Unavailable {
            outcome,
            reason: reason.to_string(),
        }
    }
}

/// The whole chain of causes on one line: tokio-postgres keeps the useful part in `source`.
pub(crate) fn describe(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        cause = inner.source();
    }
    text
}

impl From<tokio_postgres::Error> for Error {
    fn from(error: tokio_postgres::Error) -> Self {
        let reason = describe(&error);
        let Some(state) = error.code() else {
            return without_state(&error, reason);
        };
        if *state == SqlState::T_R_SERIALIZATION_FAILURE
            || *state == SqlState::T_R_DEADLOCK_DETECTED
            || *state == SqlState::LOCK_NOT_AVAILABLE
        {
            return Self::Conflict(error);
        }
        if is_unavailable(state) {
            return Self::Unavailable {
                outcome: outcome_of(state),
                reason,
            };
        }
        if is_setup(state) {
            return Self::Setup(reason);
        }
        Self::Bug {
            context: Cow::Borrowed("PostgreSQL refused a statement"),
            detail: reason,
        }
    }
}

/// Errors without an SQLSTATE: of the connection, of its settings, or our own. The client library tells the second by
/// their text alone.
fn without_state(error: &tokio_postgres::Error, reason: String) -> Error {
    const UNAVAILABLE: [&str; 4] = [
        "error connecting to server",
        "timeout waiting for server",
        "error parsing response from server",
        "unexpected message from server",
    ];
    const SETUP: [&str; 4] = [
        "invalid configuration",
        "invalid connection string",
        "authentication error",
        "error performing TLS handshake",
    ];
    let begins = |texts: &[&str]| texts.iter().any(|text| reason.starts_with(text));
    let io = std::error::Error::source(error).is_some_and(|cause| cause.is::<std::io::Error>());
    if error.is_closed() || io || begins(&UNAVAILABLE) {
        Error::unavailable(Outcome::Unknown, reason)
    } else if begins(&SETUP) {
        Error::Setup(reason)
    } else {
        Error::bug("PostgreSQL client", reason)
    }
}

/// An error that PostgreSQL itself reports ended its transaction, except where it ended the session around a commit.
fn outcome_of(state: &SqlState) -> Outcome {
    match &state.code()[..2] {
        "57" | "08" | "58" | "XX" | "40" => Outcome::Unknown,
        _ => Outcome::NotCommitted,
    }
}

fn is_unavailable(state: &SqlState) -> bool {
    // 08 connection, 53 resources (disk, memory, connections), 57 operator (shutdown, starting up, timeout), 58 system (I/O).
    matches!(&state.code()[..2], "08" | "53" | "57" | "58")
        || *state == SqlState::READ_ONLY_SQL_TRANSACTION
        || *state == SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT
        || *state == SqlState::T_R_STATEMENT_COMPLETION_UNKNOWN
}

fn is_setup(state: &SqlState) -> bool {
    // 28 authentication, 3D no such database, 42501 no privilege.
    matches!(&state.code()[..2], "28" | "3D") || *state == SqlState::INSUFFICIENT_PRIVILEGE
}
