//! The embedded store as the S3 client of this project sees it, and its shutdown.

use tempfile::TempDir;
use warifu_common::object_store::{
    MissingThing, ObjectError, ObjectLocation, ObjectStore, RetryPolicy, S3Settings, S3Store,
};

use super::*;

const CSV: &str = "text/csv";

/// A running server over a directory of its own.
struct Fixture {
    server: EmbeddedS3,
    shutdown: CancellationToken,
    directory: TempDir,
}

impl Fixture {
    async fn new() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let shutdown = CancellationToken::new();
        let root = directory.path().join("s3");
        let server = EmbeddedS3::start(&root, listener, "key", "secret", shutdown.clone()).expect("started");
        Self { server, shutdown, directory }
    }

    async fn store(&self) -> S3Store {
        S3Store::connect(S3Settings {
            endpoint_url: Some(self.server.endpoint.clone()),
            force_path_style: true,
            credentials: Some((self.server.access_key.clone(), self.server.secret_key.clone())),
            retry: RetryPolicy { first_delay: Duration::from_millis(1), ..RetryPolicy::default() },
            ..S3Settings::default()
        })
        .await
    }
}

fn location() -> ObjectLocation {
    ObjectLocation::new("input", "2025/a.csv")
}

#[tokio::test]
async fn objects_are_files_below_the_root() {
    let fixture = Fixture::new().await;
    let store = fixture.store().await;
    store.ensure_bucket("input").await.expect("a new bucket");
    store.put(&location(), "a,b\n1,2\n".into(), CSV).await.expect("written");
    let file = fixture.directory.path().join("s3/input/2025/a.csv");
    assert_eq!(std::fs::read(file).expect("a file"), b"a,b\n1,2\n");
    let object = store.pin(&location(), None, None).await.expect("it is there");
    assert_eq!(store.read(&object, 4..7).await.expect("as pinned"), "1,2");
}

#[tokio::test]
async fn ranges_over_many_pieces_are_exact() {
    let fixture = Fixture::new().await;
    let store = fixture.store().await;
    store.ensure_bucket("input").await.expect("a new bucket");
    let bytes: Vec<u8> = (0..700_000_u32).map(|at| (at % 251) as u8).collect();
    store.put(&location(), bytes.clone().into(), CSV).await.expect("written");
    let object = store.pin(&location(), None, None).await.expect("it is there");
    for range in [0..700_000, 0..1, 1..262_145, 262_143..524_289, 699_999..700_000] {
        let read = store.read(&object, range.clone()).await.expect("as pinned");
        assert!(read == bytes[range.start as usize..range.end as usize], "{range:?}");
    }
}

#[tokio::test]
async fn no_key_leads_out_of_the_root() {
    let fixture = Fixture::new().await;
    let store = fixture.store().await;
    store.ensure_bucket("input").await.expect("a new bucket");
    std::fs::write(fixture.directory.path().join("outside.csv"), "secret").expect("a file");
    let outside = ObjectLocation::new("input", "../../outside.csv");
    store.put(&outside, "inside".into(), CSV).await.expect("written within the root");
    let object = store.pin(&outside, None, None).await.expect("it is there");
    assert_eq!(store.read(&object, 0..6).await.expect("as pinned"), "inside");
}

#[tokio::test]
async fn a_replaced_object_fails_the_precondition() {
    let fixture = Fixture::new().await;
    let store = fixture.store().await;
    store.ensure_bucket("input").await.expect("a new bucket");
    store.put(&location(), "old".into(), CSV).await.expect("written");
    let object = store.pin(&location(), None, None).await.expect("it is there");
    store.put(&location(), "new".into(), CSV).await.expect("replaced");
    let error = store.read(&object, 0..3).await.expect_err("another object");
    assert!(
        matches!(error, ObjectError::Changed { seen: None, .. }),
        "412, not an answer to compare: {error:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_beside_a_writer_get_bytes_of_their_own_etag() {
    let fixture = Fixture::new().await;
    let store = fixture.store().await;
    store.ensure_bucket("input").await.expect("a new bucket");
    let location = location();
    let body = |round: u8| vec![round; 1_000].into();
    let first = store.put(&location, body(0), CSV).await.expect("written");
    let mut etags = vec![first.etag];
    for round in 1..40 {
        let writer = store.put(&location, body(round), CSV);
        let reader = async {
            let object = store.pin(&location, None, None).await.expect("it is there");
            (store.read(&object, 0..1_000).await, object.etag)
        };
        let (written, (read, etag)) = tokio::join!(writer, reader);
        etags.push(written.expect("written").etag);
        match read {
            Ok(bytes) => assert_eq!(etags[usize::from(bytes[0])], etag),
            Err(error) => assert!(matches!(error, ObjectError::Changed { .. }), "{error:?}"),
        }
    }
}

#[tokio::test]
async fn a_missing_bucket_is_not_made_by_writing() {
    let fixture = Fixture::new().await;
    let error = fixture.store().await.put(&location(), "".into(), CSV).await.expect_err("no bucket");
    assert!(matches!(error, ObjectError::NotFound { missing: MissingThing::Bucket, .. }), "{error:?}");
}

#[tokio::test]
async fn other_addresses_than_loopback_are_refused() {
    let listener = TcpListener::bind("0.0.0.0:0").await.expect("a free port");
    let directory = tempfile::tempdir().expect("a temporary directory");
    let started = EmbeddedS3::start(directory.path(), listener, "key", "secret", CancellationToken::new());
    assert!(started.is_err());
}

#[tokio::test]
async fn a_shutdown_ends_idle_connections_and_the_server() {
    let fixture = Fixture::new().await;
    let store = fixture.store().await;
    store.ensure_bucket("input").await.expect("a new bucket");
    fixture.shutdown.cancel();
    fixture.server.stopped().await.expect("stopped");
    let error = store.pin(&location(), None, None).await.expect_err("nobody answers");
    assert!(matches!(error, ObjectError::Unavailable { .. }), "{error:?}");
}
