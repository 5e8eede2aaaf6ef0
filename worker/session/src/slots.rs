//! Slots: batches that begin in them, what the leader is told of that, and slots that go back.
//!
//! The leader hears of a batch before its handler is called, unless it heard of others a moment ago: a batch that kills the
//! process must be known by it (its loss counts). The first of a lease is always told at once, so one that did so in the midst
//! of faster ones is told when it is leased by itself, as the batches of a lost worker are after their first loss.

use std::collections::BTreeMap;

use warifu_model::protocol::WorkerMessage;
use warifu_model::{BatchOrdinal, LeaseId, MapRunId, RangeSet, Timestamp};

use crate::event::{SessionEffect, SessionEffects};
use crate::state::{BrokenSessionRule, SessionState};

impl SessionState {
    /// Fills the slots held: older leases first, batches in their order.
    pub(crate) fn begin_batches(&mut self, now: Timestamp, effects: &mut SessionEffects) {
        let may_begin =
            self.session.is_some() && self.unacknowledged_bytes < self.settings.max_unacknowledged_bytes;
        if !may_begin {
            return;
        }
        let mut begun: Vec<(LeaseId, RangeSet)> = Vec::new();
        let mut begins_lease = false;
        let mut free: BTreeMap<&MapRunId, u32> =
            self.held.iter().map(|(map_run, held)| (map_run, self.free_slots(map_run, *held))).collect();
        for (id, lease) in &mut self.leases {
            let Some(free) = free.get_mut(&lease.grant.map_run).filter(|free| **free > 0) else { continue };
            let is_new = lease.is_untouched();
            let first = lease.take_first(*free);
            let count = u32::try_from(first.len()).unwrap_or(u32::MAX);
            if count > 0 {
                *free = free.saturating_sub(count);
                *self.running.entry(lease.grant.map_run.clone()).or_default() += count;
                begins_lease |= is_new;
                begun.push((*id, first));
            }
        }
        for (id, batches) in &begun {
            self.untold.entry(*id).or_default().union_with(batches);
        }
        if begins_lease {
            self.tell_untold(now, effects);
        }
        self.tell_begun(now, effects);
        for (lease, batches) in begun {
            for batch in batches.iter() {
                effects.push(SessionEffect::BeginBatch { lease, batch: BatchOrdinal(batch) });
            }
        }
    }

    fn free_slots(&self, map_run: &MapRunId, held: u32) -> u32 {
        if self.breaks(BrokenSessionRule::IgnoreHeldSlots) {
            return self.identity.slots;
        }
        held.saturating_sub(self.running.get(map_run).copied().unwrap_or(0))
    }

    /// Tells what has begun, unless that was done a moment ago.
    pub(crate) fn tell_begun(&mut self, now: Timestamp, effects: &mut SessionEffects) {
        if now >= self.tell_begun_at {
            self.tell_untold(now, effects);
        }
    }

    /// Tells what has begun and was not told: before anything is said that makes sense to the leader only after that.
    pub(crate) fn tell_untold(&mut self, now: Timestamp, effects: &mut SessionEffects) {
        if self.untold.is_empty() || !self.is_live() {
            return;
        }
        self.tell_begun_at = now + self.settings.tell_begun_after;
        for (lease, batches) in std::mem::take(&mut self.untold) {
            self.say(WorkerMessage::Begun { lease, batches }, effects);
        }
    }

    /// When what has begun is to be told. Without a live connection Hello tells it.
    pub(crate) fn telling_deadline(&self) -> Option<Timestamp> {
        (self.is_live() && !self.untold.is_empty()).then_some(self.tell_begun_at)
    }

    /// Slots with nothing left to begin go back at once.
    pub(crate) fn give_back_slots(&mut self, now: Timestamp, effects: &mut SessionEffects) {
        if !self.is_live() {
            return; // the next Hello says what is held
        }
        let wanted = self.wanted_slots();
        let spare = self.held.iter().filter_map(|(map_run, held)| {
            let wanted = wanted.get(map_run).copied().unwrap_or(0);
            let spare = u64::from(*held).saturating_sub(wanted);
            (spare > 0).then(|| (map_run.clone(), u32::try_from(spare).unwrap_or(u32::MAX)))
        });
        let spare: Vec<_> = spare.collect();
        if !spare.is_empty() {
            self.tell_untold(now, effects);
        }
        for (map_run, slots) in spare {
            self.held.entry(map_run.clone()).and_modify(|held| *held -= slots);
            self.say(WorkerMessage::Shrink { map_run, slots }, effects);
        }
        self.held.retain(|_, held| *held > 0);
    }

    /// Batches that run or could begin, by run.
    fn wanted_slots(&self) -> BTreeMap<&MapRunId, u64> {
        let mut wanted: BTreeMap<&MapRunId, u64> =
            self.running.iter().map(|(map_run, running)| (map_run, u64::from(*running))).collect();
        for lease in self.leases.values() {
            *wanted.entry(&lease.grant.map_run).or_default() += lease.not_begun.len();
        }
        wanted
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use warifu_model::LeaseEpoch;
    use warifu_model::protocol::{CoordinatorMessage, Grant};

    use super::*;
    use crate::event::{ConnectionId, SessionEvent};
    use crate::testing::{self, LEASE};

    /// Batches of each `Begun`, and the batches that began.
    fn told_and_begun(effects: &mut SessionEffects) -> (Vec<Vec<u32>>, Vec<u32>) {
        let (mut told, mut begun) = (Vec::new(), Vec::new());
        for effect in effects.drain() {
            match effect {
                SessionEffect::Send(_, WorkerMessage::Begun { batches, .. }) => {
                    told.push(batches.iter().collect());
                }
                SessionEffect::BeginBatch { batch, .. } => begun.push(batch.0),
                _ => {}
            }
        }
        (told, begun)
    }

    #[test]
    fn slots_that_change_hands_quickly_are_told_together_and_none_is_forgotten() {
        let mut effects = SessionEffects::new();
        let mut state = testing::live();
        let at = |millis: u64| testing::START + Duration::from_millis(millis);
        state.step(at(0), testing::granted(6, 2), &mut effects);
        assert_eq!(told_and_begun(&mut effects), (vec![vec![0, 1]], vec![0, 1]));

        state.step(at(1), SessionEvent::BatchFinished(testing::finished(0)), &mut effects);
        assert_eq!(told_and_begun(&mut effects), (vec![], vec![2]));
        let both = [1, 2].map(testing::finished);
        state.finish_batches(at(2), both, &mut effects);
        assert_eq!(told_and_begun(&mut effects), (vec![], vec![3, 4]));

        assert_eq!(state.next_deadline(), Some(at(5)));
        state.step(at(5), SessionEvent::DeadlineReached, &mut effects);
        assert_eq!(told_and_begun(&mut effects), (vec![vec![2, 3, 4]], vec![]));
        state.step(at(30), SessionEvent::BatchFinished(testing::finished(3)), &mut effects);
        assert_eq!(told_and_begun(&mut effects), (vec![vec![5]], vec![5]), "nothing was told for long");
    }

    #[test]
    fn the_first_of_a_lease_is_told_at_once_and_slots_go_back_after_what_began() {
        let mut effects = SessionEffects::new();
        let mut state = testing::live();
        let at = |millis: u64| testing::START + Duration::from_millis(millis);
        state.step(at(0), testing::granted(3, 2), &mut effects);
        state.step(at(1), SessionEvent::BatchFinished(testing::finished(0)), &mut effects);
        effects.drain();
        let next = LeaseId { epoch: LeaseEpoch(2), ..LEASE };
        let grant = Grant { lease: next, ..testing::grant(2, 1) };
        let granted = SessionEvent::Received(testing::FIRST, CoordinatorMessage::Grant(grant));
        state.step(at(2), granted, &mut effects);
        let (told, begun) = told_and_begun(&mut effects);
        assert_eq!((told, begun), (vec![vec![2], vec![0]], vec![0]));

        let both = [1, 2].map(testing::finished);
        state.finish_batches(at(3), both, &mut effects);
        let said = effects.drain().filter_map(|effect| match effect {
            SessionEffect::Send(_, message) => Some(message),
            _ => None,
        });
        assert!(matches!(
            &said.collect::<Vec<_>>()[..],
            [WorkerMessage::Begun { .. }, WorkerMessage::Shrink { slots: 1, .. }]
        ),);
    }

    #[test]
    fn hello_tells_what_was_not_told() {
        let mut effects = SessionEffects::new();
        let mut state = testing::live();
        let at = |millis: u64| testing::START + Duration::from_millis(millis);
        state.step(at(0), testing::granted(3, 1), &mut effects);
        state.step(at(1), SessionEvent::BatchFinished(testing::finished(0)), &mut effects);
        assert!(!state.untold.is_empty());
        told_and_begun(&mut effects);
        let again = ConnectionId(2);
        state.step(at(2), SessionEvent::Disconnected(testing::FIRST), &mut effects);
        state.step(at(400), SessionEvent::Connected(again), &mut effects);
        assert_eq!(told_and_begun(&mut effects), (vec![], vec![]));
        assert!(state.untold.is_empty(), "Hello said that batch 1 runs: {:?}", state.leases[&LEASE].running);
        assert_eq!(state.telling_deadline(), None);
    }
}
