//! The catalogue: create, load, grow, delete.

use storage::{Error, NewTopic, Store};

use crate::fixture::{TestStore, config, new_topic, topic};

#[tokio::test]
async fn created_topic_is_loaded_again_the_same() {
    let test = TestStore::new().await;
    let new = NewTopic {
        lanes: vec![0, 1, 2],
        settings: vec![
            ("retention.ms".to_owned(), "1000".to_owned()),
            ("cleanup.policy".to_owned(), "compact".to_owned()),
        ],
        ..new_topic("orders", 5)
    };
    let created = test
        .store
        .create_topics(std::slice::from_ref(&new))
        .await
        .unwrap()
        .remove(0)
        .unwrap();
    assert_eq!(
        (created.topic_id, created.name.as_str()),
        (new.topic_id, "orders")
    );
    assert_eq!(
        created
            .partitions
            .iter()
            .map(|p| p.index)
            .collect::<Vec<_>>(),
        [0, 1, 2, 3, 4]
    );
    assert_eq!(
        created
            .partitions
            .iter()
            .map(|p| p.lane)
            .collect::<Vec<_>>(),
        [0, 1, 2, 0, 1]
    );
    assert_eq!(created.settings[0].0, "cleanup.policy");
    let other = topic(&test.store, "another", 1).await;
    let reopened = Store::open(&config(&test.url)).await.unwrap();
    assert_eq!(reopened.load_topics().await.unwrap(), [other, created]);
}

#[tokio::test]
async fn each_topic_of_a_call_is_answered_on_its_own() {
    let test = TestStore::new().await;
    topic(&test.store, "b", 1).await;
    let names = ["c", "b", "a", "c"];
    let answers = test
        .store
        .create_topics(&names.map(|name| new_topic(name, 1)))
        .await
        .unwrap();
    assert_eq!(answers[0].as_ref().unwrap().name, "c");
    assert!(matches!(&answers[1], Err(Error::Exists(_))), "{answers:?}");
    assert_eq!(answers[2].as_ref().unwrap().name, "a");
    assert!(matches!(&answers[3], Err(Error::Exists(_))), "{answers:?}");
}

#[tokio::test]
async fn names_that_differ_in_dot_and_underscore_only_collide() {
    let test = TestStore::new().await;
    let names = ["a.b", "a_b", "a-b"];
    let answers = test
        .store
        .create_topics(&names.map(|name| new_topic(name, 1)))
        .await
        .unwrap();
    assert!(answers[0].is_ok() && answers[2].is_ok());
    assert!(matches!(&answers[1], Err(Error::Exists(_))), "{answers:?}");
}

#[tokio::test]
async fn same_topics_created_by_many_at_once_come_into_being_once() {
    let test = TestStore::new().await;
    let other = Store::open(&config(&test.url)).await.unwrap();
    let forwards = ["a", "b", "c", "d"].map(|name| new_topic(name, 2));
    let mut backwards = forwards.clone();
    backwards.reverse();
    for topic in &mut backwards {
        topic.topic_id = uuid::Uuid::new_v4();
    }
    let (one, two) = futures_util::future::join(
        test.store.create_topics(&forwards),
        other.create_topics(&backwards),
    )
    .await;
    let created = one
        .unwrap()
        .into_iter()
        .chain(two.unwrap())
        .filter(Result::is_ok)
        .count();
    assert_eq!(created, 4);
    assert_eq!(test.store.load_topics().await.unwrap().len(), 4);
}

#[tokio::test]
async fn deleted_topic_is_gone_and_a_new_one_of_its_name_has_new_ids() {
    let test = TestStore::new().await;
    let old = topic(&test.store, "t", 3).await;
    let answers = test
        .store
        .delete_topics(&[old.id, old.id + 1000])
        .await
        .unwrap();
    assert!(answers[0].is_ok());
    assert!(
        matches!(&answers[1], Err(Error::NotFound(_))),
        "{answers:?}"
    );
    assert_eq!(test.store.load_topics().await.unwrap(), []);
    let new = topic(&test.store, "t", 3).await;
    assert_ne!(new.id, old.id);
    assert!(
        new.partitions
            .iter()
            .all(|p| old.partitions.iter().all(|o| o.id != p.id))
    );
}

#[tokio::test]
async fn partitions_grow_and_keep_what_they_were() {
    let test = TestStore::new().await;
    let old = topic(&test.store, "t", 2).await;
    let grown = test
        .store
        .create_partitions(old.id, 5, &[7, 8])
        .await
        .unwrap();
    assert_eq!(grown[..2], old.partitions[..]);
    assert_eq!(
        grown[2..]
            .iter()
            .map(|p| (p.index, p.lane))
            .collect::<Vec<_>>(),
        [(2, 7), (3, 8), (4, 7)]
    );
    assert_eq!(test.store.load_topics().await.unwrap()[0].partitions, grown);
    for total in [5, 4, 1] {
        let error = test
            .store
            .create_partitions(old.id, total, &[0])
            .await
            .unwrap_err();
        assert!(matches!(error, Error::Exists(_)), "{error:?}");
    }
    let error = test
        .store
        .create_partitions(old.id + 1, 9, &[0])
        .await
        .unwrap_err();
    assert!(matches!(error, Error::NotFound(_)), "{error:?}");
}
