//! Transactions: written alone and with a flush, all or nothing, fenced by lane and shard.

use storage::{
    AbortedTransaction, Error, FlushChanges, OffsetWrite, ShardLease, Store, Topic, TransactionRow,
    TransactionWrite,
};
use uuid::Uuid;

use crate::fixture::{TestStore, read_all, run, soon, topic, writer};

fn write(id: &str, lease: ShardLease, state: &'static str) -> TransactionWrite {
    TransactionWrite {
        transactional_id: id.to_owned(),
        lease,
        row: Some(TransactionRow {
            producer_id: 7,
            producer_epoch: 3,
            last_producer_id: -1,
            last_producer_epoch: 2,
            state: state.into(),
            timeout_ms: 60_000,
            started_ms: Some(1_700_000_000_123),
            updated_ms: 1_700_000_000_456,
            version: 2,
        }),
        partitions: Vec::new(),
        groups: Vec::new(),
        offsets: Vec::new(),
        end: None,
    }
}

fn offset(topic: &Topic, offset: i64) -> (String, OffsetWrite) {
    let write = OffsetWrite {
        topic: topic.id,
        partition: 0,
        offset,
        leader_epoch: 4,
        metadata: "so far".to_owned(),
        timestamp_ms: None,
        retention_ms: None,
    };
    ("g".to_owned(), write)
}

async fn committed(store: &Store) -> Vec<i64> {
    let offsets = store.committed_offsets("g").await.unwrap();
    offsets.iter().map(|offset| offset.offset).collect()
}

#[tokio::test]
async fn a_flush_ends_a_transaction_with_its_offsets_or_not_at_all() {
    let test = TestStore::new().await;
    let store = &test.store;
    let t = topic(store, "t", 1).await;
    let part = t.partitions[0].id;
    let leases = store
        .claim_group_shards(Uuid::new_v4(), None)
        .await
        .unwrap();
    let mut lane = writer(store).await;
    let mut writes = store.transaction_writer();

    // A partition joins with its first records, offsets by a write of their own.
    let joining = TransactionWrite {
        partitions: vec![part],
        ..write("x", leases[5], "Ongoing")
    };
    let changes = FlushChanges {
        transactions: vec![joining.clone(), joining],
        aborted: Vec::new(),
    };
    lane.flush_with(&[run(part, 0, 3, 100)], &changes, soon())
        .await
        .unwrap();
    let offsets = TransactionWrite {
        groups: vec!["g".to_owned()],
        offsets: vec![offset(&t, 5), offset(&t, 6)],
        ..write("x", leases[5], "Ongoing")
    };
    assert_eq!(writes.write(&[offsets]).await.unwrap(), [true]);
    let stored = store.transactions().await.unwrap();
    assert_eq!(stored.len(), 1);
    assert_eq!(
        Some(&stored[0].row),
        write("x", leases[5], "Ongoing").row.as_ref()
    );
    assert_eq!(stored[0].partitions, [part]);
    assert_eq!(stored[0].groups, ["g"]);
    assert!(
        store
            .pending_offsets("g")
            .await
            .unwrap()
            .contains(&(t.id, 0))
    );
    assert!(committed(store).await.is_empty());

    // Another coordinator: nothing of the flush is stored, and the lane goes on.
    let lost = ShardLease {
        epoch: leases[5].epoch - 1,
        ..leases[5]
    };
    let end = |lease, is_commit| FlushChanges {
        transactions: vec![TransactionWrite {
            end: Some(is_commit),
            ..write("x", lease, "CompleteCommit")
        }],
        aborted: Vec::new(),
    };
    let refused = lane
        .flush_with(&[run(part, 3, 1, 80)], &end(lost, true), soon())
        .await;
    assert!(matches!(refused, Err(Error::NotCoordinator)), "{refused:?}");
    assert_eq!(store.end_offsets(&[part]).await.unwrap(), [(part, 3)]);

    lane.flush_with(&[run(part, 3, 1, 80)], &end(leases[5], true), soon())
        .await
        .unwrap();
    assert_eq!(committed(store).await, [6]);
    let stored = store.transactions().await.unwrap();
    assert_eq!(stored[0].row.state, "CompleteCommit");
    assert!(stored[0].partitions.is_empty() && stored[0].groups.is_empty());
    assert!(store.pending_offsets("g").await.unwrap().is_empty());
    assert_eq!(read_all(store, part, 1 << 20).await.len(), 2);
}

#[tokio::test]
async fn an_abort_drops_offsets_and_is_remembered_as_long_as_its_records() {
    let test = TestStore::new().await;
    let store = &test.store;
    let t = topic(store, "t", 1).await;
    let part = t.partitions[0].id;
    let leases = store
        .claim_group_shards(Uuid::new_v4(), None)
        .await
        .unwrap();
    let mut lane = writer(store).await;
    let mut writes = store.transaction_writer();
    let offsets = TransactionWrite {
        offsets: vec![offset(&t, 5)],
        ..write("x", leases[0], "Ongoing")
    };
    assert_eq!(writes.write(&[offsets]).await.unwrap(), [true]);
    let aborted = |first_offset, last_offset| AbortedTransaction {
        part,
        producer_id: 7,
        first_offset,
        last_offset,
    };
    let changes = FlushChanges {
        transactions: vec![TransactionWrite {
            end: Some(false),
            ..write("x", leases[0], "CompleteAbort")
        }],
        aborted: vec![aborted(0, 4), aborted(2, 7)],
    };
    lane.flush_with(&[run(part, 0, 8, 100)], &changes, soon())
        .await
        .unwrap();
    assert!(committed(store).await.is_empty());
    assert!(store.pending_offsets("g").await.unwrap().is_empty());
    let found = store.aborted_transactions(part, 5, 9).await.unwrap();
    assert_eq!(found, [aborted(2, 7)]);
    let found = store.aborted_transactions(part, 0, 1).await.unwrap();
    assert_eq!(found, [aborted(0, 4)]);
    let last = store.last_aborted_transactions(part, 1).await.unwrap();
    assert_eq!(last, [aborted(2, 7)]);
    // Changes alone are a flush too.
    let forgotten = TransactionWrite {
        row: None,
        ..write("x", leases[0], "Empty")
    };
    let changes = FlushChanges {
        transactions: vec![forgotten],
        aborted: Vec::new(),
    };
    lane.flush_with(&[], &changes, soon()).await.unwrap();
    assert!(store.transactions().await.unwrap().is_empty());
    let sql = test.sql().await;
    let start = "update kafka.topic_partitions set log_start_offset = 5 where id = $1";
    sql.execute(start, &[&part]).await.unwrap();
    assert_eq!(store.forget_aborted_transactions().await.unwrap(), 1);
    store.delete_topics(&[t.id]).await.unwrap();
    assert_eq!(store.forget_aborted_transactions().await.unwrap(), 1);
}
