//! The brokers of the cluster: their registration and heartbeats, what becomes of the lanes of those that died, and wishes to
//! move partitions. The database's clock alone says who lives.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio_postgres::types::ToSql;
use tokio_postgres::{Row, Transaction};
use uuid::Uuid;

use crate::pool::{self, Connection};
use crate::segments::{self, Weigh};
use crate::{Error, Outcome, Result, Store};

/// What a broker tells of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registration {
    /// Number of the broker and of its lane.
    pub node_id: i32,
    /// This start of it.
    pub incarnation: Uuid,
    /// Address for clients.
    pub host: String,
    /// Port for clients.
    pub port: u16,
    /// Rack or zone.
    pub rack: Option<String>,
    /// Silence after which it counts as dead.
    pub session_timeout: Duration,
}

/// A registered broker.
#[derive(Debug, Clone, PartialEq)]
pub struct BrokerRow {
    /// Number of the broker and of its lane.
    pub node_id: i32,
    /// This start of it.
    pub incarnation: Uuid,
    /// Raised by each start of a broker with this number.
    pub broker_epoch: i64,
    /// Address for clients.
    pub host: String,
    /// Port for clients.
    pub port: i32,
    /// Rack or zone.
    pub rack: Option<String>,
    /// Whether it is not yet ready to serve: nothing is handed to it.
    pub is_loading: bool,
    /// Whether it takes nothing more.
    pub is_stopping: bool,
    /// Whether its last heartbeat is young enough.
    pub is_alive: bool,
    /// Age of its last heartbeat in seconds.
    pub silent_seconds: f64,
}

/// A lane, and how many partitions are bound to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LaneLoad {
    /// The lane.
    pub lane_id: i32,
    /// Number of its partitions.
    pub partitions: i64,
}

/// What became of a lane without a living owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Takeover {
    /// Partitions that have another leader now.
    pub partitions: usize,
    /// The lanes they went to.
    pub lanes: Vec<i32>,
}

/// Sends heartbeats over a connection of its own, so that none waits for other work.
#[derive(Debug)]
pub struct Heart {
    store: Store,
    node_id: i32,
    incarnation: Uuid,
    connection: Option<Connection>,
}

impl Heart {
    /// Says that the broker lives; false if it is not in the cluster any more. `Unavailable` if the database did not answer
    /// within `patience`, `Conflict` if the broker's row stays locked by another session.
    pub async fn beat(&mut self, patience: Duration) -> Result<bool> {
        let connection = self.connection.take();
        let beating = async {
            let connection = match connection {
                Some(connection) => connection,
                None => {
                    let connection = pool::connect(&self.store.inner.connect).await?;
                    connection.client.batch_execute(HEART_SESSION).await?;
                    connection
                }
            };
            let own: [&(dyn ToSql + Sync); 2] = [&self.node_id, &self.incarnation];
            let rows = connection.client.execute(HEARTBEAT, &own).await?;
            Ok((rows == 1, connection))
        };
        let beaten: Result<(bool, Connection)> = match tokio::time::timeout(patience, beating).await
        {
            Ok(beaten) => beaten,
            Err(_) => Err(Error::unavailable(Outcome::Unknown, "no answer in time")),
        };
        let (is_in, connection) = beaten?;
        self.connection = Some(connection);
        Ok(is_in)
    }
}

/// True in a row of `kafka.brokers` that lives.
const ALIVE: &str = "heartbeat > clock_timestamp() - session_timeout_ms * interval '1 ms'";

const REGISTER: &str = "insert into kafka.brokers (node_id, incarnation, host, port, rack, release, session_timeout_ms) \
     values ($1, $2, $3, $4, $5, $6, $7) \
     on conflict (node_id) do update set incarnation = excluded.incarnation, broker_epoch = excluded.broker_epoch, \
         host = excluded.host, port = excluded.port, rack = excluded.rack, release = excluded.release, \
         session_timeout_ms = excluded.session_timeout_ms, is_loading = true, is_stopping = false, \
         started_at = clock_timestamp(), heartbeat = clock_timestamp() \
     returning broker_epoch";
/// A heartbeat that is lost with the server is missed by nobody. Without a limit each that waits for a locked row would leave a
/// session behind.
const HEART_SESSION: &str = "set synchronous_commit = off; set lock_timeout = 1000";
const HEARTBEAT: &str = "update kafka.brokers set heartbeat = clock_timestamp() where node_id = $1 and incarnation = $2";
const LOADED: &str =
    "update kafka.brokers set is_loading = false where node_id = $1 and incarnation = $2";
const STOPPING: &str =
    "update kafka.brokers set is_stopping = true where node_id = $1 and incarnation = $2";
const UNREGISTER: &str = "delete from kafka.brokers where node_id = $1 and incarnation = $2";
const LANE_LOADS: &str = "select n, (select count(*) from kafka.topic_partitions p where p.lane = n) \
     from kafka.brokers_to_lead() n order by n";
const REPLACED: &str = "select 1 from kafka.brokers where node_id = $1 and incarnation <> $2";
const TELL: &str = "select pg_notify('kafka_topics', 'leaders')";

/// Sessions carry the incarnation in their name, so that those of a broker that hangs let go of their locks.
const END_SESSIONS: &str =
    "select pg_terminate_backend(pid) from pg_stat_activity where application_name = $1";
/// Whatever is locked by SQL, whoever takes over has more to do than to wait for it.
const TAKEOVER_PATIENCE: &str = "set local lock_timeout = 2000";
const DEPOSE: &str = "insert into kafka.lanes as l (lane_id, epoch) values ($1, 1) \
     on conflict (lane_id) do update set epoch = l.epoch + 1, owner = null, node_id = null";
const ORPHANED_SHARDS: &str = "update kafka.group_shards set owner = null, node_id = null, epoch = epoch + 1 where owner = $1";
const PARTITIONS_OF: &str =
    "select id from kafka.topic_partitions where lane = $1 order by topic, partition for update";
const MOVE: &str = "update kafka.topic_partitions p set lane = u.lane, leader_epoch = p.leader_epoch + 1, wanted_lane = null \
     from unnest($1::int4[], $2::int4[]) u (id, lane) where p.id = u.id and p.lane = $3 and u.lane <> $3";
/// Its new lane looks after what a segment needs when it is sealed.
const ADOPT: &str =
    "update kafka.segments set lane_id = $2 where lane_id = $1 and state = 'sealed'";
const WISHES: &str = "select id, wanted_lane from kafka.topic_partitions \
     where lane = $1 and wanted_lane is not null order by id";
const ALL_WISHES: &str =
    "select id, wanted_lane from kafka.topic_partitions where wanted_lane is not null order by id";
const WISH: &str = "update kafka.topic_partitions p set wanted_lane = nullif(u.lane, p.lane) \
     from unnest($1::int4[], $2::int4[]) u (id, lane) where p.id = u.id";

/// The name that sessions of a broker have, see [`crate::DatabaseConfig::application_name`].
#[must_use]
pub fn session_name(incarnation: Uuid) -> String {
    format!("pg_kafka {incarnation}")
}

impl Store {
    /// Puts a broker into the cluster, as one that loads, and returns its epoch. A former one with the same number is out of it
    /// from now on.
    pub async fn register_broker(&self, broker: &Registration) -> Result<i64> {
        let client = self.client().await?;
        let timeout_ms = i64::try_from(broker.session_timeout.as_millis()).unwrap_or(i64::MAX);
        let row = client
            .query_one(
                REGISTER,
                &[
                    &broker.node_id,
                    &broker.incarnation,
                    &broker.host,
                    &i32::from(broker.port),
                    &broker.rack,
                    &env!("CARGO_PKG_VERSION"),
                    &timeout_ms,
                ],
            )
            .await?;
        client.query(TELL, &[]).await?;
        Ok(row.get(0))
    }

    /// What sends the heartbeats of a broker.
    #[must_use]
    pub fn heart(&self, node_id: i32, incarnation: Uuid) -> Heart {
        Heart {
            store: self.clone(),
            node_id,
            incarnation,
            connection: None,
        }
    }

    /// Says that a broker is ready to lead partitions.
    pub async fn note_loaded(&self, node_id: i32, incarnation: Uuid) -> Result<()> {
        let client = self.client().await?;
        client.execute(LOADED, &[&node_id, &incarnation]).await?;
        client.query(TELL, &[]).await?;
        Ok(())
    }

    /// Says that a broker takes nothing more.
    pub async fn note_stopping(&self, node_id: i32, incarnation: Uuid) -> Result<()> {
        let client = self.client().await?;
        client.execute(STOPPING, &[&node_id, &incarnation]).await?;
        client.query(TELL, &[]).await?;
        Ok(())
    }

    /// Takes a broker out of the cluster that has handed over what it led. `heir` looks after its sealed segments.
    pub async fn unregister_broker(
        &self,
        node_id: i32,
        incarnation: Uuid,
        heir: Option<i32>,
    ) -> Result<()> {
        let client = self.client().await?;
        let removed = client
            .execute(UNREGISTER, &[&node_id, &incarnation])
            .await?;
        if removed == 1
            && let Some(heir) = heir
        {
            client.execute(ADOPT, &[&node_id, &heir]).await?;
        }
        client.query(TELL, &[]).await?;
        Ok(())
    }

    /// Whether another broker with the same number has been started since.
    pub async fn is_replaced(&self, node_id: i32, incarnation: Uuid) -> Result<bool> {
        let client = self.client().await?;
        let row = client
            .query_opt(REPLACED, &[&node_id, &incarnation])
            .await?;
        Ok(row.is_some())
    }

    /// All registered brokers, by number.
    pub async fn brokers(&self) -> Result<Vec<BrokerRow>> {
        let brokers = format!(
            "select node_id, incarnation, broker_epoch, host, port, rack, is_loading, is_stopping, {ALIVE}, \
             extract(epoch from clock_timestamp() - heartbeat)::float8 from kafka.brokers order by node_id"
        );
        let client = self.client().await?;
        let statement = client.prepare_cached(&brokers).await?;
        let rows = client.query(&statement, &[]).await?;
        Ok(rows.iter().map(broker_row).collect())
    }

    /// Lanes with partitions, with sealed segments or with a dead broker, that no living broker owns.
    pub async fn orphaned_lanes(&self) -> Result<Vec<i32>> {
        let orphaned = format!(
            "select lane from (select lane from kafka.topic_partitions \
                     union select lane_id from kafka.segments where state = 'sealed') p \
                 where not exists (select from kafka.brokers b where b.node_id = p.lane and b.{ALIVE}) \
             union select node_id from kafka.brokers where not ({ALIVE}) order by 1"
        );
        let client = self.client().await?;
        let statement = client.prepare_cached(&orphaned).await?;
        let rows = client.query(&statement, &[]).await?;
        Ok(rows.iter().map(|row| row.get(0)).collect())
    }

    /// How many partitions each broker leads that may be given some, by lane.
    pub async fn lane_loads(&self) -> Result<Vec<LaneLoad>> {
        let client = self.client().await?;
        let statement = client.prepare_cached(LANE_LOADS).await?;
        let rows = client.query(&statement, &[]).await?;
        Ok(rows.iter().map(lane_load).collect())
    }

    /// Deposes the owner of a lane, if it is dead, and deals its partitions to the living. One transaction; of several
    /// brokers that try at once one succeeds. `None` if there was nothing to do: the owner lives, or nobody else does.
    ///
    /// Waits for a flush of the owner that is under way; every later one is `Fenced`. `Conflict` if rows that it needs stay locked by
    /// another session.
    pub async fn take_over_lane(&self, lane_id: i32) -> Result<Option<Takeover>> {
        // Sealing may take longer than a pooled connection allows a statement.
        let mut connection = pool::connect(&self.inner.connect).await?;
        let transaction = connection.client.transaction().await?;
        transaction.batch_execute(TAKEOVER_PATIENCE).await?;
        let owner =
            format!("select incarnation, {ALIVE} from kafka.brokers where node_id = $1 for update");
        let owner = transaction.query_opt(&owner, &[&lane_id]).await?;
        let dead: Option<Uuid> = match &owner {
            Some(row) if row.get::<_, bool>(1) => return Ok(None),
            Some(row) => Some(row.get(0)),
            None => None,
        };
        if let Some(incarnation) = dead {
            let name = session_name(incarnation);
            transaction.query(END_SESSIONS, &[&name]).await?;
        }
        transaction.execute(DEPOSE, &[&lane_id]).await?;
        let loads: Vec<LaneLoad> = transaction
            .query(LANE_LOADS, &[])
            .await?
            .iter()
            .map(lane_load)
            .collect();
        let Some(heir) = loads.first().map(|load| load.lane_id) else {
            return Ok(None);
        };
        if let Some(incarnation) = dead {
            transaction
                .execute(UNREGISTER, &[&lane_id, &incarnation])
                .await?;
            transaction
                .execute(ORPHANED_SHARDS, &[&incarnation])
                .await?;
        }
        segments::seal_all(&transaction, lane_id, Weigh::Later).await?;
        transaction.execute(ADOPT, &[&lane_id, &heir]).await?;
        let takeover = deal(&transaction, lane_id, loads).await?;
        transaction.query(TELL, &[]).await?;
        transaction.commit().await?;
        Ok(Some(takeover))
    }

    /// Partitions of a lane that are wanted in another: partition and lane.
    pub async fn wanted_moves(&self, lane_id: i32) -> Result<Vec<(i32, i32)>> {
        let client = self.client().await?;
        let rows = client.query(WISHES, &[&lane_id]).await?;
        Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
    }

    /// All partitions that are wanted in another lane than theirs: partition and lane.
    pub async fn all_wanted_moves(&self) -> Result<Vec<(i32, i32)>> {
        let client = self.client().await?;
        let rows = client.query(ALL_WISHES, &[]).await?;
        Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
    }

    /// Asks the owners of partitions to hand them to other lanes; the lane that a partition has takes a wish back.
    pub async fn want_moves(&self, moves: &[(i32, i32)]) -> Result<()> {
        let (parts, lanes): (Vec<i32>, Vec<i32>) = moves.iter().copied().unzip();
        let client = self.client().await?;
        client.execute(WISH, &[&parts, &lanes]).await?;
        client.query(TELL, &[]).await?;
        Ok(())
    }
}

/// Moves partitions from `lane_id` to the lanes that are named; those that are not there any more stay where they are.
pub(crate) async fn move_partitions(
    transaction: &Transaction<'_>,
    lane_id: i32,
    moves: &[(i32, i32)],
) -> Result<()> {
    let (parts, lanes): (Vec<i32>, Vec<i32>) = moves.iter().copied().unzip();
    transaction
        .execute(MOVE, &[&parts, &lanes, &lane_id])
        .await?;
    transaction.query(TELL, &[]).await?;
    Ok(())
}

async fn deal(
    transaction: &Transaction<'_>,
    lane_id: i32,
    loads: Vec<LaneLoad>,
) -> Result<Takeover> {
    let rows = transaction.query(PARTITIONS_OF, &[&lane_id]).await?;
    let mut loads: BTreeMap<i32, i64> = loads
        .into_iter()
        .map(|load| (load.lane_id, load.partitions))
        .collect();
    let mut moves = Vec::with_capacity(rows.len());
    for row in &rows {
        let least = loads.iter_mut().min_by_key(|(_, partitions)| **partitions);
        if let Some((lane, partitions)) = least {
            *partitions += 1;
            moves.push((row.get(0), *lane));
        }
    }
    move_partitions(transaction, lane_id, &moves).await?;
    Ok(Takeover {
        partitions: moves.len(),
        lanes: loads.into_keys().collect(),
    })
}

fn lane_load(row: &Row) -> LaneLoad {
    LaneLoad {
        lane_id: row.get(0),
        partitions: row.get(1),
    }
}

fn broker_row(row: &Row) -> BrokerRow {
    BrokerRow {
        node_id: row.get(0),
        incarnation: row.get(1),
        broker_epoch: row.get(2),
        host: row.get(3),
        port: row.get(4),
        rack: row.get(5),
        is_loading: row.get(6),
        is_stopping: row.get(7),
        is_alive: row.get(8),
        silent_seconds: row.get(9),
    }
}
