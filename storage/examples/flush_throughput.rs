//! Throughput of `LaneWriter::flush` beside its ceiling, the same bytes put by plain COPY into an equal table of the same server.
//!
//! `cargo run --release -p storage --example flush_throughput [-- <seconds per cell> [<database URL>]]`; without a URL a
//! private PostgreSQL in a temporary directory is used. The two take turns, three rounds, and the median of each is printed.
//! CPU seconds per GB are of this process and of the server's together (on Linux, server on this machine); they hold on a
//! busy machine too. For the small cells they are coarse.
#![expect(
    clippy::print_stdout,
    reason = "its output is the purpose of this program"
)]

use std::collections::HashMap;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use bytes::{BufMut, Bytes, BytesMut};
use futures_util::SinkExt;
use storage::embedded::{Embedded, EmbeddedConfig};
use storage::{DatabaseConfig, LaneWriter, NewTopic, Run, Store};
use tokio_postgres::{Client, CopyInSink, NoTls};
use uuid::Uuid;

type Failure = Box<dyn std::error::Error>;

const ROUNDS: usize = 3;
const CHUNK_BYTES: usize = 8_100;
/// Runs per flush and bytes per run.
const CELLS: [(usize, usize); 8] = [
    (1, 1 << 10),
    (64, 1 << 10),
    (1, 16 << 10),
    (16, 16 << 10),
    (64, 16 << 10),
    (1, 64 << 10),
    (16, 64 << 10),
    (1, 1 << 20),
];

/// One measured cell: flushes and their latencies.
struct Measured {
    gb: f64,
    mb_per_second: f64,
    p50: Duration,
    p99: Duration,
    cpu_seconds_per_gb: f64,
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    let seconds: f64 = arguments.next().map_or(Ok(2.0), |text| text.parse())?;
    let duration = Duration::from_secs_f64(seconds);
    match arguments.next() {
        Some(url) => compare(&url, duration).await,
        None => {
            let dir = tempfile::tempdir()?;
            std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o711))?;
            let config = EmbeddedConfig {
                data_dir: dir.path().to_path_buf(),
                ..EmbeddedConfig::default()
            };
            let embedded = Embedded::start(&config).await?;
            let compared = compare(embedded.url(), duration).await;
            embedded.stop().await?;
            compared
        }
    }
}

async fn compare(url: &str, duration: Duration) -> Result<(), Failure> {
    let store = Store::open(&DatabaseConfig::new(url)).await?;
    let topic = NewTopic {
        name: format!("bench-{}", Uuid::new_v4()),
        topic_id: Uuid::new_v4(),
        partitions: 64,
        lanes: vec![0],
        settings: Vec::new(),
    };
    let topic = store.create_topics(&[topic]).await?.remove(0)?;
    let parts: Vec<i32> = topic
        .partitions
        .iter()
        .map(|partition| partition.id)
        .collect();
    let mut writer = store
        .lane_writer(store.claim_lane(0, Uuid::new_v4()).await?)
        .await?;
    let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
    let driver = tokio::spawn(connection);

    println!(
        "| runs x bytes per flush | COPY alone MB/s | flush MB/s | of COPY | flush p50 | p99 | COPY CPU s/GB | flush CPU s/GB |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    let mut next_offset = 0;
    for (runs, bytes) in CELLS {
        let (mut copied, mut flushed) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let before = cpu_ticks(&client).await?;
            let mut round = copy_alone(&client, runs, bytes, duration).await?;
            let between = cpu_ticks(&client).await?;
            round.cpu_seconds_per_gb = seconds_between(&before, &between) / round.gb;
            copied.push(round);
            let mut round =
                flush(&mut writer, &parts, &mut next_offset, runs, bytes, duration).await?;
            round.cpu_seconds_per_gb =
                seconds_between(&between, &cpu_ticks(&client).await?) / round.gb;
            flushed.push(round);
        }
        let (copied, flushed) = (median(copied), median(flushed));
        let share = 100.0 * flushed.mb_per_second / copied.mb_per_second;
        println!(
            "| {runs} x {bytes} | {:.1} | {:.1} | {share:.0} % | {:.2?} | {:.2?} | {:.1} | {:.1} |",
            copied.mb_per_second,
            flushed.mb_per_second,
            flushed.p50,
            flushed.p99,
            copied.cpu_seconds_per_gb,
            flushed.cpu_seconds_per_gb
        );
    }
    store.delete_topics(&[topic.id]).await?;
    client
        .batch_execute("drop table if exists bench_copy")
        .await?;
    driver.abort();
    Ok(())
}

fn median(mut rounds: Vec<Measured>) -> Measured {
    rounds.sort_by(|a, b| a.mb_per_second.total_cmp(&b.mb_per_second));
    rounds.swap_remove(ROUNDS / 2)
}

fn measured(mut latencies: Vec<Duration>, bytes_each: usize, elapsed: Duration) -> Measured {
    latencies.sort_unstable();
    let at = |percent: usize| latencies[(latencies.len() - 1) * percent / 100];
    let gb = (latencies.len() * bytes_each) as f64 / 1e9;
    let mb_per_second = gb * 1e3 / elapsed.as_secs_f64();
    Measured {
        gb,
        mb_per_second,
        p50: at(50),
        p99: at(99),
        cpu_seconds_per_gb: 0.0,
    }
}

/// CPU time so far of this process and of each of the server's sessions and background processes, in ticks.
async fn cpu_ticks(client: &Client) -> Result<HashMap<String, u64>, Failure> {
    let rows = client
        .query("select pid from pg_stat_activity", &[])
        .await?;
    let pids = rows
        .iter()
        .map(|row| row.get::<_, i32>(0).to_string())
        .chain(["self".to_owned()]);
    let ticks = |pid: String| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // User and system time are the 12th and 13th field after the name, which is in brackets.
        let mut fields = stat.rsplit_once(") ")?.1.split(' ').skip(11);
        let (user, system): (u64, u64) =
            (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
        Some((pid, user + system))
    };
    Ok(pids.filter_map(ticks).collect())
}

/// Sessions that ended in between are not counted.
fn seconds_between(before: &HashMap<String, u64>, after: &HashMap<String, u64>) -> f64 {
    const TICKS_PER_SECOND: f64 = 100.0;
    let ticks = after
        .iter()
        .map(|(pid, ticks)| ticks - before.get(pid).unwrap_or(&0));
    ticks.sum::<u64>() as f64 / TICKS_PER_SECOND
}

fn payload(bytes: usize) -> Bytes {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut data = BytesMut::with_capacity(bytes + 8);
    while data.len() < bytes {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        data.put_u64(state);
    }
    data.truncate(bytes);
    data.freeze()
}

async fn flush(
    writer: &mut LaneWriter,
    parts: &[i32],
    next_offset: &mut i64,
    runs: usize,
    bytes: usize,
    duration: Duration,
) -> Result<Measured, Failure> {
    let data = payload(bytes);
    let mut latencies = Vec::new();
    let start = Instant::now();
    while start.elapsed() < duration {
        let run = |part: &i32| Run {
            part: *part,
            base_offset: *next_offset,
            span: 9,
            data: vec![data.clone()],
        };
        let flush: Vec<Run> = parts[..runs].iter().map(run).collect();
        *next_offset += 10;
        let begun = Instant::now();
        writer
            .flush(
                &flush,
                tokio::time::Instant::now() + Duration::from_secs(60),
            )
            .await?;
        latencies.push(begun.elapsed());
    }
    Ok(measured(latencies, runs * bytes, start.elapsed()))
}

/// Rows cut beforehand, one autocommit COPY per flush, no fence, no roll.
async fn copy_alone(
    client: &Client,
    runs: usize,
    bytes: usize,
    duration: Duration,
) -> Result<Measured, Failure> {
    client
        .batch_execute(
            "drop table if exists bench_copy;
             create table bench_copy (base int8 not null, part int4 not null, span int4 not null, chunk int4 not null,
                 data bytea not null, primary key (part, base, chunk))
                 with (toast_tuple_target = 8160, autovacuum_enabled = false);
             alter table bench_copy alter data set storage plain",
        )
        .await?;
    let copy = client
        .prepare("copy bench_copy from stdin (format binary)")
        .await?;
    let data = payload(bytes);
    let mut latencies = Vec::new();
    let mut base = 0;
    let start = Instant::now();
    while start.elapsed() < duration {
        let rows = copy_rows(&data, runs, base);
        base += 10;
        let begun = Instant::now();
        let sink: CopyInSink<Bytes> = client.copy_in(&copy).await?;
        let mut sink = std::pin::pin!(sink);
        sink.send(rows).await?;
        sink.finish().await?;
        latencies.push(begun.elapsed());
    }
    Ok(measured(latencies, runs * bytes, start.elapsed()))
}

fn copy_rows(data: &Bytes, runs: usize, base: i64) -> Bytes {
    let mut out =
        BytesMut::with_capacity(runs * (data.len() + 64 * (data.len() / CHUNK_BYTES + 1)) + 32);
    out.put_slice(b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0");
    for part in 0..runs {
        for (chunk, piece) in data.chunks(CHUNK_BYTES).enumerate() {
            out.put_i16(5);
            out.put_i32(8);
            out.put_i64(base);
            for field in [part as i32, 9, chunk as i32] {
                out.put_i32(4);
                out.put_i32(field);
            }
            out.put_i32(piece.len() as i32);
            out.put_slice(piece);
        }
    }
    out.put_i16(-1);
    out.freeze()
}
