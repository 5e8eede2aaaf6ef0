//! Group commit: everything that is staged goes into one guarded transaction; one is in flight.
//!
//! **Invariant:** the state in memory that users and workers hear of is what the store confirmed. A
//! transaction is built on copies; only `Done` swaps them in. `Refused` sends the same one again.

use std::collections::{BTreeMap, BTreeSet};

use warifu_model::{Incarnation, MapRunId, Now, Timestamp, WorkerId};

use crate::map_run::StagedReport;
use crate::record::{Record, RosterRecord};
use crate::run_commit::{Budget, RunCommit};
use crate::scheduler::Scheduler;
use crate::timers::Timer;
use crate::worker::Roster;
use crate::{Commit, CommitId, CommitOutcome, Effect, Effects, RequestId};

/// A refused transaction is sent again after this long.
const REFUSED_PAUSE: std::time::Duration = std::time::Duration::from_millis(200);

/// After a pause so many transactions follow each other without the interval between them: of a short run each waits for the
/// one before.
const COMMITS_AT_ONCE: u32 = 10;

/// What waits for a transaction, and the one in flight.
#[derive(Debug, Default)]
pub(crate) struct Commits {
    next_id: u64,
    pub(crate) in_flight: Option<InFlight>,
    last_sent: Option<Timestamp>,
    /// When the next one would be sent if each had kept to the interval.
    paced_to: Timestamp,
    pub(crate) dirty: BTreeSet<MapRunId>,
    pub(crate) roster_adds: BTreeSet<Incarnation>,
    pub(crate) roster_removes: BTreeMap<Incarnation, WorkerId>,
    /// The begun batches of these shards are to be written.
    pub(crate) begun: BTreeSet<(MapRunId, u32)>,
}

/// A transaction whose outcome is not known yet.
#[derive(Debug)]
pub(crate) struct InFlight {
    id: CommitId,
    sent_at: Timestamp,
    records: Vec<Record>,
    refused: bool,
    pub(crate) runs: Vec<RunCommit>,
    adds: Vec<Incarnation>,
    pub(crate) removes: Vec<Incarnation>,
}

impl Commits {
    fn something_waits(&self) -> bool {
        !(self.dirty.is_empty()
            && self.roster_adds.is_empty()
            && self.roster_removes.is_empty()
            && self.begun.is_empty())
    }
}

impl Scheduler {
    /// Asks for a transaction as soon as the interval allows.
    pub(crate) fn want_commit(&mut self, now: Timestamp) {
        self.timers.set_earlier(Timer::Commit, self.next_commit().max(now));
    }

    /// When the interval allows a transaction.
    fn next_commit(&self) -> Timestamp {
        self.commits.paced_to - self.config.commit_interval * (COMMITS_AT_ONCE - 1)
    }

    pub(crate) fn in_flight_reports(&self) -> impl Iterator<Item = &StagedReport> {
        self.commits.in_flight.iter().flat_map(|in_flight| in_flight.runs.iter().flat_map(|run| &run.reports))
    }

    /// Sends the next transaction if one is wanted and allowed.
    pub(crate) fn send_commit(&mut self, now: Now, effects: &mut Effects) {
        if self.commits.in_flight.as_ref().is_some_and(|in_flight| in_flight.refused) {
            return self.send_again(now, effects);
        }
        if self.commits.in_flight.is_some() || !self.commit_is_due(now.at) {
            return;
        }
        let mut budget = Budget::new(self.config.max_commit_records, self.config.max_commit_bytes);
        let mut records = Vec::new();
        let runs = self.build_run_commits(now, &mut budget, &mut records);
        let mut room = budget.for_fleet();
        let (adds, removes) = self.build_roster(&mut records, &mut room, budget.is_fresh());
        self.build_begun(&runs, &mut records, room);
        if records.is_empty() && !self.leadership_is_due(now.at) {
            return;
        }
        // More is refused by etcd, again and again: a bug here must show itself in the simulation.
        debug_assert!(records.len() <= self.config.max_commit_records, "{} records", records.len());
        self.commits.next_id += 1;
        let id = CommitId(self.commits.next_id);
        let commit = Commit { id, term: self.term, records: records.clone() };
        self.commits.in_flight =
            Some(InFlight { id, sent_at: now.at, records, refused: false, runs, adds, removes });
        self.commits.last_sent = Some(now.at);
        self.commits.paced_to = self.commits.paced_to.max(now.at) + self.config.commit_interval;
        effects.push(Effect::Commit(commit));
    }

    fn commit_is_due(&mut self, now: Timestamp) -> bool {
        let staged = self.commits.something_waits();
        let earliest = self.next_commit();
        if staged && earliest > now {
            self.timers.set_earlier(Timer::Commit, earliest);
        }
        (staged && earliest <= now) || self.leadership_is_due(now)
    }

    /// An idle leader writes now and then, so that it knows that it leads.
    fn leadership_is_due(&mut self, now: Timestamp) -> bool {
        let Some(step_down_after) = self.config.step_down_after else { return false };
        let due = self.commits.last_sent.map_or(now, |sent| sent + step_down_after / 4);
        self.timers.set(Timer::Leadership, due.max(now));
        due <= now
    }

    fn send_again(&mut self, now: Now, effects: &mut Effects) {
        let Some(in_flight) = &mut self.commits.in_flight else { return };
        let again_at = in_flight.sent_at + REFUSED_PAUSE;
        if now.at < again_at {
            return self.timers.set(Timer::Commit, again_at);
        }
        in_flight.refused = false;
        in_flight.sent_at = now.at;
        let commit = Commit { id: in_flight.id, term: self.term, records: in_flight.records.clone() };
        effects.push(Effect::Commit(commit));
    }

    fn build_run_commits(
        &mut self,
        now: Now,
        budget: &mut Budget,
        records: &mut Vec<Record>,
    ) -> Vec<RunCommit> {
        let context = self.commit_context(now);
        let mut runs = Vec::new();
        for id in std::mem::take(&mut self.commits.dirty) {
            let Some(map_run) = self.map_runs.get_mut(&id) else { continue };
            if budget.is_spent() {
                budget.leave_out();
                self.commits.dirty.insert(id);
                continue;
            }
            if let Some(run) = map_run.build_commit(&context, budget, records) {
                runs.push(run);
            }
            if !map_run.staged.is_empty() {
                self.commits.dirty.insert(id); // the rest goes into the next transaction
            }
        }
        runs
    }

    /// Writes which batches are begun, where no report rewrites the shard anyway.
    fn build_begun(&mut self, runs: &[RunCommit], records: &mut Vec<Record>, mut room: usize) {
        while room > 0
            && let Some((id, number)) = self.commits.begun.pop_first()
        {
            let written = runs.iter().any(|run| run.id == id && run.shards.contains_key(&number));
            let shard = self.map_runs.get(&id).and_then(|map_run| map_run.shards.get(&number));
            if let Some(shard) = shard.filter(|shard| shard.opened && !written) {
                let shard = Box::new(shard.record.clone());
                records.push(Record::PutShard(id, warifu_model::ShardNumber(number), shard));
                room -= 1;
            }
        }
    }

    /// Adds and removes as many processes as there is room for; the others follow in the next transaction.
    ///
    /// `fresh`: everything that runs had staged is in this one.
    fn build_roster(
        &mut self,
        records: &mut Vec<Record>,
        room: &mut usize,
        fresh: bool,
    ) -> (Vec<Incarnation>, Vec<Incarnation>) {
        let (mut adds, mut removes) = (Vec::new(), Vec::new());
        while *room > 0
            && let Some(incarnation) = self.commits.roster_adds.pop_first()
        {
            let Some(worker) = self.workers.get(&incarnation) else { continue };
            records.push(Record::PutRoster(worker.id.clone(), RosterRecord { incarnation }));
            adds.push(incarnation);
            *room -= 1;
        }
        // A removal requeues batches: their losses must be durable with it, or before.
        let losses_staged = self.map_runs.values().any(|map_run| !map_run.staged.losses.is_empty());
        while *room > 0
            && (fresh || !losses_staged)
            && let Some((incarnation, worker)) = self.commits.roster_removes.pop_first()
        {
            records.push(Record::RemoveRoster(worker, incarnation));
            removes.push(incarnation);
            *room -= 1;
        }
        (adds, removes)
    }

    pub(crate) fn on_commit_finished(
        &mut self,
        now: Now,
        commit: CommitId,
        outcome: CommitOutcome,
        effects: &mut Effects,
    ) {
        if self.commits.in_flight.as_ref().is_none_or(|in_flight| in_flight.id != commit) {
            return;
        }
        match outcome {
            CommitOutcome::Done => self.on_committed(now, effects),
            CommitOutcome::Refused => self.on_refused(now),
            CommitOutcome::Deposed => self.step_down("another coordinator leads", effects),
            CommitOutcome::Unknown => self.step_down("the outcome of a transaction is unknown", effects),
        }
    }

    fn on_refused(&mut self, now: Now) {
        if let Some(in_flight) = &mut self.commits.in_flight {
            in_flight.refused = true;
            in_flight.sent_at = now.at;
            self.timers.set(Timer::Commit, now.at + REFUSED_PAUSE);
        }
    }

    fn on_committed(&mut self, now: Now, effects: &mut Effects) {
        let Some(in_flight) = self.commits.in_flight.take() else { return };
        if let Some(step_down_after) = self.config.step_down_after {
            // A refused transaction was sent again: its latest sending is the one that was confirmed.
            self.leads_until = in_flight.sent_at + step_down_after;
        }
        for incarnation in in_flight.adds {
            self.on_roster_added(incarnation);
        }
        for run in in_flight.runs {
            self.on_run_committed(now, run, effects);
        }
        for incarnation in in_flight.removes {
            self.on_roster_removed(now, incarnation);
        }
        if self.commits.something_waits() {
            self.want_commit(now.at);
        }
        self.placement_wanted = true;
    }

    fn on_roster_added(&mut self, incarnation: Incarnation) {
        let Some(worker) = self.workers.get_mut(&incarnation) else { return };
        self.roster.insert(incarnation, worker.id.clone());
        if worker.roster == Roster::Adding {
            worker.roster = Roster::Present;
        }
    }

    /// The store knows that a process holds nothing any more: now its batches are free, not before.
    fn on_roster_removed(&mut self, now: Now, incarnation: Incarnation) {
        self.roster.remove(&incarnation);
        self.forget_worker(now, incarnation);
        self.not_waited_for(now, incarnation);
    }

    /// Callers whose answer was not given.
    pub(crate) fn waiting_requests(&self) -> Vec<RequestId> {
        let staged = self.map_runs.values().flat_map(|map_run| map_run.staged.replies.iter().copied());
        let loading =
            self.map_runs.values().filter_map(|map_run| map_run.loading.as_ref().map(|l| l.request));
        let in_flight =
            self.commits.in_flight.iter().flat_map(|f| f.runs.iter().flat_map(|run| run.replies.clone()));
        let deleting = self.map_runs.values().filter_map(|map_run| map_run.deletion);
        staged.chain(loading).chain(deleting).chain(in_flight).collect()
    }

    /// True if a removal from the roster is staged or on its way.
    pub(crate) fn is_leaving(&self, incarnation: Incarnation) -> bool {
        self.commits.roster_removes.contains_key(&incarnation)
            || self
                .commits
                .in_flight
                .as_ref()
                .is_some_and(|in_flight| in_flight.removes.contains(&incarnation))
    }

    /// Stages the removal of a process from the roster.
    pub(crate) fn leave_roster(&mut self, now: Now, incarnation: Incarnation, worker: WorkerId) {
        self.commits.roster_adds.remove(&incarnation);
        self.commits.roster_removes.insert(incarnation, worker);
        self.want_commit(now.at);
    }
}

#[cfg(test)]
mod tests;
