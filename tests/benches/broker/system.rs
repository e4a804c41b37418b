//! The systems under load: started, watched, stopped.

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use protocol::messages::{
    ApiVersionsRequest, DeleteTopicsRequest, MetadataRequest, MetadataResponse,
};
use tests::Broker;
use tests::kafka::Kafka;
use tests::wire::Connection;
use tokio_postgres::NoTls;

use crate::ceiling;
use crate::load::{Kind, Load, Sample};

/// The private PostgreSQL is set up anew when it has grown beyond this.
const DISK_BYTES_MAX: u64 = 12 << 30;

/// A column of the table.
#[derive(Debug)]
pub(crate) struct System {
    pub(crate) name: String,
    process: Process,
}

#[derive(Debug)]
enum Process {
    PgKafka(Box<Broker>),
    /// In the PostgreSQL of the first system.
    Ceiling,
    Kafka(Box<Kafka>),
}

impl System {
    pub(crate) fn pg_kafka() -> Self {
        let mut broker = Broker::start();
        assert!(broker.is_ready_or_ended(), "the broker has ended");
        Self {
            name: "pg_kafka".to_owned(),
            process: Process::PgKafka(Box::new(broker)),
        }
    }

    pub(crate) fn ceiling() -> Self {
        Self {
            name: "ceiling".to_owned(),
            process: Process::Ceiling,
        }
    }

    pub(crate) fn kafka(name: &str, settings: &[&str]) -> Self {
        Self {
            name: name.to_owned(),
            process: Process::Kafka(Box::new(Kafka::start(
                &[settings, &["log.segment.delete.delay.ms=0"]].concat(),
            ))),
        }
    }

    pub(crate) fn is_kafka(&self) -> bool {
        matches!(self.process, Process::Kafka(_))
    }

    /// The port of a broker; 0 for what is none.
    pub(crate) fn port(&self) -> u16 {
        match &self.process {
            Process::PgKafka(broker) => broker.port(),
            Process::Ceiling => 0,
            Process::Kafka(kafka) => kafka.port(),
        }
    }

    fn root_processes(&self) -> Vec<u32> {
        match &self.process {
            Process::PgKafka(broker) => {
                let pids = [Some(broker.pid()), broker.postmaster()];
                let number = |p: rustix::process::Pid| p.as_raw_nonzero().get().unsigned_abs();
                pids.into_iter().flatten().map(number).collect()
            }
            Process::Ceiling => Vec::new(),
            Process::Kafka(kafka) => vec![kafka.pid()],
        }
    }

    fn disk_bytes(&self) -> u64 {
        match &self.process {
            Process::PgKafka(broker) => {
                query(&url(broker), "select pg_database_size(current_database())")
            }
            Process::Ceiling => 0,
            Process::Kafka(kafka) => disk_bytes(&kafka.log_dir()),
        }
    }

    fn wal_bytes(&self) -> u64 {
        match &self.process {
            Process::PgKafka(broker) => {
                query(&url(broker), "select (pg_current_wal_lsn() - '0/0')::int8")
            }
            _ => 0,
        }
    }

    fn resident_bytes(&self) -> u64 {
        let pid = self.root_processes().first().copied().unwrap_or(0);
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"));
        let kib = line.and_then(|l| l.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok());
        kib.unwrap_or(0) * 1024
    }
}

/// Runs a load on the system at `at`; `None` where it makes no sense there.
pub(crate) fn run(systems: &mut [System], at: usize, load: &Load, seconds: f64) -> Option<Sample> {
    if matches!(systems[at].process, Process::Ceiling) {
        let Process::PgKafka(broker) = &mut systems[0].process else {
            return None;
        };
        let sample = match load.kind {
            Kind::Produce(produce) => {
                ceiling::run(&url(broker), produce, Duration::from_secs_f64(seconds))
            }
            Kind::FetchCold { .. } => {
                let topic = load.prepare(broker.port()).expect("a filled topic");
                start_cold(broker);
                ceiling::read(&url(broker), &topic)
            }
            _ => return None,
        };
        settle();
        return Some(sample);
    }
    renew(&mut systems[at]);
    let topic = load.prepare(systems[at].port());
    if load.is_cold()
        && let Process::PgKafka(broker) = &mut systems[at].process
    {
        start_cold(broker);
    }
    settle();
    let system = &systems[at];
    let (cpu, wal, disk) = (cpu_ticks(system), system.wal_bytes(), system.disk_bytes());
    let client = own_ticks();
    let mut sample = load.run_prepared(system.port(), topic.as_deref(), seconds);
    let now = cpu_ticks(system);
    sample.cpu_seconds = seconds_between(&cpu, &now);
    sample.broker_cpu_seconds = seconds_between(&of_broker(system, &cpu), &of_broker(system, &now));
    sample.client_cpu_seconds = seconds_between(&client, &own_ticks());
    sample.wal_bytes = system.wal_bytes() - wal;
    sample.disk_bytes = system.disk_bytes().saturating_sub(disk);
    sample.resident_bytes = system.resident_bytes();
    delete_topics(system.port());
    settle();
    Some(sample)
}

/// Starts the broker and its PostgreSQL anew, with nothing in their memory.
pub(crate) fn start_cold(broker: &mut Broker) {
    broker.stop();
    broker.start_again();
    // it answers when its PostgreSQL runs
    Connection::to_port(broker.port()).call(&ApiVersionsRequest::default(), 0);
    settle();
}

/// Three systems on one disk would fill it with what nobody reads any more.
fn delete_topics(port: u16) {
    let mut connection = Connection::to_port(port);
    let answer = connection.call(
        &MetadataRequest {
            topics: None,
            ..MetadataRequest::default()
        },
        9,
    );
    let response: MetadataResponse<'_> = answer.read();
    let topics = response.topics.iter().filter(|topic| !topic.is_internal);
    let names = topics.filter_map(|topic| topic.name.clone()).collect();
    let request = DeleteTopicsRequest {
        topic_names: names,
        timeout_ms: 30_000,
        ..DeleteTopicsRequest::default()
    };
    connection.call(&request, 5);
}

/// Lets nobody pay for what another has left to be written.
fn settle() {
    rustix::fs::sync();
}

/// A fresh private PostgreSQL in the place of one that has grown large.
fn renew(system: &mut System) {
    if let Process::PgKafka(_) = &system.process
        && system.disk_bytes() > DISK_BYTES_MAX
    {
        *system = System::pg_kafka();
    }
}

/// The address of the private PostgreSQL, as the broker tells it.
pub(crate) fn url(broker: &Broker) -> String {
    let log = broker.log();
    let told = log
        .rsplit("psql '")
        .next()
        .and_then(|rest| rest.split('\'').next());
    told.expect("the broker tells the address of its PostgreSQL")
        .to_owned()
}

pub(crate) fn query(url: &str, sql: &str) -> u64 {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.expect("a runtime").block_on(async {
        let (client, connection) = tokio_postgres::connect(url, NoTls)
            .await
            .expect("PostgreSQL accepts");
        tokio::spawn(connection);
        let value: i64 = client.query_one(sql, &[]).await.expect("a number").get(0);
        value.unsigned_abs()
    })
}

fn disk_bytes(dir: &Path) -> u64 {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let bytes = entries.map(|entry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => disk_bytes(&entry.path()),
        // preallocated indexes of Kafka are sparse
        Ok(metadata) => std::os::unix::fs::MetadataExt::blocks(&metadata) * 512,
        Err(_) => 0,
    });
    bytes.sum()
}

/// CPU time so far of the system's processes and their children, in ticks.
fn cpu_ticks(system: &System) -> HashMap<u32, u64> {
    let mut wanted = system.root_processes();
    let all: Vec<(u32, u32, u64)> = fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|e| process(&e.path()))
        .collect();
    let mut ticks = HashMap::new();
    while let Some(pid) = wanted.pop() {
        for (child, parent, time) in &all {
            if *child == pid {
                ticks.insert(pid, *time);
            } else if *parent == pid {
                wanted.push(*child);
            }
        }
    }
    ticks
}

/// Without its PostgreSQL.
fn of_broker(system: &System, ticks: &HashMap<u32, u64>) -> HashMap<u32, u64> {
    let broker = system.root_processes().into_iter().take(1);
    let of = |pid: u32| Some((pid, *ticks.get(&pid)?));
    broker.filter_map(of).collect()
}

/// Of this process, which is the client.
fn own_ticks() -> HashMap<u32, u64> {
    let own = process(Path::new(&format!("/proc/{}", std::process::id())));
    own.map(|(pid, _, ticks)| (pid, ticks))
        .into_iter()
        .collect()
}

/// Process, its parent, and the ticks of it and its ended children.
fn process(dir: &Path) -> Option<(u32, u32, u64)> {
    let pid = dir.file_name()?.to_str()?.parse().ok()?;
    let stat = fs::read_to_string(dir.join("stat")).ok()?;
    // after the name in brackets: state, parent, …, and as the 12th to 15th the times
    let fields: Vec<&str> = stat.rsplit_once(") ")?.1.split(' ').collect();
    let parent = fields.get(1)?.parse().ok()?;
    let times = fields
        .get(11..15)?
        .iter()
        .filter_map(|f| f.parse::<u64>().ok());
    Some((pid, parent, times.sum()))
}

fn seconds_between(before: &HashMap<u32, u64>, after: &HashMap<u32, u64>) -> f64 {
    const TICKS_PER_SECOND: f64 = 100.0;
    let sum = |ticks: &HashMap<u32, u64>| ticks.values().sum::<u64>();
    sum(after).saturating_sub(sum(before)) as f64 / TICKS_PER_SECOND
}
