//! Answers to odd requests, as Apache Kafka 4.4.0 gives them.

use std::time::Duration;

use protocol::ErrorCode;
use protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use protocol::messages::offset_delete_request::{
    OffsetDeleteRequestPartition, OffsetDeleteRequestTopic,
};
use protocol::messages::offset_fetch_request::OffsetFetchRequestGroup;
use protocol::messages::{
    ConsumerGroupDescribeRequest, ConsumerGroupDescribeResponse, ConsumerGroupHeartbeatRequest,
    ConsumerGroupHeartbeatResponse, OffsetCommitRequest, OffsetCommitResponse, OffsetDeleteRequest,
    OffsetDeleteResponse, OffsetFetchRequest, OffsetFetchResponse,
};
use tests::wire::Connection;
use tests::{Broker, fresh_topic, wait_for};

use super::restarts::join;

const NONE: i16 = 0;
const UNKNOWN_TOPIC: i16 = ErrorCode::UnknownTopicOrPartition as i16;
const TOO_LARGE: i16 = ErrorCode::OffsetMetadataTooLarge as i16;
const INVALID_GROUP_ID: i16 = ErrorCode::InvalidGroupId as i16;
const SUBSCRIBED: i16 = ErrorCode::GroupSubscribedToTopic as i16;
const UNKNOWN_MEMBER: i16 = ErrorCode::UnknownMemberId as i16;

/// A connection, and a topic of two partitions.
fn start() -> (Connection, String) {
    let mut connection = Connection::open(&Broker::shared());
    let topic = fresh_topic("answers");
    connection.create_topic(&topic, 2);
    (connection, topic)
}

/// Commits from outside of the group, with these texts in partitions 0 and on; error codes by topic.
fn commit(c: &mut Connection, group: &str, topics: &[(&str, &[&str])]) -> Vec<Vec<i16>> {
    let topics = topics.iter().map(|(name, texts)| OffsetCommitRequestTopic {
        name: (*name).into(),
        partitions: (0..)
            .zip(*texts)
            .map(|(partition_index, text)| OffsetCommitRequestPartition {
                partition_index,
                committed_offset: 7,
                committed_metadata: Some((*text).into()),
                ..OffsetCommitRequestPartition::default()
            })
            .collect(),
        ..OffsetCommitRequestTopic::default()
    });
    let request = OffsetCommitRequest {
        group_id: group.into(),
        topics: topics.collect(),
        ..OffsetCommitRequest::default()
    };
    let answer = c.call(&request, 9);
    let response: OffsetCommitResponse<'_> = answer.read();
    let topics = response.topics.iter();
    topics
        .map(|topic| topic.partitions.iter().map(|p| p.error_code).collect())
        .collect()
}

/// The error of all, and those of the partitions.
fn delete_offsets(c: &mut Connection, group: &str, topics: &[(&str, &[i32])]) -> (i16, Vec<i16>) {
    let topics = topics.iter().map(|(name, indexes)| {
        let partitions = indexes.iter().map(|index| OffsetDeleteRequestPartition {
            partition_index: *index,
            ..OffsetDeleteRequestPartition::default()
        });
        OffsetDeleteRequestTopic {
            name: (*name).into(),
            partitions: partitions.collect(),
            ..OffsetDeleteRequestTopic::default()
        }
    });
    let request = OffsetDeleteRequest {
        group_id: group.into(),
        topics: topics.collect(),
        ..OffsetDeleteRequest::default()
    };
    let answer = c.call(&request, 0);
    let response: OffsetDeleteResponse<'_> = answer.read();
    assert!(response.topics.iter().all(|t| !t.partitions.is_empty()));
    let partitions = response.topics.iter().flat_map(|topic| &topic.partitions);
    let codes = partitions.map(|partition| partition.error_code).collect();
    (response.error_code, codes)
}

/// State, group epoch and assignment epoch, where there is no error.
fn describe(c: &mut Connection, group: &str) -> Result<(String, i32, i32), i16> {
    let request = ConsumerGroupDescribeRequest {
        group_ids: vec![group.into()],
        ..ConsumerGroupDescribeRequest::default()
    };
    let answer = c.call(&request, 1);
    let response: ConsumerGroupDescribeResponse<'_> = answer.read();
    let group = &response.groups[0];
    match group.error_code {
        NONE => Ok((
            group.group_state.clone().into_owned(),
            group.group_epoch,
            group.assignment_epoch,
        )),
        code => Err(code),
    }
}

/// A member of the new protocol that joins.
fn joining<'a>(
    group: &'a str,
    member: &'a str,
    topic: &'a str,
) -> ConsumerGroupHeartbeatRequest<'a> {
    ConsumerGroupHeartbeatRequest {
        group_id: group.into(),
        member_id: member.into(),
        rebalance_timeout_ms: 60_000,
        subscribed_topic_names: Some(vec![topic.into()]),
        topic_partitions: Some(Vec::new()),
        ..ConsumerGroupHeartbeatRequest::default()
    }
}

/// Error code, message and member epoch.
fn beat(
    c: &mut Connection,
    request: &ConsumerGroupHeartbeatRequest<'_>,
    version: i16,
) -> (i16, Option<String>, i32) {
    let answer = c.call(request, version);
    let response: ConsumerGroupHeartbeatResponse<'_> = answer.read();
    let message = response.error_message.map(|text| text.into_owned());
    (response.error_code, message, response.member_epoch)
}

/// Waits until the group of this member is stable; its epoch then.
fn settle(c: &mut Connection, member: &ConsumerGroupHeartbeatRequest<'_>) -> i32 {
    let mut member = member.clone();
    wait_for("a stable group", Duration::from_secs(60), || {
        let (code, text, epoch) = beat(c, &member, 1);
        assert_eq!(code, NONE, "{text:?}");
        member.member_epoch = epoch;
        (describe(c, &member.group_id).ok()?.0 == "Stable").then_some(epoch)
    })
}

#[test]
fn a_group_whose_members_have_left_lets_offsets_be_deleted() {
    let (mut c, topic) = start();
    let group = fresh_topic("group");
    let mut request = joining(&group, "m", &topic);
    assert_eq!(beat(&mut c, &request, 1).0, NONE);
    let all: &[(&str, &[i32])] = &[(&topic, &[0, 9])];
    let refused = (NONE, vec![SUBSCRIBED, UNKNOWN_TOPIC]);
    let mut deleted = delete_offsets(&mut c, &group, all);
    deleted.1.sort_unstable_by_key(|code| -code);
    assert_eq!(deleted, refused);
    request.member_epoch = -1;
    assert_eq!(beat(&mut c, &request, 1).0, NONE);
    assert_eq!(commit(&mut c, &group, &[(&topic, &["", ""])]), [[NONE; 2]]);
    let both: &[(&str, &[i32])] = &[(&topic, &[0, 1])];
    assert_eq!(delete_offsets(&mut c, &group, both), (NONE, vec![NONE; 2]));
    let (state, epoch, assigned) = describe(&mut c, &group).unwrap();
    assert_eq!((&*state, assigned), ("Empty", epoch));
}

#[test]
fn members_that_do_not_say_what_they_read_keep_all_offsets() {
    let (mut c, topic) = start();
    let group = fresh_topic("group");
    // Its metadata is no subscription.
    join(&mut c, &group);
    let topics: &[(&str, &[i32])] = &[(&topic, &[0]), ("no such topic", &[0])];
    let (error, mut codes) = delete_offsets(&mut c, &group, topics);
    codes.sort_unstable();
    assert_eq!((error, codes), (NONE, vec![UNKNOWN_TOPIC, SUBSCRIBED]));
}

#[test]
fn topics_without_partitions_and_groups_without_a_name() {
    let (mut c, topic) = start();
    let group = fresh_topic("group");
    let topics: &[(&str, &[&str])] = &[(&topic, &[]), ("no such topic", &[])];
    let none: [i16; 0] = [];
    assert_eq!(
        commit(&mut c, &group, topics),
        [none],
        "that of the unknown topic"
    );
    assert_eq!(commit(&mut c, &group, &[(&topic, &["", ""])]), [[NONE; 2]]);
    let nothing: &[(&str, &[i32])] = &[(&topic, &[])];
    assert_eq!(delete_offsets(&mut c, &group, nothing), (NONE, vec![]));
    let some: &[(&str, &[i32])] = &[(&topic, &[0])];
    assert_eq!(delete_offsets(&mut c, "", some), (INVALID_GROUP_ID, vec![]));
    assert_eq!(describe(&mut c, ""), Err(INVALID_GROUP_ID));
}

#[test]
fn the_length_of_metadata_is_counted_as_java_counts() {
    let (mut c, topic) = start();
    let group = fresh_topic("group");
    let [two_bytes, a_pair] = ["é", "😀"].map(|text| text.repeat(4096));
    let codes = commit(&mut c, &group, &[(&topic, &[&two_bytes, &a_pair])]);
    assert_eq!(codes, [[NONE, TOO_LARGE]]);
    let codes = commit(
        &mut c,
        &group,
        &[(&topic, &[&a_pair[..8192], &(two_bytes + "x")])],
    );
    assert_eq!(codes, [[NONE, TOO_LARGE]]);
}

#[test]
fn blank_texts_in_heartbeats_are_none() {
    let (mut c, topic) = start();
    let group = fresh_topic("group");
    let valid = joining(&group, "m", &topic);
    let mut refused = |version, request: ConsumerGroupHeartbeatRequest<'_>| {
        let (code, message, _) = beat(&mut c, &request, version);
        assert_eq!(code, ErrorCode::InvalidRequest as i16, "{message:?}");
        message.unwrap()
    };
    let request = ConsumerGroupHeartbeatRequest {
        group_id: " ".into(),
        ..valid.clone()
    };
    assert_eq!(refused(0, request), "GroupId can't be empty.");
    let request = ConsumerGroupHeartbeatRequest {
        member_id: " ".into(),
        ..valid.clone()
    };
    assert_eq!(refused(1, request), "MemberId can't be empty.");
    let request = ConsumerGroupHeartbeatRequest {
        instance_id: Some(" ".into()),
        ..valid.clone()
    };
    assert_eq!(refused(1, request), "InstanceId can't be empty.");
    let request = ConsumerGroupHeartbeatRequest {
        rack_id: Some(" ".into()),
        ..valid.clone()
    };
    assert_eq!(refused(1, request), "RackId can't be empty.");
    let request = ConsumerGroupHeartbeatRequest {
        member_id: "".into(),
        member_epoch: -2,
        ..valid
    };
    assert_eq!(refused(0, request), "InstanceId can't be null.");
}

#[test]
fn a_static_member_that_is_away_and_one_that_takes_its_name() {
    let (mut c, topic) = start();
    let group = fresh_topic("group");
    let member = |id: &'static str, member_epoch| ConsumerGroupHeartbeatRequest {
        instance_id: Some("i".into()),
        member_epoch,
        ..joining(&group, id, &topic)
    };
    let (code, _, epoch) = beat(&mut c, &member("one", 0), 1);
    assert_eq!(code, NONE);
    let (code, text, _) = beat(&mut c, &member("two", 0), 1);
    assert_eq!(code, ErrorCode::UnreleasedInstanceId as i16);
    let expected = "Static member two with instance id i cannot join the group because the instance id is owned by one member.";
    assert_eq!(text.as_deref(), Some(expected));
    let (code, text, _) = beat(&mut c, &member("two", epoch), 1);
    assert_eq!(code, ErrorCode::FencedInstanceId as i16);
    let expected = "Static member two with instance id i was fenced by member one.";
    assert_eq!(text.as_deref(), Some(expected));
    let epoch = settle(&mut c, &member("one", epoch));
    assert_eq!(beat(&mut c, &member("one", -2), 1).0, NONE);
    assert_eq!(describe(&mut c, &group).unwrap().0, "Reconciling");
    assert_eq!(beat(&mut c, &member("two", 0), 1).2, epoch, "no rebalance");
    settle(&mut c, &member("two", epoch));
}

#[test]
fn a_member_without_a_name_may_not_ask_for_offsets() {
    let (mut c, topic) = start();
    let group = fresh_topic("group");
    assert_eq!(beat(&mut c, &joining(&group, "m", &topic), 1).0, NONE);
    for (member_id, code) in [(None, NONE), (Some(""), UNKNOWN_MEMBER)] {
        let request = OffsetFetchRequest {
            groups: vec![OffsetFetchRequestGroup {
                group_id: group.as_str().into(),
                member_id: member_id.map(Into::into),
                topics: None,
                ..OffsetFetchRequestGroup::default()
            }],
            ..OffsetFetchRequest::default()
        };
        let answer = c.call(&request, 9);
        let response: OffsetFetchResponse<'_> = answer.read();
        assert_eq!(response.groups[0].error_code, code, "{member_id:?}");
    }
}
