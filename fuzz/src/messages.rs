//! Messages: the generated code alone, against the interpreter, and against another crate.

use arbitrary::Unstructured;
use protocol::view::{self, Kind, Recoded};

use crate::choice::{Choice, Verdict};
use crate::kafka_protocol::{is_listed, peer};

/// What the generated code made of one input.
#[derive(Debug)]
pub struct Outcome {
    /// The message.
    pub choice: Choice,
    /// Whether it was read, and so was written too.
    pub is_message: bool,
}

/// Bytes as requests.
pub fn requests(input: &[u8]) -> Verdict {
    verdict(decode(Kind::Request, input))
}

/// Bytes as responses.
pub fn responses(input: &[u8]) -> Verdict {
    verdict(decode(Kind::Response, input))
}

/// Bytes as headers.
pub fn headers(input: &[u8]) -> Verdict {
    verdict(decode(Kind::Header, input))
}

/// Bytes as messages that stand in records or in other messages.
pub fn data(input: &[u8]) -> Verdict {
    verdict(decode(Kind::Data, input))
}

fn verdict(outcome: Option<Outcome>) -> Verdict {
    outcome.map_or(Verdict::Skipped, |_| Verdict::Run)
}

/// Reads bytes with the generated code. What was read must be written, and reading that must give the same again.
pub fn decode(kind: Kind, input: &[u8]) -> Option<Outcome> {
    let (choice, body) = Choice::of(kind, input)?;
    let is_message = settled(choice, body).is_some();
    Some(Outcome { choice, is_message })
}

/// The bytes that the generated code writes for what it has read, which it reads and writes back.
fn settled(choice: Choice, body: &[u8]) -> Option<Vec<u8>> {
    let Recoded {
        bytes,
        is_default,
        left,
    } = (choice.message.recode)(body, choice.version).ok()?;
    assert!(left <= body.len());
    let written = bytes.expect("what was read can be written");
    let again =
        (choice.message.recode)(&written, choice.version).expect("what was written is read");
    assert_eq!(again.left, 0, "all that was written is read");
    assert_eq!(again.is_default, is_default);
    assert_eq!(again.bytes.unwrap(), written);
    Some(written)
}

/// A valid message, made from the input by the descriptors: the generated code reads and writes it byte for byte.
pub fn round_trips(input: &[u8]) -> Verdict {
    let Some((choice, rest)) = Choice::of_any(input) else {
        return Verdict::Skipped;
    };
    let Choice { message, version } = choice;
    let mut input = Unstructured::new(rest);
    let Ok(bytes) = view::arbitrary(message, version, &mut input) else {
        return Verdict::Skipped;
    };
    let recoded = (message.recode)(&bytes, version).expect("a valid message is read");
    assert_eq!(recoded.left, 0);
    assert_eq!(recoded.bytes.unwrap(), bytes);
    Verdict::Run
}

/// Bytes read by the generated code and by the interpreter: both take them or refuse them for the same reason, and
/// write the same. The JSON of a message says all there is in it.
pub fn interpreter(input: &[u8]) -> Verdict {
    let Some((choice, body)) = Choice::of_any(input) else {
        return Verdict::Skipped;
    };
    let Choice { message, version } = choice;
    let generated = (message.recode)(body, version);
    let interpreted = view::interpret(message, version, body);
    let (generated, interpreted) = match (generated, interpreted) {
        (Ok(generated), Ok(interpreted)) => (generated, interpreted),
        (Err(generated), Err(interpreted)) => {
            assert_eq!(generated.kind, interpreted.kind);
            assert!(generated.at <= interpreted.at);
            let explained = view::explain(message, version, body, &generated);
            assert!(!explained.to_string().is_empty());
            return Verdict::Run;
        }
        (generated, interpreted) => panic!("{generated:?} but {interpreted:?}"),
    };
    let bytes = generated.bytes.expect("what was read can be written");
    assert_eq!(bytes, interpreted.bytes.unwrap());
    assert_eq!(generated.left, interpreted.left);
    assert_eq!(generated.is_default, interpreted.is_default);
    let json = view::to_json(message, version, &bytes).expect("a message has JSON");
    let back = view::from_json(message, version, &json).expect("JSON has a message");
    assert_eq!(back, bytes, "{json}");
    Verdict::Run
}

/// A message that the generated code has read and written, read and written by the `kafka-protocol` crate.
pub fn kafka_protocol(input: &[u8]) -> Verdict {
    let Some((choice, body)) = Choice::of_any(input) else {
        return Verdict::Skipped;
    };
    let Choice { message, version } = choice;
    let Some(peer) = peer(message.name) else {
        return Verdict::Skipped;
    };
    let (least, last) = peer.versions;
    if !(least..=last).contains(&version) {
        return Verdict::Skipped;
    }
    let Some(bytes) = settled(choice, body) else {
        return Verdict::Run;
    };
    if let Err(difference) = compare(choice, &bytes)
        && !is_listed(message.name, &difference)
    {
        panic!("{} {version}: {difference}", message.name);
    }
    Verdict::Run
}

/// Whether the `kafka-protocol` crate reads and writes these bytes of ours back.
///
/// # Errors
/// How it differs.
pub fn compare(choice: Choice, bytes: &[u8]) -> Result<(), String> {
    let peer = peer(choice.message.name).ok_or("it has no such message")?;
    let (left, written) = (peer.recode)(bytes, choice.version)?;
    if left > 0 {
        return Err(format!("{left} bytes were left"));
    }
    if written != bytes {
        return Err(format!("{bytes:02x?} was written as {written:02x?}"));
    }
    Ok(())
}
