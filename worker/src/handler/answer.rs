//! What a handler answers.

use warifu_common::model::CallFailure;
use warifu_common::model::protocol::RunFault;

/// The answer to one call.
#[derive(Debug, Clone, PartialEq)]
pub enum HandlerAnswer {
    /// Every item succeeded; there is nothing to put out.
    Succeeded,
    /// The call went well; single items may have failed.
    Answered {
        /// One output for each item that was sent, in their order; those of failed items are not looked at.
        outputs: Option<Outputs>,
        /// Items that failed, each at most once.
        failures: Vec<FailedItem>,
    },
    /// The call failed, and all its items with it.
    Failed(CallFailure),
    /// No batch of this run can succeed here: the call failed, and the run ends.
    RunFailed(RunFault),
}

/// One item that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailedItem {
    /// Its position among the items that were sent, from 0.
    pub position: usize,
    /// Why.
    pub failure: CallFailure,
}

/// Outputs of a call's items as compact JSON texts, one after another in one buffer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outputs {
    text: Vec<u8>,
    ends: Vec<usize>,
    /// Where the one output of the whole batch stands, if there is no output for each item.
    whole: Option<usize>,
}

impl Outputs {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// None yet, with room for so many outputs of so many bytes in all.
    pub fn with_capacity(outputs: usize, bytes: usize) -> Self {
        Self { text: Vec::with_capacity(bytes), ends: Vec::with_capacity(outputs), whole: None }
    }

    /// One output for the whole batch of `item_count` items; it stands with the item at `position`.
    pub fn of_batch(json: &[u8], position: usize, item_count: usize) -> Self {
        let mut outputs = Self { whole: Some(position), ..Self::default() };
        (0..item_count).for_each(|at| outputs.push(if at == position { json } else { b"" }));
        outputs
    }

    /// The output of the whole batch, if there is no output for each item.
    pub fn batch_output(&self) -> Option<&[u8]> {
        self.whole.and_then(|position| self.get(position))
    }

    /// Adds the next item's output: `write` appends one JSON text, without line breaks.
    pub fn push_with(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        write(&mut self.text);
        self.ends.push(self.text.len());
    }

    /// Adds the next item's output: one JSON text, without line breaks.
    pub fn push(&mut self, json: &[u8]) {
        self.push_with(|text| text.extend_from_slice(json));
    }

    /// The bytes of all of them.
    pub(crate) fn byte_count(&self) -> usize {
        self.text.len()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The output at `position`; `null` if nothing was written for it.
    pub fn get(&self, position: usize) -> Option<&[u8]> {
        let end = *self.ends.get(position)?;
        let start = position.checked_sub(1).map_or(0, |before| self.ends[before]);
        Some(if start == end { b"null" } else { &self.text[start..end] })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_output_of_the_whole_batch_stands_with_one_item() {
        let outputs = Outputs::of_batch(b"{}", 1, 3);
        let all: Vec<_> = (0..4).map(|position| outputs.get(position)).collect();
        assert_eq!(all, [Some(&b"null"[..]), Some(b"{}"), Some(b"null"), None]);
        assert_eq!(outputs.batch_output(), Some(&b"{}"[..]));
        assert_eq!(Outputs::new().batch_output(), None);
    }
}
