//! A lease as its holder sees it.

use std::collections::BTreeMap;
use std::sync::Arc;

use warifu_model::protocol::{Grant, HeldBatch, HeldLease, HeldProgress, Report};
use warifu_model::{BatchOrdinal, RangeSet, ReportNumber, Timestamp};

use crate::event::FinishedBatch;

/// How far one batch is.
#[derive(Debug, Clone)]
pub(crate) enum BatchState {
    NotBegun,
    Running,
    /// Decided, in no report yet.
    Done(Box<FinishedBatch>),
    /// In a report that is being stored or waits for its answer.
    Reported(Box<FinishedBatch>),
}

/// A report that has no answer yet.
#[derive(Debug, Clone)]
pub(crate) enum Unanswered {
    /// Its parts are being stored; it was never sent.
    Storing(RangeSet),
    /// Frozen: sent again exactly so.
    Sent(Box<Report>),
}

/// A lease.
#[derive(Debug, Clone)]
pub(crate) struct Lease {
    pub(crate) grant: Arc<Grant>,
    /// Batches that no answered report covers.
    pub(crate) batches: BTreeMap<u32, BatchState>,
    pub(crate) reports: BTreeMap<ReportNumber, Unanswered>,
    pub(crate) next_report: u32,
    /// When the first of the batches that wait for a report was decided.
    pub(crate) first_done_at: Option<Timestamp>,
    /// Bytes of outcomes that wait for a report.
    pub(crate) done_bytes: u64,
}

impl Lease {
    pub(crate) fn new(grant: Arc<Grant>) -> Self {
        let batches = grant.batches.iter().map(|batch| (batch.batch.0, BatchState::NotBegun)).collect();
        Self { grant, batches, reports: BTreeMap::new(), next_report: 1, first_done_at: None, done_bytes: 0 }
    }

    pub(crate) fn first_not_begun(&self) -> Option<u32> {
        self.batches.iter().find(|(_, state)| matches!(state, BatchState::NotBegun)).map(|(batch, _)| *batch)
    }

    pub(crate) fn not_begun(&self) -> RangeSet {
        self.with_state(|state| matches!(state, BatchState::NotBegun))
    }

    pub(crate) fn running(&self) -> RangeSet {
        self.with_state(|state| matches!(state, BatchState::Running))
    }

    pub(crate) fn done(&self) -> RangeSet {
        self.with_state(|state| matches!(state, BatchState::Done(_)))
    }

    fn with_state(&self, wanted: impl Fn(&BatchState) -> bool) -> RangeSet {
        self.batches.iter().filter(|(_, state)| wanted(state)).map(|(batch, _)| *batch).collect()
    }

    /// Nothing of it is left to run or to decide.
    pub(crate) fn is_decided(&self) -> bool {
        self.batches.values().all(|state| matches!(state, BatchState::Done(_) | BatchState::Reported(_)))
    }

    /// What a Hello says of it.
    pub(crate) fn held(&self) -> HeldLease {
        let granted = |batch: u32| self.grant.batches.iter().find(|granted| granted.batch.0 == batch);
        let held = |(batch, state): (&u32, &BatchState)| {
            let granted = granted(*batch)?;
            Some(HeldBatch {
                batch: BatchOrdinal(*batch),
                attempt: granted.attempt,
                round: granted.round,
                progress: match state {
                    BatchState::NotBegun => HeldProgress::NotBegun,
                    BatchState::Running => HeldProgress::Running,
                    BatchState::Done(_) | BatchState::Reported(_) => HeldProgress::Done,
                },
            })
        };
        HeldLease {
            lease: self.grant.lease,
            map_run: self.grant.map_run.clone(),
            redrive: self.grant.redrive,
            shard: self.grant.shard.shard,
            batches: self.batches.iter().filter_map(held).collect(),
        }
    }
}
