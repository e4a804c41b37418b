//! librdkafka in groups: members in this process, each polled by a thread of its own.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::message::Message;
use tests::librdkafka::client;
use tests::{Broker, fresh_topic, wait_for};

use super::waits::quickest;
use super::{PARTITIONS, broker, filled};

type Seen = Arc<Mutex<BTreeSet<(i32, i64)>>>;

/// A member that consumes and commits until it is dropped; then it leaves.
struct Member {
    ends: Arc<AtomicBool>,
    owned: Arc<Mutex<Vec<i32>>>,
    thread: Option<JoinHandle<()>>,
}

impl Member {
    fn start(
        broker: &Broker,
        topic: &str,
        group: &str,
        settings: &[(&str, &str)],
        seen: &Seen,
    ) -> Self {
        let own = [
            ("group.id", group),
            ("auto.offset.reset", "earliest"),
            ("enable.auto.commit", "false"),
        ];
        let consumer: BaseConsumer = client(&broker.bootstrap(), &[&own, settings].concat());
        consumer.subscribe(&[topic]).unwrap();
        let ends = Arc::new(AtomicBool::new(false));
        let owned = Arc::new(Mutex::new(Vec::new()));
        let (stop, mine, seen) = (ends.clone(), owned.clone(), seen.clone());
        let thread = std::thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                if let Some(message) = consumer.poll(Duration::from_millis(50)) {
                    let Ok(message) = message else { continue };
                    seen.lock()
                        .unwrap()
                        .insert((message.partition(), message.offset()));
                    // Refused while the group rebalances; the records come again then.
                    let _ = consumer.commit_message(&message, CommitMode::Async);
                }
                let assignment = consumer.assignment().unwrap();
                let partitions = assignment
                    .elements()
                    .iter()
                    .map(|e| e.partition())
                    .collect();
                *mine.lock().unwrap() = partitions;
            }
            mine.lock().unwrap().clear();
        });
        Self {
            ends,
            owned,
            thread: Some(thread),
        }
    }

    fn owned(&self) -> Vec<i32> {
        self.owned.lock().unwrap().clone()
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            assert!(ended.is_ok() || std::thread::panicking());
        }
    }
}

/// Waits until every partition has one owner and every member has some.
fn settle(members: &[Member]) {
    wait_for("a settled group", Duration::from_secs(120), || {
        let owned: Vec<Vec<i32>> = members.iter().map(Member::owned).collect();
        let mut all: Vec<i32> = owned.concat();
        all.sort_unstable();
        let is_even = owned.iter().all(|list| !list.is_empty());
        (is_even && all == (0..PARTITIONS).collect::<Vec<_>>()).then_some(())
    });
}

fn grow_and_shrink(settings: &[(&str, &str)]) {
    let broker = broker();
    let topic = fresh_topic("rd");
    filled(&broker, &topic, 20);
    let seen = Seen::default();
    let start = || Member::start(&broker, &topic, "rd", settings, &seen);
    let mut members = vec![start()];
    settle(&members);
    members.push(start());
    settle(&members);
    members.extend((0..6).map(|_| start()));
    settle(&members);
    members.truncate(3);
    settle(&members);
    wait_for("all records", Duration::from_secs(120), || {
        (seen.lock().unwrap().len() == 20 * PARTITIONS as usize).then_some(())
    });
}

const FAST: [(&str, &str); 2] = [
    ("session.timeout.ms", "6000"),
    ("heartbeat.interval.ms", "500"),
];

#[test]
fn eager_members() {
    grow_and_shrink(&FAST);
}

#[test]
fn cooperative_members() {
    let strategy = ("partition.assignment.strategy", "cooperative-sticky");
    grow_and_shrink(&[&FAST[..], &[strategy]].concat());
}

#[test]
fn three_members_are_settled_soon() {
    let broker = broker();
    let topic = fresh_topic("soon");
    filled(&broker, &topic, 1);
    let seen = Seen::default();
    let start = || Member::start(&broker, &topic, "soon", &FAST, &seen);
    let mut members = vec![start(), start()];
    settle(&members);
    // Two heartbeats of half a second tell the others to join again. What else the machine does may hold up the first ones.
    let limit = Duration::from_secs(3);
    let took = quickest(limit, |_| {
        members.truncate(2);
        settle(&members);
        members.push(start());
        let joined = Instant::now();
        settle(&members);
        joined.elapsed()
    });
    assert!(took < limit, "{took:?}");
}

#[test]
fn members_of_the_new_protocol() {
    grow_and_shrink(&[("group.protocol", "consumer")]);
}
