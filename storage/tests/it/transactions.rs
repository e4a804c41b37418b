//! Transactions: written alone and with a flush, all or nothing, fenced by lane and shard.

use bytes::Bytes;
use protocol::records::{EndTxnMarker, RecordBatchBuilder, TransactionResult};
use storage::{
    AbortedTransaction, Error, FlushChanges, LaneWriter, OffsetWrite, Run, ShardLease, Store,
    Topic, TransactionRow, TransactionWrite,
};
use tokio_postgres::Client;
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
        ..FlushChanges::default()
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
            groups: vec!["g".to_owned()],
            end: Some(is_commit),
            ..write("x", lease, "CompleteCommit")
        }],
        ..FlushChanges::default()
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
            groups: vec!["g".to_owned()],
            end: Some(false),
            ..write("x", leases[0], "CompleteAbort")
        }],
        aborted: vec![aborted(0, 4), aborted(2, 7)],
        ..FlushChanges::default()
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
        ..FlushChanges::default()
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

/// A record of a producer's transaction, or its marker.
fn piece(offset: i64, producer: (i64, i16), marker: Option<TransactionResult>) -> Bytes {
    let batch = match marker {
        Some(result) => {
            let marker = EndTxnMarker {
                result,
                coordinator_epoch: 1,
            };
            RecordBatchBuilder::end_txn_marker(offset, 500, producer.0, producer.1, marker).unwrap()
        }
        None => {
            let mut builder = RecordBatchBuilder::new(offset);
            builder.append(500, None, Some(b"v"), &[]).unwrap();
            builder.producer(producer.0, producer.1, 0).transactional();
            builder
        }
    };
    batch.build().unwrap().into()
}

/// A change of one of the producers, which are named by their ids.
fn change(
    lease: ShardLease,
    (id, epoch): (i64, i16),
    version: i16,
    parts: &[i32],
    end: Option<bool>,
) -> TransactionWrite {
    let state = match end {
        None => "Ongoing",
        Some(true) => "CompleteCommit",
        Some(false) => "CompleteAbort",
    };
    let mut change = write(&format!("x{id}"), lease, state);
    change.row = change.row.map(|row| TransactionRow {
        producer_id: id,
        producer_epoch: epoch,
        version,
        ..row
    });
    change.partitions = parts.to_vec();
    change.end = end;
    change
}

async fn append(
    lane: &mut LaneWriter,
    (part, base_offset): (i32, i64),
    batches: &[((i64, i16), Option<TransactionResult>)],
    transactions: Vec<TransactionWrite>,
    aborted: Option<AbortedTransaction>,
) {
    let pieces = (base_offset..).zip(batches);
    let run = Run {
        part,
        base_offset,
        span: i32::try_from(batches.len()).unwrap() - 1,
        data: pieces
            .map(|(offset, (producer, marker))| piece(offset, *producer, *marker))
            .collect(),
    };
    let changes = FlushChanges {
        transactions,
        aborted: aborted.into_iter().collect(),
        ..FlushChanges::default()
    };
    lane.flush_with(&[run], &changes, soon()).await.unwrap();
}

/// What is shown of the transaction of each record.
async fn states(sql: &Client) -> String {
    let mut all = Vec::new();
    for text in [
        "select txn_state from kafka.messages order by partition_offset",
        "select txn_state from kafka.read('t', 0) order by partition_offset",
        "select txn_state from kafka.batches order by base_offset",
    ] {
        let rows = sql.query(text, &[]).await.unwrap();
        let states = rows.iter().map(|row| row.get(0));
        all.push(states.collect::<Vec<String>>());
    }
    assert!(all[0] == all[1] && all[0] == all[2], "{all:?}");
    all.swap_remove(0).join(" ")
}

/// Of the older version the epoch stays, of the newer one it is raised with each transaction.
#[tokio::test]
async fn what_became_of_the_transaction_of_a_record_is_shown() {
    const COMMIT: Option<TransactionResult> = Some(TransactionResult::Commit);
    const ABORT: Option<TransactionResult> = Some(TransactionResult::Abort);
    let test = TestStore::new().await;
    let store = &test.store;
    let part = topic(store, "t", 1).await.partitions[0].id;
    let leases = store
        .claim_group_shards(Uuid::new_v4(), None)
        .await
        .unwrap();
    let lease = leases[0];
    let aborted = |producer_id, first_offset, last_offset| {
        Some(AbortedTransaction {
            part,
            producer_id,
            first_offset,
            last_offset,
        })
    };
    let mut lane = writer(store).await;
    let mut writes = store.transaction_writer();
    let sql = test.sql().await;
    let add = [change(lease, (7, 3), 1, &[part], None)];
    assert_eq!(writes.write(&add).await.unwrap(), [true]);
    let begin_8 = change(lease, (8, 0), 2, &[part], None);
    let batches = [((7, 3), None), ((8, 0), None)];
    append(&mut lane, (part, 0), &batches, vec![begin_8], None).await;
    assert_eq!(states(&sql).await, "open open");
    let end_7 = change(lease, (7, 3), 1, &[], Some(true));
    let batches = [((7, 3), COMMIT)];
    append(&mut lane, (part, 2), &batches, vec![end_7], None).await;
    assert_eq!(states(&sql).await, "committed open control");
    assert_eq!(writes.write(&add).await.unwrap(), [true]);
    let end_8 = change(lease, (8, 1), 2, &[], Some(false));
    let batches = [((7, 3), None), ((8, 1), ABORT)];
    let of_8 = aborted(8, 1, 4);
    append(&mut lane, (part, 3), &batches, vec![end_8], of_8).await;
    assert_eq!(states(&sql).await, "committed aborted control open control");
    let changes = vec![
        change(lease, (8, 1), 2, &[part], None),
        change(lease, (7, 3), 1, &[], Some(false)),
    ];
    let batches = [((8, 1), None), ((7, 3), ABORT)];
    let of_7 = aborted(7, 3, 6);
    append(&mut lane, (part, 5), &batches, changes, of_7).await;
    assert_eq!(
        states(&sql).await,
        "committed aborted control aborted control open control"
    );
}

#[tokio::test]
async fn a_row_that_somebody_locks_stops_a_transaction_and_not_the_lane() {
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
    let pending = TransactionWrite {
        groups: vec!["g".to_owned()],
        offsets: vec![offset(&t, 5)],
        ..write("x", leases[0], "Ongoing")
    };
    let end = TransactionWrite {
        groups: vec!["g".to_owned()],
        end: Some(true),
        ..write("x", leases[0], "CompleteCommit")
    };
    let changes = FlushChanges {
        transactions: vec![end.clone()],
        ..FlushChanges::default()
    };
    // The row is there already.
    assert_eq!(
        writes.write(std::slice::from_ref(&pending)).await.unwrap(),
        [true]
    );
    lane.flush_with(&[], &changes, soon()).await.unwrap();
    assert_eq!(writes.write(&[pending]).await.unwrap(), [true]);
    let somebody = test.sql().await;
    somebody.batch_execute("begin").await.unwrap();
    let lock = "select from kafka.group_offsets for update";
    assert_eq!(somebody.query(lock, &[]).await.unwrap().len(), 1);
    for _ in 0..2 {
        let refused = lane
            .flush_with(&[run(part, 0, 1, 80)], &changes, soon())
            .await;
        assert!(matches!(refused, Err(Error::Locked)), "{refused:?}");
        assert!(!writes.is_free(&end).await.unwrap());
    }
    lane.flush(&[run(part, 0, 3, 100)], soon()).await.unwrap();
    somebody.batch_execute("rollback").await.unwrap();
    assert!(writes.is_free(&end).await.unwrap());
    assert!(!store.pending_offsets("g").await.unwrap().is_empty());
    lane.flush_with(&[run(part, 3, 1, 80)], &changes, soon())
        .await
        .unwrap();
    assert!(store.pending_offsets("g").await.unwrap().is_empty());
    assert_eq!(store.end_offsets(&[part]).await.unwrap(), [(part, 4)]);
}
