//! What follows once a run's part of a transaction is durable.

use warifu_model::protocol::{CoordinatorMessage, Report, ReportVerdict};
use warifu_model::{MapRunId, MapRunState, Now, retry_delay};

use crate::map_run::{Finish, StagedReport};
use crate::redrive::reopened;
use crate::run_commit::{CommitContext, RunCommit};
use crate::scheduler::Scheduler;
use crate::shard::Shard;
use crate::timers::Timer;
use crate::{BrokenRule, Effect, Effects, Reply};

impl Scheduler {
    pub(crate) fn commit_context(&self, now: Now) -> CommitContext {
        CommitContext {
            now,
            hold_decisions: self.window.as_ref().is_some_and(|window| now.at < window.grants_from),
            ignore_tolerance: self.breaks(BrokenRule::IgnoreTolerance),
            all_workers_known: self.window.is_none(),
            max_stored_failures: self.config.max_stored_failures,
            max_output_bytes: self.config.max_output_bytes,
            min_alert_items: self.config.min_alert_items,
        }
    }

    pub(crate) fn on_run_committed(&mut self, now: Now, part: RunCommit, effects: &mut Effects) {
        self.changed.insert(part.id.clone());
        if part.deleted {
            return self.on_deleted(part, effects);
        }
        let Some(map_run) = self.map_runs.get_mut(&part.id) else { return };
        let before = (map_run.status.state, map_run.status.redrive);
        map_run.status = part.status;
        map_run.grants_suspended = false;
        map_run.outputs.extend(part.outputs);
        map_run.last_parts = part.last_parts.or(map_run.last_parts.take());
        map_run.take_limits(now);
        if part.redriven {
            map_run.leaves_end = false;
            map_run.reopen_shards(now);
        }
        for (number, record) in part.shards {
            if let Some(shard) = map_run.shards.get_mut(&number) {
                shard.take_record(record);
                map_run.shard_changed(number);
            }
        }
        map_run.rate.sample(now.at, map_run.status.item_counts.sum());
        for staged in part.reports {
            self.on_report_counted(now, staged, effects);
        }
        if let Some(alert) = part.alert {
            effects.push(Effect::RaiseAlert(Box::new(alert)));
        }
        if let Some(report) = part.compensation {
            self.on_compensation_written(now, &part.id, report, effects);
        }
        self.on_state_changed(now, &part.id, before, effects);
        self.reply_map_run(&part.replies, &part.id, effects);
        self.check_finished(now, &part.id, effects);
    }

    /// A report is durable: its batches leave their lease, what is undecided waits for its time, the worker hears.
    fn on_report_counted(&mut self, now: Now, staged: StagedReport, effects: &mut Effects) {
        let StagedReport { report, holder, .. } = staged;
        for entry in &report.entries {
            self.release_batch(now, &report, entry.batch.0);
        }
        self.end_lease_if_empty(report.lease);
        let stream = self.workers.get(&holder).and_then(|worker| worker.stream);
        if let Some(stream) = stream {
            let answer = CoordinatorMessage::ReportAnswer {
                lease: report.lease,
                report: report.number,
                verdict: ReportVerdict::Accepted,
            };
            effects.send(stream, answer);
        }
    }

    fn release_batch(&mut self, now: Now, report: &Report, batch: u32) {
        let Some(map_run) = self.map_runs.get_mut(&report.map_run) else { return };
        let Some(shard) = map_run.shards.get_mut(&report.shard.0) else { return };
        shard.committing.remove(batch);
        shard.record.begun.remove(batch);
        let granted_to = shard.leased.remove(&batch);
        if let Some(lease) = granted_to.and_then(|lease| self.leases.get_mut(&lease)) {
            lease.remaining.remove(&batch);
            lease.begun.remove(batch);
        }
        if let Some(open) = shard.record.open.get(&batch).filter(|open| !open.undecided.is_empty()) {
            let policy = &map_run.spec.item_processor.retry;
            let fraction = self.random.fraction();
            let delays = open.retries_used.iter().zip(policy).filter(|(used, _)| **used > 0);
            let delay =
                delays.map(|(used, retrier)| retry_delay(retrier, *used, fraction)).max().unwrap_or_default();
            let not_before = now.at + delay;
            shard.waiting.insert(batch, not_before);
            map_run.retries.insert((not_before, report.shard.0, batch));
            self.timers.set_earlier(Timer::Retry(report.map_run.clone()), not_before);
        }
        let map_run = self.map_runs.get_mut(&report.map_run).expect("it was there a moment ago");
        map_run.shard_changed(report.shard.0);
    }

    pub(crate) fn on_retry_due(&mut self, now: Now, id: &MapRunId) {
        let Some(map_run) = self.map_runs.get_mut(id) else { return };
        while let Some(first) = map_run.retries.first().copied() {
            if first.0 > now.at {
                self.timers.set(Timer::Retry(id.clone()), first.0);
                break;
            }
            map_run.retries.pop_first();
        }
        self.placement_wanted = true;
    }

    fn on_state_changed(
        &mut self,
        now: Now,
        id: &MapRunId,
        before: (MapRunState, u32),
        effects: &mut Effects,
    ) {
        let Some(map_run) = self.map_runs.get_mut(id) else { return };
        let after = (map_run.status.state, map_run.status.redrive);
        if before == after {
            return;
        }
        match after.0 {
            MapRunState::Queued => {}
            MapRunState::Running => {
                map_run.started_at = now.at;
                map_run.finish = Finish::NotYet;
                if let Some(timeout) = map_run.spec.timeout {
                    self.timers.set(Timer::RunTimeout(id.clone()), now.at + timeout);
                }
            }
            MapRunState::Stopping => self.on_stopping(now, id, effects),
            MapRunState::Succeeded | MapRunState::Failed | MapRunState::Aborted => {
                self.on_terminal(now, id, effects);
            }
        }
    }

    pub(crate) fn reply_map_run(&self, requests: &[crate::RequestId], id: &MapRunId, effects: &mut Effects) {
        for request in requests {
            if let Some(view) = self.map_run(id) {
                effects.reply(*request, Ok(Reply::MapRun(Box::new(view))));
            }
        }
    }
}

impl Shard {
    /// Takes what is durable now; what workers said meanwhile of begun batches stays.
    fn take_record(&mut self, record: crate::record::ShardRecord) {
        let begun = std::mem::take(&mut self.record.begun);
        self.record = record;
        self.record.begun = begun.intersection(&self.leased.keys().copied().collect());
        self.opened = true;
    }
}

impl crate::map_run::MapRun {
    /// What became durable may have changed limits, the rate among them.
    fn take_limits(&mut self, now: Now) {
        let before = self.spec.max_items_per_second;
        self.refresh_spec();
        let after = self.spec.max_items_per_second;
        if before != after {
            self.pace.change_rate(now.at, before, after);
        }
    }

    /// Makes available what a redrive sends again.
    fn reopen_shards(&mut self, now: Now) {
        let redrive = self.status.redrive;
        for number in self.shards.keys().copied().collect::<Vec<_>>() {
            if let Some(shard) = self.shards.get_mut(&number) {
                *shard = Shard::recovered(reopened(shard.record.clone(), redrive), now.at, false);
                self.shard_changed(number);
            }
        }
        self.context_changed();
    }
}
