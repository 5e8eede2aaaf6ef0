//! What only the coordinator can write of a run's results: the manifest, what never started, and what was aborted.
//!
//! All bytes follow from the order and the log of parts that it names, so that writing again after a crash writes the same. `manifest.json` comes last:
//! only files that it names count.
//!
//! `MapRunArn` has AWS's spelling without region and account, which do not exist here: `arn:aws:states:::mapRun:mapRuns/ID`.

use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};
use warifu_common::error_chain::Chain;
use warifu_common::object_store::{MAX_PUT_BYTES, ObjectError, ObjectLocation, ObjectStore};
use warifu_model::protocol::RunFault;
use warifu_model::{FailureKind, ItemCounts, MapRunState, PartRef, ResultLocation, error_name};
use warifu_scheduler::{ManifestOrder, Summary};

mod parts;

pub(crate) use parts::Parts;
use parts::{Files, Manifest, ResultFiles, TooManyParts};

const MANIFEST: &str = "manifest.json";
const JSON_TYPE: &str = "application/json";
const JSONL_TYPE: &str = "application/x-ndjson";

/// A file of lines begins anew when it reaches this; half of what one request may carry.
const MAX_FILE_BYTES: usize = (MAX_PUT_BYTES / 2) as usize;

/// The largest manifest of an earlier redrive that is kept aside: no larger one can have been written.
const MAX_MANIFEST_BYTES: u64 = MAX_PUT_BYTES;

/// Attempts at each object, on top of those that the store makes itself, and the wait between them.
const ATTEMPTS: u32 = 3;
const RETRY_DELAY: Duration = Duration::from_secs(2);

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
) -> Result<ResultLocation, ObjectError> {
    let writer = Writer { objects, order };
    writer.keep_earlier_manifest().await?;
    let pending = writer.put_lines("PENDING", pending_lines(order)).await?;
    failed.extend(writer.put_lines("FAILED_ABORTED", aborted_lines(order)).await?);
    let manifest = Manifest {
        bucket: &order.bucket,
        arn: format!("arn:aws:states:::mapRun:{}", order.map_run.resource_name()),
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

/// A place to write files to.
struct Writer<'a> {
    objects: &'a dyn ObjectStore,
    order: &'a ManifestOrder,
}

impl Writer<'_> {
    /// Copies the manifest that is there to `Redrive-k/`, once: after a crash it may already be the new one.
    async fn keep_earlier_manifest(&self) -> Result<(), ObjectError> {
        if self.order.redrive == 0 {
            return Ok(());
        }
        let kept = format!("Redrive-{}/{MANIFEST}", self.order.redrive);
        if self.get(&kept).await?.is_some() {
            return Ok(());
        }
        match self.get(MANIFEST).await? {
            Some(earlier) => self.put(&kept, earlier, JSON_TYPE).await,
            // The run was stopped before it could write one.
            None => Ok(()),
        }
    }

    /// Writes lines into as many files as they need; names carry the redrive, so that none replaces an earlier one.
    async fn put_lines(
        &self,
        kind: &str,
        lines: impl Iterator<Item = Value>,
    ) -> Result<Vec<PartRef>, ObjectError> {
        let mut files = Vec::new();
        let mut file = LinesFile::default();
        for line in lines {
            file.push(&line);
            if file.bytes.len() >= MAX_FILE_BYTES {
                files.push(self.put_file(kind, files.len(), std::mem::take(&mut file)).await?);
            }
        }
        if !file.bytes.is_empty() {
            files.push(self.put_file(kind, files.len(), file).await?);
        }
        Ok(files)
    }

    async fn put_file(&self, kind: &str, ordinal: usize, file: LinesFile) -> Result<PartRef, ObjectError> {
        let suffix = if ordinal == 0 { String::new() } else { format!("-{ordinal}") };
        let name = format!("{kind}_{}{suffix}.jsonl", self.order.redrive);
        let size_bytes = file.bytes.len() as u64;
        self.put(&name, file.bytes.into(), JSONL_TYPE).await?;
        Ok(PartRef { name, size_bytes, item_count: file.lines })
    }

    async fn put(&self, name: &str, body: Bytes, content_type: &str) -> Result<(), ObjectError> {
        let location = self.location(name);
        let mut attempt = 1;
        loop {
            match self.objects.put(&location, body.clone(), content_type).await {
                Ok(_) => return Ok(()),
                Err(error) if error.is_retryable() && attempt < ATTEMPTS => {
                    tracing::warn!(map_run_id = %self.order.map_run, %error, attempt, "writing results failed, trying again");
                    attempt += 1;
                    tokio::time::sleep(RETRY_DELAY).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn get(&self, name: &str) -> Result<Option<Bytes>, ObjectError> {
        match self.objects.get(&self.location(name), MAX_MANIFEST_BYTES).await {
            Ok(bytes) => Ok(Some(bytes)),
            Err(ObjectError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn location(&self, name: &str) -> ObjectLocation {
        ObjectLocation::new(&self.order.bucket, self.key(name))
    }

    fn key(&self, name: &str) -> String {
        format!("{}{name}", self.order.prefix)
    }
}

#[derive(Default)]
struct LinesFile {
    bytes: Vec<u8>,
    lines: u64,
}

impl LinesFile {
    fn push(&mut self, line: &Value) {
        self.bytes.extend_from_slice(line.to_string().as_bytes());
        self.bytes.push(b'\n');
        self.lines += 1;
    }
}

/// A line per range of items that never started; the last one stands for what was never scanned.
fn pending_lines(order: &ManifestOrder) -> impl Iterator<Item = Value> {
    let key = &order.source.1;
    let ranges = order.pending.iter().map(move |range| {
        json!({
            "firstIndex": range.first_index,
            "lastIndex": range.last_index,
            "key": key,
            "byteOffset": range.byte_offset,
            "byteLength": range.byte_length,
        })
    });
    let unscanned = order.unscanned_from.map(move |(start, end)| {
        json!({
            "firstIndex": null,
            "lastIndex": null,
            "key": key,
            "byteOffset": start,
            "byteLength": end.saturating_sub(start),
        })
    });
    ranges.chain(unscanned)
}

/// A line per item that had started when the run ended.
fn aborted_lines(order: &ManifestOrder) -> impl Iterator<Item = Value> {
    let cause = aborted_cause(order);
    order.aborted.iter().flat_map(move |batch| {
        let cause = cause.clone();
        batch.indexes.iter().map(move |index| {
            json!({
                "index": index,
                "batch": batch.batch_number,
                "status": "ABORTED",
                "attempts": batch.attempts,
                "error": error_name::ABORTED,
                "cause": cause,
                "kind": kind_name(FailureKind::System),
                "source": { "byteOffset": batch.byte_offset, "byteLength": batch.byte_length },
            })
        })
    })
}

fn aborted_cause(order: &ManifestOrder) -> String {
    match &order.error {
        Some(error) => format!("the run ended before the item was decided: {}", error.error),
        None => "the run ended before the item was decided".to_owned(),
    }
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
