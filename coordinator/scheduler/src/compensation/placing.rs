//! Who gets a try, when, and until when somebody is waited for.

use warifu_model::protocol::{CoordinatorMessage, Grant, GrantedBatch, ShardSpan};
use warifu_model::{
    BatchOrdinal, CompensationState, CompensationStatus, HandlerName, Incarnation, MapRunId, Now, RunError,
    ShardNumber, Timestamp,
};

use super::{BATCH, Try, lease_of};
use crate::lease::GrantedFor;
use crate::map_run::MapRun;
use crate::scheduler::Scheduler;
use crate::timers::Timer;
use crate::worker::{Roster, Worker};
use crate::{BrokenRule, Effects};

/// Why it was not called, or not again.
const NOT_AVAILABLE: &str = "Warifu.HandlerNotAvailable";

impl Scheduler {
    /// Hands out tries that are counted, counts those whose time has come, ends those that nobody will take.
    pub(crate) fn place_compensations(&mut self, now: Now, effects: &mut Effects) {
        self.keep_slots();
        let compensating = self.map_runs.values().filter(|map_run| map_run.compensating.is_some());
        for id in compensating.map(|map_run| map_run.id.clone()).collect::<Vec<_>>() {
            self.place_compensation(now, &id, effects);
        }
    }

    /// A slot stays free where a try is being counted: it is handed out as soon as that is durable, ahead of other runs.
    fn keep_slots(&mut self) {
        for worker in self.workers.values_mut() {
            worker.kept_slots = 0;
        }
        let of_run = |map_run: &MapRun| map_run.compensating.as_ref()?.slot_of;
        for holder in self.map_runs.values().filter_map(of_run) {
            if let Some(worker) = self.workers.get_mut(&holder) {
                worker.kept_slots += 1;
            }
        }
    }

    fn place_compensation(&mut self, now: Now, id: &MapRunId, effects: &mut Effects) {
        let Some((handler, attempt)) = self.wanted_try(id) else { return };
        let lonely_until = self.note_loneliness(now, id, &handler);
        let Some(compensating) = self.map_runs.get(id).and_then(|map_run| map_run.compensating.as_ref())
        else {
            return;
        };
        let over_at = lonely_until.map_or(compensating.ends_at, |until| until.min(compensating.ends_at));
        if now.at >= over_at {
            let lonely = lonely_until.is_some_and(|until| now.at >= until);
            return self.give_compensation_up(now, id, lonely);
        }
        if attempt == Try::Counted {
            self.release_slot(id);
        }
        let free = self.free_for_compensation(id, &handler);
        match (attempt, free) {
            (Try::Counted, Some(worker)) => self.grant_compensation(now, id, worker, effects),
            (Try::Waiting { not_before }, Some(worker)) if not_before <= now.at => {
                self.count_try(now, id, worker);
                if self.breaks(BrokenRule::CompensateUncounted) {
                    self.grant_compensation(now, id, worker, effects);
                }
            }
            (Try::Waiting { not_before }, _) if not_before > now.at => {
                self.timers.set(Timer::Compensation(id.clone()), not_before.min(over_at));
            }
            _ => self.timers.set(Timer::Compensation(id.clone()), over_at),
        }
    }

    /// The handler, and where the try is, if a worker is wanted for it.
    fn wanted_try(&self, id: &MapRunId) -> Option<(HandlerName, Try)> {
        let map_run = self.map_runs.get(id)?;
        let attempt = map_run.compensating.as_ref()?.attempt;
        let handler = map_run.spec.compensation.as_ref()?.handler.clone();
        matches!(attempt, Try::Waiting { .. } | Try::Counted).then_some((handler, attempt))
    }

    /// The slot that was kept for the try is its own now, or it takes another.
    fn release_slot(&mut self, id: &MapRunId) {
        let compensating = self.map_runs.get_mut(id).and_then(|map_run| map_run.compensating.as_mut());
        let holder = compensating.and_then(|compensating| compensating.slot_of.take());
        if let Some(worker) = holder.and_then(|holder| self.workers.get_mut(&holder)) {
            worker.kept_slots -= 1;
        }
    }

    /// Until when a worker is waited for, if there is none that would take it and no try took place yet.
    fn note_loneliness(&mut self, now: Now, id: &MapRunId, handler: &HandlerName) -> Option<Timestamp> {
        let lonely = !self.workers.values().any(|worker| worker.would_compensate(handler));
        let map_run = self.map_runs.get_mut(id)?;
        let untried = map_run.tries_begun() == 0;
        let lonely = lonely && untried;
        let compensating = map_run.compensating.as_mut()?;
        compensating.lonely_since = lonely.then(|| compensating.lonely_since.unwrap_or(now.at));
        compensating.lonely_since.map(|since| since + self.config.compensation_worker_wait)
    }

    /// A worker with a free slot: the one that the try was counted for if it can, else the least loaded. Where the last try
    /// failed the next one goes only if nobody else is free.
    fn free_for_compensation(&self, id: &MapRunId, handler: &HandlerName) -> Option<Incarnation> {
        let map_run = &self.map_runs[id];
        let named = map_run.status.compensation.as_ref().and_then(|status| status.worker.as_ref());
        let counted = map_run.compensating.as_ref().is_some_and(|c| c.attempt == Try::Counted);
        let free = self.workers.values().filter(|worker| {
            worker.would_compensate(handler)
                && worker.roster == Roster::Present
                && worker.free_slots() > 0
                && worker.alone.is_none()
        });
        let load = |worker: &&Worker| {
            let is_named = Some(&worker.id) == named;
            (is_named != counted, worker.held_slots(), worker.incarnation)
        };
        free.min_by_key(load).map(|worker| worker.incarnation)
    }

    /// Handlers of compensations that wait for a slot and find none anywhere: whoever would take one of them is to let
    /// slots become free. One whose next try is yet to come wants none.
    pub(crate) fn starving_compensations(&self, now: Now) -> Vec<HandlerName> {
        let waits = self.map_runs.values().filter(|map_run| map_run.compensating.is_some());
        let starves = |map_run: &MapRun| {
            let (handler, attempt) = self.wanted_try(&map_run.id)?;
            if matches!(attempt, Try::Waiting { not_before } if not_before > now.at) {
                return None;
            }
            self.free_for_compensation(&map_run.id, &handler).is_none().then_some(handler)
        };
        waits.filter_map(starves).collect()
    }

    fn count_try(&mut self, now: Now, id: &MapRunId, holder: Incarnation) {
        let Some(status) = self.compensation_status(id) else { return };
        let Some(worker) = self.workers.get_mut(&holder) else { return };
        worker.kept_slots += 1;
        let worker = Some(worker.id.clone());
        let ends_at = now.at + self.config.compensation_window;
        if let Some(compensating) = self.map_runs.get_mut(id).and_then(|run| run.compensating.as_mut()) {
            compensating.slot_of = Some(holder);
            if status.start_time.is_none() {
                compensating.ends_at = ends_at;
            }
        }
        let counted = CompensationStatus {
            state: CompensationState::Running,
            attempts: status.attempts + 1,
            worker,
            start_time: status.start_time.or(Some(now.wall)),
            ..status
        };
        self.stage_compensation(now, id, counted, None, None);
    }

    fn grant_compensation(&mut self, now: Now, id: &MapRunId, holder: Incarnation, effects: &mut Effects) {
        let lease_id = self.next_lease_id();
        let Some(stream) = self.open_run_at(id, holder, effects) else { return };
        let Some(map_run) = self.map_runs.get_mut(id) else { return };
        let Some(worker) = self.workers.get_mut(&holder) else { return };
        let Some(call) = map_run.compensation_call() else { return };
        worker.set_held(id, worker.held_for(id) + 1);
        worker.leases.insert(lease_id);
        map_run.held_slots += 1;
        let granted = map_run.granted_try();
        let redrive = map_run.status.redrive;
        if let Some(compensating) = &mut map_run.compensating {
            compensating.attempt = Try::Leased(lease_id);
        }
        let grant = Grant {
            lease: lease_id,
            session: worker.session,
            map_run: id.clone(),
            redrive,
            shard: no_shard(),
            batches: vec![granted_batch(granted)],
            slots: 1,
            compensation: Some(Box::new(call)),
        };
        self.leases.insert(lease_id, lease_of(now, lease_id, holder, id, redrive, granted));
        self.changed.insert(id.clone());
        effects.send(stream, CoordinatorMessage::Grant(grant));
    }

    /// No worker takes it: what was never tried was not run, what was tried has failed.
    fn give_compensation_up(&mut self, now: Now, id: &MapRunId, lonely: bool) {
        let Some((handler, _)) = self.wanted_try(id) else { return };
        let Some(status) = self.compensation_status(id) else { return };
        self.release_slot(id);
        let attempts = self.map_runs[id].tries_begun();
        let cause = if lonely {
            let waited = self.config.compensation_worker_wait.as_secs();
            format!("no live worker offered the handler {handler} for {waited} s")
        } else {
            let waited = self.config.compensation_window.as_secs();
            format!("no worker had a free slot for the handler {handler} within {waited} s")
        };
        let not_available = RunError { error: NOT_AVAILABLE.to_owned(), cause };
        let given_up = if attempts == 0 {
            CompensationStatus {
                state: CompensationState::NotRun,
                attempts,
                error: Some(not_available),
                worker: None,
                start_time: None,
                stop_time: Some(now.wall),
                ..status
            }
        } else {
            CompensationStatus {
                state: CompensationState::Failed,
                attempts,
                error: status.error.clone().or(Some(not_available)),
                stop_time: Some(now.wall),
                ..status
            }
        };
        self.stage_compensation(now, id, given_up, None, None);
    }
}

impl MapRun {
    /// Tries that took place, or may have: one that was counted and not handed out took place nowhere.
    fn tries_begun(&self) -> u32 {
        let attempts = self.status.compensation.as_ref().map_or(0, |status| status.attempts);
        let counted = self.compensating.as_ref().is_some_and(|c| c.attempt == Try::Counted);
        attempts - u32::from(counted)
    }
}

impl Worker {
    /// True if it would take a compensation, had it a free slot.
    pub(crate) fn would_compensate(&self, handler: &HandlerName) -> bool {
        self.is_reachable() && self.compensates && !self.draining && self.offers(handler)
    }
}

fn granted_batch(granted: GrantedFor) -> GrantedBatch {
    GrantedBatch {
        batch: BatchOrdinal(BATCH),
        attempt: granted.attempt,
        round: granted.round,
        retries_used: Vec::new(),
        items: None,
        give_up: false,
    }
}

/// Nothing is read for it.
fn no_shard() -> ShardSpan {
    ShardSpan {
        shard: ShardNumber::COMPENSATION,
        range: warifu_dataset::ByteRange::new(0, 0),
        ends_object: false,
        items: 1,
        first_item: 0,
        first_batch: 0,
        first_line: 0,
        start: warifu_dataset::Checkpoint { batch: BATCH, item: 0, offset: 0, newlines: 0 },
        read_until: 0,
    }
}
