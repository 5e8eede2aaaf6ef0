//! Services that are slow, gone, endless, or want to be left alone for a while.

use std::time::Duration;

use tokio::time::timeout;
use warifu_common::model::{FailureKind, error_name};

use super::*;

/// Long after what a test waits for.
const PATIENCE: Duration = Duration::from_secs(20);

const CHUNKED: &str = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";

#[tokio::test]
async fn a_request_timeout_bounds_the_head_and_the_body() {
    for act in [
        Act::Hang(String::new()),
        Act::Hang("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n[".to_owned()),
        Act::Hang("HTTP/1.1 200 OK\r\ncontent-le".to_owned()),
        Act::Hang(CHUNKED.to_owned()),
    ] {
        let server = Server::start(move |_| act.clone()).await;
        let failure = failed(run(&server, "request_timeout = '100ms'").await);
        assert_eq!((failure.error.as_str(), failure.kind), ("Http.Timeout", FailureKind::System));
        assert!(failure.cause.contains("0.1 s, its request_timeout"), "{}", failure.cause);
        // Sent once: it may have been worked on. And the service learns that nobody waits.
        assert_eq!(server.seen().len(), 1);
        timeout(PATIENCE, server.closed.acquire()).await.unwrap().unwrap().forget();
    }
}

#[tokio::test]
async fn answers_that_are_too_large_or_endless_are_not_taken() {
    let toml = "max_response_bytes = 1024";
    let announced = Act::Hang("HTTP/1.1 200 OK\r\ncontent-length: 1025\r\n\r\n".to_owned());
    for act in [announced, ok(&"1".repeat(1025)), Act::Endless(CHUNKED.to_owned())] {
        let failure = timeout(PATIENCE, failure(act, toml)).await.unwrap();
        assert_eq!(failure.error, error_name::INVALID_HANDLER_OUTPUT);
        assert!(failure.cause.contains("more than 1024 bytes, max_response_bytes"), "{}", failure.cause);
    }
    let just_fitting = format!("[1,2{}]", " ".repeat(1019));
    assert_eq!(outputs(answer(ok(&just_fitting), toml).await), ["1", "2"]);
    let endless = Act::Endless(CHUNKED.replace("200 OK", "500 Internal Server Error"));
    assert_eq!(timeout(PATIENCE, failure(endless, "")).await.unwrap().error, "Http.500");
    let compressed = failure(response("200 OK", "content-encoding: gzip\r\n", "x"), "").await;
    assert_eq!(compressed.error, error_name::INVALID_HANDLER_OUTPUT);
    assert!(compressed.cause.contains("gzip"), "{}", compressed.cause);
}

#[tokio::test]
async fn an_answer_that_is_cut_is_lost() {
    for bytes in [
        "",
        "HTTP/1.1 2",
        "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nnull",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nnull\r\n",
        "no HTTP at all\r\n\r\n",
    ] {
        let server = Server::start(move |_| Act::Close(bytes.to_owned())).await;
        let failure = failed(run(&server, "").await);
        assert_eq!((failure.error.as_str(), failure.kind), ("Http.ConnectionLost", FailureKind::System));
        assert_eq!(server.seen().len(), 1, "it may have been worked on: {bytes:?}");
    }
}

#[tokio::test]
async fn a_failed_response_counts_even_if_its_body_is_cut() {
    let act = Act::Close("HTTP/1.1 500 Oh\r\ncontent-length: 100\r\n\r\nno disk".to_owned());
    let failure = failure(act, "").await;
    assert_eq!(failure.error, "Http.500");
    assert!(failure.cause.ends_with("no disk"), "{}", failure.cause);
}

#[tokio::test]
async fn a_service_that_is_not_there_is_asked_again_and_then_named() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let url = format!("http://me:hunter2@{address}/?key=hunter3");
    let failure = failed(handler(&url, "retries = 1").call(call(), CancellationToken::new()).await);
    assert_eq!((failure.error.as_str(), failure.kind), ("Http.ConnectFailed", FailureKind::System));
    assert!(failure.cause.starts_with("2 requests; the last: http://***@127.0.0.1:"), "{}", failure.cause);
    assert!(failure.cause.contains("refused") && !failure.cause.contains("hunter"), "{}", failure.cause);
    let nowhere = handler("http://no-such-host.invalid/", "retries = 0");
    let failure = failed(nowhere.call(call(), CancellationToken::new()).await);
    assert_eq!(failure.error, "Http.ConnectFailed");
}

#[tokio::test]
async fn a_service_that_is_overloaded_gets_the_batch_again_when_it_wants_it() {
    let server = Server::start(|n| match n {
        0 => response("503 Service Unavailable", "retry-after: 1\r\n", ""),
        1 => response("429 Too Many Requests", "", ""),
        _ => ok("[1,2]"),
    })
    .await;
    assert_eq!(outputs(run(&server, "").await), ["1", "2"]);
    let seen = server.seen();
    assert_eq!(seen.len(), 3);
    assert!(seen[1].at - seen[0].at >= Duration::from_secs(1));
    assert!(seen.iter().all(|request| request.header("idempotency-key") == Some("run-1/7/0")));
    assert!(seen.iter().all(|request| request.body == seen[0].body));
}

#[tokio::test]
async fn requests_come_to_an_end_and_none_is_made_that_nobody_waits_for() {
    for (toml, headers, requests) in [
        ("retries = 2", "", 3),
        ("retries = 0", "", 1),
        // Longer than the attempt lasts.
        ("retries = 2", "retry-after: 3600\r\n", 1),
    ] {
        let server = Server::start(move |_| response("503 Service Unavailable", headers, "busy")).await;
        let failure = failed(run(&server, toml).await);
        assert_eq!(failure.error, "Http.503");
        assert!(failure.cause.ends_with(": busy"), "{}", failure.cause);
        assert_eq!(failure.cause.starts_with("3 requests; the last: "), requests == 3, "{}", failure.cause);
        assert_eq!(failure.cause.contains("Retry-After: 3600"), !headers.is_empty(), "{}", failure.cause);
        assert_eq!(server.seen().len(), requests);
    }
}

#[tokio::test]
async fn a_cancelled_call_returns_at_once_and_drops_its_request() {
    let server = Server::start(|_| Act::Hang(String::new())).await;
    let handler = handler(&format!("http://{}/", server.address), "");
    let cancel = CancellationToken::new();
    let calling = handler.call(call(), cancel.clone());
    let cancelling = async {
        server.requested.acquire().await.unwrap().forget();
        cancel.cancel();
    };
    let (answer, ()) = timeout(PATIENCE, async { tokio::join!(calling, cancelling) }).await.unwrap();
    assert_eq!(failed(answer).error, error_name::ABORTED);
    timeout(PATIENCE, server.closed.acquire()).await.unwrap().unwrap().forget();
}

#[tokio::test]
async fn a_pause_ends_when_nobody_waits_any_more() {
    let server = Server::start(|_| response("503 Service Unavailable", "retry-after: 50\r\n", "")).await;
    let handler = handler(&format!("http://{}/", server.address), "");
    let cancel = CancellationToken::new();
    let calling = handler.call(call(), cancel.clone());
    let cancelling = async {
        server.requested.acquire().await.unwrap().forget();
        cancel.cancel();
    };
    let (answer, ()) = timeout(PATIENCE, async { tokio::join!(calling, cancelling) }).await.unwrap();
    assert_eq!(failed(answer).error, error_name::ABORTED);
}
