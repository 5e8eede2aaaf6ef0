//! What became of the items of a batch.

use serde::Serialize;
use warifu_common::model::CallFailure;

use super::ItemError;
use super::batch::SentItems;
use crate::classify::invalid_output;
use crate::handler::{FailedItem, HandlerAnswer, Outputs};

/// What became of the items of a batch: items succeeded unless it is said that they failed.
///
/// Collected from a result for each item, in their order; or made step by step:
///
/// ```
/// use warifu_worker::{BatchOutcome, ItemError};
///
/// // Each item succeeded or failed.
/// let results = [Ok(1.5), Err(ItemError::new("Number.Negative", "-2 is below 0"))];
/// let outcome: BatchOutcome = results.into_iter().collect();
///
/// // All succeeded, each with an output, but for the item at position 1.
/// let mut outcome = BatchOutcome::with_outputs(["a", "b", "c"]);
/// outcome.fail(1, ItemError::new("Letter.B", "no b, please"));
/// ```
///
/// As many outputs as items, and failures of items of this batch: anything else fails the whole batch with
/// `Warifu.InvalidHandlerOutput`, which is never retried.
#[derive(Debug, Clone, Default)]
pub struct BatchOutcome {
    outputs: Option<Outputs>,
    failures: Vec<(Place, ItemError)>,
    /// The first output that has no JSON form.
    unwritable: Option<String>,
}

#[derive(Debug, Clone, Copy)]
enum Place {
    Position(usize),
    Index(u64),
}

impl BatchOutcome {
    /// All items succeeded; there is nothing to put out.
    pub fn succeeded() -> Self {
        Self::default()
    }

    /// All items succeeded, each with an output, in their order.
    pub fn with_outputs(outputs: impl IntoIterator<Item = impl Serialize>) -> Self {
        let mut outcome = Self { outputs: Some(Outputs::new()), ..Self::default() };
        outputs.into_iter().for_each(|output| outcome.push_output(&output));
        outcome
    }

    /// The item at `position` of the batch, from 0, failed. If an item fails twice, the first failure counts.
    pub fn fail(&mut self, position: usize, error: impl Into<ItemError>) {
        self.failures.push((Place::Position(position), error.into()));
    }

    /// The item with this [`index`](super::Item::index) failed.
    pub fn fail_index(&mut self, index: u64, error: impl Into<ItemError>) {
        self.failures.push((Place::Index(index), error.into()));
    }

    fn push_output(&mut self, output: &impl Serialize) {
        let unwritable = &mut self.unwritable;
        self.outputs.get_or_insert_default().push_with(|text| {
            if let Err(error) = serde_json::to_writer(text, output) {
                unwritable.get_or_insert(error.to_string());
            }
        });
    }

    /// The answer to a call of these items.
    pub(super) fn into_answer(self, sent: SentItems) -> HandlerAnswer {
        self.checked_answer(sent).unwrap_or_else(HandlerAnswer::Failed)
    }

    fn checked_answer(self, sent: SentItems) -> Result<HandlerAnswer, CallFailure> {
        if let Some(error) = self.unwritable {
            return Err(invalid_output(format!("an output cannot be written as JSON: {error}")));
        }
        let count = sent.positions.len();
        if let Some(outputs) = self.outputs.as_ref().filter(|outputs| outputs.len() != count) {
            let got = outputs.len();
            return Err(invalid_output(format!(
                "{got} outputs for {count} items; give exactly one for each"
            )));
        }
        let mut failures = Vec::with_capacity(self.failures.len() + sent.invalid.len());
        for (place, error) in self.failures {
            let position = sent.position_of(place)?;
            failures.push(FailedItem { position, failure: error.into_failure() });
        }
        let outputs = self.outputs.map(|outputs| sent.spread(&outputs));
        failures.extend(sent.invalid);
        if outputs.is_none() && failures.is_empty() {
            return Ok(HandlerAnswer::Succeeded);
        }
        Ok(HandlerAnswer::Answered { outputs, failures })
    }
}

impl SentItems {
    /// Where an item of the batch is among all that were sent.
    fn position_of(&self, place: Place) -> Result<usize, CallFailure> {
        let (position, named) = match place {
            Place::Position(position) => (Some(position), format!("position {position}")),
            Place::Index(index) => (self.indexes.binary_search(&index).ok(), format!("index {index}")),
        };
        position.and_then(|position| self.positions.get(position)).copied().ok_or_else(|| {
            let count = self.positions.len();
            invalid_output(format!(
                "a failure names the item at {named}, which is none of the batch's {count}"
            ))
        })
    }

    /// An output for every item that was sent.
    fn spread(&self, outputs: &Outputs) -> Outputs {
        let mut spread = Outputs::new();
        let mut sent = self.positions.iter().copied().enumerate().peekable();
        for position in 0..self.positions.len() + self.invalid.len() {
            match sent.next_if(|(_, at)| *at == position) {
                Some((own, _)) => spread.push(outputs.get(own).unwrap_or_default()),
                None => spread.push(b""),
            }
        }
        spread
    }
}

impl From<()> for BatchOutcome {
    fn from((): ()) -> Self {
        Self::succeeded()
    }
}

impl<O: Serialize, E: Into<ItemError>> FromIterator<Result<O, E>> for BatchOutcome {
    fn from_iter<I: IntoIterator<Item = Result<O, E>>>(results: I) -> Self {
        let mut outcome = Self { outputs: Some(Outputs::new()), ..Self::default() };
        for (position, result) in results.into_iter().enumerate() {
            match result {
                Ok(output) => outcome.push_output(&output),
                Err(error) => {
                    outcome.push_output(&());
                    outcome.fail(position, error);
                }
            }
        }
        outcome
    }
}
