//! What changes for a reader of the schemas when an import replaces them.

use std::collections::{BTreeMap, BTreeSet};

use super::model::Message;
use super::write::field_facts;

/// One line for each message that came, went or changed, and one for each of its changed fields.
pub(super) fn diff(before: &[Message], after: &[Message]) -> Vec<String> {
    let by_key = |messages: &[Message]| -> BTreeMap<_, _> {
        let pairs = messages.iter().map(|it| (it.key(), it.clone()));
        pairs.collect()
    };
    let (before, after) = (by_key(before), by_key(after));
    let keys: BTreeSet<_> = before.keys().chain(after.keys()).collect();
    let mut lines = Vec::new();
    for key in keys {
        match (before.get(key), after.get(key)) {
            (None, Some(new)) => lines.push(format!("+ {} {}", new.name, new.valid)),
            (Some(old), None) => lines.push(format!("- {} {}", old.name, old.valid)),
            (Some(old), Some(new)) => changes(old, new, &mut lines),
            (None, None) => {}
        }
    }
    lines
}

fn changes(old: &Message, new: &Message, lines: &mut Vec<String>) {
    let name = &new.name;
    if old.name != *name {
        lines.push(format!("~ {name}: was {}", old.name));
    }
    for (what, old, new) in [
        ("versions", old.valid, new.valid),
        ("flexible versions", old.flexible, new.flexible),
    ] {
        if old != new {
            lines.push(format!("~ {name}: {what} {old} -> {new}"));
        }
    }
    let (old, new) = (facts(old), facts(new));
    let places: BTreeSet<_> = old.keys().chain(new.keys()).collect();
    for place in places {
        match (old.get(place), new.get(place)) {
            (None, Some(new)) => lines.push(format!("~ {name}: + {place} {new}")),
            (Some(old), None) => lines.push(format!("~ {name}: - {place} {old}")),
            (Some(old), Some(new)) if old != new => {
                lines.push(format!("~ {name}: {place} {old} -> {new}"));
            }
            _ => {}
        }
    }
}

/// Every field of a message, by struct and name, with what its schema says of it.
fn facts(message: &Message) -> BTreeMap<String, String> {
    let inner = message.structs.iter().map(|(name, it)| (name, &it.fields));
    let mut facts = BTreeMap::new();
    for (owner, fields) in inner.chain([(&message.name, &message.fields)]) {
        for field in fields {
            facts.insert(format!("{owner}.{}", field.name), field_facts(field));
        }
    }
    facts
}
