//! What PostgreSQL does with the same bytes when nothing is in its way: messages made beforehand, one connection, no broker;
//! and how fast it gives the rows of a log to a client that throws them away.

use std::time::{Duration, Instant};

use bytes::{BufMut, Bytes, BytesMut};
use futures_util::{SinkExt, TryStreamExt};
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
    select $1, u.* from unnest($2::int4[], $3::int4[], $4::int4[], $5::bytea[]) u";
const COPY: &str =
    "copy public.bench_ceiling (base, part, span, chunk, data) from stdin (format binary)";

/// Puts the bytes of `load` into a table of the server at `url` for so long.
pub(crate) fn run(url: &str, load: Produce, length: Duration) -> Sample {
    // The connection has a thread of its own: the next transaction is made while the server works.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
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

/// Reads all rows of a topic of one partition, in order.
pub(crate) fn read(url: &str, topic: &str) -> Sample {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.expect("a runtime").block_on(async {
        let (client, connection) = tokio_postgres::connect(url, NoTls)
            .await
            .expect("PostgreSQL accepts");
        tokio::spawn(connection);
        let part = "select part from kafka.partitions where topic = $1";
        let part: i32 = client
            .query_one(part, &[&topic])
            .await
            .expect("a partition")
            .get(0);
        let tables = "select table_name::text from kafka.segments order by segment_id";
        let tables = client.query(tables, &[]).await.expect("the segments");
        client
            .batch_execute("set enable_seqscan = off; set enable_bitmapscan = off")
            .await
            .expect("settings");
        let start = Instant::now();
        let mut bytes = 0;
        for table in tables {
            let table: &str = table.get(0);
            let rows = format!(
                "select base, span, chunk, data from kafka.{table} where part = $1 order by base, chunk"
            );
            let rows = client.query_raw(&rows, [part]).await.expect("rows");
            let mut rows = std::pin::pin!(rows);
            while let Some(row) = rows.try_next().await.expect("a row") {
                bytes += row.get::<_, &[u8]>(3).len() as u64;
            }
        }
        Sample {
            seconds: start.elapsed().as_secs_f64(),
            bytes,
            ..Sample::default()
        }
    })
}

async fn insert(client: &Client, load: Produce, length: Duration) -> Sample {
    let outstanding = load.connections * load.in_flight;
    let per_transaction = outstanding
        .min(TRANSACTION_BYTES_MAX / load.batch_bytes)
        .max(1);
    let data = Bytes::from(crate::raw::values(1, load.batch_bytes).swap_remove(0));
    let rows = Rows::new(&data, per_transaction);
    let with_arrays = per_transaction * load.batch_bytes <= ARRAYS_BYTES_MAX;
    let text = if with_arrays { ARRAYS } else { COPY };
    let statement = client.prepare(text).await.expect("a statement");
    let start = Instant::now();
    let counted_from = start + length / 5;
    let (mut transactions, mut latencies, mut base) = (0, Vec::new(), 0_i64);
    while start.elapsed() < length {
        base += 1;
        let begun = Instant::now();
        if with_arrays {
            rows.arrays(client, &statement, base).await;
        } else {
            rows.copy(client, &statement, base).await;
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

/// The rows of one transaction, as columns and as a COPY stream that lacks only the offset.
struct Rows {
    part: Vec<i32>,
    span: Vec<i32>,
    chunk: Vec<i32>,
    data: Vec<Bytes>,
    stream: Vec<u8>,
    /// Where the offsets stand in `stream`.
    base_at: Vec<usize>,
}

impl Rows {
    fn new(batch: &Bytes, batches: usize) -> Self {
        let mut rows = Self {
            part: Vec::new(),
            span: Vec::new(),
            chunk: Vec::new(),
            data: Vec::new(),
            stream: Vec::new(),
            base_at: Vec::new(),
        };
        rows.stream.put_slice(b"PGCOPY\n\xff\r\n\0");
        rows.stream.put_slice(&[0; 8]);
        for part in 0..batches as i32 {
            for (chunk, piece) in (0..).zip(batch.chunks(CHUNK_BYTES)) {
                rows.part.push(part);
                rows.span.push(0);
                rows.chunk.push(chunk);
                rows.data.push(batch.slice_ref(piece));
                rows.stream.put_i16(5);
                rows.stream.put_i32(8);
                rows.base_at.push(rows.stream.len());
                rows.stream.put_i64(0);
                for number in [part, 0, chunk] {
                    rows.stream.put_i32(4);
                    rows.stream.put_i32(number);
                }
                rows.stream.put_i32(piece.len() as i32);
                rows.stream.put_slice(piece);
            }
        }
        rows.stream.put_i16(-1);
        rows
    }

    async fn arrays(&self, client: &Client, statement: &Statement, base: i64) {
        let data: Vec<&[u8]> = self.data.iter().map(Bytes::as_ref).collect();
        let inserted = client
            .execute(
                statement,
                &[&base, &self.part, &self.span, &self.chunk, &data],
            )
            .await;
        inserted.expect("rows are stored");
    }

    async fn copy(&self, client: &Client, statement: &Statement, base: i64) {
        let sink: CopyInSink<Bytes> = client.copy_in(statement).await.expect("COPY begins");
        let mut sink = std::pin::pin!(sink);
        let mut message = BytesMut::from(self.stream.as_slice());
        for at in &self.base_at {
            message[*at..*at + 8].copy_from_slice(&base.to_be_bytes());
        }
        sink.feed(message.freeze()).await.expect("rows are taken");
        sink.finish().await.expect("rows are stored");
    }
}
