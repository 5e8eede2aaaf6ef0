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

use crate::clock::Clock;
use crate::metrics::Metrics;
use crate::state_store::{Lead, Leader, StateStore, StoreError};

mod alerts;
mod background;
mod handle;
mod leadership;
mod streams;
mod term;
mod watchers;

pub(crate) use handle::{DriverHandle, RequestError, RunWatch};
use handle::{Request, StreamEvent};
pub(crate) use leadership::Leadership;
pub(crate) use streams::StreamOutlet;
pub(crate) use term::DRAIN_TIMEOUT;
use term::{Term, TermEnd};
use watchers::Watchers;

/// Requests of API callers that may wait for the driver; more are told that the coordinator is overloaded.
const QUEUED_REQUESTS: usize = 256;

/// Messages of workers that may wait; a full queue makes the sessions' readers wait, and with them the workers.
const QUEUED_STREAM_EVENTS: usize = 1_024;

/// Waits between attempts to take the lead: the first, and the longest.
const LEAD_RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(1));

/// How often a process that follows looks whether the leader is still there: a part of what a fail-over takes, and a read
/// that costs the store nothing.
const FOLLOW_INTERVAL: Duration = Duration::from_millis(250);

/// How long a process that cannot read what is stored keeps away from the lead: many times as long as another one that can
/// (of a newer version, say) takes to notice that it is free. Trying again sooner would win the lead again and again.
const UNREADABLE_PAUSE: Duration = Duration::from_secs(10);

/// How long telling the store that this process leads no more may take; the next leader waits if it fails.
const RESIGN_TIMEOUT: Duration = Duration::from_secs(3);

/// Owns the scheduler and everything that feeds it.
pub(crate) struct Driver {
    config: warifu_scheduler::Config,
    clock: Arc<dyn Clock>,
    store: Arc<dyn StateStore>,
    objects: Arc<dyn ObjectStore>,
    metrics: Arc<Metrics>,
    requests: mpsc::Receiver<Request>,
    stream_events: mpsc::Receiver<StreamEvent>,
    /// Who leads.
    leading: watch::Sender<Leadership>,
    watchers: Watchers,
    shutdown: CancellationToken,
}

impl Driver {
    /// A driver that is not running yet, and the way to talk to it.
    pub(crate) fn new(
        config: warifu_scheduler::Config,
        clock: Arc<dyn Clock>,
        store: Arc<dyn StateStore>,
        objects: Arc<dyn ObjectStore>,
        metrics: Arc<Metrics>,
        shutdown: CancellationToken,
    ) -> (Self, DriverHandle) {
        let (request_sender, requests) = mpsc::channel(QUEUED_REQUESTS);
        let (stream_sender, stream_events) = mpsc::channel(QUEUED_STREAM_EVENTS);
        let (leading, leading_receiver) = watch::channel(Leadership::NOBODY);
        let handle = DriverHandle::new(request_sender, stream_sender, leading_receiver);
        let watchers = Watchers::new(metrics.clone());
        let driver = Self {
            config,
            clock,
            store,
            objects,
            metrics,
            requests,
            stream_events,
            leading,
            watchers,
            shutdown,
        };
        (driver, handle)
    }

    /// Leads, term after term, until it is told to stop.
    pub(crate) async fn run(mut self) {
        while let Some((term, snapshot)) = self.lead().await {
            tracing::info!(%term, map_runs = snapshot.map_runs.len(), "leading");
            let end = Term::begin(&mut self, term, snapshot).run().await;
            self.resign(term).await;
            match end {
                TermEnd::Stopped => break,
                TermEnd::SteppedDown(reason) => {
                    tracing::warn!(%term, reason, "stepped down, recovering from the state store");
                }
            }
        }
        self.leading.send_replace(Leadership::NOBODY);
        tracing::info!("the driver has stopped");
    }

    /// Takes the lead, however long it takes; follows whoever leads meanwhile. `None`: told to stop.
    async fn lead(&mut self) -> Option<(LeaderTerm, Snapshot)> {
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
                    if matches!(error, StoreError::Corrupt { .. }) {
                        delay = UNREADABLE_PAUSE;
                    }
                    let error = Chain(&error).to_string();
                    tracing::error!(error, retry_in = ?delay, "cannot take the lead");
                    self.leading.send_replace(Leadership::Nobody { problem: Some(error.into()) });
                }
            }
            self.refuse_until(delay).await;
            delay = LEAD_RETRY.1.min(delay * 2);
        }
        None
    }

    /// Shows callers and workers the way to the leader.
    fn follow(&self, leader: Leader) {
        let followed = Leadership::Elsewhere(leader);
        if *self.leading.borrow() == followed {
            return;
        }
        if let Leadership::Elsewhere(Leader { term, endpoint }) = &followed {
            tracing::info!(%term, leader = endpoint, "following");
        }
        self.leading.send_replace(followed);
    }

    /// Says that nothing more is decided in a term that has ended.
    async fn resign(&self, term: LeaderTerm) {
        let resigned = tokio::time::timeout(RESIGN_TIMEOUT, self.store.resign(term)).await;
        if let Ok(Err(error)) = resigned {
            let error = Chain(&error).to_string();
            tracing::debug!(%term, error, "the next leader waits until this one has certainly stopped");
        }
    }

    /// Tells callers that this process does not lead, and closes new streams, for a while.
    async fn refuse_until(&mut self, delay: Duration) {
        let until = tokio::time::sleep(delay);
        tokio::pin!(until);
        loop {
            // All arms only receive or wait: dropping one loses nothing.
            tokio::select! {
                () = &mut until => return,
                () = self.shutdown.cancelled() => return,
                Some(request) = self.requests.recv() => request.refuse(&self.leading.borrow()),
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

#[cfg(test)]
mod tests {
    use warifu_scheduler::CommitId;

    use super::*;
    use crate::clock::SystemClock;
    use crate::state_store::{Campaign, MemoryStore, Write};

    #[tokio::test(start_paused = true)]
    async fn a_process_that_cannot_read_what_is_stored_leaves_the_lead_to_others() {
        let store = Arc::new(MemoryStore::new());
        let Campaign::Won { term, .. } = store.campaign().await.unwrap() else { panic!("nobody leads") };
        let unreadable = Write::Put { key: format!("roster/w/{:032x}", 1), value: vec![99] };
        store.write(term, CommitId(1), vec![unreadable]).await.unwrap();
        let (mut driver, _handle) = Driver::new(
            warifu_scheduler::Config::default(),
            Arc::new(SystemClock),
            store.clone(),
            Arc::new(warifu_common::object_store::LocalFiles::new()),
            Arc::new(Metrics::default()),
            CancellationToken::new(),
        );
        let minute = Duration::from_secs(60);
        tokio::time::timeout(minute, driver.lead()).await.expect_err("it cannot lead");
        let Campaign::Won { term: next, .. } = store.campaign().await.unwrap() else {
            panic!("nobody leads")
        };
        let tries = next.0 - term.0 - 1;
        assert!((2..=7).contains(&tries), "it stood {tries} times in a minute");
        assert!(UNREADABLE_PAUSE > 10 * FOLLOW_INTERVAL);
    }
}
