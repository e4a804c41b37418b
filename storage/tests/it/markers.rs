//! Transactions of several brokers: markers that are due go once, and offsets that others store are decided or refused.

use std::time::Duration;

use storage::{
    DueMarker, Error, FlushChanges, LaneWriter, OffsetWrite, Pended, ShardLease, Store, Topic,
    TransactionRow, TransactionWrite,
};
use uuid::Uuid;

use crate::fixture::{TestStore, run, soon, topic, until, writer};

const ID: &str = "x";
const PRODUCER: (&str, i64, i16) = (ID, 7, 3);

fn write(lease: ShardLease, state: &'static str) -> TransactionWrite {
    TransactionWrite {
        transactional_id: ID.to_owned(),
        lease,
        row: Some(TransactionRow {
            producer_id: PRODUCER.1,
            producer_epoch: PRODUCER.2,
            last_producer_id: -1,
            last_producer_epoch: -1,
            state: state.into(),
            timeout_ms: 60_000,
            started_ms: None,
            updated_ms: 1_700_000_000_456,
            version: 2,
        }),
        partitions: Vec::new(),
        groups: Vec::new(),
        offsets: Vec::new(),
        end: None,
    }
}

fn due(part: i32) -> DueMarker {
    DueMarker {
        transactional_id: ID.to_owned(),
        part,
        producer_id: PRODUCER.1,
        producer_epoch: PRODUCER.2 + 1,
        is_commit: true,
        is_epoch_bumped: true,
        coordinator_epoch: 1,
    }
}

fn offset(topic: &Topic, offset: i64) -> OffsetWrite {
    OffsetWrite {
        topic: topic.id,
        partition: 0,
        offset,
        leader_epoch: 4,
        metadata: "so far".to_owned(),
        timestamp_ms: None,
        retention_ms: None,
    }
}

/// The decision, with markers due in these partitions.
fn decision(lease: ShardLease, parts: &[i32]) -> FlushChanges {
    let state = match parts.is_empty() {
        true => "CompleteCommit",
        false => "PrepareCommit",
    };
    FlushChanges {
        transactions: vec![TransactionWrite {
            groups: vec!["g".to_owned()],
            end: Some(true),
            ..write(lease, state)
        }],
        due: parts.iter().map(|part| due(*part)).collect(),
        ..FlushChanges::default()
    }
}

async fn other_lane(store: &Store) -> LaneWriter {
    let lease = store.claim_lane(1, Uuid::new_v4()).await.unwrap();
    store.lane_writer(lease).await.unwrap()
}

async fn shards(store: &Store) -> Vec<ShardLease> {
    let claimed = store.claim_group_shards(Uuid::new_v4(), None).await;
    claimed.unwrap()
}

async fn committed(store: &Store) -> Vec<i64> {
    let offsets = store.committed_offsets("g").await.unwrap();
    offsets.iter().map(|offset| offset.offset).collect()
}

/// Flushes the marker that is due, and twice one that is not.
async fn write_once(store: &Store, leader: &mut LaneWriter, part: i32) {
    let other_epoch = DueMarker {
        producer_epoch: 9,
        ..due(part)
    };
    for (written, is_due) in [(other_epoch, false), (due(part), true), (due(part), false)] {
        let base = store.end_offsets(&[part]).await.unwrap()[0].1;
        let changes = FlushChanges {
            written: vec![written],
            ..FlushChanges::default()
        };
        let flushed = leader
            .flush_with(&[run(part, base, 1, 80)], &changes, soon())
            .await;
        match is_due {
            true => flushed.unwrap(),
            false => assert!(matches!(flushed, Err(Error::NotCoordinator)), "{flushed:?}"),
        }
    }
}

#[tokio::test]
async fn a_marker_that_is_due_goes_once_and_only_with_its_flush() {
    let test = TestStore::new().await;
    let store = &test.store;
    let t = topic(store, "t", 2).await;
    let gone = topic(store, "gone", 1).await;
    let (own, foreign) = (t.partitions[0].id, t.partitions[1].id);
    let sql = test.sql().await;
    let lane = "update kafka.topic_partitions set lane = case when id = $1 then 1 else 0 end";
    sql.execute(lane, &[&foreign]).await.unwrap();
    let leases = shards(store).await;
    let (mut coordinator, mut leader) = (writer(store).await, other_lane(store).await);
    let mut writes = store.transaction_writer();
    let open = TransactionWrite {
        partitions: vec![own, foreign, gone.partitions[0].id],
        ..write(leases[0], "Ongoing")
    };
    assert_eq!(writes.write(&[open]).await.unwrap(), [true]);
    let parts = [foreign, gone.partitions[0].id];
    coordinator
        .flush_with(&[run(own, 0, 1, 80)], &decision(leases[0], &parts), soon())
        .await
        .unwrap();
    store.delete_topics(&[gone.id]).await.unwrap();
    let stored = &store.transactions().await.unwrap()[0];
    assert_eq!(
        (&*stored.row.state, stored.partitions.len()),
        ("PrepareCommit", 0)
    );
    assert!(store.due_markers(0).await.unwrap().is_empty());
    assert_eq!(store.due_markers(1).await.unwrap(), [due(foreign)]);
    assert!(
        store
            .transactions_with_markers(&[ID, "y"])
            .await
            .unwrap()
            .contains(ID)
    );
    write_once(store, &mut leader, foreign).await;
    assert_eq!(store.end_offsets(&[foreign]).await.unwrap(), [(foreign, 1)]);
    assert!(store.due_markers(1).await.unwrap().is_empty());
    // The partition that is gone keeps nobody waiting.
    assert!(
        store
            .transactions_with_markers(&[ID])
            .await
            .unwrap()
            .is_empty()
    );
    let last = TransactionWrite {
        end: Some(true),
        ..write(leases[0], "CompleteCommit")
    };
    assert_eq!(writes.write(&[last]).await.unwrap(), [true]);
    let rows = "select from kafka.txn_markers";
    assert!(sql.query(rows, &[]).await.unwrap().is_empty());
}

#[tokio::test]
async fn offsets_are_stored_by_the_right_to_the_group_while_the_transaction_is_open() {
    let test = TestStore::new().await;
    let store = &test.store;
    let t = topic(store, "t", 1).await;
    let leases = shards(store).await;
    let mut writes = store.transaction_writer();
    let group = ("g", leases[1]);
    let offsets = [offset(&t, 5)];
    let pend = async |transaction, group| {
        let pended = store.pend_offsets(transaction, group, &offsets);
        pended.await.unwrap()
    };
    assert_eq!(pend(PRODUCER, group).await, Pended::NotOpen);
    let open = write(leases[0], "Ongoing");
    assert_eq!(
        writes.write(std::slice::from_ref(&open)).await.unwrap(),
        [true]
    );
    let lost = ShardLease {
        epoch: leases[1].epoch - 1,
        ..leases[1]
    };
    assert_eq!(pend(PRODUCER, ("g", lost)).await, Pended::NotCoordinator);
    assert_eq!(pend((ID, 7, 2), group).await, Pended::NotOpen);
    assert!(store.pending_offsets("g").await.unwrap().is_empty());
    assert_eq!(pend(PRODUCER, group).await, Pended::Done);
    assert_eq!(pend(PRODUCER, group).await, Pended::Done, "again");
    assert_eq!(store.pending_offsets("g").await.unwrap().len(), 1);
    let mut lane = writer(store).await;
    lane.flush_with(&[], &decision(leases[0], &[]), soon())
        .await
        .unwrap();
    assert_eq!(committed(store).await, [5]);
    assert_eq!(pend(PRODUCER, group).await, Pended::NotOpen);
}

/// Offsets whose commit comes while the decision waits for the row of the transaction are decided with it.
#[tokio::test]
async fn a_decision_sees_the_offsets_that_it_waited_for() {
    let test = TestStore::new().await;
    let store = &test.store;
    let t = topic(store, "t", 1).await;
    let leases = shards(store).await;
    let mut writes = store.transaction_writer();
    assert_eq!(
        writes.write(&[write(leases[0], "Ongoing")]).await.unwrap(),
        [true]
    );
    let mut lane = writer(store).await;
    // As another broker does it, between its statement and its commit.
    let group = test.sql().await;
    group
        .batch_execute(&format!(
            "begin; select from kafka.transactions for share; \
             insert into kafka.txn_pending_offsets values ('{ID}', 'g', {}, 0, 9, -1, '')",
            t.id
        ))
        .await
        .unwrap();
    let changes = decision(leases[0], &[]);
    let deciding = async {
        loop {
            match lane.flush_with(&[], &changes, soon()).await {
                Err(Error::Locked) => {}
                decided => return decided.unwrap(),
            }
        }
    };
    let committing = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        group.batch_execute("commit").await.unwrap();
    };
    tokio::join!(deciding, committing);
    assert_eq!(committed(store).await, [9]);
    assert!(store.pending_offsets("g").await.unwrap().is_empty());
}

#[tokio::test]
async fn letters_reach_the_broker_that_they_are_for() {
    let test = TestStore::new().await;
    let own = test.store.config().node_id;
    let (post, mut incoming) = test.store.post();
    let mut heard = 0;
    // Letters may be lost until the connection is made.
    while heard == 0 {
        assert!(post.send(own + 1, "not for us".to_owned()));
        assert!(post.send(own, "for us".to_owned()));
        let next = tokio::time::timeout(Duration::from_millis(100), incoming.recv());
        if let Ok(letter) = next.await {
            assert_eq!(letter.as_deref(), Some("for us"));
            heard += 1;
        }
    }
    assert!(!post.send(own, "x".repeat(storage::LETTER_BYTES_MAX + 1)));
    // The connection is lost and comes back.
    let sql = test.sql().await;
    let end = "select pg_terminate_backend(pid) from pg_stat_activity \
         where datname = current_database() and query like '%pg_notify%' and pid <> pg_backend_pid()";
    until("its session to be ended", async || {
        // So that this is what the session did last.
        assert!(post.send(own, "for us".to_owned()));
        !sql.query(end, &[]).await.unwrap().is_empty()
    })
    .await;
    loop {
        assert!(post.send(own, "again".to_owned()));
        let next = tokio::time::timeout(Duration::from_millis(100), incoming.recv());
        if next
            .await
            .is_ok_and(|letter| letter.as_deref() == Some("again"))
        {
            return;
        }
    }
}
