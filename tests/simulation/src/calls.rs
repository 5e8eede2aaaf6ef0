//! What handler calls come to in this world.

use warifu_model::protocol::{CallOutcome, FailedItems, Grant, GrantedBatch};
use warifu_model::{BatchOrdinal, CallFailure, MapRunId, RangeSet, RetryDecision, decide_retry};
use warifu_session::FinishedBatch;

use crate::worker::granted;
use crate::world::World;

impl World {
    /// What a handler call comes to: some items fail, some calls crash, as the run's nature has it.
    pub(crate) fn outcome(&mut self, grant: &Grant, batch: BatchOrdinal, cancelled: bool) -> FinishedBatch {
        let run = self.runs[&grant.map_run].clone();
        let truth = run.data.batch(grant.shard.shard.0, batch.0).clone();
        let granted = granted(grant, batch);
        let sent = granted.items.clone().unwrap_or_else(|| RangeSet::from_range(0..truth.item_count));
        let mut finished = FinishedBatch {
            lease: grant.lease,
            batch,
            call: CallOutcome::Answered,
            first_item: truth.first_item,
            item_count: truth.item_count,
            bytes: truth.bytes,
            failed: Vec::new(),
            undecided: RangeSet::new(),
            retriers: Vec::new(),
            handler_time: std::time::Duration::from_millis(self.random.between(1, 400)),
            buffered_bytes: sent.len() * 10,
        };
        if cancelled && self.random.chance(30) {
            finished.call = CallOutcome::Aborted;
            finished.item_count = 0; // it was cancelled before its items were read
            finished.buffered_bytes = 0;
        } else if cancelled {
            finished.call = CallOutcome::Aborted;
            finished.failed = vec![failed(sent, CallFailure::system("Warifu.Aborted", "stopped"))];
        } else if granted.give_up {
            finished.call = CallOutcome::Failed;
            finished.failed = vec![failed(sent, CallFailure::system("Warifu.WorkerLost", "lost"))];
        } else if self.random.chance(run.crash_percent) {
            let timed_out = self.random.chance(30);
            finished.call = if timed_out { CallOutcome::TimedOut } else { CallOutcome::Failed };
            let name = if timed_out { "States.Timeout" } else { "Exec.Exit.1" };
            self.decide(&mut finished, grant, &granted, sent, CallFailure::system(name, "crash"));
        } else {
            let bad = |random: &mut crate::random::Random| random.chance(run.bad_percent);
            let business: RangeSet = sent.iter().filter(|_| bad(&mut self.random)).collect();
            let mut rest = sent.clone();
            rest.subtract(&business);
            let system: RangeSet = rest.iter().filter(|_| bad(&mut self.random)).collect();
            self.decide(&mut finished, grant, &granted, business, CallFailure::business("Bad", "no"));
            self.decide(&mut finished, grant, &granted, system, CallFailure::system("Http.503", "busy"));
        }
        finished
    }

    fn decide(
        &mut self,
        finished: &mut FinishedBatch,
        grant: &Grant,
        granted: &GrantedBatch,
        items: RangeSet,
        failure: CallFailure,
    ) {
        if items.is_empty() {
            return;
        }
        let policy = self.policy_of(&grant.map_run);
        match decide_retry(&policy, &granted.retries_used, &failure) {
            RetryDecision::Again { retrier } => {
                finished.undecided.union_with(&items);
                finished.retriers.push(retrier as u32);
            }
            RetryDecision::Final => finished.failed.push(failed(items, failure)),
        }
    }

    fn policy_of(&self, id: &MapRunId) -> Vec<warifu_model::Retrier> {
        let spec = self.store.runs.get(id).and_then(|run| run.spec.as_ref());
        spec.map(|spec| spec.spec.item_processor.retry.clone()).unwrap_or_default()
    }
}

fn failed(items: RangeSet, failure: CallFailure) -> FailedItems {
    FailedItems { items, failure, places: Vec::new() }
}
