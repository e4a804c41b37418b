//! Load on the broker beside Apache Kafka and beside plain COPY, all in one run: `make bench`.
//!
//! `cargo bench -p tests --bench broker -- [--seconds 3] [--rounds 3] [--only <part of a load's name>] [--without-kafka]`
//! `cargo bench -p tests --bench broker -- --cluster <GiB of a log that expires> [--seconds 3] [--rounds 3]
//! [--only <part of throughput, changes, retention or compaction>]`
//!
//! Every load runs on each system in turn, `rounds` times; the table has the medians. The clients share the machine with the
//! systems, so only ratios within a run mean something. The ceiling puts the same bytes into an equal table of the broker's own
//! PostgreSQL by one connection, as much in a transaction as the load can have outstanding, 1 MiB at most: arrays up to 64 KiB, COPY above.
#![expect(
    clippy::print_stdout,
    reason = "its output is the purpose of this program"
)]

mod ceiling;
mod cluster;
mod load;
mod raw;
mod rdkafka_client;
mod system;
mod table;
mod transactions;

use load::Sample;
use system::System;
use table::Row;

/// What the command line says.
#[derive(Debug)]
struct Options {
    seconds: f64,
    rounds: usize,
    only: Option<String>,
    with_kafka: bool,
    /// Several brokers instead, and a log of so many GiB.
    cluster: Option<u64>,
}

impl Options {
    fn parse() -> Self {
        let mut options = Self {
            seconds: 3.0,
            rounds: 3,
            only: None,
            with_kafka: true,
            cluster: None,
        };
        let mut arguments = std::env::args().skip(1);
        while let Some(argument) = arguments.next() {
            let mut value = || {
                let value = arguments.next();
                value.unwrap_or_else(|| panic!("{argument} needs a value"))
            };
            match argument.as_str() {
                "--seconds" => options.seconds = value().parse().expect("--seconds is a number"),
                "--rounds" => options.rounds = value().parse().expect("--rounds is a number"),
                "--only" => options.only = Some(value()),
                "--without-kafka" => options.with_kafka = false,
                "--cluster" => {
                    options.cluster = Some(value().parse().expect("--cluster is a number"))
                }
                "--bench" => {} // from cargo
                other => panic!(
                    "unknown argument {other}; there are --seconds, --rounds, --only, --without-kafka and --cluster"
                ),
            }
        }
        options
    }

    fn picks(&self, name: &str) -> bool {
        let only = self.only.as_deref();
        only.is_none_or(|only| name.contains(only))
    }
}

fn main() {
    let options = Options::parse();
    if let Some(log_gib) = options.cluster {
        return cluster::run(options.rounds, options.seconds, log_gib, |part| {
            options.picks(part)
        });
    }
    let mut systems = vec![System::pg_kafka(), System::ceiling()];
    if options.with_kafka {
        systems.push(System::kafka("Kafka", &[]));
        systems.push(System::kafka(
            "Kafka, flush.messages=1",
            &["log.flush.interval.messages=1"],
        ));
        warm_up(&systems, &options);
    }
    let mut rows = Vec::new();
    for load in load::all().filter(|load| options.picks(load.name)) {
        let mut samples: Vec<Vec<Sample>> = systems.iter().map(|_| Vec::new()).collect();
        for _ in 0..options.rounds {
            for (at, of_system) in samples.iter_mut().enumerate() {
                if let Some(sample) = system::run(&mut systems, at, &load, options.seconds) {
                    of_system.push(sample);
                }
            }
        }
        let row = Row::new(&load, samples);
        println!("{}", row.line(&systems));
        rows.push(row);
    }
    table::print(&systems, &rows);
}

/// Kafka's first seconds are those of a cold Java machine.
fn warm_up(systems: &[System], options: &Options) {
    for system in systems.iter().filter(|s| s.is_kafka()) {
        for load in load::all().filter(|l| l.warms_up() && options.picks(l.name)) {
            let _not_counted = load.run(system.port(), 5.0);
        }
    }
}

/// The middle of some figures.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
