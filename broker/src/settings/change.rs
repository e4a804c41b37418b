//! From what a client wants changed to what is stored: the rules of AlterConfigs and IncrementalAlterConfigs for topics, brokers
//! and groups, with Kafka's error texts.

use std::collections::{HashMap, HashSet};

use protocol::ErrorCode;
use storage::{SettingsChange, SettingsOwner};

use super::groups::GroupSetting;
use super::kind::{Kind, parts_of};
use super::snapshot::{ALL_BROKERS, Given, Snapshot};
use super::topics::TopicSetting;
use crate::catalog::Topic;
use crate::config;
use crate::context::Context;
use crate::error::Failure;
use crate::handlers::topic_rules;

/// Kafka's numbers of the resources that have settings.
pub(crate) const TOPIC: i8 = 2;
pub(crate) const BROKER: i8 = 4;
pub(crate) const GROUP: i8 = 32;

/// Whose settings are meant.
#[derive(Debug, Clone)]
pub(crate) enum Resource {
    Topic(std::sync::Arc<Topic>),
    AllBrokers,
    ThisBroker,
    Group(String),
}

impl Resource {
    /// The resource of this type and name, if it is there.
    pub(crate) fn find(context: &Context, kind: i8, name: &str) -> Result<Self, Failure> {
        let invalid = |text: String| Err(Failure::new(ErrorCode::InvalidRequest, text));
        let node_id = context.config.node_id;
        match (kind, name) {
            (TOPIC, "") => invalid("Default topic resources are not allowed.".to_owned()),
            (TOPIC, name) => {
                topic_rules::check_name(name)?;
                let text = format!("The topic '{name}' does not exist.");
                let unknown = Failure::new(ErrorCode::UnknownTopicOrPartition, text);
                context
                    .catalog
                    .by_name(name)
                    .ok_or(unknown)
                    .map(Self::Topic)
            }
            (BROKER, "") => Ok(Self::AllBrokers),
            (BROKER, name) => match name.parse::<i32>() {
                Ok(id) if id == node_id => Ok(Self::ThisBroker),
                Ok(id) => invalid(format!(
                    "Unexpected broker id, expected {node_id} or empty string, but received {id}"
                )),
                Err(_) => invalid(format!("Broker id must be an integer, but it is: {name}")),
            },
            (GROUP, "") => invalid("Default group resources are not allowed.".to_owned()),
            (GROUP, name) => Ok(Self::Group(name.to_owned())),
            (8, _) => {
                invalid("Log levels are given by log.level when the broker starts.".to_owned())
            }
            (16, _) => invalid("Metrics of clients are not collected.".to_owned()),
            (other, _) => invalid(format!("Unknown resource type {other}")),
        }
    }

    fn owner(&self, node_id: i32) -> SettingsOwner {
        match self {
            Self::Topic(topic) => SettingsOwner::Topic(topic.id),
            Self::AllBrokers => SettingsOwner::Broker(ALL_BROKERS),
            Self::ThisBroker => SettingsOwner::Broker(node_id),
            Self::Group(group_id) => SettingsOwner::Group(group_id.clone()),
        }
    }

    /// What it was given so far.
    fn given(&self, snapshot: &Snapshot) -> Given {
        match self {
            Self::Topic(topic) => topic.overrides.iter().cloned().collect(),
            Self::AllBrokers => snapshot.dynamic(true).clone(),
            Self::ThisBroker => snapshot.dynamic(false).clone(),
            Self::Group(group_id) => snapshot.groups.get(group_id).cloned().unwrap_or_default(),
        }
    }

    /// What values the setting takes.
    fn kind(&self, name: &str) -> Option<Kind> {
        match self {
            Self::Topic(_) => TopicSetting::find(name).map(|setting| setting.kind),
            Self::AllBrokers | Self::ThisBroker => {
                config::setting(name).map(|setting| setting.rule().unwrap_or(Kind::Text))
            }
            Self::Group(_) => GroupSetting::find(name).map(|setting| setting.kind),
        }
    }

    /// What holds, given or not.
    fn value(&self, name: &str, snapshot: &Snapshot) -> String {
        match self {
            Self::Topic(topic) => TopicSetting::find(name)
                .map(|setting| setting.value(&topic.overrides, snapshot).0)
                .unwrap_or_default(),
            Self::AllBrokers | Self::ThisBroker => snapshot.broker_value(name).unwrap_or_default(),
            Self::Group(group_id) => GroupSetting::find(name)
                .map(|setting| setting.value(group_id, snapshot).0)
                .unwrap_or_default(),
        }
    }

    /// Whether `value` will do.
    fn check(&self, name: &str, value: &str, snapshot: &Snapshot) -> Result<(), Failure> {
        let invalid = |text: String| Failure::new(ErrorCode::InvalidConfig, text);
        match self {
            Self::Topic(_) => topic_rules::check_setting(name, Some(value)),
            Self::Group(_) => match GroupSetting::find(name) {
                None => Err(invalid(format!("Unknown group config name: {name}"))),
                Some(setting) => setting.check(value, snapshot).map_err(invalid),
            },
            Self::AllBrokers | Self::ThisBroker => match config::setting(name) {
                None => Err(invalid(format!("Unknown broker config name: {name}"))),
                Some(setting) if !setting.is_dynamic => Err(Failure::new(
                    ErrorCode::InvalidRequest,
                    format!("Cannot update these configs dynamically: [{name}]"),
                )),
                // Kafka's code for a broker's bad value is another than for a topic's.
                Some(setting) => setting
                    .check(value)
                    .and_then(|()| match name.starts_with("group.") {
                        true => check_limits(setting, value, snapshot),
                        false => Ok(()),
                    })
                    .map_err(|text| Failure::new(ErrorCode::InvalidRequest, text)),
            },
        }
    }
}

/// Whether a setting of groups would lie between its limits.
fn check_limits(setting: &config::Setting, value: &str, snapshot: &Snapshot) -> Result<(), String> {
    let mut config = snapshot.config.clone();
    setting.set(&mut config, value)?;
    config.check_spans()
}

/// What is to be done with one setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    Set,
    Delete,
    Append,
    Subtract,
}

/// One setting of a request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Edit<'a> {
    pub(crate) name: &'a str,
    pub(crate) value: Option<&'a str>,
    /// `None` for a number that Kafka does not have.
    pub(crate) operation: Option<Operation>,
}

/// What a client wants changed in one resource.
#[derive(Debug)]
pub(crate) struct Wanted<'a> {
    pub(crate) kind: i8,
    pub(crate) name: &'a str,
    pub(crate) edits: Vec<Edit<'a>>,
    /// Whether settings that are not named lose their values.
    pub(crate) replaces: bool,
}

/// Makes the changes and answers each in the order asked; they hold when this returns. Each is judged by itself; those that
/// are good are stored together.
pub(crate) async fn change(
    context: &Context,
    wanted: &[Wanted<'_>],
    validate_only: bool,
) -> Vec<Result<(), Failure>> {
    let _turn = context.settings.changes.lock().await;
    let snapshot = context.settings.snapshot();
    let mut count: HashMap<(i8, &str), usize> = HashMap::new();
    for resource in wanted {
        *count.entry((resource.kind, resource.name)).or_default() += 1;
    }
    let mut changes = Vec::new();
    let judged: Vec<Result<(), Failure>> = wanted
        .iter()
        .map(|wanted| {
            if count.get(&(wanted.kind, wanted.name)) > Some(&1) {
                let text = "Each resource must appear at most once.";
                return Err(Failure::new(ErrorCode::InvalidRequest, text));
            }
            let resource = Resource::find(context, wanted.kind, wanted.name)?;
            changes.push(judge(&resource, wanted, &snapshot, context.config.node_id)?);
            Ok(())
        })
        .collect();
    changes.retain(|change| !change.set.is_empty() || !change.unset.is_empty());
    if validate_only || changes.is_empty() {
        return judged;
    }
    match store(context, &changes).await {
        Ok(()) => judged,
        Err(error) => {
            let failure = Failure::from(&error);
            let fail = |result: Result<(), Failure>| result.and(Err(failure.clone()));
            judged.into_iter().map(fail).collect()
        }
    }
}

async fn store(context: &Context, changes: &[SettingsChange]) -> Result<(), storage::Error> {
    context.settings.store(changes).await?;
    let topics: Vec<i32> = changes
        .iter()
        .filter_map(|change| match change.owner {
            SettingsOwner::Topic(id) => Some(id),
            SettingsOwner::Broker(_) | SettingsOwner::Group(_) => None,
        })
        .collect();
    let of_cluster = topics.len() < changes.len();
    context.catalog.reload_settings(&topics, of_cluster).await
}

fn judge(
    resource: &Resource,
    wanted: &Wanted<'_>,
    snapshot: &Snapshot,
    node_id: i32,
) -> Result<SettingsChange, Failure> {
    let before = resource.given(snapshot);
    let mut after = if wanted.replaces {
        Given::new()
    } else {
        before.clone()
    };
    let mut edited: HashSet<&str> = HashSet::new();
    for edit in &wanted.edits {
        if !edited.insert(edit.name) {
            let text = "Error due to duplicate config keys";
            return Err(Failure::new(ErrorCode::InvalidRequest, text));
        }
        match edited_value(resource, edit, snapshot)? {
            Some(value) => {
                resource.check(edit.name, &value, snapshot)?;
                after.insert(edit.name.to_owned(), value);
            }
            None => {
                after.remove(edit.name);
            }
        }
    }
    if let Resource::Topic(_) = resource {
        let overrides: Vec<(String, String)> = after.clone().into_iter().collect();
        topic_rules::check_together(&overrides, snapshot)?;
    }
    let is_new = |(name, value): &(String, String)| before.get(name) != Some(value);
    let lost = before.keys().filter(|name| !after.contains_key(*name));
    Ok(SettingsChange {
        owner: resource.owner(node_id),
        unset: lost.cloned().collect(),
        set: after.into_iter().filter(is_new).collect(),
    })
}

/// The value that the setting gets; `None` if it loses its own.
fn edited_value(
    resource: &Resource,
    edit: &Edit<'_>,
    snapshot: &Snapshot,
) -> Result<Option<String>, Failure> {
    let Some(operation) = edit.operation else {
        let text = "Unknown operation type";
        return Err(Failure::new(ErrorCode::InvalidRequest, text));
    };
    if operation == Operation::Delete {
        return Ok(None);
    }
    let name = edit.name;
    let Some(value) = edit.value else {
        let text = format!("Null value not supported for : {name}");
        return Err(Failure::new(ErrorCode::InvalidRequest, text));
    };
    let kind = resource.kind(name);
    if operation == Operation::Set {
        return Ok(Some(match kind {
            // One that is wrong is refused as it was given.
            Some(kind) if kind.check(name, value).is_ok() => kind.normal(value),
            _ => value.to_owned(),
        }));
    }
    let word = if operation == Operation::Append {
        "APPEND"
    } else {
        "SUBTRACT"
    };
    let Some(kind) = kind.filter(|kind| kind.is_list()) else {
        let text = format!("Can't {word} to key {name} because its type is not LIST.");
        return Err(Failure::new(ErrorCode::InvalidConfig, text));
    };
    let present = resource.value(name, snapshot);
    let named: Vec<&str> = parts_of(value).collect();
    let kept = parts_of(&present).filter(|part| !named.contains(part));
    let mut parts: Vec<&str> = match operation {
        Operation::Append => parts_of(&present).collect(),
        _ => kept.collect(),
    };
    if operation == Operation::Append {
        parts.extend(named);
    }
    Ok(Some(kind.normal(&parts.join(","))))
}
