//! What each step of the model of transactions does, but for moves.

use std::collections::BTreeSet;

use super::*;

impl Transactions {
    /// The coordinator makes a partition part of the transaction, in the database first. False if the shard is lost.
    fn add(&self, state: &mut State, broker: usize, part: usize) -> bool {
        let Some(memory) = &mut state.memories[broker] else {
            return false;
        };
        if self.rules.checks_shard && state.database.shard_epoch != memory.lease {
            state.memories[broker] = None;
            return false;
        }
        if memory.row.phase == Phase::Complete {
            memory.row.phase = Phase::Ongoing;
            memory.row.number += 1;
        }
        memory.parts.insert(part);
        state.database.row = memory.row;
        state.database.parts.insert(part);
        true
    }

    /// What a coordinator says of a batch: its epoch if it may be appended.
    fn judge(&self, state: &mut State, broker: usize, part: usize, epoch: u8) -> Option<u8> {
        let memory = state.memories[broker].as_ref()?;
        let lease = memory.lease;
        if memory.row.epoch != epoch || memory.row.phase == Phase::Prepare {
            return None;
        }
        let is_in = memory.row.phase == Phase::Ongoing && memory.parts.contains(&part);
        (is_in || (self.version == 2 && self.add(state, broker, part))).then_some(lease)
    }

    fn queue_end(&self, state: &mut State, broker: usize, mut row: Row, is_commit: bool) {
        let Some(memory) = &mut state.memories[broker] else {
            return;
        };
        row.phase = Phase::Prepare;
        memory.row = row;
        let own = memory.parts.iter().copied();
        let own: BTreeSet<usize> = own
            .filter(|part| state.database.leaders[*part] == broker)
            .collect();
        let end = Queued::End {
            lease: memory.lease,
            row,
            parts: memory.parts.clone(),
            own: own.clone(),
            is_commit,
        };
        for part in own {
            self.take_out(state, part);
        }
        state.lanes[broker].push(end);
    }

    /// The end of a transaction takes its producer out of the members of a partition, before the marker is queued.
    fn take_out(&self, state: &mut State, part: usize) {
        if self.rules.takes_out_members {
            state.refuse_waiting(part);
        }
    }

    fn flush(&self, state: &mut State, broker: usize) -> Option<()> {
        if state.lanes[broker].is_empty() {
            return None;
        }
        match state.lanes[broker].remove(0) {
            Queued::Batch(sent, coordinator) => {
                let log = &mut state.database.logs[sent.part];
                let epochs = log.iter().map(Logged::epoch).max().unwrap_or(0);
                if sent.epoch < epochs {
                    return Some(());
                }
                let last = log
                    .iter()
                    .filter_map(Logged::coordinator)
                    .max()
                    .unwrap_or(0);
                if self.rules.checks_coordinator && coordinator < last {
                    state.in_flight.insert(sent);
                } else {
                    log.push(Logged::Batch {
                        number: sent.number,
                        epoch: sent.epoch,
                    });
                }
            }
            Queued::Due(due) => {
                if state.database.due.remove(&due) || !self.rules.deletes_due {
                    state.database.logs[due.part].push(Logged::Marker(due));
                }
            }
            Queued::End {
                lease,
                row,
                parts,
                own,
                is_commit,
            } => self.decide(state, broker, (lease, row, is_commit), &parts, &own),
        }
        Some(())
    }

    fn decide(
        &self,
        state: &mut State,
        broker: usize,
        (lease, mut row, is_commit): (u8, Row, bool),
        parts: &BTreeSet<usize>,
        own: &BTreeSet<usize>,
    ) {
        let is_current = state.memories[broker]
            .as_ref()
            .is_some_and(|memory| memory.lease == lease);
        if self.rules.checks_shard && state.database.shard_epoch != lease {
            if is_current {
                state.memories[broker] = None;
            }
            return;
        }
        if own
            .iter()
            .any(|part| state.database.leaders[*part] != broker)
        {
            // All anew, with its marker due elsewhere.
            if is_current {
                self.queue_end(state, broker, row, is_commit);
            }
            return;
        }
        for part in parts {
            let marker = Due {
                part: *part,
                number: row.number,
                epoch: row.epoch,
                is_commit,
                coordinator: lease,
            };
            match own.contains(part) {
                true => state.database.logs[*part].push(Logged::Marker(marker)),
                false => drop(state.database.due.insert(marker)),
            }
        }
        if parts == own {
            row.phase = Phase::Complete;
        }
        state.database.row = row;
        state.database.parts.clear();
        if let Some(memory) = &mut state.memories[broker]
            && is_current
        {
            memory.row = row;
            memory.parts.clear();
        }
    }

    fn finish(&self, state: &mut State, broker: usize) -> Option<()> {
        let memory = state.memories[broker].as_mut()?;
        let is_queued = state.lanes[broker]
            .iter()
            .any(|queued| matches!(queued, Queued::End { .. }));
        let is_decided = memory.row.phase == Phase::Prepare && !is_queued;
        if !is_decided || (self.rules.waits_for_markers && !state.database.due.is_empty()) {
            return None;
        }
        if self.rules.checks_shard && state.database.shard_epoch != memory.lease {
            state.memories[broker] = None;
            return Some(());
        }
        memory.row.phase = Phase::Complete;
        state.database.row = memory.row;
        Some(())
    }

    fn arrive(&self, state: &mut State, sent: Sent) -> Option<()> {
        let leader = state.database.leaders[sent.part];
        state.in_flight.remove(&sent);
        if state.memories[leader].is_some() {
            let coordinator = self.judge(state, leader, sent.part, sent.epoch)?;
            state.lanes[leader].push(Queued::Batch(sent, coordinator));
            return Some(());
        }
        match state.members[sent.part].get_mut(&sent.epoch) {
            Some(Member::In(coordinator)) => {
                state.lanes[leader].push(Queued::Batch(sent, *coordinator));
            }
            Some(Member::Asked(_, waiting)) => waiting.push(sent),
            None => {
                state.budget.questions = state.budget.questions.checked_sub(1)?;
                state.questions += 1;
                let question = state.questions;
                let asked = Member::Asked(question, vec![sent]);
                state.members[sent.part].insert(sent.epoch, asked);
                state.letters.insert(Letter::Ask {
                    part: sent.part,
                    question,
                    epoch: sent.epoch,
                });
            }
        }
        Some(())
    }

    fn answered(&self, state: &mut State, letter: Letter, verdict: Option<u8>) {
        state.letters.remove(&letter);
        let (Letter::Ask {
            part,
            question,
            epoch,
        }
        | Letter::Answer {
            part,
            question,
            epoch,
            ..
        }) = letter;
        let leader = state.database.leaders[part];
        let Some(Member::Asked(asked, waiting)) = state.members[part].get(&epoch).cloned() else {
            return;
        };
        if asked != question && self.rules.counts_questions {
            return;
        }
        state.members[part].remove(&epoch);
        match verdict {
            Some(coordinator) => {
                state.members[part].insert(epoch, Member::In(coordinator));
                let queued = waiting
                    .into_iter()
                    .map(|sent| Queued::Batch(sent, coordinator));
                state.lanes[leader].extend(queued);
            }
            None => state.in_flight.extend(waiting),
        }
    }

    /// The producer ends its transaction when all its batches are acknowledged, as clients do.
    fn end(&self, state: &mut State, broker: usize, is_commit: bool) -> Option<()> {
        let row = state.memories[broker].as_ref()?.row;
        let is_open =
            row.phase == Phase::Ongoing && row.epoch == state.epoch && row.number == state.number;
        let are_there = state.sent.iter().all(|part| {
            let batch = Logged::Batch {
                number: state.number,
                epoch: state.epoch,
            };
            state.database.logs[*part].contains(&batch)
        });
        if !is_open || (is_commit && !are_there) {
            return None;
        }
        // What is left behind by an abort is told apart by the epoch. Without another one there is nothing after it.
        state.has_left = self.version == 1 && !are_there;
        state.has_ended = true;
        let epoch = row.epoch + (self.version - 1);
        self.queue_end(state, broker, Row { epoch, ..row }, is_commit);
        Some(())
    }

    pub(super) fn take(&self, state: &mut State, step: Step) -> Option<()> {
        match step {
            Step::Add(broker, part) => {
                let memory = state.memories[broker].as_ref()?;
                let number = memory.row.number + u8::from(memory.row.phase == Phase::Complete);
                let is_next = memory.row.epoch == state.epoch && number == state.number;
                if !is_next || memory.row.phase == Phase::Prepare {
                    return None;
                }
                if self.add(state, broker, part) {
                    state.added.insert(part);
                }
            }
            Step::Send(part) => {
                state.sent.insert(part);
                state.in_flight.insert(Sent {
                    part,
                    number: state.number,
                    epoch: state.epoch,
                });
            }
            Step::Arrive(sent) => self.arrive(state, sent)?,
            Step::Judge(..) | Step::Answered(_) | Step::Lose(_) => self.take_letter(state, step)?,
            Step::Flush(broker) => self.flush(state, broker)?,
            Step::End(broker, is_commit) => self.end(state, broker, is_commit)?,
            Step::Fence(broker) => {
                let row = state.memories[broker].as_ref()?.row;
                if row.phase != Phase::Ongoing {
                    return None;
                }
                state.budget.fences -= 1;
                let epoch = row.epoch + 1;
                self.queue_end(state, broker, Row { epoch, ..row }, false);
            }
            Step::LookDue(broker, due) => {
                if state.lanes[broker].contains(&Queued::Due(due)) {
                    state.budget.repeats = state.budget.repeats.checked_sub(1)?;
                }
                self.take_out(state, due.part);
                state.lanes[broker].push(Queued::Due(due));
            }
            Step::Finish(broker) => self.finish(state, broker)?,
            Step::Next => {
                state.number += 1;
                state.epoch = state.database.row.epoch;
                state.has_ended = false;
                state.sent.clear();
                state.added.clear();
            }
            Step::MoveShard | Step::Forget(_) | Step::MovePart(_) => state.take_move(&step)?,
        }
        Some(())
    }

    fn take_letter(&self, state: &mut State, step: Step) -> Option<()> {
        match step {
            Step::Judge(letter, broker) => {
                let Letter::Ask {
                    part,
                    question,
                    epoch,
                } = letter
                else {
                    return None;
                };
                state.letters.remove(&letter);
                let coordinator = self.judge(state, broker, part, epoch);
                state.letters.insert(Letter::Answer {
                    part,
                    question,
                    epoch,
                    coordinator,
                });
            }
            Step::Answered(letter) => {
                let Letter::Answer { coordinator, .. } = letter else {
                    return None;
                };
                self.answered(state, letter, coordinator);
            }
            Step::Lose(letter) => {
                state.budget.losses -= 1;
                self.answered(state, letter, None);
            }
            _ => return None,
        }
        Some(())
    }
}
