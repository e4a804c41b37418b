//! Transactions of librdkafka's producers through kill -9 of the broker: readers of committed records see all of one that was
//! committed, nothing of one that was not, and everything in order.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use rdkafka::error::KafkaError;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use tests::batch::NewBatch;
use tests::librdkafka::{client, is_queue_full};
use tests::postgres::Postgres;
use tests::wire::Connection;
use tests::{Broker, fresh_topic, wait_for};

use super::{LIMIT, NONE, Txn, read};

pub(super) const PARTITIONS: i32 = 2;
const PRODUCERS: usize = 3;
const RECORDS: usize = 5;
/// How long a producer may take over one step while the broker is away.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// What a producer knows of a transaction it tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    Committed,
    Aborted,
    /// The producer was lost before it knew.
    Unknown,
}

/// Producers that commit and abort until they are told to stop.
pub(super) struct Load {
    stop: Arc<AtomicBool>,
    committed: Arc<AtomicUsize>,
    threads: Vec<JoinHandle<BTreeMap<usize, Outcome>>>,
}

fn producer(bootstrap: &str, id: &str) -> BaseProducer {
    let settings = [
        ("transactional.id", id),
        ("transaction.timeout.ms", "30000"),
        ("message.timeout.ms", "25000"),
        ("retry.backoff.ms", "50"),
        ("reconnect.backoff.max.ms", "500"),
        ("linger.ms", "0"),
        // librdkafka 2.10 and later forget a broker that is not in Metadata any more, but wait for it where it was the group's
        // coordinator, without limit, until a connection opens or closes (its issues 5511 and 5456).
        ("connections.max.idle.ms", "5000"),
    ];
    client(bootstrap, &settings)
}

/// Repeats a step until it succeeds; false when it can't any more.
pub(super) fn insist(mut step: impl FnMut() -> Result<(), KafkaError>) -> bool {
    for _ in 0..1_000 {
        match step() {
            Ok(()) => return true,
            Err(KafkaError::Transaction(error)) if error.is_retriable() => {}
            Err(_) => return false,
        }
    }
    false
}

/// A producer that holds its transactional id.
pub(super) fn initialised(bootstrap: &str, id: &str) -> BaseProducer {
    loop {
        let producer = producer(bootstrap, id);
        if insist(|| producer.init_transactions(PATIENCE)) {
            return producer;
        }
    }
}

fn transaction(producer: &BaseProducer, topic: &str, number: usize, i: usize) -> Option<Outcome> {
    if producer.begin_transaction().is_err() {
        return None;
    }
    let is_commit = i % 4 != 3;
    for record in 0..RECORDS {
        for partition in 0..PARTITIONS {
            let value = format!("{number}:{i}:{record}");
            let mut record = BaseRecord::<(), str>::to(topic)
                .partition(partition)
                .payload(&value);
            while let Err((error, same)) = producer.send(record) {
                if !is_queue_full(&error) {
                    // The transaction has failed already.
                    return aborted(producer);
                }
                producer.poll(Duration::from_millis(5));
                record = same;
            }
        }
    }
    if !is_commit {
        // So that there is something to be aborted.
        let _ = producer.flush(PATIENCE);
        return aborted(producer);
    }
    for _ in 0..1_000 {
        match producer.commit_transaction(PATIENCE) {
            Ok(()) => return Some(Outcome::Committed),
            Err(KafkaError::Transaction(error)) if error.is_retriable() => {}
            Err(KafkaError::Transaction(error)) if error.txn_requires_abort() => {
                return aborted(producer);
            }
            Err(_) => return Some(Outcome::Unknown),
        }
    }
    Some(Outcome::Unknown)
}

fn aborted(producer: &BaseProducer) -> Option<Outcome> {
    // If that fails it is not committed either, as nobody asked for it, and a new producer is due.
    abort(producer).then_some(Outcome::Aborted)
}

/// Ends what a producer has begun, if it can. librdkafka waits until somebody hears of all records that it gives up.
pub(super) fn abort(producer: &BaseProducer) -> bool {
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                producer.poll(Duration::from_millis(10));
            }
        });
        let is_aborted = insist(|| producer.abort_transaction(PATIENCE));
        is_over.store(true, Ordering::Relaxed);
        is_aborted
    })
}

impl Load {
    pub(super) fn start(bootstrap: &str, topic: &str) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let committed = Arc::new(AtomicUsize::new(0));
        let threads = (0..PRODUCERS).map(|number| {
            let (stop, committed) = (stop.clone(), committed.clone());
            let (bootstrap, topic) = (bootstrap.to_owned(), topic.to_owned());
            std::thread::spawn(move || {
                let id = format!("{topic}-{number}");
                let mut outcomes = BTreeMap::new();
                let mut producer = initialised(&bootstrap, &id);
                for i in 0.. {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    let outcome = transaction(&producer, &topic, number, i);
                    outcomes.insert(i, outcome.unwrap_or(Outcome::Aborted));
                    let is_committed = outcome == Some(Outcome::Committed);
                    committed.fetch_add(usize::from(is_committed), Ordering::Relaxed);
                    if outcome.is_none_or(|outcome| outcome == Outcome::Unknown)
                        || producer.client().fatal_error().is_some()
                    {
                        drop(producer);
                        producer = initialised(&bootstrap, &id);
                    }
                }
                outcomes
            })
        });
        Self {
            threads: threads.collect(),
            stop,
            committed,
        }
    }

    /// Waits until so many more transactions are committed.
    pub(super) fn progress(&self, transactions: usize) {
        let goal = self.committed.load(Ordering::Relaxed) + transactions;
        wait_for("transactions", Duration::from_secs(120), || {
            (self.committed.load(Ordering::Relaxed) >= goal).then_some(())
        });
    }

    pub(super) fn end(self) -> Vec<BTreeMap<usize, Outcome>> {
        self.stop.store(true, Ordering::Relaxed);
        let ended = self.threads.into_iter().map(JoinHandle::join);
        ended
            .map(|outcomes| outcomes.expect("a producer"))
            .collect()
    }
}

/// Whether what readers of committed records see is what the producers know, in one partition. The transactions that are there.
pub(super) fn check(
    seen: &[String],
    known: &[BTreeMap<usize, Outcome>],
) -> HashMap<(usize, usize), usize> {
    let mut found: HashMap<(usize, usize), usize> = HashMap::new();
    let mut last = vec![None; known.len()];
    for value in seen {
        let mut parts = value
            .split(':')
            .map(|part| part.parse::<usize>().expect("a number"));
        let (number, i, record) = (
            parts.next().expect("the producer"),
            parts.next().expect("the transaction"),
            parts.next().expect("the record"),
        );
        assert!(
            last[number] < Some((i, record)),
            "order or repetition: {value}"
        );
        last[number] = Some((i, record));
        *found.entry((number, i)).or_default() += 1;
    }
    for (number, outcomes) in known.iter().enumerate() {
        for (i, outcome) in outcomes {
            let records = found.get(&(number, *i)).copied().unwrap_or(0);
            match outcome {
                Outcome::Committed => assert_eq!(records, RECORDS, "{number}:{i} was committed"),
                Outcome::Aborted => assert_eq!(records, 0, "{number}:{i} was aborted"),
                Outcome::Unknown => {
                    assert!(
                        records == 0 || records == RECORDS,
                        "{number}:{i}: {records}"
                    );
                }
            }
        }
    }
    found
}

#[test]
fn readers_of_committed_records_see_whole_transactions_through_kills() {
    let mut broker = Broker::start();
    let topic = fresh_topic("txn-kills");
    Connection::open(&broker).create_topic(&topic, PARTITIONS);
    let load = Load::start(&broker.bootstrap(), &topic);
    for pause_ms in [0, 35, 80] {
        load.progress(30);
        std::thread::sleep(Duration::from_millis(pause_ms));
        broker.kill();
        broker.start_again();
    }
    load.progress(60);
    check_all(load, &broker, &topic);
}

/// Ends the load, and checks what readers of committed records see of its topic.
pub(super) fn check_all(load: Load, broker: &Broker, topic: &str) {
    let known = load.end();
    let committed = known.iter().flat_map(BTreeMap::values);
    let committed = committed.filter(|outcome| **outcome == Outcome::Committed);
    assert!(committed.count() > 30);
    // What the last producers may have left open is aborted for their successors.
    for number in 0..PRODUCERS {
        Txn::named(broker, &format!("{topic}-{number}"), 2).init();
    }
    let mut reader = Connection::open(broker);
    let mut seen = Vec::new();
    for partition in 0..PARTITIONS {
        let all = wait_for("all transactions to end", LIMIT, || {
            let all = read(&mut reader, topic, partition, 1);
            (all.last_stable_offset == all.high_watermark).then_some(all)
        });
        seen.push(check(&all.values, &known));
    }
    assert!(
        seen.windows(2).all(|two| two[0] == two[1]),
        "all partitions have the same transactions"
    );
}

#[test]
fn an_open_transaction_goes_on_after_a_kill() {
    let mut broker = Broker::start();
    let topic = fresh_topic("txn-open");
    let group = fresh_topic("group");
    Connection::open(&broker).create_topic(&topic, 1);
    for version in [1, 2] {
        let mut txn = Txn::new(&broker, version);
        txn.produce(&topic, 0, &["never"]);
        txn.end(false);
        txn.produce(&topic, 0, &["before"]);
        txn.commit_offset(&group, &topic, 7);
        broker.kill();
        broker.start_again();
        txn.connection = Connection::open(&broker);
        let mut reader = Connection::open(&broker);
        let open = read(&mut reader, &topic, 0, 1);
        assert!(open.last_stable_offset < open.high_watermark);
        txn.produce(&topic, 0, &["after"]);
        txn.end(true);
        let seen = read(&mut reader, &topic, 0, 1);
        let expected = ["before", "after"].repeat(usize::try_from(version).unwrap());
        assert_eq!(seen.values, expected);
        assert_eq!(seen.last_stable_offset, seen.high_watermark);
    }
}

#[test]
fn what_takes_too_long_is_aborted() {
    let every = "--transaction-abort-timed-out-transaction-cleanup-interval-ms=200";
    let postgres = Postgres::start();
    let mut broker = Broker::start_with(&["--database-url", &postgres.url(), every]);
    let topic = fresh_topic("txn-timeout");
    let mut reader = Connection::open(&broker);
    reader.create_topic(&topic, 1);
    let mut old = Txn::new(&broker, 1);
    let mut new = Txn::new(&broker, 2);
    old.produce(&topic, 0, &["old"]);
    new.produce(&topic, 0, &["new"]);
    // The time runs on while there is no broker: here a minute of it and more.
    broker.kill();
    postgres.execute("update kafka.transactions set started_at = started_at - interval '2 min'");
    broker.start_again();
    let mut reader = Connection::open(&broker);
    wait_for("both to be aborted", LIMIT, || {
        let seen = read(&mut reader, &topic, 0, 1);
        (seen.last_stable_offset == seen.high_watermark).then(|| assert!(seen.values.is_empty()))
    });
    old.connection = Connection::open(&broker);
    new.connection = Connection::open(&broker);
    let fenced = protocol::ErrorCode::ProducerFenced as i16;
    assert_eq!(old.try_end(true).0, fenced);
    assert_eq!(old.try_add(&[(&topic, 0)]), [fenced]);
    let invalid = protocol::ErrorCode::InvalidTxnState as i16;
    assert_eq!(new.try_end(true).0, invalid);
    for mut txn in [old, new] {
        txn.init();
        txn.produce(&topic, 0, &["again"]);
        txn.end(true);
    }
    assert_eq!(read(&mut reader, &topic, 0, 1).values, ["again", "again"]);
}

/// Nothing of the transaction is done, the client is told to ask again, and the others that write are not held up.
#[test]
fn a_row_that_somebody_locks_by_sql_stops_one_transaction_and_no_other() {
    let postgres = Postgres::start();
    let broker = Broker::start_with(&["--database-url", &postgres.url()]);
    let (topic, group) = (fresh_topic("locked"), fresh_topic("group"));
    let mut reader = Connection::open(&broker);
    reader.create_topic(&topic, 1);
    let mut txn = Txn::new(&broker, 2);
    txn.commit_offset(&group, &topic, 1);
    txn.end(true);
    txn.produce(&topic, 0, &["waits"]);
    txn.commit_offset(&group, &topic, 2);
    let somebody = postgres.begin("select from kafka.group_offsets for update");
    let (code, ..) = txn.try_end(true);
    assert_eq!(code, protocol::ErrorCode::ConcurrentTransactions as i16);
    for _ in 0..20 {
        let plain = NewBatch::of(&["plain"]).bytes();
        wait_for("an acknowledgement", LIMIT, || {
            let error = reader.produce(&topic, 0, &plain).error;
            (error == NONE).then_some(())
        });
    }
    let offset = "select committed_offset::text from kafka.group_offsets";
    assert_eq!(postgres.query(offset), ["1"]);
    assert!(read(&mut reader, &topic, 0, 1).values.is_empty());
    drop(somebody);
    txn.end(true);
    assert_eq!(postgres.query(offset), ["2"]);
    let seen = read(&mut reader, &topic, 0, 1);
    assert_eq!(seen.values.len(), 21);
    assert_eq!(seen.last_stable_offset, seen.high_watermark);
}
