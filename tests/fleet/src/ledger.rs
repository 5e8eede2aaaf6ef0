//! What happened at the workers, written down by them as it happens.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Counts over all workers. A call counts as running from before its handler is called until after it has returned, so
/// that no overlap is missed.
#[derive(Debug)]
pub struct Ledger {
    running: AtomicU64,
    most_running: AtomicU64,
    /// Calls, by number of the batch.
    calls: Vec<AtomicU32>,
    cancelled: AtomicU64,
    connections: AtomicU64,
    hellos: AtomicU64,
    welcomes: AtomicU64,
    given_up: AtomicU64,
    refused: AtomicU64,
    faults: AtomicU64,
    heartbeats: AtomicU64,
    answered: AtomicU64,
    answers: Mutex<Vec<Duration>>,
}

/// How long answers to heartbeats took.
#[derive(Debug, Clone, Copy)]
pub struct Answers {
    /// How many came.
    pub count: usize,
    /// Half of them came within this time.
    pub median: Duration,
    /// All but one of a hundred.
    pub percentile_99: Duration,
    /// All.
    pub slowest: Duration,
}

impl Ledger {
    pub(crate) fn new(batches: u32) -> Self {
        Self {
            running: AtomicU64::new(0),
            most_running: AtomicU64::new(0),
            calls: (0..batches).map(|_| AtomicU32::new(0)).collect(),
            cancelled: AtomicU64::new(0),
            connections: AtomicU64::new(0),
            hellos: AtomicU64::new(0),
            welcomes: AtomicU64::new(0),
            given_up: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            faults: AtomicU64::new(0),
            heartbeats: AtomicU64::new(0),
            answered: AtomicU64::new(0),
            answers: Mutex::new(Vec::new()),
        }
    }

    pub(crate) fn call_begins(&self, batch: u64) {
        let running = self.running.fetch_add(1, Ordering::SeqCst) + 1;
        self.most_running.fetch_max(running, Ordering::SeqCst);
        let calls = usize::try_from(batch).ok().and_then(|batch| self.calls.get(batch));
        calls.expect("a batch of the source").fetch_add(1, Ordering::SeqCst);
    }

    pub(crate) fn call_ended(&self) {
        self.running.fetch_sub(1, Ordering::SeqCst);
    }

    pub(crate) fn call_cancelled(&self) {
        add(&self.cancelled);
    }

    pub(crate) fn connection_asked(&self) {
        add(&self.connections);
    }

    pub(crate) fn hello_sent(&self) {
        add(&self.hellos);
    }

    pub(crate) fn welcome_heard(&self) {
        add(&self.welcomes);
    }

    pub(crate) fn connection_given_up(&self) {
        add(&self.given_up);
    }

    pub(crate) fn worker_refused(&self) {
        add(&self.refused);
    }

    pub(crate) fn fault_seen(&self) {
        add(&self.faults);
    }

    pub(crate) fn heartbeat_sent(&self) {
        add(&self.heartbeats);
    }

    pub(crate) fn heartbeat_answered(&self, after: Duration) {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner).push(after);
        add(&self.answered);
    }

    /// Handler calls in progress.
    pub fn running(&self) -> u64 {
        self.running.load(Ordering::SeqCst)
    }

    /// The most handler calls that were in progress at once.
    pub fn most_running(&self) -> u64 {
        self.most_running.load(Ordering::SeqCst)
    }

    /// Batches whose handler was called exactly `times`.
    pub fn batches_called(&self, times: u32) -> usize {
        self.calls.iter().filter(|calls| calls.load(Ordering::SeqCst) == times).count()
    }

    /// Batches that were cancelled or taken away.
    pub fn cancelled(&self) -> u64 {
        load(&self.cancelled)
    }

    /// Connections that workers asked for.
    pub fn connections(&self) -> u64 {
        load(&self.connections)
    }

    /// Hellos that were sent.
    pub fn hellos(&self) -> u64 {
        load(&self.hellos)
    }

    /// Welcomes that were heard.
    pub fn welcomes(&self) -> u64 {
        load(&self.welcomes)
    }

    /// Connections that workers gave up: nothing was answered in time.
    pub fn given_up(&self) -> u64 {
        load(&self.given_up)
    }

    /// Workers that were told that another process has their id.
    pub fn refused(&self) -> u64 {
        load(&self.refused)
    }

    /// Times that a worker could not read the source.
    pub fn faults(&self) -> u64 {
        load(&self.faults)
    }

    /// Heartbeats that were sent.
    pub fn heartbeats(&self) -> u64 {
        load(&self.heartbeats)
    }

    /// Heartbeats that were answered.
    pub fn heartbeats_answered(&self) -> u64 {
        load(&self.answered)
    }

    /// How long answers to heartbeats took so far; `None` before the first. Sorts them all.
    pub fn answers(&self) -> Option<Answers> {
        let mut times = self.answers.lock().unwrap_or_else(PoisonError::into_inner).clone();
        times.sort_unstable();
        let at = |percent: usize| times.get((times.len() * percent / 100).min(times.len() - 1)).copied();
        let slowest = *times.last()?;
        Some(Answers { count: times.len(), median: at(50)?, percentile_99: at(99)?, slowest })
    }
}

fn add(count: &AtomicU64) {
    count.fetch_add(1, Ordering::Relaxed);
}

fn load(count: &AtomicU64) -> u64 {
    count.load(Ordering::Relaxed)
}
