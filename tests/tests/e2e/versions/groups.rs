//! Every version of the APIs of groups: a member joins, commits, is described and leaves.

use protocol::messages::consumer_group_heartbeat_request::TopicPartitions;
use protocol::messages::describe_groups_response::DescribedGroup;
use protocol::messages::join_group_request::JoinGroupRequestProtocol;
use protocol::messages::leave_group_request::MemberIdentity;
use protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use protocol::messages::offset_delete_request::{
    OffsetDeleteRequestPartition, OffsetDeleteRequestTopic,
};
use protocol::messages::offset_fetch_request::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
};
use protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use protocol::messages::{
    ConsumerGroupDescribeRequest, ConsumerGroupDescribeResponse, ConsumerGroupHeartbeatRequest,
    ConsumerGroupHeartbeatResponse, DeleteGroupsRequest, DeleteGroupsResponse,
    DescribeGroupsRequest, DescribeGroupsResponse, FindCoordinatorRequest, FindCoordinatorResponse,
    HeartbeatRequest, HeartbeatResponse, JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest,
    LeaveGroupResponse, ListGroupsRequest, ListGroupsResponse, OffsetCommitRequest,
    OffsetCommitResponse, OffsetDeleteRequest, OffsetDeleteResponse, OffsetFetchRequest,
    OffsetFetchResponse, SyncGroupRequest, SyncGroupResponse,
};
use protocol::{ApiKey, ErrorCode};
use tests::fresh_topic;

use super::{Asker, each_version};

impl Asker {
    /// A member of a group of its own, in generation 1 with the assignment "mine".
    fn join(&mut self, version: i16) -> (String, String) {
        let group = fresh_topic("group");
        let mut request = JoinGroupRequest {
            group_id: group.clone().into(),
            session_timeout_ms: 60_000,
            rebalance_timeout_ms: if version == 0 { -1 } else { 60_000 },
            protocol_type: "consumer".into(),
            protocols: vec![JoinGroupRequestProtocol {
                name: "range".into(),
                metadata: b"m"[..].into(),
                ..JoinGroupRequestProtocol::default()
            }],
            ..JoinGroupRequest::default()
        };
        if version >= 4 {
            let answer = self.call(&request, version);
            let response: JoinGroupResponse<'_> = answer.read();
            assert_eq!(response.error_code, ErrorCode::MemberIdRequired as i16);
            request.member_id = response.member_id.into_owned().into();
        }
        let answer = self.call(&request, version);
        let joined: JoinGroupResponse<'_> = answer.read();
        assert_eq!((joined.error_code, joined.generation_id), (0, 1));
        assert_eq!(joined.protocol_name.as_deref(), Some("range"));
        assert_eq!(joined.leader, joined.member_id);
        assert_eq!(joined.members.len(), 1);
        assert_eq!(joined.members[0].metadata, &b"m"[..]);
        (group, joined.member_id.into_owned())
    }

    fn sync(&mut self, group: &str, member_id: &str, version: i16) {
        let request = SyncGroupRequest {
            group_id: group.into(),
            generation_id: 1,
            member_id: member_id.into(),
            protocol_type: (version >= 5).then(|| "consumer".into()),
            protocol_name: (version >= 5).then(|| "range".into()),
            assignments: vec![SyncGroupRequestAssignment {
                member_id: member_id.into(),
                assignment: b"mine"[..].into(),
                ..SyncGroupRequestAssignment::default()
            }],
            ..SyncGroupRequest::default()
        };
        let answer = self.call(&request, version);
        let synced: SyncGroupResponse<'_> = answer.read();
        assert_eq!(synced.error_code, 0);
        assert_eq!(synced.assignment, &b"mine"[..]);
    }

    fn commit(&mut self, group: &str, version: i16) {
        let request = OffsetCommitRequest {
            group_id: group.into(),
            topics: vec![OffsetCommitRequestTopic {
                name: self.topic.clone().into(),
                topic_id: self.id,
                partitions: [0, 7]
                    .map(|partition_index| OffsetCommitRequestPartition {
                        partition_index,
                        committed_offset: 41,
                        committed_metadata: Some("so far".into()),
                        ..OffsetCommitRequestPartition::default()
                    })
                    .into(),
                ..OffsetCommitRequestTopic::default()
            }],
            ..OffsetCommitRequest::default()
        };
        let answer = self.call(&request, version);
        let response: OffsetCommitResponse<'_> = answer.read();
        let codes: Vec<i16> = response.topics[0]
            .partitions
            .iter()
            .map(|partition| partition.error_code)
            .collect();
        assert_eq!(codes, [0, ErrorCode::UnknownTopicOrPartition as i16]);
    }
}

#[test]
fn find_coordinator() {
    each_version(ApiKey::FindCoordinator, |asker, version| {
        let request = FindCoordinatorRequest {
            key: if version < 4 { "g".into() } else { "".into() },
            key_type: i8::from(version > 0),
            coordinator_keys: if version < 4 {
                Vec::new()
            } else {
                vec!["g".into(), "h".into()]
            },
            ..FindCoordinatorRequest::default()
        };
        let answer = asker.call(&request, version);
        let response: FindCoordinatorResponse<'_> = answer.read();
        if version < 4 {
            assert_eq!((response.error_code, response.node_id), (0, 1));
            assert_eq!(response.host, "127.0.0.1");
        } else {
            let keys: Vec<&str> = response.coordinators.iter().map(|c| &*c.key).collect();
            assert_eq!(keys, ["g", "h"]);
            for found in &response.coordinators {
                assert_eq!((found.error_code, found.node_id), (0, 1));
            }
        }
    });
}

#[test]
fn join_group() {
    each_version(ApiKey::JoinGroup, |asker, version| {
        asker.join(version);
    });
}

#[test]
fn sync_group() {
    each_version(ApiKey::SyncGroup, |asker, version| {
        let (group, member_id) = asker.join(9);
        asker.sync(&group, &member_id, version);
    });
}

#[test]
fn heartbeat() {
    each_version(ApiKey::Heartbeat, |asker, version| {
        let (group, member_id) = asker.join(9);
        asker.sync(&group, &member_id, 5);
        for (generation_id, code) in [(1, ErrorCode::None), (0, ErrorCode::IllegalGeneration)] {
            let request = HeartbeatRequest {
                group_id: group.as_str().into(),
                generation_id,
                member_id: member_id.as_str().into(),
                ..HeartbeatRequest::default()
            };
            let answer = asker.call(&request, version);
            let response: HeartbeatResponse<'_> = answer.read();
            assert_eq!(response.error_code, code as i16);
        }
    });
}

#[test]
fn leave_group() {
    each_version(ApiKey::LeaveGroup, |asker, version| {
        let (group, member_id) = asker.join(9);
        let leave = |asker: &mut Asker| {
            let mut request = LeaveGroupRequest {
                group_id: group.as_str().into(),
                ..LeaveGroupRequest::default()
            };
            if version < 3 {
                request.member_id = member_id.as_str().into();
            } else {
                request.members = vec![MemberIdentity {
                    member_id: member_id.as_str().into(),
                    ..MemberIdentity::default()
                }];
            }
            let answer = asker.call(&request, version);
            let response: LeaveGroupResponse<'_> = answer.read();
            match response.members.first() {
                Some(member) => member.error_code,
                None => response.error_code,
            }
        };
        assert_eq!(leave(asker), 0);
        assert_eq!(leave(asker), ErrorCode::UnknownMemberId as i16);
    });
}

#[test]
fn describe_groups() {
    each_version(ApiKey::DescribeGroups, |asker, version| {
        let (group, member_id) = asker.join(9);
        asker.sync(&group, &member_id, 5);
        let request = DescribeGroupsRequest {
            groups: vec![group.as_str().into(), "no such group".into()],
            include_authorized_operations: version >= 3,
            ..DescribeGroupsRequest::default()
        };
        let answer = asker.call(&request, version);
        let response: DescribeGroupsResponse<'_> = answer.read();
        let described: &DescribedGroup<'_> = &response.groups[0];
        assert_eq!(
            (described.error_code, &*described.group_state),
            (0, "Stable")
        );
        assert_eq!(
            (&*described.protocol_type, &*described.protocol_data),
            ("consumer", "range")
        );
        let member = &described.members[0];
        assert_eq!(
            (&*member.member_id, &*member.client_id),
            (member_id.as_str(), "raw")
        );
        assert_eq!(member.client_host, "/127.0.0.1");
        assert_eq!(
            (&*member.member_metadata, &*member.member_assignment),
            (&b"m"[..], &b"mine"[..])
        );
        assert_eq!(described.authorized_operations != i32::MIN, version >= 3);
        let absent = &response.groups[1];
        let code = if version >= 6 {
            ErrorCode::GroupIdNotFound
        } else {
            ErrorCode::None
        };
        assert_eq!(
            (absent.error_code, &*absent.group_state),
            (code as i16, "Dead")
        );
    });
}

#[test]
fn list_groups() {
    each_version(ApiKey::ListGroups, |asker, version| {
        let (group, _) = asker.join(9);
        let other = fresh_topic("group");
        asker.commit(&other, 9);
        let request = ListGroupsRequest {
            states_filter: if version >= 4 {
                vec!["completingrebalance".into()]
            } else {
                Vec::new()
            },
            types_filter: if version >= 5 {
                vec!["Classic".into()]
            } else {
                Vec::new()
            },
            ..ListGroupsRequest::default()
        };
        let answer = asker.call(&request, version);
        let response: ListGroupsResponse<'_> = answer.read();
        assert_eq!(response.error_code, 0);
        let found = response
            .groups
            .iter()
            .find(|listed| listed.group_id == group);
        let found = found.expect("the group is listed");
        assert_eq!(found.protocol_type, "consumer");
        if version >= 4 {
            assert_eq!(found.group_state, "CompletingRebalance");
        }
        if version >= 5 {
            assert_eq!(found.group_type, "classic");
        }
        let has_other = response
            .groups
            .iter()
            .any(|listed| listed.group_id == other);
        assert_eq!(
            has_other,
            version < 4,
            "an empty group is not in that state"
        );
    });
}

#[test]
fn delete_groups() {
    each_version(ApiKey::DeleteGroups, |asker, version| {
        let (full, _) = asker.join(9);
        let empty = fresh_topic("group");
        asker.commit(&empty, 9);
        let request = DeleteGroupsRequest {
            groups_names: vec![full.into(), empty.clone().into(), "no such group".into()],
            ..DeleteGroupsRequest::default()
        };
        let answer = asker.call(&request, version);
        let response: DeleteGroupsResponse<'_> = answer.read();
        let codes: Vec<i16> = response.results.iter().map(|r| r.error_code).collect();
        let expected = [
            ErrorCode::NonEmptyGroup,
            ErrorCode::None,
            ErrorCode::GroupIdNotFound,
        ];
        assert_eq!(codes, expected.map(|code| code as i16));
    });
}

#[test]
fn offset_commit() {
    each_version(ApiKey::OffsetCommit, |asker, version| {
        let group = fresh_topic("group");
        asker.commit(&group, version);
        assert_eq!(fetch(asker, &group, 8, true), [(0, 41, 0)]);
    });
}

/// Partition, offset and error code of what a group has committed, all or partitions 0 and 7.
fn fetch(asker: &mut Asker, group: &str, version: i16, all: bool) -> Vec<(i32, i64, i16)> {
    let topics = || {
        vec![OffsetFetchRequestTopics {
            name: asker.topic.clone().into(),
            topic_id: asker.id,
            partition_indexes: vec![0, 7].into(),
            ..OffsetFetchRequestTopics::default()
        }]
    };
    let old_topics = || {
        vec![OffsetFetchRequestTopic {
            name: asker.topic.clone().into(),
            partition_indexes: vec![0, 7].into(),
            ..OffsetFetchRequestTopic::default()
        }]
    };
    let mut request = OffsetFetchRequest {
        require_stable: version >= 7,
        ..OffsetFetchRequest::default()
    };
    if version >= 8 {
        request.groups = vec![OffsetFetchRequestGroup {
            group_id: group.to_owned().into(),
            topics: (!all).then(topics),
            ..OffsetFetchRequestGroup::default()
        }];
    } else {
        request.group_id = group.to_owned().into();
        request.topics = (!all).then(old_topics);
    }
    let answer = asker.call(&request, version);
    let response: OffsetFetchResponse<'_> = answer.read();
    if version >= 8 {
        let group = &response.groups[0];
        assert_eq!(group.error_code, 0);
        let partitions = group.topics.iter().flat_map(|topic| &topic.partitions);
        let partitions = partitions.map(|p| (p.partition_index, p.committed_offset, p.error_code));
        return partitions.collect();
    }
    assert_eq!(response.error_code, 0);
    let partitions = response.topics.iter().flat_map(|topic| &topic.partitions);
    let partitions = partitions.map(|p| (p.partition_index, p.committed_offset, p.error_code));
    partitions.collect()
}

#[test]
fn offset_fetch() {
    each_version(ApiKey::OffsetFetch, |asker, version| {
        let group = fresh_topic("group");
        asker.commit(&group, 9);
        let absent = if version == 0 {
            ErrorCode::UnknownTopicOrPartition
        } else {
            ErrorCode::None
        };
        let expected = [(0, 41, 0), (7, -1, absent as i16)];
        assert_eq!(fetch(asker, &group, version, false), expected);
        if version >= 2 {
            assert_eq!(fetch(asker, &group, version, true), [(0, 41, 0)]);
            assert_eq!(fetch(asker, "no such group", version, true), []);
        }
    });
}

#[test]
fn offset_delete() {
    each_version(ApiKey::OffsetDelete, |asker, version| {
        let group = fresh_topic("group");
        asker.commit(&group, 9);
        let request = OffsetDeleteRequest {
            group_id: group.clone().into(),
            topics: vec![OffsetDeleteRequestTopic {
                name: asker.topic.clone().into(),
                partitions: [0, 7]
                    .map(|partition_index| OffsetDeleteRequestPartition {
                        partition_index,
                        ..OffsetDeleteRequestPartition::default()
                    })
                    .into(),
                ..OffsetDeleteRequestTopic::default()
            }],
            ..OffsetDeleteRequest::default()
        };
        let answer = asker.call(&request, version);
        let response: OffsetDeleteResponse<'_> = answer.read();
        assert_eq!(response.error_code, 0);
        let partitions = &response.topics[0].partitions;
        let codes: Vec<i16> = partitions.iter().map(|p| p.error_code).collect();
        assert_eq!(codes, [0, ErrorCode::UnknownTopicOrPartition as i16]);
        assert_eq!(fetch(asker, &group, 8, true), []);
    });
}

#[test]
fn consumer_group_heartbeat() {
    each_version(ApiKey::ConsumerGroupHeartbeat, |asker, version| {
        let group = fresh_topic("group");
        let beat = |asker: &mut Asker, member_id: &str, epoch: i32| {
            let is_joining = epoch == 0;
            let request = ConsumerGroupHeartbeatRequest {
                group_id: group.as_str().into(),
                member_id: member_id.to_owned().into(),
                member_epoch: epoch,
                rebalance_timeout_ms: if is_joining { 60_000 } else { -1 },
                subscribed_topic_names: is_joining.then(|| vec![asker.topic.clone().into()]),
                topic_partitions: is_joining.then(Vec::<TopicPartitions<'_>>::new),
                ..ConsumerGroupHeartbeatRequest::default()
            };
            let answer = asker.call(&request, version);
            let response: ConsumerGroupHeartbeatResponse<'_> = answer.read();
            let given = response
                .assignment
                .map(|given| given.topic_partitions.len());
            (
                response.error_code,
                response.member_id.map(|id| id.into_owned()),
                response.member_epoch,
                given,
            )
        };
        // v0 may leave the id to the broker.
        let (code, id, epoch, given) = beat(asker, if version == 0 { "" } else { "m" }, 0);
        assert_eq!((code, given), (0, Some(1)));
        let id = id.unwrap();
        assert!(!id.is_empty());
        assert_eq!(beat(asker, &id, epoch), (0, Some(id.clone()), epoch, None));
        let fenced = beat(asker, &id, epoch + 1).0;
        assert_eq!(fenced, ErrorCode::FencedMemberEpoch as i16);
        assert_eq!(beat(asker, &id, -1).0, 0);
        assert_eq!(beat(asker, &id, epoch).0, ErrorCode::UnknownMemberId as i16);
    });
}

#[test]
fn consumer_group_describe() {
    each_version(ApiKey::ConsumerGroupDescribe, |asker, version| {
        let group = fresh_topic("group");
        let join = ConsumerGroupHeartbeatRequest {
            group_id: group.as_str().into(),
            member_id: "m".into(),
            rebalance_timeout_ms: 60_000,
            subscribed_topic_names: Some(vec![asker.topic.clone().into()]),
            topic_partitions: Some(Vec::new()),
            ..ConsumerGroupHeartbeatRequest::default()
        };
        let answer = asker.call(&join, 1);
        assert_eq!(
            answer
                .read::<ConsumerGroupHeartbeatResponse<'_>>()
                .error_code,
            0
        );
        let (classic, _) = asker.join(9);
        let request = ConsumerGroupDescribeRequest {
            group_ids: vec![group.clone().into(), classic.into(), "no such group".into()],
            include_authorized_operations: true,
            ..ConsumerGroupDescribeRequest::default()
        };
        let answer = asker.call(&request, version);
        let response: ConsumerGroupDescribeResponse<'_> = answer.read();
        let described = &response.groups[0];
        assert_eq!(
            (described.error_code, &*described.group_state),
            (0, "Stable")
        );
        assert_eq!(&*described.assignor_name, "uniform");
        assert_eq!(described.group_epoch, described.assignment_epoch);
        let member = &described.members[0];
        assert_eq!(
            (&*member.member_id, member.member_epoch),
            ("m", described.group_epoch)
        );
        for assignment in [&member.assignment, &member.target_assignment] {
            let topic = &assignment.topic_partitions[0];
            assert_eq!(
                (&*topic.topic_name, topic.partitions.len()),
                (&*asker.topic, 1)
            );
        }
        assert_eq!(member.member_type, if version >= 1 { 1 } else { -1 });
        for absent in &response.groups[1..] {
            assert_eq!(absent.error_code, ErrorCode::GroupIdNotFound as i16);
        }
    });
}
