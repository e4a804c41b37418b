//! Finding PostgreSQL's server programs.

use std::path::{Path, PathBuf};

use tokio::process::Command;

use crate::{Error, Result};

const MAJOR_MIN: u32 = 14;

/// Directories that hold one directory per version, and where the programs are below that.
const VERSIONED: [(&str, &str, &str); 6] = [
    ("/usr/lib/postgresql", "", "bin"),
    ("/usr", "pgsql-", "bin"),
    ("/usr/local", "pgsql", "bin"),
    ("/opt/homebrew/opt", "postgresql", "bin"),
    ("/usr/local/opt", "postgresql", "bin"),
    ("/home/linuxbrew/.linuxbrew/opt", "postgresql", "bin"),
];

/// A directory with `postgres` and `initdb` of one major version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Binaries {
    pub(super) dir: PathBuf,
    pub(super) major: u32,
}

impl Binaries {
    pub(super) fn postgres(&self) -> PathBuf {
        self.dir.join("postgres")
    }

    pub(super) fn initdb(&self) -> PathBuf {
        self.dir.join("initdb")
    }

    /// The configured ones, or the newest found; a cluster that exists needs the version that made it.
    pub(super) async fn find(
        configured: Option<&Path>,
        cluster_major: Option<u32>,
    ) -> Result<Self> {
        let dirs = configured.map_or_else(places, |dir| vec![dir.to_path_buf()]);
        let mut found = Vec::new();
        for dir in &dirs {
            found.extend(inspect(dir).await);
        }
        choose(found, &dirs, cluster_major)
    }
}

fn choose(
    mut found: Vec<Binaries>,
    looked_in: &[PathBuf],
    cluster_major: Option<u32>,
) -> Result<Binaries> {
    // Stable and reversed: of equal versions the first place looked in wins.
    found.sort_by_key(|binaries| std::cmp::Reverse(binaries.major));
    if let Some(needed) = cluster_major {
        let have = versions(&found);
        return found.into_iter().find(|binaries| binaries.major == needed).ok_or_else(|| {
            Error::Setup(format!(
                "the data directory was made by PostgreSQL {needed}, and only {have} is installed: \
                 install PostgreSQL {needed}, or upgrade the directory with pg_upgrade"
            ))
        });
    }
    match found.into_iter().next() {
        Some(newest) if newest.major >= MAJOR_MIN => Ok(newest),
        Some(old) => Err(missing(&format!(
            "only version {} in {}",
            old.major,
            old.dir.display()
        ))),
        None => {
            let places: Vec<String> = looked_in
                .iter()
                .map(|dir| dir.display().to_string())
                .collect();
            Err(missing(&format!("looked in {}", places.join(", "))))
        }
    }
}

fn versions(found: &[Binaries]) -> String {
    match found {
        [] => "no version".to_owned(),
        _ => found
            .iter()
            .map(|binaries| binaries.major.to_string())
            .collect::<Vec<_>>()
            .join(", "),
    }
}

fn missing(detail: &str) -> Error {
    Error::Setup(format!(
        "the server programs of PostgreSQL {MAJOR_MIN} or newer were not found ({detail}). Install them:\n\
         \x20 Debian, Ubuntu:  sudo apt-get install -y postgresql\n\
         \x20 Fedora, RHEL:    sudo dnf install -y postgresql-server\n\
         \x20 macOS:           brew install postgresql@17\n\
         or tell where they are, or give the URL of a PostgreSQL that is running"
    ))
}

/// PATH first, then where the systems put them.
fn places() -> Vec<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut places: Vec<PathBuf> = std::env::split_paths(&path)
        .filter(|dir| dir.join("initdb").exists())
        .collect();
    for (parent, prefix, programs) in VERSIONED {
        let Ok(entries) = std::fs::read_dir(parent) else {
            continue;
        };
        let matching = entries
            .flatten()
            .filter(|entry| entry.file_name().to_string_lossy().starts_with(prefix));
        let mut dirs: Vec<PathBuf> = matching.map(|entry| entry.path().join(programs)).collect();
        dirs.sort();
        places.extend(dirs.into_iter().filter(|dir| dir.join("initdb").exists()));
    }
    places
}

async fn inspect(dir: &Path) -> Option<Binaries> {
    if !dir.join("initdb").exists() {
        return None;
    }
    let output = Command::new(dir.join("postgres"))
        .arg("--version")
        .output()
        .await
        .ok()?;
    let major = major(std::str::from_utf8(&output.stdout).ok()?)?;
    Some(Binaries {
        dir: dir.to_path_buf(),
        major,
    })
}

/// `postgres (PostgreSQL) 15.20 (Debian …)`, `… 18beta1`.
fn major(version: &str) -> Option<u32> {
    let number = version.split_once("(PostgreSQL) ")?.1;
    let digits = number.split(|c: char| !c.is_ascii_digit()).next()?;
    digits.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn binaries(dir: &str, major: u32) -> Binaries {
        Binaries {
            dir: dir.into(),
            major,
        }
    }

    #[test]
    fn version_is_read_from_what_postgres_prints() {
        assert_eq!(
            major("postgres (PostgreSQL) 15.20 (Debian 15.20-0+deb12u1)\n"),
            Some(15)
        );
        assert_eq!(major("postgres (PostgreSQL) 18beta1\n"), Some(18));
        assert_eq!(major("something else"), None);
    }

    #[test]
    fn newest_wins_unless_a_cluster_needs_another() {
        let found = || {
            vec![
                binaries("/a", 14),
                binaries("/b", 17),
                binaries("/c", 17),
                binaries("/d", 15),
            ]
        };
        assert_eq!(choose(found(), &[], None).unwrap(), binaries("/b", 17));
        assert_eq!(choose(found(), &[], Some(15)).unwrap(), binaries("/d", 15));
        let text = choose(found(), &[], Some(16)).unwrap_err().to_string();
        assert!(
            text.contains("made by PostgreSQL 16, and only 17, 17, 15, 14 is installed"),
            "{text}"
        );
    }

    #[test]
    fn missing_or_old_programs_say_what_to_install() {
        for found in [vec![], vec![binaries("/old", 13)]] {
            let text = choose(found, &["/x".into()], None).unwrap_err().to_string();
            for command in [
                "apt-get install -y postgresql",
                "dnf install -y postgresql-server",
                "brew install postgresql",
            ] {
                assert!(text.contains(command), "{text}");
            }
        }
    }
}
