//! Members of groups and administrators in other languages: `tests/clients/{node,python,go}`. What they need is fetched once.

use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use crate::tool::{Finished, locked, run};
use crate::workspace;

/// A client of another language.
#[derive(Debug, Clone, Copy)]
pub enum Language {
    /// kafkajs.
    Node,
    /// aiokafka, and kafka-python for administrators.
    Python,
    /// franz-go.
    Go,
}

impl Language {
    /// A member that consumes until its standard input ends; it prints "partition offset" of all it consumed.
    pub fn member(self, bootstrap: &str, topic: &str, group: &str) -> Command {
        let mut command = self.command("members");
        command.args([bootstrap, topic, group]);
        command
    }

    /// Runs what an administrator does with a topic that is not there yet; a line for each step.
    pub fn administrator(self, bootstrap: &str, topic: &str) -> Finished {
        self.run("admin", &[bootstrap, topic])
    }

    /// What runs a program of this language.
    fn command(self, program: &str) -> Command {
        let program = self.prepared(program);
        let interpreter = match self {
            Self::Go => return Command::new(program),
            Self::Node => PathBuf::from("node"),
            Self::Python => self.dir().join("target/venv/bin/python"),
        };
        let mut command = Command::new(interpreter);
        command.arg(program);
        command
    }

    fn run(self, program: &str, args: &[&str]) -> Finished {
        let command = self.command(program);
        let texts = std::iter::once(command.get_program()).chain(command.get_args());
        let texts: Vec<String> = texts
            .map(|text| text.to_string_lossy().into_owned())
            .collect();
        let (first, rest) = texts.split_first().expect("a program");
        let all: Vec<&str> = rest
            .iter()
            .map(String::as_str)
            .chain(args.iter().copied())
            .collect();
        let package = match self {
            Self::Node => "nodejs npm",
            Self::Python => "python3-venv",
            Self::Go => "golang",
        };
        run(first, package, &all, b"")
    }

    fn dir(self) -> PathBuf {
        let name = match self {
            Self::Node => "node",
            Self::Python => "python",
            Self::Go => "go",
        };
        workspace().join("tests/clients").join(name)
    }

    /// The program, with everything it needs in place.
    fn prepared(self, program: &str) -> PathBuf {
        static DONE: [OnceLock<()>; 3] = [const { OnceLock::new() }; 3];
        let dir = self.dir();
        DONE[self as usize].get_or_init(|| {
            std::fs::create_dir_all(dir.join("target")).expect("a target folder");
            locked(&dir.join("target/.lock"), || self.prepare());
        });
        match self {
            Self::Node => dir.join(program).with_extension("js"),
            Self::Python => dir.join(program).with_extension("py"),
            Self::Go => dir.join("target").join(program),
        }
    }

    fn prepare(self) {
        let dir = self.dir();
        let text = |path: &str| dir.join(path).display().to_string();
        match self {
            Self::Node if dir.join("node_modules/kafkajs").exists() => {}
            Self::Node => {
                let args = ["ci", "--no-audit", "--no-fund", "--prefix", &text(".")];
                run("npm", "npm", &args, b"").ok();
            }
            Self::Python => {
                let wanted = std::fs::read(dir.join("requirements.txt")).expect("a list");
                let done = dir.join("target/venv/.done");
                if std::fs::read(&done).is_ok_and(|there| there == wanted) {
                    return;
                }
                let venv = text("target/venv");
                run("python3", "python3-venv", &["-m", "venv", &venv], b"").ok();
                let pip = text("target/venv/bin/pip");
                let args = ["install", "-q", "-r", &text("requirements.txt")];
                run(&pip, "python3-venv", &args, b"").ok();
                std::fs::write(done, wanted).expect("a mark of success");
            }
            Self::Go => {
                // Go has -C only since 1.20.
                let script = "cd \"$0\" && go build -o target/members . && exec go build -o target/admin ./admin";
                run("sh", "golang", &["-c", script, &text(".")], b"").ok();
            }
        }
    }
}
