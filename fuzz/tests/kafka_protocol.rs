//! The generated code beside the `kafka-protocol` crate, in every version of every message that both have, and the list
//! of what that crate does differently.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeSet;
use std::process::Command;

use arbitrary::Unstructured;
use fuzz::choice::Choice;
use fuzz::kafka_protocol::{HIDDEN_VERSION, LOST_TAG, NO_TAG, NO_VERSION, PEERS, is_listed, peer};
use fuzz::messages::compare;
use fuzz::seeds::Noise;
use protocol::view::{self, MESSAGES, Sample, arbitrary, sample};

/// Messages that it does not have: they came with a later Kafka, or are gone in Kafka 4.
const MISSING: [&str; 18] = [
    "AbortedTxn",
    "ControlRecordTypeSchema",
    "ControlledShutdownRequest",
    "ControlledShutdownResponse",
    "LeaderAndIsrRequest",
    "LeaderAndIsrResponse",
    "StopReplicaRequest",
    "StopReplicaResponse",
    "StreamsGroupDescribeRequest",
    "StreamsGroupDescribeResponse",
    "StreamsGroupHeartbeatRequest",
    "StreamsGroupHeartbeatResponse",
    "StreamsGroupTopologyDescriptionUpdateRequest",
    "StreamsGroupTopologyDescriptionUpdateResponse",
    "UnregisterControllerRequest",
    "UnregisterControllerResponse",
    "UpdateMetadataRequest",
    "UpdateMetadataResponse",
];

/// Requests whose last version is not the one that it announces for the API.
const ANNOUNCED: [(&str, i16, i16); 3] = [
    ("OffsetCommitRequest", 9, 10),
    ("OffsetFetchRequest", 9, 10),
    ("InitProducerIdRequest", 5, 6),
];

/// Versions that both have, all messages together.
const COMMON_VERSIONS: usize = 597;

/// Valid messages that it refuses: message, versions, which samples, and its error.
type Refused = (&'static str, (i16, i16), &'static [Sample], &'static str);

const HIDDEN: &[Sample] = &[
    Sample::Filled,
    Sample::Nulls,
    Sample::UnknownTags,
    Sample::Extremes,
];

#[rustfmt::skip] // a table
const REFUSED: &[Refused] = &[
    ("LeaderChangeMessage",    (0, 1),   HIDDEN, NO_VERSION),
    ("VotersRecord",           (0, 0),   HIDDEN, NO_VERSION),
];

/// Every message and version that both have.
fn common() -> Vec<Choice> {
    let mut common = Vec::new();
    for message in MESSAGES {
        let (least, last) = peer(message.name).map_or((0, -1), |peer| peer.versions);
        for version in message.versions.iter() {
            if (least..=last).contains(&version) {
                common.push(Choice { message, version });
            }
        }
    }
    common
}

#[test]
fn what_it_has_is_known() {
    let ours: BTreeSet<_> = MESSAGES.iter().map(|message| message.name).collect();
    let theirs: BTreeSet<_> = PEERS.iter().map(|peer| peer.name).collect();
    let missing: Vec<_> = ours.difference(&theirs).copied().collect();
    assert_eq!(missing, MISSING);
    assert_eq!(theirs.difference(&ours).next(), None);
    assert_eq!(common().len(), COMMON_VERSIONS);
    let mut announced_only = Vec::new();
    // The table of peers has all that it can name by a key.
    for key in 0..1000 {
        let Ok(api) = kafka_protocol::messages::ApiKey::try_from(key) else {
            continue;
        };
        let range = api.valid_versions();
        let request = MESSAGES.iter().find(|message| {
            message.kind == view::Kind::Request
                && message.api_key.map(|key| key as i16) == Some(key)
        });
        let peer = request.and_then(|request| peer(request.name)).unwrap();
        if peer.versions != (range.min, range.max) {
            announced_only.push((peer.name, peer.versions.1, range.max));
        }
    }
    assert_eq!(announced_only, ANNOUNCED);
}

#[test]
fn samples_come_back_from_it_but_for_those_in_the_list() {
    let mut used = BTreeSet::new();
    for choice in common() {
        let Choice { message, version } = choice;
        for kind in Sample::ALL {
            let (bytes, _) = sample(message, version, kind);
            let entry = REFUSED.iter().position(|(name, (least, last), kinds, _)| {
                *name == message.name
                    && (*least..=*last).contains(&version)
                    && kinds.contains(&kind)
            });
            let result = compare(choice, &bytes);
            let place = format!("{} {version} {kind:?}", message.name);
            match (entry, result) {
                (None, Ok(())) => {}
                (None, Err(difference)) => panic!("{place}: {difference}"),
                (Some(_), Ok(())) => panic!("{place}: no longer different"),
                (Some(entry), Err(difference)) => {
                    assert!(is_listed(message.name, &difference), "{place}");
                    assert!(
                        difference.contains(REFUSED[entry].3),
                        "{place}: {difference}"
                    );
                    used.insert(entry);
                }
            }
        }
    }
    assert_eq!(used.len(), REFUSED.len(), "entries that compare nothing");
}

/// Tags that another version of the message knows: name, version, tag.
#[rustfmt::skip] // a table
const TAGS_OF_OTHERS: &[(&str, i16, u8)] = &[
    ("BrokerHeartbeatRequest", 0, 0),
    ("FetchRequest",           14, 1),
    ("FetchSnapshotResponse",  0, 0),
    ("ProduceResponse",        9, 0),
    ("VoteResponse",           0, 0),
];

#[test]
fn a_tag_of_another_version_is_an_error_to_it() {
    for (name, version, tag) in TAGS_OF_OTHERS {
        let message = view::find(name).unwrap();
        let (mut bytes, _) = sample(message, *version, Sample::Defaults);
        assert_eq!(bytes.pop(), Some(0), "{name} {version} ends with no tags");
        bytes.extend([1, *tag, 2, b'h', b'i']);
        let version = *version;
        let difference = compare(Choice { message, version }, &bytes).unwrap_err();
        assert!(
            difference.contains(NO_TAG) && is_listed(name, &difference),
            "{name} {version}: {difference}"
        );
        let ours = (message.recode)(&bytes, version).unwrap();
        assert_eq!(ours.bytes.unwrap(), bytes, "{name} {version}");
    }
}

#[test]
fn a_tag_above_31_bits_is_lost() {
    let message = view::find("SnapshotFooterRecord").unwrap();
    let (mut bytes, _) = sample(message, 0, Sample::Defaults);
    assert_eq!(bytes.pop(), Some(0));
    bytes.extend(*b"\x01\xff\xff\xff\xff\x0f\x02hi");
    let choice = Choice {
        message,
        version: 0,
    };
    let difference = compare(choice, &bytes).unwrap_err();
    assert!(difference.contains(LOST_TAG), "{difference}");
    let ours = (message.recode)(&bytes, 0).unwrap();
    assert_eq!(ours.bytes.unwrap(), bytes);
}

#[test]
fn arbitrary_messages_come_back_from_it() {
    let mut noise = Noise::new(5);
    let mut compared = 0;
    for choice in common() {
        let Choice { message, version } = choice;
        if HIDDEN_VERSION.contains(&message.name) {
            continue;
        }
        for length in [50, 300, 1000] {
            let input = noise.bytes(length);
            let bytes = arbitrary(message, version, &mut Unstructured::new(&input)).unwrap();
            if let Err(difference) = compare(choice, &bytes) {
                assert!(
                    is_listed(message.name, &difference),
                    "{} {version}: {difference}",
                    message.name
                );
                continue;
            }
            compared += 1;
        }
    }
    assert!(compared > 1500, "{compared}");
}

/// The other way: what it writes for a message that holds its defaults is read here, written back, and is the default.
#[test]
fn its_defaults_are_ours() {
    for Choice { message, version } in common() {
        let place = format!("{} {version}", message.name);
        let bytes = (peer(message.name).unwrap().default)(version);
        let bytes = bytes.unwrap_or_else(|error| panic!("{place}: {error}"));
        let recoded =
            (message.recode)(&bytes, version).unwrap_or_else(|error| panic!("{place}: {error}"));
        assert_eq!(
            (recoded.left, recoded.bytes.unwrap()),
            (0, bytes),
            "{place}"
        );
        assert!(recoded.is_default, "{place}");
    }
}

/// Bytes that are no message, which it takes for one: message, version, bytes, what is written back.
#[rustfmt::skip] // a table
const ACCEPTED: &[(&str, &str, i16, &[u8])] = &[
    ("a varint of more than 32 bits loses its highest", "MetadataRequest", 9, b"\x81\x80\x80\x80\x10\x01\0\0\0"),
    ("null stands for a name that may not be null before version 10", "MetadataRequest", 9, b"\x02\0\0\x01\0\0\0"),
    ("a tagged field is longer than its size", "ApiVersionsResponse", 3, b"\0\0\x01\0\0\0\0\x01\x01\x07\0\0\0\0\0\0\0\x05"),
];

#[test]
fn it_takes_bytes_that_are_no_message() {
    for (fault, name, version, bytes) in ACCEPTED {
        let theirs = (peer(name).unwrap().recode)(bytes, *version);
        assert!(theirs.is_ok_and(|(left, _)| left == 0), "{fault}");
        let ours = (view::find(name).unwrap().recode)(bytes, *version);
        assert!(ours.is_err(), "{fault}");
    }
    // A string in the compact form, of more than 32767 bytes.
    let body = [&b"\x81\x80\x02"[..], &[b'x'; 32_768], b"\x01\0"].concat();
    let theirs = (peer("ApiVersionsRequest").unwrap().recode)(&body, 3);
    assert_eq!(theirs.unwrap().0, 0);
    let ours = (view::find("ApiVersionsRequest").unwrap().recode)(&body, 3);
    assert!(ours.is_err());
}

/// It takes counts from the wire for capacities, and a failed allocation aborts the process, here another one of this
/// program with 8 GiB of address space.
#[test]
fn metadata_bodies_of_four_and_five_bytes_abort_it() {
    const NAME: &str = "metadata_bodies_of_four_and_five_bytes_abort_it";
    const BODIES: [(i16, &[u8]); 2] = [
        (1, &[0x7f, 0xff, 0xff, 0xff]),
        (9, &[0xff, 0xff, 0xff, 0xff, 0x07]),
    ];
    if let Ok(number) = std::env::var("FUZZ_ABORTING_BODY") {
        let (version, body) = BODIES[number.parse::<usize>().unwrap()];
        let result = (peer("MetadataRequest").unwrap().recode)(body, version);
        panic!("it lives: {result:?}");
    }
    for (number, (version, body)) in BODIES.iter().enumerate() {
        let output = Command::new("sh")
            .args(["-c", "ulimit -v 8388608; exec \"$0\" --exact \"$1\""])
            .arg(std::env::current_exe().unwrap())
            .arg(NAME)
            .env("FUZZ_ABORTING_BODY", number.to_string())
            .output()
            .unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(error.contains("memory allocation of"), "{error}");
        let ours = (view::find("MetadataRequest").unwrap().recode)(body, *version);
        assert!(ours.is_err());
    }
}
