//! The life of segments besides their rows: rolled by time, frozen, dropped whole.

use std::time::Duration;

use storage::LaneWriter;
use tokio_postgres::Client;

use crate::fixture::{TestStore, read_all, run, soon, stored, topic, until, writer};

fn short_lived(config: &mut storage::DatabaseConfig) {
    config.segment_bytes = 60_000;
    config.segment_age = Duration::from_millis(200);
}

async fn count(sql: &Client, what: &str) -> i64 {
    let select = format!("select count(*) from {what}");
    sql.query_one(&select, &[]).await.unwrap().get(0)
}

/// Ten full pages at a time, until `segments` more are sealed. Returns the end of the log.
async fn fill(
    sql: &Client,
    writer: &mut LaneWriter,
    part: i32,
    mut base: i64,
    segments: i64,
) -> i64 {
    let sealed = "kafka.segments where state = 'sealed'";
    let wanted = count(sql, sealed).await + segments;
    until("segments to be sealed", async || {
        writer
            .flush(&[run(part, base, 5, 70_000)], soon())
            .await
            .unwrap();
        base += 5;
        count(sql, sealed).await >= wanted
    })
    .await;
    base
}

#[tokio::test]
async fn a_lane_with_little_to_write_rolls_by_time() {
    let test = TestStore::with(|config| config.segment_age = Duration::from_millis(200)).await;
    let part = topic(&test.store, "t", 1).await.partitions[0].id;
    let sql = test.sql().await;
    let mut writer = writer(&test.store).await;
    let mut expected = Vec::new();
    until("two segments sealed", async || {
        let run = run(part, expected.len() as i64, 1, 100);
        expected.push(stored(&run));
        writer.flush(&[run], soon()).await.unwrap();
        count(
            &sql,
            "kafka.segments where state = 'sealed' and bytes < 600000",
        )
        .await
            >= 2
    })
    .await;
    assert!(read_all(&test.store, part, 1 << 20).await == expected);
    let spent = "kafka.segments where sealed_at - created_at < interval '200 ms'";
    assert_eq!(count(&sql, spent).await, 0, "rolled before its time");
}

#[tokio::test]
async fn segments_of_deleted_topics_are_dropped_and_others_stay() {
    let test = TestStore::with(short_lived).await;
    let gone = topic(&test.store, "gone", 1).await;
    let kept = topic(&test.store, "kept", 1).await;
    let sql = test.sql().await;
    let mut writer = writer(&test.store).await;
    let gone_part = gone.partitions[0].id;
    fill(&sql, &mut writer, gone_part, 0, 3).await;
    let end = fill(&sql, &mut writer, kept.partitions[0].id, 0, 3).await;
    let before = read_all(&test.store, kept.partitions[0].id, 1 << 20).await;
    test.store.delete_topics(&[gone.id]).await.unwrap();
    let held = format!("kafka.segment_partitions where part = {gone_part}");
    until("its segments to be dropped", async || {
        // One that both topics share stays.
        count(&sql, &held).await <= 1
    })
    .await;
    // One statement, so one snapshot: others may be dropped meanwhile.
    let unmatched = "kafka.segments g full join \
         (select relname from pg_class where relnamespace = 'kafka'::regnamespace and relkind = 'r' and relname ~ '^log_') c \
         on c.relname::text = g.table_name where c.relname is null or g.table_name is null";
    assert_eq!(count(&sql, unmatched).await, 0);
    assert!(read_all(&test.store, kept.partitions[0].id, 1 << 20).await == before);

    sql.execute(
        "update kafka.topic_partitions set log_start_offset = $1",
        &[&end],
    )
    .await
    .unwrap();
    until("all sealed segments to be dropped", async || {
        count(&sql, "kafka.segments where state = 'sealed'").await == 0
    })
    .await;
    let ends = test.store.end_offsets(&[kept.partitions[0].id]).await;
    assert_eq!(ends.unwrap(), [(kept.partitions[0].id, end)]);
}

#[tokio::test]
async fn a_reader_in_the_way_delays_the_drop_and_nothing_else() {
    let test = TestStore::with(short_lived).await;
    let t = topic(&test.store, "t", 1).await;
    let (sql, reader) = (test.sql().await, test.sql().await);
    let mut writer = writer(&test.store).await;
    let end = fill(&sql, &mut writer, t.partitions[0].id, 0, 2).await;
    let sealed = "select segment_id from kafka.segments where state = 'sealed' order by 1";
    let sealed = sql.query(sealed, &[]).await.unwrap();
    let [read, unread] = [0, 1].map(|i| {
        format!(
            "kafka.segments where segment_id = {}",
            sealed[i].get::<_, i32>(0)
        )
    });
    let table: i32 = sealed[0].get(0);
    reader
        .batch_execute(&format!("begin; select count(*) from kafka.log_{table}"))
        .await
        .unwrap();
    test.store.delete_topics(&[t.id]).await.unwrap();
    until("the other segment to be dropped", async || {
        count(&sql, &unread).await == 0
    })
    .await;
    let other = topic(&test.store, "other", 1).await.partitions[0].id;
    fill(&sql, &mut writer, other, end, 1).await;
    assert_eq!(count(&sql, &read).await, 1);
    reader.batch_execute("commit").await.unwrap();
    until("the segment to be dropped", async || {
        count(&sql, &read).await == 0
    })
    .await;
}

const NOT_FROZEN: &str = "pg_class where relname = 'log_1' and relallvisible < relpages";

#[tokio::test]
async fn a_lane_that_has_gone_quiet_is_frozen_where_it_stands() {
    let test = TestStore::with(|config| config.segment_age = Duration::from_secs(1)).await;
    let part = topic(&test.store, "t", 1).await.partitions[0].id;
    let sql = test.sql().await;
    let mut writer = writer(&test.store).await;
    writer
        .flush(&[run(part, 0, 5, 70_000)], soon())
        .await
        .unwrap();
    until("the open segment to be frozen", async || {
        let analysed = "pg_class where relname = 'log_1' and relpages > 0";
        count(&sql, analysed).await == 1 && count(&sql, NOT_FROZEN).await == 0
    })
    .await;
    assert_eq!(
        count(&sql, "kafka.segments where state = 'sealed'").await,
        0
    );
}

#[tokio::test]
async fn what_a_writer_leaves_is_frozen_when_it_is_closed() {
    let test = TestStore::new().await;
    let part = topic(&test.store, "t", 1).await.partitions[0].id;
    let sql = test.sql().await;
    let frozen = "pg_class where relname = 'log_1' and relpages > 0 and relallvisible >= relpages";
    let mut base = 0;
    // Another writer where somebody, such as autovacuum, looked at an older state of the database just then.
    until("what was left to be frozen", async || {
        let mut writer = writer(&test.store).await;
        let written = run(part, base, 5, 70_000);
        base += 5;
        writer.flush(&[written], soon()).await.unwrap();
        writer.close().await;
        count(&sql, frozen).await == 1
    })
    .await;
}

#[tokio::test]
async fn what_an_old_transaction_kept_from_being_frozen_is_frozen_later() {
    let test = TestStore::with(short_lived).await;
    let part = topic(&test.store, "t", 1).await.partitions[0].id;
    let (sql, old) = (test.sql().await, test.sql().await);
    old.batch_execute("begin isolation level repeatable read; select count(*) from kafka.topics")
        .await
        .unwrap();
    let mut writer = writer(&test.store).await;
    fill(&sql, &mut writer, part, 0, 1).await;
    until("an attempt to freeze", async || {
        count(&sql, NOT_FROZEN).await == 1
    })
    .await;
    let frozen = "kafka.segments where segment_id = 1 and frozen_at is not null";
    assert_eq!(count(&sql, frozen).await, 0);
    old.batch_execute("commit").await.unwrap();
    until("the segment to be frozen", async || {
        count(&sql, frozen).await == 1
    })
    .await;
    assert_eq!(count(&sql, NOT_FROZEN).await, 0);
}
