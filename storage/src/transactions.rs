//! Transactions: their state, what waits for their end, where aborted records lie. Writes are fenced by the shard of the
//! transactional id, and are statements of their own or part of a flush, see [`crate::LaneWriter::flush_with`].

mod write;

use std::borrow::Cow;
use std::collections::HashSet;

use crate::group_writer::OffsetWrite;
use crate::groups::ShardLease;
use crate::markers::DueMarker;
use crate::pool::{self, Connection};
use crate::{Error, Outcome, Result, Store};

pub(crate) use write::{Columns, Statements};

/// A transactional id's row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransactionRow {
    /// Of the producer.
    pub producer_id: i64,
    /// Of the producer.
    pub producer_epoch: i16,
    /// The id before this one; -1 if there is none.
    pub last_producer_id: i64,
    /// The epoch before this one; -1 if it is not known.
    pub last_producer_epoch: i16,
    /// Kafka's name.
    pub state: Cow<'static, str>,
    /// An open transaction is aborted after this time.
    pub timeout_ms: i32,
    /// When the last transaction began, in milliseconds since 1970.
    pub started_ms: Option<i64>,
    /// Last change, in milliseconds since 1970.
    pub updated_ms: i64,
    /// `transaction.version` of the producer.
    pub version: i16,
}

/// What is written for one transactional id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransactionWrite {
    /// The id.
    pub transactional_id: String,
    /// By what right.
    pub lease: ShardLease,
    /// The state from now on; `None` removes the id.
    pub row: Option<TransactionRow>,
    /// Partitions that the transaction writes to from now on.
    pub partitions: Vec<i32>,
    /// Groups whose offsets it commits from now on; with `end`, those whose offsets are decided.
    pub groups: Vec<String>,
    /// Offsets, by group, to be committed when it is.
    pub offsets: Vec<(String, OffsetWrite)>,
    /// The transaction ends: true commits its offsets, false drops them.
    pub end: Option<bool>,
}

/// Records of a producer that are not for readers of committed records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AbortedTransaction {
    /// Partition, as [`crate::PartitionRow::id`].
    pub part: i32,
    /// Whose records.
    pub producer_id: i64,
    /// Offset of the first of them.
    pub first_offset: i64,
    /// Offset of the marker.
    pub last_offset: i64,
}

/// What a flush stores besides runs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FlushChanges {
    /// In their order; later ones of an id go before earlier ones.
    pub transactions: Vec<TransactionWrite>,
    /// Of the markers in the flush.
    pub aborted: Vec<AbortedTransaction>,
    /// Markers that the transactions ended here are to get in partitions of other lanes.
    pub due: Vec<DueMarker>,
    /// Markers in the flush that were due.
    pub written: Vec<DueMarker>,
}

impl FlushChanges {
    /// Nothing besides runs.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.transactions.is_empty()
            && self.aborted.is_empty()
            && self.due.is_empty()
            && self.written.is_empty()
    }
}

/// A transactional id as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredTransaction {
    /// The id.
    pub transactional_id: String,
    /// Its row.
    pub row: TransactionRow,
    /// Partitions of the open transaction.
    pub partitions: Vec<i32>,
    /// Groups of the open transaction.
    pub groups: Vec<String>,
}

const LOAD: &str = "select t.transactional_id, t.producer_id, t.producer_epoch, t.last_producer_id, t.last_producer_epoch, t.state, \
         t.timeout_ms, (extract(epoch from t.started_at) * 1000)::int8, (extract(epoch from t.updated_at) * 1000)::int8, \
         t.transaction_version, \
         array(select p.part from kafka.transaction_partitions p where p.transactional_id = t.transactional_id order by p.part), \
         array(select g.group_id from kafka.transaction_groups g where g.transactional_id = t.transactional_id order by g.group_id) \
     from kafka.transactions t";
const PENDING: &str =
    "select distinct topic, partition from kafka.txn_pending_offsets where group_id = $1";
const ABORTED: &str = "select part, producer_id, first_offset, last_offset from kafka.aborted_transactions \
     where part = $1 and last_offset >= $2 and first_offset < $3 order by last_offset";
const LAST_ABORTED: &str = "select part, producer_id, first_offset, last_offset from kafka.aborted_transactions \
     where part = $1 order by last_offset desc limit $2";
/// Aborted transactions that nobody can read any more.
const FORGET_ABORTED: &str = "delete from kafka.aborted_transactions a where not exists \
     (select from kafka.topic_partitions p where p.id = a.part and a.last_offset >= p.log_start_offset)";

impl Store {
    /// All transactional ids.
    pub async fn transactions(&self) -> Result<Vec<StoredTransaction>> {
        let client = self.client().await?;
        let rows = client.query(LOAD, &[]).await?;
        let stored = |row: &tokio_postgres::Row| StoredTransaction {
            transactional_id: row.get(0),
            row: TransactionRow {
                producer_id: row.get(1),
                producer_epoch: row.get(2),
                last_producer_id: row.get(3),
                last_producer_epoch: row.get(4),
                state: Cow::Owned(row.get(5)),
                timeout_ms: row.get(6),
                started_ms: row.get(7),
                updated_ms: row.get(8),
                version: row.get(9),
            },
            partitions: row.get(10),
            groups: row.get(11),
        };
        Ok(rows.iter().map(stored).collect())
    }

    /// Partitions, by topic ([`crate::Topic::id`]) and number, of which an open transaction will commit offsets for a group.
    pub async fn pending_offsets(&self, group_id: &str) -> Result<HashSet<(i32, i32)>> {
        let client = self.client().await?;
        let statement = client.prepare_cached(PENDING).await?;
        let rows = client.query(&statement, &[&group_id]).await?;
        Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
    }

    /// Aborted transactions of a partition with records in `from_offset..to_offset`, in the order of their markers.
    pub async fn aborted_transactions(
        &self,
        part: i32,
        from_offset: i64,
        to_offset: i64,
    ) -> Result<Vec<AbortedTransaction>> {
        let client = self.client().await?;
        let statement = client.prepare_cached(ABORTED).await?;
        let rows = client
            .query(&statement, &[&part, &from_offset, &to_offset])
            .await?;
        Ok(rows.iter().map(aborted).collect())
    }

    /// The last aborted transactions of a partition, the last one first.
    pub async fn last_aborted_transactions(
        &self,
        part: i32,
        count: i64,
    ) -> Result<Vec<AbortedTransaction>> {
        let client = self.client().await?;
        let statement = client.prepare_cached(LAST_ABORTED).await?;
        let rows = client.query(&statement, &[&part, &count]).await?;
        Ok(rows.iter().map(aborted).collect())
    }

    /// Removes what is known of aborted transactions whose records are gone. How many.
    pub async fn forget_aborted_transactions(&self) -> Result<u64> {
        let client = self.client().await?;
        Ok(client.execute(FORGET_ABORTED, &[]).await?)
    }

    /// A writer; it connects when it is first used.
    #[must_use]
    pub fn transaction_writer(&self) -> TransactionWriter {
        TransactionWriter {
            store: self.clone(),
            session: None,
        }
    }
}

fn aborted(row: &tokio_postgres::Row) -> AbortedTransaction {
    AbortedTransaction {
        part: row.get(0),
        producer_id: row.get(1),
        first_offset: row.get(2),
        last_offset: row.get(3),
    }
}

/// Writes of coordinators over a connection of its own, one statement at a time.
#[derive(Debug)]
pub struct TransactionWriter {
    store: Store,
    session: Option<(Connection, Statements)>,
}

impl TransactionWriter {
    /// Writes, as one statement; each transactional id is in it once. Which writes were done, in their order: those of shards
    /// that another broker has claimed were not. An error means that none was, unless it says that the outcome is unknown;
    /// to repeat the call is safe then.
    pub async fn write(&mut self, writes: &[TransactionWrite]) -> Result<Vec<bool>> {
        let columns = Columns::new(writes, &[]);
        let owned = match self.attempt(&columns).await {
            // The connection may have been lost long ago, and the statement may be repeated.
            Err(Error::Unavailable {
                outcome: Outcome::Unknown,
                ..
            }) => self.attempt(&columns).await?,
            other => other?,
        };
        let done = writes
            .iter()
            .map(|write| owned.contains(&write.lease.shard));
        Ok(done.collect())
    }

    /// Whether nobody holds a row that a write needs for long. It is written, and taken back.
    pub async fn is_free(&mut self, write: &TransactionWrite) -> Result<bool> {
        let columns = Columns::new(std::slice::from_ref(write), &[]);
        let (connection, mut statements) = self.session().await?;
        let client = &connection.client;
        let statement = statements.of(client, &columns).await?;
        client.batch_execute("begin").await?;
        let written = columns.execute(client, &statement).await;
        client.batch_execute("rollback").await?;
        self.session = Some((connection, statements));
        match written {
            Ok(_) => Ok(true),
            Err(error) if Error::is_of_lock(&error) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    async fn session(&mut self) -> Result<(Connection, Statements)> {
        if let Some(session) = self.session.take() {
            return Ok(session);
        }
        let connection = pool::connect(&self.store.inner.connect).await?;
        let limit = self.store.config().statement_timeout.as_millis();
        let timeouts = format!("set lock_timeout = 2000; set statement_timeout = {limit}");
        connection.client.batch_execute(&timeouts).await?;
        Ok((connection, Statements::default()))
    }

    async fn attempt(&mut self, columns: &Columns<'_>) -> Result<Vec<i32>> {
        let (connection, mut statements) = self.session().await?;
        let limit = self.store.config().statement_timeout;
        let write = async {
            let statement = statements.of(&connection.client, columns).await?;
            columns.execute(&connection.client, &statement).await
        };
        let result = match tokio::time::timeout(limit, write).await {
            Ok(result) => result.map_err(Error::from),
            Err(_) => Err(Error::unavailable(
                Outcome::Unknown,
                "no answer to a write of transactions in time",
            )),
        };
        if !matches!(result, Err(Error::Unavailable { .. })) {
            self.session = Some((connection, statements));
        }
        result
    }
}
