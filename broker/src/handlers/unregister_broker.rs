//! UnregisterBroker (key 64), v0-v0: takes a broker that is gone out of the cluster (KIP-500).
//!
//! Brokers are those that run; one that is gone is not registered any more, and one that runs is not taken out under its clients.

use protocol::ErrorCode;
use protocol::messages::{UnregisterBrokerRequest, UnregisterBrokerResponse};

use crate::context::Request;

pub(crate) async fn handle<'a>(
    request: &Request,
    body: UnregisterBrokerRequest<'_>,
) -> UnregisterBrokerResponse<'a> {
    let id = body.broker_id;
    let view = request.context().cluster.view();
    let (code, text) = if view.broker(id).is_some() {
        (
            ErrorCode::InvalidRequest,
            format!("Broker {id} is running; stop it instead"),
        )
    } else {
        (
            ErrorCode::BrokerIdNotRegistered,
            format!("Broker ID {id} is not currently registered"),
        )
    };
    UnregisterBrokerResponse {
        error_code: code.code(),
        error_message: Some(text.into()),
        ..UnregisterBrokerResponse::default()
    }
}
