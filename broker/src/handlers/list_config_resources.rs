//! ListConfigResources (key 74), v0-v1: which topics, brokers and groups have settings to describe.
//!
//! v0 asks for client metrics only, of which there are none. v1: types of resources; none given asks for all (KIP-1142).

use protocol::ErrorCode;
use protocol::messages::list_config_resources_response::ConfigResource;
use protocol::messages::{ListConfigResourcesRequest, ListConfigResourcesResponse};

use crate::context::{Context, Request};
use crate::settings::change::{BROKER, GROUP, TOPIC};

/// Kafka's numbers of resources that it lists and that are not there.
const BROKER_LOGGER: i8 = 8;
const CLIENT_METRICS: i8 = 16;

pub(crate) async fn handle<'a>(
    request: &Request,
    body: ListConfigResourcesRequest<'a>,
) -> ListConfigResourcesResponse<'a> {
    let context = request.context();
    context.catalog.refresh().await;
    let all = [TOPIC, BROKER, BROKER_LOGGER, CLIENT_METRICS, GROUP];
    let wanted: Vec<i8> = match request.version {
        0 => vec![CLIENT_METRICS],
        _ if body.resource_types.is_empty() => all.to_vec(),
        _ => body.resource_types.iter().collect(),
    };
    if wanted.iter().any(|kind| !all.contains(kind)) {
        return ListConfigResourcesResponse {
            error_code: ErrorCode::UnsupportedVersion.code(),
            ..ListConfigResourcesResponse::default()
        };
    }
    let resources = all.into_iter().filter(|kind| wanted.contains(kind));
    let resources = resources.flat_map(|kind| {
        let names = names(context, kind).into_iter();
        names.map(move |name| ConfigResource {
            resource_name: name.into(),
            resource_type: kind,
            ..ConfigResource::default()
        })
    });
    ListConfigResourcesResponse {
        config_resources: resources.collect(),
        ..ListConfigResourcesResponse::default()
    }
}

fn names(context: &Context, kind: i8) -> Vec<String> {
    match kind {
        TOPIC => {
            let topics = context.catalog.all();
            topics.iter().map(|topic| topic.name.to_string()).collect()
        }
        BROKER => vec![context.config.node_id.to_string()],
        GROUP => {
            let snapshot = context.settings.snapshot();
            let mut names: Vec<String> = snapshot.groups.keys().cloned().collect();
            names.sort();
            names
        }
        _ => Vec::new(),
    }
}
