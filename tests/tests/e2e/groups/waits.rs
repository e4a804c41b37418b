//! How long members wait.

use std::time::{Duration, Instant};

use protocol::ApiKey;
use protocol::messages::JoinGroupResponse;
use tests::wire::Connection;
use tests::{Broker, wait_for};

use super::restarts::{heartbeat, join, join_request};

/// The first of a few that is quick enough, or the quickest: a busy machine may hold up some.
pub(super) fn quickest(limit: Duration, run: impl FnMut(usize) -> Duration) -> Duration {
    let mut took = Duration::MAX;
    for each in (0..4).map(run) {
        took = took.min(each);
        if took < limit {
            break;
        }
    }
    took
}

#[test]
fn one_member_of_an_idle_group_waits_for_the_initial_delay_and_no_longer() {
    let [at_once, delayed] = [0, 4].map(|delay_s| {
        let delay = Duration::from_secs(delay_s);
        let setting = format!("--group-initial-rebalance-delay-ms={}", delay.as_millis());
        let broker = Broker::start_with(&[&setting]);
        let mut connection = Connection::open(&broker);
        // Half of what a second delay would take.
        let limit = delay + Duration::from_secs(2);
        let took = quickest(limit, |n| {
            let started = Instant::now();
            join(&mut connection, &format!("idle-{n}"));
            let took = started.elapsed();
            assert!(took >= delay, "{took:?}");
            took
        });
        assert!(took < limit, "{took:?} with a delay of {delay:?}");
        took
    });
    println!("joined after {at_once:?} without, {delayed:?} with a delay of 4 s");
}

#[test]
fn a_rebalance_ends_with_the_last_join() {
    let broker = Broker::start_with(&["--group-initial-rebalance-delay-ms=0"]);
    let limit = Duration::from_secs(3);
    let took = quickest(limit, |n| {
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
                wait_for("word of a rebalance", Duration::from_secs(60), || {
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
    assert!(took < limit, "{took:?}");
}
