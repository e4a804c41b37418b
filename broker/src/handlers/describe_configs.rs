//! DescribeConfigs (key 32), v0-v4: the settings of topics, of this broker, of all brokers together, and of groups.
//!
//! v1: where values come from, and synonyms (KIP-226). v3: kinds and documentation (KIP-569). A resource that is named twice in
//! a request is refused the second time. There are no loggers or client metrics to ask for.

use std::collections::HashSet;

use protocol::ErrorCode;
use protocol::messages::describe_configs_request::DescribeConfigsResource;
use protocol::messages::describe_configs_response::{
    DescribeConfigsResourceResult, DescribeConfigsResult, DescribeConfigsSynonym,
};
use protocol::messages::{DescribeConfigsRequest, DescribeConfigsResponse};

use crate::catalog::Topic;
use crate::config::{self, ValueKind};
use crate::context::{Context, Request};
use crate::error::Failure;
use crate::settings::change::{GROUP, Resource};
use crate::settings::groups::GROUP_SETTINGS;
use crate::settings::topics::TOPIC_SETTINGS;
use crate::settings::{ConfigSource, Layer, Snapshot};

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
            // What Kafka says of success.
            error_message: Some("".into()),
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
    let snapshot = context.settings.snapshot();
    let kind = resource.resource_type;
    if (kind, &*resource.resource_name) == (GROUP, "") {
        let text = "Group name must not be empty";
        return Err(Failure::new(ErrorCode::InvalidRequest, text));
    }
    Ok(
        match Resource::find(context, kind, &resource.resource_name)? {
            Resource::Topic(topic) => topic_settings(&topic, &snapshot, is_wanted, detail),
            Resource::AllBrokers => all_brokers(&snapshot, is_wanted, detail),
            Resource::ThisBroker => this_broker(&snapshot, is_wanted, detail),
            Resource::Group(group_id) => group_settings(&group_id, &snapshot, is_wanted, detail),
        },
    )
}

fn topic_settings<'a>(
    topic: &Topic,
    snapshot: &Snapshot,
    is_wanted: impl Fn(&str) -> bool,
    detail: Detail,
) -> Vec<DescribeConfigsResourceResult<'a>> {
    let wanted = TOPIC_SETTINGS
        .iter()
        .filter(|setting| is_wanted(setting.name));
    let results = wanted.map(|setting| {
        let (value, source) = setting.value(&topic.overrides, snapshot);
        let shown = Shown {
            name: setting.name,
            value: Some(value),
            source,
            kind: setting.kind.value_kind(),
            is_read_only: false,
            documentation: setting.documentation,
        };
        shown.result(detail, || setting.synonyms(&topic.overrides, snapshot))
    });
    results.collect()
}

fn group_settings<'a>(
    group_id: &str,
    snapshot: &Snapshot,
    is_wanted: impl Fn(&str) -> bool,
    detail: Detail,
) -> Vec<DescribeConfigsResourceResult<'a>> {
    let wanted = GROUP_SETTINGS
        .iter()
        .filter(|setting| is_wanted(setting.name));
    let results = wanted.map(|setting| {
        let (value, source) = setting.value(group_id, snapshot);
        let shown = Shown {
            name: setting.name,
            value: Some(value),
            source,
            kind: setting.kind.value_kind(),
            is_read_only: false,
            documentation: setting.documentation,
        };
        shown.result(detail, || setting.synonyms(group_id, snapshot))
    });
    results.collect()
}

fn this_broker<'a>(
    snapshot: &Snapshot,
    is_wanted: impl Fn(&str) -> bool,
    detail: Detail,
) -> Vec<DescribeConfigsResourceResult<'a>> {
    let wanted = config::settings().filter(|setting| is_wanted(setting.name));
    let results = wanted.map(|setting| {
        let layers = snapshot.broker_layers(setting.name);
        let first = layers.first();
        let shown = Shown {
            name: setting.name,
            value: first.map(|layer| layer.value.clone()),
            source: first.map_or(ConfigSource::Default, |layer| layer.source),
            kind: setting.value_kind(&snapshot.config),
            is_read_only: !setting.is_dynamic,
            documentation: setting.help,
        };
        shown.result(detail, || layers)
    });
    results.collect()
}

/// What was given to all brokers while they ran.
fn all_brokers<'a>(
    snapshot: &Snapshot,
    is_wanted: impl Fn(&str) -> bool,
    detail: Detail,
) -> Vec<DescribeConfigsResourceResult<'a>> {
    let given = snapshot.dynamic(true).iter();
    let given = given.filter_map(|(name, value)| Some((config::setting(name)?, value)));
    let results = given
        .filter(|(setting, _)| is_wanted(setting.name))
        .map(|(setting, value)| {
            let source = ConfigSource::DynamicDefaultBroker;
            let shown = Shown {
                name: setting.name,
                value: Some(value.clone()),
                source,
                kind: setting.value_kind(&snapshot.config),
                is_read_only: false,
                documentation: setting.help,
            };
            let layer = Layer {
                name: setting.name,
                value: value.clone(),
                source,
            };
            shown.result(detail, || vec![layer])
        });
    results.collect()
}

/// One setting as it is told.
struct Shown {
    name: &'static str,
    /// `None`: it has none.
    value: Option<String>,
    source: ConfigSource,
    kind: ValueKind,
    is_read_only: bool,
    documentation: &'static str,
}

impl Shown {
    fn result<'a>(
        self,
        detail: Detail,
        synonyms: impl FnOnce() -> Vec<Layer>,
    ) -> DescribeConfigsResourceResult<'a> {
        let is_sensitive = self.kind == ValueKind::Password;
        let told = |value: String| (!is_sensitive).then(|| value.into());
        let synonyms = if detail.synonyms {
            synonyms()
        } else {
            Vec::new()
        };
        let synonyms = synonyms.into_iter().map(|layer| DescribeConfigsSynonym {
            name: layer.name.into(),
            value: told(layer.value),
            source: layer.source as i8,
            ..DescribeConfigsSynonym::default()
        });
        DescribeConfigsResourceResult {
            name: self.name.into(),
            value: self.value.and_then(told),
            read_only: self.is_read_only,
            // Later versions say it by the source.
            is_default: detail.version == 0 && self.source == ConfigSource::Default,
            config_source: self.source as i8,
            is_sensitive,
            synonyms: synonyms.collect(),
            config_type: config_type(self.kind),
            documentation: detail.documentation.then(|| self.documentation.into()),
            ..DescribeConfigsResourceResult::default()
        }
    }
}

/// Kafka's numbers.
fn config_type(kind: ValueKind) -> i8 {
    match kind {
        ValueKind::Boolean => 1,
        ValueKind::String => 2,
        ValueKind::Int => 3,
        ValueKind::Short => 4,
        ValueKind::Long => 5,
        ValueKind::Double => 6,
        ValueKind::List => 7,
        ValueKind::Password => 9,
    }
}
