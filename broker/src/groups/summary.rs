//! What a list of groups says of one, shown by the task that owns it, so that nobody has to ask a thousand of them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What a list of groups says of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Summary {
    /// `classic` or `consumer`.
    pub(crate) group_type: &'static str,
    /// Kafka's name of the state.
    pub(crate) state: &'static str,
    pub(crate) protocol_type: String,
}

/// Where a task shows its group; nothing while there is none, or before it is loaded.
#[derive(Debug, Clone, Default)]
pub(super) struct Place(Arc<Mutex<Option<Summary>>>);

impl Place {
    fn lock(&self) -> MutexGuard<'_, Option<Summary>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Type, state and type of protocol.
    pub(super) fn show(&self, group: Option<(&'static str, &'static str, &str)>) {
        let mut shown = self.lock();
        let Some((group_type, state, protocol_type)) = group else {
            *shown = None;
            return;
        };
        match &mut *shown {
            Some(summary) if summary.protocol_type == protocol_type => {
                summary.group_type = group_type;
                summary.state = state;
            }
            other => {
                *other = Some(Summary {
                    group_type,
                    state,
                    protocol_type: protocol_type.to_owned(),
                });
            }
        }
    }

    pub(super) fn read(&self) -> Option<Summary> {
        self.lock().clone()
    }
}
