//! pgbouncer before a PostgreSQL of the tests.

use std::fs::{self, File};
use std::net::TcpStream;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::Duration;

use crate::broker::{Guard, free_port};
use crate::postgres::{Postgres, as_server, directory};

/// How long it may take to listen.
const LIMIT: Duration = Duration::from_secs(60);

/// pgbouncer on a free port of the loopback interface, gone with this value.
#[derive(Debug)]
pub struct Pgbouncer {
    program: PathBuf,
    port: u16,
    dir: PathBuf,
    process: Child,
    _guard: Guard,
}

impl Pgbouncer {
    /// With so many sessions of the server at most. `None`, and a line that says so, where it is not installed.
    ///
    /// # Panics
    /// When it does not start.
    pub fn before(postgres: &Postgres, pool_mode: &str, sessions: u32) -> Option<Self> {
        let Some(program) = find() else {
            eprintln!("not run: pgbouncer is missing; install it with: apt-get install pgbouncer");
            return None;
        };
        let (dir, port, server_port) = (directory(), free_port(), postgres.port());
        let settings = format!(
            "[databases]\npostgres = host=127.0.0.1 port={server_port} user=postgres\n\
             [pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\nauth_type = any\n\
             pool_mode = {pool_mode}\ndefault_pool_size = {sessions}\n"
        );
        fs::write(dir.join("pgbouncer.ini"), settings).expect("a file");
        let guard = Guard::new(&dir);
        let pgbouncer = Self {
            process: spawn(&program, &dir),
            program,
            port,
            dir,
            _guard: guard,
        };
        pgbouncer.wait_until_ready();
        Some(pgbouncer)
    }

    /// The port it listens on.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// What `--database-url` takes.
    pub fn url(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}/postgres", self.port)
    }

    /// kill -9, and a new one in its place.
    ///
    /// # Panics
    /// When it does not start.
    pub fn replace(&mut self) {
        self.kill();
        self.process = spawn(&self.program, &self.dir);
        self.wait_until_ready();
    }

    fn wait_until_ready(&self) {
        crate::wait_for("pgbouncer to listen", LIMIT, || {
            TcpStream::connect(("127.0.0.1", self.port)).ok()
        });
    }

    fn kill(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        self.process.wait().expect("the end of pgbouncer");
    }
}

impl Drop for Pgbouncer {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = fs::read_to_string(self.dir.join("pgbouncer.log")).unwrap_or_default();
            eprintln!("---- pgbouncer\n{log}----");
        }
        self.kill();
        let _ = fs::remove_file(self.dir.join("pgbouncer.pid"));
    }
}

fn spawn(program: &std::path::Path, dir: &std::path::Path) -> Child {
    let log = File::options()
        .create(true)
        .append(true)
        .open(dir.join("pgbouncer.log"));
    let log = log.expect("a log file");
    let process = as_server(program)
        .arg(dir.join("pgbouncer.ini"))
        .stdin(Stdio::null())
        .stdout(log.try_clone().expect("a second handle"))
        .stderr(log)
        .process_group(0)
        .spawn()
        .expect("pgbouncer starts");
    fs::write(dir.join("pgbouncer.pid"), process.id().to_string()).expect("a pid file");
    process
}

/// Debian has it where not everybody's PATH leads.
fn find() -> Option<PathBuf> {
    let on_path = std::env::var_os("PATH").unwrap_or_default();
    let mut places: Vec<PathBuf> = std::env::split_paths(&on_path).collect();
    places.push(PathBuf::from("/usr/sbin"));
    let programs = places.into_iter().map(|place| place.join("pgbouncer"));
    programs.into_iter().find(|program| program.is_file())
}
