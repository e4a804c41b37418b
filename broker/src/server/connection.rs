//! One connection: requests are read and begun in order, worked on at the same time, and answered in order.
//!
//! Two futures share the connection's task. The reader takes a slot (`max.in.flight.requests.per.connection`), reads a
//! request and begins it: its first step runs before the next request is read, so whatever a handler does before it
//! waits happens in the order of the requests. The writer waits for the answers and writes as many as are ready at once.

use std::future::poll_fn;
use std::io::IoSlice;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::{Buf, Bytes};
use futures_util::FutureExt;
use futures_util::stream::{FuturesOrdered, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::{Answer, Begin, ConnectionError, Limits, Reserved, Work, frame};

/// Requests smaller than this are read through a buffer; larger ones go straight into their own memory.
const READ_BUFFER_BYTES: usize = 8 * 1024;

/// After the client has closed its side, answers that are still due get this long.
const DRAIN_AFTER_END: Duration = Duration::from_secs(5);

/// Answers joined into one write stop at this many segments.
const WRITE_SEGMENTS_MAX: usize = 256;

/// A request whose first step has run.
#[derive(Debug)]
struct Begun {
    state: Step,
    held: Held,
}

enum Step {
    Done(Answer),
    Working(Work),
}

impl std::fmt::Debug for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Done(_) => "Done",
            Self::Working(_) => "Working",
        })
    }
}

/// What a request holds until its answer is written.
#[derive(Debug)]
struct Held {
    _reserved: Reserved,
    _slot: OwnedSemaphorePermit,
}

/// Serves a stream, given as its two halves, until the client closes it, something fails, or `shutdown`: then no further
/// request is read, and those begun are answered.
///
/// # Errors
/// Why the connection ends, unless the client closed it between two requests, it was idle, or `shutdown`.
pub async fn serve<R, W>(
    read_half: R,
    mut write_half: W,
    begin: Begin,
    limits: Arc<Limits>,
    shutdown: CancellationToken,
) -> Result<(), ConnectionError>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let (begun, queue) = mpsc::channel(limits.in_flight_max);
    let read = read_requests(read_half, begin, &limits, begun, &shutdown);
    let write = write_answers(&mut write_half, queue, limits.idle);
    tokio::pin!(read, write);
    tokio::select! {
        read_result = &mut read => {
            let patience = if shutdown.is_cancelled() { limits.shutdown_timeout } else { DRAIN_AFTER_END };
            let write_result = timeout(patience, write).await.unwrap_or(Ok(()));
            read_result.and(write_result)
        }
        write_result = &mut write => write_result,
    }
}

/// Ends without an error when the client has closed, has been idle for too long, or at `shutdown`.
async fn read_requests<R>(
    read_half: R,
    begin: Begin,
    limits: &Limits,
    begun: mpsc::Sender<Begun>,
    shutdown: &CancellationToken,
) -> Result<(), ConnectionError>
where
    R: AsyncRead + Unpin,
{
    let mut reader = BufReader::with_capacity(READ_BUFFER_BYTES, read_half);
    let slots = Arc::new(Semaphore::new(limits.in_flight_max));
    loop {
        let slot = tokio::select! {
            slot = slots.clone().acquire_owned() => slot,
            () = shutdown.cancelled() => return Ok(()),
        };
        let Ok(slot) = slot else { return Ok(()) };
        tokio::select! {
            arrived = timeout(limits.idle, frame::arrives(&mut reader)) => match arrived {
                Ok(Ok(true)) => {}
                Ok(Ok(false)) => return Ok(()),
                Ok(Err(error)) => return Err(error.into()),
                Err(_) if slots.available_permits() + 1 == limits.in_flight_max => return Ok(()),
                Err(_) => continue,
            },
            () = shutdown.cancelled() => return Ok(()),
        }
        let frame = frame::read(&mut reader, limits.request_bytes_max, &limits.requests).await?;
        let mut work = begin(frame.bytes)?;
        let first = poll_fn(|context| Poll::Ready(work.as_mut().poll(context))).await;
        let state = match first {
            Poll::Ready(answer) => Step::Done(answer),
            Poll::Pending => Step::Working(work),
        };
        let held = Held {
            _reserved: frame.reserved,
            _slot: slot,
        };
        if begun.send(Begun { state, held }).await.is_err() {
            return Ok(());
        }
    }
}

/// Ends without an error when no further request comes and all are answered.
async fn write_answers<W>(
    writer: &mut W,
    mut queue: mpsc::Receiver<Begun>,
    stall: Duration,
) -> Result<(), ConnectionError>
where
    W: AsyncWrite + Unpin,
{
    let mut working = FuturesOrdered::new();
    let mut open = true;
    loop {
        let (answer, held) = tokio::select! {
            begun = queue.recv(), if open => {
                match begun {
                    Some(begun) => working.push_back(finish(begun)),
                    None => open = false,
                }
                continue;
            }
            Some(finished) = working.next(), if !working.is_empty() => finished,
            else => return Ok(()),
        };
        let mut segments = Segments::default();
        let mut all_held = vec![held];
        let mut failure = segments.add(answer).err();
        while failure.is_none() && segments.queue.len() < WRITE_SEGMENTS_MAX {
            let Some(Some((answer, held))) = working.next().now_or_never() else {
                break;
            };
            all_held.push(held);
            failure = segments.add(answer).err();
        }
        while segments.has_remaining() {
            match timeout(stall, writer.write_buf(&mut segments)).await {
                Ok(Ok(0)) => return Err(std::io::Error::from(std::io::ErrorKind::WriteZero).into()),
                Ok(Ok(_)) => {}
                Ok(Err(error)) => return Err(error.into()),
                Err(_) => return Err(ConnectionError::Stalled(stall.as_secs(), "an answer")),
            }
        }
        if let Some(error) = failure {
            return Err(error);
        }
    }
}

async fn finish(begun: Begun) -> (Answer, Held) {
    let answer = match begun.state {
        Step::Done(answer) => answer,
        Step::Working(work) => work.await,
    };
    (answer, begun.held)
}

/// The bytes of one or more answers, as they lie in memory.
#[derive(Debug, Default)]
struct Segments {
    queue: std::collections::VecDeque<Bytes>,
    remaining: usize,
    /// Memory of the answers, given back when they are written.
    reserved: Vec<Reserved>,
}

impl Segments {
    fn add(&mut self, answer: Answer) -> Result<(), ConnectionError> {
        match answer {
            Answer::Send { frame, reserved } => {
                for segment in frame {
                    if !segment.is_empty() {
                        self.remaining += segment.len();
                        self.queue.push_back(segment);
                    }
                }
                self.reserved.push(reserved);
                Ok(())
            }
            Answer::Nothing => Ok(()),
            Answer::Close(error) => Err(error),
        }
    }
}

impl Buf for Segments {
    fn remaining(&self) -> usize {
        self.remaining
    }

    fn chunk(&self) -> &[u8] {
        self.queue.front().map_or(&[], |segment| segment)
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let mut count = 0;
        for (slice, segment) in slices.iter_mut().zip(&self.queue) {
            *slice = IoSlice::new(segment);
            count += 1;
        }
        count
    }

    fn advance(&mut self, mut count: usize) {
        self.remaining -= count;
        while count > 0 {
            let Some(front) = self.queue.front_mut() else {
                return;
            };
            if front.len() > count {
                front.advance(count);
                return;
            }
            count -= front.len();
            self.queue.pop_front();
        }
    }
}
