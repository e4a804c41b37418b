//! Produce, Fetch and ListOffsets on the wire: limits, waiting, errors, what a record keeps.

use std::time::{Duration, Instant};

use protocol::ErrorCode;
use protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use protocol::messages::{FetchRequest, FetchResponse, ProduceResponse};
use tests::batch::{NewBatch, NewRecord, read_batches};
use tests::wire::{Connection, FETCH, PRODUCE, fetch_request, fetched, produce_request, produced};
use tests::{Broker, fresh_topic};
use uuid::Uuid;

const NONE: i16 = ErrorCode::None as i16;

fn connected(stem: &str, partitions: i32) -> (tests::broker::Shared, Connection, String) {
    let broker = Broker::shared();
    let mut connection = Connection::open(&broker);
    let topic = fresh_topic(stem);
    connection.create_topic(&topic, partitions);
    (broker, connection, topic)
}

#[test]
fn everything_of_a_record_is_kept() {
    let (_broker, mut c, topic) = connected("kept", 1);
    let header = |k: &str, v: Option<&[u8]>| (k.to_owned(), v.map(<[u8]>::to_vec));
    let mut batch = NewBatch::of::<&str>(&[]);
    batch.records = vec![
        NewRecord {
            key: Some(b"key".to_vec()),
            value: Some(b"value".to_vec()),
            headers: vec![
                header("a", Some(b"1")),
                header("a", Some(b"2")),
                header("", None),
                header("b", Some(b"")),
            ],
            timestamp_delta: 0,
        },
        NewRecord {
            timestamp_delta: 5,
            ..NewRecord::default()
        },
        NewRecord {
            key: Some(Vec::new()),
            value: Some(Vec::new()),
            headers: Vec::new(),
            timestamp_delta: 3,
        },
    ];
    assert_eq!(c.produce(&topic, 0, &batch.bytes()).error, NONE);
    let fetched = c.fetch(&topic, 0, 0);
    let found = read_batches(&fetched.records).swap_remove(0);
    for (i, (read, written)) in found.records.iter().zip(&batch.records).enumerate() {
        assert_eq!(read.offset, i64::try_from(i).unwrap());
        assert_eq!(
            read.timestamp,
            batch.base_timestamp + written.timestamp_delta
        );
        assert_eq!(
            (&read.key, &read.value, &read.headers),
            (&written.key, &written.value, &written.headers)
        );
    }
    assert_eq!(found.records.len(), 3);
    assert_eq!(found.producer_id, -1);
    assert_eq!(
        (
            fetched.high_watermark,
            fetched.last_stable_offset,
            fetched.log_start_offset
        ),
        (3, 3, 0)
    );
}

#[test]
fn unknown_topics_and_partitions() {
    let (_broker, mut c, topic) = connected("known", 1);
    let unknown = ErrorCode::UnknownTopicOrPartition as i16;
    let batch = NewBatch::of(&["x"]).bytes();
    assert_eq!(c.produce(&topic, 7, &batch).error, unknown);
    assert_eq!(c.produce(&topic, -1, &batch).error, unknown);
    assert_eq!(c.produce(&fresh_topic("nowhere"), 0, &batch).error, unknown);
    assert_eq!(c.fetch(&topic, 7, 0).error, unknown);
    assert_eq!(c.fetch(&fresh_topic("nowhere"), 0, 0).error, unknown);
    assert_eq!(c.list_offset(&topic, 7, -1).0, unknown);
    assert_eq!(c.list_offset(&fresh_topic("nowhere"), 0, -1).0, unknown);
}

#[test]
fn an_unknown_topic_id() {
    let (_broker, mut c, _topic) = connected("by-id", 1);
    let request = by_id(Uuid::from_u128(0x1234_5678_9abc_def0), 0);
    let answer = c.call(&request, 13);
    let response: FetchResponse = answer.read();
    let part = &response.responses[0].partitions[0];
    assert_eq!(part.error_code, ErrorCode::UnknownTopicId as i16);
}

fn by_id<'a>(topic_id: Uuid, fetch_offset: i64) -> FetchRequest<'a> {
    let mut request = fetch_request(&[]);
    request.topics = vec![FetchTopic {
        topic_id,
        partitions: vec![FetchPartition {
            fetch_offset,
            current_leader_epoch: -1,
            partition_max_bytes: 1_000_000,
            ..FetchPartition::default()
        }],
        ..FetchTopic::default()
    }];
    request
}

#[test]
fn produce_and_fetch_by_topic_id() {
    let broker = Broker::shared();
    let mut c = Connection::open(&broker);
    let topic = fresh_topic("ids");
    let id = c.create_topic(&topic, 1);
    assert!(!id.is_nil());
    let batch = NewBatch::of(&["by id"]).bytes();
    let mut request = produce_request("", &[(0, &batch)], -1);
    request.topic_data[0].topic_id = id;
    let answer = c.call(&request, 13);
    let response: ProduceResponse = answer.read();
    assert_eq!(response.responses[0].topic_id, id);
    assert_eq!(
        response.responses[0].partition_responses[0].error_code,
        NONE
    );
    let answer = c.call(&by_id(id, 0), 13);
    let response: FetchResponse = answer.read();
    assert_eq!(response.responses[0].topic_id, id);
    let records = fetched(&answer).swap_remove(0).records;
    assert_eq!(
        read_batches(&records)[0].records[0].value.as_deref(),
        Some(&b"by id"[..])
    );
}

#[test]
fn offsets_outside_the_log_are_out_of_range() {
    let (_broker, mut c, topic) = connected("range", 1);
    let out_of_range = ErrorCode::OffsetOutOfRange as i16;
    c.produce(&topic, 0, &NewBatch::of(&["0", "1"]).bytes());
    assert_eq!(c.fetch(&topic, 0, 3).error, out_of_range);
    assert_eq!(c.fetch(&topic, 0, -1).error, out_of_range);
    assert_eq!(c.fetch(&topic, 0, i64::MAX).error, out_of_range);
    let at_end = c.fetch(&topic, 0, 2);
    assert_eq!(
        (at_end.error, at_end.records.len(), at_end.high_watermark),
        (NONE, 0, 2)
    );
}

#[test]
fn a_fetch_inside_a_batch_gives_the_batch() {
    let (_broker, mut c, topic) = connected("inside", 1);
    c.produce(&topic, 0, &NewBatch::of(&["0", "1", "2"]).bytes());
    c.produce(&topic, 0, &NewBatch::of(&["3"]).bytes());
    let batches = read_batches(&c.fetch(&topic, 0, 2).records);
    assert_eq!((batches[0].base_offset, batches.len()), (0, 2));
    let batches = read_batches(&c.fetch(&topic, 0, 3).records);
    assert_eq!((batches[0].base_offset, batches.len()), (3, 1));
}

#[test]
fn limits_of_partition_and_request() {
    let (_broker, mut c, topic) = connected("limits", 2);
    let value = vec![b'v'; 10_000];
    for partition in 0..2 {
        for _ in 0..10 {
            assert_eq!(
                c.produce(&topic, partition, &NewBatch::of(&[&value]).bytes())
                    .error,
                NONE
            );
        }
    }
    let mut fetch = |partition_max: i32, max: i32| {
        let mut request =
            fetch_request(&[(&topic, 0, 0, partition_max), (&topic, 1, 0, partition_max)]);
        request.max_bytes = max;
        let answer = c.call(&request, FETCH);
        let sizes: Vec<usize> = fetched(&answer).iter().map(|f| f.records.len()).collect();
        let first = read_batches(&fetched(&answer)[0].records);
        (sizes, first.len())
    };
    // the limit of a partition
    let (sizes, _) = fetch(25_000, 1_000_000);
    assert!(
        sizes.iter().all(|s| (10_000..=25_000).contains(s)),
        "{sizes:?}"
    );
    // the limit of the request
    let (sizes, _) = fetch(1_000_000, 35_000);
    assert!(
        sizes[0] >= 10_000 && sizes.iter().sum::<usize>() <= 35_000,
        "{sizes:?}"
    );
    // the first batch always, whole, but no second partition for it
    let (sizes, batches) = fetch(1, 1);
    assert_eq!(batches, 1);
    assert!(
        sizes[0] > 10_000 && sizes[0] < 20_000 && sizes[1] == 0,
        "{sizes:?}"
    );
}

#[test]
fn an_append_wakes_a_waiting_fetch() {
    let (broker, mut c, topic) = connected("woken", 2);
    let mut request = fetch_request(&[(&topic, 0, 0, 1_000_000), (&topic, 1, 0, 1_000_000)]);
    request.max_wait_ms = 60_000;
    c.send(&request, FETCH);
    c.stream()
        .set_read_timeout(Some(Duration::from_millis(300)))
        .unwrap();
    let nothing = std::io::Read::read(c.stream(), &mut [0]).unwrap_err();
    assert!(matches!(
        nothing.kind(),
        std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut
    ));
    c.stream()
        .set_read_timeout(Some(Duration::from_secs(120)))
        .unwrap();
    let started = Instant::now();
    Connection::open(&broker).produce(&topic, 1, &NewBatch::of(&["wake"]).bytes());
    let answer = c.receive(protocol::ApiKey::Fetch, FETCH);
    assert!(
        started.elapsed() < Duration::from_secs(30),
        "{:?}",
        started.elapsed()
    );
    let parts = fetched(&answer);
    assert_eq!(parts.len(), 2);
    assert_eq!(
        parts
            .iter()
            .map(|p| p.records.len())
            .filter(|l| *l > 0)
            .count(),
        1
    );
}

#[test]
fn min_bytes_keeps_a_fetch_waiting_until_max_wait() {
    let (_broker, mut c, topic) = connected("min-bytes", 1);
    c.produce(&topic, 0, &NewBatch::of(&["little"]).bytes());
    let mut request = fetch_request(&[(&topic, 0, 0, 1_000_000)]);
    request.min_bytes = 1_000_000;
    request.max_wait_ms = 700;
    let started = Instant::now();
    let answer = c.call(&request, FETCH);
    let waited = started.elapsed();
    assert!(
        waited >= Duration::from_millis(650) && waited < Duration::from_secs(30),
        "{waited:?}"
    );
    assert_eq!(read_batches(&fetched(&answer)[0].records).len(), 1);
    // an error does not wait
    let mut request = fetch_request(&[(&topic, 0, 99, 1_000_000)]);
    request.max_wait_ms = 60_000;
    let started = Instant::now();
    c.call(&request, FETCH);
    assert!(started.elapsed() < Duration::from_secs(30));
}

#[test]
fn a_waiting_fetch_does_not_hold_up_the_order_of_answers() {
    let (_broker, mut c, topic) = connected("order", 1);
    let mut request = fetch_request(&[(&topic, 0, 0, 1_000_000)]);
    request.max_wait_ms = 400;
    let first = c.send(&request, FETCH);
    let batch = NewBatch::of(&["after"]).bytes();
    let second = c.send(&produce_request(&topic, &[(0, &batch)], -1), PRODUCE);
    assert_eq!(
        c.receive(protocol::ApiKey::Fetch, FETCH).correlation_id,
        first
    );
    let answer = c.receive(protocol::ApiKey::Produce, PRODUCE);
    assert_eq!(answer.correlation_id, second);
    assert_eq!(produced(&answer)[0].error, NONE);
}

#[test]
fn list_offsets() {
    let (_broker, mut c, topic) = connected("list", 1);
    assert_eq!(c.list_offset(&topic, 0, -2), (NONE, 0, -1));
    assert_eq!(c.list_offset(&topic, 0, -1), (NONE, 0, -1));
    assert_eq!(c.list_offset(&topic, 0, -3), (NONE, -1, -1));
    let mut batch = NewBatch::of(&["a", "b", "c"]);
    batch.base_timestamp -= 60_000;
    let base = batch.base_timestamp;
    for (record, delta) in batch.records.iter_mut().zip([0, 20, 10]) {
        record.timestamp_delta = delta;
    }
    c.produce(&topic, 0, &batch.bytes());
    let mut later = NewBatch::of(&["d"]);
    later.base_timestamp = base + 15;
    c.produce(&topic, 0, &later.bytes());
    assert_eq!(c.list_offset(&topic, 0, -2), (NONE, 0, -1));
    assert_eq!(c.list_offset(&topic, 0, -1), (NONE, 4, -1));
    // the first record with that time or a later one, inside its batch
    assert_eq!(c.list_offset(&topic, 0, 0), (NONE, 0, base));
    assert_eq!(c.list_offset(&topic, 0, base), (NONE, 0, base));
    assert_eq!(c.list_offset(&topic, 0, base + 1), (NONE, 1, base + 20));
    assert_eq!(c.list_offset(&topic, 0, base + 21), (NONE, -1, -1));
    // the record with the largest time
    assert_eq!(c.list_offset(&topic, 0, -3), (NONE, 1, base + 20));
}

#[test]
fn batches_that_are_refused() {
    let (_broker, mut c, topic) = connected("refused", 1);
    let (corrupt, invalid) = (
        ErrorCode::CorruptMessage as i16,
        ErrorCode::InvalidRecord as i16,
    );
    let good = NewBatch::of(&["good"]).bytes();
    let mut wrong_crc = good.clone();
    wrong_crc[17] ^= 1;
    assert_eq!(c.produce(&topic, 0, &wrong_crc).error, corrupt);
    let mut flipped = good.clone();
    *flipped.last_mut().unwrap() ^= 1;
    assert_eq!(c.produce(&topic, 0, &flipped).error, corrupt);
    assert_eq!(c.produce(&topic, 0, b"").error, invalid);
    assert_eq!(c.produce(&topic, 0, &[b'?'; 200]).error, corrupt);
    let mut ahead = NewBatch::of(&["from the future"]);
    ahead.base_timestamp += 7_200_000;
    assert_eq!(
        c.produce(&topic, 0, &ahead.bytes()).error,
        ErrorCode::InvalidTimestamp as i16
    );
    // what was refused left nothing
    assert_eq!(c.produce(&topic, 0, &good).base_offset, 0);
    assert_eq!(c.list_offset(&topic, 0, -1).1, 1);
}

#[test]
fn acks_zero_has_no_answer() {
    let (_broker, mut c, topic) = connected("acks0", 1);
    let batch = NewBatch::of(&["silent"]).bytes();
    c.send(&produce_request(&topic, &[(0, &batch)], 0), PRODUCE);
    // the next answer on this connection is that of the next request
    tests::wait_for("the record", Duration::from_secs(60), || {
        (c.list_offset(&topic, 0, -1).1 == 1).then_some(())
    });
}

#[test]
fn other_acks_are_refused() {
    let (_broker, mut c, topic) = connected("acks2", 1);
    let batch = NewBatch::of(&["x"]).bytes();
    let answer = c.call(&produce_request(&topic, &[(0, &batch)], 2), PRODUCE);
    assert_eq!(
        produced(&answer)[0].error,
        ErrorCode::InvalidRequiredAcks as i16
    );
}

/// One request of a session: its error, its id, and what it says of the partitions it names.
fn of_session(
    c: &mut Connection,
    request: &FetchRequest<'_>,
) -> (i16, i32, Vec<(i32, usize, i64)>) {
    let answer = c.call(request, FETCH);
    let response: FetchResponse<'_> = answer.read();
    let partitions = response.responses.iter().flat_map(|t| &t.partitions);
    let named = partitions.map(|p| {
        assert_eq!(p.error_code, NONE);
        let bytes = p.records.as_wire().map_or(0, <[u8]>::len);
        (p.partition_index, bytes, p.high_watermark)
    });
    (response.error_code, response.session_id, named.collect())
}

#[test]
fn sessions_tell_only_what_is_new() {
    let (_broker, mut c, topic) = connected("session", 3);
    let batch = NewBatch::of(&["a"]).bytes();
    let parts: Vec<_> = (0..3).map(|p| (topic.as_str(), p, 0, 1_000)).collect();
    let mut full = fetch_request(&parts);
    full.session_epoch = 0;
    let (error, id, named) = of_session(&mut c, &full);
    assert_eq!((error, named.len()), (NONE, 3));
    assert_ne!(id, 0, "a session has begun");

    let following = |epoch: i32, parts| {
        let mut request = fetch_request(parts);
        (request.session_id, request.session_epoch) = (id, epoch);
        request
    };
    assert_eq!(of_session(&mut c, &following(1, &[])), (NONE, id, vec![]));
    assert_eq!(c.produce(&topic, 1, &batch).error, NONE);
    let with_records = vec![(1, batch.len(), 1)];
    assert_eq!(
        of_session(&mut c, &following(2, &[])),
        (NONE, id, with_records.clone())
    );
    assert_eq!(
        of_session(&mut c, &following(3, &[])),
        (NONE, id, with_records),
        "not yet fetched past"
    );
    let past = [(topic.as_str(), 1, 1, 1_000)];
    assert_eq!(of_session(&mut c, &following(4, &past)), (NONE, id, vec![]));

    let mut wrong_epoch = following(9, &[]);
    let invalid = ErrorCode::InvalidFetchSessionEpoch as i16;
    assert_eq!(of_session(&mut c, &wrong_epoch).0, invalid);
    wrong_epoch.session_id = id ^ 1;
    let not_found = ErrorCode::FetchSessionIdNotFound as i16;
    assert_eq!(of_session(&mut c, &wrong_epoch).0, not_found);

    let mut last = fetch_request(&past);
    (last.session_id, last.session_epoch) = (id, -1);
    assert_eq!(of_session(&mut c, &last), (NONE, 0, vec![(1, 0, 1)]));
    assert_eq!(
        of_session(&mut c, &following(5, &[])).0,
        not_found,
        "the session has ended"
    );
}

const NUMBERED: usize = 100;

/// A batch of 100 KB; the values are the numbers from `first` on.
fn numbered(first: usize) -> Vec<u8> {
    let values = (first..first + NUMBERED).map(|number| format!("{number:01000}"));
    NewBatch::of(&values.collect::<Vec<_>>()).bytes()
}

/// Whose numbered records come next to a consumer that asks for so many bytes at a time.
struct Numbers<'a> {
    topic: &'a str,
    bytes_max: i32,
    next: usize,
}

impl Numbers<'_> {
    fn fetch(&self, c: &mut Connection) -> tests::wire::Fetched {
        let part = (self.topic, 0, self.next as i64, self.bytes_max);
        fetched(&c.call(&fetch_request(&[part]), FETCH)).swap_remove(0)
    }

    /// Asks once; false at the end of the log.
    fn advance(&mut self, c: &mut Connection) -> bool {
        let answer = self.fetch(c);
        assert_eq!(answer.error, NONE);
        let before = self.next;
        for batch in read_batches(&answer.records) {
            for record in batch.records {
                assert_eq!(record.offset, self.next as i64);
                let value = String::from_utf8(record.value.unwrap()).unwrap();
                assert_eq!(value.parse::<usize>().unwrap(), self.next);
                self.next += 1;
            }
        }
        self.next > before
    }
}

#[test]
fn consumers_of_old_records_get_them_in_order_whatever_was_read_ahead() {
    let port = tests::broker::free_port();
    let admin = format!("127.0.0.1:{port}");
    let broker = Broker::start_with(&["--admin-listener", &admin, "--log-cache-bytes", "0"]);
    let mut c = Connection::open(&broker);
    c.create_topic("old", 1);
    let mut end = 0;
    let mut append = |c: &mut Connection, batches: usize| {
        for _ in 0..batches {
            assert_eq!(c.produce("old", 0, &numbered(end)).error, NONE);
            end += NUMBERED;
        }
        end
    };
    append(&mut c, 100);
    // as much as the least that is read ahead, less, more; in turn, so that one is at the end of the log when another is in its midst
    let mut readers = [1 << 20, 300_000, 6_000_000].map(|bytes_max| Numbers {
        topic: "old",
        bytes_max,
        next: 0,
    });
    for round in 0.. {
        let advanced = readers
            .iter_mut()
            .filter_map(|r| r.advance(&mut c).then_some(()));
        if advanced.count() == 0 {
            break;
        }
        if round % 8 == 7 && round < 40 {
            append(&mut c, 3);
        }
    }
    let end = append(&mut c, 0);
    assert!(readers.iter().all(|reader| reader.next == end));
    let (_, text) = crate::operations::page(port, "/metrics");
    let ahead = crate::operations::metric(&text, "pg_kafka_reads_total{from=\"ahead\"}");
    assert!(ahead >= 1.0, "nothing was read ahead");

    // deleted records are refused although they may have been read ahead
    let mut reader = Numbers {
        topic: "old",
        bytes_max: 1 << 20,
        next: 0,
    };
    assert!(reader.advance(&mut c));
    let start = (end - NUMBERED) as i64;
    crate::retention::delete_records(&mut c, 2, "old", &[(0, start)]);
    assert_eq!(
        reader.fetch(&mut c).error,
        ErrorCode::OffsetOutOfRange as i16
    );
    reader.next = end - NUMBERED;
    assert!(reader.advance(&mut c));
    assert_eq!(reader.next, end);
}
