//! Spans of a worker's work: a lease; in it the reading, batches with their handler calls, the storing of results, and
//! the coordinator's commit.
//!
//! A run that is not traced, or whose trace is not sampled, has none of them.

use tracing::Span;
use warifu_common::model::protocol::{Grant, GrantedBatch};
use warifu_common::traced_span;

use crate::run::OpenRun;

/// A lease, from its grant to its end, in the trace of its run.
pub(crate) fn lease(run: &OpenRun, grant: &Grant) -> Span {
    let Some(parent) = run.context.spec.trace_parent.as_ref() else { return Span::none() };
    traced_span!(Some(parent); "lease",
        map_run_id = %grant.map_run,
        worker_id = %run.facts.worker,
        lease_id = %grant.lease,
        shard = grant.shard.shard.0,
        batches = grant.batches.len(),
    )
}

/// The reading of a lease's items.
pub(crate) fn read(lease: &Span) -> Span {
    within(lease, || traced_span!(None; "read"))
}

/// An attempt at a batch, from when it has a slot.
pub(crate) fn batch(lease: &Span, granted: &GrantedBatch) -> Span {
    within(
        lease,
        || traced_span!(None; "batch", batch = granted.batch.0, attempt = granted.attempt, round = granted.round),
    )
}

/// A call of the handler, within the batch that is at hand.
pub(crate) fn handler(name: &str, items: usize) -> Span {
    within(
        &Span::current(),
        || traced_span!(None; "handler", otel.kind = "client", handler = name, items = items),
    )
}

/// The storing of a report's files.
pub(crate) fn report(lease: &Span, number: u32) -> Span {
    within(lease, || traced_span!(None; "report", report = number))
}

/// The coordinator's storing of a report's outcomes: from when it was sent until the answer.
pub(crate) fn commit(lease: &Span, number: u32) -> Span {
    within(lease, || traced_span!(None; "commit", otel.kind = "client", report = number))
}

fn within(outer: &Span, open: impl FnOnce() -> Span) -> Span {
    if outer.is_none() { Span::none() } else { outer.in_scope(open) }
}
