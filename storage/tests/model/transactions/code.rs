//! Which function does which step of the model of transactions, and what must be said in it, as in the other model's table.

use super::{ALL, ALWAYS, Budget, QUIET, Step, Transactions};
use crate::code::{HANDOVER, LOG, Place, WRITER, check, check_documentation, check_steps};

const COORDINATOR: &str = "broker/src/transactions.rs";
const MACHINE: &str = "broker/src/transactions/machine.rs";
const ADMIT: &str = "broker/src/transactions/admit.rs";
const LETTERS: &str = "broker/src/transactions/letters.rs";
const ENDING: &str = "broker/src/transactions/ending.rs";
const DUE: &str = "broker/src/transactions/due.rs";
const SHARDS: &str = "broker/src/transactions/shards.rs";
const STORED: &str = "storage/src/transactions/write.rs";
const MARKERS: &str = "storage/src/markers.rs";

/// Who does a step. What a producer does by itself is looked at where it is answered.
const PLACES: [(&str, &[Place]); 15] = [
    (
        "Add",
        &[
            (
                COORDINATOR,
                "fn add_partitions(",
                &["known(", "Event::Add", "add_with("],
            ),
            (
                COORDINATOR,
                "fn add_with(",
                &["begin(", "writes.write(", "Event::Added("],
            ),
            (MACHINE, "fn add(", &["State::Ongoing", "Step::Add("]),
            (STORED, "const OWNED", &["for share of s"]),
            (
                STORED,
                "const PARTITIONS",
                &["join owned on owned.shard = p.shard"],
            ),
        ],
    ),
    (
        "Send",
        &[(
            "broker/src/handlers/produce.rs",
            "fn queue(",
            &["transactions.admit("],
        )],
    ),
    (
        "Arrive",
        &[
            (
                ADMIT,
                "fn admit<",
                &[
                    "self.known(id)",
                    "NotCoordinator",
                    "admit_elsewhere(",
                    "slot.lock()",
                    ".step(",
                    "queue(",
                ],
            ),
            (
                ADMIT,
                "fn admit_elsewhere<",
                &[".members()", ".enter(", "ask_about("],
            ),
            (
                LOG,
                "fn enter(",
                &[
                    "Member::In",
                    "batch(Ok(",
                    "waiting.push(",
                    "self.questions += 1",
                ],
            ),
        ],
    ),
    (
        "Judge",
        &[
            (
                LETTERS,
                "fn judge(",
                &[
                    "self.known(id)?",
                    "epoch",
                    "verify(",
                    "VERSION_2",
                    "add_with(",
                ],
            ),
            (
                MACHINE,
                "fn check(",
                &["ProducerFenced", "is_ending()", "ConcurrentTransactions"],
            ),
            (
                MACHINE,
                "fn verify(",
                &["ProducerFenced", "is_ending()", "TransactionAbortable"],
            ),
        ],
    ),
    (
        "Answered",
        &[
            (
                ADMIT,
                "fn ask_coordinator(",
                &["self.ask(", "members().answered("],
            ),
            (
                LOG,
                "fn answered(",
                &["asked == question", "Member::In", "batch(verdict)"],
            ),
        ],
    ),
    (
        "Lose",
        &[(
            LETTERS,
            "fn ask(",
            &["timeout(ANSWER_PATIENCE", "CoordinatorNotAvailable"],
        )],
    ),
    (
        "Flush",
        &[
            (
                LOG,
                "fn place(",
                &[
                    "coordinator_epoch(",
                    "< last_coordinator",
                    "StaleCoordinator",
                ],
            ),
            (
                LOG,
                "fn end(",
                &["is_elsewhere", "EndError::NotLeader", "place_marker("],
            ),
            (
                MARKERS,
                "fn apply(",
                &[
                    "self.decide(",
                    "self.written(",
                    "are_all_owned(",
                    "written ==",
                ],
            ),
            (
                MARKERS,
                "const WRITTEN",
                &[
                    "delete from kafka.txn_markers",
                    "producer_epoch = w.producer_epoch",
                ],
            ),
            (
                WRITER,
                "fn copy(",
                &[
                    "changes.apply(",
                    "!is_done",
                    "\"rollback\"",
                    "Attempt::NotCoordinator",
                ],
            ),
        ],
    ),
    (
        "End",
        &[
            (COORDINATOR, "fn end(", &["Event::End", "Begun::End("]),
            (
                MACHINE,
                "fn end_1(",
                &["State::Ongoing =>", "self.prepare("],
            ),
            (
                MACHINE,
                "fn end_2(",
                &["saturating_add(1)", "self.prepare("],
            ),
            (
                ENDING,
                "fn queue_end(",
                &["is_led()", "own.push(", "due.push(", "end_transaction("],
            ),
            (
                LOG,
                "fn end_transaction(",
                &["members().leave(", "lane.push("],
            ),
        ],
    ),
    (
        "Fence",
        &[
            (
                MACHINE,
                "fn fence(",
                &["saturating_add(1)", "self.prepare(false"],
            ),
            (
                "broker/src/transactions/expire.rs",
                "fn abort_timed_out(",
                &["Event::Tick", "end_soon("],
            ),
        ],
    ),
    (
        "LookDue",
        &[
            (
                DUE,
                "fn write_due_markers(",
                &["left.clear()", "due_markers("],
            ),
            (
                DUE,
                "fn queue_due(",
                &["is_led()", "queued.insert(", "write_soon("],
            ),
            (
                DUE,
                "fn write_soon(",
                &["end_transaction(", "written: Some("],
            ),
        ],
    ),
    (
        "Finish",
        &[
            (
                ENDING,
                "fn complete(",
                &["all_written(", "write_last_state(", "Event::Ended"],
            ),
            (ENDING, "fn write_last_state(", &["write_if(", "self.has("]),
            (MARKERS, "const LEFT", &["kafka.txn_markers"]),
        ],
    ),
    (
        "Next",
        &[(
            MACHINE,
            "fn check(",
            &["self.next.is_some()", "ConcurrentTransactions"],
        )],
    ),
    (
        "MoveShard",
        &[
            (
                "storage/src/groups.rs",
                "const CLAIM",
                &["epoch = epoch + 1"],
            ),
            (
                SHARDS,
                "fn take_up(",
                &[
                    "store.transactions()",
                    "Transaction::restore(",
                    "self.resume(",
                ],
            ),
            (SHARDS, "fn resume(", &[".resume(", "complete_soon("]),
        ],
    ),
    (
        "Forget",
        &[
            (SHARDS, "fn take_up(", &["self.slots()", ".retain("]),
            (ENDING, "fn has(", &["lease(", "Arc::ptr_eq("]),
        ],
    ),
    (
        "MovePart",
        &[
            (HANDOVER, "fn try_hand_over(", &["move_partitions("]),
            (LOG, "fn follow(", &["members().clear()"]),
            (LOG, "fn lead(", &["members().clear()"]),
        ],
    ),
];

/// The name of a step in [`PLACES`].
fn name(step: &Step) -> &'static str {
    match step {
        Step::Add(..) => "Add",
        Step::Send(_) => "Send",
        Step::Arrive(_) => "Arrive",
        Step::Judge(..) => "Judge",
        Step::Answered(_) => "Answered",
        Step::Lose(_) => "Lose",
        Step::Flush(_) => "Flush",
        Step::End(..) => "End",
        Step::Fence(_) => "Fence",
        Step::LookDue(..) => "LookDue",
        Step::Finish(_) => "Finish",
        Step::Next => "Next",
        Step::MoveShard => "MoveShard",
        Step::Forget(_) => "Forget",
        Step::MovePart(_) => "MovePart",
    }
}

#[test]
fn every_step_has_its_place_in_the_code() {
    check(&PLACES);
}

#[test]
fn every_step_is_taken_and_is_in_the_table() {
    let model = Transactions {
        version: 1,
        budget: Budget {
            shard_moves: 1,
            part_moves: 1,
            fences: 1,
            losses: 1,
            ..QUIET
        },
        rules: ALL,
        only: None,
    };
    check_steps(&model, name, PLACES.iter().map(|(step, _)| *step));
}

#[test]
fn what_always_holds_is_named_in_the_documentation() {
    check_documentation(ALWAYS.iter().map(|(name, _)| *name));
}
