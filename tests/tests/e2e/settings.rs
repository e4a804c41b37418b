//! Settings of topics, brokers and groups: what is taken, refused and told of, as by Kafka. What they do is in `settings_in_force`.

use protocol::ErrorCode;
use protocol::messages::alter_configs_request::{AlterConfigsResource, AlterableConfig};
use protocol::messages::{
    AlterConfigsRequest, AlterConfigsResponse, ListConfigResourcesRequest,
    ListConfigResourcesResponse,
};
use tests::admin::{
    APPEND, BROKER, DELETE, GROUP, SET, SUBTRACT, TOPIC, alter, describe, describe_all, set, unset,
    value,
};
use tests::wire::Connection;
use tests::{Broker, fresh_topic};

/// Where values come from, with Kafka's numbers.
const OF_TOPIC: i8 = 1;
const OF_THIS_BROKER: i8 = 2;
const OF_ALL_BROKERS: i8 = 3;
const DEFAULT: i8 = 5;
const OF_GROUP: i8 = 8;

/// A connection, and a topic that is named once.
fn start(stem: &str) -> (Connection, String) {
    let broker = Broker::shared();
    let mut connection = Connection::open(&broker);
    let topic = fresh_topic(stem);
    connection.create_topic(&topic, 1);
    (connection, topic)
}

#[test]
fn wrong_changes_of_topics_are_refused_with_kafkas_words() {
    let (mut c, topic) = start("wrong-settings");
    let wrong = |operation, name, value| (operation, name, Some(value));
    let config = ErrorCode::InvalidConfig;
    for (operation, code, text) in [
        (
            wrong(SET, "nosuch", "1"),
            config,
            "Unknown topic config name: nosuch",
        ),
        (
            wrong(SET, "retention.ms", "abc"),
            config,
            "Invalid value abc for configuration retention.ms: Not a number of type LONG",
        ),
        (
            wrong(SET, "retention.ms", "-5"),
            config,
            "Invalid value -5 for configuration retention.ms: Value must be at least -1",
        ),
        (
            wrong(SET, "segment.bytes", "1000"),
            config,
            "Invalid value 1000 for configuration segment.bytes: Value must be at least 1048576",
        ),
        (
            wrong(SET, "compression.lz4.level", "18"),
            config,
            "Invalid value 18 for configuration compression.lz4.level: Value must be no more than 17",
        ),
        (
            wrong(SET, "remote.storage.enable", "true"),
            config,
            "Tiered Storage functionality is disabled in the broker. Topic cannot be configured with remote log storage.",
        ),
        (
            wrong(APPEND, "retention.ms", "5"),
            config,
            "Can't APPEND to key retention.ms because its type is not LIST.",
        ),
        (
            (SET, "retention.ms", None),
            ErrorCode::InvalidRequest,
            "Null value not supported for : retention.ms",
        ),
    ] {
        let altered = alter(&mut c, (TOPIC, &topic), &[operation], false);
        assert_eq!(altered, (code as i16, text.to_owned()), "{operation:?}");
    }
    assert_eq!(value(&mut c, (TOPIC, &topic), "retention.ms").1, DEFAULT);
}

#[test]
fn changes_that_do_not_go_together_or_are_of_nothing_are_refused() {
    let (mut c, topic) = start("wrong-changes");
    let wrong = |operation, name, value| (operation, name, Some(value));
    let config = ErrorCode::InvalidConfig;
    let lags = [
        wrong(SET, "min.compaction.lag.ms", "10"),
        wrong(SET, "max.compaction.lag.ms", "5"),
    ];
    let altered = alter(&mut c, (TOPIC, &topic), &lags, false);
    let text =
        "conflict topic config setting min.compaction.lag.ms (10) > max.compaction.lag.ms (5)";
    assert_eq!(altered, (config as i16, text.to_owned()));
    let twice = [
        wrong(SET, "retention.ms", "1000"),
        wrong(SET, "retention.ms", "2000"),
    ];
    let altered = alter(&mut c, (TOPIC, &topic), &twice, false);
    let text = "Error due to duplicate config keys";
    assert_eq!(altered, (ErrorCode::InvalidRequest as i16, text.to_owned()));
    let good = [wrong(SET, "retention.ms", "1000")];
    for (kind, name, code) in [
        (TOPIC, "nosuch-topic", ErrorCode::UnknownTopicOrPartition),
        (TOPIC, "", ErrorCode::InvalidRequest),
        (TOPIC, "a b", ErrorCode::InvalidTopicException),
        (GROUP, "", ErrorCode::InvalidRequest),
        (77, "x", ErrorCode::InvalidRequest),
    ] {
        let (refused, text) = alter(&mut c, (kind, name), &good, false);
        assert_eq!(refused, code as i16, "{kind} {name}: {text}");
    }
    assert_eq!(value(&mut c, (TOPIC, &topic), "retention.ms").1, DEFAULT);
}

#[test]
fn lists_are_added_to_and_taken_from() {
    let (mut c, topic) = start("lists");
    let resource = (TOPIC, topic.as_str());
    for (operation, given, expected, source) in [
        (APPEND, "compact", "delete,compact", OF_TOPIC),
        (APPEND, "compact", "delete,compact", OF_TOPIC),
        (SUBTRACT, "delete", "compact", OF_TOPIC),
        (SUBTRACT, "delete", "compact", OF_TOPIC),
        (SUBTRACT, "compact", "", OF_TOPIC),
        (
            SET,
            " compact , delete ,compact",
            "compact,delete",
            OF_TOPIC,
        ),
        (DELETE, "", "delete", DEFAULT),
    ] {
        let operation = (operation, "cleanup.policy", Some(given));
        let altered = alter(&mut c, resource, &[operation], false);
        assert_eq!(altered.0, 0, "{operation:?}: {altered:?}");
        let told = value(&mut c, resource, "cleanup.policy");
        assert_eq!(told, (expected.to_owned(), source), "{operation:?}");
    }
    unset(&mut c, resource, "nosuch");
}

#[test]
fn a_try_changes_nothing() {
    let (mut c, topic) = start("tried");
    let operation = [(SET, "retention.ms", Some("1234"))];
    assert_eq!(alter(&mut c, (TOPIC, &topic), &operation, true).0, 0);
    let wrong = [(SET, "retention.ms", Some("x"))];
    assert_ne!(alter(&mut c, (TOPIC, &topic), &wrong, true).0, 0);
    let told = value(&mut c, (TOPIC, &topic), "retention.ms");
    assert_eq!(told, ("604800000".to_owned(), DEFAULT));
}

#[test]
fn alter_configs_leaves_nothing_else() {
    let (mut c, topic) = start("replaced");
    let resource = (TOPIC, topic.as_str());
    set(&mut c, resource, "retention.ms", "1000");
    set(&mut c, resource, "segment.ms", "2000");
    for version in 0..=2 {
        let request = AlterConfigsRequest {
            resources: vec![AlterConfigsResource {
                resource_type: TOPIC,
                resource_name: topic.as_str().into(),
                configs: vec![AlterableConfig {
                    name: "retention.ms".into(),
                    value: Some("3000".into()),
                    ..AlterableConfig::default()
                }],
                ..AlterConfigsResource::default()
            }],
            ..AlterConfigsRequest::default()
        };
        let answer = c.call(&request, version);
        let response: AlterConfigsResponse<'_> = answer.read();
        assert_eq!(response.responses[0].error_code, 0, "v{version}");
        let told = value(&mut c, resource, "retention.ms");
        assert_eq!(told, ("3000".to_owned(), OF_TOPIC), "v{version}");
        assert_eq!(
            value(&mut c, resource, "segment.ms").1,
            DEFAULT,
            "v{version}"
        );
    }
}

#[test]
fn every_setting_says_where_its_values_come_from() {
    // Of its own, as it changes settings of all topics.
    let broker = Broker::start();
    let mut c = Connection::open(&broker);
    c.create_topic("layers", 1);
    let resource = (TOPIC, "layers");
    let names = ["log.index.interval.bytes", "index.interval.bytes"];
    let at =
        |name: usize, value: &str, source| (names[name].to_owned(), Some(value.to_owned()), source);
    let default = at(0, "4096", DEFAULT);
    let told = describe(&mut c, resource, names[1]).unwrap();
    assert_eq!(told.synonyms, std::slice::from_ref(&default));
    set(&mut c, (BROKER, ""), names[0], "5000");
    set(&mut c, (BROKER, "1"), names[0], "6000");
    set(&mut c, resource, names[1], "7000");
    let expected = [
        at(1, "7000", OF_TOPIC),
        at(0, "6000", OF_THIS_BROKER),
        at(0, "5000", OF_ALL_BROKERS),
        default.clone(),
    ];
    let told = describe(&mut c, resource, names[1]).unwrap();
    assert_eq!(told.synonyms, expected);
    let told = describe(&mut c, (BROKER, "1"), names[0]).unwrap();
    assert_eq!(told.synonyms, expected[1..]);
    let told = describe(&mut c, (BROKER, ""), names[0]).unwrap();
    assert_eq!(told.synonyms, expected[2..3]);
    unset(&mut c, resource, names[1]);
    let told = value(&mut c, resource, names[1]);
    assert_eq!(told, ("6000".to_owned(), OF_THIS_BROKER));
    unset(&mut c, (BROKER, "1"), names[0]);
    let told = value(&mut c, resource, names[1]);
    assert_eq!(told, ("5000".to_owned(), OF_ALL_BROKERS));
    unset(&mut c, (BROKER, ""), names[0]);
    assert_eq!(describe(&mut c, (BROKER, ""), names[0]), None);
    let told = describe(&mut c, resource, names[1]).unwrap();
    assert_eq!((told.synonyms, told.source), (vec![default], DEFAULT));
}

#[test]
fn times_have_settings_in_several_units() {
    // Of its own, as it changes settings of all topics.
    let broker = Broker::start();
    let mut c = Connection::open(&broker);
    c.create_topic("units", 1);
    let resource = (TOPIC, "units");
    let told = describe(&mut c, resource, "segment.ms").unwrap();
    assert_eq!(
        (told.value.as_deref(), told.synonyms.len()),
        (Some("604800000"), 0)
    );
    set(&mut c, (BROKER, ""), "log.roll.ms", "86400001");
    let told = describe(&mut c, resource, "segment.ms").unwrap();
    unset(&mut c, (BROKER, ""), "log.roll.ms");
    assert_eq!(told.value.as_deref(), Some("86400001"));
    let layers = [
        (
            "log.roll.ms".to_owned(),
            Some("86400001".to_owned()),
            OF_ALL_BROKERS,
        ),
        ("log.roll.hours".to_owned(), Some("168".to_owned()), DEFAULT),
    ];
    assert_eq!(told.synonyms, layers);
}

#[test]
fn brokers_refuse_what_cannot_change_while_they_run() {
    let mut c = Connection::open(&Broker::shared());
    let refused =
        |c: &mut Connection, name: &str, operation| alter(c, (BROKER, name), &[operation], false);
    for name in ["", "1"] {
        let (code, text) = refused(&mut c, name, (SET, "num.partitions", Some("3")));
        let expected = "Cannot update these configs dynamically: [num.partitions]";
        assert_eq!(
            (code, text.as_str()),
            (ErrorCode::InvalidRequest as i16, expected)
        );
    }
    let (code, text) = refused(&mut c, "", (SET, "log.retention.ms", Some("abc")));
    let expected =
        "Invalid value abc for configuration log.retention.ms: Not a number of type LONG";
    assert_eq!(
        (code, text.as_str()),
        (ErrorCode::InvalidRequest as i16, expected)
    );
    for name in ["2", "x"] {
        let (code, _) = refused(&mut c, name, (SET, "log.retention.ms", Some("5")));
        assert_eq!(code, ErrorCode::InvalidRequest as i16, "{name}");
    }
    let all = describe_all(&mut c, (BROKER, "1")).unwrap();
    let find = |name: &str| all.iter().find(|d| d.name == name).unwrap();
    assert!(find("num.partitions").is_read_only);
    assert!(!find("log.retention.ms").is_read_only);
    let undocumented = all
        .iter()
        .find(|d| d.documentation.as_deref().unwrap_or_default().is_empty());
    assert_eq!(undocumented, None);
}

#[test]
fn groups_have_settings_before_they_exist() {
    let mut c = Connection::open(&Broker::shared());
    let name = fresh_topic("group");
    let group = (GROUP, name.as_str());
    let setting = "consumer.session.timeout.ms";
    assert_eq!(value(&mut c, group, setting), ("45000".to_owned(), DEFAULT));
    set(&mut c, group, setting, "50000");
    assert_eq!(
        value(&mut c, group, setting),
        ("50000".to_owned(), OF_GROUP)
    );
    let told = describe(&mut c, group, setting).unwrap();
    let default = (
        "group.consumer.session.timeout.ms".to_owned(),
        Some("45000".to_owned()),
        DEFAULT,
    );
    assert_eq!(told.synonyms.first().map(|s| s.2), Some(OF_GROUP));
    assert!(
        told.synonyms.len() == 1 || told.synonyms[1..] == [default],
        "{told:?}"
    );
    assert_eq!(
        listed(&mut c, &[GROUP])
            .iter()
            .filter(|(_, n)| *n == name)
            .count(),
        1
    );
    let config = ErrorCode::InvalidConfig as i16;
    for (setting, value, text) in [
        (
            "consumer.session.timeout.ms",
            "5",
            "consumer.session.timeout.ms must be in the range 45000 to 60000 inclusive.",
        ),
        ("nosuch", "1", "Unknown group config name: nosuch"),
        (
            "share.isolation.level",
            "x",
            "Invalid value x for configuration share.isolation.level: String must be one of: read_committed, read_uncommitted",
        ),
    ] {
        let altered = alter(&mut c, group, &[(SET, setting, Some(value))], false);
        assert_eq!(altered, (config, text.to_owned()));
    }
    set(&mut c, group, "share.auto.offset.reset", "by_duration:PT1H");
    unset(&mut c, group, "share.auto.offset.reset");
    unset(&mut c, group, setting);
    assert_eq!(value(&mut c, group, setting), ("45000".to_owned(), DEFAULT));
}

/// Type and name of the resources of these types that have settings.
fn listed(connection: &mut Connection, types: &[i8]) -> Vec<(i8, String)> {
    let request = ListConfigResourcesRequest {
        resource_types: types.to_vec().into(),
        ..ListConfigResourcesRequest::default()
    };
    let answer = connection.call(&request, 1);
    let response: ListConfigResourcesResponse<'_> = answer.read();
    assert_eq!(response.error_code, 0);
    let resources = response.config_resources.iter();
    resources
        .map(|r| (r.resource_type, r.resource_name.to_string()))
        .collect()
}

#[test]
fn resources_are_listed_by_type() {
    let (mut c, topic) = start("listed");
    let topics = listed(&mut c, &[TOPIC]);
    assert!(topics.contains(&(TOPIC, topic.clone())));
    assert!(topics.iter().all(|(kind, _)| *kind == TOPIC));
    assert_eq!(listed(&mut c, &[BROKER]), [(BROKER, "1".to_owned())]);
    let all = listed(&mut c, &[]);
    assert!(all.contains(&(TOPIC, topic)) && all.contains(&(BROKER, "1".to_owned())));
    let request = ListConfigResourcesRequest {
        resource_types: vec![0].into(),
        ..ListConfigResourcesRequest::default()
    };
    let answer = c.call(&request, 1);
    let response: ListConfigResourcesResponse<'_> = answer.read();
    assert_eq!(response.error_code, ErrorCode::UnsupportedVersion as i16);
    let answer = c.call(&ListConfigResourcesRequest::default(), 0);
    let response: ListConfigResourcesResponse<'_> = answer.read();
    assert_eq!(
        (response.error_code, response.config_resources.len()),
        (0, 0)
    );
}
