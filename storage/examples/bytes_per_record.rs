//! Bytes of WAL and of disk per record over a whole life: appended, sealed, frozen, read after a checkpoint, dropped.
//!
//! `cargo run --release -p storage --example bytes_per_record [-- <bytes per value> [<bytes per batch> [<batches per flush>]]]`; 100,
//! 65536 and 16 if not said. A private PostgreSQL with its usual settings is used, in a temporary directory. What it prints
//! counts bytes, so that it holds on a busy machine too. At the end it reads by SQL what the goal says, 100,000 records of
//! 100 bytes, and prints the CPU time of that, and the time it took.
#![expect(
    clippy::print_stdout,
    reason = "its output is the purpose of this program"
)]

use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use bytes::Bytes;
use protocol::records::{RecordBatchBuilder, patch_base_offset};
use storage::embedded::{Embedded, EmbeddedConfig};
use storage::{DatabaseConfig, LaneWriter, NewTopic, Run, Store};
use tokio_postgres::{Client, NoTls};
use uuid::Uuid;

type Failure = Box<dyn std::error::Error>;

/// Payload of the whole measurement.
const TOTAL_BYTES: usize = 256 << 20;
/// Several segments, so that most are sealed in the end.
const SEGMENT_BYTES: u64 = 32 << 20;
/// About what a record has in a batch besides its value.
const RECORD_OVERHEAD: usize = 11;
const READ_BY_SQL: i64 = 100_000;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1).map(|text| text.parse::<usize>());
    let mut next = |default| arguments.next().unwrap_or(Ok(default));
    let (value_bytes, batch_bytes, batches) = (next(100)?, next(64 << 10)?, next(16)?);
    let dir = tempfile::tempdir()?;
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o711))?;
    let config = EmbeddedConfig {
        data_dir: dir.path().to_path_buf(),
        ..EmbeddedConfig::default()
    };
    let embedded = Embedded::start(&config).await?;
    let measured = measure(embedded.url(), value_bytes, batch_bytes, batches).await;
    embedded.stop().await?;
    measured
}

async fn measure(
    url: &str,
    value_bytes: usize,
    batch_bytes: usize,
    batches: usize,
) -> Result<(), Failure> {
    let store = Store::open(&DatabaseConfig {
        segment_bytes: SEGMENT_BYTES,
        segment_age: Duration::from_secs(1),
        ..DatabaseConfig::new(url)
    })
    .await?;
    let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
    tokio::spawn(connection);
    let topic = NewTopic {
        name: "t".to_owned(),
        topic_id: Uuid::new_v4(),
        partitions: 1,
        lanes: vec![0],
        settings: Vec::new(),
    };
    let topic = store.create_topics(&[topic]).await?.remove(0)?;
    let (batch, records) = batch(value_bytes, batch_bytes)?;
    println!(
        "{records} records of {value_bytes} bytes in a batch of {} bytes, {batches} batches in a flush",
        batch.len()
    );
    let lease = store.claim_lane(0, Uuid::new_v4()).await?;
    let mut writer = store.lane_writer(lease).await?;
    client.batch_execute("checkpoint").await?;

    let mut meter = Meter::start(&client).await?;
    let part = topic.partitions[0].id;
    let appended = append(&mut writer, part, &batch, i64::from(records), batches).await?;
    let bytes_per_record = batch.len() as f64 / f64::from(records);
    println!("{appended} records, {bytes_per_record:.1} bytes each in their batches\n");
    println!("| step | WAL bytes per record | disk bytes per record |\n|---|---|---|");
    meter.row("append and roll", appended).await?;
    wait_until_frozen(&client).await?;
    meter.row("seal and freeze what is left", appended).await?;
    client.batch_execute("checkpoint").await?;
    meter.row("checkpoint", appended).await?;
    let read = read_all(&store, part).await?;
    meter.row("read all", appended).await?;
    assert_eq!(read, appended, "all records were read");
    by_sql(&client, value_bytes).await?;
    store.delete_topics(&[topic.id]).await?;
    wait_until_dropped(&client).await?;
    meter.row("drop", appended).await?;
    println!(
        "| all | {:.2} | |",
        meter.wal_from_the_start as f64 / appended as f64
    );
    Ok(())
}

/// A batch of about `batch_bytes` at offset 0, and how many records it has.
fn batch(value_bytes: usize, batch_bytes: usize) -> Result<(Vec<u8>, i32), Failure> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut builder = RecordBatchBuilder::new(0);
    let mut records = 0;
    let mut bytes = 61;
    while records == 0 || bytes + value_bytes + RECORD_OVERHEAD <= batch_bytes {
        let value: Vec<u8> = (0..value_bytes)
            .map(|_| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                state as u8
            })
            .collect();
        builder.append(
            1_700_000_000_000 + i64::from(records),
            None,
            Some(&value),
            &[],
        )?;
        records += 1;
        bytes += value_bytes + RECORD_OVERHEAD;
    }
    Ok((builder.build()?, records))
}

async fn append(
    writer: &mut LaneWriter,
    part: i32,
    batch: &[u8],
    records: i64,
    batches: usize,
) -> Result<i64, Failure> {
    let mut offset = 0;
    let mut payload = 0;
    while payload < TOTAL_BYTES {
        let base_offset = offset;
        let mut data: Vec<Bytes> = Vec::with_capacity(batches);
        for _ in 0..batches {
            let mut copy = batch.to_vec();
            patch_base_offset(&mut copy, offset)?;
            payload += copy.len();
            offset += records;
            data.push(copy.into());
        }
        let run = Run {
            part,
            base_offset,
            span: i32::try_from(offset - base_offset - 1)?,
            data,
        };
        let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
        writer.flush(&[run], deadline).await?;
    }
    Ok(offset)
}

async fn read_all(store: &Store, part: i32) -> Result<i64, Failure> {
    let mut next = 0;
    loop {
        let runs = store.read(part, next, 8 << 20).await?;
        let Some(last) = runs.last() else {
            return Ok(next);
        };
        next = last.last_offset + 1;
    }
}

async fn wait_until_frozen(client: &Client) -> Result<(), Failure> {
    wait(
        client,
        "select not exists (select from kafka.segments where state = 'sealed' and frozen_at is null) \
             and not exists (select from kafka.segments s join pg_class c on c.relname = s.table_name \
                 where c.relnamespace = 'kafka'::regnamespace and pg_relation_size(c.oid) > c.relpages * 8192::int8)",
    )
    .await
}

async fn wait_until_dropped(client: &Client) -> Result<(), Failure> {
    let dropped = "select not exists (select from kafka.segments where state = 'sealed')";
    wait(client, dropped).await
}

async fn wait(client: &Client, condition: &str) -> Result<(), Failure> {
    let give_up = Instant::now() + Duration::from_secs(120);
    while !client.query_one(condition, &[]).await?.get::<_, bool>(0) {
        if Instant::now() > give_up {
            return Err(format!("never: {condition}").into());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

/// Reads 100,000 records through the view.
async fn by_sql(client: &Client, value_bytes: usize) -> Result<(), Failure> {
    const SELECT: &str = "select count(*), sum(octet_length(value)) from kafka.messages \
         where topic = 't' and partition = 0";
    let row = client.query_one("select pg_backend_pid()", &[]).await?;
    let pid: i32 = row.get(0);
    // Whole partitions are read by the view: one of the wanted length is what is measured.
    client
        .execute(
            "update kafka.topic_partitions set log_start_offset = kafka.log_end_offset(id) - $1",
            &[&READ_BY_SQL],
        )
        .await?;
    let (cpu, begun) = (cpu_ticks(pid)?, Instant::now());
    let row = client.query_one(SELECT, &[]).await?;
    let (records, bytes): (i64, i64) = (row.get(0), row.get(1));
    assert_eq!(
        (records, bytes),
        (READ_BY_SQL, READ_BY_SQL * value_bytes as i64)
    );
    println!(
        "| ({READ_BY_SQL} records through kafka.messages: {:.2} s CPU, {:.2?} in all) | | |",
        (cpu_ticks(pid)? - cpu) as f64 / 100.0,
        begun.elapsed()
    );
    Ok(())
}

/// CPU time of a process so far, in hundredths of a second.
fn cpu_ticks(pid: i32) -> Result<u64, Failure> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // User and system time are the 12th and 13th field after the name, which is in brackets.
    let (_, fields) = stat.rsplit_once(") ").ok_or("a line of /proc/pid/stat")?;
    let fields: Vec<&str> = fields.split(' ').collect();
    Ok(fields[11].parse::<u64>()? + fields[12].parse::<u64>()?)
}

/// WAL written since the row before, and the size of the log on disk.
struct Meter<'a> {
    client: &'a Client,
    wal_seen: i64,
    wal_from_the_start: i64,
}

impl<'a> Meter<'a> {
    async fn start(client: &'a Client) -> Result<Self, Failure> {
        Ok(Self {
            client,
            wal_seen: wal(client).await?,
            wal_from_the_start: 0,
        })
    }

    async fn row(&mut self, step: &str, records: i64) -> Result<(), Failure> {
        const DISK: &str = "select coalesce(sum(pg_total_relation_size(oid)), 0)::int8 from pg_class \
             where relnamespace = 'kafka'::regnamespace and relkind = 'r' and relname ~ '^log_'";
        let now = wal(self.client).await?;
        let disk: i64 = self.client.query_one(DISK, &[]).await?.get(0);
        let per_record = |bytes: i64| bytes as f64 / records as f64;
        let written = now - self.wal_seen;
        println!(
            "| {step} | {:.2} | {:.2} |",
            per_record(written),
            per_record(disk)
        );
        self.wal_seen = now;
        self.wal_from_the_start += written;
        Ok(())
    }
}

async fn wal(client: &Client) -> Result<i64, Failure> {
    const WAL: &str = "select (pg_current_wal_insert_lsn() - '0/0')::int8";
    Ok(client.query_one(WAL, &[]).await?.get(0))
}
