//! What is over is cleaned up: records and markers of transactions in compacted topics, what is known of them, ids nobody uses.

use std::collections::BTreeMap;
use std::time::Duration;

use tests::admin::{TOPIC, set};
use tests::batch::NewRecord;
use tests::postgres::Postgres;
use tests::wire::Connection;
use tests::{Broker, fresh_topic, wait_for};

use super::{LIMIT, NONE, Txn, read};
use crate::compaction::{check, quick, tick};

/// What the last committed record of each key says, by a plain map, and how often it was asked.
#[derive(Default)]
struct Model {
    last: BTreeMap<String, String>,
    written: usize,
}

impl Model {
    /// One transaction of one record, or of some where the epoch begins anew with each.
    fn transaction(&mut self, txn: &mut Txn, topic: &str, is_commit: bool) {
        let count = if txn.version == 1 {
            1
        } else {
            1 + self.written % 3
        };
        let pairs: Vec<(String, String)> = (0..count)
            .map(|_| {
                self.written += 1;
                let key = format!("key-{}", self.written * 7 % 11);
                (key.clone(), format!("{key}={}", self.written))
            })
            .collect();
        if txn.version == 1 {
            assert_eq!(txn.try_add(&[(topic, 0)]), [NONE]);
        }
        let mut batch = txn.batch(topic, 0, &[]);
        let record = |(key, value): &(String, String)| NewRecord {
            key: Some(key.clone().into_bytes()),
            value: Some(value.clone().into_bytes()),
            ..NewRecord::default()
        };
        batch.records = pairs.iter().map(record).collect();
        let version = if txn.version == 1 { 11 } else { 12 };
        assert_eq!(txn.send(topic, 0, &batch, version, -1).error, NONE);
        txn.sent_one(topic);
        txn.end(is_commit);
        if is_commit {
            self.last.extend(pairs);
        }
    }

    /// Whatever is gone and whatever is still there, the last of each key is what it is.
    fn check(&self, c: &mut Connection, topic: &str) {
        let seen = read(c, topic, 0, 1);
        assert_eq!(seen.last_stable_offset, seen.high_watermark);
        let pairs = seen.values.into_iter().map(|value| {
            let (key, _) = value.split_once('=').expect("key and value");
            (key.to_owned(), value)
        });
        assert_eq!(pairs.collect::<BTreeMap<_, _>>(), self.last);
    }
}

fn count(postgres: &Postgres, what: &str) -> usize {
    let counted = postgres.query(&format!("select count(*)::text from {what}"));
    counted[0].parse().unwrap()
}

#[test]
fn compaction_takes_aborted_records_and_then_their_markers() {
    let (postgres, mut broker) = quick(&[]);
    let mut c = Connection::open(&broker);
    c.create_topic("tick", 1);
    c.create_topic("t", 1);
    let mut model = Model::default();
    let mut producers = [1, 2].map(|version| Txn::new(&broker, version));
    for round in 0..60 {
        let txn = &mut producers[round % 2];
        model.transaction(txn, "t", round % 5 > 1);
    }
    let aborted = "kafka.messages where topic = 't' and txn_state = 'aborted'";
    assert!(count(&postgres, aborted) > 20);
    assert_eq!(count(&postgres, "kafka.aborted_transactions"), 24);
    let settings = [
        ("delete.retention.ms", "100"),
        ("min.cleanable.dirty.ratio", "0"),
        ("cleanup.policy", "compact"),
    ];
    for (name, value) in settings {
        set(&mut c, (TOPIC, "t"), name, value);
    }
    wait_for("aborted transactions to be forgotten", LIMIT, || {
        // Logs are cleaned when they have something new.
        for txn in &mut producers {
            model.transaction(txn, "t", true);
        }
        tick(&mut c);
        for _ in 0..10 {
            model.check(&mut c, "t");
            std::thread::sleep(Duration::from_millis(20));
        }
        (count(&postgres, "kafka.aborted_transactions") == 0).then_some(())
    });
    assert_eq!(count(&postgres, aborted), 0);
    // As it is understood by who knows nothing but the log.
    broker.kill();
    postgres.execute("delete from kafka.producer_snapshots");
    broker.start_again();
    let mut c = Connection::open(&broker);
    model.check(&mut c, "t");
    for txn in &mut producers {
        txn.connection = Connection::open(&broker);
        txn.find_coordinator();
        model.transaction(txn, "t", true);
    }
    model.check(&mut c, "t");
    check(&postgres);
}

#[test]
fn ids_that_nobody_uses_are_forgotten() {
    let postgres = Postgres::start();
    let broker = Broker::start_with(&[
        "--database-url",
        &postgres.url(),
        "--transactional-id-expiration-ms=5000",
        "--transaction-remove-expired-transaction-cleanup-interval-ms=50",
    ]);
    let topic = fresh_topic("forgotten");
    let mut reader = Connection::open(&broker);
    reader.create_topic(&topic, 1);
    let mut open = Txn::new(&broker, 2);
    open.produce(&topic, 0, &["open"]);
    let mut used = Txn::new(&broker, 2);
    used.produce(&topic, 0, &["used"]);
    used.end(true);
    wait_for("the id to be forgotten", LIMIT, || {
        let ids = postgres.query("select transactional_id from kafka.transactions");
        assert!(ids.contains(&open.id));
        (!ids.contains(&used.id)).then_some(())
    });
    let unknown = protocol::ErrorCode::InvalidProducerIdMapping as i16;
    assert_eq!(used.try_end(true).0, unknown);
    let batch = used.batch(&topic, 0, &["late"]);
    assert_eq!(used.send(&topic, 0, &batch, 12, -1).error, unknown);
    used.init();
    used.produce(&topic, 0, &["again"]);
    used.end(true);
    open.end(true);
    let seen = read(&mut reader, &topic, 0, 1);
    assert_eq!(seen.values, ["open", "used", "again"]);
}
