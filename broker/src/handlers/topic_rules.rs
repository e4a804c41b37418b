//! What Kafka allows in names, counts, assignments and settings of topics, with its error texts. Shared by the APIs that
//! make topics; pure, so that every rule can be tested by itself. And what the APIs that show topics tell of a partition.

use std::collections::HashSet;

use protocol::ErrorCode;

use crate::cluster::View;
use crate::error::Failure;
use crate::log::Partition;
use crate::settings::Snapshot;
use crate::settings::topics::TopicSetting;

/// The longest name of a topic, in bytes.
const NAME_BYTES_MAX: usize = 249;

/// The most partitions that one request may add, as in Kafka.
pub(super) const PARTITIONS_PER_REQUEST_MAX: i64 = 10_000;

/// What clients are told of a partition: its leader is its one replica.
#[derive(Debug)]
pub(super) struct ShownPartition {
    pub(super) error_code: i16,
    pub(super) partition_index: i32,
    pub(super) leader_id: i32,
    pub(super) leader_epoch: i32,
    pub(super) replicas: Vec<i32>,
    pub(super) offline_replicas: Vec<i32>,
}

pub(super) fn shown(view: &View, partition: &Partition) -> ShownPartition {
    let leader = partition.leader();
    let (leader_id, error) = view.leader(leader.node_id);
    ShownPartition {
        error_code: error.map_or(0, ErrorCode::code),
        partition_index: partition.index(),
        leader_id,
        leader_epoch: leader.epoch,
        replicas: vec![leader.node_id],
        offline_replicas: error.map(|_| leader.node_id).into_iter().collect(),
    }
}

pub(crate) fn check_name(name: &str) -> Result<(), Failure> {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    let reason = match name {
        "" => "the empty string is not allowed".to_owned(),
        "." | ".." => format!("'{name}' is not allowed"),
        _ if name.len() > NAME_BYTES_MAX => {
            format!("the length of '{name}' is longer than the max allowed length {NAME_BYTES_MAX}")
        }
        _ if !name.bytes().all(is_allowed) => format!(
            "'{name}' contains one or more characters other than ASCII alphanumerics, '.', '_' and '-'"
        ),
        _ => return Ok(()),
    };
    Err(Failure::new(
        ErrorCode::InvalidTopicException,
        format!("Topic name is invalid: {reason}"),
    ))
}

/// Replicas are PostgreSQL's business; a partition is shown with one, its leader, however many are asked for.
pub(super) fn check_replication_factor(factor: i16, brokers: usize) -> Result<(), Failure> {
    match factor {
        -1 | 1 => Ok(()),
        2.. if usize::try_from(factor).is_ok_and(|factor| factor <= brokers) => Ok(()),
        2.. => Err(Failure::new(
            ErrorCode::InvalidReplicationFactor,
            format!(
                "Unable to replicate the partition {factor} time(s): The target replication factor of {factor} cannot be \
                 reached because only {brokers} broker(s) are registered."
            ),
        )),
        _ => Err(Failure::new(
            ErrorCode::InvalidReplicationFactor,
            "Replication factor must be larger than 0, or -1 to use the default value.",
        )),
    }
}

/// The brokers of one partition, as the client wants them. The first is to lead it.
pub(super) fn check_replicas(
    broker_ids: impl Iterator<Item = i32>,
    brokers: &[i32],
) -> Result<(), Failure> {
    let invalid = |text: String| {
        Err(Failure::new(
            ErrorCode::InvalidReplicaAssignment,
            format!("The manual partition assignment includes {text}"),
        ))
    };
    let mut seen = HashSet::new();
    for broker_id in broker_ids {
        if !seen.insert(broker_id) {
            return invalid(format!("the broker {broker_id} more than once."));
        }
        if !brokers.contains(&broker_id) {
            return invalid(format!(
                "broker {broker_id}, but no such broker is registered."
            ));
        }
    }
    if seen.is_empty() {
        return invalid("an empty replica list.".to_owned());
    }
    Ok(())
}

/// Partition numbers of an assignment: 0, 1, 2, … in any order. Returns how many.
pub(super) fn check_assigned_partitions(
    indexes: impl Iterator<Item = i32>,
) -> Result<i32, Failure> {
    let invalid = |text: String| Failure::new(ErrorCode::InvalidReplicaAssignment, text);
    let mut seen = HashSet::new();
    for index in indexes {
        if !seen.insert(index) {
            return Err(invalid(format!(
                "Found multiple manual partition assignments for partition {index}"
            )));
        }
    }
    let count = i32::try_from(seen.len()).unwrap_or(i32::MAX);
    if seen.iter().any(|index| !(0..count).contains(index)) {
        return Err(invalid(
            "partitions should be a consecutive 0-based integer sequence".to_owned(),
        ));
    }
    Ok(count)
}

/// The epoch that a client believes to be the partition's present one; -1 is not to be checked.
pub(super) fn check_leader_epoch(believed: i32, present: i32) -> Result<(), ErrorCode> {
    match believed {
        -1 => Ok(()),
        epoch if epoch < present => Err(ErrorCode::FencedLeaderEpoch),
        epoch if epoch > present => Err(ErrorCode::UnknownLeaderEpoch),
        _ => Ok(()),
    }
}

/// One setting, as given.
pub(crate) fn check_setting(name: &str, value: Option<&str>) -> Result<(), Failure> {
    let invalid = |text: String| Err(Failure::new(ErrorCode::InvalidConfig, text));
    let Some(setting) = TopicSetting::find(name) else {
        return invalid(format!("Unknown topic config name: {name}"));
    };
    let Some(value) = value else {
        return invalid(format!(
            "Null value not supported for topic configs: {name}"
        ));
    };
    if let Err(text) = setting.kind.check(name, value) {
        return invalid(text);
    }
    match (name, value.trim()) {
        ("remote.storage.enable", value) if value.eq_ignore_ascii_case("true") => invalid(
            "Tiered Storage functionality is disabled in the broker. Topic cannot be configured with remote log storage."
                .to_owned(),
        ),
        _ => Ok(()),
    }
}

/// What no single setting of a topic can say, for settings that were each found good.
pub(crate) fn check_together(
    overrides: &[(String, String)],
    snapshot: &Snapshot,
) -> Result<(), Failure> {
    let lag_ms = |name: &str| -> Option<i64> {
        let (value, _) = TopicSetting::find(name)?.value(overrides, snapshot);
        value.trim().parse().ok()
    };
    let least = lag_ms("min.compaction.lag.ms");
    let most = lag_ms("max.compaction.lag.ms");
    match (least, most) {
        (Some(least), Some(most)) if least > most => Err(Failure::new(
            ErrorCode::InvalidConfig,
            format!(
                "conflict topic config setting min.compaction.lag.ms ({least}) > max.compaction.lag.ms ({most})"
            ),
        )),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(result: Result<(), Failure>) -> (ErrorCode, String) {
        let failure = result.unwrap_err();
        (failure.code, failure.message.unwrap())
    }

    #[test]
    fn names() {
        let longest = "x".repeat(249);
        for good in ["a", "A.b_c-9", "...", "__x", &longest] {
            assert_eq!(check_name(good), Ok(()), "{good}");
        }
        let too_long = "x".repeat(250);
        for bad in ["", ".", "..", "a b", "é", "a/b", &too_long] {
            let code = check_name(bad).unwrap_err().code;
            assert_eq!(code, ErrorCode::InvalidTopicException, "{bad}");
        }
    }

    #[test]
    fn replication_factors() {
        assert_eq!(check_replication_factor(-1, 1), Ok(()));
        assert_eq!(check_replication_factor(1, 1), Ok(()));
        for bad in [-2, 0, 2, i16::MAX] {
            let code = check_replication_factor(bad, 1).unwrap_err().code;
            assert_eq!(code, ErrorCode::InvalidReplicationFactor, "{bad}");
        }
    }

    #[test]
    fn replicas() {
        let check = |ids: &[i32]| check_replicas(ids.iter().copied(), &[1]);
        assert_eq!(check(&[1]), Ok(()));
        let code = ErrorCode::InvalidReplicaAssignment;
        let start = "The manual partition assignment includes";
        let none = format!("{start} an empty replica list.");
        assert_eq!(text(check(&[])), (code, none));
        let twice = format!("{start} the broker 1 more than once.");
        assert_eq!(text(check(&[1, 1])), (code, twice));
        let unknown = format!("{start} broker 9, but no such broker is registered.");
        assert_eq!(text(check(&[9])), (code, unknown));
    }

    #[test]
    fn assigned_partitions_are_counted_from_zero_without_gaps() {
        let check = |indexes: &[i32]| check_assigned_partitions(indexes.iter().copied());
        assert_eq!(check(&[1, 0, 2]), Ok(3));
        for bad in [&[0, 0][..], &[0, 2], &[1], &[-1, 0]] {
            let code = check(bad).unwrap_err().code;
            assert_eq!(code, ErrorCode::InvalidReplicaAssignment, "{bad:?}");
        }
    }

    #[test]
    fn settings() {
        assert_eq!(check_setting("retention.ms", Some("1000")), Ok(()));
        for kind in ["producer", "uncompressed", "gzip", "snappy", "lz4", "zstd"] {
            assert_eq!(check_setting("compression.type", Some(kind)), Ok(()));
        }
        for (name, value) in [
            ("nosuch", Some("1")),
            ("retention.ms", None),
            ("retention.ms", Some("x")),
            ("compression.type", Some("none")),
            ("remote.storage.enable", Some("true")),
        ] {
            let code = check_setting(name, value).unwrap_err().code;
            assert_eq!(code, ErrorCode::InvalidConfig, "{name}");
        }
    }
}
