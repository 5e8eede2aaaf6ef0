//! Batches of one lease between the reader that fetches them and the slots that run them.
//!
//! The session must never wait, so the shelf is shared state behind a lock that is held for lookups only. It bounds what
//! is read ahead; a batch that a slot waits for is always read on for, so the bound cannot block anybody.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, oneshot};
use warifu_common::dataset::Batch;
use warifu_common::model::RangeSet;

/// The most batches that are read ahead for one lease.
const MAX_READY_BATCHES: usize = 64;

/// Bytes of records that are read ahead for one lease, unless one batch alone holds more.
const MAX_READY_BYTES: u64 = 1 << 20;

/// Where a lease's batches wait to be run.
#[derive(Debug)]
pub(crate) struct Shelf {
    state: Mutex<State>,
    /// Wakes the reader: there may be room, or nothing more to read.
    changed: Notify,
}

#[derive(Debug)]
struct State {
    /// Batches that are neither on the shelf, nor handed out, nor dropped.
    unread: RangeSet,
    ready: BTreeMap<u32, Arc<Batch>>,
    ready_bytes: u64,
    awaited: BTreeMap<u32, oneshot::Sender<Arc<Batch>>>,
}

impl Shelf {
    pub(crate) fn new(batches: RangeSet) -> Self {
        let state =
            State { unread: batches, ready: BTreeMap::new(), ready_bytes: 0, awaited: BTreeMap::new() };
        Self { state: Mutex::new(state), changed: Notify::new() }
    }

    /// Asks for a batch. The answer is an error if the batch is dropped meanwhile.
    pub(crate) fn take(&self, batch: u32) -> oneshot::Receiver<Arc<Batch>> {
        let (sender, receiver) = oneshot::channel();
        let mut state = self.lock();
        let wakes_reader = match state.ready.remove(&batch) {
            Some(ready) => {
                state.ready_bytes -= ready.bytes.len();
                // Nobody waits only if the receiver below was dropped at once.
                let _ = sender.send(ready);
                state.is_half_empty()
            }
            None => {
                state.awaited.insert(batch, sender);
                true
            }
        };
        drop(state);
        if wakes_reader {
            self.changed.notify_one();
        }
        receiver
    }

    /// Forgets batches, read or not.
    pub(crate) fn drop_batches(&self, batches: &RangeSet) {
        let mut state = self.lock();
        state.unread.subtract(batches);
        state.awaited.retain(|batch, _| !batches.contains(*batch));
        state.ready.retain(|batch, _| !batches.contains(*batch));
        state.ready_bytes = state.ready.values().map(|batch| batch.bytes.len()).sum();
        drop(state);
        self.changed.notify_one();
    }

    /// Waits until another batch should be read, and names the next one. `None`: all are read or dropped.
    pub(crate) async fn next_wanted(&self) -> Option<u32> {
        loop {
            {
                let state = self.lock();
                let first = state.unread.first()?;
                if state.has_room() || state.is_awaited() {
                    return Some(first);
                }
            }
            self.changed.notified().await;
        }
    }

    /// Puts a batch where it is waited for; one that was dropped is dropped.
    pub(crate) fn put(&self, batch: Arc<Batch>) {
        let mut state = self.lock();
        if !state.unread.remove(batch.ordinal) {
            return;
        }
        match state.awaited.remove(&batch.ordinal) {
            // The slot may have been cancelled meanwhile; then nobody wants the batch.
            Some(slot) => drop(slot.send(batch)),
            None => {
                state.ready_bytes += batch.bytes.len();
                state.ready.insert(batch.ordinal, batch);
            }
        }
    }

    /// How many batches are read and not taken.
    #[cfg(test)]
    pub(crate) fn ready_batches(&self) -> usize {
        self.lock().ready.len()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn has_room(&self) -> bool {
        self.ready.len() < MAX_READY_BATCHES && self.ready_bytes < MAX_READY_BYTES
    }

    /// The reader is woken for many batches, not for each: a task that does a little at a time costs more than what it does.
    fn is_half_empty(&self) -> bool {
        self.ready.len() <= MAX_READY_BATCHES / 2 && self.ready_bytes <= MAX_READY_BYTES / 2
    }

    /// Whether a slot waits for a batch that is not read: then reading goes on beyond the bound.
    fn is_awaited(&self) -> bool {
        self.awaited.keys().any(|batch| self.unread.contains(*batch))
    }
}
