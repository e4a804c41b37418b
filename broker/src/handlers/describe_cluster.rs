//! DescribeCluster (key 60), v0-v2: the cluster's id and its brokers (KIP-700).
//!
//! v1: whether brokers or controllers are asked for (KIP-919); there are no controllers besides the brokers. v2: fenced brokers.

use protocol::ErrorCode;
use protocol::messages::describe_cluster_response::DescribeClusterBroker;
use protocol::messages::{DescribeClusterRequest, DescribeClusterResponse};

use super::metadata::CLUSTER_OPERATIONS;
use crate::context::Request;

/// Kafka's numbers of what can be asked for.
const BROKERS: i8 = 1;
const CONTROLLERS: i8 = 2;

pub(crate) async fn handle<'a>(
    request: &Request,
    body: DescribeClusterRequest<'_>,
) -> DescribeClusterResponse<'a> {
    let context = request.context();
    if let Err((code, text)) = check_endpoint(body.endpoint_type) {
        return DescribeClusterResponse {
            error_code: code.code(),
            error_message: Some(text.into()),
            ..DescribeClusterResponse::default()
        };
    }
    let nodes = context.nodes(&request.session).into_iter();
    let brokers = nodes.map(|node| DescribeClusterBroker {
        broker_id: node.node_id,
        host: node.host.into(),
        port: node.port,
        rack: node.rack.map(Into::into),
        ..DescribeClusterBroker::default()
    });
    let mut response = DescribeClusterResponse {
        cluster_id: context.store.cluster_id().to_owned().into(),
        controller_id: context.cluster.view().controller_id(),
        brokers: brokers.collect(),
        ..DescribeClusterResponse::default()
    };
    if body.include_cluster_authorized_operations {
        response.cluster_authorized_operations = CLUSTER_OPERATIONS;
    }
    response
}

fn check_endpoint(endpoint_type: i8) -> Result<(), (ErrorCode, String)> {
    match endpoint_type {
        BROKERS => Ok(()),
        CONTROLLERS => Err((
            ErrorCode::MismatchedEndpointType,
            "The request was sent to an endpoint of type BROKER, but we wanted an endpoint of type CONTROLLER".to_owned(),
        )),
        other => Err((
            ErrorCode::UnsupportedEndpointType,
            format!("Unsupported endpoint type {other}"),
        )),
    }
}
