//! The command line of the schema compiler.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use codegen::decode::{self, Asked};
use codegen::show;

#[derive(Debug, Parser)]
#[command(about = "Imports Kafka's message schemas, and shows what they say")]
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
    /// Prints the fields of a message and their versions as a table.
    Show {
        /// An API (Fetch) or its key (1), which are request and response, or a message (FetchRequest).
        name: String,
        /// The folder of the canonical schemas.
        #[arg(long, default_value = SCHEMAS)]
        schemas: PathBuf,
    },
    /// Prints the bytes of a message as JSON.
    Decode {
        /// An API (Fetch) or its key (1), or a message (FetchResponse).
        name: String,
        /// The version of the message.
        version: i16,
        /// Its bytes as hexadecimal digits, spaces allowed; `-` reads them from standard input.
        #[arg(required = true)]
        hex: Vec<String>,
        /// The response of the API, not the request.
        #[arg(long)]
        response: bool,
        /// The bytes are a whole frame: size, header, message.
        #[arg(long)]
        frame: bool,
        /// The folder of the canonical schemas.
        #[arg(long, default_value = SCHEMAS)]
        schemas: PathBuf,
    },
    /// Prints the Rust code that is generated from a schema file.
    Rust {
        /// A file such as `schemas/HeartbeatRequest.json`.
        schema: PathBuf,
    },
}

/// The schemas of this checkout.
const SCHEMAS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../schemas");

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
        Command::Show { name, schemas } => {
            let table = show::show(&load(&schemas)?, &name).map_err(anyhow::Error::msg)?;
            std::io::stdout().lock().write_all(table.as_bytes())?;
            Ok(())
        }
        Command::Decode {
            name,
            version,
            hex,
            response,
            frame,
            schemas,
        } => {
            let model = load(&schemas)?;
            let hex = if hex == ["-"] {
                std::io::read_to_string(std::io::stdin())?
            } else {
                hex.concat()
            };
            let asked = Asked {
                name: &name,
                version,
                response,
                frame,
            };
            let job = decode::job(&model, &asked, &hex).map_err(anyhow::Error::msg)?;
            std::process::exit(job.run()?)
        }
        Command::Rust { schema } => {
            let file = schema.display().to_string();
            let text = std::fs::read_to_string(&schema).context(file.clone())?;
            write!(std::io::stdout(), "{}", codegen::compile(&file, &text)?)?;
            Ok(())
        }
    }
}

fn load(schemas: &Path) -> anyhow::Result<codegen::Model> {
    codegen::load(schemas).with_context(|| format!("reading the schemas in {}", schemas.display()))
}
