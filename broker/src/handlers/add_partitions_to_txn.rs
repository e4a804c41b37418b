//! AddPartitionsToTxn (key 24), v0-v5: a transaction will write to partitions.
//!
//! v2: PRODUCER_FENCED. v4: many transactions, for brokers, that may ask only whether partitions are part of them; who adds some is of
//! transaction version 2 (KIP-890).
//! v5: TRANSACTION_ABORTABLE. All partitions are added, or none.

use protocol::ErrorCode;
use protocol::messages::add_partitions_to_txn_request::AddPartitionsToTxnTopic;
use protocol::messages::add_partitions_to_txn_response::{
    AddPartitionsToTxnPartitionResult, AddPartitionsToTxnResult, AddPartitionsToTxnTopicResult,
};
use protocol::messages::{AddPartitionsToTxnRequest, AddPartitionsToTxnResponse};

use super::transaction_rules;
use crate::context::Request;
use crate::transactions::{Producer, VERSION_1, VERSION_2};

/// From this version on clients know PRODUCER_FENCED.
const FENCED_VERSION: i16 = 2;
/// From this version on a request names many transactions.
const BATCHED_VERSION: i16 = 4;

pub(crate) async fn handle<'a>(
    request: &Request,
    body: AddPartitionsToTxnRequest<'a>,
) -> AddPartitionsToTxnResponse<'a> {
    if request.version < BATCHED_VERSION {
        let producer = Producer {
            id: body.v3_and_below_producer_id,
            epoch: body.v3_and_below_producer_epoch,
        };
        let topics = body.v3_and_below_topics;
        let id = &body.v3_and_below_transactional_id;
        return AddPartitionsToTxnResponse {
            results_by_topic_v3_and_below: add(request, id, producer, topics).await,
            ..AddPartitionsToTxnResponse::default()
        };
    }
    let mut results = Vec::with_capacity(body.transactions.len());
    for transaction in body.transactions {
        let producer = Producer {
            id: transaction.producer_id,
            epoch: transaction.producer_epoch,
        };
        let id = &transaction.transactional_id;
        let topic_results = if transaction.verify_only {
            answers(transaction.topics, |topic, index| {
                verify(request, id, producer, topic, index)
            })
        } else {
            add(request, id, producer, transaction.topics).await
        };
        results.push(AddPartitionsToTxnResult {
            transactional_id: transaction.transactional_id,
            topic_results,
            ..AddPartitionsToTxnResult::default()
        });
    }
    AddPartitionsToTxnResponse {
        results_by_transaction: results,
        ..AddPartitionsToTxnResponse::default()
    }
}

fn verify(
    request: &Request,
    id: &str,
    producer: Producer,
    topic: &str,
    index: i32,
) -> Result<(), ErrorCode> {
    let partition = transaction_rules::partition(request, topic, index)?;
    let transactions = &request.context().transactions;
    transactions.verify(id, producer, partition.id())
}

async fn add<'a>(
    request: &Request,
    id: &str,
    producer: Producer,
    topics: Vec<AddPartitionsToTxnTopic<'a>>,
) -> Vec<AddPartitionsToTxnTopicResult<'a>> {
    let mut partitions = Vec::new();
    let mut are_known = true;
    for topic in &topics {
        for index in &topic.partitions {
            match transaction_rules::partition(request, &topic.name, index) {
                Ok(partition) => partitions.push(partition.id()),
                Err(_) => are_known = false,
            }
        }
    }
    if !are_known {
        return answers(topics, |topic, index| {
            match transaction_rules::partition(request, topic, index) {
                Ok(_) => Err(ErrorCode::OperationNotAttempted),
                Err(code) => Err(code),
            }
        });
    }
    let transactions = &request.context().transactions;
    let version = match request.version < BATCHED_VERSION {
        true => VERSION_1,
        false => VERSION_2,
    };
    let added = transactions.add_partitions(id, producer, &partitions, version);
    let added = added.await;
    let added =
        added.map_err(|code| transaction_rules::fenced(code, request.version, FENCED_VERSION));
    answers(topics, |_, _| added)
}

fn answers<'a>(
    topics: Vec<AddPartitionsToTxnTopic<'a>>,
    answer: impl Fn(&str, i32) -> Result<(), ErrorCode>,
) -> Vec<AddPartitionsToTxnTopicResult<'a>> {
    let topics = topics.into_iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|partition_index| {
            let code = answer(&topic.name, partition_index).err();
            AddPartitionsToTxnPartitionResult {
                partition_index,
                partition_error_code: code.unwrap_or(ErrorCode::None).code(),
                ..AddPartitionsToTxnPartitionResult::default()
            }
        });
        AddPartitionsToTxnTopicResult {
            results_by_partition: partitions.collect(),
            name: topic.name,
            ..AddPartitionsToTxnTopicResult::default()
        }
    });
    topics.collect()
}
