//! The statement that writes changes of transactions. It consists of those parts that have something to do, as each table that a
//! statement may write to costs time even where nothing is written.

use std::collections::HashMap;
use std::fmt::Write;

use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Statement};

use super::{AbortedTransaction, TransactionRow, TransactionWrite};
use crate::group_writer::OffsetWrite;
use crate::groups::ShardLease;

type Parameters<'a> = Vec<&'a (dyn ToSql + Sync)>;

/// Some common table expressions, whose parameters are counted from $1.
struct Part {
    text: &'static str,
    is_needed: fn(&Columns<'_>) -> bool,
    parameters: for<'a> fn(&'a Columns<'a>) -> Parameters<'a>,
}

/// A bit for each of [`PARTS`] that is needed.
type Shape = u16;

/// As for groups, the lock on the shards' rows makes a claim wait for this statement, or this statement see the claim.
const OWNED: &str = "owned as materialized ( \
         select s.shard from kafka.group_shards s \
         join unnest($1::int4[], $2::int4[]) l (shard, epoch) on l.shard = s.shard and l.epoch = s.epoch for share of s)";
const DELETED: &str = "deleted as ( \
         delete from kafka.transactions t using unnest($1::int4[], $2::text[]) d (shard, id), owned \
         where owned.shard = d.shard and t.transactional_id = d.id)";
const STATES: &str = "states as ( \
         insert into kafka.transactions (transactional_id, producer_id, producer_epoch, last_producer_id, last_producer_epoch, \
             state, timeout_ms, started_at, updated_at, transaction_version) \
         select r.id, r.producer_id, r.producer_epoch, r.last_producer_id, r.last_producer_epoch, r.state, r.timeout_ms, \
             timestamptz 'epoch' + r.started_ms * interval '1 ms', timestamptz 'epoch' + r.updated_ms * interval '1 ms', r.version \
         from unnest($1::int4[], $2::text[], $3::int8[], $4::int2[], $5::int8[], $6::int2[], $7::text[], $8::int4[], \
                 $9::float8[], $10::float8[], $11::int2[]) \
             r (shard, id, producer_id, producer_epoch, last_producer_id, last_producer_epoch, state, timeout_ms, \
                 started_ms, updated_ms, version) \
         join owned on owned.shard = r.shard \
         on conflict (transactional_id) do update set producer_id = excluded.producer_id, \
             producer_epoch = excluded.producer_epoch, last_producer_id = excluded.last_producer_id, \
             last_producer_epoch = excluded.last_producer_epoch, state = excluded.state, timeout_ms = excluded.timeout_ms, \
             started_at = excluded.started_at, updated_at = excluded.updated_at, \
             transaction_version = excluded.transaction_version)";
const PARTITIONS: &str = "parts as ( \
         insert into kafka.transaction_partitions (transactional_id, part, from_offset) \
         select p.id, p.part, case p.version when 1 then kafka.log_end_offset(p.part) else 0 end \
         from unnest($1::int4[], $2::text[], $3::int4[], $4::int2[]) p (shard, id, part, version) \
         join owned on owned.shard = p.shard on conflict do nothing)";
const GROUPS: &str = "committing as ( \
         insert into kafka.transaction_groups (transactional_id, group_id) \
         select g.id, g.group_id from unnest($1::int4[], $2::text[], $3::text[]) g (shard, id, group_id) \
         join owned on owned.shard = g.shard on conflict do nothing)";
const OFFSETS: &str = "pending as ( \
         insert into kafka.txn_pending_offsets (transactional_id, group_id, topic, partition, committed_offset, leader_epoch, metadata) \
         select o.id, o.group_id, o.topic, o.partition, o.committed_offset, o.leader_epoch, o.metadata \
         from unnest($1::int4[], $2::text[], $3::text[], $4::int4[], $5::int4[], $6::int8[], $7::int4[], $8::bytea[]) \
             o (shard, id, group_id, topic, partition, committed_offset, leader_epoch, metadata) \
         join owned on owned.shard = o.shard \
         on conflict (transactional_id, group_id, topic, partition) do update set committed_offset = excluded.committed_offset, \
             leader_epoch = excluded.leader_epoch, metadata = excluded.metadata returning group_id), \
     touched_by_pending as ( \
         insert into kafka.groups (group_id, group_type, group_state, epoch, detail) \
         select p.group_id, 'classic', 'Empty', 0, '{}' from pending p on conflict do nothing)";
const ENDED: &str = "ended as materialized ( \
         select e.id, e.is_commit, e.number from unnest($1::int4[], $2::text[], $3::bool[]) with ordinality \
             e (shard, id, is_commit, number) join owned on owned.shard = e.shard), \
     left_parts as (delete from kafka.transaction_partitions p using ended e where p.transactional_id = e.id), \
     left_markers as (delete from kafka.txn_markers m using ended e where m.transactional_id = e.id \
         and not exists (select from kafka.topic_partitions p where p.id = m.part))";
/// Behind [`ENDED`].
const DECIDED: &str = "left_groups as (delete from kafka.transaction_groups g using ended e where g.transactional_id = e.id), \
     decided as ( \
         delete from kafka.txn_pending_offsets o using ended e where o.transactional_id = e.id \
         returning o.group_id, o.topic, o.partition, o.committed_offset, o.leader_epoch, o.metadata, e.is_commit, e.number), \
     touched_by_decided as ( \
         insert into kafka.groups (group_id, group_type, group_state, epoch, detail) \
         select d.group_id, 'classic', 'Empty', 0, '{}' from decided d where d.is_commit on conflict do nothing), \
     saved as ( \
         insert into kafka.group_offsets (group_id, topic, partition, committed_offset, leader_epoch, metadata, commit_timestamp) \
         select distinct on (d.group_id, d.topic, d.partition) \
             d.group_id, d.topic, d.partition, d.committed_offset, d.leader_epoch, d.metadata, now() \
         from decided d where d.is_commit order by d.group_id, d.topic, d.partition, d.number desc \
         on conflict (group_id, topic, partition) do update set committed_offset = excluded.committed_offset, \
             leader_epoch = excluded.leader_epoch, metadata = excluded.metadata, commit_timestamp = excluded.commit_timestamp, \
             expires_at = null)";
const ABORTED: &str = "aborted as ( \
         insert into kafka.aborted_transactions (part, last_offset, first_offset, producer_id) \
         select * from unnest($1::int4[], $2::int8[], $3::int8[], $4::int8[]) on conflict do nothing)";

const PARTS: [Part; 9] = [
    Part {
        text: OWNED,
        is_needed: |_| true,
        parameters: |c| vec![&c.lease_shards, &c.lease_epochs],
    },
    Part {
        text: DELETED,
        is_needed: |c| !c.deleted.ids.is_empty(),
        parameters: |c| vec![&c.deleted.shards, &c.deleted.ids],
    },
    Part {
        text: STATES,
        is_needed: |c| !c.rows.of.ids.is_empty(),
        parameters: |c| c.rows.parameters(),
    },
    Part {
        text: PARTITIONS,
        is_needed: |c| !c.parts.is_empty(),
        parameters: |c| {
            vec![
                &c.parts_of.shards,
                &c.parts_of.ids,
                &c.parts,
                &c.part_versions,
            ]
        },
    },
    Part {
        text: GROUPS,
        is_needed: |c| !c.groups.is_empty(),
        parameters: |c| vec![&c.groups_of.shards, &c.groups_of.ids, &c.groups],
    },
    Part {
        text: OFFSETS,
        is_needed: |c| !c.offsets.offsets.is_empty(),
        parameters: |c| c.offsets.parameters(),
    },
    Part {
        text: ENDED,
        is_needed: |c| !c.are_commits.is_empty(),
        parameters: |c| vec![&c.ended.shards, &c.ended.ids, &c.are_commits],
    },
    Part {
        text: DECIDED,
        is_needed: |c| c.has_decided_groups,
        parameters: |_| Vec::new(),
    },
    Part {
        text: ABORTED,
        is_needed: |c| !c.aborted_parts.is_empty(),
        parameters: |c| {
            vec![
                &c.aborted_parts,
                &c.aborted_last,
                &c.aborted_first,
                &c.aborted_producers,
            ]
        },
    },
];

/// The statement of a shape.
fn statement(shape: Shape) -> String {
    let mut text = String::from("with ");
    let mut taken = 0;
    let needed = PARTS.iter().enumerate();
    let needed = needed.filter(|(bit, _)| shape >> bit & 1 == 1);
    for (_, part) in needed {
        if taken > 0 {
            text.push_str(", ");
        }
        taken += append(&mut text, part.text, taken);
    }
    text + " select shard from owned"
}

/// Appends a part whose parameters come after those that are `taken`. How many it has.
fn append(text: &mut String, part: &str, taken: usize) -> usize {
    let mut pieces = part.split('$');
    text.push_str(pieces.next().unwrap_or_default());
    let mut count = 0;
    for piece in pieces {
        let rest = piece.trim_start_matches(|c: char| c.is_ascii_digit());
        let number = piece.strip_suffix(rest).and_then(|n| n.parse().ok());
        let number: usize = number.unwrap_or(0);
        count = count.max(number);
        // Writing to a string does not fail.
        let _ = write!(text, "${}{rest}", taken + number);
    }
    count
}

/// The statements of a connection, each prepared when its shape first comes.
#[derive(Debug, Default)]
pub(crate) struct Statements {
    by_shape: HashMap<Shape, Statement>,
}

impl Statements {
    /// The statement for what is to be written.
    pub(crate) async fn of(
        &mut self,
        client: &Client,
        columns: &Columns<'_>,
    ) -> Result<Statement, tokio_postgres::Error> {
        let shape = columns.shape();
        if let Some(statement) = self.by_shape.get(&shape) {
            return Ok(statement.clone());
        }
        let statement = client.prepare(&statement(shape)).await?;
        self.by_shape.insert(shape, statement.clone());
        Ok(statement)
    }

    /// The same, if it was prepared.
    pub(crate) fn prepared(&self, columns: &Columns<'_>) -> Option<&Statement> {
        self.by_shape.get(&columns.shape())
    }
}

/// What is written, as the parameters of the statement.
#[derive(Debug, Default)]
pub(crate) struct Columns<'a> {
    lease_shards: Vec<i32>,
    lease_epochs: Vec<i32>,
    deleted: Ids<'a>,
    rows: Rows<'a>,
    parts_of: Ids<'a>,
    parts: Vec<i32>,
    part_versions: Vec<i16>,
    groups_of: Ids<'a>,
    groups: Vec<&'a str>,
    offsets: Offsets<'a>,
    ended: Ids<'a>,
    are_commits: Vec<bool>,
    /// Whether one of those that end has groups, without which it has no offsets.
    has_decided_groups: bool,
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
            self.has_decided_groups |= !last.groups.is_empty();
            return;
        }
        let version = last.row.as_ref().map_or(0, |row| row.version);
        let mut offsets: HashMap<(&str, i32, i32), (&TransactionWrite, &OffsetWrite)> =
            HashMap::new();
        for write in writes {
            for part in &write.partitions {
                self.parts_of.push(write);
                self.parts.push(*part);
                self.part_versions.push(version);
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

    /// Whether there is anything to write.
    pub(crate) fn are_any(&self) -> bool {
        !self.lease_shards.is_empty() || !self.aborted_parts.is_empty()
    }

    /// Which parts of the statement have something to do.
    fn shape(&self) -> Shape {
        let needed = PARTS.iter().map(|part| (part.is_needed)(self));
        needed
            .rev()
            .fold(0, |shape, is_needed| shape << 1 | Shape::from(is_needed))
    }

    /// Writes by the statement of this shape. The shards by whose right it was done.
    pub(crate) async fn execute(
        &self,
        client: &Client,
        statement: &Statement,
    ) -> Result<Vec<i32>, tokio_postgres::Error> {
        let needed = PARTS.iter().filter(|part| (part.is_needed)(self));
        let parameters: Vec<&(dyn ToSql + Sync)> =
            needed.flat_map(|part| (part.parameters)(self)).collect();
        let owned = client.query(statement, &parameters).await?;
        Ok(owned.iter().map(|row| row.get(0)).collect())
    }

    /// Whether all leases are among `owned`.
    pub(crate) fn are_all_owned(&self, owned: &[i32]) -> bool {
        self.lease_shards.iter().all(|shard| owned.contains(shard))
    }
}

impl<'a> Rows<'a> {
    fn parameters(&self) -> Parameters<'_> {
        vec![
            &self.of.shards,
            &self.of.ids,
            &self.producer_ids,
            &self.producer_epochs,
            &self.last_producer_ids,
            &self.last_producer_epochs,
            &self.states,
            &self.timeouts_ms,
            &self.started_ms,
            &self.updated_ms,
            &self.versions,
        ]
    }

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
    fn parameters(&self) -> Parameters<'_> {
        vec![
            &self.of.shards,
            &self.of.ids,
            &self.groups,
            &self.topics,
            &self.partitions,
            &self.offsets,
            &self.leader_epochs,
            &self.metadata,
        ]
    }

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
