//! Hostile bytes for every message and version, under an allocator that counts: no panic, no more memory than the budget
//! of the input, and what is read all the same is written and read again as the same bytes.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may panic"
)]

mod lengths;

use std::panic::{AssertUnwindSafe, catch_unwind};

use allocation_counter::measure;
use protocol::view::{MESSAGES, MessageDescriptor, Sample, sample};
use protocol::wire::Reader;
use protocol::wire::limits::memory_budget;
use protocol::{DecodeError, DecodeErrorKind};

use lengths::Form;

/// Calls `check` with every message and version and the bytes of each kind of sample.
fn for_each(kinds: &[Sample], mut check: impl FnMut(&MessageDescriptor, i16, &[u8])) {
    for message in MESSAGES {
        for version in message.versions.iter() {
            for &kind in kinds {
                check(message, version, &sample(message, version, kind).0);
            }
        }
    }
}

/// Decodes, and gives the most memory that was held at once.
fn decode(
    message: &MessageDescriptor,
    version: i16,
    bytes: &[u8],
    budget: usize,
) -> (Result<(), DecodeError>, usize) {
    let mut result = Ok(());
    let counted = measure(|| {
        let mut reader = Reader::with_budget(bytes, budget);
        result = (message.decode)(&mut reader, version);
    });
    assert_eq!(counted.bytes_current, 0, "{} {version}", message.name);
    (result, usize::try_from(counted.bytes_max).unwrap())
}

/// Decodes bytes that need not be a message, within the budget of their size.
fn attack(message: &MessageDescriptor, version: i16, bytes: &[u8]) -> Result<(), DecodeError> {
    let budget = memory_budget(bytes.len());
    let attempt = catch_unwind(AssertUnwindSafe(|| decode(message, version, bytes, budget)));
    let (result, peak) =
        attempt.unwrap_or_else(|_| panic!("{} {version} panics on {bytes:02x?}", message.name));
    assert!(
        peak <= budget,
        "{} {version}: {peak} bytes of memory for {bytes:02x?}",
        message.name
    );
    result
}

/// What was read can be written, and reading that gives the same bytes again.
fn settles(message: &MessageDescriptor, version: i16, bytes: &[u8]) {
    let place = || format!("{} {version} on {bytes:02x?}", message.name);
    let recode = |bytes: &[u8]| {
        let recoded =
            (message.recode)(bytes, version).unwrap_or_else(|e| panic!("{}: {e}", place()));
        let written = recoded.bytes;
        written.unwrap_or_else(|e| panic!("{}: {e}", place()))
    };
    let written = recode(bytes);
    assert_eq!(recode(&written), written, "{}", place());
}

#[test]
fn every_truncation_is_refused_within_the_budget() {
    for_each(&Sample::SHORT, |message, version, bytes| {
        for end in 0..bytes.len() {
            let result = attack(message, version, &bytes[..end]);
            assert!(result.is_err(), "{} {version} cut to {end}", message.name);
        }
    });
}

/// The filled samples have every length there is; those of nulls have the markers of null.
#[test]
fn every_length_may_lie() {
    let mut replaced = 0;
    for_each(&Sample::SHORT, |message, version, bytes| {
        for length in lengths::find(message, version, bytes) {
            for value in [0, 1, -1, -2, length.max(), i64::from(i32::MAX)] {
                let Some(lie) = length.replaced(bytes, value) else {
                    continue;
                };
                replaced += 1;
                let result = attack(message, version, &lie);
                if result.is_ok() {
                    settles(message, version, &lie);
                }
                let is_impossible = value == -2 || value == length.max();
                assert!(
                    result.is_err() || !is_impossible || lie == bytes,
                    "{} {version}: {value} for {length:?}",
                    message.name
                );
            }
        }
    });
    assert!(replaced > 100_000, "only {replaced} lengths were replaced");
}

#[test]
fn every_byte_may_be_damaged() {
    let mut survived = 0;
    for_each(&[Sample::Filled], |message, version, bytes| {
        let mut damaged = bytes.to_vec();
        for at in 0..bytes.len() {
            for flip in [0xff, 0x80, 0x01] {
                damaged[at] = bytes[at] ^ flip;
                let result = attack(message, version, &damaged);
                if result.is_ok() && flip == 0x01 {
                    settles(message, version, &damaged);
                    survived += 1;
                }
            }
            damaged[at] = bytes[at];
        }
    });
    assert!(survived > 10_000, "only {survived} were read all the same");
}

/// The least budget with which a valid message is read is what it was charged, and no less than what was allocated.
#[test]
fn what_is_allocated_is_charged() {
    for_each(&Sample::SHORT, |message, version, bytes| {
        let (mut least, mut enough) = (0, memory_budget(bytes.len()));
        while least < enough {
            let budget = usize::midpoint(least, enough);
            match decode(message, version, bytes, budget).0 {
                Ok(()) => enough = budget,
                Err(error) => {
                    assert_eq!(error.kind, DecodeErrorKind::OverBudget);
                    least = budget + 1;
                }
            }
        }
        let (result, peak) = decode(message, version, bytes, enough);
        assert_eq!(result, Ok(()));
        assert!(
            peak <= enough,
            "{} {version}: {peak} bytes allocated, {enough} charged",
            message.name
        );
    });
}

/// Bodies of four and five bytes that make other decoders allocate thousands of millions of elements, and abort.
#[test]
fn bodies_that_announce_more_topics_than_there_are_bytes() {
    let metadata = MESSAGES.iter().find(|it| it.name == "MetadataRequest");
    let metadata = metadata.unwrap();
    let bodies: [(i16, &[u8]); 4] = [
        (1, &[0x7f, 0xff, 0xff, 0xff]),
        (4, &[0x7f, 0xff, 0xff, 0xff, 1]),
        (9, &[0xff, 0xff, 0xff, 0xff, 0x0f]),
        (12, &[0xff, 0xff, 0xff, 0xff, 0x07]),
    ];
    for (version, body) in bodies {
        let error = attack(metadata, version, body).unwrap_err();
        assert_eq!(error.kind, DecodeErrorKind::CountTooLarge, "{version}");
        let (_, peak) = decode(metadata, version, body, memory_budget(body.len()));
        assert_eq!(peak, 0, "{version}");
    }
}

#[test]
fn the_lengths_of_a_message_are_found() {
    // MetadataRequest 9: two topics with a compact name each, and tags; then the tags of the request.
    let metadata = MESSAGES.iter().find(|it| it.name == "MetadataRequest");
    let bytes = b"\x03\x02a\0\x02b\0\x01\x01\x01\0";
    let found = lengths::find(metadata.unwrap(), 9, bytes);
    let places: Vec<_> = found.iter().map(|it| (it.at, it.form)).collect();
    let expect = [
        (0, Form::Compact),
        (1, Form::Compact),
        (3, Form::Tags),
        (4, Form::Compact),
        (6, Form::Tags),
        (10, Form::Tags),
    ];
    assert_eq!(places, expect);
    let lie = found[1].replaced(bytes, -2).unwrap();
    assert_eq!(lie[..8], b"\x03\xff\xff\xff\xff\x0fa\0"[..]);
}
