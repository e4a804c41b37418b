//! WriteTxnMarkers (key 27), v1-v2: ends transactions in partitions, whatever their coordinator says. Administrators free partitions of hanging
//! transactions with it (KIP-664).
//!
//! v2: the transaction version, by which the epoch of a marker is judged (KIP-890).

use std::sync::Arc;

use protocol::ErrorCode;
use protocol::messages::write_txn_markers_request::WritableTxnMarker;
use protocol::messages::write_txn_markers_response::{
    WritableTxnMarkerPartitionResult, WritableTxnMarkerResult, WritableTxnMarkerTopicResult,
};
use protocol::messages::{WriteTxnMarkersRequest, WriteTxnMarkersResponse};

use super::transaction_rules;
use crate::context::Request;
use crate::log::{EndError, EndTransaction, Partition};

/// Markers of this transaction version have an epoch that no record has.
const EPOCH_VERSION: i8 = 2;

pub(crate) async fn handle<'a>(
    request: &Request,
    body: WriteTxnMarkersRequest<'a>,
) -> WriteTxnMarkersResponse<'a> {
    let mut markers = Vec::with_capacity(body.markers.len());
    for marker in body.markers {
        markers.push(write(request, marker).await);
    }
    WriteTxnMarkersResponse {
        markers,
        ..WriteTxnMarkersResponse::default()
    }
}

async fn write<'a>(
    request: &Request,
    marker: WritableTxnMarker<'a>,
) -> WritableTxnMarkerResult<'a> {
    let mut topics = Vec::with_capacity(marker.topics.len());
    for topic in &marker.topics {
        let mut partitions = Vec::new();
        for partition_index in &topic.partition_indexes {
            let written = match transaction_rules::partition(request, &topic.name, partition_index)
            {
                Ok(partition) => end(request, &marker, partition).await,
                Err(code) => Err(code),
            };
            partitions.push(WritableTxnMarkerPartitionResult {
                partition_index,
                error_code: written.err().unwrap_or(ErrorCode::None).code(),
                ..WritableTxnMarkerPartitionResult::default()
            });
        }
        topics.push(WritableTxnMarkerTopicResult {
            name: topic.name.clone(),
            partitions,
            ..WritableTxnMarkerTopicResult::default()
        });
    }
    WritableTxnMarkerResult {
        producer_id: marker.producer_id,
        topics,
        ..WritableTxnMarkerResult::default()
    }
}

async fn end(
    request: &Request,
    marker: &WritableTxnMarker<'_>,
    partition: Arc<Partition>,
) -> Result<(), ErrorCode> {
    if marker.producer_id < 0 || marker.producer_epoch < 0 {
        return Err(ErrorCode::InvalidRequest);
    }
    let transaction = EndTransaction {
        producer_id: marker.producer_id,
        producer_epoch: marker.producer_epoch,
        coordinator_epoch: marker.coordinator_epoch,
        is_commit: marker.transaction_result,
        is_epoch_bumped: marker.transaction_version >= EPOCH_VERSION,
        partitions: vec![partition],
        change: None,
        due: Vec::new(),
        written: None,
    };
    let queued = request.context().catalog.log().end_transaction(transaction);
    let ended = queued.map_err(|_| ErrorCode::NotLeaderOrFollower)?.await;
    let ended = ended.unwrap_or(Err(EndError::NotLeader));
    let results = ended.map_err(code)?;
    results.into_iter().next().unwrap_or(Ok(())).map_err(code)
}

fn code(error: EndError) -> ErrorCode {
    match error {
        EndError::NotLeader | EndError::NotCoordinator => ErrorCode::NotLeaderOrFollower,
        EndError::UnknownPartition => ErrorCode::UnknownTopicOrPartition,
        EndError::StaleEpoch => ErrorCode::InvalidProducerEpoch,
        EndError::StaleCoordinator => ErrorCode::TransactionCoordinatorFenced,
        EndError::Unavailable | EndError::Locked => ErrorCode::KafkaStorageError,
    }
}
