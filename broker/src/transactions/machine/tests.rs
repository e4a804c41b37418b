//! The state machine stepped by hand, with a clock of the test's own.

use protocol::ErrorCode;

use super::*;

const TIMEOUT_MS: i32 = 60_000;
const NOW: i64 = 1_000_000;

/// A transactional id after its first InitProducerId: id 7, epoch 0.
fn fresh() -> Transaction {
    let mut transaction = Transaction::new(7, NOW);
    assert_eq!(init(&mut transaction, None), Ok(producer(7, 0)));
    transaction
}

fn producer(id: i64, epoch: i16) -> Producer {
    Producer { id, epoch }
}

/// InitProducerId, written at once; 99 is the next fresh producer id.
fn init(transaction: &mut Transaction, expected: Option<Producer>) -> Result<Producer, ErrorCode> {
    let mut fresh_id = None;
    loop {
        let event = Event::Init {
            timeout_ms: TIMEOUT_MS,
            expected,
            fresh_id,
        };
        match transaction.step(event, NOW) {
            Step::NeedsProducerId => fresh_id = Some(99),
            Step::Answer(answer) => return answer,
            Step::Write(row, producer) => {
                assert_eq!(
                    (row.producer_id, row.producer_epoch),
                    (producer.id, producer.epoch)
                );
                transaction.step(Event::Written(true), NOW);
                return Ok(producer);
            }
            Step::End(ending) => {
                assert!(ending.is_forced && !ending.is_commit);
                return Err(ErrorCode::ConcurrentTransactions);
            }
            other => panic!("{other:?}"),
        }
    }
}

fn add(transaction: &mut Transaction, by: Producer, part: i32, version: i16) -> Step {
    let event = Event::Add {
        producer: by,
        partitions: &[part],
        groups: &[],
        version,
        always: false,
    };
    transaction.step(event, NOW)
}

/// Adds a partition and has it written.
fn added(transaction: &mut Transaction, by: Producer, part: i32, version: i16) {
    match add(transaction, by, part, version) {
        Step::Add(addition) => {
            assert_eq!(addition.partitions, [part]);
            assert_eq!(addition.row.state, "Ongoing");
            transaction.step(Event::Added(&addition, true), NOW);
        }
        other => panic!("{other:?}"),
    }
}

fn end(transaction: &mut Transaction, by: Producer, is_commit: bool, version: i16) -> Step {
    let event = |fresh_id| Event::End {
        producer: by,
        is_commit,
        version,
        fresh_id,
    };
    match transaction.step(event(None), NOW) {
        Step::NeedsProducerId => transaction.step(event(Some(99)), NOW),
        step => step,
    }
}

fn ended(transaction: &mut Transaction, by: Producer, is_commit: bool, version: i16) -> Ending {
    match end(transaction, by, is_commit, version) {
        Step::End(ending) => {
            transaction.step(Event::Ended, NOW);
            ending
        }
        other => panic!("{other:?}"),
    }
}

fn refusal(code: ErrorCode) -> Step {
    Step::Answer(Err(code))
}

#[test]
fn version_1_keeps_the_epoch_and_repeats_are_answered() {
    let mut transaction = fresh();
    let p = producer(7, 0);
    for is_commit in [true, false] {
        added(&mut transaction, p, 1, 1);
        added(&mut transaction, p, 2, 1);
        assert_eq!(add(&mut transaction, p, 2, 1), Step::Answer(Ok(p)));
        let ending = ended(&mut transaction, p, is_commit, 1);
        assert_eq!((ending.marker, ending.answer), (p, p));
        assert_eq!(ending.partitions, [1, 2]);
        assert_eq!(ending.row.state, State::complete(is_commit).name());
        assert_eq!(transaction.partitions().count(), 0);
        assert_eq!(
            end(&mut transaction, p, is_commit, 1),
            Step::Answer(Ok(p)),
            "the answer was lost"
        );
        assert_eq!(
            end(&mut transaction, p, !is_commit, 1),
            refusal(ErrorCode::InvalidTxnState)
        );
    }
}

#[test]
fn version_2_raises_the_epoch_and_repeats_have_the_old_one() {
    let mut transaction = fresh();
    for (epoch, is_commit) in [(0, true), (1, false), (2, true)] {
        let p = producer(7, epoch);
        added(&mut transaction, p, 5, 2);
        let ending = ended(&mut transaction, p, is_commit, 2);
        let next = producer(7, epoch + 1);
        assert_eq!((ending.marker, ending.answer), (next, next));
        assert!(ending.is_epoch_bumped);
        assert_eq!(
            end(&mut transaction, p, is_commit, 2),
            Step::Answer(Ok(next)),
            "the answer was lost"
        );
        assert_eq!(
            end(&mut transaction, p, !is_commit, 2),
            refusal(ErrorCode::InvalidTxnState)
        );
        assert_eq!(
            add(&mut transaction, p, 5, 2),
            refusal(ErrorCode::ProducerFenced)
        );
    }
}

#[test]
fn nothing_happens_while_a_transaction_ends() {
    for version in [1, 2] {
        for is_commit in [true, false] {
            let mut transaction = fresh();
            let p = producer(7, 0);
            added(&mut transaction, p, 1, version);
            assert!(matches!(
                end(&mut transaction, p, is_commit, version),
                Step::End(_)
            ));
            let current = transaction.core().producer;
            assert_eq!(
                end(&mut transaction, p, is_commit, version),
                refusal(ErrorCode::ConcurrentTransactions)
            );
            assert_eq!(
                end(&mut transaction, p, !is_commit, version),
                refusal(ErrorCode::InvalidTxnState)
            );
            assert_eq!(
                add(&mut transaction, current, 2, version),
                refusal(ErrorCode::ConcurrentTransactions)
            );
            assert_eq!(
                init(&mut transaction, None),
                Err(ErrorCode::ConcurrentTransactions)
            );
            assert_eq!(
                transaction.verify(current, Some(1), None),
                Err(ErrorCode::ConcurrentTransactions)
            );
            assert_eq!(transaction.step(Event::Tick, i64::MAX), Step::Nothing);
            transaction.step(Event::Ended, NOW);
            assert_eq!(
                init(&mut transaction, None),
                Ok(producer(7, current.epoch + 1))
            );
        }
    }
}

#[test]
fn an_empty_transaction_ends_only_by_an_abort_in_version_2() {
    let mut transaction = fresh();
    let p = producer(7, 0);
    for (is_commit, version) in [(true, 1), (false, 1), (true, 2)] {
        assert_eq!(
            end(&mut transaction, p, is_commit, version),
            refusal(ErrorCode::InvalidTxnState)
        );
    }
    let ending = ended(&mut transaction, p, false, 2);
    assert_eq!(
        (ending.partitions.len(), ending.answer),
        (0, producer(7, 1))
    );
}

#[test]
fn strangers_and_older_epochs_are_told_apart() {
    let mut transaction = fresh();
    let p = init(&mut transaction, None).unwrap();
    assert_eq!(p, producer(7, 1));
    for (by, code) in [
        (producer(8, 1), ErrorCode::InvalidProducerIdMapping),
        (producer(7, 0), ErrorCode::ProducerFenced),
        (producer(7, 2), ErrorCode::ProducerFenced),
    ] {
        assert_eq!(add(&mut transaction, by, 1, 1), refusal(code));
        assert_eq!(end(&mut transaction, by, true, 1), refusal(code));
        assert_eq!(transaction.verify(by, Some(1), None), Err(code));
    }
    assert_eq!(
        transaction.verify(p, Some(1), None),
        Err(ErrorCode::TransactionAbortable)
    );
    added(&mut transaction, p, 1, 1);
    assert_eq!(transaction.verify(p, Some(1), None), Ok(()));
    assert_eq!(
        transaction.verify(p, Some(1), Some("g")),
        Err(ErrorCode::TransactionAbortable)
    );
}

#[test]
fn a_producer_that_names_its_epoch_gets_the_next_one_also_when_it_asks_again() {
    let mut transaction = fresh();
    assert_eq!(
        init(&mut transaction, Some(producer(7, 0))),
        Ok(producer(7, 1))
    );
    assert_eq!(
        init(&mut transaction, Some(producer(7, 0))),
        Ok(producer(7, 1)),
        "the answer was lost"
    );
    assert_eq!(
        init(&mut transaction, Some(producer(8, 0))),
        Err(ErrorCode::ProducerFenced)
    );
    // Another producer takes the id over.
    assert_eq!(init(&mut transaction, None), Ok(producer(7, 2)));
    for epoch in [0, 1] {
        assert_eq!(
            init(&mut transaction, Some(producer(7, epoch))),
            Err(ErrorCode::ProducerFenced)
        );
    }
}

#[test]
fn a_new_producer_aborts_what_the_old_one_left_open() {
    let mut transaction = fresh();
    let p = producer(7, 0);
    added(&mut transaction, p, 1, 2);
    assert_eq!(
        init(&mut transaction, None),
        Err(ErrorCode::ConcurrentTransactions)
    );
    assert_eq!(transaction.core().producer, producer(7, 1));
    transaction.step(Event::Ended, NOW);
    assert_eq!(transaction.core().state, State::CompleteAbort);
    assert_eq!(init(&mut transaction, None), Ok(producer(7, 2)));
}

#[test]
fn what_takes_too_long_is_aborted_with_another_epoch() {
    for (version, code) in [
        (1, ErrorCode::ProducerFenced),
        (2, ErrorCode::InvalidTxnState),
    ] {
        let mut transaction = fresh();
        let p = producer(7, 0);
        assert_eq!(transaction.step(Event::Tick, i64::MAX), Step::Nothing);
        added(&mut transaction, p, 1, version);
        let over = NOW + i64::from(TIMEOUT_MS);
        assert_eq!(transaction.step(Event::Tick, over), Step::Nothing);
        let Step::End(ending) = transaction.step(Event::Tick, over + 1) else {
            panic!("not ended");
        };
        assert_eq!(ending.marker, producer(7, 1));
        assert!(!ending.is_commit && ending.is_forced);
        transaction.step(Event::Ended, over + 1);
        assert_eq!(end(&mut transaction, p, true, version), refusal(code));
        assert_eq!(
            add(&mut transaction, p, 1, version),
            refusal(ErrorCode::ProducerFenced)
        );
    }
}

#[test]
fn used_up_epochs_bring_a_new_producer_id() {
    let last = i16::MAX - 1;
    for version in [1, 2] {
        let mut transaction = fresh();
        transaction.core.producer.epoch = last;
        let p = producer(7, last);
        added(&mut transaction, p, 1, version);
        let ending = ended(&mut transaction, p, true, version);
        if version == 1 {
            assert_eq!(ending.answer, p);
            assert_eq!(init(&mut transaction, Some(p)), Ok(producer(99, 0)));
        } else {
            assert_eq!(ending.marker, producer(7, i16::MAX));
            assert_eq!(ending.answer, producer(99, 0));
            assert_eq!(
                end(&mut transaction, p, true, version),
                Step::Answer(Ok(producer(99, 0))),
                "the answer was lost"
            );
        }
        assert_eq!(transaction.core().producer, producer(99, 0));
        assert_eq!(transaction.core().last.id, 7);
    }
}

#[test]
fn what_was_not_written_did_not_happen() {
    let mut transaction = Transaction::new(7, NOW);
    let event = Event::Init {
        timeout_ms: TIMEOUT_MS,
        expected: None,
        fresh_id: None,
    };
    assert!(matches!(transaction.step(event, NOW), Step::Write(..)));
    assert_eq!(
        transaction.step(event, NOW),
        refusal(ErrorCode::ConcurrentTransactions)
    );
    transaction.step(Event::Written(false), NOW);
    assert!(transaction.is_nothing());

    let mut transaction = fresh();
    let p = producer(7, 0);
    let Step::Add(addition) = add(&mut transaction, p, 1, 1) else {
        panic!("not added");
    };
    transaction.step(Event::Added(&addition, false), NOW);
    assert_eq!(
        transaction.verify(p, Some(1), None),
        Err(ErrorCode::TransactionAbortable)
    );
    // It is written by the next attempt.
    added(&mut transaction, p, 1, 1);
    assert_eq!(transaction.verify(p, Some(1), None), Ok(()));
}

#[test]
fn the_end_waits_for_what_is_being_added() {
    let mut transaction = fresh();
    let p = producer(7, 0);
    added(&mut transaction, p, 1, 2);
    transaction.begin_adding();
    assert_eq!(
        end(&mut transaction, p, true, 2),
        refusal(ErrorCode::ConcurrentTransactions)
    );
    assert_eq!(transaction.step(Event::Tick, i64::MAX), Step::Nothing);
    transaction.end_adding();
    ended(&mut transaction, p, true, 2);
}

#[test]
fn unused_ids_are_forgotten_and_open_ones_are_not() {
    let forget = Event::Forget { unused_ms: 1_000 };
    let mut transaction = fresh();
    assert_eq!(transaction.step(forget, NOW + 999), Step::Nothing);
    let p = producer(7, 0);
    added(&mut transaction, p, 1, 2);
    assert_eq!(transaction.step(forget, NOW + 5_000), Step::Nothing);
    ended(&mut transaction, p, true, 2);
    assert_eq!(transaction.step(forget, NOW + 5_000), Step::Forget);
    assert_eq!(
        init(&mut transaction, None),
        Err(ErrorCode::ConcurrentTransactions)
    );
    transaction.step(Event::Written(false), NOW);
    assert_eq!(init(&mut transaction, None), Ok(producer(7, 2)));
}

#[test]
fn a_stored_id_goes_on_as_it_was() {
    let mut transaction = fresh();
    let p = producer(7, 0);
    let Step::Add(addition) = add(&mut transaction, p, 3, 2) else {
        panic!("not added");
    };
    let mut restored = Transaction::restore(&addition.row, vec![3], vec!["g".to_owned()]).unwrap();
    assert_eq!(restored.resume(None, NOW), Step::Nothing);
    assert_eq!(restored.verify(p, Some(3), Some("g")), Ok(()));
    assert_eq!(ended(&mut restored, p, true, 2).partitions, [3]);
    let ending = ended(&mut restored, producer(7, 1), false, 2);
    let again = Transaction::restore(&ending.row, Vec::new(), Vec::new()).unwrap();
    assert_eq!(again.core().producer, producer(7, 2));
}

/// As a coordinator leaves it that ends while markers are due.
fn decided(ending: &Ending) -> Transaction {
    Transaction::restore(&ending.prepared, Vec::new(), Vec::new()).unwrap()
}

#[test]
fn what_a_former_coordinator_decided_is_completed() {
    for is_commit in [true, false] {
        let mut transaction = fresh();
        let p = producer(7, 0);
        added(&mut transaction, p, 3, 2);
        let event = Event::End {
            producer: p,
            is_commit,
            version: 2,
            fresh_id: None,
        };
        let Step::End(ending) = transaction.step(event, NOW) else {
            panic!("not ended");
        };
        let mut successor = decided(&ending);
        assert!(matches!(
            add(&mut successor, producer(7, 1), 3, 2),
            Step::Answer(Err(ErrorCode::ConcurrentTransactions))
        ));
        let Step::End(resumed) = successor.resume(None, NOW + 1) else {
            panic!("not resumed");
        };
        assert_eq!(
            (resumed.marker, resumed.is_commit),
            (producer(7, 1), is_commit)
        );
        assert_eq!(resumed.answer, producer(7, 1));
        let busy = Step::Answer(Err(ErrorCode::ConcurrentTransactions));
        assert_eq!(successor.step(event, NOW), busy);
        successor.step(Event::Ended, NOW + 2);
        assert_eq!(successor.step(event, NOW), Step::Answer(Ok(producer(7, 1))));
        added(&mut successor, producer(7, 1), 3, 2);
    }
}

#[test]
fn the_last_epoch_is_followed_by_another_id_with_the_successor_too() {
    let mut transaction = fresh();
    let last = producer(7, i16::MAX - 1);
    transaction.core.producer = last;
    added(&mut transaction, last, 3, 2);
    let event = |fresh_id| Event::End {
        producer: last,
        is_commit: true,
        version: 2,
        fresh_id,
    };
    let Step::End(ending) = transaction.step(event(Some(8)), NOW) else {
        panic!("not ended");
    };
    assert_eq!(
        (ending.marker, ending.answer),
        (producer(7, i16::MAX), producer(8, 0))
    );
    let mut successor = decided(&ending);
    assert_eq!(successor.resume(None, NOW), Step::NeedsProducerId);
    let Step::End(resumed) = successor.resume(Some(9), NOW) else {
        panic!("not resumed");
    };
    assert_eq!(
        (resumed.marker, resumed.answer),
        (ending.marker, producer(9, 0))
    );
    successor.step(Event::Ended, NOW);
    assert_eq!(
        successor.step(event(None), NOW),
        Step::Answer(Ok(producer(9, 0)))
    );
}
