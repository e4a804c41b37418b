//! DescribeConfigs (key 32), v0-v4: the settings of topics and of this broker.
//!
//! v1: where values come from, and synonyms (KIP-226). v3: kinds and documentation (KIP-569). A resource that is named twice in
//! a request is refused the second time. There are no loggers, client metrics or groups to ask for.

use std::collections::HashSet;

use protocol::ErrorCode;
use protocol::messages::describe_configs_request::DescribeConfigsResource;
use protocol::messages::describe_configs_response::{
    DescribeConfigsResourceResult, DescribeConfigsResult, DescribeConfigsSynonym,
};
use protocol::messages::{DescribeConfigsRequest, DescribeConfigsResponse};

use super::topic_rules;
use crate::config::{self, ValueKind};
use crate::context::{Context, Request};
use crate::error::Failure;
use crate::topic_settings::{ConfigSource, TOPIC_SETTINGS, TopicSetting};

/// Kafka's numbers of the resources that are served.
const TOPIC: i8 = 2;
const BROKER: i8 = 4;

pub(crate) async fn handle<'a>(
    request: &Request,
    body: DescribeConfigsRequest<'a>,
) -> DescribeConfigsResponse<'a> {
    request.context().catalog.refresh().await;
    let detail = Detail {
        version: request.version,
        synonyms: body.include_synonyms,
        documentation: body.include_documentation,
    };
    let mut seen = HashSet::new();
    let mut results = Vec::new();
    for resource in body.resources {
        let is_first = seen.insert((resource.resource_type, resource.resource_name.clone()));
        let described = if is_first {
            describe(request.context(), &resource, detail)
        } else {
            let text = "The resource is named more than once.";
            Err(Failure::new(ErrorCode::InvalidRequest, text))
        };
        let mut result = DescribeConfigsResult {
            resource_type: resource.resource_type,
            resource_name: resource.resource_name,
            error_message: None,
            ..DescribeConfigsResult::default()
        };
        match described {
            Ok(configs) => result.configs = configs,
            Err(failure) => {
                result.error_code = failure.code.code();
                result.error_message = failure.message.map(Into::into);
            }
        }
        results.push(result);
    }
    DescribeConfigsResponse {
        results,
        ..DescribeConfigsResponse::default()
    }
}

/// What the client wants to know of each setting, and what its version can carry.
#[derive(Debug, Clone, Copy)]
struct Detail {
    version: i16,
    synonyms: bool,
    documentation: bool,
}

type Described<'a> = Result<Vec<DescribeConfigsResourceResult<'a>>, Failure>;

fn describe<'a>(
    context: &Context,
    resource: &DescribeConfigsResource<'_>,
    detail: Detail,
) -> Described<'a> {
    // Null and empty both ask for all.
    let keys = resource.configuration_keys.as_deref().unwrap_or_default();
    let is_wanted = |name: &str| keys.is_empty() || keys.iter().any(|key| *key == name);
    match resource.resource_type {
        TOPIC => describe_topic(context, &resource.resource_name, is_wanted, detail),
        BROKER => describe_broker(context, &resource.resource_name, is_wanted, detail),
        other => Err(Failure::new(
            ErrorCode::InvalidRequest,
            format!(
                "Resources of type {other} have no settings here; topics (2) and brokers (4) have."
            ),
        )),
    }
}

fn describe_topic<'a>(
    context: &Context,
    name: &str,
    is_wanted: impl Fn(&str) -> bool,
    detail: Detail,
) -> Described<'a> {
    topic_rules::check_name(name)?;
    let topic = context
        .catalog
        .by_name(name)
        .ok_or_else(|| Failure::of(ErrorCode::UnknownTopicOrPartition))?;
    let wanted = TOPIC_SETTINGS
        .iter()
        .filter(|setting| is_wanted(setting.name));
    let results = wanted.map(|setting| {
        let (value, source) = setting.value(&topic.overrides, &context.config);
        let synonyms = if detail.synonyms {
            synonyms(context, setting, &value, source)
        } else {
            Vec::new()
        };
        DescribeConfigsResourceResult {
            synonyms,
            ..setting_result(
                setting.name,
                Some(value),
                source,
                setting.value_kind(),
                setting.documentation,
                detail,
            )
        }
    });
    Ok(results.collect())
}

/// All values that the setting has, the one in force first.
fn synonyms<'a>(
    context: &Context,
    setting: &TopicSetting,
    value: &str,
    source: ConfigSource,
) -> Vec<DescribeConfigsSynonym<'a>> {
    let synonym =
        |name: &'static str, value: String, source: ConfigSource| DescribeConfigsSynonym {
            name: name.into(),
            value: Some(value.into()),
            source: source as i8,
            ..DescribeConfigsSynonym::default()
        };
    let mut synonyms = Vec::new();
    if source == ConfigSource::Topic {
        synonyms.push(synonym(setting.name, value.to_owned(), source));
    }
    if setting.broker_name.is_empty() {
        return synonyms;
    }
    if let (value, true) = setting.default(&context.config) {
        let source = ConfigSource::StaticBroker;
        synonyms.push(synonym(setting.broker_name, value, source));
    }
    let value = setting.kafka_default().to_owned();
    synonyms.push(synonym(setting.broker_name, value, ConfigSource::Default));
    synonyms
}

/// An empty name asks for what was set for all brokers while they ran, which is nothing.
fn describe_broker<'a>(
    context: &Context,
    name: &str,
    is_wanted: impl Fn(&str) -> bool,
    detail: Detail,
) -> Described<'a> {
    if name.is_empty() {
        return Ok(Vec::new());
    }
    let node_id = context.config.node_id;
    match name.parse::<i32>() {
        Ok(id) if id == node_id => {}
        Ok(id) => {
            let text = format!(
                "Unexpected broker id, expected {node_id} or empty string, but received {id}"
            );
            return Err(Failure::new(ErrorCode::InvalidRequest, text));
        }
        Err(_) => {
            let text = format!("Broker id must be an integer, but it is: {name}");
            return Err(Failure::new(ErrorCode::InvalidRequest, text));
        }
    }
    let wanted = config::entries(&context.config).filter(|entry| is_wanted(entry.name));
    let results = wanted.map(|entry| {
        let source = if entry.is_default {
            ConfigSource::Default
        } else {
            ConfigSource::StaticBroker
        };
        let synonym = DescribeConfigsSynonym {
            name: entry.name.into(),
            value: entry.value.clone().map(Into::into),
            source: source as i8,
            ..DescribeConfigsSynonym::default()
        };
        DescribeConfigsResourceResult {
            read_only: true,
            synonyms: if detail.synonyms {
                vec![synonym]
            } else {
                Vec::new()
            },
            ..setting_result(
                entry.name,
                entry.value,
                source,
                entry.kind,
                entry.documentation,
                detail,
            )
        }
    });
    Ok(results.collect())
}

fn setting_result<'a>(
    name: &'static str,
    value: Option<String>,
    source: ConfigSource,
    kind: ValueKind,
    documentation: &'static str,
    detail: Detail,
) -> DescribeConfigsResourceResult<'a> {
    DescribeConfigsResourceResult {
        name: name.into(),
        value: value.map(Into::into),
        // Later versions say it by the source.
        is_default: detail.version == 0 && source == ConfigSource::Default,
        config_source: source as i8,
        is_sensitive: kind == ValueKind::Password,
        config_type: config_type(kind),
        documentation: detail.documentation.then(|| documentation.into()),
        ..DescribeConfigsResourceResult::default()
    }
}

/// Kafka's numbers.
fn config_type(kind: ValueKind) -> i8 {
    match kind {
        ValueKind::Boolean => 1,
        ValueKind::String => 2,
        ValueKind::Int => 3,
        ValueKind::Long => 5,
        ValueKind::Double => 6,
        ValueKind::List => 7,
        ValueKind::Password => 9,
    }
}
