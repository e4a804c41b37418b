//! Where the schemas come from: the releases that were taken, and the versions that Kafka has dropped since. Kept in a
//! file beside the schemas, for people and for the next import.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use super::error::ImportError;
use super::model::{Kind, Message};
use super::release::{Release, ReleaseName, unreadable};
use crate::versions::Versions;

/// The name of the file.
pub(super) const FILE: &str = "VERSION";

/// What the file says.
#[derive(Debug, Default)]
pub(super) struct History {
    releases: BTreeMap<ReleaseName, Taken>,
    /// Versions that a release no longer has, by release and name of the message.
    dropped: BTreeMap<ReleaseName, BTreeMap<String, Versions>>,
}

/// A release as it was taken.
#[derive(Debug)]
struct Taken {
    /// Name of the jar or folder, and its checksum.
    source: String,
    messages: usize,
    versions: usize,
}

impl History {
    /// Reads the file; one that is not there tells nothing.
    pub(super) fn read(path: &Path) -> Result<Self, ImportError> {
        if !path.exists() {
            return Ok(Self::default());
        }
        let text = fs::read_to_string(path).map_err(unreadable(path))?;
        Self::parse(&text).map_err(|line| ImportError::History {
            path: path.to_owned(),
            line,
        })
    }

    /// Parses the text; the error is the line that it could not have written.
    fn parse(text: &str) -> Result<Self, String> {
        let mut history = Self::default();
        let mut lines = text.lines().peekable();
        while let Some(line) = lines.next() {
            let words: Vec<_> = line.split(' ').collect();
            let bad = || line.to_owned();
            match words.as_slice() {
                ["release", name, source @ ..] => {
                    let counts: Vec<_> = lines.next().unwrap_or_default().split(' ').collect();
                    let ["", "", messages, "messages,", versions, "versions"] = counts.as_slice()
                    else {
                        return Err(bad());
                    };
                    let taken = Taken {
                        source: source.join(" "),
                        messages: messages.parse().map_err(|_| bad())?,
                        versions: versions.parse().map_err(|_| bad())?,
                    };
                    let name = ReleaseName::parse(name).ok_or_else(bad)?;
                    history.releases.insert(name, taken);
                }
                ["dropped", "by", name, ..] => {
                    let name = ReleaseName::parse(name).ok_or_else(bad)?;
                    let dropped = history.dropped.entry(name).or_default();
                    while let Some(line) = lines.next_if(|line| line.starts_with("  ")) {
                        let entry = line.trim().split_once(' ');
                        let entry = entry.and_then(|(message, range)| {
                            Some((message.to_owned(), Versions::parse(range)?))
                        });
                        dropped.extend([entry.ok_or_else(|| line.to_owned())?]);
                    }
                }
                // How many there are after merging is counted again.
                ["merged", ..] => while lines.next_if(|line| line.starts_with("  ")).is_some() {},
                _ => return Err(bad()),
            }
        }
        Ok(history)
    }

    /// The newest release that was taken.
    pub(super) fn newest(&self) -> Option<&ReleaseName> {
        self.releases.keys().next_back()
    }

    /// Notes that a release is taken.
    pub(super) fn add(&mut self, release: &Release) {
        let versions = release.messages.values().map(Message::version_count).sum();
        let taken = Taken {
            source: format!("{} sha256 {}", release.source, release.sha256),
            messages: release.messages.len(),
            versions,
        };
        self.releases.insert(release.name.clone(), taken);
    }

    /// Notes versions that `release` does not have, or, if it is `inclusive`, that the first one after it does not have.
    /// Returns those that were not noted before.
    pub(super) fn drop_versions(
        &mut self,
        release: &ReleaseName,
        inclusive: bool,
        message: &str,
        versions: Versions,
    ) -> Versions {
        let noted = self.dropped.values().filter_map(|it| it.get(message));
        let noted = noted.fold(Versions::NONE, |all, &it| all.hull(it));
        let mut later = self.releases.keys().filter(|&it| it > release);
        let by = if inclusive {
            Some(release)
        } else {
            later.next()
        };
        let new = if noted.is_empty() {
            versions
        } else if noted.lowest > versions.lowest {
            versions.before(noted)
        } else {
            versions.intersect(Versions {
                lowest: noted.highest.saturating_add(1),
                highest: i16::MAX,
            })
        };
        if let Some(by) = by.filter(|_| !new.is_empty()) {
            let range = self.dropped.entry(by.clone()).or_default();
            let range = range.entry(message.to_owned()).or_insert(Versions::NONE);
            *range = range.hull(new);
        }
        new
    }

    /// Notes that a message has another name now.
    pub(super) fn rename(&mut self, old: &str, new: &str) {
        for messages in self.dropped.values_mut() {
            if let Some(range) = messages.remove(old) {
                messages.insert(new.to_owned(), range);
            }
        }
    }

    /// The text of the file, for what the folder holds now.
    pub(super) fn text(&self, messages: &[Message]) -> String {
        let mut text = String::new();
        // Writing to a String cannot fail.
        for (name, taken) in self.releases.iter().rev() {
            let _ = writeln!(text, "release {name} {}", taken.source);
            let (messages, versions) = (taken.messages, taken.versions);
            let _ = writeln!(text, "  {messages} messages, {versions} versions");
        }
        let count = |messages: &[&Message]| -> usize {
            messages.iter().map(|message| message.version_count()).sum()
        };
        let all: Vec<_> = messages.iter().collect();
        let (messages, versions) = (all.len(), count(&all));
        let _ = writeln!(text, "merged {messages} messages, {versions} versions");
        for kind in [Kind::Request, Kind::Response, Kind::Header, Kind::Data] {
            let of_kind = all.iter().copied().filter(|message| message.kind == kind);
            let of_kind: Vec<_> = of_kind.collect();
            let (messages, versions) = (of_kind.len(), count(&of_kind));
            let kind = kind.name();
            let _ = writeln!(text, "  {kind}: {messages} messages, {versions} versions");
        }
        for (name, messages) in &self.dropped {
            let _ = writeln!(text, "dropped by {name} and kept here");
            for (message, versions) in messages {
                let _ = writeln!(text, "  {message} {versions}");
            }
        }
        text
    }
}
