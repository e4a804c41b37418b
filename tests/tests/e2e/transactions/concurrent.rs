//! Random histories of producers and readers that act at the same time, over several brokers that are killed, paused and lose their
//! partitions meanwhile. Readers of committed records see all that was committed and nothing else, each producer's in its order and
//! all readers the same, and who sees a record finds the offsets of its transaction committed. `CHAOS_SEED` repeats the choices of a
//! run, and `make chaos` has more of them.

mod actors;
mod remote;

use std::cell::RefCell;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use tests::wire::Connection;
use tests::{Broker, fresh_topic, wait_for};

use self::actors::{Known, Producer, Reader, committed, parse};
use self::remote::Remote;
use super::LIMIT;
use super::chaos::{Fault, Harmed};
use crate::load::number;

const BROKERS: usize = 3;
const PRODUCERS: usize = 3;
const READERS: usize = 2;
/// Of the topic of a history.
const PARTITIONS: i32 = 4;
/// How long they go on after the last event.
const AFTERWARDS: Duration = Duration::from_millis(300);
/// Histories of the short form, each with a kill.
const CASES: u64 = 1;

/// How a transaction ends.
#[derive(Debug, Clone, Copy)]
enum End {
    Commit,
    Abort,
    /// Another producer takes the id over.
    Lost,
}

/// One transaction.
#[derive(Debug, Clone)]
struct Round {
    /// Partitions with the number of records in a batch.
    parts: Vec<(i32, usize)>,
    has_offset: bool,
    end: End,
}

#[derive(Debug, Clone, Copy)]
enum Trouble {
    Fault(Fault),
    /// Each partition gets another leader.
    Move,
}

/// Trouble, how long after the one before, whose, and for how long.
#[derive(Debug, Clone, Copy)]
struct Event {
    trouble: Trouble,
    after_ms: u64,
    victim: usize,
    away_ms: u64,
}

#[derive(Debug, Clone)]
struct History {
    scripts: Vec<Vec<Round>>,
    events: Vec<Event>,
}

/// What all who take part know.
struct Plan {
    ports: Vec<u16>,
    topic: String,
    scripts: Vec<Vec<Round>>,
}

impl Plan {
    /// Each producer commits offsets of a group of its own.
    fn group(&self, producer: usize) -> String {
        format!("{}-group-{producer}", self.topic)
    }

    fn round(&self, producer: usize, number: usize) -> &Round {
        let script = &self.scripts[producer];
        &script[number % script.len()]
    }
}

fn round() -> impl Strategy<Value = Round> {
    let end = prop_oneof![
        5 => Just(End::Commit),
        3 => Just(End::Abort),
        1 => Just(End::Lost),
    ];
    let parts = prop::collection::vec((0..PARTITIONS, 1..4_usize), 1..4);
    (parts, any::<bool>(), end).prop_map(|(parts, has_offset, end)| Round {
        parts,
        has_offset,
        end,
    })
}

fn event(trouble: impl Strategy<Value = Trouble>) -> impl Strategy<Value = Event> {
    (trouble, 200..1_000_u64, 0..BROKERS, 0..1_000_u64).prop_map(
        |(trouble, after_ms, victim, away_ms)| Event {
            trouble,
            after_ms,
            victim,
            away_ms,
        },
    )
}

fn history() -> impl Strategy<Value = History> {
    let kill = prop_oneof![
        2 => Just(Trouble::Fault(Fault::KillBroker)),
        1 => Just(Trouble::Fault(Fault::KillPostgres)),
        1 => Just(Trouble::Fault(Fault::KillBoth)),
    ];
    let other = prop_oneof![
        Just(Trouble::Move),
        Just(Trouble::Fault(Fault::StopBroker)),
        Just(Trouble::Fault(Fault::PauseBroker)),
    ];
    let script = prop::collection::vec(round(), 1..8);
    let scripts = prop::collection::vec(script, PRODUCERS);
    let events = (event(kill), prop::option::of(event(other)), any::<bool>());
    (scripts, events).prop_map(|(scripts, (kill, other, is_last))| {
        let mut events: Vec<Event> = other.into_iter().collect();
        events.insert(if is_last { events.len() } else { 0 }, kill);
        History { scripts, events }
    })
}

/// What producers know, and what each reader saw.
struct Outcome {
    known: Vec<Vec<Known>>,
    seen: Vec<Vec<Vec<String>>>,
}

/// Lets all of them act until the last event is over.
fn play(plan: &Plan, history: &History, harmed: &mut Harmed) -> Outcome {
    let (stop, is_over) = (AtomicBool::new(false), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..READERS)
            .map(|_| scope.spawn(|| Reader::new(plan).run(&is_over)))
            .collect();
        let producers = plan.scripts.iter().enumerate();
        let producers: Vec<_> = producers
            .map(|(number, script)| {
                let stop = &stop;
                scope.spawn(move || Producer::new(plan, number).run(script, stop))
            })
            .collect();
        for event in &history.events {
            std::thread::sleep(Duration::from_millis(event.after_ms));
            let away = Duration::from_millis(event.away_ms);
            match event.trouble {
                Trouble::Fault(fault) => harmed.harm(fault, event.victim, away),
                Trouble::Move => harmed.cluster.postgres.execute(&format!(
                    "update kafka.topic_partitions p set wanted_lane = lane % {BROKERS} + 1 \
                     from kafka.topics t where t.id = p.topic and t.name = '{}'",
                    plan.topic
                )),
            }
        }
        std::thread::sleep(AFTERWARDS);
        stop.store(true, Ordering::Relaxed);
        let known: Vec<_> = producers.into_iter().map(|thread| thread.join()).collect();
        is_over.store(true, Ordering::Relaxed);
        let seen: Vec<_> = readers.into_iter().map(|thread| thread.join()).collect();
        Outcome {
            known: known
                .into_iter()
                .map(|known| known.expect("a producer"))
                .collect(),
            seen: seen
                .into_iter()
                .map(|seen| seen.expect("a reader"))
                .collect(),
        }
    })
}

impl Outcome {
    fn check(&self) {
        assert!(
            self.seen.windows(2).all(|two| two[0] == two[1]),
            "readers differ"
        );
        for (partition, values) in (0..).zip(&self.seen[0]) {
            let mut found = 0;
            for (producer, known) in self.known.iter().enumerate() {
                let of_producer = values.iter().filter(|value| parse(value).0 == producer);
                let of_producer: Vec<&String> = of_producer.collect();
                let committed = known.iter().enumerate();
                let committed = committed.filter(|(_, round)| round.is_committed);
                let expected: Vec<String> = committed
                    .flat_map(|(number, round)| {
                        let count = round.records.get(&partition).copied().unwrap_or(0);
                        (0..count).map(move |record| format!("{producer}:{number}:{record}"))
                    })
                    .collect();
                assert_eq!(of_producer, expected.iter().collect::<Vec<_>>());
                found += expected.len();
            }
            assert_eq!(values.len(), found, "records of nobody");
        }
    }

    /// The last that was committed with data is what groups have.
    fn check_offsets(&self, plan: &Plan) {
        let mut remote = Remote::new(&plan.ports);
        for (producer, known) in self.known.iter().enumerate() {
            let with_offset = known.iter().enumerate().rev().find(|(number, round)| {
                round.is_committed && plan.round(producer, *number).has_offset
            });
            let expected = with_offset.map_or(-1, |(number, _)| number as i64 + 1);
            let found = committed(&mut remote, &plan.group(producer), &plan.topic);
            assert_eq!(found, expected, "the offset of producer {producer}");
        }
    }
}

#[test]
fn concurrent_histories_over_several_brokers() {
    let cases = number("CHAOS_ROUNDS").unwrap_or(CASES);
    let mut harmed = Harmed::start(BROKERS, &[]);
    let seed: [u8; 32] = std::array::from_fn(|_| harmed.random.below(256) as u8);
    let config = Config {
        cases: cases as u32,
        failure_persistence: None,
        // Which need not fail again, as threads take turns as they like.
        max_shrink_iters: 10,
        ..Config::default()
    };
    let harmed = RefCell::new(harmed);
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &seed);
    let result = TestRunner::new_with_rng(config, rng).run(&history(), |history| {
        let mut harmed = harmed.borrow_mut();
        let plan = Plan {
            ports: harmed.cluster.brokers.iter().map(Broker::port).collect(),
            topic: fresh_topic("concurrent"),
            scripts: history.scripts.clone(),
        };
        harmed.cluster.wait_until_whole();
        Connection::open(&harmed.cluster.brokers[0]).create_topic(&plan.topic, PARTITIONS);
        let outcome = play(&plan, &history, &mut harmed);
        outcome.check();
        outcome.check_offsets(&plan);
        let left = "select (select count(*) from kafka.txn_markers)::text || (select count(*) from kafka.txn_pending_offsets)::text";
        wait_for("nothing to be left", LIMIT, || {
            (harmed.cluster.postgres.query(left) == ["00"]).then_some(())
        });
        let rounds: usize = outcome.known.iter().map(Vec::len).sum();
        eprintln!("{rounds} transactions");
        Ok(())
    });
    if let Err(error) = result {
        panic!("{error}");
    }
    harmed.borrow().report();
}
