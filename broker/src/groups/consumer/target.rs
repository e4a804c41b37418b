//! What the group is subscribed to, and who is to have which partitions of it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use uuid::Uuid;

use super::{ConsumerGroup, Member};
use crate::groups::assignors::{self, Spec};
use crate::groups::topics::Topics;

/// How often the cluster's topics are compared with what the group knows of them.
const TOPICS_CHECK_MS: u64 = 1_000;

impl ConsumerGroup {
    /// Looks at the topics again if that was not done lately.
    pub(super) fn refresh_topics_if_due(&mut self, topics: &dyn Topics, now: u64) {
        let checked = self.topics_checked;
        if checked.is_none_or(|at| now >= at + TOPICS_CHECK_MS) && self.refresh_topics(topics, now)
        {
            self.bump();
        }
    }

    /// Looks which of the subscribed topics there are; true if that is news, which the group epoch does not know of.
    pub(super) fn refresh_topics(&mut self, topics: &dyn Topics, now: u64) -> bool {
        self.topics_checked = Some(now);
        let names = self.names_for_patterns(topics);
        let mut found = BTreeMap::new();
        for member in self.members.values() {
            for (topic_id, partitions) in subscribed(member, &names, topics) {
                found.insert(topic_id, partitions);
            }
        }
        let is_news = found != self.topics;
        if is_news {
            tracing::info!(
                group = &*self.group_id,
                topics = found.len(),
                "subscribed topics have changed"
            );
            self.topics = found;
            self.is_dirty = true;
        }
        is_news
    }

    fn names_for_patterns(&self, topics: &dyn Topics) -> Vec<Arc<str>> {
        let has_patterns = self.members.values().any(|member| member.pattern.is_some());
        if has_patterns {
            topics.names()
        } else {
            Vec::new()
        }
    }

    /// Makes the target of the present group epoch, if the last one is not too young.
    pub(super) fn assign_if_due(&mut self, topics: &dyn Topics, now: u64) {
        if self.assignment_due().is_some_and(|at| at <= now) {
            self.assign(topics, now);
        }
    }

    /// Makes the target of the present group epoch.
    pub(super) fn assign(&mut self, topics: &dyn Topics, now: u64) {
        let names = self.names_for_patterns(topics);
        let mut ids: Vec<String> = self.members.keys().cloned().collect();
        // Static members keep their place when they come back under another id.
        ids.sort_by_cached_key(|id| {
            let member = self.members.get(id);
            member
                .and_then(|member| member.instance_id.clone())
                .unwrap_or_else(|| id.clone())
        });
        let spec = |id: &String| {
            let member = self.members.get(id)?;
            let subscribed = subscribed(member, &names, topics).into_iter();
            Some(Spec {
                topics: subscribed.map(|(topic_id, _)| topic_id).collect(),
                owned: member.target.clone(),
            })
        };
        let specs: Vec<Spec<Uuid>> = ids.iter().filter_map(spec).collect();
        self.assignor = self.wanted_assignor();
        let shares = match self.assignor.as_str() {
            "range" => assignors::range(&specs, &self.topics),
            _ => assignors::uniform(&specs, &self.topics),
        };
        for (id, share) in ids.into_iter().zip(shares) {
            if let Some(member) = self.members.get_mut(&id)
                && member.target != share
            {
                member.target = share;
                self.dirty_members.insert(id);
            }
        }
        self.assignment_epoch = self.group_epoch;
        self.assigned_at = Some(now);
        self.is_dirty = true;
        tracing::info!(
            group = &*self.group_id,
            epoch = self.group_epoch,
            assignor = self.assignor,
            members = self.members.len(),
            "assigned"
        );
    }

    /// Ids of the topics that a member is subscribed to.
    pub(super) fn subscribed_ids(&self, member: &Member, topics: &dyn Topics) -> BTreeSet<Uuid> {
        let names = match member.pattern {
            Some(_) => topics.names(),
            None => Vec::new(),
        };
        let subscribed = subscribed(member, &names, topics).into_iter();
        subscribed.map(|(topic_id, _)| topic_id).collect()
    }

    /// The assignor that most members ask for, or the default.
    pub(super) fn wanted_assignor(&self) -> String {
        let mut votes: HashMap<&str, usize> = HashMap::new();
        for name in self.members.values().filter_map(|m| m.assignor.as_deref()) {
            *votes.entry(name).or_default() += 1;
        }
        let names = self.config.consumer.assignors.iter();
        let mut best: Option<(&String, usize)> = None;
        for name in names {
            let count = votes.get(name.as_str()).copied().unwrap_or(0);
            if best.is_none_or(|(_, most)| count > most) {
                best = Some((name, count));
            }
        }
        best.map(|(name, _)| name.clone()).unwrap_or_default()
    }
}

/// Ids and partition counts of the topics that a member is subscribed to.
fn subscribed(
    member: &Member,
    all_names: &[Arc<str>],
    topics: &dyn Topics,
) -> BTreeSet<(Uuid, i32)> {
    let by_name = member.names.iter().map(String::as_str);
    let by_pattern = member.pattern.iter().flat_map(|pattern| {
        let names = all_names.iter().map(|name| &**name);
        names.filter(|name| pattern.matches(name))
    });
    let found = by_name
        .chain(by_pattern)
        .filter_map(|name| topics.by_name(name));
    found
        .map(|topic| (topic.topic_id, topic.partitions))
        .collect()
}
