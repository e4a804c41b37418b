//! Record batches (format 2, uncompressed) written and read by hand, so that the broker is not tested with its own
//! codec.

/// One record to be written.
#[derive(Debug, Clone, Default)]
pub struct NewRecord {
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub headers: Vec<(String, Option<Vec<u8>>)>,
    /// Milliseconds after the batch's base timestamp.
    pub timestamp_delta: i64,
}

/// A batch to be written.
#[derive(Debug, Clone)]
pub struct NewBatch {
    pub base_offset: i64,
    pub attributes: i16,
    pub base_timestamp: i64,
    pub producer_id: i64,
    pub producer_epoch: i16,
    pub base_sequence: i32,
    pub records: Vec<NewRecord>,
}

/// Bytes before the first record.
pub const HEADER_BYTES: usize = 61;

impl NewBatch {
    /// A batch of plain values, without keys and without a producer id, stamped with the present time.
    pub fn of<V: AsRef<[u8]>>(values: &[V]) -> Self {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let record = |v: &V| NewRecord {
            value: Some(v.as_ref().to_vec()),
            ..NewRecord::default()
        };
        Self {
            base_offset: 0,
            attributes: 0,
            base_timestamp: i64::try_from(now.expect("a time after 1970").as_millis())
                .expect("a time before the end of the world"),
            producer_id: -1,
            producer_epoch: -1,
            base_sequence: -1,
            records: values.iter().map(record).collect(),
        }
    }

    /// The same batch from an idempotent producer.
    pub fn from_producer(self, id: i64, epoch: i16, base_sequence: i32) -> Self {
        Self {
            producer_id: id,
            producer_epoch: epoch,
            base_sequence,
            ..self
        }
    }

    /// The bytes, with a right CRC.
    pub fn bytes(&self) -> Vec<u8> {
        self.around(&self.record_bytes())
    }

    /// The records alone.
    pub fn record_bytes(&self) -> Vec<u8> {
        let mut records = Vec::new();
        for (i, record) in self.records.iter().enumerate() {
            write_record(
                &mut records,
                i64::try_from(i).expect("a small count"),
                record,
            );
        }
        records
    }

    /// A batch with these bytes in the place of its records, with a right CRC.
    pub fn around(&self, records: &[u8]) -> Vec<u8> {
        let count = i32::try_from(self.records.len()).expect("a small count");
        let deltas = self.records.iter().map(|r| r.timestamp_delta);
        let max_timestamp = self.base_timestamp + deltas.max().unwrap_or(0);
        let mut body = Vec::new();
        body.extend(self.attributes.to_be_bytes());
        body.extend((count - 1).to_be_bytes());
        body.extend(self.base_timestamp.to_be_bytes());
        body.extend(max_timestamp.to_be_bytes());
        body.extend(self.producer_id.to_be_bytes());
        body.extend(self.producer_epoch.to_be_bytes());
        body.extend(self.base_sequence.to_be_bytes());
        body.extend(count.to_be_bytes());
        body.extend(records);

        let mut bytes = Vec::new();
        bytes.extend(self.base_offset.to_be_bytes());
        let length = i32::try_from(body.len() + 9).expect("a small batch");
        bytes.extend(length.to_be_bytes());
        bytes.extend((-1_i32).to_be_bytes()); // partition leader epoch
        bytes.push(2); // magic
        bytes.extend(crc32c::crc32c(&body).to_be_bytes());
        bytes.extend(body);
        bytes
    }
}

fn write_record(out: &mut Vec<u8>, offset_delta: i64, record: &NewRecord) {
    let mut body = vec![0]; // attributes
    write_varint(&mut body, record.timestamp_delta);
    write_varint(&mut body, offset_delta);
    write_optional(&mut body, record.key.as_deref());
    write_optional(&mut body, record.value.as_deref());
    write_varint(
        &mut body,
        i64::try_from(record.headers.len()).expect("a small count"),
    );
    for (key, value) in &record.headers {
        write_optional(&mut body, Some(key.as_bytes()));
        write_optional(&mut body, value.as_deref());
    }
    write_varint(out, i64::try_from(body.len()).expect("a small record"));
    out.extend(body);
}

fn write_optional(out: &mut Vec<u8>, bytes: Option<&[u8]>) {
    let length = bytes.map_or(-1, |b| i64::try_from(b.len()).expect("a small field"));
    write_varint(out, length);
    out.extend(bytes.unwrap_or_default());
}

/// Kafka's varint: zigzag, seven bits a byte, the lowest first.
pub fn write_varint(out: &mut Vec<u8>, value: i64) {
    let mut rest = ((value << 1) ^ (value >> 63)).cast_unsigned();
    while rest >= 0x80 {
        out.push(u8::try_from(rest & 0x7f).expect("seven bits") | 0x80);
        rest >>= 7;
    }
    out.push(u8::try_from(rest).expect("seven bits"));
}

/// A batch as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    pub base_offset: i64,
    pub last_offset: i64,
    pub attributes: i16,
    pub base_timestamp: i64,
    pub max_timestamp: i64,
    pub producer_id: i64,
    pub producer_epoch: i16,
    pub base_sequence: i32,
    pub size_bytes: usize,
    pub records: Vec<Record>,
}

/// A record as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    pub offset: i64,
    pub timestamp: i64,
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub headers: Vec<(String, Option<Vec<u8>>)>,
}

/// Reads whole uncompressed batches; a last one that is cut off is left out.
///
/// # Panics
/// When one of them is malformed or its CRC is wrong.
pub fn read_batches(mut bytes: &[u8]) -> Vec<Batch> {
    let mut batches = Vec::new();
    while bytes.len() >= HEADER_BYTES {
        let length = i32::from_be_bytes(bytes[8..12].try_into().expect("four bytes"));
        let size = 12 + usize::try_from(length).expect("a length");
        if size > bytes.len() {
            break;
        }
        let (batch, rest) = bytes.split_at(size);
        batches.push(read_batch(batch));
        bytes = rest;
    }
    batches
}

fn read_batch(bytes: &[u8]) -> Batch {
    let mut cursor = Cursor(bytes);
    let base_offset = i64::from_be_bytes(cursor.take());
    let _length: [u8; 4] = cursor.take();
    let _leader_epoch: [u8; 4] = cursor.take();
    assert_eq!(cursor.take(), [2], "the magic byte");
    let crc = u32::from_be_bytes(cursor.take());
    assert_eq!(
        crc,
        crc32c::crc32c(cursor.0),
        "the CRC of the batch at {base_offset}"
    );
    let attributes = i16::from_be_bytes(cursor.take());
    let last_offset = base_offset + i64::from(i32::from_be_bytes(cursor.take()));
    let base_timestamp = i64::from_be_bytes(cursor.take());
    let max_timestamp = i64::from_be_bytes(cursor.take());
    let producer_id = i64::from_be_bytes(cursor.take());
    let producer_epoch = i16::from_be_bytes(cursor.take());
    let base_sequence = i32::from_be_bytes(cursor.take());
    let count = i32::from_be_bytes(cursor.take());
    assert_eq!(
        attributes & 7,
        0,
        "the batch at {base_offset} is compressed"
    );
    let records = (0..count)
        .map(|_| cursor.record(base_offset, base_timestamp))
        .collect();
    assert_eq!(cursor.0, b"", "bytes after the last record");
    Batch {
        base_offset,
        last_offset,
        attributes,
        base_timestamp,
        max_timestamp,
        producer_id,
        producer_epoch,
        base_sequence,
        size_bytes: bytes.len(),
        records,
    }
}

struct Cursor<'a>(&'a [u8]);

impl Cursor<'_> {
    fn take<const N: usize>(&mut self) -> [u8; N] {
        let (head, rest) = self.0.split_first_chunk().expect("the batch goes on");
        self.0 = rest;
        *head
    }

    fn varint(&mut self) -> i64 {
        let mut raw = 0_u64;
        for shift in (0..64).step_by(7) {
            let [byte] = self.take();
            raw |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                break;
            }
        }
        (raw >> 1).cast_signed() ^ -(raw & 1).cast_signed()
    }

    fn optional(&mut self) -> Option<Vec<u8>> {
        let length = usize::try_from(self.varint()).ok()?;
        let (head, rest) = self.0.split_at(length);
        self.0 = rest;
        Some(head.to_vec())
    }

    fn record(&mut self, base_offset: i64, base_timestamp: i64) -> Record {
        self.varint(); // length
        self.take::<1>(); // attributes
        let timestamp = base_timestamp + self.varint();
        let offset = base_offset + self.varint();
        let (key, value) = (self.optional(), self.optional());
        let count = self.varint();
        let header = |_| {
            let key = self.optional().expect("a header's key");
            let key = String::from_utf8(key).expect("a header's key is text");
            (key, self.optional())
        };
        let headers = (0..count).map(header).collect();
        Record {
            offset,
            timestamp,
            key,
            value,
            headers,
        }
    }
}
