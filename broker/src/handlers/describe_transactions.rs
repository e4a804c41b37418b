//! DescribeTransactions (key 65), v0-v0: the state of transactional ids (KIP-664).

use std::collections::BTreeMap;

use protocol::messages::describe_transactions_response::{TopicData, TransactionState};
use protocol::messages::{DescribeTransactionsRequest, DescribeTransactionsResponse};

use crate::context::Request;

pub(crate) async fn handle<'a>(
    request: &Request,
    body: DescribeTransactionsRequest<'a>,
) -> DescribeTransactionsResponse<'a> {
    let ids = body.transactional_ids.into_iter();
    let states = ids.map(|id| {
        let shown = match request.context().transactions.describe(&id) {
            Ok(shown) => shown,
            Err(code) => {
                return TransactionState {
                    error_code: code.code(),
                    transactional_id: id,
                    ..TransactionState::default()
                };
            }
        };
        let mut topics: BTreeMap<String, Vec<i32>> = BTreeMap::new();
        for (topic, index) in shown.partitions {
            topics.entry(topic).or_default().push(index);
        }
        let topics = topics.into_iter().map(|(topic, partitions)| TopicData {
            topic: topic.into(),
            partitions: partitions.into_iter().collect(),
            ..TopicData::default()
        });
        TransactionState {
            transactional_id: id,
            transaction_state: shown.core.state.name().into(),
            transaction_timeout_ms: shown.core.timeout_ms,
            transaction_start_time_ms: shown.core.started_ms.unwrap_or(-1),
            producer_id: shown.core.producer.id,
            producer_epoch: shown.core.producer.epoch,
            topics: topics.collect(),
            ..TransactionState::default()
        }
    });
    DescribeTransactionsResponse {
        transaction_states: states.collect(),
        ..DescribeTransactionsResponse::default()
    }
}
