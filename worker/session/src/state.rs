//! The session's state, and the one function that changes it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use warifu_model::protocol::{CoordinatorMessage, Grant, RunFault, WorkerMessage};
use warifu_model::{
    Incarnation, LeaderTerm, LeaseId, MapRunId, RangeSet, SessionId, Timestamp, WorkerHandler, WorkerId,
};

use crate::connection::Connection;
use crate::drain::Drain;
use crate::event::{ConnectionId, FinishedBatch, SessionEffect, SessionEffects, SessionEvent};
use crate::lease::Lease;

/// Who the worker is; the same for the life of its process.
#[derive(Debug, Clone)]
pub struct WorkerIdentity {
    /// The worker.
    pub worker: WorkerId,
    /// This process.
    pub incarnation: Incarnation,
    /// An older process of the worker that is certainly dead.
    pub dead_incarnation: Option<Incarnation>,
    /// Its version.
    pub version: String,
    /// Batches that it can run at once.
    pub slots: u32,
    /// Its handlers.
    pub handlers: Vec<WorkerHandler>,
    /// Bytes of scanned shards that it keeps.
    pub cache_bytes: u64,
}

/// Times and bounds of a session.
#[derive(Debug, Clone)]
pub struct SessionSettings {
    /// How long a session lives after the sending of its last answered message, if the leader says nothing else.
    pub session_ttl: Duration,
    /// Assumed bound of the difference in clock rates, in percent.
    pub drift_percent: u32,
    /// From one heartbeat to the next.
    pub heartbeat_interval: Duration,
    /// Without an answer for this long a connection is given up.
    pub answer_timeout: Duration,
    /// Pause before a new connection, spread over half to one and a half of it.
    pub reconnect_delay: Duration,
    /// Outcomes are reported at the latest this long after the first one was decided.
    pub flush_after: Duration,
    /// Outcomes are reported once they take so many bytes.
    pub flush_bytes: u64,
    /// Batches that begin within this time of what was told last are told together: a slot that changes hands a thousand
    /// times in a second is not worth a thousand messages.
    pub tell_begun_after: Duration,
    /// While outcomes without an answer take more bytes than this, no batch is begun.
    pub max_unacknowledged_bytes: u64,
    /// A rule left out on purpose, by tests that prove that the simulation notices.
    #[cfg(feature = "broken_rules")]
    pub broken: Option<BrokenSessionRule>,
}

impl Default for SessionSettings {
    fn default() -> Self {
        Self {
            session_ttl: Duration::from_secs(20),
            drift_percent: 1,
            heartbeat_interval: Duration::from_secs(2),
            answer_timeout: Duration::from_secs(7),
            reconnect_delay: Duration::from_millis(200),
            flush_after: Duration::from_secs(1),
            flush_bytes: 8 * 1024 * 1024,
            tell_begun_after: Duration::from_millis(5),
            max_unacknowledged_bytes: 32 * 1024 * 1024,
            #[cfg(feature = "broken_rules")]
            broken: None,
        }
    }
}

/// One rule of the worker's side left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum BrokenSessionRule {
    /// A lapsed session goes on with what it holds (P3).
    KeepLapsedLeases,
    /// More handler calls run than slots are held (S1).
    IgnoreHeldSlots,
    /// Refused reports are sent again as they are, instead of regrouped by what is left (S2).
    NeverForgetRefused,
    /// Batches whose result files cannot be written are kept, in wait for them.
    KeepUnwritable,
}

/// A worker's session. See the crate's documentation.
#[derive(Debug)]
pub struct SessionState {
    pub(crate) identity: WorkerIdentity,
    pub(crate) settings: SessionSettings,
    pub(crate) random: u64,
    pub(crate) connection: Connection,
    pub(crate) hello_number: u64,
    pub(crate) highest_term: LeaderTerm,
    /// The session, while it is valid.
    pub(crate) session: Option<SessionId>,
    pub(crate) valid_until: Timestamp,
    pub(crate) ttl: Duration,
    pub(crate) heartbeats: VecDeque<(u64, Timestamp)>,
    pub(crate) next_nonce: u64,
    pub(crate) next_heartbeat_at: Timestamp,
    /// Slots held, by run.
    pub(crate) held: BTreeMap<MapRunId, u32>,
    /// Handler calls in progress, by run.
    pub(crate) running: BTreeMap<MapRunId, u32>,
    pub(crate) leases: BTreeMap<LeaseId, Lease>,
    /// Begun, and the leader was not told yet.
    pub(crate) untold: BTreeMap<LeaseId, RangeSet>,
    pub(crate) tell_begun_at: Timestamp,
    pub(crate) unacknowledged_bytes: u64,
    pub(crate) faults: BTreeMap<MapRunId, (u32, RunFault)>,
    pub(crate) drain: Drain,
    last_step: Timestamp,
}

impl SessionState {
    /// A worker that has not spoken yet: its first deadline is now. `seed` spreads its reconnects.
    pub fn new(identity: WorkerIdentity, settings: SessionSettings, seed: u64) -> Self {
        Self {
            random: seed,
            connection: Connection::Wanted { from: Timestamp(0) },
            hello_number: 0,
            highest_term: LeaderTerm(0),
            session: None,
            valid_until: Timestamp::NEVER,
            ttl: settings.session_ttl,
            heartbeats: VecDeque::new(),
            next_nonce: 0,
            next_heartbeat_at: Timestamp::NEVER,
            held: BTreeMap::new(),
            running: BTreeMap::new(),
            leases: BTreeMap::new(),
            untold: BTreeMap::new(),
            tell_begun_at: Timestamp(0),
            unacknowledged_bytes: 0,
            faults: BTreeMap::new(),
            drain: Drain::No,
            last_step: Timestamp(0),
            identity,
            settings,
        }
    }

    /// Takes one event, changes the state, and asks for effects. Times must not go back.
    pub fn step(&mut self, now: Timestamp, event: SessionEvent, effects: &mut SessionEffects) {
        self.take(now, event, effects);
        self.settle(now, effects);
    }

    /// Takes calls that ended at once: what follows from them is decided once for all.
    pub fn finish_batches(
        &mut self,
        now: Timestamp,
        finished: impl IntoIterator<Item = FinishedBatch>,
        effects: &mut SessionEffects,
    ) {
        for batch in finished {
            self.take(now, SessionEvent::BatchFinished(batch), effects);
        }
        self.settle(now, effects);
    }

    fn take(&mut self, now: Timestamp, event: SessionEvent, effects: &mut SessionEffects) {
        self.last_step = now;
        if self.session.is_some() && now >= self.valid_until {
            self.lapse(now, effects);
        }
        match event {
            SessionEvent::Connected(connection) => self.on_connected(now, connection, effects),
            SessionEvent::Disconnected(connection) => self.on_disconnected(now, connection, effects),
            SessionEvent::Received(connection, message) => {
                self.on_received(now, connection, message, effects)
            }
            SessionEvent::BatchFinished(batch) => self.on_batch_finished(now, batch, effects),
            SessionEvent::PartsStored { lease, number, parts } => {
                self.on_parts_stored(lease, number, parts, effects)
            }
            SessionEvent::PartsFailed { lease, number } => self.on_parts_failed(lease, number, effects),
            SessionEvent::FaultSeen { map_run, redrive, fault } => {
                self.faults.insert(map_run.clone(), (redrive, fault.clone()));
                self.say(WorkerMessage::Fault { map_run, redrive, fault }, effects);
            }
            SessionEvent::Probed { map_run, probe } => {
                self.say(WorkerMessage::Probed { map_run, probe }, effects)
            }
            SessionEvent::Staged { map_run, staged } => {
                self.say(WorkerMessage::Staged { map_run, staged }, effects);
            }
            SessionEvent::Scanned { map_run, shard, scan } => {
                self.say(WorkerMessage::Scanned { map_run, shard, scan }, effects);
            }
            SessionEvent::DrainRequested { deadline } => self.on_drain_requested(deadline, effects),
            SessionEvent::DeadlineReached => {}
        }
    }

    /// When the next `DeadlineReached` is wanted.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        let validity = self.session.map(|_| self.valid_until);
        let flushes = self.leases.values().filter_map(|lease| lease.first_done_at);
        let flush = flushes.min().map(|first| first + self.settings.flush_after);
        // A drain's deadline that has passed was acted upon: only answers are waited for.
        let drain = self.drain_deadline().filter(|deadline| *deadline > self.last_step);
        [validity, flush, self.connection_deadline(), drain, self.telling_deadline()]
            .into_iter()
            .flatten()
            .min()
    }

    /// What follows from any event: heartbeats, reports, batches to begin, slots to give back, the end.
    fn settle(&mut self, now: Timestamp, effects: &mut SessionEffects) {
        self.keep_connection(now, effects);
        self.drain_leases(now, effects);
        self.flush(now, effects);
        self.begin_batches(now, effects);
        self.tell_begun(now, effects);
        self.close_leases(effects);
        self.give_back_slots(now, effects);
        self.finish_drain(now, effects);
    }

    fn on_received(
        &mut self,
        now: Timestamp,
        connection: ConnectionId,
        message: CoordinatorMessage,
        effects: &mut SessionEffects,
    ) {
        if !self.is_current(connection) {
            return; // from the sending of Hello on nothing is taken from older streams
        }
        if let CoordinatorMessage::Welcome(welcome) = message {
            return self.on_welcome(now, welcome, effects);
        }
        if !self.is_live() {
            if let CoordinatorMessage::Superseded = message {
                self.on_superseded(now, effects);
            }
            return; // before Welcome nothing else counts
        }
        self.on_message(now, message, effects);
    }

    fn on_message(&mut self, now: Timestamp, message: CoordinatorMessage, effects: &mut SessionEffects) {
        match message {
            CoordinatorMessage::Welcome(_) => {} // taken before
            CoordinatorMessage::HeartbeatAck { nonce } => self.on_heartbeat_ack(nonce),
            CoordinatorMessage::OpenRun(context) => effects.push(SessionEffect::OpenRun(context)),
            CoordinatorMessage::CloseRun { map_run } => {
                self.faults.remove(&map_run);
                effects.push(SessionEffect::CloseRun(map_run));
            }
            CoordinatorMessage::Probe { map_run } => effects.push(SessionEffect::Probe(map_run)),
            CoordinatorMessage::Stage { map_run } => effects.push(SessionEffect::Stage(map_run)),
            CoordinatorMessage::Scan(order) => effects.push(SessionEffect::Scan(order)),
            CoordinatorMessage::Grant(grant) => self.on_grant(grant, effects),
            CoordinatorMessage::Slots { map_run, slots } => *self.held.entry(map_run).or_default() += slots,
            CoordinatorMessage::Revoke { lease, from, cancel } => {
                self.on_revoke(now, lease, from.0, cancel, effects)
            }
            CoordinatorMessage::ReportAnswer { lease, report, verdict } => {
                self.on_report_answer(now, lease, report, verdict, effects);
            }
            CoordinatorMessage::Drain { within } => self.on_drain_order(now + within),
            CoordinatorMessage::Uncordon => self.on_uncordon(),
            CoordinatorMessage::Superseded => self.on_superseded(now, effects),
        }
    }

    fn on_grant(&mut self, grant: Grant, effects: &mut SessionEffects) {
        if self.session != Some(grant.session) || self.leases.contains_key(&grant.lease) {
            return;
        }
        *self.held.entry(grant.map_run.clone()).or_default() += grant.slots;
        let grant = Arc::new(grant);
        effects.push(SessionEffect::OpenLease(grant.clone()));
        self.leases.insert(grant.lease, Lease::new(grant));
    }

    fn on_revoke(
        &mut self,
        now: Timestamp,
        id: LeaseId,
        from: u32,
        cancel: bool,
        effects: &mut SessionEffects,
    ) {
        self.tell_untold(now, effects);
        let mut returned = RangeSet::new();
        if let Some(lease) = self.leases.get_mut(&id) {
            returned = lease.not_begun.clone();
            returned.remove_range(0..from);
            lease.not_begun.subtract(&returned);
            if cancel {
                for batch in lease.running.iter() {
                    effects.push(SessionEffect::CancelBatch {
                        lease: id,
                        batch: warifu_model::BatchOrdinal(batch),
                    });
                }
            }
            if !returned.is_empty() {
                effects.push(SessionEffect::DropBatches { lease: id, batches: returned.clone() });
            }
        }
        // Answered even if nothing comes back, so that the leader may ask again.
        self.say(WorkerMessage::Returned { lease: id, batches: returned }, effects);
    }

    /// Forgets batches of a lease, running ones too.
    pub(crate) fn drop_batches(&mut self, id: LeaseId, batches: &RangeSet, effects: &mut SessionEffects) {
        let Some(lease) = self.leases.get_mut(&id) else { return };
        let stopped = lease.running.intersection(batches).len();
        lease.not_begun.subtract(batches);
        lease.running.subtract(batches);
        for range in batches.ranges() {
            for (_, done) in lease.done.extract_if(range.clone(), |_, _| true) {
                lease.done_bytes -= done.buffered_bytes;
                self.unacknowledged_bytes -= done.buffered_bytes;
            }
            for (_, done) in lease.reported.extract_if(range, |_, _| true) {
                self.unacknowledged_bytes -= done.buffered_bytes;
            }
        }
        if lease.done.is_empty() {
            lease.first_done_at = None;
        }
        let map_run = lease.grant.map_run.clone();
        self.stop_running(&map_run, stopped);
        effects.push(SessionEffect::DropBatches { lease: id, batches: batches.clone() });
    }

    pub(crate) fn stop_running(&mut self, map_run: &MapRunId, calls: u64) {
        let calls = u32::try_from(calls).unwrap_or(u32::MAX);
        if let Some(running) = self.running.get_mut(map_run) {
            *running = running.saturating_sub(calls);
            if *running == 0 {
                self.running.remove(map_run);
            }
        }
    }

    /// The session is over by its own clock: whatever it holds may be somebody else's now (P3).
    fn lapse(&mut self, now: Timestamp, effects: &mut SessionEffects) {
        if self.breaks(BrokenSessionRule::KeepLapsedLeases) {
            self.valid_until = now + self.ttl;
            return;
        }
        self.session = None;
        self.forget_everything(effects);
        self.give_up_connection(now, effects);
    }

    pub(crate) fn forget_everything(&mut self, effects: &mut SessionEffects) {
        for (id, lease) in std::mem::take(&mut self.leases) {
            effects.push(SessionEffect::DropBatches { lease: id, batches: lease.batches() });
            effects.push(SessionEffect::CloseLease(id));
        }
        self.held.clear();
        self.running.clear();
        self.untold.clear();
        self.unacknowledged_bytes = 0;
    }

    fn close_leases(&mut self, effects: &mut SessionEffects) {
        self.leases.retain(|id, lease| {
            let over = lease.is_empty() && lease.reports.is_empty();
            if over {
                effects.push(SessionEffect::CloseLease(*id));
            }
            !over
        });
    }

    /// True if tests left this rule out.
    #[cfg(feature = "broken_rules")]
    pub(crate) fn breaks(&self, rule: BrokenSessionRule) -> bool {
        self.settings.broken == Some(rule)
    }

    /// Every rule holds.
    #[cfg(not(feature = "broken_rules"))]
    #[inline(always)]
    pub(crate) fn breaks(&self, _rule: BrokenSessionRule) -> bool {
        false
    }

    /// True while the session is valid by the worker's own clock.
    pub fn is_valid(&self, now: Timestamp) -> bool {
        self.session.is_some() && now < self.valid_until
    }

    /// Batches whose handlers are to be running now, with their runs: what tests hold against the shell.
    pub fn running(&self) -> impl Iterator<Item = (&MapRunId, u32)> {
        self.running.iter().map(|(map_run, count)| (map_run, *count))
    }
}
