//! What PostgreSQL does with the same bytes when nothing is in its way: rows cut beforehand, one connection, no broker.

use std::time::{Duration, Instant};

use bytes::{BufMut, Bytes, BytesMut};
use futures_util::SinkExt;
use tokio_postgres::{Client, CopyInSink, NoTls, Statement};

use crate::load::{Produce, Sample};

/// As the broker cuts them.
const CHUNK_BYTES: usize = 8_100;
/// Up to here arrays in one statement are faster than COPY.
const ARRAYS_BYTES_MAX: usize = 64 << 10;
const TRANSACTION_BYTES_MAX: usize = 1 << 20;

const TABLE: &str = "drop table if exists public.bench_ceiling;
    create table public.bench_ceiling (base int8 not null, part int4 not null, span int4 not null, chunk int4 not null,
        data bytea not null, primary key (part, base, chunk)) with (toast_tuple_target = 8160, autovacuum_enabled = false);
    alter table public.bench_ceiling alter data set storage plain";
const ARRAYS: &str = "insert into public.bench_ceiling (base, part, span, chunk, data) \
    select * from unnest($1::int8[], $2::int4[], $3::int4[], $4::int4[], $5::bytea[])";
const COPY: &str =
    "copy public.bench_ceiling (base, part, span, chunk, data) from stdin (format binary)";

/// Puts the bytes of `load` into a table of the server at `url` for so long.
pub(crate) fn run(url: &str, load: Produce, length: Duration) -> Sample {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.expect("a runtime").block_on(async {
        let (client, connection) = tokio_postgres::connect(url, NoTls)
            .await
            .expect("PostgreSQL accepts");
        tokio::spawn(connection);
        client.batch_execute(TABLE).await.expect("a table");
        let sample = insert(&client, load, length).await;
        client
            .batch_execute("drop table public.bench_ceiling")
            .await
            .expect("a table");
        sample
    })
}

async fn insert(client: &Client, load: Produce, length: Duration) -> Sample {
    let outstanding = load.connections * load.in_flight;
    let per_transaction = outstanding
        .min(TRANSACTION_BYTES_MAX / load.batch_bytes)
        .max(1);
    let data = Bytes::from(crate::raw::values(1, load.batch_bytes).swap_remove(0));
    let with_arrays = per_transaction * load.batch_bytes <= ARRAYS_BYTES_MAX;
    let text = if with_arrays { ARRAYS } else { COPY };
    let statement = client.prepare(text).await.expect("a statement");
    let start = Instant::now();
    let counted_from = start + length / 5;
    let (mut transactions, mut latencies, mut base) = (0, Vec::new(), 0_i64);
    while start.elapsed() < length {
        let rows = rows(&data, per_transaction, base);
        base += 1;
        let begun = Instant::now();
        if with_arrays {
            arrays(client, &statement, &rows).await;
        } else {
            copy(client, &statement, &rows).await;
        }
        if begun >= counted_from {
            transactions += 1;
            latencies.push(begun.elapsed());
        }
    }
    let batches = transactions * per_transaction as u64;
    let sample = Sample {
        seconds: (start.elapsed() - length / 5).as_secs_f64(),
        batches,
        records: 0,
        bytes: batches * load.batch_bytes as u64,
        ..Sample::default()
    };
    sample.with_latencies(latencies)
}

type Row = (i64, i32, i32, Bytes);

/// Offset, partition, number of the piece, piece.
fn rows(data: &Bytes, batches: usize, base: i64) -> Vec<Row> {
    let mut rows = Vec::new();
    for part in 0..batches {
        for (chunk, at) in (0..data.len()).step_by(CHUNK_BYTES).enumerate() {
            let piece = data.slice(at..data.len().min(at + CHUNK_BYTES));
            rows.push((base, part as i32, chunk as i32, piece));
        }
    }
    rows
}

async fn arrays(client: &Client, statement: &Statement, rows: &[Row]) {
    let base: Vec<i64> = rows.iter().map(|r| r.0).collect();
    let part: Vec<i32> = rows.iter().map(|r| r.1).collect();
    let span = vec![0; rows.len()];
    let chunk: Vec<i32> = rows.iter().map(|r| r.2).collect();
    let data: Vec<&[u8]> = rows.iter().map(|r| r.3.as_ref()).collect();
    let inserted = client
        .execute(statement, &[&base, &part, &span, &chunk, &data])
        .await;
    inserted.expect("rows are stored");
}

async fn copy(client: &Client, statement: &Statement, rows: &[Row]) {
    let sink: CopyInSink<Bytes> = client.copy_in(statement).await.expect("COPY begins");
    let mut sink = std::pin::pin!(sink);
    let mut message = BytesMut::with_capacity(CHUNK_BYTES * rows.len() + 64 * rows.len());
    message.put_slice(b"PGCOPY\n\xff\r\n\0");
    message.put_slice(&[0; 8]);
    for (base, part, chunk, data) in rows {
        message.put_i16(5);
        message.put_i32(8);
        message.put_i64(*base);
        for number in [*part, 0, *chunk] {
            message.put_i32(4);
            message.put_i32(number);
        }
        message.put_i32(data.len() as i32);
        message.put_slice(data);
    }
    message.put_i16(-1);
    sink.feed(message.freeze()).await.expect("rows are taken");
    sink.finish().await.expect("rows are stored");
}
