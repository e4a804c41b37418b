//! Flush and read: bytes, order, bounds, segments.

use bytes::Bytes;
use storage::{Error, Run, Store};
use uuid::Uuid;

use crate::fixture::{
    TestStore, config, payload, read_all, run, soon, stored, topic, until, writer,
};

/// Sizes around the chunk, the page and the switch from one statement to COPY.
const SIZES: [usize; 10] = [
    1, 61, 4_030, 8_099, 8_100, 8_101, 16_200, 65_536, 65_537, 1_100_000,
];

#[tokio::test]
async fn what_is_flushed_is_read_back_byte_for_byte() {
    let test = TestStore::new().await;
    let parts: Vec<i32> = topic(&test.store, "t", 3)
        .await
        .partitions
        .iter()
        .map(|p| p.id)
        .collect();
    let mut writer = writer(&test.store).await;
    let mut expected = vec![Vec::new(); parts.len()];
    let mut next = vec![0i64; parts.len()];
    for size in SIZES {
        let mut runs = Vec::new();
        for (i, &part) in parts.iter().enumerate() {
            let run = run(part, next[i], 3 + i32::try_from(i).unwrap(), size);
            next[i] += i64::from(run.span) + 1;
            expected[i].push(stored(&run));
            runs.push(run);
        }
        writer.flush(&runs, soon()).await.unwrap();
    }
    assert_eq!(writer.lease().flush_seq, SIZES.len() as i64);
    for max_bytes in [1, 20_000, 100 << 20] {
        for (i, &part) in parts.iter().enumerate() {
            assert!(
                read_all(&test.store, part, max_bytes).await == expected[i],
                "partition {i}, {max_bytes} bytes at a time"
            );
        }
    }
    let ends: Vec<(i32, i64)> = parts.iter().copied().zip(next).collect();
    assert_eq!(test.store.end_offsets(&parts).await.unwrap(), ends);
    assert_eq!(
        test.store.end_offsets(&[parts[1], -5]).await.unwrap(),
        [ends[1]]
    );
}

#[tokio::test]
async fn pieces_of_a_run_need_not_fit_the_rows() {
    let test = TestStore::new().await;
    let part = topic(&test.store, "t", 1).await.partitions[0].id;
    let mut writer = writer(&test.store).await;
    let mut base = 0;
    for bytes in [30_000, 300_000] {
        let whole = payload(part, base, bytes);
        let cuts = [0, 1, 61, 8_100, 8_100, 20_000, bytes];
        let data: Vec<Bytes> = cuts
            .windows(2)
            .map(|cut| whole.slice(cut[0]..cut[1]))
            .collect();
        writer
            .flush(
                &[Run {
                    part,
                    base_offset: base,
                    span: 9,
                    data,
                }],
                soon(),
            )
            .await
            .unwrap();
        assert_eq!(test.store.read(part, base, 1).await.unwrap()[0].data, whole);
        base += 10;
    }
}

#[tokio::test]
async fn rows_fill_a_page_each_and_stay_out_of_toast() {
    let test = TestStore::new().await;
    let part = topic(&test.store, "t", 1).await.partitions[0].id;
    writer(&test.store)
        .await
        .flush(&[run(part, 0, 1, 810_000)], soon())
        .await
        .unwrap();
    let row = test
        .sql()
        .await
        .query_one(
            "select pg_relation_size('kafka.log_1'), pg_relation_size(reltoastrelid), count(*), max(octet_length(data)) \
             from pg_class, kafka.log_1 where pg_class.oid = 'kafka.log_1'::regclass group by reltoastrelid",
            &[],
        )
        .await
        .unwrap();
    assert_eq!(
        (row.get::<_, i64>(0), row.get::<_, i64>(1)),
        (100 * 8192, 0)
    );
    assert_eq!((row.get::<_, i64>(2), row.get::<_, i32>(3)), (100, 8_100));
}

#[tokio::test]
async fn read_starts_at_the_run_that_holds_the_offset() {
    let test = TestStore::new().await;
    let part = topic(&test.store, "t", 1).await.partitions[0].id;
    let mut writer = writer(&test.store).await;
    // A gap at the start and one in the middle.
    let runs = [
        run(part, 100, 10, 50),
        run(part, 110, 10, 20_000),
        run(part, 150, 1, 50),
    ];
    for run in &runs {
        writer
            .flush(std::slice::from_ref(run), soon())
            .await
            .unwrap();
    }
    let expected: Vec<_> = runs.iter().map(stored).collect();
    for (from, first) in [
        (0, 0),
        (99, 0),
        (100, 0),
        (109, 0),
        (110, 1),
        (115, 1),
        (119, 1),
        (120, 2),
        (149, 2),
        (150, 2),
    ] {
        let read = test.store.read(part, from, 1 << 20).await.unwrap();
        assert_eq!(read, expected[first..], "from {from}");
        let one = test.store.read(part, from, 1).await.unwrap();
        assert_eq!(one, expected[first..=first], "from {from}, one byte asked");
    }
    for from in [151, i64::MAX] {
        assert_eq!(test.store.read(part, from, 1 << 20).await.unwrap(), []);
    }
    assert_eq!(test.store.read(part + 1, 0, 1 << 20).await.unwrap(), []);
}

#[tokio::test]
async fn read_is_bounded_by_bytes() {
    let test = TestStore::new().await;
    let part = topic(&test.store, "t", 1).await.partitions[0].id;
    let mut writer = writer(&test.store).await;
    let small: Vec<Run> = (0..300).map(|i| run(part, i, 1, 100)).collect();
    writer.flush(&small, soon()).await.unwrap();
    let large: Vec<Run> = (0..10).map(|i| run(part, 300 + i, 1, 50_000)).collect();
    writer.flush(&large, soon()).await.unwrap();
    for (from, max_bytes, count) in [
        (0, 1, 1),
        (0, 250, 2),
        (0, 1_000, 10),
        (0, 20_000, 200),
        (0, 30_000 + 49_999, 300),
        (0, 30_000 + 50_000, 301),
        (0, 10 << 20, 310),
        (300, 0, 1),
        (300, 49_999, 1),
        (300, 99_999, 1),
        (300, 100_000, 2),
    ] {
        let read = test.store.read(part, from, max_bytes).await.unwrap();
        assert_eq!(read.len(), count, "from {from}, {max_bytes} bytes");
    }
}

fn small_segments(config: &mut storage::DatabaseConfig) {
    config.segment_bytes = 100_000;
}

async fn segments(test: &TestStore, condition: &str) -> i64 {
    let query = format!("select count(*) from kafka.segments where {condition}");
    test.sql()
        .await
        .query_one(&query, &[])
        .await
        .unwrap()
        .get(0)
}

#[tokio::test]
async fn segments_roll_are_sealed_and_frozen_and_read_as_one() {
    let test = TestStore::with(small_segments).await;
    let parts: Vec<i32> = topic(&test.store, "t", 3)
        .await
        .partitions
        .iter()
        .map(|p| p.id)
        .collect();
    let mut writer = writer(&test.store).await;
    let mut expected = vec![Vec::new(); 3];
    let mut base = 0;
    until("the first four segments sealed and frozen", async || {
        for (i, &part) in parts
            .iter()
            .enumerate()
            .take(if base % 4 == 0 { 3 } else { 2 })
        {
            let run = run(part, base, 4, 30_000);
            expected[i].push(stored(&run));
            writer.flush(&[run], soon()).await.unwrap();
        }
        base += 4;
        // A session that looks just then keeps one from being frozen, and not the next.
        let frozen = "segment_id <= 4 and state = 'sealed' and frozen_at is not null";
        segments(&test, frozen).await == 4
    })
    .await;
    for (i, &part) in parts.iter().enumerate() {
        assert!(
            read_all(&test.store, part, 70_000).await == expected[i],
            "partition {i}"
        );
        assert!(
            test.store.read(part, 0, 100 << 20).await.unwrap() == expected[i],
            "partition {i} at once"
        );
    }
    let ends = test.store.end_offsets(&parts).await.unwrap();
    for (i, (_, end)) in ends.iter().enumerate() {
        assert_eq!(*end, expected[i].last().unwrap().last_offset + 1);
    }
    let sql = test.sql().await;
    let wrong = "select 1 from kafka.segment_partitions sp, \
         lateral (select min(base) lo, max(base + span + 1) hi from kafka.log_1 where part = sp.part) l \
         where sp.segment_id = 1 and (l.lo, l.hi) is distinct from (sp.first_offset, sp.end_offset)";
    assert_eq!(sql.query(wrong, &[]).await.unwrap().len(), 0);
    let unfrozen = "select relfrozenxid::text::int8 < 3 or relallvisible < relpages from pg_class where relname = 'log_1'";
    assert!(
        !sql.query_one(unfrozen, &[])
            .await
            .unwrap()
            .get::<_, bool>(0),
        "every page is all visible"
    );
}

#[tokio::test]
async fn readers_see_all_while_segments_roll_beneath_them() {
    let test = TestStore::with(small_segments).await;
    let part = topic(&test.store, "t", 1).await.partitions[0].id;
    let mut writer = writer(&test.store).await;
    let (acknowledged, seen) = tokio::sync::watch::channel(0i64);
    let reader = |store: Store| {
        let mut seen = seen.clone();
        async move {
            let mut next = 0;
            loop {
                let end = *seen.borrow_and_update();
                while next < end {
                    // What was acknowledged before the read began must be in it.
                    let read = store.read(part, next, 40_000).await.unwrap();
                    assert!(!read.is_empty(), "nothing at {next} of {end}");
                    for run in read {
                        assert_eq!(run.base_offset, next);
                        assert!(run.data == payload(part, next, 9_000));
                        next = run.last_offset + 1;
                    }
                }
                if seen.changed().await.is_err() {
                    return next;
                }
            }
        }
    };
    let readers = [
        tokio::spawn(reader(test.store.clone())),
        tokio::spawn(reader(test.store.clone())),
    ];
    let mut base = 0;
    until("ten segments sealed", async || {
        for _ in 0..5 {
            writer
                .flush(&[run(part, base, 2, 9_000)], soon())
                .await
                .unwrap();
            base += 2;
            acknowledged.send_replace(base);
        }
        segments(&test, "state = 'sealed'").await >= 10
    })
    .await;
    drop(acknowledged);
    for reader in readers {
        assert_eq!(reader.await.unwrap(), base);
    }
}

#[tokio::test]
async fn restart_goes_on_where_the_log_ended() {
    let test = TestStore::with(small_segments).await;
    let part = topic(&test.store, "t", 1).await.partitions[0].id;
    let mut expected = Vec::new();
    let mut base = 0;
    for round in 0..5 {
        let mut config = config(&test.url);
        small_segments(&mut config);
        let store = Store::open(&config).await.unwrap();
        let mut writer = writer(&store).await;
        assert_eq!(
            store.end_offsets(&[part]).await.unwrap(),
            [(part, base)],
            "round {round}"
        );
        for _ in 0..4 {
            let run = run(part, base, 5, 40_000);
            base += 5;
            expected.push(stored(&run));
            writer.flush(&[run], soon()).await.unwrap();
        }
    }
    assert!(read_all(&test.store, part, 1 << 20).await == expected);
}

#[tokio::test]
async fn roll_left_half_done_is_finished_by_the_next_owner() {
    let test = TestStore::with(small_segments).await;
    let part = topic(&test.store, "t", 1).await.partitions[0].id;
    let mut first = writer(&test.store).await;
    let mut base = 0;
    until("a roll", async || {
        first
            .flush(&[run(part, base, 1, 60_000)], soon())
            .await
            .unwrap();
        base += 1;
        segments(&test, "state = 'sealed' and frozen_at is not null").await >= 1
    })
    .await;
    drop(first);
    // Whatever the former owner still had to seal, it does before this returns or not at all.
    let lease = test.store.claim_lane(0, Uuid::new_v4()).await.unwrap();
    // As if the broker had died between the first flush of the next segment and the seal.
    let undo = "delete from kafka.segment_partitions; update kafka.segments set state = 'open', frozen_at = null where state = 'sealed'";
    test.sql().await.batch_execute(undo).await.unwrap();
    assert_eq!(
        test.store.end_offsets(&[part]).await.unwrap(),
        [(part, base)]
    );
    assert_eq!(
        read_all(&test.store, part, 1 << 20).await.len() as i64,
        base
    );
    let mut next = test.store.lane_writer(lease).await.unwrap();
    next.flush(&[run(part, base, 1, 10)], soon()).await.unwrap();
    until("sealed by the next owner", async || {
        segments(&test, "state = 'sealed' and frozen_at is not null").await >= 1
    })
    .await;
    assert_eq!(
        read_all(&test.store, part, 1 << 20).await.len() as i64,
        base + 1
    );
}

#[tokio::test]
async fn topic_made_again_shows_nothing_of_the_old_one() {
    let test = TestStore::new().await;
    let old = topic(&test.store, "t", 1).await;
    let mut writer = writer(&test.store).await;
    writer
        .flush(&[run(old.partitions[0].id, 0, 10, 500)], soon())
        .await
        .unwrap();
    test.store.delete_topics(&[old.id]).await.unwrap()[0]
        .as_ref()
        .unwrap();
    let new = topic(&test.store, "t", 1).await.partitions[0].id;
    assert_eq!(test.store.read(new, 0, 1 << 20).await.unwrap(), []);
    assert_eq!(
        test.store
            .end_offsets(&[new, old.partitions[0].id])
            .await
            .unwrap(),
        [(new, 0)]
    );
    writer.flush(&[run(new, 0, 1, 5)], soon()).await.unwrap();
    assert_eq!(
        read_all(&test.store, new, 1).await,
        [stored(&run(new, 0, 1, 5))]
    );
}

#[tokio::test]
async fn end_offset_never_falls_below_the_log_start() {
    let test = TestStore::new().await;
    let part = topic(&test.store, "t", 1).await.partitions[0].id;
    test.sql()
        .await
        .execute(
            "update kafka.topic_partitions set log_start_offset = 77 where id = $1",
            &[&part],
        )
        .await
        .unwrap();
    assert_eq!(test.store.end_offsets(&[part]).await.unwrap(), [(part, 77)]);
}

#[tokio::test]
async fn offset_cannot_be_stored_twice_and_nothing_of_that_flush_is() {
    let test = TestStore::new().await;
    let part = topic(&test.store, "t", 1).await.partitions[0].id;
    let mut writer = writer(&test.store).await;
    for bytes in [100, 200_000] {
        let base = i64::try_from(bytes).unwrap();
        writer
            .flush(&[run(part, base, 1, bytes)], soon())
            .await
            .unwrap();
        let error = writer
            .flush(
                &[run(part, base + 1, 1, bytes), run(part, base, 1, bytes)],
                soon(),
            )
            .await
            .unwrap_err();
        assert!(matches!(error, Error::Bug { .. }), "{error:?}");
        writer
            .flush(&[run(part, base + 2, 1, bytes)], soon())
            .await
            .expect("the writer lives on");
    }
    let offsets: Vec<i64> = read_all(&test.store, part, 1 << 20)
        .await
        .iter()
        .map(|run| run.base_offset)
        .collect();
    assert_eq!(offsets, [100, 102, 200_000, 200_002]);
}

#[tokio::test]
async fn empty_flush_does_nothing_and_empty_run_is_refused() {
    let test = TestStore::new().await;
    let mut writer = writer(&test.store).await;
    writer.flush(&[], soon()).await.unwrap();
    let empty = Run {
        part: 1,
        base_offset: 0,
        span: 0,
        data: vec![Bytes::new()],
    };
    let error = writer.flush(&[empty], soon()).await.unwrap_err();
    assert!(matches!(error, Error::Bug { .. }), "{error:?}");
    assert_eq!(writer.lease().flush_seq, 0);
}
