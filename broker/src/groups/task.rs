//! The task that owns a group: loads it, steps it with requests and time, writes what changed, then lets the answers go.

use std::collections::{BTreeSet, HashMap};
use std::ops::ControlFlow;
use std::sync::{Arc, Weak};
use std::time::Duration;

use protocol::ErrorCode;
use storage::{GroupChange, GroupWrite, OffsetWrite, ShardLease};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Groups;
use super::config::GroupConfig;
use super::consumer::{ConsumerDescription, ConsumerHeartbeat, HeartbeatAnswer};
use super::group::{Group, Machine, Moment};
use super::messages::{
    Answers, CommitCheck, Description, JoinAnswer, JoinRequest, Leaving, MemberRef, SyncAnswer,
    SyncRequest, Ticket,
};
use super::summary::Place;
use super::writes::Written;
use crate::error::Failure;
use crate::settings::Snapshot;

/// A group that nobody uses is forgotten after this time; it is loaded again when it is asked.
const IDLE: Duration = Duration::from_secs(30);

/// Where an answer goes. Dropped without one: the group could not be asked.
pub(crate) type Reply<T> = oneshot::Sender<T>;

/// A commit of offsets.
#[derive(Debug)]
pub(crate) struct Commit {
    pub(crate) member: MemberRef,
    /// Of OffsetCommit.
    pub(crate) api_version: i16,
    pub(crate) offsets: Vec<OffsetWrite>,
}

/// What a group can be asked. Where the answer is an option, none says that there is no such group.
#[derive(Debug)]
pub(crate) enum Event {
    Join(JoinRequest, Reply<JoinAnswer>),
    Sync(SyncRequest, Reply<SyncAnswer>),
    Heartbeat(MemberRef, Reply<Result<(), ErrorCode>>),
    ConsumerHeartbeat(ConsumerHeartbeat, Reply<Result<HeartbeatAnswer, Failure>>),
    Leave(Vec<Leaving>, Reply<Option<Vec<Result<(), ErrorCode>>>>),
    Commit(Commit, Reply<Result<(), ErrorCode>>),
    /// Whether a member may commit offsets of these partitions, by topic key and number, in a transaction, in this version of
    /// TxnOffsetCommit.
    CheckTxnCommit(
        MemberRef,
        Vec<(i32, i32)>,
        i16,
        Reply<Result<(), ErrorCode>>,
    ),
    /// Whether a member may ask for the group's offsets.
    CheckFetch(MemberRef, Reply<Result<(), ErrorCode>>),
    /// Removes offsets of partitions, by topic name, topic key and partition; a result for each.
    DeleteOffsets(
        Vec<(String, i32, i32)>,
        Reply<Result<Vec<Result<(), ErrorCode>>, ErrorCode>>,
    ),
    Delete(Reply<Result<(), ErrorCode>>),
    /// Of a classic group; the inner error says that it is of the other type.
    Describe(Reply<Option<Result<Description, ErrorCode>>>),
    /// Of a group of the new protocol.
    DescribeConsumer(Reply<Option<Result<ConsumerDescription, ErrorCode>>>),
    /// The topics that members are subscribed to, of a stable group whose old offsets may be forgotten.
    Subscribed(Reply<Option<BTreeSet<String>>>),
}

/// Something to be done when what the step changed is written.
type Delivery = Box<dyn FnOnce() + Send>;

/// By what right a task owns its group.
#[derive(Debug)]
pub(super) struct Right {
    pub(super) lease: ShardLease,
    /// Cancelled when the right is given up.
    pub(super) resigning: CancellationToken,
}

/// Why a task ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Unused,
    /// It could not be loaded or written.
    Broken,
    /// Another broker is to coordinate the group.
    Resigned,
}

#[derive(Debug)]
struct Task {
    right: Right,
    groups: Arc<Groups>,
    group_id: Arc<str>,
    group: Group,
    /// Of the settings that the group goes by.
    snapshot: Weak<Snapshot>,
    /// Where the group's state is shown.
    summary: Place,
    next_ticket: Ticket,
    joins: HashMap<Ticket, Reply<JoinAnswer>>,
    syncs: HashMap<Ticket, Reply<SyncAnswer>>,
}

/// Owns the group until nobody uses it any more, or it cannot be loaded or written.
pub(super) async fn run(
    groups: Arc<Groups>,
    group_id: Arc<str>,
    right: Right,
    summary: Place,
    mut events: mpsc::Receiver<Event>,
) {
    let snapshot = groups.settings.snapshot();
    let config = Arc::new(GroupConfig::of(&snapshot, &group_id));
    let loaded = load(&groups, &group_id, config).await;
    let end = match loaded {
        Ok(group) => {
            let mut task = Task {
                right,
                groups: groups.clone(),
                group_id: group_id.clone(),
                group,
                snapshot: Arc::downgrade(&snapshot),
                summary,
                next_ticket: 0,
                joins: HashMap::new(),
                syncs: HashMap::new(),
            };
            task.serve(&mut events).await
        }
        Err(reason) => {
            tracing::warn!(group = &*group_id, reason, "a group could not be loaded");
            match right.resigning.is_cancelled() {
                true => End::Resigned,
                false => End::Broken,
            }
        }
    };
    match end {
        // Who waits is told that another broker coordinates.
        End::Resigned => return,
        End::Broken => {
            groups.tasks().remove(&group_id);
            groups.restore_later(group_id);
            return;
        }
        End::Unused => {}
    }
    // What came in the meantime goes to the next task.
    events.close();
    while let Some(event) = events.recv().await {
        groups.send(&group_id, event).await;
    }
}

async fn load(
    groups: &Groups,
    group_id: &Arc<str>,
    config: Arc<GroupConfig>,
) -> Result<Group, String> {
    let stored = groups.store.load_group(group_id).await;
    match stored.map_err(|error| error.to_string())? {
        None => Ok(Group::none(group_id.clone(), config)),
        Some((row, members)) => Group::restore(row, members, config, groups.now_ms()),
    }
}

impl Task {
    async fn serve(&mut self, events: &mut mpsc::Receiver<Event>) -> End {
        let mut idle_since = Instant::now();
        loop {
            let wake_at = self.wake_at(idle_since);
            let event = tokio::select! {
                biased;
                () = self.right.resigning.cancelled() => return End::Resigned,
                event = events.recv() => event,
                () = tokio::time::sleep_until(wake_at) => None,
            };
            let is_request = event.is_some();
            if is_request {
                idle_since = Instant::now();
            }
            if self.step(event).await.is_break() {
                return match self.right.resigning.is_cancelled() {
                    true => End::Resigned,
                    false => End::Broken,
                };
            }
            let is_over = match self.group.machine() {
                Machine::None => true,
                Machine::Classic(_) | Machine::Consumer(_) => {
                    self.group.is_unused() && !is_request && idle_since.elapsed() >= IDLE
                }
            };
            if !is_request && !is_over {
                idle_since = Instant::now();
            }
            if is_over {
                let mut tasks = self.groups.tasks();
                if events.is_empty() {
                    // After a resignation the task there is another one.
                    if !self.right.resigning.is_cancelled() {
                        tasks.remove(&self.group_id);
                    }
                    return End::Unused;
                }
            }
        }
    }

    fn wake_at(&self, idle_since: Instant) -> Instant {
        let deadline = self.group.next_deadline();
        deadline.map_or(idle_since + IDLE, |at| {
            self.groups.started + Duration::from_millis(at)
        })
    }

    /// One event, or what time brings. Breaks when the outcome could not be written.
    async fn step(&mut self, event: Option<Event>) -> ControlFlow<()> {
        self.configure();
        let now = self.groups.now_ms();
        let mut out = Answers::default();
        let mut deliveries: Vec<Delivery> = Vec::new();
        match event {
            None => self.group.tick(Moment {
                topics: &*self.groups.catalog,
                now,
                out: &mut out,
            }),
            Some(Event::Commit(commit, reply)) => return self.commit(commit, reply, now).await,
            Some(Event::Delete(reply)) => return self.delete(reply).await,
            Some(Event::DeleteOffsets(partitions, reply)) => {
                return self.delete_offsets(partitions, reply).await;
            }
            Some(event) => self.handle(event, now, &mut out, &mut deliveries),
        }
        self.group.tidy();
        let change = self.group.take_change();
        if let Some(change) = change {
            self.write(change).await?;
        }
        self.summary.show(self.group.summary());
        for (ticket, answer) in out.joins {
            if let Some(reply) = self.joins.remove(&ticket) {
                let _ = reply.send(answer);
            }
        }
        for (ticket, answer) in out.syncs {
            if let Some(reply) = self.syncs.remove(&ticket) {
                let _ = reply.send(answer);
            }
        }
        deliveries.into_iter().for_each(|deliver| deliver());
        ControlFlow::Continue(())
    }

    /// Takes up settings that have changed.
    fn configure(&mut self) {
        let snapshot = self.groups.settings.snapshot();
        if !std::ptr::eq(self.snapshot.as_ptr(), Arc::as_ptr(&snapshot)) {
            let config = GroupConfig::of(&snapshot, &self.group_id);
            self.group.configure(Arc::new(config));
            self.snapshot = Arc::downgrade(&snapshot);
        }
    }

    async fn write(&self, change: GroupChange) -> ControlFlow<()> {
        match self.groups.writes.write(self.to_write(change)).await {
            Ok(()) => ControlFlow::Continue(()),
            Err(code) => {
                tracing::warn!(
                    group = &*self.group_id,
                    code = code.name(),
                    "a group could not be written; it is taken up again as it is stored"
                );
                ControlFlow::Break(())
            }
        }
    }

    fn to_write(&self, change: GroupChange) -> GroupWrite {
        GroupWrite {
            group_id: self.group_id.to_string(),
            lease: self.right.lease,
            change,
        }
    }

    fn handle(
        &mut self,
        event: Event,
        now: u64,
        out: &mut Answers,
        deliveries: &mut Vec<Delivery>,
    ) {
        let topics = self.groups.catalog.clone();
        let ticket = self.ticket();
        let group = &mut self.group;
        let moment = Moment {
            topics: &*topics,
            now,
            out,
        };
        match event {
            Event::Join(request, reply) => {
                self.joins.insert(ticket, reply);
                group.join(ticket, request, moment);
            }
            Event::Sync(request, reply) => {
                self.syncs.insert(ticket, reply);
                group.sync(ticket, request, moment);
            }
            Event::Heartbeat(member, reply) => {
                deliver(deliveries, reply, group.heartbeat(&member, moment));
            }
            Event::ConsumerHeartbeat(request, reply) => {
                deliver(deliveries, reply, group.consumer_heartbeat(request, moment));
            }
            Event::Leave(members, reply) => {
                deliver(deliveries, reply, group.leave(&members, moment));
            }
            Event::CheckTxnCommit(member, partitions, version, reply) => {
                let commit = CommitCheck {
                    member: &member,
                    partitions: &partitions,
                };
                let checked = group.check_txn_commit(&commit, version, &*topics, now);
                deliver(deliveries, reply, checked);
            }
            Event::CheckFetch(member, reply) => {
                deliver(deliveries, reply, group.check_fetch(&member));
            }
            Event::Describe(reply) => deliver(deliveries, reply, group.describe()),
            Event::DescribeConsumer(reply) => {
                deliver(deliveries, reply, group.describe_consumer());
            }
            Event::Subscribed(reply) => deliver(deliveries, reply, group.kept(&*topics)),
            Event::Commit(..) | Event::Delete(_) | Event::DeleteOffsets(..) => {}
        }
    }

    fn ticket(&mut self) -> Ticket {
        self.next_ticket += 1;
        self.next_ticket
    }

    /// Checked here, then written without keeping the group waiting: the queue keeps the order.
    async fn commit(&mut self, commit: Commit, reply: Reply<Written>, now: u64) -> ControlFlow<()> {
        let partitions = commit.offsets.iter();
        let partitions: Vec<(i32, i32)> = partitions
            .map(|offset| (offset.topic, offset.partition))
            .collect();
        let check = CommitCheck {
            member: &commit.member,
            partitions: &partitions,
        };
        let topics = &*self.groups.catalog;
        let checked = self
            .group
            .check_commit(&check, commit.api_version, topics, now);
        self.summary.show(self.group.summary());
        if checked.is_err() || commit.offsets.is_empty() {
            let _ = reply.send(checked);
            return ControlFlow::Continue(());
        }
        let write = self.to_write(GroupChange::Offsets(commit.offsets));
        self.groups.writes.queue(write, reply).await;
        ControlFlow::Continue(())
    }

    async fn delete(&mut self, reply: Reply<Result<(), ErrorCode>>) -> ControlFlow<()> {
        let checked = self.group.check_delete();
        if checked.is_ok() {
            self.write(GroupChange::Delete).await?;
            self.group.note_deleted();
            self.summary.show(None);
            tracing::info!(group = &*self.group_id, "deleted");
        }
        let _ = reply.send(checked);
        ControlFlow::Continue(())
    }

    async fn delete_offsets(
        &mut self,
        partitions: Vec<(String, i32, i32)>,
        reply: Reply<Result<Vec<Result<(), ErrorCode>>, ErrorCode>>,
    ) -> ControlFlow<()> {
        let subscribed = self.group.subscribed(&*self.groups.catalog);
        let subscribed = match subscribed {
            Ok(subscribed) => subscribed,
            Err(code) => {
                let _ = reply.send(Err(code));
                return ControlFlow::Continue(());
            }
        };
        let is_free = |name: &str| {
            let subscribed = subscribed.as_ref();
            subscribed.is_some_and(|topics| !topics.contains(name))
        };
        let results = partitions.iter().map(|(name, _, _)| {
            if is_free(name) {
                Ok(())
            } else {
                Err(ErrorCode::GroupSubscribedToTopic)
            }
        });
        let results = results.collect();
        let free = partitions.iter().filter(|(name, _, _)| is_free(name));
        let free: Vec<(i32, i32)> = free
            .map(|(_, topic, partition)| (*topic, *partition))
            .collect();
        if !free.is_empty() {
            let change = GroupChange::DeleteOffsets(free);
            let outcome = self.groups.writes.write(self.to_write(change)).await;
            if let Err(code) = outcome {
                let _ = reply.send(Err(code));
                return ControlFlow::Continue(());
            }
        }
        let _ = reply.send(Ok(results));
        ControlFlow::Continue(())
    }
}

fn deliver<T: Send + 'static>(deliveries: &mut Vec<Delivery>, reply: Reply<T>, answer: T) {
    deliveries.push(Box::new(move || {
        // The client may have gone.
        let _ = reply.send(answer);
    }));
}
