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
    /// Reads Kafka's own schema files, merges the releases and writes canonical ones.
    Import {
        /// `kafka-clients` jars, or folders of schema files named after their release.
        #[arg(required = true)]
        sources: Vec<PathBuf>,
        /// The folder to write.
        #[arg(long, default_value = "schemas")]
        out: PathBuf,
    },
}

fn main() -> anyhow::Result<()> {
    match Arguments::parse().command {
        Command::Import { sources, out } => {
            let report = codegen::import::import(&sources, &out).context("nothing was written")?;
            let mut stdout = std::io::stdout().lock();
            for line in report.notes.iter().chain(&report.changes) {
                writeln!(stdout, "{line}")?;
            }
            write!(stdout, "{}", report.version)?;
            Ok(())
        }
    }
}
