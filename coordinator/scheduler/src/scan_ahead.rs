//! How far scanning goes ahead of leasing.
//!
//! What was scanned is in a worker's cache until it is leased: so there is a bound for the whole run, and for each worker.

use std::collections::BTreeMap;

use warifu_model::Incarnation;

use crate::map_run::{MapRun, Planned};
use crate::scheduler::Scheduler;
use crate::shard::Shard;

/// Shards of a run that are scanned ahead at least, however few workers there are.
const MIN_SCAN_AHEAD: usize = 4;
/// Shards scanned ahead by each worker: what its cache holds.
const SCAN_AHEAD_PER_WORKER: usize = 2;

/// Batches that wait to be sent again, and no more is scanned: a service that fails for a while must not have the whole source
/// wait for its retries.
const MAX_WAITING: usize = 10_000;

impl Scheduler {
    /// Shards of a run that may be scanned and not leased to their end.
    pub(crate) fn scan_ahead(&self) -> usize {
        (self.live_workers() * SCAN_AHEAD_PER_WORKER).max(MIN_SCAN_AHEAD)
    }

    /// The most of them that one worker scans.
    pub(crate) fn part_of_scans(&self) -> usize {
        self.scan_ahead().div_ceil(self.live_workers().max(1))
    }

    fn live_workers(&self) -> usize {
        self.workers.values().filter(|worker| worker.is_reachable()).count()
    }
}

impl MapRun {
    /// Shards with batches that were never leased.
    fn not_leased(&self) -> impl Iterator<Item = &Shard> {
        self.open_shards().filter(|shard| !shard.pending.is_empty())
    }

    fn waiting_batches(&self) -> usize {
        self.open_shards().map(|shard| shard.waiting.len()).sum()
    }

    /// How many shards each worker scanned that are not leased to their end.
    pub(crate) fn scanned_ahead(&self) -> BTreeMap<Incarnation, usize> {
        let open = self.not_leased().filter_map(|shard| shard.affinity);
        let scans = self.planned().map(|planned| planned.scans.values()).into_iter().flatten();
        let mut ahead = BTreeMap::new();
        for worker in open.chain(scans.filter_map(|(_, from)| *from)) {
            *ahead.entry(worker).or_default() += 1;
        }
        ahead
    }

    /// The first shard that nobody has scanned or is scanning, unless enough are.
    pub(crate) fn next_shard_to_scan(&self, planned: &Planned, ahead: usize) -> Option<u32> {
        if planned.composer.is_complete() {
            return None;
        }
        let next = planned.composer.next_shard();
        if planned.rescan && !planned.under_way.contains_key(&next) {
            return Some(next);
        }
        if self.lacks_batch_size() {
            // What others would be cut by is not known.
            let free = !planned.scans.contains_key(&next) && !planned.under_way.contains_key(&next);
            return free.then_some(next);
        }
        let not_leased = self.not_leased().count() + planned.scans.len() + planned.under_way.len();
        if not_leased >= ahead || self.waiting_batches() >= MAX_WAITING {
            return None;
        }
        let free = |shard: &u32| !planned.scans.contains_key(shard) && !planned.under_way.contains_key(shard);
        (next..planned.composer.plan().shard_count()).take(ahead + 1).find(free)
    }
}
