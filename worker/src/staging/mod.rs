//! Rewrites sources that cannot be cut as one object that can: CSV stays CSV, everything else becomes JSON lines.
//!
//! One source at a time, beside the scan slot. Reading, decompressing, converting and writing is one stream in a thread of
//! its own that holds a few pieces in memory, whatever the source. Each attempt writes under a key of its own.
//!
//! Start reading in `stage.rs`; `input.rs` is where bytes come from, `output.rs` where they go.

mod encoding;
mod input;
mod many;
mod output;
mod pages;
#[cfg(test)]
mod pages_tests;
#[cfg(test)]
mod pieces;
mod stage;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use warifu_common::model::{HandlerName, MapRunId};
use warifu_common::object_store::ObjectStore;
use warifu_session::SessionEvent;

use self::input::Steps;
use crate::events::{EventSender, ShellEvent};
use crate::handler::Handler;
use crate::run::OpenRun;

/// The stagings of a worker: a coordinator orders one at a time.
pub(crate) struct Stager {
    store: Arc<dyn ObjectStore>,
    events: EventSender,
    /// Those that may give items.
    handlers: BTreeMap<HandlerName, Arc<dyn Handler>>,
    under_way: HashMap<MapRunId, Staging>,
}

struct Staging {
    cancel: CancellationToken,
    task: JoinHandle<()>,
}

impl Drop for Staging {
    fn drop(&mut self) {
        // The thread sees it at its next piece, and removes what it has written.
        self.cancel.cancel();
    }
}

impl Stager {
    pub(crate) fn new(
        store: Arc<dyn ObjectStore>,
        events: EventSender,
        handlers: BTreeMap<HandlerName, Arc<dyn Handler>>,
    ) -> Self {
        Self { store, events, handlers, under_way: HashMap::new() }
    }

    /// Rewrites a run's source, and tells what came of it. One that is being rewritten goes on: the order was repeated
    /// because the connection was lost.
    pub(crate) fn stage(&mut self, run: Arc<OpenRun>) {
        self.under_way.retain(|_, staging| !staging.task.is_finished());
        let map_run = run.context.map_run.clone();
        if self.under_way.contains_key(&map_run) {
            return;
        }
        let cancel = CancellationToken::new();
        let reader = run.context.spec.item_reader.handler.as_ref();
        let reader = reader.and_then(|name| self.handlers.get(name).cloned());
        let (store, events) = (Arc::clone(&self.store), self.events.clone());
        let work = stage_and_tell(store, reader, events, run, cancel.clone());
        self.under_way.insert(map_run, Staging { cancel, task: tokio::spawn(work) });
    }

    /// Gives up the staging of a run that is over.
    pub(crate) fn forget(&mut self, map_run: &MapRunId) {
        self.under_way.remove(map_run);
    }
}

async fn stage_and_tell(
    store: Arc<dyn ObjectStore>,
    reader: Option<Arc<dyn Handler>>,
    events: EventSender,
    run: Arc<OpenRun>,
    cancel: CancellationToken,
) {
    let map_run = run.context.map_run.clone();
    info!(map_run_id = %map_run, source = run.facts.source, "staging a source");
    let staged = stage::stage(store, run, reader, cancel.clone(), Steps::default()).await;
    if cancel.is_cancelled() {
        return;
    }
    match &staged {
        Ok(staged) => {
            let (key, size_bytes) = (&staged.source.key, staged.source.size_bytes);
            info!(map_run_id = %map_run, key, size_bytes, "staged a source");
        }
        Err(fault) => warn!(map_run_id = %map_run, cause = fault.cause, "a source cannot be staged"),
    }
    // The session is gone only if the worker ends.
    let _ = events.send(ShellEvent::Session(SessionEvent::Staged { map_run, staged })).await;
}
