//! Transactions: by hand on the wire, through kills of the broker, with real clients and tools.

mod brokers;
mod chaos;
mod cleaning;
mod clients;
mod concurrent;
mod copier;
mod faults;
mod histories;
mod ids;
mod restarts;
mod wire;

use std::collections::HashMap;
use std::time::Duration;

use protocol::messages::add_partitions_to_txn_request::AddPartitionsToTxnTopic;
use protocol::messages::txn_offset_commit_request::{
    TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic,
};
use protocol::messages::{
    AddOffsetsToTxnRequest, AddOffsetsToTxnResponse, AddPartitionsToTxnRequest,
    AddPartitionsToTxnResponse, EndTxnRequest, EndTxnResponse, FindCoordinatorRequest,
    FindCoordinatorResponse, InitProducerIdRequest, InitProducerIdResponse, TxnOffsetCommitRequest,
    TxnOffsetCommitResponse,
};
use protocol::{ErrorCode, Request};
use tests::batch::{Batch, NewBatch, read_batches};
use tests::wire::{Connection, Produced, fetch_request, fetched, produce_request, produced};
use tests::{Broker, fresh_topic, wait_for};

pub(crate) const NONE: i16 = ErrorCode::None as i16;
pub(crate) const LIMIT: Duration = Duration::from_secs(120);

/// Bit of a batch that belongs to a transaction.
const TRANSACTIONAL: i16 = 1 << 4;
/// Bit of a batch of markers.
const CONTROL: i16 = 1 << 5;

/// What clients wait out: a coordinator that is being looked up or is busy.
pub(crate) fn is_passing(code: i16) -> bool {
    [
        ErrorCode::ConcurrentTransactions,
        ErrorCode::CoordinatorLoadInProgress,
        ErrorCode::CoordinatorNotAvailable,
        ErrorCode::NotCoordinator,
        ErrorCode::NotEnoughReplicas,
        // Of a new topic, by real Kafka.
        ErrorCode::NotLeaderOrFollower,
    ]
    .iter()
    .any(|passing| *passing as i16 == code)
}

/// Transactional id, producer id and epoch.
type Who<'a> = (&'a str, i64, i16);

fn init_request(id: &str, timeout_ms: i32, expected: (i64, i16)) -> InitProducerIdRequest<'static> {
    InitProducerIdRequest {
        transactional_id: Some(id.to_owned().into()),
        transaction_timeout_ms: timeout_ms,
        producer_id: expected.0,
        producer_epoch: expected.1,
        ..InitProducerIdRequest::default()
    }
}

/// Before version 4.
fn add_request(who: Who<'_>, parts: &[(&str, i32)]) -> AddPartitionsToTxnRequest<'static> {
    let topics = parts.iter().map(|(topic, index)| AddPartitionsToTxnTopic {
        name: (*topic).to_owned().into(),
        partitions: [*index].into_iter().collect(),
        ..AddPartitionsToTxnTopic::default()
    });
    AddPartitionsToTxnRequest {
        v3_and_below_transactional_id: who.0.to_owned().into(),
        v3_and_below_producer_id: who.1,
        v3_and_below_producer_epoch: who.2,
        v3_and_below_topics: topics.collect(),
        ..AddPartitionsToTxnRequest::default()
    }
}

fn end_request(who: Who<'_>, is_commit: bool) -> EndTxnRequest<'static> {
    EndTxnRequest {
        transactional_id: who.0.to_owned().into(),
        producer_id: who.1,
        producer_epoch: who.2,
        committed: is_commit,
        ..EndTxnRequest::default()
    }
}

fn add_offsets_request(who: Who<'_>, group: &str) -> AddOffsetsToTxnRequest<'static> {
    AddOffsetsToTxnRequest {
        transactional_id: who.0.to_owned().into(),
        producer_id: who.1,
        producer_epoch: who.2,
        group_id: group.to_owned().into(),
        ..AddOffsetsToTxnRequest::default()
    }
}

/// Of partition 0, by nobody's member.
fn offset_request(
    who: Who<'_>,
    group: &str,
    topic: &str,
    offset: i64,
) -> TxnOffsetCommitRequest<'static> {
    TxnOffsetCommitRequest {
        transactional_id: who.0.to_owned().into(),
        group_id: group.to_owned().into(),
        producer_id: who.1,
        producer_epoch: who.2,
        generation_id_or_member_epoch: -1,
        topics: vec![TxnOffsetCommitRequestTopic {
            name: topic.to_owned().into(),
            partitions: vec![TxnOffsetCommitRequestPartition {
                partition_index: 0,
                committed_offset: offset,
                committed_metadata: Some("so far".into()),
                ..TxnOffsetCommitRequestPartition::default()
            }],
            ..TxnOffsetCommitRequestTopic::default()
        }],
        ..TxnOffsetCommitRequest::default()
    }
}

/// A transactional producer made by hand. Transaction version 1 adds its partitions, version 2 just produces.
pub(crate) struct Txn {
    pub(crate) connection: Connection,
    pub(crate) id: String,
    pub(crate) version: i16,
    pub(crate) producer_id: i64,
    pub(crate) epoch: i16,
    sequences: HashMap<(String, i32), i32>,
}

impl Txn {
    /// Not initialised yet.
    pub(crate) fn named(broker: &Broker, id: &str, version: i16) -> Self {
        let mut txn = Self {
            connection: Connection::open(broker),
            id: id.to_owned(),
            version,
            producer_id: -1,
            epoch: -1,
            sequences: HashMap::new(),
        };
        txn.find_coordinator();
        txn
    }

    /// Initialised, with an id of its own.
    pub(crate) fn new(broker: &Broker, version: i16) -> Self {
        let mut txn = Self::named(broker, &fresh_topic("txn"), version);
        txn.init();
        txn
    }

    /// Real Kafka makes its topic of transactions by this.
    fn find_coordinator(&mut self) {
        let request = FindCoordinatorRequest {
            key_type: 1,
            coordinator_keys: vec![self.id.clone().into()],
            ..FindCoordinatorRequest::default()
        };
        wait_for("a coordinator", LIMIT, || {
            let answer = self.connection.call(&request, 4);
            let found: FindCoordinatorResponse<'_> = answer.read();
            (found.coordinators[0].error_code == NONE).then_some(())
        });
    }

    /// InitProducerId once: code, producer id, epoch.
    pub(crate) fn try_init(&mut self, timeout_ms: i32, expected: (i64, i16)) -> (i16, i64, i16) {
        let request = init_request(&self.id, timeout_ms, expected);
        let answer = self.connection.call(&request, 5);
        let response: InitProducerIdResponse<'_> = answer.read();
        (
            response.error_code,
            response.producer_id,
            response.producer_epoch,
        )
    }

    /// InitProducerId without waiting for its answer.
    pub(crate) fn send_init(&mut self, timeout_ms: i32) {
        let request = InitProducerIdRequest {
            transactional_id: Some(self.id.clone().into()),
            transaction_timeout_ms: timeout_ms,
            ..InitProducerIdRequest::default()
        };
        self.connection.send(&request, 5);
    }

    pub(crate) fn init(&mut self) {
        self.init_for(60_000);
    }

    pub(crate) fn init_for(&mut self, timeout_ms: i32) {
        let (id, epoch) = wait_for("a producer id", LIMIT, || {
            let (code, id, epoch) = self.try_init(timeout_ms, (-1, -1));
            assert!(code == NONE || is_passing(code), "{code}");
            (code == NONE).then_some((id, epoch))
        });
        self.take_on(id, epoch);
    }

    /// The producer's id and epoch from now on.
    pub(crate) fn take_on(&mut self, id: i64, epoch: i16) {
        if (id, epoch) != (self.producer_id, self.epoch) {
            self.sequences.clear();
        }
        (self.producer_id, self.epoch) = (id, epoch);
    }

    /// AddPartitionsToTxn once.
    pub(crate) fn try_add(&mut self, parts: &[(&str, i32)]) -> Vec<i16> {
        let request = add_request(self.who(), parts);
        let answer = self.connection.call(&request, 3);
        let response: AddPartitionsToTxnResponse<'_> = answer.read();
        let topics = response.results_by_topic_v3_and_below.iter();
        let partitions = topics.flat_map(|topic| &topic.results_by_partition);
        partitions.map(|p| p.partition_error_code).collect()
    }

    fn who(&self) -> Who<'_> {
        (&self.id, self.producer_id, self.epoch)
    }

    pub(crate) fn batch(&self, topic: &str, partition: i32, values: &[&str]) -> NewBatch {
        let key = (topic.to_owned(), partition);
        let sequence = self.sequences.get(&key).copied().unwrap_or(0);
        let mut batch = NewBatch::of(values).from_producer(self.producer_id, self.epoch, sequence);
        batch.attributes |= TRANSACTIONAL;
        batch
    }

    /// Produces one batch once, with Produce of this version.
    pub(crate) fn send(
        &mut self,
        topic: &str,
        partition: i32,
        batch: &NewBatch,
        version: i16,
        acks: i16,
    ) -> Produced {
        let bytes = batch.bytes();
        let mut request = produce_request(topic, &[(partition, &bytes)], acks);
        request.transactional_id = Some(self.id.clone().into());
        let answer = self.connection.call(&request, version);
        produced(&answer).swap_remove(0)
    }

    /// Sends a batch; an answer, which says that all is well, is read where one is due.
    pub(crate) fn send_without_answer(
        &mut self,
        topic: &str,
        partition: i32,
        batch: &NewBatch,
        version: i16,
        acks: i16,
    ) {
        if acks != 0 {
            assert_eq!(
                self.send(topic, partition, batch, version, acks).error,
                NONE
            );
            return;
        }
        let bytes = batch.bytes();
        let mut request = produce_request(topic, &[(partition, &bytes)], acks);
        request.transactional_id = Some(self.id.clone().into());
        self.connection.send(&request, version);
    }

    /// One record was sent by hand: with transaction version 1 the next one follows it.
    pub(crate) fn sent_one(&mut self, topic: &str) {
        if self.version == 1 {
            *self.sequences.entry((topic.to_owned(), 0)).or_insert(0) += 1;
        }
    }

    /// Adds the partition if that is due, and produces.
    pub(crate) fn produce(&mut self, topic: &str, partition: i32, values: &[&str]) -> i64 {
        if self.version == 1 {
            wait_for("the partition to be added", LIMIT, || {
                let codes = self.try_add(&[(topic, partition)]);
                assert!(codes[0] == NONE || is_passing(codes[0]), "{codes:?}");
                (codes[0] == NONE).then_some(())
            });
        }
        let batch = self.batch(topic, partition, values);
        let version = if self.version == 1 { 11 } else { 12 };
        let offset = wait_for("the batch to be appended", LIMIT, || {
            let produced = self.send(topic, partition, &batch, version, -1);
            let code = produced.error;
            assert!(code == NONE || is_passing(code), "{code}");
            (code == NONE).then_some(produced.base_offset)
        });
        let count = i32::try_from(values.len()).unwrap();
        *self
            .sequences
            .entry((topic.to_owned(), partition))
            .or_insert(0) += count;
        offset
    }

    /// EndTxn once: code, producer id, epoch.
    pub(crate) fn try_end(&mut self, is_commit: bool) -> (i16, i64, i16) {
        let request = end_request(self.who(), is_commit);
        let version = if self.version == 1 { 4 } else { 5 };
        let answer = self.connection.call(&request, version);
        let response: EndTxnResponse<'_> = answer.read();
        (
            response.error_code,
            response.producer_id,
            response.producer_epoch,
        )
    }

    pub(crate) fn end(&mut self, is_commit: bool) {
        let (id, epoch) = wait_for("the end of the transaction", LIMIT, || {
            let (code, id, epoch) = self.try_end(is_commit);
            assert!(code == NONE || is_passing(code), "{code}");
            (code == NONE).then_some((id, epoch))
        });
        if self.version == 2 {
            self.take_on(id, epoch);
        }
    }

    fn try_add_offsets(&mut self, group: &str) -> i16 {
        let request = add_offsets_request(self.who(), group);
        let answer = self.connection.call(&request, 4);
        answer.read::<AddOffsetsToTxnResponse<'_>>().error_code
    }

    /// TxnOffsetCommit once, of partition 0; the member is id and generation.
    pub(crate) fn try_commit_offset(
        &mut self,
        group: &str,
        topic: &str,
        offset: i64,
        member: (&str, i32),
        version: i16,
    ) -> i16 {
        let request = TxnOffsetCommitRequest {
            generation_id_or_member_epoch: member.1,
            member_id: member.0.into(),
            ..offset_request(self.who(), group, topic, offset)
        };
        let answer = self.connection.call(&request, version);
        let response: TxnOffsetCommitResponse<'_> = answer.read();
        response.topics[0].partitions[0].error_code
    }

    pub(crate) fn commit_offset(&mut self, group: &str, topic: &str, offset: i64) {
        let mut version = 5;
        if self.version == 1 {
            version = 4;
            wait_for("the group to be added", LIMIT, || {
                let code = self.try_add_offsets(group);
                assert!(code == NONE || is_passing(code), "{code}");
                (code == NONE).then_some(())
            });
        }
        wait_for("the offset to be taken", LIMIT, || {
            let code = self.try_commit_offset(group, topic, offset, ("", -1), version);
            assert!(code == NONE || is_passing(code), "{code}");
            (code == NONE).then_some(())
        });
    }
}

/// What a reader of a partition sees.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Seen {
    pub(crate) values: Vec<String>,
    pub(crate) last_stable_offset: i64,
    pub(crate) high_watermark: i64,
}

/// Reads a partition from its start as a consumer with this isolation level does: markers are skipped, and for level 1 what the
/// answers list as aborted up to its marker.
pub(crate) fn read(connection: &mut Connection, topic: &str, partition: i32, level: i8) -> Seen {
    let mut seen = Seen::default();
    let mut next = 0;
    loop {
        let mut request = fetch_request(&[(topic, partition, next, 1_000_000)]);
        request.isolation_level = level;
        let answer = connection.call(&request, 12);
        let mut fetched = fetched(&answer).swap_remove(0);
        assert_eq!(fetched.error, NONE);
        seen.last_stable_offset = fetched.last_stable_offset;
        seen.high_watermark = fetched.high_watermark;
        assert!(level == 1 || fetched.aborted.is_empty());
        let batches = read_batches(&fetched.records);
        let Some(last) = batches.last() else {
            return seen;
        };
        next = last.last_offset + 1;
        for batch in &batches {
            take(batch, &mut fetched.aborted, &mut seen.values);
        }
    }
}

/// As [`read`] at level 1, when no transaction is open any more: real Kafka writes its markers behind the answer to EndTxn.
pub(crate) fn read_ended(connection: &mut Connection, topic: &str, partition: i32) -> Seen {
    wait_for("the markers", LIMIT, || {
        let seen = read(connection, topic, partition, 1);
        (seen.last_stable_offset == seen.high_watermark).then_some(seen)
    })
}

fn take(batch: &Batch, aborted: &mut Vec<(i64, i64)>, values: &mut Vec<String>) {
    if batch.attributes & CONTROL != 0 {
        // The marker ends what of the producer lies before it.
        aborted.retain(|(first, id)| *id != batch.producer_id || *first > batch.base_offset);
        return;
    }
    let is_aborted = batch.attributes & TRANSACTIONAL != 0
        && aborted
            .iter()
            .any(|(first, id)| *id == batch.producer_id && *first <= batch.base_offset);
    if !is_aborted {
        let records = batch.records.iter();
        let new = records.map(|record| record.value.clone().expect("a value"));
        values.extend(new.map(|value| String::from_utf8(value).expect("text")));
    }
}

/// A request's only answer.
pub(crate) fn ask<'a, R: Request<'a>>(
    connection: &mut Connection,
    request: &R,
    version: i16,
) -> tests::wire::Answer {
    connection.call(request, version)
}
