//! A schema file with its ranges parsed and its structs by name: what merging works on.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::versions::Versions;

/// The role of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Kind {
    Request,
    Response,
    Header,
    Data,
}

impl Kind {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::Response => "response",
            Self::Header => "header",
            Self::Data => "data",
        }
    }
}

/// One message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Message {
    /// The file it was read from, for errors.
    pub(super) file: String,
    pub(super) kind: Kind,
    pub(super) name: String,
    pub(super) api_key: Option<i16>,
    pub(super) listeners: Vec<String>,
    pub(super) valid: Versions,
    pub(super) deprecated: Option<Versions>,
    pub(super) flexible: Versions,
    /// Empty if the file does not say.
    pub(super) header_versions: Vec<(Versions, i16)>,
    /// As the file says; for a response, as its request's file says.
    pub(super) unstable: bool,
    pub(super) fields: Vec<Field>,
    /// Structs declared in place or in common, by name.
    pub(super) structs: BTreeMap<String, Struct>,
    /// Names of the common structs in the order of the file.
    pub(super) common: Vec<String>,
}

/// What identifies a message across releases: its API key, which stays when its name changes, else its name.
pub(super) type Key = (Kind, Option<i16>, Option<String>);

impl Message {
    pub(super) fn key(&self) -> Key {
        let name = self.api_key.is_none().then(|| self.name.clone());
        (self.kind, self.api_key, name)
    }

    /// The version that may still change, if there is one.
    pub(super) fn unstable_version(&self) -> Option<i16> {
        self.unstable.then_some(self.valid.highest)
    }

    /// A place in the message as people read it: `MessageRequest.Field`, `MessageRequest.Struct.Field`.
    pub(super) fn path(&self, owner: &str, field: &str) -> String {
        if owner == self.name {
            format!("{owner}.{field}")
        } else {
            format!("{}.{owner}.{field}", self.name)
        }
    }

    /// What the versions of a message are said of: an API for requests and responses, else the message.
    pub(super) fn subject(&self) -> String {
        let suffix = match self.kind {
            Kind::Request => "Request",
            Kind::Response => "Response",
            Kind::Header | Kind::Data => return self.name.clone(),
        };
        let name = self.name.strip_suffix(suffix).unwrap_or(&self.name);
        let key = self.api_key.unwrap_or(-1);
        format!("API {key} {name}")
    }

    /// The fields of a struct, or of the message itself.
    pub(super) fn fields_of(&self, owner: &str) -> &[Field] {
        match self.structs.get(owner) {
            Some(it) => &it.fields,
            None if owner == self.name => &self.fields,
            None => &[],
        }
    }

    /// How many versions there are.
    pub(super) fn version_count(&self) -> usize {
        self.valid.iter().count()
    }
}

/// A struct of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Struct {
    /// The versions of a common struct; `None` for one declared in place.
    pub(super) versions: Option<Versions>,
    pub(super) fields: Vec<Field>,
}

/// A field of a struct.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Field {
    pub(super) name: String,
    pub(super) is_array: bool,
    /// The type, or that of the elements: a primitive or the name of a struct.
    pub(super) element: String,
    pub(super) versions: Versions,
    pub(super) nullable: Versions,
    pub(super) tag: Option<u32>,
    pub(super) tagged: Versions,
    pub(super) flexible: Option<Versions>,
    pub(super) default: Option<String>,
    pub(super) ignorable: bool,
    pub(super) map_key: bool,
    pub(super) entity_type: Option<String>,
    pub(super) zero_copy: bool,
}

impl Field {
    /// Whether it stands among the untagged fields of that version.
    pub(super) fn is_positional(&self, version: i16) -> bool {
        self.versions.contains(version) && !self.tagged.contains(version)
    }

    /// The tag it has in that version.
    pub(super) fn tag_in(&self, version: i16) -> Option<u32> {
        let here = self.versions.contains(version) && self.tagged.contains(version);
        self.tag.filter(|_| here)
    }
}
