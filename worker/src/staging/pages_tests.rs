//! What a handler's pages come to, and which end the run.

use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::Value;
use warifu_common::model::spec::ItemReader;
use warifu_common::model::{CallFailure, HandlerName, error_name};

use super::*;
use crate::handler::{BatchCall, HandlerAnswer, Outputs};
use crate::testing::{MemoryStore, context, open_run};

/// Gives one answer after another, and notes what it was asked.
struct Script {
    answers: Mutex<Vec<HandlerAnswer>>,
    asked: Mutex<Vec<(Value, String)>>,
}

#[async_trait]
impl Handler for Script {
    async fn call(&self, call: BatchCall, _cancel: CancellationToken) -> HandlerAnswer {
        let mut json = Vec::new();
        call.item(0).write_json(&mut json);
        let asked = (serde_json::from_slice(&json).unwrap(), call.idempotency_key());
        self.asked.lock().unwrap().push(asked);
        self.answers.lock().unwrap().remove(0)
    }
}

fn page(json: &str) -> HandlerAnswer {
    let mut outputs = Outputs::new();
    outputs.push(json.as_bytes());
    HandlerAnswer::Answered { outputs: Some(outputs), failures: Vec::new() }
}

fn fails(failure: CallFailure) -> HandlerAnswer {
    HandlerAnswer::Failed(failure)
}

/// What was written of the pages, or the fault; and what the handler was asked.
async fn read(
    answers: Vec<HandlerAnswer>,
    max_items: Option<u64>,
) -> (Result<String, String>, Vec<(Value, String)>) {
    let mut context = context(b"");
    context.header = None;
    context.spec.item_reader = ItemReader::of_handler(HandlerName::new("pages").unwrap(), max_items);
    context.spec.input = serde_json::from_str(r#"{"table": "t"}"#).unwrap();
    let store = Arc::new(MemoryStore::default());
    let script = Arc::new(Script { answers: Mutex::new(answers), asked: Mutex::default() });
    let steps = Steps { page_pause: Duration::ZERO, ..Steps::default() };
    let (run, reader) = (open_run(context), Arc::clone(&script) as Arc<dyn Handler>);
    let staged = stage::stage(store.clone(), run, Some(reader), CancellationToken::new(), steps).await;
    let text = staged.map(|staged| store.text(&staged.source.key).unwrap()).map_err(|fault| {
        assert_eq!(fault.error, error_name::ITEM_READER_FAILED, "{}", fault.cause);
        fault.cause
    });
    let asked = script.asked.lock().unwrap().clone();
    assert!(script.answers.lock().unwrap().is_empty(), "it was asked {} times: {text:?}", asked.len());
    (text, asked)
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_are_asked_for_by_their_tokens_and_numbers_keep_their_text() {
    let pages = vec![
        page(
            "{\"items\": [{\"a\": 1.50, \"b\":\n[12345678901234567890123]}, \"x\"], \"nextToken\": \"2\", \"more\": 1}",
        ),
        page(r#"{"items":[],"nextToken":"3"}"#),
        page(r#"{"items":[null],"nextToken":null}"#),
    ];
    let (text, asked) = read(pages, None).await;
    assert_eq!(text.unwrap(), "{\"a\": 1.50, \"b\": [12345678901234567890123]}\n\"x\"\nnull\n");
    let tokens: Vec<_> = asked.iter().map(|(request, _)| request["nextToken"].clone()).collect();
    assert_eq!(tokens, [Value::Null, "2".into(), "3".into()]);
    let (request, key) = &asked[1];
    assert_eq!((&request["mapRunId"], &request["input"]["table"]), (&"run-1".into(), &"t".into()));
    assert_eq!((&request["page"], key.as_str()), (&1.into(), "run-1/items/1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_array_is_all_of_it_and_an_empty_one_no_items() {
    for (answer, expected) in
        [("[1,2]", "1\n2\n"), ("[]", ""), (r#"{"items":[]}"#, ""), (r#"{"items":[7],"nextToken":""}"#, "7\n")]
    {
        assert_eq!(read(vec![page(answer)], None).await.0.unwrap(), expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_page_is_asked_for_beyond_max_items() {
    let pages =
        || vec![page(r#"{"items":[1,2],"nextToken":"2"}"#), page(r#"{"items":[3,4],"nextToken":"3"}"#)];
    assert_eq!(read(pages(), Some(3)).await.0.unwrap(), "1\n2\n3\n");
    assert_eq!(read(pages(), Some(4)).await.0.unwrap(), "1\n2\n3\n4\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_around_the_reader_are_tried_again_and_others_end_the_run() {
    let system = || fails(CallFailure::system("Http.503", "busy"));
    let business = || fails(CallFailure::business("NoSuchTable", "t is missing"));
    let (text, asked) = read(vec![system(), system(), page("[1]")], None).await;
    assert_eq!((text.unwrap().as_str(), asked.len()), ("1\n", 3));
    let (text, _) = read(vec![page(r#"{"items":[1],"nextToken":"2"}"#), business()], None).await;
    let cause = text.unwrap_err();
    assert!(cause.contains("pages, page 1") && cause.contains("NoSuchTable: t is missing"), "{cause}");
    let (text, _) = read((0..5).map(|_| system()).collect(), None).await;
    let cause = text.unwrap_err();
    assert!(cause.contains("failed 5 times, at last with Http.503: busy"), "{cause}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_page_ends_the_run_and_says_what_is_one() {
    for answer in
        ["7", "\"x\"", "{}", r#"{"items":{}}"#, r#"{"items":[1],"nextToken":5}"#, r#"{"Items":[1]}"#, "null"]
    {
        let cause = read(vec![page(answer)], None).await.0.unwrap_err();
        assert!(
            cause.contains("Warifu.InvalidHandlerOutput") && cause.contains("\"nextToken\""),
            "{answer}: {cause}"
        );
    }
    let cause = read(vec![HandlerAnswer::Succeeded], None).await.0.unwrap_err();
    assert!(cause.contains("it puts nothing out"), "{cause}");
    // After so many pages of tokens that come again after so many.
    for (period, pages) in [(1, 2), (2, 4), (5, 13)] {
        let looping =
            |page_number: usize| page(&format!(r#"{{"items":[1],"nextToken":"{}"}}"#, page_number % period));
        let cause = read((0..pages).map(looping).collect(), None).await.0.unwrap_err();
        assert!(cause.contains("for ever"), "{period}: {cause}");
    }
    let long = format!(r#"{{"items":[1],"nextToken":"{}"}}"#, "x".repeat(65_537));
    let cause = read(vec![page(&long)], None).await.0.unwrap_err();
    assert!(cause.contains("its token takes 65537 bytes"), "{cause}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_without_the_handler_says_so() {
    let mut context = context(b"");
    context.spec.item_reader = ItemReader::of_handler(HandlerName::new("pages").unwrap(), None);
    let store = Arc::new(MemoryStore::default());
    let staged =
        stage::stage(store, open_run(context), None, CancellationToken::new(), Steps::default()).await;
    assert!(staged.unwrap_err().cause.contains("this worker has no handler pages"));
}
