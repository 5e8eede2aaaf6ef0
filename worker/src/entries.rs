//! Outcomes as entries of result files in AWS's forms: `NONE`, `COMPACT`, `FLATTEN`.
//!
//! An *execution* is what AWS calls a child execution: a batch, or an item of a job without `itemBatcher`. Each handler call that
//! decides items of an execution writes what it decided, and nothing else: one entry for those that succeeded, one for each reason
//! why others failed. So every item stands in one entry, whatever was retried before, and no call needs to know another's.

use serde_json::value::RawValue;
use warifu_common::model::protocol::CallOutcome;
use warifu_common::model::spec::Transformation;
use warifu_common::model::{CallFailure, WallTime};
use warifu_common::result_file::{Execution, ExecutionEnd, MAX_INPUT_BYTES};

use crate::classify::Decided;
use crate::handler::{BatchCall, execution_input};
use crate::lines::{BatchLines, Lines, unsuccessful_items};

/// What one attempt decided, and how it is to be written.
pub(crate) struct ExecutionOrder<'a> {
    pub(crate) transformation: Transformation,
    /// Its call.
    pub(crate) call: &'a BatchCall,
    /// Offsets within the batch of the items that were sent.
    pub(crate) sent: &'a [u32],
    /// The run's redrive.
    pub(crate) redrive: u32,
    /// When the call began.
    pub(crate) start: WallTime,
    /// When it was decided.
    pub(crate) stop: WallTime,
    pub(crate) decided: &'a Decided,
}

/// Writes the entries of an attempt: for the items that succeeded, and for all final failures.
pub(crate) fn write_entries(order: &ExecutionOrder<'_>) -> BatchLines {
    BatchLines { succeeded: order.succeeded(), failed: order.failed(), ..BatchLines::default() }
}

/// An item that succeeded: its position among those that were sent, and its offset within the batch.
type Succeeded = (usize, u32);

impl ExecutionOrder<'_> {
    fn succeeded(&self) -> Lines {
        if self.decided.call != CallOutcome::Answered {
            return Lines::default();
        }
        let unsuccessful = unsuccessful_items(self.decided);
        let items: Vec<Succeeded> = self
            .sent
            .iter()
            .copied()
            .enumerate()
            .filter(|(_, offset)| !unsuccessful.contains(*offset))
            .collect();
        let mut text = Vec::new();
        let of_one = if self.is_batched() { items.len() } else { 1 };
        // No items, no executions.
        for items in items.chunks(of_one.max(1)) {
            self.write_success(items, &mut text);
        }
        Lines { text: text.into(), count: items.len() as u64 }
    }

    fn write_success(&self, items: &[Succeeded], text: &mut Vec<u8>) {
        match self.transformation {
            Transformation::Compact => {
                text.extend_from_slice(&self.output(items));
                text.push(b'\n');
            }
            Transformation::Flatten => write_flat(&self.output(items), text),
            Transformation::Items | Transformation::None => {
                let offsets: Vec<u32> = items.iter().map(|(_, offset)| *offset).collect();
                let (input, output) = (self.input(&offsets), self.output(items));
                self.write(&offsets, Some(&input), ExecutionEnd::Succeeded { output: &output }, text);
            }
        }
    }

    /// What the execution put out: the handler's one output of the batch, or an array with one for each item.
    fn output(&self, items: &[Succeeded]) -> Vec<u8> {
        let Some(outputs) = &self.decided.outputs else { return b"null".to_vec() };
        let of_item = |position: usize| outputs.get(position).unwrap_or(b"null");
        match items {
            [(position, _)] if !self.is_batched() => of_item(*position).to_vec(),
            _ => outputs
                .batch_output()
                .map_or_else(|| array(items.iter().map(|(position, _)| of_item(*position))), <[u8]>::to_vec),
        }
    }

    fn failed(&self) -> Lines {
        let mut text = Vec::new();
        let (mut count, mut input_room) = (0, MAX_INPUT_BYTES);
        for group in &self.decided.failed {
            let offsets: Vec<u32> = group.items.iter().collect();
            count += offsets.len() as u64;
            let of_one = if self.is_batched() { offsets.len() } else { 1 };
            for offsets in offsets.chunks(of_one.max(1)) {
                let input = self.input(offsets);
                // Whatever is given to every batch is repeated for each reason.
                let fits = input.len() <= input_room;
                input_room -= if fits { input.len() } else { 0 };
                self.write(offsets, fits.then_some(&input), self.failure(&group.failure), &mut text);
            }
        }
        Lines { text: text.into(), count }
    }

    /// As the call ended, so its items are counted, those included that were unfit to be sent.
    fn failure<'a>(&self, failure: &'a CallFailure) -> ExecutionEnd<'a> {
        let (error, cause) = (failure.error.as_str(), failure.cause.as_str());
        match self.decided.call {
            CallOutcome::TimedOut => ExecutionEnd::TimedOut { error, cause },
            CallOutcome::Aborted => ExecutionEnd::Aborted,
            CallOutcome::Answered | CallOutcome::Failed => ExecutionEnd::Failed { error, cause },
        }
    }

    fn write(&self, offsets: &[u32], input: Option<&Vec<u8>>, end: ExecutionEnd<'_>, text: &mut Vec<u8>) {
        let identity = self.call.identity();
        let index = |offset: &u32| identity.first_index + u64::from(*offset);
        let item = offsets.first().map_or(identity.first_index, index);
        let execution = Execution {
            map_run: &self.call.run().map_run,
            number: if self.is_batched() { identity.batch_number } else { item },
            redrive: self.redrive,
            input: input.map(Vec::as_slice),
            start: Some(self.start),
            stop: self.stop,
            end,
        };
        execution.write(text);
    }

    fn input(&self, offsets: &[u32]) -> Vec<u8> {
        execution_input(&self.call.with_offsets(offsets))
    }

    fn is_batched(&self) -> bool {
        self.call.run().batched
    }
}

fn array<'a>(elements: impl Iterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut text = b"[".to_vec();
    for (place, element) in elements.enumerate() {
        if place > 0 {
            text.push(b',');
        }
        text.extend_from_slice(element);
    }
    text.push(b']');
    text
}

/// Each element of an array on a line; anything else on one.
fn write_flat(output: &[u8], text: &mut Vec<u8>) {
    let elements = output.starts_with(b"[").then(|| serde_json::from_slice::<Vec<&RawValue>>(output));
    match elements {
        Some(Ok(elements)) => {
            for element in elements {
                text.extend_from_slice(element.get().as_bytes());
                text.push(b'\n');
            }
        }
        // A handler in Rust can put out what is no JSON: it stays as it is, as in the other forms.
        Some(Err(_)) | None => {
            text.extend_from_slice(output);
            text.push(b'\n');
        }
    }
}

#[cfg(test)]
mod tests;
