//! What is sent, and what answers mean by their status.

use warifu_common::model::{FailureKind, error_name};

use super::*;

#[tokio::test]
async fn the_event_is_posted_with_its_headers() {
    let server = Server::start(|_| ok("[\"x\", 2]")).await;
    let url = format!("http://me:secret@{}/hook?q=1", server.address);
    let handler = handler(&url, "headers = { X-Mine = 'mine' }");
    let place = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let call = call().within_trace(place.parse().unwrap());
    let deadline = call.identity().deadline.0.to_string();
    let answer = handler.call(call, CancellationToken::new()).await;
    assert_eq!(outputs(answer), ["\"x\"", "2"]);
    let seen = &server.seen()[0];
    assert!(seen.head.starts_with("POST /hook?q=1 HTTP/1.1\r\n"), "{}", seen.head);
    let host = server.address.to_string();
    for (name, value) in [
        ("host", host.as_str()),
        ("content-type", "application/json"),
        ("idempotency-key", "run-1/7/0"),
        ("warifu-deadline", deadline.as_str()),
        ("traceparent", place),
        ("authorization", "Basic bWU6c2VjcmV0"),
        ("x-mine", "mine"),
        ("user-agent", concat!("warifu/", env!("CARGO_PKG_VERSION"))),
    ] {
        assert_eq!(seen.header(name), Some(value), "{name}: {}", seen.head);
    }
    assert_eq!(seen.header("accept-encoding"), None);
    assert!(seen.body.starts_with(r#"{"batchInput":{"k":"v"},"items":[{"a":"1"},{"a":"2"}],"batch":{"#));
}

#[tokio::test]
async fn a_success_is_read_by_the_event_format() {
    for status in ["200 OK", "201 Created", "202 Accepted"] {
        assert_eq!(answer(response(status, "", "null"), "").await, HandlerAnswer::Succeeded);
    }
    let empty = Act::Answer("HTTP/1.1 204 No Content\r\n\r\n".to_owned());
    assert_eq!(answer(empty, "").await, HandlerAnswer::Succeeded);
    let named =
        r#"{"batchItemFailures": [{"itemIdentifier": 701, "errorType": "Bad", "errorMessage": "m"}]}"#;
    let HandlerAnswer::Answered { failures, .. } = answer(ok(named), "").await else {
        panic!("an item failed")
    };
    assert_eq!((failures.len(), failures[0].position), (1, 1));
    assert_eq!(failures[0].failure, CallFailure::business("Bad", "m"));
    let broken = failure(ok("[1]"), "").await;
    assert_eq!(broken.error, error_name::INVALID_HANDLER_OUTPUT);
    // To plain services an object of errors with a status of success is an answer like others.
    let states = "event_format = 'states'";
    let object = r#"{"errorType":"E","errorMessage":"m"}"#;
    assert_eq!(outputs(answer(ok(object), states).await), [object, "null"]);
}

#[tokio::test]
async fn a_status_names_the_failure_and_whose_fault_it_is() {
    let table = [
        ("400 Bad Request", FailureKind::Business),
        ("401 Unauthorized", FailureKind::Business),
        ("404 Not Found", FailureKind::Business),
        ("408 Request Timeout", FailureKind::System),
        ("422 Unprocessable Entity", FailureKind::Business),
        ("429 Too Many Requests", FailureKind::System),
        ("500 Internal Server Error", FailureKind::System),
        ("503 Service Unavailable", FailureKind::System),
        ("599 Odd", FailureKind::System),
        ("304 Not Modified", FailureKind::System),
    ];
    for (status, kind) in table {
        let act = Act::Close(format!("HTTP/1.1 {status}\r\nconnection: close\r\n\r\n"));
        let failure = failure(act, "retries = 0").await;
        let expected = format!("Http.{}", &status[..3]);
        assert_eq!((failure.error, failure.kind), (expected, kind));
        assert!(failure.cause.contains(&status[..3]), "{}", failure.cause);
    }
}

#[tokio::test]
async fn the_body_of_a_failed_response_is_the_cause() {
    let table = [
        (r#"{"errorType": "Acme.Slow", "errorMessage": "too much"}"#, "Acme.Slow: too much"),
        (r#"{"errorMessage": "too much"}"#, ": too much"),
        ("<h1>too much</h1>\n", ": <h1>too much</h1>"),
        ("{\"detail\": 1}", ": {\"detail\": 1}"),
        ("", "500 Internal Server Error"),
        ("\u{1}\u{2}binary", "500 Internal Server Error"),
    ];
    for (body, expected) in table {
        let failure = failure(response("500 Internal Server Error", "", body), "").await;
        assert_eq!(failure.error, "Http.500");
        assert!(failure.cause.ends_with(expected), "{}", failure.cause);
    }
    let compressed = response("500 Internal Server Error", "content-encoding: gzip\r\n", "x");
    assert!(failure(compressed, "").await.cause.ends_with("Error"));
}

#[tokio::test]
async fn redirects_are_not_followed_and_their_host_is_named() {
    let table = [
        (
            "location: https://me:hunter2@other.example:1/hunter2?x=hunter2\r\n",
            "points to the host other.example;",
        ),
        ("location: //other.example/x\r\n", "points to the host other.example;"),
        ("location: /hunter2\r\n", "points to the same host;"),
        ("", "redirects are not followed"),
    ];
    for status in ["301 Moved Permanently", "302 Found", "307 Temporary Redirect", "308 Permanent Redirect"] {
        for (headers, expected) in table {
            let server = Server::start(move |_| response(status, headers, "")).await;
            let failure = failed(run(&server, "").await);
            assert_eq!(
                (failure.error.as_str(), failure.kind),
                (&*format!("Http.{}", &status[..3]), FailureKind::System)
            );
            assert!(
                failure.cause.contains(expected) && !failure.cause.contains("hunter2"),
                "{}",
                failure.cause
            );
            assert_eq!(server.seen().len(), 1);
        }
    }
}

#[tokio::test]
async fn no_secret_gets_into_a_failure_or_what_is_printed() {
    let toml = "headers = { Authorization = 'Bearer hunter2', X-Key = 'hunter3' }";
    let said = "you sent hunter2 and Bearer hunter2 and hunter3 and q=hunter4";
    let body = format!(r#"{{"errorMessage": "{said}"}}"#);
    let item = format!(
        r#"{{"batchItemFailures": [{{"itemIdentifier": 700, "errorType": "hunter3", "errorMessage": "{said}"}}]}}"#
    );
    for act in [
        response("500 Internal Server Error", "", &body),
        response("503 Service Unavailable", "retry-after: hunter2\r\n", said),
        response("400 Bad Request", "", said),
        ok(&format!("\"{said}\"")),
        ok(&item),
    ] {
        let server = Server::start(move |_| act.clone()).await;
        let handler =
            handler(&format!("http://{}/?q=hunter4", server.address), &format!("retries = 0\n{toml}"));
        let answer = handler.call(call(), CancellationToken::new()).await;
        assert!(!matches!(answer, HandlerAnswer::Succeeded));
        for shown in [format!("{answer:?}"), format!("{handler:?}")] {
            assert!(!shown.contains("hunter"), "{shown}");
        }
    }
}
