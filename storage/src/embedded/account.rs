//! The account the server runs as. PostgreSQL refuses root, so a broker of root's runs it as another user.

use std::os::unix::fs::{MetadataExt, chown};
use std::path::Path;

use tokio::process::Command;

use crate::{Error, Result};

/// Accounts to run as when started by root, in order of preference.
const ACCOUNTS: [&str; 2] = ["postgres", "nobody"];

/// None of both fields set: the account of this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Account {
    /// User and group to change to.
    change_to: Option<(u32, u32)>,
}

impl Account {
    /// The owner of an existing cluster if root may choose, else a common account.
    pub(super) async fn choose(cluster_dir: &Path) -> Result<Self> {
        let me = rustix::process::geteuid().as_raw();
        let owner = std::fs::metadata(cluster_dir)
            .ok()
            .map(|meta| (meta.uid(), meta.gid()));
        if me != 0 {
            return match owner {
                Some((uid, _)) if uid != me => Err(Error::Setup(format!(
                    "{} belongs to user number {uid}: start pg_kafka as that user or as root, or use another data directory",
                    cluster_dir.display()
                ))),
                _ => Ok(Self { change_to: None }),
            };
        }
        if let Some((uid, gid)) = owner.filter(|(uid, _)| *uid != 0) {
            return Ok(Self {
                change_to: Some((uid, gid)),
            });
        }
        for name in ACCOUNTS {
            if let (Some(uid), Some(gid)) = (id("-u", name).await, id("-g", name).await) {
                return Ok(Self {
                    change_to: Some((uid, gid)),
                });
            }
        }
        Err(Error::Setup(
            "PostgreSQL does not run as root and there is no user postgres or nobody: start pg_kafka as an ordinary user"
                .to_owned(),
        ))
    }

    /// User number the server's files belong to.
    pub(super) fn uid(self) -> u32 {
        self.change_to
            .map_or_else(|| rustix::process::geteuid().as_raw(), |(uid, _)| uid)
    }

    /// A command of this account, away from directories it might not reach.
    pub(super) fn command(self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.current_dir("/").stdin(std::process::Stdio::null());
        if let Some((uid, gid)) = self.change_to {
            command.uid(uid).gid(gid);
        }
        for (name, _) in std::env::vars_os() {
            // PGDATA, PGPORT and their like are meant for other servers.
            if name.to_string_lossy().starts_with("PG") {
                command.env_remove(name);
            }
        }
        command
    }

    pub(super) fn own(self, path: &Path) -> std::io::Result<()> {
        match self.change_to {
            Some((uid, gid)) => chown(path, Some(uid), Some(gid)),
            None => Ok(()),
        }
    }

    /// Whether the account can enter a directory: root's broker may be given one inside a closed home.
    pub(super) async fn can_enter(self, dir: &Path) -> bool {
        let mut command = self.command(Path::new("/bin/sh"));
        command
            .args(["-c", "cd -- \"$1\"", "sh"])
            .arg(dir)
            .stderr(std::process::Stdio::null());
        command.status().await.is_ok_and(|status| status.success())
    }
}

async fn id(flag: &str, name: &str) -> Option<u32> {
    let output = Command::new("id").args([flag, name]).output().await.ok()?;
    String::from_utf8(output.stdout).ok()?.trim().parse().ok()
}
