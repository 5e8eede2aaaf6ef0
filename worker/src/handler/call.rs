//! What a handler gets: the items of one attempt, and who they are.

use std::borrow::Cow;
use std::sync::Arc;

use warifu_common::dataset::{Batch, Field, Item, ItemShape, JsonPath, PathStep};
use warifu_common::model::template::{BatchHole, RunTemplates};
use warifu_common::model::{MapRunId, TraceParent, WallTime, WorkerId};

/// What a run's compensation has in place of a batch's number and an item's index: 2^53 − 1, the largest that every reader
/// of JSON takes exactly, and more than any data set has.
pub const COMPENSATION_NUMBER: u64 = (1 << 53) - 1;

/// What all calls of a run have in common.
#[derive(Debug, Clone)]
pub struct RunFacts {
    /// The run.
    pub map_run: MapRunId,
    /// Who calls.
    pub worker: WorkerId,
    /// The object that the items come from, as `s3://bucket/key` or a path.
    pub source: String,
    /// The job's templates.
    pub templates: RunTemplates,
    /// Whether the job has an `itemBatcher`.
    pub batched: bool,
    /// Whether anybody will see the outputs: if not, a handler need not make any.
    pub wants_outputs: bool,
    /// Whether the calls are for pages of items, not for batches; see `itemReader.handler`.
    pub reads_items: bool,
    /// The trace that the run is part of.
    pub trace_parent: Option<TraceParent>,
}

/// Which attempt at which batch a call is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchIdentity {
    /// The batch's global number.
    pub batch_number: u64,
    /// Global index of the batch's first item, sent or not.
    pub first_index: u64,
    /// Counts calls for the batch, from 1.
    pub attempt: u32,
    /// Grows when an answered attempt leaves items to send again; part of every idempotency key. Of a compensation: how
    /// often the run was redriven.
    pub round: u32,
    /// When nobody waits for the answer any more.
    pub deadline: WallTime,
}

/// One call: the items to handle, and who they are. Cheap to clone; nothing is turned into JSON unless asked for.
#[derive(Debug, Clone)]
pub struct BatchCall {
    run: Arc<RunFacts>,
    identity: BatchIdentity,
    batch: Arc<Batch>,
    /// Offsets within the batch of the items that are sent, ascending.
    offsets: Arc<[u32]>,
    /// Of this call; absent: the run's.
    trace_parent: Option<TraceParent>,
}

impl BatchCall {
    /// A call with the items of `batch` at `offsets`, which lie within it.
    pub fn new(
        run: Arc<RunFacts>,
        identity: BatchIdentity,
        batch: Arc<Batch>,
        offsets: impl Into<Arc<[u32]>>,
    ) -> Self {
        Self { run, identity, batch, offsets: offsets.into(), trace_parent: None }
    }

    /// The same call as a span of a trace.
    #[must_use]
    pub fn within_trace(self, place: TraceParent) -> Self {
        Self { trace_parent: Some(place), ..self }
    }

    /// The place in a trace that the handler continues, if the run is part of one: this call where the worker records it,
    /// else what the run was created by.
    pub fn trace_parent(&self) -> Option<TraceParent> {
        self.trace_parent.or(self.run.trace_parent)
    }

    /// What all calls of the run have in common.
    pub fn run(&self) -> &RunFacts {
        &self.run
    }

    /// Which attempt at which batch this is.
    pub fn identity(&self) -> BatchIdentity {
        self.identity
    }

    /// How many items are sent; at least one.
    pub fn item_count(&self) -> usize {
        self.offsets.len()
    }

    /// About as many bytes as the items that are sent take as JSON.
    pub(crate) fn usual_json_bytes(&self) -> usize {
        // Names and quotes take about as much as the values.
        let of_all = self.batch.bytes.len().saturating_mul(2);
        let share = of_all / self.batch.items.len().max(1) as u64 * self.item_count() as u64;
        usize::try_from(share).unwrap_or(usize::MAX)
    }

    /// The items that are sent, in order.
    pub fn items(&self) -> impl ExactSizeIterator<Item = CallItem<'_>> {
        (0..self.offsets.len()).map(|position| self.item(position))
    }

    /// The item at `position`, which is below [`item_count`](Self::item_count).
    pub fn item(&self, position: usize) -> CallItem<'_> {
        let offset = self.offsets[position];
        CallItem {
            index: self.identity.first_index + u64::from(offset),
            item: &self.batch.items[offset as usize],
            // What a compensation gets is no item of the data.
            shape: self.run.templates.item.as_ref().filter(|_| !self.is_compensation()),
        }
    }

    /// The job's `batchInput` for this batch, as compact JSON.
    pub fn batch_input(&self) -> Option<String> {
        let shape = self.run.templates.batch_input.as_ref()?;
        let mut json = Vec::new();
        shape.write(&mut json, |hole, out| self.fill(*hole, out));
        Some(String::from_utf8(json).expect("templates are text"))
    }

    /// Appends what a template takes of this batch.
    pub(crate) fn fill(&self, hole: BatchHole, out: &mut Vec<u8>) {
        hole.write(&self.run.map_run, self.identity.batch_number, self.item_count(), out);
    }

    /// The same call with the item at `position` alone.
    pub fn only(&self, position: usize) -> Self {
        Self { offsets: Arc::from([self.offsets[position]]), ..self.clone() }
    }

    /// The same call with the items at other `offsets` of its batch.
    pub(crate) fn with_offsets(&self, offsets: impl Into<Arc<[u32]>>) -> Self {
        Self { offsets: offsets.into(), ..self.clone() }
    }

    /// True if this is the run's compensation: one item that says what became of the run.
    pub fn is_compensation(&self) -> bool {
        self.identity.batch_number == COMPENSATION_NUMBER
    }

    /// Stands for all attempts at the same items: `RUN/BATCH/ROUND`; of a compensation `RUN/compensation/REDRIVE`, of a page of
    /// items `RUN/items/PAGE`.
    pub fn idempotency_key(&self) -> String {
        if self.run.reads_items {
            return format!("{}/items/{}", self.run.map_run, self.identity.batch_number);
        }
        if self.is_compensation() {
            return format!("{}/compensation/{}", self.run.map_run, self.identity.round);
        }
        format!("{}/{}/{}", self.run.map_run, self.identity.batch_number, self.identity.round)
    }

    /// The same for the item at `position`: `RUN/INDEX/ROUND`; that of a compensation or of a page is its batch's.
    pub fn item_idempotency_key(&self, position: usize) -> String {
        if self.is_compensation() || self.run.reads_items {
            return self.idempotency_key();
        }
        format!("{}/{}/{}", self.run.map_run, self.item(position).index, self.identity.round)
    }
}

/// One item of a call.
#[derive(Debug, Clone, Copy)]
pub struct CallItem<'a> {
    index: u64,
    item: &'a Item,
    shape: Option<&'a ItemShape>,
}

impl<'a> CallItem<'a> {
    /// Its global index.
    pub fn index(&self) -> u64 {
        self.index
    }

    /// The text of a field: the value in a column of CSV; of a member of a JSON object, or of an `itemSelector`, the string, or
    /// other values as compact JSON. `None` if there is no such field, or it is null.
    pub fn get(&self, name: &str) -> Option<Cow<'a, str>> {
        self.field(name).into_text()
    }

    /// The same, told apart.
    pub fn field(&self, name: &str) -> Field<'a> {
        match self.shape {
            Some(shape) => shape.field(name, self.index, self.item),
            None => self.item.field(name),
        }
    }

    /// What a path names in the item.
    pub fn field_at(&self, path: &JsonPath) -> Field<'a> {
        match (self.shape, path.steps()) {
            (None, [PathStep::Name(name)]) => self.item.field(name),
            (None, _) => self.item.field_at(path),
            (Some(_), _) => {
                let mut json = Vec::new();
                self.write_json(&mut json);
                let found = std::str::from_utf8(&json).ok().and_then(|json| path.find_in_text(json));
                found.map_or(Field::Missing, |found| Field::of_json(Cow::Owned(found.to_owned())))
            }
        }
    }

    /// Names of fields: of an `itemSelector` in its order, columns in the order of the header, or a JSON object's members as they
    /// stand.
    pub fn names(&self) -> impl Iterator<Item = Cow<'a, str>> {
        let shaped = self.shape.into_iter().flat_map(ItemShape::fields);
        let bare = self.shape.is_none().then(|| self.item.names()).into_iter().flatten();
        shaped.map(|field| Cow::Borrowed(field.name())).chain(bare)
    }

    /// All fields as texts: columns in the order of the header, or what an `itemSelector` makes of them in its order, other values
    /// as JSON and `null` as no text at all. None of an item whose source is JSON: those are told apart in [`json`](Self::json).
    pub fn fields(&self) -> impl Iterator<Item = (&'a str, Cow<'a, str>)> {
        let (index, item) = (self.index, self.item);
        let shaped = self.shape.filter(|_| item.json().is_none());
        let shaped = shaped.into_iter().flat_map(ItemShape::fields);
        let bare = self.shape.is_none().then(|| item.fields()).into_iter().flatten();
        shaped
            .map(move |field| (field.name(), field.value(index, item).into_text().unwrap_or_default()))
            .chain(bare.map(|(name, text)| (name, Cow::Borrowed(text))))
    }

    /// The item as compact JSON, shaped if an `itemSelector` does, if that is what the source holds; `None` of CSV.
    pub fn json(&self) -> Option<Cow<'a, str>> {
        let json = self.item.json()?;
        let Some(shape) = self.shape else { return Some(Cow::Borrowed(json)) };
        let mut shaped = Vec::new();
        shape.write_item(self.index, self.item, &mut shaped);
        Some(Cow::Owned(String::from_utf8(shaped).expect("shapes and items are text")))
    }

    /// Appends the item as compact JSON: of CSV an object of strings.
    pub fn write_json(&self, out: &mut Vec<u8>) {
        match self.shape {
            Some(shape) => shape.write_item(self.index, self.item, out),
            None => self.item.write_json(out),
        }
    }
}
