//! Who leads, as this process knows.

use std::sync::Arc;

use warifu_model::LeaderTerm;

use crate::state_store::Leader;

/// Who leads, as this process knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Leadership {
    /// Nobody that it knows of: it starts, recovers or stops, or there is nobody to be found.
    Nobody {
        /// Why the state store does not tell.
        problem: Option<Arc<str>>,
    },
    /// This process.
    Here(LeaderTerm),
    /// Another process.
    Elsewhere(Leader),
}

impl Leadership {
    /// Nobody, for no reason that a person must know.
    pub(super) const NOBODY: Self = Self::Nobody { problem: None };

    /// Whether anyone leads.
    pub(crate) fn is_settled(&self) -> bool {
        match self {
            Leadership::Nobody { .. } => false,
            Leadership::Here(_) | Leadership::Elsewhere(_) => true,
        }
    }
}
