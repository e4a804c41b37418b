//! The broker under test as a process: started on a free port with a data directory of its own, killed, stopped and
//! started again by the tests, and gone when they end, however they end.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tokio::net::TcpSocket;

use crate::tool::Finished;
use crate::{wait_for, workspace};

/// How long a broker may take to accept connections, with `initdb` on a busy machine.
const START_LIMIT: Duration = Duration::from_secs(120);
/// The smallest request: ApiVersions 0 without a client id.
const API_VERSIONS: [u8; 14] = [0, 0, 0, 10, 0, 18, 0, 0, 0, 0, 0, 1, 255, 255];
/// How long a broker may take to end after SIGTERM, with its PostgreSQL.
const STOP_LIMIT: Duration = Duration::from_secs(120);

/// A running broker, or one between `kill` and `start_again`.
#[derive(Debug)]
pub struct Broker {
    port: u16,
    dir: PathBuf,
    args: Vec<String>,
    child: Option<Child>,
    _guard: Option<Guard>,
}

/// A use of the broker that many tests share. Shows the broker's log when its test fails.
#[derive(Debug)]
pub struct Shared(&'static Broker);

impl std::ops::Deref for Shared {
    type Target = Broker;
    fn deref(&self) -> &Broker {
        self.0
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.show_log();
        }
    }
}

impl Broker {
    /// Starts a broker with default settings on a private PostgreSQL.
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// Starts a broker with more arguments.
    ///
    /// # Panics
    /// When it does not accept connections in time.
    pub fn start_with(args: &[&str]) -> Self {
        let mut broker = Self::stopped(args);
        broker.start_again();
        broker
    }

    /// A broker that has not been started.
    pub fn stopped(args: &[&str]) -> Self {
        let dir = tempfile::Builder::new()
            .prefix("pg_kafka-test-")
            .tempdir()
            .expect("a temporary directory")
            .keep();
        // A broker that runs as root starts PostgreSQL as another user, who must get through.
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o755)).expect("permissions");
        Self {
            port: free_port(),
            _guard: Some(Guard::new(&dir)),
            dir,
            args: args.iter().map(|a| (*a).to_owned()).collect(),
            child: None,
        }
    }

    /// The broker of all tests that leave it running and use topics of their own. `KAFKA_BOOTSTRAP` puts another in
    /// its place.
    pub fn shared() -> Shared {
        static SHARED: OnceLock<Broker> = OnceLock::new();
        Shared(
            SHARED.get_or_init(|| match std::env::var("KAFKA_BOOTSTRAP") {
                Ok(address) => Self::elsewhere(&address),
                Err(_) => Self::start(),
            }),
        )
    }

    fn elsewhere(address: &str) -> Self {
        let port = address.rsplit(':').next().and_then(|p| p.parse().ok());
        Self {
            port: port.expect("KAFKA_BOOTSTRAP is 127.0.0.1:port"),
            dir: PathBuf::new(),
            args: Vec::new(),
            child: None,
            _guard: None,
        }
    }

    /// Starts the broker on the data it left.
    ///
    /// # Panics
    /// When it does not answer in time, or is running.
    pub fn start_again(&mut self) {
        self.spawn();
        self.wait_until_ready();
    }

    /// Waits until the broker answers.
    ///
    /// # Panics
    /// When that takes too long, or the broker ends.
    pub fn wait_until_ready(&mut self) {
        // It listens before it serves.
        wait_for("the broker to answer", START_LIMIT, || {
            self.assert_running();
            let mut connection = TcpStream::connect(("127.0.0.1", self.port)).ok()?;
            let patience = Some(Duration::from_secs(1));
            connection.set_read_timeout(patience).ok()?;
            connection.write_all(&API_VERSIONS).ok()?;
            connection.read_exact(&mut [0; 4]).ok()
        });
    }

    /// Starts the process without waiting for anything. For several that start at once.
    pub fn spawn(&mut self) {
        assert!(self.child.is_none(), "the broker is running");
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.log_path())
            .expect("a log file");
        let child = Command::new(binary())
            .args(["--listeners", &self.bootstrap(), "--data-dir"])
            .arg(self.dir.join("data"))
            .args(&self.args)
            .current_dir(&self.dir)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a second handle of the log file"))
            .stderr(log)
            .process_group(0)
            .spawn()
            .expect("the broker starts");
        fs::write(self.dir.join("broker.pid"), child.id().to_string()).expect("a pid file");
        self.child = Some(child);
    }

    /// Waits until the broker says that it is ready, or has ended. Whether it is ready.
    pub fn is_ready_or_ended(&mut self) -> bool {
        let child = self.child.as_mut().expect("the broker was started");
        let log = self.dir.join("broker.log");
        wait_for("the broker to be ready or to end", START_LIMIT, || {
            let ended = child.try_wait().expect("the state of the broker").is_some();
            let ready = fs::read_to_string(&log)
                .unwrap_or_default()
                .contains("is ready");
            (ready || ended).then_some(ready && !ended)
        })
    }

    /// Fails with the broker's log when it has ended by itself.
    pub fn assert_running(&mut self) {
        let child = self.child.as_mut().expect("the broker was started");
        if let Some(status) = child.try_wait().expect("the state of the broker") {
            panic!("the broker ended by itself, {status}");
        }
    }

    /// `127.0.0.1:port`.
    pub fn bootstrap(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The port it listens on.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The process id of the running broker.
    pub fn pid(&self) -> Pid {
        let child = self.child.as_ref().expect("a broker of our own runs");
        Pid::from_child(child)
    }

    /// kill -9, no more than that: its PostgreSQL goes on.
    pub fn kill(&mut self) {
        let mut child = self.child.take().expect("the broker runs");
        child.kill().expect("kill -9");
        child.wait().expect("the end of the broker");
        fs::remove_file(self.dir.join("broker.pid")).expect("a pid file");
    }

    /// Sends SIGTERM or SIGINT and goes on.
    pub fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).expect("a signal");
    }

    /// Waits for the end of a broker that was told to stop.
    ///
    /// # Panics
    /// When it takes too long.
    pub fn wait_for_end(&mut self) -> ExitStatus {
        let mut child = self.child.take().expect("the broker runs");
        let deadline = Instant::now() + STOP_LIMIT;
        loop {
            if let Some(status) = child.try_wait().expect("the state of the broker") {
                fs::remove_file(self.dir.join("broker.pid")).expect("a pid file");
                return status;
            }
            if Instant::now() >= deadline {
                self.child = Some(child);
                panic!("the broker did not end within {STOP_LIMIT:?}");
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// SIGTERM, and waits for a clean end.
    ///
    /// # Panics
    /// When it takes too long or ends with an error.
    pub fn stop(&mut self) {
        self.signal(Signal::TERM);
        let status = self.wait_for_end();
        assert!(status.success(), "the broker ended with {status}");
    }

    /// The process id of the postmaster of the private PostgreSQL, if it runs.
    pub fn postmaster(&self) -> Option<Pid> {
        let file = find(&self.dir, "postmaster.pid")?;
        let text = fs::read_to_string(file).ok()?;
        let pid = Pid::from_raw(text.lines().next()?.trim().parse().ok()?)?;
        rustix::process::test_kill_process(pid).ok().map(|()| pid)
    }

    /// kill -9 of the private PostgreSQL's postmaster; its backends end by themselves.
    ///
    /// # Panics
    /// When no PostgreSQL runs, and none is started.
    pub fn kill_postgres(&self) {
        // It may just have ended by an earlier fault.
        wait_for("a private PostgreSQL to kill", START_LIMIT, || {
            kill_process(self.postmaster()?, Signal::KILL).ok()
        });
    }

    /// Memory the broker's process has in RAM, in bytes.
    pub fn resident_bytes(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid().as_raw_nonzero()))
            .expect("/proc/pid/status");
        let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:"));
        let kib = line.and_then(|l| l.trim().strip_suffix(" kB"));
        kib.and_then(|k| k.trim().parse::<u64>().ok())
            .expect("VmRSS")
            * 1024
    }

    /// Everything the broker wrote to standard output and error.
    pub fn log(&self) -> String {
        fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    /// A directory for the test's own files, beside the broker's data.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    fn log_path(&self) -> PathBuf {
        self.dir.join("broker.log")
    }

    fn show_log(&self) {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        let tail = lines.len().saturating_sub(60);
        eprintln!("---- the end of the broker's log, port {}", self.port);
        for line in &lines[tail..] {
            eprintln!("{line}");
        }
        eprintln!("----");
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.show_log();
        }
        if let Some(mut child) = self.child.take() {
            // An end without the chance to say goodbye, as the tests are over; the guard sees to PostgreSQL.
            child.kill().expect("kill -9");
            child.wait().expect("the end of the broker");
        }
    }
}

/// A small process that outlives the tests by a moment: when its standard input closes, because the tests dropped it
/// or ended in any way, it ends what runs in the directory and removes the directory.
#[derive(Debug)]
pub(crate) struct Guard {
    process: Child,
    input: Option<ChildStdin>,
}

const GUARD: &str = r#"cat > /dev/null
for file in "$1"/*.pid; do [ ! -f "$file" ] || kill -9 "$(cat "$file")"; done
find "$1" -name postmaster.pid | while read -r file; do
  pid=$(head -1 "$file"); kill -QUIT "$pid" && while kill -0 "$pid"; do sleep 0.05; done
done
rm -rf "$1""#;

impl Guard {
    pub(crate) fn new(dir: &Path) -> Self {
        let mut process = Command::new("sh")
            .args(["-c", GUARD, "guard"])
            .arg(dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .expect("sh");
        Self {
            input: process.stdin.take(),
            process,
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        drop(self.input.take());
        self.process.wait().expect("the end of the guard");
    }
}

/// A port for a server that the tests start, and start again. It is reserved as long as they run: bound by a socket that does not
/// listen. Neither another process nor a client's connection is given it, and a server that sets SO_REUSEADDR, as all do, may listen.
///
/// # Panics
/// When there is none.
pub fn free_port() -> u16 {
    static RESERVED: Mutex<Vec<TcpSocket>> = Mutex::new(Vec::new());
    let socket = TcpSocket::new_v4().expect("a socket");
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    socket.bind(any).expect("a free port");
    // Not before: it might have been given a port that is reserved in the same way.
    socket.set_reuseaddr(true).expect("an option of TCP");
    let port = socket.local_addr().expect("an address").port();
    // Elsewhere two sockets cannot be bound to one address.
    if cfg!(target_os = "linux") {
        let mut reserved = RESERVED.lock().unwrap_or_else(PoisonError::into_inner);
        reserved.push(socket);
    }
    port
}

/// The first file of that name below `dir`.
fn find(dir: &Path, name: &str) -> Option<PathBuf> {
    let mut entries: Vec<PathBuf> = fs::read_dir(dir)
        .ok()?
        .flatten()
        .map(|e| e.path())
        .collect();
    entries.sort();
    for path in &entries {
        if path.file_name().is_some_and(|n| n == name) {
            return Some(path.clone());
        }
    }
    entries.iter().find_map(|p| find(p, name))
}

/// Runs the broker's executable to its end, as for its commands that only look.
pub fn run_binary(args: &[&str]) -> Finished {
    let mut command = Command::new(binary());
    let output = command.args(args).stdin(Stdio::null()).output();
    let output = output.expect("the executable runs");
    Finished {
        success: output.status.success(),
        stdout: output.stdout,
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// The broker's executable, built once for this run with the profile of the tests. `TEST_BROKER` names another.
fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        if let Some(path) = std::env::var_os("TEST_BROKER") {
            return path.into();
        }
        // target/<profile>/deps/e2e-<hash>
        let exe = std::env::current_exe().expect("the path of this test");
        let profile_dir = exe.ancestors().nth(2).expect("target/<profile>");
        let profile = match profile_dir.file_name().and_then(|n| n.to_str()) {
            Some("debug") | None => "dev",
            Some(other) => other,
        };
        let target = profile_dir.parent().expect("target");
        let mut build = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        build.args(["build", "--quiet", "--workspace", "--bin", "pg_kafka"]);
        build
            .args(["--profile", profile, "--target-dir"])
            .arg(target);
        let status = build.current_dir(workspace()).status().expect("cargo runs");
        assert!(
            status.success(),
            "cargo build -p broker --bin pg_kafka failed"
        );
        profile_dir.join("pg_kafka")
    })
}

/// Reads the whole of a connection until the peer closes it, or nothing came for `limit`. `None`: still open.
pub fn read_until_closed(stream: &mut TcpStream, limit: Duration) -> Option<Vec<u8>> {
    stream.set_read_timeout(Some(limit)).expect("a time limit");
    let mut bytes = Vec::new();
    match stream.read_to_end(&mut bytes) {
        Ok(_) => Some(bytes),
        Err(e) if e.kind() == std::io::ErrorKind::ConnectionReset => Some(bytes),
        Err(_) => None,
    }
}
