//! Events and answers as JSON, for handlers outside this process: in our own format, and in that of AWS's Distributed Map.

mod event;
mod reply;
mod reshape;

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;
use warifu_common::config::handlers::EventFormat;
use warifu_common::model::CallFailure;

use super::{BatchCall, FailedItem, HandlerAnswer, Outputs};

pub(super) use event::batch_event;
pub(crate) use reply::item_failure;
pub(super) use reply::read_reply;

use event::item_event;
use reply::compact_reply;
use reshape::{part_of, reshaped};

/// Something that takes one event as JSON and answers it with JSON.
#[async_trait]
pub(super) trait Invoke: Sync {
    /// Gives `event` to the handler. `call` has the items of the event and no others. An answer without bytes is the same as `null`.
    async fn invoke(
        &self,
        call: &BatchCall,
        event: Vec<u8>,
        cancel: &CancellationToken,
    ) -> Result<Vec<u8>, CallFailure>;
}

/// Handles a call by one event; or, where the format wants bare items, by one for each item, in their order.
pub(super) async fn call_by_event(
    handler: &impl Invoke,
    format: EventFormat,
    call: &BatchCall,
    cancel: &CancellationToken,
) -> HandlerAnswer {
    if wants_bare_items(format, call) {
        return call_by_items(handler, call, cancel).await;
    }
    match invoke_reshaped(handler, call, batch_event(format, call), cancel).await {
        Ok(reply) => read_reply(format, &reply, call),
        Err(failure) => HandlerAnswer::Failed(failure),
    }
}

/// What a child execution of AWS would be given: the items of `call` in a batch, or the one item where the job has no
/// `itemBatcher`. `call` has one item then.
pub(crate) fn execution_input(call: &BatchCall) -> Vec<u8> {
    match call.run().batched {
        true => batch_event(EventFormat::States { partial_failures: false }, call),
        false => item_event(call, 0),
    }
}

/// Gives the handler what the job makes of the event, and takes what the job wants of its answer.
async fn invoke_reshaped(
    handler: &impl Invoke,
    call: &BatchCall,
    event: Vec<u8>,
    cancel: &CancellationToken,
) -> Result<Vec<u8>, CallFailure> {
    let reply = handler.invoke(call, reshaped(call, event)?, cancel).await?;
    Ok(part_of(call, &reply)?.into_owned())
}

/// Whether each event is one item and nothing around it: AWS's shape where the job has no `itemBatcher`, and what asks for a
/// page of items in every format.
pub(super) fn wants_bare_items(format: EventFormat, call: &BatchCall) -> bool {
    call.run().reads_items || matches!(format, EventFormat::States { .. }) && !call.run().batched
}

/// Each item succeeds or fails alone.
async fn call_by_items(handler: &impl Invoke, call: &BatchCall, cancel: &CancellationToken) -> HandlerAnswer {
    let mut outputs = Outputs::new();
    let mut failures = Vec::new();
    for position in 0..call.item_count() {
        // Nobody waits for the answer any more.
        if cancel.is_cancelled() {
            break;
        }
        let reply = invoke_reshaped(handler, &call.only(position), item_event(call, position), cancel).await;
        match reply.and_then(|reply| compact_reply(&reply)) {
            Ok(output) => outputs.push(&output),
            Err(failure) => {
                outputs.push(b"");
                failures.push(FailedItem { position, failure });
            }
        }
    }
    HandlerAnswer::Answered { outputs: Some(outputs), failures }
}
