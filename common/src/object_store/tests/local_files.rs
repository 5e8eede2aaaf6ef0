//! Local files: read as pinned or not at all, written whole or not at all.

use std::fs::{self, File};
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use tempfile::TempDir;

use super::{content, quick_store};
use crate::object_store::{
    LocalFiles, MAX_PUT_BYTES, MissingThing, ObjectError, ObjectLocation, ObjectStore, ObjectStores,
    PinnedObject,
};

const CSV: &str = "text/csv";

/// A directory with one pinned file of 1,000 bytes.
struct Fixture {
    directory: TempDir,
    store: LocalFiles,
    object: PinnedObject,
}

impl Fixture {
    async fn new() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("a.csv");
        fs::write(&path, content(1_000)).expect("a file");
        let store = LocalFiles::new();
        let location = ObjectLocation::local_file(&path).expect("an absolute path");
        let object = store.pin(&location, None, None).await.expect("it is there");
        Self { directory, store, object }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("a.csv")
    }

    fn bucket(&self) -> String {
        format!("file://{}", self.directory.path().display())
    }

    fn location(&self, key: &str) -> ObjectLocation {
        ObjectLocation::new(self.bucket(), key)
    }

    async fn assert_changed(&self) {
        let error = self.store.read(&self.object, 0..10).await.expect_err("the file is another one");
        assert!(matches!(error, ObjectError::Changed { seen: Some(_), .. }), "{error:?}");
    }

    async fn keys(&self, prefix: &str, max_keys: usize) -> Vec<String> {
        let listed = self.store.list(&self.bucket(), prefix, max_keys).await.expect("listed");
        listed.into_iter().map(|object| object.key).collect()
    }
}

#[tokio::test]
async fn a_file_is_read_in_any_range() {
    let fixture = Fixture::new().await;
    for range in [0..1_000, 0..0, 999..1_000, 123..456] {
        let expected = &content(1_000)[range.start as usize..range.end as usize];
        assert_eq!(fixture.store.read(&fixture.object, range).await.expect("as pinned"), expected);
    }
    assert!(matches!(fixture.store.read(&fixture.object, 0..1_001).await, Err(ObjectError::Invalid { .. })));
}

#[tokio::test]
async fn a_replaced_file_is_a_change() {
    let fixture = Fixture::new().await;
    let other = fixture.directory.path().join("b.csv");
    fs::write(&other, content(1_000)).expect("a file");
    let modified = fs::metadata(fixture.path()).expect("it is there").modified().expect("a time");
    File::options().write(true).open(&other).expect("a file").set_modified(modified).expect("a time");
    fs::rename(other, fixture.path()).expect("renamed");
    fixture.assert_changed().await;
}

#[tokio::test]
async fn an_appended_and_a_shortened_file_are_changes() {
    for size in [1_001, 999] {
        let fixture = Fixture::new().await;
        File::options().write(true).open(fixture.path()).expect("a file").set_len(size).expect("a size");
        fixture.assert_changed().await;
    }
}

#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "a file's time of change is wall time")]
async fn a_file_rewritten_in_place_is_a_change() {
    let fixture = Fixture::new().await;
    fs::write(fixture.path(), vec![b'x'; 1_000]).expect("rewritten");
    let later = SystemTime::now() + Duration::from_secs(1);
    File::options().write(true).open(fixture.path()).expect("a file").set_modified(later).expect("a time");
    fixture.assert_changed().await;
}

#[tokio::test]
async fn a_deleted_file_is_not_found() {
    let fixture = Fixture::new().await;
    fixture.store.delete(&fixture.object.location).await.expect("deleted");
    fixture.store.delete(&fixture.object.location).await.expect("nothing left to do");
    let error = fixture.store.read(&fixture.object, 0..10).await.expect_err("deleted");
    assert_eq!(error.to_string(), format!("object {} does not exist", fixture.path().display()));
}

#[tokio::test]
async fn a_written_file_is_whole_and_leaves_nothing_beside_it() {
    let fixture = Fixture::new().await;
    for length in [70_000, 10] {
        let location = fixture.location("new/deep/b.csv");
        let body = Bytes::from(content(length));
        let stored = fixture.store.put(&location, body.clone(), CSV).await.expect("written");
        let object = fixture.store.pin(&location, None, None).await.expect("it is there");
        assert_eq!((stored.size, stored.etag), (object.size, object.etag));
        assert_eq!(fixture.store.get(&location, 70_000).await.expect("read"), body);
    }
    let beside = fs::read_dir(fixture.directory.path().join("new/deep")).expect("a directory");
    assert_eq!(beside.count(), 1);
}

#[tokio::test]
async fn a_write_that_fails_leaves_nothing_behind() {
    let fixture = Fixture::new().await;
    fs::create_dir(fixture.directory.path().join("taken")).expect("a directory");
    assert!(fixture.store.put(&fixture.location("taken"), Bytes::from("x"), CSV).await.is_err());
    assert_eq!(fs::read_dir(fixture.directory.path()).expect("a directory").count(), 2);
    let large = Bytes::from(vec![0; MAX_PUT_BYTES as usize + 1]);
    let error = fixture.store.put(&fixture.location("large"), large, CSV).await.expect_err("too large");
    assert!(matches!(error, ObjectError::TooLarge { .. }), "{error:?}");
}

#[tokio::test]
async fn a_listing_orders_keys_as_s3_does() {
    let fixture = Fixture::new().await;
    for key in ["a/b", "a-b", "a/a/c", "a0", "z"] {
        fixture.store.put(&fixture.location(key), Bytes::from("x"), CSV).await.expect("written");
    }
    std::os::unix::fs::symlink("..", fixture.directory.path().join("a/up")).expect("a link");
    assert_eq!(fixture.keys("", 99).await, ["a-b", "a.csv", "a/a/c", "a/b", "a0", "z"]);
    assert_eq!(fixture.keys("", 3).await, ["a-b", "a.csv", "a/a/c"]);
    assert_eq!(fixture.keys("a/", 99).await, ["a/a/c", "a/b"]);
    assert_eq!(fixture.keys("a/a", 99).await, ["a/a/c"]);
    assert_eq!(fixture.keys("b", 99).await, [""; 0]);
}

#[tokio::test]
async fn a_bucket_is_a_directory_that_can_be_made() {
    let fixture = Fixture::new().await;
    let bucket = format!("{}/x/y", fixture.bucket());
    let error = fixture.store.list(&bucket, "", 10).await.expect_err("no such directory");
    assert!(matches!(error, ObjectError::NotFound { missing: MissingThing::Bucket, .. }), "{error:?}");
    fixture.store.ensure_bucket(&bucket).await.expect("made");
    fixture.store.ensure_bucket(&bucket).await.expect("it is there");
    assert!(fixture.store.list(&bucket, "", 10).await.expect("listed").is_empty());
}

#[tokio::test]
async fn only_regular_files_below_their_directory_are_objects() {
    let fixture = Fixture::new().await;
    fs::create_dir(fixture.directory.path().join("d")).expect("a directory");
    for key in ["d", "../a.csv", "d/../a.csv", "/etc/passwd"] {
        let error = fixture.store.pin(&fixture.location(key), None, None).await.expect_err("no object");
        assert!(matches!(error, ObjectError::Invalid { .. }), "{error:?}");
    }
}

#[tokio::test]
async fn the_bucket_decides_which_store_is_used() {
    let fixture = Fixture::new().await;
    let s3 = quick_store("http://127.0.0.1:9").await;
    let stores = ObjectStores::with_local_files(s3.clone(), LocalFiles::new());
    assert_eq!(stores.read(&fixture.object, 0..9).await.expect("a local file"), content(9));
    let in_s3 = ObjectLocation::new("input", "a.csv");
    assert!(matches!(stores.get(&in_s3, 9).await, Err(ObjectError::Unavailable { .. })));

    let error = ObjectStores::s3_only(s3).read(&fixture.object, 0..9).await.expect_err("not allowed here");
    assert!(error.to_string().contains("local files work only where all runs in one process"), "{error}");
}
