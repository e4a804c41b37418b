//! A PostgreSQL that is not the broker's own, for tests with `--database-url`.

use std::fs;
use std::io::Write;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use tokio_postgres::SimpleQueryMessage;

use crate::broker::{Guard, free_port};

/// How long the server may take to end, or a standby to follow.
const LIMIT: Duration = Duration::from_secs(120);

/// A PostgreSQL on a free port of the loopback interface, in a directory of its own, gone with this value.
#[derive(Debug)]
pub struct Postgres {
    port: u16,
    role: &'static str,
    dir: PathBuf,
    /// Unmounted after the server has ended.
    disk: Option<PathBuf>,
    guard: Option<Guard>,
}

impl Postgres {
    /// Sets it up and starts it.
    ///
    /// # Panics
    /// When PostgreSQL's server programs are missing or fail.
    pub fn start() -> Self {
        let postgres = Self::placed(None);
        postgres.init();
        postgres.start_again();
        postgres
    }

    /// As [`Self::start`], on a disk of so many bytes. `None` where this process may not mount one.
    ///
    /// # Panics
    /// As there.
    pub fn on_small_disk(bytes: u64) -> Option<Self> {
        let dir = directory();
        let mounted = Command::new("mount")
            .args([
                "-t",
                "tmpfs",
                "-o",
                &format!("size={bytes},mode=0777"),
                "tmpfs",
            ])
            .arg(&dir)
            .stderr(Stdio::null())
            .status();
        if !mounted.is_ok_and(|status| status.success()) {
            fs::remove_dir(&dir).expect("an empty directory");
            return None;
        }
        let postgres = Self::placed(Some(dir));
        postgres.init();
        postgres.start_again();
        Some(postgres)
    }

    fn placed(disk: Option<PathBuf>) -> Self {
        let dir = disk.clone().unwrap_or_else(directory);
        Self {
            port: free_port(),
            role: "postgres",
            guard: Some(Guard::new(&dir)),
            dir,
            disk,
        }
    }

    fn data(&self) -> PathBuf {
        self.dir.join("pg")
    }

    fn init(&self) {
        let data = self.data();
        let arguments = [
            "-D",
            path(&data),
            "-U",
            "postgres",
            "-A",
            "trust",
            "--no-sync",
        ];
        program("initdb", &self.dir, &arguments);
    }

    /// Starts the server on the data it left.
    ///
    /// # Panics
    /// When it does not start.
    pub fn start_again(&self) {
        let (data, log) = (self.data(), self.dir.join("postgres.log"));
        let options = format!(
            "-c port={} -c listen_addresses=127.0.0.1 -c unix_socket_directories={} -c max_connections=200 \
             -c max_wal_size=64MB",
            self.port,
            path(&self.dir)
        );
        let arguments = [
            "-D",
            path(&data),
            "-w",
            "-t",
            "120",
            "-l",
            path(&log),
            "-o",
            &options,
            "start",
        ];
        program("pg_ctl", &self.dir, &arguments);
    }

    /// Ends the server in order, its sessions at once.
    ///
    /// # Panics
    /// When that fails.
    pub fn stop(&self) {
        let data = self.data();
        program(
            "pg_ctl",
            &self.dir,
            &["-D", path(&data), "-w", "-t", "120", "-m", "fast", "stop"],
        );
    }

    /// The postmaster, if it runs.
    pub fn postmaster(&self) -> Option<Pid> {
        let text = fs::read_to_string(self.data().join("postmaster.pid")).ok()?;
        let pid = Pid::from_raw(text.lines().next()?.trim().parse().ok()?)?;
        test_kill_process(pid).ok().map(|()| pid)
    }

    /// kill -9 of the postmaster, whose backends end by themselves; returns when the last has, as no server starts before that.
    ///
    /// # Panics
    /// When it does not run.
    pub fn kill(&self) {
        let pid = self.postmaster().expect("PostgreSQL runs");
        kill_process(pid, Signal::KILL).expect("kill -9");
        crate::wait_for("the end of PostgreSQL", LIMIT, || {
            let listening = TcpStream::connect(("127.0.0.1", self.port)).is_ok();
            (!listening && self.postmaster().is_none() && !works_in(&self.data())).then_some(())
        });
    }

    /// Waits until the server takes statements; starts it when it has ended by itself.
    ///
    /// # Panics
    /// When that takes too long.
    pub fn wait_until_up(&self) {
        crate::wait_for("PostgreSQL to be up", LIMIT, || {
            if self.postmaster().is_none() {
                self.start_again();
            }
            self.try_query("select 1").ok()
        });
    }

    /// A standby of this server that follows it by streaming.
    ///
    /// # Panics
    /// When it cannot be set up.
    pub fn standby(&self) -> Self {
        let standby = Self::placed(None);
        let (data, port) = (standby.data(), self.port.to_string());
        let arguments = [
            "-D",
            path(&data),
            "-R",
            "-h",
            "127.0.0.1",
            "-p",
            &port,
            "-U",
            "postgres",
            "-c",
            "fast",
        ];
        program("pg_basebackup", &standby.dir, &arguments);
        standby.start_again();
        standby
    }

    /// From now on commits wait for the standby.
    ///
    /// # Panics
    /// When there is none.
    pub fn wait_for_synchronous_standby(&self) {
        self.execute("alter system set synchronous_standby_names = '*'");
        self.execute("select pg_reload_conf()");
        crate::wait_for("a synchronous standby", LIMIT, || {
            let states = self.query("select sync_state from pg_stat_replication");
            (states == ["sync"]).then_some(())
        });
    }

    /// Makes a standby the primary.
    ///
    /// # Panics
    /// When that fails.
    pub fn promote(&self) {
        self.execute("select pg_promote()");
    }

    /// Fills the disk until the value is dropped.
    ///
    /// # Panics
    /// When the disk has no end.
    pub fn fill_disk(&self) -> Hog {
        let hog = Hog(self.dir.join("hog"));
        let mut file = fs::File::create(&hog.0).expect("a file");
        let block = vec![0; 64 << 10];
        for _ in 0..1 << 20 {
            if file.write_all(&block).is_err() {
                return hog;
            }
        }
        panic!("the disk is too large");
    }

    /// The port it listens on.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The same server for another role; it runs as long as the first value lives.
    pub fn as_role(&self, role: &'static str) -> Self {
        Self {
            port: self.port,
            role,
            dir: self.dir.clone(),
            disk: None,
            guard: None,
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
        self.try_query(sql)
            .unwrap_or_else(|e| panic!("{sql}: {e:?}"))
    }

    fn try_query(&self, sql: &str) -> Result<Vec<String>, tokio_postgres::Error> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        runtime.expect("a runtime").block_on(async {
            let (client, connection) =
                tokio_postgres::connect(&self.url(), tokio_postgres::NoTls).await?;
            tokio::spawn(connection);
            let messages = client.simple_query(sql).await?;
            let rows = messages.iter().filter_map(|message| match message {
                SimpleQueryMessage::Row(row) => Some(row.get(0).unwrap_or_default().to_owned()),
                _ => None,
            });
            Ok(rows.collect())
        })
    }
}

/// A session with an open transaction, which ends with this value.
#[derive(Debug)]
pub struct Session {
    _client: tokio_postgres::Client,
    _runtime: tokio::runtime::Runtime,
}

impl Postgres {
    /// Runs statements in a transaction that stays open.
    ///
    /// # Panics
    /// When one fails.
    pub fn begin(&self, sql: &str) -> Session {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        let client = runtime.block_on(async {
            let connected = tokio_postgres::connect(&self.url(), tokio_postgres::NoTls).await;
            let (client, connection) = connected.expect("PostgreSQL accepts connections");
            tokio::spawn(connection);
            let begun = client.batch_execute(&format!("begin; {sql}")).await;
            begun.unwrap_or_else(|e| panic!("{sql}: {e:?}"));
            client
        });
        Session {
            _client: client,
            _runtime: runtime,
        }
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        drop(self.guard.take());
        if let Some(disk) = &self.disk {
            let unmounted = Command::new("umount").arg(disk).status();
            let gone = unmounted.map(|_| fs::remove_dir(disk));
            assert!(
                gone.is_ok() || std::thread::panicking(),
                "cannot unmount {}",
                disk.display()
            );
        }
    }
}

/// What takes the rest of a disk.
#[derive(Debug)]
pub struct Hog(PathBuf);

impl Drop for Hog {
    fn drop(&mut self) {
        fs::remove_file(&self.0).expect("the file is there");
    }
}

/// A temporary directory that any user may write in.
pub(crate) fn directory() -> PathBuf {
    let dir = tempfile::Builder::new()
        .prefix("pg_kafka-test-pg-")
        .tempdir();
    let dir = dir.expect("a temporary directory").keep();
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o777)).expect("permissions");
    dir
}

/// Whether a process has this as its working directory, as all of a server's have. Never, where there is no /proc.
fn works_in(dir: &Path) -> bool {
    let dir = fs::canonicalize(dir).expect("a directory");
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let mut directories = processes.filter_map(|p| fs::read_link(p.path().join("cwd")).ok());
    directories.any(|found| found == dir)
}

fn path(path: &Path) -> &str {
    path.to_str().expect("a path of plain characters")
}

/// A command that runs as the user `postgres` where we are root, whom servers refuse.
pub(crate) fn as_server(program: &Path) -> Command {
    if !rustix::process::geteuid().is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups"]);
    command.arg(program);
    command
}

/// Runs a server program to its end.
fn program(name: &str, dir: &Path, args: &[&str]) {
    let mut command = as_server(&find(name));
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

/// A program of the newest PostgreSQL.
fn find(name: &str) -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten();
    let mut places: Vec<PathBuf> = versions.flatten().map(|e| e.path().join("bin")).collect();
    places.sort();
    let on_path = std::env::var_os("PATH").unwrap_or_default();
    let mut all: Vec<PathBuf> = places.into_iter().rev().collect();
    all.extend(std::env::split_paths(&on_path));
    let programs = all.into_iter().map(|place| place.join(name));
    let found = programs.into_iter().find(|program| program.is_file());
    found.expect(
        "PostgreSQL's server programs are missing; install them with: apt-get install postgresql",
    )
}
