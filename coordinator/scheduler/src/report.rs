//! Reports: judged by their lease alone, staged whole or refused whole, answered once they are durable.

use warifu_model::protocol::{BatchReport, CoordinatorMessage, Report, ReportVerdict};
use warifu_model::{Now, RangeSet, ShardNumber};

use crate::compensation::{Try, try_was_counted};
use crate::counting::{sent_items, was_counted};
use crate::lease::GrantedFor;
use crate::map_run::{MapRun, StagedReport};
use crate::scheduler::Scheduler;
use crate::{BrokenRule, Effects, StreamId};

/// What the leader does with a report.
enum Judgement {
    /// Counted before, by this very report: it left batches undecided.
    Repeat,
    /// Staged already; its answer comes when it is durable.
    UnderWay,
    /// Every entry may be counted.
    Stage,
    /// Nothing of it is counted.
    Answer(ReportVerdict),
}

impl Scheduler {
    pub(crate) fn on_report(&mut self, now: Now, stream: StreamId, report: Report, effects: &mut Effects) {
        let verdict = match self.judge(&report) {
            Judgement::UnderWay => return,
            Judgement::Repeat => ReportVerdict::Accepted,
            Judgement::Answer(verdict) => verdict,
            Judgement::Stage => {
                self.stage(now, report.clone());
                if self.breaks(BrokenRule::AnswerBeforeDurable) {
                    ReportVerdict::Accepted
                } else {
                    return;
                }
            }
        };
        effects.send(
            stream,
            CoordinatorMessage::ReportAnswer { lease: report.lease, report: report.number, verdict },
        );
    }

    fn judge(&self, report: &Report) -> Judgement {
        let all: RangeSet = report.entries.iter().map(|entry| entry.batch.0).collect();
        let refused = |batches| Judgement::Answer(ReportVerdict::Refused { batches });
        let Some(map_run) = self.map_runs.get(&report.map_run) else { return refused(all) };
        if map_run.status.redrive != report.redrive {
            return refused(all);
        }
        if report.shard == ShardNumber::COMPENSATION {
            return self.judge_try(map_run, report).unwrap_or_else(|| refused(all));
        }
        if map_run.status.state.is_terminal() {
            return refused(all);
        }
        let Some(shard) = map_run.shards.get(&report.shard.0) else { return refused(all) };
        if was_counted(&shard.record, report) && !self.breaks(BrokenRule::CountRepeats) {
            return Judgement::Repeat;
        }
        if map_run
            .staged
            .reports
            .iter()
            .chain(self.in_flight_reports())
            .any(|staged| is_same(&staged.report, report))
        {
            return Judgement::UnderWay;
        }
        let foreign = self.foreign_batches(map_run, report);
        if foreign.is_empty() {
            return Judgement::Stage;
        }
        let all_decided = all.iter().all(|batch| is_decided(shard, batch));
        if all_decided { Judgement::Answer(ReportVerdict::Superseded) } else { refused(foreign) }
    }

    /// The report's batches that its lease does not cover, or that contradict what is known of them.
    fn foreign_batches(&self, map_run: &MapRun, report: &Report) -> RangeSet {
        let shard = &map_run.shards[&report.shard.0];
        let lease = self
            .leases
            .get(&report.lease)
            .filter(|lease| lease.shard == report.shard && lease.redrive == report.redrive);
        let covers = |entry: &BatchReport| {
            let granted = GrantedFor { attempt: entry.attempt, round: entry.round };
            lease.is_some_and(|lease| {
                lease.covers(entry.batch, granted) && !shard.committing.contains(entry.batch.0)
            }) || (self.breaks(BrokenRule::CountRepeats) && is_decided(shard, entry.batch.0))
        };
        let sound = |entry: &BatchReport| is_sound(entry, shard.record.open.get(&entry.batch.0));
        let foreign = report.entries.iter().filter(|entry| !(covers(entry) && sound(entry)));
        foreign.map(|entry| entry.batch.0).collect()
    }

    /// A compensation's report is judged as any other: by its lease, and the attempt that the lease is for. `None`: refused.
    fn judge_try(&self, map_run: &MapRun, report: &Report) -> Option<Judgement> {
        let [entry] = &report.entries[..] else { return None };
        let status = map_run.status.compensation.as_ref()?;
        if try_was_counted(status, entry) {
            return Some(Judgement::Repeat);
        }
        let compensating = map_run.compensating.as_ref()?;
        if compensating.attempt == Try::Writing(Some((report.lease, report.number))) {
            return Some(Judgement::UnderWay);
        }
        let lease = self.leases.get(&report.lease)?;
        let granted = GrantedFor { attempt: entry.attempt, round: entry.round };
        let its_own = lease.is_compensation()
            && lease.map_run == map_run.id
            && compensating.attempt == Try::Leased(lease.id)
            && lease.covers(entry.batch, granted);
        its_own.then_some(Judgement::Stage)
    }

    fn stage(&mut self, now: Now, report: Report) {
        if report.shard == ShardNumber::COMPENSATION {
            self.stage_try_outcome(now, &report);
        } else {
            self.stage_report(now, report);
        }
    }

    fn stage_report(&mut self, now: Now, report: Report) {
        let holder = self.leases.get(&report.lease).map(|lease| lease.holder).unwrap_or_default();
        let worker = self.workers.get(&holder).map(|worker| worker.id.clone());
        let worker = worker.unwrap_or_else(|| self.unknown_worker.clone());
        let id = report.map_run.clone();
        let Some(map_run) = self.map_runs.get_mut(&id) else { return };
        map_run.learn_batch_time(&report);
        self.placement_wanted |= map_run.adapt(now, &report);
        if let Some(shard) = map_run.shards.get_mut(&report.shard.0) {
            for entry in &report.entries {
                shard.committing.insert(entry.batch.0);
            }
        }
        map_run.staged.reports.push_back(StagedReport { report, holder, worker });
        self.touch(now.at, &id);
    }
}

fn is_same(staged: &Report, report: &Report) -> bool {
    staged.lease == report.lease && staged.number == report.number
}

fn is_decided(shard: &crate::shard::Shard, batch: u32) -> bool {
    shard.record.finished.iter().any(|range| (range.first_batch..range.end_batch).contains(&batch))
}

/// True if what an entry says of its items fits together and fits what is known of the batch.
fn is_sound(entry: &BatchReport, open: Option<&crate::record::OpenBatch>) -> bool {
    let sent = sent_items(open, entry.item_count);
    let mut seen = entry.undecided.clone();
    let mut items = entry.undecided.len();
    for group in &entry.failed {
        seen.union_with(&group.items);
        items += group.items.len();
    }
    let disjoint = seen.len() == items;
    let within = seen.intersection(&sent).len() == seen.len();
    let same_batch =
        open.is_none_or(|open| open.item_count == entry.item_count && open.first_item == entry.first_item);
    disjoint && within && same_batch && entry.item_count > 0
}

impl MapRun {
    /// Handler time of a batch: a moving average that follows a change within some ten reports.
    fn learn_batch_time(&mut self, report: &Report) {
        for entry in &report.entries {
            self.batch_time = Some(match self.batch_time {
                Some(average) => (average * 7 + entry.handler_time) / 8,
                None => entry.handler_time,
            });
        }
    }
}
