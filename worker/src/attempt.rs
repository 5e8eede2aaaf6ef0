//! One attempt at one batch: wait for its items, call the handler with a time limit, decide about each item.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use tokio::sync::oneshot;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::warn;
use warifu_common::dataset::{Batch, ByteRange};
use warifu_common::model::protocol::{CallOutcome, FailedItems, GrantedBatch};
use warifu_common::model::{CallFailure, LeaseId, RangeSet, WallTime, error_name};
use warifu_session::FinishedBatch;

use crate::classify::{CallEnd, Decided, FailureGroup, decide};
use crate::clock::wall_now;
use crate::events::EndedBatch;
use crate::handler::{BatchCall, BatchIdentity, Handler, HandlerAnswer};
use crate::lines::{BatchLines, BatchPlace, WantedLines, write_lines};
use crate::run::OpenRun;

/// How long a cancelled handler may take to return before it is dropped: SIGTERM, five seconds, SIGKILL, and some.
const CANCEL_PATIENCE: Duration = Duration::from_secs(10);

/// All that an attempt needs.
pub(crate) struct Attempt {
    pub(crate) run: Arc<OpenRun>,
    pub(crate) lease: LeaseId,
    pub(crate) granted: GrantedBatch,
    /// Global index of the shard's first item, number of its first batch, and line breaks before it.
    pub(crate) shard_start: ShardStart,
    /// Absent if this worker does not have the job's handler.
    pub(crate) handler: Option<Arc<dyn Handler>>,
    pub(crate) cancel: CancellationToken,
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
            // Cancel-safe: a oneshot receiver; if the token wins, the batch is not wanted any more.
            batch = items => Some(self.run_batch(batch.ok()?).await),
            () = self.cancel.cancelled() => Some(self.cancelled_unread()),
        }
    }

    async fn run_batch(&self, batch: Arc<Batch>) -> EndedBatch {
        let (sent, unfit) = self.sort_items(&batch);
        let started = Instant::now();
        let end = match () {
            () if sent.is_empty() => CallEnd::NotCalled,
            () if self.granted.give_up => CallEnd::GivenUp,
            () => self.call(&batch, &sent).await,
        };
        let handler_time = started.elapsed();
        let policy = &self.run.context.spec.item_processor.retry;
        let decided = decide(policy, &self.granted.retries_used, &sent, unfit, end);
        self.ended(&batch, &sent, decided, handler_time)
    }

    /// Offsets of the items to send, and those that are unfit because they are not text.
    fn sort_items(&self, batch: &Batch) -> (Arc<[u32]>, Vec<FailureGroup>) {
        let mut sent = Vec::with_capacity(batch.items.len());
        let mut unfit = Vec::new();
        for (item, offset) in batch.items.iter().zip(0..) {
            if !self.granted.items.as_ref().is_none_or(|granted| granted.contains(offset)) {
                continue;
            }
            match item.invalid_utf8() {
                Some(byte) => unfit.push(FailureGroup {
                    items: [offset].into_iter().collect(),
                    failure: invalid_text(byte),
                }),
                None => sent.push(offset),
            }
        }
        (sent.into(), unfit)
    }

    async fn call(&self, batch: &Arc<Batch>, sent: &Arc<[u32]>) -> CallEnd {
        let Some(handler) = &self.handler else {
            let name = &self.run.context.spec.item_processor.handler;
            let cause = format!("this worker has no handler {name}; configure it, or drain the worker");
            return CallEnd::Answered(HandlerAnswer::Failed(CallFailure::system(
                "Warifu.HandlerNotAvailable",
                cause,
            )));
        };
        let timeout = self.run.context.spec.item_processor.timeout;
        let call = self.batch_call(batch, sent, timeout);
        // A token of its own, fired only below or when this call is dropped: an answer that was not asked to hurry counts.
        let cancel = CancellationToken::new();
        let _cancel_if_dropped = cancel.clone().drop_guard();
        // A handler's state after a panic is its own concern: it answers `&self` calls only.
        let answer = AssertUnwindSafe(handler.call(call, cancel.clone())).catch_unwind();
        tokio::pin!(answer);
        // `answer` lives on after the select; the other arms are cancel-safe and hold nothing.
        let early = tokio::select! {
            answer = &mut answer => return CallEnd::Answered(answer.unwrap_or_else(panicked)),
            () = tokio::time::sleep(timeout) => CallEnd::TimedOut(timed_out(timeout)),
            () = self.cancel.cancelled() => CallEnd::Aborted,
        };
        cancel.cancel();
        if tokio::time::timeout(CANCEL_PATIENCE, &mut answer).await.is_err() {
            warn!("a cancelled handler did not return, its call is dropped");
        }
        early
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

    fn ended(&self, batch: &Batch, sent: &[u32], decided: Decided, handler_time: Duration) -> EndedBatch {
        let place = self.place(batch);
        let wanted = WantedLines {
            succeeded: self.run.context.results.is_some(),
            inline_bytes: self.run.inline_bytes_left(),
        };
        let lines = write_lines(wanted, &place, batch, sent, &decided);
        self.run.take_inline_bytes(lines.inline.iter().map(|output| output.len() as u64 + 1).sum());
        let finished = FinishedBatch {
            lease: self.lease,
            batch: self.granted.batch,
            call: decided.call,
            first_item: batch.first_item,
            item_count: u32::try_from(batch.items.len()).unwrap_or(u32::MAX),
            bytes: batch.bytes,
            failed: decided.failed.into_iter().map(|group| failed_items(&place, batch, group)).collect(),
            undecided: decided.undecided,
            retriers: decided.retriers,
            handler_time,
            buffered_bytes: lines.byte_count(),
        };
        EndedBatch { finished, lines, fault: decided.fault }
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

fn failed_items(place: &BatchPlace, batch: &Batch, group: FailureGroup) -> FailedItems {
    let places = group.items.iter().map(|offset| place.source_of(&batch.items[offset as usize])).collect();
    FailedItems { items: group.items, failure: group.failure, places }
}

fn invalid_text(byte: u64) -> CallFailure {
    CallFailure::business(
        error_name::INVALID_TEXT,
        format!("the record is not UTF-8 at byte {byte} of the object"),
    )
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

fn after(now: WallTime, timeout: Duration) -> WallTime {
    WallTime(now.0.saturating_add(i64::try_from(timeout.as_millis()).unwrap_or(i64::MAX)))
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use warifu_common::model::{FailureKind, JitterStrategy, Retrier};

    use super::*;
    use crate::handler::{Echo, FailedItem, Noop};
    use crate::testing::{Scripted, batch_of, context, lease_id, open_run};

    const CSV: &[u8] = b"a\n1\n2\n3\n";

    fn attempt(csv: &[u8], handler: impl Handler) -> Attempt {
        attempt_in(open_run(context(csv)), handler)
    }

    fn attempt_in(run: Arc<OpenRun>, handler: impl Handler) -> Attempt {
        Attempt {
            run,
            lease: lease_id(9),
            granted: GrantedBatch {
                batch: warifu_common::model::BatchOrdinal(0),
                attempt: 1,
                round: 0,
                retries_used: Vec::new(),
                items: None,
                give_up: false,
            },
            shard_start: ShardStart { item: 1000, batch: 500, line: 1 },
            handler: Some(Arc::new(handler)),
            cancel: CancellationToken::new(),
        }
    }

    async fn run(attempt: Attempt, csv: &[u8]) -> EndedBatch {
        let (sender, receiver) = oneshot::channel();
        sender.send(batch_of(csv)).unwrap();
        attempt.run(receiver).await.unwrap()
    }

    fn text(lines: &crate::lines::Lines) -> &str {
        std::str::from_utf8(&lines.text).unwrap()
    }

    #[tokio::test]
    async fn outcomes_become_lines_of_result_files() {
        let handler = Scripted(|call: BatchCall, cancel| async move {
            let HandlerAnswer::Answered { outputs, .. } = Echo.call(call, cancel).await else {
                unreachable!()
            };
            let failed = FailedItem { position: 1, failure: CallFailure::business("Bad", "say \"why\"") };
            HandlerAnswer::Answered { outputs, failures: vec![failed] }
        });
        let ended = run(attempt(CSV, handler), CSV).await;
        assert_eq!(
            text(&ended.lines.succeeded),
            "{\"index\":1000,\"batch\":500,\"status\":\"SUCCEEDED\",\"attempts\":1,\"output\":{\"a\":\"1\"}}\n\
             {\"index\":1002,\"batch\":500,\"status\":\"SUCCEEDED\",\"attempts\":1,\"output\":{\"a\":\"3\"}}\n"
        );
        assert_eq!(
            text(&ended.lines.failed),
            "{\"index\":1001,\"batch\":500,\"status\":\"FAILED\",\"attempts\":1,\"item\":{\"a\":\"2\"},\"error\":\"Bad\",\
             \"cause\":\"say \\\"why\\\"\",\"kind\":\"BUSINESS\",\"source\":{\"byteOffset\":4,\"byteLength\":1,\"line\":3}}\n"
        );
        assert_eq!(ended.finished.call, CallOutcome::Answered);
        assert_eq!(ended.finished.buffered_bytes, ended.lines.byte_count());
    }

    #[tokio::test]
    async fn a_handler_without_outputs_leaves_null_lines_or_none() {
        let ended = run(attempt(CSV, Noop), CSV).await;
        assert_eq!(text(&ended.lines.succeeded).matches("\"output\":null}\n").count(), 3);
        let without_results = warifu_common::model::protocol::RunContext { results: None, ..context(CSV) };
        let ended = run(attempt_in(open_run(without_results), Noop), CSV).await;
        assert_eq!(ended.lines, BatchLines::default());
        assert_eq!(ended.finished.buffered_bytes, 0);
    }

    #[tokio::test]
    async fn outputs_go_inline_only_as_long_as_they_are_wanted() {
        let wanted = warifu_common::model::protocol::RunContext {
            results: None,
            inline_output_bytes: 20,
            ..context(CSV)
        };
        let open = open_run(wanted);
        let first = run(attempt_in(Arc::clone(&open), Echo), CSV).await;
        assert_eq!((first.lines.inline.len(), first.lines.inline_truncated), (2, true));
        let second = run(attempt_in(open, Echo), CSV).await;
        assert_eq!((second.lines.inline.len(), second.lines.inline_truncated), (0, true));
    }

    #[tokio::test]
    async fn text_that_is_not_utf8_fails_alone_and_never_reaches_the_handler() {
        let csv = b"a\n1\n\xff\n3\n";
        let handler = Scripted(|call: BatchCall, _| {
            assert_eq!(call.item_count(), 2);
            ready(HandlerAnswer::Succeeded)
        });
        let ended = run(attempt(csv, handler), csv).await;
        let [failed] = &ended.finished.failed[..] else { panic!("{:?}", ended.finished) };
        assert_eq!(
            (failed.failure.error.as_str(), failed.failure.kind),
            (error_name::INVALID_TEXT, FailureKind::Business)
        );
        assert!(failed.failure.cause.contains("byte 4"), "{}", failed.failure.cause);
        assert_eq!(failed.items, [1].into_iter().collect());
    }

    #[tokio::test]
    async fn only_granted_items_are_sent() {
        let handler = Scripted(|call: BatchCall, _| {
            assert_eq!(call.items().map(|item| item.index()).collect::<Vec<_>>(), [1000, 1002]);
            ready(HandlerAnswer::Failed(CallFailure::system("E", "")))
        });
        let mut attempt = attempt(CSV, handler);
        attempt.granted.items = Some([0, 2].into_iter().collect());
        let ended = run(attempt, CSV).await;
        assert_eq!(ended.finished.failed[0].items, [0, 2].into_iter().collect());
        assert_eq!((ended.finished.call, ended.finished.item_count), (CallOutcome::Failed, 3));
    }

    #[tokio::test(start_paused = true)]
    async fn a_handler_that_takes_too_long_is_cancelled_and_its_slot_waits_for_it() {
        let handler = Scripted(|_, cancel: CancellationToken| async move {
            cancel.cancelled().await;
            tokio::time::sleep(Duration::from_secs(6)).await;
            HandlerAnswer::Succeeded
        });
        let retrier = Retrier {
            error_equals: vec!["States.Timeout".to_owned()],
            interval: Duration::from_secs(1),
            max_attempts: 3,
            backoff_rate: 2.0,
            max_delay: None,
            jitter_strategy: JitterStrategy::None,
        };
        let mut context = context(CSV);
        context.spec.item_processor.retry = vec![retrier];
        let started = Instant::now();
        let ended = run(attempt_in(open_run(context), handler), CSV).await;
        assert_eq!(started.elapsed(), Duration::from_secs(36));
        assert_eq!(ended.finished.call, CallOutcome::TimedOut);
        assert_eq!(ended.finished.undecided.len(), 3);
        assert_eq!(ended.finished.retriers, [0]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_handler_that_never_returns_is_dropped() {
        let started = Instant::now();
        let ended = run(attempt(CSV, Scripted(|_, _| pending())), CSV).await;
        assert_eq!(started.elapsed(), Duration::from_secs(30) + CANCEL_PATIENCE);
        assert_eq!(text(&ended.lines.failed).matches("\"status\":\"TIMED_OUT\"").count(), 3);
    }

    #[tokio::test]
    async fn a_cancelled_batch_ends_as_aborted() {
        let started = CancellationToken::new();
        let seen = started.clone();
        let attempt = attempt(
            CSV,
            Scripted(move |_, cancel: CancellationToken| {
                seen.cancel();
                async move {
                    cancel.cancelled().await;
                    HandlerAnswer::Succeeded
                }
            }),
        );
        let cancel = attempt.cancel.clone();
        let (ended, ()) = tokio::join!(run(attempt, CSV), async {
            started.cancelled().await;
            cancel.cancel();
        });
        assert_eq!(ended.finished.call, CallOutcome::Aborted);
        assert_eq!(text(&ended.lines.failed).matches("\"status\":\"ABORTED\"").count(), 3);
        assert!(ended.finished.undecided.is_empty());
    }

    #[tokio::test]
    async fn a_batch_that_killed_too_many_workers_fails_without_a_call() {
        let handler = Scripted(|_, _| async { unreachable!("the handler is not called") });
        let mut attempt = attempt(CSV, handler);
        attempt.granted.give_up = true;
        let ended = run(attempt, CSV).await;
        assert_eq!(ended.finished.call, CallOutcome::Failed);
        assert_eq!(ended.finished.failed[0].failure.error, error_name::WORKER_LOST);
    }

    #[tokio::test]
    async fn a_panic_fails_the_batch() {
        let handler = Scripted(|_, _| async { panic!("no luck") });
        let ended = run(attempt(CSV, handler), CSV).await;
        let failure = &ended.finished.failed[0].failure;
        assert_eq!((ended.finished.call, failure.kind), (CallOutcome::Failed, FailureKind::System));
        assert!(failure.cause.contains("no luck"), "{}", failure.cause);
    }

    #[tokio::test]
    async fn a_batch_that_is_cancelled_unread_was_not_run() {
        let attempt = attempt(CSV, Noop);
        attempt.cancel.cancel();
        let (_items, receiver) = oneshot::channel();
        let ended = attempt.run(receiver).await.unwrap();
        assert_eq!((ended.finished.call, ended.finished.item_count), (CallOutcome::Aborted, 0));
    }
}
