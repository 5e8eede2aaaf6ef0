//! Objects that are written part by part, because nobody knows their size before or because they are large.

use async_trait::async_trait;
use bytes::Bytes;

use super::{ObjectError, PinnedObject};

/// The least bytes of a part but the last: S3's rule.
pub const MIN_PART_BYTES: u64 = 5 * 1024 * 1024;

/// Most parts of an object: S3's rule.
pub const MAX_PARTS: u32 = 10_000;

/// An object that is being written. Nobody sees it before it is complete; one that is dropped leaves parts behind, which
/// [`abort_uploads`](super::ObjectStore::abort_uploads) removes.
#[async_trait]
pub trait Upload: Send {
    /// Writes the next part: at least [`MIN_PART_BYTES`] unless it is the last, at most
    /// [`MAX_PUT_BYTES`](super::MAX_PUT_BYTES), and at most [`MAX_PARTS`] in all. After an error only `abort` makes sense.
    async fn put_part(&mut self, part: Bytes) -> Result<(), ObjectError>;

    /// Makes an object of the parts, of which there is at least one, and pins it.
    async fn complete(self: Box<Self>) -> Result<PinnedObject, ObjectError>;

    /// Gives up; what cannot be removed is left.
    async fn abort(self: Box<Self>);
}
