//! What those who watch the broker see: `/metrics`, `/healthz` and `/readyz`. Sockets are `server`'s, the text of metrics is
//! `metrics`'s.

use std::sync::Arc;
use std::time::Duration;

use crate::context::Context;
use crate::log::Log;
use crate::metrics::Moment;
use crate::server::{Page, Pages};

/// How long the database may take to answer before it counts as away.
const DATABASE_PATIENCE: Duration = Duration::from_secs(2);

/// The pages of a broker.
pub(crate) fn pages(context: Arc<Context>) -> Pages {
    Arc::new(move |path| {
        let context = context.clone();
        Box::pin(async move {
            match path.as_str() {
                "/metrics" => Some(Page::ok(metrics(&context).await)),
                // Who reads this knows that the broker is alive.
                "/healthz" => Some(Page::ok("ok\n")),
                "/readyz" => Some(readiness(&context).await),
                _ => None,
            }
        })
    })
}

async fn pulse(context: &Context) -> Option<storage::Pulse> {
    let pulse = tokio::time::timeout(DATABASE_PATIENCE, context.store.pulse()).await;
    pulse.ok()?.ok()
}

/// Ready is who can serve: the database answers and the lanes are this broker's.
async fn readiness(context: &Context) -> Page {
    let not_ready = |reason: &str| Page {
        status: 503,
        body: format!("{reason}\n"),
    };
    if context.catalog.log().is_fenced() {
        return not_ready("other brokers have taken over");
    }
    if context.stopping.is_cancelled() {
        return not_ready("the broker is stopping");
    }
    match pulse(context).await {
        Some(_) => Page::ok("ready\n"),
        None => not_ready("the database does not answer"),
    }
}

async fn metrics(context: &Context) -> String {
    let log: &Log = context.catalog.log();
    let (topics, partitions) = context.catalog.counts();
    let moment = Moment {
        connections: context.settings.connections().open(),
        topics,
        partitions,
        queued_appends: log.queued(),
        tail_cache_bytes: log.tail_cache_bytes(),
        fetch_sessions: context.fetch_sessions.len(),
        pool: context.store.pool_use(),
        database: pulse(context).await,
    };
    context.metrics.text(log.meter(), &moment)
}
