//! ApiVersions (key 18), v0-v5: what is served, computed from the dispatch table.
//!
//! v3: client software name and version (KIP-511), features (KIP-584). v5: cluster id and node id, so that a client learns
//! that it has reached another cluster or broker than it meant (KIP-1242). A version that is not served is answered in
//! the form of v0 with UNSUPPORTED_VERSION and the one entry a client needs to ask again.
//!
//! The features are in `settings/features.rs`. They are told of as supported from v4 on, because older clients choke on a level that
//! begins at 0.

use protocol::messages::api_versions_response::{
    ApiVersion, FinalizedFeatureKey, SupportedFeatureKey,
};
use protocol::messages::{ApiVersionsRequest, ApiVersionsResponse};
use protocol::{ApiKey, ErrorCode};

use crate::context::{ClientSoftware, Request};
use crate::dispatch::APIS;
use crate::settings::features::{FEATURES, Feature};

pub(crate) async fn handle(
    request: &Request,
    body: ApiVersionsRequest<'_>,
) -> ApiVersionsResponse<'static> {
    if request.version >= 3 {
        let software = ClientSoftware {
            name: body.client_software_name.into_owned(),
            version: body.client_software_version.into_owned(),
        };
        if !is_software_word(&software.name) || !is_software_word(&software.version) {
            return failed(ErrorCode::InvalidRequest);
        }
        let (name, version) = (software.name.clone(), software.version.clone());
        if request.session.set_client_software(software) {
            let (peer, client_id) = (request.session.peer, request.client_id.as_deref());
            tracing::debug!(%peer, client_id, name, version, "client software");
        }
    }
    let context = request.context();
    if let Err(code) = check_destination(
        body.cluster_id.as_deref(),
        body.node_id,
        context.store.cluster_id(),
        context.config.node_id,
    ) {
        return failed(code);
    }
    let levels = &context.settings.snapshot().features;
    let features: &[Feature] = match request.version {
        0..3 => &[],
        _ => &FEATURES,
    };
    ApiVersionsResponse {
        api_keys: APIS
            .iter()
            .map(|api| entry(api.key, api.advertised_min, *api.versions.end()))
            .collect(),
        supported_features: features
            .iter()
            .filter(|_| request.version >= FEATURES_FROM_0)
            .map(|feature| SupportedFeatureKey {
                name: feature.name.into(),
                min_version: 0,
                max_version: feature.newest,
                ..SupportedFeatureKey::default()
            })
            .collect(),
        finalized_features: features
            .iter()
            .map(|feature| (feature, levels.of(*feature)))
            .filter(|(_, level)| *level > 0)
            .map(|(feature, level)| FinalizedFeatureKey {
                name: feature.name.into(),
                min_version_level: level,
                max_version_level: level,
                ..FinalizedFeatureKey::default()
            })
            .collect(),
        finalized_features_epoch: match features {
            [] => -1,
            _ => levels.epoch,
        },
        ..ApiVersionsResponse::default()
    }
}

/// From this version on clients understand features that begin at level 0.
const FEATURES_FROM_0: i16 = 4;

/// The answer to a version that is not served; to be written as v0.
pub(crate) fn unsupported_version() -> ApiVersionsResponse<'static> {
    let own = APIS.iter().filter(|api| api.key == ApiKey::ApiVersions);
    ApiVersionsResponse {
        error_code: ErrorCode::UnsupportedVersion.code(),
        api_keys: own
            .map(|api| entry(api.key, api.advertised_min, *api.versions.end()))
            .collect(),
        ..ApiVersionsResponse::default()
    }
}

fn entry(key: ApiKey, min_version: i16, max_version: i16) -> ApiVersion<'static> {
    ApiVersion {
        api_key: key as i16,
        min_version,
        max_version,
        ..ApiVersion::default()
    }
}

fn failed(code: ErrorCode) -> ApiVersionsResponse<'static> {
    ApiVersionsResponse {
        error_code: code.code(),
        ..ApiVersionsResponse::default()
    }
}

/// Kafka's rule: letters, digits, `-` and `.`, the latter two not at the ends.
fn is_software_word(text: &str) -> bool {
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric();
    let bytes = text.as_bytes();
    bytes.first().is_some_and(is_plain)
        && bytes.last().is_some_and(is_plain)
        && bytes
            .iter()
            .all(|byte| is_plain(byte) || matches!(byte, b'-' | b'.'))
}

/// Whom the client wants to talk to: both or none are given; null and -1 are not.
fn check_destination(
    cluster_id: Option<&str>,
    node_id: i32,
    own_cluster_id: &str,
    own_node_id: i32,
) -> Result<(), ErrorCode> {
    match (cluster_id, node_id) {
        (None, -1) => Ok(()),
        (None, _) | (Some(_), -1) => Err(ErrorCode::InvalidRequest),
        (Some(cluster_id), node_id) if cluster_id == own_cluster_id && node_id == own_node_id => {
            Ok(())
        }
        (Some(_), _) => Err(ErrorCode::RebootstrapRequired),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn software_words_are_kafkas() {
        for good in ["a", "apache-kafka-java", "1.0-x", "4.4.0"] {
            assert!(is_software_word(good), "{good}");
        }
        for bad in ["", "a b", "-a", "a-", "a_b", ".", "é"] {
            assert!(!is_software_word(bad), "{bad}");
        }
    }

    #[test]
    fn a_destination_is_given_whole_or_not_at_all() {
        let check = |cluster_id, node_id| check_destination(cluster_id, node_id, "here", 1);
        assert_eq!(check(None, -1), Ok(()));
        assert_eq!(check(Some("here"), 1), Ok(()));
        assert_eq!(check(Some("here"), 2), Err(ErrorCode::RebootstrapRequired));
        assert_eq!(check(Some("there"), 1), Err(ErrorCode::RebootstrapRequired));
        assert_eq!(check(Some("here"), -1), Err(ErrorCode::InvalidRequest));
        assert_eq!(check(None, 1), Err(ErrorCode::InvalidRequest));
    }
}
