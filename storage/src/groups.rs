//! Groups and their members: who coordinates them, loading them, what is known of all. Writing is in `group_writer`.

use tokio_postgres::{IsolationLevel, Row};
use uuid::Uuid;

use crate::{Result, Store};

/// The right to coordinate the groups of one shard until another broker claims it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ShardLease {
    /// The shard: groups whose id hashes to it.
    pub shard: i32,
    /// Epoch of this claim; a later claim has a higher one.
    pub epoch: i32,
}

/// A group's row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupRow {
    /// Key.
    pub group_id: String,
    /// `classic` or `consumer`.
    pub group_type: String,
    /// Kafka's name of the state; `Empty` without members.
    pub group_state: String,
    /// Generation or group epoch.
    pub epoch: i32,
    /// What the members are; none if nobody has ever joined.
    pub protocol_type: Option<String>,
    /// Assignor in use.
    pub protocol: Option<String>,
    /// Leader of a classic group.
    pub leader: Option<String>,
    /// What else the broker keeps.
    pub detail: Vec<u8>,
}

/// A member's row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberRow {
    /// Key within the group.
    pub member_id: String,
    /// Id of a static member.
    pub group_instance_id: Option<String>,
    /// As shown by tools.
    pub client_id: String,
    /// As shown by tools.
    pub client_host: String,
    /// Generation or member epoch.
    pub epoch: i32,
    /// What else the broker keeps.
    pub detail: Vec<u8>,
}

/// Who coordinates the groups of a shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShardOwner {
    /// Number of the broker; `None` if nobody does at the moment.
    pub node_id: Option<i32>,
    /// Its incarnation.
    pub owner: Option<Uuid>,
    /// The shard, and its epoch.
    pub lease: ShardLease,
}

/// What a list of groups says of each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedGroup {
    /// Id of the group.
    pub group_id: String,
    /// `classic` or `consumer`.
    pub group_type: String,
    /// Kafka's name of the state.
    pub group_state: String,
    /// What the members are.
    pub protocol_type: Option<String>,
}

/// Those of a living broker are left to it.
const CLAIM: &str = "update kafka.group_shards s set owner = $1, node_id = $2, epoch = epoch + 1, claimed_at = now() \
     where ($3::int4[] is null or s.shard = any($3)) and not exists (select from kafka.brokers b where b.incarnation = s.owner \
         and b.incarnation <> $1 and b.heartbeat > clock_timestamp() - b.session_timeout_ms * interval '1 ms') \
     returning shard, epoch";
const RELEASE: &str = "update kafka.group_shards s set owner = null, node_id = null, epoch = s.epoch + 1 \
     from unnest($1::int4[], $2::int4[]) l (shard, epoch) where s.shard = l.shard and s.epoch = l.epoch";
const SHARDS: &str = "select shard, node_id, owner, epoch from kafka.group_shards order by shard";
const GROUP: &str = "select group_id, group_type, group_state, epoch, protocol_type, protocol, leader, detail \
     from kafka.groups where group_id = $1";
const MEMBERS: &str = "select member_id, group_instance_id, client_id, client_host, epoch, detail \
     from kafka.group_members where group_id = $1 order by member_id";
const LIST: &str =
    "select group_id, group_type, group_state, protocol_type from kafka.groups order by group_id";
const WITH_MEMBERS: &str = "select group_id from kafka.groups where group_state <> 'Empty'";
const FORGET_EMPTY: &str = "delete from kafka.groups g where g.group_state = 'Empty' \
     and not exists (select from kafka.group_offsets o where o.group_id = g.group_id) \
     and g.changed_at <= now() - $1::float8 * interval '1 ms' returning g.group_id";

impl Store {
    /// Claims shards, or all, for a broker; those of other living brokers are not claimed. Waits for writes of a former owner
    /// that are under way; later ones do nothing. In order of the shards, which are numbered from 0.
    pub async fn claim_group_shards(
        &self,
        owner: Uuid,
        shards: Option<&[i32]>,
    ) -> Result<Vec<ShardLease>> {
        let client = self.client().await?;
        let node_id = self.inner.config.node_id;
        let rows = client.query(CLAIM, &[&owner, &node_id, &shards]).await?;
        let mut leases: Vec<ShardLease> = rows
            .iter()
            .map(|row| ShardLease {
                shard: row.get(0),
                epoch: row.get(1),
            })
            .collect();
        leases.sort_unstable_by_key(|lease| lease.shard);
        Ok(leases)
    }

    /// Gives shards up, so that another broker can claim them; what is written with these leases from now on does nothing.
    pub async fn release_group_shards(&self, leases: &[ShardLease]) -> Result<()> {
        let (shards, epochs): (Vec<i32>, Vec<i32>) = leases
            .iter()
            .map(|lease| (lease.shard, lease.epoch))
            .unzip();
        let client = self.client().await?;
        client.execute(RELEASE, &[&shards, &epochs]).await?;
        client
            .query("select pg_notify('kafka_topics', 'leaders')", &[])
            .await?;
        Ok(())
    }

    /// Who has which shard, in order of the shards.
    pub async fn group_shards(&self) -> Result<Vec<ShardOwner>> {
        let client = self.client().await?;
        let statement = client.prepare_cached(SHARDS).await?;
        let rows = client.query(&statement, &[]).await?;
        let owner = |row: &Row| ShardOwner {
            node_id: row.get(1),
            owner: row.get(2),
            lease: ShardLease {
                shard: row.get(0),
                epoch: row.get(3),
            },
        };
        Ok(rows.iter().map(owner).collect())
    }

    /// A group with its members, by their ids.
    pub async fn load_group(&self, group_id: &str) -> Result<Option<(GroupRow, Vec<MemberRow>)>> {
        let mut client = self.client().await?;
        let group = client.prepare_cached(GROUP).await?;
        let members = client.prepare_cached(MEMBERS).await?;
        // One snapshot for both.
        let transaction = client
            .build_transaction()
            .isolation_level(IsolationLevel::RepeatableRead)
            .read_only(true)
            .start()
            .await?;
        let group = transaction.query_opt(&group, &[&group_id]).await?;
        let members = transaction.query(&members, &[&group_id]).await?;
        transaction.commit().await?;
        Ok(group.map(|row| (group_row(&row), members.iter().map(member_row).collect())))
    }

    /// Every group that is stored, by id.
    pub async fn list_groups(&self) -> Result<Vec<ListedGroup>> {
        let client = self.client().await?;
        let statement = client.prepare_cached(LIST).await?;
        let rows = client.query(&statement, &[]).await?;
        Ok(rows
            .iter()
            .map(|row| ListedGroup {
                group_id: row.get(0),
                group_type: row.get(1),
                group_state: row.get(2),
                protocol_type: row.get(3),
            })
            .collect())
    }

    /// Ids of the groups that have members.
    pub async fn groups_with_members(&self) -> Result<Vec<String>> {
        let client = self.client().await?;
        let rows = client.query(WITH_MEMBERS, &[]).await?;
        Ok(rows.iter().map(|row| row.get(0)).collect())
    }

    /// Removes groups that have had neither members nor offsets for this long, in milliseconds. Their ids.
    pub async fn forget_empty_groups(&self, for_ms: i64) -> Result<Vec<String>> {
        #[expect(clippy::cast_precision_loss, reason = "a time span")]
        let for_ms = for_ms as f64;
        let client = self.client().await?;
        let rows = client.query(FORGET_EMPTY, &[&for_ms]).await?;
        Ok(rows.iter().map(|row| row.get(0)).collect())
    }
}

fn group_row(row: &Row) -> GroupRow {
    GroupRow {
        group_id: row.get(0),
        group_type: row.get(1),
        group_state: row.get(2),
        epoch: row.get(3),
        protocol_type: row.get(4),
        protocol: row.get(5),
        leader: row.get(6),
        detail: row.get(7),
    }
}

fn member_row(row: &Row) -> MemberRow {
    MemberRow {
        member_id: row.get(0),
        group_instance_id: row.get(1),
        client_id: row.get(2),
        client_host: row.get(3),
        epoch: row.get(4),
        detail: row.get(5),
    }
}
