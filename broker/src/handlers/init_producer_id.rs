//! InitProducerId (key 22), v0-v5: an id for an idempotent producer.
//!
//! v3: a producer that lost its place names its old id and epoch (KIP-360) and gets a new id. Transactional ids are
//! refused, as transactions are not served. Ids are taken from PostgreSQL in blocks; what is left of a block at the end of
//! the broker is never used.

use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use protocol::ErrorCode;
use protocol::messages::{InitProducerIdRequest, InitProducerIdResponse};
use storage::Store;

use crate::context::{Context, Request};
use crate::error::Failure;

/// Ids taken from the database at once, as in Kafka.
const BLOCK_IDS: i32 = 1_000;

/// What is left of the last block of ids.
#[derive(Debug, Default)]
pub(crate) struct ProducerIds {
    left: Mutex<Range<i64>>,
}

impl ProducerIds {
    async fn next(&self, store: &Store) -> Result<i64, storage::Error> {
        if let Some(id) = self.take() {
            return Ok(id);
        }
        // Requests that come here together take a block each; all but the last one's rest are lost, which is harmless.
        let mut block = store.allocate_producer_ids(BLOCK_IDS).await?;
        let first = block.next();
        *self.left.lock().unwrap_or_else(PoisonError::into_inner) = block;
        first.ok_or_else(|| storage::Error::Bug {
            context: "allocating producer ids".into(),
            detail: "an empty block".to_owned(),
        })
    }

    fn take(&self) -> Option<i64> {
        self.left
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .next()
    }
}

pub(crate) async fn handle(
    request: &Request,
    body: InitProducerIdRequest<'_>,
) -> InitProducerIdResponse<'static> {
    match next(request.context(), &body).await {
        Ok(producer_id) => InitProducerIdResponse {
            producer_id,
            producer_epoch: 0,
            ..InitProducerIdResponse::default()
        },
        Err(code) => InitProducerIdResponse {
            error_code: code.code(),
            producer_id: -1,
            producer_epoch: -1,
            ..InitProducerIdResponse::default()
        },
    }
}

async fn next(context: &Context, body: &InitProducerIdRequest<'_>) -> Result<i64, ErrorCode> {
    match body.transactional_id.as_deref() {
        None => {}
        Some("") => return Err(ErrorCode::InvalidRequest),
        Some(_) => return Err(ErrorCode::UnsupportedVersion),
    }
    if (body.producer_id == -1) != (body.producer_epoch == -1) {
        return Err(ErrorCode::InvalidRequest);
    }
    let next = context.producer_ids.next(&context.store).await;
    next.map_err(|error| match Failure::from(&error).code {
        // Clients know this one as a reason to ask again.
        ErrorCode::KafkaStorageError => ErrorCode::CoordinatorLoadInProgress,
        code => code,
    })
}
