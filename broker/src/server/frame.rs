//! Reading one request off a socket: its size, then its bytes, as memory allows.

use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncRead, AsyncReadExt};

use super::{Budget, ConnectionError, Reserved, within};

/// The least request: key, version, correlation id.
const REQUEST_BYTES_MIN: usize = 8;

/// A request that has begun must go on arriving: at least one byte in this time.
pub(super) const STALL: Duration = Duration::from_secs(30);

/// A request that has begun waits this long for memory at most, so that halves of requests cannot block each other
/// for ever.
const MEMORY_WAIT: Duration = Duration::from_secs(30);

/// Memory is taken for what has arrived, not for what is announced: first this much, then as much again as there is.
const FIRST_BYTES: usize = 256 * 1024;

/// One request and the memory reserved for it.
#[derive(Debug)]
pub(super) struct Frame {
    /// Without the size field.
    pub(super) bytes: Bytes,
    /// Held until the request is answered.
    pub(super) reserved: Reserved,
}

/// Waits for the first byte of a request. False at the end of the stream. Safe to cancel.
pub(super) async fn arrives<R>(reader: &mut R) -> std::io::Result<bool>
where
    R: AsyncBufRead + Unpin,
{
    Ok(!reader.fill_buf().await?.is_empty())
}

/// Reads one request. Not safe to cancel and go on.
pub(super) async fn read<R>(
    reader: &mut R,
    bytes_max: usize,
    budget: &Budget,
) -> Result<Frame, ConnectionError>
where
    R: AsyncRead + Unpin,
{
    let mut size = [0; 4];
    match within(STALL, reader.read_exact(&mut size)).await {
        Err(_) => return Err(ConnectionError::Stalled(STALL.as_secs(), "a request")),
        Ok(Err(error)) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
            return Err(ConnectionError::Truncated);
        }
        Ok(Err(error)) => return Err(error.into()),
        Ok(Ok(_)) => {}
    }
    let announced = i32::from_be_bytes(size);
    let size = usize::try_from(announced)
        .ok()
        .filter(|size| (REQUEST_BYTES_MIN..=bytes_max).contains(size))
        .ok_or(ConnectionError::Size {
            size: announced,
            limit: bytes_max,
        })?;

    let mut bytes = Vec::new();
    let mut reserved = Reserved::none();
    while bytes.len() < size {
        let more = (size - bytes.len()).min(bytes.len().max(FIRST_BYTES));
        match within(MEMORY_WAIT, budget.reserve(more)).await {
            Ok(granted) => reserved.merge(granted),
            Err(_) => return Err(ConnectionError::NoMemory(MEMORY_WAIT.as_secs())),
        }
        bytes.reserve_exact(more);
        read_part(reader, &mut bytes, more).await?;
    }
    Ok(Frame {
        bytes: bytes.into(),
        reserved,
    })
}

/// Appends exactly `count` bytes.
async fn read_part<R>(
    reader: &mut R,
    bytes: &mut Vec<u8>,
    count: usize,
) -> Result<(), ConnectionError>
where
    R: AsyncRead + Unpin,
{
    let mut part = reader.take(count as u64);
    while part.limit() > 0 {
        match within(STALL, part.read_buf(bytes)).await {
            Err(_) => return Err(ConnectionError::Stalled(STALL.as_secs(), "a request")),
            Ok(Ok(0)) => return Err(ConnectionError::Truncated),
            Ok(Ok(_)) => {}
            Ok(Err(error)) => return Err(error.into()),
        }
    }
    Ok(())
}
