//! A worker's process, as the leader believes.

use std::collections::{BTreeMap, BTreeSet};

use warifu_model::{
    HandlerName, Incarnation, LeaseId, MapRunId, Now, SessionId, Timestamp, WallTime, WorkerHandler,
    WorkerId, WorkerState, WorkerView,
};

use crate::StreamId;

/// Whether the store knows that this process may hold leases.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Roster {
    /// It does not; a write is staged or on its way.
    Adding,
    /// It does, durably.
    Present,
    /// A write that removes it is staged or on its way: the process gets nothing any more.
    Removing,
}

/// What a worker reads for a run besides its batches: one thing at a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Scanning {
    Probe(MapRunId),
    Shard(MapRunId, u32),
}

/// One process of a worker.
#[derive(Debug, Clone)]
pub(crate) struct Worker {
    pub(crate) id: WorkerId,
    pub(crate) incarnation: Incarnation,
    pub(crate) hello_number: u64,
    pub(crate) session: SessionId,
    /// The stream of its current session, while it is open.
    pub(crate) stream: Option<StreamId>,
    pub(crate) last_heard: Timestamp,
    pub(crate) last_heard_time: WallTime,
    pub(crate) connect_time: WallTime,
    pub(crate) version: String,
    pub(crate) slots: u32,
    pub(crate) handlers: Vec<WorkerHandler>,
    pub(crate) cut_versions: Vec<u32>,
    /// It knows leases that are a compensation.
    pub(crate) compensates: bool,
    pub(crate) draining: bool,
    pub(crate) roster: Roster,
    /// Slots held, by run: an upper bound of the handler calls that it may have in progress.
    pub(crate) held: BTreeMap<MapRunId, u32>,
    /// Free slots that are kept for compensations' tries while those are being counted.
    pub(crate) kept_slots: u32,
    pub(crate) leases: BTreeSet<LeaseId>,
    /// The one beside which nothing else may run here.
    pub(crate) alone: Option<LeaseId>,
    /// Runs whose context it was sent in this session, with the version of the context.
    pub(crate) knows: BTreeMap<MapRunId, u64>,
    pub(crate) scanning: Option<Scanning>,
    /// The run whose source it rewrites.
    pub(crate) staging: Option<MapRunId>,
}

impl Worker {
    pub(crate) fn heard(&mut self, now: Now) {
        self.last_heard = now.at;
        self.last_heard_time = now.wall;
    }

    pub(crate) fn held_slots(&self) -> u32 {
        self.held.values().sum()
    }

    pub(crate) fn held_for(&self, map_run: &MapRunId) -> u32 {
        self.held.get(map_run).copied().unwrap_or(0)
    }

    pub(crate) fn free_slots(&self) -> u32 {
        self.slots.saturating_sub(self.held_slots()).saturating_sub(self.kept_slots)
    }

    pub(crate) fn set_held(&mut self, map_run: &MapRunId, slots: u32) {
        if slots == 0 {
            self.held.remove(map_run);
        } else {
            self.held.insert(map_run.clone(), slots);
        }
    }

    /// True if something may be sent to it that it will act on.
    pub(crate) fn is_reachable(&self) -> bool {
        self.stream.is_some() && self.roster != Roster::Removing
    }

    /// Whether it scans a shard of the run.
    pub(crate) fn is_scanning(&self, map_run: &MapRunId) -> bool {
        matches!(&self.scanning, Some(Scanning::Shard(of, _)) if of == map_run)
    }

    pub(crate) fn offers(&self, handler: &HandlerName) -> bool {
        warifu_model::protocol::offers(&self.handlers, handler)
    }

    pub(crate) fn view(&self, running_batches: u32) -> WorkerView {
        WorkerView {
            id: self.id.clone(),
            incarnation: self.incarnation,
            state: match (self.stream, self.draining) {
                (None, _) => WorkerState::Suspect,
                (Some(_), true) => WorkerState::Draining,
                (Some(_), false) => WorkerState::Active,
            },
            slots: self.slots,
            held_slots: self.held_slots(),
            lease_count: u32::try_from(self.leases.len()).unwrap_or(u32::MAX),
            running_batches,
            handlers: self.handlers.clone(),
            version: self.version.clone(),
            connect_time: self.connect_time,
            last_heard_time: self.last_heard_time,
        }
    }
}
