//! ListTransactions (key 66), v0-v2: the transactional ids that this broker coordinates (KIP-664).
//!
//! v1: those whose transaction has lasted for so long (KIP-994). v2: those that match an expression (KIP-1152).

use std::borrow::Cow;

use protocol::ErrorCode;
use protocol::messages::list_transactions_response::TransactionState;
use protocol::messages::{ListTransactionsRequest, ListTransactionsResponse};

use crate::context::Request;
use crate::groups::Pattern;
use crate::transactions::{STATE_NAMES, Shown};

pub(crate) async fn handle<'a>(
    request: &Request,
    body: ListTransactionsRequest<'a>,
) -> ListTransactionsResponse<'a> {
    let pattern = body.transactional_id_pattern.as_deref();
    let pattern = match pattern.filter(|text| !text.is_empty()).map(Pattern::new) {
        None => None,
        Some(Ok(pattern)) => Some(pattern),
        Some(Err(_)) => {
            return ListTransactionsResponse {
                error_code: ErrorCode::InvalidRegularExpression.code(),
                ..ListTransactionsResponse::default()
            };
        }
    };
    let (known, unknown): (Vec<_>, Vec<_>) = body
        .state_filters
        .into_iter()
        .partition(|state| STATE_NAMES.contains(&&**state));
    let producer_ids: Vec<i64> = body.producer_id_filters.iter().collect();
    let is_any_state = known.is_empty() && unknown.is_empty();
    let now_ms = crate::log::now_ms();
    let is_wanted = |shown: &Shown| {
        let core = &shown.core;
        let lasted_ms = now_ms.saturating_sub(core.started_ms.unwrap_or(-1));
        (producer_ids.is_empty() || producer_ids.contains(&core.producer.id))
            && (is_any_state || known.iter().any(|state| **state == *core.state.name()))
            && (body.duration_filter < 0 || lasted_ms > body.duration_filter)
            && pattern
                .as_ref()
                .is_none_or(|pattern| pattern.matches(&shown.id))
    };
    let shown = request.context().transactions.list();
    let states = shown.iter().filter(|shown| is_wanted(shown)).map(state);
    ListTransactionsResponse {
        transaction_states: states.collect(),
        unknown_state_filters: unknown,
        ..ListTransactionsResponse::default()
    }
}

fn state<'a>(shown: &Shown) -> TransactionState<'a> {
    TransactionState {
        transactional_id: Cow::Owned(shown.id.to_string()),
        producer_id: shown.core.producer.id,
        transaction_state: shown.core.state.name().into(),
        ..TransactionState::default()
    }
}
