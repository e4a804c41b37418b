//! The server's process: one left behind is stopped, ours is started, watched, stopped.

use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use tokio::process::Child;
use tokio::time::{Instant, sleep, timeout};

use super::cluster::{Cluster, io_error};
use crate::{Error, Outcome, Result, pool};

const POLL_EVERY: Duration = Duration::from_millis(20);
/// Crash recovery of a busy server takes its time.
const READY_MAX: Duration = Duration::from_secs(600);
/// A fast shutdown writes a checkpoint.
const FAST_STOP_MAX: Duration = Duration::from_secs(90);
const IMMEDIATE_STOP_MAX: Duration = Duration::from_secs(10);
/// A server that was killed leaves children that need a moment to notice, and until then a new one refuses to start.
const START_ATTEMPTS: usize = 5;
const LOG_TAIL_BYTES: u64 = 2_000;

#[derive(Debug)]
pub(super) struct Postmaster {
    child: Child,
}

impl Postmaster {
    /// Starts the server and waits until it answers.
    pub(super) async fn start(cluster: &Cluster) -> Result<Self> {
        stop_left_behind(&cluster.dir).await?;
        let mut failure = None;
        for _ in 0..START_ATTEMPTS {
            if failure.is_some() {
                sleep(Duration::from_millis(500)).await;
            }
            let mut postmaster = Self::spawn(cluster)?;
            match postmaster.ready(cluster).await {
                Ok(()) => return Ok(postmaster),
                Err(error) => failure = Some(error),
            }
        }
        Err(failure.unwrap_or_else(|| Error::bug("starting PostgreSQL", "no attempt made")))
    }

    fn spawn(cluster: &Cluster) -> Result<Self> {
        let output = cluster.open_log()?;
        let errors = output
            .try_clone()
            .map_err(|e| io_error("opening", &cluster.log, &e))?;
        let program = cluster.binaries.postgres();
        let mut command = cluster.account.command(&program);
        command
            .arg("-D")
            .arg(&cluster.dir)
            .stdout(output)
            .stderr(errors)
            .stdin(Stdio::null());
        // A group of its own: Ctrl-C at the terminal is for the broker, which then stops the server in its turn.
        command.process_group(0);
        let child = command
            .spawn()
            .map_err(|e| io_error("starting", &program, &e))?;
        Ok(Self { child })
    }

    async fn ready(&mut self, cluster: &Cluster) -> Result<()> {
        let config = pool::parse(&crate::DatabaseConfig::new(cluster.maintenance_url()))?;
        let give_up = Instant::now() + READY_MAX;
        loop {
            if let Some(status) = self
                .child
                .try_wait()
                .map_err(|e| Error::bug("waiting for PostgreSQL", e))?
            {
                return Err(Error::Setup(format!(
                    "PostgreSQL ended when it was started ({status}); {} ends with:\n{}",
                    cluster.log.display(),
                    tail(&cluster.log)
                )));
            }
            match pool::connect(&config).await {
                Ok(_) => return Ok(()),
                Err(error) if error.is_retriable() && Instant::now() < give_up => {
                    sleep(POLL_EVERY).await
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Returns when the server has ended, with how.
    pub(super) async fn ended(&mut self) -> String {
        match self.child.wait().await {
            Ok(status) => status.to_string(),
            Err(error) => error.to_string(),
        }
    }

    pub(super) async fn stop(mut self) -> Result<()> {
        for (signal, patience) in [
            (Signal::INT, FAST_STOP_MAX),
            (Signal::QUIT, IMMEDIATE_STOP_MAX),
        ] {
            let pid = self
                .child
                .id()
                .and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
            let Some(pid) = pid else { return Ok(()) };
            // It may have ended in between.
            let _ = kill_process(pid, signal);
            if timeout(patience, self.child.wait()).await.is_ok() {
                return Ok(());
            }
        }
        Err(Error::unavailable(
            Outcome::Unknown,
            "PostgreSQL does not stop",
        ))
    }
}

/// A broker that is killed leaves its server running. It cannot be watched as a child, so it is stopped cleanly.
async fn stop_left_behind(dir: &Path) -> Result<()> {
    let pid_file = dir.join("postmaster.pid");
    let Ok(text) = std::fs::read_to_string(&pid_file) else {
        return Ok(());
    };
    let pid = text
        .lines()
        .next()
        .and_then(|line| Pid::from_raw(line.trim().parse().ok()?));
    let Some(pid) = pid.filter(|pid| is_alive(*pid)) else {
        return Ok(());
    };
    if !is_server_of(pid, dir).await {
        // The number belongs to another process by now. PostgreSQL would take that for a running server.
        return std::fs::remove_file(&pid_file).map_err(|e| io_error("removing", &pid_file, &e));
    }
    tracing::info!(
        "stopping PostgreSQL (process {}) left behind by a broker that was killed",
        pid.as_raw_nonzero()
    );
    for (signal, patience) in [
        (Signal::INT, FAST_STOP_MAX),
        (Signal::QUIT, IMMEDIATE_STOP_MAX),
    ] {
        let _ = kill_process(pid, signal);
        let give_up = Instant::now() + patience;
        while Instant::now() < give_up {
            if !is_alive(pid) || !pid_file.exists() {
                return Ok(());
            }
            sleep(POLL_EVERY).await;
        }
    }
    Err(Error::Setup(format!(
        "PostgreSQL (process {}) in {} does not stop: end it",
        pid.as_raw_nonzero(),
        dir.display()
    )))
}

fn is_alive(pid: Pid) -> bool {
    // No permission means that it is there and somebody else's.
    !matches!(test_kill_process(pid), Err(rustix::io::Errno::SRCH))
}

/// A postmaster works in its data directory.
async fn is_server_of(pid: Pid, dir: &Path) -> bool {
    let number = pid.as_raw_nonzero().to_string();
    if let Ok(cwd) = std::fs::read_link(format!("/proc/{number}/cwd")) {
        return cwd == dir;
    }
    let output = tokio::process::Command::new("ps")
        .args(["-o", "command=", "-p", &number])
        .output()
        .await;
    output.is_ok_and(|output| {
        String::from_utf8_lossy(&output.stdout).contains(&*dir.to_string_lossy())
    })
}

fn tail(log: &Path) -> String {
    let read = || -> std::io::Result<Vec<u8>> {
        let mut file = std::fs::File::open(log)?;
        let len = file.metadata()?.len();
        file.seek(SeekFrom::Start(len.saturating_sub(LOG_TAIL_BYTES)))?;
        let mut bytes = Vec::new();
        file.take(LOG_TAIL_BYTES).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    read().map_or_else(
        |e| e.to_string(),
        |bytes| String::from_utf8_lossy(&bytes).into_owned(),
    )
}
