//! Items that no worker wrote of: those that never started, and those that had started when the run ended.

use serde_json::{Value, json};
use warifu_common::result_file::{Execution, ExecutionEnd, pending_entry};
use warifu_model::spec::Transformation;
use warifu_model::{FailureKind, PartRef, error_name};
use warifu_scheduler::{AbortedItems, ManifestOrder};

use super::files::{EntryFiles, WriteError, Writer};
use super::inputs::{Inputs, Place};
use super::kind_name;
use crate::reading::EventItems;

/// So many items that never started have entries in AWS's shape; of more there are ranges.
pub(super) const MAX_PENDING_ENTRIES: u64 = 10_000;

/// Bytes of the source that are read for such entries; where it would take more there are ranges.
pub(super) const MAX_PENDING_BYTES: u64 = 32 << 20;

/// Items that had started whose input is read from the source; of more the entries do not include it.
const MAX_ABORTED_INPUTS: u64 = 10_000;

/// Bytes of the source that are read for them.
const MAX_ABORTED_BYTES: u64 = 32 << 20;

/// Writes what never started.
pub(super) async fn write_pending(writer: &Writer<'_>) -> Result<Vec<PartRef>, WriteError> {
    if let Some(files) = write_pending_entries(writer).await? {
        return Ok(files);
    }
    let mut files = EntryFiles::new(writer, "PENDING");
    for (items, line) in pending_ranges(writer.order) {
        files.add(items, |text| write_line(&line, text)).await?;
    }
    files.finish().await
}

/// In AWS's shape. `None`: the run does not want that, there are too many, or the source cannot be read again.
async fn write_pending_entries(writer: &Writer<'_>) -> Result<Option<Vec<PartRef>>, WriteError> {
    let order = writer.order;
    if transformation(order) != Transformation::None || !is_little(order) {
        return Ok(None);
    }
    let Some(inputs) = Inputs::new(writer) else { return Ok(None) };
    let mut files = EntryFiles::new(writer, "PENDING");
    for range in &order.pending {
        let wanted = (range.last_index - range.first_index + 1).try_into().unwrap_or(u32::MAX);
        let place = Place {
            start: range.byte_offset,
            end: range.byte_offset + range.byte_length,
            shard_end: range.shard_end,
            items: range.skipped.saturating_add(wanted),
        };
        let Some(batches) = inputs.read(place).await else { return Ok(None) };
        for batch in batches {
            let batch_number = range.first_batch + u64::from(batch.ordinal);
            let items = (batch.first_item..).zip(&batch.items).filter(|(at, _)| *at >= range.skipped);
            let pending: Vec<_> = items
                .map(|(at, item)| (range.first_index + u64::from(at - range.skipped), item.clone()))
                .collect();
            for execution in inputs.executions(&pending) {
                let input = inputs.of(EventItems { batch_number, items: execution });
                files.add(execution.len() as u64, |text| pending_entry(&input, text)).await?;
            }
        }
    }
    files.finish().await.map(Some)
}

/// Whether all that never started is known, and little enough to be read again.
fn is_little(order: &ManifestOrder) -> bool {
    let items: u64 = order.pending.iter().map(|range| range.last_index - range.first_index + 1).sum();
    let bytes: u64 = order.pending.iter().map(|range| range.byte_length).sum();
    order.unscanned_from.is_none() && items <= MAX_PENDING_ENTRIES && bytes <= MAX_PENDING_BYTES
}

/// A line per range of items that never started, with their number; the last one stands for what was never scanned.
fn pending_ranges(order: &ManifestOrder) -> impl Iterator<Item = (u64, Value)> {
    let key = &order.source.key;
    let ranges = order.pending.iter().map(move |range| {
        let line = json!({
            "firstIndex": range.first_index,
            "lastIndex": range.last_index,
            "key": key,
            "byteOffset": range.byte_offset,
            "byteLength": range.byte_length,
        });
        (range.last_index - range.first_index + 1, line)
    });
    let unscanned = order.unscanned_from.map(move |(start, end)| {
        let line = json!({
            "firstIndex": null,
            "lastIndex": null,
            "key": key,
            "byteOffset": start,
            "byteLength": end.saturating_sub(start),
        });
        (0, line)
    });
    ranges.chain(unscanned)
}

/// Writes what had started when the run ended.
pub(super) async fn write_aborted(writer: &Writer<'_>) -> Result<Vec<PartRef>, WriteError> {
    let mut files = EntryFiles::new(writer, "FAILED_ABORTED");
    match transformation(writer.order) {
        Transformation::Items => {
            for line in aborted_lines(writer.order) {
                files.add(1, |text| write_line(&line, text)).await?;
            }
        }
        Transformation::None | Transformation::Compact | Transformation::Flatten => {
            write_aborted_executions(writer, &mut files).await?;
        }
    }
    files.finish().await
}

/// In AWS's shape, with as many inputs as can be read.
async fn write_aborted_executions(writer: &Writer<'_>, files: &mut EntryFiles<'_>) -> Result<(), WriteError> {
    let order = writer.order;
    let mut inputs = Inputs::new(writer);
    let (mut items_left, mut bytes_left) = (MAX_ABORTED_INPUTS, MAX_ABORTED_BYTES);
    for aborted in &order.aborted {
        let fits = u64::from(aborted.item_count) <= items_left && aborted.byte_length <= bytes_left;
        let items = match &inputs {
            Some(readable) if fits => {
                items_left -= u64::from(aborted.item_count);
                bytes_left -= aborted.byte_length;
                let items = readable.of_aborted(aborted).await;
                // Each failure may have taken minutes of retries: the first one is the last.
                inputs = inputs.filter(|_| items.is_some());
                items
            }
            Some(_) | None => None,
        };
        let executions = if order.spec.item_batcher.configured { 1 } else { aborted.indexes.len() };
        for at in 0..executions {
            let indexes = if executions == 1 { &aborted.indexes[..] } else { &aborted.indexes[at..=at] };
            let input = items.as_ref().zip(inputs.as_ref()).map(|(items, inputs)| {
                let own = if executions == 1 { &items[..] } else { &items[at..=at] };
                inputs.of(EventItems { batch_number: aborted.batch_number, items: own })
            });
            let execution = Execution {
                map_run: &order.map_run,
                number: if order.spec.item_batcher.configured { aborted.batch_number } else { indexes[0] },
                redrive: order.redrive,
                input: input.as_deref(),
                start: None,
                stop: order.summary.stop_time,
                end: ExecutionEnd::Aborted,
            };
            files.add(indexes.len() as u64, |text| execution.write(text)).await?;
        }
    }
    Ok(())
}

/// A line per item that had started when the run ended.
fn aborted_lines(order: &ManifestOrder) -> impl Iterator<Item = Value> {
    let cause = aborted_cause(order);
    order.aborted.iter().flat_map(move |batch| {
        let cause = cause.clone();
        batch.indexes.iter().map(move |index| aborted_line(batch, *index, &cause))
    })
}

fn aborted_line(batch: &AbortedItems, index: u64, cause: &str) -> Value {
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
}

fn aborted_cause(order: &ManifestOrder) -> String {
    match &order.error {
        Some(error) => format!("the run ended before the item was decided: {}", error.error),
        None => "the run ended before the item was decided".to_owned(),
    }
}

fn transformation(order: &ManifestOrder) -> Transformation {
    order.spec.result_writer.as_ref().map_or_else(Transformation::default, |writer| writer.transformation)
}

fn write_line(line: &Value, text: &mut Vec<u8>) {
    text.extend_from_slice(line.to_string().as_bytes());
    text.push(b'\n');
}
