//! AlterConfigs (key 33), v0-v2: gives a topic, broker or group exactly these settings; others lose their values.
//!
//! IncrementalAlterConfigs came in its place (KIP-339); older clients know only this one.

use protocol::messages::alter_configs_response::AlterConfigsResourceResponse;
use protocol::messages::{AlterConfigsRequest, AlterConfigsResponse};

use crate::context::Request;
use crate::settings::change::{Edit, Operation, Wanted, change};

pub(crate) async fn handle<'a>(
    request: &Request,
    body: AlterConfigsRequest<'a>,
) -> AlterConfigsResponse<'a> {
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
                operation: Some(Operation::Set),
            })
            .collect(),
        replaces: true,
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
    AlterConfigsResponse {
        responses: responses.collect(),
        ..AlterConfigsResponse::default()
    }
}
