//! Transactions over several brokers: partitions, coordinators and groups are spread over all of them, and brokers go away or get and
//! lose partitions while a transaction is open.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use protocol::messages::{FindCoordinatorRequest, FindCoordinatorResponse};
use tests::java::client;
use tests::wire::Connection;
use tests::{Broker, fresh_topic, wait_for};

use super::chaos::{self, Harmed};
use super::restarts::{self, Load};
use super::{NONE, Txn, is_passing, read};
use crate::brokers::{Cluster, LIMIT, LONG_SESSION, SHORT_SESSION, leaders};

/// Of the topics here: two for each of three brokers.
const PARTITIONS: i32 = 6;

/// What readers of committed records see of each partition, at a leader, when no transaction is open any more.
fn committed_by<'b>(
    topic: &str,
    partitions: i32,
    leader: impl Fn(i32) -> &'b Broker,
) -> Vec<Vec<String>> {
    let seen = (0..partitions).map(|partition| {
        wait_for("the end of all transactions", LIMIT, || {
            let mut connection = Connection::open(leader(partition));
            let latest = connection.list_offset(topic, partition, -1);
            if latest.0 != NONE {
                return None;
            }
            let seen = read(&mut connection, topic, partition, 1);
            (seen.last_stable_offset == seen.high_watermark).then_some(seen.values)
        })
    });
    seen.collect()
}

/// The same of a cluster whose brokers all run.
pub(super) fn committed(cluster: &Cluster, topic: &str, partitions: i32) -> Vec<Vec<String>> {
    committed_by(topic, partitions, |partition| {
        let leader = leaders(&cluster.brokers[0], topic).get(&partition).copied();
        let leader = usize::try_from(leader.unwrap_or(1) - 1).unwrap_or(0);
        &cluster.brokers[leader]
    })
}

/// A cluster of which some brokers run.
pub(super) struct World {
    pub(super) cluster: Cluster,
    is_up: Vec<bool>,
}

impl World {
    pub(super) fn start(count: usize, session: &str) -> Self {
        let world = Self {
            cluster: Cluster::start(count, session),
            is_up: vec![true; count],
        };
        world.wait_until_shared();
        world
    }

    /// Until every broker coordinates its share.
    fn wait_until_shared(&self) {
        let owners = || {
            let owners = "select coalesce(node_id, 0)::text from kafka.group_shards order by shard";
            self.cluster.postgres.query(owners)
        };
        wait_for("coordinators that stay", LIMIT, || {
            let before = owners();
            std::thread::sleep(Duration::from_secs(1));
            let all: BTreeSet<&String> = before.iter().collect();
            let is_shared =
                all.len() == self.cluster.brokers.len() && !all.contains(&"0".to_owned());
            (before == owners() && is_shared).then_some(())
        });
    }

    pub(super) fn broker(&self, node: usize) -> &Broker {
        &self.cluster.brokers[node - 1]
    }

    /// The first that runs.
    fn any(&self) -> &Broker {
        let up = self.is_up.iter().position(|is_up| *is_up);
        &self.cluster.brokers[up.expect("a broker that runs")]
    }

    fn kill(&mut self, node: usize) {
        self.is_up[node - 1] = false;
        self.cluster.brokers[node - 1].kill();
    }

    fn stop(&mut self, node: usize) {
        self.is_up[node - 1] = false;
        self.cluster.brokers[node - 1].stop();
    }

    fn start_again(&mut self, node: usize) {
        self.cluster.brokers[node - 1].start_again();
        self.is_up[node - 1] = true;
        self.cluster.wait_until_whole();
    }

    pub(super) fn topic(&self, stem: &str) -> String {
        let topic = fresh_topic(stem);
        self.cluster.create_topic(&topic, PARTITIONS);
        topic
    }

    /// Who coordinates a group (0) or a transactional id (1).
    pub(super) fn coordinator(&self, key: &str, key_type: i8) -> usize {
        let request = FindCoordinatorRequest {
            key_type,
            coordinator_keys: vec![key.to_owned().into()],
            ..FindCoordinatorRequest::default()
        };
        wait_for("a coordinator", LIMIT, || {
            let answer = Connection::open(self.any()).call(&request, 4);
            let found: FindCoordinatorResponse<'_> = answer.read();
            let found = &found.coordinators[0];
            let node = usize::try_from(found.node_id).unwrap_or(0);
            (found.error_code == NONE && self.is_up[node - 1]).then_some(node)
        })
    }

    fn leader(&self, topic: &str, partition: i32) -> usize {
        wait_for("a leader", LIMIT, || {
            let leader = leaders(self.any(), topic).get(&partition).copied();
            let node = usize::try_from(leader.unwrap_or(-1)).ok()?;
            (node > 0 && self.is_up[node - 1]).then_some(node)
        })
    }

    /// An initialised producer whose coordinator `fits`.
    fn producer(&self, version: i16, timeout_ms: i32, fits: impl Fn(usize) -> bool) -> Txn {
        let id = self.name("txn", 1, fits);
        let mut txn = Txn::named(self.broker(self.coordinator(&id, 1)), &id, version);
        txn.init_for(timeout_ms);
        txn
    }

    /// A name whose coordinator `fits`.
    fn name(&self, stem: &str, key_type: i8, fits: impl Fn(usize) -> bool) -> String {
        let names = std::iter::repeat_with(|| fresh_topic(stem));
        let mut fitting = names.filter(|name| fits(self.coordinator(name, key_type)));
        fitting.next().expect("endless")
    }

    /// Repeats a step at the coordinator of a key until it gives no code that passes.
    pub(super) fn at_coordinator(
        &self,
        txn: &mut Txn,
        mut step: impl FnMut(&mut Txn) -> i16,
    ) -> i16 {
        wait_for("an answer of the coordinator", LIMIT, || {
            txn.connection = Connection::open(self.broker(self.coordinator(&txn.id, 1)));
            let code = step(txn);
            (!is_passing(code)).then_some(code)
        })
    }

    /// Sends one record to its leader until it gives no code that passes.
    fn send(&self, txn: &mut Txn, topic: &str, partition: i32, value: &str) -> i16 {
        let batch = txn.batch(topic, partition, &[value]);
        let version = if txn.version == 1 { 11 } else { 12 };
        wait_for("an answer of the leader", LIMIT, || {
            txn.connection = Connection::open(self.broker(self.leader(topic, partition)));
            let code = txn.send(topic, partition, &batch, version, -1).error;
            (!is_passing(code)).then_some(code)
        })
    }

    /// Produces one record, adding the partition where that is due.
    fn produce(&self, txn: &mut Txn, topic: &str, partition: i32, value: &str) {
        if txn.version == 1 {
            let code = self.at_coordinator(txn, |txn| txn.try_add(&[(topic, partition)])[0]);
            assert_eq!(code, NONE);
        }
        let code = self.send(txn, topic, partition, value);
        assert_eq!(code, NONE, "{value} to partition {partition}");
        let key = (topic.to_owned(), partition);
        *txn.sequences.entry(key).or_insert(0) += 1;
    }

    pub(super) fn produce_to_all(&self, txn: &mut Txn, topic: &str, value: &str) {
        for partition in 0..PARTITIONS {
            self.produce(txn, topic, partition, value);
        }
    }

    pub(super) fn end(&self, txn: &mut Txn, is_commit: bool) {
        let mut answer = None;
        let code = self.at_coordinator(txn, |txn| {
            let ended = txn.try_end(is_commit);
            answer = Some(ended);
            ended.0
        });
        assert_eq!(code, NONE);
        if let (2, Some((_, id, epoch))) = (txn.version, answer) {
            txn.take_on(id, epoch);
        }
    }

    /// Commits an offset of partition 0 of a topic at the group's coordinator.
    pub(super) fn commit_offset(&self, txn: &mut Txn, group: &str, topic: &str, offset: i64) {
        if txn.version == 1 {
            let code = self.at_coordinator(txn, |txn| txn.try_add_offsets(group));
            assert_eq!(code, NONE);
        }
        let version = if txn.version == 1 { 4 } else { 5 };
        let code = wait_for("the offset to be taken", LIMIT, || {
            txn.connection = Connection::open(self.broker(self.coordinator(group, 0)));
            let code = txn.try_commit_offset(group, topic, offset, ("", -1), version);
            (!is_passing(code)).then_some(code)
        });
        assert_eq!(code, NONE);
    }

    pub(super) fn committed_offset(&self, group: &str) -> Vec<String> {
        self.cluster.postgres.query(&format!(
            "select committed_offset::text from kafka.consumer_offsets where group_id = '{group}'"
        ))
    }

    pub(super) fn assert_all_have(&self, topic: &str, values: &[&str]) {
        let all = committed_by(topic, PARTITIONS, |partition| {
            self.broker(self.leader(topic, partition))
        });
        for (partition, seen) in all.iter().enumerate() {
            assert_eq!(seen, values, "partition {partition}");
        }
    }

    /// One marker in each partition for each transaction: rows of control batches.
    fn markers(&self, topic: &str) -> BTreeMap<String, usize> {
        let rows = self.cluster.postgres.query(&format!(
            "select partition::text from kafka.batches where topic = '{topic}' and txn_state = 'control'"
        ));
        let mut counts = BTreeMap::new();
        for row in rows {
            *counts.entry(row).or_insert(0) += 1;
        }
        counts
    }
}

#[test]
fn a_transaction_spans_all_brokers() {
    let world = World::start(3, LONG_SESSION);
    for version in [1, 2] {
        let topic = world.topic("spanned");
        let mut txn = world.producer(version, 60_000, |_| true);
        let coordinator = world.coordinator(&txn.id, 1);
        let group = world.name("group", 0, |node| node != coordinator);
        let mut expected = Vec::new();
        let values: Vec<String> = (0..6).map(|i| format!("{version}:{i}")).collect();
        for (i, value) in values.iter().enumerate() {
            let is_commit = i % 3 != 1;
            world.produce_to_all(&mut txn, &topic, value);
            world.produce_to_all(&mut txn, &topic, value);
            let offset = i64::try_from(i).unwrap();
            world.commit_offset(&mut txn, &group, &topic, offset);
            let before = expected.len() / 2;
            assert_eq!(world.committed_offset(&group).len(), before.min(1));
            world.end(&mut txn, is_commit);
            if is_commit {
                expected.extend([value.as_str(); 2]);
                assert_eq!(world.committed_offset(&group), [i.to_string()]);
            }
        }
        world.assert_all_have(&topic, &expected);
        let markers = world.markers(&topic);
        assert_eq!(markers.len(), PARTITIONS as usize);
        assert!(markers.values().all(|count| *count == 6), "{markers:?}");
    }
    let left = "select (select count(*) from kafka.txn_markers)::text || (select count(*) from kafka.txn_pending_offsets)::text";
    assert_eq!(world.cluster.postgres.query(left), ["00"]);
}

#[test]
fn who_is_not_in_a_transaction_is_refused_by_every_leader() {
    let world = World::start(2, LONG_SESSION);
    let topic = world.topic("refused");
    let abortable = protocol::ErrorCode::TransactionAbortable as i16;
    let fenced = protocol::ErrorCode::InvalidProducerEpoch as i16;
    let unknown = protocol::ErrorCode::InvalidProducerIdMapping as i16;
    for partition in 0..2 {
        let leader = world.leader(&topic, partition);
        let mut txn = world.producer(1, 60_000, |node| node != leader);
        assert_eq!(world.send(&mut txn, &topic, partition, "never"), abortable);
        let mut other = world.producer(2, 60_000, |node| node != leader);
        other.epoch += 1;
        assert_eq!(world.send(&mut other, &topic, partition, "never"), fenced);
        other.producer_id += 1_000;
        assert_eq!(world.send(&mut other, &topic, partition, "never"), unknown);
    }
    world.assert_all_have(&topic, &[]);
}

/// What happens to a broker in the middle of a transaction.
#[derive(Debug, Clone, Copy)]
enum Fault {
    Kill,
    Stop,
}

/// A transaction goes on and is committed, and the next is aborted, while the coordinator or a leader goes.
fn goes_on_without(fault: Fault) {
    let mut world = World::start(3, SHORT_SESSION);
    let topic = world.topic("goes-on");
    let mut expected = Vec::new();
    for (version, is_coordinator) in [(2, true), (1, false)] {
        let mut txn = world.producer(version, 60_000, |_| true);
        let coordinator = world.coordinator(&txn.id, 1);
        let victim = if is_coordinator {
            coordinator
        } else {
            coordinator % 3 + 1
        };
        let group = world.name("group", 0, |node| node != coordinator);
        world.produce_to_all(&mut txn, &topic, "before");
        world.commit_offset(&mut txn, &group, &topic, 5);
        match fault {
            Fault::Kill => world.kill(victim),
            Fault::Stop => world.stop(victim),
        }
        world.produce_to_all(&mut txn, &topic, "after");
        world.end(&mut txn, true);
        world.produce_to_all(&mut txn, &topic, "never");
        world.end(&mut txn, false);
        expected.extend(["before", "after"]);
        world.assert_all_have(&topic, &expected);
        assert_eq!(world.committed_offset(&group), ["5"]);
        world.start_again(victim);
    }
    assert!(world.markers(&topic).values().all(|count| *count == 4));
}

#[test]
fn a_transaction_goes_on_when_a_broker_is_killed() {
    goes_on_without(Fault::Kill);
}

#[test]
fn a_transaction_goes_on_when_a_broker_stops() {
    goes_on_without(Fault::Stop);
}

#[test]
fn what_was_decided_is_done_without_the_coordinator_and_without_the_leader() {
    let mut world = World::start(3, SHORT_SESSION);
    let topic = world.topic("decided");
    let mut txn = world.producer(2, 60_000, |_| true);
    let coordinator = world.coordinator(&txn.id, 1);
    let leader = coordinator % 3 + 1;
    world.produce_to_all(&mut txn, &topic, "decided");
    // It can write nothing, and lives, so that nobody takes over: its markers stay due.
    let lane = format!("select from kafka.lanes where lane_id = {leader} for update");
    let lane = world.cluster.postgres.begin(&lane);
    txn.connection = Connection::open(world.broker(coordinator));
    assert_eq!(txn.try_end(true).0, NONE, "it is decided");
    let due = "select count(*)::text from kafka.txn_markers";
    wait_for("the markers of the third", LIMIT, || {
        (world.cluster.postgres.query(due) == ["2"]).then_some(())
    });
    let concurrent = protocol::ErrorCode::ConcurrentTransactions as i16;
    assert_eq!(txn.try_end(true).0, concurrent);
    world.kill(coordinator);
    world.kill(leader);
    drop(lane);
    world.assert_all_have(&topic, &["decided"]);
    assert!(world.markers(&topic).values().all(|count| *count == 1));
    // The producer goes on with the last broker.
    let code = world.at_coordinator(&mut txn, |txn| txn.try_init(60_000, (-1, -1)).0);
    assert_eq!(code, NONE);
}

#[test]
fn a_successor_aborts_what_takes_too_long() {
    let mut world = World::start(2, SHORT_SESSION);
    let topic = world.topic("too-long");
    let mut txn = world.producer(2, 60_000, |_| true);
    let coordinator = world.coordinator(&txn.id, 1);
    world.produce_to_all(&mut txn, &topic, "never");
    // For who takes it up it is over its time.
    let late = "update kafka.transactions set timeout_ms = 1";
    world.cluster.postgres.execute(late);
    world.kill(coordinator);
    world.assert_all_have(&topic, &[]);
    assert!(world.markers(&topic).values().all(|count| *count == 1));
    world.produce_to_all(
        &mut world.producer(2, 60_000, |_| true),
        &topic,
        "open, and it does not matter",
    );
}

#[test]
fn partitions_move_in_the_middle_of_a_transaction() {
    let world = World::start(3, LONG_SESSION);
    let topic = world.topic("moved");
    let mut expected = Vec::new();
    for version in [1, 2] {
        let mut txn = world.producer(version, 60_000, |_| true);
        for (value, is_commit) in [("first", true), ("second", false), ("third", true)] {
            world.produce_to_all(&mut txn, &topic, value);
            let before = leaders(world.any(), &topic);
            world.cluster.postgres.execute(&format!(
                "update kafka.topic_partitions p set wanted_lane = lane % 3 + 1 \
                 from kafka.topics t where t.id = p.topic and t.name = '{topic}'"
            ));
            wait_for("other leaders", LIMIT, || {
                let after = leaders(world.any(), &topic);
                before
                    .iter()
                    .all(|(part, node)| after.get(part) != Some(node))
                    .then_some(())
            });
            if value == "third" {
                world.produce_to_all(&mut txn, &topic, "from elsewhere");
            }
            world.end(&mut txn, is_commit);
        }
        expected.extend(["first", "third", "from elsewhere"]);
        world.assert_all_have(&topic, &expected);
    }
    assert!(world.markers(&topic).values().all(|count| *count == 6));
}

#[test]
fn java_copies_a_topic_exactly_once_between_brokers() {
    let world = World::start(3, LONG_SESSION);
    let b = world.cluster.bootstrap();
    let (from, to) = (world.topic("java-from"), world.topic("java-to"));
    let group = fresh_topic("group");
    let lines: String = (0..600).map(|i| format!("key-{i}\t{i}\n")).collect();
    client(&["produce", &b, &from, "none"], lines.as_bytes()).ok();
    let report = client(&["copy", &b, &from, &to, &group, "600"], b"").ok();
    assert!(report.text().contains("copied 600"));
    let mut numbers: Vec<i32> = committed(&world.cluster, &to, PARTITIONS)
        .concat()
        .iter()
        .map(|value| value.parse().unwrap())
        .collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (0..600).collect::<Vec<_>>());
}

/// Faults at random moments under transactional producers; `make chaos` has more kills. `CHAOS_SEED` repeats a run's choices.
#[test]
fn chaos() {
    let topic = fresh_topic("txn-chaos");
    let mut harmed = Harmed::start(3, &[&topic]);
    let load = Load::start(&harmed.cluster.bootstrap(), &topic);
    while harmed.goes_on() {
        load.progress(1 + harmed.random.below(20) as usize);
        std::thread::sleep(Duration::from_millis(harmed.random.below(300)));
        harmed.strike();
    }
    load.progress(100);
    harmed.report();
    let cluster = harmed.cluster;
    cluster.wait_until_whole();
    let known = load.end();
    let is_up = vec![true; cluster.brokers.len()];
    let world = World { cluster, is_up };
    // What the last producers may have left open is aborted for their successors.
    for producer in 0..known.len() {
        let id = format!("{topic}-{producer}");
        let mut txn = Txn::named(world.any(), &id, 2);
        let code = world.at_coordinator(&mut txn, |txn| txn.try_init(60_000, (-1, -1)).0);
        assert_eq!(code, NONE);
    }
    let seen = committed(&world.cluster, &topic, chaos::PARTITIONS).into_iter();
    let seen: Vec<_> = seen
        .map(|values| restarts::check(&values, &known))
        .collect();
    assert!(
        seen.windows(2).all(|two| two[0] == two[1]),
        "all have the same transactions"
    );
    assert!(seen[0].len() > 20);
}
