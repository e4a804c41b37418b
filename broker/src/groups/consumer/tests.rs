//! The state machine stepped with a clock of its own: every rule by itself, then random interleavings.

mod migration;
mod random;
mod rules;

use std::sync::Arc;

use protocol::ErrorCode;
use uuid::Uuid;

use super::*;
use crate::config::Config;
use crate::groups::topics::TopicShape;

/// A cluster whose topics a test chooses: name and partitions, the ids counted from 1.
#[derive(Default)]
struct Cluster(Vec<(&'static str, i32)>);

impl Cluster {
    fn shape(&self, index: usize) -> TopicShape {
        let (name, partitions) = self.0[index];
        TopicShape {
            name: name.into(),
            topic_id: Uuid::from_u128(index as u128 + 1),
            key: i32::try_from(index).unwrap() + 1,
            partitions,
        }
    }
}

impl Topics for Cluster {
    fn by_name(&self, name: &str) -> Option<TopicShape> {
        let index = self.0.iter().position(|(known, _)| *known == name)?;
        Some(self.shape(index))
    }

    fn by_id(&self, topic_id: Uuid) -> Option<TopicShape> {
        let all = (0..self.0.len()).map(|index| self.shape(index));
        all.into_iter().find(|shape| shape.topic_id == topic_id)
    }

    fn names(&self) -> Vec<Arc<str>> {
        self.0.iter().map(|(name, _)| (*name).into()).collect()
    }
}

struct Bench {
    group: ConsumerGroup,
    cluster: Cluster,
    now: u64,
}

const SESSION_MS: u64 = 45_000;
const REBALANCE_MS: u64 = 60_000;

impl Bench {
    fn new(partitions: i32) -> Self {
        Self::with(partitions, &Config::default())
    }

    fn with(partitions: i32, config: &Config) -> Self {
        let config = Arc::new(GroupConfig::new(config));
        Self {
            group: ConsumerGroup::new("g".into(), config),
            cluster: Cluster(vec![("t", partitions)]),
            now: 1_000_000,
        }
    }

    fn send(&mut self, request: ConsumerHeartbeat) -> Result<HeartbeatAnswer, Failure> {
        request.check(&self.group.config)?;
        self.group.heartbeat(request, &self.cluster, self.now)
    }

    fn join(&mut self, member_id: &str) -> HeartbeatAnswer {
        self.send(joining(member_id)).unwrap()
    }

    fn pass(&mut self, ms: u64) {
        let end = self.now + ms;
        while let Some(at) = self.group.next_deadline().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            self.group.tick(&self.cluster, self.now);
        }
        self.now = end;
    }

    /// Whether the member may commit offsets of these partitions of topic 1.
    fn check_commit(
        &self,
        member_id: &str,
        epoch: i32,
        version: i16,
        partitions: &[i32],
    ) -> Result<(), ErrorCode> {
        let partitions: Vec<(i32, i32)> = partitions.iter().map(|p| (1, *p)).collect();
        let commit = CommitCheck {
            member: &member(member_id, epoch),
            partitions: &partitions,
        };
        self.group.check_commit(&commit, version, &self.cluster)
    }

    /// A heartbeat that says what the member owns.
    fn beat(
        &mut self,
        member_id: &str,
        epoch: i32,
        owned: &[i32],
    ) -> Result<HeartbeatAnswer, Failure> {
        let request = ConsumerHeartbeat {
            owned: Some(of(owned)),
            ..beating(member_id, epoch)
        };
        self.send(request)
    }
}

fn member(id: &str, epoch: i32) -> MemberRef {
    MemberRef {
        member_id: id.to_owned(),
        group_instance_id: None,
        epoch,
    }
}

/// These partitions of topic 1.
fn of(partitions: &[i32]) -> Partitions {
    if partitions.is_empty() {
        return Partitions::new();
    }
    [(Uuid::from_u128(1), partitions.iter().copied().collect())].into()
}

fn beating(member_id: &str, epoch: i32) -> ConsumerHeartbeat {
    ConsumerHeartbeat {
        client: Client {
            id: "c".to_owned(),
            host: "/127.0.0.1".to_owned(),
        },
        member_id: member_id.to_owned(),
        member_epoch: epoch,
        instance_id: None,
        rack_id: None,
        rebalance_timeout_ms: None,
        names: None,
        regex: None,
        assignor: None,
        owned: None,
    }
}

fn joining(member_id: &str) -> ConsumerHeartbeat {
    ConsumerHeartbeat {
        rebalance_timeout_ms: Some(REBALANCE_MS),
        names: Some(["t".to_owned()].into()),
        owned: Some(Partitions::new()),
        ..beating(member_id, 0)
    }
}

fn code<T: std::fmt::Debug>(result: Result<T, Failure>) -> ErrorCode {
    result.unwrap_err().code
}
