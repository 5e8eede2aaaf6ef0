//! What a worker must know of a map run.

use std::sync::Arc;

use prost_types::Timestamp;
use warifu_dataset::Header;
use warifu_model::protocol::{RunContext, SourcePin};
use warifu_model::spec::MapRunSpec;
use warifu_model::{AccessRules, WallTime};

use super::InvalidMessage;
use super::identity::{map_run, required};
use crate::wire::time::{timestamp, wall_time};
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
            create_time: Some(timestamp(context.create_time)),
            start_time: Some(timestamp(context.start_time)),
            max_items_per_batch: match context.spec.item_batcher.auto_size {
                Some(_) => context.spec.item_batcher.max_items_per_batch,
                None => 0,
            },
            staging: Some(location(&context.staging)),
            max_staged_bytes: context.max_staged_bytes,
            item_source: context.item_source.clone(),
            allowed: context
                .allowed
                .patterns()
                .map(|patterns| v1::AccessRules { patterns: patterns.to_vec() }),
            trace_parent: context.spec.trace_parent.as_ref().map_or_else(String::new, ToString::to_string),
        }
    }
}

pub(super) fn read(context: v1::OpenRun) -> Result<Arc<RunContext>, InvalidMessage> {
    Ok(Arc::new(RunContext {
        map_run: map_run(&context.map_run_id)?,
        redrive: context.redrive,
        spec: MapRunSpec {
            // A trace that cannot be read is no reason to refuse work.
            trace_parent: context.trace_parent.parse().ok(),
            ..spec(required(context.spec, "spec")?, context.max_items_per_batch)?
        },
        source: read_source(required(context.source, "source")?),
        header: context.header.map(Header::try_from).transpose()?,
        cut_version: context.cut_version,
        max_record_bytes: context.max_record_bytes,
        max_header_bytes: context.max_header_bytes,
        max_columns: context.max_columns,
        results: context.results.map(read_location),
        failures: read_location(required(context.failures, "failures")?),
        inline_output_bytes: context.inline_output_bytes,
        create_time: read_time(context.create_time),
        start_time: read_time(context.start_time),
        staging: read_location(required(context.staging, "staging")?),
        max_staged_bytes: context.max_staged_bytes,
        item_source: context.item_source,
        allowed: AccessRules::new(context.allowed.map(|allowed| allowed.patterns)),
    }))
}

fn spec(spec: v1::MapRunSpec, max_items_per_batch: u32) -> Result<MapRunSpec, InvalidMessage> {
    let mut spec = MapRunSpec::try_from(&spec)?;
    if max_items_per_batch > 0 {
        spec.item_batcher.max_items_per_batch = max_items_per_batch;
    }
    Ok(spec)
}

/// Coordinators that know no templates leave the times out, and have no run that asks for them.
fn read_time(time: Option<Timestamp>) -> WallTime {
    time.map_or(WallTime(0), |time| wall_time(&time))
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
