//! The seeds of every target and every input that ever found something, without libFuzzer; and that together the targets
//! reach every generated decoder and encoder.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use fuzz::choice::{Choice, KINDS, check_name, of_kind};
use fuzz::{TARGETS, Target, Verdict, messages, target};
use protocol::view::{Kind, MESSAGES};

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// Names of what is in a folder.
fn names_in(folder: &Path) -> BTreeSet<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    let name = |entry: std::io::Result<std::fs::DirEntry>| entry.unwrap().file_name();
    entries
        .map(|entry| name(entry).into_string().unwrap())
        .collect()
}

fn replay(name: &str) {
    let target: &Target = target(name).unwrap();
    let seeds = (target.seeds)();
    assert!(seeds.len() > 15, "{name} has {} seeds", seeds.len());
    let run = seeds.iter().map(|seed| (target.run)(seed));
    let skipped = run.filter(|verdict| *verdict == Verdict::Skipped).count();
    assert!(
        skipped < seeds.len() / 2,
        "{name} skips {skipped} of its seeds"
    );
    let regressions = folder("regressions").join(name);
    if regressions.is_dir() {
        for file in names_in(&regressions) {
            eprintln!("{name}/{file}");
            (target.run)(&std::fs::read(regressions.join(file)).unwrap());
        }
    }
}

macro_rules! replays {
    ($($name:ident,)*) => {
        $(#[test]
        fn $name() {
            replay(stringify!($name));
        })*

        #[test]
        fn every_target_has_a_program_and_is_replayed() {
            let tested = BTreeSet::from([$(stringify!($name)),*]);
            let known: BTreeSet<_> = TARGETS.iter().map(|target| target.name).collect();
            assert_eq!(tested, known);
            let programs = names_in(&folder("fuzz_targets"));
            let expect: BTreeSet<_> = known.iter().map(|name| format!("{name}.rs")).collect();
            assert_eq!(programs, expect);
            let manifest = std::fs::read_to_string(folder("Cargo.toml")).unwrap();
            for name in known {
                let text = std::fs::read_to_string(folder(&format!("fuzz_targets/{name}.rs")));
                assert!(text.unwrap().contains(&format!("program!(\"{name}\")")));
                assert!(manifest.contains(&format!("path = \"fuzz_targets/{name}.rs\"")));
            }
        }
    };
}

replays! {
    requests,
    responses,
    headers,
    data,
    round_trips,
    interpreter,
    kafka_protocol,
    batches,
    builder,
    compression,
    embedded,
    connection,
}

#[test]
fn every_regression_belongs_to_a_target() {
    for name in names_in(&folder("regressions")) {
        assert!(name == "README.md" || target(&name).is_some(), "{name}");
    }
}

/// Every message and version of the descriptors is read by its generated decoder and written by its generated encoder in
/// the target of its kind.
#[test]
fn the_targets_reach_every_decoder_and_encoder() {
    let mut reached = BTreeSet::new();
    for (kind, name) in KINDS
        .into_iter()
        .zip(["requests", "responses", "headers", "data"])
    {
        for seed in (target(name).unwrap().seeds)() {
            let outcome = messages::decode(kind, &seed).unwrap();
            if outcome.is_message {
                reached.insert((outcome.choice.message.name, outcome.choice.version));
            }
        }
    }
    let versions = |message: &protocol::view::MessageDescriptor| {
        let name = message.name;
        message
            .versions
            .iter()
            .map(move |version| (name, version))
            .collect::<Vec<_>>()
    };
    let all: BTreeSet<_> = MESSAGES
        .iter()
        .flat_map(|message| versions(message))
        .collect();
    assert_eq!(reached, all);
    assert!(all.len() > 700, "{} versions", all.len());
}

/// The descriptors are all there are: one for each schema.
#[test]
fn every_schema_has_a_descriptor() {
    let schemas = names_in(&folder("../schemas"));
    let schemas: BTreeSet<_> = schemas
        .iter()
        .filter_map(|file| file.strip_suffix(".json"))
        .collect();
    let messages: BTreeSet<_> = MESSAGES.iter().map(|message| message.name).collect();
    assert_eq!(schemas, messages);
}

#[test]
fn a_choice_comes_back_from_its_bytes() {
    for kind in KINDS {
        for message in of_kind(kind) {
            for version in message.versions.iter() {
                let choice = Choice { message, version };
                let bytes = choice.bytes();
                let (again, rest) = Choice::of(kind, &bytes).unwrap();
                assert_eq!((again.message.name, again.version), (message.name, version));
                assert!(rest.is_empty());
                let (again, _) = Choice::of_any(&choice.any_bytes()).unwrap();
                assert_eq!((again.message.name, again.version), (message.name, version));
            }
        }
    }
    assert_eq!(
        of_kind(Kind::Request).first().unwrap().name,
        "ProduceRequest"
    );
}

#[test]
fn one_message_can_be_chosen_by_name() {
    for (target, name) in [
        ("requests", "Fetch"),
        ("requests", "FetchRequest"),
        ("responses", "Fetch"),
        ("headers", "RequestHeader"),
        ("data", "EndTxnMarker"),
        ("interpreter", "EndTxnMarker"),
        ("round_trips", "Metadata"),
    ] {
        check_name(target, name).unwrap();
    }
    let error = check_name("requests", "Fetsh").unwrap_err();
    assert!(
        error
            .starts_with("the target requests knows no such API or message, only Produce, Fetch, "),
        "{error}"
    );
    assert!(check_name("headers", "Fetch").is_err());
    let error = check_name("connection", "Fetch").unwrap_err();
    assert_eq!(error, "the target connection is not about single messages");
}
