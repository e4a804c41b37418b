//! A PostgreSQL that is not the broker's own, for tests with `--database-url`.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tokio_postgres::SimpleQueryMessage;

use crate::broker::{Guard, free_port};

/// A PostgreSQL on a free port of the loopback interface, in a directory of its own, gone with this value.
#[derive(Debug)]
pub struct Postgres {
    port: u16,
    role: &'static str,
    _guard: Option<Guard>,
}

impl Postgres {
    /// Sets it up and starts it.
    ///
    /// # Panics
    /// When PostgreSQL's server programs are missing or fail.
    pub fn start() -> Self {
        let dir = tempfile::Builder::new()
            .prefix("pg_kafka-test-pg-")
            .tempdir();
        let dir = dir.expect("a temporary directory").keep();
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o777)).expect("permissions");
        let guard = Guard::new(&dir);
        let port = free_port();
        let data = dir.join("pg");
        program(
            "initdb",
            &dir,
            &[
                "-D",
                path(&data),
                "-U",
                "postgres",
                "-A",
                "trust",
                "--no-sync",
            ],
        );
        let options = format!(
            "-c port={port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={} -c max_connections=200",
            path(&dir)
        );
        let log = dir.join("postgres.log");
        program(
            "pg_ctl",
            &dir,
            &[
                "-D",
                path(&data),
                "-w",
                "-l",
                path(&log),
                "-o",
                &options,
                "start",
            ],
        );
        Self {
            port,
            role: "postgres",
            _guard: Some(guard),
        }
    }

    /// The same server for another role; it runs as long as the first value lives.
    pub fn as_role(&self, role: &'static str) -> Self {
        Self {
            port: self.port,
            role,
            _guard: None,
        }
    }

    /// What `--database-url` takes.
    pub fn url(&self) -> String {
        format!("postgres://{}@127.0.0.1:{}/postgres", self.role, self.port)
    }
}

impl Postgres {
    /// Runs statements.
    ///
    /// # Panics
    /// When one fails.
    pub fn execute(&self, sql: &str) {
        self.query(sql);
    }

    /// Runs statements; the first column of all their rows, empty where it is null.
    ///
    /// # Panics
    /// When one fails.
    pub fn query(&self, sql: &str) -> Vec<String> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        runtime.expect("a runtime").block_on(async {
            let connected = tokio_postgres::connect(&self.url(), tokio_postgres::NoTls).await;
            let (client, connection) = connected.expect("PostgreSQL accepts connections");
            tokio::spawn(connection);
            let messages = client.simple_query(sql).await;
            let messages = messages.unwrap_or_else(|e| panic!("{sql}: {e:?}"));
            let rows = messages.iter().filter_map(|message| match message {
                SimpleQueryMessage::Row(row) => Some(row.get(0).unwrap_or_default().to_owned()),
                _ => None,
            });
            rows.collect()
        })
    }
}

fn path(path: &Path) -> &str {
    path.to_str().expect("a path of plain characters")
}

/// Runs a server program, as the user `postgres` where we are root, whom PostgreSQL refuses.
fn program(name: &str, dir: &Path, args: &[&str]) {
    let program = bin_dir().join(name);
    let mut command = if rustix::process::geteuid().is_root() {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups"]);
        command.arg(program);
        command
    } else {
        Command::new(program)
    };
    let log = fs::File::create(dir.join(format!("{name}.out"))).expect("a log file");
    let status = command
        .args(args)
        .current_dir(dir)
        .stdin(Stdio::null())
        .stdout(log.try_clone().expect("a second handle"))
        .stderr(log)
        .status()
        .expect("setpriv (of util-linux) and PostgreSQL's programs run");
    let said = fs::read_to_string(dir.join(format!("{name}.out"))).unwrap_or_default();
    assert!(status.success(), "{name} failed: {said}");
}

/// Where the newest PostgreSQL's server programs are.
fn bin_dir() -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten();
    let mut places: Vec<PathBuf> = versions.flatten().map(|e| e.path().join("bin")).collect();
    places.sort();
    let on_path = std::env::var_os("PATH").unwrap_or_default();
    let mut all: Vec<PathBuf> = std::env::split_paths(&on_path).collect();
    all.extend(places.into_iter().rev());
    let found = all
        .into_iter()
        .find(|p| p.join("initdb").is_file() && p.join("pg_ctl").is_file());
    found.expect(
        "PostgreSQL's server programs are missing; install them with: apt-get install postgresql",
    )
}
