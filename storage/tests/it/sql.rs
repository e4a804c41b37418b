//! What people see by SQL: records, batches, producers, partitions; and what nobody may without being allowed to. What they
//! change is in `sql_topics`.

use bytes::Bytes;
use protocol::compression::Compression;
use protocol::records::{RecordBatchBuilder, patch_base_offset, patch_log_append_time};
use storage::{LaneWriter, Run};
use tokio_postgres::{Client, Row};

use crate::fixture::{TestStore, connect, soon, topic, until, writer};

type Field<'a> = Option<&'a [u8]>;
type TestRecord<'a> = (i64, Field<'a>, Field<'a>, &'a [(&'a str, Field<'a>)]);

fn builder(base_offset: i64, records: &[TestRecord<'_>]) -> RecordBatchBuilder {
    let mut builder = RecordBatchBuilder::new(base_offset);
    for (timestamp, key, value, headers) in records {
        builder.append(*timestamp, *key, *value, headers).unwrap();
    }
    builder
}

/// `count` records from `base_offset` on, each with its offset as value.
fn counted(base_offset: i64, count: i64) -> Bytes {
    let mut builder = RecordBatchBuilder::new(base_offset);
    for offset in base_offset..base_offset + count {
        let value = offset.to_string();
        builder
            .append(1_000 + offset, None, Some(value.as_bytes()), &[])
            .unwrap();
    }
    builder.build().unwrap().into()
}

async fn flush(writer: &mut LaneWriter, runs: &[(i32, i64, i32, Bytes)]) {
    let runs: Vec<Run> = runs
        .iter()
        .map(|(part, base_offset, records, data)| Run {
            part: *part,
            base_offset: *base_offset,
            span: records - 1,
            data: vec![data.clone()],
        })
        .collect();
    writer.flush(&runs, soon()).await.unwrap();
}

pub(crate) async fn rows(client: &Client, sql: &str) -> Vec<Row> {
    client
        .query(sql, &[])
        .await
        .unwrap_or_else(|e| panic!("{sql}: {e:?}"))
}

/// The first column of all rows, which is a text.
async fn texts(client: &Client, sql: &str) -> Vec<String> {
    let rows = rows(client, sql).await;
    rows.iter().map(|row| row.get(0)).collect()
}

pub(crate) async fn refusal(client: &Client, sql: &str) -> String {
    let error = client.batch_execute(sql).await.unwrap_err();
    error.as_db_error().unwrap().message().to_owned()
}

#[tokio::test]
async fn every_field_of_a_record_is_shown() {
    let test = TestStore::new().await;
    let t = topic(&test.store, "t", 1).await;
    let mut writer = writer(&test.store).await;
    let headers: &[(&str, Field<'_>)] = &[
        ("h", Some(b"1")),
        ("h", Some("ü\\".as_bytes())),
        ("ï", None),
        ("bin", Some(&[0xff, 0])),
    ];
    let long = vec![b'x'; 300_000];
    let mut first = builder(
        0,
        &[
            (1_700_000_000_000, Some(b"k"), Some(b"v"), headers),
            (1_699_999_999_000, None, Some(&long), &[]),
            (i64::MAX >> 11, Some(&[0, 255]), None, &[]),
            (0, Some(b""), Some(b""), &[("", Some(b""))]),
        ],
    );
    first.producer(5_000_000_000, i16::MAX, i32::MAX - 1);
    let first = first.build().unwrap();
    flush(&mut writer, &[(t.partitions[0].id, 0, 4, first.into())]).await;

    let sql = test.sql().await;
    let shown = texts(
        &sql,
        "select format('%s %s %s %s|%s|%s|%s|%s|%s %s %s %s %s %s', topic, partition, partition_offset, global_offset, key, \
             case when length(value) < 10 then value::text else md5(value) end, headers, timestamp_ms, \
             timestamp_type, producer_id, producer_epoch, sequence, txn_state, compression) \
         from kafka.messages order by partition_offset",
    )
    .await;
    let headers = r#"[{"key": "h", "value": "1"}, {"key": "h", "value": "ü\\"}, {"key": "ï", "value": null}, {"key": "bin", "base64": "/wA="}]"#;
    let digest = texts(&sql, "select md5(convert_to(repeat('x', 300000), 'UTF8'))").await;
    let who = "CreateTime 5000000000 32767";
    let expected = [
        format!("t 0 0 0|\\x6b|\\x76|{headers}|1700000000000|{who} 2147483646  none"),
        format!(
            "t 0 1 1||{}||1699999999000|{who} 2147483647  none",
            digest[0]
        ),
        format!("t 0 2 2|\\x00ff|||{}|{who} 0  none", i64::MAX >> 11),
        format!("t 0 3 3|\\x|\\x|[{{\"key\": \"\", \"value\": \"\"}}]|0|{who} 1  none"),
    ];
    assert_eq!(shown, expected);
    let created = "select created_at = to_timestamp(1700000000) from kafka.read('t', 0, 0, 1)";
    assert!(rows(&sql, created).await[0].get::<_, bool>(0));
}

#[tokio::test]
async fn compressed_and_marked_batches_are_told_apart() {
    let test = TestStore::new().await;
    let t = topic(&test.store, "t", 1).await;
    let mut writer = writer(&test.store).await;
    let record: TestRecord<'_> = (500, Some(b"k"), Some(b"v"), &[]);
    let mut run = Vec::new();
    for (at, codec) in (0..).zip(Compression::ALL) {
        let mut batch = builder(at * 2, &[record, record]);
        batch.compression(codec, None);
        run.extend(batch.build().unwrap());
    }
    let mut stamped = builder(0, &[record]).build().unwrap();
    patch_log_append_time(&mut stamped, 900).unwrap();
    patch_base_offset(&mut stamped, 10).unwrap();
    run.extend(stamped);
    let mut transactional = builder(11, &[record]);
    transactional.producer(7, 0, 0).transactional();
    run.extend(transactional.build().unwrap());
    flush(&mut writer, &[(t.partitions[0].id, 0, 12, run.into())]).await;
    let sql = test.sql().await;
    let shown = texts(
        &sql,
        "select concat_ws(' ', partition_offset, key, value, timestamp_ms, timestamp_type, txn_state, compression) \
         from kafka.messages order by partition_offset",
    )
    .await;
    assert_eq!(
        shown,
        [
            "0 \\x6b \\x76 500 CreateTime none",
            "1 \\x6b \\x76 500 CreateTime none",
            "2 500 CreateTime gzip",
            "3 500 CreateTime gzip",
            "4 500 CreateTime snappy",
            "5 500 CreateTime snappy",
            "6 500 CreateTime lz4",
            "7 500 CreateTime lz4",
            "8 500 CreateTime zstd",
            "9 500 CreateTime zstd",
            "10 \\x6b \\x76 900 LogAppendTime none",
            "11 \\x6b \\x76 500 CreateTime committed none",
        ]
    );
}

#[tokio::test]
async fn batches_and_producers_are_shown_by_their_headers() {
    let test = TestStore::new().await;
    let t = topic(&test.store, "t", 2).await;
    let mut writer = writer(&test.store).await;
    let record: TestRecord<'_> = (500, None, Some(b"v"), &[]);
    let mut first = builder(0, &[record, record]);
    first.producer(7, 0, i32::MAX).leader_epoch(3);
    let mut second = builder(2, &[(700, None, Some(b"v"), &[])]);
    second
        .producer(7, 1, 0)
        .compression(Compression::Gzip, None);
    let third = builder(3, &[(600, None, None, &[])]);
    let runs = [first, second, third].map(|batch| Bytes::from(batch.build().unwrap()));
    let sizes = runs.each_ref().map(Bytes::len);
    let part = t.partitions[1].id;
    let mut flushes = [(part, 0, 2), (part, 2, 1), (part, 3, 1)]
        .into_iter()
        .zip(runs);
    for ((part, base, count), data) in &mut flushes {
        flush(&mut writer, &[(part, base, count, data)]).await;
    }
    let sql = test.sql().await;
    let batches = "select concat_ws(' ', topic, partition, base_offset, last_offset, record_count, size_bytes, compression, \
             base_timestamp_ms, max_timestamp_ms, producer_id, producer_epoch, base_sequence, last_sequence, leader_epoch) \
         from kafka.batches where topic = 't' and partition = 1 order by base_offset";
    assert_eq!(
        texts(&sql, batches).await,
        [
            format!("t 1 0 1 2 {} none 500 500 7 0 2147483647 0 3", sizes[0]),
            format!("t 1 2 2 1 {} gzip 700 700 7 1 0 0 -1", sizes[1]),
            format!("t 1 3 3 1 {} none 600 600 -1", sizes[2]),
        ]
    );
    let producers = "select concat_ws(' ', topic, partition, producer_id, producer_epoch, last_sequence, last_offset, \
             last_timestamp = timestamptz 'epoch' + interval '700 ms') from kafka.producers";
    assert_eq!(texts(&sql, producers).await, ["t 1 7 1 0 2 t"]);
}

#[tokio::test]
async fn records_of_all_sizes_come_back_equal() {
    let test = TestStore::new().await;
    let t = topic(&test.store, "t", 1).await;
    let mut writer = writer(&test.store).await;
    let sizes = [
        0, 1, 59, 60, 63, 64, 65, 127, 128, 8_000, 8_191, 8_192, 16_383, 16_384, 1_048_576,
    ];
    let content = |size: usize| -> Vec<u8> { (0..size).map(|i| (i % 251) as u8).collect() };
    let mut builder = RecordBatchBuilder::new(0);
    for key in [0, 63, 64, 8_192] {
        for size in sizes {
            let time = (size as i64) << (key % 40);
            let (key, value) = (content(key), content(size));
            builder.append(time, Some(&key), Some(&value), &[]).unwrap();
        }
    }
    let data = builder.build().unwrap().into();
    flush(&mut writer, &[(t.partitions[0].id, 0, 60, data)]).await;
    let rows = rows(
        &test.sql().await,
        "select key, value, timestamp_ms from kafka.read('t', 0, 0, null)",
    )
    .await;
    let mut rows = rows.iter();
    for key in [0, 63, 64, 8_192] {
        for size in sizes {
            let row = rows.next().unwrap();
            assert_eq!(row.get::<_, Vec<u8>>(0), content(key), "{size}");
            assert!(row.get::<_, Vec<u8>>(1) == content(size), "{size}");
            assert_eq!(row.get::<_, i64>(2), (size as i64) << (key % 40));
        }
    }
    assert!(rows.next().is_none());
}

/// Two partitions in many small segments, and how many records each has. One run for each in a flush.
async fn filled(test: &TestStore) -> (storage::Topic, i64) {
    let t = topic(&test.store, "t", 2).await;
    let sql = test.sql().await;
    let mut writer = writer(&test.store).await;
    let mut base = 0;
    let mut flushes = 0;
    until("four segments sealed", async || {
        for _ in 0..if flushes == 0 { 60 } else { 5 } {
            let count = 1 + flushes % 7;
            let data = counted(base, count);
            let runs = [0, 1].map(|i| (t.partitions[i].id, base, count as i32, data.clone()));
            flush(&mut writer, &runs).await;
            base += count;
            flushes += 1;
        }
        rows(&sql, "select from kafka.segments where state = 'sealed'")
            .await
            .len()
            >= 4
    })
    .await;
    until("only one segment in use", async || {
        let open = rows(&sql, "select from kafka.segments where state = 'open'").await;
        open.len() == 2
    })
    .await;
    (t, base)
}

fn small_segments(config: &mut storage::DatabaseConfig) {
    config.segment_bytes = 4_000;
}

#[tokio::test]
async fn read_gives_what_is_asked_for_across_segments() {
    let test = TestStore::with(small_segments).await;
    let (_, end) = filled(&test).await;
    let sql = test.sql().await;
    for (from, most) in [
        (0, 3),
        (0, 1_000),
        (17, 1),
        (18, 50),
        (end - 1, 5),
        (end, 5),
        (-9, 2),
    ] {
        let select = format!(
            "select partition_offset, convert_from(value, 'UTF8') from kafka.read('t', 1, {from}, {most})"
        );
        let read: Vec<(i64, String)> = rows(&sql, &select)
            .await
            .iter()
            .map(|row| (row.get(0), row.get(1)))
            .collect();
        let expected: Vec<(i64, String)> = (from.max(0)..end)
            .take(most)
            .map(|offset| (offset, offset.to_string()))
            .collect();
        assert_eq!(read, expected, "from {from}, at most {most}");
    }
    let unlimited = rows(&sql, "select from kafka.read('t', 0, 0, null)").await;
    assert_eq!(unlimited.len() as i64, end);
    assert_eq!(
        rows(&sql, "select from kafka.read('t', 0, 0, 0)")
            .await
            .len(),
        0
    );
    let unknown = refusal(&sql, "select from kafka.read('t', 2)").await;
    assert_eq!(unknown, "there is no partition 2 of a topic \"t\"");
}

#[tokio::test]
async fn only_the_rows_that_are_asked_for_are_read() {
    let test = TestStore::with(small_segments).await;
    let (t, end) = filled(&test).await;
    let sql = test.sql().await;
    let damage = "do $$ declare s record; begin for s in select table_name from kafka.segments loop \
         execute format('update kafka.%s set data = ''\\x00'' where part = PART and base >= FROM', s.table_name); \
         end loop; end $$";
    let damage = |part: i32, from: i64| {
        damage
            .replace("PART", &part.to_string())
            .replace("FROM", &from.to_string())
    };
    sql.batch_execute(&damage(t.partitions[1].id, 0))
        .await
        .unwrap();
    for view in ["batches", "producers"] {
        let of_one = format!("select from kafka.{view} where topic = 't' and partition = 0");
        rows(&sql, &of_one).await;
    }
    let whole = "select count(*) from kafka.messages where topic = 't' and partition = 0";
    assert_eq!(rows(&sql, whole).await[0].get::<_, i64>(0), end);
    let damaged = refusal(&sql, &whole.replace("= 0", "= 1")).await;
    assert_eq!(damaged, "the log is damaged at byte 0 of a run");

    sql.batch_execute(&damage(t.partitions[0].id, 100))
        .await
        .unwrap();
    let before = rows(&sql, "select from kafka.read('t', 0, 50, 40)").await;
    assert_eq!(before.len(), 40);
    refusal(&sql, "select from kafka.read('t', 0, 50, 60)").await;
}

#[tokio::test]
async fn plan_names_one_partition_and_reads_each_of_its_runs_once() {
    let test = TestStore::with(small_segments).await;
    filled(&test).await;
    let sql = test.sql().await;
    let plan = texts(
        &sql,
        "explain (analyze, costs off, timing off, summary off) \
         select * from kafka.messages where topic = 't' and partition = 0",
    )
    .await;
    let loops = |function: &str| -> usize {
        let line = plan.iter().find(|line| line.contains(function)).unwrap();
        let (_, loops) = line.split_once("loops=").unwrap();
        loops.trim_end_matches(')').parse().unwrap()
    };
    let held = rows(&sql, "select from kafka.segments").await;
    // One may have been made ahead since.
    assert!(loops("log_pages") <= held.len(), "{plan:#?}");
    let flushes = rows(&sql, "select flush_seq from kafka.lanes").await;
    let flushes: i64 = flushes[0].get(0);
    assert_eq!(loops("decode_run") as i64, flushes, "{plan:#?}");
}

#[tokio::test]
async fn global_offsets_are_the_order_of_the_appends() {
    let test = TestStore::with(small_segments).await;
    let (t, end) = filled(&test).await;
    let mut second = writer(&test.store).await;
    let runs = [1, 0].map(|i| (t.partitions[i].id, end, 2, counted(end, 2)));
    flush(&mut second, &runs).await;
    let sql = test.sql().await;
    let order = rows(
        &sql,
        "select global_offset, partition, partition_offset from kafka.messages order by global_offset",
    )
    .await;
    let order: Vec<(i64, i32, i64)> = order
        .iter()
        .map(|row| (row.get(0), row.get(1), row.get(2)))
        .collect();
    assert!(order.iter().map(|row| row.0).eq(0..2 * (end + 2)));
    // The first flush had offset 0 of both partitions, the last the partitions in reverse.
    assert_eq!(order[..3], [(0, 0, 0), (1, 1, 0), (2, 0, 1)]);
    let last: Vec<_> = order[order.len() - 4..]
        .iter()
        .map(|row| (row.1, row.2))
        .collect();
    assert_eq!(last, [(1, end), (1, end + 1), (0, end), (0, end + 1)]);
    let records = rows(&sql, "select records from kafka.lanes").await;
    assert_eq!(records[0].get::<_, i64>(0), 2 * (end + 2));
}

#[tokio::test]
async fn partitions_show_start_end_size_and_leader() {
    let test = TestStore::with(|config| {
        small_segments(config);
        config.node_id = 7;
    })
    .await;
    let empty = "select concat_ws(' ', topic, partition, leader, log_start_offset, log_end_offset, size_bytes) \
         from kafka.partitions order by topic, partition";
    topic(&test.store, "empty", 1).await;
    let sql = test.sql().await;
    assert_eq!(texts(&sql, empty).await, ["empty 0 0 0 0"]);
    let (t, end) = filled(&test).await;
    let runs = test
        .store
        .read(t.partitions[1].id, 0, usize::MAX / 2)
        .await
        .unwrap();
    let bytes: usize = runs.iter().map(|run| run.data.len()).sum();
    assert_eq!(
        texts(&sql, empty).await[2],
        format!("t 1 7 0 {end} {bytes}")
    );
    sql.batch_execute(
        "update kafka.topic_partitions set log_start_offset = 200 where partition = 1",
    )
    .await
    .unwrap();
    let shown = "select min(partition_offset), count(*) from kafka.messages where partition = 1";
    let row = &rows(&sql, shown).await[0];
    assert_eq!(
        (row.get::<_, i64>(0), row.get::<_, i64>(1)),
        (200, end - 200)
    );
    let read = "select min(partition_offset) from kafka.read('t', 1, 3, 5)";
    assert_eq!(rows(&sql, read).await[0].get::<_, i64>(0), 200);
}

#[tokio::test]
async fn reader_role_reads_and_changes_nothing() {
    let test = TestStore::new().await;
    let t = topic(&test.store, "t", 1).await;
    let mut writer = writer(&test.store).await;
    flush(&mut writer, &[(t.partitions[0].id, 0, 3, counted(0, 3))]).await;
    let sql = test.sql().await;
    let role = format!("reader_{}", uuid::Uuid::new_v4().simple());
    sql.batch_execute(&format!(
        "create role {role} login; grant usage on schema kafka to {role}; \
         grant select on kafka.messages, kafka.batches, kafka.producers, kafka.partitions, kafka.topics, kafka.topic_settings, \
             kafka.consumer_offsets, kafka.consumer_lag, kafka.groups, kafka.group_members to {role}; \
         grant execute on all functions in schema kafka to {role}"
    ))
    .await
    .unwrap();
    let reader = connect(&test.url.replace("//postgres@", &format!("//{role}@"))).await;
    for sql in [
        "select value from kafka.messages where topic = 't' and partition = 0",
        "select value from kafka.read('t', 0)",
        "select b.* from kafka.batches b, generate_series(1, 3)",
    ] {
        assert_eq!(rows(&reader, sql).await.len(), 3, "{sql}");
    }
    let end = "select log_end_offset, size_bytes from kafka.partitions";
    assert_eq!(rows(&reader, end).await[0].get::<_, i64>(0), 3);
    for denied in [
        "insert into kafka.topics (name) values ('x')",
        "update kafka.topics set partitions = 9",
        "delete from kafka.topics",
        "select * from kafka.log_1",
        "insert into kafka.consumer_offsets (group_id, topic, partition, committed_offset) values ('g', 't', 0, 1)",
        "delete from kafka.groups",
        "select * from kafka.group_offsets",
        "select * from kafka.producer_snapshots",
        "update kafka.lanes set epoch = epoch + 1",
    ] {
        let message = refusal(&reader, denied).await;
        assert!(
            message.starts_with("permission denied"),
            "{denied}: {message}"
        );
    }
    // May make topics, and needs no right on any other table for it.
    sql.batch_execute(&format!(
        "grant insert, delete, update (partitions) on kafka.topics to {role}"
    ))
    .await
    .unwrap();
    reader
        .batch_execute(
            "insert into kafka.topics (name) values ('x'); \
             update kafka.topics set partitions = 2 where name = 'x'; delete from kafka.topics where name = 'x'",
        )
        .await
        .unwrap();
}
