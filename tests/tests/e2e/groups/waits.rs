//! How long members wait.

use std::time::{Duration, Instant};

use protocol::ApiKey;
use protocol::messages::JoinGroupResponse;
use tests::wire::Connection;
use tests::{Broker, wait_for};

use super::restarts::{heartbeat, join, join_request};

/// The quickest of a few: a busy machine may hold up some.
fn quickest(run: impl FnMut(usize) -> Duration) -> Duration {
    (0..3).map(run).min().unwrap()
}

#[test]
fn one_member_of_an_idle_group_waits_for_the_initial_delay_and_no_longer() {
    let [at_once, delayed] = [0, 2_000].map(|delay_ms| {
        let delay = format!("--group-initial-rebalance-delay-ms={delay_ms}");
        let broker = Broker::start_with(&[&delay]);
        let mut connection = Connection::open(&broker);
        quickest(|n| {
            let started = Instant::now();
            join(&mut connection, &format!("idle-{n}"));
            started.elapsed()
        })
    });
    println!("joined after {at_once:?} without, {delayed:?} with a delay of 2 s");
    let delay = Duration::from_secs(2);
    assert!(
        delayed >= delay && delayed < delay + Duration::from_secs(1) + 10 * at_once,
        "{delayed:?}, without delay {at_once:?}"
    );
    assert!(at_once < delay, "{at_once:?}");
}

#[test]
fn a_rebalance_ends_with_the_last_join() {
    let broker = Broker::start_with(&["--group-initial-rebalance-delay-ms=0"]);
    let took = quickest(|n| {
        let group = format!("three-{n}");
        let mut connections: Vec<Connection> = (0..3).map(|_| Connection::open(&broker)).collect();
        let mut ids: Vec<String> = Vec::new();
        for generation in 1..=3 {
            let newcomer = &mut connections[generation - 1];
            let answer = newcomer.call(&join_request(&group, ""), 9);
            let id = answer
                .read::<JoinGroupResponse<'_>>()
                .member_id
                .into_owned();
            newcomer.send(&join_request(&group, &id), 9);
            ids.push(id);
            // The others learn of it by their heartbeats.
            let mut last = Instant::now();
            for (connection, id) in connections.iter_mut().zip(&ids[..generation - 1]) {
                let present = i32::try_from(generation).unwrap() - 1;
                let rebalance = protocol::ErrorCode::RebalanceInProgress.code();
                wait_for("word of a rebalance", Duration::from_secs(30), || {
                    (heartbeat(connection, &group, id, present) == rebalance).then_some(())
                });
                last = Instant::now();
                connection.send(&join_request(&group, id), 9);
            }
            for connection in &mut connections[..generation] {
                let answer = connection.receive(ApiKey::JoinGroup, 9);
                let joined: JoinGroupResponse<'_> = answer.read();
                assert_eq!(joined.error_code, 0);
                assert_eq!(joined.generation_id as usize, generation);
            }
            if generation == 3 {
                return last.elapsed();
            }
        }
        unreachable!("the third generation returns")
    });
    println!("three members rebalanced within {took:?} of the last join");
    assert!(took < Duration::from_secs(3), "{took:?}");
}
