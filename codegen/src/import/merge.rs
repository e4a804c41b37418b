//! One message of two releases, made into one schema that has the bytes of every version of both.
//!
//! Versions that both know must agree in their bytes; names may differ, and the newer ones are taken.

use std::collections::{BTreeMap, BTreeSet};

use super::error::{ImportError, Problem};
use super::layout::{difference, layout, wire_order};
use super::model::{Field, Message, Struct};
use crate::versions::Versions;

/// The merged message, and what is worth telling a person about it.
#[derive(Debug)]
pub(super) struct Merged {
    pub(super) message: Message,
    pub(super) notes: Vec<Note>,
    pub(super) names: Names,
}

/// What a person may want to know of a merge.
#[derive(Debug)]
pub(super) enum Note {
    /// The place of a field, and the name it had.
    Field(String, String),
    /// The place of a struct, and the name it had.
    Struct(String, String),
    /// A version that has other bytes, and was unstable.
    Changed(i16),
    /// A version that the newer release no longer has, and was unstable.
    Vanished(i16),
}

/// What the structs and fields of the older message are called in the newer one, as far as versions of both tell.
#[derive(Debug, Default)]
pub(super) struct Names {
    structs: BTreeMap<String, String>,
    fields: BTreeMap<(String, String), String>,
}

impl Names {
    /// The newer struct and field for those of the older message, or of the newer one itself.
    pub(super) fn new_place(&self, owner: &str, field: &str) -> (String, String) {
        let place = (owner.to_owned(), field.to_owned());
        let field = self.fields.get(&place).cloned().unwrap_or(place.1);
        (self.structs.get(owner).cloned().unwrap_or(place.0), field)
    }

    /// The older name of a type, `[]` in front included.
    pub(super) fn old_type(&self, new: &str) -> Option<String> {
        let (prefix, element) = match new.strip_prefix("[]") {
            Some(element) => ("[]", element),
            None => ("", new),
        };
        let mut names = self.structs.iter();
        let (old, _) = names.find(|(_, name)| *name == element)?;
        Some(format!("{prefix}{old}"))
    }
}

/// Merges the message of an older release into that of a newer one.
pub(super) fn merge(newer: &Message, older: &Message) -> Result<Merged, ImportError> {
    let mut merge = Merge {
        newer,
        older,
        dropped: older.valid.before(newer.valid),
        names: Names {
            structs: BTreeMap::from([(older.name.clone(), newer.name.clone())]),
            ..Names::default()
        },
        done: BTreeSet::new(),
        notes: Vec::new(),
    };
    merge.check_ranges()?;
    for version in newer.valid.intersect(older.valid).iter() {
        if merge.agrees(version)? {
            merge.align(&newer.name, &older.name, version)?;
        }
    }
    let message = merge.message()?;
    merge.verify(&message)?;
    let Merge { notes, names, .. } = merge;
    Ok(Merged {
        message,
        notes,
        names,
    })
}

struct Merge<'m> {
    newer: &'m Message,
    older: &'m Message,
    /// Versions that only the older release has.
    dropped: Versions,
    /// What holds the same bytes.
    names: Names,
    /// Older structs that have been merged.
    done: BTreeSet<String>,
    notes: Vec<Note>,
}

impl Merge<'_> {
    fn error(&self, place: &str, problem: Problem) -> ImportError {
        ImportError::Schema {
            file: self.newer.file.clone(),
            place: place.to_owned(),
            problem,
        }
    }

    /// Whether the older release said that this version may still change.
    fn was_unstable(&self, version: i16) -> bool {
        self.older.unstable && version == self.older.valid.highest
    }

    fn check_ranges(&mut self) -> Result<(), ImportError> {
        let (newer, older) = (self.newer, self.older);
        for version in older.valid.iter().filter(|&it| it > newer.valid.highest) {
            if !self.was_unstable(version) {
                let other = older.file.clone();
                return Err(self.error(&newer.name, Problem::Vanished { version, other }));
            }
            self.notes.push(Note::Vanished(version));
        }
        if older.valid.highest.saturating_add(1) < newer.valid.lowest {
            let gap = Problem::Gap(older.valid.to_string(), newer.valid.to_string());
            return Err(self.error(&newer.name, gap));
        }
        Ok(())
    }

    /// Whether a version has the same bytes in both releases; it must, unless it was unstable.
    fn agrees(&mut self, version: i16) -> Result<bool, ImportError> {
        let newer = self.layout(self.newer, version)?;
        let older = self.layout(self.older, version)?;
        let Some((place, what)) = difference(&newer, &older) else {
            return Ok(true);
        };
        if self.was_unstable(version) {
            self.notes.push(Note::Changed(version));
            return Ok(false);
        }
        let place = place.unwrap_or_else(|| self.newer.name.clone());
        let other = self.older.file.clone();
        Err(self.error(
            &place,
            Problem::Layout {
                version,
                other,
                what,
            },
        ))
    }

    fn layout(
        &self,
        message: &Message,
        version: i16,
    ) -> Result<super::layout::Layout, ImportError> {
        layout(message, version).map_err(|(place, problem)| ImportError::Schema {
            file: message.file.clone(),
            place,
            problem,
        })
    }

    /// Notes which fields and structs are the same, in a version whose bytes agree. A field that stands where another
    /// stood was renamed, unless one of the two names is still there: then fields have changed places.
    fn align(&mut self, newer: &str, older: &str, version: i16) -> Result<(), ImportError> {
        let message = self.newer;
        let newer_fields: Vec<_> = wire_order(message.fields_of(newer), version).collect();
        let older_fields: Vec<_> = wire_order(self.older.fields_of(older), version).collect();
        let has = |fields: &[&Field], name: &str| fields.iter().any(|it| it.name == name);
        for (a, b) in newer_fields.iter().zip(&older_fields) {
            let is_renamed = a.name != b.name;
            if is_renamed && (has(&newer_fields, &b.name) || has(&older_fields, &a.name)) {
                let (other, was) = (self.older.file.clone(), b.name.clone());
                let problem = Problem::Moved {
                    version,
                    other,
                    was,
                };
                return Err(self.error(&format!("{newer}.{}", a.name), problem));
            }
            let key = (older.to_owned(), b.name.clone());
            let is_noted = self.names.fields.insert(key, a.name.clone()).is_some();
            if is_renamed && !is_noted {
                let place = message.path(newer, &a.name);
                self.notes.push(Note::Field(place, b.name.clone()));
            }
            if message.structs.contains_key(&a.element) {
                let (old, new) = (b.element.clone(), a.element.clone());
                if self.names.structs.insert(old, new).is_none() && a.element != b.element {
                    let place = format!("{}.{}", message.name, a.element);
                    self.notes.push(Note::Struct(place, b.element.clone()));
                }
                self.align(&a.element, &b.element, version)?;
            }
        }
        Ok(())
    }

    fn message(&mut self) -> Result<Message, ImportError> {
        let (newer, older) = (self.newer, self.older);
        if self.dropped.is_empty() {
            return Ok(newer.clone());
        }
        let mut message = newer.clone();
        message.valid = newer.valid.hull(self.dropped);
        message.flexible = self.union(&newer.name, newer.flexible, older.flexible)?;
        let deprecated = self.union(
            &newer.name,
            newer.deprecated.unwrap_or(Versions::NONE),
            older.deprecated.unwrap_or(Versions::NONE),
        )?;
        message.deprecated = Some(deprecated).filter(|range| !range.is_empty());
        let headers = older.header_versions.iter().filter_map(|(range, header)| {
            let range = range.intersect(self.dropped);
            (!range.is_empty()).then_some((range, *header))
        });
        message.header_versions = headers
            .chain(newer.header_versions.iter().copied())
            .collect();
        self.merge_struct(&mut message, &newer.name, &older.name)?;
        let unmerged: Vec<_> = newer
            .structs
            .keys()
            .filter(|name| !self.names.structs.values().any(|merged| merged == *name))
            .cloned()
            .collect();
        for name in unmerged {
            self.merge_struct(&mut message, &name, "")?;
        }
        Ok(message)
    }

    /// Merges the fields of the older struct into those of the newer one.
    fn merge_struct(
        &mut self,
        message: &mut Message,
        newer: &str,
        older: &str,
    ) -> Result<(), ImportError> {
        if !older.is_empty() && !self.done.insert(older.to_owned()) {
            return Ok(());
        }
        let mut fields = Vec::new();
        let mut left: Vec<&Field> = self.older.fields_of(older).iter().collect();
        let mut inner = Vec::new();
        for field in self.newer.fields_of(newer) {
            let same = left.iter().position(|it| self.is_same(older, it, field));
            // What stood before it in the older release, and is not known to the newer one.
            if let Some(same) = same {
                for gone in left.drain(..=same) {
                    if self.is_same(older, gone, field) {
                        fields.push(self.merge_field(newer, field, Some(gone))?);
                        inner.push((field.element.clone(), gone.element.clone()));
                    } else if self.is_new(newer, older, gone) {
                        fields.push(self.old_field(gone, &mut inner));
                    }
                }
            } else {
                fields.push(self.merge_field(newer, field, None)?);
            }
        }
        for gone in left {
            if self.is_new(newer, older, gone) {
                fields.push(self.old_field(gone, &mut inner));
            }
        }
        fields.retain(|field| !field.versions.is_empty());
        self.put_struct(message, newer, older, fields)?;
        for (newer, older) in inner {
            if self.newer.structs.contains_key(&newer) || self.older.structs.contains_key(&older) {
                self.names.structs.insert(older.clone(), newer.clone());
                self.merge_struct(message, &newer, &older)?;
            }
        }
        Ok(())
    }

    /// Whether the two fields are one: known to have the same bytes, or of the same name.
    fn is_same(&self, older: &str, gone: &Field, field: &Field) -> bool {
        match self
            .names
            .fields
            .get(&(older.to_owned(), gone.name.clone()))
        {
            Some(name) => *name == field.name,
            None => gone.name == field.name && gone.is_array == field.is_array,
        }
    }

    /// Whether no field of the newer struct is this one.
    fn is_new(&self, newer: &str, older: &str, gone: &Field) -> bool {
        let fields = self.newer.fields_of(newer);
        !fields.iter().any(|field| self.is_same(older, gone, field))
    }

    /// A field that only the older release has.
    fn old_field(&self, gone: &Field, inner: &mut Vec<(String, String)>) -> Field {
        let element = self
            .names
            .structs
            .get(&gone.element)
            .unwrap_or(&gone.element);
        inner.push((element.clone(), gone.element.clone()));
        Field {
            element: element.clone(),
            versions: gone.versions.intersect(self.dropped),
            nullable: gone.nullable.intersect(self.dropped),
            tagged: gone.tagged.intersect(self.dropped),
            ..gone.clone()
        }
    }

    fn merge_field(
        &self,
        owner: &str,
        field: &Field,
        gone: Option<&Field>,
    ) -> Result<Field, ImportError> {
        let place = format!("{owner}.{}", field.name);
        let old = |range: fn(&Field) -> Versions| gone.map_or(Versions::NONE, range);
        Ok(Field {
            versions: self.union(&place, field.versions, old(|it| it.versions))?,
            nullable: self.union(&place, field.nullable, old(|it| it.nullable))?,
            tagged: self.union(&place, field.tagged, old(|it| it.tagged))?,
            tag: field.tag.or(gone.and_then(|it| it.tag)),
            ..field.clone()
        })
    }

    fn put_struct(
        &self,
        message: &mut Message,
        newer: &str,
        older: &str,
        fields: Vec<Field>,
    ) -> Result<(), ImportError> {
        if newer == self.newer.name {
            message.fields = fields;
            return Ok(());
        }
        let range = |message: &Message, name: &str| message.structs.get(name)?.versions;
        let old = range(self.older, older);
        let versions = if self.newer.structs.contains_key(newer) {
            let old = old.unwrap_or(self.older.valid);
            range(self.newer, newer)
                .map(|new| self.union(newer, new, old))
                .transpose()?
        } else {
            let versions = old.map(|range| range.intersect(self.dropped));
            if versions.is_some() {
                message.common.push(newer.to_owned());
            }
            versions
        };
        let it = Struct { versions, fields };
        message.structs.insert(newer.to_owned(), it);
        Ok(())
    }

    /// One range that says of the newer release's versions what `new` says, and of the dropped ones
    /// what `old` says.
    fn union(&self, place: &str, new: Versions, old: Versions) -> Result<Versions, ImportError> {
        if new == old {
            return Ok(new);
        }
        let (upper, lower) = (new.intersect(self.newer.valid), old.intersect(self.dropped));
        if upper.is_empty() {
            return Ok(lower);
        }
        let both = upper.hull(lower);
        if !lower.is_empty() && lower.highest.saturating_add(1) != upper.lowest {
            let gap = Problem::Gap(lower.to_string(), upper.to_string());
            return Err(self.error(place, gap));
        }
        Ok(Versions {
            highest: new.highest,
            ..both
        })
    }

    /// Every version must have the bytes it had in the release it comes from.
    fn verify(&self, message: &Message) -> Result<(), ImportError> {
        for version in message.valid.iter() {
            let origin = if self.dropped.contains(version) {
                self.older
            } else {
                self.newer
            };
            let found = difference(
                &self.layout(message, version)?,
                &self.layout(origin, version)?,
            );
            if let Some((place, what)) = found {
                let place = place.unwrap_or_else(|| message.name.clone());
                let other = origin.file.clone();
                return Err(self.error(
                    &place,
                    Problem::Lost {
                        version,
                        other,
                        what,
                    },
                ));
            }
        }
        Ok(())
    }
}
