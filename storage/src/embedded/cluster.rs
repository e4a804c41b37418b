//! The data directory: its lock, the cluster in it, the server's settings, the socket's place.

use std::collections::hash_map::DefaultHasher;
use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::hash::{Hash, Hasher};
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::FlockOperation;
use tokio::time::{Instant, sleep};

use super::EmbeddedConfig;
use super::account::Account;
use super::binaries::Binaries;
use crate::{Error, Result, pool};

const DATABASE: &str = "kafka";
const SUPERUSER: &str = "postgres";
/// The shortest limit of the systems we run on (macOS), with the terminating zero.
const SOCKET_PATH_MAX: usize = 104;
const SOCKET_FILE: &str = ".s.PGSQL.5432";
/// A program that a broker was just starting when it was killed has the lock for a moment longer.
const LOCK_PATIENCE: Duration = Duration::from_secs(1);
const LOG_BYTES_MAX: u64 = 16 << 20;
const MIB: u64 = 1 << 20;

/// A cluster ready to be started, with the lock on its directory.
#[derive(Debug)]
pub(super) struct Cluster {
    pub(super) account: Account,
    pub(super) binaries: Binaries,
    /// PGDATA.
    pub(super) dir: PathBuf,
    pub(super) log: PathBuf,
    socket_dir: PathBuf,
    _lock: Lock,
}

/// Held by one process; the system gives it up when the process ends, however it ends.
#[derive(Debug)]
pub(super) struct Lock {
    file: File,
}

impl Drop for Lock {
    fn drop(&mut self) {
        // A process that is just being started by another thread has the file until it executes its program, and with it the lock.
        let _ = rustix::fs::flock(&self.file, FlockOperation::Unlock);
    }
}

impl Cluster {
    pub(super) async fn prepare(config: &EmbeddedConfig) -> Result<Self> {
        let data_dir = make_data_dir(&config.data_dir)?;
        let lock = Lock::take(&data_dir).await?;
        let dir = data_dir.join("postgres");
        let account = Account::choose(&dir).await?;
        if !account.can_enter(&data_dir).await {
            return Err(Error::Setup(format!(
                "the account PostgreSQL runs as (user number {}, it does not run as root) cannot enter {}: \
                 use a data directory it can reach, such as /var/lib/pg_kafka",
                account.uid(),
                data_dir.display()
            )));
        }
        let binaries = Binaries::find(config.bin_dir.as_deref(), cluster_major(&dir)?).await?;
        let socket_dir = make_socket_dir(&data_dir, account)?;
        let log = data_dir.join("postgres.log");
        let cluster = Self {
            account,
            binaries,
            dir,
            log,
            socket_dir,
            _lock: lock,
        };
        if !cluster.dir.exists() {
            cluster.initialise().await?;
        }
        own_tree(&cluster.dir, account)?;
        cluster.write_settings(&config.settings)?;
        Ok(cluster)
    }

    /// Makes the cluster under another name first, so that a start that was killed leaves nothing half-made behind.
    async fn initialise(&self) -> Result<()> {
        let making = self.dir.with_extension("new");
        if making.exists() {
            std::fs::remove_dir_all(&making).map_err(|e| io_error("removing", &making, &e))?;
        }
        make_dir(&making, 0o700)?;
        self.account
            .own(&making)
            .map_err(|e| io_error("giving away", &making, &e))?;
        tracing::info!(
            "initialising PostgreSQL {} in {}",
            self.binaries.major,
            self.dir.display()
        );
        let mut command = self.account.command(&self.binaries.initdb());
        command
            .arg("-D")
            .arg(&making)
            .args(["-U", SUPERUSER, "-E", "UTF8", "--locale=C"]);
        command.args(["--data-checksums", "--auth=trust", "--no-instructions"]);
        let output = command
            .output()
            .await
            .map_err(|e| io_error("running", &self.binaries.initdb(), &e))?;
        if !output.status.success() {
            let text = String::from_utf8_lossy(&output.stderr);
            return Err(Error::Setup(format!(
                "initdb failed ({}): {}",
                output.status,
                text.trim()
            )));
        }
        let include = "\n# Written by pg_kafka at every start. Settings below this line win.\ninclude_if_exists = 'pg_kafka.conf'\n";
        append(&making.join("postgresql.conf"), include)?;
        std::fs::rename(&making, &self.dir).map_err(|e| io_error("renaming", &making, &e))
    }

    fn write_settings(&self, more: &[(String, String)]) -> Result<()> {
        let path = self.dir.join("pg_kafka.conf");
        let mut text = String::from(
            "# Written by pg_kafka at every start; changes belong into postgresql.conf, below its include.\n",
        );
        let ours = settings(&self.socket_dir, free_bytes(&self.dir), memory_bytes());
        for (name, value) in ours
            .iter()
            .map(|(n, v)| (*n, v))
            .chain(more.iter().map(|(n, v)| (n.as_str(), v)))
        {
            text.push_str(&format!("{name} = '{}'\n", value.replace('\'', "''")));
        }
        std::fs::write(&path, text).map_err(|e| io_error("writing", &path, &e))?;
        self.account
            .own(&path)
            .map_err(|e| io_error("giving away", &path, &e))
    }

    pub(super) fn url(&self) -> String {
        self.url_of(DATABASE)
    }

    /// The database every server has.
    pub(super) fn maintenance_url(&self) -> String {
        self.url_of("postgres")
    }

    fn url_of(&self, database: &str) -> String {
        url_of(&self.socket_dir.to_string_lossy(), database)
    }

    pub(super) async fn create_database(&self) -> Result<()> {
        const EXISTS: &str = "select 1 from pg_database where datname = 'kafka'";
        let config = crate::DatabaseConfig::new(self.maintenance_url());
        let connection = pool::connect(&pool::parse(&config)?).await?;
        if connection.client.query_opt(EXISTS, &[]).await?.is_none() {
            connection
                .client
                .batch_execute("create database kafka")
                .await?;
        }
        Ok(())
    }

    /// The server's output goes here; one older file is kept.
    pub(super) fn open_log(&self) -> Result<File> {
        if std::fs::metadata(&self.log).is_ok_and(|meta| meta.len() > LOG_BYTES_MAX) {
            let old = self.log.with_extension("log.1");
            std::fs::rename(&self.log, &old).map_err(|e| io_error("renaming", &self.log, &e))?;
        }
        let mut options = OpenOptions::new();
        options.create(true).append(true).mode(0o600);
        let file = options
            .open(&self.log)
            .map_err(|e| io_error("opening", &self.log, &e))?;
        self.account
            .own(&self.log)
            .map_err(|e| io_error("giving away", &self.log, &e))?;
        Ok(file)
    }

    /// Removes what lies outside the data directory.
    pub(super) fn clean_up(&self) {
        if self.socket_dir.parent() == Some(Path::new("/tmp")) {
            // Not empty or gone already: nothing to be done about it.
            let _ = std::fs::remove_dir(&self.socket_dir);
        }
    }
}

impl Lock {
    async fn take(data_dir: &Path) -> Result<Self> {
        let path = data_dir.join("lock");
        let mut options = OpenOptions::new();
        options
            .create(true)
            .read(true)
            .write(true)
            .truncate(false)
            .mode(0o600);
        let mut file = options
            .open(&path)
            .map_err(|e| cannot_open(data_dir, &path, &e))?;
        let give_up = Instant::now() + LOCK_PATIENCE;
        while rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            if Instant::now() < give_up {
                sleep(LOCK_PATIENCE / 20).await;
                continue;
            }
            let mut holder = String::new();
            let _ = file.read_to_string(&mut holder);
            return Err(Error::Setup(format!(
                "data directory {} is in use by another pg_kafka (process {}): stop that one, or use another data directory; \
                 several brokers share one PostgreSQL by its URL",
                data_dir.display(),
                holder.trim()
            )));
        }
        file.set_len(0)
            .and_then(|()| writeln!(file, "{}", std::process::id()))
            .map_err(|e| io_error("writing", &path, &e))?;
        Ok(Self { file })
    }
}

fn cannot_open(data_dir: &Path, path: &Path, error: &std::io::Error) -> Error {
    let owner = std::fs::metadata(data_dir).map(|meta| meta.uid());
    match owner {
        Ok(owner) if error.kind() == std::io::ErrorKind::PermissionDenied => Error::Setup(format!(
            "{} is closed to us (its directory belongs to user number {owner}): start pg_kafka as that user or as root, \
             or use another data directory",
            path.display()
        )),
        _ => io_error("opening", path, error),
    }
}

/// Few settings matter. Room for WAL, so that a checkpoint does not come in the middle of a burst; its size follows the disk. And buffers
/// for the segment that is written and the one that is sealed and frozen meanwhile: pages that had left them would be read and
/// written once more for that.
fn settings(
    socket_dir: &Path,
    free_bytes: Option<u64>,
    memory_bytes: Option<u64>,
) -> Vec<(&'static str, String)> {
    let max_wal = free_bytes
        .map_or(4_096, |free| free / 8 / MIB)
        .clamp(1_024, 16_384);
    let own = |value: &str| value.to_owned();
    vec![
        ("listen_addresses", String::new()),
        ("port", own("5432")),
        (
            "unix_socket_directories",
            format!("\"{}\"", socket_dir.display()),
        ),
        ("unix_socket_permissions", own("0700")),
        ("max_connections", own("100")),
        (
            "shared_buffers",
            format!("{}MB", shared_buffers_mib(memory_bytes)),
        ),
        ("max_wal_size", format!("{max_wal}MB")),
        ("min_wal_size", format!("{}MB", max_wal / 8)),
        ("checkpoint_timeout", own("15min")),
        ("wal_buffers", own("32MB")),
        ("synchronous_commit", own("on")),
        ("jit", own("off")),
        ("idle_in_transaction_session_timeout", own("60s")),
        ("log_min_messages", own("warning")),
        ("log_line_prefix", own("%m [%p] ")),
        ("logging_collector", own("off")),
        ("log_destination", own("stderr")),
    ]
}

/// An eighth of the memory, which is taken only as it is used, up to two segments of the default size.
fn shared_buffers_mib(memory_bytes: Option<u64>) -> u64 {
    memory_bytes.map_or(256, |bytes| (bytes / 8 / MIB).clamp(256, 1_024))
}

/// Of the machine, or what its control group may take, where the system tells.
fn memory_bytes() -> Option<u64> {
    let machine = std::fs::read_to_string("/proc/meminfo").ok();
    let kib = machine.as_deref().and_then(|text| {
        let total = text
            .lines()
            .find_map(|line| line.strip_prefix("MemTotal:"))?;
        total.trim().strip_suffix(" kB")?.parse::<u64>().ok()
    });
    let limits = [
        "/sys/fs/cgroup/memory.max",
        "/sys/fs/cgroup/memory/memory.limit_in_bytes",
    ];
    let limit = |path: &&str| std::fs::read_to_string(path).ok()?.trim().parse().ok();
    let limits = limits.iter().filter_map(limit);
    kib.map(|kib| kib.saturating_mul(1024))
        .into_iter()
        .chain(limits)
        .min()
}

fn free_bytes(dir: &Path) -> Option<u64> {
    let stat = rustix::fs::statvfs(dir).ok()?;
    Some(stat.f_bavail.saturating_mul(stat.f_frsize))
}

fn cluster_major(dir: &Path) -> Result<Option<u32>> {
    if !dir.exists() {
        return Ok(None);
    }
    let path = dir.join("PG_VERSION");
    let text = std::fs::read_to_string(&path).map_err(|e| io_error("reading", &path, &e))?;
    match text.trim().parse() {
        Ok(major) => Ok(Some(major)),
        Err(_) => Err(Error::Setup(format!(
            "{} does not name a version of PostgreSQL",
            path.display()
        ))),
    }
}

/// Others may pass through for the sake of the server's account, but not look around.
fn make_data_dir(dir: &Path) -> Result<PathBuf> {
    if !dir.exists() {
        DirBuilder::new()
            .recursive(true)
            .mode(0o711)
            .create(dir)
            .map_err(|e| io_error("making", dir, &e))?;
    }
    std::fs::canonicalize(dir).map_err(|e| io_error("reading", dir, &e))
}

fn make_dir(dir: &Path, mode: u32) -> Result<()> {
    DirBuilder::new()
        .mode(mode)
        .create(dir)
        .map_err(|e| io_error("making", dir, &e))
}

fn url_of(socket_dir: &str, database: &str) -> String {
    let host: String = socket_dir.bytes().map(percent_encoded).collect();
    format!("postgresql://{SUPERUSER}@{host}/{database}")
}

/// Of the server that left its mark in `data_dir`: the fifth line of `postmaster.pid` is the socket's directory.
pub(super) fn running_url(data_dir: &Path) -> Result<String> {
    let pid_file = data_dir.join("postgres").join("postmaster.pid");
    let text = std::fs::read_to_string(&pid_file).map_err(|error| {
        Error::Setup(format!(
            "no private PostgreSQL runs in {} ({error}): start the broker, or name its database by --database-url",
            data_dir.display()
        ))
    })?;
    match text.lines().nth(4) {
        Some(socket_dir) if !socket_dir.is_empty() => Ok(url_of(socket_dir, DATABASE)),
        _ => Err(Error::Setup(format!(
            "{} does not say where the server listens: it is starting, or broken",
            pid_file.display()
        ))),
    }
}

fn make_socket_dir(data_dir: &Path, account: Account) -> Result<PathBuf> {
    let mut dir = data_dir.join("socket");
    if dir.as_os_str().len() + 1 + SOCKET_FILE.len() >= SOCKET_PATH_MAX {
        let mut hasher = DefaultHasher::new();
        data_dir.hash(&mut hasher);
        dir = PathBuf::from(format!(
            "/tmp/pg_kafka-{}-{:016x}",
            account.uid(),
            hasher.finish()
        ));
    }
    match std::fs::symlink_metadata(&dir) {
        Ok(meta)
            if !meta.is_dir()
                || !(meta.uid() == account.uid()
                    || meta.uid() == 0 && rustix::process::geteuid().is_root()) =>
        {
            return Err(Error::Setup(format!(
                "{} is not ours: remove it",
                dir.display()
            )));
        }
        Ok(_) => {}
        Err(_) => make_dir(&dir, 0o700)?,
    }
    let private = Permissions::from_mode(0o700);
    std::fs::set_permissions(&dir, private).map_err(|e| io_error("closing", &dir, &e))?;
    account
        .own(&dir)
        .map_err(|e| io_error("giving away", &dir, &e))?;
    Ok(dir)
}

/// A cluster copied by root belongs to root.
fn own_tree(dir: &Path, account: Account) -> Result<()> {
    let meta = std::fs::symlink_metadata(dir).map_err(|e| io_error("reading", dir, &e))?;
    if meta.uid() == account.uid() {
        return Ok(());
    }
    if meta.is_dir() {
        for entry in std::fs::read_dir(dir)
            .map_err(|e| io_error("reading", dir, &e))?
            .flatten()
        {
            own_tree(&entry.path(), account)?;
        }
    }
    if meta.is_symlink() {
        return Ok(());
    }
    account
        .own(dir)
        .map_err(|e| io_error("giving away", dir, &e))
}

fn append(path: &Path, text: &str) -> Result<()> {
    let appended = OpenOptions::new()
        .append(true)
        .open(path)
        .and_then(|mut file| file.write_all(text.as_bytes()));
    appended.map_err(|e| io_error("writing", path, &e))
}

fn percent_encoded(byte: u8) -> String {
    match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => {
            char::from(byte).to_string()
        }
        _ => format!("%{byte:02X}"),
    }
}

pub(super) fn io_error(doing: &str, path: &Path, error: &std::io::Error) -> Error {
    Error::Setup(format!("{doing} {}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_follow_the_memory_within_limits() {
        const GIB: u64 = 1 << 30;
        let of = |memory: u64| shared_buffers_mib(Some(memory));
        assert_eq!(shared_buffers_mib(None), 256);
        assert_eq!((of(0), of(GIB), of(4 * GIB)), (256, 256, 512));
        assert_eq!((of(8 * GIB), of(u64::MAX)), (1_024, 1_024));
    }
}
