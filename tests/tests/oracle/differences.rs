//! Where our reader differs from Kafka's, and lenient habits that both share: each case with what both make of it.
//!
//! Tags that are known in another version only are in [`crate::messages`]: Kafka refuses them, we keep them.

use protocol::DecodeErrorKind::{
    self, InvalidPresence, InvalidUtf8, NegativeLength, Truncated, VarintTooLong,
};
use protocol::view::{self, JsonProblem};
use serde_json::json;
use tests::oracle::{Oracle, Release};

use crate::hex::{hex, unhex};

/// A Fetch request of version 12 up to its tagged fields, of which the cluster id is one.
const FETCH: &str = "ffffffff000001f4000000010000ffff0000000000ffffffff010101";

/// A ConsumerGroupHeartbeat response up to its assignment, which may be null.
const HEARTBEAT: &str = "00000000000000000000000000000000";

/// Bytes that Kafka reads as a message, by the bytes it writes for it, and we refuse.
struct Refused {
    what: &'static str,
    message: &'static str,
    version: i16,
    bytes: &'static str,
    kafkas: &'static str,
    ours: DecodeErrorKind,
}

const REFUSED: [Refused; 9] = [
    Refused {
        what: "a known tag shorter than its size",
        message: "FetchRequest",
        version: 12,
        bytes: "FETCH 01 00 03 0261",
        kafkas: "FETCH 01 00 02 0261",
        ours: Truncated,
    },
    Refused {
        what: "a known tag longer than its size",
        message: "FetchRequest",
        version: 12,
        bytes: "FETCH 01 00 01 0261",
        kafkas: "FETCH 01 00 02 0261",
        ours: Truncated,
    },
    Refused {
        what: "a length of -2",
        message: "MetadataRequest",
        version: 1,
        bytes: "fffffffe",
        kafkas: "ffffffff",
        ours: NegativeLength,
    },
    Refused {
        what: "the least length",
        message: "MetadataRequest",
        version: 1,
        bytes: "80000000",
        kafkas: "ffffffff",
        ours: NegativeLength,
    },
    Refused {
        what: "a string of -2",
        message: "HeartbeatRequest",
        version: 3,
        bytes: "000161 00000001 000162 fffe",
        kafkas: "000161 00000001 000162 ffff",
        ours: NegativeLength,
    },
    Refused {
        what: "no UTF-8",
        message: "MetadataRequest",
        version: 1,
        bytes: "00000001 0002 ff41",
        kafkas: "00000001 0004 efbfbd41",
        ours: InvalidUtf8,
    },
    Refused {
        what: "a varint of 33 bits",
        message: "MetadataRequest",
        version: 12,
        bytes: "8180808010 01 00 00",
        kafkas: "01 01 00 00",
        ours: VarintTooLong,
    },
    Refused {
        what: "a varint of 35 bits",
        message: "MetadataRequest",
        version: 12,
        bytes: "8180808040 01 00 00",
        kafkas: "01 01 00 00",
        ours: VarintTooLong,
    },
    Refused {
        what: "a nullable struct marked 5",
        message: "ConsumerGroupHeartbeatResponse",
        version: 0,
        bytes: "HEARTBEAT 05 01 00 00",
        kafkas: "HEARTBEAT 01 01 00 00",
        ours: InvalidPresence,
    },
];

#[test]
fn what_kafka_mends_is_refused() {
    let oracle = Oracle::of(Release::New);
    for it in REFUSED {
        let question = format!("recode {} {} {}", it.message, it.version, packed(it.bytes));
        assert_eq!(oracle.ask(&question), Ok(packed(it.kafkas)), "{}", it.what);
        let ours = view::find(it.message).unwrap();
        let error = (ours.recode)(&unhex(&packed(it.bytes)), it.version).unwrap_err();
        assert_eq!(error.kind, it.ours, "{}", it.what);
    }
}

/// The digits, without names and spaces.
fn packed(spaced: &str) -> String {
    let named = spaced
        .replace("FETCH", FETCH)
        .replace("HEARTBEAT", HEARTBEAT);
    named.replace(' ', "")
}

/// Bytes that both read, and what is written for the message: by Kafka, or its words when it cannot, and by us.
struct Read {
    what: &'static str,
    message: &'static str,
    version: i16,
    bytes: &'static str,
    kafkas: Result<&'static str, &'static str>,
    ours: &'static str,
}

const READ: [Read; 4] = [
    Read {
        what: "a bool of 2",
        message: "MetadataRequest",
        version: 4,
        bytes: "ffffffff 02",
        kafkas: Ok("ffffffff 01"),
        ours: "ffffffff 01",
    },
    Read {
        what: "a longer varint than needed",
        message: "MetadataRequest",
        version: 12,
        bytes: "8100 01 00 00",
        kafkas: Ok("01 01 00 00"),
        ours: "01 01 00 00",
    },
    Read {
        what: "tags out of order",
        message: "MetadataRequest",
        version: 12,
        bytes: "01 01 00 02 0501aa 0301bb",
        kafkas: Err("tag 3 comes after tag 5"),
        ours: "01 01 00 02 0301bb 0501aa",
    },
    Read {
        what: "a tag twice",
        message: "MetadataRequest",
        version: 12,
        bytes: "01 01 00 02 0501aa 0501bb",
        kafkas: Err("tag 5 comes after tag 5"),
        ours: "01 01 00 01 0501bb",
    },
];

#[test]
fn what_both_read_is_written_in_order() {
    let oracle = Oracle::of(Release::New);
    for it in READ {
        let bytes = packed(it.bytes);
        let place = format!("{} {}", it.message, it.version);
        oracle.ask(&format!("read {place} {bytes}")).expect(it.what);
        let answer = oracle.ask(&format!("recode {place} {bytes}"));
        match it.kafkas {
            Ok(written) => assert_eq!(answer, Ok(packed(written)), "{}", it.what),
            Err(words) => assert!(answer.unwrap_err().contains(words), "{}", it.what),
        }
        let ours = view::find(it.message).unwrap();
        let recoded = (ours.recode)(&unhex(&bytes), it.version).expect(it.what);
        assert_eq!(hex(&recoded.bytes.unwrap()), packed(it.ours), "{}", it.what);
    }
}

#[test]
fn what_follows_a_message_is_left_by_both() {
    let oracle = Oracle::of(Release::New);
    let answer = oracle.ask("read MetadataRequest 12 01010000abcd");
    assert_eq!(
        answer.unwrap_err(),
        "IllegalArgumentException: left over: abcd"
    );
    let ours = view::find("MetadataRequest").unwrap();
    let recoded = (ours.recode)(&unhex("01010000abcd"), 12).unwrap();
    assert_eq!(recoded.left, 2);
}

/// Kafka's JSON converters take keys that are no fields, and an int8 up to 256 as a negative number or another one.
#[test]
fn json_that_kafka_mends_is_refused() {
    let oracle = Oracle::of(Release::New);
    let ours = view::find("HeartbeatRequest").unwrap();
    let json = json!({"groupId": "a", "generationId": 1, "memberId": "b", "other": 1});
    let answer = oracle.ask(&format!("write HeartbeatRequest 0 {json}"));
    assert_eq!(answer, Ok("00016100000001000162".to_owned()));
    let error = view::from_json(ours, 0, &json).unwrap_err();
    assert_eq!(error.problem, JsonProblem::UnknownField);

    let ours = view::find("FetchRequest").unwrap();
    let json = json!({
        "replicaId": 1, "maxWaitMs": 1, "minBytes": 1, "maxBytes": 1, "isolationLevel": 200, "topics": [],
    });
    let answer = oracle.ask(&format!("write FetchRequest 4 {json}"));
    assert_eq!(
        answer,
        Ok("000000010000000100000001000000014800000000".to_owned())
    );
    let error = view::from_json(ours, 4, &json).unwrap_err();
    assert!(matches!(error.problem, JsonProblem::Expected(_)), "{error}");
}
