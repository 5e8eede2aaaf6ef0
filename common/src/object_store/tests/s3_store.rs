//! The S3 store against a server that does what S3 does.

use bytes::Bytes;

use super::s3_server::S3Server;
use super::{content, quick_settings, quick_store};
use crate::object_store::{MissingThing, ObjectError, ObjectLocation, ObjectStore, S3Store};

const JSON: &str = "application/json";

async fn server_with_bucket() -> (S3Server, S3Store) {
    let server = S3Server::start().await;
    let store = quick_store(&server.endpoint).await;
    store.ensure_bucket("input").await.expect("a new bucket");
    (server, store)
}

fn location() -> ObjectLocation {
    ObjectLocation::new("input", "in/a b+c é.csv")
}

async fn put(store: &S3Store, location: &ObjectLocation, length: usize) {
    let stored = store.put(location, Bytes::from(content(length)), JSON).await.expect("written");
    assert_eq!(stored.size, length as u64);
}

#[tokio::test]
async fn what_was_written_is_pinned_and_read_in_any_range() {
    let (_server, store) = server_with_bucket().await;
    put(&store, &location(), 2_000).await;
    let object = store.pin(&location(), None, None).await.expect("it is there");
    assert_eq!((object.size, &object.location), (2_000, &location()));
    for range in [0..2_000, 0..1, 1_999..2_000, 399..401, 123..1_777] {
        let expected = &content(2_000)[range.start as usize..range.end as usize];
        assert_eq!(store.read(&object, range).await.expect("as pinned"), expected);
    }
}

#[tokio::test]
async fn an_object_replaced_between_two_reads_is_a_change() {
    let (_server, store) = server_with_bucket().await;
    put(&store, &location(), 2_000).await;
    let object = store.pin(&location(), None, None).await.expect("it is there");
    store.read(&object, 0..10).await.expect("not yet replaced");
    store.put(&location(), Bytes::from(vec![b'x'; 2_000]), JSON).await.expect("replaced");
    let error = store.read(&object, 10..20).await.expect_err("another object of the same size");
    assert!(matches!(error, ObjectError::Changed { seen: Some(_), .. }), "{error:?}");
}

#[tokio::test]
async fn an_empty_object_is_an_object() {
    let (_server, store) = server_with_bucket().await;
    put(&store, &location(), 0).await;
    assert_eq!(store.pin(&location(), None, None).await.expect("it is there").size, 0);
    assert_eq!(store.get(&location(), 0).await.expect("empty"), "");
}

#[tokio::test]
async fn get_returns_small_objects_and_refuses_large_ones() {
    let (_server, store) = server_with_bucket().await;
    put(&store, &location(), 1_500).await;
    assert_eq!(store.get(&location(), 1_500).await.expect("small enough"), content(1_500));
    let error = store.get(&location(), 1_499).await.expect_err("too large");
    assert_eq!(
        error.to_string(),
        "s3://input/in/a b+c é.csv has 1500 bytes, more than the 1499 allowed here"
    );
}

#[tokio::test]
async fn a_missing_object_and_a_missing_bucket_are_told_apart() {
    let (_server, store) = server_with_bucket().await;
    for (bucket, expected) in [("input", MissingThing::Object), ("nowhere", MissingThing::Bucket)] {
        let error = store.pin(&ObjectLocation::new(bucket, "a"), None, None).await.expect_err("missing");
        assert!(matches!(&error, ObjectError::NotFound { missing, .. } if *missing == expected), "{error:?}");
    }
    let error = store.list("nowhere", "", 10).await.expect_err("missing");
    assert!(matches!(&error, ObjectError::NotFound { missing: MissingThing::Bucket, .. }), "{error:?}");
}

#[tokio::test]
async fn deleting_twice_is_deleting() {
    let (_server, store) = server_with_bucket().await;
    put(&store, &location(), 10).await;
    store.delete(&location()).await.expect("deleted");
    store.delete(&location()).await.expect("nothing left to do");
    assert!(matches!(store.get(&location(), 10).await, Err(ObjectError::NotFound { .. })));
}

#[tokio::test]
async fn a_bucket_that_exists_is_left_as_it_is() {
    let (_server, store) = server_with_bucket().await;
    put(&store, &location(), 10).await;
    store.ensure_bucket("input").await.expect("it is there");
    assert_eq!(store.list("input", "", 10).await.expect("listed").len(), 1);
}

#[tokio::test]
async fn a_listing_goes_over_pages_in_the_order_of_keys() {
    let (server, store) = server_with_bucket().await;
    for number in 0..1_003 {
        std::fs::write(server.directory().join(format!("input/p-{number:04}")), b"xy").expect("a file");
    }
    std::fs::write(server.directory().join("input/q"), b"").expect("a file");
    let listed = store.list("input", "p-", 5_000).await.expect("listed");
    assert_eq!(listed.len(), 1_003);
    assert!(listed.is_sorted_by_key(|object| &object.key));
    assert_eq!((listed[1_002].key.as_str(), listed[1_002].size), ("p-1002", 2));
    assert_eq!(store.list("input", "p-", 1_001).await.expect("listed").len(), 1_001);
}

#[tokio::test]
async fn a_wrong_secret_is_a_matter_of_credentials() {
    let (server, _store) = server_with_bucket().await;
    let mut settings = quick_settings(&server.endpoint);
    settings.credentials = Some((super::ACCESS_KEY.to_owned(), "wrong".to_owned()));
    assert!(!format!("{settings:?}").contains("wrong"), "secrets are not shown");
    let store = S3Store::connect(settings).await;
    let error = store.pin(&location(), None, None).await.expect_err("a wrong signature");
    assert!(matches!(error, ObjectError::Credentials { expired: false, .. }), "{error:?}");
}
