//! Producer ids, taken from PostgreSQL in blocks; what is left of a block at the end of the broker is never used.

use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use storage::Store;

/// Ids taken from the database at once, as in Kafka.
const BLOCK_IDS: i32 = 1_000;

/// What is left of the last block of ids.
#[derive(Debug, Default)]
pub(crate) struct ProducerIds {
    left: Mutex<Range<i64>>,
}

impl ProducerIds {
    /// An id that nobody has.
    pub(crate) async fn next(&self, store: &Store) -> Result<i64, storage::Error> {
        if let Some(id) = self.take() {
            return Ok(id);
        }
        // Requests that come here together take a block each; all but the last one's rest are lost, which is harmless.
        let mut block = store.allocate_producer_ids(BLOCK_IDS).await?;
        let first = block.next();
        *self.left.lock().unwrap_or_else(PoisonError::into_inner) = block;
        first.ok_or_else(|| storage::Error::Bug {
            context: "allocating producer ids".into(),
            detail: "an empty block".to_owned(),
        })
    }

    fn take(&self) -> Option<i64> {
        self.left
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .next()
    }
}
