//! The brokers that serve the database together. Each tells by heartbeats that it lives, takes over what dead ones led, and
//! shares partitions and coordinators out with the living. What decides is in the database; this is who acts on it, and when.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use protocol::ErrorCode;
use storage::{BrokerRow, LaneLoad, Registration, ShardLease, ShardOwner, Store};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::catalog::Catalog;
use crate::groups::Groups;
use crate::log::Partition;

/// How often the cluster is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How often lanes without a broker are looked for where no broker was seen to die.
const ORPHANS_EVERY: Duration = Duration::from_secs(5);
/// How long a stop waits for others to take what this broker leads.
const LEAVE_PATIENCE: Duration = Duration::from_secs(5);

/// What a broker that is not in the cluster any more is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Expelled {
    /// It was silent for too long: it may come back.
    Silent,
    /// Another broker has its number.
    Replaced,
}

/// This broker among the others.
#[derive(Debug)]
pub(crate) struct Cluster {
    store: Store,
    me: Registration,
    heartbeat_every: Duration,
    view: RwLock<Arc<View>>,
    /// Others are not judged before this time: this broker has not seen the database for a while, and they may not have either.
    judge_at: Mutex<Instant>,
    expelled: watch::Sender<bool>,
}

/// The cluster as it was seen last.
#[derive(Debug, Default)]
pub(crate) struct View {
    /// Brokers that live, have loaded and are not stopping, by node id; this one too.
    pub(crate) brokers: Vec<BrokerRow>,
    /// Who coordinates, by shard.
    shards: Vec<ShardOwner>,
}

impl View {
    pub(crate) fn broker(&self, node_id: i32) -> Option<&BrokerRow> {
        self.brokers.iter().find(|broker| broker.node_id == node_id)
    }

    /// Node ids of the brokers, in order.
    pub(crate) fn node_ids(&self) -> Vec<i32> {
        self.brokers.iter().map(|broker| broker.node_id).collect()
    }

    /// The leader that clients are told for a partition that is `node_id`'s: none, with an error, while that broker is not there.
    pub(crate) fn leader(&self, node_id: i32) -> (i32, Option<ErrorCode>) {
        match self.broker(node_id) {
            Some(_) => (node_id, None),
            None => (-1, Some(ErrorCode::LeaderNotAvailable)),
        }
    }

    /// The broker that is shown as the controller. Any of them does what a controller does.
    pub(crate) fn controller_id(&self) -> i32 {
        self.brokers.first().map_or(-1, |broker| broker.node_id)
    }

    /// The broker that coordinates what has this name.
    pub(crate) fn coordinator(&self, key: &str) -> Option<i32> {
        let shard = crate::groups::shard_of(key, self.shards.len());
        let node_id = self.shards.get(shard)?.node_id?;
        self.broker(node_id).map(|broker| broker.node_id)
    }
}

/// What the broker does from time to time, and when it did so last.
#[derive(Debug)]
struct Rounds {
    /// When orphaned lanes were looked for.
    orphans_at: Option<Instant>,
    /// Whether the last round failed.
    is_blind: bool,
    /// Node ids seen last.
    known: HashSet<i32>,
    /// Partitions are to be shared out anew.
    is_uneven: bool,
}

impl Cluster {
    /// Registers the broker.
    pub(crate) async fn join(
        store: Store,
        me: Registration,
        heartbeat_every: Duration,
    ) -> Result<Arc<Self>, storage::Error> {
        let epoch = store.register_broker(&me).await?;
        tracing::debug!(node_id = me.node_id, epoch, "registered");
        let cluster = Arc::new(Self {
            store,
            me,
            heartbeat_every,
            view: RwLock::default(),
            judge_at: Mutex::new(Instant::now()),
            expelled: watch::channel(false).0,
        });
        cluster.look().await?;
        Ok(cluster)
    }

    pub(crate) fn view(&self) -> Arc<View> {
        let view = self.view.read();
        view.unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn node_id(&self) -> i32 {
        self.me.node_id
    }

    /// Returns when this broker is not in the cluster any more, by its own heartbeats.
    pub(crate) async fn expelled(&self) {
        let mut expelled = self.expelled.subscribe();
        if expelled.wait_for(|expelled| *expelled).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Why this broker is out of the cluster.
    pub(crate) async fn reason(&self) -> Expelled {
        let (node_id, incarnation) = (self.me.node_id, self.me.incarnation);
        match self.store.is_replaced(node_id, incarnation).await {
            Ok(true) => Expelled::Replaced,
            Ok(false) | Err(_) => Expelled::Silent,
        }
    }

    /// Takes over the lanes of brokers that are not there. Before the topics are loaded for the first time.
    pub(crate) async fn take_over_orphans(&self) -> Result<(), storage::Error> {
        for lane_id in self.store.orphaned_lanes().await? {
            if lane_id == self.me.node_id {
                continue;
            }
            match self.store.take_over_lane(lane_id).await {
                Ok(None) => {}
                Ok(Some(takeover)) => tracing::warn!(
                    broker = lane_id,
                    partitions = takeover.partitions,
                    brokers = ?takeover.lanes,
                    "took over from a broker that is gone"
                ),
                // Another broker that does the same, or somebody by SQL.
                Err(error @ storage::Error::Conflict(_)) => tracing::warn!(
                    broker = lane_id,
                    %error,
                    "cannot take over from a broker that is gone while its rows are locked, trying again"
                ),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Claims what this broker coordinates, for the first time.
    pub(crate) async fn begin(&self, groups: &Arc<Groups>) -> Result<(), storage::Error> {
        self.share_shards(groups).await?;
        self.look().await?;
        Ok(())
    }

    /// From now on it is given partitions, and clients are told of it.
    pub(crate) async fn open(&self) -> Result<(), storage::Error> {
        let (node_id, incarnation) = (self.me.node_id, self.me.incarnation);
        self.store.note_loaded(node_id, incarnation).await
    }

    /// Tells that the broker lives, for as long as it is in the cluster.
    pub(crate) async fn beat(self: Arc<Self>) {
        let mut heart = self.store.heart(self.me.node_id, self.me.incarnation);
        let patience = (self.me.session_timeout / 2).max(self.heartbeat_every);
        let mut is_blind = false;
        loop {
            tokio::time::sleep(self.heartbeat_every).await;
            match heart.beat(patience).await {
                Ok(false) => {
                    self.expelled.send_replace(true);
                    return;
                }
                Ok(true) if !is_blind => {}
                // While this one is not heard, the others may not be either.
                Ok(true) => {
                    is_blind = false;
                    self.judge_later();
                }
                Err(error) => {
                    match error {
                        storage::Error::Conflict(_) if !is_blind => tracing::warn!(
                            %error,
                            "no heartbeat is heard while this broker's row of kafka.brokers is locked by another session, trying again"
                        ),
                        _ => tracing::debug!(%error, "a heartbeat was not heard"),
                    }
                    is_blind = true;
                    self.judge_later();
                }
            }
        }
    }

    fn judge_later(&self) {
        *self.judge_at() = Instant::now() + self.me.session_timeout;
    }

    fn judge_at(&self) -> MutexGuard<'_, Instant> {
        self.judge_at.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes part in the cluster until `leaving` is cancelled.
    pub(crate) async fn run(
        self: Arc<Self>,
        catalog: Arc<Catalog>,
        groups: Arc<Groups>,
        leaving: CancellationToken,
    ) {
        let mut rounds = Rounds {
            orphans_at: None,
            is_blind: false,
            known: HashSet::from([self.me.node_id]),
            is_uneven: false,
        };
        loop {
            tokio::select! {
                () = leaving.cancelled() => return,
                () = catalog.leaders_changed() => {}
                () = tokio::time::sleep(LOOK_EVERY.min(self.heartbeat_every)) => {}
            }
            match self.round(&mut rounds, &catalog, &groups).await {
                Ok(()) => rounds.is_blind = false,
                Err(error) => {
                    if !rounds.is_blind {
                        tracing::warn!(%error, "the cluster cannot be seen");
                    }
                    rounds.is_blind = true;
                }
            }
        }
    }

    async fn round(
        &self,
        rounds: &mut Rounds,
        catalog: &Arc<Catalog>,
        groups: &Arc<Groups>,
    ) -> Result<(), storage::Error> {
        let has_dead = self.look().await?;
        let is_time = rounds
            .orphans_at
            .is_none_or(|at| at.elapsed() >= ORPHANS_EVERY);
        if (has_dead || is_time) && Instant::now() >= *self.judge_at() {
            self.take_over_orphans().await?;
            rounds.orphans_at = Some(Instant::now());
        }
        self.share_shards(groups).await?;
        let present: HashSet<i32> = self.view().brokers.iter().map(|b| b.node_id).collect();
        rounds.is_uneven |= !present.is_subset(&rounds.known);
        rounds.known = present;
        if rounds.is_uneven {
            rounds.is_uneven = !self.share_partitions(catalog).await?;
        }
        self.fulfil_wishes(catalog).await
    }

    /// Sees who is there; true if somebody is dead.
    async fn look(&self) -> Result<bool, storage::Error> {
        let all = self.store.brokers().await?;
        let shards = self.store.group_shards().await?;
        let has_dead = all.iter().any(|broker| !broker.is_alive);
        // By its own row a broker lives as long as nobody has taken it out. After an outage of the database all heartbeats are old:
        // the others are there until they had time for a new one.
        let are_judged = Instant::now() >= *self.judge_at();
        let is_there = |broker: &BrokerRow| {
            let is_own = broker.incarnation == self.me.incarnation;
            (broker.is_alive || is_own || !are_judged)
                && (!broker.is_loading || is_own)
                && !broker.is_stopping
        };
        let brokers = all.into_iter().filter(is_there).collect();
        let view = Arc::new(View { brokers, shards });
        *self.view.write().unwrap_or_else(PoisonError::into_inner) = view;
        Ok(has_dead)
    }

    /// Whether a shard is this broker's by what is stored.
    fn has(&self, shard: &ShardOwner) -> bool {
        shard.owner == Some(self.me.incarnation)
    }

    /// Lets go of shards that another broker is to have, and claims those that this one is to have and nobody has.
    async fn share_shards(&self, groups: &Arc<Groups>) -> Result<(), storage::Error> {
        let view = self.view();
        groups.forget_lost(&view.shards);
        let nodes: Vec<i32> = view.brokers.iter().map(|broker| broker.node_id).collect();
        let (mut given_up, mut wanted) = (Vec::new(), Vec::new());
        for shard in &view.shards {
            let number = shard.lease.shard;
            match chosen(number, &nodes) == Some(self.me.node_id) {
                true if !groups.has_shard(number) => wanted.push(number),
                false if self.has(shard) => given_up.push(shard.lease),
                _ => {}
            }
        }
        let is_changed = !given_up.is_empty() || !wanted.is_empty();
        if !given_up.is_empty() {
            groups.give_up(&given_up).await?;
        }
        if !wanted.is_empty() {
            groups.claim(self.me.incarnation, &wanted).await?;
        }
        if is_changed {
            self.look().await?;
        }
        Ok(())
    }

    /// Hands partitions to brokers that lead fewer. False if that has to be tried again.
    async fn share_partitions(&self, catalog: &Arc<Catalog>) -> Result<bool, storage::Error> {
        let loads = self.store.lane_loads().await?;
        let gifts = shares(&loads, self.me.node_id);
        let moves = pick(catalog, gifts, self.view().brokers.len());
        Ok(moves.is_empty() || hand_over(catalog, moves).await)
    }

    async fn fulfil_wishes(&self, catalog: &Arc<Catalog>) -> Result<(), storage::Error> {
        let wishes = self.store.wanted_moves(self.me.node_id).await?;
        if wishes.is_empty() {
            return Ok(());
        }
        let view = self.view();
        let led = led_partitions(catalog);
        let moves = wishes.into_iter().filter_map(|(part, lane)| {
            view.broker(lane)?;
            Some((led.get(&part)?.clone(), lane))
        });
        let moves: Vec<_> = moves.collect();
        if !moves.is_empty() {
            hand_over(catalog, moves).await;
        }
        Ok(())
    }

    /// Hands everything to others, if there are any, before the broker stops. What cannot be handed over in time is taken over.
    pub(crate) async fn leave(&self, catalog: &Arc<Catalog>, groups: &Arc<Groups>) {
        let handed_over = tokio::time::timeout(LEAVE_PATIENCE, self.hand_all_over(catalog, groups));
        match handed_over.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "not everything is handed over"),
            Err(_) => tracing::warn!("not everything is handed over in time"),
        }
    }

    async fn hand_all_over(
        &self,
        catalog: &Arc<Catalog>,
        groups: &Arc<Groups>,
    ) -> Result<(), storage::Error> {
        let (node_id, incarnation) = (self.me.node_id, self.me.incarnation);
        self.look().await?;
        if self.view().brokers.iter().all(|b| b.node_id == node_id) {
            return Ok(());
        }
        self.store.note_stopping(node_id, incarnation).await?;
        self.look().await?;
        let view = self.view();
        let mine = view.shards.iter().filter(|shard| self.has(shard));
        let mine: Vec<ShardLease> = mine.map(|shard| shard.lease).collect();
        groups.give_up(&mine).await?;
        let mut loads = self.store.lane_loads().await?;
        let mut moves = Vec::new();
        for partition in led_partitions(catalog).into_values() {
            if let Some(least) = loads.iter_mut().min_by_key(|load| load.partitions) {
                least.partitions += 1;
                moves.push((partition, least.lane_id));
            }
        }
        if !moves.is_empty() {
            hand_over(catalog, moves).await;
        }
        Ok(())
    }

    /// The last word of a broker that stops. A failure only makes others wait for its session timeout.
    pub(crate) async fn unregister(&self) {
        let heir = self
            .view()
            .brokers
            .iter()
            .map(|b| b.node_id)
            .find(|id| *id != self.me.node_id);
        let (node_id, incarnation) = (self.me.node_id, self.me.incarnation);
        let removed = self.store.unregister_broker(node_id, incarnation, heir);
        match tokio::time::timeout(LEAVE_PATIENCE, removed).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "cannot be taken out of the cluster"),
            Err(_) => tracing::warn!("cannot be taken out of the cluster in time"),
        }
    }
}

/// False if it was not done.
async fn hand_over(catalog: &Arc<Catalog>, moves: Vec<(Arc<Partition>, i32)>) -> bool {
    let partitions = moves.len();
    let is_done = catalog.hand_over(moves).await;
    if is_done {
        tracing::info!(partitions, "handed to other brokers");
    }
    is_done
}

fn led_partitions(catalog: &Catalog) -> HashMap<i32, Arc<Partition>> {
    let topics = catalog.all();
    let partitions = topics.iter().flat_map(|topic| topic.partitions.iter());
    let led = partitions.filter(|partition| partition.is_led());
    led.map(|partition| (partition.id(), partition.clone()))
        .collect()
}

/// The node that is to have a shard: the one with the highest hash of the pair, so that another node moves only its own share.
fn chosen(shard: i32, nodes: &[i32]) -> Option<i32> {
    nodes.iter().copied().max_by_key(|node| mixed(*node, shard))
}

/// Steele, Lea and Flood's splitmix64 of both numbers.
fn mixed(node: i32, shard: i32) -> u64 {
    let pair = (u64::from(node.unsigned_abs()) << 32) | u64::from(shard.unsigned_abs());
    let mut z = pair.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// How many partitions `node_id` gives to whom, so that no broker leads two more than another when all do their part.
fn shares(loads: &[LaneLoad], node_id: i32) -> Vec<i32> {
    let mut counts: Vec<(i64, i32)> = loads.iter().map(|l| (l.partitions, l.lane_id)).collect();
    let mut gifts = Vec::new();
    loop {
        let most = counts.iter().copied().max();
        let least = counts.iter().copied().min();
        let (Some((most, giver)), Some((least, taker))) = (most, least) else {
            return gifts;
        };
        if most - least <= 1 {
            return gifts;
        }
        for (count, lane) in &mut counts {
            *count += i64::from(*lane == taker) - i64::from(*lane == giver);
        }
        if giver == node_id {
            gifts.push(taker);
        }
    }
}

/// A partition that this broker leads for each of `takers`, of the topic of which it leads the most beyond its share, `brokers`
/// being there.
fn pick(catalog: &Catalog, takers: Vec<i32>, brokers: usize) -> Vec<(Arc<Partition>, i32)> {
    let topics = catalog.all();
    let mut led: Vec<(usize, Vec<Arc<Partition>>)> = topics
        .iter()
        .map(|topic| {
            let partitions = topic.partitions.iter();
            let led = partitions.filter(|p| p.is_led()).cloned().collect();
            (topic.partitions.len(), led)
        })
        .collect();
    let surplus =
        |(all, led): &(usize, Vec<_>)| (led.len() * brokers).cast_signed() - all.cast_signed();
    let taken = takers.into_iter().filter_map(|taker| {
        let with_some = led.iter_mut().filter(|(_, led)| !led.is_empty());
        let (_, most) = with_some.max_by_key(|topic| surplus(topic))?;
        Some((most.pop()?, taker))
    });
    taken.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_are_spread_and_stay_where_they_are() {
        let mut counts = HashMap::new();
        for shard in 0..50 {
            let of_three = chosen(shard, &[1, 2, 3]).unwrap();
            *counts.entry(of_three).or_insert(0) += 1;
            let of_two = chosen(shard, &[1, 3]).unwrap();
            assert!(of_three == 2 || of_two == of_three);
            assert_eq!(chosen(shard, &[7]), Some(7));
        }
        assert!(counts.values().all(|count| *count >= 10), "{counts:?}");
        assert_eq!(chosen(0, &[]), None);
    }

    fn loads(counts: &[i64]) -> Vec<LaneLoad> {
        let loads = counts.iter().zip(1..);
        loads
            .map(|(partitions, lane_id)| LaneLoad {
                lane_id,
                partitions: *partitions,
            })
            .collect()
    }

    #[test]
    fn shares_even_out() {
        for counts in [&[10, 0][..], &[7, 0, 0], &[3, 3, 4], &[0, 9, 5, 1], &[5]] {
            let mut after: Vec<i64> = counts.to_vec();
            let lanes = 1..=i32::try_from(counts.len()).unwrap();
            for (giver, lane) in lanes.enumerate() {
                for taker in shares(&loads(counts), lane) {
                    after[giver] -= 1;
                    after[usize::try_from(taker).unwrap() - 1] += 1;
                }
            }
            let (most, least) = (after.iter().max().unwrap(), after.iter().min().unwrap());
            assert!(most - least <= 1, "{counts:?} became {after:?}");
        }
        assert_eq!(shares(&loads(&[4, 3]), 1), [0i32; 0]);
    }
}
