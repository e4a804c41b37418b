//! The steps of the protocol, each as one change of the state. A transaction of the database is one step, as its row locks
//! make it: it waits for those that hold the lane's row, and then sees what they have committed.

use crate::state::{
    Broker, BrokerId, Known, Life, Load, Record, Request, Row, Rules, State, Transaction, Writer,
};

/// One step of somebody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// A client sends a record to a broker that leads the partition, or believes to.
    Send(BrokerId, Record),
    /// The lane's task gives offsets to what is queued and sends it.
    Flush(BrokerId),
    /// The lane's task gives a partition to the other lane.
    HandOver(BrokerId, u8),
    /// The database commits a transaction, or refuses it.
    Execute(usize),
    /// A transaction whose connection was lost never comes to the database, or is ended there.
    Lose(usize),
    /// The answer comes.
    Answer(BrokerId),
    /// The connection of the writer is lost.
    Cut(BrokerId),
    /// The lane's row is looked at over a new connection.
    Look(BrokerId),
    /// The same transaction is sent again.
    Resend(BrokerId),
    /// The catalog reads the row of a partition.
    ReadRow(BrokerId, usize),
    /// It reads the end of the log, and the producers.
    ReadEnd(BrokerId),
    /// What was read is taken up.
    Apply(BrokerId),
    /// The owner of a lane counts as dead, whatever it does; somebody takes the lane over.
    TakeOver(u8),
    /// A heartbeat finds that the broker is not in the cluster.
    Expel(BrokerId),
    /// A broker is started, or comes back, with a new incarnation.
    Join(BrokerId),
    /// It claims its lane.
    Claim(BrokerId),
    Pause(BrokerId),
    Resume(BrokerId),
    Crash(BrokerId),
}

impl State {
    /// The steps of a broker that may come next. Some may turn out to change nothing.
    pub(crate) fn steps_of(&self, id: BrokerId, records: Record, steps: &mut Vec<Step>) {
        let broker = &self.brokers[id];
        let left = &self.budget;
        match broker.life {
            Life::Down { .. } if left.joins > 0 => steps.push(Step::Join(id)),
            Life::Joined => steps.push(Step::Claim(id)),
            _ => {}
        }
        if broker.life != Life::Serving {
            return;
        }
        if left.crashes > 0 {
            steps.push(Step::Crash(id));
        }
        match broker.writer {
            Writer::Sent { .. } | Writer::Answered { .. } if left.cuts > 0 => {
                steps.push(Step::Cut(id));
            }
            _ => {}
        }
        if broker.is_paused {
            steps.push(Step::Resume(id));
            return;
        }
        if left.pauses > 0 {
            steps.push(Step::Pause(id));
        }
        if self.database.registered[usize::from(broker.lane)] != broker.incarnation {
            steps.push(Step::Expel(id));
        }
        if left.sends > 0 {
            let sendable = (0..=self.sent).filter(|record| *record < records);
            let unanswered = sendable.filter(|record| !self.is_acknowledged(*record));
            steps.extend(unanswered.map(|record| Step::Send(id, record)));
        }
        self.steps_of_writer(id, steps);
        self.steps_of_catalog(id, steps);
    }

    fn steps_of_writer(&self, id: BrokerId, steps: &mut Vec<Step>) {
        let broker = &self.brokers[id];
        match &broker.writer {
            Writer::Idle => {
                if !broker.queue.is_empty() {
                    steps.push(Step::Flush(id));
                }
                if self.budget.handovers > 0 {
                    let led = (0..).zip(&broker.partitions).filter(|(_, p)| p.is_led);
                    steps.extend(led.map(|(part, _)| Step::HandOver(id, part)));
                }
            }
            Writer::Sent { .. } => {}
            Writer::Answered { .. } => steps.push(Step::Answer(id)),
            Writer::InDoubt(_) | Writer::Refused(_) => steps.push(Step::Look(id)),
            Writer::NotStored(_) => steps.push(Step::Resend(id)),
        }
    }

    fn steps_of_catalog(&self, id: BrokerId, steps: &mut Vec<Step>) {
        let broker = &self.brokers[id];
        match &broker.load {
            None => {
                let pairs = broker.partitions.iter().zip(&self.database.partitions);
                // Any other row would change nothing.
                let news = pairs.enumerate().filter(|(_, (known, row))| {
                    let is_led = row.lane == broker.lane;
                    row.leader_epoch != known.leader_epoch || is_led != known.is_led
                });
                steps.extend(news.map(|(part, _)| Step::ReadRow(id, part)));
            }
            Some(load) if load.lane == broker.lane && load.log.is_none() => {
                steps.push(Step::ReadEnd(id));
            }
            Some(_) => steps.push(Step::Apply(id)),
        }
    }

    /// False if the step changes nothing.
    pub(crate) fn take(&mut self, step: &Step, rules: &Rules) -> bool {
        match *step {
            Step::Send(id, record) => return self.send(id, record),
            Step::Flush(id) => self.flush(id),
            Step::HandOver(id, part) => self.hand_over(id, part),
            Step::Execute(index) => self.execute(index, rules),
            Step::Lose(index) => {
                self.requests.remove(index);
            }
            Step::Answer(id) => self.answer(id, rules),
            Step::Cut(id) => {
                self.budget.cuts -= 1;
                self.cut(id);
            }
            Step::Look(id) => self.look(id, rules),
            Step::Resend(id) => self.resend(id, rules),
            Step::ReadRow(id, part) => self.read_row(id, part),
            Step::ReadEnd(id) => self.read_end(id),
            Step::Apply(id) => self.apply(id, rules),
            Step::TakeOver(lane) => self.take_over(lane, rules),
            Step::Expel(id) => self.end(id, true),
            Step::Join(id) => self.join(id),
            Step::Claim(id) => self.claim(id, rules),
            Step::Pause(id) => {
                self.budget.pauses -= 1;
                self.brokers[id].is_paused = true;
            }
            Step::Resume(id) => {
                self.brokers[id].is_paused = false;
                self.brokers[id].woke_up = true;
            }
            Step::Crash(id) => {
                self.budget.crashes -= 1;
                self.end(id, false);
            }
        }
        true
    }

    pub(crate) fn is_acknowledged(&self, record: Record) -> bool {
        self.acknowledged.iter().any(|(known, _)| *known == record)
    }

    fn part_of(&self, record: Record) -> usize {
        usize::from(record) % self.database.partitions.len()
    }

    fn send(&mut self, id: BrokerId, record: Record) -> bool {
        let part = self.part_of(record);
        let broker = &mut self.brokers[id];
        // One that is told NOT_LEADER is as free as before.
        if !broker.partitions[part].is_led || broker.queue.contains(&record) {
            return false;
        }
        broker.queue.push(record);
        self.budget.sends -= 1;
        self.sent = self.sent.max(record + 1);
        true
    }

    fn flush(&mut self, id: BrokerId) {
        let parts = self.database.partitions.len();
        let mut rows = Vec::new();
        for record in std::mem::take(&mut self.brokers[id].queue) {
            let part = self.part_of(record);
            let known = &mut self.brokers[id].partitions[part];
            if !known.is_led {
                continue;
            }
            let mut sent = known.log.iter().enumerate().skip(known.producers_from);
            if let Some((offset, _)) = sent.find(|(_, found)| **found == record) {
                self.acknowledge(record, as_u8(offset));
                continue;
            }
            let before = usize::from(record).checked_sub(parts);
            let is_next = before.is_none_or(|before| known.log.contains(&as_u8(before)));
            // Out of order: refused.
            if is_next {
                rows.push(Row {
                    part: as_u8(part),
                    offset: as_u8(known.log.len()),
                    record,
                    leader_epoch: known.leader_epoch,
                });
                known.log.push(record);
            }
        }
        if !rows.is_empty() {
            self.submit(id, Transaction::Flush(rows), false);
        }
    }

    fn hand_over(&mut self, id: BrokerId, part: u8) {
        self.budget.handovers -= 1;
        let broker = &self.brokers[id];
        let transaction = Transaction::HandOver {
            part,
            to: 1 - broker.lane,
            epoch: broker.partitions[usize::from(part)].leader_epoch + 1,
        };
        self.submit(id, transaction, false);
    }

    fn submit(&mut self, id: BrokerId, transaction: Transaction, in_doubt: bool) {
        let broker = &mut self.brokers[id];
        self.requests.push(Request {
            lane: broker.lane,
            epoch: broker.epoch,
            flush_seq: broker.flush_seq,
            transaction: transaction.clone(),
            from: Some(id),
        });
        self.requests.sort();
        broker.writer = Writer::Sent {
            transaction,
            in_doubt,
        };
    }

    fn execute(&mut self, index: usize, rules: &Rules) {
        let request = self.requests.remove(index);
        let lane = &mut self.database.lanes[usize::from(request.lane)];
        let fits = (!rules.checks_epoch || lane.epoch == request.epoch)
            && (!rules.checks_flush_seq || lane.flush_seq == request.flush_seq);
        if fits {
            lane.flush_seq += 1;
            match &request.transaction {
                Transaction::Flush(rows) => {
                    for row in rows {
                        lane.open[usize::from(row.part)] = true;
                        self.database.partitions[usize::from(row.part)]
                            .log
                            .push(*row);
                    }
                }
                Transaction::HandOver { part, to, .. } => {
                    self.seal(request.lane, rules);
                    self.move_partition(usize::from(*part), request.lane, *to, rules);
                }
            }
        }
        let Some(id) = request.from else { return };
        let writer = &mut self.brokers[id].writer;
        if let Writer::Sent { in_doubt, .. } = *writer {
            *writer = Writer::Answered {
                transaction: request.transaction,
                in_doubt,
                committed: fits,
            };
        }
    }

    fn seal(&mut self, lane: u8, rules: &Rules) {
        if rules.seals_before_move {
            self.database.lanes[usize::from(lane)].open.fill(false);
        }
    }

    fn move_partition(&mut self, part: usize, from: u8, to: u8, rules: &Rules) {
        let row = &mut self.database.partitions[part];
        if row.lane == from {
            row.lane = to;
            row.leader_epoch += u8::from(rules.move_raises_leader_epoch);
        }
    }

    fn answer(&mut self, id: BrokerId, rules: &Rules) {
        let writer = std::mem::replace(&mut self.brokers[id].writer, Writer::Idle);
        let Writer::Answered {
            transaction,
            in_doubt,
            committed,
        } = writer
        else {
            return;
        };
        if committed {
            self.settle(id, transaction, rules);
        } else if in_doubt && rules.looks_at_flush_seq {
            self.brokers[id].writer = Writer::Refused(transaction);
        } else {
            self.give_up(id);
        }
    }

    /// The transaction was committed.
    fn settle(&mut self, id: BrokerId, transaction: Transaction, rules: &Rules) {
        let broker = &mut self.brokers[id];
        broker.flush_seq += 1;
        broker.writer = Writer::Idle;
        match transaction {
            Transaction::Flush(rows) => {
                for row in rows {
                    self.acknowledge(row.record, row.offset);
                }
            }
            Transaction::HandOver { part, epoch, .. } => {
                let known = &mut broker.partitions[usize::from(part)];
                let epoch = match rules.fixes_epoch_of_handover {
                    true => epoch,
                    false => known.leader_epoch + 1,
                };
                follow(known, epoch);
            }
        }
    }

    fn acknowledge(&mut self, record: Record, offset: u8) {
        if !self.acknowledged.contains(&(record, offset)) {
            self.acknowledged.push((record, offset));
            self.acknowledged.sort_unstable();
        }
    }

    /// The lane seems to be another broker's.
    fn give_up(&mut self, id: BrokerId) {
        let broker = &self.brokers[id];
        let lane = &self.database.lanes[usize::from(broker.lane)];
        self.gave_up_for_nothing |= lane.epoch == broker.epoch;
        self.end(id, true);
    }

    fn cut(&mut self, id: BrokerId) {
        for request in &mut self.requests {
            if request.from == Some(id) {
                request.from = None;
            }
        }
        self.requests.sort();
        let writer = &mut self.brokers[id].writer;
        if let Writer::Sent { transaction, .. } | Writer::Answered { transaction, .. } = writer {
            *writer = Writer::InDoubt(transaction.clone());
        }
    }

    fn look(&mut self, id: BrokerId, rules: &Rules) {
        let broker = &mut self.brokers[id];
        let lane = &self.database.lanes[usize::from(broker.lane)];
        let committed = match rules.looks_at_flush_seq {
            true => lane.flush_seq - broker.flush_seq,
            false => 0,
        };
        let has_lane = lane.epoch == broker.epoch || !rules.looks_at_flush_seq;
        match (
            std::mem::replace(&mut broker.writer, Writer::Idle),
            committed,
        ) {
            _ if !has_lane => self.give_up(id),
            (Writer::InDoubt(transaction), 0) => {
                broker.writer = Writer::NotStored(transaction);
            }
            (Writer::InDoubt(transaction) | Writer::Refused(transaction), 1) => {
                self.settle(id, transaction, rules);
            }
            _ => self.give_up(id),
        }
    }

    fn resend(&mut self, id: BrokerId, rules: &Rules) {
        if let Writer::NotStored(transaction) = &self.brokers[id].writer {
            let in_doubt =
                matches!(transaction, Transaction::Flush(_)) || rules.handover_stays_in_doubt;
            self.submit(id, transaction.clone(), in_doubt);
        }
    }

    fn read_row(&mut self, id: BrokerId, part: usize) {
        let row = &self.database.partitions[part];
        let broker = &mut self.brokers[id];
        // The end of one that is led is known.
        if row.lane != broker.lane || !broker.partitions[part].is_led {
            broker.load = Some(Load {
                part,
                lane: row.lane,
                leader_epoch: row.leader_epoch,
                log: None,
            });
        }
    }

    fn read_end(&mut self, id: BrokerId) {
        if let Some(load) = &mut self.brokers[id].load {
            let log = &self.database.partitions[load.part].log;
            load.log = Some(log.iter().map(|row| row.record).collect());
        }
    }

    fn apply(&mut self, id: BrokerId, rules: &Rules) {
        let broker = &mut self.brokers[id];
        let Some(load) = broker.load.take() else {
            return;
        };
        let known = &mut broker.partitions[load.part];
        let Some(log) = load.log else {
            return follow(known, load.leader_epoch);
        };
        let is_old = load.leader_epoch < known.leader_epoch;
        if !is_old && !known.is_led {
            *known = Known {
                is_led: true,
                leader_epoch: load.leader_epoch,
                producers_from: match rules.rebuilds_producers {
                    true => 0,
                    false => log.len(),
                },
                log,
            };
        }
    }

    fn take_over(&mut self, lane: u8, rules: &Rules) {
        self.budget.takeovers -= 1;
        self.database.registered[usize::from(lane)] = 0;
        self.database.lanes[usize::from(lane)].epoch += u8::from(rules.takeover_deposes);
        self.seal(lane, rules);
        for part in 0..self.database.partitions.len() {
            self.move_partition(part, lane, 1 - lane, rules);
        }
    }

    /// All that it knew is gone; what it has sent may still be executed.
    fn end(&mut self, id: BrokerId, refused: bool) {
        self.cut(id);
        let broker = &mut self.brokers[id];
        *broker = Broker {
            life: Life::Down { refused },
            woke_up: broker.woke_up,
            ..Broker::down(broker.lane, broker.partitions.len())
        };
    }

    fn join(&mut self, id: BrokerId) {
        self.budget.joins -= 1;
        let incarnations = self.brokers.iter().map(|broker| broker.incarnation);
        let newest = incarnations.chain(self.database.registered.iter().copied());
        let incarnation = newest.max().unwrap_or(0) + 1;
        let broker = &mut self.brokers[id];
        broker.life = Life::Joined;
        broker.woke_up = false;
        broker.incarnation = incarnation;
        self.database.registered[usize::from(broker.lane)] = incarnation;
    }

    fn claim(&mut self, id: BrokerId, rules: &Rules) {
        let broker = &mut self.brokers[id];
        let number = usize::from(broker.lane);
        let registered = self.database.registered[number];
        if registered != 0 && registered != broker.incarnation {
            return self.end(id, true);
        }
        let lane = &mut self.database.lanes[number];
        lane.epoch += u8::from(rules.claim_raises_epoch);
        broker.epoch = lane.epoch;
        broker.flush_seq = lane.flush_seq;
        broker.life = Life::Serving;
    }
}

/// Another broker leads.
fn follow(known: &mut Known, leader_epoch: u8) {
    if leader_epoch < known.leader_epoch {
        return;
    }
    *known = Known {
        leader_epoch,
        ..Known::default()
    };
}

fn as_u8(number: usize) -> u8 {
    u8::try_from(number).unwrap_or(u8::MAX)
}
