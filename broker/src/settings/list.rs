//! The tables of settings as the list that the database checks by.

use storage::SettingName;

use super::groups::GROUP_SETTINGS;
use super::kind::Kind;
use super::topics::TOPIC_SETTINGS;
use crate::config::{self, Config, ValueKind};

/// Every setting of topics, groups and brokers.
pub(super) fn names() -> Vec<SettingName> {
    let topics = TOPIC_SETTINGS.iter().map(|setting| {
        let default = Some(setting.default.to_owned());
        row(
            "topic",
            setting.name,
            setting.kind,
            default,
            setting.documentation,
        )
    });
    let groups = GROUP_SETTINGS.iter().map(|setting| {
        let default = Some(setting.default.to_owned());
        row(
            "group",
            setting.name,
            setting.kind,
            default,
            setting.documentation,
        )
    });
    let defaults = Config::default();
    let brokers = config::settings().map(|setting| {
        let default = Some(setting.show(&defaults)).filter(|value| !value.is_empty());
        let kind = setting.value_kind(&defaults);
        let mut name = match setting.rule() {
            Some(rule) => row("broker", setting.name, rule, default, setting.help),
            None => row("broker", setting.name, Kind::Text, default, setting.help),
        };
        name.kind = text_of(kind);
        name.is_dynamic = setting.is_dynamic;
        name
    });
    topics.chain(groups).chain(brokers).collect()
}

fn row(
    scope: &'static str,
    name: &'static str,
    kind: Kind,
    default_value: Option<String>,
    documentation: &'static str,
) -> SettingName {
    let (least, most, also) = kind.bounds();
    SettingName {
        scope,
        name,
        kind: text_of(kind.value_kind()),
        default_value,
        least,
        most,
        also,
        words: kind.words(),
        is_dynamic: true,
        documentation,
    }
}

fn text_of(kind: ValueKind) -> &'static str {
    match kind {
        ValueKind::Boolean => "boolean",
        ValueKind::String => "string",
        ValueKind::Int => "int",
        ValueKind::Short => "short",
        ValueKind::Long => "long",
        ValueKind::Double => "double",
        ValueKind::List => "list",
        ValueKind::Password => "password",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_setting_is_there_twice() {
        let mut names: Vec<_> = names().iter().map(|name| (name.scope, name.name)).collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
        assert!(count > 100, "{count}");
    }
}
