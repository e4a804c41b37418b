//! Runs programs: with a time limit, and never skipped because they are missing.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

/// Seconds one program may take.
const LIMIT_SECONDS: u32 = 300;

/// What a program left.
#[derive(Debug)]
pub struct Finished {
    pub success: bool,
    pub stdout: Vec<u8>,
    pub stderr: String,
}

impl Finished {
    /// The standard output as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Fails, showing what the program wrote, unless it ended with success.
    #[track_caller]
    pub fn ok(self) -> Self {
        assert!(
            self.success,
            "the program failed\nstdout: {}\nstderr: {}",
            self.text(),
            self.stderr
        );
        self
    }
}

/// Runs a program of a Debian package with `input` as its standard input.
///
/// # Panics
/// When it is missing, with the command that installs it.
pub fn run(program: &str, package: &str, args: &[&str], input: &[u8]) -> Finished {
    let found = Command::new("sh")
        .args(["-c", "command -v \"$1\"", "sh", program])
        .stdout(Stdio::null())
        .status();
    assert!(
        found.is_ok_and(|s| s.success()),
        "{program} is missing; install it with: apt-get install {package}"
    );
    let mut child = Command::new("timeout")
        .args(["-k", "5", &LIMIT_SECONDS.to_string(), program])
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("timeout (of coreutils) runs");
    let mut stdin = child.stdin.take().expect("a standard input");
    let input = input.to_vec();
    // A thread of its own: a program that answers while it reads would stop at a full pipe.
    let feeder = std::thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output().expect("the output");
    // A program that ends before it has read everything is judged by its exit status alone.
    let _ = feeder.join();
    Finished {
        success: output.status.success(),
        stdout: output.stdout,
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// kcat, the command-line client around librdkafka.
pub fn kcat(args: &[&str], input: &[u8]) -> Finished {
    // Five seconds for metadata is all that it takes by itself.
    run("kcat", "kcat", &[&["-m", "60"], args].concat(), input)
}

/// Holds an exclusive lock on a file while `work` runs: tests in several processes do one thing once.
pub fn locked<T>(path: &Path, work: impl FnOnce() -> T) -> T {
    let file = File::create(path).expect("a lock file");
    file.lock().expect("a lock");
    work()
}
