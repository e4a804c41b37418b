//! Damaged messages and batches: both sides make the same of them, but for the known differences.

use std::collections::BTreeMap;

use protocol::records::{Batches, HEADER_BYTES, RecordBatch, RecordError, RecordErrorKind};
use protocol::view::{self, MessageDescriptor, Sample};
use protocol::{DecodeError, DecodeErrorKind};
use tests::oracle::{Answer, Oracle, Release};

use crate::batches::{arbitrary, lines};
use crate::hex::hex;
use crate::kafka_batches::describe;
use crate::names;
use crate::random::Random;

/// Damaged ones of every sample of a version, arbitrary batches, and damaged ones of each.
const MESSAGES_COUNT: u64 = 20;
const BATCHES: usize = 60;
const BATCHES_COUNT: u64 = 100;

/// Kafka's words for tags that we keep and sort: known in another version, out of order, twice, 2^31 - 1 and above. The last
/// three it reads, but it cannot write them.
const REFUSED_TAGS: [&str; 3] = [
    "is not valid for version",
    "Invalid raw tag field list",
    "as an undefined tag",
];

#[test]
fn damaged_messages_are_read_alike() {
    let oracle = Oracle::of(Release::New);
    let mut tally = BTreeMap::new();
    for message in oracle.messages() {
        let ours = view::find(names::ours(&message.name)).unwrap();
        for version in message.lowest..=message.highest {
            let place = format!("{} {version}", message.name);
            let damaged = damaged_messages(ours, version);
            let question = |bytes: &Vec<u8>| format!("recode {place} {}", hex(bytes));
            let questions: Vec<_> = damaged.iter().map(question).collect();
            for (bytes, theirs) in damaged.iter().zip(oracle.ask_all(&questions)) {
                let verdict = verdict(ours, version, bytes, &theirs);
                let verdict =
                    verdict.unwrap_or_else(|fault| panic!("{place} {}: {fault}", hex(bytes)));
                *tally.entry(verdict).or_insert(0_u32) += 1;
            }
        }
    }
    println!("damaged messages: {tally:?}");
    assert!(tally.values().all(|count| *count > 10) && tally.len() == 4);
}

/// What came of a damaged message, or what should not have come of it.
fn verdict(
    ours: &MessageDescriptor,
    version: i16,
    bytes: &[u8],
    theirs: &Answer,
) -> Result<&'static str, String> {
    let read = (ours.recode)(bytes, version);
    let left = theirs
        .as_ref()
        .err()
        .and_then(|error| error.split_once("left over: "));
    match (&read, theirs) {
        (Ok(read), Ok(theirs)) => {
            let written = read.bytes.as_deref().map(hex);
            let is_same = read.left == 0 && written.as_ref() == Ok(theirs);
            is_same
                .then_some("read alike")
                .ok_or(format!("{written:?}, Kafka {theirs}"))
        }
        (Ok(read), Err(error)) => match left {
            Some((_, rest)) if rest.len() == 2 * read.left => Ok("read alike"),
            None if REFUSED_TAGS.iter().any(|words| error.contains(words)) => {
                Ok("tags that Kafka refuses")
            }
            _ => Err(format!("{read:?}, Kafka {error}")),
        },
        (Err(error), theirs) if theirs.is_ok() || left.is_some() => {
            match is_stricter(ours, version, error) {
                true => Ok("we are stricter"),
                false => Err(format!("{error}, Kafka {theirs:?}")),
            }
        }
        (Err(_), _) => Ok("both refuse"),
    }
}

/// Whether Kafka's reader has no such rule. It ignores the size of a known tag, so that its field may be cut off or may
/// end early only for us.
fn is_stricter(ours: &MessageDescriptor, version: i16, error: &DecodeError) -> bool {
    let has_tags = || {
        let mut fields = ours.structs.iter().flat_map(|it| it.fields);
        fields.any(|field| field.tagged.is_some_and(|(_, of)| of.contains(version)))
    };
    match error.kind {
        DecodeErrorKind::NegativeLength
        | DecodeErrorKind::InvalidUtf8
        | DecodeErrorKind::InvalidPresence
        | DecodeErrorKind::VarintTooLong => true,
        DecodeErrorKind::TagSize | DecodeErrorKind::Truncated | DecodeErrorKind::CountTooLarge => {
            has_tags()
        }
        _ => false,
    }
}

fn damaged_messages(ours: &MessageDescriptor, version: i16) -> Vec<Vec<u8>> {
    let mut random = Random::named(&format!("damage to {} {version}", ours.name));
    let samples = [Sample::Nulls, Sample::UnknownTags];
    let samples = samples.map(|kind| view::sample(ours, version, kind).0);
    let samples = samples.iter().filter(|bytes| !bytes.is_empty());
    samples
        .flat_map(|bytes| {
            let damaged: Vec<_> = (0..MESSAGES_COUNT)
                .map(|_| damaged(&mut random, bytes, 0))
                .collect();
            damaged
        })
        .collect()
}

/// The bytes with another one at a place from `first` on.
fn damaged(random: &mut Random, bytes: &[u8], first: usize) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let places = bytes.len() - first;
    let at = first + usize::try_from(random.below(places as u64)).unwrap();
    let [mut byte] = [bytes[at]];
    while byte == bytes[at] {
        let near = [byte ^ 1, byte.wrapping_add(1)];
        let values = [0, 1, 2, 0x7f, 0x80, 0xff, near[0], near[1]];
        byte = values[usize::try_from(random.below(8)).unwrap()];
    }
    bytes[at] = byte;
    bytes
}

/// Damage under a good checksum: only what Kafka's reader lets pass and ours does not may differ.
#[test]
fn damaged_batches_are_read_alike() {
    let oracle = Oracle::of(Release::New);
    let mut random = Random::named("damage to batches");
    let mut tally = BTreeMap::new();
    for _ in 0..BATCHES {
        let whole = arbitrary(&mut random).build().unwrap();
        let all: Vec<_> = (0..BATCHES_COUNT)
            .map(|turn| damaged_batch(&mut random, &whole, turn % 2 == 0))
            .collect();
        let questions: Vec<_> = all
            .iter()
            .map(|bytes| format!("batches {}", hex(bytes)))
            .collect();
        for (bytes, theirs) in all.iter().zip(oracle.ask_all(&questions)) {
            let verdict = batch_verdict(bytes, theirs);
            let verdict = verdict.unwrap_or_else(|fault| panic!("{}: {fault}", hex(bytes)));
            *tally.entry(verdict).or_insert(0_u32) += 1;
        }
    }
    println!("damaged batches: {tally:?}");
    assert!(tally.values().all(|count| *count > 10) && tally.len() == 3);
}

/// One byte of the header or of the records is another, and the checksum is right.
fn damaged_batch(random: &mut Random, whole: &[u8], in_header: bool) -> Vec<u8> {
    let (header, records) = whole.split_at(HEADER_BYTES);
    let mut bytes = if in_header {
        [&damaged(random, header, 0), records].concat()
    } else {
        damaged(random, whole, HEADER_BYTES)
    };
    let crc = crc32c::crc32c(&bytes[21..]);
    bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    bytes
}

fn batch_verdict(bytes: &[u8], theirs: Answer) -> Result<&'static str, String> {
    match (read_all(bytes), lines(theirs)) {
        (Ok(()), Ok(theirs)) => {
            let ours = describe(&bytes[..whole_bytes(bytes)]);
            match ours == theirs {
                true => Ok("read alike"),
                // Kafka counts on from any sequence but -1.
                false if has_wrong_sequence(bytes) => Ok("we are stricter"),
                false => Err(format!("{ours:?}, Kafka {theirs:?}")),
            }
        }
        (Err(_), Err(_)) => Ok("both refuse"),
        (Ok(()), Err(error)) => Err(format!("Kafka {error}")),
        (Err(error), Ok(_)) => match error.kind {
            RecordErrorKind::BaseOffset(_)
            | RecordErrorKind::HeaderKeyNotUtf8
            | RecordErrorKind::NegativeLength(_)
            | RecordErrorKind::OffsetDelta(_)
            | RecordErrorKind::TrailingBytes
            | RecordErrorKind::Varint => Ok("we are stricter"),
            _ => Err(format!("{error}, Kafka reads it")),
        },
    }
}

fn has_wrong_sequence(bytes: &[u8]) -> bool {
    RecordBatch::split_from(bytes).is_ok_and(|(batch, _)| batch.base_sequence < -1)
}

/// Where the last whole batch ends.
fn whole_bytes(bytes: &[u8]) -> usize {
    let mut batches = Batches::new(bytes);
    while let Some(Ok(_)) = batches.next() {}
    batches.position()
}

/// Reads everything there is in whole batches.
fn read_all(bytes: &[u8]) -> Result<(), RecordError> {
    for batch in Batches::new(bytes) {
        let batch = batch?;
        batch.verify_crc()?;
        for record in &batch.records(1 << 20)? {
            for header in record?.headers() {
                header?;
            }
        }
    }
    Ok(())
}
