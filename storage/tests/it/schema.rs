//! Migrations, and what may be said of the schema they make.

use protocol::records::RecordBatchBuilder;
use storage::{Error, Run, Store};

use crate::fixture::{
    TestStore, config, connect, fresh_database, payload, soon, stored, topic, writer,
};

#[tokio::test]
async fn eight_brokers_may_start_at_once() {
    let url = fresh_database().await;
    let config = config(&url);
    let opened = futures_util::future::join_all((0..8).map(|_| Store::open(&config))).await;
    let ids: std::collections::HashSet<String> = opened
        .into_iter()
        .map(|s| s.unwrap().cluster_id().to_owned())
        .collect();
    assert_eq!(ids.len(), 1, "one cluster id for all: {ids:?}");
    let rows = connect(&url)
        .await
        .query(
            "select version from kafka.schema_history order by version",
            &[],
        )
        .await
        .unwrap();
    let versions: Vec<i32> = rows.iter().map(|row| row.get(0)).collect();
    assert_eq!(versions, migrations(), "every migration once");
}

/// The versions that this release has, by its files.
fn migrations() -> Vec<i32> {
    let files = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/migrations")).unwrap();
    (1..).zip(files).map(|(version, _)| version).collect()
}

#[tokio::test]
async fn cluster_id_is_a_kafka_uuid_and_stays() {
    let test = TestStore::new().await;
    let id = test.store.cluster_id().to_owned();
    assert_eq!(id.len(), 22);
    assert!(
        id.chars()
            .all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_'),
        "{id}"
    );
    assert_eq!(
        Store::open(&config(&test.url)).await.unwrap().cluster_id(),
        id
    );
}

#[tokio::test]
async fn newer_schema_is_refused_and_left_alone() {
    let test = TestStore::new().await;
    let sql = test.sql().await;
    let newest = *migrations().last().unwrap();
    sql.execute(
        "insert into kafka.schema_history (version, name, checksum) values ($1, 'new', 'x')",
        &[&(newest + 1)],
    )
    .await
    .unwrap();
    let error = Store::open(&config(&test.url)).await.unwrap_err();
    assert!(
        matches!(error, Error::Newer { found, known } if (found, known) == (newest + 1, newest)),
        "{error:?}"
    );
    assert!(
        error.to_string().contains("start the newer release"),
        "{error}"
    );
}

/// A log as the first release of the schema kept it: a sealed and an open segment, without global offsets.
#[tokio::test]
async fn log_of_the_first_schema_is_taken_over() {
    let url = fresh_database().await;
    let sql = connect(&url).await;
    let first = include_str!("../../migrations/0001_log.sql");
    let mut batch = RecordBatchBuilder::new(0);
    batch.append(5, None, Some(b"old"), &[]).unwrap();
    let batch = batch.build().unwrap();
    let hex: String = batch.iter().map(|byte| format!("{byte:02x}")).collect();
    let mut text = format!(
        "begin; create schema kafka; create table kafka.schema_history ( \
             version int4 primary key, name text not null, checksum text not null, applied_at timestamptz not null default now()); \
         {first}; insert into kafka.topics (name, partitions) values ('t', 1); \
         insert into kafka.partitions (topic, partition, lane) values (1, 0, 0); \
         insert into kafka.segments (lane_id, state) values (0, 'sealed'), (0, 'open'); \
         insert into kafka.segment_partitions values (1, 1, 0, 1); insert into kafka.lanes (lane_id) values (0);"
    );
    for segment in [1, 2] {
        text.push_str(&format!(
            "create table kafka.log_{segment} (base int8 not null, part int4 not null, span int4 not null, \
                 chunk int4 not null, data bytea not null, primary key (part, base, chunk)) \
                 with (toast_tuple_target = 8160, autovacuum_enabled = false); \
             alter table kafka.log_{segment} alter data set storage plain;"
        ));
    }
    text.push_str(&format!(
        "insert into kafka.log_1 values (0, 1, 0, 0, '\\x{hex}'); commit"
    ));
    sql.batch_execute(&text).await.unwrap();
    sql.execute(
        "insert into kafka.schema_history values (1, '0001_log', encode(sha256(convert_to($1, 'UTF8')), 'hex'))",
        &[&first],
    )
    .await
    .unwrap();

    let store = Store::open(&config(&url)).await.unwrap();
    let mut writer = writer(&store).await;
    // A full row fills its page in an old table too.
    let new = Run {
        part: 1,
        base_offset: 1,
        span: 0,
        data: vec![payload(1, 1, 3 * 8_100)],
    };
    writer
        .flush(std::slice::from_ref(&new), soon())
        .await
        .unwrap();
    let runs = store.read(1, 0, 1 << 20).await.unwrap();
    assert!(runs[0].data == batch && runs[1] == stored(&new));
    let row = sql
        .query_one(
            "select (select pg_relation_size('kafka.log_2') / 8192), global_offset is null and value = 'old', size_bytes \
             from kafka.read('t', 0, 0, 1), kafka.partitions",
            &[],
        )
        .await
        .unwrap();
    assert_eq!((row.get::<_, i64>(0), row.get::<_, bool>(1)), (3, true));
    let bytes = i64::try_from(batch.len()).unwrap() + 3 * 8_100;
    assert_eq!(row.get::<_, i64>(2), bytes);
}

#[tokio::test]
async fn edited_migration_is_refused() {
    let test = TestStore::new().await;
    test.sql()
        .await
        .execute("update kafka.schema_history set checksum = 'other'", &[])
        .await
        .unwrap();
    let error = Store::open(&config(&test.url)).await.unwrap_err();
    assert!(matches!(error, Error::Setup(_)), "{error:?}");
}

#[tokio::test]
async fn foreign_schema_of_that_name_is_refused() {
    let url = fresh_database().await;
    let sql = connect(&url).await;
    sql.batch_execute("create schema kafka; create table kafka.novels (title text)")
        .await
        .unwrap();
    let error = Store::open(&config(&url)).await.unwrap_err();
    assert!(error.to_string().contains("holds novels"), "{error}");
    sql.batch_execute("drop table kafka.novels").await.unwrap();
    Store::open(&config(&url))
        .await
        .expect("an empty schema prepared by an administrator is fine");
}

#[tokio::test]
async fn ordinary_role_is_enough_and_another_sees_nothing() {
    let url = fresh_database().await;
    let sql = connect(&url).await;
    let suffix = uuid::Uuid::new_v4().simple();
    let (database, _) = url
        .split_once("//")
        .map(|(_, rest)| (rest.rsplit_once('/').unwrap().1, ()))
        .unwrap();
    sql.batch_execute(&format!(
        "create role owner_{suffix} login; create role other_{suffix} login; grant create on database {database} to owner_{suffix}"
    ))
    .await
    .unwrap();
    let store = Store::open(&config(
        &url.replace("//postgres@", &format!("//owner_{suffix}@")),
    ))
    .await
    .unwrap();
    topic(&store, "t", 1).await;
    writer(&store).await;

    let other = connect(&url.replace("//postgres@", &format!("//other_{suffix}@"))).await;
    for table in ["topics", "log_1", "segments"] {
        let error = other
            .query(&format!("select * from kafka.{table}"), &[])
            .await
            .unwrap_err();
        assert_eq!(error.code().unwrap().code(), "42501", "{table}");
    }
    // What was never granted has the rights that PostgreSQL gives by itself: PUBLIC may execute functions and use types.
    let rows = sql
        .query(
            "select name from ( \
                 select relname::text as name, relacl as acl, relowner as owner, 'r' as kind, relnamespace as n from pg_class \
                 union all select proname::text, proacl, proowner, 'f', pronamespace from pg_proc \
                 union all select nspname::text, nspacl, nspowner, 'n', oid from pg_namespace \
                 union all select typname::text, typacl, typowner, 'T', typnamespace from pg_type where typrelid = 0 and typelem = 0 \
             ) o, lateral aclexplode(coalesce(acl, acldefault(kind::\"char\", owner))) a \
             where n = 'kafka'::regnamespace and a.grantee = 0",
            &[],
        )
        .await
        .unwrap();
    let rows: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    assert!(rows.is_empty(), "granted to PUBLIC: {rows:?}");
}

#[tokio::test]
async fn role_that_may_not_make_the_schema_is_told_how_it_comes_to_be() {
    let url = fresh_database().await;
    let role = format!("weak_{}", uuid::Uuid::new_v4().simple());
    let sql = connect(&url).await;
    sql.batch_execute(&format!("create role {role} login"))
        .await
        .unwrap();
    let config = config(&url.replace("//postgres@", &format!("//{role}@")));
    let error = Store::open(&config).await.unwrap_err();
    assert!(
        matches!(error, Error::Setup(_))
            && error
                .to_string()
                .contains("CREATE SCHEMA kafka AUTHORIZATION"),
        "{error:?}"
    );
    sql.batch_execute(&format!("create schema kafka authorization {role}"))
        .await
        .unwrap();
    Store::open(&config)
        .await
        .expect("what the message says is enough");
}

#[tokio::test]
async fn everything_says_what_it_is() {
    let test = TestStore::new().await;
    writer(&test.store).await;
    let rows = test
        .sql()
        .await
        .query(
            "select relname::text from pg_class where relnamespace = 'kafka'::regnamespace and relkind in ('r', 'v') \
                 and obj_description(oid, 'pg_class') is null \
             union all \
             select relname || '.' || attname from pg_class c join pg_attribute a on a.attrelid = c.oid \
                 where relnamespace = 'kafka'::regnamespace and relkind in ('r', 'v') and attnum > 0 and not attisdropped \
                 and col_description(c.oid, attnum) is null \
             union all \
             select proname::text from pg_proc where pronamespace = 'kafka'::regnamespace \
                 and obj_description(oid, 'pg_proc') is null",
            &[],
        )
        .await
        .unwrap();
    let names: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    assert!(names.is_empty(), "without a comment: {names:?}");
}

#[tokio::test]
async fn bad_address_is_for_a_person_to_correct() {
    let mut config = config("postgresql://nobody@%2Fno%2Fsuch%2Fdirectory/kafka");
    config.connect_wait = std::time::Duration::from_millis(300);
    let error = Store::open(&config).await.unwrap_err();
    assert!(matches!(error, Error::Unavailable { .. }), "{error:?}");
    config.url = "postgresql://[".to_owned();
    let error = Store::open(&config).await.unwrap_err();
    assert!(matches!(error, Error::Setup(_)), "{error:?}");
    let url = fresh_database().await;
    config.url = format!("{url}_missing");
    let error = Store::open(&config).await.unwrap_err();
    assert!(matches!(error, Error::Setup(_)), "{error:?}");
}
