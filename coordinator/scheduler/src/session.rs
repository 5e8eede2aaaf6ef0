//! Workers' sessions: Hello and what of the old session lives on, silence, expiry, drain, leave-taking.

use std::collections::{BTreeMap, BTreeSet};

use warifu_model::protocol::{CoordinatorMessage, HeldLease, HeldProgress, Hello, Welcome};
use warifu_model::{Incarnation, LeaseId, MapRunId, Now, RangeSet, ShardNumber, WorkerId};

use crate::lease::{GrantedFor, Lease};
use crate::scheduler::Scheduler;
use crate::shard::granted_for;
use crate::timers::Timer;
use crate::worker::{Roster, Worker};
use crate::{BrokenRule, Effect, Effects, Rejection, Reply, RequestId, StreamId};

/// What a Hello is to this leader.
enum Greeting {
    /// An older Hello of a process that was heard since, or a process that must not use its id now.
    Stale,
    /// A process that is on its way out of the roster: it may come again when that is durable.
    TooEarly,
    /// The same process, its session alive.
    Continues,
    /// A process of the roster that this leader hears for the first time, while its window is open.
    Adoptable,
    /// Anyone else: nothing of what it holds lives on.
    New,
}

impl Scheduler {
    pub(crate) fn on_hello(&mut self, now: Now, stream: StreamId, hello: Hello, effects: &mut Effects) {
        self.release_dead(now, &hello);
        let (kept, slots_kept) = match self.greet(&hello) {
            Greeting::Stale => {
                effects.send(stream, CoordinatorMessage::Superseded);
                return effects.push(Effect::CloseStream { stream });
            }
            Greeting::TooEarly => return effects.push(Effect::CloseStream { stream }),
            Greeting::Continues => {
                self.replace_stream(stream, hello.incarnation, effects);
                (self.reconcile(now, &hello), true)
            }
            Greeting::Adoptable => {
                self.begin_session(now, stream, &hello, Roster::Present);
                (self.adopt(now, &hello), true)
            }
            Greeting::New => {
                self.begin_session(now, stream, &hello, Roster::Adding);
                self.commits.roster_adds.insert(hello.incarnation);
                self.want_commit(now.at);
                (Vec::new(), false)
            }
        };
        self.welcome(now, stream, &hello, kept, slots_kept, effects);
    }

    fn greet(&self, hello: &Hello) -> Greeting {
        if self.is_leaving(hello.incarnation) {
            return Greeting::TooEarly;
        }
        if let Some(known) = self.workers.get(&hello.incarnation) {
            let newer = hello.hello_number > known.hello_number && known.id == hello.worker;
            return if newer { Greeting::Continues } else { Greeting::Stale };
        }
        // The roster knows the process under another name: it is not the one that it says it is.
        let is_another = self.roster.get(&hello.incarnation).is_some_and(|id| *id != hello.worker);
        if is_another || self.id_is_taken(hello) {
            return Greeting::Stale;
        }
        let waited_for =
            self.window.as_ref().is_some_and(|w| !w.closing && w.waiting.contains_key(&hello.incarnation));
        if waited_for { Greeting::Adoptable } else { Greeting::New }
    }

    /// Two live processes under one id would drive each other out for ever: the first one stays.
    fn id_is_taken(&self, hello: &Hello) -> bool {
        let other = |worker: &Worker| worker.id == hello.worker && worker.incarnation != hello.incarnation;
        self.workers.values().any(|worker| other(worker) && worker.stream.is_some())
    }

    /// The process holds the lock of a dead one: what that one held is free without waiting for its expiry.
    fn release_dead(&mut self, now: Now, hello: &Hello) {
        let Some(dead) = hello.dead_incarnation.filter(|dead| *dead != hello.incarnation) else { return };
        let same_id = self.roster.get(&dead).is_some_and(|id| *id == hello.worker)
            || self.workers.get(&dead).is_some_and(|worker| worker.id == hello.worker);
        if same_id && !self.is_leaving(dead) {
            if let Some(stream) = self.workers.get_mut(&dead).and_then(|worker| worker.stream.take()) {
                self.streams.remove(&stream);
            }
            self.lose_worker(now, dead, &hello.worker);
        }
    }

    fn replace_stream(&mut self, stream: StreamId, incarnation: Incarnation, effects: &mut Effects) {
        let old = self.workers.get_mut(&incarnation).and_then(|worker| worker.stream.replace(stream));
        if let Some(old) = old.filter(|old| *old != stream) {
            self.streams.remove(&old);
            effects.push(Effect::CloseStream { stream: old });
        }
    }

    fn begin_session(&mut self, now: Now, stream: StreamId, hello: &Hello, roster: Roster) {
        let worker = Worker {
            id: hello.worker.clone(),
            incarnation: hello.incarnation,
            hello_number: hello.hello_number,
            session: self.next_session_id(),
            stream: Some(stream),
            last_heard: now.at,
            last_heard_time: now.wall,
            connect_time: now.wall,
            version: hello.version.clone(),
            slots: hello.slots,
            handlers: hello.handlers.clone(),
            cut_versions: hello.cut_versions.clone(),
            compensates: hello.compensates,
            draining: hello.draining,
            roster,
            held: BTreeMap::new(),
            kept_slots: 0,
            leases: BTreeSet::new(),
            alone: None,
            knows: BTreeMap::new(),
            scanning: None,
            staging: None,
        };
        self.workers.insert(hello.incarnation, worker);
    }

    /// Same leader, same process: what both sides hold stays, the rest is pending.
    fn reconcile(&mut self, now: Now, hello: &Hello) -> Vec<(LeaseId, RangeSet)> {
        let incarnation = hello.incarnation;
        self.stop_scanning(incarnation);
        let claims: BTreeMap<LeaseId, &HeldLease> =
            hello.leases.iter().map(|held| (held.lease, held)).collect();
        let mut kept = Vec::new();
        for id in self.workers[&incarnation].leases.clone() {
            let claimed = claims.get(&id).map(|held| claimed_batches(held)).unwrap_or_default();
            let remaining: RangeSet = self.leases[&id].remaining.keys().copied().collect();
            let mut missing = remaining.clone();
            missing.subtract(&claimed);
            if let Some(lease) = self.leases.get_mut(&id) {
                lease.begun = claims
                    .get(&id)
                    .map(|held| begun_batches(held).intersection(&remaining))
                    .unwrap_or_default();
                lease.revoked_from = None;
            }
            kept.push((id, remaining.intersection(&claimed)));
            self.give_back(now, id, &missing);
        }
        self.take_held(hello, |_, _| {});
        let session = self.next_session_id();
        let worker = self.workers.get_mut(&incarnation).expect("only known processes continue");
        worker.hello_number = hello.hello_number;
        worker.session = session;
        worker.slots = hello.slots;
        worker.handlers = hello.handlers.clone();
        worker.draining |= hello.draining;
        worker.knows.clear();
        kept
    }

    /// First Hello to a new leader: batches that nobody claimed and that were granted for the durable attempt live on.
    fn adopt(&mut self, now: Now, hello: &Hello) -> Vec<(LeaseId, RangeSet)> {
        let mut kept = Vec::new();
        for held in &hello.leases {
            if let Some(batches) = self.adopt_lease(now, hello.incarnation, held) {
                kept.push((held.lease, batches));
            }
        }
        self.take_held(hello, |map_run, slots| {
            map_run.unknown_slots = map_run.unknown_slots.saturating_sub(slots);
        });
        kept
    }

    fn adopt_lease(&mut self, now: Now, holder: Incarnation, held: &HeldLease) -> Option<RangeSet> {
        if held.shard == ShardNumber::COMPENSATION {
            return self.adopt_compensation(now, holder, held);
        }
        let any_attempt = self.breaks(BrokenRule::AdoptAnyAttempt);
        let map_run = self.map_runs.get_mut(&held.map_run)?;
        if map_run.status.redrive != held.redrive || map_run.status.state.is_terminal() {
            return None;
        }
        let shard = map_run.shards.get_mut(&held.shard.0)?;
        let mut remaining = BTreeMap::new();
        for batch in &held.batches {
            let number = batch.batch.0;
            let granted = GrantedFor { attempt: batch.attempt, round: batch.round };
            let durable = granted_for(shard.record.open.get(&number));
            if shard.orphan.contains(number) && (granted == durable || any_attempt) {
                shard.orphan.remove(number);
                shard.leased.insert(number, held.lease);
                remaining.insert(number, granted);
            }
        }
        map_run.shard_changed(held.shard.0);
        if remaining.is_empty() {
            return None;
        }
        let kept: RangeSet = remaining.keys().copied().collect();
        let lease = Lease {
            id: held.lease,
            holder,
            map_run: held.map_run.clone(),
            redrive: held.redrive,
            shard: held.shard,
            granted: u32::try_from(remaining.len()).unwrap_or(u32::MAX),
            remaining,
            begun: begun_batches(held).intersection(&kept),
            revoked_from: None,
            since: now.at,
            paced: false,
        };
        self.leases.insert(held.lease, lease);
        self.workers.get_mut(&holder)?.leases.insert(held.lease);
        Some(kept)
    }

    /// Slots are what the Hello says.
    fn take_held(&mut self, hello: &Hello, mut adopted: impl FnMut(&mut crate::map_run::MapRun, u32)) {
        let worker = self.workers.get_mut(&hello.incarnation).expect("the session has begun");
        let before = std::mem::take(&mut worker.held);
        for (id, slots) in &before {
            if let Some(map_run) = self.map_runs.get_mut(id) {
                map_run.held_slots -= slots;
            }
        }
        for (id, slots) in &hello.held_slots {
            if let Some(map_run) = self.map_runs.get_mut(id) {
                worker.set_held(id, *slots);
                map_run.held_slots += slots;
                adopted(map_run, *slots);
            }
        }
        self.placement_wanted = true;
    }

    fn welcome(
        &mut self,
        now: Now,
        stream: StreamId,
        hello: &Hello,
        kept: Vec<(LeaseId, RangeSet)>,
        slots_kept: bool,
        effects: &mut Effects,
    ) {
        self.streams.insert(stream, hello.incarnation);
        let Some(worker) = self.workers.get_mut(&hello.incarnation) else { return };
        worker.heard(now);
        let welcome = Welcome {
            session: worker.session,
            hello_number: hello.hello_number,
            ttl: self.config.worker_ttl(),
            kept,
            slots_kept,
        };
        let told_to_drain = worker.draining && !hello.draining;
        effects.send(stream, CoordinatorMessage::Welcome(welcome));
        if told_to_drain {
            effects.send(stream, CoordinatorMessage::Drain { within: self.config.drain_timeout });
        }
        self.set_expiry(now, hello.incarnation);
        self.revoke_stopping(hello.incarnation, effects);
        self.placement_wanted = true;
    }

    /// A worker that missed the end of a run hears of it now. A compensation is what runs at the end.
    fn revoke_stopping(&mut self, incarnation: Incarnation, effects: &mut Effects) {
        let Some(worker) = self.workers.get(&incarnation) else { return };
        let stopping = |lease: &&LeaseId| {
            self.leases
                .get(lease)
                .filter(|lease| !lease.is_compensation())
                .and_then(|lease| self.map_runs.get(&lease.map_run))
                .is_some_and(|map_run| map_run.status.state == warifu_model::MapRunState::Stopping)
        };
        for lease in worker.leases.iter().filter(stopping).copied().collect::<Vec<_>>() {
            self.revoke_all(lease, effects);
        }
    }

    /// Something was said on a stream: who said it, if the stream is a current session's.
    pub(crate) fn hear(&mut self, now: Now, stream: StreamId) -> Option<Incarnation> {
        let incarnation = *self.streams.get(&stream)?;
        if self.is_leaving(incarnation) {
            return None; // its session is over; whatever it says, it must come again
        }
        self.workers.get_mut(&incarnation)?.heard(now);
        // It has had its Welcome: nothing else is said before that, and from then on it heeds no older leader.
        self.not_waited_for(now, incarnation);
        self.set_expiry(now, incarnation);
        Some(incarnation)
    }

    /// A worker that said Hello may have missed the Welcome and gone back to the last leader, who prolongs its session for as
    /// long as he decides.
    fn set_expiry(&mut self, now: Now, incarnation: Incarnation) {
        let at = now.at + self.config.session_ttl;
        let window = self.window.as_ref().filter(|window| window.waiting.contains_key(&incarnation));
        let at = window.map_or(at, |window| at.max(window.ends_at));
        self.timers.set(Timer::WorkerExpiry(incarnation), at);
    }

    pub(crate) fn on_heartbeat(&mut self, stream: StreamId, nonce: u64, effects: &mut Effects) {
        effects.send(stream, CoordinatorMessage::HeartbeatAck { nonce });
    }

    /// The end of a stream says nothing of the worker: its leases stand until its session runs out.
    pub(crate) fn on_stream_closed(&mut self, now: Now, stream: StreamId) {
        let Some(incarnation) = self.streams.remove(&stream) else { return };
        let Some(worker) = self.workers.get_mut(&incarnation) else { return };
        if worker.stream == Some(stream) {
            worker.stream = None;
            let id = worker.id.clone();
            self.stop_scanning(incarnation);
            if self.breaks(BrokenRule::StreamEndIsDeath) {
                self.lose_worker(now, incarnation, &id);
                self.forget_worker(now, incarnation);
            }
        }
        self.placement_wanted = true;
    }

    pub(crate) fn on_expiry(&mut self, now: Now, incarnation: Incarnation) {
        let Some(worker) = self.workers.get(&incarnation) else { return };
        let id = worker.id.clone();
        if !self.is_leaving(incarnation) {
            self.lose_worker(now, incarnation, &id);
        }
    }

    /// A process is gone, or must be taken for gone: what it had begun is a loss, all it holds is free
    /// once the roster says so.
    fn lose_worker(&mut self, now: Now, incarnation: Incarnation, id: &WorkerId) {
        self.stop_scanning(incarnation);
        let leases = self.workers.get(&incarnation).map(|worker| worker.leases.clone()).unwrap_or_default();
        for lease in leases.iter().filter_map(|lease| self.leases.get(lease)) {
            let Some(map_run) = self.map_runs.get_mut(&lease.map_run) else { continue };
            let Some(shard) = map_run.shards.get(&lease.shard.0) else { continue };
            let lost = lease.begun.iter().filter(|batch| !shard.committing.contains(*batch));
            map_run.staged.losses.extend(lost.map(|batch| (lease.shard.0, batch)));
            self.commits.dirty.insert(lease.map_run.clone());
        }
        self.start_leaving(now, incarnation, id);
    }

    fn start_leaving(&mut self, now: Now, incarnation: Incarnation, id: &WorkerId) {
        self.timers.clear(&Timer::WorkerExpiry(incarnation));
        if let Some(worker) = self.workers.get_mut(&incarnation) {
            worker.roster = Roster::Removing;
        }
        self.leave_roster(now, incarnation, id.clone());
    }

    /// The roster does not hold the process any more: its batches are free, its slots too.
    pub(crate) fn forget_worker(&mut self, now: Now, incarnation: Incarnation) {
        let Some(worker) = self.workers.remove(&incarnation) else { return };
        if let Some(stream) = worker.stream {
            self.streams.remove(&stream);
        }
        for id in worker.leases {
            let remaining = self.leases.get(&id).map(|lease| lease.remaining.keys().copied().collect());
            self.give_back(now, id, &remaining.unwrap_or_default());
        }
        for (id, slots) in &worker.held {
            if let Some(map_run) = self.map_runs.get_mut(id) {
                map_run.held_slots -= slots;
            }
        }
        self.placement_wanted = true;
    }

    /// Batches of a lease are pending again, but for those that are being counted.
    pub(crate) fn give_back(&mut self, now: Now, id: LeaseId, batches: &RangeSet) {
        let Some(lease) = self.leases.get_mut(&id) else { return };
        if lease.is_compensation() {
            if !batches.is_empty() {
                self.lose_try(now, id);
            }
            return;
        }
        let Some(map_run) = self.map_runs.get_mut(&lease.map_run) else { return };
        let Some(shard) = map_run.shards.get_mut(&lease.shard.0) else { return };
        for batch in batches.iter() {
            let counting = shard.committing.contains(batch);
            if counting || lease.remaining.remove(&batch).is_none() {
                continue;
            }
            lease.begun.remove(batch);
            shard.leased.remove(&batch);
            shard.record.begun.remove(batch);
            shard.requeue(batch, now.at);
        }
        map_run.shard_changed(lease.shard.0);
        self.end_lease_if_empty(id);
        self.placement_wanted = true;
    }

    /// A lease with nothing left is over. Its slots are not: those are given back by `Shrink` alone.
    pub(crate) fn end_lease_if_empty(&mut self, id: LeaseId) {
        let Some(lease) = self.leases.get(&id).filter(|lease| lease.remaining.is_empty()) else { return };
        let (holder, map_run) = (lease.holder, lease.map_run.clone());
        self.leases.remove(&id);
        if let Some(worker) = self.workers.get_mut(&holder) {
            worker.leases.remove(&id);
            worker.alone = worker.alone.filter(|alone| *alone != id);
        }
        self.finish_checks.insert(map_run);
        self.placement_wanted = true;
    }

    pub(crate) fn on_begun(&mut self, now: Now, holder: Incarnation, lease: LeaseId, batches: &RangeSet) {
        let Some(lease) = self.leases.get_mut(&lease).filter(|lease| lease.holder == holder) else { return };
        let begun: RangeSet = batches.iter().filter(|batch| lease.remaining.contains_key(batch)).collect();
        lease.begun.union_with(&begun);
        let soon_idle = lease.not_begun_count().saturating_mul(2) <= lease.granted;
        let Some(map_run) = self.map_runs.get_mut(&lease.map_run) else { return };
        if let Some(shard) = map_run.shards.get_mut(&lease.shard.0) {
            shard.record.begun.union_with(&begun);
        }
        self.changed.insert(lease.map_run.clone());
        self.placement_wanted |= soon_idle;
        if self.config.step_down_after.is_none() {
            self.timers.set_earlier(Timer::Begun, now.at + BEGUN_WRITE_DELAY);
        }
    }

    /// One process alone: what is in progress is written down, so that a batch that kills the process is known by it.
    pub(crate) fn write_begun(&mut self, now: Now) {
        let begun = self.leases.values().filter(|lease| !lease.begun.is_empty() && !lease.is_compensation());
        let shards: BTreeSet<(MapRunId, u32)> =
            begun.map(|lease| (lease.map_run.clone(), lease.shard.0)).collect();
        if !shards.is_empty() {
            self.commits.begun.extend(shards);
            self.want_commit(now.at);
        }
    }

    pub(crate) fn on_returned(&mut self, now: Now, holder: Incarnation, lease: LeaseId, batches: &RangeSet) {
        if let Some(lease) = self.leases.get_mut(&lease).filter(|lease| lease.holder == holder) {
            lease.revoked_from = None;
            let id = lease.id;
            self.give_back(now, id, batches);
        }
    }

    pub(crate) fn on_shrink(&mut self, incarnation: Incarnation, map_run: &MapRunId, slots: u32) {
        let Some(worker) = self.workers.get_mut(&incarnation) else { return };
        let slots = slots.min(worker.held_for(map_run));
        worker.set_held(map_run, worker.held_for(map_run) - slots);
        if let Some(map_run) = self.map_runs.get_mut(map_run) {
            map_run.note_held();
            map_run.held_slots = map_run.held_slots.saturating_sub(slots);
            self.commits.dirty.insert(map_run.id.clone());
        }
        self.placement_wanted = true;
    }

    pub(crate) fn on_draining(&mut self, incarnation: Incarnation) {
        if let Some(worker) = self.workers.get_mut(&incarnation) {
            worker.draining = true;
        }
        self.placement_wanted = true;
    }

    /// Everything is returned or acknowledged: the process is forgotten once the roster says so.
    pub(crate) fn on_goodbye(&mut self, now: Now, incarnation: Incarnation) {
        if let Some(id) = self.workers.get(&incarnation).map(|worker| worker.id.clone()) {
            self.stop_scanning(incarnation);
            self.start_leaving(now, incarnation, &id);
        }
    }

    pub(crate) fn on_drain(&mut self, request: RequestId, id: &WorkerId, effects: &mut Effects) {
        let within = self.config.drain_timeout;
        self.set_draining(request, id, true, CoordinatorMessage::Drain { within }, effects);
    }

    pub(crate) fn on_uncordon(&mut self, request: RequestId, id: &WorkerId, effects: &mut Effects) {
        self.set_draining(request, id, false, CoordinatorMessage::Uncordon, effects);
    }

    fn set_draining(
        &mut self,
        request: RequestId,
        id: &WorkerId,
        draining: bool,
        message: CoordinatorMessage,
        effects: &mut Effects,
    ) {
        let Some(incarnation) = self.worker_incarnation(id) else {
            return effects.reply(request, Err(Rejection::NoSuchWorker(id.to_string())));
        };
        if let Some(worker) = self.workers.get_mut(&incarnation) {
            worker.draining = draining;
            if let Some(stream) = worker.stream {
                effects.send(stream, message);
            }
        }
        self.placement_wanted = true;
        if let Some(view) = self.worker_view(incarnation) {
            effects.reply(request, Ok(Reply::Worker(Box::new(view))));
        }
    }
}

/// In one process, begun batches are durable at the latest after this long.
const BEGUN_WRITE_DELAY: std::time::Duration = std::time::Duration::from_millis(100);

fn claimed_batches(held: &HeldLease) -> RangeSet {
    held.batches.iter().map(|batch| batch.batch.0).collect()
}

fn begun_batches(held: &HeldLease) -> RangeSet {
    let begun = held.batches.iter().filter(|batch| batch.progress != HeldProgress::NotBegun);
    begun.map(|batch| batch.batch.0).collect()
}
