//! Migrations, and what may be said of the schema they make.

use storage::{Error, Store};

use crate::fixture::{TestStore, config, connect, fresh_database, topic, writer};

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
        .query("select version from kafka.schema_history", &[])
        .await
        .unwrap();
    assert_eq!(rows.len(), 1);
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
    sql.execute(
        "insert into kafka.schema_history (version, name, checksum) values (2, '0002_new', 'x')",
        &[],
    )
    .await
    .unwrap();
    let error = Store::open(&config(&test.url)).await.unwrap_err();
    assert!(
        matches!(error, Error::Newer { found: 2, known: 1 }),
        "{error:?}"
    );
    assert!(
        error.to_string().contains("start the newer release"),
        "{error}"
    );
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
    let rows = sql
        .query(
            "select relname::text from pg_class, lateral aclexplode(relacl) a \
             where relnamespace = 'kafka'::regnamespace and a.grantee = 0",
            &[],
        )
        .await
        .unwrap();
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
async fn every_table_says_what_it_is() {
    let test = TestStore::new().await;
    writer(&test.store).await;
    let rows = test
        .sql()
        .await
        .query(
            "select relname::text from pg_class where relnamespace = 'kafka'::regnamespace and relkind = 'r' \
             and obj_description(oid, 'pg_class') is null",
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
