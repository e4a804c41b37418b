//! What groups need to know of topics.

use std::sync::Arc;

use uuid::Uuid;

use crate::catalog::{Catalog, Topic};

/// A topic as far as groups care.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TopicShape {
    pub(crate) name: Arc<str>,
    pub(crate) topic_id: Uuid,
    /// What offsets name it by.
    pub(crate) key: i32,
    pub(crate) partitions: i32,
}

/// The topics of the cluster.
pub(crate) trait Topics {
    fn by_name(&self, name: &str) -> Option<TopicShape>;
    fn by_id(&self, topic_id: Uuid) -> Option<TopicShape>;
    /// Names of all, sorted.
    fn names(&self) -> Vec<Arc<str>>;
}

fn shape(topic: &Topic) -> TopicShape {
    TopicShape {
        name: topic.name.clone(),
        topic_id: topic.topic_id,
        key: topic.id,
        partitions: i32::try_from(topic.partitions.len()).unwrap_or(i32::MAX),
    }
}

impl Topics for Catalog {
    fn by_name(&self, name: &str) -> Option<TopicShape> {
        Self::by_name(self, name).map(|topic| shape(&topic))
    }

    fn by_id(&self, topic_id: Uuid) -> Option<TopicShape> {
        self.by_topic_id(topic_id).map(|topic| shape(&topic))
    }

    fn names(&self) -> Vec<Arc<str>> {
        let topics = self.all();
        topics.iter().map(|topic| topic.name.clone()).collect()
    }
}
