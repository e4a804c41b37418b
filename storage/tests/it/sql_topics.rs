//! Topics made, grown, deleted and given settings by SQL, and how the broker is told of it.

use std::time::Duration;

use storage::{Change, Changes};

use crate::fixture::{TestStore, new_topic, topic, writer};
use crate::sql::{refusal, rows};

#[tokio::test]
async fn topic_made_by_sql_is_like_any_other() {
    let test = TestStore::new().await;
    let _writer = writer(&test.store).await;
    let sql = test.sql().await;
    sql.batch_execute("insert into kafka.topics (name, partitions) values ('a', 3); insert into kafka.topics (name) values ('b')")
        .await
        .unwrap();
    sql.batch_execute("update kafka.topics set partitions = 2 where name = 'b'")
        .await
        .unwrap();
    let topics = test.store.load_topics().await.unwrap();
    let shape: Vec<(&str, Vec<(i32, i32)>)> = topics
        .iter()
        .map(|t| {
            let partitions = t.partitions.iter().map(|p| (p.index, p.lane));
            (t.name.as_str(), partitions.collect())
        })
        .collect();
    assert_eq!(
        shape,
        [
            ("a", vec![(0, 0), (1, 0), (2, 0)]),
            ("b", vec![(0, 0), (1, 0)])
        ]
    );
    let again = test
        .store
        .create_topics(&[new_topic("a", 1)])
        .await
        .unwrap();
    assert!(matches!(again[0], Err(storage::Error::Exists(_))));
    sql.batch_execute("delete from kafka.topics where name = 'a'")
        .await
        .unwrap();
    assert_eq!(test.store.load_topics().await.unwrap().len(), 1);
}

#[tokio::test]
async fn wrong_topics_are_refused_with_the_reason() {
    let test = TestStore::with(|config| config.max_partitions_per_topic = 100).await;
    topic(&test.store, "a.b", 2).await;
    let sql = test.sql().await;
    let insert = |name: &str, partitions: i32| {
        format!("insert into kafka.topics (name, partitions) values ('{name}', {partitions})")
    };
    for name in ["", ".", "..", "a b", "ä", "x/y", "a\n", &"x".repeat(250)] {
        assert_eq!(
            refusal(&sql, &insert(name, 1)).await,
            format!("\"{name}\" cannot be the name of a topic")
        );
    }
    assert_eq!(
        refusal(&sql, &insert("a_b", 1)).await,
        "topic \"a_b\" collides with \"a.b\": names must differ in more than '.' and '_'"
    );
    for partitions in [0, -1, 101, i32::MAX] {
        assert_eq!(
            refusal(&sql, &insert("t", partitions)).await,
            format!("topic \"t\" cannot have {partitions} partitions, only 1 to 100")
        );
    }
    let update = |set: &str| format!("update kafka.topics set {set} where name = 'a.b'");
    assert_eq!(
        refusal(&sql, &update("partitions = 1")).await,
        "topic \"a.b\" has 2 partitions, which cannot become fewer"
    );
    assert_eq!(
        refusal(&sql, &update("partitions = 101")).await,
        "topic \"a.b\" cannot have 101 partitions, only 1 to 100"
    );
    for set in ["name = 'c'", "id = 99", "topic_id = gen_random_uuid()"] {
        assert_eq!(
            refusal(&sql, &update(set)).await,
            "topic \"a.b\" cannot get another name or id"
        );
    }
    let topics = test.store.load_topics().await.unwrap();
    assert_eq!((topics.len(), topics[0].partitions.len()), (1, 2));
}

/// The next that says what has changed; a look at the tables may be faster than word of it.
async fn word(changes: &mut Changes) -> Change {
    loop {
        match changes.next().await {
            Change::Unknown => {}
            told => return told,
        }
    }
}

#[tokio::test]
async fn changes_of_topics_are_told_also_after_the_connection_was_lost() {
    let test = TestStore::new().await;
    let sql = test.sql().await;
    let mut changes = test.store.changes();
    assert_eq!(changes.next().await, Change::Unknown);
    sql.batch_execute("insert into kafka.topics (name, partitions) values ('a', 3)")
        .await
        .unwrap();
    let told = |partitions| Change::Topic { id: 1, partitions };
    assert_eq!(word(&mut changes).await, told(3));
    sql.batch_execute("update kafka.topics set partitions = 5")
        .await
        .unwrap();
    assert_eq!(word(&mut changes).await, told(5));
    sql.batch_execute("insert into kafka.topic_settings values (1, 'retention.ms', '5')")
        .await
        .unwrap();
    assert_eq!(word(&mut changes).await, Change::TopicSettings { id: 1 });
    for other in [
        "insert into kafka.broker_settings values (-1, 'message.max.bytes', '5')",
        "insert into kafka.group_settings values ('g', 'consumer.session.timeout.ms', '5')",
    ] {
        sql.batch_execute(other).await.unwrap();
        assert_eq!(word(&mut changes).await, Change::ClusterSettings);
    }
    let cut = "select pg_terminate_backend(pid) from pg_stat_activity \
         where datname = current_database() and query ilike 'select count%'";
    assert_eq!(rows(&sql, cut).await.len(), 1);
    assert_eq!(changes.next().await, Change::Unknown);
    sql.batch_execute("delete from kafka.topics").await.unwrap();
    assert_eq!(word(&mut changes).await, told(0));
}

#[tokio::test]
async fn changes_that_nobody_tells_are_found() {
    let test = TestStore::new().await;
    let sql = test.sql().await;
    let mut changes = test.store.changes();
    assert_eq!(changes.next().await, Change::Unknown);
    // As behind a pooler that passes no notifications on.
    sql.batch_execute("alter table kafka.topics disable trigger topic_made; insert into kafka.topics (name) values ('a')")
        .await
        .unwrap();
    assert_eq!(changes.next().await, Change::Unknown);
    sql.batch_execute(
        "set session_replication_role = replica; insert into kafka.topic_settings values (1, 'retention.ms', '5')",
    )
    .await
    .unwrap();
    assert_eq!(changes.next().await, Change::Unknown);
}

#[tokio::test]
async fn more_changes_than_wait_at_once_are_all_taken_up() {
    let test = TestStore::new().await;
    let sql = test.sql().await;
    let mut changes = test.store.changes();
    assert_eq!(changes.next().await, Change::Unknown);
    sql.batch_execute(
        "insert into kafka.topics (name) select 't' || i from generate_series(1, 5000) i",
    )
    .await
    .unwrap();
    // Either all are told one by one, or the connection gives up and the next says that anything may have changed.
    let told = async {
        let mut count = 0;
        while count < 5000 && changes.next().await != Change::Unknown {
            count += 1;
        }
    };
    let told = tokio::time::timeout(Duration::from_secs(120), told).await;
    told.expect("changes were lost without a word");
}
