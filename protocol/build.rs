//! Generates the messages from `schemas/`, again only when a schema changes.

use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let schemas = Path::new(env!("CARGO_MANIFEST_DIR")).join("../schemas");
    println!("cargo::rerun-if-changed={}", schemas.display());
    let out_dir = std::env::var_os("OUT_DIR").unwrap_or_default();
    match codegen::generate(&schemas, Path::new(&out_dir)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("cargo::error={error}");
            ExitCode::FAILURE
        }
    }
}
