//! Kafka's own command-line tools at their defaults, from the jars of its release.

use tests::{Broker, fresh_topic, java::kafka_tool};

#[test]
fn topics_console_producer_and_console_consumer() {
    let broker = Broker::shared();
    let (b, topic) = (broker.bootstrap(), fresh_topic("tools"));
    let topics = |args: &[&str]| {
        kafka_tool(
            "TopicCommand",
            &[&["--bootstrap-server", &b], args].concat(),
            b"",
        )
    };

    let created = topics(&["--create", "--topic", &topic, "--partitions", "2"])
        .ok()
        .text();
    assert!(
        created.contains(&format!("Created topic {topic}.")),
        "{created}"
    );
    let listed = topics(&["--list"]).ok().text();
    assert!(listed.lines().any(|l| l == topic), "{listed}");
    let grown = topics(&["--alter", "--topic", &topic, "--partitions", "3"]);
    grown.ok();

    let input = b"one\ntwo\nthree\n";
    kafka_tool(
        "ConsoleProducer",
        &["--bootstrap-server", &b, "--topic", &topic],
        input,
    )
    .ok();
    // without keys all three records of one run may go to any one partition
    let mut read = Vec::new();
    let offsets = kafka_tool(
        "GetOffsetShell",
        &["--bootstrap-server", &b, "--topic", &topic],
        b"",
    )
    .ok()
    .text();
    for line in offsets.lines() {
        let mut fields = line.split(':').skip(1);
        let (partition, end) = (fields.next().unwrap(), fields.next().unwrap());
        if end != "0" {
            let args = [
                "--bootstrap-server",
                &b,
                "--topic",
                &topic,
                "--partition",
                partition,
                "--offset",
                "0",
                "--max-messages",
                end,
            ];
            read.extend(
                kafka_tool("consumer.ConsoleConsumer", &args, b"")
                    .ok()
                    .text()
                    .lines()
                    .map(str::to_owned),
            );
        }
    }
    read.sort();
    assert_eq!(read, ["one", "three", "two"], "{offsets}");

    topics(&["--delete", "--topic", &topic]).ok();
    let listed = topics(&["--list"]).ok().text();
    assert!(!listed.lines().any(|l| l == topic), "{listed}");
}

#[test]
fn topics_describe() {
    let broker = Broker::shared();
    let (b, topic) = (broker.bootstrap(), fresh_topic("described"));
    let topics = |args: &[&str]| {
        kafka_tool(
            "TopicCommand",
            &[&["--bootstrap-server", &b], args].concat(),
            b"",
        )
    };
    topics(&[
        "--create",
        "--topic",
        &topic,
        "--partitions",
        "2",
        "--config",
        "max.message.bytes=500000",
    ])
    .ok();
    let shown = topics(&["--describe", "--topic", &topic]).ok().text();
    for part in [
        "PartitionCount: 2",
        "max.message.bytes=500000",
        "Partition: 0",
        "Partition: 1",
    ] {
        assert!(shown.contains(part), "{part} in {shown}");
    }
}

#[test]
fn producer_perf_test() {
    let broker = Broker::shared();
    let (b, topic) = (broker.bootstrap(), fresh_topic("perf"));
    let server = format!("bootstrap.servers={b}");
    let args = [
        "--topic",
        &topic,
        "--num-records",
        "50000",
        "--record-size",
        "100",
        "--throughput",
        "-1",
        "--producer-props",
        &server,
    ];
    let said = kafka_tool("ProducerPerformance", &args, b"").ok().text();
    assert!(said.contains("50000 records sent"), "{said}");
    let offsets = kafka_tool(
        "GetOffsetShell",
        &["--bootstrap-server", &b, "--topic", &topic],
        b"",
    )
    .ok()
    .text();
    assert_eq!(offsets, format!("{topic}:0:50000\n"));
}

#[test]
fn the_tools_see_what_the_broker_serves() {
    let broker = Broker::shared();
    let shown = kafka_tool(
        "BrokerApiVersionsCommand",
        &["--bootstrap-server", &broker.bootstrap()],
        b"",
    )
    .ok()
    .text();
    for api in [
        "Produce(0): 0 to",
        "Fetch(1): 4 to",
        "ListOffsets(2):",
        "Metadata(3): 0 to",
        "InitProducerId(22): 0 to",
    ] {
        assert!(shown.contains(api), "{api} in {shown}");
    }
}
