//! Topics, their partitions and settings.

use std::collections::{HashMap, HashSet};

use tokio_postgres::types::ToSql;
use tokio_postgres::{IsolationLevel, Row, Transaction};
use uuid::Uuid;

use crate::{Error, Result, Store};

/// A topic with its partitions, in order of their index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topic {
    /// Key of the row; never reused.
    pub id: i32,
    /// Kafka's topic id (KIP-516); a topic created again under the same name has a new one.
    pub topic_id: Uuid,
    /// Name, unique among living topics.
    pub name: String,
    /// Partitions `0..n`.
    pub partitions: Vec<PartitionRow>,
    /// Settings that differ from the defaults, as name and value, by name.
    pub settings: Vec<(String, String)>,
}

/// One partition of a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartitionRow {
    /// Key of the row, `part` in the log; never reused.
    pub id: i32,
    /// Kafka's partition number.
    pub index: i32,
    /// Lane its appends go through.
    pub lane: i32,
    /// Leader epoch.
    pub leader_epoch: i32,
    /// First offset that may be read.
    pub log_start_offset: i64,
}

/// A topic to be created.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewTopic {
    /// Name; the caller has checked it.
    pub name: String,
    /// Topic id.
    pub topic_id: Uuid,
    /// Number of partitions, at least 1.
    pub partitions: i32,
    /// Lanes to deal the partitions to: partition `i` gets `lanes[i % lanes.len()]`. Empty: those of all brokers that live.
    pub lanes: Vec<i32>,
    /// Settings as name and value.
    pub settings: Vec<(String, String)>,
}

const TOPICS: &str = "select id, topic_id, name from kafka.topics order by name";
const PARTITIONS: &str = "select topic, id, partition, lane, leader_epoch, log_start_offset \
     from kafka.topic_partitions order by topic, partition";
const SETTINGS: &str = "select topic, name, value from kafka.topic_settings \
     order by topic, name collate \"C\"";

/// Nothing of a topic that is there, or one whose name differs in `.` and `_` only.
const INSERT_TOPICS: &str = "insert into kafka.topics (topic_id, name, partitions) \
     select u.* from unnest($1::uuid[], $2::text[], $3::int4[]) u (topic_id, name, partitions) \
     where not exists (select from kafka.topics t \
         where translate(t.name, '.', '_') = translate(u.name, '.', '_') and t.name <> u.name) \
     on conflict (name) do nothing returning id, topic_id";
const INSERT_SETTINGS: &str = "insert into kafka.topic_settings (topic, name, value) \
     select u.* from unnest($1::int4[], $2::text[], $3::text[]) u (topic, name, value)";
/// Partitions `$2 .. $3` of a topic, dealt to the lanes of the array. A trigger makes those of a new topic, whoever inserts it.
const INSERT_PARTITIONS: &str = "insert into kafka.topic_partitions (topic, partition, lane) \
     select $1, i, ($4::int4[])[1 + i % cardinality($4::int4[])] from generate_series($2::int4, $3::int4 - 1) i \
     on conflict (topic, partition) do update set lane = excluded.lane \
     returning topic, id, partition, lane, leader_epoch, log_start_offset";

const DELETE_TOPICS: &str = "delete from kafka.topics where id = any($1) returning id";

const LOCK_TOPIC: &str = "select partitions, name from kafka.topics where id = $1 for update";
const GROW_TOPIC: &str = "update kafka.topics set partitions = $2 where id = $1";
const PARTITIONS_OF: &str = "select topic, id, partition, lane, leader_epoch, log_start_offset \
     from kafka.topic_partitions where topic = any($1) order by topic, partition";

impl Store {
    /// All topics, by name.
    pub async fn load_topics(&self) -> Result<Vec<Topic>> {
        let mut client = self.client().await?;
        // One snapshot for the three queries.
        let transaction = client
            .build_transaction()
            .isolation_level(IsolationLevel::RepeatableRead)
            .read_only(true)
            .start()
            .await?;
        let topics = transaction.query(TOPICS, &[]).await?;
        let partitions = transaction.query(PARTITIONS, &[]).await?;
        let settings = transaction.query(SETTINGS, &[]).await?;
        transaction.commit().await?;

        let mut partitions_of: HashMap<i32, Vec<PartitionRow>> =
            HashMap::with_capacity(topics.len());
        for row in &partitions {
            partitions_of
                .entry(row.get(0))
                .or_default()
                .push(partition_row(row));
        }
        let mut settings_of: HashMap<i32, Vec<(String, String)>> = HashMap::new();
        for row in &settings {
            settings_of
                .entry(row.get(0))
                .or_default()
                .push((row.get(1), row.get(2)));
        }
        let topic = |row: &Row| {
            let id = row.get(0);
            Topic {
                id,
                topic_id: row.get(1),
                name: row.get(2),
                partitions: partitions_of.remove(&id).unwrap_or_default(),
                settings: settings_of.remove(&id).unwrap_or_default(),
            }
        };
        Ok(topics.iter().map(topic).collect())
    }

    /// Creates the topics in one transaction and answers each in the order asked: the topic, or `Exists`.
    pub async fn create_topics(&self, topics: &[NewTopic]) -> Result<Vec<Result<Topic>>> {
        for topic in topics {
            if topic.partitions < 1 {
                return Err(Error::bug(
                    "creating a topic",
                    format!("{} has no partition", topic.name),
                ));
            }
        }
        // Rows are inserted by name, so that two brokers creating the same topics wait for each other instead of deadlocking.
        let mut by_name: Vec<&NewTopic> = topics.iter().collect();
        by_name.sort_by_key(|topic| &topic.name);
        let mut names = HashSet::new();
        by_name.retain(|topic| names.insert(topic.name.replace('.', "_")));

        let mut client = self.client().await?;
        let transaction = client.transaction().await?;
        let mut made = insert_topics(&transaction, &by_name).await?;
        transaction.commit().await?;
        let answer = |topic: &NewTopic| {
            let exists = || Error::Exists(format!("topic {}", topic.name));
            made.remove(&topic.topic_id).ok_or_else(exists)
        };
        Ok(topics.iter().map(answer).collect())
    }

    /// Deletes the topics with these ids in one transaction and answers each in the order asked: done, or `NotFound`.
    ///
    /// Only the catalogue changes; the records' rows go when their segments are dropped. As partition ids are never
    /// reused, no later topic can see them.
    pub async fn delete_topics(&self, ids: &[i32]) -> Result<Vec<Result<()>>> {
        let client = self.client().await?;
        let rows = client.query(DELETE_TOPICS, &[&ids]).await?;
        let deleted: HashSet<i32> = rows.iter().map(|row| row.get(0)).collect();
        self.look_for_expired_segments();
        let answer = |id: &i32| match deleted.contains(id) {
            true => Ok(()),
            false => Err(no_topic(*id)),
        };
        Ok(ids.iter().map(answer).collect())
    }

    /// Grows topic `id` to `total` partitions and returns all of them; new partition `i` gets `lanes[i % lanes.len()]`, or that
    /// of a broker that lives if there are none.
    ///
    /// Errors: `NotFound`, `Exists` when it has `total` partitions or more.
    pub async fn create_partitions(
        &self,
        id: i32,
        total: i32,
        lanes: &[i32],
    ) -> Result<Vec<PartitionRow>> {
        let mut client = self.client().await?;
        let transaction = client.transaction().await?;
        // The topic's row lock keeps two callers from adding the same partition.
        let Some(row) = transaction.query_opt(LOCK_TOPIC, &[&id]).await? else {
            return Err(no_topic(id));
        };
        let (count, name): (i32, String) = (row.get(0), row.get(1));
        if total <= count {
            return Err(Error::Exists(format!(
                "topic {name} with {count} partitions"
            )));
        }
        if !lanes.is_empty() {
            transaction
                .query(INSERT_PARTITIONS, &[&id, &count, &total, &lanes])
                .await?;
        }
        transaction.execute(GROW_TOPIC, &[&id, &total]).await?;
        let rows = transaction.query(PARTITIONS_OF, &[&vec![id]]).await?;
        transaction.commit().await?;
        Ok(rows.iter().map(partition_row).collect())
    }
}

/// Those of `topics` that were not there, by topic id.
async fn insert_topics(
    transaction: &Transaction<'_>,
    topics: &[&NewTopic],
) -> Result<HashMap<Uuid, Topic>> {
    let ids: Vec<Uuid> = topics.iter().map(|topic| topic.topic_id).collect();
    let names: Vec<&str> = topics.iter().map(|topic| topic.name.as_str()).collect();
    let counts: Vec<i32> = topics.iter().map(|topic| topic.partitions).collect();
    let rows = transaction
        .query(INSERT_TOPICS, &[&ids, &names, &counts])
        .await?;
    let keys: HashMap<Uuid, i32> = rows.iter().map(|row| (row.get(1), row.get(0))).collect();
    let made = topics
        .iter()
        .filter_map(|topic| Some((*keys.get(&topic.topic_id)?, *topic)));
    let made: Vec<(i32, &NewTopic)> = made.collect();
    for (id, topic) in made.iter().filter(|(_, topic)| !topic.lanes.is_empty()) {
        let partitions: [&(dyn ToSql + Sync); 4] = [id, &0, &topic.partitions, &topic.lanes];
        transaction.query(INSERT_PARTITIONS, &partitions).await?;
    }
    insert_settings(transaction, &made).await?;
    let ids: Vec<i32> = made.iter().map(|(id, _)| *id).collect();
    let mut partitions_of: HashMap<i32, Vec<PartitionRow>> = HashMap::with_capacity(ids.len());
    for row in &transaction.query(PARTITIONS_OF, &[&ids]).await? {
        let partitions = partitions_of.entry(row.get(0)).or_default();
        partitions.push(partition_row(row));
    }
    let topics = made.into_iter().map(|(id, topic)| {
        let mut settings = topic.settings.clone();
        settings.sort();
        let made = Topic {
            id,
            topic_id: topic.topic_id,
            name: topic.name.clone(),
            partitions: partitions_of.remove(&id).unwrap_or_default(),
            settings,
        };
        (topic.topic_id, made)
    });
    Ok(topics.collect())
}

async fn insert_settings(transaction: &Transaction<'_>, made: &[(i32, &NewTopic)]) -> Result<()> {
    let (mut ids, mut names, mut values) = (Vec::new(), Vec::new(), Vec::new());
    for (id, topic) in made {
        for (name, value) in &topic.settings {
            ids.push(*id);
            names.push(name.as_str());
            values.push(value.as_str());
        }
    }
    if !ids.is_empty() {
        transaction
            .execute(INSERT_SETTINGS, &[&ids, &names, &values])
            .await?;
    }
    Ok(())
}

fn partition_row(row: &Row) -> PartitionRow {
    PartitionRow {
        id: row.get(1),
        index: row.get(2),
        lane: row.get(3),
        leader_epoch: row.get(4),
        log_start_offset: row.get(5),
    }
}

fn no_topic(id: i32) -> Error {
    Error::NotFound(format!("topic with id {id}"))
}
