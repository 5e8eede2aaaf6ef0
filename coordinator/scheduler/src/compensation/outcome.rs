//! What becomes of a try: adopted by a new leader, lost, or answered.

use warifu_model::protocol::{BatchReport, CallOutcome, HeldLease, Report};
use warifu_model::{
    CallFailure, CompensationState, CompensationStatus, FailureKind, Incarnation, LeaseId, MapRunId, Now,
    RangeSet, RunError, WorkerId, error_name,
};

use super::{BATCH, Try, lease_of, pause_after};
use crate::BrokenRule;
use crate::lease::GrantedFor;
use crate::scheduler::Scheduler;

impl Scheduler {
    /// First Hello to a new leader: the try that the last one counted lives on at its holder.
    pub(crate) fn adopt_compensation(
        &mut self,
        now: Now,
        holder: Incarnation,
        held: &HeldLease,
    ) -> Option<RangeSet> {
        let any_attempt = self.breaks(BrokenRule::AdoptAnyAttempt);
        let map_run = self.map_runs.get_mut(&held.map_run)?;
        let granted = map_run.granted_try();
        let claimed = held.batches.iter().find(|batch| batch.batch.0 == BATCH)?;
        let same = claimed.attempt == granted.attempt && claimed.round == granted.round;
        let compensating = map_run.compensating.as_mut()?;
        if held.redrive != map_run.status.redrive
            || compensating.attempt != Try::Orphan
            || !(same || any_attempt)
        {
            return None;
        }
        compensating.attempt = Try::Leased(held.lease);
        let granted = GrantedFor { attempt: claimed.attempt, round: claimed.round };
        let lease = lease_of(now, held.lease, holder, &held.map_run, held.redrive, granted);
        self.leases.insert(held.lease, lease);
        self.workers.get_mut(&holder)?.leases.insert(held.lease);
        Some(RangeSet::from_range(BATCH..BATCH + 1))
    }

    /// A try came back without a report, or its holder is gone: it is lost, unless its outcome is on its way to the store.
    pub(crate) fn lose_try(&mut self, now: Now, lease: LeaseId) {
        let Some(id) = self.leases.get(&lease).map(|lease| lease.map_run.clone()) else { return };
        let compensating = self.map_runs.get(&id).and_then(|map_run| map_run.compensating.as_ref());
        if compensating.is_some_and(|compensating| compensating.attempt == Try::Leased(lease)) {
            let holder = self.holder_of(lease);
            if let Some(lease) = self.leases.get_mut(&lease) {
                lease.remaining.clear();
            }
            self.end_lease_if_empty(lease);
            self.stage_lost_try(now, &id, holder);
        }
    }

    /// Nobody is left that could have the try of the last leader.
    pub(crate) fn lose_orphaned_try(&mut self, now: Now, id: &MapRunId) {
        let compensating = self.map_runs.get(id).and_then(|map_run| map_run.compensating.as_ref());
        if compensating.is_some_and(|compensating| compensating.attempt == Try::Orphan) {
            self.stage_lost_try(now, id, None);
        }
    }

    fn holder_of(&self, lease: LeaseId) -> Option<WorkerId> {
        let lease = self.leases.get(&lease)?;
        let holder = self.workers.get(&lease.holder).map(|worker| &worker.id);
        holder.or_else(|| self.roster.get(&lease.holder)).cloned()
    }

    /// `holder`: who had it, if that is known better than by whom it was counted for.
    fn stage_lost_try(&mut self, now: Now, id: &MapRunId, holder: Option<WorkerId>) {
        let Some(status) = self.compensation_status(id) else { return };
        let status = CompensationStatus { worker: holder.or_else(|| status.worker.clone()), ..status };
        let cause = format!("try {} was lost with its worker, or given back unfinished", status.attempts);
        let error = RunError { error: error_name::WORKER_LOST.to_owned(), cause };
        let failed = self.after_failed_try(now, id, status, error);
        self.stage_compensation(now, id, failed, None, None);
    }

    /// The try's outcome is to be counted.
    pub(crate) fn stage_try_outcome(&mut self, now: Now, report: &Report) {
        let Some(status) = self.compensation_status(&report.map_run) else { return };
        let worker = self.holder_of(report.lease).or_else(|| status.worker.clone());
        let status = CompensationStatus { worker, ..status };
        let ended =
            |state, error| CompensationStatus { state, error, stop_time: Some(now.wall), ..status.clone() };
        let entry = report.entries.first();
        let outcome = match entry.and_then(failure_of) {
            None => ended(CompensationState::Succeeded, None),
            Some(error) if entry.is_some_and(is_final) => ended(CompensationState::Failed, Some(error)),
            Some(error) => self.after_failed_try(now, &report.map_run, status, error),
        };
        self.stage_compensation(now, &report.map_run, outcome, None, Some((report.lease, report.number)));
    }

    /// Another try follows, unless there were enough or the time is over.
    fn after_failed_try(
        &self,
        now: Now,
        id: &MapRunId,
        status: CompensationStatus,
        error: RunError,
    ) -> CompensationStatus {
        let ends_at = self.map_runs.get(id).and_then(|map_run| map_run.compensating.as_ref());
        let next_at = now.at + pause_after(status.attempts, &self.config);
        let too_late = ends_at.is_some_and(|compensating| next_at >= compensating.ends_at);
        let last = too_late || status.attempts >= self.config.compensation_tries;
        CompensationStatus {
            state: if last { CompensationState::Failed } else { CompensationState::Pending },
            error: Some(error),
            stop_time: last.then_some(now.wall),
            ..status
        }
    }
}

/// True if `status` says what came of just this try: its report was counted, and comes again because its answer was lost.
///
/// No other try has its number, and one that was lost or not handed out has another error.
pub(crate) fn try_was_counted(status: &CompensationStatus, entry: &BatchReport) -> bool {
    let decided = status.state != CompensationState::Running && status.attempts == entry.attempt;
    decided && status.error == failure_of(entry)
}

/// A business failure is not tried again, as with items: a handler that remembers its answers would repeat it.
fn is_final(entry: &BatchReport) -> bool {
    let is_final = |failure: &CallFailure| failure.kind == FailureKind::Business && !failure.retryable;
    entry.failed.first().is_some_and(|failed| is_final(&failed.failure))
}

/// Why a try failed; `None` if it succeeded.
fn failure_of(entry: &BatchReport) -> Option<RunError> {
    if let Some(failed) = entry.failed.first() {
        let (error, cause) = (failed.failure.error.clone(), failed.failure.cause.clone());
        return Some(RunError { error, cause });
    }
    let answered = entry.call == CallOutcome::Answered && entry.undecided.is_empty();
    let cause = format!("the call ended as {:?}", entry.call);
    (!answered).then(|| RunError { error: error_name::ABORTED.to_owned(), cause })
}
