//! THE table: which API, in which versions, is served by which handler. What ApiVersions advertises is computed from it.

use std::ops::RangeInclusive;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use protocol::ApiKey;
use protocol::messages::RequestHeader;
use protocol::wire::{Reader, Tags, Writer};
use protocol::{EncodeError, Message};

use crate::context::{Request, Session};
use crate::handlers;
use crate::server::{ConnectionError, Reserved};

/// What is to be done for one request. Its first step, up to the first wait, runs before the next request is read.
pub(crate) type Work = Pin<Box<dyn Future<Output = Answer> + Send>>;

/// What goes back to the client.
#[derive(Debug)]
pub(crate) enum Answer {
    /// These bytes, with the size in front; `reserved` is given back when they are written.
    Send {
        frame: Vec<Bytes>,
        reserved: Reserved,
    },
    /// Nothing: the client asked for no answer.
    Nothing,
    /// The connection ends after the answers before this one.
    Close(ConnectionError),
}

/// What a handler returns.
#[derive(Debug)]
pub(crate) enum Reply<M> {
    /// A response.
    Message(M),
    /// A response whose records hold this memory.
    Holding(M, Reserved),
    /// No response is due.
    Nothing,
    /// No response is due, so that only closing tells of the failure.
    Close(String),
}

impl<M> From<M> for Reply<M> {
    fn from(message: M) -> Self {
        Self::Message(message)
    }
}

/// One row of the table.
#[derive(Debug)]
pub(crate) struct Api {
    pub(crate) key: ApiKey,
    /// The versions that are served.
    pub(crate) versions: RangeInclusive<i16>,
    /// The least version that ApiVersions tells of; below the served ones where clients need to see it.
    pub(crate) advertised_min: i16,
    begin: fn(Request, Head) -> Work,
}

/// Where the body begins and how the answer starts.
#[derive(Debug, Clone, Copy)]
struct Head {
    body_at: usize,
    correlation_id: i32,
}

macro_rules! api {
    ($name:ident, $versions:expr, $handler:path, $request:ident, $response:ident) => {
        api!(
            $name,
            $versions,
            *$versions.start(),
            $handler,
            $request,
            $response
        )
    };
    ($name:ident, $versions:expr, $advertised_min:expr, $handler:path, $request:ident, $response:ident) => {
        Api {
            key: ApiKey::$name,
            versions: $versions,
            advertised_min: $advertised_min,
            begin: |request, head| {
                Box::pin(async move {
                    let frame = request.frame.clone();
                    let mut reader = Reader::new(frame.get(head.body_at..).unwrap_or_default());
                    let mut body = protocol::messages::$request::default();
                    if let Err(error) = body.read(&mut reader, request.version) {
                        let text =
                            format!("{} v{}: {error}", ApiKey::$name.name(), request.version);
                        return Answer::Close(ConnectionError::Malformed(text));
                    }
                    let reply: Reply<protocol::messages::$response<'_>> =
                        $handler(&request, body).await.into();
                    answer(reply, ApiKey::$name, request.version, head.correlation_id)
                })
            },
        }
    };
}

/// Every API that is served.
#[rustfmt::skip] // a table: one row an API
pub(crate) static APIS: &[Api] = &[
    // Old librdkafka compresses only where Produce starts at 0, so that is what it is told, as by Kafka (KAFKA-18659).
    api!(Produce,          3..=13, 0, handlers::produce::handle,           ProduceRequest,          ProduceResponse),
    api!(Fetch,            4..=18,    handlers::fetch::handle,             FetchRequest,            FetchResponse),
    api!(ListOffsets,      1..=11,    handlers::list_offsets::handle,      ListOffsetsRequest,      ListOffsetsResponse),
    api!(Metadata,         0..=13,    handlers::metadata::handle,          MetadataRequest,         MetadataResponse),
    api!(ApiVersions,      0..=5,     handlers::api_versions::handle,      ApiVersionsRequest,      ApiVersionsResponse),
    api!(CreateTopics,     0..=7,     handlers::create_topics::handle,     CreateTopicsRequest,     CreateTopicsResponse),
    api!(DeleteTopics,     0..=6,     handlers::delete_topics::handle,     DeleteTopicsRequest,     DeleteTopicsResponse),
    api!(InitProducerId,   0..=5,     handlers::init_producer_id::handle,  InitProducerIdRequest,   InitProducerIdResponse),
    api!(CreatePartitions, 0..=3,     handlers::create_partitions::handle, CreatePartitionsRequest, CreatePartitionsResponse),
];

/// Reads the header of `frame` and starts what it asks for. Nothing but the connection's end answers a request that has no
/// readable header, no known key or no served version; ApiVersions alone is answered in every version, because it is how
/// clients learn about versions.
pub(crate) fn begin(session: &Arc<Session>, frame: Bytes) -> Result<Work, ConnectionError> {
    let (key, version, correlation_id) = fixed_head(&frame)
        .ok_or_else(|| ConnectionError::Malformed("its header is cut off".to_owned()))?;
    let Some(api) = APIS.iter().find(|api| api.key as i16 == key) else {
        let name = ApiKey::from_i16(key).map_or("unknown", ApiKey::name);
        return Err(ConnectionError::Malformed(format!(
            "API key {key} ({name}) is not served"
        )));
    };
    if !api.versions.contains(&version) {
        if api.key == ApiKey::ApiVersions {
            let reply = Reply::Message(handlers::api_versions::unsupported_version());
            let answer = answer(reply, ApiKey::ApiVersions, 0, correlation_id);
            return Ok(Box::pin(std::future::ready(answer)));
        }
        return Err(ConnectionError::Malformed(format!(
            "{} v{version} is not served, only v{}-v{}",
            api.key.name(),
            api.versions.start(),
            api.versions.end()
        )));
    }
    let mut reader = Reader::new(&frame);
    let mut header = RequestHeader::default();
    header
        .read(&mut reader, api.key.request_header_version(version))
        .map_err(|error| ConnectionError::Malformed(format!("its header: {error}")))?;
    let head = Head {
        body_at: reader.offset(),
        correlation_id,
    };
    let request = Request {
        session: session.clone(),
        version,
        client_id: header.client_id.map(|id| id.into_owned()),
        frame: frame.clone(),
    };
    Ok((api.begin)(request, head))
}

/// Key, version and correlation id, which every header begins with.
fn fixed_head(frame: &[u8]) -> Option<(i16, i16, i32)> {
    let (key, rest) = frame.split_first_chunk()?;
    let (version, rest) = rest.split_first_chunk()?;
    let (correlation_id, _) = rest.split_first_chunk()?;
    Some((
        i16::from_be_bytes(*key),
        i16::from_be_bytes(*version),
        i32::from_be_bytes(*correlation_id),
    ))
}

fn answer<'a, M: Message<'a>>(
    reply: Reply<M>,
    key: ApiKey,
    version: i16,
    correlation_id: i32,
) -> Answer {
    let (message, reserved) = match reply {
        Reply::Message(message) => (message, Reserved::none()),
        Reply::Holding(message, reserved) => (message, reserved),
        Reply::Nothing => return Answer::Nothing,
        Reply::Close(reason) => return Answer::Close(ConnectionError::Unanswerable(reason)),
    };
    match encode(&message, key, version, correlation_id) {
        Ok(frame) => Answer::Send { frame, reserved },
        Err(error) => {
            tracing::error!(%error, "a response could not be written; the connection is closed");
            Answer::Close(ConnectionError::Unanswerable(error.to_string()))
        }
    }
}

fn encode<'a, M: Message<'a>>(
    message: &M,
    key: ApiKey,
    version: i16,
    correlation_id: i32,
) -> Result<Vec<Bytes>, EncodeError> {
    let fault = |fault: protocol::EncodeFault| fault.of(M::NAME, "header", version);
    let mut writer = Writer::new();
    let size = writer.begin_i32_length();
    writer.i32(correlation_id);
    if key.response_header_version(version) > 0 {
        writer.unknown_tags(&Tags::default(), M::NAME, version)?;
    }
    message.write(&mut writer, version)?;
    writer.end_i32_length(size).map_err(fault)?;
    Ok(writer.finish())
}
