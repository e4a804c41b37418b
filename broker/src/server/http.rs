//! A small HTTP server for those who watch the broker: one request a connection, GET only, short answers. What the paths mean is
//! the caller's business.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

/// The longest head of a request.
const HEAD_BYTES_MAX: usize = 8 << 10;
/// Requests that are answered at the same time; others wait.
const REQUESTS_MAX: usize = 16;
/// How long a request may take, from its connection to the end of its answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// Accepting goes on after this when the system has no descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Page {
    pub(crate) status: u16,
    pub(crate) body: String,
}

impl Page {
    pub(crate) fn ok(body: impl Into<String>) -> Self {
        Self {
            status: 200,
            body: body.into(),
        }
    }
}

/// Makes the page of a path; `None` where there is none.
pub(crate) type Pages =
    Arc<dyn Fn(String) -> Pin<Box<dyn Future<Output = Option<Page>> + Send>> + Send + Sync>;

/// Answers until `shutdown`.
pub(crate) async fn serve_http(listener: TcpListener, pages: Pages, shutdown: CancellationToken) {
    let slots = Arc::new(Semaphore::new(REQUESTS_MAX));
    loop {
        let accepted = tokio::select! {
            () = shutdown.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "a connection for metrics could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Ok(slot) = slots.clone().acquire_owned().await else {
            return;
        };
        let pages = pages.clone();
        tokio::spawn(async move {
            // Who is slow or goes away gets no answer.
            let _ = tokio::time::timeout(PATIENCE, answer(stream, pages)).await;
            drop(slot);
        });
    }
}

async fn answer(mut stream: TcpStream, pages: Pages) -> io::Result<()> {
    let page = match read_path(&mut stream).await? {
        Err(status) => Page {
            status,
            body: String::new(),
        },
        Ok(path) => pages(path).await.unwrap_or(Page {
            status: 404,
            body: "not found\n".to_owned(),
        }),
    };
    let head = format!(
        "HTTP/1.1 {} {}\r\ncontent-type: text/plain; version=0.0.4; charset=utf-8\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        page.status,
        reason(page.status),
        page.body.len()
    );
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(page.body.as_bytes()).await?;
    stream.shutdown().await
}

/// The path of a GET; the status of the answer to anything else.
async fn read_path(stream: &mut TcpStream) -> io::Result<Result<String, u16>> {
    let mut head = Vec::new();
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        if head.len() >= HEAD_BYTES_MAX {
            return Ok(Err(431));
        }
        let mut piece = [0; 1024];
        let count = stream.read(&mut piece).await?;
        if count == 0 {
            return Ok(Err(400));
        }
        head.extend_from_slice(piece.get(..count).unwrap_or_default());
    }
    let text = String::from_utf8_lossy(&head);
    let mut words = text.lines().next().unwrap_or_default().split(' ');
    Ok(match (words.next(), words.next(), words.next()) {
        (Some("GET"), Some(target), Some(protocol)) if protocol.starts_with("HTTP/1.") => {
            Ok(target.split('?').next().unwrap_or_default().to_owned())
        }
        (Some(_), Some(_), Some(protocol)) if protocol.starts_with("HTTP/1.") => Err(405),
        _ => Err(400),
    })
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        400 => "Bad Request",
        404 => "Not Found",
        405 => "Method Not Allowed",
        431 => "Request Header Fields Too Large",
        503 => "Service Unavailable",
        _ => "",
    }
}
