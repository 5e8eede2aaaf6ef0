//! A handler's call with a time limit, which its run's end cuts short.

use std::panic::AssertUnwindSafe;
use std::task::Poll;
use std::time::Duration;

use futures::FutureExt;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::warn;
use warifu_common::model::{CallFailure, error_name};

use crate::classify::CallEnd;
use crate::handler::{BatchCall, Handler, HandlerAnswer};

/// How long a cancelled handler may take to return before it is dropped: SIGTERM, five seconds, SIGKILL, and some.
pub(crate) const CANCEL_PATIENCE: Duration = Duration::from_secs(10);

/// Calls `handler`, and waits for its answer until `timeout` is over or `abort` fires.
pub(crate) async fn call_within(
    handler: &dyn Handler,
    call: BatchCall,
    timeout: Duration,
    abort: &CancellationToken,
) -> CallEnd {
    // A token of its own, fired only below or when this call is dropped: an answer that was not asked to hurry counts.
    let cancel = CancellationToken::new();
    let _cancel_if_dropped = cancel.clone().drop_guard();
    // A handler's state after a panic is its own concern: it answers `&self` calls only.
    let answer = AssertUnwindSafe(handler.call(call, cancel.clone())).catch_unwind();
    tokio::pin!(answer);
    // A call that answers at once costs no timer; what it took until then counts.
    let started = Instant::now();
    if let Poll::Ready(answer) = futures::poll!(&mut answer) {
        return CallEnd::Answered(answer.unwrap_or_else(panicked));
    }
    // `answer` lives on after the select; the other arms are cancel-safe and hold nothing.
    let early = tokio::select! {
        biased;
        answer = &mut answer => return CallEnd::Answered(answer.unwrap_or_else(panicked)),
        () = tokio::time::sleep(timeout.saturating_sub(started.elapsed())) => CallEnd::TimedOut(timed_out(timeout)),
        () = abort.cancelled() => CallEnd::Aborted,
    };
    cancel.cancel();
    if tokio::time::timeout(CANCEL_PATIENCE, &mut answer).await.is_err() {
        warn!("a cancelled handler did not return, its call is dropped");
    }
    early
}

fn timed_out(timeout: Duration) -> CallFailure {
    CallFailure::system(
        error_name::TIMEOUT,
        format!("the handler took longer than {} s", timeout.as_secs_f64()),
    )
}

fn panicked(panic: Box<dyn std::any::Any + Send>) -> HandlerAnswer {
    let text = panic.downcast_ref::<&str>().copied();
    let text =
        text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("without a text");
    HandlerAnswer::Failed(CallFailure::system(
        "Warifu.HandlerPanicked",
        format!("the handler panicked: {text}"),
    ))
}
