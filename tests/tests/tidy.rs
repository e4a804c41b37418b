//! Rules about the sources that neither the compiler nor clippy checks.
#![allow(clippy::unwrap_used, reason = "a test may fail by it")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Lines a source file may have, its tests included.
const LINES_MAX: usize = 600;

fn root() -> PathBuf {
    tests::workspace().canonicalize().unwrap()
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

/// Every file of the workspace with one of these endings, build output left out.
fn files(endings: &[&str]) -> Vec<PathBuf> {
    fn walk(dir: &Path, endings: &[&str], out: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(dir).unwrap().flatten() {
            let (path, name) = (entry.path(), entry.file_name());
            let name = name.to_string_lossy();
            if path.is_dir() {
                if name != "target" && name != "data" && !name.starts_with(".git") {
                    walk(&path, endings, out);
                }
            } else if endings.iter().any(|e| name.ends_with(e)) {
                out.push(path);
            }
        }
    }
    let mut out = Vec::new();
    walk(&root(), endings, &mut out);
    assert!(out.len() > 5, "found only {out:?}");
    out
}

fn sources() -> Vec<(PathBuf, String)> {
    let read = |p: PathBuf| fs::read_to_string(&p).ok().map(|text| (p, text));
    files(&[".rs"]).into_iter().filter_map(read).collect()
}

/// Rows of `APIS` in dispatch.rs: name, versions, module of the handler.
fn dispatched() -> Vec<(String, String, String)> {
    let text = read("broker/src/dispatch.rs");
    let rows: Vec<_> = text
        .lines()
        .filter_map(|line| line.trim().strip_prefix("api!("))
        .filter(|row| row.contains("handlers::"))
        .map(|row| {
            let name = row.split(',').next().unwrap().trim();
            let versions = row.split(',').nth(1).unwrap().trim().replace("..=", "-");
            let handler = row
                .split("handlers::")
                .nth(1)
                .unwrap()
                .split("::")
                .next()
                .unwrap();
            (name.to_owned(), versions, handler.to_owned())
        })
        .collect();
    assert!(
        rows.len() >= 9,
        "the table in dispatch.rs is read wrongly: {rows:?}"
    );
    rows
}

#[test]
fn the_readme_lists_what_is_dispatched() {
    let readme = read("README.md");
    let section = readme
        .split("## Served APIs")
        .nth(1)
        .unwrap()
        .split("\n## ")
        .next()
        .unwrap();
    let listed: BTreeSet<(String, String)> = section
        .lines()
        .filter(|l| l.starts_with("| ") && !l.starts_with("| API"))
        .map(|l| {
            let cells: Vec<&str> = l.split('|').map(str::trim).collect();
            (cells[1].to_owned(), cells[3].to_owned())
        })
        .collect();
    let served: BTreeSet<(String, String)> = dispatched()
        .into_iter()
        .map(|(name, versions, _)| (name, versions))
        .collect();
    assert_eq!(listed, served);
}

#[test]
fn every_api_has_a_handler_file_that_names_it() {
    for (name, versions, handler) in dispatched() {
        let path = format!("broker/src/handlers/{handler}.rs");
        let text = read(&path);
        let first = text.lines().next().unwrap();
        assert!(
            first.starts_with(&format!("//! {name} (key ")),
            "{path}: {first}"
        );
        let stated: Vec<String> = versions.split('-').map(|v| format!("v{v}")).collect();
        assert!(
            first.contains(&stated.join("-")),
            "{path}: {first} does not say {}",
            stated.join("-")
        );
    }
}

#[test]
fn tests_of_known_faults_are_there() {
    let text = read("ARCHITECTURE.md");
    let table = text.split("| fault | tests |").nth(1).unwrap();
    let rows = table.lines().skip(2).take_while(|l| l.starts_with("| "));
    let names: Vec<&str> = rows
        .flat_map(|row| row.split('`').skip(1).step_by(2))
        .collect();
    assert!(names.len() > 10, "{names:?}");
    let sources = sources();
    for name in names {
        let test = format!("fn {name}()");
        assert!(
            sources.iter().any(|(_, text)| text.contains(&test)),
            "no test {name}"
        );
    }
}

#[test]
fn the_readme_lists_every_setting() {
    let settings = read("broker/src/config/settings.rs");
    let given = read("broker/src/config/given.rs");
    let names = settings.split("setting!(").skip(2);
    let names = names.chain(given.split("given!(").skip(1));
    let names = names.filter_map(|s| s.split('"').nth(1));
    let names: BTreeSet<&str> = names
        .filter(|n| {
            n.chars()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '.')
        })
        .collect();
    assert!(names.len() > 20, "settings.rs is read wrongly: {names:?}");
    let readme = read("README.md");
    let listed = readme
        .lines()
        .filter_map(|l| l.strip_prefix("| `")?.split('`').next());
    let listed: BTreeSet<&str> = listed.filter(|n| !n.contains('/')).collect();
    assert_eq!(listed, names);
}

#[test]
fn files_stay_readable() {
    let long: Vec<String> = sources()
        .iter()
        .filter(|(_, text)| text.lines().count() > LINES_MAX)
        .map(|(path, text)| format!("{}: {} lines", path.display(), text.lines().count()))
        .collect();
    assert!(long.is_empty(), "longer than {LINES_MAX} lines: {long:#?}");
}

#[test]
fn modules_say_what_lives_in_them() {
    let silent: Vec<PathBuf> = sources()
        .into_iter()
        .filter(|(path, _)| !path.to_string_lossy().contains("/golden/")) // what the compiler wrote
        .filter(|(_, text)| !text.trim_start().starts_with("//!"))
        .map(|(path, _)| path)
        .collect();
    assert!(silent.is_empty(), "without a first //! line: {silent:#?}");
}

#[test]
fn names_are_kafkas() {
    let banned = ["Manager", "Helper", "Util"];
    let mut found = Vec::new();
    for (path, text) in sources() {
        for (number, line) in text.lines().enumerate() {
            let defines = ["struct ", "enum ", "trait ", "mod "].iter().any(|k| {
                line.trim_start()
                    .trim_start_matches("pub ")
                    .trim_start_matches("pub(crate) ")
                    .starts_with(k)
            });
            let lower = line.to_lowercase();
            if defines && banned.iter().any(|b| lower.contains(&b.to_lowercase())) {
                found.push(format!(
                    "{}:{}: {}",
                    path.display(),
                    number + 1,
                    line.trim()
                ));
            }
        }
    }
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn nothing_is_left_for_later() {
    let marks = [["TO", "DO"], ["FIX", "ME"], ["X", "XX"]].map(|m| m.concat());
    let attribute = ["#[ig", "nore"].concat();
    let mut found = Vec::new();
    for (path, text) in sources() {
        for (number, line) in text.lines().enumerate() {
            if line.contains(&attribute)
                || marks
                    .iter()
                    .any(|m| line.split(|c: char| !c.is_alphanumeric()).any(|w| w == m))
            {
                found.push(format!(
                    "{}:{}: {}",
                    path.display(),
                    number + 1,
                    line.trim()
                ));
            }
        }
    }
    assert!(found.is_empty(), "{found:#?}");
}
