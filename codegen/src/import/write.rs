//! The canonical form of a schema: facts only, keys in one order, one field per line.

use std::fmt::Write as _;

use serde_json::Value;

use super::model::{Field, Message};
use crate::versions::Versions;

/// The text of a canonical schema file.
pub(super) fn canonical(message: &Message) -> String {
    let mut keys = Keys::default();
    if let Some(key) = message.api_key {
        keys.put("apiKey", key);
    }
    keys.text("type", message.kind.name());
    keys.text("name", &message.name);
    if !message.listeners.is_empty() {
        let listeners: Vec<_> = message.listeners.iter().map(|name| quoted(name)).collect();
        keys.put("listeners", format!("[{}]", listeners.join(", ")));
    }
    keys.text("validVersions", &message.valid.to_string());
    if let Some(deprecated) = message.deprecated {
        keys.text("deprecatedVersions", &deprecated.to_string());
    }
    keys.text("flexibleVersions", &message.flexible.to_string());
    if !message.header_versions.is_empty() {
        let headers: Vec<_> = message
            .header_versions
            .iter()
            .map(|(range, version)| format!("{}: {version}", quoted(&range.to_string())))
            .collect();
        keys.put("headerVersions", format!("{{ {} }}", headers.join(", ")));
    }
    if message.unstable && message.kind.name() == "request" {
        keys.put("latestVersionUnstable", true);
    }
    let mut common = Vec::new();
    for name in &message.common {
        let Some(it) = message.structs.get(name) else {
            continue;
        };
        let mut keys = Keys::default();
        keys.text("name", name);
        let versions = it.versions.unwrap_or(Versions::NONE);
        keys.text("versions", &versions.to_string());
        keys.put("fields", list(message, &it.fields, 3));
        common.push(format!("    {}", keys.on_one_line()));
    }
    if !common.is_empty() {
        keys.put("commonStructs", format!("[\n{}\n  ]", common.join(",\n")));
    }
    keys.put("fields", list(message, &message.fields, 2));
    format!("{{\n  {}\n}}\n", keys.0.join(",\n  "))
}

/// A list of fields, one per line, at the given depth.
fn list(message: &Message, fields: &[Field], depth: usize) -> String {
    if fields.is_empty() {
        return "[]".to_owned();
    }
    let indent = "  ".repeat(depth);
    let mut text = String::from("[\n");
    for (index, field) in fields.iter().enumerate() {
        let comma = if index + 1 < fields.len() { "," } else { "" };
        let line = line(message, field, depth);
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{indent}{line}{comma}");
    }
    text.push_str(&"  ".repeat(depth - 1));
    text.push(']');
    text
}

fn line(message: &Message, field: &Field, depth: usize) -> String {
    let mut keys = field_keys(field);
    let inner = message.structs.get(&field.element);
    if let Some(inner) = inner.filter(|inner| inner.versions.is_none()) {
        keys.put("fields", list(message, &inner.fields, depth + 1));
    }
    keys.on_one_line()
}

fn field_keys(field: &Field) -> Keys {
    let mut keys = Keys::default();
    keys.text("name", &field.name);
    let prefix = if field.is_array { "[]" } else { "" };
    keys.text("type", &format!("{prefix}{}", field.element));
    keys.text("versions", &field.versions.to_string());
    if !field.nullable.is_empty() {
        keys.text("nullableVersions", &field.nullable.to_string());
    }
    if let Some(tag) = field.tag.filter(|_| !field.tagged.is_empty()) {
        keys.put("tag", tag);
        keys.text("taggedVersions", &field.tagged.to_string());
    }
    if let Some(flexible) = field.flexible {
        keys.text("flexibleVersions", &flexible.to_string());
    }
    if let Some(default) = &field.default {
        keys.text("default", default);
    }
    for (key, value) in [
        ("ignorable", field.ignorable),
        ("mapKey", field.map_key),
        ("zeroCopy", field.zero_copy),
    ] {
        if value {
            keys.put(key, true);
        }
    }
    if let Some(entity_type) = &field.entity_type {
        keys.text("entityType", entity_type);
    }
    keys
}

/// `"key": value` in the order they were put.
#[derive(Default)]
struct Keys(Vec<String>);

impl Keys {
    fn put(&mut self, key: &str, value: impl std::fmt::Display) {
        self.0.push(format!("{}: {value}", quoted(key)));
    }

    fn text(&mut self, key: &str, value: &str) {
        self.put(key, quoted(value));
    }

    fn on_one_line(&self) -> String {
        format!("{{ {} }}", self.0.join(", "))
    }
}

fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}
