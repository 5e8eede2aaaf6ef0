//! Objects in memory that take simulated time. Blocking I/O would not.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use warifu_common::object_store::{
    ListedObject, MissingThing, ObjectError, ObjectLocation, ObjectStore, PinnedObject, StoredObject, Upload,
};

use crate::plan::Plan;

/// Where the run reads.
pub(crate) const INPUT: (&str, &str) = ("input", "users.csv");
/// Where its results go: bucket and prefix.
pub(crate) const OUTPUT: (&str, &str) = ("output", "results");

/// How long half of an operation takes.
const HALF: Duration = Duration::from_millis(4);

/// A bucket store of one simulation.
#[derive(Debug, Default)]
pub(crate) struct Objects {
    objects: Mutex<BTreeMap<ObjectLocation, Bytes>>,
}

impl Objects {
    /// With a CSV object whose `id` is the index of each item.
    pub(crate) fn with_source(plan: &Plan) -> Self {
        let mut csv = "id,text\n".to_owned();
        for index in 0..plan.items {
            // Quoted line breaks make records of many lengths, and cuts within them.
            let filler = "x\n".repeat((index * 7 % 23) as usize);
            writeln!(csv, "{index},\"{filler}\"").expect("writing to memory does not fail");
        }
        let objects = Self::default();
        objects.objects().insert(ObjectLocation::new(INPUT.0, INPUT.1), csv.into());
        objects
    }

    fn objects(&self) -> MutexGuard<'_, BTreeMap<ObjectLocation, Bytes>> {
        self.objects.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An object's bytes, for whoever judges.
    pub(crate) fn look(&self, bucket: &str, key: &str) -> Option<Bytes> {
        self.objects().get(&ObjectLocation::new(bucket, key)).cloned()
    }

    fn find(&self, location: &ObjectLocation) -> Result<Bytes, ObjectError> {
        self.objects().get(location).cloned().ok_or_else(|| ObjectError::NotFound {
            missing: MissingThing::Object,
            place: location.to_string(),
            detail: String::new(),
        })
    }
}

/// Objects are written once or with the same bytes, so their size tells them apart well enough.
fn etag(bytes: &Bytes) -> String {
    format!("\"{}\"", bytes.len())
}

#[async_trait]
impl ObjectStore for Objects {
    async fn pin(
        &self,
        location: &ObjectLocation,
        _: Option<&str>,
        _: Option<&str>,
    ) -> Result<PinnedObject, ObjectError> {
        tokio::time::sleep(HALF * 2).await;
        let bytes = self.find(location)?;
        let (etag, size) = (etag(&bytes), bytes.len() as u64);
        Ok(PinnedObject { location: location.clone(), version_id: None, etag, size })
    }

    async fn read(&self, object: &PinnedObject, range: Range<u64>) -> Result<Bytes, ObjectError> {
        tokio::time::sleep(HALF * 2).await;
        Ok(self.find(&object.location)?.slice(range.start as usize..range.end as usize))
    }

    async fn put(
        &self,
        location: &ObjectLocation,
        body: Bytes,
        _: &str,
    ) -> Result<StoredObject, ObjectError> {
        // Whoever dies half-way does not know whether it was written.
        tokio::time::sleep(HALF).await;
        let stored = StoredObject { size: body.len() as u64, etag: etag(&body) };
        self.objects().insert(location.clone(), body);
        tokio::time::sleep(HALF).await;
        Ok(stored)
    }

    async fn begin_upload(&self, location: &ObjectLocation, _: &str) -> Result<Box<dyn Upload>, ObjectError> {
        let place = location.to_string();
        Err(ObjectError::Invalid { place, reason: "nothing is staged in this network".into() })
    }

    async fn abort_uploads(&self, _: &str, _: &str) -> Result<(), ObjectError> {
        Ok(())
    }

    async fn delete(&self, location: &ObjectLocation) -> Result<(), ObjectError> {
        tokio::time::sleep(HALF * 2).await;
        self.objects().remove(location);
        Ok(())
    }

    async fn list_after(
        &self,
        bucket: &str,
        prefix: &str,
        after: &str,
        max_keys: usize,
    ) -> Result<Vec<ListedObject>, ObjectError> {
        tokio::time::sleep(HALF * 2).await;
        let objects = self.objects();
        let listed = objects
            .iter()
            .filter(|(at, _)| at.bucket == bucket && at.key.starts_with(prefix) && at.key.as_str() > after);
        let listed = listed.map(|(at, bytes)| ListedObject {
            key: at.key.clone(),
            size: bytes.len() as u64,
            etag: etag(bytes),
            last_modified_seconds: 0,
            storage_class: None,
        });
        Ok(listed.take(max_keys).collect())
    }

    async fn ensure_bucket(&self, _: &str) -> Result<(), ObjectError> {
        Ok(())
    }
}
