//! FindCoordinator (key 10), v0-v6: who coordinates a group or a transactional id.
//!
//! v1: transactional ids. v4: many keys in one request (KIP-699). v6: share groups (KIP-932), which are not served.

use protocol::ErrorCode;
use protocol::messages::find_coordinator_response::Coordinator;
use protocol::messages::{FindCoordinatorRequest, FindCoordinatorResponse};

use crate::context::Request;

/// Kafka's types of keys.
const GROUP: i8 = 0;
const TRANSACTION: i8 = 1;
const SHARE: i8 = 2;

pub(crate) async fn handle<'a>(
    request: &Request,
    body: FindCoordinatorRequest<'a>,
) -> FindCoordinatorResponse<'a> {
    if request.version >= 4 {
        let keys = body.coordinator_keys.into_iter();
        let coordinators = keys.map(|key| {
            let found = find(request, body.key_type, &key);
            Coordinator { key, ..found }
        });
        return FindCoordinatorResponse {
            coordinators: coordinators.collect(),
            ..FindCoordinatorResponse::default()
        };
    }
    let found = find(request, body.key_type, &body.key);
    FindCoordinatorResponse {
        error_code: found.error_code,
        error_message: found.error_message,
        node_id: found.node_id,
        host: found.host,
        port: found.port,
        ..FindCoordinatorResponse::default()
    }
}

fn find<'a>(request: &Request, key_type: i8, key: &str) -> Coordinator<'a> {
    match key_type {
        GROUP | TRANSACTION => coordinator_of(request, key),
        SHARE => refused("share groups are not served"),
        _ => refused("the type of the key is not known"),
    }
}

/// The broker that coordinates what is named `key`. What is stored is fenced by the epoch of the owner in
/// `kafka.group_shards`, whoever is told here.
fn coordinator_of<'a>(request: &Request, key: &str) -> Coordinator<'a> {
    let context = request.context();
    let node_id = context.cluster.view().coordinator(key);
    let Some(node) = node_id.and_then(|id| context.node(&request.session, id)) else {
        return Coordinator {
            error_code: ErrorCode::CoordinatorNotAvailable.code(),
            error_message: Some("The coordinator is not available.".into()),
            node_id: -1,
            port: -1,
            ..Coordinator::default()
        };
    };
    Coordinator {
        node_id: node.node_id,
        host: node.host.into(),
        port: node.port,
        // The texts that Kafka gives for success.
        error_message: Some(if request.version < 4 { "NONE" } else { "" }.into()),
        ..Coordinator::default()
    }
}

fn refused<'a>(message: &'static str) -> Coordinator<'a> {
    Coordinator {
        error_code: ErrorCode::InvalidRequest.code(),
        error_message: Some(message.into()),
        node_id: -1,
        port: -1,
        ..Coordinator::default()
    }
}
