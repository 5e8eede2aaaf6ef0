//! Whatever a store does wrong ends in the right bytes or in an error that says what happened.

use aws_sdk_s3::primitives::{DateTime, DateTimeFormat};
use std::time::Duration;

use bytes::Bytes;

use super::fault_server::{ETAG, Fault, FaultServer};
use super::{content, full_text, quick_settings, quick_store};
use crate::object_store::{MissingThing, ObjectError, ObjectLocation, ObjectStore, PinnedObject, S3Store};

const SLOW_DOWN: Fault = Fault::Status(503, "SlowDown", "");
const SERVER_ERROR: Fault = Fault::Status(500, "InternalError", "");

fn location() -> ObjectLocation {
    ObjectLocation::new("input", "a.csv")
}

fn pinned(size: u64) -> PinnedObject {
    PinnedObject { location: location(), version_id: None, etag: ETAG.to_owned(), size }
}

/// Reads bytes 10..310 of a 1,000 byte object from a server with these faults.
async fn read_with(faults: &[Fault]) -> (Result<Bytes, ObjectError>, FaultServer) {
    let server = FaultServer::once(content(1_000), faults).await;
    let answer = quick_store(&server.endpoint).await.read(&pinned(1_000), 10..310).await;
    (answer, server)
}

async fn read_with_always(fault: Fault) -> (ObjectError, FaultServer) {
    let server = FaultServer::always(content(1_000), fault).await;
    let answer = quick_store(&server.endpoint).await.read(&pinned(1_000), 10..310).await;
    (answer.expect_err("the fault never ends"), server)
}

#[track_caller]
fn assert_right(answer: Result<Bytes, ObjectError>) {
    assert_eq!(answer.expect("the fault is passed over"), content(1_000)[10..310]);
}

#[tokio::test]
async fn server_errors_are_passed_over_beyond_the_patience_of_the_sdk() {
    let (answer, server) = read_with(&vec![SERVER_ERROR; 7]).await;
    assert_right(answer);
    assert_eq!(server.seen().len(), 8);
}

#[tokio::test]
async fn a_refusal_for_a_wrong_clock_is_passed_over_with_the_stores_time() {
    // As S3 answers HEAD: nothing but the status tells it from a lack of permission.
    let refused = Fault::Status(403, "", "date: Tue, 01 Jan 2030 00:00:00 GMT\r\n");
    let (answer, server) = read_with(&[refused]).await;
    assert_right(answer);
    let signed: Vec<String> =
        server.seen().iter().filter_map(|request| request.header("x-amz-date").map(str::to_owned)).collect();
    assert!(!signed[0].starts_with("2030") && signed[1].starts_with("20300101T00"), "{signed:?}");
}

#[tokio::test]
async fn a_clock_that_is_right_again_is_believed_after_a_step() {
    // The first answer teaches the SDK another time; the second refuses what is signed with it, at the machine's own time.
    let now = DateTime::from(wall_now()).fmt(DateTimeFormat::HttpDate).unwrap();
    let stepped_back: &'static str = format!("date: {now}\r\n").leak();
    let taught = Fault::Status(403, "", "date: Tue, 01 Jan 2030 00:00:00 GMT\r\n");
    let (answer, server) = read_with(&[taught, Fault::Status(403, "", stepped_back)]).await;
    assert_right(answer);
    let seen = server.seen();
    let signed: Vec<&str> = seen.iter().filter_map(|request| request.header("x-amz-date")).collect();
    assert!(signed[1].starts_with("2030") && !signed[2].starts_with("2030"), "{signed:?}");
}

#[expect(clippy::disallowed_methods, reason = "signatures carry wall time")]
fn wall_now() -> std::time::SystemTime {
    std::time::SystemTime::now()
}

#[tokio::test]
async fn every_get_carries_the_pinned_etag() {
    let (answer, server) = read_with(&[Fault::Hangup, SLOW_DOWN, Fault::Truncated(5)]).await;
    assert_right(answer);
    assert!(server.seen().iter().all(|request| request.header("if-match") == Some(ETAG)));
}

#[tokio::test]
async fn throttling_without_end_is_a_bounded_error_with_the_request_id() {
    let (error, server) = read_with_always(SLOW_DOWN).await;
    assert!(matches!(error, ObjectError::Unavailable { .. }), "{error:?}");
    assert_eq!(
        full_text(&error),
        "could not read s3://input/a.csv now: 503 SlowDown: as told, request id REQ7"
    );
    assert_eq!(server.seen().len(), 15, "five attempts, each three of the SDK");
}

#[tokio::test]
async fn a_longer_wait_than_ours_is_told_to_the_caller() {
    let (error, server) = read_with_always(Fault::Status(503, "SlowDown", "retry-after: 60\r\n")).await;
    assert_eq!(error.retry_after(), Some(Duration::from_secs(60)));
    assert_eq!(server.seen().len(), 3, "one attempt, three of the SDK");
}

#[tokio::test]
async fn a_body_that_is_cut_is_resumed_where_it_ended() {
    let (answer, server) =
        read_with(&[Fault::Truncated(100), Fault::Truncated(0), Fault::Truncated(50)]).await;
    assert_right(answer);
    assert_eq!(server.seen_ranges(), ["bytes=10-309", "bytes=110-309", "bytes=110-309", "bytes=160-309"]);
}

#[tokio::test]
async fn a_body_that_stalls_is_resumed_where_it_stopped() {
    let (answer, server) = read_with(&[Fault::Stalled(100)]).await;
    assert_right(answer);
    assert_eq!(server.seen_ranges(), ["bytes=10-309", "bytes=110-309"]);
}

#[tokio::test]
async fn a_store_that_always_cuts_is_given_up() {
    let (error, server) = read_with_always(Fault::Truncated(0)).await;
    assert!(matches!(error, ObjectError::Unavailable { .. }), "{error:?}");
    assert!(full_text(&error).contains("after 0 of 300 bytes"), "{}", full_text(&error));
    assert_eq!(server.seen().len(), 5);
}

#[tokio::test]
async fn bytes_of_another_range_are_never_taken() {
    let (answer, _server) = read_with(&[Fault::WrongRange]).await;
    assert_right(answer);
    let (error, _server) = read_with_always(Fault::WrongRange).await;
    assert_eq!(
        error.to_string(),
        "the store gave a wrong answer when asked to read s3://input/a.csv: it is `bytes 11-309/1000`, not `bytes 10-309/1000`"
    );
}

#[tokio::test]
async fn the_whole_object_is_not_taken_for_a_range_of_it() {
    let (error, _server) = read_with_always(Fault::WholeObject).await;
    assert!(matches!(error, ObjectError::WrongAnswer { .. }), "{error:?}");
    assert!(error.to_string().contains("it is the whole object"), "{error}");
}

#[tokio::test]
async fn the_whole_object_is_taken_where_all_of_it_was_asked_for() {
    let server = FaultServer::always(content(300), Fault::WholeObject).await;
    let store = quick_store(&server.endpoint).await;
    assert_eq!(store.read(&pinned(300), 0..300).await.expect("it is all"), content(300));
    assert!(store.read(&pinned(301), 0..301).await.is_err(), "one byte is missing");
}

#[tokio::test]
async fn a_body_longer_than_asked_for_leaves_nothing_behind() {
    let (answer, _server) = read_with(&[Fault::TooLong]).await;
    assert_right(answer);
    let (error, _server) = read_with_always(Fault::TooLong).await;
    assert!(matches!(error, ObjectError::WrongAnswer { .. }), "{error:?}");
}

#[tokio::test]
async fn another_etag_is_a_change_though_the_store_ignored_if_match() {
    let (answer, server) = read_with(&[Fault::OtherEtag]).await;
    let error = answer.expect_err("the object is another one");
    let ObjectError::Changed { pinned, seen, .. } = &error else { panic!("{error:?}") };
    assert_eq!((pinned.as_str(), seen.as_deref()), (ETAG, Some("\"etag-2\"")));
    assert_eq!(server.seen().len(), 1);
}

#[tokio::test]
async fn a_change_in_the_middle_of_a_resumed_part_is_a_change() {
    let (answer, _server) = read_with(&[Fault::Truncated(100), Fault::OtherEtag]).await;
    assert!(matches!(answer, Err(ObjectError::Changed { .. })), "{answer:?}");
}

#[tokio::test]
async fn a_failed_precondition_and_a_range_past_the_end_are_changes() {
    for fault in [Fault::Status(412, "PreconditionFailed", ""), Fault::Status(416, "InvalidRange", "")] {
        let (error, server) = read_with_always(fault).await;
        assert!(matches!(error, ObjectError::Changed { seen: None, .. }), "{error:?}");
        assert_eq!(server.seen().len(), 1);
    }
}

#[tokio::test]
async fn what_is_not_there_is_told_apart() {
    for (code, expected) in [
        ("NoSuchKey", MissingThing::Object),
        ("NoSuchBucket", MissingThing::Bucket),
        ("NoSuchVersion", MissingThing::Version),
    ] {
        let (error, _server) = read_with_always(Fault::Status(404, code, "")).await;
        assert!(matches!(&error, ObjectError::NotFound { missing, .. } if *missing == expected), "{error:?}");
    }
}

#[tokio::test]
async fn a_denied_read_names_the_place_and_the_permission() {
    let (error, server) = read_with_always(Fault::Status(403, "AccessDenied", "")).await;
    assert_eq!(
        error.to_string(),
        "not allowed to read s3://input/a.csv: grant s3:GetObject to these credentials (403 AccessDenied: as told, request id REQ7)"
    );
    assert_eq!(server.seen().len(), 1);
}

#[tokio::test]
async fn another_region_is_named_wherever_the_store_says_it() {
    let header = "x-amz-bucket-region: eu-west-1\r\n";
    for fault in [
        Fault::Status(301, "PermanentRedirect", header),
        Fault::Status(400, "AuthorizationHeaderMalformed", header),
        Fault::Body(
            400,
            "<Error><Code>AuthorizationHeaderMalformed</Code><Message>expecting another</Message><Region>eu-west-1</Region></Error>",
        ),
    ] {
        let (error, server) = read_with_always(fault.clone()).await;
        assert!(
            error.to_string().contains("lies in region eu-west-1; set [s3] region"),
            "{fault:?}: {error}"
        );
        assert_eq!(server.seen().len(), 1);
        let store = quick_store(&server.endpoint).await;
        let error = store.pin(&location(), None, None).await.expect_err("HEAD is explained by GET");
        assert!(
            error.to_string().contains("lies in region eu-west-1; set [s3] region"),
            "{fault:?}: {error}"
        );
    }
    let elsewhere =
        "<Error><Code>PermanentRedirect</Code><Endpoint>b.s3.eu-west-1.amazonaws.com</Endpoint></Error>";
    let (error, _server) = read_with_always(Fault::Body(301, elsewhere)).await;
    assert!(error.to_string().contains("is served by b.s3.eu-west-1.amazonaws.com"), "{error}");
}

#[tokio::test]
async fn keys_that_are_not_accepted_are_explained() {
    for (code, expected) in [
        ("SignatureDoesNotMatch", "the secret key does not belong to the access key"),
        ("InvalidAccessKeyId", "check [s3] endpoint_url, and AWS_SESSION_TOKEN"),
    ] {
        let (error, server) = read_with_always(Fault::Status(403, code, "")).await;
        assert!(matches!(error, ObjectError::Credentials { expired: false, .. }), "{error:?}");
        let text = error.to_string();
        assert!(text.contains("s3://input/a.csv") && text.contains(expected), "{text}");
        assert_eq!(server.seen().len(), 1);
    }
}

#[tokio::test]
async fn a_bucket_that_is_missing_is_named_without_the_key() {
    let (error, _server) = read_with_always(Fault::Status(404, "NoSuchBucket", "")).await;
    assert!(error.to_string().starts_with("bucket s3://input does not exist (404 NoSuchBucket"), "{error}");
}

#[tokio::test]
async fn each_denied_action_names_its_place_and_permission() {
    let server = FaultServer::always(content(10), Fault::Status(403, "AccessDenied", "")).await;
    let store = quick_store(&server.endpoint).await;
    let errors = [
        (store.pin(&location(), None, None).await.err(), "s3://input/a.csv: grant s3:GetObject"),
        (store.pin(&location(), Some("7"), None).await.err(), "s3://input/a.csv: grant s3:GetObjectVersion"),
        (store.list("input", "p/", 1).await.err(), "list s3://input/p/: grant s3:ListBucket"),
        (store.put(&location(), Bytes::new(), "").await.err(), "s3://input/a.csv: grant s3:PutObject"),
        (store.delete(&location()).await.err(), "s3://input/a.csv: grant s3:DeleteObject"),
    ];
    for (error, expected) in errors {
        let error = error.expect("all is denied").to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[tokio::test]
async fn a_store_that_takes_few_requests_at_once_serves_many_in_the_end() {
    let server = FaultServer::always(content(1_000), Fault::SlowDownBeyond(4)).await;
    let store = quick_store(&server.endpoint).await;
    let object = pinned(1_000);
    let reads = (0..40).map(|_| store.read(&object, 10..310));
    for read in futures::future::join_all(reads).await {
        assert_right(read);
    }
}

#[tokio::test]
async fn a_network_that_cuts_every_answer_is_read_through() {
    let (answer, server) = read_with(&vec![Fault::Truncated(30); 9]).await;
    assert_right(answer);
    assert_eq!(server.seen().len(), 10);
    let server = FaultServer::always(content(1_000), Fault::Truncated(20)).await;
    assert_right(quick_store(&server.endpoint).await.read(&pinned(1_000), 10..310).await);
    let (error, server) = read_with_always(Fault::Truncated(1)).await;
    assert!(full_text(&error).contains("after 5 of 300 bytes"), "{}", full_text(&error));
    assert_eq!(server.seen().len(), 5, "a byte is no progress");
}

#[tokio::test]
async fn a_request_that_is_never_answered_is_sent_again() {
    let server = FaultServer::once(content(1_000), &[Fault::Silent, Fault::None, Fault::Silent]).await;
    let mut settings = quick_settings(&server.endpoint);
    settings.timeouts.answer = Duration::from_millis(200);
    let store = S3Store::connect(settings).await;
    assert_right(store.read(&pinned(1_000), 10..310).await);
    store.put(&location(), Bytes::from_static(b"x"), "").await.expect("written the second time");
    assert_eq!(server.seen().len(), 4);
}

#[tokio::test]
async fn expired_credentials_are_loaded_again_once() {
    let expired = Fault::Status(400, "ExpiredToken", "");
    let (answer, server) = read_with(std::slice::from_ref(&expired)).await;
    assert_right(answer);
    assert_eq!(server.seen().len(), 2);
    let (error, server) = read_with_always(expired).await;
    assert!(matches!(error, ObjectError::Credentials { expired: true, .. }), "{error:?}");
    assert_eq!(server.seen().len(), 2);
}

#[tokio::test]
async fn a_large_range_comes_in_parts_and_in_order() {
    let server = FaultServer::once(content(5_000), &[Fault::None, SERVER_ERROR, Fault::Truncated(33)]).await;
    let mut settings = quick_settings(&server.endpoint);
    settings.parallel_gets = 3;
    let store = S3Store::connect(settings).await;
    assert_eq!(store.read(&pinned(5_000), 7..4_990).await.expect("all parts"), content(5_000)[7..4_990]);
    let mut ranges = server.seen_ranges();
    ranges.sort();
    ranges.dedup();
    assert_eq!(ranges.len(), 13 + 1, "thirteen parts of 400 bytes, one of them resumed: {ranges:?}");
    assert!(ranges.contains(&"bytes=7-406".to_owned()) && ranges.contains(&"bytes=4807-4989".to_owned()));
}

#[tokio::test]
async fn ranges_outside_the_object_send_nothing() {
    let server = FaultServer::once(content(1_000), &[]).await;
    let store = quick_store(&server.endpoint).await;
    assert!(matches!(store.read(&pinned(1_000), 900..1_001).await, Err(ObjectError::Invalid { .. })));
    assert_eq!(store.read(&pinned(1_000), 1_000..1_000).await.expect("nothing is asked for"), "");
    assert!(server.seen().is_empty());
}

#[tokio::test]
async fn a_refused_head_is_explained_by_an_answer_with_a_body() {
    let wrong_key = Fault::Status(403, "InvalidAccessKeyId", "");
    let server = FaultServer::always(content(10), wrong_key).await;
    let error = quick_store(&server.endpoint).await.pin(&location(), None, None).await.expect_err("refused");
    assert!(matches!(error, ObjectError::Credentials { expired: false, .. }), "{error:?}");
}

#[tokio::test]
async fn a_missing_bucket_is_told_apart_though_head_has_no_code() {
    let server = FaultServer::always(content(10), Fault::Status(404, "", "")).await;
    let error = quick_store(&server.endpoint).await.pin(&location(), None, None).await.expect_err("missing");
    assert_eq!(error.to_string(), "bucket s3://input does not exist (404 NotFound, request id REQ7)");
}

#[tokio::test]
async fn a_write_is_sent_again_with_the_same_bytes_and_no_encoding() {
    let server = FaultServer::once(Vec::new(), &[SERVER_ERROR, Fault::Hangup, SLOW_DOWN, SLOW_DOWN]).await;
    let store = quick_store(&server.endpoint).await;
    let body = Bytes::from(content(70_000));
    let stored = store.put(&location(), body.clone(), "application/gzip").await.expect("it gets through");
    assert_eq!((stored.size, stored.etag.as_str()), (70_000, ETAG));
    let puts = server.seen();
    assert_eq!(puts.len(), 5);
    for put in puts {
        assert_eq!((put.method.as_str(), put.header("content-type")), ("PUT", Some("application/gzip")));
        assert_eq!((put.header("content-encoding"), put.header("transfer-encoding")), (None, None));
        assert!(put.target.starts_with("/input/a.csv"));
        assert!(put.headers.iter().all(|line| !line.starts_with("x-amz-checksum")), "{:?}", put.headers);
        assert_eq!(put.body, body);
    }
}

#[tokio::test]
async fn a_store_that_is_not_there_is_unavailable() {
    let server = FaultServer::once(Vec::new(), &[]).await;
    let endpoint = server.endpoint.clone();
    drop(server);
    let error = quick_store(&endpoint).await.pin(&location(), None, None).await.expect_err("nobody answers");
    assert!(matches!(error, ObjectError::Unavailable { .. }), "{error:?}");
}
