//! `lambda`: unmodified AWS Lambda code, hosted through the Lambda Runtime API.
//!
//! A function's own runtime client (awslambdaric, aws-lambda-ric, lambda_runtime) runs as a process, asks an endpoint of
//! this worker for events, and posts answers to it. A process handles one event at a time and is kept for the next.
//!
//! - `pool.rs` has the processes: which one is next, when one is started, when one is ended.
//! - `runtime.rs` is one process from its start to its end; `exchange.rs` what it and its caller tell each other;
//!   `endpoint.rs` speaks the Runtime API; `log.rs` takes in what the process prints.
//! - `starts.rs` spaces out starts that fail; `failure.rs` has the words for what goes wrong.
//!
//! **Invariant:** a process whose call did not come to an answer is never used again.

mod endpoint;
mod environment;
mod exchange;
mod failure;
mod log;
mod pool;
mod runtime;
mod starts;
#[cfg(test)]
mod tests;

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio_util::sync::CancellationToken;
use warifu_common::config::handlers::{EventFormat, LambdaConfig};
use warifu_common::model::CallFailure;

use self::exchange::Event;
use self::pool::Pool;
use self::runtime::{Invoked, STOP_PATIENCE};
use super::event_format::{Invoke, call_by_event};
use super::process::find_program;
use super::{BatchCall, Handler, HandlerAnswer};
use crate::text::cut_cause;

/// Processes that may end, one after another, before one takes the event: each was idle and had nothing to do with it.
const MOST_DELIVERIES: u32 = 5;

/// What a check takes beyond the start of a process.
const CHECK_MARGIN: Duration = Duration::from_secs(5);

/// An AWS Lambda function, hosted.
pub struct Lambda {
    config: LambdaConfig,
    pool: Pool,
}

impl Lambda {
    /// Hosts the function that `config` describes. Nothing is started yet.
    pub fn new(config: LambdaConfig) -> Self {
        Self { pool: Pool::new(&config), config }
    }

    fn format(&self) -> EventFormat {
        self.config.event_format
    }
}

#[async_trait]
impl Handler for Lambda {
    /// With `warm` above 0 a process must start, too.
    async fn check(&self) -> Result<(), String> {
        let program = self.config.command.first().ok_or("the command is empty: name a runtime client")?;
        let workdir = self.config.workdir.as_deref();
        if let Some(workdir) = workdir.filter(|workdir| !workdir.is_dir()) {
            return Err(format!("there is no directory {} on this worker", workdir.display()));
        }
        find_program(program.as_ref(), workdir)?;
        if self.config.warm > 0 {
            let started = self.pool.take_for_check().await;
            let runtime =
                started.map_err(|failure| cut_cause(format!("{}: {}", failure.error, failure.cause)))?;
            self.pool.put(runtime);
        }
        Ok(())
    }

    fn check_timeout(&self) -> Duration {
        self.config.init_timeout + STOP_PATIENCE + CHECK_MARGIN
    }

    fn takes_events(&self) -> bool {
        true
    }

    async fn call(&self, call: BatchCall, cancel: CancellationToken) -> HandlerAnswer {
        call_by_event(self, self.format(), &call, &cancel).await
    }
}

#[async_trait]
impl Invoke for Lambda {
    async fn invoke(
        &self,
        call: &BatchCall,
        event: Vec<u8>,
        cancel: &CancellationToken,
    ) -> Result<Vec<u8>, CallFailure> {
        let body = Bytes::from(event);
        for _delivery in 0..MOST_DELIVERIES {
            // Cancel-safe enough: a process that is being started goes with the future.
            let runtime = tokio::select! {
                taken = self.pool.take() => taken?,
                () = cancel.cancelled() => return Err(failure::cancelled()),
            };
            let event = Event {
                id: new_request_id(),
                deadline: call.identity().deadline,
                trace_parent: call.trace_parent(),
                body: body.clone(),
            };
            match runtime.invoke(event, cancel).await {
                Invoked::Answered(answer) => {
                    self.pool.put(runtime);
                    return answer.map(Vec::from);
                }
                Invoked::NotDelivered => {}
                Invoked::Ended(failure) => return Err(failure),
                Invoked::Cancelled => {
                    // The slot stays taken until the function has stopped working at the items.
                    runtime.stop().await;
                    return Err(failure::cancelled());
                }
            }
        }
        Err(failure::not_delivered(MOST_DELIVERIES))
    }
}

/// A random UUID, as AWS numbers requests.
fn new_request_id() -> String {
    uuid::Builder::from_random_bytes(rand::random()).into_uuid().to_string()
}
