//! Every message and version that the jars of two releases know: bytes and JSON are the same as Kafka's, both ways.

use std::collections::{BTreeMap, BTreeSet};

use arbitrary::Unstructured;
use protocol::view::{self, Kind, MessageDescriptor, Sample, Shape, StructDescriptor, Type};
use serde_json::Value;
use tests::oracle::{Answer, Oracle, Release};

use crate::hex::hex;
use crate::names::{self, Direction};
use crate::random::Random;

/// Arbitrary messages of each version, beside the samples.
const ARBITRARY_COUNT: u32 = 50;

/// What changed between the releases while it was unstable: the older form is gone.
const CHANGED: [(&str, i16); 1] = [("ReadShareGroupStateSummaryResponse", 0)];

/// Message-versions by class name: what 4.4.0 and 3.9.2 have, and both together.
const NEW_COUNT: usize = 640;
const OLD_COUNT: usize = 666;
const ALL_COUNT: usize = 761;

/// Differences that are shown, and how much of each.
const FAULTS_SHOWN: usize = 20;
const FAULT_LETTERS_MAX: usize = 800;

/// A message of a jar and its version.
type MessageVersion = (String, i16);

#[test]
fn bytes_and_json_are_kafkas_in_every_message_and_version() {
    let (new, old) = std::thread::scope(|scope| {
        let new = scope.spawn(|| compare(Release::New));
        let old = scope.spawn(|| compare(Release::Old));
        (new.join().unwrap(), old.join().unwrap())
    });
    let faults = [&new.faults[..], &old.faults].concat();
    let shown: Vec<_> = faults
        .iter()
        .take(FAULTS_SHOWN)
        .map(String::as_str)
        .collect();
    assert!(
        faults.is_empty(),
        "{} differences:\n{}",
        faults.len(),
        shown.join("\n")
    );

    let counts = (new.equal.len(), old.equal.len() + CHANGED.len());
    assert_eq!(counts, (NEW_COUNT, OLD_COUNT));
    let all: BTreeMap<MessageVersion, String> = new.equal.into_iter().chain(old.equal).collect();
    let of = |kind: &str| all.values().filter(|it| *it == kind).count();
    println!(
        "{} message-versions equal to Kafka's: {} request, {} response, {} header, {} data; \
         {} messages compared, of them {} with tags of another version, which Kafka refuses",
        all.len(),
        of("request"),
        of("response"),
        of("header"),
        of("data"),
        new.compared + old.compared,
        new.refused + old.refused,
    );
    assert_eq!(all.len(), ALL_COUNT);

    let ours: BTreeSet<_> = view::MESSAGES
        .iter()
        .flat_map(|message| {
            message
                .versions
                .iter()
                .map(|version| (message.name, version))
        })
        .collect();
    let theirs: BTreeSet<_> = all
        .keys()
        .map(|(name, version)| (names::ours(name), *version))
        .collect();
    assert_eq!(
        ours, theirs,
        "the message-versions of our schemas and of the jars"
    );
}

/// What came of one jar.
#[derive(Default)]
struct Outcome {
    /// The message-versions that are equal in everything, with their kinds.
    equal: Vec<(MessageVersion, String)>,
    compared: usize,
    /// Of them, those that Kafka refuses for a tag of another version.
    refused: usize,
    faults: Vec<String>,
}

fn compare(release: Release) -> Outcome {
    let oracle = Oracle::of(release);
    let mut outcome = Outcome::default();
    for message in oracle.messages() {
        let ours = view::find(names::ours(&message.name))
            .unwrap_or_else(|| panic!("no message {}", message.name));
        assert_eq!(kind(ours.kind), message.kind, "{}", message.name);
        for version in message.lowest..=message.highest {
            let instances = instances(ours, version);
            let before = outcome.faults.len();
            compare_version(&oracle, release, &message.name, &instances, &mut outcome);
            if release == Release::Old && CHANGED.contains(&(ours.name, version)) {
                assert!(outcome.faults.len() > before, "{} {version}", ours.name);
                outcome.faults.truncate(before);
            } else if outcome.faults.len() == before {
                let message_version = (message.name.clone(), version);
                outcome.equal.push((message_version, message.kind.clone()));
            }
        }
    }
    outcome
}

fn compare_version(
    oracle: &Oracle,
    release: Release,
    name: &str,
    instances: &[Instance],
    outcome: &mut Outcome,
) {
    let mut questions = Vec::new();
    for instance in instances {
        let json = names::rename(
            release,
            instance.of.name,
            instance.json.clone(),
            Direction::ToOld,
        );
        questions.push(format!("write {name} {} {json}", instance.version));
        questions.push(format!(
            "read {name} {} {}",
            instance.version,
            hex(&instance.bytes)
        ));
    }
    let answers = oracle.ask_all(&questions);
    for (instance, answers) in instances.iter().zip(answers.chunks(2)) {
        let [written, read] = answers else {
            unreachable!("two answers for each")
        };
        let faults = instance.faults(release, written, read);
        outcome.refused += usize::from(faults.is_empty() && read.is_err());
        for fault in faults {
            let fault = format!(
                "{release:?} {name} {}: {fault}\n  {}",
                instance.version, instance.json
            );
            outcome
                .faults
                .push(fault.chars().take(FAULT_LETTERS_MAX).collect());
        }
        outcome.compared += 1;
    }
}

/// A message to compare.
pub(crate) struct Instance {
    of: &'static MessageDescriptor,
    version: i16,
    pub(crate) bytes: Vec<u8>,
    json: Value,
    /// Whether it has a tag that is unknown in its version and known in another. Kafka refuses to read such a message; we keep
    /// the tagged field.
    pub(crate) has_foreign_tag: bool,
}

impl Instance {
    fn new(of: &'static MessageDescriptor, version: i16, bytes: Vec<u8>) -> Self {
        let json = view::to_json(of, version, &bytes).unwrap();
        Self {
            of,
            version,
            bytes,
            has_foreign_tag: has_foreign_tag(of, &of.structs[0], &json),
            json,
        }
    }

    /// What is not as it should be, given what Kafka wrote for our JSON and read from our bytes.
    fn faults(&self, release: Release, written: &Answer, read: &Answer) -> Vec<String> {
        let mut faults = Vec::new();
        if *written != Ok(hex(&self.bytes)) {
            faults.push(format!("Kafka writes {written:?}, we {}", hex(&self.bytes)));
        }
        match read {
            Ok(json) => {
                let json = serde_json::from_str(json).unwrap();
                let json = names::rename(release, self.of.name, json, Direction::ToNew);
                if json != self.json {
                    faults.push(format!("Kafka reads {json}"));
                }
            }
            Err(error) if self.has_foreign_tag && error.contains("is not valid for version") => {}
            Err(error) => faults.push(format!("Kafka reads nothing: {error}")),
        }
        let recoded = (self.of.recode)(&self.bytes, self.version).map(|it| (it.bytes, it.left));
        if recoded != Ok((Ok(self.bytes.clone()), 0)) {
            faults.push(format!("we read and write {recoded:?}"));
        }
        let from_json = view::from_json(self.of, self.version, &self.json);
        if from_json.as_ref() != Ok(&self.bytes) {
            faults.push(format!("our JSON gives {from_json:?}"));
        }
        faults
    }
}

/// All samples, and arbitrary messages until there are enough that Kafka reads; the same in every run.
fn instances(of: &'static MessageDescriptor, version: i16) -> Vec<Instance> {
    let samples = Sample::ALL.map(|kind| view::sample(of, version, kind).0);
    let mut instances: Vec<_> = samples
        .into_iter()
        .map(|bytes| Instance::new(of, version, bytes))
        .collect();
    let mut readable = 0;
    instances.extend(arbitrary(of, version).take_while(|instance| {
        readable += u32::from(!instance.has_foreign_tag);
        readable <= ARBITRARY_COUNT
    }));
    instances
}

/// Arbitrary messages without end, the same in every run, of all sizes.
pub(crate) fn arbitrary(
    of: &'static MessageDescriptor,
    version: i16,
) -> impl Iterator<Item = Instance> {
    let mut random = Random::named(&format!("{} {version}", of.name));
    (0..).map(move |turn: u32| {
        let seed = random.bytes(2048 >> (turn % 8));
        let bytes = view::arbitrary(of, version, &mut Unstructured::new(&seed)).unwrap();
        Instance::new(of, version, bytes)
    })
}

fn has_foreign_tag(message: &MessageDescriptor, of: &StructDescriptor, json: &Value) -> bool {
    let unknown = json["_unknownTaggedFields"]
        .as_array()
        .into_iter()
        .flatten();
    let mut known = of.fields.iter().filter_map(|field| field.tagged);
    let tags: Vec<_> = unknown.map(|tag| tag["tag"].as_u64()).collect();
    if known.any(|(tag, _)| tags.contains(&Some(tag.into()))) {
        return true;
    }
    of.fields.iter().any(|field| {
        let (Shape::One(Type::Struct(index)) | Shape::Many(Type::Struct(index))) = field.shape
        else {
            return false;
        };
        let value = &json[names::key(field.name)];
        let structs = value
            .as_array()
            .map_or(std::slice::from_ref(value), Vec::as_slice);
        structs
            .iter()
            .any(|it| has_foreign_tag(message, &message.structs[index], it))
    })
}

const fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Request => "request",
        Kind::Response => "response",
        Kind::Header => "header",
        Kind::Data => "data",
    }
}
