//! What administrators do, over the wire: settings described and altered.

use protocol::messages::describe_configs_request::DescribeConfigsResource;
use protocol::messages::incremental_alter_configs_request::{
    AlterConfigsResource, AlterableConfig,
};
use protocol::messages::{
    DescribeConfigsRequest, DescribeConfigsResponse, IncrementalAlterConfigsRequest,
    IncrementalAlterConfigsResponse,
};

use crate::wire::Connection;

/// Kafka's numbers of resources.
pub const TOPIC: i8 = 2;
pub const BROKER: i8 = 4;
pub const GROUP: i8 = 32;

/// Kafka's numbers of what is done with a setting.
pub const SET: i8 = 0;
pub const DELETE: i8 = 1;
pub const APPEND: i8 = 2;
pub const SUBTRACT: i8 = 3;

/// One setting as it was described.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Described {
    pub name: String,
    pub value: Option<String>,
    pub source: i8,
    pub is_read_only: bool,
    pub is_sensitive: bool,
    /// Name, value and source, the one in force first.
    pub synonyms: Vec<(String, Option<String>, i8)>,
    pub documentation: Option<String>,
}

/// Does these things (operation, name, value) with the settings of one resource; error code and text.
pub fn alter(
    connection: &mut Connection,
    (kind, name): (i8, &str),
    operations: &[(i8, &str, Option<&str>)],
    validate_only: bool,
) -> (i16, String) {
    let configs = operations
        .iter()
        .map(|(operation, name, value)| AlterableConfig {
            name: (*name).into(),
            config_operation: *operation,
            value: value.map(Into::into),
            ..AlterableConfig::default()
        });
    let request = IncrementalAlterConfigsRequest {
        resources: vec![AlterConfigsResource {
            resource_type: kind,
            resource_name: name.into(),
            configs: configs.collect(),
            ..AlterConfigsResource::default()
        }],
        validate_only,
        ..IncrementalAlterConfigsRequest::default()
    };
    let answer = connection.call(&request, 1);
    let response: IncrementalAlterConfigsResponse<'_> = answer.read();
    assert_eq!(response.responses.len(), 1);
    let result = &response.responses[0];
    assert_eq!((result.resource_type, &*result.resource_name), (kind, name));
    let text = result.error_message.as_deref().unwrap_or_default();
    (result.error_code, text.to_owned())
}

/// Sets one setting.
///
/// # Panics
/// When it is refused.
#[track_caller]
pub fn set(connection: &mut Connection, resource: (i8, &str), name: &str, value: &str) {
    let altered = alter(connection, resource, &[(SET, name, Some(value))], false);
    assert_eq!(altered.0, 0, "{name}={value}: {altered:?}");
}

/// Takes one setting away.
///
/// # Panics
/// When that is refused.
#[track_caller]
pub fn unset(connection: &mut Connection, resource: (i8, &str), name: &str) {
    let altered = alter(connection, resource, &[(DELETE, name, None)], false);
    assert_eq!(altered.0, 0, "{name}: {altered:?}");
}

/// The settings of one resource, or the error code and text.
pub fn describe_all(
    connection: &mut Connection,
    (kind, name): (i8, &str),
) -> Result<Vec<Described>, (i16, String)> {
    let request = DescribeConfigsRequest {
        resources: vec![DescribeConfigsResource {
            resource_type: kind,
            resource_name: name.into(),
            configuration_keys: None,
            ..DescribeConfigsResource::default()
        }],
        include_synonyms: true,
        include_documentation: true,
        ..DescribeConfigsRequest::default()
    };
    let answer = connection.call(&request, 4);
    let response: DescribeConfigsResponse<'_> = answer.read();
    let result = &response.results[0];
    if result.error_code != 0 {
        let text = result.error_message.as_deref().unwrap_or_default();
        return Err((result.error_code, text.to_owned()));
    }
    let owned = |text: &Option<std::borrow::Cow<'_, str>>| text.as_deref().map(str::to_owned);
    let described = result.configs.iter().map(|config| Described {
        name: config.name.to_string(),
        value: owned(&config.value),
        source: config.config_source,
        is_read_only: config.read_only,
        is_sensitive: config.is_sensitive,
        synonyms: config
            .synonyms
            .iter()
            .map(|s| (s.name.to_string(), owned(&s.value), s.source))
            .collect(),
        documentation: owned(&config.documentation),
    });
    Ok(described.collect())
}

/// One setting of a resource, if it is told of.
///
/// # Panics
/// When the resource cannot be described.
#[track_caller]
pub fn describe(
    connection: &mut Connection,
    resource: (i8, &str),
    setting: &str,
) -> Option<Described> {
    let all = describe_all(connection, resource);
    let all = all.unwrap_or_else(|error| panic!("{resource:?}: {error:?}"));
    all.into_iter().find(|described| described.name == setting)
}

/// Value and source of one setting.
///
/// # Panics
/// When it is not told of.
#[track_caller]
pub fn value(connection: &mut Connection, resource: (i8, &str), setting: &str) -> (String, i8) {
    let described = describe(connection, resource, setting);
    let described = described.unwrap_or_else(|| panic!("no {setting} of {resource:?}"));
    (described.value.unwrap_or_default(), described.source)
}
