//! The fuzz targets: each a function of bytes that panics if it finds a fault.
//!
//! The programs in `fuzz_targets` hand them what libFuzzer makes up; `tests/replay.rs` hands them the seeds and every
//! input that ever found something. Nothing here knows libFuzzer.
#![allow(
    clippy::unwrap_used,
    reason = "a target tells of what it finds by a panic"
)]

pub mod choice;
pub mod compression;
pub mod connection;
pub mod embedded;
pub mod kafka_protocol;
pub mod messages;
pub mod records;
pub mod seeds;

use std::path::{Path, PathBuf};

pub use choice::Verdict;

/// One target.
#[derive(Debug)]
pub struct Target {
    /// Its name, which is that of its program, of its seeds and of its regressions.
    pub name: &'static str,
    /// Runs it on one input.
    pub run: fn(&[u8]) -> Verdict,
    /// Inputs to start with.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

/// Every target.
#[rustfmt::skip] // a table
pub static TARGETS: &[Target] = &[
    Target { name: "requests",       run: messages::requests,       seeds: seeds::requests },
    Target { name: "responses",      run: messages::responses,      seeds: seeds::responses },
    Target { name: "headers",        run: messages::headers,        seeds: seeds::headers },
    Target { name: "data",           run: messages::data,           seeds: seeds::data },
    Target { name: "round_trips",    run: messages::round_trips,    seeds: seeds::round_trips },
    Target { name: "interpreter",    run: messages::interpreter,    seeds: seeds::messages },
    Target { name: "kafka_protocol", run: messages::kafka_protocol, seeds: seeds::messages },
    Target { name: "batches",        run: records::batches,         seeds: seeds::batches },
    Target { name: "builder",        run: records::builder,         seeds: seeds::builder },
    Target { name: "compression",    run: compression::compression, seeds: seeds::compression },
    Target { name: "embedded",       run: embedded::embedded,       seeds: seeds::embedded },
    Target { name: "connection",     run: connection::connection,   seeds: seeds::connection },
];

/// The target of this name.
pub fn target(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}

/// Looks at what the environment says to the program of a target: `FUZZ_API` leaves one message of it, `FUZZ_SEEDS` is a
/// folder to write its seeds to. Ends the program if that is wrong.
pub fn start(name: &str) {
    let target = target(name).expect("the target is known");
    choice::check_environment(name);
    if let Some(folder) = std::env::var_os("FUZZ_SEEDS").map(PathBuf::from)
        && let Err(error) = write_seeds(target, &folder)
    {
        eprintln!("FUZZ_SEEDS={}: {error}", folder.display());
        std::process::exit(2);
    }
}

/// Writes the seeds of a target into a folder, one file each.
///
/// # Errors
/// Those of the file system.
pub fn write_seeds(target: &Target, folder: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(folder)?;
    for (number, seed) in (target.seeds)().iter().enumerate() {
        std::fs::write(folder.join(format!("seed-{number:04}")), seed)?;
    }
    Ok(())
}

/// The program of the target of this name: what libFuzzer calls.
#[cfg(feature = "libfuzzer")]
#[macro_export]
macro_rules! program {
    ($name:literal) => {
        libfuzzer_sys::fuzz_target!(
            init: $crate::start($name),
            |input: &[u8]| -> libfuzzer_sys::Corpus {
                static TARGET: std::sync::LazyLock<&$crate::Target> =
                    std::sync::LazyLock::new(|| $crate::target($name).expect("the target is known"));
                match (TARGET.run)(input) {
                    $crate::Verdict::Run => libfuzzer_sys::Corpus::Keep,
                    $crate::Verdict::Skipped => libfuzzer_sys::Corpus::Reject,
                }
            }
        );
    };
}
