//! UpdateFeatures (key 57), v0-v2: the level of a feature is this release's; no feature that can be raised or lowered is told of in
//! ApiVersions (KIP-584).
//!
//! v1: kinds of updates, and a try without effect (KIP-778). v2: one error for all updates instead of one each (KIP-1022).

use protocol::ErrorCode;
use protocol::messages::update_features_request::FeatureUpdateKey;
use protocol::messages::update_features_response::UpdatableFeatureResult;
use protocol::messages::{UpdateFeaturesRequest, UpdateFeaturesResponse};

use crate::context::Request;

/// Kafka's numbers: upgrade, safe and unsafe downgrade.
const UPGRADE_TYPES: std::ops::RangeInclusive<i8> = 1..=3;

pub(crate) async fn handle<'a>(
    request: &Request,
    body: UpdateFeaturesRequest<'a>,
) -> UpdateFeaturesResponse<'a> {
    let node_id = request.context().config.node_id;
    let code = ErrorCode::InvalidUpdateVersion.code();
    let Some(first) = body.feature_updates.first() else {
        return UpdateFeaturesResponse::default();
    };
    if request.version >= 2 {
        let text = format!(
            "The update failed for all features since the following feature had an error: {}",
            refusal(first, node_id)
        );
        return UpdateFeaturesResponse {
            error_code: code,
            error_message: Some(text.into()),
            ..UpdateFeaturesResponse::default()
        };
    }
    let results = body.feature_updates.into_iter();
    let results = results.map(|update| UpdatableFeatureResult {
        error_code: code,
        error_message: Some(refusal(&update, node_id).into()),
        feature: update.feature,
        ..UpdatableFeatureResult::default()
    });
    UpdateFeaturesResponse {
        results: results.collect(),
        ..UpdateFeaturesResponse::default()
    }
}

fn refusal(update: &FeatureUpdateKey<'_>, node_id: i32) -> String {
    let start = format!(
        "Invalid update version {} for feature {}.",
        update.max_version_level, update.feature
    );
    if UPGRADE_TYPES.contains(&update.upgrade_type) {
        format!("{start} Local controller {node_id} does not support this feature.")
    } else {
        format!("{start} The controller does not support the given upgrade type.")
    }
}
