//! Calls whose batch is one JSON text, or one for each item.

use async_trait::async_trait;
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;
use warifu_common::config::handlers::EventFormat;
use warifu_common::model::{CallFailure, error_name};

use super::kept::KeptProcess;
use super::pool::Pool;
use super::{Exec, bounded};
use crate::handler::event_format::{Invoke, call_by_event};
use crate::handler::{BatchCall, HandlerAnswer};

/// A process for each event: the event is all of its standard input, the answer all of its standard output.
pub(super) async fn call_once(
    exec: &Exec,
    format: EventFormat,
    call: &BatchCall,
    cancel: &CancellationToken,
) -> HandlerAnswer {
    call_by_event(&Once(exec), format, call, cancel).await
}

struct Once<'a>(&'a Exec);

#[async_trait]
impl Invoke for Once<'_> {
    async fn invoke(
        &self,
        call: &BatchCall,
        event: Vec<u8>,
        cancel: &CancellationToken,
    ) -> Result<Vec<u8>, CallFailure> {
        let key = if call.run().batched { call.idempotency_key() } else { call.item_idempotency_key(0) };
        let ended = self.0.run_once(call, key, &event, cancel).await?;
        match ended.failure() {
            Some(failure) => Err(failure),
            None => bounded(ended),
        }
    }
}

/// A kept process for the call: an event is a line of its standard input, the answer a line of its standard output.
pub(super) async fn call_kept(
    pool: &Pool,
    format: EventFormat,
    call: &BatchCall,
    cancel: &CancellationToken,
) -> HandlerAnswer {
    let kept = Kept { pool, process: Mutex::new(None) };
    let answer = call_by_event(&kept, format, call, cancel).await;
    if let Some(process) = kept.process.into_inner() {
        if is_malformed(&answer) {
            // Its lines may not belong to the events that they followed.
            process.terminate().await;
        } else {
            pool.give_back(process);
        }
    }
    answer
}

fn is_malformed(answer: &HandlerAnswer) -> bool {
    matches!(answer, HandlerAnswer::Failed(failure) if failure.error == error_name::INVALID_HANDLER_OUTPUT)
}

struct Kept<'a> {
    pool: &'a Pool,
    /// The call's process, between its events.
    process: Mutex<Option<KeptProcess>>,
}

#[async_trait]
impl Invoke for Kept<'_> {
    async fn invoke(
        &self,
        _call: &BatchCall,
        event: Vec<u8>,
        cancel: &CancellationToken,
    ) -> Result<Vec<u8>, CallFailure> {
        let mut place = self.process.lock().await;
        let process = match place.take() {
            Some(process) => process,
            None => self.pool.take(cancel).await?,
        };
        let (process, answer) = self.pool.exchange(process, event, cancel).await?;
        *place = Some(process);
        Ok(answer)
    }
}
