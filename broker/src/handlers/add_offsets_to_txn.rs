//! AddOffsetsToTxn (key 25), v0-v4: a transaction will commit offsets of a group.
//!
//! v2: PRODUCER_FENCED. v4: TRANSACTION_ABORTABLE. Transaction version 2 does without (KIP-890).

use protocol::ErrorCode;
use protocol::messages::{AddOffsetsToTxnRequest, AddOffsetsToTxnResponse};

use super::{group_rules, transaction_rules};
use crate::context::Request;
use crate::transactions::Producer;

/// From this version on clients know PRODUCER_FENCED.
const FENCED_VERSION: i16 = 2;

pub(crate) async fn handle(
    request: &Request,
    body: AddOffsetsToTxnRequest<'_>,
) -> AddOffsetsToTxnResponse<'static> {
    let code = add(request, &body).await.err().unwrap_or(ErrorCode::None);
    AddOffsetsToTxnResponse {
        error_code: transaction_rules::fenced(code, request.version, FENCED_VERSION).code(),
        ..AddOffsetsToTxnResponse::default()
    }
}

async fn add(request: &Request, body: &AddOffsetsToTxnRequest<'_>) -> Result<(), ErrorCode> {
    group_rules::check_group_id(&body.group_id)?;
    let producer = Producer {
        id: body.producer_id,
        epoch: body.producer_epoch,
    };
    let transactions = &request.context().transactions;
    transactions
        .add_group(&body.transactional_id, producer, &body.group_id)
        .await
}
