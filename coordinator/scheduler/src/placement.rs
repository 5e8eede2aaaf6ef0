//! Which worker gets which batches, with how many slots.
//!
//! Runs take turns, the one with the fewest slots first; within a run, batches whose backoff is over go
//! before new ones, and a worker gets the shard that it scanned if it can: another one would fetch it again. A lease holds
//! about `span_target` of measured work, and never more than a fair part of what remains. Of a run with a rate it holds what
//! may begin now (see `pace.rs`).

use warifu_model::protocol::{CoordinatorMessage, Grant, GrantedBatch, ShardSpan};
use warifu_model::{BatchOrdinal, HandlerName, Incarnation, LeaseId, MapRunId, Now, RangeSet, ShardNumber};

use crate::candidates::Candidates;
use crate::lease::Lease;
use crate::map_run::MapRun;
use crate::scheduler::Scheduler;
use crate::shard::Shard;
use crate::worker::{Roster, Worker};
use crate::{BrokenRule, Config, Effects};

/// A batch lost so often with its worker is leased in a span of one.
const SPAN_OF_ONE_AFTER: u32 = 1;
/// Lost so often, it runs alone on its worker.
const ALONE_AFTER: u32 = 2;
/// In progress at so many deaths of the whole process in a row, it runs alone.
const ALONE_AFTER_DEATHS: u32 = 3;
/// Batches for each slot in the first leases of a run, before any handler time is known.
const FIRST_SPAN_PER_SLOT: u32 = 4;
/// A fair part of what remains: so many leases for each worker.
const FAIR_PARTS: u32 = 2;

/// Where a lease's batches may come from.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shards {
    /// What the worker scanned, and is likely to have in its cache.
    Own,
    /// Those first, then whatever waits: for a worker that will soon have a shard of its own, only what is kept for none.
    Any,
}

/// Batches of one shard that go into one lease.
struct Span {
    shard: u32,
    batches: Vec<u32>,
    alone: bool,
}

impl Scheduler {
    /// Gives out what can be given: scans, leases, slots; asks back what idle slots could run.
    pub(crate) fn place(&mut self, now: Now, effects: &mut Effects) {
        self.place_stagings(effects);
        self.place_scans(effects);
        if self.window.as_ref().is_some_and(|window| now.at < window.grants_from) {
            return;
        }
        self.place_compensations(now, effects);
        let mut turn = self.running_ids();
        let mut candidates = Candidates::default();
        while !turn.is_empty() {
            // The run with the fewest slots goes first; one that got nothing is out of this round.
            turn.sort_by_key(|id| (self.map_runs[id].held_slots, self.map_runs[id].record.sequence));
            let id = turn[0].clone();
            if !self.grant_one(now, &id, &mut candidates, effects) {
                turn.remove(0);
            }
        }
        let starving = self.starving_compensations(now);
        for id in self.running_ids() {
            self.extend_holders(now, &id, &starving, effects);
            self.top_up(&id, effects);
            self.rebalance(now, &id, effects);
        }
    }

    pub(crate) fn may_grant(&self, map_run: &MapRun) -> bool {
        let suspended = map_run.grants_suspended && !self.breaks(BrokenRule::GrantWhileStopping);
        map_run.is_running() && !suspended && map_run.staged.stop.is_none()
    }

    fn room(&self, map_run: &MapRun) -> u32 {
        if self.breaks(BrokenRule::IgnoreMaxConcurrency) {
            u32::MAX
        } else if self.breaks(BrokenRule::IgnoreAdaptedLimit) {
            map_run.max_concurrency().saturating_sub(map_run.held_slots).saturating_sub(map_run.unknown_slots)
        } else {
            map_run.room()
        }
    }

    /// Grants one lease that brings slots; false if there is no work, no room or no free slot.
    fn grant_one(
        &mut self,
        now: Now,
        id: &MapRunId,
        candidates: &mut Candidates,
        effects: &mut Effects,
    ) -> bool {
        let map_run = &self.map_runs[id];
        let room = self.room(map_run);
        if !self.may_grant(map_run) || room == 0 || map_run.open_shards.is_empty() {
            return false;
        }
        let in_time = self.batches_in_time(now, id);
        if in_time == 0 {
            return false;
        }
        let Some((worker, count)) = candidates.first(now.at, self, id) else { return false };
        let share = room.div_ceil(u32::try_from(count).unwrap_or(u32::MAX));
        let free = self.workers[&worker].free_slots();
        let slots = free.min(share).min(self.fair_slots(id, worker)).max(1);
        let map_run = &self.map_runs[id];
        let (slots, length) = if map_run.is_paced() {
            let begun_at_once = slots.min(in_time).min(self.unbegun_room(&self.workers[&worker], map_run));
            (begun_at_once, begun_at_once)
        } else {
            (slots, span_length(map_run, slots, count, &self.config))
        };
        let idle = self.workers[&worker].held_slots() == 0 && self.workers[&worker].leases.is_empty();
        let Some(span) = self.choose_span(now, id, worker, length, idle, Shards::Any) else { return false };
        let slots = slots.min(u32::try_from(span.batches.len()).unwrap_or(u32::MAX));
        candidates.take_out(&self.workers[&worker]);
        self.grant(now, id, worker, span, slots, effects);
        candidates.put_back(self, &self.workers[&worker]);
        true
    }

    pub(crate) fn may_take(&self, worker: &Worker, map_run: &MapRun) -> bool {
        let in_roster = worker.roster == Roster::Present;
        worker.stream.is_some()
            && in_roster
            && !worker.draining
            && worker.alone.is_none()
            && worker.offers(&map_run.spec.item_processor.handler)
            && worker.cut_versions.contains(&map_run.record.cut_version)
    }

    /// Slots of a worker that a run may take while others want some, too.
    fn fair_slots(&self, id: &MapRunId, worker: Incarnation) -> u32 {
        let worker = &self.workers[&worker];
        let wants = |map_run: &&MapRun| {
            let in_need = map_run.id == *id || (!map_run.open_shards.is_empty() && !map_run.pace.holds_back);
            in_need && self.may_grant(map_run) && worker.offers(&map_run.spec.item_processor.handler)
        };
        let wanting = self.map_runs.values().filter(wants).count().max(1);
        worker.slots.div_ceil(u32::try_from(wanting).unwrap_or(u32::MAX))
    }

    /// Takes batches for a lease out of what waits: retries first, then the worker's own shards, then the lowest.
    fn choose_span(
        &mut self,
        now: Now,
        id: &MapRunId,
        worker: Incarnation,
        count: u32,
        idle: bool,
        from: Shards,
    ) -> Option<Span> {
        let map_run = &self.map_runs[id];
        let waits = map_run.waits_for_its_own(self.workers.get(&worker)?);
        // They may be a thousand: each is looked up once.
        let shards: Vec<(u32, &Shard)> = map_run.numbered_open_shards().filter(|(_, s)| s.opened).collect();
        let due = shards.iter().filter(|(_, shard)| shard.has_due(now.at));
        let own = shards.iter().filter(|(_, shard)| shard.affinity == Some(worker));
        let may_be_taken = |shard: &Shard| from == Shards::Any && !(waits && self.is_kept(map_run, shard));
        let others = shards.iter().filter(|(_, shard)| may_be_taken(shard));
        let due: Vec<u32> = due.map(|(number, _)| *number).collect();
        let ordered: Vec<u32> = own.chain(others).map(|(number, _)| *number).collect();
        let map_run = self.map_runs.get_mut(id)?;
        let mut due = due.into_iter();
        let span = due.find_map(|number| take_due(map_run.shards.get_mut(&number)?, number, now, idle));
        let span = span.or_else(|| {
            let mut ordered = ordered.into_iter();
            ordered.find_map(|number| take_pending(map_run.shards.get_mut(&number)?, number, count, idle))
        });
        if let Some(span) = &span {
            map_run.shard_changed(span.shard);
        }
        span
    }

    fn grant(
        &mut self,
        now: Now,
        id: &MapRunId,
        incarnation: Incarnation,
        span: Span,
        slots: u32,
        effects: &mut Effects,
    ) {
        let lease_id = self.next_lease_id();
        let Some(stream) = self.open_run_at(id, incarnation, effects) else { return };
        let Some(map_run) = self.map_runs.get_mut(id) else { return };
        let Some(worker) = self.workers.get_mut(&incarnation) else { return };
        worker.set_held(id, worker.held_for(id) + slots);
        worker.leases.insert(lease_id);
        if span.alone {
            worker.alone = Some(lease_id);
        }
        map_run.held_slots += slots;
        let redrive = map_run.status.redrive;
        let newlines_before_data =
            map_run.stored_plan.as_ref().map_or(0, |plan| plan.probe.newlines_before_data);
        map_run.pay_for(now.at, span.shard, &span.batches);
        let paced = map_run.is_paced();
        let shard = map_run.shards.get_mut(&span.shard).expect("a span is of a shard that exists");
        let (lease, grant_batches) =
            lease_of(now, lease_id, incarnation, id, redrive, shard, &span, paced, &self.config);
        let grant = Grant {
            lease: lease_id,
            session: worker.session,
            map_run: id.clone(),
            redrive,
            shard: shard_span(shard, &span, newlines_before_data),
            batches: grant_batches,
            slots,
            compensation: None,
        };
        map_run.shard_changed(span.shard);
        self.leases.insert(lease_id, lease);
        self.changed.insert(id.clone());
        effects.send(stream, CoordinatorMessage::Grant(grant));
    }

    /// Workers that will soon have nothing left to begin get their next lease ahead, to run in the slots they hold: unless
    /// one of their slots is wanted for a compensation. What has to keep to a rate is never granted ahead.
    ///
    /// Each first gets of what it scanned itself; then those that had nothing of the kind get of what is left.
    fn extend_holders(&mut self, now: Now, id: &MapRunId, starving: &[HandlerName], effects: &mut Effects) {
        if self.map_runs[id].is_paced() || self.others_starve(id) {
            return;
        }
        let holders: Vec<Incarnation> = self
            .workers
            .values()
            .filter(|worker| worker.held_for(id) > 0 && self.may_take(worker, &self.map_runs[id]))
            .filter(|worker| !starving.iter().any(|handler| worker.would_compensate(handler)))
            .map(|worker| worker.incarnation)
            .collect();
        let (count, mut unserved) = (holders.len(), holders);
        for from in [Shards::Own, Shards::Any] {
            let mut still_unserved = Vec::new();
            for worker in unserved {
                let map_run = &self.map_runs[id];
                if !self.may_grant(map_run)
                    || map_run.open_shards.is_empty()
                    || map_run.held_slots > map_run.concurrency_limit()
                {
                    return;
                }
                let held = self.workers[&worker].held_for(id);
                let wanted = span_length(map_run, held, count, &self.config);
                if self.not_begun(worker, id) * 2 > wanted {
                    continue;
                }
                match self.choose_span(now, id, worker, wanted, false, from) {
                    Some(span) => self.grant(now, id, worker, span, 0, effects),
                    None => still_unserved.push(worker),
                }
            }
            unserved = still_unserved;
        }
    }

    /// Batches that a worker holds of a run and has not begun.
    fn not_begun(&self, worker: Incarnation, id: &MapRunId) -> u32 {
        let leases = self.workers[&worker].leases.iter().filter_map(|lease| self.leases.get(lease));
        leases.filter(|lease| lease.map_run == *id).map(Lease::not_begun_count).sum()
    }

    /// Another run has work, room, and no slot anywhere: this one must not hold on to its slots.
    fn others_starve(&self, id: &MapRunId) -> bool {
        let starves = |map_run: &MapRun| {
            map_run.id != *id
                && !map_run.open_shards.is_empty()
                && !map_run.pace.holds_back
                && self.may_grant(map_run)
                && map_run.room() > 0
                && map_run.held_slots < self.map_runs[id].held_slots
                && self.free_for(map_run).next().is_none()
        };
        self.map_runs.values().any(starves)
    }

    /// Holders of batches without slots, or with fewer than could run, get slots where there is room.
    fn top_up(&mut self, id: &MapRunId, effects: &mut Effects) {
        let map_run = &self.map_runs[id];
        if !self.may_grant(map_run) || map_run.is_paced() || self.others_starve(id) {
            return;
        }
        let needy: Vec<Incarnation> = self
            .workers
            .values()
            .filter(|worker| worker.free_slots() > 0 && !worker.leases.is_empty())
            .filter(|worker| self.may_take(worker, &self.map_runs[id]))
            .map(|worker| worker.incarnation)
            .collect();
        for incarnation in needy {
            let wanted = self.not_begun(incarnation, id);
            let room = self.room(&self.map_runs[id]);
            let fair =
                self.fair_slots(id, incarnation).saturating_sub(self.workers[&incarnation].held_for(id));
            let slots = self.workers[&incarnation].free_slots().min(room).min(wanted).min(fair);
            if slots > 0 {
                self.give_slots(id, incarnation, slots, effects);
            }
        }
    }

    fn give_slots(&mut self, id: &MapRunId, incarnation: Incarnation, slots: u32, effects: &mut Effects) {
        let Some(worker) = self.workers.get_mut(&incarnation) else { return };
        let Some(stream) = worker.stream else { return };
        worker.set_held(id, worker.held_for(id) + slots);
        if let Some(map_run) = self.map_runs.get_mut(id) {
            map_run.held_slots += slots;
        }
        effects.send(stream, CoordinatorMessage::Slots { map_run: id.clone(), slots });
    }
}

/// Batches that make about `span_target` of work in `slots`, and no more than a fair part of what remains.
fn span_length(map_run: &MapRun, slots: u32, workers: usize, config: &Config) -> u32 {
    let by_time = match map_run.batch_time {
        Some(time) if !time.is_zero() => {
            let per_slot = config.span_target.as_micros() / time.as_micros().max(1);
            u32::try_from(per_slot).unwrap_or(u32::MAX).max(1).saturating_mul(slots)
        }
        Some(_) => config.max_span_batches,
        None => FIRST_SPAN_PER_SLOT.saturating_mul(slots),
    };
    let waiting = map_run.open_shards.pending_batches();
    let parts = u64::try_from(workers).unwrap_or(u64::MAX).saturating_mul(u64::from(FAIR_PARTS)).max(1);
    // While shards are still to come, what waits now is not what remains.
    let fair = if map_run.is_composed() { waiting.div_ceil(parts) } else { waiting };
    let fair = u32::try_from(fair).unwrap_or(u32::MAX).max(slots);
    by_time.min(fair).clamp(1, config.max_span_batches)
}

/// A batch whose backoff is over: a span of one.
fn take_due(shard: &mut Shard, number: u32, now: Now, idle: bool) -> Option<Span> {
    let due = shard.waiting.iter().filter(|(_, at)| **at <= now.at).map(|(batch, _)| *batch);
    let batch = due.into_iter().find(|batch| idle || !runs_alone(shard, *batch))?;
    shard.waiting.remove(&batch);
    Some(Span { shard: number, batches: vec![batch], alone: runs_alone(shard, batch) })
}

fn take_pending(shard: &mut Shard, number: u32, count: u32, idle: bool) -> Option<Span> {
    if shard.record.losses.is_empty() && shard.record.deaths.is_empty() {
        let batches: Vec<u32> = shard.pending.take_front(count)?.collect();
        return Some(Span { shard: number, batches, alone: false });
    }
    take_around_lost(shard, number, count, idle)
}

/// Where some batches were lost before, those go one by one, the others as ever.
fn take_around_lost(shard: &mut Shard, number: u32, count: u32, idle: bool) -> Option<Span> {
    let lost = |batch: u32| shard.losses(batch) >= SPAN_OF_ONE_AFTER || runs_alone(shard, batch);
    let first = shard.pending.iter().find(|batch| idle || !runs_alone(shard, *batch))?;
    let batches: Vec<u32> = if lost(first) {
        vec![first]
    } else {
        let run = (first..first.saturating_add(count))
            .take_while(|batch| shard.pending.contains(*batch) && !lost(*batch));
        run.collect()
    };
    let alone = runs_alone(shard, first);
    for batch in &batches {
        shard.pending.remove(*batch);
    }
    Some(Span { shard: number, batches, alone })
}

fn runs_alone(shard: &Shard, batch: u32) -> bool {
    shard.losses(batch) >= ALONE_AFTER || shard.deaths(batch) >= ALONE_AFTER_DEATHS
}

#[allow(clippy::too_many_arguments)] // one place builds a lease; naming its parts again in a struct would say nothing new
fn lease_of(
    now: Now,
    id: LeaseId,
    holder: Incarnation,
    map_run: &MapRunId,
    redrive: u32,
    shard: &mut Shard,
    span: &Span,
    paced: bool,
    config: &Config,
) -> (Lease, Vec<GrantedBatch>) {
    let mut lease = Lease {
        id,
        holder,
        map_run: map_run.clone(),
        redrive,
        shard: ShardNumber(span.shard),
        remaining: Default::default(),
        granted: u32::try_from(span.batches.len()).unwrap_or(u32::MAX),
        begun: RangeSet::new(),
        revoked_from: None,
        since: now.at,
        paced,
    };
    let mut granted_batches = Vec::with_capacity(span.batches.len());
    for batch in &span.batches {
        let granted = shard.granted_for(*batch);
        shard.leased.insert(*batch, id);
        lease.remaining.insert(*batch, granted);
        let open = shard.record.open.get(batch);
        granted_batches.push(GrantedBatch {
            batch: BatchOrdinal(*batch),
            attempt: granted.attempt,
            round: granted.round,
            retries_used: open.map(|open| open.retries_used.clone()).unwrap_or_default(),
            items: open.map(|open| open.undecided.clone()),
            give_up: shard.losses(*batch) >= config.max_losses,
        });
    }
    (lease, granted_batches)
}

fn shard_span(shard: &Shard, span: &Span, newlines_before_data: u64) -> ShardSpan {
    let composed = &shard.record.composed;
    let (first, last) = (span.batches[0], span.batches[span.batches.len() - 1]);
    let (start, read_until) = shard.read_span(first, last);
    ShardSpan {
        shard: ShardNumber(span.shard),
        range: composed.range,
        ends_object: shard.record.composer.plan().ends_object(span.shard),
        items: composed.items,
        first_item: composed.first_item,
        first_batch: composed.first_batch,
        first_line: newlines_before_data + composed.first_line,
        start,
        read_until,
    }
}

#[cfg(test)]
mod tests;
