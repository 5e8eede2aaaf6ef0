//! The states of a map run.

use serde::{Deserialize, Serialize};

/// Where a map run is in its life. The last three are terminal, absorbing within one redrive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum MapRunState {
    /// Waits because `max_active_map_runs` others are active.
    Queued,
    /// Shards are scanned, batches leased.
    Running,
    /// Nothing new starts; what is in progress ends, results are written.
    Stopping,
    /// Every item has an outcome, within the tolerance.
    Succeeded,
    /// Ended by an error; `RunError` says which.
    Failed,
    /// Stopped by a user.
    Aborted,
}

impl MapRunState {
    /// True for states that only a redrive leaves.
    pub fn is_terminal(self) -> bool {
        match self {
            MapRunState::Queued | MapRunState::Running | MapRunState::Stopping => false,
            MapRunState::Succeeded | MapRunState::Failed | MapRunState::Aborted => true,
        }
    }
}

/// Why a run failed or was aborted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunError {
    /// A failure name, such as `States.ItemReaderFailed`.
    pub error: String,
    /// What happened, where, and what to do; at most 1 KiB.
    pub cause: String,
}

/// What keeps a running map run from going faster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum LimitedBy {
    /// `max_concurrency` batches are in progress.
    Concurrency,
    /// Every slot that may take its work is taken, or no worker has the handler.
    Workers,
    /// `max_items_per_second`.
    Rate,
    /// Everything is leased; the handlers' own time remains.
    Handler,
    /// Shards are not scanned fast enough.
    Source,
    /// What remains waits for its next attempt.
    RetryBackoff,
    /// Outcomes wait for the state store.
    Store,
}
