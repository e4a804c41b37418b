//! Assignment by the broker, where a classic leader of consumers assigns nothing to anybody.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::ClassicGroup;
use crate::groups::assignors::{self, Shares, Spec};
use crate::groups::subscription::{self, Subscription};
use crate::groups::topics::Topics;

type Assignor = fn(&[Spec<String>], &BTreeMap<String, i32>) -> Shares<String>;

/// By the assignor that was voted for, where it is range, roundrobin or sticky and all members' subscriptions can be read;
/// else nothing.
pub(super) fn by_broker(group: &ClassicGroup, topics: &dyn Topics) -> BTreeMap<String, Bytes> {
    let Some(protocol) = group.protocol.as_deref() else {
        return BTreeMap::new();
    };
    let assignor: Assignor = match protocol {
        "range" => assignors::range,
        "roundrobin" => assignors::round_robin,
        "sticky" => assignors::uniform,
        _ => return BTreeMap::new(),
    };
    let mut members = Vec::new();
    let mut counts = BTreeMap::new();
    for (id, member) in &group.members {
        let Some(subscription) = Subscription::read(&member.metadata(protocol)) else {
            return BTreeMap::new();
        };
        for name in &subscription.topics {
            if let Some(topic) = topics.by_name(name) {
                counts.insert(name.clone(), topic.partitions);
            }
        }
        let owned = subscription::read_assignment(&member.assignment).unwrap_or_default();
        let spec = Spec {
            topics: subscription.topics.into_iter().collect::<BTreeSet<_>>(),
            owned: owned
                .into_iter()
                .map(|(topic, partitions)| (topic, partitions.into_iter().collect()))
                .collect(),
        };
        // Static members keep their place when they come back under another id.
        let place = member.group_instance_id.as_ref().unwrap_or(id).clone();
        members.push((place, id.clone(), subscription.version, spec));
    }
    members.sort_by(|left, right| left.0.cmp(&right.0));
    let specs: Vec<Spec<String>> = members.iter().map(|member| member.3.clone()).collect();
    let shares = assignor(&specs, &counts);
    let assigned = members.into_iter().zip(shares);
    assigned
        .map(|((_, id, version, _), share)| {
            let share = share
                .into_iter()
                .map(|(topic, partitions)| (topic, partitions.into_iter().collect()));
            let bytes = subscription::write_assignment(&share.collect(), version);
            (id, bytes)
        })
        .collect()
}
