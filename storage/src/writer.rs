//! `LaneWriter`: puts one flush at a time into the lane's current segment, under the lane's fence.
//!
//! Each flush is one transaction that raises `flush_seq` of the lane's row and stores rows only if the row still had the
//! epoch of the lease and the expected `flush_seq`. After a lost connection the same flush is sent again: if it had been
//! committed, or is committed while we wait for the row, the update finds nothing and the row tells.

mod handover;

use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use futures_util::SinkExt;
use futures_util::future::{join, join4};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_postgres::{Client, CopyInSink, Statement};

use crate::chunks::{CopyMessage, Rows};
use crate::error::describe;
use crate::markers::ChangeStatements;
use crate::pool::{self, Connection};
use crate::segments::{self, OpenSegment};
use crate::transactions::FlushChanges;
use crate::{Error, LaneLease, Outcome, Result, Store};

/// Up to here one statement with arrays is faster; above, COPY.
const ONE_STATEMENT_BYTES: usize = 64 << 10;
/// Size of the messages the rows are sent in.
const COPY_MESSAGE_BYTES: usize = 256 << 10;
/// An attempt that takes longer is given up for a new connection.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(20);
/// How long the end of a writer waits for its last segment to be frozen, which only saves work later.
const CLOSE_PATIENCE: Duration = Duration::from_secs(5);
const BACKOFF_MIN: Duration = Duration::from_millis(5);
const BACKOFF_MAX: Duration = Duration::from_millis(500);

const FENCE: &str = "update kafka.lanes set flush_seq = flush_seq + 1, records = records + $4, heartbeat = now() \
     where lane_id = $1 and epoch = $2 and flush_seq = $3";
/// A session whose client is gone must not hold the lane's row for long.
const LANE_SESSION: &str = "set idle_in_transaction_session_timeout = '10s'; set tcp_keepalives_idle = 10; \
     set tcp_keepalives_interval = 5; set tcp_keepalives_count = 2";
/// Any row may be locked by SQL: those who wait for a flush are to hear of it soon.
const FLUSH_SESSION: &str = "set lock_timeout = 1000";
const SELF: &str =
    "select pid, backend_start::text from pg_stat_activity where pid = pg_backend_pid()";
/// A process number alone may have been used again.
const END_BACKEND: &str = "select pg_terminate_backend(pid) from pg_stat_activity where pid = $1 and backend_start::text = $2";

fn insert(segment_id: i32) -> String {
    format!(
        "with fence as ({FENCE} returning 1) \
         insert into kafka.log_{segment_id} (base, global_base, part, span, chunk, data) \
         select u.* from fence, unnest($5::int8[], $6::int8[], $7::int4[], $8::int4[], $9::int4[], $10::bytea[]) u"
    )
}

fn copy(segment_id: i32) -> String {
    format!(
        "copy kafka.log_{segment_id} (base, global_base, part, span, chunk, data) from stdin (format binary)"
    )
}

/// Consecutive record batches of one partition, as Kafka's own bytes: the unit of storage.
///
/// A run is read back whole, so callers cut at about 1 MiB between batches; a single larger batch is a run of its own.
#[derive(Debug, Clone)]
pub struct Run {
    /// Partition, as [`crate::PartitionRow::id`].
    pub part: i32,
    /// Offset of the first record.
    pub base_offset: i64,
    /// Last offset minus base offset.
    pub span: i32,
    /// The batches one after the other, in any number of pieces; not empty. They are cut into rows without being joined.
    pub data: Vec<Bytes>,
}

/// Appends to a lane over a connection of its own. One flush at a time: `flush` takes `&mut self`.
#[derive(Debug)]
pub struct LaneWriter {
    store: Store,
    lease: LaneLease,
    segment: OpenSegment,
    /// None after an error: the next attempt connects anew.
    link: Option<Link>,
    /// The session to end before a flush in doubt is sent again.
    former_session: Option<Session>,
    pending: Option<Pending>,
    /// A handover may have been committed.
    is_handing_over: bool,
    current: watch::Sender<i32>,
    next: watch::Receiver<i32>,
    keeper: JoinHandle<()>,
}

/// A flush whose end is not known. While it is there no other may be sent.
#[derive(Debug, PartialEq, Eq)]
struct Pending {
    runs: Vec<(i32, i64, i32, usize)>,
    changes: FlushChanges,
}

#[derive(Debug, Clone)]
struct Session {
    pid: i32,
    started: String,
}

#[derive(Debug)]
struct Link {
    connection: Connection,
    session: Session,
    fence: Statement,
    segment_id: i32,
    insert: Statement,
    copy: Statement,
    /// Prepared by the first flush that has changes of transactions.
    changes: Option<ChangeStatements>,
}

/// What one attempt came to.
enum Attempt {
    Committed,
    /// The lane's row was not as expected; nothing was stored by this attempt.
    Refused,
    /// A shard in the changes has another coordinator, or a marker is not due; nothing was stored by this attempt.
    NotCoordinator,
}

/// Why an attempt ended, and whether its commit may have been under way.
struct Failure {
    error: Error,
    in_doubt: bool,
}

impl Failure {
    fn before_commit(error: impl Into<Error>) -> Self {
        Self {
            error: error.into(),
            in_doubt: false,
        }
    }

    /// An answer of the server settles most cases; anything else leaves the commit open.
    fn at_commit(error: tokio_postgres::Error) -> Self {
        let error = match error.code() {
            Some(_) => Error::from(error),
            None => Error::unavailable(Outcome::Unknown, describe(&error)),
        };
        let in_doubt = matches!(
            error,
            Error::Unavailable {
                outcome: Outcome::Unknown,
                ..
            }
        );
        Self { error, in_doubt }
    }
}

impl Store {
    /// Opens the writer of a lane just claimed. `Fenced` if somebody else has claimed it since.
    pub async fn lane_writer(&self, lease: LaneLease) -> Result<LaneWriter> {
        let mut connection = pool::connect(&self.inner.connect).await?;
        lease.committed_flushes(&connection.client).await?;
        let segment = segments::current(&mut connection.client, &lease).await?;
        let link = Link::open(connection, segment.id).await?;
        let (current, current_seen) = watch::channel(segment.id);
        let (next_found, next) = watch::channel(segment.id);
        let keeper = tokio::spawn(segments::keep(
            self.clone(),
            lease.share(),
            current_seen,
            next_found,
        ));
        let store = self.clone();
        Ok(LaneWriter {
            store,
            lease,
            segment,
            link: Some(link),
            former_session: None,
            pending: None,
            is_handing_over: false,
            current,
            next,
            keeper,
        })
    }
}

impl LaneWriter {
    /// The lease this writer was opened with; `flush_seq` moves with every flush.
    #[must_use]
    pub fn lease(&self) -> &LaneLease {
        &self.lease
    }

    pub(crate) fn store(&self) -> &Store {
        &self.store
    }

    /// Stores all runs in one transaction and returns after its commit. No runs: nothing happens.
    ///
    /// While the database is away this waits and tries again until `deadline`; each flush is stored at most once
    /// whatever happens to the connection. Errors:
    /// * `Fenced`: the lane belongs to somebody else; the writer is of no further use.
    /// * `Unavailable`: the deadline passed. With [`Outcome::NotCommitted`] the caller is free. With
    ///   [`Outcome::Unknown`] the flush may be stored: call again with the *same* runs (any other are refused with
    ///   `Bug` and not stored) until it is settled, or claim the lane again and read the end offsets.
    ///
    /// A future dropped half-way leaves the writer as after `Unknown`.
    pub async fn flush(&mut self, runs: &[Run], deadline: Instant) -> Result<()> {
        self.flush_with(runs, &FlushChanges::default(), deadline)
            .await
    }

    /// As [`LaneWriter::flush`], with changes of transactions in the same transaction of the database: all of it is stored, or
    /// nothing. `NotCoordinator` if one of them is by the right of a shard that is lost, or a marker that was not due, `Locked` if one
    /// of its rows is locked by another session, `LaneLocked` if the lane's is: nothing was stored, the caller is free.
    pub async fn flush_with(
        &mut self,
        runs: &[Run],
        changes: &FlushChanges,
        deadline: Instant,
    ) -> Result<()> {
        let rows = Rows::cut(runs, self.lease.records);
        let asked = Pending::of(runs, changes)?;
        if runs.is_empty() && changes.is_empty() {
            return Ok(());
        }
        let mut in_doubt = match &self.pending {
            Some(pending) if *pending != asked => {
                return Err(Error::bug("flush", "another flush is still in doubt"));
            }
            pending => pending.is_some(),
        };
        if in_doubt {
            // The connection may be half-way through the attempt that was given up.
            self.retire_link();
        }
        // Until the end of this function is reached, this flush is in doubt: the future may be dropped at any await.
        self.pending = Some(asked);
        let flush = Flush {
            rows: &rows,
            changes,
        };
        let result = self.flush_until(&flush, &mut in_doubt, deadline).await;
        match &result {
            Ok(()) => {
                self.pending = None;
                self.lease.flush_seq += 1;
                self.lease.records += rows.records();
                self.segment.add(rows.table_bytes());
                self.roll_if_full();
            }
            // This attempt had the lane's row, so one that was in doubt before has ended without a commit.
            Err(Error::NotCoordinator | Error::Locked) => self.pending = None,
            Err(_) if !in_doubt => self.pending = None,
            Err(_) => {}
        }
        result
    }

    /// Ends the writer, and waits until its segments are left in order. Nothing is lost by dropping it instead.
    pub async fn close(self) {
        let Self {
            current, keeper, ..
        } = self;
        drop(current);
        if tokio::time::timeout(CLOSE_PATIENCE, keeper).await.is_err() {
            tracing::debug!("the last segment is still being frozen");
        }
    }

    async fn flush_until(
        &mut self,
        flush: &Flush<'_>,
        in_doubt: &mut bool,
        deadline: Instant,
    ) -> Result<()> {
        let mut backoff = BACKOFF_MIN;
        loop {
            let give_up = deadline.min(Instant::now() + ATTEMPT_TIMEOUT);
            let failure =
                match tokio::time::timeout_at(give_up, self.attempt(flush, *in_doubt)).await {
                    Ok(Ok(())) => return Ok(()),
                    Ok(Err(failure)) => failure,
                    Err(_) => Failure {
                        error: Error::unavailable(Outcome::Unknown, "no answer in time"),
                        in_doubt: true,
                    },
                };
            *in_doubt |= failure.in_doubt;
            self.former_session = self
                .link
                .take()
                .map(|link| link.session.clone())
                .or(self.former_session.take());
            match failure.error {
                // In doubt it may be locked by the former session of this flush.
                Error::Conflict(ref error) if !*in_doubt && Error::is_of_lock(error) => {
                    return Err(self.lease.locked());
                }
                Error::Conflict(_) | Error::Unavailable { .. } => {}
                // A server that comes back may refuse a login for a moment; give up at once only if nothing hangs on it.
                Error::Setup(_) if *in_doubt => {}
                error => return Err(error),
            }
            if Instant::now() + backoff >= deadline {
                let outcome = if *in_doubt {
                    Outcome::Unknown
                } else {
                    Outcome::NotCommitted
                };
                return Err(Error::unavailable(
                    outcome,
                    format!("flush not done in time: {}", failure.error),
                ));
            }
            tracing::debug!(
                lane_id = self.lease.lane_id,
                "flush tried again: {}",
                failure.error
            );
            tokio::time::sleep(backoff).await;
            backoff = (backoff * 2).min(BACKOFF_MAX);
        }
    }

    async fn attempt(&mut self, flush: &Flush<'_>, in_doubt: bool) -> Result<(), Failure> {
        if self.link.is_none() {
            let link = self
                .reconnect(in_doubt)
                .await
                .map_err(Failure::before_commit)?;
            self.link = Some(link);
        }
        let Some(link) = &mut self.link else {
            unreachable!("connected above")
        };
        if in_doubt
            && committed(&link.connection.client, &self.lease)
                .await
                .map_err(Failure::before_commit)?
        {
            return Ok(());
        }
        link.use_segment(self.segment.id)
            .await
            .map_err(Failure::before_commit)?;
        let is_small = flush.rows.payload_bytes() <= ONE_STATEMENT_BYTES;
        let done = match is_small && flush.changes.is_empty() {
            true => link.insert(&self.lease, flush.rows).await?,
            false => link.copy(&self.lease, flush).await?,
        };
        match done {
            Attempt::Committed => Ok(()),
            Attempt::NotCoordinator => Err(Failure::before_commit(Error::NotCoordinator)),
            // Ours if it was in doubt: the former session committed while this one waited for the row.
            Attempt::Refused if in_doubt => {
                match committed(&link.connection.client, &self.lease)
                    .await
                    .map_err(Failure::before_commit)?
                {
                    true => Ok(()),
                    false => Err(Failure::before_commit(self.lease.fenced())),
                }
            }
            Attempt::Refused => Err(Failure::before_commit(self.lease.fenced())),
        }
    }

    fn retire_link(&mut self) {
        if let Some(link) = self.link.take() {
            self.former_session = Some(link.session.clone());
        }
    }

    async fn reconnect(&mut self, in_doubt: bool) -> Result<Link> {
        let connection = pool::connect(&self.store.inner.connect).await?;
        if in_doubt && let Some(former) = &self.former_session {
            // Best effort: it may hang with the lane's row locked. What it has committed stays committed.
            let _ = connection
                .client
                .query(END_BACKEND, &[&former.pid, &former.started])
                .await;
        }
        Link::open(connection, self.segment.id).await
    }

    /// Goes on in the lane's next segment, so that what was flushed until now is soon sealed; nothing happens if there is
    /// nothing, or no segment yet to go on in.
    pub fn roll(&mut self) {
        let next = *self.next.borrow();
        // A flush in doubt is in this one, or will be.
        if self.pending.is_none() && self.segment.bytes > 0 && next > self.segment.id {
            self.segment = OpenSegment::empty(next);
            self.current.send_replace(next);
        }
    }

    fn roll_if_full(&mut self) {
        if self.segment.is_full(&self.store.inner.config) {
            self.roll();
        }
    }
}

/// What one flush stores.
struct Flush<'a> {
    rows: &'a Rows,
    changes: &'a FlushChanges,
}

impl Pending {
    fn of(runs: &[Run], changes: &FlushChanges) -> Result<Self> {
        let mut pending = Self {
            runs: Vec::with_capacity(runs.len()),
            changes: changes.clone(),
        };
        for run in runs {
            let bytes = run.data.iter().map(Bytes::len).sum();
            if bytes == 0 || run.span < 0 || run.base_offset < 0 {
                return Err(Error::bug(
                    "flush",
                    format!("not a run: part {} at {}", run.part, run.base_offset),
                ));
            }
            pending
                .runs
                .push((run.part, run.base_offset, run.span, bytes));
        }
        Ok(pending)
    }
}

/// Whether the flush after `lease.flush_seq` has been committed. A row that has gone back (a failover that lost commits) or
/// further on (a second writer with this lease) is nothing to build on.
async fn committed(client: &Client, lease: &LaneLease) -> Result<bool> {
    match lease.committed_flushes(client).await? - lease.flush_seq {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(lease.fenced()),
    }
}

impl Link {
    async fn open(connection: Connection, segment_id: i32) -> Result<Self> {
        let client = &connection.client;
        client.batch_execute(LANE_SESSION).await?;
        client.batch_execute(FLUSH_SESSION).await?;
        let row = client.query_one(SELF, &[]).await?;
        let session = Session {
            pid: row.get(0),
            started: row.get(1),
        };
        let fence = client.prepare(FENCE).await?;
        let insert = client.prepare(&insert(segment_id)).await?;
        let copy = client.prepare(&copy(segment_id)).await?;
        Ok(Self {
            connection,
            session,
            fence,
            segment_id,
            insert,
            copy,
            changes: None,
        })
    }

    async fn use_segment(&mut self, segment_id: i32) -> Result<()> {
        if self.segment_id != segment_id {
            self.insert = self.connection.client.prepare(&insert(segment_id)).await?;
            self.copy = self.connection.client.prepare(&copy(segment_id)).await?;
            self.segment_id = segment_id;
        }
        Ok(())
    }

    /// One statement, its own transaction.
    async fn insert(&self, lease: &LaneLease, rows: &Rows) -> Result<Attempt, Failure> {
        let columns = rows.columns();
        let inserted = self
            .connection
            .client
            .execute(
                &self.insert,
                &[
                    &lease.lane_id,
                    &lease.epoch,
                    &lease.flush_seq,
                    &rows.records(),
                    &columns.base,
                    &columns.global_base,
                    &columns.part,
                    &columns.span,
                    &columns.chunk,
                    &columns.data,
                ],
            )
            .await
            .map_err(Failure::at_commit)?;
        match inserted {
            0 => Ok(Attempt::Refused),
            _ => Ok(Attempt::Committed),
        }
    }

    /// Two round trips: the fence and the changes first, the rows and the commit after their answer.
    async fn copy(&mut self, lease: &LaneLease, flush: &Flush<'_>) -> Result<Attempt, Failure> {
        let rows = flush.rows;
        let client = &self.connection.client;
        if !flush.changes.is_empty() {
            let changes = ChangeStatements::prepare(client, flush.changes, self.changes.take());
            self.changes = Some(changes.await.map_err(Failure::before_commit)?);
        }
        let change = async {
            match &self.changes {
                Some(changes) if !flush.changes.is_empty() => {
                    changes.apply(client, flush.changes).await
                }
                _ => Ok(true),
            }
        };
        // Polled in order, so they are sent in order without waiting for each other.
        let (begun, fenced, changed, sink) = join4(
            client.batch_execute("begin"),
            client.execute(
                &self.fence,
                &[
                    &lease.lane_id,
                    &lease.epoch,
                    &lease.flush_seq,
                    &rows.records(),
                ],
            ),
            change,
            client.copy_in::<_, CopyMessage>(&self.copy),
        )
        .await;
        begun.map_err(Failure::before_commit)?;
        if fenced.map_err(Failure::before_commit)? == 0 {
            drop(sink);
            client
                .batch_execute("rollback")
                .await
                .map_err(Failure::before_commit)?;
            return Ok(Attempt::Refused);
        }
        let is_done = changed.map_err(|error| match Error::is_of_lock(&error) {
            true => Failure::before_commit(Error::Locked),
            false => Failure::before_commit(error),
        })?;
        if !is_done {
            drop(sink);
            client
                .batch_execute("rollback")
                .await
                .map_err(Failure::before_commit)?;
            return Ok(Attempt::NotCoordinator);
        }
        let mut sink = pin!(sink.map_err(Failure::before_commit)?);
        send(sink.as_mut(), rows)
            .await
            .map_err(Failure::before_commit)?;
        // A COPY that fails turns the commit behind it into a rollback.
        let (copied, committed) = join(sink.finish(), client.batch_execute("commit")).await;
        let copied = copied.map_err(Failure::at_commit)?;
        committed.map_err(Failure::at_commit)?;
        debug_assert_eq!(copied, rows.len() as u64);
        Ok(Attempt::Committed)
    }
}

async fn send(mut sink: std::pin::Pin<&mut CopyInSink<CopyMessage>>, rows: &Rows) -> Result<()> {
    for message in rows.copy_messages(COPY_MESSAGE_BYTES) {
        sink.feed(message).await?;
    }
    Ok(())
}
