//! Data survives: a stop, kill -9 of the broker and kill -9 of its PostgreSQL, under load from idempotent producers.

use std::time::Duration;

use rustix::process::Signal;
use tests::batch::NewBatch;
use tests::postgres::Postgres;
use tests::wire::Connection;
use tests::{Broker, fresh_topic, wait_for};

use crate::load::{Load, Random, number};

#[test]
fn stop_and_start_under_load() {
    let mut broker = Broker::start();
    let topic = fresh_topic("stopped");
    let load = Load::start(&broker.bootstrap(), &topic);
    for _ in 0..2 {
        load.progress(2_000);
        broker.stop();
        assert!(
            broker.postmaster().is_none(),
            "PostgreSQL ends with the broker"
        );
        broker.start_again();
    }
    load.progress(2_000);
    load.check(&broker.bootstrap(), &topic);
}

#[test]
fn kill_the_broker_under_load() {
    let mut broker = Broker::start();
    let topic = fresh_topic("killed");
    let load = Load::start(&broker.bootstrap(), &topic);
    for _ in 0..3 {
        load.progress(2_000);
        broker.kill();
        broker.start_again();
    }
    load.progress(2_000);
    load.check(&broker.bootstrap(), &topic);
}

#[test]
fn kill_postgres_under_load() {
    let mut broker = Broker::start();
    let topic = fresh_topic("database-killed");
    let load = Load::start(&broker.bootstrap(), &topic);
    load.progress(2_000);
    let killed = broker.postmaster();
    broker.kill_postgres();
    // the broker brings its PostgreSQL back by itself
    wait_for("another PostgreSQL", Duration::from_secs(120), || {
        broker.postmaster().filter(|pid| Some(*pid) != killed)
    });
    load.progress(2_000);
    broker.assert_running();
    load.check(&broker.bootstrap(), &topic);
}

#[test]
fn kill_both_under_load() {
    let mut broker = Broker::start();
    let topic = fresh_topic("both-killed");
    let load = Load::start(&broker.bootstrap(), &topic);
    load.progress(2_000);
    broker.kill_postgres();
    broker.kill();
    broker.start_again();
    load.progress(2_000);
    load.check(&broker.bootstrap(), &topic);
}

/// What `chaos` does to a broker under load.
#[derive(Debug, Clone, Copy)]
enum Fault {
    KillBroker,
    KillPostgres,
    KillBoth,
    /// And once more while it is on its way up.
    KillBrokerTwice,
    StopBroker,
    /// Neither answers nor ends for a while.
    PauseBroker,
}

const FAULTS: [Fault; 6] = [
    Fault::KillBroker,
    Fault::KillPostgres,
    Fault::KillBoth,
    Fault::KillBrokerTwice,
    Fault::StopBroker,
    Fault::PauseBroker,
];

impl Fault {
    fn strike(self, broker: &mut Broker, random: &mut Random) {
        match self {
            Self::KillBroker => broker.kill(),
            Self::KillPostgres => return broker.kill_postgres(),
            Self::KillBoth => {
                broker.kill_postgres();
                broker.kill();
            }
            Self::KillBrokerTwice => {
                broker.kill();
                broker.spawn();
                std::thread::sleep(Duration::from_millis(random.below(1_500)));
                broker.kill();
            }
            Self::StopBroker => broker.stop(),
            Self::PauseBroker => {
                broker.signal(Signal::STOP);
                std::thread::sleep(Duration::from_millis(random.below(3_000)));
                return broker.signal(Signal::CONT);
            }
        }
        broker.start_again();
    }
}

/// Faults at random moments; `make chaos` has more rounds. `CHAOS_SEED` repeats a run's choices.
#[test]
fn chaos() {
    let rounds = number("CHAOS_ROUNDS").unwrap_or(3);
    let mut random = Random::new();
    let mut broker = Broker::start();
    let topic = fresh_topic("chaos");
    let load = Load::start(&broker.bootstrap(), &topic);
    for round in 1..=rounds {
        load.progress(1 + random.below(2_000) as usize);
        std::thread::sleep(Duration::from_millis(random.below(300)));
        let fault = FAULTS[random.below(FAULTS.len() as u64) as usize];
        println!(
            "round {round} of {rounds}: {fault:?} after {} records",
            load.count()
        );
        // a postmaster that is just being brought back cannot be killed
        wait_for("PostgreSQL", Duration::from_secs(120), || {
            broker.postmaster()
        });
        fault.strike(&mut broker, &mut random);
    }
    load.progress(1_000);
    broker.assert_running();
    let acknowledged = load.count();
    load.check(&broker.bootstrap(), &topic);
    println!(
        "{rounds} rounds, more than {acknowledged} records: none lost, none twice, all in order"
    );
}

#[test]
fn a_stop_drains_what_is_in_flight() {
    let mut broker = Broker::start_with(&["--shutdown-timeout-ms", "60000"]);
    let mut connection = Connection::open(&broker);
    let topic = fresh_topic("drained");
    connection.create_topic(&topic, 1);
    // 40 MB of requests, sent before the first answer is read
    let value = vec![b'x'; 100_000];
    let batch = NewBatch::of(&[&value; 8]).bytes();
    for _ in 0..50 {
        connection.send(
            &tests::wire::produce_request(&topic, &[(0, &batch)], -1),
            tests::wire::PRODUCE,
        );
    }
    let first = connection.receive(protocol::ApiKey::Produce, tests::wire::PRODUCE);
    assert_eq!(tests::wire::produced(&first)[0].base_offset, 0);
    broker.signal(Signal::INT);
    // every further answer is a success with the next offset, until the connection ends
    let rest = tests::broker::read_until_closed(connection.stream(), Duration::from_secs(90));
    let mut rest = &rest.expect("the broker closes the connection")[..];
    let mut answered = 1;
    while !rest.is_empty() {
        let size = usize::try_from(u32::from_be_bytes(rest[..4].try_into().unwrap())).unwrap();
        assert!(rest.len() >= 4 + size, "an answer is cut off");
        rest = &rest[4 + size..];
        answered += 1;
    }
    assert!(broker.wait_for_end().success());
    broker.start_again();
    let end = Connection::open(&broker).list_offset(&topic, 0, -1).1;
    // what was answered is there; what was written was answered
    assert_eq!(end, 8 * i64::from(answered));
}

#[test]
fn a_database_of_a_newer_release_is_refused() {
    let postgres = Postgres::start();
    let mut broker = Broker::start_with(&["--database-url", &postgres.url()]);
    // Connections are accepted before there is a schema.
    assert!(broker.is_ready_or_ended());
    broker.stop();
    postgres.execute(
        "INSERT INTO kafka.schema_history (version, name, checksum) \
         SELECT max(version) + 1, '9999_from_the_future', '' FROM kafka.schema_history",
    );
    broker.spawn();
    let status = broker.wait_for_end();
    assert!(!status.success());
    assert!(broker.log().contains("newer"), "{}", broker.log());
}

#[test]
fn look_ups_by_time_start_at_the_marks_that_stops_leave() {
    let postgres = Postgres::start();
    let mut broker = Broker::start_with(&["--database-url", &postgres.url()]);
    let topic = fresh_topic("time");
    Connection::open(&broker).create_topic(&topic, 1);
    let base = NewBatch::of(&["x"]).base_timestamp - 3_600_000;
    // Neither ascending nor without repetitions; the largest comes twice, in the second and the fourth part.
    let parts: [&[i64]; 5] = [&[50, 10, 40], &[60, 90, 20], &[30, 70], &[90, 5], &[80, 85]];
    let mut all = Vec::new();
    for times in parts {
        let mut connection = Connection::open(&broker);
        for time in times {
            let mut batch = NewBatch::of(&["x"]);
            batch.base_timestamp = base + time;
            connection.produce(&topic, 0, &batch.bytes());
            all.push(base + time);
        }
        broker.stop();
        broker.start_again();
        let mut connection = Connection::open(&broker);
        for time in (0..=100).map(|time| base + time) {
            let found = (0..).zip(&all).find(|(_, record)| **record >= time);
            let (offset, record) = found.map_or((-1, -1), |(offset, record)| (offset, *record));
            let answer = connection.list_offset(&topic, 0, time);
            assert_eq!(answer, (0, offset, record), "for {}", time - base);
        }
        let largest = *all.iter().max().unwrap();
        let offset = all.iter().position(|time| *time == largest).unwrap();
        let answer = connection.list_offset(&topic, 0, -3);
        assert_eq!(answer, (0, offset as i64, largest));
    }
    let marks = format!(
        "select concat_ws(' ', end_offset, max_timestamp - {base}) from kafka.time_index order by end_offset"
    );
    assert_eq!(
        postgres.query(&marks),
        ["3 50", "6 90", "8 90", "10 90", "12 90"]
    );
    // That they are used: with a mark that lies, a record before it is not found.
    let lie = format!("update kafka.time_index set max_timestamp = {base} where end_offset = 12");
    postgres.query(&lie);
    let mut connection = Connection::open(&broker);
    assert_eq!(connection.list_offset(&topic, 0, base + 10), (0, -1, -1));
}
