//! A lease as its holder sees it.

use std::collections::BTreeMap;
use std::sync::Arc;

use warifu_model::protocol::{Grant, GrantedBatch, HeldBatch, HeldLease, HeldProgress, Report};
use warifu_model::{BatchOrdinal, RangeSet, ReportNumber, Timestamp};

use crate::event::FinishedBatch;

/// A report that has no answer yet.
#[derive(Debug, Clone)]
pub(crate) enum Unanswered {
    /// Its parts are being stored; it was never sent.
    Storing(RangeSet),
    /// Frozen: sent again exactly so.
    Sent(Box<Report>),
}

/// A lease. Every batch that no answered report covers is in exactly one of the four sets.
#[derive(Debug, Clone)]
pub(crate) struct Lease {
    pub(crate) grant: Arc<Grant>,
    pub(crate) not_begun: RangeSet,
    pub(crate) running: RangeSet,
    /// Decided, in no report yet.
    pub(crate) done: BTreeMap<u32, Box<FinishedBatch>>,
    /// In a report that is being stored or waits for its answer.
    pub(crate) reported: BTreeMap<u32, Box<FinishedBatch>>,
    pub(crate) reports: BTreeMap<ReportNumber, Unanswered>,
    pub(crate) next_report: u32,
    /// When the first of the batches that wait for a report was decided.
    pub(crate) first_done_at: Option<Timestamp>,
    /// Bytes of outcomes that wait for a report.
    pub(crate) done_bytes: u64,
}

impl Lease {
    pub(crate) fn new(grant: Arc<Grant>) -> Self {
        Self {
            not_begun: grant.batches.iter().map(|batch| batch.batch.0).collect(),
            grant,
            running: RangeSet::new(),
            done: BTreeMap::new(),
            reported: BTreeMap::new(),
            reports: BTreeMap::new(),
            next_report: 1,
            first_done_at: None,
            done_bytes: 0,
        }
    }

    /// Nothing of it has begun.
    pub(crate) fn is_untouched(&self) -> bool {
        self.running.is_empty() && self.done.is_empty() && self.reported.is_empty() && self.next_report == 1
    }

    /// Begins its first batches, at most `count`; those are returned.
    pub(crate) fn take_first(&mut self, count: u32) -> RangeSet {
        let first: RangeSet = self.not_begun.iter().take(count as usize).collect();
        self.not_begun.subtract(&first);
        self.running.union_with(&first);
        first
    }

    /// What was granted for a batch.
    pub(crate) fn granted(&self, batch: u32) -> Option<&GrantedBatch> {
        let at = self.grant.batches.binary_search_by_key(&batch, |granted| granted.batch.0).ok()?;
        self.grant.batches.get(at)
    }

    /// No batch is left that an answered report does not cover.
    pub(crate) fn is_empty(&self) -> bool {
        self.not_begun.is_empty()
            && self.running.is_empty()
            && self.done.is_empty()
            && self.reported.is_empty()
    }

    /// Nothing of it is left to run or to decide.
    pub(crate) fn is_decided(&self) -> bool {
        self.not_begun.is_empty() && self.running.is_empty()
    }

    /// Every batch that no answered report covers.
    pub(crate) fn batches(&self) -> RangeSet {
        let mut all = self.not_in_a_report();
        all.union_with(&self.reported.keys().copied().collect());
        all
    }

    /// Batches that the leader may take away without a report of them being under way.
    pub(crate) fn not_in_a_report(&self) -> RangeSet {
        let mut batches = self.not_begun.clone();
        batches.union_with(&self.running);
        batches.union_with(&self.done.keys().copied().collect());
        batches
    }

    /// What a Hello says of it.
    pub(crate) fn held(&self) -> HeldLease {
        HeldLease {
            lease: self.grant.lease,
            map_run: self.grant.map_run.clone(),
            redrive: self.grant.redrive,
            shard: self.grant.shard.shard,
            batches: self.batches().iter().filter_map(|batch| self.held_batch(batch)).collect(),
        }
    }

    fn held_batch(&self, batch: u32) -> Option<HeldBatch> {
        let granted = self.granted(batch)?;
        let progress = if self.not_begun.contains(batch) {
            HeldProgress::NotBegun
        } else if self.running.contains(batch) {
            HeldProgress::Running
        } else {
            HeldProgress::Done
        };
        Some(HeldBatch {
            batch: BatchOrdinal(batch),
            attempt: granted.attempt,
            round: granted.round,
            progress,
        })
    }
}
