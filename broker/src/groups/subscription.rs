//! What consumers of the classic protocol write into the metadata and assignments of their groups: Kafka's
//! ConsumerProtocolSubscription and ConsumerProtocolAssignment, each with its version in front.

use std::borrow::Cow;
use std::collections::BTreeMap;

use bytes::Bytes;
use protocol::Message;
use protocol::messages::consumer_protocol_assignment::TopicPartition as AssignedPartitions;
use protocol::messages::{ConsumerProtocolAssignment, ConsumerProtocolSubscription};
use protocol::wire::{Reader, Writer};

/// Partitions by topic name.
pub(crate) type Assignment = BTreeMap<String, Vec<i32>>;

/// What a member subscribes to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Subscription {
    pub(crate) version: i16,
    pub(crate) topics: Vec<String>,
    pub(crate) user_data: Option<Vec<u8>>,
    /// What it owns, where it says so (v1).
    pub(crate) owned: Assignment,
    pub(crate) generation_id: i32,
    pub(crate) rack_id: Option<String>,
}

/// Reads a message with its version in front; a later version is read as the last that is known.
fn read<'a, M: Message<'a>>(bytes: &'a [u8]) -> Option<(i16, M)> {
    let (version, body) = bytes.split_first_chunk()?;
    let version = i16::from_be_bytes(*version);
    let known = version.min(*M::VERSIONS.end());
    if known < *M::VERSIONS.start() {
        return None;
    }
    let mut message = M::default();
    message.read(&mut Reader::new(body), known).ok()?;
    Some((known, message))
}

fn write<'a, M: Message<'a>>(message: &M, version: i16) -> Bytes {
    let mut writer = Writer::new();
    writer.i16(version);
    match message.write(&mut writer, version) {
        Ok(()) => writer.finish_contiguous(),
        Err(error) => {
            tracing::error!(%error, "an assignment could not be written");
            Bytes::new()
        }
    }
}

impl Subscription {
    /// `None` if these are no subscription.
    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        let (version, message) = read::<ConsumerProtocolSubscription<'_>>(bytes)?;
        let owned = message.owned_partitions.iter().map(|topic| {
            let partitions = topic.partitions.iter().collect();
            (topic.topic.clone().into_owned(), partitions)
        });
        Some(Self {
            version,
            owned: owned.collect(),
            topics: message.topics.into_iter().map(Cow::into_owned).collect(),
            user_data: message.user_data.map(Cow::into_owned),
            generation_id: message.generation_id,
            rack_id: message.rack_id.map(Cow::into_owned),
        })
    }
}

/// `None` if these are no assignment. Nothing is an empty assignment.
pub(crate) fn read_assignment(bytes: &[u8]) -> Option<Assignment> {
    if bytes.is_empty() {
        return Some(Assignment::new());
    }
    let (_, message) = read::<ConsumerProtocolAssignment<'_>>(bytes)?;
    let topics = message.assigned_partitions.into_iter();
    let topics = topics.map(|topic| {
        let partitions = topic.partitions.iter().collect();
        (topic.topic.into_owned(), partitions)
    });
    Some(topics.collect())
}

/// An assignment in a version that a member of this version of subscriptions reads.
pub(crate) fn write_assignment(assignment: &Assignment, version: i16) -> Bytes {
    let topics = assignment
        .iter()
        .map(|(topic, partitions)| AssignedPartitions {
            topic: topic.as_str().into(),
            partitions: partitions.iter().copied().collect(),
            ..AssignedPartitions::default()
        });
    let message = ConsumerProtocolAssignment {
        assigned_partitions: topics.collect(),
        ..ConsumerProtocolAssignment::default()
    };
    let last = *ConsumerProtocolAssignment::VERSIONS.end();
    write(&message, version.clamp(0, last))
}

#[cfg(test)]
pub(crate) fn write_subscription(topics: &[&str], owned: &Assignment, version: i16) -> Bytes {
    use protocol::messages::consumer_protocol_subscription::TopicPartition;
    let owned = owned.iter().map(|(topic, partitions)| TopicPartition {
        topic: topic.as_str().into(),
        partitions: partitions.iter().copied().collect(),
        ..TopicPartition::default()
    });
    let message = ConsumerProtocolSubscription {
        topics: topics.iter().map(|topic| (*topic).into()).collect(),
        owned_partitions: owned.collect(),
        ..ConsumerProtocolSubscription::default()
    };
    write(&message, version)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subscriptions_and_assignments_are_read_as_written() {
        let assignment: Assignment =
            [("a".to_owned(), vec![0, 2]), ("b".to_owned(), vec![1])].into();
        for version in 0..=3 {
            let bytes = write_assignment(&assignment, version);
            assert_eq!(bytes[..2], version.to_be_bytes());
            assert_eq!(read_assignment(&bytes), Some(assignment.clone()));
        }
        let bytes = write_subscription(&["a", "b"], &assignment, 1);
        let read = Subscription::read(&bytes).unwrap();
        assert_eq!(
            (read.version, read.topics),
            (1, vec!["a".to_owned(), "b".to_owned()])
        );
        assert_eq!(read.owned, assignment);
        assert_eq!(read_assignment(b""), Some(Assignment::new()));
    }

    #[test]
    fn a_later_version_is_read_as_the_last_known_and_garbage_is_not_read() {
        let mut bytes = write_subscription(&["a"], &Assignment::new(), 3).to_vec();
        bytes[1] = 9;
        bytes.extend_from_slice(b"more");
        assert_eq!(Subscription::read(&bytes).unwrap().version, 3);
        for garbage in [&b""[..], b"\0", b"\xff\xff", b"\0\0\0\0\0\x09"] {
            assert_eq!(Subscription::read(garbage), None, "{garbage:?}");
        }
        assert_eq!(read_assignment(b"\0"), None);
    }
}
