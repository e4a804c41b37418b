//! The headers in front of requests and responses: which version of them stands before which message.
//!
//! The frame's size, the four bytes before all this, is not known here.

use crate::api::{ApiKey, Message};
use crate::error::{DecodeError, EncodeError};
use crate::messages::{RequestHeader, ResponseHeader};
use crate::wire::{Reader, Writer};

/// What every request begins with, whatever its API and version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestPrefix {
    /// The API, which need not be known.
    pub api_key: i16,
    /// The version of the request, which need not be known.
    pub api_version: i16,
    /// Comes back in the response.
    pub correlation_id: i32,
}

impl RequestPrefix {
    /// Reads the first bytes of a request frame.
    pub fn read(frame: &[u8]) -> Result<Self, DecodeError> {
        let (api_key, api_version, correlation_id) = Reader::new(frame).run()?;
        Ok(Self {
            api_key,
            api_version,
            correlation_id,
        })
    }

    /// The API, if it is known.
    pub const fn api(&self) -> Option<ApiKey> {
        ApiKey::from_i16(self.api_key)
    }
}

/// Reads the header of a request for `api`, which the prefix of the frame names. The reader is left at the body.
///
/// A version that the API does not have is read with the header of its last version, so that such a request can be
/// answered.
pub fn decode_request_header<'a>(
    api: ApiKey,
    frame: &'a [u8],
) -> Result<(RequestHeader<'a>, Reader<'a>), DecodeError> {
    let prefix = RequestPrefix::read(frame)?;
    let mut reader = Reader::new(frame);
    let header =
        RequestHeader::decode(&mut reader, api.request_header_version(prefix.api_version))?;
    Ok((header, reader))
}

/// Writes the header of a response to a request of `version`.
pub fn write_response_header(
    w: &mut Writer,
    api: ApiKey,
    version: i16,
    correlation_id: i32,
) -> Result<(), EncodeError> {
    let header = ResponseHeader {
        correlation_id,
        ..ResponseHeader::default()
    };
    header.encode(w, api.response_header_version(version))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::messages::ApiVersionsRequest;

    /// ApiVersions version 3 with correlation id 7, client id "me", software "x" "1".
    const REQUEST: &[u8] = b"\0\x12\0\x03\0\0\0\x07\0\x02me\0\x02x\x021\0";

    #[test]
    fn the_header_version_follows_from_api_and_version() {
        let prefix = RequestPrefix::read(REQUEST).unwrap();
        assert_eq!(prefix.api(), Some(ApiKey::ApiVersions));
        let (header, mut body) = decode_request_header(ApiKey::ApiVersions, REQUEST).unwrap();
        assert_eq!(header.correlation_id, 7);
        assert_eq!(header.client_id.as_deref(), Some("me"));
        let request = ApiVersionsRequest::decode(&mut body, header.request_api_version).unwrap();
        assert_eq!(request.client_software_name, "x");
        body.finish().unwrap();
    }

    #[test]
    fn the_first_version_of_controlled_shutdown_has_no_client_id() {
        let frame = b"\0\x07\0\0\0\0\0\x09\0\0\0\x01";
        let (header, body) = decode_request_header(ApiKey::ControlledShutdown, frame).unwrap();
        assert_eq!(header.client_id, Some("".into()));
        assert_eq!(body.remaining(), [0, 0, 0, 1]);
    }

    #[test]
    fn the_answer_to_api_versions_has_the_first_header_in_all_versions() {
        let check = |api, version, expect: &[u8]| {
            let mut writer = Writer::new();
            write_response_header(&mut writer, api, version, 5).unwrap();
            assert_eq!(writer.finish_contiguous(), expect);
        };
        check(ApiKey::ApiVersions, 0, &[0, 0, 0, 5]);
        check(ApiKey::ApiVersions, 4, &[0, 0, 0, 5]);
        check(ApiKey::Metadata, 8, &[0, 0, 0, 5]);
        check(ApiKey::Metadata, 9, &[0, 0, 0, 5, 0]);
    }

    #[test]
    fn an_unknown_version_still_has_a_header() {
        let mut frame = REQUEST.to_vec();
        frame[3] = 99;
        let (header, _) = decode_request_header(ApiKey::ApiVersions, &frame).unwrap();
        assert_eq!((header.correlation_id, header.request_api_version), (7, 99));
    }
}
