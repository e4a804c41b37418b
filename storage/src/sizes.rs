//! How many bytes partitions take.

use std::collections::HashMap;

use tokio_postgres::error::SqlState;
use tokio_postgres::{IsolationLevel, Transaction};

use crate::{Result, Store};

/// What sealed segments hold of partitions, without those that are waiting to be dropped.
const SEALED: &str = "select s.part, sum(s.bytes)::int8 from kafka.segment_partitions s \
     join kafka.topic_partitions p on p.id = s.part and s.end_offset > p.log_start_offset \
     where $1::int4[] is null or s.part = any($1) group by s.part";
const OPEN: &str = "select segment_id from kafka.segments where state = 'open' order by segment_id";
/// All rows of a table are read faster in their order than by an index.
const READ_ALL: &str = "set local enable_seqscan = on";
/// Attempts until no segment is dropped meanwhile.
const ATTEMPTS_MAX: usize = 3;

impl Store {
    /// Bytes of record batches that are stored of each of `parts`, or of all partitions; those without any are left out. What
    /// segments that are not sealed hold is summed up row by row.
    pub async fn partition_bytes(&self, parts: Option<&[i32]>) -> Result<Vec<(i32, i64)>> {
        let mut client = self.client().await?;
        let mut attempt = 1;
        loop {
            // One snapshot, so that a segment that is sealed meanwhile is counted once.
            let transaction = client
                .build_transaction()
                .isolation_level(IsolationLevel::RepeatableRead)
                .read_only(true)
                .start()
                .await?;
            match sum_up(&transaction, parts).await {
                Err(error)
                    if error.code() == Some(&SqlState::UNDEFINED_TABLE)
                        && attempt < ATTEMPTS_MAX =>
                {
                    attempt += 1;
                }
                other => return Ok(other?.into_iter().collect()),
            }
        }
    }
}

async fn sum_up(
    transaction: &Transaction<'_>,
    parts: Option<&[i32]>,
) -> Result<HashMap<i32, i64>, tokio_postgres::Error> {
    if parts.is_none() {
        transaction.batch_execute(READ_ALL).await?;
    }
    let mut rows = transaction.query(SEALED, &[&parts]).await?;
    for segment in transaction.query(OPEN, &[]).await? {
        let segment_id: i32 = segment.get(0);
        let sums = format!(
            "select part, sum(octet_length(data))::int8 from kafka.log_{segment_id} \
             where $1::int4[] is null or part = any($1) group by part"
        );
        rows.extend(transaction.query(&sums, &[&parts]).await?);
    }
    let mut bytes: HashMap<i32, i64> = HashMap::new();
    for row in rows {
        *bytes.entry(row.get(0)).or_default() += row.get::<_, i64>(1);
    }
    Ok(bytes)
}
