//! EndTxn (key 26), v0-v5: commits or aborts a transaction.
//!
//! v2: PRODUCER_FENCED. v4: TRANSACTION_ABORTABLE. v5: transaction version 2, whose answer carries the next epoch (KIP-890).

use protocol::messages::{EndTxnRequest, EndTxnResponse};

use super::transaction_rules;
use crate::context::Request;
use crate::transactions::Producer;

/// From this version on clients know PRODUCER_FENCED.
const FENCED_VERSION: i16 = 2;
/// From this version on the epoch is raised with each transaction.
const EPOCH_VERSION: i16 = 5;

pub(crate) async fn handle(request: &Request, body: EndTxnRequest<'_>) -> EndTxnResponse<'static> {
    let producer = Producer {
        id: body.producer_id,
        epoch: body.producer_epoch,
    };
    let transaction_version = if request.version >= EPOCH_VERSION {
        2
    } else {
        1
    };
    let transactions = &request.context().transactions;
    let ended = transactions
        .end(
            &body.transactional_id,
            producer,
            body.committed,
            transaction_version,
        )
        .await;
    match ended {
        Ok(producer) => EndTxnResponse {
            producer_id: producer.id,
            producer_epoch: producer.epoch,
            ..EndTxnResponse::default()
        },
        Err(code) => EndTxnResponse {
            error_code: transaction_rules::fenced(code, request.version, FENCED_VERSION).code(),
            producer_id: -1,
            producer_epoch: -1,
            ..EndTxnResponse::default()
        },
    }
}
