//! Sockets: accepting, framing, limits, back-pressure. Nothing else of the broker touches a socket, and nothing here
//! knows what a request means.

mod budget;
mod connection;
mod flow;
mod frame;
mod http;
mod listener;

pub use budget::{Budget, Reserved};
pub use connection::serve;
pub(crate) use http::{Page, Pages, serve_http};
pub use listener::{BindError, Limits, bind};
pub(crate) use listener::{ConnectionLimits, Server};

#[cfg(test)]
mod tests;

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::error::Elapsed;

/// Starts the work of one request, given without its size field. Called in the order of the connection's requests.
pub type Begin = Box<dyn Fn(Bytes) -> Result<Work, ConnectionError> + Send + Sync>;

/// Makes the [`Begin`] of a new connection: of the client's address and ours.
pub(crate) type Open = Box<dyn Fn(SocketAddr, SocketAddr) -> Begin + Send + Sync>;

/// What is to be done for one request. Its first step, up to the first wait, runs before the next request is read.
pub type Work = Pin<Box<dyn Future<Output = Answer> + Send>>;

/// What goes back to the client.
#[derive(Debug)]
pub enum Answer {
    /// These bytes, with the size in front; `reserved` is given back when they are written.
    Send {
        /// As they lie in memory.
        frame: Vec<Bytes>,
        /// The memory they take, where it was reserved.
        reserved: Reserved,
    },
    /// Nothing: the client asked for no answer.
    Nothing,
    /// The connection ends after the answers before this one.
    Close(ConnectionError),
}

/// Why a connection ends other than by its client closing it between two requests.
#[derive(Debug, thiserror::Error)]
pub enum ConnectionError {
    /// The size field is negative, too small for a header, or above `socket.request.max.bytes`.
    #[error("a request of {size} bytes was announced, the limit is {limit}{}", size_hint(*.size))]
    Size {
        /// As announced.
        size: i32,
        /// The present limit.
        limit: usize,
    },
    /// A request that is not one.
    #[error("a request that cannot be read: {0}")]
    Malformed(String),
    /// The client stopped in the middle of a request.
    #[error("the client stopped in the middle of a request")]
    Truncated,
    /// The client sent or took nothing for too long in the middle of a request or an answer.
    #[error("no progress for {0} s in the middle of {1}")]
    Stalled(u64, &'static str),
    /// No memory came free for a request that had begun to arrive.
    #[error("no memory for requests came free for {0} s (queued.max.request.bytes)")]
    NoMemory(u64),
    /// A request that asks for no answer failed: closing is the only way to tell.
    #[error("a request without an answer failed: {0}")]
    Unanswerable(String),
    /// The network.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl ConnectionError {
    /// Whether the network or the client's end is the cause, which is not worth a line in the log.
    pub fn is_ordinary(&self) -> bool {
        matches!(self, Self::Io(_))
    }
}

/// As [`tokio::time::timeout`], but a timer is made only where `future` is not ready at once.
async fn within<F: Future>(length: Duration, future: F) -> Result<F::Output, Elapsed> {
    let mut future = pin!(future);
    match poll_fn(|context| Poll::Ready(future.as_mut().poll(context))).await {
        Poll::Ready(output) => Ok(output),
        Poll::Pending => tokio::time::timeout(length, future).await,
    }
}

/// The size fields that other protocols make when they are taken for ours.
fn size_hint(size: i32) -> &'static str {
    match &size.to_be_bytes() {
        b"GET " | b"POST" | b"HEAD" | b"PUT " | b"OPTI" => " (it looks like HTTP)",
        [0x16, 0x03, ..] => " (it looks like TLS)",
        b"SSH-" => " (it looks like SSH)",
        _ => "",
    }
}
