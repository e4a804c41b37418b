//! Every version of the APIs of transactions.

use protocol::messages::add_partitions_to_txn_request::{
    AddPartitionsToTxnTopic, AddPartitionsToTxnTransaction,
};
use protocol::messages::add_partitions_to_txn_response::AddPartitionsToTxnTopicResult;
use protocol::messages::describe_producers_request::TopicRequest;
use protocol::messages::txn_offset_commit_request::{
    TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic,
};
use protocol::messages::write_txn_markers_request::{WritableTxnMarker, WritableTxnMarkerTopic};
use protocol::messages::{
    AddOffsetsToTxnRequest, AddOffsetsToTxnResponse, AddPartitionsToTxnRequest,
    AddPartitionsToTxnResponse, DescribeProducersRequest, DescribeProducersResponse,
    DescribeTransactionsRequest, DescribeTransactionsResponse, EndTxnRequest, EndTxnResponse,
    InitProducerIdRequest, InitProducerIdResponse, ListTransactionsRequest,
    ListTransactionsResponse, TxnOffsetCommitRequest, TxnOffsetCommitResponse,
    WriteTxnMarkersRequest, WriteTxnMarkersResponse,
};
use protocol::{ApiKey, ErrorCode};
use tests::{Broker, fresh_topic};

use super::{Asker, each_version};
use crate::transactions::{LIMIT, NONE, Txn, is_passing};

const UNKNOWN_ID: i16 = ErrorCode::InvalidProducerIdMapping as i16;
const UNKNOWN_PARTITION: i16 = ErrorCode::UnknownTopicOrPartition as i16;

#[test]
fn init_producer_id_of_a_transactional_id() {
    let broker = Broker::shared();
    each_version(ApiKey::InitProducerId, |asker, version| {
        let txn = Txn::named(&broker, &fresh_topic("txn"), 1);
        let mut request = InitProducerIdRequest {
            transactional_id: Some(txn.id.clone().into()),
            transaction_timeout_ms: 60_000,
            ..InitProducerIdRequest::default()
        };
        for epoch in [0, 1] {
            let (id, given) = tests::wait_for("a producer id", LIMIT, || {
                let answer = asker.call(&request, version);
                let response: InitProducerIdResponse<'_> = answer.read();
                let code = response.error_code;
                assert!(code == NONE || is_passing(code), "v{version}: {code}");
                (code == NONE).then_some((response.producer_id, response.producer_epoch))
            });
            assert_eq!(given, epoch, "v{version}");
            if version >= 3 {
                (request.producer_id, request.producer_epoch) = (id, given);
            }
        }
        if version < 3 {
            return;
        }
        request.producer_id += 1_000_000;
        let answer = asker.call(&request, version);
        let fenced = match version {
            3 => ErrorCode::InvalidProducerEpoch,
            _ => ErrorCode::ProducerFenced,
        };
        let response: InitProducerIdResponse<'_> = answer.read();
        assert_eq!(response.error_code, fenced as i16, "v{version}");
    });
}

fn codes(topics: &[AddPartitionsToTxnTopicResult<'_>]) -> Vec<i16> {
    let partitions = topics.iter().flat_map(|topic| &topic.results_by_partition);
    partitions.map(|p| p.partition_error_code).collect()
}

#[test]
fn add_partitions_to_txn() {
    let broker = Broker::shared();
    each_version(ApiKey::AddPartitionsToTxn, |asker, version| {
        let mut txn = Txn::new(&broker, 1);
        let mut ask = |partitions: &[i32], verify_only: bool, epoch: i16| {
            let topics = vec![AddPartitionsToTxnTopic {
                name: asker.topic.clone().into(),
                partitions: partitions.iter().copied().collect(),
                ..AddPartitionsToTxnTopic::default()
            }];
            let mut request = AddPartitionsToTxnRequest::default();
            if version < 4 {
                request.v3_and_below_transactional_id = txn.id.clone().into();
                request.v3_and_below_producer_id = txn.producer_id;
                request.v3_and_below_producer_epoch = epoch;
                request.v3_and_below_topics = topics;
            } else {
                request.transactions = vec![AddPartitionsToTxnTransaction {
                    transactional_id: txn.id.clone().into(),
                    producer_id: txn.producer_id,
                    producer_epoch: epoch,
                    verify_only,
                    topics,
                    ..AddPartitionsToTxnTransaction::default()
                }];
            }
            let answer = asker.connection.call(&request, version);
            let response: AddPartitionsToTxnResponse<'_> = answer.read();
            let mut codes = if version < 4 {
                codes(&response.results_by_topic_v3_and_below)
            } else {
                assert_eq!(response.error_code, NONE);
                codes(&response.results_by_transaction[0].topic_results)
            };
            codes.sort_unstable();
            codes
        };
        if version >= 4 {
            let not_part = ErrorCode::TransactionAbortable as i16;
            assert_eq!(ask(&[0], true, txn.epoch), [not_part], "v{version}");
        }
        assert_eq!(ask(&[0], false, txn.epoch), [NONE], "v{version}");
        assert_eq!(ask(&[0], false, txn.epoch), [NONE], "v{version}");
        if version >= 4 {
            assert_eq!(ask(&[0], true, txn.epoch), [NONE], "v{version}");
        }
        let not_done = ErrorCode::OperationNotAttempted as i16;
        assert_eq!(
            ask(&[0, 7], false, txn.epoch),
            [UNKNOWN_PARTITION, not_done],
            "v{version}"
        );
        let fenced = match version {
            ..2 => ErrorCode::InvalidProducerEpoch,
            _ => ErrorCode::ProducerFenced,
        };
        assert_eq!(ask(&[0], false, txn.epoch + 1), [fenced as i16]);
        txn.end(true);
    });
}

#[test]
fn add_offsets_to_txn() {
    let broker = Broker::shared();
    each_version(ApiKey::AddOffsetsToTxn, |asker, version| {
        let mut txn = Txn::new(&broker, 1);
        let mut request = AddOffsetsToTxnRequest {
            transactional_id: txn.id.clone().into(),
            producer_id: txn.producer_id,
            producer_epoch: txn.epoch,
            group_id: fresh_topic("group").into(),
            ..AddOffsetsToTxnRequest::default()
        };
        tests::wait_for("the group to be added", LIMIT, || {
            let answer = asker.call(&request, version);
            let code = answer.read::<AddOffsetsToTxnResponse<'_>>().error_code;
            assert!(code == NONE || is_passing(code), "v{version}: {code}");
            (code == NONE).then_some(())
        });
        request.transactional_id = fresh_topic("nobody").into();
        let answer = asker.call(&request, version);
        let code = answer.read::<AddOffsetsToTxnResponse<'_>>().error_code;
        assert_eq!(code, UNKNOWN_ID, "v{version}");
        txn.end(true);
    });
}

#[test]
fn end_txn() {
    let broker = Broker::shared();
    each_version(ApiKey::EndTxn, |asker, version| {
        let mut txn = Txn::new(&broker, if version < 5 { 1 } else { 2 });
        txn.produce(&asker.topic.clone(), 0, &["x"]);
        let request = EndTxnRequest {
            transactional_id: txn.id.clone().into(),
            producer_id: txn.producer_id,
            producer_epoch: txn.epoch,
            committed: true,
            ..EndTxnRequest::default()
        };
        let (id, epoch) = tests::wait_for("the end", LIMIT, || {
            let answer = asker.call(&request, version);
            let response: EndTxnResponse<'_> = answer.read();
            let code = response.error_code;
            assert!(code == NONE || is_passing(code), "v{version}: {code}");
            (code == NONE).then_some((response.producer_id, response.producer_epoch))
        });
        if version >= 5 {
            assert_eq!((id, epoch), (txn.producer_id, txn.epoch + 1), "v{version}");
        }
        let late = EndTxnRequest {
            producer_epoch: txn.epoch + 7,
            ..request
        };
        let fenced = match version {
            ..2 => ErrorCode::InvalidProducerEpoch,
            _ => ErrorCode::ProducerFenced,
        };
        let code = tests::wait_for("an answer", LIMIT, || {
            let answer = asker.call(&late, version);
            let code = answer.read::<EndTxnResponse<'_>>().error_code;
            (!is_passing(code)).then_some(code)
        });
        assert_eq!(code, fenced as i16, "v{version}");
    });
}

#[test]
fn txn_offset_commit() {
    let broker = Broker::shared();
    each_version(ApiKey::TxnOffsetCommit, |asker, version| {
        let mut txn = Txn::new(&broker, if version < 5 { 1 } else { 2 });
        let group = fresh_topic("group");
        // In the older versions the group has to be part of the transaction before.
        txn.commit_offset(&group, &asker.topic.clone(), 1);
        let request = TxnOffsetCommitRequest {
            transactional_id: txn.id.clone().into(),
            group_id: group.into(),
            producer_id: txn.producer_id,
            producer_epoch: txn.epoch,
            topics: vec![TxnOffsetCommitRequestTopic {
                name: asker.topic.clone().into(),
                topic_id: asker.id,
                partitions: [0, 7]
                    .map(|partition_index| TxnOffsetCommitRequestPartition {
                        partition_index,
                        committed_offset: 41,
                        ..TxnOffsetCommitRequestPartition::default()
                    })
                    .into(),
                ..TxnOffsetCommitRequestTopic::default()
            }],
            ..TxnOffsetCommitRequest::default()
        };
        let answer = asker.call(&request, version);
        let response: TxnOffsetCommitResponse<'_> = answer.read();
        let partitions = response.topics[0].partitions.iter();
        let mut codes: Vec<i16> = partitions.map(|partition| partition.error_code).collect();
        codes.sort_unstable();
        assert_eq!(codes, [NONE, UNKNOWN_PARTITION], "v{version}");
        txn.end(true);
    });
}

#[test]
fn write_txn_markers() {
    let broker = Broker::shared();
    each_version(ApiKey::WriteTxnMarkers, |asker, version| {
        let mut txn = Txn::new(&broker, 2);
        let topic = asker.topic.clone();
        txn.produce(&topic, 0, &["hanging"]);
        let seen = crate::transactions::read(&mut asker.connection, &topic, 0, 1);
        assert!(seen.last_stable_offset < seen.high_watermark);
        let markers = WriteTxnMarkersRequest {
            markers: vec![WritableTxnMarker {
                producer_id: txn.producer_id,
                producer_epoch: txn.epoch + 1,
                transaction_version: 2,
                topics: vec![WritableTxnMarkerTopic {
                    name: topic.clone().into(),
                    partition_indexes: [0, 7].into_iter().collect(),
                    ..WritableTxnMarkerTopic::default()
                }],
                coordinator_epoch: i32::MAX,
                ..WritableTxnMarker::default()
            }],
            ..WriteTxnMarkersRequest::default()
        };
        let answer = asker.call(&markers, version);
        let response: WriteTxnMarkersResponse<'_> = answer.read();
        assert_eq!(response.markers[0].producer_id, txn.producer_id);
        let mut partitions = response.markers[0].topics[0].partitions.clone();
        partitions.sort_by_key(|partition| partition.partition_index);
        let codes: Vec<i16> = partitions.iter().map(|p| p.error_code).collect();
        assert_eq!(codes, [NONE, UNKNOWN_PARTITION], "v{version}");
        let seen = crate::transactions::read(&mut asker.connection, &topic, 0, 1);
        assert_eq!(seen.last_stable_offset, seen.high_watermark);
        assert!(!seen.values.contains(&"hanging".to_owned()));
    });
}

#[test]
fn describe_producers() {
    let broker = Broker::shared();
    each_version(ApiKey::DescribeProducers, |asker, version| {
        let mut txn = Txn::new(&broker, 2);
        let topic = asker.topic.clone();
        let first = txn.produce(&topic, 0, &["x", "y"]);
        assert_eq!(
            producer(asker, version, txn.producer_id),
            (i32::from(txn.epoch), 1, first)
        );
        txn.end(true);
        // Real Kafka writes its markers behind the answer.
        let (epoch, ..) = tests::wait_for("the marker", LIMIT, || {
            let found = producer(asker, version, txn.producer_id);
            (found.2 == -1).then_some(found)
        });
        assert_eq!(epoch, i32::from(txn.epoch));
    });
}

/// Epoch, last sequence and first offset of the open transaction of a producer in partition 0.
fn producer(asker: &mut Asker, version: i16, producer_id: i64) -> (i32, i32, i64) {
    let request = DescribeProducersRequest {
        topics: vec![TopicRequest {
            name: asker.topic.clone().into(),
            partition_indexes: [0, 7].into_iter().collect(),
            ..TopicRequest::default()
        }],
        ..DescribeProducersRequest::default()
    };
    let answer = asker.call(&request, version);
    let response: DescribeProducersResponse<'_> = answer.read();
    let [known, unknown] = &response.topics[0].partitions[..] else {
        panic!("{response:?}");
    };
    assert_eq!(
        (known.error_code, unknown.error_code),
        (NONE, UNKNOWN_PARTITION)
    );
    let mut producers = known.active_producers.iter();
    let own = producers.find(|state| state.producer_id == producer_id);
    let own = own.expect("the producer is listed");
    (
        own.producer_epoch,
        own.last_sequence,
        own.current_txn_start_offset,
    )
}

#[test]
fn describe_transactions() {
    let broker = Broker::shared();
    each_version(ApiKey::DescribeTransactions, |asker, version| {
        let mut txn = Txn::new(&broker, 2);
        txn.produce(&asker.topic.clone(), 0, &["x"]);
        let request = DescribeTransactionsRequest {
            transactional_ids: vec![txn.id.clone().into(), fresh_topic("nobody").into()],
            ..DescribeTransactionsRequest::default()
        };
        let answer = asker.call(&request, version);
        let response: DescribeTransactionsResponse<'_> = answer.read();
        let [known, unknown] = &response.transaction_states[..] else {
            panic!("{response:?}");
        };
        assert_eq!(known.error_code, NONE);
        assert_eq!(known.transaction_state, "Ongoing");
        assert_eq!(
            (known.producer_id, known.producer_epoch),
            (txn.producer_id, txn.epoch)
        );
        assert_eq!(known.transaction_timeout_ms, 60_000);
        assert!(known.transaction_start_time_ms > 0);
        assert_eq!(known.topics[0].topic, asker.topic);
        assert_eq!(known.topics[0].partitions.iter().collect::<Vec<_>>(), [0]);
        let not_found = ErrorCode::TransactionalIdNotFound as i16;
        assert_eq!(unknown.error_code, not_found);
        txn.end(true);
    });
}

#[test]
fn list_transactions() {
    let broker = Broker::shared();
    each_version(ApiKey::ListTransactions, |asker, version| {
        let mut txn = Txn::new(&broker, 2);
        txn.produce(&asker.topic.clone(), 0, &["x"]);
        let mut list = |change: &dyn Fn(&mut ListTransactionsRequest<'_>)| {
            let mut request = ListTransactionsRequest::default();
            change(&mut request);
            let answer = asker.call(&request, version);
            let response: ListTransactionsResponse<'_> = answer.read();
            let own = response.transaction_states.iter();
            let own = own.filter(|state| state.transactional_id == txn.id);
            let own: Vec<String> = own
                .map(|state| state.transaction_state.to_string())
                .collect();
            (
                response.error_code,
                own,
                response.unknown_state_filters.len(),
            )
        };
        let found = (NONE, vec!["Ongoing".to_owned()], 0);
        let nothing = (NONE, Vec::new(), 0);
        assert_eq!(list(&|_| {}), found, "v{version}");
        assert_eq!(list(&|r| r.state_filters = vec!["Ongoing".into()]), found);
        assert_eq!(list(&|r| r.state_filters = vec!["Empty".into()]), nothing);
        let unknown = list(&|r| r.state_filters = vec!["Nosuch".into()]);
        assert_eq!(unknown, (NONE, Vec::new(), 1));
        let id = txn.producer_id;
        assert_eq!(
            list(&|r| r.producer_id_filters = [id].into_iter().collect()),
            found
        );
        assert_eq!(
            list(&|r| r.producer_id_filters = [id + 1_000_000].into_iter().collect()),
            nothing
        );
        if version >= 1 {
            assert_eq!(list(&|r| r.duration_filter = 3_600_000), nothing);
        }
        if version >= 2 {
            let own = txn.id.clone();
            assert_eq!(
                list(&|r| r.transactional_id_pattern = Some(format!("{own}|x").into())),
                found
            );
            assert_eq!(
                list(&|r| r.transactional_id_pattern = Some("nosuch.*".into())),
                nothing
            );
            let bad = list(&|r| r.transactional_id_pattern = Some("(".into())).0;
            assert_eq!(bad, ErrorCode::InvalidRegularExpression as i16);
        }
        txn.end(true);
    });
}
