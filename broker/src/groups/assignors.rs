//! Assignors of the broker: who of a group's members gets which partitions. Pure functions, the same for the same input.
//!
//! `range` and `uniform` serve groups of the new protocol (KIP-848); with `round_robin` they also stand in for a classic
//! leader that assigns nothing. Racks are not looked at, as by Kafka's own two.

use std::collections::{BTreeMap, BTreeSet};

/// A member. `K` names a topic.
#[derive(Debug, Clone)]
pub(crate) struct Spec<K> {
    pub(crate) topics: BTreeSet<K>,
    /// What it has now.
    pub(crate) owned: BTreeMap<K, BTreeSet<i32>>,
}

/// What each member gets, in the order of the members.
pub(crate) type Shares<K> = Vec<BTreeMap<K, BTreeSet<i32>>>;

/// Each topic by itself: its subscribers, in order, get ranges of its partitions.
pub(crate) fn range<K: Ord + Clone>(members: &[Spec<K>], topics: &BTreeMap<K, i32>) -> Shares<K> {
    let mut shares = vec![BTreeMap::new(); members.len()];
    for (topic, &partitions) in topics {
        let subscribers = members
            .iter()
            .enumerate()
            .filter(|(_, member)| member.topics.contains(topic))
            .map(|(index, _)| index);
        let subscribers: Vec<usize> = subscribers.collect();
        let Ok(count) = i32::try_from(subscribers.len()) else {
            continue;
        };
        if count == 0 {
            continue;
        }
        let (least, more) = (partitions / count, partitions % count);
        let mut next = 0;
        for (place, index) in (0..).zip(subscribers) {
            let size = least + i32::from(place < more);
            if size > 0
                && let Some(share) = shares.get_mut(index)
            {
                share.insert(topic.clone(), (next..next + size).collect());
            }
            next += size;
        }
    }
    shares
}

/// All partitions in order, dealt to the members one by one, past those that are not subscribed.
pub(crate) fn round_robin<K: Ord + Clone>(
    members: &[Spec<K>],
    topics: &BTreeMap<K, i32>,
) -> Shares<K> {
    let mut shares = vec![BTreeMap::new(); members.len()];
    let mut turn = 0;
    for (topic, partition) in partitions(members, topics) {
        let order = (0..members.len()).map(|step| (turn + step) % members.len());
        let mut order = order.filter(|index| {
            members
                .get(*index)
                .is_some_and(|member| member.topics.contains(&topic))
        });
        if let Some(index) = order.next() {
            give(&mut shares, index, &topic, partition);
            turn = index + 1;
        }
    }
    shares
}

/// Evenly, and with as few moves as that needs.
pub(crate) fn uniform<K: Ord + Clone>(members: &[Spec<K>], topics: &BTreeMap<K, i32>) -> Shares<K> {
    let Some(first) = members.first() else {
        return Vec::new();
    };
    let mut free: BTreeSet<(K, i32)> = partitions(members, topics).into_iter().collect();
    let is_same = members.iter().all(|member| member.topics == first.topics);
    let mut shares = vec![BTreeMap::new(); members.len()];
    if is_same {
        let quotas = quotas(members, free.len());
        keep(members, &quotas, &mut free, &mut shares);
        let free: Vec<(K, i32)> = free.into_iter().collect();
        fill(&quotas, free, &mut shares);
    } else {
        keep(
            members,
            &vec![usize::MAX; members.len()],
            &mut free,
            &mut shares,
        );
        spread(members, free, &mut shares);
        balance(members, &mut shares);
    }
    shares
}

/// Partitions of topics that somebody is subscribed to.
fn partitions<K: Ord + Clone>(members: &[Spec<K>], topics: &BTreeMap<K, i32>) -> Vec<(K, i32)> {
    let wanted = topics
        .iter()
        .filter(|(topic, _)| members.iter().any(|member| member.topics.contains(*topic)));
    wanted
        .flat_map(|(topic, count)| (0..*count).map(|partition| (topic.clone(), partition)))
        .collect()
}

fn give<K: Ord + Clone>(shares: &mut Shares<K>, index: usize, topic: &K, partition: i32) {
    if let Some(share) = shares.get_mut(index) {
        share.entry(topic.clone()).or_default().insert(partition);
    }
}

fn size<K>(share: &BTreeMap<K, BTreeSet<i32>>) -> usize {
    share.values().map(BTreeSet::len).sum()
}

/// How many partitions each member gets: those that have most already get the ones left over by the division.
fn quotas<K: Ord>(members: &[Spec<K>], partitions: usize) -> Vec<usize> {
    let (least, more) = (partitions / members.len(), partitions % members.len());
    let mut by_size: Vec<usize> = (0..members.len()).collect();
    let owned = |index: &usize| members.get(*index).map_or(0, |member| size(&member.owned));
    by_size.sort_by_key(|index| std::cmp::Reverse(owned(index)));
    let mut quotas = vec![least; members.len()];
    for index in by_size.into_iter().take(more) {
        if let Some(quota) = quotas.get_mut(index) {
            *quota += 1;
        }
    }
    quotas
}

/// Lets members keep what they have, up to their quotas.
fn keep<K: Ord + Clone>(
    members: &[Spec<K>],
    quotas: &[usize],
    free: &mut BTreeSet<(K, i32)>,
    shares: &mut Shares<K>,
) {
    for (index, (member, quota)) in members.iter().zip(quotas).enumerate() {
        let mut kept = 0;
        for (topic, partitions) in &member.owned {
            if !member.topics.contains(topic) {
                continue;
            }
            for partition in partitions {
                if kept < *quota && free.remove(&(topic.clone(), *partition)) {
                    give(shares, index, topic, *partition);
                    kept += 1;
                }
            }
        }
    }
}

/// Fills every share up to its quota. Members below take turns, so that each gets some of every topic.
fn fill<K: Ord + Clone>(quotas: &[usize], free: Vec<(K, i32)>, shares: &mut Shares<K>) {
    let mut missing: Vec<usize> = quotas
        .iter()
        .zip(shares.iter())
        .map(|(quota, share)| quota.saturating_sub(size(share)))
        .collect();
    let mut turn = 0;
    for (topic, partition) in free {
        let count = missing.len();
        let mut order = (0..count).map(|step| (turn + step) % count);
        let next = order.find(|index| missing.get(*index).is_some_and(|left| *left > 0));
        let Some(index) = next else { return };
        if let Some(left) = missing.get_mut(index) {
            *left -= 1;
        }
        give(shares, index, &topic, partition);
        turn = index + 1;
    }
}

/// Gives each free partition to the subscriber that has least, topics with few subscribers first.
fn spread<K: Ord + Clone>(members: &[Spec<K>], free: BTreeSet<(K, i32)>, shares: &mut Shares<K>) {
    let subscribers = |topic: &K| {
        members
            .iter()
            .filter(|member| member.topics.contains(topic))
            .count()
    };
    let mut free: Vec<(K, i32)> = free.into_iter().collect();
    free.sort_by_cached_key(|(topic, partition)| (subscribers(topic), topic.clone(), *partition));
    let mut sizes: Vec<usize> = shares.iter().map(size).collect();
    for (topic, partition) in free {
        let takers = members.iter().zip(&sizes).enumerate();
        let takers = takers.filter(|(_, (member, _))| member.topics.contains(&topic));
        let least = takers.min_by_key(|(index, (_, size))| (**size, *index));
        let Some((index, _)) = least else { continue };
        give(shares, index, &topic, partition);
        if let Some(size) = sizes.get_mut(index) {
            *size += 1;
        }
    }
}

/// Moves partitions from those that have more to subscribers that have at least two less, until there are none.
fn balance<K: Ord + Clone>(members: &[Spec<K>], shares: &mut Shares<K>) {
    let mut sizes: Vec<usize> = shares.iter().map(size).collect();
    let mut order: Vec<usize> = (0..members.len()).collect();
    // Every move makes the sum of the squares of the sizes smaller, so this ends.
    loop {
        order.sort_by_key(|index| std::cmp::Reverse(sizes.get(*index).copied()));
        let found = order
            .iter()
            .find_map(|from| Some((*from, one_to_move(members, shares, &sizes, *from)?)));
        let Some((from, (to, topic, partition))) = found else {
            return;
        };
        if let Some(share) = shares.get_mut(from)
            && let Some(partitions) = share.get_mut(&topic)
        {
            partitions.remove(&partition);
            if partitions.is_empty() {
                share.remove(&topic);
            }
        }
        give(shares, to, &topic, partition);
        for (index, size) in sizes.iter_mut().enumerate() {
            if index == from {
                *size -= 1;
            } else if index == to {
                *size += 1;
            }
        }
    }
}

/// A partition that `from` should give away, and to whom: to whoever has least.
fn one_to_move<K: Ord + Clone>(
    members: &[Spec<K>],
    shares: &Shares<K>,
    sizes: &[usize],
    from: usize,
) -> Option<(usize, K, i32)> {
    let own = *sizes.get(from)?;
    let topics = shares.get(from)?.iter();
    let moves = topics.filter_map(|(topic, partitions)| {
        let takers = members.iter().zip(sizes).enumerate();
        let takers = takers.filter(|(_, (member, _))| member.topics.contains(topic));
        let (to, (_, least)) = takers.min_by_key(|(index, (_, size))| (**size, *index))?;
        Some((*least, to, topic, *partitions.last()?))
    });
    let (least, to, topic, partition) = moves.min_by_key(|(least, ..)| *least)?;
    (least + 1 < own).then(|| (to, topic.clone(), partition))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(topics: &[&'static str], owned: &[(&'static str, &[i32])]) -> Spec<&'static str> {
        Spec {
            topics: topics.iter().copied().collect(),
            owned: owned
                .iter()
                .map(|(topic, partitions)| (*topic, partitions.iter().copied().collect()))
                .collect(),
        }
    }

    fn shown(shares: &Shares<&str>) -> Vec<String> {
        let share = |share: &BTreeMap<&str, BTreeSet<i32>>| {
            let topics = share.iter().map(|(topic, partitions)| {
                let partitions: Vec<String> = partitions.iter().map(i32::to_string).collect();
                format!("{topic}:{}", partitions.join(","))
            });
            topics.collect::<Vec<_>>().join(" ")
        };
        shares.iter().map(share).collect()
    }

    #[test]
    fn range_gives_ranges_of_each_topic() {
        let topics = [("a", 5), ("b", 2)].into();
        let members = [
            member(&["a", "b"], &[]),
            member(&["a"], &[]),
            member(&["b"], &[]),
        ];
        assert_eq!(
            shown(&range(&members, &topics)),
            ["a:0,1,2 b:0", "a:3,4", "b:1"]
        );
        assert_eq!(shown(&range(&[member(&["x"], &[])], &topics)), [""]);
    }

    #[test]
    fn round_robin_deals_one_by_one() {
        let topics = [("a", 3), ("b", 2)].into();
        let members = [member(&["a", "b"], &[]), member(&["a"], &[])];
        assert_eq!(
            shown(&round_robin(&members, &topics)),
            ["a:0,2 b:0,1", "a:1"]
        );
    }

    #[test]
    fn uniform_is_even_and_moves_only_what_it_must() {
        let topics = [("a", 6)].into();
        let first = uniform(&[member(&["a"], &[])], &topics);
        assert_eq!(shown(&first), ["a:0,1,2,3,4,5"]);
        let two = [
            member(&["a"], &[("a", &[0, 1, 2, 3, 4, 5])]),
            member(&["a"], &[]),
        ];
        assert_eq!(shown(&uniform(&two, &topics)), ["a:0,1,2", "a:3,4,5"]);
        let again = [member(&["a"], &[("a", &[3, 4, 5])]), member(&["a"], &[])];
        assert_eq!(shown(&uniform(&again, &topics)), ["a:3,4,5", "a:0,1,2"]);
        // Nobody may keep what another has too, or what is gone.
        let odd = [
            member(&["a"], &[("a", &[0, 1, 9])]),
            member(&["a"], &[("a", &[1, 2])]),
        ];
        assert_eq!(shown(&uniform(&odd, &topics)), ["a:0,1,3", "a:2,4,5"]);
    }

    #[test]
    fn uniform_balances_unlike_subscriptions() {
        let topics = [("a", 4), ("b", 2)].into();
        let members = [
            member(&["a", "b"], &[("a", &[0, 1, 2, 3]), ("b", &[0, 1])]),
            member(&["a"], &[]),
            member(&["b"], &[]),
        ];
        let shares = uniform(&members, &topics);
        let sizes: Vec<usize> = shares.iter().map(size).collect();
        assert_eq!(sizes, [2, 2, 2], "{:?}", shown(&shares));
    }
}
