//! Compiles Kafka's message schemas into Rust: `schemas/*.json` in, one file per message out.
//!
//! The way is straight: [`schema`] mirrors the files, [`check`] resolves and refuses, [`model`] is what is left, and
//! `emit` writes it down. Nothing here knows a message by name.

pub mod check;
#[cfg(feature = "import")]
pub mod decode;
mod emit;
mod error;
mod fields;
#[cfg(feature = "import")]
pub mod import;
pub mod model;
pub mod names;
pub mod schema;
#[cfg(feature = "import")]
pub mod show;
pub mod versions;

use std::path::Path;

pub use error::{Error, Problem};
pub use model::Model;

/// Writes the Rust code for all schemas of `schema_dir` into `out_dir`: `messages.rs`, which includes one file per
/// message, and `api_key.rs`.
///
/// # Errors
/// When a folder cannot be read or written, or a schema is wrong.
pub fn generate(schema_dir: &Path, out_dir: &Path) -> Result<(), Error> {
    let model = load(schema_dir)?;
    for (name, text) in emit::files(&model)? {
        let path = out_dir.join(name);
        std::fs::write(&path, text).map_err(|source| Error::Io { path, source })?;
    }
    Ok(())
}

/// Reads and checks all schemas of a folder.
///
/// # Errors
/// When the folder cannot be read, or a schema is wrong.
pub fn load(schema_dir: &Path) -> Result<Model, Error> {
    check::check(&schema::read_folder(schema_dir)?)
}

/// The Rust code for the only message in the text of one schema file; `file` names it in errors.
///
/// # Errors
/// When the schema is wrong.
pub fn compile(file: &str, text: &str) -> Result<String, Error> {
    let message = check::check_one(file, &schema::parse(file, text)?)?;
    emit::message(&message)
}
