//! IncrementalAlterConfigs (key 44), v0-v1: sets, unsets, adds to and takes from single settings of topics, brokers and groups
//! (KIP-339).

use protocol::messages::incremental_alter_configs_response::AlterConfigsResourceResponse;
use protocol::messages::{IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse};

use crate::context::Request;
use crate::settings::change::{Edit, Operation, Wanted, change};

pub(crate) async fn handle<'a>(
    request: &Request,
    body: IncrementalAlterConfigsRequest<'a>,
) -> IncrementalAlterConfigsResponse<'a> {
    let context = request.context();
    context.catalog.refresh().await;
    let wanted = body.resources.iter().map(|resource| Wanted {
        kind: resource.resource_type,
        name: &resource.resource_name,
        edits: resource
            .configs
            .iter()
            .map(|config| Edit {
                name: &config.name,
                value: config.value.as_deref(),
                operation: operation(config.config_operation),
            })
            .collect(),
        replaces: false,
    });
    let wanted: Vec<Wanted<'_>> = wanted.collect();
    let outcomes = change(context, &wanted, body.validate_only).await;
    drop(wanted);
    let responses = body.resources.into_iter().zip(outcomes);
    let responses = responses.map(|(resource, outcome)| {
        let failure = outcome.err();
        AlterConfigsResourceResponse {
            error_code: failure.as_ref().map_or(0, |failure| failure.code.code()),
            error_message: failure.and_then(|failure| failure.message).map(Into::into),
            resource_type: resource.resource_type,
            resource_name: resource.resource_name,
            ..AlterConfigsResourceResponse::default()
        }
    });
    IncrementalAlterConfigsResponse {
        responses: responses.collect(),
        ..IncrementalAlterConfigsResponse::default()
    }
}

/// Kafka's numbers.
fn operation(number: i8) -> Option<Operation> {
    match number {
        0 => Some(Operation::Set),
        1 => Some(Operation::Delete),
        2 => Some(Operation::Append),
        3 => Some(Operation::Subtract),
        _ => None,
    }
}
