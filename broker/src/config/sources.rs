//! Where settings come from: flags go before environment variables, these before the file, and the file before the
//! defaults. A name that nobody knows is an error in each of them.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::{Arg, ArgAction, ArgMatches};

use super::Config;
use super::inspection;
use super::settings::{self, SYNONYMS, Setting};
use crate::inspect::Inspection;

/// What every environment variable of the broker begins with.
pub(super) const VARIABLE_PREFIX: &str = "PG_KAFKA_";

/// What the command line asks for.
#[derive(Debug)]
pub enum Command {
    /// Run a broker.
    Run(Box<Config>),
    /// Print this text and end.
    Print(String),
    /// Look at a database without being a broker.
    Inspect(Box<Config>, Inspection),
}

/// Why there is no usable configuration. Each text says what to change.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The command line; clap's own text. `--help` and `--version` come this way too.
    #[error(transparent)]
    Arguments(#[from] clap::Error),
    /// The file cannot be read.
    #[error("the configuration file {}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is not TOML.
    #[error("the configuration file {} is not TOML: {source}", path.display())]
    NotToml {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: Box<toml::de::Error>,
    },
    /// No such setting.
    #[error("{origin}: there is no setting `{name}`{hint}")]
    Unknown {
        /// The file or the environment.
        origin: String,
        /// As written there.
        name: String,
        /// A similar name, or where to find all.
        hint: String,
    },
    /// A value that its setting cannot have.
    #[error("{origin}: {name} = `{value}`: {reason}")]
    Invalid {
        /// The file, the environment or the command line.
        origin: String,
        /// The setting.
        name: String,
        /// As written there.
        value: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Two settings that do not go together.
    #[error("{0}")]
    Conflict(String),
}

/// Reads the configuration: `arguments` with the program's name first, and the environment variables that begin with
/// `PG_KAFKA_` (others are passed over).
pub fn load(
    arguments: impl IntoIterator<Item = OsString>,
    variables: impl IntoIterator<Item = (String, String)>,
) -> Result<Command, ConfigError> {
    let matches = command_line().try_get_matches_from(arguments)?;
    if matches.get_flag(PRINT_DEFAULT_CONFIG) {
        return Ok(Command::Print(default_file()));
    }
    let variables: Vec<(String, String)> = variables
        .into_iter()
        .filter(|(name, _)| name.starts_with(VARIABLE_PREFIX))
        .collect();

    if let Some((verb, matches)) = matches.subcommand() {
        let config = read(matches, &variables)?;
        return Ok(Command::Inspect(
            Box::new(config),
            inspection::of(verb, matches),
        ));
    }
    Ok(Command::Run(Box::new(read(&matches, &variables)?)))
}

fn read(matches: &ArgMatches, variables: &[(String, String)]) -> Result<Config, ConfigError> {
    let mut config = Config::default();
    if let Some(path) = config_path(matches, variables) {
        apply_file(&mut config, &path)?;
    }
    apply_variables(&mut config, variables)?;
    apply_flags(&mut config, matches)?;
    config.check()?;
    Ok(config)
}

const CONFIG: &str = "config";
const CONFIG_VARIABLE: &str = "PG_KAFKA_CONFIG";
const PRINT_DEFAULT_CONFIG: &str = "print-default-config";

fn command_line() -> clap::Command {
    let mut command = clap::Command::new("pg_kafka")
        .version(env!("CARGO_PKG_VERSION"))
        .about("A Kafka broker that keeps everything in PostgreSQL.")
        .after_help(
            "Every setting can also be an environment variable (--num-partitions is PG_KAFKA_NUM_PARTITIONS) or a line \
             of the file (num.partitions = 1). Flags go before variables, variables before the file.\n\n\
             Examples:\n  pg_kafka                                     a private PostgreSQL in ./data\n  \
             pg_kafka --database-url postgres://localhost/kafka\n  \
             pg_kafka --print-default-config > pg_kafka.toml && pg_kafka --config pg_kafka.toml",
        )
        .subcommands(inspection::commands())
        .arg(config_argument())
        .arg(
            Arg::new(PRINT_DEFAULT_CONFIG)
                .long(PRINT_DEFAULT_CONFIG)
                .action(ArgAction::SetTrue)
                .help("Print a commented file with every setting and its default, and end."),
        );
    for setting in settings::all() {
        command = command.arg(argument(setting));
    }
    command
}

pub(super) fn config_argument() -> Arg {
    Arg::new(CONFIG)
        .long(CONFIG)
        .value_name("FILE")
        .help(format!("A TOML file of settings. [env: {CONFIG_VARIABLE}]"))
}

/// The flag of a setting.
pub(super) fn argument(setting: &'static Setting) -> Arg {
    let default = setting.show(&Config::default());
    let help = if default.is_empty() {
        setting.help.to_owned()
    } else {
        format!("{} [default: {default}]", setting.help)
    };
    let help = format!("{help} [env: {}]", setting.variable());
    let synonyms = SYNONYMS.iter().filter(|(_, name)| *name == setting.name);
    Arg::new(setting.name)
        .long(setting.flag())
        .alias(setting.name)
        .aliases(synonyms.map(|(synonym, _)| synonym.replace('.', "-")))
        .value_name(setting.value)
        .help_heading(setting.section)
        .allow_hyphen_values(true)
        .help(help)
}

fn config_path(matches: &ArgMatches, variables: &[(String, String)]) -> Option<PathBuf> {
    let flag = matches.get_one::<String>(CONFIG);
    let variable = || {
        variables
            .iter()
            .find(|(name, _)| name == CONFIG_VARIABLE)
            .map(|(_, value)| value)
    };
    flag.or_else(variable).map(PathBuf::from)
}

fn apply(config: &mut Config, origin: &str, name: &str, value: &str) -> Result<(), ConfigError> {
    let Some(setting) = settings::find(name) else {
        let hint = match settings::nearest(name) {
            Some(known) => format!("; did you mean `{known}`?"),
            None => "; `pg_kafka --print-default-config` shows them all".to_owned(),
        };
        return Err(ConfigError::Unknown {
            origin: origin.to_owned(),
            name: name.to_owned(),
            hint,
        });
    };
    setting
        .set(config, value)
        .map_err(|reason| ConfigError::Invalid {
            origin: origin.to_owned(),
            name: setting.name.to_owned(),
            value: value.to_owned(),
            reason,
        })
}

fn apply_flags(config: &mut Config, matches: &ArgMatches) -> Result<(), ConfigError> {
    for setting in settings::all() {
        // The commands that only look have few of the flags.
        let given = matches.try_get_one::<String>(setting.name);
        if let Some(value) = given.ok().flatten() {
            apply(config, "the command line", setting.name, value)?;
        }
    }
    Ok(())
}

fn apply_variables(config: &mut Config, variables: &[(String, String)]) -> Result<(), ConfigError> {
    for (variable, value) in variables {
        if variable == CONFIG_VARIABLE {
            continue;
        }
        let name = variable
            .trim_start_matches(VARIABLE_PREFIX)
            .to_lowercase()
            .replace('_', ".");
        apply(
            config,
            &format!("the environment, {variable}"),
            &name,
            value,
        )?;
    }
    Ok(())
}

fn apply_file(config: &mut Config, path: &Path) -> Result<(), ConfigError> {
    let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Unreadable {
        path: path.to_owned(),
        source,
    })?;
    let table: toml::Table = text.parse().map_err(|source| ConfigError::NotToml {
        path: path.to_owned(),
        source: Box::new(source),
    })?;
    let mut lines = Vec::new();
    flatten("", &table, &mut lines);
    let origin = path.display().to_string();
    for (name, value) in lines {
        match value {
            Some(value) => apply(config, &origin, &name, &value)?,
            None => {
                return Err(ConfigError::Invalid {
                    origin,
                    name,
                    value: "a list or a date".to_owned(),
                    reason: "a text, a number, true or false is needed".to_owned(),
                });
            }
        }
    }
    Ok(())
}

/// Dotted keys make TOML tables; this makes them dotted names again. A value of no usable kind becomes `None`.
fn flatten(prefix: &str, table: &toml::Table, lines: &mut Vec<(String, Option<String>)>) {
    for (key, value) in table {
        let name = if prefix.is_empty() {
            key.clone()
        } else {
            format!("{prefix}.{key}")
        };
        match value {
            toml::Value::Table(inner) => flatten(&name, inner, lines),
            toml::Value::String(text) => lines.push((name, Some(text.clone()))),
            toml::Value::Integer(number) => lines.push((name, Some(number.to_string()))),
            toml::Value::Boolean(flag) => lines.push((name, Some(flag.to_string()))),
            toml::Value::Float(number) => lines.push((name, Some(number.to_string()))),
            toml::Value::Datetime(_) | toml::Value::Array(_) => {
                lines.push((name, None));
            }
        }
    }
}

/// A file that sets every setting to its default, in comments, with what each is for.
pub(super) fn default_file() -> String {
    let defaults = Config::default();
    let mut text = String::from(
        "# Settings of pg_kafka. Lines are commented out and show the defaults.\n\
         # Flags (--num-partitions) and variables (PG_KAFKA_NUM_PARTITIONS) go before this file.\n",
    );
    let mut section = "";
    for setting in settings::all() {
        if setting.section != section {
            section = setting.section;
            text.push_str(&format!("\n# ---- {section} ----\n"));
        }
        text.push_str(&format!("\n# {}\n", setting.help));
        let value = setting.show(&defaults);
        let bare = value == "true" || value == "false" || value.parse::<i64>().is_ok();
        let value = if bare {
            value
        } else {
            toml::Value::String(value).to_string()
        };
        text.push_str(&format!("#{} = {value}\n", toml_key(setting.name)));
    }
    text
}

/// TOML cannot have a value and a table of the same name, so a name that begins another is quoted, as is the other.
fn toml_key(name: &str) -> String {
    let clash = settings::all().any(|other| {
        other.name.starts_with(&format!("{name}.")) || name.starts_with(&format!("{}.", other.name))
    });
    if clash {
        format!("\"{name}\"")
    } else {
        name.to_owned()
    }
}
