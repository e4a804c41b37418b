//! The Java client, Kafka's own codec and its command-line tools. Maven compiles the programs around the first two and
//! fetches the jars of all, once.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::OnceLock;
use std::time::SystemTime;

use crate::tool::{Finished, locked, run};
use crate::workspace;

/// Runs a subcommand of `tests/clients/java`, the program around `kafka-clients`.
pub fn client(args: &[&str], input: &[u8]) -> Finished {
    let class_path = format!("{0}/classes:{0}/lib/*", programs().display());
    java(&class_path, "pgkafka.Client", args, input)
}

/// Where the programs of `tests/clients/java` and the jars they need are.
pub(crate) fn programs() -> PathBuf {
    static DIR: OnceLock<PathBuf> = OnceLock::new();
    DIR.get_or_init(|| built("java")).join("target")
}

/// Runs one of Kafka's tools by its class in `org.apache.kafka.tools`, or by its whole name if that begins with `kafka.`.
pub fn kafka_tool(class: &str, args: &[&str], input: &[u8]) -> Finished {
    java(&tools_class_path(), &tool_class(class), args, input)
}

fn tools_class_path() -> String {
    static DIR: OnceLock<PathBuf> = OnceLock::new();
    let target = DIR.get_or_init(|| built("kafka-tools")).join("target");
    format!("{}/lib/*", target.display())
}

/// Some are still where they were before there was a package of tools.
fn tool_class(class: &str) -> String {
    match class.starts_with("kafka.") {
        true => class.to_owned(),
        false => format!("org.apache.kafka.tools.{class}"),
    }
}

/// A Java program that goes on until its standard input ends.
#[derive(Debug)]
pub struct Running {
    process: Child,
    input: Option<ChildStdin>,
    log: PathBuf,
}

impl Running {
    /// `pgkafka.Client` with a subcommand, as [`client`]. What it says goes to a file in `dir`.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn client(dir: &Path, args: &[&str]) -> Self {
        let class_path = format!("{0}/classes:{0}/lib/*", programs().display());
        let words = [&["-cp", &class_path, "pgkafka.Client"], args].concat();
        Self::start(dir, &words)
    }

    /// A source file of `tests/clients/kafka-tools`, which may use Kafka Streams. What it says goes to a file in `dir`.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn source(dir: &Path, file: &str, args: &[&str]) -> Self {
        let class_path = tools_class_path();
        let source = workspace().join("tests/clients/kafka-tools").join(file);
        let source = source.display().to_string();
        Self::start(dir, &[&["-cp", &class_path, &source], args].concat())
    }

    fn start(dir: &Path, words: &[&str]) -> Self {
        let path = dir.join("java.log");
        let log = fs::File::create(&path).expect("a log file");
        let mut process = Command::new("java")
            .args(["-Xmx256m", "-XX:TieredStopAtLevel=1"])
            .arg(format!("-Djava.io.tmpdir={}", dir.display()))
            .args(words)
            .stdin(Stdio::piped())
            .stdout(log.try_clone().expect("a second handle"))
            .stderr(log)
            .spawn()
            .expect("java runs");
        Self {
            input: process.stdin.take(),
            process,
            log: path,
        }
    }

    /// Fails with what it said when it has ended by itself.
    ///
    /// # Panics
    /// In that case.
    pub fn assert_running(&mut self) {
        if let Some(status) = self.process.try_wait().expect("the state of the program") {
            panic!("the program ended by itself, {status}\n{}", self.said());
        }
    }

    /// What it said so far.
    pub fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.input.take());
        if std::thread::panicking() {
            let said = self.said();
            let lines: Vec<&str> = said.lines().collect();
            let tail = &lines[lines.len().saturating_sub(60)..];
            eprintln!("---- the end of what the program said\n{}", tail.join("\n"));
        }
        // It is not to go on without the tests.
        for _ in 0..100 {
            if matches!(self.process.try_wait(), Ok(Some(_))) {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Seconds that all tools run by one shell may take.
const SHELL_SECONDS: &str = "600";

/// Runs Kafka's tools one after the other in one process, as most of the time of one goes into its start.
#[derive(Debug)]
pub struct ToolShell {
    process: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl ToolShell {
    /// Starts the process.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start() -> Self {
        let program = workspace().join("tests/clients/kafka-tools/Tools.java");
        let mut process = Command::new("timeout")
            .args(["-k", "5", SHELL_SECONDS, "java", "-Xmx256m"])
            .args(["-XX:TieredStopAtLevel=1", "-cp", &tools_class_path()])
            .arg(program)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .expect("timeout (of coreutils) runs");
        let output = process.stdout.take().expect("a standard output");
        Self {
            input: process.stdin.take(),
            output: BufReader::new(output),
            process,
        }
    }

    /// As [`kafka_tool`]; what it prints as an error comes with the rest.
    ///
    /// # Panics
    /// When the process has ended.
    pub fn run(&mut self, class: &str, args: &[&str]) -> Finished {
        let class = tool_class(class);
        let words = [&[class.as_str()], args].concat();
        let input = self.input.as_mut().expect("a standard input");
        writeln!(input, "{}", words.join("\t")).expect("the process reads");
        let mut said = String::new();
        loop {
            let mut line = String::new();
            let read = self.output.read_line(&mut line).expect("text");
            assert!(read > 0, "the process has ended, and said {said}");
            // What a tool prints may not end with the end of a line.
            let Some((rest, status)) = line.split_once('\u{1}') else {
                said.push_str(&line);
                continue;
            };
            said.push_str(rest);
            return Finished {
                success: status.trim() == "0",
                stdout: said.into_bytes(),
                stderr: String::new(),
            };
        }
    }
}

impl Drop for ToolShell {
    fn drop(&mut self) {
        // It ends with its input.
        drop(self.input.take());
        self.process.wait().expect("the end of the process");
    }
}

fn java(class_path: &str, class: &str, args: &[&str], input: &[u8]) -> Finished {
    let mut all = vec![
        "-Xmx256m",
        "-XX:TieredStopAtLevel=1",
        "-cp",
        class_path,
        class,
    ];
    all.extend(args);
    run("java", "default-jdk-headless", &all, input)
}

/// The folder of a Maven project, after `mvn compile` where its sources are newer than its last success. Maven works
/// offline when it has all it needs.
pub(crate) fn built(project: &str) -> PathBuf {
    let dir = workspace().join("tests/clients").join(project);
    fs::create_dir_all(dir.join("target")).expect("a target folder");
    locked(&dir.join("target/.lock"), || {
        let done = dir.join("target/.done");
        if modified(&done) > newest(&dir.join("pom.xml")).max(newest(&dir.join("src"))) {
            return;
        }
        let pom = dir.join("pom.xml").display().to_string();
        let maven = |mode: &[&str]| {
            let args = [mode, &["-q", "-B", "-f", &pom, "compile"]].concat();
            run("mvn", "maven default-jdk-headless", &args, b"")
        };
        if !maven(&["-o"]).success {
            maven(&["-ntp"]).ok();
        }
        fs::write(&done, "").expect("a mark of success");
    });
    dir
}

fn modified(path: &Path) -> SystemTime {
    let metadata = fs::metadata(path).and_then(|m| m.modified());
    metadata.unwrap_or(SystemTime::UNIX_EPOCH)
}

/// The time of the newest file in a tree.
fn newest(path: &Path) -> SystemTime {
    let children = fs::read_dir(path).into_iter().flatten().flatten();
    children
        .map(|e| newest(&e.path()))
        .fold(modified(path), SystemTime::max)
}
