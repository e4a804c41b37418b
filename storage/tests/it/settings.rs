//! Settings of topics, brokers and groups: stored, changed, and refused by SQL where a broker would refuse them.

use storage::{ClusterSettings, SettingName, SettingsChange, SettingsOwner};

use crate::fixture::{TestStore, topic};
use crate::sql::refusal;

fn change(owner: SettingsOwner, set: &[(&str, &str)], unset: &[&str]) -> SettingsChange {
    let pair = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    SettingsChange {
        owner,
        set: set.iter().map(pair).collect(),
        unset: unset.iter().map(|name| (*name).to_owned()).collect(),
    }
}

#[tokio::test]
async fn settings_are_set_replaced_and_unset() {
    let test = TestStore::new().await;
    let store = &test.store;
    let id = topic(store, "a", 1).await.id;
    let g = || SettingsOwner::Group("g".to_owned());
    let changes = [
        change(SettingsOwner::Topic(id), &[("b", "1"), ("a", "2")], &[]),
        change(SettingsOwner::Topic(id + 1), &[("a", "2")], &[]),
        change(SettingsOwner::Broker(-1), &[("x", "1")], &[]),
        change(SettingsOwner::Broker(1), &[("x", "2")], &["y"]),
        change(g(), &[("z", "3")], &[]),
    ];
    store.change_settings(&changes).await.unwrap();
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let stored = store.topic_settings(id).await.unwrap();
    assert_eq!(stored, Some(vec![pair("a", "2"), pair("b", "1")]));
    assert_eq!(store.topic_settings(id + 1).await.unwrap(), None);
    let of = |broker: i32, value: &str| (broker, "x".to_owned(), value.to_owned());
    let stored = store.load_settings().await.unwrap();
    assert_eq!(stored.brokers, [of(-1, "1"), of(1, "2")]);
    assert_eq!(
        stored.groups,
        [("g".to_owned(), "z".to_owned(), "3".to_owned())]
    );

    let changes = [
        change(SettingsOwner::Topic(id), &[("a", "5")], &["b", "never"]),
        change(SettingsOwner::Broker(-1), &[], &["x"]),
        change(SettingsOwner::Broker(1), &[("x", "3")], &[]),
        change(g(), &[], &["z"]),
    ];
    store.change_settings(&changes).await.unwrap();
    let stored = store.topic_settings(id).await.unwrap();
    assert_eq!(stored, Some(vec![pair("a", "5")]));
    let stored = store.load_settings().await.unwrap();
    let left = ClusterSettings {
        brokers: vec![of(1, "3")],
        ..ClusterSettings::default()
    };
    assert_eq!(stored, left);
    store
        .change_settings(&[change(SettingsOwner::Topic(id), &[], &["a"])])
        .await
        .unwrap();
    assert_eq!(store.topic_settings(id).await.unwrap(), Some(Vec::new()));
    let features = async |levels: &[(&str, i16)]| {
        store.set_features(levels).await.unwrap();
        store.load_settings().await.unwrap().features
    };
    let first = features(&[("f", 1), ("g", 2)]).await;
    let second = features(&[("f", 0)]).await;
    let level = |feature: &(String, i16, i64)| (feature.0.clone(), feature.1);
    let levels: Vec<_> = second.iter().map(level).collect();
    assert_eq!(levels, [("f".to_owned(), 0), ("g".to_owned(), 2)]);
    assert!(
        second[0].2 > first[0].2.max(first[1].2),
        "{first:?} {second:?}"
    );
}

fn name(scope: &'static str, name: &'static str, kind: &'static str) -> SettingName {
    SettingName {
        scope,
        name,
        kind,
        default_value: None,
        least: None,
        most: None,
        also: None,
        words: None,
        is_dynamic: true,
        documentation: "",
    }
}

/// A list with every type.
fn list() -> [SettingName; 9] {
    [
        SettingName {
            least: Some(1.0),
            most: Some(9.0),
            also: Some(-1.0),
            ..name("topic", "level", "int")
        },
        SettingName {
            least: Some(-1.0),
            ..name("topic", "ms", "long")
        },
        SettingName {
            least: Some(0.0),
            most: Some(1.0),
            ..name("topic", "ratio", "double")
        },
        name("topic", "flag", "boolean"),
        SettingName {
            words: Some(vec!["on", "off"]),
            ..name("topic", "word", "string")
        },
        SettingName {
            words: Some(vec!["on", "off"]),
            ..name("topic", "words", "list")
        },
        name("topic", "text", "string"),
        SettingName {
            is_dynamic: false,
            ..name("broker", "fixed", "int")
        },
        name("group", "ms", "int"),
    ]
}

#[tokio::test]
async fn sql_takes_the_names_and_values_of_the_list_and_no_others() {
    let test = TestStore::new().await;
    topic(&test.store, "a", 1).await;
    let sql = test.sql().await;
    let names = list();
    // Twice: a broker that starts again finds its own list.
    for _ in 0..2 {
        test.store.note_setting_names(&names).await.unwrap();
    }
    for (name, value) in [
        ("level", "9"),
        ("level", " -1 "),
        ("ms", "9223372036854775807"),
        ("ratio", "0.5"),
        ("flag", "TRUE"),
        ("word", "on"),
        ("words", "on, off"),
        ("words", ""),
        ("text", "anything"),
    ] {
        let given = format!(
            "insert into kafka.topic_settings values (1, '{name}', '{value}') \
             on conflict (topic, name) do update set value = excluded.value"
        );
        sql.batch_execute(&given).await.unwrap();
    }
    let insert = |name: &str, value: &str| {
        format!("insert into kafka.topic_settings values (1, '{name}', '{value}')")
    };
    let type_int = "a number of type int is needed";
    let type_long = "a number of type long is needed";
    let range = "is not a value for";
    for (name, value, reason) in [
        ("nosuch", "1", "there is no topic setting \"nosuch\""),
        ("fixed", "1", "there is no topic setting"),
        ("level", "x", type_int),
        ("level", "1.5", type_int),
        ("level", "3000000000", type_int),
        (
            "level",
            "10",
            "10 is not a value for level: it is from 1 to 9",
        ),
        ("level", "0", range),
        ("ms", "-2", range),
        ("ms", "1e3", type_long),
        ("ratio", "1.1", range),
        ("ratio", "NaN", range),
        ("flag", "yes", "it is true or false"),
        ("word", "ON", "it takes on, off"),
        ("words", "on,of", "it takes on, off"),
    ] {
        let refused = refusal(&sql, &insert(name, value)).await;
        assert!(refused.contains(reason), "{name}={value}: {refused}");
    }
    let fixed = "insert into kafka.broker_settings values (-1, 'fixed', '1')";
    let refused = refusal(&sql, fixed).await;
    assert_eq!(refused, "fixed cannot be changed while brokers run");
    let group = "insert into kafka.group_settings values ('g', 'ms', '1')";
    sql.batch_execute(group).await.unwrap();
    test.store.note_setting_names(&names[..1]).await.unwrap();
    let refused = refusal(&sql, &insert("flag", "true")).await;
    assert_eq!(refused, "there is no topic setting \"flag\"");
}
