//! One connection: requests are read and begun in order, worked on at the same time, and answered in order.
//!
//! Two futures share the connection's task. The reader reads a request while there are fewer than
//! `max.in.flight.requests.per.connection` and begins it: its first step runs before the next request is read, so whatever a
//! handler does before it waits happens in the order of the requests. The writer waits for the answers and writes as many as are
//! ready at once. Whatever wakes the task, both are polled, the reader first; so neither has to wake the other.

use std::future::poll_fn;
use std::io::IoSlice;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::flow::{Begun, Flow};
use super::{Answer, Begin, ConnectionError, Limits, Reserved, frame, within};

/// Requests smaller than this are read through a buffer; larger ones go straight into their own memory.
const READ_BUFFER_BYTES: usize = 8 * 1024;

/// After the client has closed its side, answers that are still due get this long.
const DRAIN_AFTER_END: Duration = Duration::from_secs(5);

/// Answers joined into one write stop at this many segments.
const WRITE_SEGMENTS_MAX: usize = 256;

/// In the place of a time that no clock reaches.
const A_YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// Which of the two futures ended first.
enum Ended {
    Reader(Result<(), ConnectionError>),
    Writer(Result<(), ConnectionError>),
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
    let flow = Flow::new(limits.in_flight_max);
    let mut read = pin!(read_requests(read_half, begin, &limits, &flow, &shutdown));
    let mut write = pin!(write_answers(&mut write_half, &flow, limits.idle));
    let ended = poll_fn(|context| {
        loop {
            if let Poll::Ready(result) = read.as_mut().poll(context) {
                return Poll::Ready(Ended::Reader(result));
            }
            if let Poll::Ready(result) = write.as_mut().poll(context) {
                return Poll::Ready(Ended::Writer(result));
            }
            if !flow.has_room_again() {
                return Poll::Pending;
            }
        }
    });
    match ended.await {
        Ended::Reader(read_result) => {
            flow.close();
            let patience = match shutdown.is_cancelled() {
                true => limits.shutdown_timeout,
                false => DRAIN_AFTER_END,
            };
            let write_result = timeout(patience, write).await.unwrap_or(Ok(()));
            read_result.and(write_result)
        }
        Ended::Writer(write_result) => write_result,
    }
}

/// Ends without an error when the client has closed, has been idle for too long, or at `shutdown`.
async fn read_requests<R>(
    read_half: R,
    begin: Begin,
    limits: &Limits,
    flow: &Flow,
    shutdown: &CancellationToken,
) -> Result<(), ConnectionError>
where
    R: AsyncRead + Unpin,
{
    let mut reader = BufReader::with_capacity(READ_BUFFER_BYTES, read_half);
    let mut stopped = pin!(shutdown.cancelled());
    let mut idle = pin!(sleep(limits.idle));
    loop {
        if flow.is_full() {
            tokio::select! {
                biased;
                () = &mut stopped => return Ok(()),
                () = poll_fn(|_| flow.poll_room()) => {}
            }
            idle.as_mut().reset(after(limits.idle));
        }
        tokio::select! {
            biased;
            () = &mut stopped => return Ok(()),
            arrived = frame::arrives(&mut reader) => if !arrived? {
                return Ok(());
            },
            () = &mut idle => {
                if flow.is_empty() {
                    return Ok(());
                }
                idle.as_mut().reset(after(limits.idle));
                continue;
            }
        }
        let frame = frame::read(&mut reader, limits.request_bytes_max, &limits.requests).await?;
        let mut work = begin(frame.bytes)?;
        let first = poll_fn(|context| Poll::Ready(work.as_mut().poll(context))).await;
        flow.push(match first {
            Poll::Ready(answer) => Begun::done(answer, frame.reserved),
            Poll::Pending => Begun::working(work, frame.reserved),
        });
        idle.as_mut().reset(after(limits.idle));
    }
}

fn after(length: Duration) -> Instant {
    let now = Instant::now();
    now.checked_add(length).unwrap_or_else(|| now + A_YEAR)
}

/// Ends without an error when no further request comes and all are answered.
async fn write_answers<W>(
    writer: &mut W,
    flow: &Flow,
    stall: Duration,
) -> Result<(), ConnectionError>
where
    W: AsyncWrite + Unpin,
{
    loop {
        let Some(done) = poll_fn(|context| flow.poll_answer(context)).await else {
            return Ok(());
        };
        let mut segments = Segments::default();
        let mut count = 1;
        let mut failure = segments.add(done).err();
        while failure.is_none() && segments.queue.len() < WRITE_SEGMENTS_MAX {
            let next = poll_fn(|context| Poll::Ready(flow.poll_answer(context))).await;
            let Poll::Ready(Some(done)) = next else {
                break;
            };
            count += 1;
            failure = segments.add(done).err();
        }
        while segments.has_remaining() {
            match within(stall, segments.write_to(writer)).await {
                Ok(Ok(0)) => return Err(std::io::Error::from(std::io::ErrorKind::WriteZero).into()),
                Ok(Ok(_)) => {}
                Ok(Err(error)) => return Err(error.into()),
                Err(_) => return Err(ConnectionError::Stalled(stall.as_secs(), "an answer")),
            }
        }
        if let Some(error) = failure {
            return Err(error);
        }
        drop(segments);
        flow.answered(count);
    }
}

/// The bytes of one or more answers, as they lie in memory.
#[derive(Debug, Default)]
struct Segments {
    queue: std::collections::VecDeque<Bytes>,
    remaining: usize,
    /// Memory of the requests and the answers, given back when they are written.
    reserved: Vec<Reserved>,
}

impl Segments {
    fn add(&mut self, (answer, request): (Answer, Reserved)) -> Result<(), ConnectionError> {
        self.reserved.push(request);
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

impl Segments {
    /// Writes what the stream takes now.
    async fn write_to<W: AsyncWrite + Unpin>(&mut self, writer: &mut W) -> std::io::Result<usize> {
        match self.queue.len() {
            1 => {
                // cheaper in the kernel than a list of one
                let written = writer.write(self.chunk()).await?;
                self.advance(written);
                Ok(written)
            }
            _ => writer.write_buf(self).await,
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
