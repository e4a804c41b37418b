//! Messages inside other messages and records: those of consumers with a version in front, and control records.

use protocol::records::{ControlRecord, RecordBatch, RecordBatchBuilder};
use protocol::view::{self, MessageDescriptor};

use crate::choice::Verdict;

/// Fields of JoinGroup and SyncGroup, in the order in which an input counts them.
pub const WITH_VERSION: [&str; 2] = ["ConsumerProtocolSubscription", "ConsumerProtocolAssignment"];

/// The first byte chooses what the others are.
pub fn embedded(input: &[u8]) -> Verdict {
    match input.split_first() {
        Some((0, rest)) => control(rest),
        Some((choice, rest)) => {
            let name = WITH_VERSION[usize::from(*choice) % WITH_VERSION.len()];
            let message = view::find(name).expect("the message is known");
            with_version(message, rest);
        }
        None => return Verdict::Skipped,
    }
    Verdict::Run
}

/// As Kafka reads them: the version stands in front, a later one is read as the last that is known, and bytes may follow.
fn with_version(message: &MessageDescriptor, input: &[u8]) {
    let Some((version, body)) = input.split_first_chunk() else {
        return;
    };
    let version = i16::from_be_bytes(*version);
    if version < message.versions.0 {
        assert!((message.recode)(body, version).is_err());
        return;
    }
    let version = version.min(message.versions.1);
    let Ok(recoded) = (message.recode)(body, version) else {
        return;
    };
    let written = recoded.bytes.expect("what was read can be written");
    let again = (message.recode)(&written, version).expect("what was written is read");
    assert_eq!(again.bytes.unwrap(), written);
    // What follows a message changes nothing of it.
    let taken = body.get(..body.len() - recoded.left).unwrap();
    let alone = (message.recode)(taken, version).expect("the message without what follows it");
    assert_eq!((alone.left, alone.bytes.unwrap()), (0, written));
}

/// Key and value of a control record; the first byte is the length of the key.
fn control(input: &[u8]) {
    let Some((key_bytes, rest)) = input.split_first() else {
        return;
    };
    let (key, value) = rest.split_at(usize::from(*key_bytes).min(rest.len()));
    if let Some(ControlRecord::EndTxn(marker)) = parse_control(key, value) {
        let again = parse_control(&marker.key(), &marker.value());
        assert_eq!(again, Some(ControlRecord::EndTxn(marker)));
    }
}

/// What a control record with this key and value says.
fn parse_control(key: &[u8], value: &[u8]) -> Option<ControlRecord> {
    let mut builder = RecordBatchBuilder::new(0);
    builder.control();
    builder.append(0, Some(key), Some(value), &[]).unwrap();
    let bytes = builder.build().unwrap();
    let (batch, _) = RecordBatch::split_from(&bytes).unwrap();
    assert!(batch.is_control());
    let records = batch.records(bytes.len()).unwrap();
    let record = records.iter().next().unwrap().unwrap();
    ControlRecord::parse(&record).ok()
}
