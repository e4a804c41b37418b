//! A connection of the broker over a stream in memory: requests cut at arbitrary places, answered at once, later, not at all
//! or by closing, with what a model says must come back.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use arbitrary::{Result, Unstructured};
use broker::config::Config;
use broker::server::{Answer, Begin, ConnectionError, Limits, Reserved, Work, serve};
use bytes::Bytes;
use protocol::header::{RequestPrefix, decode_request_header};
use protocol::view::{self, Kind};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::runtime::Runtime;
use tokio::task::yield_now;
use tokio_util::sync::CancellationToken;

use crate::choice::Verdict;

/// The largest request of the connection.
const REQUEST_BYTES_MAX: usize = 600;

/// The least request there is.
const REQUEST_BYTES_MIN: usize = 8;

/// All memory for requests, so that two large ones have to wait for each other.
const QUEUED_BYTES_MAX: usize = 1000;

/// What the service does with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Deed {
    /// Answers with the request.
    Echo,
    /// The same, after so many rounds of the scheduler.
    Later(u8),
    /// Gives no answer.
    Silence,
    /// Ends the connection in place of an answer.
    Close,
    /// Refuses to begin.
    Refuse,
    /// Reads it as Kafka's protocol: answers if it is a request, and refuses to begin if not.
    Parse,
}

/// One input.
#[derive(Debug)]
struct Plan {
    in_flight_max: usize,
    /// Room of the stream in either direction.
    pipe_bytes: usize,
    /// Everything that the client sends.
    sent: Vec<u8>,
    /// Sizes of the pieces it is sent in, over and over.
    pieces: Vec<u8>,
    /// For the first request, the second, and so on, over and over.
    deeds: Vec<Deed>,
    end: End,
}

/// How the client or the broker ends it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// The client has sent all, and reads what comes.
    Sent,
    /// The client goes away after so many pieces, without reading all.
    Gone(u8),
    /// The broker is told to stop after so many pieces.
    Stop(u8),
}

impl Plan {
    fn take(u: &mut Unstructured<'_>) -> Result<Self> {
        let in_flight_max = u.int_in_range(1..=4)?;
        let pipe_bytes = u.int_in_range(1..=256)?;
        let end = match u.int_in_range(0..=5)? {
            0 => End::Gone(u.arbitrary()?),
            1 => End::Stop(u.arbitrary()?),
            _ => End::Sent,
        };
        let count = u.int_in_range(1..=6)?;
        let pieces = (0..count).map(|_| u.arbitrary()).collect::<Result<_>>()?;
        let count = u.int_in_range(1..=6)?;
        let deeds = (0..count).map(|_| deed(u)).collect::<Result<_>>()?;
        let sent = if u.arbitrary()? {
            u.bytes(u.len())?.to_vec()
        } else {
            framed(u)?
        };
        Ok(Self {
            in_flight_max,
            pipe_bytes,
            sent,
            pieces,
            deeds,
            end,
        })
    }

    fn deed(&self, request: usize) -> Deed {
        self.deeds[request % self.deeds.len()]
    }
}

fn deed(u: &mut Unstructured<'_>) -> Result<Deed> {
    Ok(match u.int_in_range(0..=11)? {
        0 => Deed::Refuse,
        1 => Deed::Close,
        2 => Deed::Silence,
        3..=5 => Deed::Later(u.arbitrary()?),
        6..=7 => Deed::Parse,
        _ => Deed::Echo,
    })
}

/// Whole requests, but for the end of the last one.
fn framed(u: &mut Unstructured<'_>) -> Result<Vec<u8>> {
    let mut sent = Vec::new();
    while !u.is_empty() {
        let size = u.int_in_range(REQUEST_BYTES_MIN..=REQUEST_BYTES_MAX)?;
        let request = u.bytes(size.min(u.len()))?;
        sent.extend(u32::try_from(size).unwrap().to_be_bytes());
        sent.extend(request);
    }
    Ok(sent)
}

/// What the connection must do.
#[derive(Debug, Default)]
struct Expected {
    /// The requests that are begun, if nothing ends the connection from outside.
    requests: Vec<Vec<u8>>,
    /// What comes back.
    answers: Vec<u8>,
    /// Whether it ends with an error.
    fails: bool,
}

/// Reads the client's bytes as the connection must: the answers before the first thing that ends it, and none after.
fn expected(plan: &Plan) -> Expected {
    let mut expected = Expected::default();
    let mut rest = plan.sent.as_slice();
    let mut answering = true;
    while let Some((size, after)) = rest.split_first_chunk() {
        let size = usize::try_from(i32::from_be_bytes(*size)).unwrap_or(0);
        if !(REQUEST_BYTES_MIN..=REQUEST_BYTES_MAX).contains(&size) || after.len() < size {
            expected.fails = true;
            return expected;
        }
        let (request, after) = after.split_at(size);
        let deed = plan.deed(expected.requests.len());
        expected.requests.push(request.to_vec());
        match deed {
            Deed::Refuse => {
                expected.fails = true;
                return expected;
            }
            Deed::Parse if !is_request(request) => {
                expected.fails = true;
                return expected;
            }
            Deed::Close => {
                expected.fails = true;
                answering = false;
            }
            Deed::Echo | Deed::Later(_) | Deed::Parse if answering => {
                expected
                    .answers
                    .extend(u32::try_from(size).unwrap().to_be_bytes());
                expected.answers.extend(request);
            }
            _ => {}
        }
        rest = after;
    }
    expected.fails |= !rest.is_empty();
    expected
}

/// Whether these bytes are a request of a known API and version, with its header and nothing behind it.
fn is_request(request: &[u8]) -> bool {
    let prefix = RequestPrefix::read(request).expect("no request is shorter than this");
    let Some(api) = prefix.api() else {
        return false;
    };
    let Ok((header, mut body)) = decode_request_header(api, request) else {
        return false;
    };
    assert_eq!(header.correlation_id, prefix.correlation_id);
    let message = view::of_api(api, Kind::Request).expect("an API has a request");
    (message.decode)(&mut body, prefix.api_version).is_ok() && body.finish().is_ok()
}

/// What the service has seen.
#[derive(Debug, Default)]
struct Seen {
    requests: Vec<Vec<u8>>,
    /// Begun and not ended.
    working: usize,
}

/// Counts one request as being worked on.
struct Working(Arc<Mutex<Seen>>);

impl Drop for Working {
    fn drop(&mut self) {
        self.0.lock().unwrap().working -= 1;
    }
}

fn service(plan: Arc<Plan>, seen: Arc<Mutex<Seen>>) -> Begin {
    Box::new(
        move |request: Bytes| -> std::result::Result<Work, ConnectionError> {
            let mut state = seen.lock().unwrap();
            let deed = plan.deed(state.requests.len());
            state.requests.push(request.to_vec());
            let refused = || ConnectionError::Malformed("as the input wants".to_owned());
            if deed == Deed::Refuse || deed == Deed::Parse && !is_request(&request) {
                return Err(refused());
            }
            state.working += 1;
            assert!(state.working <= plan.in_flight_max);
            drop(state);
            let working = Working(seen.clone());
            Ok(Box::pin(async move {
                let answer = match deed {
                    Deed::Silence => Answer::Nothing,
                    Deed::Close => Answer::Close(refused()),
                    Deed::Later(rounds) => {
                        for _ in 0..rounds {
                            yield_now().await;
                        }
                        echo(request)
                    }
                    Deed::Echo | Deed::Parse | Deed::Refuse => echo(request),
                };
                drop(working);
                answer
            }))
        },
    )
}

fn echo(request: Bytes) -> Answer {
    let size = u32::try_from(request.len()).unwrap().to_be_bytes();
    Answer::Send {
        frame: vec![Bytes::copy_from_slice(&size), request],
        reserved: Reserved::none(),
    }
}

/// What the client got, and whether it stayed to the end.
async fn client(plan: &Plan, stream: DuplexStream, stop: &CancellationToken) -> (Vec<u8>, bool) {
    let (mut read, mut write) = tokio::io::split(stream);
    let mut pieces: VecDeque<&[u8]> = VecDeque::new();
    let mut rest = plan.sent.as_slice();
    for size in plan.pieces.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (piece, after) = rest.split_at(usize::from(*size).max(1).min(rest.len()));
        pieces.push_back(piece);
        rest = after;
    }
    let gone = CancellationToken::new();
    let send = async {
        for (count, piece) in pieces.into_iter().enumerate() {
            match plan.end {
                End::Gone(after) if usize::from(after) == count => gone.cancel(),
                End::Stop(after) if usize::from(after) == count => stop.cancel(),
                _ => {}
            }
            // The broker may have closed already.
            if gone.is_cancelled() || write.write_all(piece).await.is_err() {
                return;
            }
            yield_now().await;
        }
        drop(write.shutdown().await);
    };
    let receive = async {
        let mut got = Vec::new();
        let mut part = [0; 100];
        loop {
            tokio::select! {
                biased;
                () = gone.cancelled() => return (got, false),
                count = read.read(&mut part) => match count {
                    Ok(count) if count > 0 => got.extend(part.get(..count).unwrap()),
                    _ => return (got, true),
                },
            }
        }
    };
    tokio::join!(send, receive).1
}

/// Serves one connection as the input says, and compares what came back with what must.
pub fn connection(input: &[u8]) -> Verdict {
    let Ok(plan) = Plan::take(&mut Unstructured::new(input)) else {
        return Verdict::Skipped;
    };
    run(Arc::new(plan));
    Verdict::Run
}

thread_local! {
    static RUNTIME: Runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime starts");
}

fn run(plan: Arc<Plan>) {
    let config = Config {
        socket_request_max_bytes: REQUEST_BYTES_MAX,
        max_in_flight_requests_per_connection: plan.in_flight_max,
        queued_max_request_bytes: QUEUED_BYTES_MAX,
        ..Config::default()
    };
    let limits = Arc::new(Limits::new(&config));
    let seen = Arc::new(Mutex::new(Seen::default()));
    let stop = CancellationToken::new();
    let (ours, theirs) = tokio::io::duplex(plan.pipe_bytes);
    let (read, write) = tokio::io::split(ours);
    let begin = service(plan.clone(), seen.clone());
    let serve = serve(read, write, begin, limits.clone(), stop.clone());
    let (result, (got, stayed)) =
        RUNTIME.with(|it| it.block_on(async { tokio::join!(serve, client(&plan, theirs, &stop)) }));

    assert_eq!(
        limits.requests().free_bytes(),
        QUEUED_BYTES_MAX,
        "memory is held"
    );
    let seen = seen.lock().unwrap();
    assert_eq!(seen.working, 0, "a request is still worked on");
    let expected = expected(&plan);
    assert!(expected.requests.starts_with(&seen.requests));
    if stayed && plan.end == End::Sent {
        assert_eq!(got, expected.answers);
        assert_eq!(result.is_err(), expected.fails, "{result:?}");
        if !expected.fails {
            assert_eq!(seen.requests.len(), expected.requests.len());
        }
    } else {
        assert!(
            expected.answers.starts_with(&got),
            "answers of another request"
        );
    }
}
