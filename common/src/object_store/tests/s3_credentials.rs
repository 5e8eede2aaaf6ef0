//! Credentials that do not last as long as the work: whatever refreshes them is asked again, and nothing fails.

use std::path::Path;

use aws_config::credential_process::CredentialProcessProvider;
use aws_sdk_s3::config::SharedCredentialsProvider;
use bytes::Bytes;
use futures::future::join_all;
use tempfile::TempDir;

use super::s3_server::{KnownKeys, S3Server};
use super::{content, quick_settings};
use crate::object_store::{ObjectError, ObjectLocation, ObjectStore, S3Settings, S3Store};

const NEVER: &str = "2099-01-01T00:00:00Z";
const LONG_AGO: &str = "2020-01-01T00:00:00Z";

/// A program that prints what is in a file, and notes each time that it does.
struct Keys {
    directory: TempDir,
}

impl Keys {
    fn new() -> Self {
        Self { directory: tempfile::tempdir().expect("a directory") }
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.directory.path().join(name)
    }

    fn give_out(&self, access_key: &str, expiration: &str) {
        let keys = format!(
            r#"{{"Version": 1, "AccessKeyId": "{access_key}", "SecretAccessKey": "secret", "Expiration": "{expiration}"}}"#
        );
        std::fs::write(self.path("keys"), keys).expect("written");
    }

    /// How often the program ran.
    fn given_out(&self) -> usize {
        std::fs::read(self.path("log")).map_or(0, |log| log.len())
    }

    fn provider(&self) -> SharedCredentialsProvider {
        let quoted = |path: &Path| format!("'{}'", path.display());
        let (log, keys) = (self.path("log"), self.path("keys"));
        let command = format!("printf x >>{} && cat {}", quoted(&log), quoted(&keys));
        SharedCredentialsProvider::new(CredentialProcessProvider::new(command))
    }

    async fn store(&self, server: &S3Server) -> S3Store {
        let settings = S3Settings {
            credentials: None,
            credentials_provider: Some(self.provider()),
            ..quick_settings(&server.endpoint)
        };
        S3Store::connect(settings).await
    }
}

fn location() -> ObjectLocation {
    ObjectLocation::new("input", "a.csv")
}

#[tokio::test]
async fn keys_that_the_store_takes_for_expired_are_renewed_once_for_all_requests() {
    let known = KnownKeys::new(["OLD"]);
    let server = S3Server::start_with_auth(known.clone()).await;
    let keys = Keys::new();
    keys.give_out("OLD", NEVER);
    let store = keys.store(&server).await;
    store.ensure_bucket("input").await.expect("a new bucket");
    store.put(&location(), Bytes::from(content(4_000)), "text/csv").await.expect("written");
    let object = store.pin(&location(), None, None).await.expect("it is there");
    assert_eq!(keys.given_out(), 1);

    known.replace(["NEW"]);
    keys.give_out("NEW", NEVER);
    let reads = (0..8).map(|_| store.read(&object, 0..4_000));
    for read in join_all(reads).await {
        assert_eq!(read.expect("nothing fails"), content(4_000));
    }
    assert_eq!(keys.given_out(), 2);
    assert!(known.refused() > 0);

    known.replace(["LAST"]);
    keys.give_out("LAST", NEVER);
    store.put(&location(), Bytes::from_static(b"x"), "text/csv").await.expect("writes are no other");
    store.pin(&location(), None, None).await.expect("nor is a look");
    assert_eq!(keys.given_out(), 3);
}

#[tokio::test]
async fn keys_that_say_when_they_expire_are_renewed_before_the_store_refuses_them() {
    let known = KnownKeys::new(["SHORT"]);
    let server = S3Server::start_with_auth(known.clone()).await;
    let keys = Keys::new();
    keys.give_out("SHORT", LONG_AGO);
    let store = keys.store(&server).await;
    store.ensure_bucket("input").await.expect("a new bucket");
    let before = keys.given_out();
    known.replace(["NEXT"]);
    keys.give_out("NEXT", NEVER);
    store.put(&location(), Bytes::from_static(b"x"), "text/csv").await.expect("written");
    assert_eq!((keys.given_out(), known.refused()), (before + 1, 0));
}

#[tokio::test]
async fn keys_that_stay_expired_are_told_as_such() {
    let known = KnownKeys::new(["OTHER"]);
    let server = S3Server::start_with_auth(known).await;
    let keys = Keys::new();
    keys.give_out("OLD", NEVER);
    let error = keys.store(&server).await.pin(&location(), None, None).await.expect_err("refused");
    assert!(matches!(error, ObjectError::Credentials { expired: true, .. }), "{error:?}");
    assert!(error.to_string().contains("still expired: renew what this process gets them from"), "{error}");
    assert_eq!(keys.given_out(), 2);
}
