//! The interpreter of the descriptors: JSON there and back, and the same verdict on any bytes as the generated code.

use arbitrary::Unstructured;
use protocol::view::{self, MESSAGES, MessageDescriptor, Sample};
use protocol::{DecodeError, DecodeErrorKind};
use serde_json::json;

/// Arbitrary messages of each version, beside the samples.
const ARBITRARY_COUNT: u64 = 12;

/// Enough data for the largest arbitrary message, most times.
const SEED_BYTES: usize = 4096;

/// Numbers without a pattern, the same in every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() >> 16) as usize % limit
    }

    fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.next().to_be_bytes()[2]).collect()
    }
}

/// Calls `check` with every message and version, and bytes of it.
fn for_each(mut check: impl FnMut(&MessageDescriptor, i16, &[u8])) {
    for (number, message) in (1..).zip(MESSAGES) {
        for version in message.versions.iter() {
            for kind in Sample::SHORT {
                check(message, version, &view::sample(message, version, kind).0);
            }
            let mut random = Random(number << 16 | version.unsigned_abs() as u64);
            for turn in 0..ARBITRARY_COUNT {
                let seed = random.bytes(SEED_BYTES >> (turn % 8));
                let mut data = Unstructured::new(&seed);
                let bytes = view::arbitrary(message, version, &mut data).expect("a message");
                check(message, version, &bytes);
            }
        }
    }
}

#[test]
fn json_there_and_back_is_the_same_bytes() {
    let mut count = 0;
    for_each(|message, version, bytes| {
        let place = format!("{} {version}", message.name);
        let json = view::to_json(message, version, bytes)
            .unwrap_or_else(|error| panic!("{place}: {error}"));
        let text = json.to_string();
        let read = serde_json::from_str(&text).unwrap();
        let back = view::from_json(message, version, &read)
            .unwrap_or_else(|error| panic!("{error}: {text}"));
        assert_eq!(back, bytes, "{place}: {text}");
        count += 1;
    });
    let versions: usize = MESSAGES.iter().map(|it| it.versions.iter().count()).sum();
    assert_eq!(
        count,
        versions * (Sample::SHORT.len() + ARBITRARY_COUNT as usize)
    );
}

/// Both readings of the bytes, which must be the same but for the place of an error.
fn agree(message: &MessageDescriptor, version: i16, bytes: &[u8]) -> bool {
    let generated = (message.recode)(bytes, version);
    let interpreted = view::interpret(message, version, bytes);
    let place = || format!("{} {version} {bytes:02x?}", message.name);
    match (generated, interpreted) {
        (Ok(generated), Ok(interpreted)) => {
            assert_eq!(generated.bytes, interpreted.bytes, "{}", place());
            assert_eq!(generated.left, interpreted.left, "{}", place());
            assert_eq!(generated.is_default, interpreted.is_default, "{}", place());
            true
        }
        (Err(generated), Err(interpreted)) => {
            assert_eq!(generated.kind, interpreted.kind, "{}", place());
            assert!(generated.at <= interpreted.at, "{}", place());
            false
        }
        (generated, interpreted) => {
            panic!("{}: {generated:?}, but {interpreted:?}", place());
        }
    }
}

#[test]
fn valid_bytes_are_read_alike() {
    for_each(|message, version, bytes| {
        assert!(agree(message, version, bytes), "{} {version}", message.name);
        let interpreted = view::interpret(message, version, bytes).unwrap();
        assert_eq!(
            interpreted.bytes.unwrap(),
            bytes,
            "{} {version}",
            message.name
        );
    });
}

#[test]
fn broken_bytes_are_read_alike() {
    let mut random = Random(0x9e37_79b9);
    let (mut taken, mut refused) = (0, 0);
    for_each(|message, version, bytes| {
        for _ in 0..24 {
            let broken = mutate(bytes, &mut random);
            if agree(message, version, &broken) {
                taken += 1;
            } else {
                refused += 1;
            }
        }
    });
    assert!(taken > 10_000 && refused > 10_000, "{taken} {refused}");
}

/// Bytes in which something is not as it was: a byte, a length, the end, or some bytes in the middle.
fn mutate(bytes: &[u8], random: &mut Random) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    if bytes.is_empty() {
        return random.bytes(4);
    }
    let at = random.below(bytes.len());
    match random.below(6) {
        0 => bytes[at] = random.next().to_be_bytes()[3],
        1 => bytes[at] ^= 1 << random.below(8),
        2 => bytes.truncate(at),
        3 => {
            let length: [u8; 4] = match random.below(5) {
                0 => [0xff; 4],
                1 => [0x7f, 0xff, 0xff, 0xff],
                2 => [0xff, 0xff, 0xff, 0xfe],
                3 => [0, 0, 0, 1],
                _ => [0; 4],
            };
            let end = bytes.len().min(at + 4);
            bytes.splice(at..end, length);
        }
        4 => {
            let count = 1 + random.below(3);
            let inserted = random.bytes(count);
            bytes.splice(at..at, inserted);
        }
        _ => {
            bytes.remove(at);
        }
    }
    bytes
}

/// What [`view::explain`] makes of the error of the generated code on `bytes`.
#[track_caller]
fn explained(name: &str, version: i16, bytes: &[u8]) -> String {
    let message = view::find(name).expect("a message");
    let error = (message.recode)(bytes, version).expect_err("bytes of no message");
    view::explain(message, version, bytes, &error).to_string()
}

/// Four topics with one partition each.
fn metadata_response() -> serde_json::Value {
    let topic = |name: &str, replica: i32| {
        json!({
            "errorCode": 0, "name": name, "topicId": "AAAAAAAAAAAAAAAAAAAAAA", "isInternal": false,
            "partitions": [{
                "errorCode": 0, "partitionIndex": 0, "leaderId": 1, "leaderEpoch": 0,
                "replicaNodes": [replica], "isrNodes": [1], "offlineReplicas": []
            }],
            "topicAuthorizedOperations": 0
        })
    };
    json!({
        "throttleTimeMs": 0, "brokers": [], "clusterId": null, "controllerId": 1,
        "topics": [topic("a", 1), topic("b", 2), topic("c", 3), topic("d", 0x0102_0304)]
    })
}

fn position(bytes: &[u8], part: &[u8]) -> usize {
    let mut windows = bytes.windows(part.len());
    windows
        .position(|window| window == part)
        .expect("the part is there")
}

#[test]
fn an_error_is_explained_by_its_field() {
    let message = view::find("MetadataResponse").unwrap();
    let valid = view::from_json(message, 12, &metadata_response()).unwrap();
    let replicas = position(&valid, &[2, 1, 2, 3, 4]);

    let mut bytes = valid.clone();
    bytes[replicas] = 0x7f;
    assert_eq!(
        explained("MetadataResponse", 12, &bytes),
        "topics[3].partitions[0].replica_nodes at byte 206: more elements are announced than the remaining bytes \
         can hold ([]int32)"
    );

    let mut bytes = valid.clone();
    bytes[position(&valid, b"b")] = 0xff;
    assert_eq!(
        explained("MetadataResponse", 12, &bytes),
        "topics[1].name at byte 66: a string is not valid UTF-8 (string)"
    );
    assert_eq!(
        explained("MetadataResponse", 99, &valid),
        "at byte 0: the message has no such version"
    );
    let long = [valid.as_slice(), &[0]].concat();
    assert_eq!(
        view::to_json(message, 12, &long).unwrap_err().to_string(),
        format!(
            "at byte {}: bytes are left after the end of the message",
            valid.len()
        )
    );
}

/// The generated code reads neighbouring numbers at once and names the first of them.
#[test]
fn of_neighbouring_numbers_the_one_that_is_cut_off_is_named() {
    let bytes = [2, b'a', 0, 0, 0, 0, 0, 0, 0, 0, 7];
    let message = view::find("AddOffsetsToTxnRequest").unwrap();
    assert_eq!((message.recode)(&bytes, 3).unwrap_err().at, 2);
    assert_eq!(
        explained("AddOffsetsToTxnRequest", 3, &bytes),
        "producer_epoch at byte 10: the message ends inside a field (int16)"
    );
}

#[test]
fn errors_in_elements_markers_and_tags_are_explained() {
    // Two keys, the second null.
    assert_eq!(
        explained("FindCoordinatorRequest", 4, &[0, 3, 2, b'k', 0]),
        "coordinator_keys[1] at byte 4: a null stands where none is allowed (string)"
    );
    // No error, no keys, no throttling, tag 1 with 9 bytes instead of 8.
    let mut bytes = vec![0, 0, 1, 0, 0, 0, 0, 1, 1, 9];
    bytes.extend([0; 9]);
    assert_eq!(
        explained("ApiVersionsResponse", 3, &bytes),
        "finalized_features_epoch at byte 18: a tagged field does not fill its announced size (int64)"
    );
    // The size of the second tag is missing.
    let mut bytes = vec![0, 0, 1, 0, 0, 0, 0, 2, 1, 8];
    bytes.extend([0; 8]);
    bytes.push(9);
    assert_eq!(
        explained("ApiVersionsResponse", 3, &bytes),
        "tagged fields at byte 19: the message ends inside a field"
    );
    // Error code, message, member id, epoch, interval, and a marker that is neither.
    let heartbeat = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7];
    assert_eq!(
        explained("ConsumerGroupHeartbeatResponse", 0, &heartbeat),
        "assignment at byte 16: the marker of a nullable struct is neither null nor present (Assignment)"
    );
}

#[test]
fn an_error_of_a_smaller_budget_is_passed_on() {
    let message = view::find("MetadataRequest").unwrap();
    let (bytes, _) = view::sample(message, 12, Sample::Filled);
    let error = DecodeError {
        kind: DecodeErrorKind::OverBudget,
        at: 1,
    };
    assert_eq!(
        view::explain(message, 12, &bytes, &error).to_string(),
        "at byte 1: the message would take more memory than its size justifies"
    );
}

#[test]
fn json_has_the_shape_of_kafkas() {
    // A name, the flag, an unknown tag 5 with two bytes.
    let bytes = [
        2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 3, b't', b'1', 0, 1, 0, 1, 5, 2,
        0xff, 0xfe,
    ];
    let message = view::find("MetadataRequest").unwrap();
    let expected = json!({
        "topics": [{"topicId": "AAAAAAAAAAAAAAAAAAAA_w", "name": "t1"}],
        "allowAutoTopicCreation": true,
        "includeTopicAuthorizedOperations": false,
        "_unknownTaggedFields": [{"tag": 5, "data": "//4="}]
    });
    assert_eq!(view::to_json(message, 12, &bytes).unwrap(), expected);
    assert_eq!(view::from_json(message, 12, &expected).unwrap(), bytes);
}

/// The error of turning `json` into a message.
#[track_caller]
fn refused(name: &str, version: i16, json: serde_json::Value, expected: &str) {
    let message = view::find(name).expect("a message");
    let error = view::from_json(message, version, &json).expect_err("JSON of no message");
    assert_eq!(error.to_string(), expected);
}

#[test]
fn wrong_json_is_refused_with_its_place() {
    let metadata =
        |topics: serde_json::Value| json!({"topics": topics, "allowAutoTopicCreation": true});
    refused(
        "MetadataRequest",
        5,
        json!([]),
        "MetadataRequest version 5: should be an object",
    );
    refused(
        "MetadataRequest",
        99,
        json!({}),
        "MetadataRequest version 99: the message has no such version",
    );
    refused(
        "MetadataRequest",
        5,
        json!({"topics": []}),
        "MetadataRequest version 5: allowAutoTopicCreation: the key is missing",
    );
    refused(
        "MetadataRequest",
        5,
        metadata(json!([{"name": "a"}, {"name": 7}])),
        "MetadataRequest version 5: topics[1].name: should be a string",
    );
    refused(
        "MetadataRequest",
        5,
        metadata(json!([{"name": null}])),
        "MetadataRequest version 5: topics[0].name: null stands where none is allowed",
    );
    refused(
        "MetadataRequest",
        5,
        metadata(json!([{"name": "a", "topicId": ""}])),
        "MetadataRequest version 5: topics[0].topicId: this version has no such field",
    );
    refused(
        "MetadataRequest",
        5,
        metadata(json!([{"name": "a", "Name": "a"}])),
        "MetadataRequest version 5: topics[0].Name: there is no such field",
    );
    refused(
        "MetadataRequest",
        5,
        metadata(json!([{"name": "x".repeat(32_768)}])),
        "MetadataRequest version 5: topics[0].name: is longer than 32767 bytes",
    );
    refused(
        "ResponseHeader",
        0,
        json!({"correlationId": 1_i64 << 31}),
        "ResponseHeader version 0: correlationId: should be a whole number of 32 bits",
    );
}

#[test]
fn wrong_unknown_tags_are_refused() {
    let tagged = |tags| json!({"correlationId": 1, "_unknownTaggedFields": tags});
    refused(
        "ResponseHeader",
        0,
        tagged(json!([{"tag": 1, "data": ""}])),
        "ResponseHeader version 0: _unknownTaggedFields: this version has no tagged fields",
    );
    refused(
        "ResponseHeader",
        1,
        tagged(json!([{"tag": 1, "data": ""}, {"tag": 1, "data": ""}])),
        "ResponseHeader version 1: _unknownTaggedFields[1]: tag 1 is taken",
    );
    refused(
        "ResponseHeader",
        1,
        tagged(json!([{"tag": 1, "data": "?"}])),
        "ResponseHeader version 1: _unknownTaggedFields[0]: should be an object with `tag`, a number, and `data`, base64",
    );
}
