//! What only the coordinator can write of a run's results: the manifest, what never started, and what was aborted.
//!
//! All bytes follow from the order, the log of parts that it names and, where entries carry the input of items, the pinned source, so that
//! writing again after a crash writes the same. `manifest.json` comes last: only files that it names count.
//!
//! `MapRunArn` has AWS's spelling without region and account, which do not exist here: `arn:aws:states:::mapRun:mapRuns/ID`.

use serde_json::{Value, json};
use warifu_common::error_chain::Chain;
use warifu_common::object_store::ObjectStore;
use warifu_common::result_file::map_run_arn;
use warifu_model::protocol::RunFault;
use warifu_model::{FailureKind, ItemCounts, MapRunState, PartRef, ResultLocation, error_name};
use warifu_scheduler::{ManifestOrder, Summary};

mod files;
mod inputs;
mod leftovers;
mod parts;
mod unfinished;

use files::{JSON_TYPE, MANIFEST, WriteError, Writer};
pub(crate) use leftovers::sweep;
pub(crate) use parts::Parts;
use parts::{Files, Manifest, ResultFiles, TooManyParts};

/// A failure's text in a run's error is at most this long.
const MAX_CAUSE_BYTES: usize = 1_024;

/// Names of failures that the summary puts first.
const TOP_ERRORS: usize = 5;

/// Writes everything that `order` says, the manifest last, and returns where that is.
pub(crate) async fn write(
    objects: &dyn ObjectStore,
    order: &ManifestOrder,
    parts: Parts,
) -> Result<ResultLocation, RunFault> {
    let Parts { succeeded, failed, left_out: false } = parts else {
        return Err(fault(order, &TooManyParts));
    };
    let files = write_files(objects, order, succeeded, failed).await;
    files.map_err(|error| fault(order, &error))
}

async fn write_files(
    objects: &dyn ObjectStore,
    order: &ManifestOrder,
    succeeded: Vec<PartRef>,
    mut failed: Vec<PartRef>,
) -> Result<ResultLocation, WriteError> {
    let writer = Writer { objects, order };
    writer.keep_earlier_manifest().await?;
    let pending = unfinished::write_pending(&writer).await?;
    failed.extend(unfinished::write_aborted(&writer).await?);
    let manifest = Manifest {
        bucket: &order.bucket,
        arn: map_run_arn(&order.map_run),
        files: ResultFiles {
            succeeded: Files::new(order, succeeded),
            failed: Files::new(order, failed),
            pending: Files::new(order, pending),
        },
        summary: summary(order),
    };
    writer.put(MANIFEST, manifest.to_bytes(), JSON_TYPE).await?;
    Ok(ResultLocation { bucket: order.bucket.clone(), manifest_key: writer.key(MANIFEST) })
}

fn fault(order: &ManifestOrder, error: &(dyn std::error::Error + 'static)) -> RunFault {
    let text = format!(
        "the manifest below s3://{}/{} cannot be written: {}",
        order.bucket,
        order.prefix,
        Chain(error)
    );
    let cause = text[..text.floor_char_boundary(MAX_CAUSE_BYTES)].to_owned();
    RunFault { error: error_name::RESULT_WRITER_FAILED.to_owned(), cause }
}

fn summary(order: &ManifestOrder) -> Value {
    let summary = &order.summary;
    let errors = errors(summary);
    let top: Vec<Value> = errors.iter().take(TOP_ERRORS).cloned().collect();
    json!({
        "State": state_name(order.state),
        "Error": order.error.as_ref().map(|error| &error.error),
        "Cause": order.error.as_ref().map(|error| &error.cause),
        "RedriveCount": order.redrive,
        "Items": counts(&summary.item_counts),
        "Batches": counts(&summary.batch_counts),
        "ErrorRate": error_rate(&summary.item_counts),
        "ErrorsByKind": {
            kind_name(FailureKind::Business): summary.failure_counts.business,
            kind_name(FailureKind::System): summary.failure_counts.system,
        },
        "Errors": errors,
        "TopErrors": top,
        "DurationSeconds": summary.stop_time.0.saturating_sub(summary.start_time.0).max(0) as f64 / 1_000.0,
    })
}

/// Errors by type, the most frequent first; equally frequent ones by name.
fn errors(summary: &Summary) -> Vec<Value> {
    let mut errors: Vec<_> = summary.errors.iter().collect();
    errors.sort_by(|a, b| b.1.cmp(a.1).then_with(|| a.0.cmp(b.0)));
    let entry = |((kind, error), count): (&(FailureKind, String), &u64)| json!({ "Error": error, "Kind": kind_name(*kind), "Count": count });
    errors.into_iter().map(entry).collect()
}

fn counts(counts: &ItemCounts) -> Value {
    json!({
        "Total": counts.total,
        "Pending": counts.pending,
        "Running": counts.running,
        "Succeeded": counts.succeeded,
        "Failed": counts.failed,
        "TimedOut": counts.timed_out,
        "Aborted": counts.aborted,
        "PendingRedrive": counts.pending_redrive,
    })
}

fn error_rate(counts: &ItemCounts) -> f64 {
    if counts.total == 0 { 0.0 } else { counts.unsuccessful() as f64 / counts.total as f64 }
}

fn kind_name(kind: FailureKind) -> &'static str {
    match kind {
        FailureKind::Business => "BUSINESS",
        FailureKind::System => "SYSTEM",
    }
}

fn state_name(state: MapRunState) -> &'static str {
    match state {
        MapRunState::Queued => "QUEUED",
        MapRunState::Running => "RUNNING",
        MapRunState::Stopping => "STOPPING",
        MapRunState::Succeeded => "SUCCEEDED",
        MapRunState::Failed => "FAILED",
        MapRunState::Aborted => "ABORTED",
    }
}

#[cfg(test)]
mod tests;
