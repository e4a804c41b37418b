//! The topics of this broker in memory: which there are, and the open logs of their partitions. PostgreSQL holds the truth;
//! every change is made there first.
//!
//! Changes are made one after the other, each in a task of its own: a client that goes away cannot stop one half way. After
//! a change that failed, and so may have been made all the same, the topics are loaded again; so they are after a change that
//! somebody else made in the database.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use storage::{Change, NewTopic, Store};
use tokio::sync::{Notify, Semaphore};
use uuid::Uuid;

use crate::log::{Leader, Log, Partition, TopicSettings};
use crate::settings::{Settings, log_settings};

/// One topic with its open partitions.
#[derive(Debug, Clone)]
pub(crate) struct Topic {
    /// The key in storage.
    pub(crate) id: i32,
    pub(crate) topic_id: Uuid,
    pub(crate) name: Arc<str>,
    /// In order of their index, which is the place in this list.
    pub(crate) partitions: Vec<Arc<Partition>>,
    settings: Arc<TopicSettings>,
    /// Name and value of the settings that it was given.
    pub(crate) overrides: Arc<[(String, String)]>,
}

impl Topic {
    pub(crate) fn partition(&self, index: i32) -> Option<&Arc<Partition>> {
        self.partitions.get(usize::try_from(index).ok()?)
    }
}

/// All topics.
#[derive(Debug)]
pub(crate) struct Catalog {
    store: Store,
    log: Arc<Log>,
    topics: RwLock<Topics>,
    /// One change at a time.
    changes: Semaphore,
    /// The database may hold topics that are not known here, or the reverse.
    is_stale: AtomicBool,
    settings: Arc<Settings>,
    /// Told when the leaders of partitions, or brokers, may have changed.
    leaders_changed: Notify,
}

/// How long a request waits for topics to be loaded again; after that it is answered with what is known.
const REFRESH_PATIENCE: Duration = Duration::from_secs(2);

/// Between two attempts to load topics that were changed in the database.
const RELOAD_PAUSE: Duration = Duration::from_millis(500);

#[derive(Debug, Default)]
struct Topics {
    by_name: BTreeMap<Arc<str>, Arc<Topic>>,
    by_id: HashMap<Uuid, Arc<Topic>>,
    /// By the key in storage.
    by_key: HashMap<i32, Arc<Topic>>,
    /// The topic whose name becomes this when `.` is written as `_`.
    by_metric_name: HashMap<String, Arc<str>>,
}

impl Topics {
    fn insert(&mut self, topic: Arc<Topic>) {
        let metric_name = metric_name(&topic.name);
        self.by_metric_name.insert(metric_name, topic.name.clone());
        self.by_id.insert(topic.topic_id, topic.clone());
        self.by_key.insert(topic.id, topic.clone());
        self.by_name.insert(topic.name.clone(), topic);
    }

    fn remove(&mut self, topic: &Topic) {
        self.by_metric_name.remove(&metric_name(&topic.name));
        self.by_id.remove(&topic.topic_id);
        self.by_key.remove(&topic.id);
        self.by_name.remove(&topic.name);
    }
}

/// Kafka's metrics write `.` as `_`, so two topics must not differ in these only.
fn metric_name(name: &str) -> String {
    name.replace('.', "_")
}

impl Catalog {
    /// Loads all topics and opens their logs.
    pub(crate) async fn open(
        store: Store,
        log: Arc<Log>,
        settings: Arc<Settings>,
    ) -> Result<Arc<Self>, storage::Error> {
        let catalog = Arc::new(Self {
            store,
            log,
            topics: RwLock::default(),
            changes: Semaphore::new(1),
            is_stale: AtomicBool::new(false),
            settings,
            leaders_changed: Notify::new(),
        });
        let rows = catalog.store.load_topics().await?;
        let topics = catalog.open_logs(rows).await?;
        let mut known = catalog.topics_mut();
        topics.into_iter().for_each(|topic| known.insert(topic));
        drop(known);
        Ok(catalog)
    }

    fn topics(&self) -> RwLockReadGuard<'_, Topics> {
        self.topics.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn topics_mut(&self) -> RwLockWriteGuard<'_, Topics> {
        self.topics.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// The logs that the topics' partitions are.
    pub(crate) fn log(&self) -> &Arc<Log> {
        &self.log
    }

    pub(crate) fn by_name(&self, name: &str) -> Option<Arc<Topic>> {
        self.topics().by_name.get(name).cloned()
    }

    pub(crate) fn by_topic_id(&self, topic_id: Uuid) -> Option<Arc<Topic>> {
        self.topics().by_id.get(&topic_id).cloned()
    }

    /// By name.
    pub(crate) fn all(&self) -> Vec<Arc<Topic>> {
        self.topics().by_name.values().cloned().collect()
    }

    /// How many topics there are, and partitions.
    pub(crate) fn counts(&self) -> (usize, usize) {
        let topics = self.topics();
        let partitions = topics.by_name.values().map(|topic| topic.partitions.len());
        (topics.by_name.len(), partitions.sum())
    }

    /// The other topic whose name differs from `name` in `.` and `_` only.
    pub(crate) fn colliding(&self, name: &str) -> Option<Arc<str>> {
        let topics = self.topics();
        let other = topics.by_metric_name.get(&metric_name(name))?;
        (**other != *name).then(|| other.clone())
    }

    /// Creates topics; each has a result of its own, in the order asked. The outer error is one of all.
    pub(crate) async fn create(
        self: &Arc<Self>,
        wanted: Vec<NewTopicSpec>,
    ) -> Result<Vec<Result<Arc<Topic>, storage::Error>>, storage::Error> {
        let catalog = self.clone();
        self.change(async move {
            let rows: Vec<NewTopic> = wanted.into_iter().map(NewTopicSpec::into_row).collect();
            let outcomes = catalog.store.create_topics(&rows).await?;
            let (mut made, mut results) = (Vec::new(), Vec::with_capacity(rows.len()));
            for (wanted, outcome) in rows.iter().zip(outcomes) {
                if outcome.is_err() && catalog.by_name(&wanted.name).is_none() {
                    catalog.is_stale.store(true, Ordering::Release);
                }
                results.push(outcome.map(|row| made.push(row)));
            }
            let mut added = catalog.add(made).await?.into_iter();
            let results = results.into_iter().map(|result| {
                let opened = || fault("a created topic could not be opened");
                result.and_then(|()| added.next().ok_or_else(opened))
            });
            let results = results.collect();
            Ok(results)
        })
        .await
    }

    /// Runs `work` when it is its turn, in a task of its own, so that it ends even if nobody waits for it any more.
    async fn change<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl Future<Output = Result<T, storage::Error>> + Send + 'static,
    ) -> Result<T, storage::Error> {
        let catalog = self.clone();
        let task = tokio::spawn(async move {
            let _turn = catalog.changes.acquire().await;
            let unsure = Unsure(&catalog.is_stale);
            let result = work.await;
            if result.is_ok() {
                std::mem::forget(unsure);
            } else {
                drop(unsure);
            }
            catalog.reload_if_stale().await;
            result
        });
        match task.await {
            Ok(result) => result,
            Err(error) => Err(fault(&error.to_string())),
        }
    }

    /// Loads the topics again if a change failed and they could not be loaded then. Called before topics are looked up for
    /// a request whose answer should be complete; costs nothing otherwise.
    pub(crate) async fn refresh(&self) {
        if !self.is_stale.load(Ordering::Acquire) {
            return;
        }
        let reload = async {
            let _turn = self.changes.acquire().await;
            self.reload_if_stale().await;
        };
        if tokio::time::timeout(REFRESH_PATIENCE, reload)
            .await
            .is_err()
        {
            tracing::warn!("the topics could not be loaded again in time");
        }
    }

    /// Takes up what others change in the database, for ever.
    pub(crate) async fn follow(self: Arc<Self>) {
        let mut changes = self.store.changes();
        loop {
            let change = changes.next().await;
            while !self.take_up(change).await {
                tokio::time::sleep(RELOAD_PAUSE).await;
            }
        }
    }

    /// As [`Log::hand_over`]; what was handed back meanwhile is noticed when this returns.
    pub(crate) async fn hand_over(&self, moves: Vec<(Arc<Partition>, i32)>) -> bool {
        let is_done = self.log.hand_over(moves).await;
        self.is_stale.store(true, Ordering::Release);
        self.refresh().await;
        is_done
    }

    /// Returns when the leaders of partitions, or the brokers of the cluster, may have changed since the last call.
    pub(crate) async fn leaders_changed(&self) {
        self.leaders_changed.notified().await;
    }

    /// False if what changed could not be loaded.
    async fn take_up(self: &Arc<Self>, change: Change) -> bool {
        let loaded = match change {
            Change::TopicSettings { id } => {
                return self.reload_settings(&[id], false).await.is_ok();
            }
            Change::ClusterSettings => return self.reload_settings(&[], true).await.is_ok(),
            Change::Unknown => self.reload_settings(&[], true).await.is_ok(),
            Change::Topic { .. } => true,
            Change::Leaders => {
                let is_loaded = self.take_up_topics(change).await;
                self.leaders_changed.notify_one();
                return is_loaded;
            }
        };
        loaded && self.take_up_topics(change).await
    }

    async fn take_up_topics(&self, change: Change) -> bool {
        if self.is_known(change) {
            return true;
        }
        let _turn = self.changes.acquire().await;
        // Changes of this broker's own are told too, perhaps before it has noted them itself.
        if !self.is_known(change) {
            self.is_stale.store(true, Ordering::Release);
            self.reload_if_stale().await;
        }
        !self.is_stale.load(Ordering::Acquire)
    }

    fn is_known(&self, change: Change) -> bool {
        let Change::Topic { id, partitions } = change else {
            return false;
        };
        let known = self.by_key(id);
        let count = known.map_or(0, |topic| topic.partitions.len());
        usize::try_from(partitions) == Ok(count)
    }

    fn by_key(&self, id: i32) -> Option<Arc<Topic>> {
        self.topics().by_key.get(&id).cloned()
    }

    /// Loads the settings of the topics with these ids again, and with `of_cluster` those of brokers and groups; appends are
    /// judged by them when this returns.
    pub(crate) async fn reload_settings(
        self: &Arc<Self>,
        ids: &[i32],
        of_cluster: bool,
    ) -> Result<(), storage::Error> {
        let ids = ids.to_vec();
        let catalog = self.clone();
        self.change(async move {
            if of_cluster {
                catalog.settings.reload().await?;
                for topic in catalog.all() {
                    catalog.give_settings(&topic, topic.overrides.clone());
                }
            }
            for id in ids {
                let Some(topic) = catalog.by_key(id) else {
                    continue;
                };
                if let Some(overrides) = catalog.store.topic_settings(id).await? {
                    catalog.give_settings(&topic, overrides.into());
                }
            }
            Ok(())
        })
        .await
    }

    /// To be called in turn.
    fn give_settings(&self, topic: &Topic, overrides: Arc<[(String, String)]>) {
        let settings = log_settings(&self.settings.snapshot(), &overrides);
        if settings == topic.settings && overrides == topic.overrides {
            return;
        }
        for partition in &topic.partitions {
            partition.set_settings(settings.clone());
        }
        self.topics_mut().insert(Arc::new(Topic {
            settings,
            overrides,
            ..topic.clone()
        }));
    }

    /// To be called in turn. May be cancelled: what is known changes at the end, all at once.
    async fn reload_if_stale(&self) {
        if !self.is_stale.load(Ordering::Acquire) {
            return;
        }
        match self.reload().await {
            Ok(()) => self.is_stale.store(false, Ordering::Release),
            Err(error) => tracing::warn!(%error, "the topics could not be loaded again"),
        }
    }

    async fn reload(&self) -> Result<(), storage::Error> {
        let rows = self.store.load_topics().await?;
        let stored: HashSet<Uuid> = rows.iter().map(|row| row.topic_id).collect();
        let news = rows.into_iter().filter(|row| {
            let known = self.by_topic_id(row.topic_id);
            known.is_none_or(|topic| {
                topic.partitions.len() != row.partitions.len()
                    || *topic.overrides != *row.settings
                    || has_other_leaders(&topic, row)
            })
        });
        let news = self.open_logs(news.collect()).await?;
        for topic in self.all() {
            if !stored.contains(&topic.topic_id) {
                self.forget(&topic);
            }
        }
        let mut known = self.topics_mut();
        for topic in news {
            tracing::debug!(topic = &*topic.name, "loaded from the database");
            known.insert(topic);
        }
        Ok(())
    }

    async fn add(&self, rows: Vec<storage::Topic>) -> Result<Vec<Arc<Topic>>, storage::Error> {
        let opened = self.open_logs(rows).await?;
        let mut known = self.topics_mut();
        for topic in &opened {
            known.insert(topic.clone());
        }
        Ok(opened)
    }

    /// Deletes topics; each has a result of its own, in the order asked.
    pub(crate) async fn delete(
        self: &Arc<Self>,
        topics: Vec<Arc<Topic>>,
    ) -> Result<Vec<Result<(), storage::Error>>, storage::Error> {
        let catalog = self.clone();
        self.change(async move {
            let ids: Vec<i32> = topics.iter().map(|topic| topic.id).collect();
            let results = catalog.store.delete_topics(&ids).await?;
            for (topic, result) in topics.iter().zip(&results) {
                if matches!(result, Ok(()) | Err(storage::Error::NotFound(_))) {
                    catalog.forget(topic);
                }
            }
            Ok(results)
        })
        .await
    }

    /// The partitions are taken from the present topic: it may have grown since `topic` was looked up.
    fn forget(&self, topic: &Topic) {
        let present = self.by_topic_id(topic.topic_id);
        let Some(present) = present else { return };
        self.topics_mut().remove(&present);
        for partition in &present.partitions {
            self.log.close_partition(partition);
        }
    }

    /// Gives `topic` more partitions, `total` in all; the new ones are dealt to `lanes`, or to all brokers if there are none.
    pub(crate) async fn grow(
        self: &Arc<Self>,
        topic: Arc<Topic>,
        total: i32,
        lanes: Vec<i32>,
    ) -> Result<(), storage::Error> {
        let catalog = self.clone();
        self.change(async move {
            // Its settings may have been changed since it was looked up.
            let topic = catalog.by_topic_id(topic.topic_id).unwrap_or(topic);
            let rows = catalog
                .store
                .create_partitions(topic.id, total, &lanes)
                .await?;
            let rows: Vec<_> = rows
                .into_iter()
                .map(|row| (topic.name.clone(), row, topic.settings.clone()))
                .collect();
            let partitions = catalog.log.open_partitions(&rows).await?;
            let grown = Topic {
                partitions,
                ..Topic::clone(&topic)
            };
            catalog.topics_mut().insert(Arc::new(grown));
            Ok(())
        })
        .await
    }

    async fn open_logs(
        &self,
        topics: Vec<storage::Topic>,
    ) -> Result<Vec<Arc<Topic>>, storage::Error> {
        let snapshot = self.settings.snapshot();
        let mut rows = Vec::new();
        let mut shapes = Vec::with_capacity(topics.len());
        for topic in topics {
            let name: Arc<str> = topic.name.as_str().into();
            let settings = log_settings(&snapshot, &topic.settings);
            let partitions = topic.partitions.iter();
            rows.extend(partitions.map(|row| (name.clone(), *row, settings.clone())));
            shapes.push((topic, name, settings));
        }
        let mut opened = self.log.open_partitions(&rows).await?.into_iter();
        let open = shapes.into_iter().map(|(topic, name, settings)| {
            let partitions = opened.by_ref().take(topic.partitions.len()).collect();
            Arc::new(Topic {
                id: topic.id,
                topic_id: topic.topic_id,
                name,
                partitions,
                settings,
                overrides: topic.settings.into(),
            })
        });
        Ok(open.collect())
    }
}

/// A topic to be created; all of it has been checked.
#[derive(Debug, Clone)]
pub(crate) struct NewTopicSpec {
    pub(crate) name: String,
    pub(crate) partitions: i32,
    /// Name and value of the settings that were given.
    pub(crate) settings: Vec<(String, String)>,
    /// The leader of each partition; empty: they are dealt to all brokers.
    pub(crate) leaders: Vec<i32>,
}

impl NewTopicSpec {
    fn into_row(self) -> NewTopic {
        NewTopic {
            name: self.name,
            topic_id: Uuid::new_v4(),
            partitions: self.partitions,
            lanes: self.leaders,
            settings: self.settings,
        }
    }
}

fn has_other_leaders(topic: &Topic, row: &storage::Topic) -> bool {
    let mut pairs = topic.partitions.iter().zip(&row.partitions);
    pairs.any(|(partition, row)| {
        let leader = Leader {
            node_id: row.lane,
            epoch: row.leader_epoch,
        };
        partition.leader() != leader
    })
}

/// Sets the flag when dropped, by a panic too.
struct Unsure<'a>(&'a AtomicBool);

impl Drop for Unsure<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

fn fault(detail: &str) -> storage::Error {
    storage::Error::Bug {
        context: "changing the topics".into(),
        detail: detail.to_owned(),
    }
}
