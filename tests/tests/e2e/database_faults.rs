//! What PostgreSQL itself may suffer under brokers and load: it is killed, hangs, is cut off, is replaced by a standby, has no
//! disk left. Clients see errors that they retry, and nothing that was acknowledged is lost.

use std::time::Duration;

use tests::postgres::Postgres;
use tests::proxy::Proxy;
use tests::{fresh_topic, wait_for};

use crate::brokers::{Cluster, LONG_SESSION};
use crate::load::{Load, Random, number};

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

/// Each fault once, then some at random moments; `make chaos` has more of these. `CHAOS_SEED` repeats a run's choices.
#[test]
fn faults_of_the_database_under_load() {
    let rounds = number("CHAOS_ROUNDS").unwrap_or(0);
    let mut random = Random::new();
    let harmed = Harmed::start(Postgres::start(), "database-faults");
    let at_random = (0..rounds).map(|_| FAULTS[random.below(FAULTS.len() as u64) as usize]);
    let all: Vec<Fault> = FAULTS.into_iter().chain(at_random).collect();
    for (round, fault) in all.iter().enumerate() {
        println!(
            "round {round}: {fault:?} after {} records",
            harmed.load.count()
        );
        fault.strike(&harmed, Duration::from_millis(random.below(3_000)));
        harmed.load.progress(1 + random.below(1_000) as usize);
    }
    harmed.check();
}

#[test]
fn a_standby_is_promoted_under_load() {
    let primary = Postgres::start();
    let standby = primary.standby();
    primary.wait_for_synchronous_standby();
    let mut harmed = Harmed::start(primary, "promoted");
    harmed.cluster.postgres.kill();
    standby.promote();
    harmed.proxy.lead_to(standby.port());
    harmed.proxy.cut();
    harmed.cluster.postgres = standby;
    harmed.check();
}

/// Needs the right to mount: where it is missing the test says so.
#[test]
fn a_full_disk_is_waited_out() {
    let Some(postgres) = Postgres::on_small_disk(192 << 20) else {
        println!("not run: this process may not mount a small disk");
        return;
    };
    let harmed = Harmed::start(postgres, "full-disk");
    let hog = harmed.cluster.postgres.fill_disk();
    std::thread::sleep(Duration::from_secs(3));
    let before = harmed.load.count();
    std::thread::sleep(Duration::from_millis(500));
    // What is not stored is not acknowledged: nothing moves, or what still fitted did.
    println!(
        "{before} records before, {} while the disk is full",
        harmed.load.count()
    );
    drop(hog);
    let goal = harmed.load.count() + 1;
    wait_for("the load to go on", Duration::from_secs(120), || {
        // Without a place for its WAL the server may have ended, or be about to.
        if harmed.cluster.postgres.postmaster().is_none() {
            harmed.cluster.postgres.start_again();
        }
        (harmed.load.count() >= goal).then_some(())
    });
    harmed.check();
}
