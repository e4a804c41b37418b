//! Committed offsets: reading and expiring them. They are committed through `group_writer`.

use tokio_postgres::Row;
use uuid::Uuid;

use crate::{Result, Store};

/// A committed offset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommittedOffset {
    /// Topic, as [`crate::Topic::id`].
    pub topic: i32,
    /// Name of the topic.
    pub topic_name: String,
    /// Kafka's id of the topic.
    pub topic_id: Uuid,
    /// Partition number.
    pub partition: i32,
    /// Offset of the next record to be consumed.
    pub offset: i64,
    /// -1 if the client did not say.
    pub leader_epoch: i32,
    /// The client's text.
    pub metadata: String,
}

const OFFSETS: &str = "select t.id, t.name, t.topic_id, o.partition, o.committed_offset, o.leader_epoch, o.metadata \
     from kafka.group_offsets o join kafka.topics t on t.id = o.topic where o.group_id = $1 order by t.name, o.partition";
/// Of empty groups: those that were joined once, by the time since they have been empty; others by their commits alone.
const EXPIRE: &str = "delete from kafka.group_offsets o using kafka.groups g \
     where g.group_id = o.group_id and g.group_state = 'Empty' and now() >= coalesce(o.expires_at, \
         case when g.protocol_type is null then o.commit_timestamp else greatest(g.changed_at, o.commit_timestamp) end \
             + $1::float8 * interval '1 ms')";
const EXPIRE_UNSUBSCRIBED: &str = "delete from kafka.group_offsets o where o.group_id = $1 and not o.topic = any($2) \
     and now() >= coalesce(o.expires_at, o.commit_timestamp + $3::float8 * interval '1 ms')";
const ORPHANS: &str = "delete from kafka.group_offsets o where not exists (select from kafka.topics t where t.id = o.topic)";

impl Store {
    /// All that a group has committed for topics that exist, by topic name and partition.
    pub async fn committed_offsets(&self, group_id: &str) -> Result<Vec<CommittedOffset>> {
        let client = self.client().await?;
        let statement = client.prepare_cached(OFFSETS).await?;
        let rows = client.query(&statement, &[&group_id]).await?;
        Ok(rows.iter().map(committed_offset).collect())
    }

    /// Removes offsets of groups without members that are older than this, in milliseconds, and what deleted topics may
    /// have left. How many.
    pub async fn expire_offsets(&self, retention_ms: i64) -> Result<u64> {
        #[expect(clippy::cast_precision_loss, reason = "a time span")]
        let retention_ms = retention_ms as f64;
        let client = self.client().await?;
        let expired = client.execute(EXPIRE, &[&retention_ms]).await?;
        Ok(expired + client.execute(ORPHANS, &[]).await?)
    }

    /// Removes old offsets of one group but for these topics, which its members are subscribed to. How many.
    pub async fn expire_unsubscribed_offsets(
        &self,
        group_id: &str,
        subscribed: &[i32],
        retention_ms: i64,
    ) -> Result<u64> {
        #[expect(clippy::cast_precision_loss, reason = "a time span")]
        let retention_ms = retention_ms as f64;
        let client = self.client().await?;
        let expired = client
            .execute(
                EXPIRE_UNSUBSCRIBED,
                &[&group_id, &subscribed, &retention_ms],
            )
            .await?;
        Ok(expired)
    }
}

fn committed_offset(row: &Row) -> CommittedOffset {
    let metadata: Vec<u8> = row.get(6);
    CommittedOffset {
        topic: row.get(0),
        topic_name: row.get(1),
        topic_id: row.get(2),
        partition: row.get(3),
        offset: row.get(4),
        leader_epoch: row.get(5),
        metadata: String::from_utf8_lossy(&metadata).into_owned(),
    }
}
