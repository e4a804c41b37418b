//! Kafka's own schema files, of one or more releases, into the canonical `schemas/`.
//!
//! Facts only: comments and prose stay out. Nothing here decides what a schema means for Rust code.

mod diff;
mod error;
mod layout;
mod merge;
mod model;
mod raw;
mod write;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::{Cursor, Read as _};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

pub use error::{ImportError, Problem};
use model::{Kind, Message};

use crate::versions::Versions;

/// Where the schema files lie in a `kafka-clients` jar.
const JAR_FOLDER: &str = "common/message/";

/// The file that says where the schemas come from.
const VERSION_FILE: &str = "VERSION";

/// What an import did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Names that changed between the releases, and unstable versions that did.
    pub notes: Vec<String>,
    /// What is new, gone or changed against what `out` held before.
    pub changes: Vec<String>,
    /// The text of the `VERSION` file.
    pub version: String,
}

/// Reads the schema files of `sources`, each a `kafka-clients` jar or a folder named after its release, merges them
/// and makes `out` hold the result and nothing else.
///
/// # Errors
/// When something cannot be read or written, a file is not a schema, or two releases disagree in the bytes of a version.
pub fn import(sources: &[PathBuf], out: &Path) -> Result<Report, ImportError> {
    let mut releases = Vec::with_capacity(sources.len());
    for source in sources {
        releases.push(Release::read(source)?);
    }
    releases.sort_by(|a, b| b.number.cmp(&a.number));
    let mut notes = Vec::new();
    let mut merged: BTreeMap<_, Message> = BTreeMap::new();
    for release in &releases {
        for message in &release.messages {
            let key = message.key();
            let message = match merged.get(&key) {
                None => message.clone(),
                Some(newer) => {
                    let merged = merge::merge(newer, message)?;
                    notes.extend(merged.notes);
                    merged.message
                }
            };
            merged.insert(key, message);
        }
    }
    let messages: Vec<_> = merged.into_values().map(with_joined_headers).collect();
    let before = previous(out)?;
    let version = version_text(&releases, &messages);
    write_all(out, &messages, &version)?;
    Ok(Report {
        notes,
        changes: diff::diff(&before, &messages),
        version,
    })
}

/// The schema files of one release.
#[derive(Debug)]
struct Release {
    name: String,
    /// The name as numbers, to find the newest.
    number: Vec<u32>,
    source: String,
    sha256: String,
    messages: Vec<Message>,
}

impl Release {
    fn read(source: &Path) -> Result<Self, ImportError> {
        let file_name = source.file_name().unwrap_or_default().to_string_lossy();
        let stem = file_name.strip_suffix(".jar").unwrap_or(&file_name);
        let name = stem.rsplit('-').next().unwrap_or_default().to_owned();
        let number: Result<Vec<u32>, _> = name.split('.').map(str::parse).collect();
        let number = number.map_err(|_| ImportError::NoRelease {
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
        let mut messages: Vec<Message> = Vec::new();
        for (file, text) in &files {
            let Some(message) = raw::parse(&format!("{name}/{file}"), text)? else {
                continue;
            };
            if messages.iter().any(|other| other.key() == message.key()) {
                return Err(ImportError::Schema {
                    file: message.file,
                    place: message.name,
                    problem: Problem::TwoMessages,
                });
            }
            messages.push(message);
        }
        settle(&mut messages);
        Ok(Self {
            name,
            number,
            source: file_name.into_owned(),
            sha256,
            messages,
        })
    }
}

/// Makes explicit what the files of a release leave to rules: responses are as unstable as their requests, and every
/// version has a header version.
fn settle(messages: &mut [Message]) {
    let unstable: Vec<_> = messages
        .iter()
        .filter(|message| message.unstable)
        .map(|message| message.api_key)
        .collect();
    for message in messages {
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
fn with_joined_headers(mut message: Message) -> Message {
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

type Files = BTreeMap<String, String>;

fn unreadable(path: &Path) -> impl Fn(std::io::Error) -> ImportError {
    move |source| ImportError::Io {
        path: path.to_owned(),
        source,
    }
}

fn read_folder(folder: &Path) -> Result<(String, Files), ImportError> {
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

/// The messages that `out` holds already.
fn previous(out: &Path) -> Result<Vec<Message>, ImportError> {
    if !out.is_dir() {
        return Ok(Vec::new());
    }
    let (_, files) = read_folder(out)?;
    let mut messages = Vec::new();
    for (file, text) in &files {
        messages.extend(raw::parse(file, text)?);
    }
    Ok(messages)
}

fn write_all(out: &Path, messages: &[Message], version: &str) -> Result<(), ImportError> {
    fs::create_dir_all(out).map_err(unreadable(out))?;
    let mut files: BTreeMap<_, _> = messages
        .iter()
        .map(|message| (format!("{}.json", message.name), write::canonical(message)))
        .collect();
    for entry in fs::read_dir(out).map_err(unreadable(out))? {
        let path = entry.map_err(unreadable(out))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.ends_with(".json") && !files.contains_key(name.as_ref()) {
            fs::remove_file(&path).map_err(unreadable(&path))?;
        }
    }
    files.insert(VERSION_FILE.to_owned(), version.to_owned());
    for (name, text) in files {
        let path = out.join(name);
        // A file that stays the same is left alone, so that nothing is compiled again.
        if fs::read_to_string(&path).ok().as_ref() != Some(&text) {
            fs::write(&path, text).map_err(unreadable(&path))?;
        }
    }
    Ok(())
}

fn version_text(releases: &[Release], messages: &[Message]) -> String {
    let count = |messages: &[Message]| messages.iter().map(Message::version_count).sum::<usize>();
    let mut lines = Vec::new();
    for release in releases {
        let (source, sha256) = (&release.source, &release.sha256);
        lines.push(format!("release {} {source} sha256 {sha256}", release.name));
        let versions = count(&release.messages);
        let messages = release.messages.len();
        lines.push(format!("  {messages} messages, {versions} versions"));
    }
    let versions = count(messages);
    lines.push(format!(
        "merged {} messages, {versions} versions",
        messages.len()
    ));
    for kind in [Kind::Request, Kind::Response, Kind::Header, Kind::Data] {
        let of_kind = messages.iter().filter(|message| message.kind == kind);
        let of_kind: Vec<_> = of_kind.cloned().collect();
        let versions = count(&of_kind);
        let (messages, kind) = (of_kind.len(), kind.name());
        lines.push(format!(
            "  {kind}: {messages} messages, {versions} versions"
        ));
    }
    lines.join("\n") + "\n"
}
