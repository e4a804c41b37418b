//! The arguments of the commands that look at a database without being a broker.

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};

use super::{settings, sources};
use crate::inspect::{Dump, Inspection};

const STATUS: &str = "status";
const CHECK: &str = "check";
const DUMP: &str = "dump";

/// Settings that say where the database is.
const WHERE: [&str; 2] = ["database.url", "data.dir"];

/// The commands, for the command line.
pub(super) fn commands() -> Vec<Command> {
    let status = Command::new(STATUS)
        .about("Shows brokers, lanes, segments, sizes and the health of the database, and ends.");
    let check = Command::new(CHECK).about(
        "Reads all that is stored and says whether it is whole; changes nothing. The exit code is 1 if it is not.",
    );
    let dump = Command::new(DUMP)
        .about("Prints the records of a partition, also compressed ones, and ends.")
        .arg(Arg::new("topic").required(true).help("Name of the topic."))
        .arg(
            Arg::new("partition")
                .default_value("0")
                .value_parser(value_parser!(i32).range(0..))
                .help("Number of the partition."),
        )
        .arg(
            Arg::new("from")
                .long("from")
                .value_name("OFFSET")
                .default_value("0")
                .value_parser(value_parser!(i64).range(0..))
                .help("Where to begin."),
        )
        .arg(
            Arg::new("max")
                .long("max")
                .value_name("COUNT")
                .value_parser(value_parser!(u64))
                .help("How many records at most; all without it."),
        )
        .arg(
            Arg::new("json")
                .long("json")
                .action(ArgAction::SetTrue)
                .help("One JSON object a line instead of text."),
        );
    let place = settings::all().filter(|setting| WHERE.contains(&setting.name));
    let place: Vec<Arg> = place.map(sources::argument).collect();
    let with_place = |command: Command| {
        command
            .arg(sources::config_argument())
            .args(place.iter().cloned())
    };
    [status, check, dump].map(with_place).into()
}

/// What the command `verb` with these arguments asks for.
pub(super) fn of(verb: &str, matches: &ArgMatches) -> Inspection {
    match verb {
        STATUS => Inspection::Status,
        CHECK => Inspection::Check,
        _ => Inspection::Dump(Dump {
            topic: matches
                .get_one::<String>("topic")
                .cloned()
                .unwrap_or_default(),
            partition: matches.get_one("partition").copied().unwrap_or_default(),
            from_offset: matches.get_one("from").copied().unwrap_or_default(),
            records_max: matches.get_one("max").copied().unwrap_or(u64::MAX),
            is_json: matches.get_flag("json"),
        }),
    }
}
