//! The state that the scheduler owns, and the one function that changes it.

use std::collections::{BTreeMap, BTreeSet};

use warifu_model::protocol::WorkerMessage;
use warifu_model::{
    Incarnation, LeaderTerm, LeaseEpoch, LeaseId, MapRunId, Now, SessionId, Timestamp, WorkerId,
};

use crate::commit::Commits;
use crate::lease::Lease;
use crate::map_run::MapRun;
use crate::random::Random;
use crate::timers::{Timer, Timers};
use crate::window::Window;
use crate::worker::Worker;
use crate::{BrokenRule, Config, Effect, Effects, Event, StreamId};

/// The scheduler core. See the crate's documentation.
#[derive(Debug)]
pub struct Scheduler {
    pub(crate) config: Config,
    pub(crate) term: LeaderTerm,
    pub(crate) random: Random,
    pub(crate) map_runs: BTreeMap<MapRunId, MapRun>,
    /// Ids of deleted runs.
    pub(crate) used_ids: BTreeSet<MapRunId>,
    pub(crate) next_sequence: u64,
    pub(crate) workers: BTreeMap<Incarnation, Worker>,
    pub(crate) streams: BTreeMap<StreamId, Incarnation>,
    pub(crate) leases: BTreeMap<LeaseId, Lease>,
    /// What the store's roster holds.
    pub(crate) roster: BTreeMap<Incarnation, WorkerId>,
    pub(crate) window: Option<Window>,
    pub(crate) commits: Commits,
    pub(crate) timers: Timers,
    /// Past this nothing is decided; moved by every confirmed write.
    pub(crate) leads_until: Timestamp,
    pub(crate) stepped_down: bool,
    pub(crate) changed: BTreeSet<MapRunId>,
    /// Runs of which something ended that may have been the last.
    pub(crate) finish_checks: BTreeSet<MapRunId>,
    /// Something happened that may allow a grant, a scan or a revocation.
    pub(crate) placement_wanted: bool,
    /// When it was last acted upon.
    placed_at: Timestamp,
    pub(crate) unknown_worker: WorkerId,
    next_epoch: u64,
    next_session: u64,
}

impl Scheduler {
    pub(crate) fn empty(config: Config, term: LeaderTerm, now: Now, seed: u64) -> Self {
        let leads_until = config.step_down_after.map_or(Timestamp::NEVER, |after| now.at + after);
        Self {
            config,
            term,
            random: Random::new(seed),
            map_runs: BTreeMap::new(),
            used_ids: BTreeSet::new(),
            next_sequence: 0,
            workers: BTreeMap::new(),
            streams: BTreeMap::new(),
            leases: BTreeMap::new(),
            roster: BTreeMap::new(),
            window: None,
            commits: Commits::default(),
            timers: Timers::default(),
            leads_until,
            stepped_down: false,
            changed: BTreeSet::new(),
            finish_checks: BTreeSet::new(),
            placement_wanted: false,
            placed_at: Timestamp(0),
            unknown_worker: WorkerId::new("unknown").expect("a plain word is a valid worker id"),
            next_epoch: 0,
            next_session: 0,
        }
    }

    /// Takes one event, changes the state, and asks for effects. Times must not go back.
    pub fn step(&mut self, now: Now, event: Event, effects: &mut Effects) {
        if self.stepped_down {
            return refuse_request(event, effects);
        }
        if now.at >= self.leads_until && !self.breaks(BrokenRule::NeverStepDown) {
            refuse_request(event, effects);
            return self.step_down("no write was confirmed in time", effects);
        }
        self.on_event(now, event, effects);
        self.settle(now, effects);
    }

    /// When the next `DeadlineReached` is wanted.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        if self.stepped_down {
            None
        } else {
            self.timers.first().into_iter().chain(self.lead_deadline()).min()
        }
    }

    /// Runs whose view changed since the last call.
    pub fn take_changed(&mut self) -> BTreeSet<MapRunId> {
        std::mem::take(&mut self.changed)
    }

    /// The term that it leads in.
    pub fn term(&self) -> LeaderTerm {
        self.term
    }

    fn on_event(&mut self, now: Now, event: Event, effects: &mut Effects) {
        match event {
            Event::CreateRequested { request, create } => self.on_create(now, request, *create, effects),
            Event::StopRequested { request, map_run, cause } => {
                self.on_stop_requested(now, request, &map_run, &cause, effects)
            }
            Event::UpdateRequested { request, map_run, update } => {
                self.on_update(now, request, &map_run, update, effects);
            }
            Event::RedriveRequested { request, map_run, update } => {
                self.on_redrive(request, &map_run, update, effects);
            }
            Event::DeleteRequested { request, map_run } => self.on_delete(now, request, &map_run, effects),
            Event::DrainRequested { request, worker } => self.on_drain(request, &worker, effects),
            Event::UncordonRequested { request, worker } => self.on_uncordon(request, &worker, effects),
            Event::MessageReceived { stream, message } => self.on_message(now, stream, message, effects),
            Event::StreamClosed { stream } => self.on_stream_closed(now, stream),
            Event::CommitFinished { commit, outcome } => {
                self.on_commit_finished(now, commit, outcome, effects)
            }
            Event::ShardsLoaded { map_run, shards } => self.on_shards_loaded(now, &map_run, shards),
            Event::ManifestWritten { map_run, redrive, result } => {
                self.on_manifest_written(now, &map_run, redrive, result);
            }
            Event::StagedCleaned { map_run } => self.on_staged_cleaned(now, &map_run),
            Event::DeadlineReached => {}
        }
    }

    /// What follows from any event: deadlines that have come, placement, the next transaction.
    pub(crate) fn settle(&mut self, now: Now, effects: &mut Effects) {
        while let Some(timer) = self.timers.pop_due(now.at) {
            self.on_timer(now, timer, effects);
        }
        for id in std::mem::take(&mut self.finish_checks) {
            self.check_finished(now, &id, effects);
        }
        if self.placement_wanted {
            self.place_or_put_off(now, effects);
        }
        self.send_commit(now, effects);
    }

    /// A look over all workers after every event would leave no time for messages where workers are many.
    fn place_or_put_off(&mut self, now: Now, effects: &mut Effects) {
        let beyond = self.workers.len().saturating_sub(self.config.placed_at_once);
        let pause = self.config.placement_pause * u32::try_from(beyond).unwrap_or(u32::MAX);
        let from = self.placed_at + pause;
        if now.at < from {
            return self.timers.set_earlier(Timer::Placement, from);
        }
        self.placed_at = now.at;
        self.placement_wanted = false;
        self.place(now, effects);
    }

    fn on_timer(&mut self, now: Now, timer: Timer, effects: &mut Effects) {
        match timer {
            Timer::Commit | Timer::Leadership | Timer::Placement => {} // `settle` sees to them after every event
            Timer::WindowGrants | Timer::Rebalance | Timer::Compensation(_) | Timer::Pace(_) => {
                self.placement_wanted = true;
            }
            Timer::WindowEnd => self.close_window(now),
            Timer::WorkerExpiry(incarnation) => self.on_expiry(now, incarnation),
            Timer::Retry(map_run) => self.on_retry_due(now, &map_run),
            Timer::RunTimeout(map_run) => self.on_run_timeout(now, &map_run, effects),
            Timer::Begun => self.write_begun(now),
        }
    }

    fn on_message(&mut self, now: Now, stream: StreamId, message: WorkerMessage, effects: &mut Effects) {
        let message = match message {
            WorkerMessage::Hello(hello) => return self.on_hello(now, stream, hello, effects),
            // A report is judged by its lease, over whatever stream it comes.
            WorkerMessage::Report(report) => {
                self.hear(now, stream);
                return self.on_report(now, stream, report, effects);
            }
            other => other,
        };
        let Some(incarnation) = self.hear(now, stream) else { return };
        self.on_session_message(now, incarnation, stream, message, effects);
    }

    /// Messages that count in the current session only.
    fn on_session_message(
        &mut self,
        now: Now,
        incarnation: Incarnation,
        stream: StreamId,
        message: WorkerMessage,
        effects: &mut Effects,
    ) {
        match message {
            WorkerMessage::Hello(_) | WorkerMessage::Report(_) => {} // taken before
            WorkerMessage::Heartbeat { nonce } => self.on_heartbeat(stream, nonce, effects),
            WorkerMessage::Begun { lease, batches } => self.on_begun(now, incarnation, lease, &batches),
            WorkerMessage::Returned { lease, batches } => self.on_returned(now, incarnation, lease, &batches),
            WorkerMessage::Shrink { map_run, slots } => self.on_shrink(incarnation, &map_run, slots),
            WorkerMessage::Probed { map_run, probe } => {
                self.on_probed(now, incarnation, &map_run, probe, effects)
            }
            WorkerMessage::Scanned { map_run, shard, scan } => {
                self.on_scanned(now, incarnation, &map_run, shard.0, scan, effects);
            }
            WorkerMessage::Staged { map_run, staged } => {
                self.on_staged(now, incarnation, &map_run, staged, effects);
            }
            WorkerMessage::Fault { map_run, redrive, fault } => self.on_fault(now, &map_run, redrive, fault),
            WorkerMessage::Draining => self.on_draining(incarnation),
            WorkerMessage::Goodbye => self.on_goodbye(now, incarnation),
        }
    }

    pub(crate) fn step_down(&mut self, reason: &'static str, effects: &mut Effects) {
        self.stepped_down = true;
        for request in self.waiting_requests() {
            effects.reply(request, Err(crate::Rejection::NotLeader));
        }
        effects.push(Effect::StepDown { reason });
    }

    /// True if tests left this rule out.
    #[cfg(feature = "broken_rules")]
    pub(crate) fn breaks(&self, rule: BrokenRule) -> bool {
        self.config.broken == Some(rule)
    }

    /// Every rule holds.
    #[cfg(not(feature = "broken_rules"))]
    #[inline(always)]
    pub(crate) fn breaks(&self, _rule: BrokenRule) -> bool {
        false
    }

    pub(crate) fn next_lease_id(&mut self) -> LeaseId {
        self.next_epoch += 1;
        LeaseId { term: self.term, epoch: LeaseEpoch(self.next_epoch) }
    }

    pub(crate) fn next_session_id(&mut self) -> SessionId {
        self.next_session += 1;
        SessionId { term: self.term, number: self.next_session }
    }

    /// Something of this run waits for a transaction.
    pub(crate) fn touch(&mut self, now: Timestamp, map_run: &MapRunId) {
        self.commits.dirty.insert(map_run.clone());
        self.want_commit(now);
    }

    fn lead_deadline(&self) -> Option<Timestamp> {
        self.config.step_down_after.map(|_| self.leads_until)
    }
}

/// Tells a caller that nobody leads here.
fn refuse_request(event: Event, effects: &mut Effects) {
    match event {
        Event::CreateRequested { request, .. }
        | Event::StopRequested { request, .. }
        | Event::UpdateRequested { request, .. }
        | Event::RedriveRequested { request, .. }
        | Event::DeleteRequested { request, .. }
        | Event::DrainRequested { request, .. }
        | Event::UncordonRequested { request, .. } => {
            effects.reply(request, Err(crate::Rejection::NotLeader))
        }
        Event::MessageReceived { .. }
        | Event::StreamClosed { .. }
        | Event::CommitFinished { .. }
        | Event::ShardsLoaded { .. }
        | Event::ManifestWritten { .. }
        | Event::StagedCleaned { .. }
        | Event::DeadlineReached => {}
    }
}
