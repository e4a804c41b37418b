//! The record batches of `protocol/tests/corpus`, by name.

use protocol::compression::Compression;
use tests::oracle::Oracle;

use crate::hex::unhex;
use crate::random::Random;
use crate::spec::{BatchSpec, Cleaning, RecordSpec};

const TIME_MS: i64 = 1_700_000_000_000;
const DAY_MS: i64 = 86_400_000;

/// Who makes a batch of the corpus.
pub(crate) enum Source {
    Built(BatchSpec),
    Cleaned(Cleaning),
}

impl Source {
    pub(crate) fn question(&self) -> String {
        match self {
            Self::Built(spec) => spec.question(),
            Self::Cleaned(cleaning) => cleaning.question(),
        }
    }
}

/// All of them. The cleaner's are made from batches that Kafka builds.
pub(crate) fn named(oracle: &Oracle) -> Vec<(&'static str, Source)> {
    let mut all: Vec<_> = [plain(), from_producers(), markers(), compressed()]
        .into_iter()
        .flatten()
        .map(|(name, spec)| (name, Source::Built(spec)))
        .collect();
    let clean = |spec: &BatchSpec, keep: &[i64]| {
        let built = oracle.ask(&spec.question()).unwrap();
        Source::Cleaned(Cleaning {
            batches: unhex(&built),
            keep: keep.to_vec(),
            retention: "RETAIN_EMPTY",
            now_ms: TIME_MS,
            delete_retention_ms: DAY_MS,
        })
    };
    let transactional = BatchSpec {
        leader_epoch: 4,
        producer_id: 4000,
        producer_epoch: 3,
        base_sequence: 2_147_483_640,
        transactional: true,
        ..BatchSpec::new(
            50,
            (50..62)
                .map(|at| record(at, TIME_MS + at, "k", "v"))
                .collect(),
        )
    };
    all.push(("empty_kept_by_cleaner", clean(&transactional, &[])));
    all.push(("gaps_of_cleaner", clean(&transactional, &[52, 53, 60])));
    let tombstones = BatchSpec {
        leader_epoch: 2,
        ..BatchSpec::new(0, mixed(0))
    };
    all.push(("horizon_of_cleaner", clean(&tombstones, &[1, 2])));
    let zstd = BatchSpec {
        codec: Compression::Zstd,
        ..tombstones
    };
    all.push(("horizon_of_cleaner_zstd", clean(&zstd, &[1, 2])));
    let (_, commit) = markers().swap_remove(0);
    all.push(("horizon_of_marker", clean(&commit, &[70])));
    all
}

fn plain() -> Vec<(&'static str, BatchSpec)> {
    let at = |offset, timestamp, key, value| record(offset, timestamp, key, value);
    vec![
        ("plain", BatchSpec::new(0, mixed(0))),
        (
            "log_append_time",
            BatchSpec {
                leader_epoch: 5,
                log_append_time: Some(TIME_MS + 9999),
                ..BatchSpec::new(1 << 40, mixed(1 << 40))
            },
        ),
        (
            "gaps",
            BatchSpec {
                leader_epoch: 2,
                last_offset: Some(400),
                ..BatchSpec::new(
                    100,
                    vec![
                        at(100, 5, "a", "1"),
                        at(103, 7, "b", "2"),
                        at(300, 6, "c", "3"),
                    ],
                )
            },
        ),
        (
            "extreme_timestamps",
            BatchSpec::new(
                0,
                vec![
                    RecordSpec {
                        value: None,
                        ..at(0, i64::MAX, "far", "")
                    },
                    RecordSpec {
                        value: None,
                        ..at(1, -1, "none", "")
                    },
                    RecordSpec {
                        key: None,
                        ..at(2, 0, "", "zero")
                    },
                ],
            ),
        ),
    ]
}

fn from_producers() -> Vec<(&'static str, BatchSpec)> {
    let mut five = mixed(10);
    five.push(record(14, TIME_MS + 501, "k5", "v5"));
    vec![
        (
            "sequence_wraps",
            BatchSpec {
                leader_epoch: 0,
                producer_id: 4000,
                producer_epoch: 3,
                base_sequence: 2_147_483_646,
                ..BatchSpec::new(10, five)
            },
        ),
        (
            "transactional",
            BatchSpec {
                producer_id: 9_007_199_254_740_993,
                producer_epoch: i16::MAX,
                base_sequence: 0,
                transactional: true,
                ..BatchSpec::new(0, mixed(0))
            },
        ),
        (
            "delete_horizon",
            BatchSpec {
                last_offset: Some(26),
                leader_epoch: 2,
                delete_horizon: Some(TIME_MS + 100_000),
                producer_id: 4000,
                producer_epoch: 3,
                base_sequence: 7,
                ..BatchSpec::new(
                    20,
                    vec![
                        RecordSpec {
                            value: None,
                            ..record(21, TIME_MS, "gone", "")
                        },
                        record(25, TIME_MS + 200_000, "kept", "v"),
                    ],
                )
            },
        ),
    ]
}

fn markers() -> Vec<(&'static str, BatchSpec)> {
    let control = |base_offset, timestamp, key: &[u8], value: &[u8]| BatchSpec {
        control: true,
        ..BatchSpec::new(
            base_offset,
            vec![RecordSpec {
                offset: base_offset,
                timestamp: TIME_MS + timestamp,
                key: Some(key.to_vec()),
                value: Some(value.to_vec()),
                headers: Vec::new(),
            }],
        )
    };
    let end_of_transaction = |producer_epoch, batch| BatchSpec {
        leader_epoch: 6,
        producer_id: 4000,
        producer_epoch,
        transactional: true,
        ..batch
    };
    let commit = control(70, 888, &[0, 0, 0, 1], &[0, 0, 0, 0, 0, 11]);
    let abort = control(71, 889, &[0, 0, 0, 0], &[0, 0, 0xff, 0xff, 0xff, 0xff]);
    let leader_change = control(80, 890, &[0, 0, 0, 2], &[0, 0, 0, 0, 0, 1, 1, 1, 0]);
    vec![
        ("commit", end_of_transaction(3, commit)),
        ("abort", end_of_transaction(4, abort)),
        (
            "leader_change",
            BatchSpec {
                leader_epoch: 7,
                ..leader_change
            },
        ),
    ]
}

fn compressed() -> Vec<(&'static str, BatchSpec)> {
    let of = |codec, level, records: &[RecordSpec]| BatchSpec {
        codec,
        level,
        producer_id: 4000,
        producer_epoch: 0,
        base_sequence: 0,
        ..BatchSpec::new(0, records.to_vec())
    };
    let mut many = mixed(0);
    let words = "the quick brown fox jumps over the lazy dog ".repeat(2500);
    many.push(record(4, TIME_MS + 600, "big", &words[..100_000]));
    many.push(record(5, TIME_MS + 601, "small", "tail"));
    let noise = Random::named("noise").bytes(600);
    let incompressible = [RecordSpec {
        key: None,
        value: Some(noise),
        ..record(0, TIME_MS + 600, "", "")
    }];
    vec![
        ("gzip", of(Compression::Gzip, None, &many)),
        ("snappy", of(Compression::Snappy, None, &many)),
        ("lz4", of(Compression::Lz4, None, &many)),
        ("lz4_17", of(Compression::Lz4, Some(17), &many)),
        ("zstd", of(Compression::Zstd, None, &many)),
        ("zstd_19", of(Compression::Zstd, Some(19), &many)),
        (
            "gzip_incompressible",
            of(Compression::Gzip, None, &incompressible),
        ),
        (
            "snappy_incompressible",
            of(Compression::Snappy, None, &incompressible),
        ),
        (
            "lz4_incompressible",
            of(Compression::Lz4, None, &incompressible),
        ),
        (
            "zstd_incompressible",
            of(Compression::Zstd, None, &incompressible),
        ),
    ]
}

fn record(offset: i64, timestamp: i64, key: &str, value: &str) -> RecordSpec {
    RecordSpec {
        offset,
        timestamp,
        key: Some(key.as_bytes().to_vec()),
        value: Some(value.as_bytes().to_vec()),
        headers: Vec::new(),
    }
}

/// Four records with nulls, empty values, and headers that repeat a key, are empty, null or long.
fn mixed(base_offset: i64) -> Vec<RecordSpec> {
    let header = |key: &str, value: Option<&[u8]>| (key.to_owned(), value.map(<[u8]>::to_vec));
    let at = |delta, timestamp| record(base_offset + delta, TIME_MS + timestamp, "", "");
    vec![
        RecordSpec {
            headers: vec![
                header("a", Some(b"1")),
                header("a", None),
                header("", Some(b"")),
                header("a", Some(b"2")),
            ],
            ..record(base_offset, TIME_MS, "key", "value")
        },
        RecordSpec {
            key: None,
            ..at(1, -1)
        },
        RecordSpec {
            value: None,
            ..at(2, 1000)
        },
        RecordSpec {
            key: None,
            value: None,
            headers: vec![header("é漢", Some(&[0; 300]))],
            ..at(3, 500)
        },
    ]
}
