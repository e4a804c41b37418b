//! Kafka's error codes, which travel inside responses: number, name, whether a client should try again, and a sentence
//! for people. Which of our own errors becomes which code is decided elsewhere.

use std::fmt;

/// Declares the enum from rows of `Variant = code, "KAFKA_NAME", fatal or retriable, "message";`.
macro_rules! error_codes {
    ($($variant:ident = $code:literal, $name:literal, $retry:ident, $message:literal;)*) => {
        /// An error code of Kafka's protocol.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(i16)]
        pub enum ErrorCode {
            $(#[doc = $message] $variant = $code,)*
        }

        impl ErrorCode {
            /// Every code, by ascending number.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The error with this number.
            pub const fn from_i16(code: i16) -> Option<Self> {
                match code {
                    $($code => Some(Self::$variant),)*
                    _ => None,
                }
            }

            /// Kafka's name for the error.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }

            /// Whether Kafka's clients may send the request again without a change.
            pub const fn is_retriable(self) -> bool {
                match self {
                    $(Self::$variant => error_codes!(@$retry),)*
                }
            }

            /// What happened, in one sentence.
            pub const fn message(self) -> &'static str {
                match self {
                    $(Self::$variant => $message,)*
                }
            }
        }
    };
    (@retriable) => { true };
    (@fatal) => { false };
}

error_codes! {
    UnknownServerError = -1, "UNKNOWN_SERVER_ERROR", fatal, "The server failed in a way it did not expect.";
    None = 0, "NONE", fatal, "No error.";
    OffsetOutOfRange = 1, "OFFSET_OUT_OF_RANGE", fatal, "No record has this offset: it lies outside the partition's log.";
    CorruptMessage = 2, "CORRUPT_MESSAGE", retriable, "A record batch is corrupt, too large, or lacks a key that its topic needs.";
    UnknownTopicOrPartition = 3, "UNKNOWN_TOPIC_OR_PARTITION", retriable, "The server does not know this topic or partition.";
    InvalidFetchSize = 4, "INVALID_FETCH_SIZE", fatal, "The fetch size is not valid.";
    LeaderNotAvailable = 5, "LEADER_NOT_AVAILABLE", retriable, "The partition has no leader at the moment.";
    NotLeaderOrFollower = 6, "NOT_LEADER_OR_FOLLOWER", retriable, "The broker does not lead or follow this partition.";
    RequestTimedOut = 7, "REQUEST_TIMED_OUT", retriable, "The request took longer than its timeout.";
    BrokerNotAvailable = 8, "BROKER_NOT_AVAILABLE", fatal, "The broker is not available.";
    ReplicaNotAvailable = 9, "REPLICA_NOT_AVAILABLE", retriable, "The replica is not available for this partition.";
    MessageTooLarge = 10, "MESSAGE_TOO_LARGE", fatal, "A record batch is larger than the server accepts.";
    StaleControllerEpoch = 11, "STALE_CONTROLLER_EPOCH", fatal, "A newer controller has taken over.";
    OffsetMetadataTooLarge = 12, "OFFSET_METADATA_TOO_LARGE", fatal, "The metadata of a committed offset is too long.";
    NetworkException = 13, "NETWORK_EXCEPTION", retriable, "The connection ended before there was a response.";
    CoordinatorLoadInProgress = 14, "COORDINATOR_LOAD_IN_PROGRESS", retriable, "The coordinator is still loading its state.";
    CoordinatorNotAvailable = 15, "COORDINATOR_NOT_AVAILABLE", retriable, "The coordinator is not available.";
    NotCoordinator = 16, "NOT_COORDINATOR", retriable, "This broker does not coordinate the group or transactional id.";
    InvalidTopicException = 17, "INVALID_TOPIC_EXCEPTION", fatal, "The topic name is not valid, or the topic does not allow this operation.";
    RecordListTooLarge = 18, "RECORD_LIST_TOO_LARGE", fatal, "The record batches are larger than a log segment may be.";
    NotEnoughReplicas = 19, "NOT_ENOUGH_REPLICAS", retriable, "Too few replicas are in sync; nothing was written.";
    NotEnoughReplicasAfterAppend = 20, "NOT_ENOUGH_REPLICAS_AFTER_APPEND", retriable, "The records were written, but to fewer in-sync replicas than needed.";
    InvalidRequiredAcks = 21, "INVALID_REQUIRED_ACKS", fatal, "The value of acks is not 0, 1 or -1.";
    IllegalGeneration = 22, "ILLEGAL_GENERATION", fatal, "The generation id is not that of the group.";
    InconsistentGroupProtocol = 23, "INCONSISTENT_GROUP_PROTOCOL", fatal, "The protocols of the member do not agree with those of the group, or it has none.";
    InvalidGroupId = 24, "INVALID_GROUP_ID", fatal, "The group id is not valid.";
    UnknownMemberId = 25, "UNKNOWN_MEMBER_ID", fatal, "The coordinator does not know this member.";
    InvalidSessionTimeout = 26, "INVALID_SESSION_TIMEOUT", fatal, "The session timeout lies outside the range that the broker allows.";
    RebalanceInProgress = 27, "REBALANCE_IN_PROGRESS", fatal, "The group is rebalancing; the member has to join again.";
    InvalidCommitOffsetSize = 28, "INVALID_COMMIT_OFFSET_SIZE", fatal, "The offsets to be committed are too large.";
    TopicAuthorizationFailed = 29, "TOPIC_AUTHORIZATION_FAILED", fatal, "Access to the topic is denied.";
    GroupAuthorizationFailed = 30, "GROUP_AUTHORIZATION_FAILED", fatal, "Access to the group is denied.";
    ClusterAuthorizationFailed = 31, "CLUSTER_AUTHORIZATION_FAILED", fatal, "Access to the cluster is denied.";
    InvalidTimestamp = 32, "INVALID_TIMESTAMP", fatal, "The timestamp of a record lies outside the range that is allowed.";
    UnsupportedSaslMechanism = 33, "UNSUPPORTED_SASL_MECHANISM", fatal, "The SASL mechanism is not offered.";
    IllegalSaslState = 34, "ILLEGAL_SASL_STATE", fatal, "The request does not fit the state of the SASL exchange.";
    UnsupportedVersion = 35, "UNSUPPORTED_VERSION", fatal, "The version of the API is not supported.";
    TopicAlreadyExists = 36, "TOPIC_ALREADY_EXISTS", fatal, "A topic of this name exists already.";
    InvalidPartitions = 37, "INVALID_PARTITIONS", fatal, "The number of partitions is not valid.";
    InvalidReplicationFactor = 38, "INVALID_REPLICATION_FACTOR", fatal, "The replication factor is below 1 or above the number of brokers.";
    InvalidReplicaAssignment = 39, "INVALID_REPLICA_ASSIGNMENT", fatal, "The replica assignment is not valid.";
    InvalidConfig = 40, "INVALID_CONFIG", fatal, "The configuration is not valid.";
    NotController = 41, "NOT_CONTROLLER", retriable, "This broker is not the controller.";
    InvalidRequest = 42, "INVALID_REQUEST", fatal, "The request contradicts itself or the rules of its API.";
    UnsupportedForMessageFormat = 43, "UNSUPPORTED_FOR_MESSAGE_FORMAT", fatal, "The format of the stored records does not support the request.";
    PolicyViolation = 44, "POLICY_VIOLATION", fatal, "The request breaks a policy of the server.";
    OutOfOrderSequenceNumber = 45, "OUT_OF_ORDER_SEQUENCE_NUMBER", fatal, "The sequence number is not the one that follows the last batch.";
    DuplicateSequenceNumber = 46, "DUPLICATE_SEQUENCE_NUMBER", fatal, "The sequence number was used already.";
    InvalidProducerEpoch = 47, "INVALID_PRODUCER_EPOCH", fatal, "The producer epoch is older than the one the server knows.";
    InvalidTxnState = 48, "INVALID_TXN_STATE", fatal, "The transaction is not in a state that allows this operation.";
    InvalidProducerIdMapping = 49, "INVALID_PRODUCER_ID_MAPPING", fatal, "The producer id does not belong to the transactional id.";
    InvalidTransactionTimeout = 50, "INVALID_TRANSACTION_TIMEOUT", fatal, "The transaction timeout is longer than the server allows.";
    ConcurrentTransactions = 51, "CONCURRENT_TRANSACTIONS", retriable, "Another operation on the same transaction is still going on.";
    TransactionCoordinatorFenced = 52, "TRANSACTION_COORDINATOR_FENCED", fatal, "A newer coordinator has taken over the transaction.";
    TransactionalIdAuthorizationFailed = 53, "TRANSACTIONAL_ID_AUTHORIZATION_FAILED", fatal, "Access to the transactional id is denied.";
    SecurityDisabled = 54, "SECURITY_DISABLED", fatal, "Security features are switched off.";
    OperationNotAttempted = 55, "OPERATION_NOT_ATTEMPTED", fatal, "The operation was not tried, because another one in the request failed.";
    KafkaStorageError = 56, "KAFKA_STORAGE_ERROR", retriable, "The log could not be read or written.";
    LogDirNotFound = 57, "LOG_DIR_NOT_FOUND", fatal, "There is no such log directory.";
    SaslAuthenticationFailed = 58, "SASL_AUTHENTICATION_FAILED", fatal, "The credentials were not accepted.";
    UnknownProducerId = 59, "UNKNOWN_PRODUCER_ID", fatal, "The server knows nothing of this producer id, perhaps because its records have expired.";
    ReassignmentInProgress = 60, "REASSIGNMENT_IN_PROGRESS", fatal, "The partition is being reassigned.";
    DelegationTokenAuthDisabled = 61, "DELEGATION_TOKEN_AUTH_DISABLED", fatal, "Delegation tokens are switched off.";
    DelegationTokenNotFound = 62, "DELEGATION_TOKEN_NOT_FOUND", fatal, "There is no such delegation token.";
    DelegationTokenOwnerMismatch = 63, "DELEGATION_TOKEN_OWNER_MISMATCH", fatal, "The principal neither owns nor may renew the delegation token.";
    DelegationTokenRequestNotAllowed = 64, "DELEGATION_TOKEN_REQUEST_NOT_ALLOWED", fatal, "Delegation tokens cannot be requested over this kind of connection.";
    DelegationTokenAuthorizationFailed = 65, "DELEGATION_TOKEN_AUTHORIZATION_FAILED", fatal, "Access to the delegation token is denied.";
    DelegationTokenExpired = 66, "DELEGATION_TOKEN_EXPIRED", fatal, "The delegation token has expired.";
    InvalidPrincipalType = 67, "INVALID_PRINCIPAL_TYPE", fatal, "The type of the principal is not supported.";
    NonEmptyGroup = 68, "NON_EMPTY_GROUP", fatal, "The group still has members.";
    GroupIdNotFound = 69, "GROUP_ID_NOT_FOUND", fatal, "There is no such group.";
    FetchSessionIdNotFound = 70, "FETCH_SESSION_ID_NOT_FOUND", retriable, "There is no such fetch session.";
    InvalidFetchSessionEpoch = 71, "INVALID_FETCH_SESSION_EPOCH", retriable, "The epoch of the fetch session is not the one expected.";
    ListenerNotFound = 72, "LISTENER_NOT_FOUND", retriable, "The leader has no listener of the name the metadata was asked on.";
    TopicDeletionDisabled = 73, "TOPIC_DELETION_DISABLED", fatal, "Topics cannot be deleted here.";
    FencedLeaderEpoch = 74, "FENCED_LEADER_EPOCH", retriable, "The leader epoch in the request is older than that of the broker.";
    UnknownLeaderEpoch = 75, "UNKNOWN_LEADER_EPOCH", retriable, "The leader epoch in the request is newer than that of the broker.";
    UnsupportedCompressionType = 76, "UNSUPPORTED_COMPRESSION_TYPE", fatal, "The client cannot read the compression of this partition.";
    StaleBrokerEpoch = 77, "STALE_BROKER_EPOCH", fatal, "The broker epoch has changed.";
    OffsetNotAvailable = 78, "OFFSET_NOT_AVAILABLE", retriable, "After a change of leader the offset is not known yet.";
    MemberIdRequired = 79, "MEMBER_ID_REQUIRED", fatal, "The member needs a member id before it may join.";
    PreferredLeaderNotAvailable = 80, "PREFERRED_LEADER_NOT_AVAILABLE", retriable, "The preferred leader is not available.";
    GroupMaxSizeReached = 81, "GROUP_MAX_SIZE_REACHED", fatal, "The group is full.";
    FencedInstanceId = 82, "FENCED_INSTANCE_ID", fatal, "Another member has joined with the same group instance id.";
    EligibleLeadersNotAvailable = 83, "ELIGIBLE_LEADERS_NOT_AVAILABLE", retriable, "No replica may become leader of the partition.";
    ElectionNotNeeded = 84, "ELECTION_NOT_NEEDED", retriable, "The partition has the leader it should have.";
    NoReassignmentInProgress = 85, "NO_REASSIGNMENT_IN_PROGRESS", fatal, "The partition is not being reassigned.";
    GroupSubscribedToTopic = 86, "GROUP_SUBSCRIBED_TO_TOPIC", fatal, "Members of the group are subscribed to the topic.";
    InvalidRecord = 87, "INVALID_RECORD", fatal, "A record breaks a rule of the server, so its batch was not written.";
    UnstableOffsetCommit = 88, "UNSTABLE_OFFSET_COMMIT", retriable, "An open transaction still holds offsets of the group.";
    ThrottlingQuotaExceeded = 89, "THROTTLING_QUOTA_EXCEEDED", retriable, "The client has used up its quota.";
    ProducerFenced = 90, "PRODUCER_FENCED", fatal, "A newer producer uses the same transactional id.";
    ResourceNotFound = 91, "RESOURCE_NOT_FOUND", fatal, "There is no such resource.";
    DuplicateResource = 92, "DUPLICATE_RESOURCE", fatal, "The request names the same resource twice.";
    UnacceptableCredential = 93, "UNACCEPTABLE_CREDENTIAL", fatal, "The credential does not meet the rules for credentials.";
    InconsistentVoterSet = 94, "INCONSISTENT_VOTER_SET", fatal, "The sender or the receiver is not among the expected voters.";
    InvalidUpdateVersion = 95, "INVALID_UPDATE_VERSION", fatal, "The version of the update is not valid.";
    FeatureUpdateFailed = 96, "FEATURE_UPDATE_FAILED", fatal, "The finalized features could not be updated.";
    PrincipalDeserializationFailure = 97, "PRINCIPAL_DESERIALIZATION_FAILURE", fatal, "A forwarded principal could not be read.";
    SnapshotNotFound = 98, "SNAPSHOT_NOT_FOUND", fatal, "There is no such snapshot.";
    PositionOutOfRange = 99, "POSITION_OUT_OF_RANGE", fatal, "The position lies outside the snapshot.";
    UnknownTopicId = 100, "UNKNOWN_TOPIC_ID", retriable, "The server does not know this topic id.";
    DuplicateBrokerRegistration = 101, "DUPLICATE_BROKER_REGISTRATION", fatal, "Another broker is registered with this id.";
    BrokerIdNotRegistered = 102, "BROKER_ID_NOT_REGISTERED", fatal, "No broker is registered with this id.";
    InconsistentTopicId = 103, "INCONSISTENT_TOPIC_ID", retriable, "The topic id in the request is not that of the log.";
    InconsistentClusterId = 104, "INCONSISTENT_CLUSTER_ID", fatal, "The cluster id in the request is not that of the server.";
    TransactionalIdNotFound = 105, "TRANSACTIONAL_ID_NOT_FOUND", fatal, "There is no such transactional id.";
    FetchSessionTopicIdError = 106, "FETCH_SESSION_TOPIC_ID_ERROR", retriable, "The fetch session mixes topic names and topic ids.";
    IneligibleReplica = 107, "INELIGIBLE_REPLICA", fatal, "A replica is not fit to be in sync.";
    NewLeaderElected = 108, "NEW_LEADER_ELECTED", fatal, "The partition was altered, but has a new leader.";
    OffsetMovedToTieredStorage = 109, "OFFSET_MOVED_TO_TIERED_STORAGE", fatal, "The records at this offset were moved to another storage.";
    FencedMemberEpoch = 110, "FENCED_MEMBER_EPOCH", fatal, "The member epoch is fenced; the member has to give up its partitions and join again.";
    UnreleasedInstanceId = 111, "UNRELEASED_INSTANCE_ID", fatal, "Another member still uses the group instance id.";
    UnsupportedAssignor = 112, "UNSUPPORTED_ASSIGNOR", fatal, "The group does not support the assignor.";
    StaleMemberEpoch = 113, "STALE_MEMBER_EPOCH", fatal, "The member epoch is old; the member has to retry with the one of its next heartbeat.";
    MismatchedEndpointType = 114, "MISMATCHED_ENDPOINT_TYPE", fatal, "The endpoint is of another type than the request needs.";
    UnsupportedEndpointType = 115, "UNSUPPORTED_ENDPOINT_TYPE", fatal, "This type of endpoint is not supported.";
    UnknownControllerId = 116, "UNKNOWN_CONTROLLER_ID", fatal, "There is no such controller.";
    UnknownSubscriptionId = 117, "UNKNOWN_SUBSCRIPTION_ID", fatal, "The telemetry subscription is not known or not current.";
    TelemetryTooLarge = 118, "TELEMETRY_TOO_LARGE", fatal, "The telemetry is larger than the broker accepts.";
    InvalidRegistration = 119, "INVALID_REGISTRATION", fatal, "The registration of the broker was refused.";
    TransactionAbortable = 120, "TRANSACTION_ABORTABLE", fatal, "The transaction failed; the client can abort it and go on with the same transactional id.";
    InvalidRecordState = 121, "INVALID_RECORD_STATE", fatal, "The state of the record does not allow the acknowledgement.";
    ShareSessionNotFound = 122, "SHARE_SESSION_NOT_FOUND", retriable, "There is no such share session.";
    InvalidShareSessionEpoch = 123, "INVALID_SHARE_SESSION_EPOCH", retriable, "The epoch of the share session is not the one expected.";
    FencedStateEpoch = 124, "FENCED_STATE_EPOCH", fatal, "The state epoch in the request is not that of the coordinator.";
    InvalidVoterKey = 125, "INVALID_VOTER_KEY", fatal, "The voter key is not that of the replica.";
    DuplicateVoter = 126, "DUPLICATE_VOTER", fatal, "The voter is in the set already.";
    VoterNotFound = 127, "VOTER_NOT_FOUND", fatal, "The voter is not in the set.";
    InvalidRegularExpression = 128, "INVALID_REGULAR_EXPRESSION", fatal, "The regular expression is not valid.";
    RebootstrapRequired = 129, "REBOOTSTRAP_REQUIRED", fatal, "The client's metadata is too old; it has to start again from its bootstrap servers.";
    StreamsInvalidTopology = 130, "STREAMS_INVALID_TOPOLOGY", fatal, "The topology is not valid.";
    StreamsInvalidTopologyEpoch = 131, "STREAMS_INVALID_TOPOLOGY_EPOCH", fatal, "The topology epoch is not valid.";
    StreamsTopologyFenced = 132, "STREAMS_TOPOLOGY_FENCED", fatal, "The topology epoch is older than that of the group.";
    ShareSessionLimitReached = 133, "SHARE_SESSION_LIMIT_REACHED", retriable, "There are as many share sessions as there may be.";
    GroupDeletionFailed = 134, "GROUP_DELETION_FAILED", fatal, "The group could not be deleted; its own message says why.";
    StreamsTopologyDescriptionUpdateFailed = 135, "STREAMS_TOPOLOGY_DESCRIPTION_UPDATE_FAILED", fatal, "The topology description could not be updated; the message says why.";
    ControllerIdNotRegistered = 136, "CONTROLLER_ID_NOT_REGISTERED", fatal, "No controller is registered with this id.";
}

impl ErrorCode {
    /// The number on the wire.
    pub const fn code(self) -> i16 {
        self as i16
    }

    /// Whether this is an error at all.
    pub const fn is_error(self) -> bool {
        !matches!(self, Self::None)
    }
}

#[expect(
    clippy::derivable_impls,
    reason = "the rows of the table carry no attributes"
)]
impl Default for ErrorCode {
    fn default() -> Self {
        Self::None
    }
}

impl From<ErrorCode> for i16 {
    fn from(error: ErrorCode) -> Self {
        error.code()
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.name(), self.code())
    }
}

#[cfg(test)]
mod tests {
    use super::ErrorCode;

    #[test]
    fn codes_run_without_gaps_and_come_back() {
        for (code, &error) in (-1..).zip(ErrorCode::ALL) {
            assert_eq!(error.code(), code);
            assert_eq!(ErrorCode::from_i16(code), Some(error));
        }
        assert_eq!(ErrorCode::from_i16(-2), None);
        assert_eq!(ErrorCode::from_i16(137), None);
    }

    #[test]
    fn variants_are_named_as_in_kafka() {
        for error in ErrorCode::ALL {
            let variant = format!("{error:?}").to_lowercase();
            assert_eq!(error.name().replace('_', "").to_lowercase(), variant);
        }
        assert_eq!(ErrorCode::default(), ErrorCode::None);
        assert_eq!(
            ErrorCode::NotLeaderOrFollower.to_string(),
            "NOT_LEADER_OR_FOLLOWER (6)"
        );
    }

    #[test]
    fn only_what_may_pass_is_retriable() {
        assert!(ErrorCode::CoordinatorLoadInProgress.is_retriable());
        assert!(ErrorCode::NotLeaderOrFollower.is_retriable());
        assert!(!ErrorCode::OutOfOrderSequenceNumber.is_retriable());
        assert!(!ErrorCode::RebalanceInProgress.is_retriable());
    }
}
