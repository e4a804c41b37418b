//! What PostgreSQL itself may suffer under brokers and load: it is killed, hangs, is cut off, is replaced by a standby, has no
//! disk left. Clients see errors that they retry, and nothing that was acknowledged is lost.

use std::time::Duration;

use tests::batch::NewBatch;
use tests::postgres::Postgres;
use tests::proxy::Proxy;
use tests::wire::Connection;
use tests::{fresh_topic, wait_for};

use crate::brokers::{Cluster, LIMIT, LONG_SESSION, leaders};
use crate::load::{Load, Random, rounds};

/// Two brokers whose way to the database may be harmed, under load.
struct Harmed {
    proxy: Proxy,
    cluster: Cluster,
    topic: String,
    load: Load,
}

impl Harmed {
    fn start(postgres: Postgres, stem: &str) -> Self {
        let proxy = Proxy::to(postgres.port());
        let mut cluster = Cluster::on(postgres, proxy.port(), 2, LONG_SESSION);
        cluster.start_all();
        let topic = fresh_topic(stem);
        let load = Load::start(&cluster.bootstrap(), &topic);
        load.progress(1_000);
        Self {
            proxy,
            cluster,
            topic,
            load,
        }
    }

    /// The load goes on, no broker had to be started again, and everything is there.
    fn check(mut self) {
        self.load.progress(1_000);
        for broker in &mut self.cluster.brokers {
            broker.assert_running();
        }
        self.load.check(&self.cluster.bootstrap(), &self.topic);
    }
}

#[derive(Debug, Clone, Copy)]
enum Fault {
    Kill,
    Restart,
    Cut,
    Hang,
    EndBackends,
}

const FAULTS: [Fault; 5] = [
    Fault::Kill,
    Fault::Restart,
    Fault::Cut,
    Fault::Hang,
    Fault::EndBackends,
];

impl Fault {
    fn strike(self, harmed: &Harmed, length: Duration) {
        let postgres = &harmed.cluster.postgres;
        match self {
            Self::Kill => {
                postgres.kill();
                std::thread::sleep(length);
                postgres.start_again();
            }
            Self::Restart => {
                postgres.stop();
                std::thread::sleep(length);
                postgres.start_again();
            }
            Self::Cut => harmed.proxy.cut(),
            Self::Hang => {
                harmed.proxy.hang(true);
                std::thread::sleep(length);
                harmed.proxy.hang(false);
            }
            Self::EndBackends => postgres.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity \
                 where application_name like 'pg_kafka%' and pid <> pg_backend_pid()",
            ),
        }
    }
}

/// In each round each fault once, in an order at random; `make chaos` has more rounds. `CHAOS_SEED` repeats a run's choices.
#[test]
fn faults_of_the_database_under_load() {
    let mut random = Random::new();
    let harmed = Harmed::start(Postgres::start(), "database-faults");
    let rounds = rounds(1);
    for round in 1..=rounds {
        let mut faults = FAULTS.to_vec();
        while !faults.is_empty() {
            let fault = faults.swap_remove(random.below(faults.len() as u64) as usize);
            random.sleep(300);
            harmed.load.announce((round, rounds), &format!("{fault:?}"));
            fault.strike(&harmed, Duration::from_millis(random.below(3_000)));
            harmed.load.progress(1 + random.below(1_000) as usize);
        }
    }
    harmed.check();
}

/// Each standby that is promoted gets a standby of its own.
#[test]
fn a_standby_is_promoted_under_load() {
    let mut random = Random::new();
    let mut harmed = Harmed::start(Postgres::start(), "promoted");
    let rounds = rounds(1);
    for round in 1..=rounds {
        let standby = harmed.cluster.postgres.standby();
        harmed.cluster.postgres.wait_for_synchronous_standby();
        harmed.load.progress(1 + random.below(1_000) as usize);
        random.sleep(300);
        harmed.load.announce((round, rounds), "promotion");
        harmed.cluster.postgres.kill();
        standby.promote();
        harmed.proxy.lead_to(standby.port());
        harmed.proxy.cut();
        harmed.cluster.postgres = standby;
        harmed.load.progress(500);
    }
    harmed.check();
}

/// Of the disk that is filled: for the WAL and what the first round writes, and what each later one adds.
const DISK_BYTES: u64 = 192 << 20;
const DISK_BYTES_MORE: u64 = 16 << 20;

/// Needs the right to mount: where it is missing the test says so.
#[test]
fn a_full_disk_is_waited_out() {
    let rounds = rounds(1);
    let size_bytes = DISK_BYTES + rounds.saturating_sub(1) * DISK_BYTES_MORE;
    let Some(postgres) = Postgres::on_small_disk(size_bytes) else {
        println!("not run: this process may not mount a small disk");
        return;
    };
    let mut random = Random::new();
    let harmed = Harmed::start(postgres, "full-disk");
    for round in 1..=rounds {
        harmed.load.progress(1 + random.below(500) as usize);
        harmed.load.announce((round, rounds), "full disk");
        let hog = harmed.cluster.postgres.fill_disk();
        // What is not stored is not acknowledged: nothing moves, or what still fits does.
        std::thread::sleep(Duration::from_millis(1_000 + random.below(2_500)));
        drop(hog);
        let goal = harmed.load.count() + 1;
        wait_for("the load to go on", LIMIT, || {
            // Without a place for its WAL the server may have ended, or be about to.
            harmed.cluster.postgres.wait_until_up();
            (harmed.load.count() >= goal).then_some(())
        });
    }
    harmed.check();
}

/// Who waits is told to try again, the log says why nothing is stored, and all goes on when the rows are free.
#[test]
fn lanes_that_somebody_locks_by_sql_are_waited_out() {
    let harmed = Harmed::start(Postgres::start(), "locked");
    let broker = &harmed.cluster.brokers[0];
    let plain = fresh_topic("plain");
    let mut connection = Connection::open(broker);
    harmed.cluster.create_topic(&plain, 2);
    let own = leaders(broker, &plain).into_iter().find(|(_, id)| *id == 1);
    let (partition, _) = own.expect("one of two for each broker");
    let batch = NewBatch::of(&["one"]).bytes();
    let somebody = harmed
        .cluster
        .postgres
        .begin("select from kafka.lanes for update");
    for _ in 0..3 {
        let refused = connection.produce(&plain, partition, &batch);
        let again = protocol::ErrorCode::NotLeaderOrFollower as i16;
        assert_eq!(refused.error, again, "which clients repeat");
    }
    let log = broker.log();
    assert!(log.contains("kafka.lanes, or the table of its segment, is locked by another session"));
    drop(somebody);
    wait_for("an acknowledgement", LIMIT, || {
        (connection.produce(&plain, partition, &batch).error == 0).then_some(())
    });
    assert_eq!(connection.list_offset(&plain, partition, -1).1, 1);
    harmed.check();
}
