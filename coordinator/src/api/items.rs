//! Items that a job gives itself: they become JSON lines under the system bucket, and then are an object like any other.

use bytes::Bytes;
use serde_json::Value;
use ulid::Ulid;
use warifu_common::error_chain::Chain;
use warifu_common::object_store::ObjectLocation;
use warifu_model::MapRunId;
use warifu_model::protocol::SourcePin;
use warifu_scheduler::staging_place;

use super::{ApiError, Context};
use crate::reading::source_pin;

/// A JSON value per line.
pub(super) fn json_lines(items: &[Value]) -> Bytes {
    items.iter().map(|item| format!("{item}\n")).collect::<String>().into()
}

impl Context {
    /// Writes the items of a run that is about to be created, under a key that no other request uses, and pins them.
    pub(super) async fn store_items(&self, id: &MapRunId, items: &[Value]) -> Result<SourcePin, ApiError> {
        let (bucket, prefix) = staging_place(&self.limits, id);
        let location = ObjectLocation::new(bucket, format!("{prefix}items-{}.jsonl", Ulid::new()));
        let body = json_lines(items);
        self.objects.put(&location, body, "application/jsonl").await.map_err(ApiError::Source)?;
        let pinned = self.objects.pin(&location, None, None).await.map_err(ApiError::Source)?;
        Ok(source_pin(pinned))
    }

    /// Deletes the items of a run that was not created, if that is certain.
    pub(super) async fn forget_items(&self, error: &ApiError, location: &ObjectLocation) {
        let certain = matches!(
            error,
            ApiError::MapRunExists(_) | ApiError::MapRunIdUsedBefore(_) | ApiError::HandlerNotAvailable(_)
        );
        if !certain {
            return;
        }
        if let Err(error) = self.objects.delete(location).await {
            tracing::warn!(place = %location, error = %Chain(&error), "items of a run that was not created are left");
        }
    }
}
