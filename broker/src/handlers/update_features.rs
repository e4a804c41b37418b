//! UpdateFeatures (key 57), v0-v2: raises and lowers the levels of features (KIP-584), all or none.
//!
//! v1: kinds of updates, and a try without effect (KIP-778). v2: one error for all updates instead of one each (KIP-1022).

use protocol::ErrorCode;
use protocol::messages::update_features_request::FeatureUpdateKey;
use protocol::messages::update_features_response::UpdatableFeatureResult;
use protocol::messages::{UpdateFeaturesRequest, UpdateFeaturesResponse};

use crate::context::{Context, Request};
use crate::error::Failure;
use crate::settings::features::{FEATURES, Levels};

/// Kafka's numbers: upgrade, safe and unsafe downgrade.
const UPGRADE: i8 = 1;
const UPGRADE_TYPES: std::ops::RangeInclusive<i8> = UPGRADE..=3;

pub(crate) async fn handle<'a>(
    request: &Request,
    body: UpdateFeaturesRequest<'a>,
) -> UpdateFeaturesResponse<'a> {
    let outcome = update(request.context(), request.version, &body).await;
    let (code, message) = match outcome {
        Ok(()) => (ErrorCode::None, None),
        Err(failure) => (failure.code, failure.message),
    };
    if request.version >= 2 {
        return UpdateFeaturesResponse {
            error_code: code.code(),
            error_message: message.map(|text| {
                format!("The update failed for all features since the following feature had an error: {text}").into()
            }),
            ..UpdateFeaturesResponse::default()
        };
    }
    let results = body.feature_updates.into_iter();
    let results = results.map(|update| UpdatableFeatureResult {
        error_code: code.code(),
        error_message: message.clone().map(Into::into),
        feature: update.feature,
        ..UpdatableFeatureResult::default()
    });
    UpdateFeaturesResponse {
        results: results.collect(),
        ..UpdateFeaturesResponse::default()
    }
}

async fn update(
    context: &Context,
    version: i16,
    body: &UpdateFeaturesRequest<'_>,
) -> Result<(), Failure> {
    let _turn = context.settings.changes.lock().await;
    let levels = context.settings.snapshot().features.clone();
    let mut wanted: Vec<(&str, i16)> = Vec::new();
    for update in &body.feature_updates {
        let is_upgrade = match version {
            0 => !update.allow_downgrade,
            _ => update.upgrade_type == UPGRADE,
        };
        check(update, is_upgrade, &levels, context.config.node_id).map_err(|reason| {
            let text = format!(
                "Invalid update version {} for feature {}. {reason}",
                update.max_version_level, update.feature
            );
            Failure::new(ErrorCode::InvalidUpdateVersion, text)
        })?;
        // Named twice, the last one counts.
        wanted.retain(|(name, _)| *name != update.feature);
        wanted.push((&update.feature, update.max_version_level));
    }
    if body.validate_only || wanted.is_empty() {
        return Ok(());
    }
    let stored = context.store.set_features(&wanted).await;
    stored.map_err(|error| Failure::from(&error))?;
    let loaded = context.catalog.reload_settings(&[], true).await;
    loaded.map_err(|error| Failure::from(&error))?;
    tracing::info!(?wanted, "levels of features changed");
    Ok(())
}

/// The reasons are Kafka's.
fn check(
    update: &FeatureUpdateKey<'_>,
    is_upgrade: bool,
    levels: &Levels,
    node_id: i32,
) -> Result<(), String> {
    if !UPGRADE_TYPES.contains(&update.upgrade_type) {
        return Err("The controller does not support the given upgrade type.".to_owned());
    }
    let level = update.max_version_level;
    if level < 0 {
        return Err("A feature version cannot be less than 0.".to_owned());
    }
    let known = FEATURES
        .iter()
        .find(|feature| feature.name == update.feature);
    let Some(feature) = known else {
        return Err(format!(
            "Local controller {node_id} does not support this feature."
        ));
    };
    if level > feature.newest {
        return Err(format!(
            "Local controller {node_id} only supports versions 0-{}",
            feature.newest
        ));
    }
    let present = levels.of(*feature);
    if level < present && is_upgrade {
        return Err(
            "Can't downgrade the version of this feature without setting the upgrade type to either safe or unsafe downgrade."
                .to_owned(),
        );
    }
    if level > present && !is_upgrade {
        return Err("Can't downgrade to a newer version.".to_owned());
    }
    Ok(())
}
