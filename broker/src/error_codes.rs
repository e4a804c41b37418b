//! Which error codes an answer has, to be counted: one line for each API that is served.

use protocol::messages as m;

/// A response that can tell its error codes.
pub(crate) trait ErrorCodes {
    /// All of them; 0 is none.
    fn error_codes(&self) -> Vec<i16>;
}

macro_rules! error_codes {
    ($($response:ident: |$r:ident| $codes:expr;)*) => { $(
        impl ErrorCodes for m::$response<'_> {
            fn error_codes(&self) -> Vec<i16> {
                let $r = self;
                $codes.collect()
            }
        }
    )* };
}

fn one(code: i16) -> std::iter::Once<i16> {
    std::iter::once(code)
}

#[rustfmt::skip] // a table: one line an API
error_codes! {
    ProduceResponse: |r| r.responses.iter().flat_map(|t| &t.partition_responses).map(|p| p.error_code);
    FetchResponse: |r| one(r.error_code).filter(|code| *code != 0).chain(r.responses.iter().flat_map(|t| &t.partitions).map(|p| p.error_code));
    ListOffsetsResponse: |r| r.topics.iter().flat_map(|t| &t.partitions).map(|p| p.error_code);
    MetadataResponse: |r| one(r.error_code).chain(r.topics.iter().map(|t| t.error_code));
    ApiVersionsResponse: |r| one(r.error_code);
    CreateTopicsResponse: |r| r.topics.iter().map(|t| t.error_code);
    DeleteTopicsResponse: |r| r.responses.iter().map(|t| t.error_code);
    DeleteRecordsResponse: |r| r.topics.iter().flat_map(|t| &t.partitions).map(|p| p.error_code);
    InitProducerIdResponse: |r| one(r.error_code);
    OffsetForLeaderEpochResponse: |r| r.topics.iter().flat_map(|t| &t.partitions).map(|p| p.error_code);
    DescribeConfigsResponse: |r| r.results.iter().map(|result| result.error_code);
    AlterConfigsResponse: |r| r.responses.iter().map(|result| result.error_code);
    DescribeLogDirsResponse: |r| r.results.iter().map(|dir| dir.error_code);
    CreatePartitionsResponse: |r| r.results.iter().map(|topic| topic.error_code);
    ElectLeadersResponse: |r| one(r.error_code).chain(r.replica_election_results.iter().flat_map(|t| &t.partition_result).map(|p| p.error_code));
    IncrementalAlterConfigsResponse: |r| r.responses.iter().map(|result| result.error_code);
    AlterPartitionReassignmentsResponse: |r| one(r.error_code).chain(r.responses.iter().flat_map(|t| &t.partitions).map(|p| p.error_code));
    ListPartitionReassignmentsResponse: |r| one(r.error_code);
    DescribeQuorumResponse: |r| one(r.error_code);
    UpdateFeaturesResponse: |r| one(r.error_code).chain(r.results.iter().map(|feature| feature.error_code));
    DescribeClusterResponse: |r| one(r.error_code);
    UnregisterBrokerResponse: |r| one(r.error_code);
    ListConfigResourcesResponse: |r| one(r.error_code);
    DescribeTopicPartitionsResponse: |r| r.topics.iter().map(|topic| topic.error_code);
    OffsetCommitResponse: |r| r.topics.iter().flat_map(|t| &t.partitions).map(|p| p.error_code);
    OffsetFetchResponse: |r| one(r.error_code).chain(r.groups.iter().map(|group| group.error_code));
    FindCoordinatorResponse: |r| one(r.error_code).chain(r.coordinators.iter().map(|found| found.error_code));
    JoinGroupResponse: |r| one(r.error_code);
    HeartbeatResponse: |r| one(r.error_code);
    LeaveGroupResponse: |r| one(r.error_code).chain(r.members.iter().map(|member| member.error_code));
    SyncGroupResponse: |r| one(r.error_code);
    DescribeGroupsResponse: |r| r.groups.iter().map(|group| group.error_code);
    ListGroupsResponse: |r| one(r.error_code);
    DeleteGroupsResponse: |r| r.results.iter().map(|group| group.error_code);
    OffsetDeleteResponse: |r| one(r.error_code).chain(r.topics.iter().flat_map(|t| &t.partitions).map(|p| p.error_code));
    ConsumerGroupHeartbeatResponse: |r| one(r.error_code);
    AddPartitionsToTxnResponse: |r| one(r.error_code).chain(r.results_by_topic_v3_and_below.iter().chain(r.results_by_transaction.iter().flat_map(|t| &t.topic_results)).flat_map(|t| &t.results_by_partition).map(|p| p.partition_error_code));
    AddOffsetsToTxnResponse: |r| one(r.error_code);
    EndTxnResponse: |r| one(r.error_code);
    WriteTxnMarkersResponse: |r| r.markers.iter().flat_map(|marker| &marker.topics).flat_map(|t| &t.partitions).map(|p| p.error_code);
    TxnOffsetCommitResponse: |r| r.topics.iter().flat_map(|t| &t.partitions).map(|p| p.error_code);
    DescribeProducersResponse: |r| r.topics.iter().flat_map(|t| &t.partitions).map(|p| p.error_code);
    DescribeTransactionsResponse: |r| r.transaction_states.iter().map(|state| state.error_code);
    ListTransactionsResponse: |r| one(r.error_code);
    ConsumerGroupDescribeResponse: |r| r.groups.iter().map(|group| group.error_code);
}
