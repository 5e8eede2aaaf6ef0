//! A lease: batches of one shard that a worker may run, as the leader believes.

use std::collections::BTreeMap;

use warifu_model::{BatchOrdinal, Incarnation, LeaseId, MapRunId, RangeSet, ShardNumber, Timestamp};

/// The attempt and round that a batch was granted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct GrantedFor {
    pub(crate) attempt: u32,
    pub(crate) round: u32,
}

/// Work at a worker. Concurrency is not its matter: slots are counted by worker and run.
#[derive(Debug, Clone)]
pub(crate) struct Lease {
    pub(crate) id: LeaseId,
    pub(crate) holder: Incarnation,
    pub(crate) map_run: MapRunId,
    pub(crate) redrive: u32,
    pub(crate) shard: ShardNumber,
    /// Granted − counted − returned.
    pub(crate) remaining: BTreeMap<u32, GrantedFor>,
    /// Batches at the grant or adoption.
    pub(crate) granted: u32,
    /// Of those that remain, what the worker said it began.
    pub(crate) begun: RangeSet,
    /// The first batch of a revocation under way.
    pub(crate) revoked_from: Option<u32>,
    /// When it was granted or adopted.
    pub(crate) since: Timestamp,
    /// Its batches began when they were granted, and the run's rate was kept.
    pub(crate) paced: bool,
}

impl Lease {
    /// How many batches remain and were not begun.
    pub(crate) fn not_begun_count(&self) -> u32 {
        u32::try_from((self.remaining.len() as u64).saturating_sub(self.begun.len())).unwrap_or(u32::MAX)
    }

    /// The batch that remains and was not begun, after `skipped` others.
    pub(crate) fn nth_not_begun(&self, skipped: u32) -> Option<u32> {
        self.remaining.keys().copied().filter(|batch| !self.begun.contains(*batch)).nth(skipped as usize)
    }

    /// True if `batch` is under this lease, for that attempt and round.
    pub(crate) fn covers(&self, batch: BatchOrdinal, granted: GrantedFor) -> bool {
        self.remaining.get(&batch.0) == Some(&granted)
    }
}
