//! The emulator of Lambda, which answers errors with status 200.

use warifu_common::model::{FailureKind, error_name};

use super::*;

const LAMBDA: &str = "protocol = 'lambda'";

#[tokio::test]
async fn a_function_gets_awss_event_and_its_answer_is_the_output() {
    let server = Server::start(|_| ok("{\"n\": 2}")).await;
    assert_eq!(outputs(run(&server, LAMBDA).await), ["{\"n\":2}", "null"]);
    assert_eq!(server.seen()[0].body, r#"{"BatchInput":{"k":"v"},"Items":[{"a":"1"},{"a":"2"}]}"#);
    assert_eq!(outputs(answer(ok(" null "), LAMBDA).await), ["null", "null"]);
    let own = "protocol = 'lambda'\nevent_format = 'warifu'";
    assert_eq!(answer(ok("null"), own).await, HandlerAnswer::Succeeded);
}

#[tokio::test]
async fn without_an_item_batcher_each_item_is_a_request_with_its_own_key() {
    let replies = ["\"one\"", r#"{"errorType": "Bad", "errorMessage": "m"}"#];
    let server = Server::start(move |n| ok(replies[n])).await;
    let handler = handler(&format!("http://{}/", server.address), LAMBDA);
    let call = call_in(RunFacts { batched: false, ..facts() });
    let HandlerAnswer::Answered { outputs, failures } = handler.call(call, CancellationToken::new()).await
    else {
        panic!("the call as a whole went well")
    };
    assert_eq!(outputs.unwrap().get(0), Some(&b"\"one\""[..]));
    assert_eq!((failures.len(), failures[0].position), (1, 1));
    assert_eq!(failures[0].failure, CallFailure::system("Bad", "m"));
    let seen = server.seen();
    let sent: Vec<_> = seen.iter().map(|seen| (seen.body.as_str(), seen.header("idempotency-key"))).collect();
    assert_eq!(sent, [(r#"{"a":"1"}"#, Some("run-1/700/0")), (r#"{"a":"2"}"#, Some("run-1/701/0"))]);
}

#[tokio::test]
async fn errors_with_status_200_fail_the_batch_under_their_own_name() {
    let function_error = |body| response("200 OK", "X-Amz-Function-Error: Unhandled\r\n", body);
    let table = [
        (
            ok(r#"{"errorMessage":"m","errorType":"KeyError","requestId":"r","stackTrace":[]}"#),
            "KeyError",
            "m",
        ),
        (ok(r#"{"errorType":"E","errorMessage":{"a":1}}"#), "E", "{\"a\":1}"),
        (ok(r#"{"errorType":"","errorMessage":""}"#), error_name::TASK_FAILED, ""),
        (ok("Task timed out after 3.00 seconds"), "Sandbox.Timedout", "Task timed out after 3.00 seconds"),
        (function_error(r#"{"errorType":"E","errorMessage":"m"}"#), "E", "m"),
        (function_error(r#"{"errorMessage":"m"}"#), error_name::TASK_FAILED, "m"),
        (function_error("[1]"), error_name::TASK_FAILED, "Unhandled: [1]"),
        (function_error(""), error_name::TASK_FAILED, "Unhandled"),
    ];
    for (act, error, cause) in table {
        let failure = failure(act, LAMBDA).await;
        assert_eq!((failure.error.as_str(), failure.cause.as_str()), (error, cause));
        assert_eq!(failure.kind, FailureKind::System);
    }
}

#[tokio::test]
async fn what_only_looks_like_an_error_is_an_output() {
    for body in [r#"{"errorType":"E"}"#, r#"{"errorMessage":"m"}"#, r#"{"errorType":1,"errorMessage":"m"}"#] {
        assert_eq!(outputs(answer(ok(body), LAMBDA).await)[0], body);
    }
    let array = r#"[{"errorType":"E","errorMessage":"m"},1]"#;
    assert_eq!(outputs(answer(ok(array), LAMBDA).await)[1], "1");
}

#[tokio::test]
async fn nothing_else_than_json_with_status_200_is_a_success() {
    for body in ["", "  \n", "{", "done"] {
        assert_eq!(failure(ok(body), LAMBDA).await.error, error_name::INVALID_HANDLER_OUTPUT, "{body}");
    }
    for (status, kind) in [
        ("202 Accepted", FailureKind::System),
        ("400 Bad Request", FailureKind::Business),
        ("502 Bad Gateway", FailureKind::System),
    ] {
        let act = response(status, "", r#"{"errorType":"Runtime.ExitError","errorMessage":"m"}"#);
        let failure = failure(act, LAMBDA).await;
        assert_eq!((failure.error, failure.kind), (format!("Http.{}", &status[..3]), kind));
        assert!(failure.cause.ends_with("Runtime.ExitError: m"), "{}", failure.cause);
    }
}
