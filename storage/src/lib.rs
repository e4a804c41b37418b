//! The broker's state in PostgreSQL: topics, the log in segment tables, lanes, producers and groups. All SQL lives in this crate;
//! it knows Kafka's bytes as opaque runs and no API message.
//!
//! Start with [`Store`]; [`embedded::Embedded`] runs a private PostgreSQL for it.

mod brokers;
mod changes;
mod chunks;
mod cleaning;
mod compaction;
pub mod embedded;
mod error;
mod group_offsets;
mod group_writer;
mod groups;
mod inspect;
mod lanes;
mod markers;
mod migrate;
mod pool;
mod post;
mod producers;
mod read;
mod retention;
mod segments;
mod settings;
mod sizes;
mod store;
mod topics;
mod transactions;
mod writer;

pub use brokers::{BrokerRow, Heart, LaneLoad, Registration, Takeover, session_name};
pub use changes::{Change, Changes};
pub use compaction::{
    CleanSegment, Cleanable, LaneCleaner, PlacedRun, Replacement, Stretch, StretchReader,
};
pub use error::{Error, Outcome};
pub use group_offsets::CommittedOffset;
pub use group_writer::{GroupChange, GroupWrite, GroupWriter, OffsetWrite};
pub use groups::{GroupRow, ListedGroup, MemberRow, ShardLease, ShardOwner};
pub use inspect::{GroupLag, Health, OldTransaction, Pulse, SegmentPart, SegmentState};
pub use lanes::{LaneLease, LaneState};
pub use markers::{DueMarker, Pended};
pub use post::{LETTER_BYTES_MAX, Post};
pub use producers::{Checkpoint, TimeMark};
pub use read::RunBytes;
pub use retention::{Expiry, Mark};
pub use settings::{ClusterSettings, SettingName, SettingsChange, SettingsOwner};
pub use store::{DatabaseConfig, Store};
pub use topics::{NewTopic, PartitionRow, Topic};
pub use transactions::{
    AbortedTransaction, FlushChanges, StoredTransaction, TransactionRow, TransactionWrite,
    TransactionWriter,
};
pub use writer::{LaneWriter, Run};

/// Result of every call of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;
