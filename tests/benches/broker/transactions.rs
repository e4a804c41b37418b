//! A transactional producer on the wire that does nothing besides, of transaction.version 2: batches that add their partition, and
//! the end. librdkafka's own pauses hide what a broker takes for a transaction.

use std::time::{Duration, Instant};

use protocol::ApiKey;
use protocol::messages::{
    EndTxnRequest, EndTxnResponse, FindCoordinatorRequest, InitProducerIdRequest,
    InitProducerIdResponse,
};
use tests::batch::NewBatch;
use tests::wire::{Connection, produce_request, produced};
use tests::{fresh_topic, wait_for};

use crate::load::Sample;
use crate::raw::values;

const LIMIT: Duration = Duration::from_secs(60);
/// Versions of the requests.
const PRODUCE: i16 = 12;
const END_TXN: i16 = 5;
const INIT: i16 = 5;
const CONCURRENT_TRANSACTIONS: i16 = 51;
/// Records in a batch, at most.
const BATCH_RECORDS: usize = 1_000;
const TRANSACTIONAL: i16 = 0x10;

/// Commits transactions of so many records of 100 bytes in one partition for so long.
pub(crate) fn run(port: u16, records_each: usize, length: Duration) -> Sample {
    let topic = fresh_topic("transactions");
    let mut connection = Connection::to_port(port);
    connection.create_led_topic(&topic, 1);
    let (mut id, mut epoch) = begin(&mut connection, &topic);
    let batches = records_each.div_ceil(BATCH_RECORDS);
    let of_batch = records_each / batches;
    let mut batch = NewBatch::of(&values(of_batch, 100));
    batch.attributes = TRANSACTIONAL;
    // The same for all batches, so that the client has little to do.
    let records = batch.record_bytes();
    let start = Instant::now();
    let (mut count, mut latencies, mut bytes) = (0, Vec::new(), 0);
    while start.elapsed() < length {
        let begun = Instant::now();
        let sent: Vec<Vec<u8>> = (0..batches)
            .map(|at| {
                batch.base_sequence = i32::try_from(at * of_batch).expect("a small number");
                (batch.producer_id, batch.producer_epoch) = (id, epoch);
                batch.around(&records)
            })
            .collect();
        bytes += sent.iter().map(Vec::len).sum::<usize>() as u64;
        // Kafka may still be busy with the markers of the transaction before.
        while produce_first(&mut connection, &topic, &sent[0]) == CONCURRENT_TRANSACTIONS {}
        for batch in &sent[1..] {
            connection.send(&request(&topic, batch), PRODUCE);
        }
        for _ in &sent[1..] {
            let answer = connection.receive(ApiKey::Produce, PRODUCE);
            assert_eq!(produced(&answer)[0].error, 0, "a batch was refused");
        }
        (id, epoch) = commit(&mut connection, &topic, (id, epoch));
        latencies.push(begun.elapsed());
        count += 1;
    }
    Sample {
        seconds: start.elapsed().as_secs_f64(),
        batches: count,
        records: count * (batches * of_batch) as u64,
        bytes,
        ..Sample::default()
    }
    .with_latencies(latencies)
}

/// The id of the transactional producer is the topic's name.
fn begin(connection: &mut Connection, id: &str) -> (i64, i16) {
    let find = FindCoordinatorRequest {
        key_type: 1,
        coordinator_keys: vec![id.into()],
        ..FindCoordinatorRequest::default()
    };
    let init = InitProducerIdRequest {
        transactional_id: Some(id.into()),
        transaction_timeout_ms: 60_000,
        producer_id: -1,
        producer_epoch: -1,
        ..InitProducerIdRequest::default()
    };
    wait_for("a producer id", LIMIT, || {
        // Kafka makes the topic of its coordinators when it is asked for one.
        connection.call(&find, 4);
        let answer = connection.call(&init, INIT);
        let response: InitProducerIdResponse = answer.read();
        (response.error_code == 0).then_some((response.producer_id, response.producer_epoch))
    })
}

fn request<'a>(topic: &'a str, batch: &'a [u8]) -> protocol::messages::ProduceRequest<'a> {
    let mut request = produce_request(topic, &[(0, batch)], -1);
    request.transactional_id = Some(topic.into());
    request
}

fn produce_first(connection: &mut Connection, topic: &str, batch: &[u8]) -> i16 {
    let answer = connection.call(&request(topic, batch), PRODUCE);
    let error = produced(&answer)[0].error;
    assert!(
        [0, CONCURRENT_TRANSACTIONS].contains(&error),
        "error {error}"
    );
    error
}

/// The producer id and epoch of the next transaction.
fn commit(
    connection: &mut Connection,
    id: &str,
    (producer_id, producer_epoch): (i64, i16),
) -> (i64, i16) {
    let request = EndTxnRequest {
        transactional_id: id.into(),
        producer_id,
        producer_epoch,
        committed: true,
        ..EndTxnRequest::default()
    };
    loop {
        let answer = connection.call(&request, END_TXN);
        let response: EndTxnResponse = answer.read();
        match response.error_code {
            0 => return (response.producer_id, response.producer_epoch),
            CONCURRENT_TRANSACTIONS => {}
            error => panic!("a commit was refused: {error}"),
        }
    }
}
