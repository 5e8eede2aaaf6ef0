//! Who the items of a call are, and how long anybody waits for them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use tokio_util::sync::CancellationToken;

use crate::handler::BatchCall;

/// One call of a function. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Context {
    call: BatchCall,
    cancellation: CancellationToken,
}

impl Context {
    pub(super) fn new(call: BatchCall, cancellation: CancellationToken) -> Self {
        Self { call, cancellation }
    }

    /// The map run.
    pub fn map_run_id(&self) -> &str {
        self.call.run().map_run.as_str()
    }

    /// The batch's number over the whole data set, from 0.
    pub fn batch_number(&self) -> u64 {
        self.call.identity().batch_number
    }

    /// Counts calls for the batch, from 1.
    pub fn attempt(&self) -> u32 {
        self.call.identity().attempt
    }

    /// From 0; grows when an answered attempt leaves items to send again. Part of every idempotency key.
    pub fn round(&self) -> u32 {
        self.call.identity().round
    }

    /// Stands for all attempts at the same items until one is answered: `RUN/BATCH/ROUND`. Each [`Item`](super::Item) has
    /// one of its own.
    pub fn idempotency_key(&self) -> String {
        self.call.idempotency_key()
    }

    /// The place in a trace that what the function does continues, as W3C's header `traceparent`, if the run is part of a
    /// trace. Spans of `tracing` that the function opens are within it by themselves.
    pub fn trace_parent(&self) -> Option<String> {
        self.call.trace_parent().map(|place| place.to_string())
    }

    /// The worker that runs the call.
    pub fn worker_id(&self) -> &str {
        self.call.run().worker.as_str()
    }

    /// The object that the items come from, as `s3://bucket/key` or a path.
    pub fn source(&self) -> &str {
        &self.call.run().source
    }

    /// Whether anybody will see outputs: if not, a function need not make any.
    pub fn wants_outputs(&self) -> bool {
        self.call.run().wants_outputs
    }

    /// The job's `batchInput` as a type of yours; of a job without one, `{}`.
    pub fn batch_input<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_str(self.call.batch_input().as_deref().unwrap_or("{}"))
    }

    /// The job's `batchInput` as it is for this batch.
    pub fn batch_input_value(&self) -> Option<Map<String, Value>> {
        serde_json::from_str(&self.call.batch_input()?).ok()
    }

    /// When nobody waits for the answer any more, by this machine's clock.
    pub fn deadline(&self) -> SystemTime {
        let millis = u64::try_from(self.call.identity().deadline.0).unwrap_or(0);
        UNIX_EPOCH + Duration::from_millis(millis)
    }

    /// Fires when nobody waits for the answer any more: timeout, stop of the run, loss of the lease.
    pub fn cancellation(&self) -> &CancellationToken {
        &self.cancellation
    }

    /// Ends when nobody waits for the answer any more.
    pub async fn cancelled(&self) {
        self.cancellation.cancelled().await;
    }

    /// Whether nobody waits for the answer any more.
    pub fn is_cancelled(&self) -> bool {
        self.cancellation.is_cancelled()
    }
}
