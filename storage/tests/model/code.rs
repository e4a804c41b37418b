//! Which function does which step of the model, and what must be said in it. A function that is renamed, or that loses one of
//! these words, fails the test here: look at the model again then.

use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};
use std::hash::Hash;
use std::path::Path;

use stateright::Model;

use crate::Cluster;
use crate::state::Budget;
use crate::steps::Step;

/// File or directory, how the declaration of a function or constant in it begins, and what is in that, in this order.
pub(crate) type Place = (&'static str, &'static str, &'static [&'static str]);

pub(crate) const LOG: &str = "broker/src/log";
pub(crate) const WRITER: &str = "storage/src/writer.rs";
pub(crate) const HANDOVER: &str = "storage/src/writer/handover.rs";
const LANES: &str = "storage/src/lanes.rs";
const BROKERS: &str = "storage/src/brokers.rs";

/// Who does a step. Of pauses and crashes it is the test that makes them happen.
const PLACES: [(&str, &[Place]); 19] = [
    (
        "Send",
        &[
            (LOG, "fn prepare(", &["self.is_led()", "NotLeader"]),
            (LOG, "fn append(", &["lane.push("]),
        ],
    ),
    (
        "Flush",
        &[
            (LOG, "fn commit(", &["assign(", "self.flush("]),
            (LOG, "fn append(", &["is_led()", "NotLeader", "place("]),
            (
                LOG,
                "fn place(",
                &["next_offset", "producers.check(", "Place::Duplicate"],
            ),
        ],
    ),
    (
        "HandOver",
        &[
            (
                LOG,
                "fn hand_over(",
                &[
                    "is_led()",
                    "leader_epoch() + 1",
                    "writer.hand_over(",
                    ".follow(",
                ],
            ),
            (
                HANDOVER,
                "fn hand_over(",
                &["try_hand_over(", "flush_seq += 1"],
            ),
        ],
    ),
    (
        "Execute",
        &[
            (
                WRITER,
                "const FENCE",
                &[
                    "set flush_seq = flush_seq + 1",
                    "lane_id = $1 and epoch = $2 and flush_seq = $3",
                ],
            ),
            (
                WRITER,
                "fn insert(",
                &["with fence as ({FENCE} returning 1)", "from fence"],
            ),
            (
                WRITER,
                "fn copy(",
                &[
                    "\"begin\"",
                    "self.fence",
                    "== 0",
                    "\"rollback\"",
                    "\"commit\"",
                ],
            ),
            (
                HANDOVER,
                "fn try_hand_over(",
                &[
                    "execute(FENCE",
                    "== 0",
                    "seal_all(",
                    "move_partitions(",
                    "commit()",
                ],
            ),
            (
                BROKERS,
                "const MOVE",
                &["leader_epoch = p.leader_epoch + 1", "p.lane = $3"],
            ),
        ],
    ),
    ("Lose", &[(WRITER, "fn reconnect(", &["END_BACKEND"])]),
    (
        "Answer",
        &[
            (
                WRITER,
                "fn attempt(",
                &[
                    "Attempt::Committed =>",
                    "Attempt::Refused if in_doubt",
                    "committed(",
                    "fenced()",
                ],
            ),
            (WRITER, "fn flush_with(", &["Ok(()) =>", "flush_seq += 1"]),
            (LOG, "fn publish(", &["publish(", "Pending::commit"]),
            (LOG, "fn give_up(", &["queue.fence()"]),
        ],
    ),
    (
        "Cut",
        &[
            (WRITER, "fn at_commit(", &["Outcome::Unknown"]),
            (
                WRITER,
                "fn flush_until(",
                &["*in_doubt |= failure.in_doubt", ".link"],
            ),
        ],
    ),
    (
        "Look",
        &[
            (
                WRITER,
                "fn committed(",
                &[
                    "committed_flushes(",
                    "0 => Ok(false)",
                    "1 => Ok(true)",
                    "fenced()",
                ],
            ),
            (
                LANES,
                "fn committed_flushes(",
                &["== self.epoch", "fenced()"],
            ),
        ],
    ),
    (
        "Resend",
        &[
            (
                WRITER,
                "fn attempt(",
                &[
                    "reconnect(in_doubt)",
                    "if in_doubt",
                    "committed(",
                    "link.insert(",
                ],
            ),
            (
                HANDOVER,
                "fn try_hand_over(",
                &[
                    "self.is_handing_over && committed(",
                    "execute(FENCE",
                    "self.is_handing_over && committed(",
                ],
            ),
        ],
    ),
    (
        "ReadRow",
        &[(
            "broker/src/catalog.rs",
            "fn open_logs(",
            &["open_partitions("],
        )],
    ),
    (
        "ReadEnd",
        &[
            (LOG, "fn open_partitions(", &["is_new", "end_offsets("]),
            (LOG, "fn load(", &["scan"]),
        ],
    ),
    (
        "Apply",
        &[
            (
                LOG,
                "fn open_partitions(",
                &[".follow(", "!partition.is_led()", ".lead("],
            ),
            (
                LOG,
                "fn lead(",
                &["row.leader_epoch < self.leader_epoch() || state.is_led"],
            ),
            (LOG, "fn follow(", &["leader.epoch < self.leader_epoch()"]),
        ],
    ),
    (
        "TakeOver",
        &[
            (
                BROKERS,
                "fn take_over_lane(",
                &[
                    "for update",
                    "END_SESSIONS",
                    "DEPOSE",
                    "UNREGISTER",
                    "seal_all(",
                    "deal(",
                    "commit()",
                ],
            ),
            (BROKERS, "fn deal(", &["move_partitions("]),
            (BROKERS, "const DEPOSE", &["epoch = l.epoch + 1"]),
        ],
    ),
    (
        "Expel",
        &[
            (
                "broker/src/cluster.rs",
                "fn beat(",
                &["heart.beat(", "Ok(false)", "expelled"],
            ),
            (
                BROKERS,
                "const HEARTBEAT",
                &["node_id = $1 and incarnation = $2"],
            ),
        ],
    ),
    (
        "Join",
        &[
            (
                "broker/src/lib.rs",
                "fn after(",
                &["Served::UntilExpelled", "After::JoinAnew"],
            ),
            (
                "broker/src/lib.rs",
                "fn serve_again(",
                &["serve(", "after(", "After::JoinAnew"],
            ),
            ("broker/src/lib.rs", "fn registration(", &["Uuid::new_v4()"]),
            (BROKERS, "fn register_broker(", &["REGISTER"]),
        ],
    ),
    (
        "Claim",
        &[
            (
                LANES,
                "fn claim_lane(",
                &["CLAIM", "Error::Fenced", "LOCK_SEGMENTS", "commit()"],
            ),
            (
                LANES,
                "const CLAIM",
                &["epoch = epoch + 1", "b.incarnation <> $2"],
            ),
            (LOG, "fn open(", &["claim_lane(", "lane_writer("]),
        ],
    ),
    (
        "Pause",
        &[(
            "tests/tests/e2e/brokers.rs",
            "fn a_broker_that_pauses_is_replaced_and_comes_back(",
            &["Signal::STOP", "Signal::CONT"],
        )],
    ),
    (
        "Resume",
        &[(
            "tests/tests/e2e/brokers.rs",
            "fn a_broker_that_pauses_is_replaced_and_comes_back(",
            &["Signal::STOP", "Signal::CONT"],
        )],
    ),
    (
        "Crash",
        &[(
            "tests/tests/e2e/brokers.rs",
            "fn kill_all_but_one_of(",
            &["kill"],
        )],
    ),
];

/// The name of a step in [`PLACES`].
fn name(step: &Step) -> &'static str {
    match step {
        Step::Send(..) => "Send",
        Step::Flush(_) => "Flush",
        Step::HandOver(..) => "HandOver",
        Step::Execute(_) => "Execute",
        Step::Lose(_) => "Lose",
        Step::Answer(_) => "Answer",
        Step::Cut(_) => "Cut",
        Step::Look(_) => "Look",
        Step::Resend(_) => "Resend",
        Step::ReadRow(..) => "ReadRow",
        Step::ReadEnd(_) => "ReadEnd",
        Step::Apply(_) => "Apply",
        Step::TakeOver(_) => "TakeOver",
        Step::Expel(_) => "Expel",
        Step::Join(_) => "Join",
        Step::Claim(_) => "Claim",
        Step::Pause(_) => "Pause",
        Step::Resume(_) => "Resume",
        Step::Crash(_) => "Crash",
    }
}

/// A file, or all files in a directory.
pub(crate) fn read(path: &str) -> String {
    let at = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path);
    if !at.is_dir() {
        return std::fs::read_to_string(&at).unwrap_or_else(|error| panic!("{path}: {error}"));
    }
    let files = std::fs::read_dir(&at)
        .expect("a directory")
        .map(|file| file.expect("a file").path());
    let sources = files.filter(|file| file.extension().is_some_and(|extension| extension == "rs"));
    sources
        .map(|file| std::fs::read_to_string(file).expect("a source"))
        .collect()
}

/// What is declared so, whatever stands before it: from that line up to the one that closes it.
fn items<'a>(source: &'a str, declaration: &str) -> impl Iterator<Item = &'a str> {
    let mut end = 0;
    let starts = source.split_inclusive('\n').filter_map(move |line| {
        end += line.len();
        let bare = ["pub(crate) ", "pub(super) ", "pub ", "async "];
        let bare = bare.iter().fold(line.trim_start(), |line, word| {
            line.strip_prefix(word).unwrap_or(line)
        });
        bare.starts_with(declaration)
            .then_some((end - line.len(), line))
    });
    let is_constant = declaration.starts_with("const ");
    starts.filter_map(move |(start, line)| {
        let indent = &line[..line.len() - line.trim_start().len()];
        let rest = &source[start..];
        let end = match is_constant {
            true => rest.find(";\n"),
            false => rest.find(&format!("\n{indent}}}\n")),
        };
        rest.get(..end?)
    })
}

/// The first of `words` that is not there in its place.
fn missing<'a>(item: &str, words: &[&'a str]) -> Option<&'a str> {
    let mut rest = item;
    for word in words {
        let Some(at) = rest.find(word) else {
            return Some(word);
        };
        rest = &rest[at + word.len()..];
    }
    None
}

/// Fails where a place has gone, or lacks what must be in it.
pub(crate) fn check(table: &[(&str, &[Place])]) {
    let mut sources = BTreeMap::new();
    let mut faults = Vec::new();
    for (step, places) in table {
        for (path, declaration, words) in *places {
            let source: &String = sources.entry(*path).or_insert_with(|| read(path));
            let lacks: Vec<_> = items(source, declaration)
                .map(|item| missing(item, words))
                .collect();
            if lacks.is_empty() {
                faults.push(format!("{step}: no `{declaration}` in {path}"));
            } else if !lacks.contains(&None) {
                faults.push(format!(
                    "{step}: `{declaration}` in {path} lacks {lacks:?} in its place"
                ));
            }
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
}

/// Fails where a step that a model takes is not among `known`, or one of those is never taken.
pub(crate) fn check_steps<M: Model>(
    model: &M,
    name: impl Fn(&M::Action) -> &'static str,
    known: impl Iterator<Item = &'static str>,
) where
    M::State: Clone + Eq + Hash,
{
    let known: BTreeSet<&str> = known.collect();
    let mut untaken = known.clone();
    let mut next: VecDeque<M::State> = model.init_states().into();
    let mut seen: HashSet<M::State> = next.iter().cloned().collect();
    while let Some(state) = next.pop_front() {
        let mut steps = Vec::new();
        model.actions(&state, &mut steps);
        for step in steps {
            let name = name(&step);
            let Some(after) = model.next_state(&state, step) else {
                continue;
            };
            assert!(known.contains(name), "{name} has no place");
            untaken.remove(name);
            if seen.insert(after.clone()) {
                next.push_back(after);
            }
        }
        if untaken.is_empty() {
            return;
        }
    }
    panic!("never taken: {untaken:?}");
}

#[test]
fn every_step_has_its_place_in_the_code() {
    check(&PLACES);
}

/// Within small bounds, which are enough for each step to be taken.
#[test]
fn every_step_is_taken_and_is_in_the_table() {
    let budget = Budget {
        sends: 1,
        cuts: 1,
        crashes: 1,
        pauses: 1,
        takeovers: 1,
        handovers: 1,
        joins: 1,
    };
    let cluster = Cluster::two_brokers(budget, &[]);
    check_steps(&cluster, name, PLACES.iter().map(|(step, _)| *step));
}

/// Fails where ARCHITECTURE.md has none of these lines.
pub(crate) fn check_documentation(names: impl Iterator<Item = &'static str>) {
    let text = read("ARCHITECTURE.md");
    for name in names {
        let is_there = text
            .lines()
            .any(|line| line.trim_start_matches([' ', '*']).starts_with(name));
        assert!(is_there, "ARCHITECTURE.md does not say: {name}");
    }
}

#[test]
fn what_always_holds_is_named_in_the_documentation() {
    check_documentation(crate::properties::ALWAYS.iter().map(|(name, _)| *name));
}
