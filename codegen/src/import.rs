//! Kafka's own schema files into the canonical `schemas/`, release upon release.
//!
//! Facts only: comments and prose stay out. Nothing here decides what a schema means for Rust code.

mod diff;
mod error;
mod folder;
mod history;
mod layout;
mod merge;
mod model;
mod raw;
mod release;
mod write;

use std::path::{Path, PathBuf};

pub use error::{ImportError, Problem};
use folder::Folder;
use release::Release;

/// What an import did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// One for each release, in the order they were taken.
    pub steps: Vec<Step>,
    /// The text of the `VERSION` file.
    pub version: String,
}

/// What one release changed in a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// The release.
    pub release: String,
    /// The newest release that the folder held before it.
    pub onto: Option<String>,
    /// One line for each change.
    pub changes: Vec<String>,
}

/// Takes releases into the folder `out`, the oldest first: each a `kafka-clients` jar or a folder of schema files named
/// after its release. What `out` holds stays, with the bytes it has, in every version that was released; versions that a
/// newer release dropped are kept. Either all releases are taken or `out` stays as it is.
///
/// # Errors
/// When something cannot be read or written, a file is not a schema, a release changes the bytes of a version that was
/// released before, or the result does not compile.
pub fn import(sources: &[PathBuf], out: &Path) -> Result<Report, ImportError> {
    let mut releases = Vec::with_capacity(sources.len());
    for source in sources {
        releases.push(Release::read(source)?);
    }
    releases.sort_by(|a, b| a.name.cmp(&b.name));
    let mut folder = Folder::read(out)?;
    let mut steps = Vec::with_capacity(releases.len());
    for release in releases {
        steps.push(folder.take(release)?);
    }
    let version = folder.write(out)?;
    Ok(Report { steps, version })
}
