//! Connections that break around a flush, and a server that is killed under load.

use std::time::Duration;

use futures_util::FutureExt;
use storage::embedded::Embedded;
use storage::{Error, FlushChanges, LaneWriter, Outcome, Store, TransactionWrite};
use tokio::time::Instant;
use uuid::Uuid;

use crate::fixture::{
    TestStore, config, data_dir, read_all, replace_postmaster, run, small_server, soon, stored,
    topic, until, writer,
};
use crate::proxy::{Proxy, Wire};

/// Below and above the switch to COPY.
const SIZES: [usize; 2] = [500, 300_000];

struct Wired {
    test: TestStore,
    proxy: Proxy,
    writer: LaneWriter,
    part: i32,
}

impl Wired {
    /// A writer whose connections go through the proxy, and a store that goes past it.
    async fn new() -> Self {
        let test = TestStore::new().await;
        let part = topic(&test.store, "t", 1).await.partitions[0].id;
        let proxy = Proxy::before(&test.url).await;
        let store = Store::open(&config(&proxy.url)).await.unwrap();
        let mut writer = writer(&store).await;
        writer.flush(&[run(part, 0, 1, 10)], soon()).await.unwrap();
        let sql = test.sql().await;
        let open = "select from kafka.segments where state = 'open'";
        until("a segment made ahead, which is a commit too", async || {
            sql.query(open, &[]).await.unwrap().len() == 2
        })
        .await;
        Self {
            test,
            proxy,
            writer,
            part,
        }
    }

    async fn stored_bases(&self) -> Vec<i64> {
        read_all(&self.test.store, self.part, 1 << 20)
            .await
            .iter()
            .map(|run| run.base_offset)
            .collect()
    }
}

fn assert_in_doubt(error: &Error) {
    let is_in_doubt = matches!(
        error,
        Error::Unavailable {
            outcome: Outcome::Unknown,
            ..
        }
    );
    assert!(is_in_doubt, "{error:?}");
}

#[tokio::test]
async fn commit_whose_answer_is_lost_is_recognised() {
    for (bytes, wire) in SIZES
        .into_iter()
        .zip([Wire::AnswersLost, Wire::CommitAnswerLost])
    {
        let mut wired = Wired::new().await;
        wired.proxy.set(wire);
        wired
            .writer
            .flush(&[run(wired.part, 1, 1, bytes)], soon())
            .await
            .unwrap();
        assert!(wired.proxy.has_cut(), "the answer of the commit was lost");
        assert_eq!(wired.writer.lease().flush_seq, 2);
        wired
            .writer
            .flush(&[run(wired.part, 2, 1, bytes)], soon())
            .await
            .unwrap();
        assert_eq!(wired.stored_bases().await, [0, 1, 2]);
    }
}

/// The answer is lost after the commit, or the commit comes while the handover is sent again and waits for the row.
#[tokio::test]
async fn handover_whose_answer_is_lost_is_recognised() {
    for wire in [Wire::CommitAnswerLost, Wire::CommitLate] {
        let mut wired = Wired::new().await;
        wired.proxy.set(wire);
        let moves = [(wired.part, 7)];
        wired.writer.hand_over(&moves, soon()).await.unwrap();
        assert!(wired.proxy.has_cut());
        assert_eq!(wired.writer.lease().flush_seq, 2);
        let topics = wired.test.store.load_topics().await.unwrap();
        let row = topics[0].partitions[0];
        assert_eq!((row.lane, row.leader_epoch), (7, 1));
        let other = topic(&wired.test.store, "other", 1).await.partitions[0].id;
        let flush = [run(other, 0, 1, 10)];
        wired.writer.flush(&flush, soon()).await.unwrap();
        assert_eq!(wired.writer.lease().flush_seq, 3);
        assert_eq!(wired.stored_bases().await, [0]);
    }
}

#[tokio::test]
async fn transaction_cut_before_its_commit_is_sent_again() {
    let mut wired = Wired::new().await;
    // The answers to BEGIN and the fence are lost, so no row is sent.
    wired.proxy.set(Wire::AnswersLost);
    wired
        .writer
        .flush(&[run(wired.part, 1, 1, SIZES[1])], soon())
        .await
        .unwrap();
    assert!(wired.proxy.has_cut());
    assert_eq!(wired.stored_bases().await, [0, 1]);
}

#[tokio::test]
async fn flush_in_doubt_takes_only_itself_again() {
    for bytes in SIZES {
        let mut wired = Wired::new().await;
        let flush = [run(wired.part, 1, 1, bytes)];
        wired.proxy.set(Wire::Hung);
        let deadline = Instant::now() + Duration::from_millis(300);
        let error = wired.writer.flush(&flush, deadline).await.unwrap_err();
        assert_in_doubt(&error);
        let error = wired
            .writer
            .flush(&[run(wired.part, 1, 1, bytes + 1)], soon())
            .await
            .unwrap_err();
        assert!(matches!(error, Error::Bug { .. }), "{error:?}");
        wired.proxy.set(Wire::Whole);
        wired.writer.flush(&flush, soon()).await.unwrap();
        wired
            .writer
            .flush(&[run(wired.part, 2, 1, bytes)], soon())
            .await
            .unwrap();
        assert_eq!(wired.stored_bases().await, [0, 1, 2]);
        assert_eq!(wired.writer.lease().flush_seq, 3);
    }
}

#[tokio::test]
async fn flush_in_doubt_whose_coordinator_is_another_is_settled() {
    let mut wired = Wired::new().await;
    let store = &wired.test.store;
    let leases = store.claim_group_shards(Uuid::new_v4(), None).await;
    let changes = FlushChanges {
        transactions: vec![TransactionWrite {
            transactional_id: "id".to_owned(),
            lease: leases.unwrap()[0],
            row: None,
            partitions: Vec::new(),
            groups: Vec::new(),
            offsets: Vec::new(),
            end: None,
        }],
        ..FlushChanges::default()
    };
    let flush = [run(wired.part, 1, 1, 10)];
    wired.proxy.set(Wire::Hung);
    let deadline = Instant::now() + Duration::from_millis(300);
    let error = wired.writer.flush_with(&flush, &changes, deadline).await;
    assert!(matches!(error, Err(Error::Unavailable { .. })), "{error:?}");
    store
        .claim_group_shards(Uuid::new_v4(), None)
        .await
        .unwrap();
    wired.proxy.set(Wire::Whole);
    let error = wired.writer.flush_with(&flush, &changes, soon()).await;
    assert!(matches!(error, Err(Error::NotCoordinator)), "{error:?}");
    let other = [run(wired.part, 1, 1, 20)];
    wired.writer.flush(&other, soon()).await.unwrap();
    assert_eq!(wired.stored_bases().await, [0, 1]);
}

/// Whoever has the lane's row may be the former session of the flush: only its owner can tell that nothing was stored.
#[tokio::test]
async fn flush_in_doubt_whose_lane_is_locked_stays_in_doubt() {
    for bytes in SIZES {
        let mut wired = Wired::new().await;
        let flush = [run(wired.part, 1, 1, bytes)];
        wired.proxy.set(Wire::Hung);
        let deadline = Instant::now() + Duration::from_millis(300);
        let error = wired.writer.flush(&flush, deadline).await;
        assert!(matches!(error, Err(Error::Unavailable { .. })), "{error:?}");
        let somebody = wired.test.sql().await;
        somebody
            .batch_execute("begin; select from kafka.lanes for update")
            .await
            .unwrap();
        wired.proxy.set(Wire::Whole);
        let deadline = Instant::now() + Duration::from_secs(4);
        let error = wired.writer.flush(&flush, deadline).await.unwrap_err();
        assert_in_doubt(&error);
        somebody.batch_execute("rollback").await.unwrap();
        wired.writer.flush(&flush, soon()).await.unwrap();
        assert_eq!(wired.stored_bases().await, [0, 1]);
    }
}

#[tokio::test]
async fn dropped_flush_is_in_doubt_and_can_be_settled() {
    for bytes in SIZES {
        let mut wired = Wired::new().await;
        let flush = [run(wired.part, 1, 1, bytes)];
        for polls in 0..40 {
            let deadline = soon();
            let mut future = Box::pin(wired.writer.flush(&flush, deadline));
            for _ in 0..polls {
                if let Some(done) = (&mut future).now_or_never() {
                    done.unwrap();
                    break;
                }
                tokio::task::yield_now().await;
            }
            drop(future);
            if wired.writer.lease().flush_seq > 1 {
                break;
            }
        }
        if wired.writer.lease().flush_seq == 1 {
            wired.writer.flush(&flush, soon()).await.unwrap();
        }
        wired
            .writer
            .flush(&[run(wired.part, 2, 1, bytes)], soon())
            .await
            .unwrap();
        assert_eq!(wired.stored_bases().await, [0, 1, 2]);
    }
}

#[tokio::test]
async fn flush_never_sent_leaves_the_caller_free() {
    let mut wired = Wired::new().await;
    let sql = wired.test.sql().await;
    // The connection ends before the flush, and no new one can be made.
    wired.proxy.set(Wire::Cut);
    let gone = "select count(*) from pg_stat_activity where datname = current_database() and query like '%flush_seq%' and pid <> pg_backend_pid()";
    until("the writer's session to end", async || {
        sql.query_one(gone, &[]).await.unwrap().get::<_, i64>(0) == 0
    })
    .await;
    let deadline = Instant::now() + Duration::from_millis(300);
    let first = wired
        .writer
        .flush(&[run(wired.part, 1, 1, 10)], deadline)
        .await
        .unwrap_err();
    assert!(matches!(first, Error::Unavailable { .. }), "{first:?}");
    let deadline = Instant::now() + Duration::from_millis(300);
    let second = wired
        .writer
        .flush(&[run(wired.part, 1, 1, 10)], deadline)
        .await
        .unwrap_err();
    assert!(matches!(second, Error::Unavailable { .. }), "{second:?}");
    wired.proxy.set(Wire::Whole);
    wired
        .writer
        .flush(&[run(wired.part, 1, 1, 10)], soon())
        .await
        .unwrap();
    assert_eq!(wired.stored_bases().await, [0, 1]);
}

#[tokio::test]
async fn ended_sessions_are_replaced() {
    let test = TestStore::new().await;
    let part = topic(&test.store, "t", 1).await.partitions[0].id;
    let mut writer = writer(&test.store).await;
    let sql = test.sql().await;
    let end_all = "select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()";
    for base in 0..6 {
        sql.execute(end_all, &[]).await.unwrap();
        let bytes = SIZES[usize::try_from(base).unwrap() % 2];
        writer
            .flush(&[run(part, base, 1, bytes)], soon())
            .await
            .unwrap();
    }
    until("reads work again", async || {
        test.store.read(part, 0, 1).await.is_ok()
    })
    .await;
    assert_eq!(read_all(&test.store, part, 1 << 20).await.len(), 6);
}

/// Every acknowledged flush is there once, whatever moment PostgreSQL is killed in.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killing_postgres_under_load_loses_and_doubles_nothing() {
    let dir = data_dir();
    let embedded = Embedded::start(&small_server(dir.path())).await.unwrap();
    let mut config = config(embedded.url());
    config.segment_bytes = 4 << 20;
    let store = Store::open(&config).await.unwrap();
    let part = topic(&store, "t", 1).await.partitions[0].id;
    let mut writer = writer(&store).await;
    let (progress, mut reached) = tokio::sync::watch::channel(0i64);
    let load = tokio::spawn(async move {
        let mut expected = Vec::new();
        let mut base = 0;
        while !progress.is_closed() {
            let run = run(part, base, 1, SIZES[usize::try_from(base % 3 / 2).unwrap()]);
            writer
                .flush(std::slice::from_ref(&run), soon())
                .await
                .unwrap();
            expected.push(stored(&run));
            base += 1;
            progress.send_replace(base);
        }
        expected
    });
    for round in 1..=4 {
        reached.wait_for(|base| *base >= round * 40).await.unwrap();
        replace_postmaster(dir.path()).await;
        let at = *reached.borrow();
        reached.wait_for(|base| *base > at + 2).await.unwrap();
    }
    drop(reached);
    let expected = load.await.unwrap();
    assert!(expected.len() > 160);
    until("the store answers", async || {
        store.read(part, 0, 1).await.is_ok()
    })
    .await;
    assert!(read_all(&store, part, 1 << 20).await == expected);
    embedded.stop().await.unwrap();
}
