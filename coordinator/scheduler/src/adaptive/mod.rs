//! `adaptiveConcurrency`: the limit that grants of a run obey, below its `maxConcurrency`.
//!
//! Calls are taken from reports as these are staged. The limit lives with the leader; with every transaction of the run it is
//! written into the run's status, and a new leader goes on from there.
//!
//! **Invariant:** `maxConcurrency` holds whatever the controller says, from when it is durable. A lower limit takes no slot
//! from a call that runs: what is not begun is asked back, and nothing is granted until enough calls have ended.

mod controller;

use std::time::Duration;

use warifu_model::protocol::{BatchReport, CallOutcome, Report};
use warifu_model::{AdaptedLimit, FailureKind, MapRunId, MapRunState, Now, Timestamp, error_name};

pub use controller::{ControllerRecord, LeastTime};

use crate::map_run::MapRun;
use crate::record::OpenBatch;
use crate::scheduler::Scheduler;
use controller::{Call, CallEnd, Controller, Work};

/// The controller of a run, and what it must be told at the next report.
#[derive(Debug)]
pub(crate) struct Adaptive {
    controller: Controller,
    /// Slots that were held at some time since the last report: a worker gives slots back before it reports what ran in them.
    most_held: u32,
}

/// Slots of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slots {
    /// Held by workers.
    pub held: u32,
    /// The limit that grants obey.
    pub limit: u32,
    /// `maxConcurrency`; without it the most that a number can be.
    pub ceiling: u32,
}

impl Adaptive {
    /// Goes on from what the store has of the run's limit.
    pub(crate) fn new(record: Option<ControllerRecord>, now: Timestamp) -> Self {
        Self { controller: Controller::new(record, now), most_held: 0 }
    }
}

impl Scheduler {
    /// The slots of a run, as its leader has them.
    pub fn slots(&self, id: &MapRunId) -> Option<Slots> {
        let map_run = self.map_runs.get(id)?;
        Some(Slots {
            held: map_run.held_slots,
            limit: map_run.concurrency_limit(),
            ceiling: map_run.max_concurrency(),
        })
    }
}

impl MapRun {
    /// The ceiling: `maxConcurrency`.
    pub(crate) fn max_concurrency(&self) -> u32 {
        self.status.max_concurrency.unwrap_or(u32::MAX)
    }

    /// The limit that grants obey.
    pub(crate) fn concurrency_limit(&self) -> u32 {
        let most = self.max_concurrency();
        self.adaptive.as_ref().map_or(most, |adaptive| adaptive.controller.limit(most).limit)
    }

    /// The limit that was chosen, for users; only while running.
    pub(crate) fn adapted_limit(&self) -> Option<AdaptedLimit> {
        let adaptive = self.adaptive.as_ref().filter(|_| self.status.state == MapRunState::Running)?;
        Some(adaptive.controller.limit(self.max_concurrency()))
    }

    /// What the run's status is to say of it.
    pub(crate) fn adapted_record(&self) -> Option<ControllerRecord> {
        self.adaptive.as_ref().map(|adaptive| adaptive.controller.record())
    }

    /// Slots are about to be given back.
    pub(crate) fn note_held(&mut self) {
        if let Some(adaptive) = &mut self.adaptive {
            adaptive.most_held = adaptive.most_held.max(self.held_slots);
        }
    }

    /// Tells the controller of the calls in a report that is staged; true if the limit is another one now.
    pub(crate) fn adapt(&mut self, now: Now, report: &Report) -> bool {
        self.note_held();
        let work = self.work(now);
        let Some(adaptive) = &mut self.adaptive else { return false };
        let in_progress = std::mem::take(&mut adaptive.most_held);
        let shard = self.shards.get(&report.shard.0);
        let mut is_another = false;
        for entry in &report.entries {
            let open = shard.and_then(|shard| shard.record.open.get(&entry.batch.0));
            if let Some(end) = end_of_call(entry, open) {
                let call = Call { time: entry.handler_time, end, in_progress };
                is_another |= adaptive.controller.call_ended(now.at, call, &work);
            }
        }
        is_another
    }

    fn work(&self, now: Now) -> Work {
        let target = self.spec.adaptive_concurrency.and_then(|adaptive| adaptive.target_duration);
        let start = self.status.start_time.unwrap_or(now.wall);
        let elapsed = Duration::from_millis(u64::try_from(now.wall.0.saturating_sub(start.0)).unwrap_or(0));
        let counts = &self.status.batch_counts;
        let decided = counts.succeeded + counts.failed + counts.timed_out + counts.aborted;
        Work {
            most: self.max_concurrency(),
            batches_left: self.expected_batches().saturating_sub(decided),
            time_left: target.map(|target| target.saturating_sub(elapsed)),
        }
    }

    /// Batches of the run: while it is not composed, as many in each byte of the rest as in those that are.
    fn expected_batches(&self) -> u64 {
        let Some(composer) = self.planned().map(|planned| &planned.composer) else { return 0 };
        if composer.is_complete() {
            return composer.batches();
        }
        let plan = composer.plan();
        let composed = self.composed_until().saturating_sub(plan.count_from).max(1);
        let total = plan.end.saturating_sub(plan.count_from);
        let expected = u128::from(composer.batches()) * u128::from(total) / u128::from(composed);
        u64::try_from(expected).unwrap_or(u64::MAX).max(composer.batches())
    }
}

/// How the call of an entry ended; `None` if there was none, or it says nothing.
fn end_of_call(entry: &BatchReport, open: Option<&OpenBatch>) -> Option<CallEnd> {
    let failures = || entry.failed.iter().map(|group| &group.failure);
    match entry.call {
        CallOutcome::Aborted => None,
        // The handler was not called.
        _ if failures().any(|failure| failure.error == error_name::WORKER_LOST) => None,
        CallOutcome::TimedOut => Some(CallEnd::Failed),
        CallOutcome::Failed | CallOutcome::Answered => {
            let is_system = failures().any(|failure| failure.kind == FailureKind::System);
            // What is to be sent again after a failed call: only its items would not be.
            let is_retried = entry.call == CallOutcome::Failed && !entry.undecided.is_empty();
            let is_whole = open.is_none_or(|open| open.undecided.len() == u64::from(entry.item_count));
            Some(match (is_system || is_retried, entry.call) {
                (true, _) => CallEnd::Failed,
                (false, CallOutcome::Answered) if is_whole => CallEnd::Answered,
                (false, _) => CallEnd::AnsweredInPart,
            })
        }
    }
}

#[cfg(test)]
mod tests;
