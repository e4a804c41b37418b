//! Writes of group coordinators: commits of offsets, states of groups and their members. Many requests' writes are one
//! statement, fenced by the epoch of each group's shard.

use std::collections::HashMap;
use std::time::Duration;

use tokio_postgres::Statement;
use tokio_postgres::types::ToSql;

use crate::groups::{GroupRow, MemberRow, ShardLease};
use crate::pool::{self, Connection};
use crate::{Error, Outcome, Result, Store};

/// How long a write waits for a row that somebody else has locked by SQL.
const LOCK_WAIT: Duration = Duration::from_secs(2);

/// One write to one group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupWrite {
    /// The group.
    pub group_id: String,
    /// By what right.
    pub lease: ShardLease,
    /// What.
    pub change: GroupChange,
}

/// What is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GroupChange {
    /// The group's row, and the rows of members that have changed or are gone.
    State {
        /// As it is now.
        group: Box<GroupRow>,
        /// As they are now.
        members: Vec<MemberRow>,
        /// Ids of members that are gone.
        removed: Vec<String>,
    },
    /// Commits offsets. A group that is not stored comes into being, without members.
    Offsets(Vec<OffsetWrite>),
    /// Removes the group with its members and offsets.
    Delete,
    /// Removes committed offsets, by topic ([`crate::Topic::id`]) and partition.
    DeleteOffsets(Vec<(i32, i32)>),
}

/// An offset to be committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OffsetWrite {
    /// Topic, as [`crate::Topic::id`].
    pub topic: i32,
    /// Partition number.
    pub partition: i32,
    /// Offset of the next record to be consumed.
    pub offset: i64,
    /// -1 if the client does not say.
    pub leader_epoch: i32,
    /// Text of the client's choice.
    pub metadata: String,
    /// Time of the commit in milliseconds since 1970, if it is not now.
    pub timestamp_ms: Option<i64>,
    /// For how long it is kept, in milliseconds, where the client says so.
    pub retention_ms: Option<i64>,
}

/// The lock on the shards' rows makes a claim wait for this statement, or this statement see the claim.
const STATES: &str = "with owned as materialized ( \
         select s.shard from kafka.group_shards s \
         join unnest($1::int4[], $2::int4[]) l (shard, epoch) on l.shard = s.shard and l.epoch = s.epoch for share of s), \
     deleted as ( \
         delete from kafka.groups g using unnest($3::int4[], $4::text[]) d (shard, group_id), owned \
         where owned.shard = d.shard and g.group_id = d.group_id), \
     states as ( \
         insert into kafka.groups as g (group_id, group_type, group_state, epoch, protocol_type, protocol, leader, detail) \
         select s.group_id, s.group_type, s.group_state, s.epoch, s.protocol_type, s.protocol, s.leader, s.detail \
         from unnest($5::int4[], $6::text[], $7::text[], $8::text[], $9::int4[], $10::text[], $11::text[], $12::text[], $13::bytea[]) \
             s (shard, group_id, group_type, group_state, epoch, protocol_type, protocol, leader, detail) \
         join owned on owned.shard = s.shard \
         on conflict (group_id) do update set group_type = excluded.group_type, group_state = excluded.group_state, \
             epoch = excluded.epoch, protocol_type = excluded.protocol_type, protocol = excluded.protocol, \
             leader = excluded.leader, detail = excluded.detail, \
             changed_at = case when g.group_state = excluded.group_state then g.changed_at else now() end), \
     gone as ( \
         delete from kafka.group_members m using unnest($14::int4[], $15::text[], $16::text[]) d (shard, group_id, member_id), owned \
         where owned.shard = d.shard and m.group_id = d.group_id and m.member_id = d.member_id), \
     members as ( \
         insert into kafka.group_members (group_id, member_id, group_instance_id, client_id, client_host, epoch, detail) \
         select m.group_id, m.member_id, m.group_instance_id, m.client_id, m.client_host, m.epoch, m.detail \
         from unnest($17::int4[], $18::text[], $19::text[], $20::text[], $21::text[], $22::text[], $23::int4[], $24::bytea[]) \
             m (shard, group_id, member_id, group_instance_id, client_id, client_host, epoch, detail) \
         join owned on owned.shard = m.shard \
         on conflict (group_id, member_id) do update set group_instance_id = excluded.group_instance_id, \
             client_id = excluded.client_id, client_host = excluded.client_host, epoch = excluded.epoch, detail = excluded.detail) \
     select shard from owned";

const COMMIT: &str = "with owned as materialized ( \
         select s.shard from kafka.group_shards s \
         join unnest($1::int4[], $2::int4[]) l (shard, epoch) on l.shard = s.shard and l.epoch = s.epoch for share of s), \
     touched as ( \
         insert into kafka.groups (group_id, group_type, group_state, epoch, detail) \
         select t.group_id, 'classic', 'Empty', 0, '{}' from unnest($3::int4[], $4::text[]) t (shard, group_id) \
         join owned on owned.shard = t.shard on conflict do nothing), \
     deleted as ( \
         delete from kafka.group_offsets o using unnest($5::int4[], $6::text[], $7::int4[], $8::int4[]) d (shard, group_id, topic, partition), owned \
         where owned.shard = d.shard and o.group_id = d.group_id and o.topic = d.topic and o.partition = d.partition), \
     saved as ( \
         insert into kafka.group_offsets (group_id, topic, partition, committed_offset, leader_epoch, metadata, commit_timestamp, expires_at) \
         select o.group_id, o.topic, o.partition, o.committed_offset, o.leader_epoch, o.metadata, o.at, o.at + o.keep_ms * interval '1 ms' \
         from (select u.*, case when u.at_ms is null then now() else timestamptz 'epoch' + u.at_ms * interval '1 ms' end as at \
             from unnest($9::int4[], $10::text[], $11::int4[], $12::int4[], $13::int8[], $14::int4[], $15::bytea[], $16::float8[], $17::float8[]) \
                 u (shard, group_id, topic, partition, committed_offset, leader_epoch, metadata, at_ms, keep_ms)) o \
         join owned on owned.shard = o.shard \
         on conflict (group_id, topic, partition) do update set committed_offset = excluded.committed_offset, \
             leader_epoch = excluded.leader_epoch, metadata = excluded.metadata, commit_timestamp = excluded.commit_timestamp, \
             expires_at = excluded.expires_at) \
     select shard from owned";

/// Writes for groups over a connection of its own, one statement at a time.
#[derive(Debug)]
pub struct GroupWriter {
    store: Store,
    session: Option<Session>,
}

#[derive(Debug)]
struct Session {
    connection: Connection,
    states: Statement,
    commits: Statement,
}

impl Store {
    /// A writer; it connects when it is first used.
    #[must_use]
    pub fn group_writer(&self) -> GroupWriter {
        GroupWriter {
            store: self.clone(),
            session: None,
        }
    }
}

impl GroupWriter {
    /// Commits and deletions of offsets, of any number of groups, as one statement. A later commit of the same partition
    /// goes before an earlier one; a group is not in it with both kinds.
    ///
    /// Which writes were done, in their order: those of shards that another broker has claimed were not. An error means
    /// that none was, unless it says that the outcome is unknown; to repeat the call is safe then.
    pub async fn write_offsets(&mut self, writes: &[&GroupWrite]) -> Result<Vec<bool>> {
        let columns = Columns::Offsets(OffsetColumns::new(writes));
        let owned = self.run(&columns).await?;
        Ok(which(writes, &owned))
    }

    /// New states and deletions of groups, as one statement; each group is in it once. The result is as that of
    /// [`GroupWriter::write_offsets`].
    pub async fn write_states(&mut self, writes: &[&GroupWrite]) -> Result<Vec<bool>> {
        let columns = Columns::States(StateColumns::new(writes));
        let owned = self.run(&columns).await?;
        Ok(which(writes, &owned))
    }

    /// The shards among those written that are still owned.
    async fn run(&mut self, columns: &Columns<'_>) -> Result<Vec<i32>> {
        match self.attempt(columns).await {
            // The connection may have been lost long ago, and the statement may be repeated.
            Err(Error::Unavailable {
                outcome: Outcome::Unknown,
                ..
            }) => self.attempt(columns).await,
            other => other,
        }
    }

    async fn attempt(&mut self, columns: &Columns<'_>) -> Result<Vec<i32>> {
        let session = match self.session.take() {
            Some(session) => session,
            None => connect(&self.store).await?,
        };
        let limit = self.store.config().statement_timeout;
        let result = match tokio::time::timeout(limit, columns.execute(&session)).await {
            Ok(result) => result.map_err(Error::from),
            Err(_) => Err(Error::unavailable(
                Outcome::Unknown,
                "no answer to a write of groups in time",
            )),
        };
        if !matches!(result, Err(Error::Unavailable { .. })) {
            self.session = Some(session);
        }
        result
    }
}

/// Which writes were to shards that are owned.
fn which(writes: &[&GroupWrite], owned: &[i32]) -> Vec<bool> {
    let owned = writes
        .iter()
        .map(|write| owned.contains(&write.lease.shard));
    owned.collect()
}

/// The parameters of a statement.
#[derive(Debug)]
enum Columns<'a> {
    Offsets(OffsetColumns<'a>),
    States(StateColumns<'a>),
}

impl Columns<'_> {
    async fn execute(&self, session: &Session) -> Result<Vec<i32>, tokio_postgres::Error> {
        match self {
            Self::Offsets(columns) => columns.execute(session).await,
            Self::States(columns) => columns.execute(session).await,
        }
    }
}

async fn connect(store: &Store) -> Result<Session> {
    let connection = pool::connect(&store.inner.connect).await?;
    let client = &connection.client;
    let timeouts = format!(
        "set lock_timeout = {}; set statement_timeout = {}",
        LOCK_WAIT.as_millis(),
        store.config().statement_timeout.as_millis()
    );
    client.batch_execute(&timeouts).await?;
    let states = client.prepare(STATES).await?;
    let commits = client.prepare(COMMIT).await?;
    Ok(Session {
        connection,
        states,
        commits,
    })
}

/// The distinct leases of some writes.
#[derive(Debug, Default)]
struct Leases {
    shards: Vec<i32>,
    epochs: Vec<i32>,
}

impl Leases {
    fn new(writes: &[&GroupWrite]) -> Self {
        let mut leases: Vec<ShardLease> = writes.iter().map(|write| write.lease).collect();
        // In order, so that all lock the rows in the same.
        leases.sort_unstable_by_key(|lease| (lease.shard, lease.epoch));
        leases.dedup();
        Self {
            shards: leases.iter().map(|lease| lease.shard).collect(),
            epochs: leases.iter().map(|lease| lease.epoch).collect(),
        }
    }
}

/// Columns of the shard and id of groups.
#[derive(Debug, Default)]
struct Groups<'a> {
    shards: Vec<i32>,
    ids: Vec<&'a str>,
}

impl<'a> Groups<'a> {
    fn push(&mut self, write: &'a GroupWrite) {
        self.shards.push(write.lease.shard);
        self.ids.push(&write.group_id);
    }
}

#[derive(Debug, Default)]
struct OffsetColumns<'a> {
    leases: Leases,
    touched: Groups<'a>,
    deleted: Groups<'a>,
    deleted_topics: Vec<i32>,
    deleted_partitions: Vec<i32>,
    groups: Groups<'a>,
    topics: Vec<i32>,
    partitions: Vec<i32>,
    offsets: Vec<i64>,
    leader_epochs: Vec<i32>,
    metadata: Vec<&'a [u8]>,
    timestamps_ms: Vec<Option<f64>>,
    retentions_ms: Vec<Option<f64>>,
}

impl<'a> OffsetColumns<'a> {
    fn new(writes: &[&'a GroupWrite]) -> Self {
        let mut columns = Self {
            leases: Leases::new(writes),
            ..Self::default()
        };
        // The last commit of each partition.
        let mut rows: HashMap<(&str, i32, i32), (&GroupWrite, &OffsetWrite)> = HashMap::new();
        let mut touched: HashMap<&str, &GroupWrite> = HashMap::new();
        for write in writes {
            match &write.change {
                GroupChange::Offsets(offsets) => {
                    touched.insert(&write.group_id, write);
                    for offset in offsets {
                        let key = (write.group_id.as_str(), offset.topic, offset.partition);
                        rows.insert(key, (write, offset));
                    }
                }
                GroupChange::DeleteOffsets(partitions) => {
                    for (topic, partition) in partitions {
                        columns.deleted.push(write);
                        columns.deleted_topics.push(*topic);
                        columns.deleted_partitions.push(*partition);
                    }
                }
                GroupChange::State { .. } | GroupChange::Delete => {}
            }
        }
        touched
            .into_values()
            .for_each(|write| columns.touched.push(write));
        let mut rows: Vec<_> = rows.into_iter().collect();
        rows.sort_unstable_by_key(|(key, _)| *key);
        for (_, (write, offset)) in rows {
            columns.push(write, offset);
        }
        columns
    }

    #[expect(clippy::cast_precision_loss, reason = "times in milliseconds")]
    fn push(&mut self, write: &'a GroupWrite, offset: &'a OffsetWrite) {
        self.groups.push(write);
        self.topics.push(offset.topic);
        self.partitions.push(offset.partition);
        self.offsets.push(offset.offset);
        self.leader_epochs.push(offset.leader_epoch);
        self.metadata.push(offset.metadata.as_bytes());
        self.timestamps_ms
            .push(offset.timestamp_ms.map(|ms| ms as f64));
        self.retentions_ms
            .push(offset.retention_ms.map(|ms| ms as f64));
    }

    async fn execute(&self, session: &Session) -> Result<Vec<i32>, tokio_postgres::Error> {
        let parameters: [&(dyn ToSql + Sync); 17] = [
            &self.leases.shards,
            &self.leases.epochs,
            &self.touched.shards,
            &self.touched.ids,
            &self.deleted.shards,
            &self.deleted.ids,
            &self.deleted_topics,
            &self.deleted_partitions,
            &self.groups.shards,
            &self.groups.ids,
            &self.topics,
            &self.partitions,
            &self.offsets,
            &self.leader_epochs,
            &self.metadata,
            &self.timestamps_ms,
            &self.retentions_ms,
        ];
        let client = &session.connection.client;
        let rows = client.query(&session.commits, &parameters).await?;
        Ok(rows.iter().map(|row| row.get(0)).collect())
    }
}

#[derive(Debug, Default)]
struct StateColumns<'a> {
    leases: Leases,
    deleted: Groups<'a>,
    groups: Groups<'a>,
    types: Vec<&'a str>,
    states: Vec<&'a str>,
    epochs: Vec<i32>,
    protocol_types: Vec<Option<&'a str>>,
    protocols: Vec<Option<&'a str>>,
    leaders: Vec<Option<&'a str>>,
    details: Vec<&'a [u8]>,
    removed: Groups<'a>,
    removed_ids: Vec<&'a str>,
    members: Groups<'a>,
    member_ids: Vec<&'a str>,
    instance_ids: Vec<Option<&'a str>>,
    client_ids: Vec<&'a str>,
    client_hosts: Vec<&'a str>,
    member_epochs: Vec<i32>,
    member_details: Vec<&'a [u8]>,
}

impl<'a> StateColumns<'a> {
    fn new(writes: &[&'a GroupWrite]) -> Self {
        let mut columns = Self {
            leases: Leases::new(writes),
            ..Self::default()
        };
        for write in writes {
            match &write.change {
                GroupChange::State {
                    group,
                    members,
                    removed,
                } => {
                    columns.push_group(write, group);
                    members
                        .iter()
                        .for_each(|member| columns.push_member(write, member));
                    for member_id in removed {
                        columns.removed.push(write);
                        columns.removed_ids.push(member_id);
                    }
                }
                GroupChange::Delete => columns.deleted.push(write),
                GroupChange::Offsets(_) | GroupChange::DeleteOffsets(_) => {}
            }
        }
        columns
    }

    fn push_group(&mut self, write: &'a GroupWrite, group: &'a GroupRow) {
        self.groups.push(write);
        self.types.push(&group.group_type);
        self.states.push(&group.group_state);
        self.epochs.push(group.epoch);
        self.protocol_types.push(group.protocol_type.as_deref());
        self.protocols.push(group.protocol.as_deref());
        self.leaders.push(group.leader.as_deref());
        self.details.push(&group.detail);
    }

    fn push_member(&mut self, write: &'a GroupWrite, member: &'a MemberRow) {
        self.members.push(write);
        self.member_ids.push(&member.member_id);
        self.instance_ids.push(member.group_instance_id.as_deref());
        self.client_ids.push(&member.client_id);
        self.client_hosts.push(&member.client_host);
        self.member_epochs.push(member.epoch);
        self.member_details.push(&member.detail);
    }

    async fn execute(&self, session: &Session) -> Result<Vec<i32>, tokio_postgres::Error> {
        let parameters: [&(dyn ToSql + Sync); 24] = [
            &self.leases.shards,
            &self.leases.epochs,
            &self.deleted.shards,
            &self.deleted.ids,
            &self.groups.shards,
            &self.groups.ids,
            &self.types,
            &self.states,
            &self.epochs,
            &self.protocol_types,
            &self.protocols,
            &self.leaders,
            &self.details,
            &self.removed.shards,
            &self.removed.ids,
            &self.removed_ids,
            &self.members.shards,
            &self.members.ids,
            &self.member_ids,
            &self.instance_ids,
            &self.client_ids,
            &self.client_hosts,
            &self.member_epochs,
            &self.member_details,
        ];
        let client = &session.connection.client;
        let rows = client.query(&session.states, &parameters).await?;
        Ok(rows.iter().map(|row| row.get(0)).collect())
    }
}
