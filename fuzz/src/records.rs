//! Record batches: any bytes as batches, and batches built from values.

use arbitrary::{Result, Unstructured};
use protocol::compression::Compression;
use protocol::records::{
    Batches, HEADER_BYTES, LOG_OVERHEAD, MAGIC, Record, RecordBatch, RecordBatchBuilder,
    TimestampType, ValidateOptions, patch_base_offset, patch_leader_epoch, patch_log_append_time,
    patch_max_timestamp, validate,
};

use crate::choice::Verdict;

/// What the records of one batch may grow to.
const OUTPUT_BYTES_MAX: usize = 1 << 20;

const CRC_AT: usize = 17;
const CRC_FROM: usize = 21;
const MAGIC_AT: usize = 16;

/// Bytes as batches one after another. An odd first byte has the first batch completed: its length, magic and checksum are
/// set so that what lies behind them is reached.
pub fn batches(input: &[u8]) -> Verdict {
    let Some((first, bytes)) = input.split_first() else {
        return Verdict::Skipped;
    };
    let mut bytes = bytes.to_vec();
    if first % 2 == 1 && complete(&mut bytes).is_none() {
        return Verdict::Skipped;
    }
    let mut lenient = Batches::new(&bytes);
    for batch in Batches::strict(&bytes) {
        let Ok(batch) = batch else {
            break;
        };
        let same = lenient.next().expect("both find the batch").unwrap();
        assert_eq!(same.bytes(), batch.bytes());
        look_at(&batch);
    }
    for walk_records in [false, true] {
        let options = ValidateOptions {
            batch_bytes_max: OUTPUT_BYTES_MAX,
            output_bytes_max: OUTPUT_BYTES_MAX,
            walk_records,
        };
        if let Ok(validated) = validate(&bytes, &options) {
            assert_eq!(validated.batch.bytes().len(), bytes.len());
            assert_eq!(validated.has_null_key.is_some(), walk_records);
            appended(&bytes, walk_records);
        }
    }
    Verdict::Run
}

/// Makes all of `bytes` one batch as far as its length, magic and checksum go.
fn complete(bytes: &mut [u8]) -> Option<()> {
    let length = bytes.len().checked_sub(HEADER_BYTES)? + HEADER_BYTES - LOG_OVERHEAD;
    let length = i32::try_from(length).ok()?.to_be_bytes();
    bytes.get_mut(8..LOG_OVERHEAD)?.copy_from_slice(&length);
    *bytes.get_mut(MAGIC_AT)? = MAGIC.cast_unsigned();
    let crc = crc32c::crc32c(bytes.get(CRC_FROM..)?).to_be_bytes();
    bytes.get_mut(CRC_AT..CRC_FROM)?.copy_from_slice(&crc);
    Some(())
}

/// Reads a batch, and builds it anew if all of it can be read.
fn look_at(batch: &RecordBatch<'_>) {
    let is_intact = batch.verify_crc().is_ok();
    let Ok(records) = batch.records(OUTPUT_BYTES_MAX) else {
        return;
    };
    assert!(records.size_bytes() <= OUTPUT_BYTES_MAX.max(batch.size_bytes()));
    let mut read = Vec::new();
    for record in &records {
        let Ok(record) = record else {
            return;
        };
        assert!(record.offset <= batch.last_offset());
        read.push(record);
    }
    assert_eq!(
        i64::try_from(read.len()).unwrap(),
        i64::from(batch.record_count)
    );
    if is_intact && !read.is_empty() && batch.timestamp_type() == TimestampType::CreateTime {
        rebuild(batch, &read);
    }
}

/// The records in a batch of our own are the same records.
fn rebuild(batch: &RecordBatch<'_>, records: &[Record<'_>]) {
    let mut builder = RecordBatchBuilder::new(batch.base_offset);
    for record in records {
        let headers: Result<Vec<_>, _> = record.headers().collect();
        let Ok(headers) = headers else {
            return;
        };
        let headers: Vec<_> = headers.iter().map(|it| (it.key, it.value)).collect();
        let appended = builder.append_at(
            record.offset,
            record.timestamp,
            record.key,
            record.value,
            &headers,
        );
        if appended.is_err() {
            assert!(
                batch.base_offset < 0,
                "a record that was read can be written"
            );
            return;
        }
    }
    let built = builder.build_until(batch.last_offset()).unwrap();
    let (again, rest) = RecordBatch::split_from(&built).unwrap();
    assert!(rest.is_empty());
    again.verify_crc().unwrap();
    let again = again.records(OUTPUT_BYTES_MAX * 2).unwrap();
    assert_eq!(again.iter().count(), records.len());
    for (again, record) in again.iter().zip(records) {
        assert_same(&again.unwrap(), record);
    }
}

fn assert_same(one: &Record<'_>, other: &Record<'_>) {
    assert_eq!(one.offset, other.offset);
    assert_eq!(one.timestamp, other.timestamp);
    assert_eq!(one.key, other.key);
    assert_eq!(one.value, other.value);
    assert!(one.headers().eq(other.headers()));
}

/// What a broker changes in a batch that it takes leaves it a batch.
fn appended(bytes: &[u8], readable: bool) {
    let mut bytes = bytes.to_vec();
    patch_base_offset(&mut bytes, 1 << 40).unwrap();
    patch_leader_epoch(&mut bytes, 7).unwrap();
    let check = |bytes: &[u8], timestamp: Option<i64>| {
        let (batch, rest) = RecordBatch::split_from(bytes).unwrap();
        assert!(rest.is_empty());
        batch.verify_crc().unwrap();
        assert_eq!(
            (batch.base_offset, batch.partition_leader_epoch),
            (1 << 40, 7)
        );
        if let (true, Some(timestamp)) = (readable, timestamp) {
            let records = batch.records(OUTPUT_BYTES_MAX).unwrap();
            let mut records = records.iter().map(|record| record.unwrap().timestamp);
            assert!(records.all(|found| found == timestamp));
        }
    };
    check(&bytes, None);
    patch_log_append_time(&mut bytes, 1234).unwrap();
    check(&bytes, Some(1234));
    patch_max_timestamp(&mut bytes, 99).unwrap();
    check(&bytes, None);
}

/// A batch built from values says those values.
pub fn builder(input: &[u8]) -> Verdict {
    match build(&mut Unstructured::new(input)) {
        Ok(()) => Verdict::Run,
        Err(_) => Verdict::Skipped,
    }
}

/// One record to be.
#[derive(Debug)]
struct Draft<'b> {
    gap: u8,
    timestamp: i64,
    key: Option<&'b [u8]>,
    value: Option<&'b [u8]>,
    headers: Vec<(&'b str, Option<&'b [u8]>)>,
}

impl<'b> Draft<'b> {
    fn take(u: &mut Unstructured<'b>) -> Result<Self> {
        let count = u.int_in_range(0..=3)?;
        Ok(Self {
            gap: u.arbitrary()?,
            timestamp: u.arbitrary()?,
            key: u.arbitrary()?,
            value: u.arbitrary()?,
            headers: (0..count).map(|_| u.arbitrary()).collect::<Result<_>>()?,
        })
    }
}

fn build(u: &mut Unstructured<'_>) -> Result<()> {
    let codec = *u.choose(&Compression::ALL)?;
    let base_offset: i64 = if u.arbitrary()? { 0 } else { u.arbitrary()? };
    let mut builder = RecordBatchBuilder::new(base_offset);
    builder.compression(codec, None);
    let (id, epoch, sequence) = (u.arbitrary()?, u.arbitrary()?, u.arbitrary()?);
    if u.arbitrary()? {
        builder.producer(id, epoch, sequence);
    }
    if u.arbitrary()? {
        builder.transactional();
    }
    let append_time: Option<i64> = u.arbitrary()?;
    if let Some(now_ms) = append_time {
        builder.log_append_time(now_ms);
    }
    let (mut drafts, mut offset) = (Vec::new(), base_offset);
    for _ in 0..u.int_in_range(1..=20)? {
        let draft = Draft::take(u)?;
        // A gap is refused by brokers, so it is rare.
        let at = offset.saturating_add(i64::from(draft.gap.saturating_sub(250)));
        let appended =
            builder.append_at(at, draft.timestamp, draft.key, draft.value, &draft.headers);
        if appended.is_ok() {
            drafts.push((at, draft));
        } else {
            assert!(base_offset < 0 || at < offset || at == i64::MAX);
        }
        offset = at.saturating_add(1);
    }
    let Ok(bytes) = builder.build() else {
        return Ok(());
    };
    check_built(&bytes, codec, append_time, &drafts);
    Ok(())
}

fn check_built(
    bytes: &[u8],
    codec: Compression,
    append_time: Option<i64>,
    drafts: &[(i64, Draft<'_>)],
) {
    let (batch, rest) = RecordBatch::split_from(bytes).unwrap();
    assert!(rest.is_empty());
    batch.verify_crc().unwrap();
    assert_eq!(batch.compression(), codec);
    let records = batch.records(OUTPUT_BYTES_MAX).unwrap();
    assert_eq!(records.iter().count(), drafts.len());
    for (record, (offset, draft)) in records.iter().zip(drafts) {
        let record = record.unwrap();
        assert_eq!(record.offset, *offset);
        assert_eq!(record.timestamp, append_time.unwrap_or(draft.timestamp));
        assert_eq!((record.key, record.value), (draft.key, draft.value));
        let headers = record.headers().map(|header| header.unwrap());
        let headers = headers.map(|header| (header.key, header.value));
        assert!(headers.eq(draft.headers.iter().copied()));
    }
    let has_gap = i64::from(batch.record_count) != i64::from(batch.last_offset_delta) + 1;
    let options = ValidateOptions {
        batch_bytes_max: bytes.len(),
        output_bytes_max: OUTPUT_BYTES_MAX,
        walk_records: true,
    };
    let is_valid = validate(bytes, &options).is_ok();
    assert_eq!(is_valid, batch.base_offset == 0 && !has_gap);
}
