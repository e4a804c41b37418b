//! The fence: two owners of one lane.

use std::time::Duration;

use storage::{Error, Registration, Store};
use uuid::Uuid;

use crate::fixture::{TestStore, read_all, run, soon, topic, writer};

#[tokio::test]
async fn each_claim_raises_the_epoch_and_fences_the_owner_before() {
    let test = TestStore::new().await;
    let part = topic(&test.store, "t", 1).await.partitions[0].id;
    let mut old = writer(&test.store).await;
    old.flush(&[run(part, 0, 1, 10)], soon()).await.unwrap();
    let mut new = writer(&test.store).await;
    assert_eq!(
        (old.lease().epoch, new.lease().epoch, new.lease().flush_seq),
        (1, 2, 1)
    );
    for bytes in [10, 200_000] {
        let error = old
            .flush(&[run(part, 1, 1, bytes)], soon())
            .await
            .unwrap_err();
        assert!(
            matches!(
                error,
                Error::Fenced {
                    lane_id: 0,
                    epoch: 1
                }
            ),
            "{error:?}"
        );
    }
    new.flush(&[run(part, 1, 1, 20)], soon()).await.unwrap();
    let sizes: Vec<usize> = read_all(&test.store, part, 1)
        .await
        .iter()
        .map(|run| run.data.len())
        .collect();
    assert_eq!(sizes, [10, 20]);
}

#[tokio::test]
async fn lease_that_is_void_opens_no_writer() {
    let test = TestStore::new().await;
    let old = test.store.claim_lane(3, Uuid::new_v4()).await.unwrap();
    test.store.claim_lane(3, Uuid::new_v4()).await.unwrap();
    let error = test.store.lane_writer(old).await.unwrap_err();
    assert!(
        matches!(
            error,
            Error::Fenced {
                lane_id: 3,
                epoch: 1
            }
        ),
        "{error:?}"
    );
}

#[tokio::test]
async fn lanes_are_independent() {
    let test = TestStore::new().await;
    let part = topic(&test.store, "t", 1).await.partitions[0].id;
    let mut zero = writer(&test.store).await;
    test.store.claim_lane(1, Uuid::new_v4()).await.unwrap();
    zero.flush(&[run(part, 0, 1, 10)], soon())
        .await
        .expect("not fenced by a claim of another lane");
}

/// Writers take the lane from each other as fast as they can; whatever was acknowledged is there once and in order.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn racing_owners_never_lose_or_double_a_flush() {
    for bytes in [500, 100_000] {
        let test = TestStore::with(|config| config.segment_bytes = 60 * bytes as u64).await;
        let part = topic(&test.store, "t", 1).await.partitions[0].id;
        let owner = |number: usize| {
            let store = test.store.clone();
            async move {
                let mut acknowledged = Vec::new();
                for _ in 0..12 {
                    let lease = store.claim_lane(0, Uuid::new_v4()).await.unwrap();
                    let mut writer = match store.lane_writer(lease).await {
                        Ok(writer) => writer,
                        Err(Error::Fenced { .. }) => continue,
                        Err(error) => panic!("{error}"),
                    };
                    let mut next = store.end_offsets(&[part]).await.unwrap()[0].1;
                    for flush in 0..=8 {
                        let records = i32::try_from(number + 1).unwrap();
                        match writer
                            .flush(&[run(part, next, records, bytes)], soon())
                            .await
                        {
                            Ok(()) => acknowledged.push(next),
                            Err(Error::Fenced { .. } | Error::LaneLocked { .. }) => break,
                            Err(error) => panic!("flush {flush}: {error}"),
                        }
                        next += i64::from(records);
                    }
                }
                acknowledged
            }
        };
        let owners = (0..3).map(|number| tokio::spawn(owner(number)));
        let mut acknowledged = Vec::new();
        for owner in futures_util::future::join_all(owners).await {
            acknowledged.extend(owner.unwrap());
        }
        acknowledged.sort_unstable();
        let runs = read_all(&test.store, part, 1 << 20).await;
        let mut next = 0;
        for run in &runs {
            assert_eq!(run.base_offset, next, "no gap, no overlap");
            next = run.last_offset + 1;
        }
        let stored: Vec<i64> = runs.iter().map(|run| run.base_offset).collect();
        assert_eq!(stored, acknowledged, "exactly what was acknowledged");
    }
}

/// Nothing is stored, and the caller is free.
#[tokio::test]
async fn what_somebody_locks_by_sql_is_waited_for_a_moment_only() {
    let is_locked =
        |result: &Result<(), Error>| matches!(result, Err(Error::LaneLocked { lane_id: 0 }));
    for bytes in [10, 200_000] {
        let test = TestStore::new().await;
        let part = topic(&test.store, "t", 1).await.partitions[0].id;
        let mut writer = writer(&test.store).await;
        let first = run(part, 0, 1, bytes);
        writer.flush(&[first], soon()).await.unwrap();
        let somebody = test.sql().await;
        let lane = "select from kafka.lanes for update";
        for lock in [lane, "lock table kafka.log_1 in share mode"] {
            somebody
                .batch_execute(&format!("begin; {lock}"))
                .await
                .unwrap();
            for _ in 0..2 {
                let refused = writer.flush(&[run(part, 1, 1, bytes)], soon()).await;
                assert!(is_locked(&refused), "{lock}: {refused:?}");
            }
            if lock == lane {
                let refused = writer.hand_over(&[(part, 7)], soon()).await;
                assert!(is_locked(&refused), "{refused:?}");
            }
            somebody.batch_execute("rollback").await.unwrap();
        }
        writer
            .flush(&[run(part, 1, 2, bytes)], soon())
            .await
            .unwrap();
        let ends = test.store.end_offsets(&[part]).await.unwrap();
        assert_eq!(ends, [(part, 3)]);
        assert_eq!(writer.lease().flush_seq, 2);
    }
}

const HOUR: Duration = Duration::from_secs(3600);

/// Its incarnation.
async fn register(store: &Store, node_id: i32, session_timeout: Duration) -> Uuid {
    let broker = Registration {
        node_id,
        incarnation: Uuid::new_v4(),
        host: "localhost".to_owned(),
        port: 9092,
        rack: None,
        session_timeout,
    };
    store.register_broker(&broker).await.unwrap();
    broker.incarnation
}

/// Registered brokers: one that lives, and one that has never sent a heartbeat in its short session.
async fn brokers(store: &Store) {
    register(store, 1, HOUR).await;
    register(store, 2, Duration::ZERO).await;
}

#[tokio::test]
async fn a_broker_that_loads_is_given_nothing_while_others_have_loaded() {
    let test = TestStore::new().await;
    let lanes = async || {
        let loads = test.store.lane_loads().await.unwrap();
        loads.iter().map(|load| load.lane_id).collect::<Vec<_>>()
    };
    let first = register(&test.store, 1, HOUR).await;
    register(&test.store, 2, HOUR).await;
    assert_eq!(lanes().await, [1, 2], "nobody has loaded");
    test.store.note_loaded(1, first).await.unwrap();
    assert_eq!(lanes().await, [1]);
    let sql = test.sql().await;
    sql.execute(
        "insert into kafka.topics (name, partitions) values ('t', 4)",
        &[],
    )
    .await
    .unwrap();
    assert_eq!(test.store.lane_loads().await.unwrap()[0].partitions, 4);
    register(&test.store, 3, Duration::ZERO).await;
    sql.execute("update kafka.topic_partitions set lane = 3", &[])
        .await
        .unwrap();
    let takeover = test.store.take_over_lane(3).await.unwrap().unwrap();
    assert_eq!((takeover.partitions, takeover.lanes), (4, vec![1]));
    // Another start of it.
    register(&test.store, 1, HOUR).await;
    assert_eq!(lanes().await, [1, 2]);
}

#[tokio::test]
async fn heartbeats_that_find_the_row_locked_leave_no_sessions_behind() {
    let test = TestStore::new().await;
    let incarnation = register(&test.store, 1, HOUR).await;
    let mut heart = test.store.heart(1, incarnation);
    let patience = Duration::from_secs(60);
    assert!(heart.beat(patience).await.unwrap());
    let sql = test.sql().await;
    sql.batch_execute("begin; select from kafka.brokers for update")
        .await
        .unwrap();
    for _ in 0..2 {
        let refused = heart.beat(patience).await;
        assert!(matches!(refused, Err(Error::Conflict(_))), "{refused:?}");
    }
    let waiting = "select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'";
    assert!(sql.query(waiting, &[]).await.unwrap().is_empty());
    sql.batch_execute("rollback").await.unwrap();
    assert!(heart.beat(patience).await.unwrap());
}

#[tokio::test]
async fn takeover_of_a_lane_that_somebody_locks_by_sql_is_put_off() {
    let test = TestStore::new().await;
    brokers(&test.store).await;
    let sql = test.sql().await;
    sql.batch_execute("insert into kafka.lanes (lane_id) values (2)")
        .await
        .unwrap();
    for lock in ["kafka.lanes", "kafka.brokers"] {
        sql.batch_execute(&format!("begin; select from {lock} for update"))
            .await
            .unwrap();
        let error = test.store.take_over_lane(2).await.unwrap_err();
        assert!(matches!(error, Error::Conflict(_)), "{error:?}");
        sql.batch_execute("rollback").await.unwrap();
    }
    assert_eq!(test.store.orphaned_lanes().await.unwrap(), [2]);
    assert!(test.store.take_over_lane(2).await.unwrap().is_some());
    assert!(test.store.orphaned_lanes().await.unwrap().is_empty());
}

/// As one that was written anew while another broker took over.
#[tokio::test]
async fn a_sealed_segment_in_a_lane_without_a_broker_gets_another_keeper() {
    let test = TestStore::new().await;
    brokers(&test.store).await;
    let sql = test.sql().await;
    test.store.take_over_lane(2).await.unwrap();
    assert!(test.store.orphaned_lanes().await.unwrap().is_empty());
    let late = "insert into kafka.segments (lane_id, state) values (2, 'sealed')";
    sql.execute(late, &[]).await.unwrap();
    assert_eq!(test.store.orphaned_lanes().await.unwrap(), [2]);
    let takeover = test.store.take_over_lane(2).await.unwrap();
    assert_eq!(takeover.unwrap().partitions, 0);
    let lanes = "select lane_id from kafka.segments where state = 'sealed'";
    let lanes = sql.query(lanes, &[]).await.unwrap();
    let lanes: Vec<i32> = lanes.iter().map(|row| row.get(0)).collect();
    assert_eq!(lanes, [1]);
    assert!(test.store.orphaned_lanes().await.unwrap().is_empty());
}

#[tokio::test]
async fn claim_waits_for_a_flush_under_way() {
    let test = TestStore::new().await;
    writer(&test.store).await;
    let mut sql = test.sql().await;
    let flush = sql.transaction().await.unwrap();
    flush
        .execute(
            "update kafka.lanes set flush_seq = flush_seq + 1 where lane_id = 0",
            &[],
        )
        .await
        .unwrap();
    let claim = test.store.claim_lane(0, Uuid::new_v4());
    let mut claim = std::pin::pin!(claim);
    tokio::time::timeout(Duration::from_millis(300), &mut claim)
        .await
        .expect_err("the row is locked");
    flush.commit().await.unwrap();
    assert_eq!(claim.await.unwrap().flush_seq, 1);
}

#[tokio::test]
async fn late_owner_cannot_seal_what_the_new_one_writes() {
    let test = TestStore::with(|config| config.segment_bytes = 50_000).await;
    let part = topic(&test.store, "t", 1).await.partitions[0].id;
    let mut old = writer(&test.store).await;
    // One flush fills segment 1; the late owner will want to roll and seal it with the next.
    old.flush(&[run(part, 0, 1, 60_000)], soon()).await.unwrap();
    let mut new = writer(&test.store).await;
    new.flush(&[run(part, 1, 1, 10)], soon()).await.unwrap();
    let error = old
        .flush(&[run(part, 1, 1, 60_000)], soon())
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Fenced { .. }), "{error:?}");
    for base in 2..12 {
        new.flush(&[run(part, base, 1, 30_000)], soon())
            .await
            .unwrap();
    }
    assert_eq!(read_all(&test.store, part, 1 << 20).await.len(), 12);
    assert_eq!(test.store.end_offsets(&[part]).await.unwrap(), [(part, 12)]);
}
