//! Object storage: S3 and S3-compatible stores, and directories of this machine.
//!
//! Owns everything between "these bytes of that object" and the bytes themselves: pinning an object, ranged reads that
//! prove what they return, retries, timeouts and byte limits. Nothing else in Warifu talks to S3.
//!
//! It deliberately does not know what the bytes mean: no records, no compression, no map runs.
//!
//! **Invariant:** [`ObjectStore::read`] returns exactly the bytes of the object that was pinned, or an error. An object
//! that was replaced, a store that ignores `If-Match` or `Range`, and a body that was cut never become other bytes.
//!
//! **Invariant:** every buffer, retry and wait here has a bound.
//!
//! Start reading at [`ObjectStore`], then `s3/part.rs` (one ranged GET and its checks) and `local.rs`.

use std::ops::Range;

use async_trait::async_trait;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

mod allowed;
mod error;
mod local;
mod location;
mod memory;
mod retry;
mod s3;
mod stores;
#[cfg(test)]
mod tests;
mod upload;

pub use allowed::AllowedObjects;
pub use error::{MissingThing, ObjectAction, ObjectError};
pub use local::LocalFiles;
pub use location::{InvalidLocation, ObjectLocation};
pub use memory::Buffer;
pub use retry::RetryPolicy;
use retry::random_mark;
pub use s3::{CaCertificates, InvalidCaFile, S3Encryption, S3Settings, S3Store, S3Timeouts};
pub use stores::ObjectStores;
pub use upload::{MAX_PARTS, MIN_PART_BYTES, Upload};

/// Most bytes that one [`ObjectStore::read`] may ask for: they are held in memory at once.
pub const MAX_READ_BYTES: u64 = 512 * 1024 * 1024;

/// Most bytes that one [`ObjectStore::put`] may send: they are held in memory at once. Larger objects are written part by
/// part, by [`ObjectStore::begin_upload`].
pub const MAX_PUT_BYTES: u64 = 64 * 1024 * 1024;

/// How often [`ObjectStore::get`] begins again when the object is replaced while it is being read.
const GET_ATTEMPTS: u32 = 3;

/// An object as it was at one moment. Reads under it return bytes of that moment, or fail.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PinnedObject {
    /// Where it lies.
    pub location: ObjectLocation,
    /// The version that the user named. Absent: the current one; the ETag alone pins it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version_id: Option<String>,
    /// The ETag as the store gave it, quotes included; for a local file a string of device, inode, size and mtime.
    pub etag: String,
    /// The size in bytes.
    pub size: u64,
}

/// An object that was just written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredObject {
    /// The size in bytes.
    pub size: u64,
    /// The ETag, spelled as in [`PinnedObject::etag`].
    pub etag: String,
}

/// An object in a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedObject {
    /// The whole key, prefix included.
    pub key: String,
    /// The size in bytes.
    pub size: u64,
    /// The ETag, spelled as in [`PinnedObject::etag`].
    pub etag: String,
    /// When the object was last written, in seconds since 1970 (UTC).
    pub last_modified_seconds: i64,
    /// The storage class; absent where a store has none.
    pub storage_class: Option<String>,
}

/// Reads and writes objects. Implementations retry what is worth it within their bounds: an error that arrives here has
/// outlived the retries, and [`ObjectError`] says who must act.
#[async_trait]
pub trait ObjectStore: Send + Sync + 'static {
    /// Looks at an object without reading it, and pins what is there now.
    async fn pin(
        &self,
        location: &ObjectLocation,
        version_id: Option<&str>,
        expected_bucket_owner: Option<&str>,
    ) -> Result<PinnedObject, ObjectError>;

    /// Reads `range` of a pinned object, at most [`MAX_READ_BYTES`].
    ///
    /// [`ObjectError::Changed`] means that the pinned bytes are gone; no retry brings them back.
    async fn read(&self, object: &PinnedObject, range: Range<u64>) -> Result<Bytes, ObjectError>;

    /// Reads a whole small object as it is now. Larger than `max_bytes` is [`ObjectError::TooLarge`].
    async fn get(&self, location: &ObjectLocation, max_bytes: u64) -> Result<Bytes, ObjectError> {
        let mut attempt = 1;
        loop {
            let object = self.pin(location, None, None).await?;
            if object.size > max_bytes {
                return Err(ObjectError::TooLarge {
                    place: location.to_string(),
                    size_bytes: object.size,
                    limit_bytes: max_bytes,
                });
            }
            match self.read(&object, 0..object.size).await {
                Err(ObjectError::Changed { .. }) if attempt < GET_ATTEMPTS => attempt += 1,
                answer => return answer,
            }
        }
    }

    /// Writes a whole object of at most [`MAX_PUT_BYTES`], replacing what was there. Nobody sees half of it.
    ///
    /// After an error the object may have been written or not: write it again, or to another key.
    async fn put(
        &self,
        location: &ObjectLocation,
        body: Bytes,
        content_type: &str,
    ) -> Result<StoredObject, ObjectError>;

    /// Begins an object that is written part by part; what was there is replaced when it is complete.
    async fn begin_upload(
        &self,
        location: &ObjectLocation,
        content_type: &str,
    ) -> Result<Box<dyn Upload>, ObjectError>;

    /// Gives up unfinished uploads of keys that begin with `prefix`, which processes that died may have left: as many as
    /// the store lists at once.
    async fn abort_uploads(&self, bucket: &str, prefix: &str) -> Result<(), ObjectError>;

    /// Deletes an object. One that is not there counts as deleted.
    async fn delete(&self, location: &ObjectLocation) -> Result<(), ObjectError>;

    /// Lists objects whose key begins with `prefix`, in the order of their keys' bytes, at most `max_keys` of them.
    async fn list(
        &self,
        bucket: &str,
        prefix: &str,
        max_keys: usize,
    ) -> Result<Vec<ListedObject>, ObjectError> {
        self.list_after(bucket, prefix, "", max_keys).await
    }

    /// The same of those whose key comes after `after`.
    async fn list_after(
        &self,
        bucket: &str,
        prefix: &str,
        after: &str,
        max_keys: usize,
    ) -> Result<Vec<ListedObject>, ObjectError>;

    /// Creates a bucket unless it is there: for the embedded store, and for tests.
    async fn ensure_bucket(&self, bucket: &str) -> Result<(), ObjectError>;
}

/// Checks a range against the object that it is to be read from, before anything is sent.
fn check_range(object: &PinnedObject, range: &Range<u64>) -> Result<(), ObjectError> {
    let reason = if range.start > range.end || range.end > object.size {
        format!("bytes {}..{} lie outside its {} bytes", range.start, range.end, object.size)
    } else if range.end - range.start > MAX_READ_BYTES {
        format!("bytes {}..{} are more than the {MAX_READ_BYTES} of one read", range.start, range.end)
    } else {
        return Ok(());
    };
    Err(ObjectError::Invalid { place: object.location.to_string(), reason })
}

/// Checks a body against [`MAX_PUT_BYTES`].
fn check_put_size(location: &ObjectLocation, body: &Bytes) -> Result<u64, ObjectError> {
    let size_bytes = body.len() as u64;
    if size_bytes > MAX_PUT_BYTES {
        return Err(ObjectError::TooLarge {
            place: location.to_string(),
            size_bytes,
            limit_bytes: MAX_PUT_BYTES,
        });
    }
    Ok(size_bytes)
}
