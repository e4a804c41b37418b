//! Several brokers over one database: they share what there is to lead, and go on without those that die, pause or stop.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use protocol::messages::metadata_request::MetadataRequestTopic;
use protocol::messages::{FetchResponse, MetadataRequest, MetadataResponse, ProduceResponse};
use rustix::process::Signal;
use tests::batch::NewBatch;
use tests::postgres::Postgres;
use tests::wire::{Connection, fetch_request, produce_request};
use tests::{Broker, fresh_topic, wait_for};
use uuid::Uuid;

use crate::load::{Load, PARTITIONS, Random, rounds};

/// Brokers of one cluster, with the node ids 1, 2, …
pub(crate) struct Cluster {
    pub(crate) postgres: Postgres,
    pub(crate) brokers: Vec<Broker>,
}

/// `broker.session.timeout.ms` where brokers are to be taken for dead, and where none is.
pub(crate) const SHORT_SESSION: &str = "2000";
pub(crate) const LONG_SESSION: &str = "30000";
const LONG_SESSION_HALF: Duration = Duration::from_secs(15);
pub(crate) const LIMIT: Duration = Duration::from_secs(120);

impl Cluster {
    pub(crate) fn stopped(count: usize, session: &str) -> Self {
        let postgres = Postgres::start();
        let port = postgres.port();
        Self::on(postgres, port, count, session)
    }

    /// Brokers that reach their database at this port.
    pub(crate) fn on(postgres: Postgres, port: u16, count: usize, session: &str) -> Self {
        let url = format!("postgres://postgres@127.0.0.1:{port}/postgres");
        let brokers = (1..=count).map(|node_id| {
            let node_id = node_id.to_string();
            Broker::stopped(&[
                "--node-id",
                &node_id,
                "--database-url",
                &url,
                "--broker-session-timeout-ms",
                session,
                "--broker-heartbeat-interval-ms",
                "300",
            ])
        });
        Self {
            brokers: brokers.collect(),
            postgres,
        }
    }

    /// All running, and each known to all.
    pub(crate) fn start(count: usize, session: &str) -> Self {
        let mut cluster = Self::stopped(count, session);
        cluster.start_all();
        cluster
    }

    pub(crate) fn start_all(&mut self) {
        for broker in &mut self.brokers {
            broker.start_again();
        }
        self.wait_until_whole();
    }

    pub(crate) fn wait_until_whole(&self) {
        for broker in &self.brokers {
            wait_for("all brokers in Metadata", LIMIT, || {
                (nodes(broker).len() == self.brokers.len()).then_some(())
            });
        }
    }

    /// Makes a topic, of which all brokers know when this returns.
    pub(crate) fn create_topic(&self, topic: &str, partitions: i32) -> Uuid {
        let id = Connection::open(&self.brokers[0]).create_topic(topic, partitions);
        for broker in &self.brokers {
            wait_for("word of the topic", LIMIT, || {
                let leaders = leaders(broker, topic);
                let is_led = leaders.values().all(|leader| *leader > 0);
                (is_led && leaders.len() == partitions as usize).then_some(())
            });
        }
        id
    }

    pub(crate) fn bootstrap(&self) -> String {
        let all: Vec<String> = self.brokers.iter().map(Broker::bootstrap).collect();
        all.join(",")
    }
}

/// What a broker says of the cluster: node ids, and the leaders of a topic's partitions. Nothing while it is out of the cluster.
fn metadata(broker: &Broker, topics: &[&str]) -> (BTreeSet<i32>, BTreeMap<i32, i32>) {
    let topics = topics.iter().map(|name| MetadataRequestTopic {
        name: Some((*name).into()),
        ..MetadataRequestTopic::default()
    });
    let request = MetadataRequest {
        topics: Some(topics.collect()),
        allow_auto_topic_creation: false,
        ..MetadataRequest::default()
    };
    let Ok(answer) = Connection::ask(broker, &request, 9) else {
        return Default::default();
    };
    let response: MetadataResponse<'_> = answer.read();
    let nodes = response.brokers.iter().map(|broker| broker.node_id);
    let partitions = response.topics.iter().flat_map(|topic| &topic.partitions);
    let leaders = partitions.map(|partition| (partition.partition_index, partition.leader_id));
    (nodes.collect(), leaders.collect())
}

fn nodes(broker: &Broker) -> BTreeSet<i32> {
    metadata(broker, &[]).0
}

/// Partition to leader.
pub(crate) fn leaders(broker: &Broker, topic: &str) -> BTreeMap<i32, i32> {
    metadata(broker, &[topic]).1
}

#[test]
fn leaders_are_spread_and_only_they_serve() {
    let mut cluster = Cluster::stopped(2, LONG_SESSION);
    cluster.brokers[0].start_again();
    let topic = fresh_topic("spread");
    let topic_id = Connection::open(&cluster.brokers[0]).create_topic(&topic, 8);
    let small = fresh_topic("small");
    Connection::open(&cluster.brokers[0]).create_topic(&small, 2);
    let batch = NewBatch::of(&["one"]).bytes();
    for partition in 0..8 {
        let produced = Connection::open(&cluster.brokers[0]).produce(&topic, partition, &batch);
        assert_eq!((produced.error, produced.base_offset), (0, 0));
    }
    cluster.brokers[1].start_again();
    // The one that comes gets half of what there is, of each topic.
    for (broker, (topic, half)) in cluster
        .brokers
        .iter()
        .flat_map(|broker| [(broker, (&topic, 4)), (broker, (&small, 1))])
    {
        wait_for("an even spread", LIMIT, || {
            let leaders = leaders(broker, topic);
            let of_first = leaders.values().filter(|id| **id == 1).count();
            (of_first == half).then_some(())
        });
    }
    let leaders = leaders(&cluster.brokers[0], &topic);
    let mut connections: Vec<Connection> = cluster.brokers.iter().map(Connection::open).collect();
    const NOT_LEADER: i16 = 6;
    for (partition, leader) in leaders {
        for (broker, connection) in (1..).zip(&mut connections) {
            let produced = connection.produce(&topic, partition, &batch);
            let fetched = connection.fetch(&topic, partition, 0);
            let latest = connection.list_offset(&topic, partition, -1);
            if broker == leader {
                assert_eq!((produced.error, produced.base_offset), (0, 1));
                assert_eq!((fetched.error, fetched.high_watermark), (0, 2));
                assert_eq!((latest.0, latest.1), (0, 2));
            } else {
                assert_eq!(
                    (produced.error, fetched.error, latest.0),
                    (NOT_LEADER, NOT_LEADER, NOT_LEADER)
                );
                let port = cluster.brokers[leader as usize - 1].port();
                let told = told_leaders(connection, (&topic, topic_id), partition, &batch);
                assert_eq!(told, [(leader, i32::from(port)); 2]);
            }
        }
    }
    let epochs = cluster
        .postgres
        .query("select distinct leader_epoch::text from kafka.topic_partitions where lane = 2");
    assert_eq!(epochs, ["1"]);
}

/// The leader, and where it listens, by the answers of Produce and Fetch to a client that asks another broker (KIP-951).
fn told_leaders(
    connection: &mut Connection,
    (topic, topic_id): (&str, Uuid),
    partition: i32,
    batch: &[u8],
) -> [(i32, i32); 2] {
    let answer = connection.call(&produce_request(topic, &[(partition, batch)], -1), 12);
    let produced: ProduceResponse<'_> = answer.read();
    let nodes = &produced.node_endpoints;
    let by_produce = &produced.responses[0].partition_responses[0].current_leader;
    assert_eq!((nodes.len(), nodes[0].node_id), (1, by_produce.leader_id));
    let by_produce = (by_produce.leader_id, nodes[0].port);
    let mut request = fetch_request(&[(topic, partition, 0, 1 << 20)]);
    request.topics[0].topic_id = topic_id;
    let answer = connection.call(&request, 16);
    let fetched: FetchResponse<'_> = answer.read();
    let nodes = &fetched.node_endpoints;
    let by_fetch = &fetched.responses[0].partitions[0].current_leader;
    assert_eq!((nodes.len(), nodes[0].node_id), (1, by_fetch.leader_id));
    [by_produce, (by_fetch.leader_id, nodes[0].port)]
}

/// Waits until one broker leads all partitions, and nobody else is in the cluster.
pub(crate) fn wait_until_alone(broker: &Broker, node_id: i32, topic: &str) {
    wait_for("those that are gone to be out of Metadata", LIMIT, || {
        (nodes(broker) == BTreeSet::from([node_id])).then_some(())
    });
    wait_for("the one that is left to lead all", LIMIT, || {
        let leaders = leaders(broker, topic);
        let is_all = leaders.len() == PARTITIONS as usize;
        (is_all && leaders.values().all(|leader| *leader == node_id)).then_some(())
    });
}

/// Kills all brokers but one at once, under load and at random moments: clients go on by themselves.
fn kill_all_but_one_of(count: usize) {
    let mut random = Random::new();
    let mut cluster = Cluster::start(count, SHORT_SESSION);
    let topic = fresh_topic("killed");
    let load = Load::start(&cluster.bootstrap(), &topic);
    let rounds = rounds(1);
    for round in 1..=rounds {
        load.progress(1_000 + random.below(1_000) as usize);
        random.sleep(300);
        let survivor = random.below(count as u64) as usize;
        load.announce(
            (round, rounds),
            &format!("kill -9 of all but broker {}", survivor + 1),
        );
        let victims: Vec<usize> = (0..count).filter(|broker| *broker != survivor).collect();
        for victim in &victims {
            cluster.brokers[*victim].kill();
        }
        wait_until_alone(&cluster.brokers[survivor], survivor as i32 + 1, &topic);
        load.progress(1_000);
        for victim in &victims {
            cluster.brokers[*victim].start_again();
        }
        cluster.wait_until_whole();
    }
    load.progress(1_000);
    load.check(&cluster.bootstrap(), &topic);
}

#[test]
fn kill_one_of_two_under_load() {
    kill_all_but_one_of(2);
}

#[test]
fn kill_two_of_three_under_load() {
    kill_all_but_one_of(3);
}

#[test]
fn a_broker_that_pauses_is_replaced_and_comes_back() {
    let mut random = Random::new();
    let cluster = Cluster::start(2, SHORT_SESSION);
    let topic = fresh_topic("paused");
    let load = Load::start(&cluster.bootstrap(), &topic);
    let rounds = rounds(1);
    let mut pauses = [0; 2];
    for round in 1..=rounds {
        load.progress(1_000 + random.below(1_000) as usize);
        random.sleep(300);
        let paused = random.below(2) as usize;
        let (broker, other) = (&cluster.brokers[paused], &cluster.brokers[1 - paused]);
        load.announce((round, rounds), &format!("pause of broker {}", paused + 1));
        broker.signal(Signal::STOP);
        pauses[paused] += 1;
        wait_until_alone(other, 2 - paused as i32, &topic);
        load.progress(500);
        broker.signal(Signal::CONT);
        // By what the other says: the one that was paused may not know yet that it was out.
        wait_for("the broker to be back", LIMIT, || {
            (nodes(other).len() == 2).then_some(())
        });
        cluster.wait_until_whole();
    }
    load.progress(1_000);
    load.check(&cluster.bootstrap(), &topic);
    for (broker, pauses) in cluster.brokers.iter().zip(pauses) {
        let rejoined = broker.log().matches("joining the cluster anew").count();
        assert!(rejoined >= pauses, "{rejoined} times after {pauses} pauses");
    }
}

#[test]
fn a_stop_hands_over_before_it_ends() {
    let mut cluster = Cluster::start(2, LONG_SESSION);
    let topic = fresh_topic("handed-over");
    let load = Load::start(&cluster.bootstrap(), &topic);
    load.progress(1_000);
    let rounds = rounds(1);
    for round in 1..=rounds {
        for stopped in [1, 0] {
            load.announce((round, rounds), &format!("stop of broker {}", stopped + 1));
            cluster.brokers[stopped].stop();
            // Nobody waits for its session to end, which would take longer than this.
            let other = &cluster.brokers[1 - stopped];
            wait_for("the other to lead all", LONG_SESSION_HALF, || {
                let leaders = leaders(other, &topic);
                let id = 2 - stopped as i32;
                (leaders.len() == PARTITIONS as usize
                    && leaders.values().all(|leader| *leader == id))
                .then_some(())
            });
            load.progress(1_000);
            cluster.brokers[stopped].start_again();
            cluster.wait_until_whole();
        }
    }
    load.check(&cluster.bootstrap(), &topic);
}

/// It tells that it lives however long it takes to load the topics, here as long as they are locked, and is given nothing before.
#[test]
fn a_broker_that_loads_for_longer_than_its_session_stays_in_the_cluster() {
    let mut cluster = Cluster::stopped(2, "5000");
    cluster.brokers[0].start_again();
    wait_for("the first broker", LIMIT, || {
        (nodes(&cluster.brokers[0]).len() == 1).then_some(())
    });
    let topic = fresh_topic("led");
    Connection::open(&cluster.brokers[0]).create_topic(&topic, 4);
    let lock = "lock table kafka.topics in access exclusive mode";
    let lock = cluster.postgres.begin(lock);
    cluster.brokers[1].spawn();
    let is_heard = "select 1 from kafka.brokers where node_id = 2 \
         and heartbeat > started_at + session_timeout_ms * interval '1 ms'";
    wait_for("heartbeats for longer than a session", LIMIT, || {
        (!cluster.postgres.query(is_heard).is_empty()).then_some(())
    });
    let given = "select 1 from kafka.topic_partitions where lane <> 1";
    assert!(cluster.postgres.query(given).is_empty());
    assert_eq!(nodes(&cluster.brokers[0]), BTreeSet::from([1]));
    drop(lock);
    cluster.brokers[1].wait_until_ready();
    cluster.wait_until_whole();
    wait_for("its share of the partitions", LIMIT, || {
        (cluster.postgres.query(given).len() == 2).then_some(())
    });
}

#[test]
fn brokers_that_start_at_once_on_one_database() {
    let mut cluster = Cluster::stopped(3, LONG_SESSION);
    for broker in &mut cluster.brokers {
        broker.spawn();
    }
    for broker in &mut cluster.brokers {
        broker.wait_until_ready();
    }
    cluster.wait_until_whole();
    let topic = fresh_topic("migrated");
    cluster.create_topic(&topic, 3);
    let leaders: BTreeSet<i32> = leaders(&cluster.brokers[0], &topic).into_values().collect();
    assert_eq!(leaders, BTreeSet::from([1, 2, 3]));
}

#[test]
fn of_two_brokers_with_one_number_the_first_ends() {
    let postgres = Postgres::start();
    let url = postgres.url();
    let mut first = Broker::start_with(&["--database-url", &url]);
    assert!(first.is_ready_or_ended(), "it is in the cluster");
    let second = Broker::start_with(&["--database-url", &url]);
    let status = first.wait_for_end();
    assert!(!status.success());
    assert!(
        first.log().contains("give each broker a number of its own"),
        "{}",
        first.log()
    );
    Connection::open(&second).create_topic(&fresh_topic("second"), 1);
}

/// What `chaos` does to the brokers of a cluster under load.
#[derive(Debug, Clone, Copy)]
enum Fault {
    Kill,
    Pause,
    Stop,
}

/// Faults at random moments; `make chaos` has more rounds. `CHAOS_SEED` repeats a run's choices.
#[test]
fn chaos() {
    let rounds = rounds(3);
    let mut random = Random::new();
    let mut cluster = Cluster::start(3, SHORT_SESSION);
    let topic = fresh_topic("chaos-of-three");
    let load = Load::start(&cluster.bootstrap(), &topic);
    for round in 1..=rounds {
        load.progress(1 + random.below(2_000) as usize);
        std::thread::sleep(Duration::from_millis(random.below(300)));
        let victim = &mut cluster.brokers[random.below(3) as usize];
        let fault = [Fault::Kill, Fault::Pause, Fault::Stop][random.below(3) as usize];
        let what = format!("{fault:?} of port {}", victim.port());
        load.announce((round, rounds), &what);
        let away = Duration::from_millis(random.below(5_000));
        match fault {
            Fault::Pause => {
                victim.signal(Signal::STOP);
                std::thread::sleep(away);
                victim.signal(Signal::CONT);
            }
            Fault::Kill | Fault::Stop => {
                match fault {
                    Fault::Kill => victim.kill(),
                    _ => victim.stop(),
                }
                std::thread::sleep(away);
                victim.start_again();
            }
        }
    }
    load.progress(1_000);
    cluster.wait_until_whole();
    load.check(&cluster.bootstrap(), &topic);
}
