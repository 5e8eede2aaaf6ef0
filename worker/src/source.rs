//! Bytes of a run's source: from the cache, or from the store with patience.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tracing::warn;
use warifu_common::model::protocol::RunFault;
use warifu_common::object_store::{ObjectError, ObjectStore, PinnedObject};

use crate::cache::ByteCache;
use crate::fault;

/// How often an operation on the store is tried before it ends the run. The store has retried each of them by itself.
pub(crate) const STORE_TRIES: u32 = 5;

/// The wait before the second try; it doubles from one to the next.
const FIRST_BACKOFF: Duration = Duration::from_millis(500);

/// The longest wait that a store can ask for.
const LONGEST_BACKOFF: Duration = Duration::from_secs(30);

/// Reads sources of runs. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Sources {
    store: Arc<dyn ObjectStore>,
    cache: Arc<ByteCache>,
}

impl Sources {
    pub(crate) fn new(store: Arc<dyn ObjectStore>, cache_bytes: u64) -> Self {
        Self { store, cache: Arc::new(ByteCache::new(cache_bytes)) }
    }

    /// Exactly the bytes of `range`, which lies within the object.
    pub(crate) async fn read(&self, object: &PinnedObject, range: Range<u64>) -> Result<Bytes, RunFault> {
        if let Some(bytes) = self.cache.get_all(object, range.clone()) {
            return Ok(bytes);
        }
        let read = with_patience(|| self.store.read(object, range.clone())).await;
        read.map_err(|error| fault::source_unreadable(&error))
    }

    /// What the cache holds from `range.start` on.
    pub(crate) fn cached(&self, object: &PinnedObject, range: Range<u64>) -> Option<Bytes> {
        self.cache.get(object, range)
    }

    /// Keeps bytes that leases will soon ask for.
    pub(crate) fn keep(&self, object: &PinnedObject, start: u64, bytes: Bytes) {
        self.cache.insert(object, start, bytes);
    }

    /// Drops what is kept of an object.
    pub(crate) fn forget(&self, object: &PinnedObject) {
        self.cache.forget(object);
    }
}

/// Repeats an operation on the store while it is worth it, [`STORE_TRIES`] times in all.
pub(crate) async fn with_patience<T, F>(mut operation: impl FnMut() -> F) -> Result<T, ObjectError>
where
    F: Future<Output = Result<T, ObjectError>>,
{
    let mut backoff = FIRST_BACKOFF;
    for _ in 1..STORE_TRIES {
        match operation().await {
            Err(error) if error.is_retryable() => {
                warn!(%error, "the store failed, the operation is repeated");
                let wait = error.retry_after().unwrap_or(backoff).min(LONGEST_BACKOFF);
                tokio::time::sleep(wait).await;
                backoff *= 2;
            }
            answer => return answer,
        }
    }
    operation().await
}
