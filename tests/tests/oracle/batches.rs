//! Record batches: ours have the bytes of Kafka's, and each side reads the other's.

use protocol::compression::Compression;
use protocol::records::{
    Batches, EndTxnMarker, RecordBatch, RecordBatchBuilder, TransactionResult,
};
use serde_json::json;
use tests::oracle::{Oracle, Release};

use crate::hex::{hex, unhex};
use crate::kafka_batches::describe;
use crate::named::{Source, named};
use crate::random::Random;
use crate::spec::{BatchSpec, Cleaning, RecordSpec};

/// Arbitrary batches, passes of the cleaner over others, and markers of transactions.
const ARBITRARY_COUNT: u64 = 400;
const CLEANINGS_COUNT: u64 = 200;
const MARKERS_COUNT: u64 = 100;

#[test]
fn each_side_reads_what_the_other_builds() {
    let oracle = Oracle::of(Release::New);
    let named = named(&oracle).into_iter();
    let mut specs: Vec<_> = named
        .filter_map(|(name, source)| match source {
            Source::Built(spec) => Some((name.to_owned(), spec)),
            Source::Cleaned(_) => None,
        })
        .collect();
    let mut random = Random::named("batches");
    specs.extend((0..ARBITRARY_COUNT).map(|n| (format!("arbitrary {n}"), arbitrary(&mut random))));
    for codec in Compression::ALL {
        for (name, spec) in &specs {
            let spec = BatchSpec {
                codec,
                level: spec.level.filter(|_| codec == spec.codec),
                ..spec.clone()
            };
            compare(&oracle, &format!("{name}, {}", codec.name()), &spec);
        }
    }
    println!("{} batches with each codec equal to Kafka's", specs.len());
}

fn compare(oracle: &Oracle, name: &str, spec: &BatchSpec) {
    let ours = spec.build().unwrap_or_else(|e| panic!("{name}: {e}"));
    let questions = [spec.question(), format!("batches {}", hex(&ours))];
    let [theirs, their_reading] = oracle.ask_all(&questions).try_into().unwrap();
    let theirs = unhex(&theirs.unwrap_or_else(|e| panic!("{name}: {e}")));
    assert_eq!(
        lines(their_reading),
        Ok(describe(&ours)),
        "{name}: Kafka reads ours"
    );
    let their_own = oracle.ask(&format!("batches {}", hex(&theirs)));
    assert_eq!(
        lines(their_own),
        Ok(describe(&theirs)),
        "{name}: we read Kafka's"
    );
    if spec.codec == Compression::None {
        assert_eq!(hex(&ours), hex(&theirs), "{name}");
    }
    let content = |bytes| without_sizes(describe(bytes));
    assert_eq!(content(&ours), content(&theirs), "{name}: the same content");
    let read_back = |bytes| BatchSpec::of(&RecordBatch::split_from(bytes).unwrap().0);
    assert_eq!(
        read_back(&ours),
        read_back(&theirs),
        "{name}: the same values"
    );
}

/// Lines of Kafka's reading.
pub(crate) fn lines(answer: Result<String, String>) -> Result<Vec<String>, String> {
    answer.map(|json| serde_json::from_str(&json).unwrap())
}

/// Readings without what another compressor changes.
pub(crate) fn without_sizes(lines: Vec<String>) -> Vec<String> {
    let cut = |line: String| match line.find(" crc=") {
        Some(at) => line[..at].to_owned(),
        None => line,
    };
    lines.into_iter().map(cut).collect()
}

/// What the cleaner leaves: gaps, a delete horizon, batches without records.
#[test]
fn cleaned_batches_are_read_and_built_as_kafka_does() {
    let oracle = Oracle::of(Release::New);
    let mut random = Random::named("cleanings");
    let (mut empty, mut with_horizon, mut with_gaps) = (0, 0, 0);
    for turn in 0..CLEANINGS_COUNT {
        let cleaning = arbitrary_cleaning(&mut random);
        let answer = oracle.ask(&cleaning.question());
        let cleaned = unhex(&answer.unwrap_or_else(|e| panic!("{turn}: {e}")));
        let reading = oracle.ask(&format!("batches {}", hex(&cleaned)));
        assert_eq!(
            lines(reading),
            Ok(describe(&cleaned)),
            "{turn}: {cleaning:?}"
        );
        for batch in Batches::strict(&cleaned) {
            let batch = batch.unwrap();
            empty += usize::from(batch.record_count == 0);
            with_horizon += usize::from(batch.has_delete_horizon());
            with_gaps += usize::from(
                i64::from(batch.record_count) < batch.last_offset() - batch.base_offset,
            );
            if batch.compression() == Compression::None {
                assert_eq!(
                    hex(&rebuild(&batch)),
                    hex(batch.bytes()),
                    "{turn}: {cleaning:?}"
                );
            }
        }
    }
    assert!(empty > 10 && with_horizon > 10 && with_gaps > 10);
}

fn rebuild(batch: &RecordBatch<'_>) -> Vec<u8> {
    let spec = BatchSpec::of(batch);
    if batch.record_count > 0 {
        return spec.build().unwrap();
    }
    spec.build_empty(batch.last_offset(), batch.max_timestamp)
}

#[test]
fn markers_have_the_bytes_of_kafkas() {
    let oracle = Oracle::of(Release::New);
    let mut random = Random::named("markers");
    for _ in 0..MARKERS_COUNT {
        let (base_offset, timestamp) = ((random.next() >> 1).cast_signed(), timestamp(&mut random));
        let (producer_id, producer_epoch) = (
            random.below(1 << 60).cast_signed(),
            (random.next() as i16).max(0),
        );
        let (leader_epoch, coordinator_epoch) = (random.next() as i32, random.next() as i32);
        let commit = random.one_in(2);
        let question = json!({
            "baseOffset": base_offset,
            "timestamp": timestamp,
            "leaderEpoch": leader_epoch,
            "producerId": producer_id,
            "producerEpoch": producer_epoch,
            "commit": commit,
            "coordinatorEpoch": coordinator_epoch,
        });
        let marker = EndTxnMarker {
            result: if commit {
                TransactionResult::Commit
            } else {
                TransactionResult::Abort
            },
            coordinator_epoch,
        };
        let ours = RecordBatchBuilder::end_txn_marker(
            base_offset,
            timestamp,
            producer_id,
            producer_epoch,
            marker,
        );
        let mut ours = ours.unwrap();
        ours.leader_epoch(leader_epoch);
        let theirs = oracle.ask(&format!("marker {question}"));
        assert_eq!(theirs, Ok(hex(&ours.build().unwrap())), "{question}");
    }
}

#[test]
fn a_cut_off_batch_is_left_out_by_both() {
    let oracle = Oracle::of(Release::New);
    let mut random = Random::named("cut off");
    let log: Vec<u8> = (0..3)
        .flat_map(|_| arbitrary(&mut random).build().unwrap())
        .collect();
    let questions: Vec<_> = (0..=log.len())
        .map(|end| format!("batches {}", hex(&log[..end])))
        .collect();
    for (end, answer) in oracle.ask_all(&questions).into_iter().enumerate() {
        let mut batches = Batches::new(&log[..end]);
        let whole = batches.by_ref().map(Result::unwrap).count();
        assert!(whole <= 3);
        let whole = &log[..batches.position()];
        assert_eq!(lines(answer), Ok(describe(whole)), "cut at {end}");
    }
}

/// Any batch that Kafka's builder takes.
pub(crate) fn arbitrary(random: &mut Random) -> BatchSpec {
    let base_offset = (random.next() >> (1 + random.below(63))).cast_signed();
    let base_offset = base_offset.min(i64::MAX - (1 << 32));
    let mut offset = base_offset;
    let records: Vec<_> = (0..=random.below(12))
        .map(|_| {
            if random.one_in(4) {
                offset += random.below(1000).cast_signed();
            }
            let record = arbitrary_record(random, offset);
            offset += 1;
            record
        })
        .collect();
    let idempotent = random.one_in(2);
    let append_time = random.one_in(4);
    let horizon = random.one_in(5);
    BatchSpec {
        last_offset: random
            .one_in(5)
            .then(|| offset - 1 + random.below(50).cast_signed()),
        leader_epoch: (random.next() as i32).max(-1),
        log_append_time: append_time.then(|| timestamp(random)),
        delete_horizon: horizon.then(|| timestamp(random).max(0)),
        producer_id: if idempotent {
            (random.next() >> 1).cast_signed()
        } else {
            -1
        },
        producer_epoch: if idempotent {
            (random.next() as i16).max(0)
        } else {
            -1
        },
        base_sequence: if idempotent {
            i32::MAX - random.below(20) as i32
        } else {
            -1
        },
        transactional: idempotent && random.one_in(2),
        ..BatchSpec::new(base_offset, records)
    }
}

fn arbitrary_record(random: &mut Random, offset: i64) -> RecordSpec {
    let bytes = |random: &mut Random| {
        let size = random.below(200);
        (!random.one_in(4)).then(|| random.bytes(size))
    };
    let headers = (0..random.below(4)).map(|_| {
        let keys = ["", "a", "a", "é漢", "another key"];
        let key = keys[random.below(5) as usize];
        (key.to_owned(), bytes(random))
    });
    let headers = headers.collect();
    RecordSpec {
        offset,
        timestamp: timestamp(random),
        key: bytes(random),
        value: bytes(random),
        headers,
    }
}

/// Kafka's builder takes no negative timestamp but -1.
fn timestamp(random: &mut Random) -> i64 {
    match random.below(8) {
        0 => -1,
        1 => 0,
        2 => i64::MAX,
        3 => (random.next() >> 1).cast_signed(),
        _ => 1_700_000_000_000 + random.below(1_000_000).cast_signed(),
    }
}

fn arbitrary_cleaning(random: &mut Random) -> Cleaning {
    let spec = BatchSpec {
        codec: Compression::ALL[random.below(5) as usize],
        ..arbitrary(random)
    };
    let keep_one_in = 1 + random.below(4);
    let offsets = spec.records.iter().map(|record| record.offset);
    let keep = offsets.filter(|_| random.one_in(keep_one_in));
    let keep = keep.filter(|_| keep_one_in < 4).collect();
    Cleaning {
        batches: spec.build().unwrap(),
        keep,
        retention: if random.one_in(3) {
            "DELETE_EMPTY"
        } else {
            "RETAIN_EMPTY"
        },
        now_ms: 1_700_000_000_000,
        delete_retention_ms: 86_400_000,
    }
}
