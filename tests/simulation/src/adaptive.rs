//! Concurrency that is chosen, in the simulated world: what must be true of runs with `adaptiveConcurrency`.
//!
//! 1. The limit in effect is at least 1, and at most the run's `maxConcurrency`, whoever leads.
//! 2. When a leader gives slots, those that are held then are no more than the limit allows.
//! 3. What the store has of a limit is within the same bounds, so that any leader may go on from it.

use std::time::Duration;

use warifu_model::{AdaptiveConcurrency, MapRunId};
use warifu_scheduler::Slots;
use warifu_scheduler::record::StatusRecord;

use crate::random::Random;
use crate::world::World;

pub(crate) fn some_adaptive(random: &mut Random) -> Option<AdaptiveConcurrency> {
    let adaptive = random.chance(30);
    let target_duration = random.chance(30).then(|| Duration::from_secs(random.between(1, 120)));
    adaptive.then_some(AdaptiveConcurrency { target_duration })
}

impl World {
    /// A leader gives slots.
    pub(crate) fn check_slots_given(&mut self, leader: usize, id: &MapRunId) -> Result<(), String> {
        let Some(slots) = self.leaders[leader].scheduler.slots(id) else {
            return Err(format!("{id} is given slots, and its leader does not know it"));
        };
        let Slots { held, limit, ceiling } = slots;
        if limit == 0 || limit > ceiling {
            return Err(format!("{id} has a limit of {limit}, and maxConcurrency is {ceiling}"));
        }
        if held > limit {
            return Err(format!("{id} is given slots: {held} are held, the limit is {limit}"));
        }
        self.oracle.statistics.adapted_slots += u64::from(limit < ceiling);
        Ok(())
    }

    /// How a run stands was written.
    pub(crate) fn check_adapted(&mut self, id: &MapRunId, status: &StatusRecord) -> Result<(), String> {
        let is_adaptive = self.store.runs.get(id).and_then(|run| run.spec.as_ref());
        let is_adaptive = is_adaptive.is_some_and(|record| record.spec.adaptive_concurrency.is_some());
        let limit = status.adapted.map(|adapted| adapted.limit.limit);
        if is_adaptive != limit.is_some() || limit == Some(0) {
            return Err(format!("{id} is stored with a limit of {limit:?}"));
        }
        self.oracle.statistics.highest_adapted =
            self.oracle.statistics.highest_adapted.max(limit.unwrap_or(0).into());
        Ok(())
    }
}
