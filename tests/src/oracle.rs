//! Kafka's own codec as a program that answers line by line: `pgkafka.oracle.Oracle` with the kafka-clients of one release.
//!
//! Not here: what it is asked, and what the answers are compared with (`tests/oracle`).

use std::fs;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Mutex, OnceLock};

use crate::java;

/// The releases whose jars are asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Release {
    /// The newest.
    New,
    /// The last one with the versions that Kafka 4 dropped.
    Old,
}

/// The oracle of one release. All of a process share its JVM, which ends with the process.
#[derive(Debug)]
pub struct Oracle(&'static Mutex<Running>);

#[derive(Debug)]
struct Running {
    /// Ends when its input does.
    _process: Child,
    input: BufWriter<ChildStdin>,
    output: BufReader<ChildStdout>,
}

/// A message of a jar.
#[derive(Debug, Clone)]
pub struct JarMessage {
    pub name: String,
    /// `request`, `response`, `header` or `data`.
    pub kind: String,
    pub lowest: i16,
    pub highest: i16,
}

/// What the oracle said: its answer, or the error of Kafka's code.
pub type Answer = Result<String, String>;

impl Oracle {
    /// The oracle with the jar of a release, started if it does not run yet.
    ///
    /// # Panics
    /// When Java or Maven is missing or fails.
    pub fn of(release: Release) -> Self {
        static RUNNING: [OnceLock<Mutex<Running>>; 2] = [OnceLock::new(), OnceLock::new()];
        Self(RUNNING[release as usize].get_or_init(|| Mutex::new(start(release))))
    }

    /// Asks one question.
    ///
    /// # Panics
    /// When the oracle has ended.
    pub fn ask(&self, question: &str) -> Answer {
        self.ask_all(&[question]).pop().expect("one answer")
    }

    /// Asks questions, each one line, and takes as many answers.
    ///
    /// # Panics
    /// When the oracle has ended.
    pub fn ask_all(&self, questions: &[impl AsRef<str> + Sync]) -> Vec<Answer> {
        let mut running = self
            .0
            .lock()
            .expect("no test has failed while it was asking");
        let Running { input, output, .. } = &mut *running;
        std::thread::scope(|scope| {
            // A thread of its own: the answers of the first questions may fill the pipe before the last is asked.
            scope.spawn(move || {
                for question in questions {
                    writeln!(input, "{}", question.as_ref()).expect("the oracle listens");
                }
                input.flush().expect("the oracle listens");
            });
            questions.iter().map(|_| answer(output)).collect()
        })
    }

    /// All messages of the jar.
    ///
    /// # Panics
    /// When the answer is not such a list.
    pub fn messages(&self) -> Vec<JarMessage> {
        let list = self.ask("messages").expect("the messages");
        list.split(' ')
            .map(|message| {
                let mut words = message.split(',');
                let mut word = || words.next().expect("four words");
                JarMessage {
                    name: word().to_owned(),
                    kind: word().to_owned(),
                    lowest: word().parse().expect("a version"),
                    highest: word().parse().expect("a version"),
                }
            })
            .collect()
    }
}

fn start(release: Release) -> Running {
    let mut process = Command::new("java")
        .args(["-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"])
        .arg("-cp")
        .arg(class_path(&java::programs(), release))
        .arg("pgkafka.oracle.Oracle")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("java (apt-get install default-jdk-headless)");
    let input = process.stdin.take().expect("a standard input");
    let output = process.stdout.take().expect("a standard output");
    Running {
        _process: process,
        input: BufWriter::new(input),
        output: BufReader::new(output),
    }
}

fn answer(output: &mut impl BufRead) -> Answer {
    let mut line = String::new();
    output.read_line(&mut line).expect("an answer");
    let (verdict, text) = line
        .trim_end_matches('\n')
        .split_once(' ')
        .expect("a whole answer");
    match verdict {
        "ok" => Ok(text.to_owned()),
        _ => Err(text.to_owned()),
    }
}

/// The program, its libraries, and the kafka-clients of one release only.
fn class_path(programs: &Path, release: Release) -> String {
    let jars = |folder: &str| {
        let files = fs::read_dir(programs.join(folder)).expect("a folder of jars");
        files.flatten().map(|file| file.path())
    };
    let is_client = |jar: &Path| {
        let name = jar.file_name().unwrap_or_default();
        name.to_string_lossy().starts_with("kafka-clients")
    };
    let libraries = jars("lib").filter(|jar| release == Release::New || !is_client(jar));
    let old = jars("old").filter(|_| release == Release::Old);
    let classes = std::iter::once(programs.join("classes"));
    let path: Vec<_> = classes
        .chain(libraries)
        .chain(old)
        .map(|part| part.display().to_string())
        .collect();
    path.join(":")
}
