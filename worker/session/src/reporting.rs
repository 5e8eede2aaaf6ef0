//! Outcomes: gathered by lease, stored as a part, reported, and reported again until they are answered.

use warifu_model::protocol::{BatchReport, Report, ReportVerdict, WorkerMessage};
use warifu_model::{BatchOrdinal, LeaseId, RangeSet, ReportNumber, Timestamp};

use crate::event::{FinishedBatch, SessionEffect, SessionEffects, StoredParts};
use crate::lease::{Lease, Unanswered};
use crate::state::{BrokenSessionRule, SessionState};

/// Batches of one report at most: a message stays small.
const MAX_REPORT_BATCHES: u64 = 2_048;

impl SessionState {
    pub(crate) fn on_batch_finished(
        &mut self,
        now: Timestamp,
        finished: FinishedBatch,
        effects: &mut SessionEffects,
    ) {
        let Some(lease) = self.leases.get_mut(&finished.lease) else { return };
        if !lease.running.remove(finished.batch.0) {
            return;
        }
        let map_run = lease.grant.map_run.clone();
        if finished.item_count == 0 {
            // Cancelled before its items were read: its handler was never called, so it goes back.
            let batches = RangeSet::from_iter([finished.batch.0]);
            effects.push(SessionEffect::DropBatches { lease: finished.lease, batches: batches.clone() });
            self.say(WorkerMessage::Returned { lease: finished.lease, batches }, effects);
        } else {
            lease.done_bytes += finished.buffered_bytes;
            self.unacknowledged_bytes += finished.buffered_bytes;
            lease.first_done_at.get_or_insert(now);
            lease.done.insert(finished.batch.0, Box::new(finished));
        }
        self.stop_running(&map_run, 1);
    }

    /// Sends off what is large enough, old enough, or complete.
    pub(crate) fn flush(&mut self, now: Timestamp, effects: &mut SessionEffects) {
        let (after, bytes) = (self.settings.flush_after, self.settings.flush_bytes);
        for (id, lease) in &mut self.leases {
            while lease
                .first_done_at
                .is_some_and(|first| now >= first + after || lease.done_bytes >= bytes || lease.is_decided())
            {
                let (number, batches) = lease.begin_report(bytes);
                effects.push(SessionEffect::StoreParts { lease: *id, number, batches });
            }
        }
    }

    pub(crate) fn on_parts_stored(
        &mut self,
        id: LeaseId,
        number: ReportNumber,
        parts: StoredParts,
        effects: &mut SessionEffects,
    ) {
        let Some(lease) = self.leases.get_mut(&id) else { return };
        let Some(Unanswered::Storing(batches)) = lease.reports.get(&number) else { return };
        let report = lease.report(number, batches, parts);
        lease.reports.insert(number, Unanswered::Sent(Box::new(report.clone())));
        self.say(WorkerMessage::Report(report), effects);
    }

    /// Without its parts a report cannot be made: its batches go back, as if they had not run. A run that stops would wait
    /// for them for ever.
    pub(crate) fn on_parts_failed(
        &mut self,
        id: LeaseId,
        number: ReportNumber,
        effects: &mut SessionEffects,
    ) {
        if self.breaks(BrokenSessionRule::KeepUnwritable) {
            return;
        }
        let Some(lease) = self.leases.get_mut(&id) else { return };
        let Some(Unanswered::Storing(batches)) = lease.reports.remove(&number) else { return };
        self.drop_batches(id, &batches, effects);
        self.say(WorkerMessage::Returned { lease: id, batches }, effects);
    }

    /// Every report without an answer, once more and unchanged.
    pub(crate) fn report_again(&mut self, effects: &mut SessionEffects) {
        let sent = |report: &Unanswered| match report {
            Unanswered::Sent(report) => Some(WorkerMessage::Report((**report).clone())),
            Unanswered::Storing(_) => None,
        };
        let again: Vec<_> =
            self.leases.values().flat_map(|lease| lease.reports.values().filter_map(sent)).collect();
        for message in again {
            self.say(message, effects);
        }
    }

    pub(crate) fn on_report_answer(
        &mut self,
        now: Timestamp,
        id: LeaseId,
        number: ReportNumber,
        verdict: ReportVerdict,
        effects: &mut SessionEffects,
    ) {
        let keeps_refused = self.breaks(BrokenSessionRule::NeverForgetRefused);
        let Some(lease) = self.leases.get_mut(&id) else { return };
        let Some(Unanswered::Sent(report)) = lease.reports.remove(&number) else { return };
        let reported: RangeSet = report.entries.iter().map(|entry| entry.batch.0).collect();
        match verdict {
            ReportVerdict::Accepted | ReportVerdict::Superseded => self.drop_batches(id, &reported, effects),
            ReportVerdict::Refused { batches } => {
                let foreign = if keeps_refused { RangeSet::new() } else { reported.intersection(&batches) };
                lease.take_back(now, &reported);
                self.drop_batches(id, &foreign, effects);
            }
        }
    }
}

impl Lease {
    /// Takes batches until the report's part is large enough: a part is longer than `flush_bytes` by no more than one batch,
    /// also when refused reports are cut anew.
    fn begin_report(&mut self, flush_bytes: u64) -> (ReportNumber, RangeSet) {
        let number = ReportNumber(self.next_report);
        self.next_report += 1;
        let batches = if self.done_bytes < flush_bytes && self.done.len() as u64 <= MAX_REPORT_BATCHES {
            self.report_all()
        } else {
            self.report_first(flush_bytes)
        };
        if self.done.is_empty() {
            self.first_done_at = None;
        }
        self.reports.insert(number, Unanswered::Storing(batches.clone()));
        (number, batches)
    }

    fn report_all(&mut self) -> RangeSet {
        let mut done = std::mem::take(&mut self.done);
        let batches = done.keys().copied().collect();
        self.done_bytes = 0;
        if self.reported.is_empty() {
            self.reported.append(&mut done);
        } else {
            // Appending would go through all that is there.
            self.reported.extend(done);
        }
        batches
    }

    fn report_first(&mut self, flush_bytes: u64) -> RangeSet {
        let mut batches = RangeSet::new();
        let mut bytes = 0;
        while batches.len() < MAX_REPORT_BATCHES
            && bytes < flush_bytes
            && let Some((batch, done)) = self.done.pop_first()
        {
            self.done_bytes -= done.buffered_bytes;
            bytes += done.buffered_bytes;
            batches.insert(batch);
            self.reported.insert(batch, done);
        }
        batches
    }

    fn report(&self, number: ReportNumber, batches: &RangeSet, parts: StoredParts) -> Report {
        let entry = |batch: u32| self.reported.get(&batch).and_then(|done| self.entry(done));
        Report {
            lease: self.grant.lease,
            number,
            map_run: self.grant.map_run.clone(),
            redrive: self.grant.redrive,
            shard: self.grant.shard.shard,
            entries: batches.iter().filter_map(entry).collect(),
            succeeded_part: parts.succeeded,
            failed_part: parts.failed,
            inline_outputs: parts.inline_outputs,
            inline_outputs_truncated: parts.inline_outputs_truncated,
        }
    }

    fn entry(&self, done: &FinishedBatch) -> Option<BatchReport> {
        let granted = self.granted(done.batch.0)?;
        Some(BatchReport {
            batch: BatchOrdinal(done.batch.0),
            attempt: granted.attempt,
            round: granted.round,
            first_item: done.first_item,
            item_count: done.item_count,
            bytes: done.bytes,
            call: done.call,
            failed: done.failed.clone(),
            undecided: done.undecided.clone(),
            retriers: done.retriers.clone(),
            handler_time: done.handler_time,
        })
    }

    /// Batches of a refused report wait for a new one.
    fn take_back(&mut self, now: Timestamp, reported: &RangeSet) {
        for batch in reported.iter() {
            if let Some(done) = self.reported.remove(&batch) {
                self.done_bytes += done.buffered_bytes;
                self.done.insert(batch, done);
                self.first_done_at.get_or_insert(now);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::testing;

    fn lease() -> Lease {
        Lease::new(Arc::new(testing::grant(0, 1)))
    }

    fn finished(batch: u32, buffered_bytes: u64) -> Box<FinishedBatch> {
        Box::new(FinishedBatch { buffered_bytes, ..testing::finished(batch) })
    }

    #[test]
    fn a_part_is_longer_than_it_should_be_by_no_more_than_a_batch() {
        let mut lease = lease();
        for batch in 0..9 {
            lease.done.insert(batch, finished(batch, 4));
            lease.done_bytes += 4;
        }
        lease.first_done_at = Some(Timestamp(1));
        let reports: Vec<Vec<u32>> = std::iter::from_fn(|| {
            lease.first_done_at?;
            Some(lease.begin_report(10).1.iter().collect())
        })
        .collect();
        assert_eq!(reports, [vec![0, 1, 2], vec![3, 4, 5], vec![6, 7, 8]]);
        assert_eq!(lease.done_bytes, 0);
        // Refused reports are cut anew, and no larger.
        lease.take_back(Timestamp(2), &(0..9).collect());
        assert_eq!(lease.begin_report(10).1.iter().collect::<Vec<_>>(), [0, 1, 2]);
        assert_eq!(lease.done_bytes, 24);
    }
}
