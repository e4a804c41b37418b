//! Names of 3.9.2 that 4.x has replaced, of messages and of fields. The bytes stayed the same, and our schemas have the
//! newest names.

use serde_json::Value;
use tests::oracle::Release;

const MESSAGES: [(&str, &str); 2] = [
    (
        "ListClientMetricsResourcesRequest",
        "ListConfigResourcesRequest",
    ),
    (
        "ListClientMetricsResourcesResponse",
        "ListConfigResourcesResponse",
    ),
];

/// Message, old name and new name of a field, as keys of JSON.
const FIELDS: [(&str, &str, &str); 6] = [
    (
        "ListConfigResourcesResponse",
        "clientMetricsResources",
        "configResources",
    ),
    ("ListConfigResourcesResponse", "name", "resourceName"),
    (
        "TxnOffsetCommitRequest",
        "generationId",
        "generationIdOrMemberEpoch",
    ),
    ("VoteRequest", "candidateEpoch", "replicaEpoch"),
    ("VoteRequest", "candidateId", "replicaId"),
    ("VoteRequest", "candidateDirectoryId", "replicaDirectoryId"),
];

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    ToOld,
    ToNew,
}

/// Our name of a message.
pub(crate) fn ours(name: &str) -> &str {
    let renamed = MESSAGES.iter().find(|(old, _)| *old == name);
    renamed.map_or(name, |(_, new)| new)
}

/// The name of a field as a key of JSON.
pub(crate) fn key(field: &str) -> String {
    let (first, rest) = field.split_at(1);
    first.to_lowercase() + rest
}

/// The JSON of a message for a release, or from it, with the names that fields have there.
pub(crate) fn rename(release: Release, message: &str, json: Value, direction: Direction) -> Value {
    let fields = FIELDS.iter().filter(|(of, ..)| *of == message);
    let pairs: Vec<_> = fields
        .map(|(_, old, new)| match direction {
            Direction::ToOld => (*new, *old),
            Direction::ToNew => (*old, *new),
        })
        .collect();
    if release == Release::New || pairs.is_empty() {
        return json;
    }
    rename_keys(json, &pairs)
}

fn rename_keys(json: Value, pairs: &[(&str, &str)]) -> Value {
    let name = |key: String| match pairs.iter().find(|(from, _)| *from == key) {
        Some((_, to)) => (*to).to_owned(),
        None => key,
    };
    match json {
        Value::Object(fields) => fields
            .into_iter()
            .map(|(key, value)| (name(key), rename_keys(value, pairs)))
            .collect(),
        Value::Array(elements) => elements
            .into_iter()
            .map(|element| rename_keys(element, pairs))
            .collect(),
        other => other,
    }
}
