//! The state machine stepped with a clock of its own: every rule by itself, then random interleavings.

mod members;
mod random;
mod rebalances;

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use protocol::ErrorCode;
use uuid::Uuid;

use super::*;
use crate::config::Config;
use crate::groups::messages::{JoinRequest, Leaving, MemberRef, SyncRequest};
use crate::groups::topics::{TopicShape, Topics};

/// A cluster with topic `t` of four partitions.
struct Cluster;

impl Topics for Cluster {
    fn by_name(&self, name: &str) -> Option<TopicShape> {
        (name == "t").then(|| TopicShape {
            key: 1,
            name: "t".into(),
            topic_id: Uuid::from_u128(1),
            partitions: 4,
        })
    }

    fn by_id(&self, topic_id: Uuid) -> Option<TopicShape> {
        self.by_name("t").filter(|topic| topic.topic_id == topic_id)
    }

    fn names(&self) -> Vec<Arc<str>> {
        vec!["t".into()]
    }
}

/// A group, its clock, and every answer it gave.
struct Bench {
    group: ClassicGroup,
    now: u64,
    next: Ticket,
    joins: BTreeMap<Ticket, JoinAnswer>,
    syncs: BTreeMap<Ticket, SyncAnswer>,
}

const SESSION_MS: u64 = 10_000;
const REBALANCE_MS: u64 = 30_000;
const DELAY_MS: u64 = 3_000;

fn config() -> Config {
    Config::default()
}

impl Bench {
    fn new() -> Self {
        Self::with(&config())
    }

    fn with(config: &Config) -> Self {
        let config = Arc::new(GroupConfig::new(config));
        Self {
            group: ClassicGroup::new("g".into(), config),
            now: 1_000_000,
            next: 0,
            joins: BTreeMap::new(),
            syncs: BTreeMap::new(),
        }
    }

    fn take(&mut self, out: Answers) {
        for (ticket, answer) in out.joins {
            let before = self.joins.insert(ticket, answer);
            assert_eq!(before, None, "answered twice");
        }
        for (ticket, answer) in out.syncs {
            let before = self.syncs.insert(ticket, answer);
            assert_eq!(before, None, "answered twice");
        }
    }

    fn join_with(&mut self, request: JoinRequest) -> Ticket {
        self.next += 1;
        let mut out = Answers::default();
        self.group.join(self.next, request, self.now, &mut out);
        self.take(out);
        self.next
    }

    fn join(&mut self, member_id: &str) -> Ticket {
        self.join_with(request(member_id))
    }

    /// Joins by a client named `name` and gets an id first, as clients do.
    fn join_fresh(&mut self, name: &str) -> (Ticket, String) {
        let mut first = request("");
        first.client.id = name.to_owned();
        first.unique = format!("{}", self.next);
        let asked = self.join_with(first);
        let answer = self.joins.get(&asked).unwrap().clone();
        assert_eq!(answer.error, ErrorCode::MemberIdRequired);
        (self.join(&answer.member_id), answer.member_id)
    }

    fn sync(&mut self, member_id: &str, assignments: &[(&str, &str)]) -> Ticket {
        let epoch = self.group.generation_id;
        self.sync_at(epoch, member_id, assignments)
    }

    fn sync_at(&mut self, epoch: i32, member_id: &str, assignments: &[(&str, &str)]) -> Ticket {
        self.next += 1;
        let assignments = assignments
            .iter()
            .map(|(id, bytes)| ((*id).to_owned(), Bytes::copy_from_slice(bytes.as_bytes())));
        let request = SyncRequest {
            member: member(member_id, epoch),
            protocol_type: None,
            protocol_name: None,
            assignments: assignments.collect(),
        };
        let mut out = Answers::default();
        let ticket = self.next;
        self.group
            .sync(ticket, request, &Cluster, self.now, &mut out);
        self.take(out);
        ticket
    }

    /// Lets time pass, as far as there is anything to do at its own time.
    fn pass(&mut self, ms: u64) {
        let end = self.now + ms;
        while let Some(at) = self.group.next_deadline().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            let mut out = Answers::default();
            self.group.tick(self.now, &mut out);
            self.take(out);
        }
        self.now = end;
    }

    fn heartbeat(&mut self, member_id: &str) -> Result<(), ErrorCode> {
        let epoch = self.group.generation_id;
        self.group.heartbeat(&member(member_id, epoch), self.now)
    }

    fn leave(&mut self, member_id: &str) -> Result<(), ErrorCode> {
        self.leave_as(member_id, None)
    }

    fn leave_as(&mut self, member_id: &str, instance: Option<&str>) -> Result<(), ErrorCode> {
        let leaving = Leaving {
            member_id: member_id.to_owned(),
            group_instance_id: instance.map(str::to_owned),
            reason: None,
        };
        let mut out = Answers::default();
        let results = self.group.leave(&[leaving], self.now, &mut out);
        self.take(out);
        results[0]
    }

    /// A stable group of so many members, the leader first.
    fn stable(&mut self, count: usize) -> Vec<String> {
        let joined: Vec<_> = (0..count).map(|_| self.join_fresh("c")).collect();
        self.pass(2 * DELAY_MS);
        let leader = joined[0].1.clone();
        self.join_all_sync(&joined, &leader);
        joined.into_iter().map(|(_, id)| id).collect()
    }

    fn join_all_sync(&mut self, joined: &[(Ticket, String)], leader: &str) {
        let assignments: Vec<(&str, &str)> = joined
            .iter()
            .map(|(_, id)| (id.as_str(), id.as_str()))
            .collect();
        self.sync(leader, &assignments);
        for (_, id) in joined.iter().filter(|(_, id)| id != leader) {
            let ticket = self.sync(id, &[]);
            assert_eq!(self.syncs[&ticket].assignment, id.as_bytes());
        }
        assert_eq!(self.group.state(), ClassicState::Stable);
    }

    fn restarted(&mut self) {
        let change = self.group.take_change().expect("something to store");
        let storage::GroupChange::State { group, members, .. } = change else {
            panic!("{change:?}");
        };
        let config = self.group.config.clone();
        self.group = ClassicGroup::restore(*group, members, config, self.now).unwrap();
    }
}

fn member(member_id: &str, epoch: i32) -> MemberRef {
    MemberRef {
        member_id: member_id.to_owned(),
        group_instance_id: None,
        epoch,
    }
}

fn protocols(names: &[&str]) -> Vec<Protocol> {
    let protocol = |name: &&str| Protocol {
        name: (*name).to_owned(),
        metadata: Bytes::copy_from_slice(format!("m-{name}").as_bytes()),
    };
    names.iter().map(protocol).collect()
}

fn request(member_id: &str) -> JoinRequest {
    JoinRequest {
        client: Client {
            id: "c".to_owned(),
            host: "/127.0.0.1".to_owned(),
        },
        session_timeout_ms: i32::try_from(SESSION_MS).unwrap(),
        rebalance_timeout_ms: i32::try_from(REBALANCE_MS).unwrap(),
        member_id: member_id.to_owned(),
        unique: "u".to_owned(),
        group_instance_id: None,
        protocol_type: CONSUMER.to_owned(),
        protocols: protocols(&["range"]),
        requires_known_member_id: true,
        can_skip_assignment: true,
        reason: None,
    }
}

fn static_request(instance: &str, unique: &str) -> JoinRequest {
    JoinRequest {
        group_instance_id: Some(instance.to_owned()),
        unique: unique.to_owned(),
        ..request("")
    }
}
