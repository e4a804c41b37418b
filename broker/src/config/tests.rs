//! Tests of the settings: sources, their order, and what is refused.

use std::ffi::OsString;

use super::sources::default_file;
use super::*;

fn load_with(arguments: &[&str], variables: &[(&str, &str)]) -> Result<Config, ConfigError> {
    let arguments = std::iter::once("pg_kafka").chain(arguments.iter().copied());
    let variables = variables
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    match load(arguments.map(OsString::from), variables)? {
        Command::Run(config) => Ok(*config),
        other => panic!("not asked for {other:?}"),
    }
}

fn file(text: &str) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    file
}

fn load_file(text: &str) -> Result<Config, ConfigError> {
    let file = file(text);
    load_with(&["--config", file.path().to_str().unwrap()], &[])
}

#[test]
fn nothing_given_is_the_defaults() {
    assert_eq!(load_with(&[], &[]).unwrap(), Config::default());
}

#[test]
fn flags_go_before_variables_and_variables_before_the_file() {
    let file = file("num.partitions = 2\nmessage.max.bytes = 2000\nnode.id = 2");
    let variables = [
        ("PG_KAFKA_CONFIG", file.path().to_str().unwrap()),
        ("PG_KAFKA_NUM_PARTITIONS", "3"),
        ("PG_KAFKA_MESSAGE_MAX_BYTES", "3000"),
        ("HOME", "/"),
    ];
    let config = load_with(&["--num-partitions", "4"], &variables).unwrap();
    assert_eq!(config.num_partitions, 4);
    assert_eq!(config.message_max_bytes, 3000);
    assert_eq!(config.node_id, 2);
}

#[test]
fn kafkas_dotted_names_are_flags_too() {
    let config = load_with(&["--num.partitions=7", "--broker-id=5"], &[]).unwrap();
    assert_eq!((config.num_partitions, config.node_id), (7, 5));
}

#[test]
fn dotted_and_quoted_keys_are_the_same() {
    let text = "[max]\nin.flight.requests.per.connection = 3\n[advertised]\nlisteners = \"PLAINTEXT://a:1\"";
    let config = load_file(text).unwrap();
    assert_eq!(config.max_in_flight_requests_per_connection, 3);
    let quoted = "\"max.connections\" = 10\n\"max.connections.per.ip\" = 5\n\"auto.create.topics.enable\" = false";
    let config = load_file(quoted).unwrap();
    let limits = (config.max_connections, config.max_connections_per_ip);
    assert_eq!((limits, config.auto_create_topics_enable), ((10, 5), false));
}

#[track_caller]
fn refused(result: Result<Config, ConfigError>, parts: &[&str]) {
    let text = result.unwrap_err().to_string();
    for part in parts {
        assert!(text.contains(part), "`{part}` is not in: {text}");
    }
}

#[test]
fn unknown_names_are_errors_with_a_hint() {
    let hint = "did you mean `num.partitions`?";
    refused(load_file("num.partition = 1"), &["num.partition", hint]);
    let misspelt = [("PG_KAFKA_NUM_PARTITONS", "1")];
    refused(load_with(&[], &misspelt), &["PG_KAFKA_NUM_PARTITONS", hint]);
    refused(
        load_with(&["--num-partition", "1"], &[]),
        &["--num-partitions"],
    );
    refused(
        load_file("zookeeper.connect = \"a\""),
        &["--print-default-config"],
    );
}

#[test]
fn wrong_values_are_errors_that_say_why() {
    let number = ["num.partitions", "`many`", "whole number"];
    refused(load_with(&["--num-partitions", "many"], &[]), &number);
    refused(
        load_with(&["--num-partitions", "0"], &[]),
        &["the least value is 1"],
    );
    refused(
        load_with(&["--num-partitions", "-1"], &[]),
        &["the least value is 1"],
    );
    refused(
        load_with(&["--num-partitions", "3000000000"], &[]),
        &["the largest value is 2147483647"],
    );
    refused(load_file("num.partitions = [1]"), &["a number"]);
    refused(load_file("num.partitions ="), &["not TOML"]);
    refused(
        load_with(&["--config", "/nonexistent/file"], &[]),
        &["/nonexistent/file"],
    );
    refused(
        load_with(&["--listeners", "SSL://:9093"], &[]),
        &["only PLAINTEXT"],
    );
    refused(load_with(&["--listeners", "localhost"], &[]), &["port"]);
    refused(
        load_with(&["--listeners", "PLAINTEXT://a:1,PLAINTEXT://b:2"], &[]),
        &["one listener"],
    );
    refused(
        load_with(&["--advertised-listeners", "PLAINTEXT://0.0.0.0:9092"], &[]),
        &["advertised.listeners"],
    );
    refused(
        load_with(&["--queued-max-request-bytes", "2048"], &[]),
        &["socket.request.max.bytes"],
    );
}

#[test]
fn the_printed_file_holds_every_default() {
    let text = default_file();
    let lines = text.lines().filter_map(|line| {
        let line = line.strip_prefix('#')?;
        line.contains(" = ").then_some(line).filter(|line| {
            line.starts_with('"') || line.starts_with(|first: char| first.is_ascii_lowercase())
        })
    });
    let lines: Vec<&str> = lines.collect();
    assert_eq!(lines.len(), super::settings().count());
    assert_eq!(load_file(&lines.join("\n")).unwrap(), Config::default());
}

#[test]
fn listeners_are_read_in_every_form() {
    let read = |text: &str| {
        let endpoint: Endpoint = text.parse().unwrap();
        (endpoint.host.clone(), endpoint.port, endpoint.is_wildcard())
    };
    assert_eq!(
        read("PLAINTEXT://broker:9092"),
        ("broker".into(), 9092, false)
    );
    assert_eq!(read("PLAINTEXT://:9092"), (String::new(), 9092, true));
    assert_eq!(read("127.0.0.1:0"), ("127.0.0.1".into(), 0, false));
    assert_eq!(read("PLAINTEXT://[::1]:9092"), ("::1".into(), 9092, false));
    assert!("PLAINTEXT://::1:9092".parse::<Endpoint>().is_err());
    let bracketed: Endpoint = "[::1]:9092".parse().unwrap();
    assert_eq!(bracketed.to_string(), "[::1]:9092");
}

#[test]
fn clients_are_told_the_address_they_reached_only_for_a_wildcard() {
    let reached = Some("10.0.0.7:5000".parse().unwrap());
    let advertised = |arguments: &[&str]| {
        let config = load_with(arguments, &[]).unwrap();
        config.advertised(9093, reached).to_string()
    };
    assert_eq!(advertised(&[]), "localhost:9093");
    assert_eq!(advertised(&["--listeners", ":0"]), "10.0.0.7:9093");
    let told = ["--advertised-listeners", "kafka.example:19092"];
    assert_eq!(advertised(&told), "kafka.example:19092");
}

#[test]
fn passwords_are_not_shown() {
    for url in [
        "postgres://me:secret@db/kafka",
        "host=db user=me password=secret dbname=kafka",
    ] {
        let config = load_with(&["--database-url", url], &[]).unwrap();
        let shown = format!("{config:?} {}", config.database_url.as_ref().unwrap());
        assert!(!shown.contains("secret"), "{shown}");
        assert_eq!(config.database_url.unwrap().expose(), url);
    }
}

#[test]
fn settings_of_groups_have_kafkas_limits() {
    // Kafka has none for these, nor between them.
    let config = load_with(
        &[
            "--group-min-session-timeout-ms=-7",
            "--group-max-session-timeout-ms=-9",
            "--group-initial-rebalance-delay-ms=-5",
            "--offset-metadata-max-bytes=-1",
        ],
        &[],
    );
    assert_eq!(config.unwrap().group_min_session_timeout_ms, -7);
    refused(load_with(&["--group-max-size=0"], &[]), &["group.max.size"]);
}

#[test]
fn settings_of_what_is_not_served_are_taken_and_named() {
    let text = "group.share.max.size = 300\ngroup.streams.max.standby.replicas = 2\nshare.coordinator.threads = 4\nnum.partitions = 5";
    let config = load_file(text).unwrap();
    let named: Vec<_> = config.without_effect().collect();
    let expected = [
        ("group.share.max.size", "300"),
        ("share.coordinator.threads", "4"),
    ];
    assert_eq!(named, expected, "what is given and is not the default");
    let beyond = load_file("group.share.max.size = 1001");
    refused(beyond, &["group.share.max.size", "1001"]);
}
