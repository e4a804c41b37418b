//! Values that a version cannot carry, and bytes that are no message: each with its exact error.

use protocol::messages::metadata_request::MetadataRequestTopic;
use protocol::messages::{
    ApiVersionsRequest, ApiVersionsResponse, ConsumerGroupHeartbeatResponse, FetchRequest,
    MetadataRequest, OffsetFetchRequest, ProduceResponse,
};
use protocol::wire::{Reader, Writer};
use protocol::{DecodeError, DecodeErrorKind, Message};

fn encode<'a>(message: &impl Message<'a>, version: i16) -> Result<Vec<u8>, String> {
    let mut writer = Writer::new();
    match message.encode(&mut writer, version) {
        Ok(()) => Ok(writer.finish_contiguous().to_vec()),
        Err(error) => Err(error.to_string()),
    }
}

fn decode<'a, M: Message<'a>>(bytes: &'a [u8], version: i16) -> Result<M, DecodeError> {
    M::decode(&mut Reader::new(bytes), version)
}

/// The error of reading `bytes`, which must not be a message.
fn fault<'a, M: Message<'a> + std::fmt::Debug>(bytes: &'a [u8], version: i16) -> String {
    decode::<M>(bytes, version)
        .expect_err("this is no message")
        .to_string()
}

#[test]
fn a_value_the_version_cannot_carry_is_refused() {
    let request = MetadataRequest {
        allow_auto_topic_creation: false,
        ..MetadataRequest::default()
    };
    assert_eq!(
        encode(&request, 3).unwrap_err(),
        "MetadataRequest version 3: AllowAutoTopicCreation: is set, but does not exist in this version"
    );
    encode(&request, 4).unwrap();
}

#[test]
fn a_value_that_may_be_dropped_is_dropped() {
    let request = FetchRequest {
        session_id: 7,
        ..FetchRequest::default()
    };
    let without = FetchRequest::default();
    assert_eq!(encode(&request, 6), encode(&without, 6));
    assert_ne!(encode(&request, 7), encode(&without, 7));
}

#[test]
fn null_is_refused_where_the_version_knows_none() {
    let request = MetadataRequest {
        topics: None,
        ..MetadataRequest::default()
    };
    assert_eq!(
        encode(&request, 0).unwrap_err(),
        "MetadataRequest version 0: Topics: is null, but this version allows none"
    );
    assert_eq!(encode(&request, 1).unwrap(), [0xff; 4]);
    assert_eq!(
        fault::<MetadataRequest>(&[0xff; 4], 0),
        "a null stands where none is allowed at byte 0"
    );
    assert_eq!(
        decode::<MetadataRequest>(&[0xff; 4], 1).unwrap().topics,
        None
    );
}

#[test]
fn null_in_an_element_names_its_struct() {
    let topic = MetadataRequestTopic {
        name: None,
        ..MetadataRequestTopic::default()
    };
    let request = MetadataRequest {
        topics: Some(vec![topic]),
        ..MetadataRequest::default()
    };
    assert_eq!(
        encode(&request, 9).unwrap_err(),
        "MetadataRequest version 9: MetadataRequestTopic.Name: is null, but this version allows none"
    );
    encode(&request, 10).unwrap();
}

#[test]
fn a_string_of_more_than_32767_bytes_is_refused() {
    let name = "x".repeat(32_768);
    let mut request = ApiVersionsRequest {
        client_software_name: name.as_str().into(),
        client_software_version: "1".into(),
        ..ApiVersionsRequest::default()
    };
    assert_eq!(
        encode(&request, 3).unwrap_err(),
        "ApiVersionsRequest version 3: ClientSoftwareName: is longer than 32767 bytes"
    );
    request.client_software_name = name[1..].into();
    let bytes = encode(&request, 3).unwrap();
    assert_eq!(decode::<ApiVersionsRequest>(&bytes, 3).unwrap(), request);
}

#[test]
fn unknown_tags_need_a_flexible_version_and_a_free_tag() {
    let mut request = FetchRequest::default();
    request.unknown_tags.insert(0, b"x".as_slice());
    assert_eq!(
        encode(&request, 11).unwrap_err(),
        "FetchRequest version 11: unknown_tags: unknown tagged fields cannot be written in a version without \
         tagged fields"
    );
    assert_eq!(
        encode(&request, 12).unwrap_err(),
        "FetchRequest version 12: ClusterId: an unknown tagged field has the tag of this field"
    );
}

#[test]
fn a_tag_of_another_version_is_kept_as_unknown() {
    let mut request = FetchRequest {
        max_wait_ms: 500,
        ..FetchRequest::default()
    };
    request.unknown_tags.insert(1, b"later".as_slice());
    let bytes = encode(&request, 14).unwrap();
    let read: FetchRequest<'_> = decode(&bytes, 14).unwrap();
    assert_eq!(read.unknown_tags.get(1), Some(b"later".as_slice()));
    assert_eq!(encode(&read, 14).unwrap(), bytes);
}

#[test]
fn a_known_tag_must_fill_its_size() {
    // ApiVersionsResponse 3: no error, no keys, no throttling, tag 1 (the epoch, 8 bytes) with a size of 9, then of 7.
    let mut body = vec![0, 0, 1, 0, 0, 0, 0, 1, 1, 9];
    body.extend([0; 9]);
    assert_eq!(
        fault::<ApiVersionsResponse>(&body, 3),
        "a tagged field does not fill its announced size at byte 18"
    );
    body[9] = 7;
    body.truncate(17);
    let error = decode::<ApiVersionsResponse>(&body, 3).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the message ends inside a field at byte 10"
    );
}

#[test]
fn of_a_tag_that_comes_twice_the_last_one_counts() {
    let body = [
        0, 0, 1, 0, 0, 0, 0, 2, 1, 8, 0, 0, 0, 0, 0, 0, 0, 1, 1, 8, 0, 0, 0, 0, 0, 0, 0, 2,
    ];
    let read: ApiVersionsResponse<'_> = decode(&body, 3).unwrap();
    assert_eq!(read.finalized_features_epoch, 2);
}

#[test]
fn counts_are_bounded_by_the_bytes_that_are_left() {
    // Two thousand million topics in four bytes, and as many as an uvarint can say.
    assert_eq!(
        fault::<MetadataRequest>(&[0x7f, 0xff, 0xff, 0xff], 1),
        "more elements are announced than the remaining bytes can hold at byte 0"
    );
    assert_eq!(
        fault::<MetadataRequest>(&[0xff, 0xff, 0xff, 0xff, 0x0f, 0, 0], 12),
        "more elements are announced than the remaining bytes can hold at byte 0"
    );
}

#[test]
fn elements_are_charged_to_the_budget_before_they_are_allocated() {
    // Each empty name takes two bytes on the wire and many times that in memory.
    let count = 1000;
    let mut body = vec![0, 0, 0x03, 0xe8];
    body.resize(body.len() + 2 * count, 0);
    let cost = size_of::<MetadataRequestTopic<'_>>() * count;
    let decode = |budget| MetadataRequest::decode(&mut Reader::with_budget(&body, budget), 1);
    assert_eq!(
        decode(cost - 1).unwrap_err().kind,
        DecodeErrorKind::OverBudget
    );
    assert_eq!(decode(cost).unwrap().topics.unwrap().len(), count);
}

#[test]
fn a_marker_of_a_nullable_struct_is_null_or_present() {
    let mut response = ConsumerGroupHeartbeatResponse::default();
    let absent = encode(&response, 0).unwrap();
    response.assignment = Some(Default::default());
    let present = encode(&response, 0).unwrap();
    let marker = absent
        .iter()
        .zip(&present)
        .position(|(absent, present)| absent != present)
        .unwrap();
    assert_eq!((absent[marker], present[marker]), (0xff, 1));
    assert!(
        decode::<ConsumerGroupHeartbeatResponse>(&present, 0)
            .unwrap()
            .assignment
            .is_some()
    );
    let mut wrong = absent;
    wrong[marker] = 0;
    assert_eq!(
        fault::<ConsumerGroupHeartbeatResponse>(&wrong, 0),
        format!("the marker of a nullable struct is neither null nor present at byte {marker}")
    );
}

#[test]
fn a_tagged_struct_is_left_out_only_if_it_holds_its_defaults() {
    let mut response = ProduceResponse::default();
    let partition = Default::default();
    response.responses.push(Default::default());
    response.responses[0].partition_responses.push(partition);
    let plain = encode(&response, 10).unwrap();
    response.responses[0].partition_responses[0]
        .current_leader
        .leader_id = 3;
    let tagged = encode(&response, 10).unwrap();
    // Tag, size, two numbers and the struct's own tag count.
    assert_eq!(tagged.len(), plain.len() + 2 + 4 + 4 + 1);
    assert_eq!(decode::<ProduceResponse>(&tagged, 10).unwrap(), response);
}

#[test]
fn a_null_that_is_not_the_default_is_written_in_a_nullable_array() {
    // Groups is empty by default; Topics is null for "all topics".
    let mut request = OffsetFetchRequest::default();
    request.groups.push(Default::default());
    request.groups[0].topics = None;
    let bytes = encode(&request, 8).unwrap();
    assert_eq!(
        decode::<OffsetFetchRequest>(&bytes, 8).unwrap().groups[0].topics,
        None
    );
}
