//! Groups and committed offsets: fenced writes, what is read back, SQL.

use std::time::Duration;

use storage::{
    GroupChange, GroupRow, GroupWrite, MemberRow, OffsetWrite, ShardLease, Store, Topic,
};
use uuid::Uuid;

use crate::fixture::{TestStore, topic};

fn write(group_id: &str, lease: ShardLease, change: GroupChange) -> GroupWrite {
    GroupWrite {
        group_id: group_id.to_owned(),
        lease,
        change,
    }
}

fn offset(topic: &Topic, partition: i32, offset: i64) -> OffsetWrite {
    OffsetWrite {
        topic: topic.id,
        partition,
        offset,
        leader_epoch: -1,
        metadata: "m".to_owned(),
        timestamp_ms: None,
        retention_ms: None,
    }
}

fn state(
    group_id: &str,
    name: &str,
    epoch: i32,
    members: &[&str],
    removed: &[&str],
) -> GroupChange {
    GroupChange::State {
        group: Box::new(GroupRow {
            group_id: group_id.to_owned(),
            group_type: "classic".to_owned(),
            group_state: name.to_owned(),
            epoch,
            protocol_type: Some("consumer".to_owned()),
            protocol: None,
            leader: None,
            detail: b"{}".to_vec(),
        }),
        members: members
            .iter()
            .map(|id| MemberRow {
                member_id: (*id).to_owned(),
                group_instance_id: None,
                client_id: "c".to_owned(),
                client_host: "/h".to_owned(),
                epoch,
                detail: b"{}".to_vec(),
            })
            .collect(),
        removed: removed.iter().map(|id| (*id).to_owned()).collect(),
    }
}

async fn committed(store: &Store, group_id: &str) -> Vec<(String, i32, i64)> {
    let offsets = store.committed_offsets(group_id).await.unwrap();
    offsets
        .into_iter()
        .map(|o| (o.topic_name, o.partition, o.offset))
        .collect()
}

#[tokio::test]
async fn one_statement_commits_for_many_groups_and_the_last_commit_counts() {
    let test = TestStore::new().await;
    let t = topic(&test.store, "t", 3).await;
    let leases = test
        .store
        .claim_group_shards(Uuid::new_v4(), None)
        .await
        .unwrap();
    assert_eq!(leases.len(), 50);
    let mut writer = test.store.group_writer();
    let commit = |group: &str, shard: usize, offsets: Vec<OffsetWrite>| {
        write(group, leases[shard], GroupChange::Offsets(offsets))
    };
    let writes = [
        commit("a", 0, vec![offset(&t, 0, 1), offset(&t, 2, 5)]),
        commit("b", 1, vec![offset(&t, 0, 7)]),
        commit("a", 0, vec![offset(&t, 0, 2)]),
    ];
    let all: Vec<&GroupWrite> = writes.iter().collect();
    assert_eq!(writer.write_offsets(&all).await.unwrap(), [true; 3]);
    let a = [("t".to_owned(), 0, 2), ("t".to_owned(), 2, 5)];
    assert_eq!(committed(&test.store, "a").await, a);
    assert_eq!(committed(&test.store, "b").await.len(), 1);
    let listed = test.store.list_groups().await.unwrap();
    assert_eq!(listed.len(), 2);
    assert_eq!(listed[0].group_state, "Empty");

    let delete = write(
        "a",
        leases[0],
        GroupChange::DeleteOffsets(vec![(t.id, 0), (t.id, 1)]),
    );
    writer.write_offsets(&[&delete]).await.unwrap();
    assert_eq!(committed(&test.store, "a").await, a[1..]);
    writer
        .write_states(&[&write("a", leases[0], GroupChange::Delete)])
        .await
        .unwrap();
    assert_eq!(committed(&test.store, "a").await, []);
    assert_eq!(test.store.load_group("a").await.unwrap(), None);
}

#[tokio::test]
async fn a_broker_that_lost_a_shard_writes_nothing() {
    let test = TestStore::new().await;
    let t = topic(&test.store, "t", 1).await;
    let old = test
        .store
        .claim_group_shards(Uuid::new_v4(), None)
        .await
        .unwrap();
    let mut writer = test.store.group_writer();
    let commit = |lease, at| write("g", lease, GroupChange::Offsets(vec![offset(&t, 0, at)]));
    assert_eq!(
        writer.write_offsets(&[&commit(old[3], 1)]).await.unwrap(),
        [true]
    );
    let new = test
        .store
        .claim_group_shards(Uuid::new_v4(), None)
        .await
        .unwrap();
    let late = [commit(old[3], 9), commit(new[4], 2)];
    let late: Vec<&GroupWrite> = late.iter().collect();
    assert_eq!(writer.write_offsets(&late).await.unwrap(), [false, true]);
    assert_eq!(committed(&test.store, "g").await[0].2, 2);
    let change = state("h", "Stable", 1, &["m"], &[]);
    assert_eq!(
        writer
            .write_states(&[&write("h", old[0], change)])
            .await
            .unwrap(),
        [false]
    );
    assert_eq!(test.store.load_group("h").await.unwrap(), None);
}

#[tokio::test]
async fn a_claim_waits_for_a_write_that_is_under_way() {
    let test = TestStore::new().await;
    let old = test
        .store
        .claim_group_shards(Uuid::new_v4(), None)
        .await
        .unwrap();
    let mut sql = test.sql().await;
    let transaction = sql.transaction().await.unwrap();
    let lock = "select 1 from kafka.group_shards where shard = 3 for share";
    transaction.query(lock, &[]).await.unwrap();
    let store = test.store.clone();
    let claim = tokio::spawn(async move { store.claim_group_shards(Uuid::new_v4(), None).await });
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(!claim.is_finished());
    transaction.commit().await.unwrap();
    let new = claim.await.unwrap().unwrap();
    assert_eq!(new[3].epoch, old[3].epoch + 1);
}

#[tokio::test]
async fn groups_come_back_with_their_members() {
    let test = TestStore::new().await;
    let leases = test
        .store
        .claim_group_shards(Uuid::new_v4(), None)
        .await
        .unwrap();
    let mut writer = test.store.group_writer();
    for (epoch, members, removed) in [(1, &["x", "y"][..], &[][..]), (2, &["y", "z"], &["x"])] {
        let change = state("g", "Stable", epoch, members, removed);
        writer
            .write_states(&[&write("g", leases[0], change)])
            .await
            .unwrap();
    }
    let (group, members) = test.store.load_group("g").await.unwrap().unwrap();
    assert_eq!((group.epoch, group.group_state.as_str()), (2, "Stable"));
    let ids: Vec<&str> = members.iter().map(|m| m.member_id.as_str()).collect();
    assert_eq!(ids, ["y", "z"]);
    assert_eq!(test.store.groups_with_members().await.unwrap(), ["g"]);
}

#[tokio::test]
async fn offsets_go_with_their_topic_and_when_they_are_old() {
    let test = TestStore::new().await;
    let t = topic(&test.store, "t", 2).await;
    let u = topic(&test.store, "u", 1).await;
    let leases = test
        .store
        .claim_group_shards(Uuid::new_v4(), None)
        .await
        .unwrap();
    let mut writer = test.store.group_writer();
    let hour = 3_600_000;
    let commit = GroupChange::Offsets(vec![
        OffsetWrite {
            timestamp_ms: Some(1),
            ..offset(&t, 0, 1)
        },
        OffsetWrite {
            timestamp_ms: Some(1),
            retention_ms: Some(i64::MAX / 2_000_000),
            ..offset(&t, 1, 1)
        },
        offset(&u, 0, 1),
    ]);
    writer
        .write_offsets(&[&write("g", leases[0], commit)])
        .await
        .unwrap();
    assert_eq!(
        test.store
            .expire_unsubscribed_offsets("g", &[t.id], hour)
            .await
            .unwrap(),
        0
    );
    assert_eq!(test.store.expire_offsets(hour).await.unwrap(), 1);
    let left = committed(&test.store, "g").await;
    assert_eq!(left, [("t".to_owned(), 1, 1), ("u".to_owned(), 0, 1)]);
    test.store.delete_topics(&[u.id]).await.unwrap();
    let rows = test
        .sql()
        .await
        .query("select 1 from kafka.group_offsets", &[])
        .await
        .unwrap();
    assert_eq!(rows.len(), 1);
    assert_eq!(
        test.store.forget_empty_groups(0).await.unwrap(),
        Vec::<String>::new()
    );
    test.store.delete_topics(&[t.id]).await.unwrap();
    assert_eq!(
        test.store.forget_empty_groups(hour).await.unwrap(),
        Vec::<String>::new()
    );
    assert_eq!(test.store.forget_empty_groups(0).await.unwrap(), ["g"]);
}

#[tokio::test]
async fn offsets_are_read_and_written_by_sql_while_nobody_is_in_the_group() {
    let test = TestStore::new().await;
    topic(&test.store, "t", 2).await;
    let sql = test.sql().await;
    let insert = "insert into kafka.consumer_offsets (group_id, topic, partition, committed_offset, metadata)";
    sql.batch_execute(&format!(
        "{insert} values ('g', 't', 0, 3, 'by hand'), ('g', 't', 1, 4, null)"
    ))
    .await
    .unwrap();
    sql.batch_execute("update kafka.consumer_offsets set committed_offset = 9 where partition = 1")
        .await
        .unwrap();
    assert_eq!(
        committed(&test.store, "g").await,
        [("t".to_owned(), 0, 3), ("t".to_owned(), 1, 9)]
    );
    sql.batch_execute("delete from kafka.consumer_offsets where partition = 0")
        .await
        .unwrap();
    let lag = "select committed_offset, log_end_offset, lag from kafka.consumer_lag";
    let row = sql.query_one(lag, &[]).await.unwrap();
    let row: (i64, i64, i64) = (row.get(0), row.get(1), row.get(2));
    assert_eq!(row, (9, 0, 0));
    for (values, text) in [
        (
            "('g', 'nope', 0, 1, null)",
            "there is no partition 0 of topic \"nope\"",
        ),
        ("('g', 't', 2, 1, null)", "there is no partition 2"),
        ("('g', 't', 0, -1, null)", "an offset cannot be -1"),
        ("('', 't', 0, 1, null)", "a group id is needed"),
        (
            "('g', 't', 0, 1, repeat('x', 4097))",
            "more than 4096 bytes",
        ),
    ] {
        let error = sql
            .batch_execute(&format!("{insert} values {values}"))
            .await
            .unwrap_err();
        let message = error.as_db_error().unwrap().message().to_owned();
        assert!(message.contains(text), "{message}");
    }
    let leases = test
        .store
        .claim_group_shards(Uuid::new_v4(), None)
        .await
        .unwrap();
    let mut writer = test.store.group_writer();
    let change = state("g", "Stable", 1, &["m"], &[]);
    writer
        .write_states(&[&write("g", leases[0], change)])
        .await
        .unwrap();
    let error = sql
        .batch_execute("update kafka.consumer_offsets set committed_offset = 0")
        .await
        .unwrap_err();
    let message = error.as_db_error().unwrap().message().to_owned();
    assert!(message.contains("has members"), "{message}");
}

#[tokio::test]
async fn any_metadata_is_kept_and_shown() {
    let test = TestStore::new().await;
    let t = topic(&test.store, "t", 1).await;
    let leases = test
        .store
        .claim_group_shards(Uuid::new_v4(), None)
        .await
        .unwrap();
    let mut writer = test.store.group_writer();
    let sql = test.sql().await;
    for (metadata, shown) in [("é 'x'", "é 'x'"), ("a\0b", "a\\000b"), ("", "")] {
        let commit = GroupChange::Offsets(vec![OffsetWrite {
            metadata: metadata.to_owned(),
            ..offset(&t, 0, 1)
        }]);
        writer
            .write_offsets(&[&write("g", leases[0], commit)])
            .await
            .unwrap();
        assert_eq!(
            test.store.committed_offsets("g").await.unwrap()[0].metadata,
            metadata
        );
        let row = sql
            .query_one("select metadata from kafka.consumer_offsets", &[])
            .await
            .unwrap();
        assert_eq!(row.get::<_, String>(0), shown);
    }
}
