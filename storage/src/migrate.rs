//! The schema and its versions: every migration once, all in one transaction, under an advisory lock of that transaction.
//!
//! A runner of our own instead of a migration crate: those commit migrations one by one or open the transaction themselves,
//! so the lock would have to be a session's, which connection poolers do not keep.

use tokio_postgres::{Client, Transaction};

use crate::{Error, Result};

/// Released migrations are never edited; their number is their version.
const MIGRATIONS: &[(&str, &str)] = &[
    ("0001_log", include_str!("../migrations/0001_log.sql")),
    ("0002_sql", include_str!("../migrations/0002_sql.sql")),
    ("0003_groups", include_str!("../migrations/0003_groups.sql")),
    (
        "0004_settings",
        include_str!("../migrations/0004_settings.sql"),
    ),
    (
        "0005_brokers",
        include_str!("../migrations/0005_brokers.sql"),
    ),
    (
        "0006_cleaning",
        include_str!("../migrations/0006_cleaning.sql"),
    ),
    (
        "0007_transactions",
        include_str!("../migrations/0007_transactions.sql"),
    ),
];

/// Any number that other users of the database are unlikely to lock.
const LOCK: &str = "select pg_advisory_xact_lock(7092740926384614)";

const SCHEMA_EXISTS: &str =
    "select to_regnamespace('kafka') is not null, to_regclass('kafka.schema_history') is not null";

const HISTORY: &str = "create table kafka.schema_history (
         version int4 primary key, name text not null, checksum text not null, applied_at timestamptz not null default now()
     );
     comment on table kafka.schema_history is 'Migrations applied to this schema';
     comment on column kafka.schema_history.checksum is 'SHA-256 of the migration''s text'";

const APPLIED: &str = "select version, name, checksum, encode(sha256(convert_to(($1::text[])[version], 'UTF8')), 'hex')
     from kafka.schema_history order by version";

const RECORD: &str = "insert into kafka.schema_history (version, name, checksum)
     values ($1, $2, encode(sha256(convert_to($3, 'UTF8')), 'hex'))";

/// Brings the schema to the newest version this release knows.
pub(crate) async fn migrate(client: &mut Client) -> Result<()> {
    run(client, MIGRATIONS).await
}

/// Whether the schema is the newest that this release knows, without making it so.
pub(crate) async fn check(client: &mut Client) -> Result<()> {
    let transaction = client.transaction().await?;
    let row = transaction.query_one(SCHEMA_EXISTS, &[]).await?;
    if !row.get::<_, bool>(1) {
        return Err(Error::Setup(
            "the database holds no pg_kafka yet: start a broker on it first".to_owned(),
        ));
    }
    let applied = applied(&transaction, MIGRATIONS).await?;
    if applied < MIGRATIONS.len() {
        return Err(Error::Setup(
            "the database was made by an older pg_kafka: start a broker of this release on it first"
                .to_owned(),
        ));
    }
    Ok(())
}

async fn run(client: &mut Client, migrations: &[(&str, &str)]) -> Result<()> {
    let transaction = client.transaction().await?;
    // Serialises brokers that start at once; gone with the transaction.
    transaction.batch_execute(LOCK).await?;
    let applied = applied(&transaction, migrations).await?;
    for (index, (name, sql)) in migrations.iter().enumerate().skip(applied) {
        let version =
            i32::try_from(index + 1).map_err(|e| Error::bug("numbering migrations", e))?;
        transaction
            .batch_execute(sql)
            .await
            .map_err(|e| in_migration(name, e))?;
        transaction.execute(RECORD, &[&version, name, sql]).await?;
        tracing::info!("schema migration {name} applied");
    }
    transaction.commit().await?;
    Ok(())
}

/// How many migrations the database has; an error if they are not a beginning of ours.
async fn applied(transaction: &Transaction<'_>, migrations: &[(&str, &str)]) -> Result<usize> {
    let row = transaction.query_one(SCHEMA_EXISTS, &[]).await?;
    let (schema, history): (bool, bool) = (row.get(0), row.get(1));
    if !schema {
        create_schema(transaction).await?;
    }
    if !history {
        if schema {
            refuse_foreign_schema(transaction).await?;
        }
        transaction.batch_execute(HISTORY).await?;
    }
    let texts: Vec<&str> = migrations.iter().map(|(_, sql)| *sql).collect();
    let rows = transaction.query(APPLIED, &[&texts]).await?;
    for (row, expected) in rows.iter().zip(1..) {
        let (version, name): (i32, String) = (row.get(0), row.get(1));
        let (stored, ours): (String, Option<String>) = (row.get(2), row.get(3));
        if version != expected {
            return Err(Error::bug(
                "schema history",
                format!("version {expected} is missing"),
            ));
        }
        match ours {
            None => {
                let found = rows.last().map_or(version, |last| last.get(0));
                return Err(Error::Newer {
                    found,
                    known: i32::try_from(migrations.len()).unwrap_or(i32::MAX),
                });
            }
            Some(ours) if ours != stored => {
                return Err(Error::Setup(format!(
                    "schema version {version} ({name}) of the database was made by another build of pg_kafka \
                     than this one: start the release that made it, or use another database"
                )));
            }
            Some(_) => {}
        }
    }
    Ok(rows.len())
}

async fn create_schema(transaction: &Transaction<'_>) -> Result<()> {
    match transaction
        .batch_execute("create schema kafka")
        .await
        .map_err(Error::from)
    {
        Err(Error::Setup(reason)) => Err(Error::Setup(format!(
            "schema kafka cannot be made: {reason}. Let an administrator run, in that database, \
             CREATE SCHEMA kafka AUTHORIZATION <the role of the database URL>"
        ))),
        other => other,
    }
}

/// An empty schema `kafka` may be prepared by an administrator; one with other tables is not ours to build in.
async fn refuse_foreign_schema(transaction: &Transaction<'_>) -> Result<()> {
    const FOREIGN: &str =
        "select relname::text from pg_class where relnamespace = to_regnamespace('kafka') limit 1";
    match transaction.query_opt(FOREIGN, &[]).await? {
        None => Ok(()),
        Some(row) => Err(Error::Setup(format!(
            "schema kafka of the database holds {} but was not made by pg_kafka: use another database, \
             or rename that schema",
            row.get::<_, String>(0)
        ))),
    }
}

fn in_migration(name: &str, error: tokio_postgres::Error) -> Error {
    match Error::from(error) {
        Error::Bug { detail, .. } => Error::bug(format!("schema migration {name}"), detail),
        other => other,
    }
}
