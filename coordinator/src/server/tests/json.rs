//! The API as JSON over HTTP/1.1, as any HTTP client speaks it.

use bytes::{Buf as _, Bytes};
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value as Json, json};
use tokio::time::timeout;
use warifu_common::wire::codec::{MAX_TEXT_BYTES, to_json};

use super::harness::{DEADLINE, Harness};

const CALL: (&str, &str) = ("content-type", "application/json");
const STREAM: (&str, &str) = ("content-type", "application/connect+json");

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

impl Answer {
    fn json(&self) -> Json {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// Flags and messages.
    fn envelopes(&self) -> Vec<(u8, Json)> {
        let mut rest = self.body.clone();
        let mut envelopes = Vec::new();
        while rest.has_remaining() {
            let (flags, length) = (rest.get_u8(), rest.get_u32());
            let message = rest.split_to(usize::try_from(length).unwrap());
            envelopes.push((flags, serde_json::from_slice(&message).unwrap()));
        }
        envelopes
    }

    #[track_caller]
    fn is_refused(&self, status: u16, code: &str, reason: &str) {
        let failure = self.json();
        assert_eq!((self.status.as_u16(), &failure["code"]), (status, &json!(code)), "{failure}");
        let reasons =
            failure["details"].as_array().map(|details| details.iter().map(|d| &d["debug"]["reason"]));
        let named = reasons.into_iter().flatten().any(|found| found == reason);
        assert!(named || failure["message"].as_str().unwrap().contains(reason), "{failure}");
    }
}

/// One request; what comes back is read to its end.
async fn post(harness: &Harness, method: &str, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Answer {
    let client: Client<_, Full<Bytes>> = Client::builder(TokioExecutor::new()).build_http();
    let mut request = Request::post(format!("http://{}/{method}", harness.coordinator.grpc_addr()));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = client.request(request.body(Full::from(body.into())).unwrap()).await.unwrap();
    let (head, body) = response.into_parts();
    let body = timeout(DEADLINE, body.collect()).await.expect("an answer ends").unwrap().to_bytes();
    Answer { status: head.status, headers: head.headers, body }
}

fn enveloped(message: &Json) -> Vec<u8> {
    let text = message.to_string();
    let mut envelope = vec![0];
    envelope.extend(u32::try_from(text.len()).unwrap().to_be_bytes());
    envelope.extend(text.as_bytes());
    envelope
}

const GET: &str = "warifu.v1.MapRunService/GetMapRun";
const CREATE: &str = "warifu.v1.MapRunService/CreateMapRun";
const WAIT: &str = "warifu.v1.MapRunService/WaitMapRun";
const WATCH: &str = "warifu.v1.MapRunService/WatchMapRun";

#[tokio::test]
async fn a_run_is_created_and_read() {
    let mut harness = Harness::start().await;
    let request = to_json(&harness.request("a", harness.spec()));
    let created = post(&harness, CREATE, &[CALL], request.to_string()).await;
    assert_eq!(created.status, StatusCode::OK, "{}", created.json());
    assert_eq!(created.headers["content-type"], "application/json");
    assert!(!created.headers.contains_key("grpc-status"));
    let read = post(&harness, GET, &[CALL], r#"{"name": "a"}"#).await.json();
    assert_eq!(read, to_json(&harness.get("a").await.unwrap()));
}

#[tokio::test]
async fn a_wrong_call_is_told_what_is_wrong() {
    let harness = Harness::start().await;
    let call =
        async |method, headers: &[_], body: &str| post(&harness, method, headers, body.to_owned()).await;
    call(GET, &[CALL], r#"{"name": "nothing"}"#).await.is_refused(404, "not_found", "MAP_RUN_NOT_FOUND");
    call(GET, &[CALL], r#"{"nam": "a"}"#).await.is_refused(400, "invalid_argument", "nam");
    call(GET, &[CALL], "name: a").await.is_refused(400, "invalid_argument", "no JSON");
    call(GET, &[STREAM], "{}").await.is_refused(400, "invalid_argument", "application/json");
    call(WATCH, &[CALL], "{}").await.is_refused(400, "invalid_argument", "application/connect+json");
    call("warifu.v1.MapRunService/Gett", &[CALL], "{}").await.is_refused(501, "unimplemented", "Gett");
    call("warifu.v1.WorkerService/Connect", &[CALL], "{}").await.is_refused(501, "unimplemented", "Connect");
    let compressed = [CALL, ("content-encoding", "gzip")];
    call(GET, &compressed, "{}").await.is_refused(501, "unimplemented", "compressed");
    for timeout in ["12345678901", "-1", "soon", ""] {
        let headers = [CALL, ("connect-timeout-ms", timeout)];
        call(GET, &headers, "{}").await.is_refused(400, "invalid_argument", "connect-timeout-ms");
    }
    let large = format!(r#"{{"name": "{}"}}"#, "x".repeat(MAX_TEXT_BYTES));
    call(GET, &[CALL], &large).await.is_refused(400, "invalid_argument", "limit");
}

#[tokio::test]
async fn a_page_in_a_browser_is_refused() {
    let harness = Harness::start().await;
    let headers = [CALL, ("origin", "http://localhost:1234")];
    post(&harness, GET, &headers, "{}").await.is_refused(403, "permission_denied", "browser");
}

#[tokio::test]
async fn a_run_is_watched_to_its_end_through_a_follower() {
    let mut harness = Harness::start().await;
    let follower = harness.start_follower().await;
    harness.create("a", harness.spec()).await.unwrap();
    let request = enveloped(&json!({"name": "a"}));
    let (watched, stopped) = tokio::join!(post(&follower, WATCH, &[STREAM], request), harness.stop("a"));
    stopped.unwrap();
    assert_eq!(watched.status, StatusCode::OK);
    assert_eq!(watched.headers["content-type"], "application/connect+json");
    let envelopes = watched.envelopes();
    let (end, snapshots) = envelopes.split_last().unwrap();
    assert_eq!(*end, (2, json!({})));
    assert!(snapshots.iter().all(|(flags, _)| *flags == 0));
    assert_eq!(snapshots.last().unwrap().1["mapRun"]["state"], "ABORTED");
}

#[tokio::test]
async fn a_call_ends_when_its_caller_does_not_wait_any_more() {
    let mut harness = Harness::start().await;
    let follower = harness.start_follower().await;
    harness.create("a", harness.spec()).await.unwrap();
    let timeout = ("connect-timeout-ms", "50");
    for coordinator in [&harness, &follower] {
        let waited = post(coordinator, WAIT, &[CALL, timeout], r#"{"name": "a"}"#).await;
        waited.is_refused(504, "deadline_exceeded", "connect-timeout-ms");
        let watched = post(coordinator, WATCH, &[STREAM, timeout], enveloped(&json!({"name": "a"}))).await;
        let envelopes = watched.envelopes();
        let (end, snapshots) = envelopes.split_last().unwrap();
        assert_eq!((end.0, &end.1["error"]["code"]), (2, &json!("deadline_exceeded")), "{end:?}");
        assert!(!snapshots.is_empty());
    }
    let in_time =
        post(&harness, GET, &[CALL, ("connect-timeout-ms", "9999999999")], r#"{"name": "a"}"#).await;
    assert_eq!(in_time.status, StatusCode::OK);
}

#[tokio::test]
async fn a_stream_that_fails_says_so_at_its_end() {
    let harness = Harness::start().await;
    let broken = |message: Vec<u8>| post(&harness, WATCH, &[STREAM], message);
    for (request, code) in [
        (enveloped(&json!({"name": "nothing"})), "not_found"),
        (enveloped(&json!({"nam": "a"})), "invalid_argument"),
        (b"\0\0\0".to_vec(), "invalid_argument"),
        ([&[1], &enveloped(&json!({"name": "a"}))[1..]].concat(), "invalid_argument"),
    ] {
        let answer = broken(request).await;
        let [(2, end)] = &answer.envelopes()[..] else { panic!("{:?}", answer.body) };
        assert_eq!((answer.status, &end["error"]["code"]), (StatusCode::OK, &json!(code)), "{end}");
    }
}
