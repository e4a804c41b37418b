//! InitProducerId (key 22), v0-v5: an id for an idempotent producer, or the next epoch of a transactional one.
//!
//! v3: a producer that lost its place names its old id and epoch (KIP-360); without a transactional id it gets a new id. v4:
//! PRODUCER_FENCED. v5: TRANSACTION_ABORTABLE (KIP-890).

use protocol::ErrorCode;
use protocol::messages::{InitProducerIdRequest, InitProducerIdResponse};

use super::transaction_rules;
use crate::context::{Context, Request};
use crate::error::Failure;
use crate::transactions::Producer;

/// From this version on clients know PRODUCER_FENCED.
const FENCED_VERSION: i16 = 4;

pub(crate) async fn handle(
    request: &Request,
    body: InitProducerIdRequest<'_>,
) -> InitProducerIdResponse<'static> {
    match next(request.context(), &body).await {
        Ok(producer) => InitProducerIdResponse {
            producer_id: producer.id,
            producer_epoch: producer.epoch,
            ..InitProducerIdResponse::default()
        },
        Err(code) => InitProducerIdResponse {
            error_code: transaction_rules::fenced(code, request.version, FENCED_VERSION).code(),
            producer_id: -1,
            producer_epoch: -1,
            ..InitProducerIdResponse::default()
        },
    }
}

async fn next(context: &Context, body: &InitProducerIdRequest<'_>) -> Result<Producer, ErrorCode> {
    if (body.producer_id == -1) != (body.producer_epoch == -1) {
        return Err(ErrorCode::InvalidRequest);
    }
    let transactions = &context.transactions;
    if let Some(id) = body.transactional_id.as_deref() {
        let expected = (body.producer_id != -1).then_some(Producer {
            id: body.producer_id,
            epoch: body.producer_epoch,
        });
        return transactions
            .init(id, body.transaction_timeout_ms, expected)
            .await;
    }
    let next = transactions.producer_ids.next(&context.store).await;
    let id = next.map_err(|error| match Failure::from(&error).code {
        // Clients know this one as a reason to ask again.
        ErrorCode::KafkaStorageError => ErrorCode::CoordinatorLoadInProgress,
        code => code,
    })?;
    Ok(Producer { id, epoch: 0 })
}
