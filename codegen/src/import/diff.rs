//! What a release changes for a reader of the schemas, line by line: `+` new, `-` gone, `=` renamed, `~` changed.
//!
//! What is said of the versions of a request holds for its response too, and is said once, of the API.

use std::collections::{BTreeMap, BTreeSet};

use super::history::History;
use super::merge::{Merged, Names, Note};
use super::model::{Field, Message};
use super::release::ReleaseName;
use crate::versions::Versions;

/// The changes that one release brings.
pub(super) struct Diff<'h> {
    history: &'h mut History,
    release: &'h ReleaseName,
    /// Whether no newer release was taken before.
    is_newest: bool,
    lines: Vec<Line>,
}

/// Lines are ordered by API key or name, then by what they speak of.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Line {
    api_key: Option<i16>,
    subject: Option<String>,
    about: About,
    text: String,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum About {
    Versions,
    Message(String),
}

impl<'h> Diff<'h> {
    pub(super) const fn new(
        history: &'h mut History,
        release: &'h ReleaseName,
        is_newest: bool,
    ) -> Self {
        Self {
            history,
            release,
            is_newest,
            lines: Vec::new(),
        }
    }

    /// The lines in order, each once.
    pub(super) fn finish(mut self) -> Vec<String> {
        self.lines.sort();
        self.lines.dedup();
        self.lines.into_iter().map(|line| line.text).collect()
    }

    fn line(&mut self, message: &Message, about: About, text: String) {
        self.lines.push(Line {
            api_key: message.api_key,
            subject: message.api_key.is_none().then(|| message.subject()),
            about,
            text,
        });
    }

    /// A line on the versions of a message or API.
    fn on_versions(&mut self, mark: char, message: &Message, what: &str) {
        let text = format!("{mark} {}: {what}", message.subject());
        self.line(message, About::Versions, text);
    }

    /// A line on a place in a message.
    fn on_place(&mut self, mark: char, message: &Message, place: &str, what: &str) {
        let about = About::Message(message.name.clone());
        self.line(message, about, format!("{mark} {place}: {what}"));
    }

    /// A message that was not known.
    pub(super) fn new_message(&mut self, message: &Message) {
        let unstable = unstable(message, message.valid);
        let what = format!("{}{unstable}", plural(message.valid));
        self.on_versions('+', message, &what);
        if !self.is_newest {
            let (name, versions) = (&message.name, message.valid);
            self.history
                .drop_versions(self.release, false, name, versions);
        }
    }

    /// A message that the release does not have.
    pub(super) fn without(&mut self, message: &Message) {
        if !self.is_newest {
            return;
        }
        let (name, versions) = (&message.name, message.valid);
        let gone = self
            .history
            .drop_versions(self.release, true, name, versions);
        if !gone.is_empty() {
            let what = format!("{} dropped, kept here", plural(gone));
            self.on_versions('-', message, &what);
        }
    }

    /// A message that was `known` before and stands in the release as `taken`.
    pub(super) fn merged(&mut self, known: &Message, taken: &Message, merged: &Merged) {
        let now = &merged.message;
        if known.name != now.name {
            self.history.rename(&known.name, &now.name);
            let old = known.subject();
            let old = old.rsplit(' ').next().unwrap_or_default().to_owned();
            self.on_versions('=', now, &format!("was {old}"));
        }
        self.versions(known, taken, merged);
        // What an older release called a thing, or had in an unstable version, is gone already.
        let notes: &[_] = if self.is_newest { &merged.notes } else { &[] };
        for note in notes {
            match note {
                Note::Changed(version) => {
                    let what = format!("version {version} changed, it was unstable");
                    self.on_place('~', now, &now.name, &what);
                }
                Note::Vanished(version) => {
                    let what = format!("version {version} gone, it was unstable");
                    self.on_versions('-', now, &what);
                }
                Note::Field(place, old) => {
                    self.on_place('=', now, place, &format!("was {old}"));
                }
                Note::Struct(place, old) => {
                    self.on_place('=', now, place, &format!("struct was {old}"));
                }
            }
        }
        self.facts(known, now);
        self.fields(known, merged);
    }

    fn versions(&mut self, known: &Message, taken: &Message, merged: &Merged) {
        let now = &merged.message;
        let above = now.valid.intersect(Versions {
            lowest: known.valid.highest.saturating_add(1),
            highest: i16::MAX,
        });
        let below = now.valid.before(known.valid);
        for added in [above, below].into_iter().filter(|it| !it.is_empty()) {
            let what = format!("{} added{}", plural(added), unstable(now, added));
            self.on_versions('+', now, &what);
        }
        if self.is_newest {
            let dropped = known.valid.before(taken.valid);
            let (release, name) = (self.release, &now.name);
            let dropped = self.history.drop_versions(release, true, name, dropped);
            if !dropped.is_empty() {
                let was = match known.unstable_version() {
                    Some(version) if dropped.contains(version) => ", was unstable",
                    _ => "",
                };
                let what = format!("{} dropped{was}, kept here", plural(dropped));
                self.on_versions('-', now, &what);
            }
        } else {
            let (release, name) = (self.release, &now.name);
            self.history.drop_versions(release, false, name, below);
        }
        match (known.unstable_version(), now.unstable_version()) {
            (old, Some(new)) if old != Some(new) && known.valid.contains(new) => {
                self.on_versions('~', now, &format!("version {new} unstable"));
            }
            (Some(old), new) if new != Some(old) && taken.valid.contains(old) => {
                self.on_versions('~', now, &format!("version {old} no longer unstable"));
            }
            _ => {}
        }
    }

    /// What else is said of a message as a whole.
    fn facts(&mut self, known: &Message, now: &Message) {
        let facts = |message: &Message| {
            [
                ("flexible", shown(message.flexible, message.valid)),
                ("listeners", message.listeners.join(" ")),
                (
                    "deprecated",
                    message
                        .deprecated
                        .map_or_else(|| "none".to_owned(), |range| range.to_string()),
                ),
            ]
        };
        for ((what, old), (_, new)) in facts(known).into_iter().zip(facts(now)) {
            if old != new {
                self.on_place('~', now, &now.name, &format!("{what} {old} -> {new}"));
            }
        }
    }

    fn fields(&mut self, known: &Message, merged: &Merged) {
        let now = &merged.message;
        let unchanged = Names::default();
        let names = if self.is_newest {
            &merged.names
        } else {
            &unchanged
        };
        let new: BTreeMap<_, _> = places(now)
            .map(|(owner, field)| ((owner.to_owned(), field.name.clone()), field))
            .collect();
        let mut seen = BTreeSet::new();
        for (owner, field) in places(known) {
            let place = names.new_place(owner, &field.name);
            let path = now.path(&place.0, &place.1);
            match new.get(&place) {
                None => {
                    self.on_place('-', now, &path, &summary(field, known.valid));
                }
                Some(it) => {
                    for (old, new) in facts(field, known.valid)
                        .into_iter()
                        .zip(facts(it, now.valid))
                    {
                        let is_renamed = || names.old_type(&new).as_ref() == Some(&old);
                        if old != new && !is_renamed() {
                            self.on_place('~', now, &path, &format!("{old} -> {new}"));
                        }
                    }
                }
            }
            seen.insert(place);
        }
        for (place, field) in new.iter().filter(|(place, _)| !seen.contains(place)) {
            let path = now.path(&place.0, &place.1);
            self.on_place('+', now, &path, &summary(field, now.valid));
        }
    }
}

/// Every field with the name of its struct.
fn places(message: &Message) -> impl Iterator<Item = (&str, &Field)> {
    let inner = message
        .structs
        .iter()
        .map(|(name, it)| (name.as_str(), &it.fields));
    inner
        .chain([(message.name.as_str(), &message.fields)])
        .flat_map(|(owner, fields)| fields.iter().map(move |field| (owner, field)))
}

/// What is said of a field, always the same number of facts in the same order.
fn facts(field: &Field, valid: Versions) -> Vec<String> {
    let flag = |is_set: bool, name: &str| match is_set {
        true => name.to_owned(),
        false => format!("not {name}"),
    };
    let prefix = if field.is_array { "[]" } else { "" };
    let tag = match field.tag.filter(|_| !field.tagged.is_empty()) {
        Some(tag) => format!("tag {tag} in {}", shown(field.tagged, valid)),
        None => "tag none".to_owned(),
    };
    let flexible = field.flexible.map(|range| shown(range, valid));
    let or_none = |text: Option<&str>| match text {
        Some("") | None => "none".to_owned(),
        Some(text) => text.to_owned(),
    };
    vec![
        format!("{prefix}{}", field.element),
        format!("versions {}", shown(field.versions, valid)),
        format!("nullable in {}", shown(field.nullable, valid)),
        tag,
        format!("flexible in {}", or_none(flexible.as_deref())),
        format!("default {}", or_none(field.default.as_deref())),
        format!("entity {}", or_none(field.entity_type.as_deref())),
        flag(field.ignorable, "ignorable"),
        flag(field.map_key, "map key"),
        flag(field.zero_copy, "zero copy"),
    ]
}

/// What is said of a field, without what is not.
fn summary(field: &Field, valid: Versions) -> String {
    let mut facts = facts(field, valid);
    facts.retain(|fact| !fact.starts_with("not ") && !fact.ends_with(" none"));
    facts.join(", ")
}

/// `, unstable`, with the version if it is not the only one of `versions`.
fn unstable(message: &Message, versions: Versions) -> String {
    match message.unstable_version() {
        Some(version) if versions.lowest == version => ", unstable".to_owned(),
        Some(version) if versions.contains(version) => format!(", {version} unstable"),
        _ => String::new(),
    }
}

/// A range within the versions of the message, open where it reaches the last one.
fn shown(range: Versions, valid: Versions) -> String {
    let mut here = range.intersect(valid);
    if here == valid {
        return "all".to_owned();
    }
    if !here.is_empty() && here.highest == valid.highest {
        here.highest = i16::MAX;
    }
    here.to_string()
}

fn plural(versions: Versions) -> String {
    let word = if versions.lowest == versions.highest {
        "version"
    } else {
        "versions"
    };
    format!("{word} {versions}")
}
