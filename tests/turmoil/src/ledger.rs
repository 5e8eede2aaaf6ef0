//! The handler, and what it knows of every call: the truth about what ran.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;
use warifu_model::CallFailure;
use warifu_worker::handler::{BatchCall, Handler, HandlerAnswer, Outputs};

use crate::plan::Plan;
use crate::scene::elapsed;

/// Calls, wherever they run.
#[derive(Debug)]
pub(crate) struct Ledger {
    limit: u32,
    calls: Mutex<Calls>,
}

#[derive(Debug, Default)]
struct Calls {
    /// Calls in progress by batch.
    running: BTreeMap<u64, u32>,
    /// Calls that began, by item.
    begun: BTreeMap<u64, u32>,
    most_at_once: u32,
    violation: Option<String>,
}

impl Ledger {
    pub(crate) fn new(limit: u32) -> Self {
        Self { limit, calls: Mutex::default() }
    }

    fn calls(&self) -> MutexGuard<'_, Calls> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A call begins; it ends when what is returned is dropped, also if that is because its process dies.
    fn begin(self: &Arc<Self>, call: &BatchCall) -> CallInProgress {
        let batch = call.identity().batch_number;
        let mut calls = self.calls();
        *calls.running.entry(batch).or_default() += 1;
        for item in call.items() {
            *calls.begun.entry(item.index()).or_default() += 1;
        }
        let in_progress = calls.running.values().sum();
        calls.most_at_once = calls.most_at_once.max(in_progress);
        let worker = &call.run().worker;
        let attempt = call.identity().attempt;
        tracing::info!(at = ?elapsed(), %worker, batch, attempt, in_progress, "a handler is called");
        if in_progress > self.limit {
            let found =
                format!("{in_progress} calls are in progress, {} are allowed; last on {worker}", self.limit);
            calls.note(found);
        }
        if calls.running[&batch] > 1 {
            calls.note(format!("batch {batch} runs twice at once; last on {worker}"));
        }
        CallInProgress { ledger: Arc::clone(self), batch }
    }

    /// The first rule that was broken.
    pub(crate) fn violation(&self) -> Option<String> {
        self.calls().violation.clone()
    }

    pub(crate) fn in_progress(&self) -> u32 {
        self.calls().running.values().sum()
    }

    pub(crate) fn most_at_once(&self) -> u32 {
        self.calls().most_at_once
    }

    /// Calls that began, by item.
    pub(crate) fn begun(&self) -> BTreeMap<u64, u32> {
        self.calls().begun.clone()
    }
}

impl Calls {
    fn note(&mut self, violation: String) {
        self.violation.get_or_insert_with(|| format!("at {:?}: {violation}", elapsed()));
    }
}

struct CallInProgress {
    ledger: Arc<Ledger>,
    batch: u64,
}

impl Drop for CallInProgress {
    fn drop(&mut self) {
        tracing::info!(batch = self.batch, "a handler call is over");
        let mut calls = self.ledger.calls();
        let running = calls.running.get_mut(&self.batch).expect("it began");
        *running -= 1;
        if *running == 0 {
            calls.running.remove(&self.batch);
        }
    }
}

/// Takes its time, notes each call, and gives every item's index back.
pub(crate) struct NotingHandler {
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) call_time: Duration,
    pub(crate) fails_every: Option<u64>,
}

impl NotingHandler {
    pub(crate) fn new(ledger: Arc<Ledger>, plan: &Plan) -> Self {
        Self { ledger, call_time: plan.call_time, fails_every: plan.fails_every }
    }

    /// Half to one and a half of the usual time, as the batch has it.
    fn time_of(&self, batch: u64) -> Duration {
        self.call_time.mul_f64(0.5 + (batch * 7 % 11) as f64 / 10.0)
    }
}

#[async_trait]
impl Handler for NotingHandler {
    async fn call(&self, call: BatchCall, cancel: CancellationToken) -> HandlerAnswer {
        let identity = call.identity();
        let in_progress = self.ledger.begin(&call);
        // Both only wait.
        tokio::select! {
            () = tokio::time::sleep(self.time_of(identity.batch_number)) => {}
            () = cancel.cancelled() => {}
        }
        drop(in_progress);
        if identity.attempt == 1
            && self.fails_every.is_some_and(|every| identity.batch_number.is_multiple_of(every))
        {
            let failure = CallFailure::system("First.Attempt", "the first attempt at this batch fails");
            return HandlerAnswer::Failed(failure);
        }
        let mut outputs = Outputs::new();
        for item in call.items() {
            outputs.push(item.get("id").as_deref().unwrap_or("null").as_bytes());
        }
        HandlerAnswer::Answered { outputs: Some(outputs), failures: Vec::new() }
    }
}
