//! Compensation in the simulated world: what its handler comes to, and what must be true of it from outside.
//!
//! 1. Nothing is called for it before the run stops, nor after the run is terminal.
//! 2. A try is counted, durably, before it is granted, and granted once; no two are in progress at a time.
//! 3. All tries of one redrive have the same key.
//! 4. A run ends with it exactly if it was to be called: succeeded means that the handler did, not run that it was never
//!    called.

use std::collections::{BTreeMap, BTreeSet};

use warifu_dataset::ByteRange;
use warifu_model::protocol::{CallOutcome, FailedItems, Grant};
use warifu_model::{
    BatchOrdinal, CallFailure, Compensation, CompensationState, CompensationStatus, CompensationTrigger,
    HandlerName, LeaseId, MapRunId, MapRunState, RangeSet,
};
use warifu_scheduler::record::StatusRecord;
use warifu_session::FinishedBatch;

use crate::random::Random;
use crate::worker::granted;
use crate::world::World;

/// Tries at most.
const MAX_TRIES: u32 = 10;

/// What the oracle remembers of compensations, by run and redrive.
#[derive(Debug, Default)]
pub(crate) struct Compensations {
    granted: BTreeSet<(MapRunId, u32, u32)>,
    /// Which try each lease is.
    leases: BTreeMap<LeaseId, (MapRunId, u32, u32)>,
    called: BTreeMap<(MapRunId, u32), u32>,
    succeeded: BTreeSet<(MapRunId, u32)>,
    /// Why a run stopped, when that was first durable, and whether it had begun.
    stopped: BTreeMap<(MapRunId, u32), (CompensationTrigger, bool)>,
}

/// The handler of compensations.
pub(crate) fn undo() -> HandlerName {
    HandlerName::new("undo").expect("a word is a valid name")
}

/// A compensation for some reasons, for half of the runs.
pub(crate) fn some_compensation(random: &mut Random) -> Option<Compensation> {
    let all =
        [CompensationTrigger::ToleranceExceeded, CompensationTrigger::Error, CompensationTrigger::Stopped];
    let on: BTreeSet<_> = all.into_iter().filter(|_| random.chance(70)).collect();
    (random.chance(60) && !on.is_empty()).then(|| Compensation { handler: undo(), on })
}

impl World {
    /// What the call of a compensation comes to.
    pub(crate) fn compensation_outcome(
        &mut self,
        grant: &Grant,
        batch: BatchOrdinal,
        cancelled: bool,
    ) -> FinishedBatch {
        let mut finished = FinishedBatch {
            lease: grant.lease,
            batch,
            call: CallOutcome::Answered,
            first_item: 0,
            item_count: 1,
            bytes: ByteRange::new(0, 1),
            failed: Vec::new(),
            undecided: RangeSet::new(),
            retriers: Vec::new(),
            handler_time: std::time::Duration::from_millis(1),
            buffered_bytes: 0,
        };
        let fails = self.runs[&grant.map_run].undo_fails_percent;
        if cancelled || self.random.chance(fails) {
            finished.call = if cancelled { CallOutcome::Aborted } else { CallOutcome::Failed };
            let failure = CallFailure::system("Http.503", "busy");
            finished.failed =
                vec![FailedItems { items: RangeSet::from_range(0..1), failure, places: Vec::new() }];
        } else {
            self.oracle.compensations.succeeded.insert((grant.map_run.clone(), grant.redrive));
        }
        finished
    }

    /// A leader grants a try.
    pub(crate) fn check_try_granted(&mut self, grant: &Grant) -> Result<(), String> {
        let attempt = granted(grant, BatchOrdinal(0)).attempt;
        self.check_try(grant, "granted")?;
        let attempt_of_run = (grant.map_run.clone(), grant.redrive, attempt);
        self.oracle.compensations.leases.insert(grant.lease, attempt_of_run.clone());
        if self.oracle.compensations.granted.insert(attempt_of_run) {
            return Ok(());
        }
        Err(format!("try {attempt} of the compensation of {} is granted twice", grant.map_run))
    }

    /// Whether a lease is a try, and then, whether its outcome is durable.
    pub(crate) fn try_is_counted(&self, lease: LeaseId) -> Option<bool> {
        let (id, redrive, attempt) = self.oracle.compensations.leases.get(&lease)?;
        let status = self.store.runs.get(id).and_then(|run| run.status.as_ref());
        Some(status.is_none_or(|status| {
            status.redrive > *redrive
                || status.compensation.as_ref().is_some_and(|stored| {
                    stored.attempts > *attempt || stored.state != CompensationState::Running
                })
        }))
    }

    /// A worker is about to call the handler.
    pub(crate) fn note_try_begun(&mut self, grant: &Grant) -> Result<(), String> {
        self.check_try(grant, "begun")?;
        *self.oracle.compensations.called.entry((grant.map_run.clone(), grant.redrive)).or_default() += 1;
        self.oracle.statistics.tries += 1;
        Ok(())
    }

    /// The store has counted the try, and nothing of what came of it; the run stops.
    fn check_try(&self, grant: &Grant, done: &str) -> Result<(), String> {
        let id = &grant.map_run;
        let batch = granted(grant, BatchOrdinal(0));
        let Some(status) = self.store.runs.get(id).and_then(|run| run.status.as_ref()) else {
            return Err(format!("a compensation of {id} is {done}, which is not stored"));
        };
        let counted = status.compensation.as_ref().is_some_and(|compensation| {
            compensation.state == CompensationState::Running && compensation.attempts == batch.attempt
        });
        if status.state != MapRunState::Stopping || !counted || batch.attempt > MAX_TRIES {
            let (state, stored) = (status.state, &status.compensation);
            return Err(format!("try {} of {id} is {done} while {state:?} with {stored:?}", batch.attempt));
        }
        if batch.round != status.redrive || grant.redrive != status.redrive {
            return Err(format!("the compensation of {id} has key {}, not {}", batch.round, status.redrive));
        }
        Ok(())
    }

    /// A status is durable.
    pub(crate) fn check_compensation(&mut self, id: &MapRunId, status: &StatusRecord) -> Result<(), String> {
        let key = (id.clone(), status.redrive);
        if let Some(ends_as) = status.stopping_to {
            let trigger = CompensationTrigger::of(ends_as, status.error.as_ref());
            let began = status.start_time.is_some();
            self.oracle.compensations.stopped.entry(key.clone()).or_insert((trigger, began));
        }
        if !status.state.is_terminal() {
            return Ok(());
        }
        let spec = self.store.runs[id].spec.as_ref().and_then(|spec| spec.spec.compensation.as_ref());
        let stopped = self.oracle.compensations.stopped.get(&key);
        let wanted = stopped.is_some_and(|(trigger, began)| {
            *began && spec.is_some_and(|compensation| compensation.on.contains(trigger))
        });
        match &status.compensation {
            None if wanted => Err(format!("{id} ended without its compensation: {stopped:?}")),
            None => Ok(()),
            Some(_) if !wanted => Err(format!("{id} was compensated without a reason")),
            Some(compensation) => self.check_compensated(&key, compensation),
        }
    }

    fn check_compensated(
        &mut self,
        key: &(MapRunId, u32),
        status: &CompensationStatus,
    ) -> Result<(), String> {
        let memory = &self.oracle.compensations;
        let called = memory.called.get(key).copied().unwrap_or(0);
        let right = match status.state {
            CompensationState::Pending | CompensationState::Running => false,
            CompensationState::Succeeded => memory.succeeded.contains(key),
            CompensationState::Failed => status.attempts >= 1 && status.error.is_some(),
            CompensationState::NotRun => called == 0 && status.attempts == 0,
        };
        if !right || called > status.attempts {
            return Err(format!("{} ended with {status:?} after {called} calls", key.0));
        }
        let statistics = &mut self.oracle.statistics;
        match status.state {
            CompensationState::Succeeded => statistics.compensated += 1,
            CompensationState::NotRun => statistics.not_compensated += 1,
            _ => statistics.failed_compensations += 1,
        }
        Ok(())
    }
}
