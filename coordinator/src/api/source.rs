//! What requests say, as far as it takes more than a field's conversion, and the head of a source.

use std::time::Duration;

use warifu_common::object_store::{ObjectLocation, PinnedObject};
use warifu_common::wire::{InvalidRequest, v1};
use warifu_dataset::{Limits, Probe, ProbeError, probe};
use warifu_model::protocol::SourcePin;
use warifu_model::spec::{LimitsUpdate, MapRunSpec};
use warifu_model::{MapRunId, SourceObjects};

use super::{ApiError, Context, map_run_id};
use crate::reading::{pinned_object, source_pin};

/// Bytes that the first look at a head takes; a longer header asks for more.
const FIRST_HEAD_BYTES: u64 = 64 * 1024;

/// A duration that is not negative.
pub(super) fn duration(field: &str, value: prost_types::Duration) -> Result<Duration, ApiError> {
    warifu_common::wire::time::duration(&value)
        .ok_or_else(|| InvalidRequest::one(field, "must be a duration of zero or more, such as 30s").into())
}

/// The run and the limits that an `UpdateMapRun` names.
pub(super) fn update_of(request: &v1::UpdateMapRunRequest) -> Result<(MapRunId, LimitsUpdate), ApiError> {
    let map_run = request.map_run.as_ref().ok_or_else(|| InvalidRequest::one("map_run", "is required"))?;
    let id = map_run_id("map_run.name", &map_run.name)?;
    if request.update_mask.as_ref().is_none_or(|mask| mask.paths.is_empty()) {
        return Err(InvalidRequest::one("update_mask", "must name at least one limit").into());
    }
    let update =
        warifu_common::wire::spec::limits_update(map_run.spec.as_ref(), request.update_mask.as_ref())?;
    Ok((id, update))
}

impl Context {
    pub(super) fn data_limits(&self) -> Limits {
        Limits {
            max_record_bytes: self.limits.max_record_bytes,
            max_header_bytes: self.limits.max_header_bytes,
            max_columns: self.limits.max_columns as usize,
        }
    }

    /// Looks at the source as it is now.
    pub(super) async fn pin_source(&self, spec: &MapRunSpec) -> Result<SourcePin, ApiError> {
        let reader = &spec.item_reader;
        if let Some(handler) = &reader.handler {
            return Ok(SourcePin {
                key: format!("handler:{handler}"),
                ..unpinned(ObjectLocation::new("", ""))
            });
        }
        let location = ObjectLocation::new(&reader.bucket, &reader.key);
        if matches!(reader.objects, SourceObjects::Listed | SourceObjects::Flattened) {
            return self.look_at_prefix(location).await;
        }
        let (version_id, owner) = (reader.version_id.as_deref(), reader.expected_bucket_owner.as_deref());
        let pinned = self.objects.pin(&location, version_id, owner).await.map_err(ApiError::Source)?;
        Ok(source_pin(pinned))
    }

    /// Whether a prefix can be listed. What it holds is pinned when a worker has rewritten it.
    async fn look_at_prefix(&self, location: ObjectLocation) -> Result<SourcePin, ApiError> {
        self.objects.list(&location.bucket, &location.key, 1).await.map_err(ApiError::Source)?;
        Ok(unpinned(location))
    }

    /// Reads the head of the source and its header, as a worker will.
    pub(super) async fn probe(&self, spec: &MapRunSpec, pin: &SourcePin) -> Result<Probe, ApiError> {
        let object = pinned_object(pin);
        let (format, limits) = (spec.item_reader.record_format(), self.data_limits());
        let mut wanted = FIRST_HEAD_BYTES;
        loop {
            let end = wanted.min(object.size);
            let head = self.objects.read(&object, 0..end).await.map_err(ApiError::Source)?;
            let at_end = end == object.size;
            match probe(&head, at_end, format, &spec.item_reader.header_location, &limits) {
                Ok(probe) => return Ok(probe),
                Err(ProbeError::NeedMore { bytes }) if !at_end && bytes > wanted => wanted = bytes,
                Err(error) => return Err(not_readable(&object, &error)),
            }
        }
    }
}

/// A source of which no version can be held on to.
fn unpinned(location: ObjectLocation) -> SourcePin {
    SourcePin {
        bucket: location.bucket,
        key: location.key,
        version_id: None,
        etag: String::new(),
        size_bytes: 0,
    }
}

fn not_readable(object: &PinnedObject, error: &ProbeError) -> ApiError {
    let text = match error {
        ProbeError::NeedMore { .. } => error.to_string(),
        ProbeError::Header { problem, offset, detail } => format!("{problem} ({detail}; byte {offset})"),
    };
    ApiError::SourceNotReadable { cause: format!("{}: {text}", object.location) }
}
