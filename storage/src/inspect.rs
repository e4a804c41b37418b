//! What a person wants to know of a database that a broker serves, read without changing anything: its health, its segments,
//! and whether they hold what the catalogue says.

use tokio_postgres::Row;

use crate::{DatabaseConfig, Error, Result, Store, migrate, pool};

/// The database server and the broker's database in it.
#[derive(Debug, Clone, PartialEq)]
pub struct Health {
    /// As the server says it.
    pub server_version: String,
    /// Size of the database on disk.
    pub database_bytes: i64,
    /// Sessions in the database.
    pub connections: i64,
    /// Sessions that the server allows, in all its databases.
    pub connections_max: i32,
    /// The transaction that began first of those in progress, besides this one.
    pub oldest_transaction: Option<OldTransaction>,
    /// Number of topics.
    pub topics: i64,
    /// Number of partitions.
    pub partitions: i64,
}

/// What is measured of the database all the time.
#[derive(Debug, Clone, PartialEq)]
pub struct Pulse {
    /// Bytes of write-ahead log that the server has written since it was initialised.
    pub wal_bytes: i64,
    /// Size of the database on disk.
    pub database_bytes: i64,
    /// Age of the transaction that began first; 0 for none.
    pub oldest_transaction_seconds: f64,
    /// Number of segments.
    pub segments: i64,
    /// Number of groups in each state that any is in.
    pub group_states: Vec<(String, i64)>,
    /// Number of transactional ids in each state that any is in.
    pub transaction_states: Vec<(String, i64)>,
}

/// How far a group is behind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupLag {
    /// The group.
    pub group_id: String,
    /// As Kafka's tools show it.
    pub state: String,
    /// Partitions that it has committed offsets of.
    pub partitions: i64,
    /// Records that it has not consumed in these, counted by their offsets.
    pub lag: i64,
}

/// A transaction in progress.
#[derive(Debug, Clone, PartialEq)]
pub struct OldTransaction {
    /// Server process of its session.
    pub pid: i32,
    /// How long ago it began.
    pub age_seconds: f64,
    /// Name that the session's program gave itself.
    pub application: String,
    /// What the session is doing, such as `active` or `idle in transaction`.
    pub state: String,
}

/// One segment of the log.
#[derive(Debug, Clone, PartialEq)]
pub struct SegmentState {
    /// Key.
    pub segment_id: i32,
    /// Lane that fills it.
    pub lane_id: i32,
    /// Whether nothing more is written to it.
    pub is_sealed: bool,
    /// Whether it has been frozen.
    pub is_frozen: bool,
    /// Whether its table may hold more than is noted, as parts of it were written anew elsewhere.
    pub is_moved: bool,
    /// How long ago it was made.
    pub age_seconds: f64,
    /// Size of its table; `None` if there is no such table.
    pub table_bytes: Option<i64>,
}

/// What a segment holds of one partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct SegmentPart {
    /// Partition, [`crate::PartitionRow::id`].
    pub part: i32,
    /// First offset.
    pub first_offset: i64,
    /// One past the last offset.
    pub end_offset: i64,
    /// Bytes of its record batches.
    pub bytes: i64,
}

const HEALTH: &str = "select current_setting('server_version'), pg_database_size(current_database())::int8, \
     (select count(*) from pg_stat_activity where datname = current_database()), \
     current_setting('max_connections')::int4, \
     (select count(*) from kafka.topics), (select count(*) from kafka.topic_partitions)";
const OLDEST: &str = "select pid, extract(epoch from clock_timestamp() - xact_start)::float8, \
     coalesce(application_name, ''), coalesce(state, '') from pg_stat_activity \
     where datname = current_database() and xact_start is not null and pid <> pg_backend_pid() \
     order by xact_start limit 1";
const PULSE: &str = "select pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::int8, \
     pg_database_size(current_database())::int8, \
     coalesce((select extract(epoch from clock_timestamp() - min(xact_start)) from pg_stat_activity \
         where datname = current_database() and pid <> pg_backend_pid()), 0)::float8, \
     (select count(*) from kafka.segments)";
const GROUP_STATES: &str =
    "select group_state, count(*) from kafka.groups group by group_state order by group_state";
const TRANSACTION_STATES: &str =
    "select state, count(*) from kafka.transactions group by state order by state";
const GROUP_LAGS: &str = "select g.group_id, g.group_state, count(l.lag), coalesce(sum(l.lag), 0)::int8 \
     from kafka.groups g left join kafka.consumer_lag l on l.group_id = g.group_id \
     group by g.group_id, g.group_state order by 4 desc, 1";
const SEGMENTS: &str = "select segment_id, lane_id, state = 'sealed', frozen_at is not null, moved_at is not null, \
     extract(epoch from now() - created_at)::float8, pg_table_size(to_regclass('kafka.' || table_name))::int8 \
     from kafka.segments order by segment_id";
const NOTED: &str = "select part, first_offset, end_offset, bytes from kafka.segment_partitions \
     where segment_id = $1 order by part";

impl Store {
    /// Connects without bringing the schema up to this release, which it must be at. The sessions cannot write.
    pub async fn open_read_only(config: &DatabaseConfig) -> Result<Self> {
        const CLUSTER: &str = "select cluster_id from kafka.cluster";
        let mut connect = pool::parse(config)?;
        let options = match connect.get_options() {
            Some(given) => format!("{given} -c default_transaction_read_only=on"),
            None => "-c default_transaction_read_only=on".to_owned(),
        };
        connect.options(&options);
        let mut connection = pool::connect(&connect).await?;
        migrate::check(&mut connection.client).await?;
        let cluster_id = connection.client.query_one(CLUSTER, &[]).await?.get(0);
        Self::of_parts(connect, config, cluster_id)
    }

    /// How the database is.
    pub async fn health(&self) -> Result<Health> {
        let client = self.client().await?;
        let row = client.query_one(HEALTH, &[]).await?;
        let oldest = client.query_opt(OLDEST, &[]).await?;
        Ok(Health {
            server_version: row.get(0),
            database_bytes: row.get(1),
            connections: row.get(2),
            connections_max: row.get(3),
            topics: row.get(4),
            partitions: row.get(5),
            oldest_transaction: oldest.map(|row| OldTransaction {
                pid: row.get(0),
                age_seconds: row.get(1),
                application: row.get(2),
                state: row.get(3),
            }),
        })
    }

    /// What is measured of the database all the time.
    pub async fn pulse(&self) -> Result<Pulse> {
        let client = self.client().await?;
        let row = client.query_one(PULSE, &[]).await?;
        let groups = client.query(GROUP_STATES, &[]).await?;
        let transactions = client.query(TRANSACTION_STATES, &[]).await?;
        let counts = |rows: &[Row]| rows.iter().map(|row| (row.get(0), row.get(1))).collect();
        Ok(Pulse {
            wal_bytes: row.get(0),
            database_bytes: row.get(1),
            oldest_transaction_seconds: row.get(2),
            segments: row.get(3),
            group_states: counts(&groups),
            transaction_states: counts(&transactions),
        })
    }

    /// All groups, those that are furthest behind first.
    pub async fn group_lags(&self) -> Result<Vec<GroupLag>> {
        let client = self.client().await?;
        let rows = client.query(GROUP_LAGS, &[]).await?;
        let lag = |row: &Row| GroupLag {
            group_id: row.get(0),
            state: row.get(1),
            partitions: row.get(2),
            lag: row.get(3),
        };
        Ok(rows.iter().map(lag).collect())
    }

    /// All segments, by key.
    pub async fn segment_states(&self) -> Result<Vec<SegmentState>> {
        let client = self.client().await?;
        let rows = client.query(SEGMENTS, &[]).await?;
        let state = |row: &Row| SegmentState {
            segment_id: row.get(0),
            lane_id: row.get(1),
            is_sealed: row.get(2),
            is_frozen: row.get(3),
            is_moved: row.get(4),
            age_seconds: row.get(5),
            table_bytes: row.get(6),
        };
        Ok(rows.iter().map(state).collect())
    }

    /// What the catalogue says that a sealed segment holds, by partition.
    pub async fn noted_contents(&self, segment_id: i32) -> Result<Vec<SegmentPart>> {
        let client = self.client().await?;
        let rows = client.query(NOTED, &[&segment_id]).await?;
        Ok(rows.iter().map(segment_part).collect())
    }

    /// What a segment's table really holds, by partition. `NotFound` if there is no table.
    pub async fn real_contents(&self, segment_id: i32) -> Result<Vec<SegmentPart>> {
        let client = self.client().await?;
        let real = format!(
            "select part, min(base), max(base + span + 1), sum(octet_length(data))::int8 \
             from kafka.log_{segment_id} group by part order by part"
        );
        match client.query(&real, &[]).await {
            Ok(rows) => Ok(rows.iter().map(segment_part).collect()),
            Err(error)
                if error.code() == Some(&tokio_postgres::error::SqlState::UNDEFINED_TABLE) =>
            {
                Err(Error::NotFound(format!("table kafka.log_{segment_id}")))
            }
            Err(error) => Err(error.into()),
        }
    }
}

fn segment_part(row: &Row) -> SegmentPart {
    SegmentPart {
        part: row.get(0),
        first_offset: row.get(1),
        end_offset: row.get(2),
        bytes: row.get(3),
    }
}
