//! Handlers: what is done with a batch.
//!
//! A worker has handlers configured by name; a job names one and never brings a command. [`Handler`] is all that a slot
//! knows of them, and what a Rust program implements that embeds a [`Worker`](crate::Worker). A handler does not know
//! leases, retries or results: it gets a [`BatchCall`] and gives a [`HandlerAnswer`].

mod answer;
mod call;
mod classified;
mod echo;
mod event_format;
pub mod exec;
pub mod http;
pub mod lambda;
mod noop;
mod process;
pub mod sql;

use std::time::Duration;

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;

pub use answer::{FailedItem, HandlerAnswer, Outputs};
pub use call::{BatchCall, BatchIdentity, COMPENSATION_NUMBER, CallItem, RunFacts};
pub use classified::Classified;
pub use echo::Echo;
pub(crate) use event_format::{execution_input, item_failure};
pub use noop::Noop;

/// How long a handler may take to say whether it can work, unless it says otherwise.
const DEFAULT_CHECK_TIMEOUT: Duration = Duration::from_secs(15);

/// Runs the batches of jobs that name it. One instance serves all slots at once.
#[async_trait]
pub trait Handler: Send + Sync + 'static {
    /// Says whether it can work, before it is offered to jobs. An error keeps it from being offered, and is shown to
    /// users as the reason.
    async fn check(&self) -> Result<(), String> {
        Ok(())
    }

    /// How long the check may take before it counts as failed.
    fn check_timeout(&self) -> Duration {
        DEFAULT_CHECK_TIMEOUT
    }

    /// Whether its events and answers are JSON texts, which a job's `payload` and `outputPath` reshape. If not, a run that
    /// has either ends with an error.
    fn takes_events(&self) -> bool {
        false
    }

    /// Whether its answers hold outputs. If not, it cannot give a run its items.
    fn puts_out(&self) -> bool {
        true
    }

    /// Handles one batch.
    ///
    /// When `cancel` fires (timeout, stop, loss of the lease) nobody waits for the answer any more, but the slot stays
    /// taken until the call returns: it should stop what it does and return within a few seconds, or is dropped. A panic
    /// fails the batch.
    async fn call(&self, call: BatchCall, cancel: CancellationToken) -> HandlerAnswer;

    /// Lets go of what it keeps from call to call. Called once, when the worker has ended and no call runs any more; it
    /// has a few seconds.
    async fn close(&self) {}
}
