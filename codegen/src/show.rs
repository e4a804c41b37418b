//! What a person asks of the schemas: the fields of a message as a table, and which messages a name stands for.

use std::fmt::Write as _;

use crate::model::{Api, DefaultValue, Field, Message, Model, Shape, Type};
use crate::schema::Kind;
use crate::versions::Versions;

/// At most so many names are suggested for one that is unknown.
const SUGGESTIONS_MAX: usize = 8;

/// The tables of all messages that `name` stands for.
///
/// # Errors
/// When it stands for none; the text says what to ask for instead.
pub fn show(model: &Model, name: &str) -> Result<String, String> {
    let tables: Vec<String> = find(model, name)?
        .into_iter()
        .map(|message| table(model, message))
        .collect();
    Ok(tables.join("\n"))
}

/// The messages that a person means: request and response for the name of an API or its key, one for the name of a message or
/// of its file. Capitals do not matter.
///
/// # Errors
/// When there are none; the text says what to ask for instead.
pub fn find<'m>(model: &'m Model, name: &str) -> Result<Vec<&'m Message>, String> {
    let name = name.strip_suffix(".json").unwrap_or(name);
    let key = name.parse::<i16>().ok();
    let is_meant = |message: &&Message| {
        let by_api = message
            .api
            .as_ref()
            .is_some_and(|(api_key, api)| api.eq_ignore_ascii_case(name) || Some(*api_key) == key);
        by_api || message.name.eq_ignore_ascii_case(name)
    };
    let mut found: Vec<&Message> = model.messages.iter().filter(is_meant).collect();
    found.sort_by_key(|message| message.kind == Kind::Response);
    if found.is_empty() {
        return Err(unknown(model, name));
    }
    Ok(found)
}

fn unknown(model: &Model, name: &str) -> String {
    let small = name.to_lowercase();
    let mut close: Vec<(usize, &str)> = names(model)
        .map(|known| (distance(&small, &known.to_lowercase()), known))
        .filter(|(distance, known)| *distance <= 3 || known.to_lowercase().contains(&small))
        .collect();
    close.sort_unstable();
    let close: Vec<&str> = close.iter().map(|(_, known)| *known).collect();
    let advice = if close.is_empty() || name.is_empty() {
        "give the name of an API (Fetch), its key (1), or the name of a message (FetchRequest); the files of the schemas \
         name all messages"
            .to_owned()
    } else {
        let shown = &close[..close.len().min(SUGGESTIONS_MAX)];
        format!("did you mean {}?", shown.join(", "))
    };
    format!("there is no API or message `{name}`: {advice}")
}

/// The names of APIs, and of messages that are of none.
fn names(model: &Model) -> impl Iterator<Item = &str> {
    let apis = model.apis.iter().map(|api| api.name.as_str());
    let others = model.messages.iter().filter(|it| it.api.is_none());
    apis.chain(others.map(|message| message.name.as_str()))
}

/// How many letters must be put in, taken out or changed to make one name the other.
fn distance(one: &str, other: &str) -> usize {
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (index, letter) in one.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = index + 1;
        for (column, known) in other.bytes().enumerate() {
            let changed = diagonal + usize::from(letter != known);
            diagonal = row[column + 1];
            row[column + 1] = changed.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[other.len()]
}

/// The message and its fields, those of structs below the field that holds the struct.
fn table(model: &Model, message: &Message) -> String {
    let head = [
        "field",
        "type",
        "versions",
        "null",
        "tag",
        "default",
        "ignorable",
    ];
    let mut rows = vec![head.map(str::to_owned)];
    add_rows(message, 0, 0, &mut rows);
    let widths: Vec<usize> = (0..head.len())
        .map(|column| rows.iter().map(|row| row[column].len()).max().unwrap_or(0))
        .collect();
    let mut text = title(model, message);
    for row in rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            let _ = write!(line, "  {cell:width$}");
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

fn title(model: &Model, message: &Message) -> String {
    let kind = match message.kind {
        Kind::Request => "request",
        Kind::Response => "response",
        Kind::Header => "header",
        Kind::Data => "data",
    };
    let api = message.api.as_ref();
    let api = api.and_then(|(key, _)| model.apis.iter().find(|api| api.key == *key));
    let mut text = format!("{}, {kind}", message.name);
    if let Some(api) = api {
        let _ = write!(text, " of API key {}", api.key);
    }
    let _ = write!(
        text,
        ", versions {}, flexible {}",
        message.versions, message.flexible
    );
    if let Some(api) = api {
        for (versions, header) in headers(api, message.kind) {
            let versions = versions.intersect(message.versions);
            let _ = write!(text, ", header {header} in {versions}");
        }
        if api.latest_version_unstable {
            let _ = write!(text, ", {} may still change", message.versions.highest);
        }
    }
    text.push('\n');
    text
}

fn headers(api: &Api, kind: Kind) -> &[(Versions, i16)] {
    match kind {
        Kind::Request => &api.request_headers,
        _ => &api.response_headers,
    }
}

/// The header that stands before the message in this version.
#[must_use]
pub fn header_version(model: &Model, message: &Message, version: i16) -> Option<i16> {
    let (key, _) = message.api.as_ref()?;
    let api = model.apis.iter().find(|api| api.key == *key)?;
    let mut headers = headers(api, message.kind).iter();
    headers.find_map(|(versions, header)| versions.contains(version).then_some(*header))
}

fn add_rows(message: &Message, index: usize, depth: usize, rows: &mut Vec<[String; 7]>) {
    for field in &message.structs[index].fields {
        let (array, of) = match &field.shape {
            Shape::One(of) => ("", of),
            Shape::Many(of) => ("[]", of),
        };
        let indent = "  ".repeat(depth);
        rows.push([
            format!("{indent}{}", field.name),
            format!("{array}{}", type_name(of)),
            field.versions.to_string(),
            if field.is_optional() {
                field.nullable.to_string()
            } else {
                String::new()
            },
            field.tagged.map_or_else(String::new, |(tag, versions)| {
                format!("{tag} in {versions}")
            }),
            default(field),
            if field.ignorable { "yes" } else { "" }.to_owned(),
        ]);
        if let Type::Struct(name) = of {
            let inner = message.structs.iter().position(|it| it.name == *name);
            if let Some(inner) = inner {
                add_rows(message, inner, depth + 1, rows);
            }
        }
    }
}

fn default(field: &Field) -> String {
    match &field.default {
        DefaultValue::Implicit => String::new(),
        DefaultValue::Null => "null".to_owned(),
        DefaultValue::True => "true".to_owned(),
        DefaultValue::Int(number) => number.to_string(),
        DefaultValue::Float(number) => number.to_string(),
        DefaultValue::Text(text) => format!("{text:?}"),
    }
}

fn type_name(of: &Type) -> &str {
    match of {
        Type::String => "string",
        Type::Bytes => "bytes",
        Type::Records => "records",
        Type::Struct(name) => name,
        Type::Fixed(fixed) => fixed.name(),
    }
}
