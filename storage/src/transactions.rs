//! Transactions: their state, what waits for their end, where aborted records lie. Writes are fenced by the shard of the
//! transactional id, and are statements of their own or part of a flush, see [`crate::LaneWriter::flush_with`].

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Statement};

use crate::group_writer::OffsetWrite;
use crate::groups::ShardLease;
use crate::markers::DueMarker;
use crate::pool::{self, Connection};
use crate::{Error, Outcome, Result, Store};

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

/// As for groups, the lock on the shards' rows makes a claim wait for this statement, or this statement see the claim.
pub(crate) const WRITE: &str = "with owned as materialized ( \
         select s.shard from kafka.group_shards s \
         join unnest($1::int4[], $2::int4[]) l (shard, epoch) on l.shard = s.shard and l.epoch = s.epoch for share of s), \
     deleted as ( \
         delete from kafka.transactions t using unnest($3::int4[], $4::text[]) d (shard, id), owned \
         where owned.shard = d.shard and t.transactional_id = d.id), \
     states as ( \
         insert into kafka.transactions (transactional_id, producer_id, producer_epoch, last_producer_id, last_producer_epoch, \
             state, timeout_ms, started_at, updated_at, transaction_version) \
         select r.id, r.producer_id, r.producer_epoch, r.last_producer_id, r.last_producer_epoch, r.state, r.timeout_ms, \
             timestamptz 'epoch' + r.started_ms * interval '1 ms', timestamptz 'epoch' + r.updated_ms * interval '1 ms', r.version \
         from unnest($5::int4[], $6::text[], $7::int8[], $8::int2[], $9::int8[], $10::int2[], $11::text[], $12::int4[], \
                 $13::float8[], $14::float8[], $15::int2[]) \
             r (shard, id, producer_id, producer_epoch, last_producer_id, last_producer_epoch, state, timeout_ms, \
                 started_ms, updated_ms, version) \
         join owned on owned.shard = r.shard \
         on conflict (transactional_id) do update set producer_id = excluded.producer_id, \
             producer_epoch = excluded.producer_epoch, last_producer_id = excluded.last_producer_id, \
             last_producer_epoch = excluded.last_producer_epoch, state = excluded.state, timeout_ms = excluded.timeout_ms, \
             started_at = excluded.started_at, updated_at = excluded.updated_at, \
             transaction_version = excluded.transaction_version), \
     parts as ( \
         insert into kafka.transaction_partitions (transactional_id, part, from_offset) \
         select p.id, p.part, case v.version when 1 then kafka.log_end_offset(p.part) else 0 end \
         from unnest($16::int4[], $17::text[], $18::int4[]) p (shard, id, part) \
         join unnest($6::text[], $15::int2[]) v (id, version) on v.id = p.id \
         join owned on owned.shard = p.shard on conflict do nothing), \
     committing as ( \
         insert into kafka.transaction_groups (transactional_id, group_id) \
         select g.id, g.group_id from unnest($19::int4[], $20::text[], $21::text[]) g (shard, id, group_id) \
         join owned on owned.shard = g.shard on conflict do nothing), \
     pending as ( \
         insert into kafka.txn_pending_offsets (transactional_id, group_id, topic, partition, committed_offset, leader_epoch, metadata) \
         select o.id, o.group_id, o.topic, o.partition, o.committed_offset, o.leader_epoch, o.metadata \
         from unnest($22::int4[], $23::text[], $24::text[], $25::int4[], $26::int4[], $27::int8[], $28::int4[], $29::bytea[]) \
             o (shard, id, group_id, topic, partition, committed_offset, leader_epoch, metadata) \
         join owned on owned.shard = o.shard \
         on conflict (transactional_id, group_id, topic, partition) do update set committed_offset = excluded.committed_offset, \
             leader_epoch = excluded.leader_epoch, metadata = excluded.metadata returning group_id), \
     ended as materialized ( \
         select e.id, e.is_commit, e.number from unnest($30::int4[], $31::text[], $32::bool[]) with ordinality \
             e (shard, id, is_commit, number) join owned on owned.shard = e.shard), \
     left_parts as (delete from kafka.transaction_partitions p using ended e where p.transactional_id = e.id), \
     left_markers as (delete from kafka.txn_markers m using ended e where m.transactional_id = e.id \
         and not exists (select from kafka.topic_partitions p where p.id = m.part)), \
     left_groups as (delete from kafka.transaction_groups g using ended e where g.transactional_id = e.id), \
     decided as ( \
         delete from kafka.txn_pending_offsets o using ended e where o.transactional_id = e.id \
         returning o.group_id, o.topic, o.partition, o.committed_offset, o.leader_epoch, o.metadata, e.is_commit, e.number), \
     touched as ( \
         insert into kafka.groups (group_id, group_type, group_state, epoch, detail) \
         select t.group_id, 'classic', 'Empty', 0, '{}' \
         from (select group_id from pending union select group_id from decided where is_commit) t on conflict do nothing), \
     saved as ( \
         insert into kafka.group_offsets (group_id, topic, partition, committed_offset, leader_epoch, metadata, commit_timestamp) \
         select distinct on (d.group_id, d.topic, d.partition) \
             d.group_id, d.topic, d.partition, d.committed_offset, d.leader_epoch, d.metadata, now() \
         from decided d where d.is_commit order by d.group_id, d.topic, d.partition, d.number desc \
         on conflict (group_id, topic, partition) do update set committed_offset = excluded.committed_offset, \
             leader_epoch = excluded.leader_epoch, metadata = excluded.metadata, commit_timestamp = excluded.commit_timestamp, \
             expires_at = null), \
     aborted as ( \
         insert into kafka.aborted_transactions (part, last_offset, first_offset, producer_id) \
         select * from unnest($33::int4[], $34::int8[], $35::int8[], $36::int8[]) on conflict do nothing) \
     select shard from owned";

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
    session: Option<(Connection, Statement)>,
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
        let (connection, statement) = self.session().await?;
        let client = &connection.client;
        client.batch_execute("begin").await?;
        let written = columns.execute(client, &statement).await;
        client.batch_execute("rollback").await?;
        self.session = Some((connection, statement));
        match written {
            Ok(_) => Ok(true),
            Err(error) if Error::is_of_lock(&error) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    async fn session(&mut self) -> Result<(Connection, Statement)> {
        if let Some(session) = self.session.take() {
            return Ok(session);
        }
        let connection = pool::connect(&self.store.inner.connect).await?;
        let limit = self.store.config().statement_timeout.as_millis();
        let timeouts = format!("set lock_timeout = 2000; set statement_timeout = {limit}");
        connection.client.batch_execute(&timeouts).await?;
        let statement = connection.client.prepare(WRITE).await?;
        Ok((connection, statement))
    }

    async fn attempt(&mut self, columns: &Columns<'_>) -> Result<Vec<i32>> {
        let (connection, statement) = self.session().await?;
        let limit = self.store.config().statement_timeout;
        let write = columns.execute(&connection.client, &statement);
        let result = match tokio::time::timeout(limit, write).await {
            Ok(result) => result.map_err(Error::from),
            Err(_) => Err(Error::unavailable(
                Outcome::Unknown,
                "no answer to a write of transactions in time",
            )),
        };
        if !matches!(result, Err(Error::Unavailable { .. })) {
            self.session = Some((connection, statement));
        }
        result
    }
}

/// The parameters of [`WRITE`].
#[derive(Debug, Default)]
pub(crate) struct Columns<'a> {
    lease_shards: Vec<i32>,
    lease_epochs: Vec<i32>,
    deleted: Ids<'a>,
    rows: Rows<'a>,
    parts_of: Ids<'a>,
    parts: Vec<i32>,
    groups_of: Ids<'a>,
    groups: Vec<&'a str>,
    offsets: Offsets<'a>,
    ended: Ids<'a>,
    are_commits: Vec<bool>,
    aborted_parts: Vec<i32>,
    aborted_last: Vec<i64>,
    aborted_first: Vec<i64>,
    aborted_producers: Vec<i64>,
}

/// Columns of the shard and the transactional id.
#[derive(Debug, Default)]
struct Ids<'a> {
    shards: Vec<i32>,
    ids: Vec<&'a str>,
}

impl<'a> Ids<'a> {
    fn push(&mut self, write: &'a TransactionWrite) {
        self.shards.push(write.lease.shard);
        self.ids.push(&write.transactional_id);
    }
}

#[derive(Debug, Default)]
struct Rows<'a> {
    of: Ids<'a>,
    producer_ids: Vec<i64>,
    producer_epochs: Vec<i16>,
    last_producer_ids: Vec<i64>,
    last_producer_epochs: Vec<i16>,
    states: Vec<&'a str>,
    timeouts_ms: Vec<i32>,
    started_ms: Vec<Option<f64>>,
    updated_ms: Vec<f64>,
    versions: Vec<i16>,
}

#[derive(Debug, Default)]
struct Offsets<'a> {
    of: Ids<'a>,
    groups: Vec<&'a str>,
    topics: Vec<i32>,
    partitions: Vec<i32>,
    offsets: Vec<i64>,
    leader_epochs: Vec<i32>,
    metadata: Vec<&'a [u8]>,
}

impl<'a> Columns<'a> {
    pub(crate) fn new(writes: &'a [TransactionWrite], aborted: &[AbortedTransaction]) -> Self {
        let mut columns = Self::default();
        let mut leases: Vec<ShardLease> = writes.iter().map(|write| write.lease).collect();
        // In order, so that all lock the rows in the same.
        leases.sort_unstable_by_key(|lease| (lease.shard, lease.epoch));
        leases.dedup();
        for lease in leases {
            columns.lease_shards.push(lease.shard);
            columns.lease_epochs.push(lease.epoch);
        }
        let mut by_id: HashMap<&str, Vec<&TransactionWrite>> = HashMap::new();
        for write in writes {
            by_id
                .entry(&write.transactional_id)
                .or_default()
                .push(write);
        }
        let mut by_id: Vec<_> = by_id.into_iter().collect();
        by_id.sort_unstable_by_key(|(id, _)| *id);
        for (_, writes) in by_id {
            columns.push_all_of_one(&writes);
        }
        for aborted in aborted {
            columns.aborted_parts.push(aborted.part);
            columns.aborted_last.push(aborted.last_offset);
            columns.aborted_first.push(aborted.first_offset);
            columns.aborted_producers.push(aborted.producer_id);
        }
        columns
    }

    /// The writes of one transactional id, in their order. What comes before an end is ended; nothing comes after one.
    fn push_all_of_one(&mut self, writes: &[&'a TransactionWrite]) {
        let Some(last) = writes.last() else { return };
        match &last.row {
            Some(row) => self.rows.push(last, row),
            None => self.deleted.push(last),
        }
        if let Some(is_commit) = last.end {
            self.ended.push(last);
            self.are_commits.push(is_commit);
            return;
        }
        let mut offsets: HashMap<(&str, i32, i32), (&TransactionWrite, &OffsetWrite)> =
            HashMap::new();
        for write in writes {
            for part in &write.partitions {
                self.parts_of.push(write);
                self.parts.push(*part);
            }
            for group in &write.groups {
                self.groups_of.push(write);
                self.groups.push(group);
            }
            for (group, offset) in &write.offsets {
                offsets.insert((group, offset.topic, offset.partition), (write, offset));
            }
        }
        let mut offsets: Vec<_> = offsets.into_iter().collect();
        offsets.sort_unstable_by_key(|(key, _)| *key);
        for ((group, ..), (write, offset)) in offsets {
            self.offsets.push(write, group, offset);
        }
    }

    /// The shards among the leases that are still owned.
    pub(crate) async fn execute(
        &self,
        client: &Client,
        statement: &Statement,
    ) -> Result<Vec<i32>, tokio_postgres::Error> {
        let (rows, offsets) = (&self.rows, &self.offsets);
        let parameters: [&(dyn ToSql + Sync); 36] = [
            &self.lease_shards,
            &self.lease_epochs,
            &self.deleted.shards,
            &self.deleted.ids,
            &rows.of.shards,
            &rows.of.ids,
            &rows.producer_ids,
            &rows.producer_epochs,
            &rows.last_producer_ids,
            &rows.last_producer_epochs,
            &rows.states,
            &rows.timeouts_ms,
            &rows.started_ms,
            &rows.updated_ms,
            &rows.versions,
            &self.parts_of.shards,
            &self.parts_of.ids,
            &self.parts,
            &self.groups_of.shards,
            &self.groups_of.ids,
            &self.groups,
            &offsets.of.shards,
            &offsets.of.ids,
            &offsets.groups,
            &offsets.topics,
            &offsets.partitions,
            &offsets.offsets,
            &offsets.leader_epochs,
            &offsets.metadata,
            &self.ended.shards,
            &self.ended.ids,
            &self.are_commits,
            &self.aborted_parts,
            &self.aborted_last,
            &self.aborted_first,
            &self.aborted_producers,
        ];
        let owned = client.query(statement, &parameters).await?;
        Ok(owned.iter().map(|row| row.get(0)).collect())
    }

    /// Whether all leases are among `owned`.
    pub(crate) fn are_all_owned(&self, owned: &[i32]) -> bool {
        self.lease_shards.iter().all(|shard| owned.contains(shard))
    }
}

impl<'a> Rows<'a> {
    #[expect(clippy::cast_precision_loss, reason = "times in milliseconds")]
    fn push(&mut self, write: &'a TransactionWrite, row: &'a TransactionRow) {
        self.of.push(write);
        self.producer_ids.push(row.producer_id);
        self.producer_epochs.push(row.producer_epoch);
        self.last_producer_ids.push(row.last_producer_id);
        self.last_producer_epochs.push(row.last_producer_epoch);
        self.states.push(&row.state);
        self.timeouts_ms.push(row.timeout_ms);
        self.started_ms.push(row.started_ms.map(|ms| ms as f64));
        self.updated_ms.push(row.updated_ms as f64);
        self.versions.push(row.version);
    }
}

impl<'a> Offsets<'a> {
    fn push(&mut self, write: &'a TransactionWrite, group: &'a str, offset: &'a OffsetWrite) {
        self.of.push(write);
        self.groups.push(group);
        self.topics.push(offset.topic);
        self.partitions.push(offset.partition);
        self.offsets.push(offset.offset);
        self.leader_epochs.push(offset.leader_epoch);
        self.metadata.push(offset.metadata.as_bytes());
    }
}
