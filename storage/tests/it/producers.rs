//! Producer ids and snapshots.

use std::collections::HashSet;

use storage::{ProducerSnapshot, Store};

use crate::fixture::{TestStore, config, topic};

#[tokio::test]
async fn producer_ids_are_given_once() {
    let test = TestStore::new().await;
    let other = Store::open(&config(&test.url)).await.unwrap();
    let calls = (0..20)
        .map(|i| if i % 2 == 0 { &test.store } else { &other })
        .map(|store| store.allocate_producer_ids(50));
    let mut seen = HashSet::new();
    for block in futures_util::future::join_all(calls).await {
        let block = block.unwrap();
        assert_eq!(block.end - block.start, 50);
        assert!(block.into_iter().all(|id| id >= 0 && seen.insert(id)));
    }
    let reopened = Store::open(&config(&test.url)).await.unwrap();
    assert!(!seen.contains(&reopened.allocate_producer_ids(1).await.unwrap().start));
    assert!(test.store.allocate_producer_ids(0).await.is_err());
}

fn snapshot(part: i32, end_offset: i64, state: &[u8]) -> ProducerSnapshot {
    ProducerSnapshot {
        part,
        end_offset,
        state: state.to_vec(),
    }
}

#[tokio::test]
async fn snapshots_only_move_forward_and_go_with_their_topic() {
    let test = TestStore::new().await;
    let topic = topic(&test.store, "t", 2).await;
    let (a, b) = (topic.partitions[0].id, topic.partitions[1].id);
    assert_eq!(test.store.load_producer_snapshot(a).await.unwrap(), None);
    test.store
        .save_producer_snapshots(&[snapshot(b, 5, b"b5"), snapshot(a, 10, b"a10")])
        .await
        .unwrap();
    test.store
        .save_producer_snapshots(&[
            snapshot(a, 9, b"a9"),
            snapshot(b, 6, b"b6"),
            snapshot(b + 99, 1, b""),
        ])
        .await
        .unwrap();
    test.store
        .save_producer_snapshots(&[snapshot(a, 10, b"again")])
        .await
        .unwrap();
    test.store.save_producer_snapshots(&[]).await.unwrap();
    assert_eq!(
        test.store.load_producer_snapshot(a).await.unwrap(),
        Some((10, b"a10".to_vec()))
    );
    assert_eq!(
        test.store.load_producer_snapshot(b).await.unwrap(),
        Some((6, b"b6".to_vec()))
    );
    test.store.delete_topics(&[topic.id]).await.unwrap()[0]
        .as_ref()
        .unwrap();
    assert_eq!(test.store.load_producer_snapshot(a).await.unwrap(), None);
    test.store
        .save_producer_snapshots(&[snapshot(a, 20, b"late")])
        .await
        .unwrap();
    assert_eq!(test.store.load_producer_snapshot(a).await.unwrap(), None);
}
