//! The schema files as they stand: a serde mirror of the JSON in `schemas/`, and reading a folder of it.
//!
//! No decision is taken here. What a range means, whether a type exists, whether a default fits: see [`crate::check`].

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;

use crate::Error;

/// One schema file: one message.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Schema {
    /// The key that requests carry in their header; absent for headers and data.
    pub api_key: Option<i16>,
    /// What the message is for.
    #[serde(rename = "type")]
    pub kind: Kind,
    /// Name of the message and of its top struct.
    pub name: String,
    /// Which servers accept the request.
    #[serde(default)]
    pub listeners: Vec<String>,
    /// Closed range of versions the schema describes.
    pub valid_versions: String,
    /// Versions that Kafka announces to drop.
    pub deprecated_versions: Option<String>,
    /// Versions that carry tagged fields and compact lengths.
    pub flexible_versions: String,
    /// Ranges of versions to the version of the header in front of them.
    #[serde(default)]
    pub header_versions: BTreeMap<String, i16>,
    /// Whether the last version may still change in a later release.
    #[serde(default)]
    pub latest_version_unstable: bool,
    /// Structs that more than one field uses.
    #[serde(default)]
    pub common_structs: Vec<CommonStruct>,
    /// Fields of the top struct, in wire order.
    pub fields: Vec<Field>,
}

/// The role of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Sent by a client, with an API key.
    Request,
    /// Sent by a server, with the API key of its request.
    Response,
    /// Precedes every request or response.
    Header,
    /// Stands inside records or other messages.
    Data,
}

/// A struct that fields refer to by name.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CommonStruct {
    /// Name of the struct.
    pub name: String,
    /// Versions that know the struct.
    pub versions: String,
    /// Its fields, in wire order.
    pub fields: Vec<Field>,
}

/// One field of a struct.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Field {
    /// Kafka's name for the field.
    pub name: String,
    /// A primitive, a struct, or `[]` and one of them.
    #[serde(rename = "type")]
    pub type_name: String,
    /// Versions that have the field; may be left out for a tagged field.
    pub versions: Option<String>,
    /// Versions in which it may be null.
    pub nullable_versions: Option<String>,
    /// Its tag, in [`tagged_versions`](Self::tagged_versions).
    pub tag: Option<u32>,
    /// Versions in which the field stands in the tagged section.
    pub tagged_versions: Option<String>,
    /// Overrides the flexible versions of the message for this field.
    pub flexible_versions: Option<String>,
    /// Value of a field that is absent; a JSON null stands for the default of the type.
    pub default: Option<serde_json::Value>,
    /// Whether a value that a version cannot carry is dropped silently.
    #[serde(default)]
    pub ignorable: bool,
    /// Whether the field identifies an element of its array.
    #[serde(default)]
    pub map_key: bool,
    /// What a string or number names.
    pub entity_type: Option<String>,
    /// Whether Kafka avoids copying the bytes.
    #[serde(default)]
    pub zero_copy: bool,
    /// The fields of a struct declared in place.
    #[serde(default)]
    pub fields: Vec<Self>,
}

/// Reads every `.json` file of `folder`, in the order of the file names, each with its name.
///
/// # Errors
/// When the folder or a file cannot be read, or a file is not a schema.
pub fn read_folder(folder: &Path) -> Result<Vec<(String, Schema)>, Error> {
    let unreadable = |path: &Path| {
        let path = path.to_owned();
        move |source| Error::Io { path, source }
    };
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(unreadable(folder))? {
        let path = entry.map_err(unreadable(folder))?.path();
        if path
            .extension()
            .is_some_and(|extension| extension == "json")
        {
            paths.push(path);
        }
    }
    paths.sort();
    let mut schemas = Vec::with_capacity(paths.len());
    for path in paths {
        let text = std::fs::read_to_string(&path).map_err(unreadable(&path))?;
        let file = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let schema = parse(&file, &text)?;
        schemas.push((file, schema));
    }
    Ok(schemas)
}

/// Parses the text of one schema file; `file` names it in errors.
///
/// # Errors
/// When the text is not JSON, or has a key that no schema has.
pub fn parse(file: &str, text: &str) -> Result<Schema, Error> {
    serde_json::from_str(text).map_err(|source| Error::Json {
        file: file.to_owned(),
        source,
    })
}
