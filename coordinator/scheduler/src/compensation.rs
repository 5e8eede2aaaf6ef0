//! Compensation: a handler that is called once in effect before a run that did not succeed becomes terminal.
//!
//! It is due when nothing of the stopping run is in progress and its results are written. A try is counted, durably,
//! before any worker has it; it is then a lease like any other, of one batch in the place of a shard
//! (`ShardNumber::COMPENSATION`), so that sessions, expiry, adoption and reports hold for it as for batches. It counts no
//! items and changes nothing about how the run ends.
//!
//! **Invariant:** every try is granted at most once. One that comes back without a report is lost, and the next one has
//! the next number: so no two are ever in progress, whoever leads.

mod outcome;
mod placing;

use warifu_model::protocol::{CoordinatorMessage, ReportVerdict};
use warifu_model::{
    CompensationCall, CompensationState, CompensationStatus, CompensationTrigger, Incarnation, LeaseId,
    MapRunId, MapRunState, Now, RangeSet, ReportNumber, ShardNumber, Timestamp, Warning,
};

use crate::lease::{GrantedFor, Lease};
use crate::map_run::{Finish, MapRun, Stop, Terminal};
use crate::scheduler::Scheduler;
use crate::timers::Timer;
use crate::{Config, Effects};

pub(crate) use outcome::try_was_counted;

/// The one batch of the lease.
const BATCH: u32 = 0;

/// How far this leader is with a compensation. What is durable of it is in the run's status.
#[derive(Debug, Clone)]
pub(crate) struct Compensating {
    pub(crate) attempt: Try,
    /// From here on no try begins: a window after the first try was counted. Before that, a window after this leader took it
    /// up, so that neither an hour without any leader nor the last one's wall clock ends what nobody could begin.
    ends_at: Timestamp,
    /// Since when there has been no worker that would take it.
    lonely_since: Option<Timestamp>,
    /// Whose slot is kept for the try that is being counted.
    slot_of: Option<Incarnation>,
}

/// Where the current try is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Try {
    /// There is none; the next one not before a time.
    Waiting { not_before: Timestamp },
    /// What became of it, or that there is one, is staged or on its way to the store.
    Writing(Option<(LeaseId, ReportNumber)>),
    /// It is counted, and nobody has it.
    Counted,
    /// The last leader counted it: a worker that is not heard yet may have it.
    Orphan,
    /// A worker has it.
    Leased(LeaseId),
}

/// A change of a compensation that waits for its transaction. There is never more than one.
#[derive(Debug, Clone)]
pub(crate) struct StagedCompensation {
    pub(crate) status: CompensationStatus,
    /// How the run will end, when the compensation becomes due.
    pub(crate) ends_as: Option<Terminal>,
    /// The report that it follows from.
    pub(crate) report: Option<(LeaseId, ReportNumber)>,
}

impl Lease {
    /// True if the lease is a run's compensation.
    pub(crate) fn is_compensation(&self) -> bool {
        self.shard == ShardNumber::COMPENSATION
    }
}

impl Scheduler {
    /// Nothing of the run is in progress and its results are written, or cannot be: it is compensated, or ends.
    pub(crate) fn end_run(&mut self, now: Now, id: &MapRunId, terminal: Terminal) {
        let Some(map_run) = self.map_runs.get_mut(id) else { return };
        if let Some(stop) = map_run.stops_late(&terminal) {
            map_run.finish = Finish::NotYet;
            map_run.staged.stop = Some(stop);
            return self.touch(now.at, id);
        }
        let Some(trigger) = map_run.compensated_for() else {
            return self.stage_terminal(now, id, terminal);
        };
        let status = CompensationStatus {
            state: CompensationState::Pending,
            trigger,
            attempts: 0,
            error: None,
            worker: None,
            due_time: now.wall,
            start_time: None,
            stop_time: None,
        };
        map_run.finish = Finish::Compensating;
        map_run.begin_compensating(now, &status, &self.config);
        self.stage_compensation(now, id, status, Some(terminal), None);
    }

    /// The end as it was decided before the compensation, once that has ended.
    pub(crate) fn end_compensated(&mut self, now: Now, id: &MapRunId) {
        let Some(map_run) = self.map_runs.get(id).filter(|map_run| map_run.compensation_has_ended()) else {
            return;
        };
        let state = map_run.status.stopping_to.unwrap_or(MapRunState::Failed);
        let location = map_run.status.result_location.clone();
        self.stage_terminal(now, id, Terminal { state, location, error: None });
    }

    fn stage_compensation(
        &mut self,
        now: Now,
        id: &MapRunId,
        status: CompensationStatus,
        ends_as: Option<Terminal>,
        report: Option<(LeaseId, ReportNumber)>,
    ) {
        let Some(map_run) = self.map_runs.get_mut(id) else { return };
        if let Some(compensating) = &mut map_run.compensating {
            compensating.attempt = Try::Writing(report);
        }
        debug_assert!(map_run.staged.compensation.is_none(), "{id}: two changes of one compensation");
        map_run.staged.compensation = Some(StagedCompensation { status, ends_as, report });
        self.touch(now.at, id);
    }

    /// A change is durable: the report that it follows from is answered, and the next step is open.
    pub(crate) fn on_compensation_written(
        &mut self,
        now: Now,
        id: &MapRunId,
        report: Option<(LeaseId, ReportNumber)>,
        effects: &mut Effects,
    ) {
        if let Some((lease, number)) = report {
            self.answer_try(lease, number, effects);
        }
        let Some(map_run) = self.map_runs.get_mut(id) else { return };
        let Some(status) = &map_run.status.compensation else { return };
        let next = match status.state {
            CompensationState::Pending => {
                Some(Try::Waiting { not_before: now.at + pause_after(status.attempts, &self.config) })
            }
            CompensationState::Running => Some(Try::Counted),
            CompensationState::Succeeded | CompensationState::Failed | CompensationState::NotRun => None,
        };
        match (next, &mut map_run.compensating) {
            (Some(next), Some(compensating)) => compensating.attempt = next,
            (Some(_), None) => {}
            (None, compensating) => {
                *compensating = None;
                self.timers.clear(&Timer::Compensation(id.clone()));
            }
        }
        self.placement_wanted = true;
    }

    fn answer_try(&mut self, id: LeaseId, report: ReportNumber, effects: &mut Effects) {
        let Some(lease) = self.leases.get_mut(&id) else { return };
        lease.remaining.clear();
        lease.begun = RangeSet::new();
        let stream = self.workers.get(&lease.holder).and_then(|worker| worker.stream);
        self.end_lease_if_empty(id);
        if let Some(stream) = stream {
            let verdict = ReportVerdict::Accepted;
            effects.send(stream, CoordinatorMessage::ReportAnswer { lease: id, report, verdict });
        }
    }

    fn compensation_status(&self, id: &MapRunId) -> Option<CompensationStatus> {
        self.map_runs.get(id).and_then(|map_run| map_run.status.compensation.clone())
    }
}

impl Scheduler {
    /// As users see it: what is durable, and who has the try now.
    pub(crate) fn compensation_view(&self, map_run: &MapRun) -> Option<CompensationStatus> {
        let status = map_run.status.compensation.clone()?;
        let lease = map_run.compensating.as_ref().and_then(|compensating| match compensating.attempt {
            Try::Leased(lease) => self.leases.get(&lease),
            Try::Waiting { .. } | Try::Writing(_) | Try::Counted | Try::Orphan => None,
        });
        let holder = lease.and_then(|lease| self.workers.get(&lease.holder)).map(|worker| worker.id.clone());
        Some(CompensationStatus { worker: holder.or_else(|| status.worker.clone()), ..status })
    }
}

impl MapRun {
    /// What the run's compensation is called for, if it is called and was not yet. A run that never left the queue has
    /// done nothing that could be undone.
    fn compensated_for(&self) -> Option<CompensationTrigger> {
        let compensation = self.spec.compensation.as_ref()?;
        let ends_as = self.status.stopping_to?;
        self.status.start_time?;
        let trigger = CompensationTrigger::of(ends_as, self.status.error.as_ref());
        (self.status.compensation.is_none() && compensation.on.contains(&trigger)).then_some(trigger)
    }

    /// A run whose items are all decided fails all the same, because its results cannot be written: if it is to be
    /// compensated for that, it has to stop first.
    fn stops_late(&self, terminal: &Terminal) -> Option<Stop> {
        let compensation = self.spec.compensation.as_ref()?;
        let error = terminal.error.clone()?;
        let trigger = CompensationTrigger::of(terminal.state, Some(&error));
        let running = self.status.state == MapRunState::Running;
        (running && compensation.on.contains(&trigger)).then_some(Stop { to: terminal.state, error })
    }

    /// Takes the compensation up as the store has it.
    pub(crate) fn begin_compensating(&mut self, now: Now, status: &CompensationStatus, config: &Config) {
        let since_first_try = status.start_time.map_or(0, |start| now.wall.0.saturating_sub(start.0));
        let elapsed = std::time::Duration::from_millis(u64::try_from(since_first_try).unwrap_or(0));
        let left = config.compensation_window.saturating_sub(elapsed);
        let attempt = match status.state {
            CompensationState::Running => Try::Orphan,
            _ => Try::Waiting { not_before: now.at + pause_after(status.attempts, config) },
        };
        let ends_at = now.at + left;
        self.compensating = Some(Compensating { attempt, ends_at, lonely_since: None, slot_of: None });
    }

    /// The attempt and round that the current try is granted for: the round tells redrives apart.
    fn granted_try(&self) -> GrantedFor {
        let attempt = self.status.compensation.as_ref().map_or(0, |status| status.attempts);
        GrantedFor { attempt, round: self.status.redrive }
    }

    fn compensation_call(&self) -> Option<CompensationCall> {
        let status = self.status.compensation.as_ref()?;
        Some(CompensationCall {
            trigger: status.trigger,
            error: self.status.error.clone()?,
            item_counts: self.final_counts(&self.status).0,
            result_location: self.status.result_location.clone(),
        })
    }

    /// The compensation as users see it, once nothing is left to be waited for.
    pub(crate) fn compensation_has_ended(&self) -> bool {
        self.status.compensation.as_ref().is_some_and(|status| status.state.has_ended())
    }
}

/// What the submitter should know if nobody offers a compensation's handler when the run is created.
pub fn compensation_warning(handler: &str) -> Warning {
    Warning {
        reason: "HANDLER_NOT_AVAILABLE".to_owned(),
        message: format!(
            "no live worker offers the compensation's handler {handler}; if none does when it is due, it is not run"
        ),
    }
}

/// How long the next try waits: nothing before the first one, then twice as long each time.
fn pause_after(attempts: u32, config: &Config) -> std::time::Duration {
    match attempts.checked_sub(1) {
        Some(doublings) => {
            config.compensation_first_pause.saturating_mul(1_u32.checked_shl(doublings).unwrap_or(u32::MAX))
        }
        None => std::time::Duration::ZERO,
    }
}

fn lease_of(
    now: Now,
    id: LeaseId,
    holder: Incarnation,
    map_run: &MapRunId,
    redrive: u32,
    granted: GrantedFor,
) -> Lease {
    Lease {
        id,
        holder,
        map_run: map_run.clone(),
        redrive,
        shard: ShardNumber::COMPENSATION,
        remaining: [(BATCH, granted)].into(),
        granted: 1,
        begun: RangeSet::new(),
        revoked_from: None,
        since: now.at,
        paced: false,
    }
}

#[cfg(test)]
mod tests;
