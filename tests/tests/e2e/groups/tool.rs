//! kafka-consumer-groups, Kafka's own tool, in all its forms.

use std::cell::RefCell;

use tests::java::ToolShell;
use tests::postgres::Postgres;
use tests::{Broker, fresh_topic, librdkafka};

use super::{broker, filled};

/// The tool, which runs again and again in one process, and the broker it is pointed at.
struct Tool {
    broker: Broker,
    shell: RefCell<ToolShell>,
}

impl Tool {
    fn start(broker: Broker) -> Self {
        Self {
            broker,
            shell: RefCell::new(ToolShell::start()),
        }
    }

    /// What it prints, errors too.
    fn run(&self, args: &[&str]) -> String {
        let b = self.broker.bootstrap();
        let all = [&["--bootstrap-server", &b][..], args].concat();
        let mut shell = self.shell.borrow_mut();
        shell
            .run("consumer.group.ConsumerGroupCommand", &all)
            .text()
    }
}

#[track_caller]
fn assert_has(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "`{part}` is not in\n{text}");
    }
}

/// The offset that the tool says it has reset a partition to.
#[track_caller]
fn reset_to(said: &str, topic: &str, partition: i32) -> i64 {
    let line = said.lines().find(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        words.len() >= 4 && words[1] == topic && words[2] == partition.to_string()
    });
    let line = line.unwrap_or_else(|| panic!("{said}"));
    let offset = line.split_whitespace().nth(3);
    offset.unwrap().parse().unwrap()
}

#[test]
fn resets_offsets_in_all_ways() {
    let tool = Tool::start(broker());
    let topic = fresh_topic("tool");
    filled(&tool.broker, &topic, 10);
    let base = ["--reset-offsets", "--group", "g"];
    let one = format!("{topic}:0");
    for (how, partition, offset) in [
        (&["--to-offset", "4"][..], 31, 4),
        (&["--shift-by", "2"], 0, 6),
        (&["--shift-by", "-1"], 0, 5),
        (&["--to-earliest"], 0, 0),
        (&["--to-latest"], 0, 10),
        (&["--to-datetime", "2001-01-01T00:00:00.000"], 0, 0),
        (&["--to-datetime", "2999-01-01T00:00:00.000"], 0, 10),
        (&["--by-duration", "P1D"], 0, 0),
        (&["--by-duration", "PT0S"], 0, 10),
        (&["--to-current"], 0, 10),
        (&["--to-offset", "99"], 0, 10),
    ] {
        let said = tool.run(&[&base[..], &["--execute", "--topic", &topic], how].concat());
        assert_eq!(reset_to(&said, &topic, partition), offset, "{how:?}");
    }
    // Of one partition; then a try that changes nothing.
    let said = tool.run(
        &[
            &base[..],
            &["--execute", "--topic", &one, "--to-offset", "3"],
        ]
        .concat(),
    );
    assert_eq!(said.matches(&topic).count(), 1, "{said}");
    let said = tool.run(&[&base[..], &["--all-topics", "--to-earliest", "--dry-run"]].concat());
    assert_eq!(reset_to(&said, &topic, 0), 0);
    let export = [&base[..], &["--all-topics", "--to-current", "--export"]].concat();
    let exported = tool.run(&export);
    let mut lines: Vec<String> = exported
        .lines()
        .map(|line| line.replace('"', ""))
        .filter(|line| line.contains(&topic))
        .collect();
    lines.sort();
    assert_eq!(lines.len(), 32, "{exported}");
    assert!(lines.contains(&format!("{topic},0,3")), "{exported}");
    assert!(lines.contains(&format!("{topic},31,10")), "{exported}");
    // And back from the file.
    tool.run(&[&base[..], &["--execute", "--all-topics", "--to-earliest"]].concat());
    let csv = tool.broker.dir().join("offsets.csv");
    std::fs::write(&csv, lines.join("\n")).unwrap();
    let from_file = ["--execute", "--from-file", csv.to_str().unwrap()];
    let said = tool.run(&[&base[..], &from_file].concat());
    assert_eq!(reset_to(&said, &topic, 0), 3);
    assert_eq!(reset_to(&said, &topic, 31), 10);
}

#[test]
fn lists_describes_and_deletes() {
    let tool = Tool::start(broker());
    let topic = fresh_topic("tool");
    filled(&tool.broker, &topic, 10);
    let run = |args: &[&str]| tool.run(args);
    let reset = [
        "--reset-offsets",
        "--group",
        "g",
        "--topic",
        &topic,
        "--to-offset",
        "7",
        "--execute",
    ];
    run(&reset);
    assert_has(&run(&["--list"]), &["g"]);
    assert_has(&run(&["--list", "--state"]), &["g", "Empty"]);
    assert_has(&run(&["--list", "--type"]), &["g", "Classic"]);
    let described = run(&["--describe", "--group", "g"]);
    let words = described.lines().find_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        (words.get(2) == Some(&"3")).then_some(words)
    });
    assert_eq!(
        words.unwrap()[..6],
        ["g", &topic, "3", "7", "10", "3"],
        "{described}"
    );
    assert_eq!(run(&["--describe", "--group", "g", "--offsets"]), described);
    assert_has(&run(&["--describe", "--all-groups"]), &["g", &topic]);
    assert_has(&run(&["--describe", "--group", "g", "--state"]), &["Empty"]);
    let members = run(&["--describe", "--group", "g", "--members", "--verbose"]);
    assert_has(&members, &["has no active members"]);

    let one = format!("{topic}:3");
    let deleted = run(&["--delete-offsets", "--group", "g", "--topic", &one]);
    assert_has(&deleted, &[&topic, "Successful"]);
    let described = run(&["--describe", "--group", "g"]);
    let left = described
        .lines()
        .filter(|line| line.contains(&topic))
        .count();
    assert_eq!(left, 31, "{described}");
    assert_has(&run(&["--delete", "--group", "g"]), &["successful"]);
    assert!(!run(&["--list"]).lines().any(|line| line == "g"));
}

#[test]
fn shows_members_and_spares_groups_in_use() {
    use rdkafka::consumer::{BaseConsumer, Consumer};
    let tool = Tool::start(broker());
    let topic = fresh_topic("tool");
    filled(&tool.broker, &topic, 1);
    let settings = [
        ("group.id", "live"),
        ("client.id", "it"),
        ("auto.offset.reset", "earliest"),
    ];
    let consumer: BaseConsumer = librdkafka::client(&tool.broker.bootstrap(), &settings);
    consumer.subscribe(&[&topic]).unwrap();
    tests::wait_for("an assignment", std::time::Duration::from_secs(120), || {
        let _ = consumer.poll(std::time::Duration::from_millis(50));
        (consumer.assignment().unwrap().count() == 32).then_some(())
    });
    let run = |args: &[&str]| tool.run(args);
    let members = run(&["--describe", "--group", "live", "--members", "--verbose"]);
    assert_has(&members, &["it", "/127.0.0.1", "32", &topic]);
    assert_has(
        &run(&["--describe", "--group", "live", "--state"]),
        &["Stable", "range"],
    );
    assert_has(&run(&["--delete", "--group", "live"]), &["not empty"]);
    let deleted = run(&["--delete-offsets", "--group", "live", "--topic", &topic]);
    assert_has(&deleted, &["subscribed"]);
}

#[test]
fn sql_reads_and_writes_offsets() {
    let postgres = Postgres::start();
    let tool = Tool::start(Broker::start_with(&["--database-url", &postgres.url()]));
    let topic = fresh_topic("sql");
    filled(&tool.broker, &topic, 5);
    postgres.execute(&format!(
        "insert into kafka.consumer_offsets (group_id, topic, partition, committed_offset, metadata) \
         select 'by-sql', '{topic}', p, 2, 'made' from generate_series(0, 31) p"
    ));
    let described = tool.run(&["--describe", "--group", "by-sql"]);
    assert_eq!(
        described
            .lines()
            .filter(|line| line.contains(&topic))
            .count(),
        32,
        "{described}"
    );
    let lag = "select sum(lag)::text from kafka.consumer_lag where group_id = 'by-sql'";
    assert_eq!(postgres.query(lag), ["96"]);
    let reset = [
        "--reset-offsets",
        "--group",
        "by-sql",
        "--topic",
        &topic,
        "--to-offset",
        "4",
        "--execute",
    ];
    tool.run(&reset);
    assert_eq!(postgres.query(lag), ["32"]);
}
