//! Counts of items and batches by state. Total is always the sum of the other states.

use serde::{Deserialize, Serialize};

/// Items by state. `total` is what is known so far: it grows while shards are composed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ItemCounts {
    /// Known so far: the sum of all states below but `results_written`.
    pub total: u64,
    /// Not started. What never started stays pending when a run ends.
    pub pending: u64,
    /// In batches in progress, or decided and not yet durable.
    pub running: u64,
    /// Succeeded, durably.
    pub succeeded: u64,
    /// Failed for good, durably.
    pub failed: u64,
    /// Failed for good by a timeout, durably.
    pub timed_out: u64,
    /// Started, then stopped with the run.
    pub aborted: u64,
    /// Waiting for their turn in a redrive.
    pub pending_redrive: u64,
    /// Items whose outcome the manifest's files hold. 0 until the run ends.
    pub results_written: u64,
}

impl ItemCounts {
    /// The sum of all states.
    pub fn sum(&self) -> u64 {
        self.pending
            + self.running
            + self.succeeded
            + self.failed
            + self.timed_out
            + self.aborted
            + self.pending_redrive
    }

    /// Failed and timed out: what a tolerance is held against.
    pub fn unsuccessful(&self) -> u64 {
        self.failed + self.timed_out
    }
}

/// Batches by state; the same keys as items have.
pub type BatchCounts = ItemCounts;
