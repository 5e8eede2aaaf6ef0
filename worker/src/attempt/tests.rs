//! Attempts with scripted handlers.

use std::future::{pending, ready};

use warifu_common::model::{FailureKind, JitterStrategy, Retrier};

use super::*;
use crate::handler::{Echo, FailedItem, Noop};
use crate::testing::{Scripted, batch_of, context, lease_id, open_run};
use crate::timed_call::CANCEL_PATIENCE;

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
        is_compensation: false,
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
        let HandlerAnswer::Answered { outputs, .. } = Echo.call(call, cancel).await else { unreachable!() };
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
    let wanted =
        warifu_common::model::protocol::RunContext { results: None, inline_output_bytes: 20, ..context(CSV) };
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

#[tokio::test(start_paused = true)]
async fn what_a_call_takes_before_it_first_waits_counts() {
    let handler = Scripted(|_, cancel: CancellationToken| async move {
        // The clock goes on within the first poll.
        tokio::time::advance(Duration::from_secs(29)).await;
        let _ = tokio::time::timeout(Duration::from_secs(2), cancel.cancelled()).await;
        HandlerAnswer::Succeeded
    });
    let started = Instant::now();
    let ended = run(attempt(CSV, handler), CSV).await;
    assert_eq!(started.elapsed(), Duration::from_secs(30));
    assert_eq!(ended.finished.call, CallOutcome::TimedOut);
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
async fn a_compensation_has_its_own_key_no_retries_and_no_lines() {
    let handler = Scripted(|call: BatchCall, _| {
        let keys = (call.idempotency_key(), call.item_idempotency_key(0));
        ready(HandlerAnswer::Failed(CallFailure::system(
            "E",
            format!("{keys:?} {}", call.identity().attempt),
        )))
    });
    let all = Retrier {
        error_equals: vec!["States.ALL".to_owned()],
        interval: Duration::from_secs(1),
        max_attempts: 3,
        backoff_rate: 2.0,
        max_delay: None,
        jitter_strategy: JitterStrategy::None,
    };
    let mut context = context(CSV);
    context.spec.item_processor.retry = vec![all];
    let mut attempt = attempt_in(open_run(context), handler);
    (attempt.is_compensation, attempt.shard_start) = (true, crate::compensation::PLACE);
    (attempt.granted.attempt, attempt.granted.round) = (4, 2);
    let ended = run(attempt, b"a\n1\n").await;
    let failure = &ended.finished.failed[0].failure;
    assert_eq!(failure.cause, r#"("run-1/compensation/2", "run-1/compensation/2") 4"#);
    assert!(ended.finished.undecided.is_empty());
    assert_eq!(ended.lines, BatchLines::default());
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

/// A run whose items get this shape.
fn selecting(csv: &[u8], selector: serde_json::Value) -> Arc<OpenRun> {
    let mut context = context(csv);
    context.spec.item_selector = selector.as_object().cloned();
    open_run(context)
}

#[tokio::test]
async fn handlers_and_result_files_see_items_in_their_shape() {
    let selector = serde_json::json!({
        "n.$": "$$.Map.Item.Index", "of": {"all.$": "$$.Map.Item.Value"}, "a.$": "$$.Map.Item.Value.a",
    });
    let handler = Scripted(|call: BatchCall, cancel| async move {
        assert_eq!(call.item(0).get("n").unwrap(), "1000");
        assert_eq!(call.item(1).get("of").unwrap(), r#"{"all":{"a":"2"}}"#);
        assert_eq!(call.item(2).get("a").unwrap(), "3");
        assert_eq!(call.item(0).get("all"), None);
        let of_path = warifu_common::dataset::JsonPath::parse("$.of.all.a").unwrap();
        assert_eq!(call.item(1).field_at(&of_path).into_text().unwrap(), "2");
        let names: Vec<_> = call.item(0).fields().map(|(name, _)| name.to_owned()).collect();
        assert_eq!(names, ["n", "of", "a"]);
        let HandlerAnswer::Answered { outputs, .. } = Echo.call(call, cancel).await else { unreachable!() };
        let failed = FailedItem { position: 1, failure: CallFailure::business("Bad", "") };
        HandlerAnswer::Answered { outputs, failures: vec![failed] }
    });
    let ended = run(attempt_in(selecting(CSV, selector), handler), CSV).await;
    let succeeded = text(&ended.lines.succeeded);
    assert!(succeeded.contains(r#""output":{"n":1000,"of":{"all":{"a":"1"}},"a":"1"}"#), "{succeeded}");
    let failed = text(&ended.lines.failed);
    assert!(failed.contains(r#""item":{"n":1001,"of":{"all":{"a":"2"}},"a":"2"},"error":"Bad""#), "{failed}");
}

#[tokio::test]
async fn an_item_without_what_its_shape_takes_fails_alone_and_is_not_sent() {
    let selector = serde_json::json!({"x.$": "$$.Map.Item.Value.no"});
    let ended = run(attempt_in(selecting(CSV, selector), Echo), CSV).await;
    let failed = text(&ended.lines.failed);
    assert_eq!(failed.lines().count(), 3);
    assert!(failed.contains(r#""item":{"a":"1"},"error":"States.ParameterPathFailure""#), "{failed}");
    assert!(failed.contains("itemSelector: $$.Map.Item.Value.no names nothing in the item"), "{failed}");
    assert_eq!(ended.finished.call, CallOutcome::Answered);
}

#[tokio::test]
async fn a_shape_that_makes_too_much_of_an_item_fails_it() {
    let mut context = context(CSV);
    context.spec.item_selector =
        serde_json::json!({"x.$": "$$.Map.Item.Value.a", "y": "12345"}).as_object().cloned();
    context.max_record_bytes = 20;
    let ended = run(attempt_in(open_run(context), Echo), CSV).await;
    let failed = text(&ended.lines.failed);
    assert!(failed.contains("itemSelector makes 21 bytes of the item; at most 20 are allowed"), "{failed}");
    assert_eq!(failed.lines().count(), 3);
}

#[tokio::test]
async fn a_run_that_reshapes_events_ends_at_a_handler_that_takes_none() {
    let mut context = context(CSV);
    context.spec.item_processor.payload = serde_json::json!({"x.$": "$.Items"}).as_object().cloned();
    let ended = run(attempt_in(open_run(context), Echo), CSV).await;
    let fault = ended.fault.unwrap();
    assert_eq!(fault.error, error_name::PARAMETER_PATH_FAILURE);
    assert!(
        fault.cause.starts_with("the handler h takes no event as one JSON text, which payload"),
        "{fault:?}"
    );
}
