//! One attempt at one batch: wait for its items, call the handler with a time limit, decide about each item.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;
use warifu_common::dataset::{Batch, ByteRange, Item, ItemProblem, ItemShape};
use warifu_common::model::protocol::{CallOutcome, FailedItems, GrantedBatch, RunFault};
use warifu_common::model::spec::Transformation;
use warifu_common::model::{CallFailure, LeaseId, RangeSet, WallTime, error_name};
use warifu_common::telemetry::traces::place_of;
use warifu_session::FinishedBatch;

use crate::classify::{CallEnd, Decided, FailureGroup, decide};
use crate::clock::wall_now;
use crate::compensation::handler_of;
use crate::entries::{ExecutionOrder, write_entries};
use crate::events::EndedBatch;
use crate::handler::{BatchCall, BatchIdentity, Handler, HandlerAnswer};
use crate::lines::{BatchLines, BatchPlace, WantedLines, write_lines};
use crate::run::OpenRun;
use crate::timed_call::call_within;
use crate::trace;

/// All that an attempt needs.
pub(crate) struct Attempt {
    pub(crate) run: Arc<OpenRun>,
    pub(crate) lease: LeaseId,
    pub(crate) granted: GrantedBatch,
    /// Global index of the shard's first item, number of its first batch, and line breaks before it.
    pub(crate) shard_start: ShardStart,
    /// The batch is the run's compensation: no retry policy applies to it, its outcome is no item's and goes into no file.
    pub(crate) is_compensation: bool,
    /// Absent if this worker does not have the handler.
    pub(crate) handler: Option<Arc<dyn Handler>>,
    pub(crate) cancel: CancellationToken,
}

/// When a call began, by the clock on the wall, and how long it took.
#[derive(Debug, Clone, Copy)]
struct CallTime {
    start: WallTime,
    taken: Duration,
}

/// What is counted before a shard.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ShardStart {
    pub(crate) item: u64,
    pub(crate) batch: u64,
    pub(crate) line: u64,
}

impl Attempt {
    /// Runs it to its end. `None`: the batch was dropped before its items were read.
    pub(crate) async fn run(self, items: oneshot::Receiver<Arc<Batch>>) -> Option<EndedBatch> {
        tokio::select! {
            // Cancel-safe: a oneshot receiver; if the token wins, the batch is not wanted any more. In this order a batch that is
            // there costs no look at the token.
            biased;
            batch = items => Some(self.run_batch(batch.ok()?).await),
            () = self.cancel.cancelled() => Some(self.cancelled_unread()),
        }
    }

    async fn run_batch(&self, batch: Arc<Batch>) -> EndedBatch {
        let (sent, unfit) = self.sort_items(&batch);
        let (started, start) = (Instant::now(), wall_now());
        let end = match () {
            () if sent.is_empty() => CallEnd::NotCalled,
            () if self.granted.give_up => CallEnd::GivenUp,
            () => self.call(&batch, &sent).await,
        };
        let handler_time = started.elapsed();
        let policy = &self.run.context.spec.item_processor.retry[..];
        let policy = if self.is_compensation { &[] } else { policy };
        let decided = decide(policy, &self.granted.retries_used, &sent, unfit, end);
        self.ended(&batch, &sent, decided, CallTime { start, taken: handler_time })
    }

    /// Offsets of the items to send, and those that are unfit because they cannot be read.
    fn sort_items(&self, batch: &Batch) -> (Arc<[u32]>, Vec<FailureGroup>) {
        if self.granted.items.is_none() && self.item_shape().is_none() && batch.items.are_readable() {
            return ((0..item_count(batch)).collect(), Vec::new());
        }
        let mut sent = Vec::with_capacity(batch.items.len());
        let mut unfit = Vec::new();
        for (item, offset) in batch.items.iter().zip(0..) {
            if !self.granted.items.as_ref().is_none_or(|granted| granted.contains(offset)) {
                continue;
            }
            match self.unfitness(item) {
                Some(failure) => unfit.push(FailureGroup { items: [offset].into_iter().collect(), failure }),
                None => sent.push(offset),
            }
        }
        (sent.into(), unfit)
    }

    /// Why an item cannot be sent, if so.
    fn unfitness(&self, item: &Item) -> Option<CallFailure> {
        if let Some(problem) = item.problem() {
            return Some(unreadable(problem));
        }
        let shape = self.item_shape()?;
        if let Some(path) = shape.unmatched(item) {
            let cause = format!("itemSelector: {path} names nothing in the item");
            return Some(CallFailure::business(error_name::PARAMETER_PATH_FAILURE, cause));
        }
        let (bytes, limit) = (shape.item_bytes(item), self.run.context.max_record_bytes);
        (bytes > limit).then(|| {
            let cause = format!(
                "itemSelector makes {bytes} bytes of the item; at most {limit} are allowed (max_record_bytes)"
            );
            CallFailure::business(error_name::RECORD_TOO_LARGE, cause)
        })
    }

    /// What the job makes of items before they are sent.
    fn item_shape(&self) -> Option<&ItemShape> {
        self.run.facts.templates.item.as_ref().filter(|_| !self.is_compensation)
    }

    async fn call(&self, batch: &Arc<Batch>, sent: &Arc<[u32]>) -> CallEnd {
        let Some(handler) = &self.handler else {
            let name = handler_of(&self.run.context, self.is_compensation);
            let cause = format!("this worker has no handler {name}; configure it, or drain the worker");
            return CallEnd::Answered(HandlerAnswer::Failed(CallFailure::system(
                "Warifu.HandlerNotAvailable",
                cause,
            )));
        };
        if let Some(fault) = self.reshaping_fault(&**handler) {
            return CallEnd::Answered(HandlerAnswer::RunFailed(fault));
        }
        let timeout = self.run.context.spec.item_processor.timeout;
        let name = handler_of(&self.run.context, self.is_compensation);
        let span = trace::handler(name.as_str(), sent.len());
        let call = self.batch_call(batch, sent, timeout);
        let call = match place_of(&span) {
            Some(place) => call.within_trace(place),
            None => call,
        };
        call_within(&**handler, call, timeout, &self.cancel).instrument(span).await
    }

    /// Why the handler can take no batch of this run: what the job wants of events and answers cannot be done.
    fn reshaping_fault(&self, handler: &dyn Handler) -> Option<RunFault> {
        let templates = &self.run.facts.templates;
        let field = match (&templates.payload, &templates.output_path) {
            (None, None) => return None,
            (Some(_), _) => "payload",
            (None, Some(_)) => "outputPath",
        };
        let name = handler_of(&self.run.context, self.is_compensation);
        (!self.is_compensation && !handler.takes_events()).then(|| RunFault {
            error: error_name::PARAMETER_PATH_FAILURE.to_owned(),
            cause: format!("the handler {name} takes no event as one JSON text, which {field} would reshape; use itemSelector, or another handler"),
        })
    }

    fn batch_call(&self, batch: &Arc<Batch>, sent: &Arc<[u32]>, timeout: Duration) -> BatchCall {
        let identity = BatchIdentity {
            batch_number: self.place(batch).batch_number,
            first_index: self.place(batch).first_index,
            attempt: self.granted.attempt,
            round: self.granted.round,
            deadline: after(wall_now(), timeout),
        };
        BatchCall::new(Arc::clone(&self.run.facts), identity, Arc::clone(batch), Arc::clone(sent))
    }

    fn place(&self, batch: &Batch) -> BatchPlace {
        BatchPlace {
            batch_number: self.shard_start.batch + u64::from(batch.ordinal),
            first_index: self.shard_start.item + u64::from(batch.first_item),
            first_line: self.shard_start.line + 1,
            attempt: self.granted.attempt,
        }
    }

    fn ended(&self, batch: &Arc<Batch>, sent: &Arc<[u32]>, decided: Decided, time: CallTime) -> EndedBatch {
        let place = self.place(batch);
        let lines = if self.is_compensation {
            BatchLines::default()
        } else {
            self.lines(&place, batch, sent, &decided, time)
        };
        let finished = FinishedBatch {
            lease: self.lease,
            batch: self.granted.batch,
            call: decided.call,
            first_item: batch.first_item,
            item_count: item_count(batch),
            bytes: batch.bytes,
            failed: decided.failed.into_iter().map(|group| failed_items(&place, batch, group)).collect(),
            undecided: decided.undecided,
            retriers: decided.retriers,
            handler_time: time.taken,
            buffered_bytes: lines.byte_count(),
        };
        // What is wrong with a compensation's handler does not end the run: it is ending.
        let fault = decided.fault.filter(|_| !self.is_compensation);
        EndedBatch { finished, lines, fault }
    }

    fn lines(
        &self,
        place: &BatchPlace,
        batch: &Arc<Batch>,
        sent: &Arc<[u32]>,
        decided: &Decided,
        time: CallTime,
    ) -> BatchLines {
        let transformation = self.run.transformation();
        if transformation != Transformation::Items {
            let call = self.batch_call(batch, sent, Duration::ZERO);
            return write_entries(&ExecutionOrder {
                transformation,
                call: &call,
                sent,
                redrive: self.run.context.redrive,
                start: time.start,
                stop: wall_now(),
                decided,
            });
        }
        let wanted = WantedLines {
            shape: self.run.facts.templates.item.as_ref(),
            succeeded: self.run.context.results.is_some(),
            inline_bytes: self.run.inline_bytes_left(),
        };
        let lines = write_lines(wanted, place, batch, sent, decided);
        self.run.take_inline_bytes(lines.inline.iter().map(|output| output.len() as u64 + 1).sum());
        lines
    }

    /// Cancelled before its items were known.
    fn cancelled_unread(&self) -> EndedBatch {
        let finished = FinishedBatch {
            lease: self.lease,
            batch: self.granted.batch,
            call: CallOutcome::Aborted,
            first_item: 0,
            item_count: 0,
            bytes: ByteRange::new(0, 0),
            failed: Vec::new(),
            undecided: RangeSet::new(),
            retriers: Vec::new(),
            handler_time: Duration::ZERO,
            buffered_bytes: 0,
        };
        EndedBatch { finished, lines: BatchLines::default(), fault: None }
    }
}

fn item_count(batch: &Batch) -> u32 {
    u32::try_from(batch.items.len()).unwrap_or(u32::MAX)
}

fn failed_items(place: &BatchPlace, batch: &Batch, group: FailureGroup) -> FailedItems {
    let places = group.items.iter().map(|offset| place.source_of(&batch.items[offset as usize])).collect();
    FailedItems { items: group.items, failure: group.failure, places }
}

fn unreadable(problem: ItemProblem) -> CallFailure {
    match problem {
        ItemProblem::InvalidUtf8 { offset } => CallFailure::business(
            error_name::INVALID_TEXT,
            format!("the record is not UTF-8 at byte {offset} of the object"),
        ),
        ItemProblem::InvalidJson { offset, error } => CallFailure::business(
            error_name::INVALID_JSON,
            format!("the record is not JSON at byte {offset} of the object: {error}"),
        ),
    }
}

/// When `timeout` from `now` on is over.
pub(crate) fn after(now: WallTime, timeout: Duration) -> WallTime {
    WallTime(now.0.saturating_add(i64::try_from(timeout.as_millis()).unwrap_or(i64::MAX)))
}

#[cfg(test)]
mod tests;
