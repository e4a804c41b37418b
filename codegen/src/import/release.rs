//! The schema files of one release, from a `kafka-clients` jar or a folder, with what they leave to rules made explicit.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::{Cursor, Read as _};
use std::path::Path;

use sha2::{Digest as _, Sha256};

use super::error::{ImportError, Problem};
use super::model::{Key, Kind, Message};
use super::raw;
use crate::versions::Versions;

/// Where the schema files lie in a `kafka-clients` jar.
const JAR_FOLDER: &str = "common/message/";

/// The schema files of one release.
#[derive(Debug)]
pub(super) struct Release {
    pub(super) name: ReleaseName,
    /// Name of the jar or folder.
    pub(super) source: String,
    pub(super) sha256: String,
    pub(super) messages: BTreeMap<Key, Message>,
}

/// The name of a release, ordered by its numbers.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ReleaseName {
    numbers: Vec<u32>,
}

impl ReleaseName {
    /// Parses `4.4.0` and the like.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let numbers: Result<_, _> = text.split('.').map(str::parse).collect();
        Some(Self {
            numbers: numbers.ok()?,
        })
    }
}

impl std::fmt::Display for ReleaseName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let numbers: Vec<_> = self.numbers.iter().map(u32::to_string).collect();
        f.write_str(&numbers.join("."))
    }
}

impl Release {
    pub(super) fn read(source: &Path) -> Result<Self, ImportError> {
        let file_name = source.file_name().unwrap_or_default().to_string_lossy();
        let stem = file_name.strip_suffix(".jar").unwrap_or(&file_name);
        let name = stem.rsplit('-').next().unwrap_or_default();
        let name = ReleaseName::parse(name).ok_or_else(|| ImportError::NoRelease {
            path: source.to_owned(),
        })?;
        let (sha256, files) = if source.is_dir() {
            read_folder(source)?
        } else {
            read_jar(source)?
        };
        if files.is_empty() {
            return Err(ImportError::Empty {
                path: source.to_owned(),
            });
        }
        Ok(Self {
            messages: messages(&name.to_string(), &files)?,
            source: file_name.into_owned(),
            sha256,
            name,
        })
    }
}

/// The messages of schema files; `folder` stands before the names of the files in errors.
pub(super) fn messages(folder: &str, files: &Files) -> Result<BTreeMap<Key, Message>, ImportError> {
    let mut messages = BTreeMap::new();
    for (file, text) in files {
        let Some(message) = raw::parse(&format!("{folder}/{file}"), text)? else {
            continue;
        };
        if let Some(message) = messages.insert(message.key(), message) {
            return Err(ImportError::Schema {
                file: message.file,
                place: message.name,
                problem: Problem::TwoMessages,
            });
        }
    }
    settle(&mut messages);
    Ok(messages)
}

/// Makes explicit what the files of a release leave to rules: responses are as unstable as their requests, and every
/// version has a header version.
fn settle(messages: &mut BTreeMap<Key, Message>) {
    let unstable: Vec<_> = messages
        .values()
        .filter(|message| message.unstable)
        .map(|message| message.api_key)
        .collect();
    for message in messages.values_mut() {
        message.unstable |= message.api_key.is_some() && unstable.contains(&message.api_key);
        if message.header_versions.is_empty() {
            message.header_versions = header_versions(message);
        }
    }
}

/// The header in front of each version, by the rules that are wired into Kafka's generator.
fn header_versions(message: &Message) -> Vec<(Versions, i16)> {
    let header = |version| {
        let flexible = i16::from(message.flexible.contains(version));
        match (message.kind, message.name.as_str()) {
            (Kind::Request, "ControlledShutdownRequest") if version == 0 => Some(0),
            (Kind::Request, _) => Some(1 + flexible),
            // A client that asks with a version the broker does not know must be able to read the answer.
            (Kind::Response, "ApiVersionsResponse") => Some(0),
            (Kind::Response, _) => Some(flexible),
            (Kind::Header | Kind::Data, _) => None,
        }
    };
    let single = |version| Versions {
        lowest: version,
        highest: version,
    };
    message
        .valid
        .iter()
        .filter_map(|version| Some((single(version), header(version)?)))
        .collect()
}

/// Joins neighbouring ranges with the same header; the last one stays open for versions to come.
pub(super) fn with_joined_headers(mut message: Message) -> Message {
    let mut joined: Vec<(Versions, i16)> = Vec::new();
    for (range, header) in message.header_versions.drain(..) {
        match joined.last_mut() {
            Some((last, same)) if *same == header => *last = last.hull(range),
            _ => joined.push((range, header)),
        }
    }
    if let Some((last, _)) = joined.last_mut() {
        last.highest = i16::MAX;
    }
    message.header_versions = joined;
    message
}

/// Names and texts.
pub(super) type Files = BTreeMap<String, String>;

/// An error of reading or writing at `path`.
pub(super) fn unreadable(path: &Path) -> impl Fn(std::io::Error) -> ImportError {
    move |source| ImportError::Io {
        path: path.to_owned(),
        source,
    }
}

/// The schema files of a folder, and a checksum of them.
pub(super) fn read_folder(folder: &Path) -> Result<(String, Files), ImportError> {
    let mut files = Files::new();
    for entry in fs::read_dir(folder).map_err(unreadable(folder))? {
        let path = entry.map_err(unreadable(folder))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.ends_with(".json") {
            let text = fs::read_to_string(&path).map_err(unreadable(&path))?;
            files.insert(name.into_owned(), text);
        }
    }
    let mut digest = Sha256::new();
    for (name, text) in &files {
        digest.update(format!("{name}\n{}\n{text}", text.len()));
    }
    Ok((hex(&digest.finalize()), files))
}

fn read_jar(jar: &Path) -> Result<(String, Files), ImportError> {
    let bytes = fs::read(jar).map_err(unreadable(jar))?;
    let sha256 = hex(&Sha256::digest(&bytes));
    let broken = |source| ImportError::Jar {
        path: jar.to_owned(),
        source,
    };
    let mut archive = zip::ZipArchive::new(Cursor::new(bytes)).map_err(broken)?;
    let mut files = Files::new();
    for index in 0..archive.len() {
        let mut entry = archive.by_index(index).map_err(broken)?;
        let name = entry.name().strip_prefix(JAR_FOLDER).map(str::to_owned);
        if let Some(name) = name.filter(|name| name.ends_with(".json")) {
            let mut text = String::new();
            entry.read_to_string(&mut text).map_err(unreadable(jar))?;
            files.insert(name, text);
        }
    }
    Ok((sha256, files))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
