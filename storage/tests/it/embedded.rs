//! The private server: first start, restart, faults, refusals.

use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use storage::embedded::{Embedded, EmbeddedConfig};
use storage::{Error, Store};

use crate::fixture::{
    config, data_dir, postmaster_pid, read_all, replace_postmaster, run, small_server, soon, topic,
    until, writer,
};

#[tokio::test]
async fn data_survives_stop_and_start() {
    let dir = data_dir();
    let embedded = Embedded::start(&small_server(dir.path())).await.unwrap();
    let store = Store::open(&config(embedded.url())).await.unwrap();
    let part = topic(&store, "t", 1).await.partitions[0].id;
    writer(&store)
        .await
        .flush(&[run(part, 0, 3, 100)], soon())
        .await
        .unwrap();
    let cluster_id = store.cluster_id().to_owned();
    embedded.stop().await.unwrap();
    assert!(
        !dir.path().join("postgres/postmaster.pid").exists(),
        "stopped cleanly"
    );

    let embedded = Embedded::start(&small_server(dir.path())).await.unwrap();
    let store = Store::open(&config(embedded.url())).await.unwrap();
    assert_eq!(store.cluster_id(), cluster_id);
    assert_eq!(read_all(&store, part, 1).await.len(), 1);
    embedded.stop().await.unwrap();
}

#[tokio::test]
async fn server_is_private() {
    let dir = data_dir();
    let embedded = Embedded::start(&small_server(dir.path())).await.unwrap();
    let sql = crate::fixture::connect(embedded.url()).await;
    let show = async |name: &str| -> String {
        sql.query_one(&format!("show {name}"), &[])
            .await
            .unwrap()
            .get(0)
    };
    assert_eq!(show("listen_addresses").await, "");
    assert_eq!(show("data_checksums").await, "on");
    assert_eq!(show("server_encoding").await, "UTF8");
    assert_eq!(show("shared_buffers").await, "64MB", "given settings win");
    for name in ["postgres", "socket"] {
        let meta = std::fs::metadata(dir.path().join(name)).unwrap();
        assert_eq!(meta.mode() & 0o777, 0o700, "{name}");
    }
    embedded.stop().await.unwrap();
}

#[tokio::test]
async fn second_broker_on_the_directory_is_refused() {
    let dir = data_dir();
    let embedded = Embedded::start(&small_server(dir.path())).await.unwrap();
    let error = Embedded::start(&small_server(dir.path()))
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Setup(_)), "{error:?}");
    let text = error.to_string();
    assert!(
        text.contains("in use by another pg_kafka")
            && text.contains(&std::process::id().to_string()),
        "{text}"
    );
    embedded.stop().await.unwrap();
    Embedded::start(&small_server(dir.path()))
        .await
        .expect("free again")
        .stop()
        .await
        .unwrap();
}

#[tokio::test]
async fn server_that_dies_is_started_again() {
    let dir = data_dir();
    let embedded = Embedded::start(&small_server(dir.path())).await.unwrap();
    let store = Store::open(&config(embedded.url())).await.unwrap();
    replace_postmaster(dir.path()).await;
    until("it answers again", async || {
        store.load_topics().await.is_ok()
    })
    .await;
    embedded.stop().await.unwrap();
}

/// A server whose broker was killed: started by a process of its own here, as `Embedded` would stop ours.
#[tokio::test]
async fn server_left_behind_is_stopped_cleanly_and_replaced() {
    let dir = data_dir();
    let embedded = Embedded::start(&small_server(dir.path())).await.unwrap();
    let url = embedded.url().to_owned();
    embedded.stop().await.unwrap();
    let postgres = dir.path().join("postgres");
    let orphan = start_by_hand(&postgres);
    until("the orphan answers", async || {
        tokio_postgres::connect(&url, tokio_postgres::NoTls)
            .await
            .is_ok()
    })
    .await;
    assert_eq!(postmaster_pid(dir.path()), orphan);

    let embedded = Embedded::start(&small_server(dir.path())).await.unwrap();
    assert_ne!(postmaster_pid(dir.path()), orphan);
    let log = std::fs::read_to_string(dir.path().join("postgres.log")).unwrap();
    assert!(
        !log.contains("automatic recovery in progress"),
        "stopped cleanly: {log}"
    );
    crate::fixture::connect(embedded.url())
        .await
        .query_one("select 1", &[])
        .await
        .unwrap();
    embedded.stop().await.unwrap();
}

/// Process number of a postmaster that is nobody's child any more.
fn start_by_hand(postgres: &std::path::Path) -> i32 {
    use std::os::unix::process::CommandExt;
    let version = std::fs::read_to_string(postgres.join("PG_VERSION")).unwrap();
    let candidates = [
        PathBuf::from(format!("/usr/lib/postgresql/{}/bin", version.trim())),
        PathBuf::from("/usr/bin"),
    ];
    let bin = candidates
        .iter()
        .find(|dir| dir.join("postgres").exists())
        .expect("PostgreSQL's programs");
    let script = "\"$1\" -D \"$2\" </dev/null >/dev/null 2>&1 & echo $!";
    let mut command = std::process::Command::new("/bin/sh");
    command
        .args(["-c", script, "sh"])
        .arg(bin.join("postgres"))
        .arg(postgres)
        .current_dir("/");
    if rustix::process::geteuid().is_root() {
        let meta = std::fs::metadata(postgres).unwrap();
        command.uid(meta.uid()).gid(meta.gid());
    }
    String::from_utf8(command.output().unwrap().stdout)
        .unwrap()
        .trim()
        .parse()
        .unwrap()
}

#[tokio::test]
async fn process_file_with_the_number_of_another_process_is_no_obstacle() {
    let dir = data_dir();
    let embedded = Embedded::start(&small_server(dir.path())).await.unwrap();
    let pid_file = dir.path().join("postgres/postmaster.pid");
    let text = std::fs::read_to_string(&pid_file).unwrap();
    embedded.stop().await.unwrap();
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    lines[0] = std::process::id().to_string();
    std::fs::write(&pid_file, lines.join("\n")).unwrap();
    let embedded = Embedded::start(&small_server(dir.path())).await.unwrap();
    assert_ne!(postmaster_pid(dir.path()).to_string(), lines[0]);
    embedded.stop().await.unwrap();
}

#[tokio::test]
async fn initialisation_that_was_killed_is_begun_anew() {
    let dir = data_dir();
    std::fs::create_dir(dir.path().join("postgres.new")).unwrap();
    std::fs::write(dir.path().join("postgres.new/PG_VERSION"), "1").unwrap();
    let embedded = Embedded::start(&small_server(dir.path())).await.unwrap();
    assert!(!dir.path().join("postgres.new").exists());
    embedded.stop().await.unwrap();
}

#[tokio::test]
async fn long_path_gets_a_short_socket() {
    let dir = data_dir();
    let mut long = dir.path().to_path_buf();
    for _ in 0..4 {
        long.push("a-directory-with-a-name-of-some-length");
    }
    let embedded = Embedded::start(&small_server(&long)).await.unwrap();
    let config: tokio_postgres::Config = embedded.url().parse().unwrap();
    let [tokio_postgres::config::Host::Unix(socket_dir)] = config.get_hosts() else {
        panic!("{}", embedded.url())
    };
    assert!(
        socket_dir.starts_with("/tmp") && socket_dir.exists(),
        "{socket_dir:?}"
    );
    let socket_dir = socket_dir.clone();
    crate::fixture::connect(embedded.url())
        .await
        .query_one("select 1", &[])
        .await
        .unwrap();
    embedded.stop().await.unwrap();
    assert!(!socket_dir.exists(), "swept away");
}

#[tokio::test]
async fn missing_programs_and_wrong_settings_say_what_to_do() {
    let dir = data_dir();
    let nothing = EmbeddedConfig {
        bin_dir: Some("/nonexistent".into()),
        ..small_server(dir.path())
    };
    let text = Embedded::start(&nothing).await.unwrap_err().to_string();
    assert!(
        text.contains("/nonexistent") && text.contains("apt-get install"),
        "{text}"
    );

    let mut wrong = small_server(dir.path());
    wrong
        .settings
        .push(("no_such_setting".to_owned(), "1".to_owned()));
    let text = Embedded::start(&wrong).await.unwrap_err().to_string();
    assert!(text.contains("no_such_setting"), "{text}");
}

#[tokio::test]
async fn cluster_of_another_version_is_not_touched() {
    let dir = data_dir();
    let embedded = Embedded::start(&small_server(dir.path())).await.unwrap();
    embedded.stop().await.unwrap();
    std::fs::write(dir.path().join("postgres/PG_VERSION"), "9\n").unwrap();
    let text = Embedded::start(&small_server(dir.path()))
        .await
        .unwrap_err()
        .to_string();
    assert!(
        text.contains("made by PostgreSQL 9") && text.contains("pg_upgrade"),
        "{text}"
    );
}
