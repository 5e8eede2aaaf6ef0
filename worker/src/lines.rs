//! Outcomes as lines of result files: of items (`ITEMS`). Files of other forms are made of lines, too; see [`crate::entries`].

use std::io::Write;

use bytes::Bytes;
use serde_json::Value;
use warifu_common::dataset::{Batch, Item, ItemShape};
use warifu_common::model::protocol::CallOutcome;
use warifu_common::model::{CallFailure, FailureKind, RangeSet, SourcePlace};

use crate::classify::Decided;
use crate::handler::Outputs;

/// Where a batch stands in its run, as its lines say it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BatchPlace {
    /// Its global number.
    pub(crate) batch_number: u64,
    /// Global index of its first item.
    pub(crate) first_index: u64,
    /// Line of the object, from 1, on which its shard begins.
    pub(crate) first_line: u64,
    /// The attempt that decided.
    pub(crate) attempt: u32,
}

impl BatchPlace {
    /// Where an item's record is in the object.
    pub(crate) fn source_of(&self, item: &Item) -> SourcePlace {
        let bytes = item.bytes();
        SourcePlace {
            byte_offset: bytes.start,
            byte_length: bytes.len(),
            line: self.first_line + item.newlines_before(),
        }
    }
}

/// Which lines somebody will read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct WantedLines<'a> {
    /// What items look like in them, if not as in the data.
    pub(crate) shape: Option<&'a ItemShape>,
    /// Succeeded items, for a result file.
    pub(crate) succeeded: bool,
    /// Bytes of outputs for the report itself.
    pub(crate) inline_bytes: u64,
}

/// The lines of one attempt at one batch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct BatchLines {
    pub(crate) succeeded: Lines,
    pub(crate) failed: Lines,
    /// Outputs alone.
    pub(crate) inline: Vec<String>,
    pub(crate) inline_truncated: bool,
}

/// Some lines, each with its line feed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Lines {
    pub(crate) text: Bytes,
    /// Items that they stand for.
    pub(crate) count: u64,
}

impl BatchLines {
    /// What they take in memory.
    pub(crate) fn byte_count(&self) -> u64 {
        let inline: usize = self.inline.iter().map(String::len).sum();
        (self.succeeded.text.len() + self.failed.text.len() + inline) as u64
    }
}

/// Writes the lines of an attempt: of the items at `sent` that succeeded, and of all final failures.
pub(crate) fn write_lines(
    wanted: WantedLines<'_>,
    place: &BatchPlace,
    batch: &Batch,
    sent: &[u32],
    decided: &Decided,
) -> BatchLines {
    let mut lines =
        BatchLines { failed: failed_lines(wanted.shape, place, batch, decided), ..BatchLines::default() };
    if decided.call != CallOutcome::Answered {
        return lines;
    }
    let unsuccessful = unsuccessful_items(decided);
    let succeeded = || sent.iter().enumerate().filter(|(_, offset)| !unsuccessful.contains(**offset));
    if wanted.succeeded {
        lines.succeeded = succeeded_lines(place, succeeded(), decided.outputs.as_ref());
    } else if let Some(outputs) = &decided.outputs {
        let positions = succeeded().map(|(position, _)| position);
        (lines.inline, lines.inline_truncated) = inline_outputs(wanted.inline_bytes, positions, outputs);
    }
    lines
}

pub(crate) fn unsuccessful_items(decided: &Decided) -> RangeSet {
    let mut items = decided.undecided.clone();
    decided.failed.iter().for_each(|group| items.union_with(&group.items));
    items
}

fn succeeded_lines<'a>(
    place: &BatchPlace,
    items: impl Iterator<Item = (usize, &'a u32)>,
    outputs: Option<&Outputs>,
) -> Lines {
    let output_bytes = outputs.map_or(0, Outputs::byte_count);
    let mut line =
        LineWriter::new(place, "SUCCEEDED", output_bytes + items.size_hint().1.unwrap_or(0) * LINE_BYTES);
    for (position, offset) in items {
        line.begin(*offset);
        line.raw(r#","output":"#);
        line.bytes(outputs.and_then(|outputs| outputs.get(position)).unwrap_or(b"null"));
        line.end();
    }
    line.finish()
}

/// Items as the handler got them; those that have no shape, and so never reached it, as they are in the data.
fn failed_lines(shape: Option<&ItemShape>, place: &BatchPlace, batch: &Batch, decided: &Decided) -> Lines {
    if decided.failed.is_empty() {
        return Lines::default();
    }
    let mut line = LineWriter::new(place, status_of(decided.call), 0);
    for group in &decided.failed {
        let reason = reason(&group.failure);
        for offset in group.items.iter() {
            let item = &batch.items[offset as usize];
            line.begin(offset);
            line.raw(r#","item":"#);
            match shape.filter(|shape| shape.unmatched(item).is_none()) {
                Some(shape) => {
                    shape.write_item(place.first_index + u64::from(offset), item, &mut line.text);
                }
                None => item.write_json(&mut line.text),
            }
            line.raw(&reason);
            line.source(place.source_of(item));
            line.end();
        }
    }
    line.finish()
}

/// As the call ended, so its items are counted, those included that were unfit to be sent.
fn status_of(call: CallOutcome) -> &'static str {
    match call {
        CallOutcome::TimedOut => "TIMED_OUT",
        CallOutcome::Aborted => "ABORTED",
        CallOutcome::Answered | CallOutcome::Failed => "FAILED",
    }
}

fn reason(failure: &CallFailure) -> String {
    let kind = match failure.kind {
        FailureKind::Business => "BUSINESS",
        FailureKind::System => "SYSTEM",
    };
    let (error, cause) = (Value::from(failure.error.as_str()), Value::from(failure.cause.as_str()));
    format!(r#","error":{error},"cause":{cause},"kind":"{kind}""#)
}

/// Outputs up to `max_bytes`, and whether some were left out.
fn inline_outputs(
    max_bytes: u64,
    positions: impl Iterator<Item = usize>,
    outputs: &Outputs,
) -> (Vec<String>, bool) {
    let mut left = max_bytes;
    let mut taken = Vec::new();
    for output in positions.filter_map(|position| outputs.get(position)) {
        let size = output.len() as u64 + 1;
        if size > left {
            return (taken, true);
        }
        left -= size;
        taken.push(String::from_utf8_lossy(output).into_owned());
    }
    (taken, false)
}

/// What a line of a succeeded item takes beside its output, more or less.
const LINE_BYTES: usize = 96;

struct LineWriter {
    first_index: u64,
    /// What stands behind the index in each line.
    middle: String,
    text: Vec<u8>,
    count: u64,
}

impl LineWriter {
    /// With room for so many bytes.
    fn new(place: &BatchPlace, status: &str, bytes: usize) -> Self {
        let BatchPlace { batch_number, first_index, attempt, .. } = place;
        let middle = format!(r#","batch":{batch_number},"status":"{status}","attempts":{attempt}"#);
        Self { first_index: *first_index, middle, text: Vec::with_capacity(bytes), count: 0 }
    }

    fn begin(&mut self, offset: u32) {
        let index = self.first_index + u64::from(offset);
        self.raw(r#"{"index":"#);
        self.raw(itoa::Buffer::new().format(index));
        self.text.extend_from_slice(self.middle.as_bytes());
    }

    fn source(&mut self, place: SourcePlace) {
        let SourcePlace { byte_offset, byte_length, line } = place;
        write!(
            self.text,
            r#","source":{{"byteOffset":{byte_offset},"byteLength":{byte_length},"line":{line}}}"#
        )
        .expect("memory takes all that is written to it");
    }

    fn raw(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }

    fn bytes(&mut self, text: &[u8]) {
        self.text.extend_from_slice(text);
    }

    fn end(&mut self) {
        self.raw("}\n");
        self.count += 1;
    }

    fn finish(self) -> Lines {
        Lines { text: self.text.into(), count: self.count }
    }
}
