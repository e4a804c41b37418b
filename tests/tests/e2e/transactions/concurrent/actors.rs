//! Producers and readers of a history, each in a thread of its own.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use protocol::messages::offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use protocol::messages::{
    AddOffsetsToTxnResponse, AddPartitionsToTxnResponse, EndTxnResponse, InitProducerIdResponse,
    OffsetFetchRequest, OffsetFetchResponse, TxnOffsetCommitResponse,
};
use tests::batch::{NewBatch, read_batches};
use tests::wire::{fetch_request, fetched, produce_request, produced};

use super::super::{
    NONE, TRANSACTIONAL, Who, add_offsets_request, add_request, end_request, init_request,
    offset_request, take,
};
use super::remote::{GROUP, Remote, TRANSACTION, is_away};
use super::{End, PARTITIONS, Plan, Round};

const TIMEOUT_MS: i32 = 60_000;
/// What comes too late, and is never to be seen.
pub(super) const LATE: &str = "late";

/// What became of a round: records in each partition, and whether they were committed.
#[derive(Debug, Default)]
pub(super) struct Known {
    pub(super) records: BTreeMap<i32, usize>,
    pub(super) is_committed: bool,
}

pub(super) struct Producer<'a> {
    plan: &'a Plan,
    remote: Remote<'a>,
    number: usize,
    id: String,
    producer_id: i64,
    epoch: i16,
    sequences: HashMap<i32, i32>,
}

impl<'a> Producer<'a> {
    pub(super) fn new(plan: &'a Plan, number: usize) -> Self {
        Self {
            plan,
            remote: Remote::new(&plan.ports),
            number,
            id: format!("{}-{number}", plan.topic),
            producer_id: -1,
            epoch: -1,
            sequences: HashMap::new(),
        }
    }

    /// Does what is written for it, again and again until it is told to stop, but at least once.
    pub(super) fn run(mut self, script: &[Round], stop: &AtomicBool) -> Vec<Known> {
        self.init();
        let mut known = Vec::new();
        for round in script.iter().cycle() {
            if known.len() >= script.len() && stop.load(Ordering::Relaxed) {
                break;
            }
            let done = self.round(round, known.len());
            known.push(done);
        }
        known
    }

    /// Both versions are there.
    fn version(&self) -> i16 {
        if self.number == 0 { 1 } else { 2 }
    }

    fn produce_version(&self) -> i16 {
        if self.version() == 1 { 11 } else { 12 }
    }

    fn init(&mut self) {
        let request = init_request(&self.id, TIMEOUT_MS, (-1, -1));
        let mut given = (-1, -1);
        let id = &self.id;
        let code = self.remote.insist("a producer id", |remote| {
            let port = remote.coordinator(id, TRANSACTION)?;
            let answer = remote.call(port, &request, 5)?;
            let response: InitProducerIdResponse<'_> = answer.read();
            given = (response.producer_id, response.producer_epoch);
            Some(response.error_code)
        });
        assert_eq!(code, NONE, "a new producer of {}", self.id);
        self.take_on(given);
    }

    fn take_on(&mut self, given: (i64, i16)) {
        if given != (self.producer_id, self.epoch) {
            self.sequences.clear();
        }
        (self.producer_id, self.epoch) = given;
    }

    fn round(&mut self, round: &Round, number: usize) -> Known {
        let mut known = Known::default();
        for (partition, count) in &round.parts {
            let records = known.records.entry(*partition).or_default();
            let values: Vec<String> = (*records..*records + count)
                .map(|record| format!("{}:{number}:{record}", self.number))
                .collect();
            *records += count;
            let code = self.produce(*partition, &values);
            assert_eq!(code, NONE, "round {number} of {}", self.id);
        }
        if round.has_offset {
            self.commit_offset(number);
        }
        match round.end {
            End::Commit | End::Abort => {
                known.is_committed = matches!(round.end, End::Commit);
                let code = self.end(known.is_committed);
                assert_eq!(code, NONE, "the end of round {number} of {}", self.id);
            }
            End::Lost => self.lose(round.parts[0].0),
        }
        known
    }

    fn batch(&self, partition: i32, values: &[String]) -> NewBatch {
        let sequence = self.sequences.get(&partition).copied().unwrap_or(0);
        let batch = NewBatch::of(values).from_producer(self.producer_id, self.epoch, sequence);
        NewBatch {
            attributes: batch.attributes | TRANSACTIONAL,
            ..batch
        }
    }

    fn produce(&mut self, partition: i32, values: &[String]) -> i16 {
        if self.version() == 1 {
            let who: Who<'_> = (&self.id, self.producer_id, self.epoch);
            let request = add_request(who, &[(&self.plan.topic, partition)]);
            let id = &self.id;
            let code = self.remote.insist("a partition to be added", |remote| {
                let port = remote.coordinator(id, TRANSACTION)?;
                let answer = remote.call(port, &request, 3)?;
                let response: AddPartitionsToTxnResponse<'_> = answer.read();
                let topic = response.results_by_topic_v3_and_below.first()?;
                Some(topic.results_by_partition.first()?.partition_error_code)
            });
            if code != NONE {
                return code;
            }
        }
        let code = self.send(partition, values);
        if code == NONE {
            *self.sequences.entry(partition).or_default() += values.len() as i32;
        }
        code
    }

    /// One batch, as often as it takes.
    fn send(&mut self, partition: i32, values: &[String]) -> i16 {
        let bytes = self.batch(partition, values).bytes();
        let topic = &self.plan.topic;
        let mut request = produce_request(topic, &[(partition, &bytes)], -1);
        request.transactional_id = Some(self.id.clone().into());
        let version = self.produce_version();
        self.remote.insist("a batch to be appended", |remote| {
            let port = remote.leader(topic, partition)?;
            let answer = remote.call(port, &request, version)?;
            Some(produced(&answer).first()?.error)
        })
    }

    /// Offset and data go together: the offset is the number of the round after this.
    fn commit_offset(&mut self, round: usize) {
        let group = self.plan.group(self.number);
        let who: Who<'_> = (&self.id, self.producer_id, self.epoch);
        if self.version() == 1 {
            let request = add_offsets_request(who, &group);
            let id = &self.id;
            let code = self.remote.insist("a group to be added", |remote| {
                let port = remote.coordinator(id, TRANSACTION)?;
                let answer = remote.call(port, &request, 4)?;
                Some(answer.read::<AddOffsetsToTxnResponse<'_>>().error_code)
            });
            assert_eq!(code, NONE, "the group of {}", self.id);
        }
        let request = offset_request(who, &group, &self.plan.topic, round as i64 + 1);
        let version = if self.version() == 1 { 4 } else { 5 };
        let code = self.remote.insist("an offset to be taken", |remote| {
            let port = remote.coordinator(&group, GROUP)?;
            let answer = remote.call(port, &request, version)?;
            let response: TxnOffsetCommitResponse<'_> = answer.read();
            Some(response.topics.first()?.partitions.first()?.error_code)
        });
        assert_eq!(code, NONE, "an offset of {}", self.id);
    }

    fn end(&mut self, is_commit: bool) -> i16 {
        let request = end_request((&self.id, self.producer_id, self.epoch), is_commit);
        let version = if self.version() == 1 { 4 } else { 5 };
        let mut given = (self.producer_id, self.epoch);
        let id = &self.id;
        let code = self.remote.insist("the end of a transaction", |remote| {
            let port = remote.coordinator(id, TRANSACTION)?;
            let answer = remote.call(port, &request, version)?;
            let response: EndTxnResponse<'_> = answer.read();
            if version >= 5 {
                given = (response.producer_id, response.producer_epoch);
            }
            Some(response.error_code)
        });
        if code == NONE {
            self.take_on(given);
        }
        code
    }

    /// Another producer takes the id over while a batch is on its way, and this one tries to go on.
    fn lose(&mut self, partition: i32) {
        let late = [LATE.to_owned()];
        let bytes = self.batch(partition, &late).bytes();
        let topic = &self.plan.topic;
        let mut request = produce_request(topic, &[(partition, &bytes)], -1);
        request.transactional_id = Some(self.id.clone().into());
        let version = self.produce_version();
        if let Some(port) = self.remote.leader(topic, partition) {
            self.remote.send_and_forget(port, &request, version);
        }
        let mut lost = Self {
            remote: Remote::new(&self.plan.ports),
            id: self.id.clone(),
            sequences: self.sequences.clone(),
            ..*self
        };
        self.init();
        assert_ne!(lost.end(true), NONE, "{} is fenced", self.id);
        assert_ne!(lost.send(partition, &late), NONE, "{} is fenced", self.id);
    }
}

/// A reader of committed records from the beginning.
pub(super) struct Reader<'a> {
    plan: &'a Plan,
    remote: Remote<'a>,
    next: Vec<i64>,
    values: Vec<Vec<String>>,
    /// By producer: the last round that was looked at.
    checked: HashMap<usize, usize>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(plan: &'a Plan) -> Self {
        Self {
            plan,
            remote: Remote::new(&plan.ports),
            next: vec![0; PARTITIONS as usize],
            values: vec![Vec::new(); PARTITIONS as usize],
            checked: HashMap::new(),
        }
    }

    /// Reads until nobody writes any more and all is read. What it saw, by partition.
    pub(super) fn run(mut self, is_over: &AtomicBool) -> Vec<Vec<String>> {
        loop {
            // Before the look: what is not written by now never is.
            let is_over = is_over.load(Ordering::Relaxed);
            let at_end: Vec<bool> = (0..PARTITIONS).map(|p| self.read(p)).collect();
            if is_over && at_end.iter().all(|at_end| *at_end) {
                return self.values;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Whether there is nothing more in a partition, nor will be when open transactions have ended.
    fn read(&mut self, partition: i32) -> bool {
        let at = partition as usize;
        let topic = &self.plan.topic;
        let mut request = fetch_request(&[(topic, partition, self.next[at], 1_000_000)]);
        request.isolation_level = 1;
        let port = self.remote.leader(topic, partition);
        let answer = port.and_then(|port| self.remote.call(port, &request, 12));
        let Some(answer) = answer else {
            return false;
        };
        let mut fetched = fetched(&answer).swap_remove(0);
        if fetched.error != NONE {
            assert!(is_away(fetched.error), "fetch: {}", fetched.error);
            return false;
        }
        let known = self.values[at].len();
        for batch in read_batches(&fetched.records) {
            assert!(
                batch.last_offset < fetched.last_stable_offset,
                "an open record"
            );
            take(&batch, &mut fetched.aborted, &mut self.values[at]);
            self.next[at] = batch.last_offset + 1;
        }
        self.check_offsets(at, known);
        self.next[at] == fetched.high_watermark
    }

    /// Who sees a record of a transaction finds its offsets committed.
    fn check_offsets(&mut self, at: usize, known: usize) {
        let mut last: HashMap<usize, usize> = HashMap::new();
        for value in &self.values[at][known..] {
            let (producer, round, _) = parse(value);
            if self.plan.round(producer, round).has_offset {
                last.insert(producer, round);
            }
        }
        for (producer, round) in last {
            if self
                .checked
                .get(&producer)
                .is_none_or(|before| *before < round)
            {
                let offset = committed(
                    &mut self.remote,
                    &self.plan.group(producer),
                    &self.plan.topic,
                );
                assert!(
                    offset > round as i64,
                    "{offset} in round {round} of {producer}"
                );
                self.checked.insert(producer, round);
            }
        }
    }
}

/// Producer, round and record.
pub(super) fn parse(value: &str) -> (usize, usize, usize) {
    let mut parts = value.split(':').map(|part| {
        let number = part.parse::<usize>();
        number.unwrap_or_else(|_| panic!("a reader of committed records saw {value}"))
    });
    let mut next = || parts.next().expect("three numbers");
    (next(), next(), next())
}

/// The committed offset of partition 0, or -1.
pub(super) fn committed(remote: &mut Remote<'_>, group: &str, topic: &str) -> i64 {
    let request = OffsetFetchRequest {
        groups: vec![OffsetFetchRequestGroup {
            group_id: group.to_owned().into(),
            topics: Some(vec![OffsetFetchRequestTopics {
                name: topic.to_owned().into(),
                partition_indexes: [0].into_iter().collect(),
                ..OffsetFetchRequestTopics::default()
            }]),
            ..OffsetFetchRequestGroup::default()
        }],
        ..OffsetFetchRequest::default()
    };
    let mut offset = -1;
    let code = remote.insist("a committed offset", |remote| {
        let port = remote.coordinator(group, GROUP)?;
        let answer = remote.call(port, &request, 8)?;
        let response: OffsetFetchResponse<'_> = answer.read();
        let group = response.groups.first()?;
        if group.error_code != NONE {
            return Some(group.error_code);
        }
        let partition = group.topics.first()?.partitions.first()?;
        offset = partition.committed_offset;
        Some(partition.error_code)
    });
    assert_eq!(code, NONE, "the offset of {group}");
    offset
}
