//! A real Apache Kafka, one KRaft node on loopback, to compare with. Its jars come from Maven Central.

use std::fs::{self, File};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::broker::{Guard, free_port};
use crate::java::built;
use crate::wait_for;

const START_LIMIT: Duration = Duration::from_secs(180);

/// A running Kafka, gone with its data when dropped.
#[derive(Debug)]
pub struct Kafka {
    child: Child,
    port: u16,
    dir: PathBuf,
    _guard: Guard,
}

impl Kafka {
    /// Formats its directory and starts it, with these settings (`name=value`) besides those a single node needs.
    ///
    /// # Panics
    /// When Java or Maven are missing, or it does not come up.
    pub fn start(settings: &[&str]) -> Self {
        let jars = format!("{}/target/lib/*", built("kafka-server").display());
        let dir = tempfile::Builder::new()
            .prefix("pg_kafka-test-kafka-")
            .tempdir();
        let dir = dir.expect("a temporary directory").keep();
        let guard = Guard::new(&dir);
        let (port, controller) = (free_port(), free_port());
        let properties = dir.join("server.properties");
        let text = properties_of(port, controller, &dir, settings);
        fs::write(&properties, text).expect("the settings are written");
        let tool = |args: &[&str]| {
            let mut command = Command::new("java");
            command
                .args(["-cp", &jars, "kafka.tools.StorageTool"])
                .args(args);
            let output = command.stderr(Stdio::null()).output().expect("java runs");
            assert!(output.status.success(), "StorageTool {args:?} failed");
            String::from_utf8_lossy(&output.stdout).trim().to_owned()
        };
        let id = tool(&["random-uuid"]);
        tool(&["format", "-t", &id, "-c", &properties.display().to_string()]);
        let log = File::create(dir.join("kafka.log")).expect("a log file");
        let child = Command::new("java")
            .args(["-Xms512m", "-Xmx1g", "-cp", &jars, "kafka.Kafka"])
            .arg(&properties)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a second handle"))
            .stderr(log)
            .spawn()
            .expect("java runs");
        fs::write(dir.join("broker.pid"), child.id().to_string()).expect("a pid file");
        let kafka = Self {
            child,
            port,
            dir,
            _guard: guard,
        };
        wait_for("Apache Kafka to accept connections", START_LIMIT, || {
            TcpStream::connect(("127.0.0.1", port)).ok()
        });
        kafka
    }

    /// The port it listens on.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Where its log is.
    pub fn log_dir(&self) -> PathBuf {
        self.dir.join("data")
    }
}

impl Drop for Kafka {
    fn drop(&mut self) {
        self.child.kill().expect("kill -9");
        self.child.wait().expect("the end of Apache Kafka");
    }
}

fn properties_of(port: u16, controller: u16, dir: &Path, settings: &[&str]) -> String {
    let logs = dir.join("data");
    let mut lines = vec![
        "process.roles=broker,controller".to_owned(),
        "node.id=1".to_owned(),
        format!("controller.quorum.voters=1@127.0.0.1:{controller}"),
        format!("listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}"),
        format!("advertised.listeners=PLAINTEXT://127.0.0.1:{port}"),
        "listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT".to_owned(),
        "controller.listener.names=CONTROLLER".to_owned(),
        "inter.broker.listener.name=PLAINTEXT".to_owned(),
        format!("log.dirs={}", logs.display()),
        "offsets.topic.replication.factor=1".to_owned(),
        "transaction.state.log.replication.factor=1".to_owned(),
        "transaction.state.log.min.isr=1".to_owned(),
        "share.coordinator.state.topic.replication.factor=1".to_owned(),
        "share.coordinator.state.topic.min.isr=1".to_owned(),
    ];
    lines.extend(settings.iter().map(|s| (*s).to_owned()));
    lines.join("\n") + "\n"
}
