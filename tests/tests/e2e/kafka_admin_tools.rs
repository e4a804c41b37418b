//! Kafka's own tools for administrators, unchanged, from the jars of its release: what they do and what they print.

use std::cell::RefCell;
use std::fs;
use std::path::PathBuf;

use tests::java::ToolShell;
use tests::tool::Finished;
use tests::wire::Connection;
use tests::{Broker, batch::NewBatch, fresh_topic};

/// A broker and the tools that are pointed at it.
struct Tools {
    bootstrap: String,
    dir: tempfile::TempDir,
    shell: RefCell<ToolShell>,
}

impl Tools {
    fn start() -> Self {
        Self {
            bootstrap: Broker::shared().bootstrap(),
            dir: tempfile::tempdir().unwrap(),
            shell: RefCell::new(ToolShell::start()),
        }
    }

    fn run(&self, class: &str, args: &[&str]) -> Finished {
        let server = ["--bootstrap-server", &self.bootstrap];
        // Some read what comes after their verb alone, others what comes before it.
        let args = match class {
            "ClusterTool" => [args, &server].concat(),
            _ => [&server, args].concat(),
        };
        self.shell.borrow_mut().run(class, &args)
    }

    /// What the tool prints when all goes well.
    #[track_caller]
    fn says(&self, class: &str, args: &[&str]) -> String {
        self.run(class, args).ok().text()
    }

    #[track_caller]
    fn shows(&self, class: &str, args: &[&str], parts: &[&str]) -> String {
        let said = self.says(class, args);
        for part in parts {
            assert!(said.contains(part), "{part} in {class} {args:?}:\n{said}");
        }
        said
    }

    /// The tool fails, and says this.
    #[track_caller]
    fn refuses(&self, class: &str, args: &[&str], part: &str) {
        let finished = self.run(class, args);
        let said = format!("{}{}", finished.text(), finished.stderr);
        assert!(said.contains(part), "{part} in {class} {args:?}:\n{said}");
    }

    fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.dir.path().join(name);
        fs::write(&path, text).unwrap();
        path
    }

    fn topic(&self, stem: &str, more: &[&str]) -> String {
        let topic = fresh_topic(stem);
        self.says(TOPICS, &[&["--create", "--topic", &topic], more].concat());
        topic
    }
}

const TOPICS: &str = "TopicCommand";
const CONFIGS: &str = "kafka.admin.ConfigCommand";

/// One after the other, as most of the time of a tool goes into the start of its process.
#[test]
fn tools_of_administrators() {
    let tools = Tools::start();
    kafka_topics(&tools);
    kafka_configs_of_topics(&tools);
    kafka_configs_of_brokers_and_groups(&tools);
    kafka_log_dirs_and_get_offsets(&tools);
    kafka_leader_election(&tools);
    kafka_reassign_partitions(&tools);
    kafka_features_cluster_and_metadata_quorum(&tools);
}

fn kafka_topics(tools: &Tools) {
    let topic = tools.topic(
        "topics",
        &["--partitions", "3", "--config", "retention.ms=5000"],
    );
    let described = ["--describe", "--topic", &topic];
    let shown = tools.shows(
        TOPICS,
        &described,
        &[
            "PartitionCount: 3",
            "ReplicationFactor: 1",
            "retention.ms=5000",
        ],
    );
    assert_eq!(
        shown.matches("Leader: 1\tReplicas: 1\tIsr: 1").count(),
        3,
        "{shown}"
    );
    let filter = |filter: &str| tools.says(TOPICS, &[&described[..], &[filter]].concat());
    for none in [
        "--under-replicated-partitions",
        "--unavailable-partitions",
        "--under-min-isr-partitions",
    ] {
        assert_eq!(filter(none), "", "{none}");
    }
    assert_eq!(filter("--at-min-isr-partitions").lines().count(), 3);
    assert_eq!(filter("--topics-with-overrides").lines().count(), 1);
    let id = shown
        .split("TopicId: ")
        .nth(1)
        .unwrap()
        .split('\t')
        .next()
        .unwrap();
    tools.shows(TOPICS, &["--describe", "--topic-id", id], &[&topic]);
    tools.says(TOPICS, &["--alter", "--topic", &topic, "--partitions", "5"]);
    tools.shows(TOPICS, &described, &["PartitionCount: 5"]);
    tools.refuses(
        TOPICS,
        &["--alter", "--topic", &topic, "--partitions", "5"],
        "Topic already has 5 partition(s).",
    );
    tools.refuses(TOPICS, &["--create", "--topic", &topic], "already exists");
    tools.refuses(
        TOPICS,
        &["--describe", "--topic", "nosuch"],
        "does not exist as expected",
    );
    let assigned = fresh_topic("assigned");
    tools.shows(
        TOPICS,
        &[
            "--create",
            "--topic",
            &assigned,
            "--replica-assignment",
            "1,1",
        ],
        &["Created topic"],
    );
    tools.shows(
        TOPICS,
        &["--describe", "--topic", &assigned],
        &["PartitionCount: 2"],
    );
    tools.says(TOPICS, &["--delete", "--topic", &topic]);
    let listed = tools.shows(TOPICS, &["--list"], &[&assigned]);
    assert!(!listed.contains(&topic));
}

fn kafka_configs_of_topics(tools: &Tools) {
    let topic = tools.topic("configs", &[]);
    let entity = ["--entity-type", "topics", "--entity-name", &topic];
    let run = |verb: &[&str]| tools.says(CONFIGS, &[verb, &entity].concat());
    let described = || run(&["--describe"]);
    assert_eq!(
        described(),
        format!("Dynamic configs for topic {topic} are:\n")
    );
    let said = run(&[
        "--alter",
        "--add-config",
        "retention.ms=5000,cleanup.policy=[compact,delete]",
    ]);
    assert_eq!(
        said,
        format!("Completed updating config for topic {topic}.\n")
    );
    let shown = described();
    for line in [
        "  cleanup.policy=compact,delete sensitive=false synonyms={DYNAMIC_TOPIC_CONFIG:cleanup.policy=compact,delete, DEFAULT_CONFIG:log.cleanup.policy=delete}",
        "  retention.ms=5000 sensitive=false synonyms={DYNAMIC_TOPIC_CONFIG:retention.ms=5000}",
    ] {
        assert!(shown.lines().any(|l| l == line), "{line} in\n{shown}");
    }
    run(&["--alter", "--delete-config", "retention.ms"]);
    assert!(!described().contains("retention.ms"));
    assert!(run(&["--describe", "--all"]).contains("  retention.ms=604800000 "));
    let refused = |config: &str, part: &str| {
        tools.refuses(
            CONFIGS,
            &[&["--alter", "--add-config", config][..], &entity].concat(),
            part,
        );
    };
    refused("nosuch=1", "Unknown topic config name: nosuch");
    refused("retention.ms=x", "Not a number of type LONG");
    // To take away what is not there is no error.
    run(&["--alter", "--delete-config", "flush.ms"]);
    run(&["--alter", "--delete-config", "nosuch"]);
}

fn kafka_configs_of_brokers_and_groups(tools: &Tools) {
    let run = |args: &[&str]| tools.says(CONFIGS, args);
    let default = ["--entity-type", "brokers", "--entity-default"];
    let of_default = |verb: &[&str]| run(&[verb, &default].concat());
    assert!(
        of_default(&["--alter", "--add-config", "log.cleaner.threads=2"])
            .starts_with("Completed updating default config")
    );
    let shown = of_default(&["--describe"]);
    let line = "  log.cleaner.threads=2 sensitive=false synonyms={DYNAMIC_DEFAULT_BROKER_CONFIG:log.cleaner.threads=2}";
    assert!(shown.contains(line), "{shown}");
    let one = ["--entity-type", "brokers", "--entity-name", "1"];
    let of_one = |verb: &[&str]| run(&[verb, &one].concat());
    of_one(&["--alter", "--add-config", "log.cleaner.backoff.ms=16000"]);
    let shown = of_one(&["--describe"]);
    assert!(shown.contains("  log.cleaner.backoff.ms=16000 sensitive=false synonyms={DYNAMIC_BROKER_CONFIG:log.cleaner.backoff.ms=16000, "), "{shown}");
    let all = of_one(&["--describe", "--all"]);
    assert!(
        all.contains("  num.partitions=") && all.contains("  node.id=1 "),
        "{all}"
    );
    of_default(&["--alter", "--delete-config", "log.cleaner.threads"]);
    of_one(&["--alter", "--delete-config", "log.cleaner.backoff.ms"]);
    assert!(!of_default(&["--describe"]).contains("log.cleaner"));
    let args = ["--alter", "--add-config", "num.partitions=3"];
    tools.refuses(
        CONFIGS,
        &[&args[..], &default].concat(),
        "Cannot update these configs dynamically",
    );

    let name = fresh_topic("group");
    let group = ["--entity-type", "groups", "--entity-name", &name];
    let of_group = |verb: &[&str]| run(&[verb, &group].concat());
    of_group(&[
        "--alter",
        "--add-config",
        "consumer.session.timeout.ms=50000",
    ]);
    let shown = of_group(&["--describe"]);
    assert!(shown.contains("  consumer.session.timeout.ms=50000 sensitive=false synonyms={DYNAMIC_GROUP_CONFIG:consumer.session.timeout.ms=50000, "), "{shown}");
    of_group(&["--alter", "--delete-config", "consumer.session.timeout.ms"]);
    assert!(!of_group(&["--describe"]).contains("50000"));
}

fn kafka_log_dirs_and_get_offsets(tools: &Tools) {
    let topic = tools.topic("dirs", &["--partitions", "2"]);
    let mut c = Connection::open(&Broker::shared());
    for partition in 0..2 {
        c.produce(&topic, partition, &NewBatch::of(&["one"]).bytes());
    }
    let said = tools.says("LogDirsCommand", &["--describe", "--topic-list", &topic]);
    let json: serde_json::Value = serde_json::from_str(said.lines().last().unwrap()).unwrap();
    let dir = &json["brokers"][0]["logDirs"][0];
    assert_eq!(dir["error"], serde_json::Value::Null, "{said}");
    let partitions = dir["partitions"].as_array().unwrap();
    let bytes: i64 = partitions.iter().map(|p| p["size"].as_i64().unwrap()).sum();
    assert_eq!(partitions.len(), 2);
    assert!((60..1000).contains(&bytes), "{said}");
    let said = tools.says("GetOffsetShell", &["--topic", &topic]);
    let records: i64 = said
        .lines()
        .map(|l| l.rsplit(':').next().unwrap().parse::<i64>().unwrap())
        .sum();
    assert_eq!((said.lines().count(), records), (2, 2), "{said}");
    let said = tools.says("GetOffsetShell", &["--topic", &topic, "--time", "earliest"]);
    assert_eq!(said, format!("{topic}:0:0\n{topic}:1:0\n"));
}

fn kafka_leader_election(tools: &Tools) {
    let topic = tools.topic("elections", &[]);
    let tool = "LeaderElectionCommand";
    for kind in ["preferred", "unclean"] {
        let args = [
            "--election-type",
            kind,
            "--topic",
            &topic,
            "--partition",
            "0",
        ];
        tools.shows(
            tool,
            &args,
            &[&format!(
                "Valid replica already elected for partitions {topic}-0"
            )],
        );
    }
    assert_eq!(
        tools.says(
            tool,
            &["--election-type", "preferred", "--all-topic-partitions"]
        ),
        ""
    );
    let args = [
        "--election-type",
        "preferred",
        "--topic",
        "nosuch",
        "--partition",
        "0",
    ];
    tools.refuses(tool, &args, "No such topic as nosuch");
}

fn kafka_reassign_partitions(tools: &Tools) {
    let topic = tools.topic("reassigned", &[]);
    let tool = "reassign.ReassignPartitionsCommand";
    let plan = |name: &str, replica: i32| {
        let text = format!(
            r#"{{"version":1,"partitions":[{{"topic":"{topic}","partition":0,"replicas":[{replica}]}}]}}"#
        );
        tools.file(name, &text).display().to_string()
    };
    let (here, elsewhere) = (plan("here.json", 1), plan("elsewhere.json", 2));
    let topics = tools.file(
        "topics.json",
        &format!(r#"{{"topics":[{{"topic":"{topic}"}}],"version":1}}"#),
    );
    let topics = topics.display().to_string();
    let generate = [
        "--generate",
        "--topics-to-move-json-file",
        &topics,
        "--broker-list",
        "1",
    ];
    tools.shows(
        tool,
        &generate,
        &[
            "Proposed partition reassignment configuration",
            &format!(r#""topic":"{topic}","partition":0,"replicas":[1]"#),
        ],
    );
    let file = ["--reassignment-json-file", &here];
    let verb = |verb: &'static str| [&[verb][..], &file].concat();
    tools.shows(
        tool,
        &verb("--execute"),
        &[&format!(
            "Successfully started partition reassignment for {topic}-0"
        )],
    );
    tools.shows(
        tool,
        &verb("--verify"),
        &[&format!(
            "Reassignment of partition {topic}-0 is completed."
        )],
    );
    tools.shows(
        tool,
        &verb("--cancel"),
        &["None of the specified partition reassignments are active."],
    );
    tools.shows(tool, &["--list"], &["No partition reassignments found."]);
    tools.refuses(
        tool,
        &["--execute", "--reassignment-json-file", &elsewhere],
        "Unknown broker id 2",
    );
}

fn kafka_features_cluster_and_metadata_quorum(tools: &Tools) {
    let said = tools.says("FeatureCommand", &["describe"]);
    let features: Vec<Vec<&str>> = said
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    for (name, newest) in [("group.version", "1"), ("transaction.version", "2")] {
        let line = features.iter().find(|words| words[1] == name).unwrap();
        assert_eq!([line[3], line[5], line[7]], ["0", newest, newest], "{said}");
    }
    let transactions =
        |verb: &'static str, feature: &'static str| [verb, "--feature", feature, "--dry-run"];
    tools.shows(
        "FeatureCommand",
        &transactions("downgrade", "transaction.version=1"),
        &["transaction.version can be downgraded to 1."],
    );
    tools.refuses(
        "FeatureCommand",
        &transactions("upgrade", "transaction.version=3"),
        "Local controller 1 only supports versions 0-2",
    );
    tools.shows(
        "FeatureCommand",
        &["disable", "--feature", "group.version", "--dry-run"],
        &["group.version can be disabled."],
    );
    tools.refuses(
        "FeatureCommand",
        &["upgrade", "--feature", "foo=1"],
        "Could not upgrade foo to 1",
    );
    let id = tools.says("ClusterTool", &["cluster-id"]);
    let id = id.trim().strip_prefix("Cluster ID: ").unwrap();
    assert_eq!(id.len(), 22);
    let said = tools.says("ClusterTool", &["list-endpoints"]);
    let row: Vec<&str> = said.lines().nth(1).unwrap().split_whitespace().collect();
    let port = tools.bootstrap.rsplit(':').next().unwrap();
    assert_eq!(
        row,
        ["1", "127.0.0.1", port, "null", "unfenced", "broker"],
        "{said}"
    );
    tools.refuses(
        "ClusterTool",
        &["unregister", "--id", "7"],
        "Broker ID 7 is not currently registered",
    );
    let quorum = |flag: &str| tools.says("MetadataQuorumCommand", &["describe", flag]);
    let said = quorum("--status");
    for part in ["LeaderId:               1", "MaxFollowerLag:         0", id] {
        assert!(said.contains(part), "{part} in {said}");
    }
    let said = quorum("--replication");
    assert!(
        said.lines().nth(1).is_some_and(|l| l.contains("Leader")),
        "{said}"
    );
}
