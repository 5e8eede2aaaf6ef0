//! `[s3] allowed`: what a worker's jobs may read and write, whatever the coordinator says.

use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use warifu_common::config::S3Config;
use warifu_common::object_store::{
    ListedObject, ObjectError, ObjectLocation, ObjectStore, PinnedObject, StoredObject, Upload,
};

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

    fn check(&self, bucket: &str, key: &str) -> Result<(), ObjectError> {
        let place = ObjectLocation::new(bucket, key).to_string();
        if self.config.system_bucket.as_deref() == Some(bucket) || self.config.allowed.permit(&place) {
            return Ok(());
        }
        let reason = "the worker's configuration does not allow it; add it to [s3] allowed".to_owned();
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
        self.check(&location.bucket, &location.key)?;
        self.store.pin(location, version_id, expected_bucket_owner).await
    }

    async fn read(&self, object: &PinnedObject, range: Range<u64>) -> Result<Bytes, ObjectError> {
        self.check(&object.location.bucket, &object.location.key)?;
        self.store.read(object, range).await
    }

    async fn put(
        &self,
        location: &ObjectLocation,
        body: Bytes,
        content_type: &str,
    ) -> Result<StoredObject, ObjectError> {
        self.check(&location.bucket, &location.key)?;
        self.store.put(location, body, content_type).await
    }

    async fn begin_upload(
        &self,
        location: &ObjectLocation,
        content_type: &str,
    ) -> Result<Box<dyn Upload>, ObjectError> {
        self.check(&location.bucket, &location.key)?;
        self.store.begin_upload(location, content_type).await
    }

    async fn abort_uploads(&self, bucket: &str, prefix: &str) -> Result<(), ObjectError> {
        self.check(bucket, prefix)?;
        self.store.abort_uploads(bucket, prefix).await
    }

    async fn delete(&self, location: &ObjectLocation) -> Result<(), ObjectError> {
        self.check(&location.bucket, &location.key)?;
        self.store.delete(location).await
    }

    async fn list_after(
        &self,
        bucket: &str,
        prefix: &str,
        after: &str,
        max_keys: usize,
    ) -> Result<Vec<ListedObject>, ObjectError> {
        self.check(bucket, prefix)?;
        self.store.list_after(bucket, prefix, after, max_keys).await
    }

    async fn ensure_bucket(&self, bucket: &str) -> Result<(), ObjectError> {
        self.check(bucket, "")?;
        self.store.ensure_bucket(bucket).await
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use warifu_common::config::{Source, WorkerConfig};

    use super::*;
    use crate::testing::MemoryStore;

    #[tokio::test]
    async fn only_what_the_rules_name_is_reached() {
        let text = "[s3]\nallowed = ['s3://input/users*']\nsystem_bucket = 'system'\n";
        let source = Source::new(None, text, BTreeMap::new(), Vec::new()).unwrap();
        let config = WorkerConfig::from_source(source).unwrap().s3;
        let (store, object) = MemoryStore::with("users.csv", &b"a\n"[..]);
        let store = AllowedObjects::new(store, config);
        assert_eq!(store.read(&object, 0..1).await.unwrap(), "a");
        let put = |bucket: &str| {
            let location = ObjectLocation::new(bucket, "part");
            let store = &store;
            async move { store.put(&location, Bytes::new(), "").await }
        };
        assert!(put("system").await.is_ok());
        let refused = put("input").await.unwrap_err();
        assert!(!refused.is_retryable() && refused.to_string().contains("[s3] allowed"), "{refused}");
    }
}
