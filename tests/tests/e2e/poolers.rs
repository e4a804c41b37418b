//! A pooler between brokers and PostgreSQL, which is pgbouncer: it either works or is refused with the reason.

use std::time::Duration;

use tests::pgbouncer::Pgbouncer;
use tests::postgres::Postgres;
use tests::{Broker, fresh_topic, wait_for};

use crate::brokers::{Cluster, SHORT_SESSION, wait_until_alone};
use crate::load::Load;

/// What a refusal tells to do.
const ADVICE: &str = "pool_mode=session";

#[test]
fn a_pooler_that_shares_sessions_is_refused() {
    let postgres = Postgres::start();
    let Some(pgbouncer) = Pgbouncer::before(&postgres, "transaction", 20) else {
        return;
    };
    let mut broker = Broker::stopped(&["--database-url", &pgbouncer.url()]);
    // Also when its sessions have seen that before.
    for _ in 0..4 {
        let before = broker.log().len();
        broker.spawn();
        let status = broker.wait_for_end();
        let said = broker.log().split_off(before);
        assert!(!status.success() && said.contains(ADVICE), "{said}");
    }
    let schema = postgres.query("select to_regnamespace('kafka')::text");
    assert_eq!(schema, [""], "nothing was done in the database");
}

#[test]
fn a_pooler_with_too_few_sessions_is_named_as_what_is_waited_for() {
    let postgres = Postgres::start();
    for pool_mode in ["transaction", "session"] {
        let Some(pgbouncer) = Pgbouncer::before(&postgres, pool_mode, 1) else {
            return;
        };
        let mut broker = Broker::stopped(&["--database-url", &pgbouncer.url()]);
        broker.spawn();
        wait_for("the reason", Duration::from_secs(60), || {
            broker.log().contains(ADVICE).then_some(())
        });
        broker.kill();
    }
}

#[test]
fn brokers_behind_a_pooler_that_keeps_sessions_do_as_without_it() {
    let postgres = Postgres::start();
    let Some(mut pgbouncer) = Pgbouncer::before(&postgres, "session", 80) else {
        return;
    };
    let mut cluster = Cluster::on(postgres, pgbouncer.port(), 2, SHORT_SESSION);
    cluster.start_all();
    let topic = fresh_topic("pooled");
    let load = Load::start(&cluster.bootstrap(), &topic);
    load.progress(1_000);
    let sessions = "select 1 from pg_stat_activity where application_name like 'pg_kafka %'";
    assert!(
        !cluster.postgres.query(sessions).is_empty(),
        "names, by which sessions of dead brokers are ended"
    );
    cluster.brokers[1].kill();
    wait_until_alone(&cluster.brokers[0], 1, &topic);
    load.progress(1_000);
    cluster.brokers[1].start_again();
    cluster.wait_until_whole();
    pgbouncer.replace();
    load.progress(1_000);
    load.check(&cluster.bootstrap(), &topic);
}
