//! Producer ids and checkpoints.

use std::collections::HashSet;

use storage::{Checkpoint, Store, TimeMark};

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

fn checkpoint(part: i32, end_offset: i64, producers: &[u8]) -> Checkpoint {
    Checkpoint {
        part,
        end_offset,
        producers: producers.to_vec(),
        max_timestamp_ms: 1_000 * end_offset,
        bytes: 10 * end_offset,
    }
}

#[tokio::test]
async fn time_marks_are_found_by_the_time_before_them() {
    let test = TestStore::new().await;
    let part = topic(&test.store, "t", 1).await.partitions[0].id;
    for (end_offset, max_timestamp_ms) in [(10, 500), (20, 500), (30, 900)] {
        let mark = Checkpoint {
            max_timestamp_ms,
            ..checkpoint(part, end_offset, b"")
        };
        test.store.save_checkpoints(&[mark]).await.unwrap();
    }
    for (timestamp_ms, found) in [
        (500, None),
        (501, Some((20, 500))),
        (900, Some((20, 500))),
        (i64::MAX, Some((30, 900))),
    ] {
        let mark = found.map(|(end_offset, max_timestamp_ms)| TimeMark {
            end_offset,
            max_timestamp_ms,
        });
        let answer = test.store.time_mark_below(part, timestamp_ms).await;
        assert_eq!(answer.unwrap(), mark, "for {timestamp_ms}");
    }
}

#[tokio::test]
async fn checkpoints_only_move_forward_and_go_with_their_topic() {
    let test = TestStore::new().await;
    let topic = topic(&test.store, "t", 2).await;
    let (a, b) = (topic.partitions[0].id, topic.partitions[1].id);
    assert_eq!(test.store.load_checkpoint(a).await.unwrap(), None);
    test.store
        .save_checkpoints(&[checkpoint(b, 5, b"b5"), checkpoint(a, 10, b"a10")])
        .await
        .unwrap();
    test.store
        .save_checkpoints(&[
            checkpoint(a, 9, b"a9"),
            checkpoint(b, 6, b"b6"),
            checkpoint(b + 99, 1, b""),
        ])
        .await
        .unwrap();
    test.store
        .save_checkpoints(&[checkpoint(a, 10, b"again")])
        .await
        .unwrap();
    test.store.save_checkpoints(&[]).await.unwrap();
    assert_eq!(
        test.store.load_checkpoint(a).await.unwrap(),
        Some(checkpoint(a, 10, b"a10"))
    );
    assert_eq!(
        test.store.load_checkpoint(b).await.unwrap(),
        Some(checkpoint(b, 6, b"b6"))
    );
    test.store.delete_topics(&[topic.id]).await.unwrap()[0]
        .as_ref()
        .unwrap();
    assert_eq!(test.store.load_checkpoint(a).await.unwrap(), None);
    test.store
        .save_checkpoints(&[checkpoint(a, 20, b"late")])
        .await
        .unwrap();
    assert_eq!(test.store.load_checkpoint(a).await.unwrap(), None);
}
