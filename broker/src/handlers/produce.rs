//! Produce (key 0), v3-v13; v0-v2 carry older record formats and are only advertised.
//!
//! v5: log start offset. v7: zstd (KIP-110). v8: errors of single records (KIP-467). v10: the leader, where it is another (KIP-951). v11: TRANSACTION_ABORTABLE. v12: partitions become
//! part of a transaction by producing to them (KIP-890); before, they must be so already. v13: topic ids (KIP-516). Unlike Kafka, null records are answered (INVALID_RECORD),
//! and a partition that is named twice is appended to twice.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use protocol::ErrorCode;
use protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use protocol::messages::produce_response::{
    BatchIndexAndErrorMessage, LeaderIdAndEpoch, NodeEndpoint, PartitionProduceResponse,
    TopicProduceResponse,
};
use protocol::messages::{ProduceRequest, ProduceResponse};

use crate::catalog::Topic;
use crate::context::{Node, Request};
use crate::dispatch::Reply;
use crate::error::Failure;
use crate::handlers::leader_hints::LeaderHints;
use crate::log::{Admission, AppendError, AppendOptions, Appended, Leader};
use crate::transactions::{Admitted, Producer, produce_code};

/// Kafka's local append does not count against the request's timeout; a commit is our local append, so it gets this long
/// even where the request allows less.
const COMMIT_PATIENCE_MIN: Duration = Duration::from_secs(5);

/// The leader is told from this version on.
const LEADER_VERSION: i16 = 10;
/// zstd is allowed from this version on.
const ZSTD_VERSION: i16 = 7;

/// One partition's outcome, once its batch is committed or refused.
type Outcome = Pin<Box<dyn Future<Output = Result<Appended, Refusal>> + Send>>;

/// Why a partition's records were not appended.
struct Refusal {
    failure: Failure,
    /// Index and fault of single records.
    records: Vec<(i32, String)>,
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Self {
        Self {
            failure,
            records: Vec::new(),
        }
    }
}

impl From<AppendError> for Refusal {
    fn from(error: AppendError) -> Self {
        let failure = Failure::from(&error);
        let records = match error {
            AppendError::InvalidRecord { records, .. }
            | AppendError::InvalidTimestamp { records, .. } => records,
            _ => Vec::new(),
        };
        Self { failure, records }
    }
}

pub(crate) async fn handle<'a>(
    request: &Request,
    body: ProduceRequest<'a>,
) -> Reply<ProduceResponse<'a>> {
    let acks = body.acks;
    let transactional_id = body.transactional_id.as_deref();
    // Everything up to the first wait happens in the order of the connection's requests: all batches are queued here.
    let queued: Vec<_> = body
        .topic_data
        .into_iter()
        .map(|topic| queue_topic(request, topic, acks, body.timeout_ms, transactional_id))
        .collect();
    let mut responses = Vec::with_capacity(queued.len());
    let mut first_failure = None;
    let mut hints = LeaderHints::new(request);
    for (mut response, topic, partitions) in queued {
        for (index, outcome) in partitions {
            let outcome = outcome.await;
            let code = outcome.as_ref().err().map(|refusal| refusal.failure.code);
            first_failure = first_failure.or(code);
            let mut answer = partition_response(index, outcome);
            let is_elsewhere = code == Some(ErrorCode::NotLeaderOrFollower);
            if is_elsewhere && request.version >= LEADER_VERSION {
                let partition = topic.as_ref().and_then(|topic| topic.partition(index));
                let leader = partition.and_then(|partition| hints.leader(partition));
                answer.current_leader = leader.map(current_leader).unwrap_or_default();
            }
            response.partition_responses.push(answer);
        }
        responses.push(response);
    }
    match (acks, first_failure) {
        (0, None) => Reply::Nothing,
        (0, Some(code)) => Reply::Close(format!("Produce with acks=0: {}", code.name())),
        _ => Reply::Message(ProduceResponse {
            responses,
            node_endpoints: hints.nodes().into_iter().map(endpoint).collect(),
            ..ProduceResponse::default()
        }),
    }
}

fn current_leader<'a>(leader: Leader) -> LeaderIdAndEpoch<'a> {
    LeaderIdAndEpoch {
        leader_id: leader.node_id,
        leader_epoch: leader.epoch,
        ..LeaderIdAndEpoch::default()
    }
}

fn endpoint<'a>(node: Node) -> NodeEndpoint<'a> {
    NodeEndpoint {
        node_id: node.node_id,
        host: node.host.into(),
        port: node.port,
        rack: node.rack.map(Into::into),
        ..NodeEndpoint::default()
    }
}

fn queue_topic<'a>(
    request: &Request,
    data: TopicProduceData<'a>,
    acks: i16,
    timeout_ms: i32,
    transactional_id: Option<&str>,
) -> (
    TopicProduceResponse<'a>,
    Option<Arc<Topic>>,
    Vec<(i32, Outcome)>,
) {
    let topic = find(request, &data.name, data.topic_id);
    let timeout = Duration::from_millis(timeout_ms.try_into().unwrap_or(0));
    let options = AppendOptions {
        timeout: timeout.max(COMMIT_PATIENCE_MIN),
        zstd_allowed: request.version >= ZSTD_VERSION,
    };
    let partitions = data.partition_data.iter().map(|partition| {
        let outcome = match (&topic, acks) {
            (_, ..-1 | 2..) => refused(Failure::of(ErrorCode::InvalidRequiredAcks)),
            (Err(failure), _) => refused(failure.clone()),
            (Ok(topic), _) => queue(request, topic, partition, options, transactional_id),
        };
        (partition.index, outcome)
    });
    let partitions = partitions.collect();
    let response = TopicProduceResponse {
        name: data.name,
        topic_id: data.topic_id,
        ..TopicProduceResponse::default()
    };
    (response, topic.ok(), partitions)
}

fn find(request: &Request, name: &str, topic_id: uuid::Uuid) -> Result<Arc<Topic>, Failure> {
    let catalog = &request.context().catalog;
    if request.version >= 13 {
        let topic = catalog.by_topic_id(topic_id);
        topic.ok_or_else(|| Failure::of(ErrorCode::UnknownTopicId))
    } else {
        let topic = catalog.by_name(name);
        topic.ok_or_else(|| Failure::of(ErrorCode::UnknownTopicOrPartition))
    }
}

/// The batch has its place in the log's queue when this returns.
fn queue(
    request: &Request,
    topic: &Topic,
    data: &PartitionProduceData<'_>,
    options: AppendOptions,
    transactional_id: Option<&str>,
) -> Outcome {
    let Some(partition) = topic.partition(data.index) else {
        return refused(Failure::of(ErrorCode::UnknownTopicOrPartition));
    };
    let Some(records) = data.records.as_wire().filter(|bytes| !bytes.is_empty()) else {
        let text = "a Produce request carries exactly one record batch for a partition";
        return refused(Failure::new(ErrorCode::InvalidRecord, text));
    };
    let batch = match partition.prepare(request.share(records), options) {
        Ok(batch) => batch,
        Err(error) => return Box::pin(std::future::ready(Err(error.into()))),
    };
    let timeout = options.timeout;
    let Some((id, epoch)) = batch.transaction() else {
        let appended = partition.append(batch, Admission::default(), timeout);
        return Box::pin(async move { appended.await.map_err(Refusal::from) });
    };
    let Some(transactional_id) = transactional_id else {
        return refused(Failure::of(ErrorCode::TransactionalIdAuthorizationFailed));
    };
    let own = partition.clone();
    let admitted = request.context().transactions.admit(
        transactional_id,
        Producer { id, epoch },
        partition,
        request.version,
        move |admission| own.append(batch, admission, timeout),
    );
    let version = request.version;
    match admitted {
        Ok(Admitted::Now(appended, joined)) => Box::pin(async move {
            let appended = appended.await?;
            if let Some(joined) = joined {
                joined.confirm();
            }
            Ok(appended)
        }),
        Ok(Admitted::Later(admitted)) => Box::pin(async move {
            // Nothing comes where the leader has changed or the transaction has ended meanwhile.
            let admitted = admitted.await.unwrap_or(Err(ErrorCode::NotCoordinator));
            let appended = admitted.map_err(|code| Failure::of(produce_code(code, version)))?;
            Ok(appended.await?)
        }),
        Err(code) => refused(Failure::of(code)),
    }
}

fn refused(failure: Failure) -> Outcome {
    Box::pin(std::future::ready(Err(failure.into())))
}

fn partition_response<'a>(
    index: i32,
    outcome: Result<Appended, Refusal>,
) -> PartitionProduceResponse<'a> {
    match outcome {
        Ok(appended) => PartitionProduceResponse {
            index,
            base_offset: appended.base_offset,
            log_append_time_ms: appended.log_append_time_ms,
            log_start_offset: appended.log_start_offset,
            ..PartitionProduceResponse::default()
        },
        Err(Refusal { failure, records }) => {
            let records =
                records
                    .into_iter()
                    .map(|(batch_index, message)| BatchIndexAndErrorMessage {
                        batch_index,
                        batch_index_error_message: Some(message.into()),
                        ..BatchIndexAndErrorMessage::default()
                    });
            PartitionProduceResponse {
                index,
                error_code: failure.code.code(),
                base_offset: -1,
                log_append_time_ms: -1,
                log_start_offset: -1,
                record_errors: records.collect(),
                error_message: failure.message.map(Into::into),
                ..PartitionProduceResponse::default()
            }
        }
    }
}
