//! Taking back what is not begun: for idle slots elsewhere, and where slots are missing.

use std::time::Duration;

use warifu_model::protocol::CoordinatorMessage;
use warifu_model::{BatchOrdinal, Incarnation, LeaseId, MapRunId, Now};

use crate::lease::Lease;
use crate::map_run::MapRun;
use crate::scheduler::Scheduler;
use crate::timers::Timer;
use crate::{BrokenRule, Effects};

/// What a lease holds must have been running this long before some of it is taken away.
const MIN_AGE_TO_REVOKE: Duration = Duration::from_millis(50);
/// So long if what is left would be done within that time: to send and to read it again elsewhere takes longer than to wait,
/// unless its holder is slower than others.
const MIN_AGE_TO_REVOKE_LITTLE: Duration = Duration::from_millis(200);

impl Scheduler {
    /// Idle slots elsewhere could run what a holder has not begun: half of the longest tail is asked back.
    /// A holder without any slot, or of a run over its limit, is asked for all that it has not begun; so is one that was given
    /// more than may begin, of a run that has a rate since.
    pub(crate) fn rebalance(&mut self, now: Now, id: &MapRunId, effects: &mut Effects) {
        self.revoke_where_slots_are_missing(id, effects);
        let map_run = &self.map_runs[id];
        if !map_run.open_shards.is_empty() || !self.may_grant(map_run) || map_run.room() == 0 {
            return;
        }
        let idle = self.free_for(map_run).filter(|worker| !map_run.waits_for_its_own(worker));
        let idle: Vec<_> = idle.map(|worker| worker.incarnation).take(2).collect();
        if idle.is_empty() {
            return;
        }
        let tails = self.leases.values().filter(|lease| lease.map_run == *id && lease.revoked_from.is_none());
        let longest = tails.map(|lease| (lease.not_begun_count(), lease.id)).max();
        let Some((tail, lease)) = longest.filter(|(tail, _)| *tail >= 2) else { return };
        let holder = self.leases[&lease].holder;
        if idle == [holder] {
            return; // it may begin them itself: `top_up` gives it slots
        }
        let (age, min_age) =
            (now.at.since(self.leases[&lease].since), self.min_age_to_revoke(map_run, tail, holder));
        if age < min_age {
            return self.timers.set_earlier(Timer::Rebalance, now.at + (min_age - age));
        }
        let from = self.leases[&lease].nth_not_begun(tail - tail / 2);
        if let Some(from) = from {
            self.revoke_from(lease, from, effects);
        }
    }

    fn min_age_to_revoke(&self, map_run: &MapRun, tail: u32, holder: Incarnation) -> Duration {
        let slots = self.workers.get(&holder).map_or(1, |holder| holder.held_for(&map_run.id).max(1));
        let left = map_run.batch_time.map(|time| time * tail.div_ceil(slots));
        if left.is_some_and(|left| left < MIN_AGE_TO_REVOKE) {
            MIN_AGE_TO_REVOKE_LITTLE
        } else {
            MIN_AGE_TO_REVOKE
        }
    }

    fn revoke_where_slots_are_missing(&mut self, id: &MapRunId, effects: &mut Effects) {
        let map_run = &self.map_runs[id];
        let over = map_run.held_slots > map_run.concurrency_limit();
        let missing = |lease: &&Lease| {
            let holds_none = self.workers.get(&lease.holder).is_some_and(|worker| worker.held_for(id) == 0);
            let ahead_of_rate = map_run.is_paced() && !lease.paced;
            lease.map_run == *id
                && lease.revoked_from.is_none()
                && (holds_none || over || ahead_of_rate)
                && lease.not_begun_count() > 0
        };
        let leases: Vec<(LeaseId, u32)> = self
            .leases
            .values()
            .filter(missing)
            .filter_map(|lease| lease.nth_not_begun(0).map(|first| (lease.id, first)))
            .collect();
        for (lease, from) in leases {
            self.revoke_from(lease, from, effects);
        }
    }

    fn revoke_from(&mut self, id: LeaseId, from: u32, effects: &mut Effects) {
        let frees_slots = self.breaks(BrokenRule::FreeSlotsAtRevoke);
        let Some(lease) = self.leases.get_mut(&id) else { return };
        let Some(worker) = self.workers.get_mut(&lease.holder) else { return };
        let Some(stream) = worker.stream else { return };
        lease.revoked_from = Some(from);
        effects
            .send(stream, CoordinatorMessage::Revoke { lease: id, from: BatchOrdinal(from), cancel: false });
        if frees_slots && let Some(map_run) = self.map_runs.get_mut(&lease.map_run) {
            map_run.held_slots -= worker.held_for(&map_run.id);
            worker.set_held(&map_run.id, 0);
        }
    }
}

#[cfg(test)]
mod tests;
