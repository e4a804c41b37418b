//! THE table: which API, in which versions, is served by which handler. What ApiVersions advertises is computed from it.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use protocol::ApiKey;
use protocol::header::{RequestPrefix, write_response_header};
use protocol::messages::RequestHeader;
use protocol::wire::{Reader, Writer};
use protocol::{EncodeError, Message};

use crate::context::{Request, Session};
use crate::error_codes::ErrorCodes;
use crate::handlers;
use crate::server::{Answer, ConnectionError, Reserved, Work};
use crate::wire_log::{self, Exchange};

/// What a handler returns.
#[derive(Debug)]
pub(crate) enum Reply<M> {
    /// A response.
    Message(M),
    /// A response whose records hold this memory.
    Holding(M, Reserved),
    /// No response is due.
    Nothing,
    /// No response is due, so that only closing tells of the failure.
    Close(String),
}

impl<M: ErrorCodes> Reply<M> {
    fn error_codes(&self) -> Vec<i16> {
        match self {
            Self::Message(message) | Self::Holding(message, _) => message.error_codes(),
            Self::Nothing | Self::Close(_) => Vec::new(),
        }
    }
}

impl<M> From<M> for Reply<M> {
    fn from(message: M) -> Self {
        Self::Message(message)
    }
}

/// One row of the table.
#[derive(Debug)]
pub(crate) struct Api {
    pub(crate) key: ApiKey,
    /// The versions that are served.
    pub(crate) versions: RangeInclusive<i16>,
    /// The least version that ApiVersions tells of; below the served ones where clients need to see it.
    pub(crate) advertised_min: i16,
    begin: fn(Request, Head) -> Work,
}

/// Where the body begins and how the answer starts.
#[derive(Debug, Clone, Copy)]
struct Head {
    body_at: usize,
    correlation_id: i32,
    started: Instant,
}

macro_rules! api {
    ($name:ident, $versions:expr, $handler:path, $request:ident, $response:ident) => {
        api!(
            $name,
            $versions,
            *$versions.start(),
            $handler,
            $request,
            $response
        )
    };
    ($name:ident, $versions:expr, $advertised_min:expr, $handler:path, $request:ident, $response:ident) => {
        Api {
            key: ApiKey::$name,
            versions: $versions,
            advertised_min: $advertised_min,
            begin: |request, head| {
                Box::pin(async move {
                    let frame = request.frame.clone();
                    let bytes = frame.get(head.body_at..).unwrap_or_default();
                    let mut reader = Reader::new(bytes);
                    let mut body = protocol::messages::$request::default();
                    if let Err(error) = body.read(&mut reader, request.version) {
                        let text = wire_log::explain(ApiKey::$name, request.version, bytes, &error);
                        return Answer::Close(ConnectionError::Malformed(text));
                    }
                    let reply: Reply<protocol::messages::$response<'_>> =
                        $handler(&request, body).await.into();
                    let codes = reply.error_codes();
                    let answer = answer(reply, ApiKey::$name, request.version, head.correlation_id);
                    count(&request, ApiKey::$name, head.started, &answer, &codes);
                    answer
                })
            },
        }
    };
}

/// Every API that is served.
#[rustfmt::skip] // a table: one row an API
pub(crate) static APIS: &[Api] = &[
    // Old librdkafka compresses only where Produce starts at 0, so that is what it is told, as by Kafka (KAFKA-18659).
    api!(Produce,          3..=13, 0, handlers::produce::handle,           ProduceRequest,          ProduceResponse),
    api!(Fetch,            4..=18,    handlers::fetch::handle,             FetchRequest,            FetchResponse),
    api!(ListOffsets,      1..=11,    handlers::list_offsets::handle,      ListOffsetsRequest,      ListOffsetsResponse),
    api!(Metadata,         0..=13,    handlers::metadata::handle,          MetadataRequest,         MetadataResponse),
    api!(OffsetCommit,     0..=10,    handlers::offset_commit::handle,     OffsetCommitRequest,     OffsetCommitResponse),
    api!(OffsetFetch,      0..=10,    handlers::offset_fetch::handle,      OffsetFetchRequest,      OffsetFetchResponse),
    api!(FindCoordinator,  0..=6,     handlers::find_coordinator::handle,  FindCoordinatorRequest,  FindCoordinatorResponse),
    api!(JoinGroup,        0..=9,     handlers::join_group::handle,        JoinGroupRequest,        JoinGroupResponse),
    api!(Heartbeat,        0..=4,     handlers::heartbeat::handle,         HeartbeatRequest,        HeartbeatResponse),
    api!(LeaveGroup,       0..=5,     handlers::leave_group::handle,       LeaveGroupRequest,       LeaveGroupResponse),
    api!(SyncGroup,        0..=5,     handlers::sync_group::handle,        SyncGroupRequest,        SyncGroupResponse),
    api!(DescribeGroups,   0..=6,     handlers::describe_groups::handle,   DescribeGroupsRequest,   DescribeGroupsResponse),
    api!(ListGroups,       0..=5,     handlers::list_groups::handle,       ListGroupsRequest,       ListGroupsResponse),
    api!(ApiVersions,      0..=5,     handlers::api_versions::handle,      ApiVersionsRequest,      ApiVersionsResponse),
    api!(CreateTopics,     0..=7,     handlers::create_topics::handle,     CreateTopicsRequest,     CreateTopicsResponse),
    api!(DeleteTopics,     0..=6,     handlers::delete_topics::handle,     DeleteTopicsRequest,     DeleteTopicsResponse),
    api!(DeleteRecords,    0..=2,     handlers::delete_records::handle,    DeleteRecordsRequest,    DeleteRecordsResponse),
    api!(InitProducerId,   0..=5,     handlers::init_producer_id::handle,  InitProducerIdRequest,   InitProducerIdResponse),
    api!(OffsetForLeaderEpoch, 0..=4,    handlers::offset_for_leader_epoch::handle, OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse),
    api!(AddPartitionsToTxn, 0..=5,   handlers::add_partitions_to_txn::handle, AddPartitionsToTxnRequest, AddPartitionsToTxnResponse),
    api!(AddOffsetsToTxn,  0..=4,     handlers::add_offsets_to_txn::handle, AddOffsetsToTxnRequest,  AddOffsetsToTxnResponse),
    api!(EndTxn,           0..=5,     handlers::end_txn::handle,           EndTxnRequest,           EndTxnResponse),
    api!(WriteTxnMarkers,  1..=2,     handlers::write_txn_markers::handle, WriteTxnMarkersRequest,  WriteTxnMarkersResponse),
    api!(TxnOffsetCommit,  0..=6,     handlers::txn_offset_commit::handle, TxnOffsetCommitRequest,  TxnOffsetCommitResponse),
    api!(DescribeConfigs,  0..=4,     handlers::describe_configs::handle,  DescribeConfigsRequest,  DescribeConfigsResponse),
    api!(AlterConfigs,     0..=2,     handlers::alter_configs::handle,     AlterConfigsRequest,     AlterConfigsResponse),
    api!(DescribeLogDirs,  0..=5,    handlers::describe_log_dirs::handle, DescribeLogDirsRequest, DescribeLogDirsResponse),
    api!(CreatePartitions, 0..=3,     handlers::create_partitions::handle, CreatePartitionsRequest, CreatePartitionsResponse),
    api!(DeleteGroups,     0..=3,     handlers::delete_groups::handle,     DeleteGroupsRequest,     DeleteGroupsResponse),
    api!(ElectLeaders,     0..=2,    handlers::elect_leaders::handle, ElectLeadersRequest, ElectLeadersResponse),
    api!(IncrementalAlterConfigs, 0..=1, handlers::incremental_alter_configs::handle, IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse),
    api!(AlterPartitionReassignments, 0..=1,    handlers::alter_partition_reassignments::handle, AlterPartitionReassignmentsRequest, AlterPartitionReassignmentsResponse),
    api!(ListPartitionReassignments, 0..=0,    handlers::list_partition_reassignments::handle, ListPartitionReassignmentsRequest, ListPartitionReassignmentsResponse),
    api!(OffsetDelete,     0..=0,     handlers::offset_delete::handle,     OffsetDeleteRequest,     OffsetDeleteResponse),
    api!(DescribeQuorum,   0..=2,    handlers::describe_quorum::handle, DescribeQuorumRequest, DescribeQuorumResponse),
    api!(UpdateFeatures,   0..=2,    handlers::update_features::handle, UpdateFeaturesRequest, UpdateFeaturesResponse),
    api!(DescribeCluster,  0..=2,    handlers::describe_cluster::handle, DescribeClusterRequest, DescribeClusterResponse),
    api!(DescribeProducers, 0..=0,    handlers::describe_producers::handle, DescribeProducersRequest, DescribeProducersResponse),
    api!(UnregisterBroker, 0..=0,    handlers::unregister_broker::handle, UnregisterBrokerRequest, UnregisterBrokerResponse),
    api!(DescribeTransactions, 0..=0, handlers::describe_transactions::handle, DescribeTransactionsRequest, DescribeTransactionsResponse),
    api!(ListTransactions, 0..=2,     handlers::list_transactions::handle, ListTransactionsRequest, ListTransactionsResponse),
    api!(ConsumerGroupHeartbeat, 0..=1, handlers::consumer_group_heartbeat::handle, ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse),
    api!(ConsumerGroupDescribe,  0..=1, handlers::consumer_group_describe::handle,  ConsumerGroupDescribeRequest,  ConsumerGroupDescribeResponse),
    api!(ListConfigResources, 0..=1,  handlers::list_config_resources::handle, ListConfigResourcesRequest, ListConfigResourcesResponse),
    api!(DescribeTopicPartitions, 0..=0,    handlers::describe_topic_partitions::handle, DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse),
];

/// Reads the header of `frame` and starts what it asks for. Nothing but the connection's end answers a request that has no
/// readable header, no known key or no served version; ApiVersions alone is answered in every version, because it is how
/// clients learn about versions.
pub(crate) fn begin(session: &Arc<Session>, frame: Bytes) -> Result<Work, ConnectionError> {
    match route(&frame)? {
        Route::Handler(api, version, head, client_id) => {
            let body = frame.get(head.body_at..).unwrap_or_default();
            let shown = Exchange::begin(session.peer, api.key, version, head.correlation_id, body);
            let request = Request {
                session: session.clone(),
                version,
                correlation_id: head.correlation_id,
                client_id,
                frame,
            };
            let work = (api.begin)(request, head);
            Ok(match shown {
                None => work,
                Some(exchange) => Box::pin(async move {
                    let answer = work.await;
                    exchange.end(&answer);
                    answer
                }),
            })
        }
        Route::VersionsOnly(correlation_id) => {
            let reply = Reply::Message(handlers::api_versions::unsupported_version());
            let answer = answer(reply, ApiKey::ApiVersions, 0, correlation_id);
            Ok(Box::pin(std::future::ready(answer)))
        }
    }
}

/// Where a request goes.
#[derive(Debug)]
enum Route {
    /// To this row of the table, in this version, from this client.
    Handler(&'static Api, i16, Head, Option<String>),
    /// ApiVersions in a version that is not served; with the correlation id.
    VersionsOnly(i32),
}

fn route(frame: &[u8]) -> Result<Route, ConnectionError> {
    let prefix = RequestPrefix::read(frame)
        .map_err(|_| ConnectionError::Malformed("its header is cut off".to_owned()))?;
    let (key, version, correlation_id) =
        (prefix.api_key, prefix.api_version, prefix.correlation_id);
    let Some(api) = APIS.iter().find(|api| api.key as i16 == key) else {
        let name = ApiKey::from_i16(key).map_or("unknown", ApiKey::name);
        return Err(ConnectionError::Malformed(format!(
            "API key {key} ({name}) is not served"
        )));
    };
    if !api.versions.contains(&version) {
        if api.key == ApiKey::ApiVersions {
            return Ok(Route::VersionsOnly(correlation_id));
        }
        return Err(ConnectionError::Malformed(format!(
            "{} v{version} is not served, only v{}-v{}",
            api.key.name(),
            api.versions.start(),
            api.versions.end()
        )));
    }
    let mut reader = Reader::new(frame);
    let mut header = RequestHeader::default();
    let header_version = api.key.request_header_version(version);
    header.read(&mut reader, header_version).map_err(|error| {
        let text = wire_log::explain_header(header_version, frame, &error);
        ConnectionError::Malformed(text)
    })?;
    let head = Head {
        body_at: reader.offset(),
        correlation_id,
        started: Instant::now(),
    };
    let client_id = header.client_id.map(|id| id.into_owned());
    Ok(Route::Handler(api, version, head, client_id))
}

/// Counts what became of a request, and notes it at level debug.
fn count(request: &Request, key: ApiKey, started: Instant, answer: &Answer, codes: &[i16]) {
    let took = started.elapsed();
    let row = APIS.partition_point(|api| api.key < key);
    let metrics = &request.context().metrics;
    match answer {
        Answer::Send { frame, .. } => {
            let bytes = frame.iter().map(Bytes::len).sum();
            metrics.answered(row, took, (request.frame.len(), bytes), codes);
        }
        Answer::Nothing => metrics.answered(row, took, (request.frame.len(), 0), codes),
        Answer::Close(_) => metrics.closed(row),
    }
    tracing::debug!(
        peer = %request.session.peer,
        client_id = request.client_id.as_deref(),
        api = key.name(),
        version = request.version,
        correlation_id = request.correlation_id,
        took_us = took.as_micros(),
        error = codes.iter().find(|code| **code != 0),
        "answered"
    );
}

fn answer<'a, M: Message<'a>>(
    reply: Reply<M>,
    key: ApiKey,
    version: i16,
    correlation_id: i32,
) -> Answer {
    let (message, reserved) = match reply {
        Reply::Message(message) => (message, Reserved::none()),
        Reply::Holding(message, reserved) => (message, reserved),
        Reply::Nothing => return Answer::Nothing,
        Reply::Close(reason) => return Answer::Close(ConnectionError::Unanswerable(reason)),
    };
    match encode(&message, key, version, correlation_id) {
        Ok(frame) => Answer::Send { frame, reserved },
        Err(error) => {
            tracing::error!(%error, "a response could not be written; the connection is closed");
            Answer::Close(ConnectionError::Unanswerable(error.to_string()))
        }
    }
}

fn encode<'a, M: Message<'a>>(
    message: &M,
    key: ApiKey,
    version: i16,
    correlation_id: i32,
) -> Result<Vec<Bytes>, EncodeError> {
    let fault = |fault: protocol::EncodeFault| fault.of(M::NAME, "header", version);
    let mut writer = Writer::new();
    let size = writer.begin_i32_length();
    write_response_header(&mut writer, key, version, correlation_id)?;
    message.write(&mut writer, version)?;
    writer.end_i32_length(size).map_err(fault)?;
    Ok(writer.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A request of `key` and `version` with an empty client id and `body`.
    fn request(key: i16, version: i16, body: &[u8]) -> Vec<u8> {
        let mut frame = key.to_be_bytes().to_vec();
        frame.extend_from_slice(&version.to_be_bytes());
        frame.extend_from_slice(&7i32.to_be_bytes());
        frame.extend_from_slice(&0i16.to_be_bytes());
        frame.extend_from_slice(body);
        frame
    }

    #[track_caller]
    fn refused(frame: &[u8], part: &str) {
        let error = route(frame).unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    }

    #[test]
    fn rows_are_in_the_order_of_their_keys_and_within_the_schemas() {
        assert!(APIS.windows(2).all(|pair| pair[0].key < pair[1].key));
        for api in APIS {
            let (known, served) = (api.key.stable_versions(), &api.versions);
            let (least, last) = (served.start(), served.end());
            assert!(
                known.contains(least) && known.contains(last),
                "{}",
                api.key.name()
            );
            assert!(api.advertised_min <= *least, "{}", api.key.name());
            // Only Produce hides that its first versions are gone.
            assert!(api.key == ApiKey::Produce || api.advertised_min == *least);
        }
    }

    #[test]
    fn unknown_keys_versions_and_cut_off_headers_have_no_route() {
        refused(&[], "cut off");
        refused(&[0, 18, 0, 0, 0, 0, 0], "cut off");
        refused(&[0, 18, 0, 0, 0, 0, 0, 7], "header");
        refused(&request(1234, 0, &[]), "API key 1234 (unknown)");
        refused(&request(-1, 0, &[]), "API key -1 (unknown)");
        refused(&request(4, 0, &[]), "API key 4 (LeaderAndIsr)");
        refused(&request(0, 2, &[]), "Produce v2 is not served");
        refused(&request(0, 14, &[]), "Produce v14 is not served");
        refused(&request(22, 6, &[]), "InitProducerId v6 is not served");
        refused(&request(1, -1, &[]), "Fetch v-1 is not served");
        // The client id is longer than the frame.
        let mut lying = request(3, 0, &[]);
        lying[8..10].copy_from_slice(&100i16.to_be_bytes());
        refused(&lying, "header");
        // The tagged fields of a flexible header are missing.
        refused(&request(3, 9, &[]), "header");
    }

    #[test]
    fn apiversions_is_routed_in_every_version() {
        for version in [6, 100, i16::MAX, -1] {
            let route = route(&request(18, version, b"anything")).unwrap();
            assert!(matches!(route, Route::VersionsOnly(7)), "{version}");
        }
        for version in 0..=5 {
            let route = route(&request(18, version, &[0])).unwrap();
            let Route::Handler(api, routed, ..) = route else {
                panic!("v{version} has no handler");
            };
            assert_eq!((api.key, routed), (ApiKey::ApiVersions, version));
        }
    }

    #[test]
    fn an_unserved_version_is_answered_with_sixteen_bytes() {
        let reply = Reply::Message(handlers::api_versions::unsupported_version());
        let Answer::Send { frame, .. } = answer(reply, ApiKey::ApiVersions, 0, 7) else {
            panic!("no answer");
        };
        let bytes = frame.concat();
        let expected = [
            0, 0, 0, 16, 0, 0, 0, 7, 0, 35, 0, 0, 0, 1, 0, 18, 0, 0, 0, 5,
        ];
        assert_eq!(bytes, expected);
    }
}
