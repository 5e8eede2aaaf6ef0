//! `[s3] allowed`: what a process reaches for its jobs, whatever other processes say.

use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use warifu_model::NotAllowed;

use super::{ListedObject, ObjectError, ObjectLocation, ObjectStore, PinnedObject, StoredObject, Upload};
use crate::config::S3Config;

/// A store that refuses objects outside the configured rules. The system bucket is always allowed.
pub struct AllowedObjects {
    store: Arc<dyn ObjectStore>,
    config: S3Config,
}

impl AllowedObjects {
    /// Lets through to `store` what `config` allows.
    pub fn new(store: Arc<dyn ObjectStore>, config: S3Config) -> Self {
        Self { store, config }
    }

    fn check_object(&self, location: &ObjectLocation) -> Result<(), ObjectError> {
        let (bucket, key) = (&location.bucket, &location.key);
        self.refuse(bucket, key, self.config.allowed.check_object(bucket, key))
    }

    fn check_prefix(&self, bucket: &str, prefix: &str) -> Result<(), ObjectError> {
        self.refuse(bucket, prefix, self.config.allowed.check_prefix(bucket, prefix))
    }

    fn refuse(&self, bucket: &str, key: &str, checked: Result<(), NotAllowed>) -> Result<(), ObjectError> {
        if checked.is_ok() || self.config.system_bucket.as_deref() == Some(bucket) {
            return Ok(());
        }
        let place = ObjectLocation::new(bucket, key).to_string();
        let reason = "the configuration of this process does not allow it; add it to [s3] allowed".to_owned();
        Err(ObjectError::Invalid { place, reason })
    }
}

#[async_trait]
impl ObjectStore for AllowedObjects {
    async fn pin(
        &self,
        location: &ObjectLocation,
        version_id: Option<&str>,
        expected_bucket_owner: Option<&str>,
    ) -> Result<PinnedObject, ObjectError> {
        self.check_object(location)?;
        self.store.pin(location, version_id, expected_bucket_owner).await
    }

    async fn read(&self, object: &PinnedObject, range: Range<u64>) -> Result<Bytes, ObjectError> {
        self.check_object(&object.location)?;
        self.store.read(object, range).await
    }

    async fn put(
        &self,
        location: &ObjectLocation,
        body: Bytes,
        content_type: &str,
    ) -> Result<StoredObject, ObjectError> {
        self.check_object(location)?;
        self.store.put(location, body, content_type).await
    }

    async fn begin_upload(
        &self,
        location: &ObjectLocation,
        content_type: &str,
    ) -> Result<Box<dyn Upload>, ObjectError> {
        self.check_object(location)?;
        self.store.begin_upload(location, content_type).await
    }

    async fn abort_uploads(&self, bucket: &str, prefix: &str) -> Result<(), ObjectError> {
        self.check_prefix(bucket, prefix)?;
        self.store.abort_uploads(bucket, prefix).await
    }

    async fn delete(&self, location: &ObjectLocation) -> Result<(), ObjectError> {
        self.check_object(location)?;
        self.store.delete(location).await
    }

    async fn list_after(
        &self,
        bucket: &str,
        prefix: &str,
        after: &str,
        max_keys: usize,
    ) -> Result<Vec<ListedObject>, ObjectError> {
        self.check_prefix(bucket, prefix)?;
        self.store.list_after(bucket, prefix, after, max_keys).await
    }

    async fn ensure_bucket(&self, bucket: &str) -> Result<(), ObjectError> {
        self.check_prefix(bucket, "")?;
        self.store.ensure_bucket(bucket).await
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::config::{Source, WorkerConfig};
    use crate::object_store::LocalFiles;

    /// Which of all operations on a place were refused before they reached the store.
    async fn refused(store: &AllowedObjects, bucket: &str, key: &str) -> Vec<bool> {
        let location = ObjectLocation::new(bucket, key);
        let (version_id, etag) = (None, String::new());
        let object = PinnedObject { location: location.clone(), version_id, etag, size: 1 };
        let errors = [
            store.pin(&location, None, None).await.err(),
            store.get(&location, 1).await.err(),
            store.read(&object, 0..1).await.err(),
            store.put(&location, Bytes::new(), "").await.err(),
            store.begin_upload(&location, "").await.err(),
            store.delete(&location).await.err(),
            store.abort_uploads(bucket, key).await.err(),
            store.list(bucket, key, 1).await.err(),
        ];
        let is_refused = |error: Option<ObjectError>| {
            error.is_some_and(|error| !error.is_retryable() && error.to_string().contains("[s3] allowed"))
        };
        errors.into_iter().map(is_refused).collect()
    }

    #[tokio::test]
    async fn every_operation_reaches_only_what_the_rules_name() {
        let text = "[s3]\nallowed = ['s3://input/users*', 's3://input/one']\nsystem_bucket = 'system'\n";
        let source = Source::new(None, text, BTreeMap::new(), Vec::new()).unwrap();
        let config = WorkerConfig::from_source(source).unwrap().s3;
        // It has no buckets: what gets to it fails for another reason.
        let store = AllowedObjects::new(Arc::new(LocalFiles::new()), config);
        assert_eq!(refused(&store, "input", "users.csv").await, [false; 8]);
        assert_eq!(refused(&store, "system", "part").await, [false; 8]);
        assert_eq!(refused(&store, "input", "part").await, [true; 8]);
        assert_eq!(refused(&store, "other", "users.csv").await, [true; 8]);
        // One object is not all that begins like it.
        let one = [false, false, false, false, false, false, true, true];
        assert_eq!(refused(&store, "input", "one").await, one);
    }
}
