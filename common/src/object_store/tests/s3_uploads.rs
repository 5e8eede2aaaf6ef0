//! Objects that are written in parts: whatever happens on the way, the whole object or nothing, and nothing left behind.

use bytes::Bytes;

use super::fault_server::{ETAG, Fault, FaultServer};
use super::s3_server::S3Server;
use super::{content, full_text, quick_settings, quick_store};
use crate::object_store::{MIN_PART_BYTES, ObjectError, ObjectLocation, ObjectStore, S3Settings, S3Store};

const SERVER_ERROR: Fault = Fault::Status(500, "InternalError", "");
const JSON: &str = "application/json";

fn location() -> ObjectLocation {
    ObjectLocation::new("output", "run-1/a")
}

/// Objects of 1,000 bytes are written in parts of 400, one after another.
fn settings_in_parts(endpoint: &str) -> S3Settings {
    S3Settings {
        multipart_threshold_bytes: 1_000,
        multipart_part_bytes: 400,
        parallel_parts: 1,
        ..quick_settings(endpoint)
    }
}

/// Writes 1,000 bytes in parts to a server with these faults.
async fn put_with(faults: &[Fault]) -> (Result<String, ObjectError>, FaultServer) {
    let server = FaultServer::once(Vec::new(), faults).await;
    let store = S3Store::connect(settings_in_parts(&server.endpoint)).await;
    let stored = store.put(&location(), Bytes::from(content(1_000)), JSON).await;
    (stored.map(|stored| stored.etag), server)
}

/// The requests that a server has seen: method, and what it is about.
fn seen(server: &FaultServer) -> Vec<String> {
    let short = |target: &str| {
        let query = target.split_once('?').map_or("", |(_, query)| query);
        let word = |name: &str| query.split('&').any(|pair| pair.split('=').next() == Some(name));
        let part = query.split('&').find_map(|pair| pair.strip_prefix("partNumber="));
        match part {
            Some(number) => format!(" part {number}"),
            None if word("uploads") => " uploads".to_owned(),
            None if word("uploadId") => " upload".to_owned(),
            None => String::new(),
        }
    };
    server.seen().iter().map(|request| format!("{}{}", request.method, short(&request.target))).collect()
}

#[tokio::test]
async fn a_large_object_is_written_in_parts_and_a_small_one_at_once() {
    let (stored, server) = put_with(&[]).await;
    assert_eq!(stored.expect("written"), ETAG);
    assert_eq!(seen(&server), ["POST uploads", "PUT part 1", "PUT part 2", "PUT part 3", "POST upload"]);
    let bodies: Vec<u8> = server.seen()[1..4].iter().flat_map(|request| request.body.clone()).collect();
    assert_eq!(bodies, content(1_000));
    assert_eq!(server.seen()[0].header("content-type"), Some(JSON));

    let store = S3Store::connect(settings_in_parts(&server.endpoint)).await;
    store.put(&location(), Bytes::from(content(999)), JSON).await.expect("written");
    assert_eq!(seen(&server)[5..], ["PUT"]);
}

#[tokio::test]
async fn a_part_that_fails_is_sent_again_and_the_others_are_not() {
    let (stored, server) = put_with(&[Fault::None, Fault::None, SERVER_ERROR, Fault::Hangup]).await;
    stored.expect("written");
    let puts: Vec<String> = seen(&server).into_iter().filter(|request| request.starts_with("PUT")).collect();
    assert_eq!(puts, ["PUT part 1", "PUT part 2", "PUT part 2", "PUT part 2", "PUT part 3"]);
}

#[tokio::test]
async fn an_upload_that_cannot_be_finished_is_given_up() {
    let (stored, server) = put_with(&[Fault::None, Fault::Status(403, "AccessDenied", "")]).await;
    let error = stored.expect_err("a part is refused");
    assert!(error.to_string().contains("grant s3:PutObject"), "{error}");
    assert_eq!(seen(&server), ["POST uploads", "PUT part 1", "DELETE upload"]);
}

#[tokio::test]
async fn slow_down_in_an_answer_of_success_is_no_success() {
    let faults = [Fault::None, Fault::None, Fault::None, Fault::None, Fault::ErrorInOk("SlowDown")];
    let (stored, server) = put_with(&faults).await;
    assert_eq!(stored.expect("the repetition succeeds"), ETAG);
    assert_eq!(seen(&server)[4..], ["POST upload", "POST upload"]);
}

#[tokio::test]
async fn an_object_whose_answer_was_lost_is_recognised_by_its_mark() {
    let gone = Fault::Status(404, "NoSuchUpload", "");
    let faults = [Fault::None, Fault::None, Fault::None, Fault::None, Fault::AnswerLost, gone];
    let (stored, server) = put_with(&faults).await;
    assert_eq!(stored.expect("it was written"), ETAG);
    assert_eq!(seen(&server)[4..], ["POST upload", "POST upload", "HEAD"]);
}

#[tokio::test]
async fn an_upload_that_someone_removed_is_begun_again() {
    let gone = Fault::Status(404, "NoSuchUpload", "");
    let (stored, server) = put_with(&[Fault::None, Fault::None, gone.clone()]).await;
    assert_eq!(stored.expect("written"), ETAG);
    assert_eq!(
        seen(&server)[..4],
        ["POST uploads", "PUT part 1", "PUT part 2", "POST uploads"],
        "what lies there is another's"
    );
    // The object of that name is not this upload's: it has another mark.
    let faults = [Fault::None, Fault::None, Fault::None, Fault::None, gone];
    let (stored, server) = put_with(&faults).await;
    stored.expect("written");
    assert_eq!(seen(&server)[4..7], ["POST upload", "HEAD", "POST uploads"]);
}

#[tokio::test]
async fn unfinished_uploads_under_a_prefix_are_given_up_and_others_are_not() {
    let server = FaultServer::once(Vec::new(), &[]).await;
    let store = quick_store(&server.endpoint).await;
    store.begin_upload(&location(), JSON).await.expect("begun");
    store.abort_uploads("output", "run-1/").await.expect("removed");
    let deleted: Vec<_> = server.seen().into_iter().filter(|request| request.method == "DELETE").collect();
    assert_eq!(deleted.len(), 1);
    assert!(deleted[0].target.starts_with("/output/run-1/a?"), "{}", deleted[0].target);
}

#[tokio::test]
async fn a_store_that_does_not_let_uploads_be_listed_names_the_permission() {
    let server = FaultServer::always(Vec::new(), Fault::Status(403, "AccessDenied", "")).await;
    let error =
        quick_store(&server.endpoint).await.abort_uploads("output", "run-1/").await.expect_err("denied");
    let text = full_text(&error);
    assert!(
        text.contains("unfinished uploads below s3://output/run-1/: grant s3:ListBucketMultipartUploads"),
        "{text}"
    );
}

#[tokio::test]
async fn parts_become_one_object_on_a_real_server() {
    let server = S3Server::start().await;
    let mut settings = settings_in_parts(&server.endpoint);
    settings.multipart_part_bytes = MIN_PART_BYTES;
    settings.max_get_bytes = 1 << 20;
    settings.parallel_parts = 4;
    let store = S3Store::connect(settings).await;
    store.ensure_bucket("output").await.expect("a new bucket");
    let body = Bytes::from(content(2 * MIN_PART_BYTES as usize + 7));
    store.put(&location(), body.clone(), JSON).await.expect("written");
    assert_eq!(store.get(&location(), 1 << 30).await.expect("it is there"), body);

    let mut upload = store.begin_upload(&location(), JSON).await.expect("begun");
    upload.put_part(body.clone()).await.expect("the first part");
    upload.put_part(Bytes::from_static(b"end")).await.expect("the last part");
    assert_eq!(store.get(&location(), 1 << 30).await.expect("still the old one").len(), body.len());
    let pinned = upload.complete().await.expect("complete");
    assert_eq!(store.get(&location(), 1 << 30).await.expect("the new one").len() as u64, pinned.size);
}
