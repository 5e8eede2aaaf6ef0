//! Stores whose certificate an authority of one's own has signed.

use super::s3_server::{S3Server, TestCertificate};
use super::{content, full_text, quick_settings};
use crate::object_store::{CaCertificates, ObjectError, ObjectLocation, ObjectStore, S3Store};

#[tokio::test]
async fn a_store_is_trusted_if_its_authority_is_named_and_not_otherwise() {
    let certificate = TestCertificate::new();
    let server = S3Server::start_with_tls(&certificate).await;
    let mut settings = quick_settings(&server.endpoint);
    settings.retry.max_attempts = 1;
    let untrusting = S3Store::connect(settings.clone()).await;
    let error = untrusting.list("input", "", 1).await.expect_err("nobody vouches for it");
    assert!(matches!(error, ObjectError::Unavailable { .. }), "{error:?}");
    assert!(full_text(&error).contains("certificate"), "{}", full_text(&error));

    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), certificate.authority_pem()).expect("written");
    settings.ca = Some(CaCertificates::read(file.path()).expect("a certificate"));
    let store = S3Store::connect(settings).await;
    store.ensure_bucket("input").await.expect("a new bucket");
    let location = ObjectLocation::new("input", "a");
    store.put(&location, content(1_000).into(), "text/csv").await.expect("written");
    assert_eq!(store.get(&location, 1_000).await.expect("it is there"), content(1_000));
}
