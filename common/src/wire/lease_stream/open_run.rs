//! What a worker must know of a map run.

use std::sync::Arc;

use warifu_dataset::Header;
use warifu_model::protocol::{RunContext, SourcePin};
use warifu_model::spec::MapRunSpec;

use super::InvalidMessage;
use super::identity::{map_run, required};
use crate::wire::v1;

impl From<&RunContext> for v1::OpenRun {
    fn from(context: &RunContext) -> Self {
        v1::OpenRun {
            map_run_id: context.map_run.to_string(),
            redrive: context.redrive,
            spec: Some((&context.spec).into()),
            source: Some(source(&context.source)),
            header: context.header.as_ref().map(Into::into),
            cut_version: context.cut_version,
            max_record_bytes: context.max_record_bytes,
            max_header_bytes: context.max_header_bytes,
            max_columns: context.max_columns,
            results: context.results.as_ref().map(location),
            failures: Some(location(&context.failures)),
            inline_output_bytes: context.inline_output_bytes,
            staging: Some(location(&context.staging)),
            max_staged_bytes: context.max_staged_bytes,
        }
    }
}

pub(super) fn read(context: v1::OpenRun) -> Result<Arc<RunContext>, InvalidMessage> {
    Ok(Arc::new(RunContext {
        map_run: map_run(&context.map_run_id)?,
        redrive: context.redrive,
        spec: MapRunSpec::try_from(&required(context.spec, "spec")?)?,
        source: read_source(required(context.source, "source")?),
        header: context.header.map(Header::try_from).transpose()?,
        cut_version: context.cut_version,
        max_record_bytes: context.max_record_bytes,
        max_header_bytes: context.max_header_bytes,
        max_columns: context.max_columns,
        results: context.results.map(read_location),
        failures: read_location(required(context.failures, "failures")?),
        inline_output_bytes: context.inline_output_bytes,
        staging: read_location(required(context.staging, "staging")?),
        max_staged_bytes: context.max_staged_bytes,
    }))
}

pub(super) fn source(pin: &SourcePin) -> v1::SourcePin {
    v1::SourcePin {
        bucket: pin.bucket.clone(),
        key: pin.key.clone(),
        version_id: pin.version_id.clone().unwrap_or_default(),
        etag: pin.etag.clone(),
        size_bytes: pin.size_bytes,
    }
}

pub(super) fn read_source(pin: v1::SourcePin) -> SourcePin {
    SourcePin {
        bucket: pin.bucket,
        key: pin.key,
        version_id: (!pin.version_id.is_empty()).then_some(pin.version_id),
        etag: pin.etag,
        size_bytes: pin.size_bytes,
    }
}

fn location((bucket, prefix): &(String, String)) -> v1::StoreLocation {
    v1::StoreLocation { bucket: bucket.clone(), prefix: prefix.clone() }
}

fn read_location(location: v1::StoreLocation) -> (String, String) {
    (location.bucket, location.prefix)
}
