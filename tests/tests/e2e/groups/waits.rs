//! How long members wait.

use std::time::{Duration, Instant};

use tests::Broker;
use tests::wire::Connection;

use super::restarts::join;

#[test]
fn one_member_of_an_idle_group_waits_for_the_initial_delay_and_no_longer() {
    let broker = Broker::start_with(&["--group-initial-rebalance-delay-ms=500"]);
    let mut connection = Connection::open(&broker);
    let waits = (0..3).map(|n| {
        let started = Instant::now();
        join(&mut connection, &format!("idle-{n}"));
        started.elapsed()
    });
    // The quickest of them: a busy machine may hold up some.
    let least = waits.min().unwrap();
    let delay = Duration::from_millis(500);
    assert!(
        least >= delay && least < delay + Duration::from_millis(100),
        "{least:?}"
    );
}
