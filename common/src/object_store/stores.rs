//! All stores of a process behind one [`ObjectStore`]: the bucket's name says which.

use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

use super::location::local_directory;
use super::{
    ListedObject, LocalFiles, ObjectError, ObjectLocation, ObjectStore, PinnedObject, S3Store, StoredObject,
    Upload,
};

/// The stores that this process may use. `file:///…` buckets are directories of this machine, all others S3.
#[derive(Clone)]
pub struct ObjectStores {
    s3: Arc<dyn ObjectStore>,
    local: Option<LocalFiles>,
}

impl ObjectStores {
    /// S3 only: for workers and coordinators of several machines, whose directories differ.
    pub fn s3_only(s3: S3Store) -> Self {
        Self { s3: Arc::new(s3), local: None }
    }

    /// S3 and the files of this machine: only where everything runs in one process.
    pub fn with_local_files(s3: S3Store, local: LocalFiles) -> Self {
        Self { s3: Arc::new(s3), local: Some(local) }
    }

    fn store_of(&self, bucket: &str) -> Result<&dyn ObjectStore, ObjectError> {
        match (local_directory(bucket), &self.local) {
            (None, _) => Ok(&*self.s3),
            (Some(_), Some(local)) => Ok(local),
            (Some(_), None) => Err(ObjectError::Invalid {
                place: bucket.to_owned(),
                reason: "local files work only where all runs in one process; put the file into an S3 bucket"
                    .into(),
            }),
        }
    }
}

#[async_trait]
impl ObjectStore for ObjectStores {
    async fn pin(
        &self,
        location: &ObjectLocation,
        version_id: Option<&str>,
        expected_bucket_owner: Option<&str>,
    ) -> Result<PinnedObject, ObjectError> {
        self.store_of(&location.bucket)?.pin(location, version_id, expected_bucket_owner).await
    }

    async fn read(&self, object: &PinnedObject, range: Range<u64>) -> Result<Bytes, ObjectError> {
        self.store_of(&object.location.bucket)?.read(object, range).await
    }

    async fn put(
        &self,
        location: &ObjectLocation,
        body: Bytes,
        content_type: &str,
    ) -> Result<StoredObject, ObjectError> {
        self.store_of(&location.bucket)?.put(location, body, content_type).await
    }

    async fn begin_upload(
        &self,
        location: &ObjectLocation,
        content_type: &str,
    ) -> Result<Box<dyn Upload>, ObjectError> {
        self.store_of(&location.bucket)?.begin_upload(location, content_type).await
    }

    async fn abort_uploads(&self, bucket: &str, prefix: &str) -> Result<(), ObjectError> {
        self.store_of(bucket)?.abort_uploads(bucket, prefix).await
    }

    async fn delete(&self, location: &ObjectLocation) -> Result<(), ObjectError> {
        self.store_of(&location.bucket)?.delete(location).await
    }

    async fn list_after(
        &self,
        bucket: &str,
        prefix: &str,
        after: &str,
        max_keys: usize,
    ) -> Result<Vec<ListedObject>, ObjectError> {
        self.store_of(bucket)?.list_after(bucket, prefix, after, max_keys).await
    }

    async fn ensure_bucket(&self, bucket: &str) -> Result<(), ObjectError> {
        self.store_of(bucket)?.ensure_bucket(bucket).await
    }
}
