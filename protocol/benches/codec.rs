//! Time to decode and encode the messages that matter for throughput and for the size of a cluster's metadata, here and
//! by the `kafka-protocol` crate. `metadata response, built and encoded` adds the building, from borrowed state.

mod cases;

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use protocol::Message as _;
use protocol::wire::Writer;

fn codec(criterion: &mut Criterion) {
    for case in cases::all() {
        let mut group = criterion.benchmark_group(case.name);
        for mut work in case.works {
            let title = format!("{}, {}", work.what, work.by);
            group.bench_function(title, |bencher| bencher.iter(&mut work.run));
        }
        group.finish();
    }
    let (names, nodes) = (cases::names(100), [1, 2, 3]);
    let mut writer = Writer::new();
    criterion.bench_function("metadata response, built and encoded", |bencher| {
        bencher.iter(|| {
            writer.clear();
            let response = cases::metadata(black_box(names), &nodes, 12);
            let written = response.encode(&mut writer, 12);
            written.expect("the message fits its version");
            writer.size()
        });
    });
}

criterion_group!(benches, codec);
criterion_main!(benches);
