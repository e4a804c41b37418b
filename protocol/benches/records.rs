//! Throughput of record batches, in bytes of records without compression: checksum, walk, validation and building.
#![allow(clippy::unwrap_used, reason = "a bench may panic")]

use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use protocol::compression::Compression;
use protocol::records::{RecordBatch, RecordBatchBuilder, ValidateOptions, validate};

const CAP_BYTES: usize = 64 << 20;
const BATCH_BYTES: usize = 256 << 10;
const VALUE_BYTES: [usize; 2] = [100, 1024];

const OPTIONS: ValidateOptions = ValidateOptions {
    batch_bytes_max: CAP_BYTES,
    output_bytes_max: CAP_BYTES,
    walk_records: true,
};

/// A value like a line of JSON: text that compresses a few times.
fn value(number: usize, bytes: usize) -> Vec<u8> {
    let mut value = String::new();
    for field in 0.. {
        if value.len() >= bytes {
            break;
        }
        let noise = number.wrapping_mul(0x9e37_79b9).rotate_left(field) % 100_000;
        value.push_str(&format!("\"field{field}\":{noise},"));
    }
    value.truncate(bytes);
    value.into_bytes()
}

fn build(values: &[Vec<u8>], codec: Compression) -> Vec<u8> {
    let mut builder = RecordBatchBuilder::new(0);
    builder.compression(codec, None).producer(1, 0, 0);
    for (timestamp, value) in (1_700_000_000_000i64..).zip(values) {
        let key = timestamp.to_be_bytes();
        builder
            .append(timestamp, Some(&key), Some(value), &[])
            .unwrap();
    }
    builder.build().unwrap()
}

fn walk(batch: &RecordBatch<'_>) -> usize {
    let records = batch.records(CAP_BYTES).unwrap();
    records
        .iter()
        .map(|record| record.unwrap().value.map_or(0, <[u8]>::len))
        .sum()
}

fn bench(criterion: &mut Criterion) {
    for value_bytes in VALUE_BYTES {
        let values: Vec<_> = (0..BATCH_BYTES / value_bytes)
            .map(|number| value(number, value_bytes))
            .collect();
        let plain = build(&values, Compression::None);
        let mut group = criterion.benchmark_group(format!("{value_bytes} byte values"));
        group
            .measurement_time(Duration::from_secs(2))
            .warm_up_time(Duration::from_millis(500));
        group.throughput(Throughput::Bytes(plain.len() as u64));
        let (batch, _) = RecordBatch::split_from(&plain).unwrap();
        group.bench_function("crc", |bench| {
            bench.iter(|| black_box(&batch).verify_crc().unwrap())
        });
        group.bench_function("walk", |bench| bench.iter(|| walk(black_box(&batch))));
        for codec in Compression::ALL {
            let bytes = build(&values, codec);
            group.bench_with_input(
                BenchmarkId::new("validate", codec.name()),
                &bytes,
                |bench, bytes| {
                    bench.iter(|| {
                        validate(black_box(bytes), &OPTIONS)
                            .unwrap()
                            .max_timestamp_delta
                    });
                },
            );
            group.bench_function(BenchmarkId::new("build", codec.name()), |bench| {
                bench.iter(|| build(black_box(&values), codec).len());
            });
        }
        group.finish();
    }
}

criterion_group!(benches, bench);
criterion_main!(benches);
