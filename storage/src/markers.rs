//! Transactions that concern more than one broker: markers that are decided and are still to be written by the owners of other
//! lanes, and offsets that the coordinator of a group stores for the coordinator of a transaction.
//!
//! A decision and its markers come into the database together, with the flush of the coordinator's lane; a marker goes with the flush
//! that writes it into the log. So each partition gets it once, whoever leads it by then.

use std::collections::HashSet;

use futures_util::future::try_join4;
use tokio_postgres::{Client, Row, Statement};

use crate::group_writer::OffsetWrite;
use crate::groups::ShardLease;
use crate::transactions::{self, FlushChanges, Statements, TransactionWrite};
use crate::{Result, Store};

/// The end of a transaction in a partition that its coordinator does not lead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DueMarker {
    /// The transaction.
    pub transactional_id: String,
    /// Partition, as [`crate::PartitionRow::id`].
    pub part: i32,
    /// As the marker has it.
    pub producer_id: i64,
    /// As the marker has it.
    pub producer_epoch: i16,
    /// Commit or abort.
    pub is_commit: bool,
    /// Whether the epoch is one that no record has.
    pub is_epoch_bumped: bool,
    /// Of the coordinator that decided.
    pub coordinator_epoch: i32,
}

/// What became of [`Store::pend_offsets`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pended {
    /// Stored.
    Done,
    /// Another broker coordinates the group; nothing is stored.
    NotCoordinator,
    /// The transaction is not open, or not of this producer; nothing is stored.
    NotOpen,
}

/// Offsets of groups that are coordinated elsewhere are stored by others until the row is locked: a statement after this one sees
/// all of them. The shards first, as everybody does.
const LOCK: &str = "select from kafka.transactions t where t.transactional_id = any($2::text[]) \
     and (select count(*) from (select from kafka.group_shards s where s.shard = any($1::int4[]) order by s.shard for share) o) >= 0 \
     order by t.transactional_id for update";
const DECIDE: &str = "insert into kafka.txn_markers as m \
         (transactional_id, part, producer_id, producer_epoch, is_commit, is_epoch_bumped, coordinator_epoch, from_offset) \
     select d.*, coalesce(p.from_offset, 0) from unnest($1::text[], $2::int4[], $3::int8[], $4::int2[], $5::bool[], $6::bool[], $7::int4[]) \
         d (transactional_id, part, producer_id, producer_epoch, is_commit, is_epoch_bumped, coordinator_epoch) \
     left join kafka.transaction_partitions p on p.transactional_id = d.transactional_id and p.part = d.part \
     on conflict (transactional_id, part) do update set producer_id = excluded.producer_id, \
         producer_epoch = excluded.producer_epoch, is_commit = excluded.is_commit, \
         is_epoch_bumped = excluded.is_epoch_bumped, coordinator_epoch = excluded.coordinator_epoch, \
         from_offset = excluded.from_offset";
const WRITTEN: &str = "delete from kafka.txn_markers m \
     using unnest($1::text[], $2::int4[], $3::int8[], $4::int2[]) w (id, part, producer_id, producer_epoch) \
     where m.transactional_id = w.id and m.part = w.part \
         and m.producer_id = w.producer_id and m.producer_epoch = w.producer_epoch";
const DUE: &str = "select m.transactional_id, m.part, m.producer_id, m.producer_epoch, m.is_commit, m.is_epoch_bumped, m.coordinator_epoch \
     from kafka.txn_markers m join kafka.topic_partitions p on p.id = m.part where p.lane = $1";
/// A partition that is gone needs no marker.
const LEFT: &str = "select distinct m.transactional_id from kafka.txn_markers m \
     join kafka.topic_partitions p on p.id = m.part where m.transactional_id = any($1::text[])";
/// Under the lease of the group and while the transaction is open. Its end waits for this, or this sees it.
const PEND: &str = "with owned as materialized ( \
         select s.shard from kafka.group_shards s where s.shard = $1 and s.epoch = $2 for share), \
     open as materialized ( \
         select t.transactional_id from kafka.transactions t where exists (select from owned) and t.transactional_id = $3 \
             and t.producer_id = $4 and t.producer_epoch = $5 and t.state = 'Ongoing' for share), \
     touched as ( \
         insert into kafka.groups (group_id, group_type, group_state, epoch, detail) \
         select $6::text, 'classic', 'Empty', 0, '{}' from open on conflict do nothing), \
     pending as ( \
         insert into kafka.txn_pending_offsets (transactional_id, group_id, topic, partition, committed_offset, leader_epoch, metadata) \
         select open.transactional_id, $6::text, o.topic, o.partition, o.committed_offset, o.leader_epoch, o.metadata \
         from open, unnest($7::int4[], $8::int4[], $9::int8[], $10::int4[], $11::bytea[]) \
             o (topic, partition, committed_offset, leader_epoch, metadata) \
         on conflict (transactional_id, group_id, topic, partition) do update set committed_offset = excluded.committed_offset, \
             leader_epoch = excluded.leader_epoch, metadata = excluded.metadata) \
     select exists (select from owned), exists (select from open)";

impl Store {
    /// Markers that are due in the partitions of a lane.
    pub async fn due_markers(&self, lane_id: i32) -> Result<Vec<DueMarker>> {
        let client = self.client().await?;
        let statement = client.prepare_cached(DUE).await?;
        let rows = client.query(&statement, &[&lane_id]).await?;
        Ok(rows.iter().map(due_marker).collect())
    }

    /// Those of some transactions that have markers which are not written yet.
    pub async fn transactions_with_markers(
        &self,
        transactional_ids: &[&str],
    ) -> Result<HashSet<String>> {
        let client = self.client().await?;
        let statement = client.prepare_cached(LEFT).await?;
        let rows = client.query(&statement, &[&transactional_ids]).await?;
        Ok(rows.iter().map(|row| row.get(0)).collect())
    }

    /// Stores offsets that an open transaction will commit, by the right to coordinate their group. Each partition is named once.
    pub async fn pend_offsets(
        &self,
        (transactional_id, producer_id, producer_epoch): (&str, i64, i16),
        (group_id, lease): (&str, ShardLease),
        offsets: &[OffsetWrite],
    ) -> Result<Pended> {
        let topics: Vec<i32> = offsets.iter().map(|o| o.topic).collect();
        let partitions: Vec<i32> = offsets.iter().map(|o| o.partition).collect();
        let committed: Vec<i64> = offsets.iter().map(|o| o.offset).collect();
        let epochs: Vec<i32> = offsets.iter().map(|o| o.leader_epoch).collect();
        let metadata: Vec<&[u8]> = offsets.iter().map(|o| o.metadata.as_bytes()).collect();
        let client = self.client().await?;
        let statement = client.prepare_cached(PEND).await?;
        let row = client
            .query_one(
                &statement,
                &[
                    &lease.shard,
                    &lease.epoch,
                    &transactional_id,
                    &producer_id,
                    &producer_epoch,
                    &group_id,
                    &topics,
                    &partitions,
                    &committed,
                    &epochs,
                    &metadata,
                ],
            )
            .await?;
        Ok(match (row.get(0), row.get(1)) {
            (false, _) => Pended::NotCoordinator,
            (true, false) => Pended::NotOpen,
            (true, true) => Pended::Done,
        })
    }
}

fn due_marker(row: &Row) -> DueMarker {
    DueMarker {
        transactional_id: row.get(0),
        part: row.get(1),
        producer_id: row.get(2),
        producer_epoch: row.get(3),
        is_commit: row.get(4),
        is_epoch_bumped: row.get(5),
        coordinator_epoch: row.get(6),
    }
}

/// The statements of [`FlushChanges`], prepared.
#[derive(Debug)]
pub(crate) struct ChangeStatements {
    lock: Statement,
    writes: Statements,
    decide: Statement,
    written: Statement,
}

impl ChangeStatements {
    /// Makes ready for what is to be applied, so that nothing is prepared between statements that are sent together. `known` are those
    /// of the same connection, if there are any yet.
    pub(crate) async fn prepare(
        client: &Client,
        changes: &FlushChanges,
        known: Option<Self>,
    ) -> Result<Self, tokio_postgres::Error> {
        let mut prepared = match known {
            Some(known) => known,
            None => Self {
                lock: client.prepare(LOCK).await?,
                writes: Statements::default(),
                decide: client.prepare(DECIDE).await?,
                written: client.prepare(WRITTEN).await?,
            },
        };
        let columns = transactions::Columns::new(&changes.transactions, &changes.aborted);
        prepared.writes.of(client, &columns).await?;
        Ok(prepared)
    }

    /// False if something of it must not be done by this broker: the transaction is to be rolled back then. The statements are sent
    /// together, each only if there is something for it.
    pub(crate) async fn apply(
        &self,
        client: &Client,
        changes: &FlushChanges,
    ) -> Result<bool, tokio_postgres::Error> {
        let columns = transactions::Columns::new(&changes.transactions, &changes.aborted);
        // Polled in order, so they are sent in order without waiting for each other.
        let (_, (), owned, written) = try_join4(
            self.lock(client, &changes.transactions),
            // Before what it reads of the transaction goes.
            self.decide(client, &changes.due),
            async {
                match self.writes.prepared(&columns) {
                    Some(write) if columns.are_any() => columns.execute(client, write).await,
                    _ => Ok(Vec::new()),
                }
            },
            self.written(client, &changes.written),
        )
        .await?;
        Ok(columns.are_all_owned(&owned) && written == changes.written.len() as u64)
    }

    async fn lock(
        &self,
        client: &Client,
        writes: &[TransactionWrite],
    ) -> Result<(), tokio_postgres::Error> {
        let ended = writes
            .iter()
            .filter(|w| w.end.is_some() && !w.groups.is_empty());
        let (shards, ids): (Vec<i32>, Vec<&str>) = ended
            .map(|write| (write.lease.shard, write.transactional_id.as_str()))
            .unzip();
        if !ids.is_empty() {
            client.execute(&self.lock, &[&shards, &ids]).await?;
        }
        Ok(())
    }

    async fn decide(
        &self,
        client: &Client,
        due: &[DueMarker],
    ) -> Result<(), tokio_postgres::Error> {
        if due.is_empty() {
            return Ok(());
        }
        let of = Columns::of(due);
        let are_commits: Vec<bool> = due.iter().map(|marker| marker.is_commit).collect();
        let are_bumped: Vec<bool> = due.iter().map(|marker| marker.is_epoch_bumped).collect();
        let coordinators: Vec<i32> = due.iter().map(|marker| marker.coordinator_epoch).collect();
        client
            .execute(
                &self.decide,
                &[
                    &of.ids,
                    &of.parts,
                    &of.producer_ids,
                    &of.producer_epochs,
                    &are_commits,
                    &are_bumped,
                    &coordinators,
                ],
            )
            .await?;
        Ok(())
    }

    /// How many of them were due.
    async fn written(
        &self,
        client: &Client,
        written: &[DueMarker],
    ) -> Result<u64, tokio_postgres::Error> {
        if written.is_empty() {
            return Ok(0);
        }
        let of = Columns::of(written);
        client
            .execute(
                &self.written,
                &[&of.ids, &of.parts, &of.producer_ids, &of.producer_epochs],
            )
            .await
    }
}

struct Columns<'a> {
    ids: Vec<&'a str>,
    parts: Vec<i32>,
    producer_ids: Vec<i64>,
    producer_epochs: Vec<i16>,
}

impl<'a> Columns<'a> {
    fn of(markers: &'a [DueMarker]) -> Self {
        Self {
            ids: markers
                .iter()
                .map(|m| m.transactional_id.as_str())
                .collect(),
            parts: markers.iter().map(|marker| marker.part).collect(),
            producer_ids: markers.iter().map(|marker| marker.producer_id).collect(),
            producer_epochs: markers.iter().map(|marker| marker.producer_epoch).collect(),
        }
    }
}
