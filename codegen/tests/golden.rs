//! The Rust text for small schemas, one feature each: `golden/X.json` must compile to `golden/X.rs`.
//!
//! `UPDATE_GOLDEN=1 cargo test -p codegen --test golden` writes the texts anew and fails where one has changed.

use std::path::{Path, PathBuf};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

/// The first line in which the texts differ.
fn first_difference(expect: &str, found: &str) -> String {
    let mut lines = expect.lines().zip(found.lines()).zip(1..);
    match lines.find(|((expect, found), _)| expect != found) {
        Some(((expect, found), line)) => format!("line {line}:\n- {expect}\n+ {found}"),
        None => "one text is longer".to_owned(),
    }
}

fn check(name: &str) {
    let folder = folder();
    let file = format!("{name}.json");
    let schema = std::fs::read_to_string(folder.join(&file)).expect("the schema is there");
    let found = codegen::compile(&file, &schema).unwrap_or_else(|error| panic!("{error}"));
    let golden = folder.join(format!("{name}.rs"));
    let expect = std::fs::read_to_string(&golden).unwrap_or_default();
    if found == expect {
        return;
    }
    let difference = first_difference(&expect, &found);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&golden, found).expect("the text can be written");
        panic!("{} was rewritten, {difference}", golden.display());
    }
    panic!(
        "{} differs from what is generated, {difference}",
        golden.display()
    );
}

#[test]
fn fixed() {
    check("fixed");
}

#[test]
fn versions() {
    check("versions");
}

#[test]
fn nullable() {
    check("nullable");
}

#[test]
fn arrays() {
    check("arrays");
}

#[test]
fn tagged() {
    check("tagged");
}

#[test]
fn common_struct() {
    check("common_struct");
}

#[test]
fn names() {
    check("names");
}

#[test]
fn header() {
    check("header");
}

#[test]
fn request() {
    check("request");
}

/// The example of generated code in the text for people.
#[test]
fn architecture_shows_what_is_generated() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let read = |path: &str| std::fs::read_to_string(root.join(path)).unwrap();
    let file = "HeartbeatRequest.json";
    let code = codegen::compile(file, &read(&format!("schemas/{file}"))).unwrap();
    let example = format!("```rust\n{code}```\n");
    let architecture = read("ARCHITECTURE.md");
    assert!(
        architecture.contains(&example),
        "ARCHITECTURE.md should have:\n{example}"
    );
}

#[test]
fn every_golden_file_has_a_test() {
    let tests = include_str!("golden.rs");
    for entry in std::fs::read_dir(folder()).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        assert!(
            tests.contains(&format!("check(\"{name}\")")),
            "{name} is not tested"
        );
    }
}
