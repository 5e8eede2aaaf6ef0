//! A run's life as users steer it: create, update, stop, redrive, delete, and how it ends by itself.

use warifu_model::protocol::{CoordinatorMessage, RunFault};
use warifu_model::spec::LimitsUpdate;
use warifu_model::{
    BatchOrdinal, LeaseId, MapRunId, MapRunState, Now, RunError, ShardNumber, Warning, error_name,
};

use crate::compensation::compensation_warning;
use crate::event::CreateMapRun;
use crate::map_run::{Finish, MapRun, NO_TIME, RedriveRequest, Source, Stop, Terminal, new_status};
use crate::record::{ShardRecord, SpecRecord};
use crate::redrive::reopened;
use crate::run_commit::{RunCommit, is_wholly_successful};
use crate::scheduler::Scheduler;
use crate::shard::Shard;
use crate::timers::Timer;
use crate::{Effect, Effects, Rejection, Reply, RequestId};

impl Scheduler {
    pub(crate) fn on_create(
        &mut self,
        now: Now,
        request: RequestId,
        create: CreateMapRun,
        effects: &mut Effects,
    ) {
        if let Err(rejection) = self.may_create(&create) {
            return match rejection {
                None => self.answer_repeat(now, request, &create.id, effects),
                Some(rejection) => effects.reply(request, Err(rejection)),
            };
        }
        self.next_sequence += 1;
        let record = SpecRecord {
            uid: create.uid,
            cut_version: create.spec.cut_version(),
            spec: create.spec,
            submitted: create.submitted,
            source: create.source,
            shard_bytes: create.shard_bytes,
            create_time: now.wall,
            sequence: self.next_sequence,
        };
        let mut status = new_status(&record.spec);
        for handler in record.spec.handlers().filter(|handler| !self.handler_is_offered(handler)) {
            status.warnings.push(handler_warning(handler.as_str()));
        }
        let compensation = record.spec.compensation.as_ref().map(|compensation| &compensation.handler);
        if let Some(handler) = compensation.filter(|handler| !self.handler_is_offered(handler)) {
            status.warnings.push(compensation_warning(handler.as_str()));
        }
        let mut map_run = MapRun::new(create.id.clone(), record, status, now.at);
        map_run.staged.create = true;
        map_run.staged.start = self.active_map_runs() < self.config.max_active_map_runs;
        map_run.staged.replies.push(request);
        self.map_runs.insert(create.id.clone(), map_run);
        self.touch(now.at, &create.id);
    }

    /// `Err(None)`: the same request was granted before.
    fn may_create(&self, create: &CreateMapRun) -> Result<(), Option<Rejection>> {
        if let Some(existing) = self.map_runs.get(&create.id) {
            let same = existing.record.submitted == create.submitted && !existing.leaves_end;
            return Err((!same).then(|| Rejection::ExistsAlready(create.id.clone())));
        }
        if self.used_ids.contains(&create.id) {
            return Err(Some(Rejection::IdUsedBefore(create.id.clone())));
        }
        let compensation = create.spec.compensation.as_ref().map(|compensation| &compensation.handler);
        let mut handlers = create.spec.handlers().chain(compensation);
        if let Some(handler) =
            handlers.find(|handler| create.require_handler && !self.handler_is_offered(handler))
        {
            return Err(Some(Rejection::HandlerNotAvailable(handler.to_string())));
        }
        let active = self.map_runs.values().filter(|map_run| !map_run.status.state.is_terminal()).count();
        if active >= self.config.max_active_map_runs + self.config.max_queued_map_runs {
            return Err(Some(Rejection::TooManyMapRuns(active)));
        }
        Ok(())
    }

    /// The answer to a repeated request must not be given before the first one is durable.
    fn answer_repeat(&mut self, now: Now, request: RequestId, id: &MapRunId, effects: &mut Effects) {
        let durable = self
            .map_runs
            .get(id)
            .is_some_and(|map_run| map_run.record.create_time != NO_TIME && !self.is_creating(id));
        if durable {
            return self.reply_map_run(&[request], id, effects);
        }
        if let Some(map_run) = self.map_runs.get_mut(id) {
            map_run.staged.replies.push(request);
        }
        self.touch(now.at, id);
    }

    fn is_creating(&self, id: &MapRunId) -> bool {
        let staged = self.map_runs.get(id).is_some_and(|map_run| map_run.staged.create);
        staged
            || self.commits.in_flight.iter().any(|in_flight| in_flight.runs.iter().any(|run| run.id == *id))
    }

    pub(crate) fn handler_is_offered(&self, handler: &warifu_model::HandlerName) -> bool {
        self.workers.values().any(|worker| worker.is_reachable() && worker.offers(handler))
    }

    pub(crate) fn active_map_runs(&self) -> usize {
        let active = |map_run: &&MapRun| match map_run.status.state {
            MapRunState::Running | MapRunState::Stopping => true,
            MapRunState::Queued => map_run.staged.start || self.is_starting(&map_run.id),
            MapRunState::Succeeded | MapRunState::Failed | MapRunState::Aborted => false,
        };
        self.map_runs.values().filter(active).count()
    }

    fn is_starting(&self, id: &MapRunId) -> bool {
        let starting = |run: &RunCommit| run.id == *id && run.status.state == MapRunState::Running;
        self.commits.in_flight.iter().any(|in_flight| in_flight.runs.iter().any(starting))
    }

    pub(crate) fn on_update(
        &mut self,
        now: Now,
        request: RequestId,
        id: &MapRunId,
        update: LimitsUpdate,
        effects: &mut Effects,
    ) {
        let Some(map_run) = self.map_runs.get_mut(id) else {
            return effects.reply(request, Err(Rejection::NoSuchMapRun(id.clone())));
        };
        if map_run.status.state.is_terminal() || map_run.staged.terminal.is_some() {
            return effects
                .reply(request, Err(wrong_state(map_run, "only a run that is not finished can be updated")));
        }
        merge_update(map_run.staged.update.get_or_insert_default(), update);
        map_run.staged.replies.push(request);
        self.touch(now.at, id);
    }

    pub(crate) fn on_stop_requested(
        &mut self,
        now: Now,
        request: RequestId,
        id: &MapRunId,
        cause: &str,
        effects: &mut Effects,
    ) {
        let Some(map_run) = self.map_runs.get_mut(id) else {
            return effects.reply(request, Err(Rejection::NoSuchMapRun(id.clone())));
        };
        if map_run.status.state.is_terminal() {
            return effects
                .reply(request, Err(wrong_state(map_run, "only a run that is not finished can be stopped")));
        }
        map_run.staged.replies.push(request);
        let cause = match cause {
            "" => "a user stopped the run".to_owned(),
            text => format!("a user stopped the run: {text}"),
        };
        let error = RunError { error: error_name::ABORTED.to_owned(), cause };
        self.stop(now, id, MapRunState::Aborted, error);
    }

    /// Stages the end of a run, unless one is under way.
    pub(crate) fn stop(&mut self, now: Now, id: &MapRunId, to: MapRunState, error: RunError) {
        let Some(map_run) = self.map_runs.get_mut(id) else { return };
        let may_stop = matches!(map_run.status.state, MapRunState::Queued | MapRunState::Running);
        if may_stop && map_run.finish == Finish::NotYet && map_run.staged.stop.is_none() {
            map_run.staged.stop = Some(Stop { to, error });
        }
        self.touch(now.at, id);
    }

    pub(crate) fn on_fault(&mut self, now: Now, id: &MapRunId, redrive: u32, fault: RunFault) {
        if self.map_runs.get(id).is_some_and(|map_run| map_run.status.redrive == redrive) {
            let error = RunError { error: fault.error, cause: fault.cause };
            self.stop(now, id, MapRunState::Failed, error);
        }
    }

    pub(crate) fn on_run_timeout(&mut self, now: Now, id: &MapRunId, _effects: &mut Effects) {
        let Some(timeout) = self.map_runs.get(id).and_then(|map_run| map_run.spec.timeout) else { return };
        let cause = format!("the run took longer than its timeoutSeconds ({} s)", timeout.as_secs());
        let error = RunError { error: error_name::TIMEOUT.to_owned(), cause };
        self.stop(now, id, MapRunState::Failed, error);
    }

    /// The stop is durable: workers are asked to end what they run and to return the rest.
    pub(crate) fn on_stopping(&mut self, now: Now, id: &MapRunId, effects: &mut Effects) {
        let leases: Vec<LeaseId> =
            self.leases.values().filter(|lease| lease.map_run == *id).map(|lease| lease.id).collect();
        for lease in leases {
            self.revoke_all(lease, effects);
        }
        self.forget_scans(id);
        self.check_finished(now, id, effects);
    }

    pub(crate) fn revoke_all(&mut self, id: LeaseId, effects: &mut Effects) {
        let Some(lease) = self.leases.get_mut(&id) else { return };
        lease.revoked_from = Some(0);
        let stream = self.workers.get(&lease.holder).and_then(|worker| worker.stream);
        if let Some(stream) = stream {
            effects
                .send(stream, CoordinatorMessage::Revoke { lease: id, from: BatchOrdinal(0), cancel: true });
        }
    }

    /// Begins the end of a run once nothing of it is in progress.
    pub(crate) fn check_finished(&mut self, now: Now, id: &MapRunId, effects: &mut Effects) {
        let Some(map_run) = self.map_runs.get_mut(id) else { return };
        match map_run.finish {
            Finish::NotYet => {}
            Finish::Compensating => return self.end_compensated(now, id),
            Finish::Writing | Finish::Staged => return,
        }
        let ends_as = match map_run.status.state {
            MapRunState::Running if map_run.everything_is_decided() => MapRunState::Succeeded,
            MapRunState::Stopping if map_run.nothing_is_in_progress() => {
                map_run.status.stopping_to.unwrap_or(MapRunState::Failed)
            }
            _ => return,
        };
        match map_run.manifest_order(ends_as, now, &self.config) {
            Some(order) => {
                map_run.finish = Finish::Writing;
                effects.push(Effect::WriteManifest(Box::new(order)));
            }
            None => self.end_run(now, id, Terminal { state: ends_as, location: None, error: None }),
        }
    }

    pub(crate) fn stage_terminal(&mut self, now: Now, id: &MapRunId, terminal: Terminal) {
        let Some(map_run) = self.map_runs.get_mut(id) else { return };
        map_run.finish = Finish::Staged;
        map_run.staged.terminal = Some(terminal);
        self.touch(now.at, id);
    }

    pub(crate) fn on_manifest_written(
        &mut self,
        now: Now,
        id: &MapRunId,
        redrive: u32,
        result: Result<warifu_model::ResultLocation, RunFault>,
    ) {
        let Some(map_run) = self.map_runs.get(id) else { return };
        if map_run.finish != Finish::Writing || map_run.status.redrive != redrive {
            return;
        }
        let ends_as = map_run.status.stopping_to.unwrap_or(MapRunState::Succeeded);
        let terminal = match result {
            Ok(location) => Terminal { state: ends_as, location: Some(location), error: None },
            Err(fault) => Terminal {
                state: MapRunState::Failed,
                location: None,
                error: Some(RunError { error: fault.error, cause: fault.cause }),
            },
        };
        self.end_run(now, id, terminal);
    }

    /// The end is durable: memory is given back, the next run in the queue may start.
    pub(crate) fn on_terminal(&mut self, now: Now, id: &MapRunId, effects: &mut Effects) {
        self.timers.clear(&Timer::RunTimeout(id.clone()));
        self.timers.clear(&Timer::Retry(id.clone()));
        self.timers.clear(&Timer::Compensation(id.clone()));
        self.timers.clear(&Timer::Pace(id.clone()));
        self.close_run(id, effects);
        self.clean_staged(id, effects);
        if let Some(map_run) = self.map_runs.get_mut(id) {
            map_run.shards.clear();
            map_run.open_shards.clear();
            map_run.undecided_shards.clear();
            map_run.retries.clear();
            map_run.source = Source::Unprobed;
            map_run.finish = Finish::NotYet;
            map_run.context = None;
            map_run.last_parts = None;
        }
        self.start_queued(now);
    }

    /// Workers that know the run may forget it.
    fn close_run(&mut self, id: &MapRunId, effects: &mut Effects) {
        for worker in self.workers.values_mut() {
            if worker.knows.remove(id).is_some()
                && let Some(stream) = worker.stream
            {
                effects.send(stream, CoordinatorMessage::CloseRun { map_run: id.clone() });
            }
        }
    }

    pub(crate) fn start_queued(&mut self, now: Now) {
        while self.active_map_runs() < self.config.max_active_map_runs {
            let waits = |map_run: &&MapRun| {
                map_run.status.state == MapRunState::Queued
                    && !map_run.staged.start
                    && map_run.staged.stop.is_none()
                    && !self.is_starting(&map_run.id)
            };
            let next = self.map_runs.values().filter(waits).min_by_key(|map_run| map_run.record.sequence);
            let Some(id) = next.map(|map_run| map_run.id.clone()) else { return };
            self.map_runs.get_mut(&id).expect("it was found above").staged.start = true;
            self.touch(now.at, &id);
        }
    }

    pub(crate) fn on_redrive(
        &mut self,
        request: RequestId,
        id: &MapRunId,
        update: LimitsUpdate,
        effects: &mut Effects,
    ) {
        let Some(map_run) = self.map_runs.get_mut(id) else {
            return effects.reply(request, Err(Rejection::NoSuchMapRun(id.clone())));
        };
        if let Err(rule) = may_redrive(map_run) {
            return effects.reply(request, Err(wrong_state(map_run, rule)));
        }
        map_run.leaves_end = true;
        map_run.loading = Some(RedriveRequest { request, update });
        effects.push(Effect::LoadShards { map_run: id.clone() });
    }

    pub(crate) fn on_shards_loaded(
        &mut self,
        now: Now,
        id: &MapRunId,
        shards: Vec<(ShardNumber, ShardRecord)>,
    ) {
        let config = self.config.clone();
        let Some(map_run) = self.map_runs.get_mut(id) else { return };
        let Some(RedriveRequest { request, update }) = map_run.loading.take() else { return };
        map_run.restore_shards(shards, now, false, &config);
        map_run.staged.redrive = Some(update);
        map_run.staged.replies.push(request);
        self.touch(now.at, id);
    }

    pub(crate) fn on_delete(&mut self, now: Now, request: RequestId, id: &MapRunId, effects: &mut Effects) {
        let Some(map_run) = self.map_runs.get_mut(id) else {
            return effects.reply(request, Err(Rejection::NoSuchMapRun(id.clone())));
        };
        if !map_run.status.state.is_terminal() || map_run.leaves_end {
            return effects.reply(
                request,
                Err(wrong_state(map_run, "only a finished run can be deleted; stop it first")),
            );
        }
        map_run.leaves_end = true;
        map_run.deletion = Some(request);
        if !self.clean_before_deletion(id, effects) {
            self.on_staged_cleaned(now, id);
        }
    }

    /// A run that was to be deleted has nothing left but its records.
    pub(crate) fn on_staged_cleaned(&mut self, now: Now, id: &MapRunId) {
        let Some(map_run) = self.map_runs.get_mut(id) else { return };
        let Some(request) = map_run.deletion.take() else { return };
        map_run.staged.delete = true;
        map_run.staged.replies.push(request);
        self.touch(now.at, id);
    }

    pub(crate) fn on_deleted(&mut self, part: RunCommit, effects: &mut Effects) {
        self.map_runs.remove(&part.id);
        self.used_ids.insert(part.id);
        for request in part.replies {
            effects.reply(request, Ok(Reply::Deleted));
        }
    }
}

fn may_redrive(map_run: &MapRun) -> Result<(), &'static str> {
    match map_run.status.state {
        MapRunState::Queued | MapRunState::Running | MapRunState::Stopping => {
            Err("only a finished run can be redriven")
        }
        MapRunState::Succeeded if is_wholly_successful(&map_run.status) => {
            Err("every item succeeded, so there is nothing to redrive")
        }
        _ if map_run.leaves_end => Err("a redrive or deletion is under way"),
        MapRunState::Succeeded | MapRunState::Failed | MapRunState::Aborted => Ok(()),
    }
}

fn wrong_state(map_run: &MapRun, rule: &'static str) -> Rejection {
    Rejection::WrongState { map_run: map_run.id.clone(), state: map_run.status.state, rule }
}

/// What the submitter should know if nobody offers the run's handler when the run is created.
pub fn handler_warning(handler: &str) -> Warning {
    Warning {
        reason: "HANDLER_NOT_AVAILABLE".to_owned(),
        message: format!("no live worker offers the handler {handler}; the run waits until one connects"),
    }
}

fn merge_update(into: &mut LimitsUpdate, update: LimitsUpdate) {
    into.max_concurrency = update.max_concurrency.or(into.max_concurrency);
    into.max_items_per_second = update.max_items_per_second.or(into.max_items_per_second);
    into.tolerated_failure_count = update.tolerated_failure_count.or(into.tolerated_failure_count);
    into.tolerated_failure_percentage =
        update.tolerated_failure_percentage.or(into.tolerated_failure_percentage);
}

impl MapRun {
    /// Takes shards as the store has them, reopened for the current redrive.
    pub(crate) fn restore_shards(
        &mut self,
        shards: Vec<(ShardNumber, ShardRecord)>,
        now: Now,
        workers_may_hold_them: bool,
        config: &crate::Config,
    ) {
        let composer = shards.last().map(|(_, record)| record.composer.clone());
        if let Some(plan) = self.stored_plan.clone() {
            self.plan(plan, config, composer);
        }
        for (number, record) in shards {
            let record = reopened(record, self.status.redrive);
            self.shards.insert(number.0, Shard::recovered(record, now.at, workers_may_hold_them));
            self.shard_changed(number.0);
        }
    }

    fn everything_is_decided(&self) -> bool {
        self.status.total_known
            && self.is_composed()
            && self.is_quiet()
            && self.staged.stop.is_none()
            && !self.grants_suspended // a stop may be on its way
            && self.staged.reports.is_empty()
    }

    /// Nothing is leased or being counted; what is pending or waits stays as it is.
    fn nothing_is_in_progress(&self) -> bool {
        let idle = |number: &u32| {
            self.shards.get(number).is_none_or(|shard| shard.leased.is_empty() && shard.orphan.is_empty())
        };
        self.undecided_shards.iter().all(idle) && self.staged.reports.is_empty()
    }
}
