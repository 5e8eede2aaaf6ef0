//! The one task that owns the scheduler: feeds events and time in, carries effects out.
//!
//! It decides nothing. Everything else in this crate talks to it through a [`DriverHandle`]; what takes time (transactions,
//! reads, manifests) runs in tasks that it owns, whose ends are events again.
//!
//! **Invariant:** it never waits for a worker, a caller or the store while it holds the scheduler: queues that are full are
//! closed, answers that nobody awaits are dropped.
//!
//! Start at [`Driver::run`]: a loop over terms; one term is `term.rs`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use warifu_common::error_chain::Chain;
use warifu_common::object_store::ObjectStore;
use warifu_model::LeaderTerm;
use warifu_scheduler::record::Snapshot;

use crate::metrics::Metrics;
use crate::state_store::StateStore;

mod background;
mod handle;
mod streams;
mod term;
mod watchers;

pub(crate) use handle::{DriverHandle, RequestError, RunWatch};
use handle::{Request, StreamEvent};
pub(crate) use streams::StreamOutlet;
pub(crate) use term::DRAIN_TIMEOUT;
use term::{Term, TermEnd};
use watchers::Watchers;

/// Requests of API callers that may wait for the driver; more are told that the coordinator is overloaded.
const QUEUED_REQUESTS: usize = 256;

/// Messages of workers that may wait; a full queue makes the sessions' readers wait, and with them the workers.
const QUEUED_STREAM_EVENTS: usize = 1_024;

/// Waits between attempts to take the lead: the first, and the longest.
const LEAD_RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// Owns the scheduler and everything that feeds it.
pub(crate) struct Driver {
    config: warifu_scheduler::Config,
    store: Arc<dyn StateStore>,
    objects: Arc<dyn ObjectStore>,
    metrics: Arc<Metrics>,
    requests: mpsc::Receiver<Request>,
    stream_events: mpsc::Receiver<StreamEvent>,
    /// The term that leads; `None` while there is none.
    leading: watch::Sender<Option<LeaderTerm>>,
    watchers: Watchers,
    shutdown: CancellationToken,
}

impl Driver {
    /// A driver that is not running yet, and the way to talk to it.
    pub(crate) fn new(
        config: warifu_scheduler::Config,
        store: Arc<dyn StateStore>,
        objects: Arc<dyn ObjectStore>,
        metrics: Arc<Metrics>,
        shutdown: CancellationToken,
    ) -> (Self, DriverHandle) {
        let (request_sender, requests) = mpsc::channel(QUEUED_REQUESTS);
        let (stream_sender, stream_events) = mpsc::channel(QUEUED_STREAM_EVENTS);
        let (leading, leading_receiver) = watch::channel(None);
        let handle = DriverHandle::new(request_sender, stream_sender, leading_receiver);
        let watchers = Watchers::new(metrics.clone());
        let driver =
            Self { config, store, objects, metrics, requests, stream_events, leading, watchers, shutdown };
        (driver, handle)
    }

    /// Leads, term after term, until it is told to stop.
    pub(crate) async fn run(mut self) {
        while let Some((term, snapshot)) = self.lead().await {
            tracing::info!(%term, map_runs = snapshot.map_runs.len(), "leading");
            let end = Term::begin(&mut self, term, snapshot).run().await;
            match end {
                TermEnd::Stopped => break,
                TermEnd::SteppedDown(reason) => {
                    tracing::warn!(%term, reason, "stepped down, recovering from the state store");
                }
            }
        }
        self.leading.send_replace(None);
        tracing::info!("the driver has stopped");
    }

    /// Takes the lead, however long it takes. `None`: told to stop.
    async fn lead(&mut self) -> Option<(LeaderTerm, Snapshot)> {
        self.leading.send_replace(None);
        let mut delay = LEAD_RETRY.0;
        while !self.shutdown.is_cancelled() {
            match self.store.lead().await {
                Ok(Lead::Taken(term, snapshot)) => return Some((term, *snapshot)),
                Ok(Lead::Follow(leader)) => {
                    self.follow(leader);
                    self.refuse_until(FOLLOW_INTERVAL).await;
                    delay = LEAD_RETRY.0;
                    continue;
                }
                Err(error) => {
                    let error = Chain(&error).to_string();
                    tracing::error!(error, retry_in = ?delay, "cannot take the lead");
                }
            }
            self.refuse_until(delay).await;
            delay = LEAD_RETRY.1.min(delay * 2);
        }
        None
    }

    /// Tells callers that nobody leads, and closes new streams, for a while.
    async fn refuse_until(&mut self, delay: Duration) {
        let until = tokio::time::sleep(delay);
        tokio::pin!(until);
        loop {
            // All arms only receive or wait: dropping one loses nothing.
            tokio::select! {
                () = &mut until => return,
                () = self.shutdown.cancelled() => return,
                Some(request) = self.requests.recv() => request.refuse(),
                Some(event) = self.stream_events.recv() => event.refuse(),
            }
        }
    }
}

/// Numbers that are never used twice within a process.
#[derive(Debug, Default)]
struct Numbers(AtomicU64);

impl Numbers {
    fn next(&self) -> u64 {
        self.0.fetch_add(1, Ordering::Relaxed) + 1
    }
}
