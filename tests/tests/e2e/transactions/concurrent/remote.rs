//! A client of brokers that come and go: it finds who leads and who coordinates, and repeats what got no answer. What is asked is not
//! known here.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::time::Duration;

use protocol::messages::metadata_request::MetadataRequestTopic;
use protocol::messages::{
    FindCoordinatorRequest, FindCoordinatorResponse, MetadataRequest, MetadataResponse,
};
use protocol::{ErrorCode, Request};
use tests::wait_for;
use tests::wire::{Answer, Connection};

use super::super::{NONE, is_passing};

/// How long brokers may be away altogether.
const PATIENCE: Duration = Duration::from_secs(120);
/// One that takes longer for an answer is away.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);

/// What kind of key a coordinator is asked for.
pub(super) const GROUP: i8 = 0;
pub(super) const TRANSACTION: i8 = 1;

/// Connections to the brokers at these ports, as far as there are any.
pub(super) struct Remote<'a> {
    ports: &'a [u16],
    open: HashMap<u16, Connection>,
    /// Who is asked for the way.
    guide: usize,
}

impl<'a> Remote<'a> {
    pub(super) fn new(ports: &'a [u16]) -> Self {
        Self {
            ports,
            open: HashMap::new(),
            guide: 0,
        }
    }

    fn connected(&mut self, port: u16) -> Option<&mut Connection> {
        match self.open.entry(port) {
            Entry::Occupied(open) => Some(open.into_mut()),
            Entry::Vacant(place) => {
                Some(place.insert(Connection::try_to_port(port, ANSWER_LIMIT).ok()?))
            }
        }
    }

    /// One attempt.
    pub(super) fn call<'r, R: Request<'r>>(
        &mut self,
        port: u16,
        request: &R,
        version: i16,
    ) -> Option<Answer> {
        let answer = self.connected(port)?.try_call(request, version);
        if answer.is_err() {
            self.open.remove(&port);
        }
        answer.ok()
    }

    /// Sends a request, and does not want to know what comes of it.
    pub(super) fn send_and_forget<'r, R: Request<'r>>(
        &mut self,
        port: u16,
        request: &R,
        version: i16,
    ) {
        // In its own connection, whose end nobody waits for.
        if let Ok(mut connection) = Connection::try_to_port(port, ANSWER_LIMIT) {
            let _ = connection.try_send(request, version);
        }
    }

    fn ask_the_way<'r, R: Request<'r>>(&mut self, request: &R, version: i16) -> Option<Answer> {
        let port = self.ports[self.guide % self.ports.len()];
        let answer = self.call(port, request, version);
        if answer.is_none() {
            self.guide += 1;
        }
        answer
    }

    /// The port of a partition's leader.
    pub(super) fn leader(&mut self, topic: &str, partition: i32) -> Option<u16> {
        let request = MetadataRequest {
            topics: Some(vec![MetadataRequestTopic {
                name: Some(topic.into()),
                ..MetadataRequestTopic::default()
            }]),
            ..MetadataRequest::default()
        };
        let answer = self.ask_the_way(&request, 9)?;
        let response: MetadataResponse<'_> = answer.read();
        let mut partitions = response.topics.iter().flat_map(|topic| &topic.partitions);
        let found = partitions.find(|found| found.partition_index == partition)?;
        let mut brokers = response.brokers.iter();
        let leader = brokers.find(|broker| broker.node_id == found.leader_id)?;
        u16::try_from(leader.port).ok()
    }

    /// The port of who coordinates a group or a transactional id.
    pub(super) fn coordinator(&mut self, key: &str, key_type: i8) -> Option<u16> {
        let request = FindCoordinatorRequest {
            key_type,
            coordinator_keys: vec![key.into()],
            ..FindCoordinatorRequest::default()
        };
        let answer = self.ask_the_way(&request, 4)?;
        let found: FindCoordinatorResponse<'_> = answer.read();
        let found = &found.coordinators[0];
        let port = u16::try_from(found.port).ok()?;
        (found.error_code == NONE).then_some(port)
    }

    /// Repeats a step until it has an answer that is more than that somebody is away or busy.
    pub(super) fn insist(
        &mut self,
        what: &str,
        mut step: impl FnMut(&mut Self) -> Option<i16>,
    ) -> i16 {
        wait_for(what, PATIENCE, || {
            let code = step(self).filter(|code| !is_away(*code));
            if code.is_none() {
                self.guide += 1;
            }
            code
        })
    }
}

/// What clients wait out.
pub(super) fn is_away(code: i16) -> bool {
    let more = [
        ErrorCode::KafkaStorageError,
        ErrorCode::RequestTimedOut,
        // By a broker that has not heard of the new topic yet.
        ErrorCode::UnknownTopicOrPartition,
    ];
    is_passing(code) || more.iter().any(|away| *away as i16 == code)
}
