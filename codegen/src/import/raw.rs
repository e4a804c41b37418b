//! Kafka's own schema files, read strictly: JSON with comments, every key known, every range parsed.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Error as _, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::error::{ImportError, Problem};
use super::model::{Field, Kind, Message, Struct};
use crate::versions::Versions;

/// Replaces `//` and `/* */` comments outside strings by spaces, so that lines and columns stay.
pub(super) fn strip_comments(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    let mut in_string = false;
    while let Some(c) = chars.next() {
        match (in_string, c, chars.peek()) {
            (true, '\\', _) => {
                out.push(c);
                out.extend(chars.next());
            }
            (_, '"', _) => {
                in_string = !in_string;
                out.push(c);
            }
            (false, '/', Some('/')) => {
                out.push(' ');
                while let Some(c) = chars.next_if(|&c| c != '\n') {
                    out.push(blank(c));
                }
            }
            (false, '/', Some('*')) => {
                let mut last = ' ';
                out.push(' ');
                out.extend(chars.next().map(blank));
                for c in chars.by_ref() {
                    out.push(blank(c));
                    if last == '*' && c == '/' {
                        break;
                    }
                    last = c;
                }
            }
            _ => out.push(c),
        }
    }
    out
}

fn blank(c: char) -> char {
    if c == '\n' { c } else { ' ' }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RawMessage {
    api_key: Option<i16>,
    #[serde(rename = "type")]
    kind: Kind,
    name: String,
    #[serde(default)]
    listeners: Vec<String>,
    valid_versions: String,
    deprecated_versions: Option<String>,
    #[serde(default = "no_versions")]
    flexible_versions: String,
    #[serde(default)]
    header_versions: BTreeMap<String, i16>,
    #[serde(default)]
    latest_version_unstable: bool,
    #[serde(default)]
    common_structs: Vec<RawStruct>,
    #[serde(default)]
    fields: Vec<RawField>,
    /// Prose, which is read so that it is known, and left out.
    #[serde(rename = "about")]
    _about: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RawStruct {
    name: String,
    versions: String,
    fields: Vec<RawField>,
    #[serde(rename = "about")]
    _about: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RawField {
    name: String,
    #[serde(rename = "type")]
    type_name: String,
    versions: Option<String>,
    nullable_versions: Option<String>,
    default: Option<Value>,
    #[serde(default, deserialize_with = "flag")]
    ignorable: bool,
    #[serde(default, deserialize_with = "number")]
    tag: Option<u32>,
    tagged_versions: Option<String>,
    flexible_versions: Option<String>,
    #[serde(default)]
    map_key: bool,
    entity_type: Option<String>,
    #[serde(default)]
    zero_copy: bool,
    #[serde(default)]
    fields: Vec<Self>,
    #[serde(rename = "about")]
    _about: Option<String>,
}

fn no_versions() -> String {
    "none".to_owned()
}

/// A boolean, which some files write as a string.
fn flag<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    match Value::deserialize(deserializer)? {
        Value::Bool(value) => Ok(value),
        Value::String(text) if text == "true" => Ok(true),
        Value::String(text) if text == "false" => Ok(false),
        other => Err(D::Error::custom(format!("{other} is no boolean"))),
    }
}

/// A tag, which some files write as a string.
fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u32>, D::Error> {
    let value = Value::deserialize(deserializer)?;
    let number = match &value {
        Value::Number(number) => number
            .as_u64()
            .and_then(|number| u32::try_from(number).ok()),
        Value::String(text) => text.parse().ok(),
        _ => None,
    };
    match number {
        Some(number) => Ok(Some(number)),
        None => Err(D::Error::custom(format!("{value} is no tag"))),
    }
}

/// A JSON value in which no object says two things under one key; one file of 3.9 says the same thing twice.
struct Unique(Value);

impl<'de> Deserialize<'de> for Unique {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(UniqueVisitor).map(Self)
    }
}

struct UniqueVisitor;

impl<'de> Visitor<'de> for UniqueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut object = serde_json::Map::new();
        while let Some((key, Unique(value))) = map.next_entry::<String, _>()? {
            let before = object.insert(key.clone(), value);
            if before.is_some_and(|before| object.get(&key) != Some(&before)) {
                return Err(A::Error::custom(format!("`{key}` stands twice")));
            }
        }
        Ok(Value::Object(object))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut array = Vec::new();
        while let Some(Unique(value)) = seq.next_element()? {
            array.push(value);
        }
        Ok(Value::Array(array))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::from(text))
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
        Ok(Value::from(number))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
        Ok(Value::from(number))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Value, E> {
        Ok(Value::from(number))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }
}

/// Reads one schema file; `None` for a message that has no versions left.
pub(super) fn parse(file: &str, text: &str) -> Result<Option<Message>, ImportError> {
    let bad = |source| ImportError::Json {
        file: file.to_owned(),
        source,
    };
    let Unique(value) = serde_json::from_str(&strip_comments(text)).map_err(bad)?;
    let raw = RawMessage::deserialize(value).map_err(bad)?;
    let at = Place {
        file,
        place: raw.name.clone(),
    };
    let valid = at.range(&raw.valid_versions)?;
    if valid.is_empty() {
        return Ok(None);
    }
    if valid.is_open() {
        return Err(at.error(Problem::OpenVersions));
    }
    let mut structs = BTreeMap::new();
    let mut common = Vec::new();
    for raw in raw.common_structs {
        let versions = Some(at.range(&raw.versions)?);
        let fields = fields(&at, &raw.name, raw.fields, &mut structs)?;
        common.push(raw.name.clone());
        declare(&at, raw.name, Struct { versions, fields }, &mut structs)?;
    }
    let fields = fields(&at, &raw.name, raw.fields, &mut structs)?;
    let mut header_versions = Vec::new();
    for (range, version) in &raw.header_versions {
        header_versions.push((at.range(range)?, *version));
    }
    header_versions.sort_by_key(|(range, _)| range.lowest);
    Ok(Some(Message {
        file: file.to_owned(),
        kind: raw.kind,
        api_key: raw.api_key,
        listeners: raw.listeners,
        valid,
        deprecated: at.optional_range(raw.deprecated_versions.as_deref())?,
        flexible: at.range(&raw.flexible_versions)?,
        header_versions,
        unstable: raw.latest_version_unstable,
        name: raw.name,
        fields,
        structs,
        common,
    }))
}

fn declare(
    at: &Place<'_>,
    name: String,
    it: Struct,
    structs: &mut BTreeMap<String, Struct>,
) -> Result<(), ImportError> {
    if structs.contains_key(&name) {
        return Err(at.inside(&name).error(Problem::TwoStructs));
    }
    structs.insert(name, it);
    Ok(())
}

fn fields(
    at: &Place<'_>,
    owner: &str,
    raw: Vec<RawField>,
    structs: &mut BTreeMap<String, Struct>,
) -> Result<Vec<Field>, ImportError> {
    let mut fields = Vec::with_capacity(raw.len());
    for raw in raw {
        let at = at.inside(&format!("{owner}.{}", raw.name));
        let (is_array, element) = match raw.type_name.strip_prefix("[]") {
            Some(element) => (true, element.to_owned()),
            None => (false, raw.type_name),
        };
        if !raw.fields.is_empty() {
            let inner = self::fields(&at, &element, raw.fields, structs)?;
            let it = Struct {
                versions: None,
                fields: inner,
            };
            declare(&at, element.clone(), it, structs)?;
        }
        let tagged = at.optional_range(raw.tagged_versions.as_deref())?;
        if raw.tag.is_some() != tagged.is_some() {
            return Err(at.error(Problem::HalfTagged));
        }
        let Some(versions) = at.optional_range(raw.versions.as_deref())?.or(tagged) else {
            return Err(at.error(Problem::NoVersions));
        };
        fields.push(Field {
            name: raw.name,
            is_array,
            element,
            versions,
            nullable: at
                .optional_range(raw.nullable_versions.as_deref())?
                .unwrap_or(Versions::NONE),
            tag: raw.tag,
            tagged: tagged.unwrap_or(Versions::NONE),
            flexible: at.optional_range(raw.flexible_versions.as_deref())?,
            default: default(&at, raw.default)?,
            ignorable: raw.ignorable,
            map_key: raw.map_key,
            entity_type: raw.entity_type,
            zero_copy: raw.zero_copy,
        });
    }
    Ok(fields)
}

/// A default in one form, as text; a JSON null and an empty text say no more than the type does.
fn default(at: &Place<'_>, value: Option<Value>) -> Result<Option<String>, ImportError> {
    match value {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(Value::Bool(value)) => Ok(Some(value.to_string())),
        Some(Value::Number(number)) => Ok(Some(number.to_string())),
        Some(Value::Array(_) | Value::Object(_)) => Err(at.error(Problem::BadDefault)),
    }
}

/// Where in a file something is said.
struct Place<'f> {
    file: &'f str,
    place: String,
}

impl Place<'_> {
    fn inside(&self, place: &str) -> Self {
        Self {
            file: self.file,
            place: place.to_owned(),
        }
    }

    fn error(&self, problem: Problem) -> ImportError {
        ImportError::Schema {
            file: self.file.to_owned(),
            place: self.place.clone(),
            problem,
        }
    }

    fn range(&self, text: &str) -> Result<Versions, ImportError> {
        Versions::parse(text).ok_or_else(|| self.error(Problem::BadRange(text.to_owned())))
    }

    fn optional_range(&self, text: Option<&str>) -> Result<Option<Versions>, ImportError> {
        text.map(|text| self.range(text)).transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_go_and_strings_stay() {
        let check = |text: &str, expect: &str| assert_eq!(strip_comments(text), expect);
        check("{} // x \"y\"\n{}", "{}         \n{}");
        check("1 /* a \n b */ 2", "1      \n      2");
        check(r#""http://x" // y"#, r#""http://x"     "#);
        check(r#""a\"//b" /*c*/"#, r#""a\"//b"      "#);
        check("/**/1", "    1");
        check("/*/ 1 */2", "        2");
    }
}
