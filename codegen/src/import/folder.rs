//! The folder of canonical schemas: read, taking a release, checked and written.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use super::diff::Diff;
use super::error::ImportError;
use super::history::History;
use super::merge::merge;
use super::model::{Key, Message};
use super::release::{Files, Release, messages, read_folder, unreadable, with_joined_headers};
use super::write::canonical;
use super::{Step, history};
use crate::{check, emit, schema};

/// What the folder holds.
pub(super) struct Folder {
    messages: BTreeMap<Key, Message>,
    history: History,
}

impl Folder {
    /// Reads a folder; one that is not there is empty.
    pub(super) fn read(path: &Path) -> Result<Self, ImportError> {
        if !path.is_dir() {
            return Ok(Self {
                messages: BTreeMap::new(),
                history: History::default(),
            });
        }
        let (_, files) = read_folder(path)?;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        Ok(Self {
            messages: messages(&name, &files)?,
            history: History::read(&path.join(history::FILE))?,
        })
    }

    /// Merges a release into what is here: as the newer of the two, unless a newer one was taken before.
    pub(super) fn take(&mut self, release: Release) -> Result<Step, ImportError> {
        let onto = self.history.newest().map(ToString::to_string);
        let is_newest = self.history.newest().is_none_or(|it| *it <= release.name);
        self.history.add(&release);
        let mut diff = Diff::new(&mut self.history, &release.name, is_newest);
        let known: BTreeSet<_> = self.messages.keys().cloned().collect();
        for key in known
            .iter()
            .filter(|&it| !release.messages.contains_key(it))
        {
            if let Some(message) = self.messages.get(key) {
                diff.without(message);
            }
        }
        for (key, message) in release.messages {
            let Some(known) = self.messages.get(&key) else {
                diff.new_message(&message);
                self.messages.insert(key, message);
                continue;
            };
            let (newer, older) = if is_newest {
                (&message, known)
            } else {
                (known, &message)
            };
            let merged = merge(newer, older)?;
            diff.merged(known, &message, &merged);
            self.messages.insert(key, merged.message);
        }
        Ok(Step {
            release: release.name.to_string(),
            onto,
            changes: diff.finish(),
        })
    }

    /// Makes `out` hold this and nothing else, if it compiles; returns the text of the file that tells the history.
    pub(super) fn write(self, out: &Path) -> Result<String, ImportError> {
        let messages: Vec<_> = self
            .messages
            .into_values()
            .map(with_joined_headers)
            .collect();
        let files: Files = messages
            .iter()
            .map(|message| (format!("{}.json", message.name), canonical(message)))
            .collect();
        let before = if out.is_dir() {
            read_folder(out)?.1
        } else {
            Files::new()
        };
        compile(&files, &before)?;
        let version = self.history.text(&messages);
        write_all(out, files, &version)?;
        Ok(version)
    }
}

/// Goes all the way to Rust code, so that what is written can be built; of messages that stay as they are `before`, only to
/// the model.
fn compile(files: &Files, before: &Files) -> Result<(), ImportError> {
    let mut schemas = Vec::with_capacity(files.len());
    for (file, text) in files {
        schemas.push((file.clone(), schema::parse(file, text)?));
    }
    for message in check::check(&schemas)?.messages {
        let file = format!("{}.json", message.name);
        if files.get(&file) != before.get(&file) {
            emit::message(&message)?;
        }
    }
    Ok(())
}

fn write_all(out: &Path, mut files: Files, version: &str) -> Result<(), ImportError> {
    fs::create_dir_all(out).map_err(unreadable(out))?;
    for entry in fs::read_dir(out).map_err(unreadable(out))? {
        let path = entry.map_err(unreadable(out))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.ends_with(".json") && !files.contains_key(name.as_ref()) {
            fs::remove_file(&path).map_err(unreadable(&path))?;
        }
    }
    files.insert(history::FILE.to_owned(), version.to_owned());
    for (name, text) in files {
        let path = out.join(name);
        // A file that stays the same is left alone, so that nothing is compiled again.
        if fs::read_to_string(&path).ok().as_ref() != Some(&text) {
            fs::write(&path, text).map_err(unreadable(&path))?;
        }
    }
    Ok(())
}
