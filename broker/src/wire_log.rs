//! Requests and responses in the log, as JSON without secrets: lines of level debug with the target `wire`, so that
//! `log.level=info,wire=debug` shows them and `wire=trace` does not cut them off. Costs a look at the level otherwise.

use std::net::SocketAddr;

use bytes::Bytes;
use protocol::view::{self, Kind, MessageDescriptor};
use protocol::{ApiKey, DecodeError};
use tracing::Level;

use crate::server::Answer;

/// Where a line ends, in bytes of JSON; with `wire=trace` the second.
const SHORT_BYTES: usize = 4 * 1024;
const LONG_BYTES: usize = 1024 * 1024;

/// A request whose response is to be shown.
#[derive(Debug)]
pub(crate) struct Exchange {
    peer: SocketAddr,
    api: ApiKey,
    version: i16,
    correlation_id: i32,
}

impl Exchange {
    /// Shows the request, if anyone wants to see it.
    pub(crate) fn begin(
        peer: SocketAddr,
        api: ApiKey,
        version: i16,
        correlation_id: i32,
        body: &[u8],
    ) -> Option<Self> {
        if !tracing::enabled!(target: "wire", Level::DEBUG) {
            return None;
        }
        let text = json(api, Kind::Request, version, body);
        tracing::debug!(target: "wire", %peer, correlation_id, "{api} v{version} request {text}");
        Some(Self {
            peer,
            api,
            version,
            correlation_id,
        })
    }

    /// Shows the response.
    pub(crate) fn end(self, answer: &Answer) {
        let Self {
            peer,
            api,
            version,
            correlation_id,
        } = self;
        let text = match answer {
            Answer::Send { frame, .. } => response(api, version, frame),
            Answer::Nothing => "none, as the client asked".to_owned(),
            Answer::Close(_) => "none, the connection is closed".to_owned(),
        };
        tracing::debug!(target: "wire", %peer, correlation_id, "{api} v{version} response {text}");
    }
}

/// The JSON of a frame with its size and header.
fn response(api: ApiKey, version: i16, frame: &[Bytes]) -> String {
    let frame = frame.concat();
    let header_bytes = match api.response_header_version(version) {
        0 => 8,
        _ => 9,
    };
    let body = frame.get(header_bytes..).unwrap_or_default();
    json(api, Kind::Response, version, body)
}

fn json(api: ApiKey, kind: Kind, version: i16, body: &[u8]) -> String {
    let bytes_max = if tracing::enabled!(target: "wire", Level::TRACE) {
        LONG_BYTES
    } else {
        SHORT_BYTES
    };
    let Some(message) = view::of_api(api, kind) else {
        return String::new();
    };
    match view::to_log(message, version, body, bytes_max) {
        Ok(text) => text,
        Err(error) => format!("that cannot be read: {error}"),
    }
}

/// What is wrong with the body of a request, by the field it is wrong in.
pub(crate) fn explain(api: ApiKey, version: i16, body: &[u8], error: &DecodeError) -> String {
    let reason = explained(view::of_api(api, Kind::Request), version, body, error);
    format!("{api} v{version}: {reason}")
}

/// What is wrong with the header of a request.
pub(crate) fn explain_header(version: i16, frame: &[u8], error: &DecodeError) -> String {
    let reason = explained(view::find("RequestHeader"), version, frame, error);
    format!("its header: {reason}")
}

fn explained(
    message: Option<&MessageDescriptor>,
    version: i16,
    bytes: &[u8],
    error: &DecodeError,
) -> String {
    match message {
        Some(message) => view::explain(message, version, bytes, error).to_string(),
        None => error.to_string(),
    }
}
