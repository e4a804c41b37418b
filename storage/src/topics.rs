//! Topics, their partitions and settings.

use uuid::Uuid;

use crate::{Result, Store};

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
    /// Lanes to deal the partitions to: partition `i` gets `lanes[i % lanes.len()]`. Not empty.
    pub lanes: Vec<i32>,
    /// Settings as name and value.
    pub settings: Vec<(String, String)>,
}

impl Store {
    /// All topics, by name.
    pub async fn load_topics(&self) -> Result<Vec<Topic>> {
        unimplemented!()
    }

    /// Creates the topics in one transaction and answers each in the order asked: the topic, or `Exists`.
    pub async fn create_topics(&self, _topics: &[NewTopic]) -> Result<Vec<Result<Topic>>> {
        unimplemented!()
    }

    /// Deletes the topics with these ids in one transaction and answers each in the order asked: done, or `NotFound`.
    ///
    /// Only the catalogue changes; the records' rows go when their segments are dropped. As partition ids are never
    /// reused, no later topic can see them.
    pub async fn delete_topics(&self, _ids: &[i32]) -> Result<Vec<Result<()>>> {
        unimplemented!()
    }

    /// Grows topic `id` to `total` partitions and returns all of them; new partition `i` gets `lanes[i % lanes.len()]`.
    ///
    /// Errors: `NotFound`, `Exists` when it has `total` partitions or more.
    pub async fn create_partitions(
        &self,
        _id: i32,
        _total: i32,
        _lanes: &[i32],
    ) -> Result<Vec<PartitionRow>> {
        unimplemented!()
    }
}
