//! Real text in plenty, found on the machine: word lists, licences and notes of the system's packages and of the
//! crates this workspace is built from.

use std::fs;
use std::path::{Path, PathBuf};

/// Lines a text has at least.
pub const LINES_MIN: usize = 100_000;
/// Lines after which no more is added.
const LINES_MAX: usize = 120_000;

/// At least `LINES_MIN` lines of text, none of them empty, ending with a line feed. The same at every call.
///
/// # Panics
/// When the machine has too little.
pub fn of_this_machine() -> Vec<u8> {
    let home = std::env::var("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|_| std::env::var("HOME").map(|h| Path::new(&h).join(".cargo")));
    let mut places = vec![
        PathBuf::from("/usr/share/doc"),
        PathBuf::from("/usr/share/common-licenses"),
        PathBuf::from("/usr/share/dict/words"),
    ];
    places.extend(home.map(|h| h.join("registry/src")));
    let mut text = Text::default();
    for place in &places {
        text.add(place);
    }
    assert!(
        text.lines >= LINES_MIN,
        "only {} lines of text found in {places:?}",
        text.lines
    );
    text.bytes
}

#[derive(Default)]
struct Text {
    bytes: Vec<u8>,
    lines: usize,
}

impl Text {
    fn add(&mut self, path: &Path) {
        if self.lines >= LINES_MAX || path.is_symlink() {
            return;
        }
        if let Ok(entries) = fs::read_dir(path) {
            let mut entries: Vec<PathBuf> = entries.flatten().map(|e| e.path()).collect();
            entries.sort();
            entries.iter().for_each(|p| self.add(p));
            return;
        }
        let name = path.file_name().and_then(|n| n.to_str()).unwrap_or("");
        let binary = [
            ".gz", ".png", ".ico", ".crate", ".bin", ".lib", ".a", ".pdf",
        ];
        if binary.iter().any(|end| name.ends_with(end)) {
            return;
        }
        let Ok(content) = fs::read_to_string(path) else {
            return;
        };
        for line in content.lines() {
            let fits = !line.trim().is_empty() && line.len() < 10_000 && !line.contains('\r');
            if fits && self.lines < LINES_MAX {
                self.bytes.extend_from_slice(line.as_bytes());
                self.bytes.push(b'\n');
                self.lines += 1;
            }
        }
    }
}
