//! The command line of the schema compiler.

use std::io::Write as _;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(about = "Imports Kafka's message schemas")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Takes Kafka's own schema files into a folder of canonical ones, release upon release, and tells what changes.
    Import {
        /// `kafka-clients` jars, or folders of schema files named after their release.
        #[arg(required = true)]
        sources: Vec<PathBuf>,
        /// The folder of canonical schemas; it keeps every version it has.
        #[arg(long, default_value = "schemas")]
        out: PathBuf,
    },
}

fn main() -> anyhow::Result<()> {
    match Arguments::parse().command {
        Command::Import { sources, out } => {
            let report = codegen::import::import(&sources, &out).context("nothing was written")?;
            let mut stdout = std::io::stdout().lock();
            for step in report.steps {
                match step.onto {
                    Some(onto) => writeln!(stdout, "{} after {onto}:", step.release)?,
                    None => writeln!(stdout, "{}:", step.release)?,
                }
                for line in &step.changes {
                    writeln!(stdout, "  {line}")?;
                }
                if step.changes.is_empty() {
                    writeln!(stdout, "  nothing changed")?;
                }
            }
            let totals = report.version.lines();
            for line in totals.filter(|line| line.starts_with("merged ")) {
                writeln!(stdout, "{line}")?;
            }
            Ok(())
        }
    }
}
