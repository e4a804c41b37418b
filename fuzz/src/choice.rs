//! Which message an input is about: its first bytes say so. `FUZZ_API` leaves one of them.
//!
//! Messages with a key are counted by it, so that inputs keep their meaning when Kafka adds APIs.

use std::process::exit;
use std::sync::OnceLock;

use protocol::view::{Kind, MESSAGES, MessageDescriptor};

/// What became of an input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It was looked at.
    Run,
    /// It is not for this target, or not for the message asked for.
    Skipped,
}

/// The kinds of messages, in the order in which an input counts them.
pub const KINDS: [Kind; 4] = [Kind::Request, Kind::Response, Kind::Header, Kind::Data];

/// A message in one of its versions.
#[derive(Debug, Clone, Copy)]
pub struct Choice {
    /// What is known of it.
    pub message: &'static MessageDescriptor,
    /// One of its versions.
    pub version: i16,
}

/// Every message of a kind, by key or else by name.
pub fn of_kind(kind: Kind) -> Vec<&'static MessageDescriptor> {
    let mut messages = MESSAGES.to_vec();
    messages.retain(|message| message.kind == kind);
    messages.sort_by_key(|message| (message.api_key.map(|key| key as i16), message.name));
    messages
}

fn lists() -> &'static [Vec<&'static MessageDescriptor>; 4] {
    static LISTS: OnceLock<[Vec<&'static MessageDescriptor>; 4]> = OnceLock::new();
    LISTS.get_or_init(|| KINDS.map(of_kind))
}

fn list(kind: Kind) -> &'static [&'static MessageDescriptor] {
    let index = KINDS.iter().position(|known| *known == kind);
    index
        .and_then(|index| lists().get(index))
        .map_or(&[], |it| it)
}

impl Choice {
    /// What the first two bytes choose of the messages of a kind, and the other bytes.
    pub fn of(kind: Kind, input: &[u8]) -> Option<(Self, &[u8])> {
        let ([message, version], rest) = input.split_first_chunk()?;
        let messages = list(kind);
        let message = *messages.get(usize::from(*message) % messages.len())?;
        let versions = message.versions;
        let count = versions.iter().count();
        let version = versions.iter().nth(usize::from(*version) % count)?;
        let wanted = only();
        if wanted.is_some_and(|wanted| !is_called(message, wanted)) {
            return None;
        }
        Some((Self { message, version }, rest))
    }

    /// What the first three bytes choose of all messages, and the other bytes.
    pub fn of_any(input: &[u8]) -> Option<(Self, &[u8])> {
        let (kind, rest) = input.split_first()?;
        Self::of(*KINDS.get(usize::from(*kind) % KINDS.len())?, rest)
    }

    /// The two bytes that [`of`](Self::of) takes for this.
    pub fn bytes(self) -> [u8; 2] {
        let place = list(self.message.kind)
            .iter()
            .position(|message| message.name == self.message.name);
        let version = self.version - self.message.versions.0;
        [
            u8::try_from(place.unwrap()).unwrap(),
            u8::try_from(version).unwrap(),
        ]
    }

    /// The three bytes that [`of_any`](Self::of_any) takes for this.
    pub fn any_bytes(self) -> [u8; 3] {
        let kind = KINDS.iter().position(|kind| *kind == self.message.kind);
        let [message, version] = self.bytes();
        [u8::try_from(kind.unwrap()).unwrap(), message, version]
    }
}

fn is_called(message: &MessageDescriptor, name: &str) -> bool {
    message.name == name || message.api_key.is_some_and(|key| key.name() == name)
}

/// The value of `FUZZ_API`, if it is set.
fn only() -> Option<&'static str> {
    static ONLY: OnceLock<Option<String>> = OnceLock::new();
    ONLY.get_or_init(|| {
        std::env::var("FUZZ_API")
            .ok()
            .filter(|name| !name.is_empty())
    })
    .as_deref()
}

/// Ends the program if `FUZZ_API` names nothing that the target of this name looks at.
pub fn check_environment(target: &str) {
    let Some(wanted) = only() else {
        return;
    };
    if let Err(message) = check_name(target, wanted) {
        eprintln!("FUZZ_API={wanted}: {message}");
        exit(2);
    }
}

/// Whether a target looks at what has this name: an API (`Fetch`) or a message (`FetchRequest`, `EndTxnMarker`).
///
/// # Errors
/// What is wrong with the name, for people.
pub fn check_name(target: &str, wanted: &str) -> Result<(), String> {
    let kinds: &[Kind] = match target {
        "requests" => &[Kind::Request],
        "responses" => &[Kind::Response],
        "headers" => &[Kind::Header],
        "data" => &[Kind::Data],
        "round_trips" | "interpreter" | "kafka_protocol" => &KINDS,
        _ => return Err(format!("the target {target} is not about single messages")),
    };
    let messages: Vec<_> = kinds.iter().flat_map(|kind| list(*kind)).collect();
    if messages.iter().any(|message| is_called(message, wanted)) {
        return Ok(());
    }
    let name =
        |message: &&&MessageDescriptor| message.api_key.map_or(message.name, |key| key.name());
    let mut names: Vec<&str> = messages.iter().map(name).collect();
    names.dedup();
    Err(format!(
        "the target {target} knows no such API or message, only {}",
        names.join(", ")
    ))
}
