//! Every message in every version: what the interpreter writes, the generated code reads and writes back.

use protocol::view::{Kind, MESSAGES, MessageDescriptor, Sample, sample};

/// Calls `check` with every message and version and the bytes of every kind of sample.
fn for_each(kinds: &[Sample], mut check: impl FnMut(&MessageDescriptor, i16, Sample, &[u8], bool)) {
    for message in MESSAGES {
        for version in message.versions.iter() {
            for &kind in kinds {
                let (bytes, is_default) = sample(message, version, kind);
                check(message, version, kind, &bytes, is_default);
            }
        }
    }
}

#[test]
fn every_sample_comes_back_byte_for_byte() {
    for_each(&Sample::ALL, |message, version, kind, bytes, is_default| {
        let place = format!("{} {version} {kind:?}", message.name);
        let recoded =
            (message.recode)(bytes, version).unwrap_or_else(|error| panic!("{place}: {error}"));
        assert_eq!(recoded.left, 0, "{place}: bytes left");
        let written = recoded
            .bytes
            .unwrap_or_else(|error| panic!("{place}: {error}"));
        assert_eq!(written, bytes, "{place}");
        assert_eq!(
            recoded.is_default, is_default,
            "{place}: equal to the default"
        );
    });
}

#[test]
fn what_follows_a_message_is_left_alone() {
    for_each(&[Sample::Filled], |message, version, _, bytes, _| {
        let longer = [bytes, b"rest"].concat();
        let recoded = (message.recode)(&longer, version).unwrap();
        assert_eq!(recoded.left, 4, "{} {version}", message.name);
    });
}

/// A message ends where its last field ends, and only there: every byte of a sample is needed, so every proper prefix
/// must be refused.
#[test]
fn every_proper_prefix_is_refused() {
    for_each(
        &[Sample::Nulls, Sample::UnknownTags],
        |message, version, kind, bytes, _| {
            for end in 0..bytes.len() {
                let recoded = (message.recode)(&bytes[..end], version);
                assert!(
                    recoded.is_err(),
                    "{} {version} {kind:?} cut to {end} of {}",
                    message.name,
                    bytes.len()
                );
            }
        },
    );
}

#[test]
fn versions_a_message_does_not_have_are_refused() {
    for message in MESSAGES {
        let (bytes, _) = sample(message, message.versions.1, Sample::Filled);
        for version in [-1, message.versions.0 - 1, message.versions.1 + 1, i16::MAX] {
            assert!(
                (message.recode)(&bytes, version).is_err(),
                "{} {version}",
                message.name
            );
        }
    }
}

#[test]
fn requests_and_responses_come_in_pairs() {
    let of_kind = |kind| MESSAGES.iter().filter(move |message| message.kind == kind);
    for request in of_kind(Kind::Request) {
        let key = request.api_key.expect("a request has a key");
        let mut responses =
            of_kind(Kind::Response).filter(|response| response.api_key == Some(key));
        let response = responses.next().expect("a request has a response");
        assert_eq!(responses.next().map(|it| it.name), None);
        assert_eq!(request.versions, response.versions, "{}", request.name);
        assert_eq!(
            key.request_versions(),
            request.versions.0..=request.versions.1
        );
    }
}
