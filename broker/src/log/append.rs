//! From the bytes a client sent to a batch that may be appended, or the reason why not. Everything about one batch that
//! needs no knowledge of the partition is judged here, before the batch is queued.

use bytes::Bytes;
use protocol::compression::{Compression, CompressionError};
use protocol::records::{
    LOG_OVERHEAD, NO_TIMESTAMP, Record, RecordBatch, RecordError, RecordErrorKind, TimestampType,
    ValidateOptions, patch_log_append_time, patch_max_timestamp, recompress, validate,
};

use super::partition::AppendOptions;
use super::producers::ProducerBatch;
use super::{AppendError, TopicSettings};

/// A batch that only lacks its offset.
#[derive(Debug)]
pub(crate) struct PreparedBatch {
    pub(crate) bytes: Bytes,
    pub(crate) last_offset_delta: i32,
    pub(crate) producer: Option<ProducerBatch>,
    /// -1 where the timestamps are the producer's.
    pub(crate) log_append_time_ms: i64,
    /// Of its records, as stored.
    pub(crate) max_timestamp_ms: i64,
}

impl PreparedBatch {
    /// A control batch with one record.
    pub(crate) fn control(bytes: Bytes, now_ms: i64) -> Self {
        Self {
            bytes,
            last_offset_delta: 0,
            producer: None,
            log_append_time_ms: -1,
            max_timestamp_ms: now_ms,
        }
    }
}

/// Bytes of a batch up to the end of its leader epoch: what the broker writes, and the checksum does not cover.
const PATCHED_BYTES: usize = LOG_OVERHEAD + 4;

/// The first bytes of `batch` with its offset and leader epoch set, and the others as they are.
pub(crate) fn patched(
    batch: &Bytes,
    base_offset: i64,
    leader_epoch: i32,
) -> ([u8; PATCHED_BYTES], Bytes) {
    let rest = batch.slice(PATCHED_BYTES.min(batch.len())..);
    let mut head = [0; PATCHED_BYTES];
    for (to, from) in head.iter_mut().zip(batch.iter()) {
        *to = *from;
    }
    let (offset, length_and_epoch) = head.split_at_mut(8);
    offset.copy_from_slice(&base_offset.to_be_bytes());
    let (_, epoch) = length_and_epoch.split_at_mut(4);
    epoch.copy_from_slice(&leader_epoch.to_be_bytes());
    (head, rest)
}

/// Checks `records`, the value of one partition in a Produce request, and gives the batch as it is to be stored.
pub(crate) fn prepare(
    records: Bytes,
    settings: &TopicSettings,
    options: &AppendOptions,
    output_bytes_max: usize,
    now_ms: i64,
) -> Result<PreparedBatch, AppendError> {
    let batch_bytes_max = settings.max_message_bytes;
    let checks = ValidateOptions {
        batch_bytes_max,
        output_bytes_max,
        walk_records: true,
    };
    let validated = validate(&records, &checks).map_err(|error| refused(error, batch_bytes_max))?;
    let batch = validated.batch;
    if batch.compression() == Compression::Zstd && !options.zstd_allowed {
        return Err(AppendError::UnsupportedCompression);
    }
    if settings.compacted && validated.has_null_key == Some(true) {
        let faulty = faulty_records(&batch, output_bytes_max, |record| record.key.is_none())?;
        let records = faulty
            .iter()
            .map(|index| (*index, "compacted topics need a key".to_owned()))
            .collect();
        let message = "records without a key cannot be appended to a compacted topic".to_owned();
        return Err(AppendError::InvalidRecord { records, message });
    }
    let is_log_append_time = settings.timestamp_type == TimestampType::LogAppendTime;
    let corrected_max_timestamp = validated.corrected_max_timestamp;
    if !is_log_append_time {
        check_timestamps(
            &batch,
            corrected_max_timestamp,
            settings,
            now_ms,
            output_bytes_max,
        )?;
    }
    let mut rewritten = with_codec(&batch, settings, output_bytes_max)?;
    if is_log_append_time {
        let copy = rewritten.get_or_insert_with(|| batch.bytes().to_vec());
        patch_log_append_time(copy, now_ms).map_err(|error| refused(error, batch_bytes_max))?;
    } else if let Some(max_timestamp) = corrected_max_timestamp {
        let copy = rewritten.get_or_insert_with(|| batch.bytes().to_vec());
        patch_max_timestamp(copy, max_timestamp)
            .map_err(|error| refused(error, batch_bytes_max))?;
    }
    let max_timestamp_ms = match is_log_append_time {
        true => now_ms,
        false => corrected_max_timestamp.unwrap_or(batch.max_timestamp),
    };
    let last_offset_delta = batch.last_offset_delta;
    let producer = ProducerBatch::of(&batch, now_ms);
    if batch.is_transactional() && producer.is_none() {
        return Err(AppendError::InvalidRecord {
            records: Vec::new(),
            message: "a transactional batch needs a producer id".to_owned(),
        });
    }
    let bytes = rewritten.map_or(records, Bytes::from);
    Ok(PreparedBatch {
        bytes,
        last_offset_delta,
        producer,
        log_append_time_ms: if is_log_append_time { now_ms } else { -1 },
        max_timestamp_ms,
    })
}

/// The batch with the topic's codec, where it came with another. As in Kafka it must then fit `max.message.bytes` again.
fn with_codec(
    batch: &RecordBatch<'_>,
    settings: &TopicSettings,
    output_bytes_max: usize,
) -> Result<Option<Vec<u8>>, AppendError> {
    let Some(codec) = settings.compression else {
        return Ok(None);
    };
    if codec == batch.compression() {
        return Ok(None);
    }
    let max_bytes = settings.max_message_bytes;
    let level = settings.compression_level;
    let rewritten = recompress(batch, codec, level, output_bytes_max)
        .map_err(|error| refused(error, max_bytes))?;
    match rewritten.len() {
        size_bytes if size_bytes > max_bytes => Err(AppendError::TooLarge {
            size_bytes,
            max_bytes,
        }),
        _ => Ok(Some(rewritten)),
    }
}

/// Timestamps must be near enough to the present (KIP-937); a record without one passes.
fn check_timestamps(
    batch: &RecordBatch<'_>,
    corrected_max: Option<i64>,
    settings: &TopicSettings,
    now_ms: i64,
    output_bytes_max: usize,
) -> Result<(), AppendError> {
    if batch.timestamp_type() == TimestampType::LogAppendTime {
        let message = "a producer must not set the timestamp type to LogAppendTime".to_owned();
        return Err(AppendError::InvalidTimestamp {
            records: Vec::new(),
            message,
        });
    }
    let oldest = now_ms.saturating_sub(settings.timestamp_before_max_ms);
    let latest = now_ms.saturating_add(settings.timestamp_after_max_ms);
    let is_outside =
        |timestamp: i64| timestamp != NO_TIMESTAMP && (timestamp < oldest || timestamp > latest);
    let max_timestamp = corrected_max.unwrap_or(batch.max_timestamp);
    let unbounded_past = settings.timestamp_before_max_ms == i64::MAX;
    if unbounded_past && max_timestamp <= latest {
        return Ok(());
    }
    let faulty = faulty_records(batch, output_bytes_max, |record| {
        is_outside(record.timestamp)
    })?;
    if faulty.is_empty() {
        return Ok(());
    }
    let fault = format!("timestamp outside of {oldest}..={latest}");
    let records = faulty.iter().map(|index| (*index, fault.clone())).collect();
    let message = format!(
        "{} records have a timestamp outside of {oldest}..={latest}",
        faulty.len()
    );
    Err(AppendError::InvalidTimestamp { records, message })
}

/// The indices of the records that `is_faulty` picks.
fn faulty_records(
    batch: &RecordBatch<'_>,
    output_bytes_max: usize,
    is_faulty: impl Fn(&Record<'_>) -> bool,
) -> Result<Vec<i32>, AppendError> {
    let corrupt = |error: RecordError| AppendError::Corrupt(error.to_string());
    let records = batch.records(output_bytes_max).map_err(corrupt)?;
    let mut faulty = Vec::new();
    for (index, record) in (0..).zip(&records) {
        if is_faulty(&record.map_err(corrupt)?) {
            faulty.push(index);
        }
    }
    Ok(faulty)
}

fn refused(error: RecordError, max_bytes: usize) -> AppendError {
    match error.kind {
        RecordErrorKind::BatchTooLarge { bytes } => AppendError::TooLarge {
            size_bytes: bytes,
            max_bytes,
        },
        RecordErrorKind::Compression(CompressionError::TooLarge { cap_bytes }) => {
            AppendError::TooLargeDecompressed {
                max_bytes: cap_bytes,
            }
        }
        RecordErrorKind::UnsupportedMagic(magic) => AppendError::UnsupportedFormat(magic),
        _ if error.is_corruption() => AppendError::Corrupt(error.to_string()),
        _ => AppendError::InvalidRecord {
            records: Vec::new(),
            message: error.to_string(),
        },
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use protocol::records::RecordBatchBuilder;

    use super::*;

    const NOW_MS: i64 = 1_700_000_000_000;
    const OPTIONS: AppendOptions = AppendOptions {
        timeout: Duration::from_secs(1),
        zstd_allowed: true,
    };

    /// A batch with one record for each timestamp; the keys are null where `keyless` says so.
    fn batch(timestamps: &[i64], keyless: &[usize], compression: Compression) -> Bytes {
        let mut builder = RecordBatchBuilder::new(0);
        builder.compression(compression, None);
        for (index, timestamp) in timestamps.iter().enumerate() {
            let key = (!keyless.contains(&index)).then_some(b"k".as_slice());
            builder
                .append(*timestamp, key, Some(b"value"), &[])
                .unwrap();
        }
        builder.build().unwrap().into()
    }

    fn prepared(records: Bytes, settings: &TopicSettings) -> Result<PreparedBatch, AppendError> {
        prepare(records, settings, &OPTIONS, 1 << 20, NOW_MS)
    }

    #[test]
    fn a_good_batch_is_taken_without_a_copy() {
        let records = batch(&[NOW_MS, NOW_MS + 1], &[], Compression::None);
        let prepared = prepared(records.clone(), &TopicSettings::default()).unwrap();
        assert_eq!(prepared.bytes.as_ptr(), records.as_ptr());
        assert_eq!(
            (prepared.last_offset_delta, prepared.log_append_time_ms),
            (1, -1)
        );
    }

    #[test]
    fn patching_changes_offset_and_epoch_and_nothing_else() {
        let records = batch(&[NOW_MS], &[], Compression::None);
        let (head, rest) = patched(&records, 77, 5);
        let whole = [head.as_slice(), &rest].concat();
        let (stored, _) = RecordBatch::split_from(&whole).unwrap();
        assert_eq!((stored.base_offset, stored.partition_leader_epoch), (77, 5));
        stored.verify_crc().unwrap();
        assert_eq!(&whole[16..], &records[16..]);
    }

    #[test]
    fn log_append_time_is_set_with_its_attribute_and_a_good_checksum() {
        let settings = TopicSettings {
            timestamp_type: TimestampType::LogAppendTime,
            ..TopicSettings::default()
        };
        let prepared = prepared(batch(&[5, 6], &[], Compression::Gzip), &settings).unwrap();
        let (stored, _) = RecordBatch::split_from(&prepared.bytes).unwrap();
        stored.verify_crc().unwrap();
        assert_eq!(stored.timestamp_type(), TimestampType::LogAppendTime);
        assert_eq!(
            (stored.max_timestamp, prepared.log_append_time_ms),
            (NOW_MS, NOW_MS)
        );
    }

    #[test]
    fn a_batch_gets_the_codec_of_its_topic_and_keeps_the_rest() {
        for from in Compression::ALL {
            for to in Compression::ALL {
                let settings = TopicSettings {
                    compression: Some(to),
                    ..TopicSettings::default()
                };
                let sent = batch(&[NOW_MS, NOW_MS - 5, NOW_MS + 1], &[1], from);
                let stored = prepared(sent.clone(), &settings).unwrap().bytes;
                assert_eq!(stored.as_ptr() == sent.as_ptr(), from == to);
                let (stored, rest) = RecordBatch::split_from(&stored).unwrap();
                stored.verify_crc().unwrap();
                assert_eq!((stored.compression(), rest.len()), (to, 0));
                let (sent, _) = RecordBatch::split_from(&sent).unwrap();
                assert_eq!(stored.base_timestamp, sent.base_timestamp);
                assert_eq!(stored.max_timestamp, sent.max_timestamp);
                assert_eq!(stored.record_count, sent.record_count);
                let (stored, sent) = (stored.records(1 << 20), sent.records(1 << 20));
                let (stored, sent) = (stored.unwrap(), sent.unwrap());
                for (stored, sent) in stored.iter().zip(&sent) {
                    let (stored, sent) = (stored.unwrap(), sent.unwrap());
                    assert_eq!(stored.key, sent.key);
                    assert_eq!(stored.value, sent.value);
                    assert_eq!(stored.timestamp, sent.timestamp);
                    assert_eq!(stored.offset, sent.offset);
                }
            }
        }
    }

    #[test]
    fn codec_and_log_append_time_go_together() {
        let settings = TopicSettings {
            compression: Some(Compression::None),
            timestamp_type: TimestampType::LogAppendTime,
            ..TopicSettings::default()
        };
        let prepared = prepared(batch(&[5], &[], Compression::Zstd), &settings).unwrap();
        let (stored, _) = RecordBatch::split_from(&prepared.bytes).unwrap();
        stored.verify_crc().unwrap();
        assert_eq!(stored.compression(), Compression::None);
        assert_eq!(stored.timestamp_type(), TimestampType::LogAppendTime);
        assert_eq!(stored.max_timestamp, NOW_MS);
    }

    #[test]
    fn a_batch_that_grows_past_the_limit_is_too_large() {
        let sent = batch(&[NOW_MS; 500], &[], Compression::Zstd);
        let settings = TopicSettings {
            compression: Some(Compression::None),
            max_message_bytes: sent.len(),
            ..TopicSettings::default()
        };
        let refused = prepared(sent, &settings);
        assert!(matches!(refused, Err(AppendError::TooLarge { .. })));
    }

    #[test]
    fn records_outside_the_time_bounds_are_named() {
        let hour_ms = 3_600_000;
        let late = batch(
            &[NOW_MS, NOW_MS + hour_ms + 1, NOW_MS + hour_ms],
            &[],
            Compression::Lz4,
        );
        let Err(AppendError::InvalidTimestamp { records, .. }) =
            prepared(late, &TopicSettings::default())
        else {
            panic!("a record of the future was taken");
        };
        assert_eq!(
            records.iter().map(|(index, _)| *index).collect::<Vec<_>>(),
            [1]
        );
        assert!(
            prepared(
                batch(&[0, 1], &[], Compression::None),
                &TopicSettings::default()
            )
            .is_ok()
        );
        let settings = TopicSettings {
            timestamp_before_max_ms: 10,
            ..TopicSettings::default()
        };
        let early = batch(&[NOW_MS - 10, NOW_MS - 11], &[], Compression::None);
        let Err(AppendError::InvalidTimestamp { records, .. }) = prepared(early, &settings) else {
            panic!("a record of the past was taken");
        };
        assert_eq!(
            records.iter().map(|(index, _)| *index).collect::<Vec<_>>(),
            [1]
        );
    }

    #[test]
    fn compacted_topics_name_the_records_without_a_key() {
        let settings = TopicSettings {
            compacted: true,
            ..TopicSettings::default()
        };
        let records = batch(&[NOW_MS, NOW_MS, NOW_MS], &[0, 2], Compression::None);
        let Err(AppendError::InvalidRecord { records, .. }) = prepared(records, &settings) else {
            panic!("a record without a key was taken");
        };
        assert_eq!(
            records.iter().map(|(index, _)| *index).collect::<Vec<_>>(),
            [0, 2]
        );
    }

    #[test]
    fn size_codec_and_damage_are_told_apart() {
        let records = batch(&[NOW_MS], &[], Compression::Zstd);
        let settings = TopicSettings {
            max_message_bytes: records.len() - 1,
            ..TopicSettings::default()
        };
        assert!(matches!(
            prepared(records.clone(), &settings),
            Err(AppendError::TooLarge { .. })
        ));
        let old_client = AppendOptions {
            zstd_allowed: false,
            ..OPTIONS
        };
        let refused = prepare(
            records.clone(),
            &TopicSettings::default(),
            &old_client,
            1 << 20,
            NOW_MS,
        );
        assert!(matches!(refused, Err(AppendError::UnsupportedCompression)));
        let mut damaged = records.to_vec();
        damaged[63] ^= 1;
        assert!(matches!(
            prepared(damaged.into(), &TopicSettings::default()),
            Err(AppendError::Corrupt(_))
        ));
        assert!(matches!(
            prepared(Bytes::new(), &TopicSettings::default()),
            Err(AppendError::InvalidRecord { .. })
        ));
        let two = [records.as_ref(), records.as_ref()].concat();
        assert!(matches!(
            prepared(two.into(), &TopicSettings::default()),
            Err(AppendError::InvalidRecord { .. })
        ));
    }
}
