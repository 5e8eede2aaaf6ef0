//! What the configuration says about requests is in each of them that it concerns.

use std::collections::BTreeSet;

use bytes::Bytes;

use super::fault_server::{ETAG, Fault, FaultServer, SeenRequest};
use super::{content, quick_settings};
use crate::object_store::{ObjectLocation, ObjectStore, PinnedObject, S3Encryption, S3Settings, S3Store};

fn location() -> ObjectLocation {
    ObjectLocation::new("input", "a.csv")
}

/// One request of each kind, two kinds of writes among them.
async fn all_requests(change: impl FnOnce(&mut S3Settings)) -> Vec<SeenRequest> {
    let server = FaultServer::once(content(10), &[]).await;
    let mut settings = quick_settings(&server.endpoint);
    settings.multipart_threshold_bytes = 1_000;
    change(&mut settings);
    let store = S3Store::connect(settings).await;
    let object = PinnedObject { location: location(), version_id: None, etag: ETAG.to_owned(), size: 10 };
    store.pin(&location(), None, None).await.expect("it is there");
    store.read(&object, 0..10).await.expect("as pinned");
    let _ = store.list("input", "", 10).await; // the server knows no listings
    store.put(&location(), Bytes::from_static(b"x"), "text/csv").await.expect("written");
    store.put(&location(), Bytes::from(content(1_000)), "text/csv").await.expect("written");
    store.begin_upload(&location(), "text/csv").await.expect("begun").abort().await;
    store.begin_upload(&location(), "text/csv").await.expect("begun");
    store.abort_uploads("input", "").await.expect("removed");
    store.delete(&location()).await.expect("deleted");
    server.seen()
}

fn is_write(request: &SeenRequest) -> bool {
    let begins = request.method == "POST" && request.target.contains("uploads");
    begins || (request.method == "PUT" && !request.target.contains("partNumber"))
}

#[tokio::test]
async fn whatever_begins_a_write_says_how_it_is_encrypted() {
    let key = "arn:aws:kms:eu-west-1:1:key/k";
    for (encryption, algorithm, key_id) in [
        (S3Encryption::S3Keys, "AES256", None),
        (S3Encryption::KmsKey(None), "aws:kms", None),
        (S3Encryption::KmsKey(Some(key.to_owned())), "aws:kms", Some(key)),
    ] {
        let seen = all_requests(|settings| settings.encryption = Some(encryption)).await;
        assert_eq!(seen.iter().filter(|request| is_write(request)).count(), 4);
        for request in seen {
            let expected = if is_write(&request) { (Some(algorithm), key_id) } else { (None, None) };
            let said = (
                request.header("x-amz-server-side-encryption"),
                request.header("x-amz-server-side-encryption-aws-kms-key-id"),
            );
            assert_eq!(said, expected, "{} {}", request.method, request.target);
        }
    }
}

#[tokio::test]
async fn every_request_to_a_bucket_whose_requester_pays_says_so() {
    let seen = all_requests(|settings| settings.requester_pays = true).await;
    let methods: BTreeSet<&str> = seen.iter().map(|request| request.method.as_str()).collect();
    assert_eq!(methods, ["DELETE", "GET", "HEAD", "POST", "PUT"].into());
    for request in &seen {
        let said = request.header("x-amz-request-payer");
        assert_eq!(said, Some("requester"), "{} {}", request.method, request.target);
    }
    let seen = all_requests(|_| {}).await;
    assert!(seen.iter().all(|request| {
        request.header("x-amz-request-payer").is_none()
            && request.header("x-amz-server-side-encryption").is_none()
    }));
}

#[tokio::test]
async fn a_named_version_is_asked_for_by_each_read_and_by_what_explains_a_refusal() {
    let server = FaultServer::once(content(1_000), &[Fault::Status(403, "", ""), Fault::Truncated(3)]).await;
    let store = S3Store::connect(quick_settings(&server.endpoint)).await;
    store.pin(&location(), Some("v 7"), None).await.expect_err("refused");
    let object = PinnedObject {
        location: location(),
        version_id: Some("v 7".to_owned()),
        etag: ETAG.to_owned(),
        size: 1_000,
    };
    store.pin(&location(), Some("v 7"), None).await.expect("it is there");
    store.read(&object, 0..1_000).await.expect("as pinned");
    let seen = server.seen();
    assert!(seen.len() >= 6);
    for request in seen {
        assert!(request.target.contains("versionId=v%207"), "{} {}", request.method, request.target);
    }
}

#[tokio::test]
async fn the_bucket_is_in_the_path_if_asked_for() {
    let seen = all_requests(|_| {}).await;
    assert!(seen.iter().all(|request| request.target.starts_with("/input")));
}
