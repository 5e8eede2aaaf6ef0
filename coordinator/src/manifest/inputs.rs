//! What handlers were to be given of items whose outcome no worker wrote: read again from the source.

use std::sync::Arc;

use warifu_common::error_chain::Chain;
use warifu_common::object_store::{ObjectError, ObjectStore, PinnedObject};
use warifu_dataset::{Batch, ByteRange, CutRules, DataProblem, Item, SpanReader, SpanShard, SpanStep};
use warifu_model::template::TemplateFacts;
use warifu_scheduler::AbortedItems;

use super::files::Writer;
use crate::reading::{EventItems, RunEvents, pinned_object, start};

/// The longest terminator of a record.
const MAX_TERMINATOR: u64 = 2;

/// Consecutive batches of one shard.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    /// Where the first one begins.
    pub(super) start: u64,
    /// Just past the record that ends the last one.
    pub(super) end: u64,
    /// Where their shard ends.
    pub(super) shard_end: u64,
    /// Their items.
    pub(super) items: u32,
}

/// Reads items of a run.
pub(super) struct Inputs<'a> {
    objects: &'a dyn ObjectStore,
    object: PinnedObject,
    rules: Arc<CutRules>,
    events: RunEvents,
    batched: bool,
}

/// Why they cannot be read.
#[derive(Debug, thiserror::Error)]
enum ReadError {
    #[error(transparent)]
    Object(#[from] ObjectError),
    #[error("the data is not what was scanned: {0}")]
    Data(DataProblem),
    #[error("the data ends before the items that were scanned")]
    TooShort,
}

impl<'a> Inputs<'a> {
    /// `None` if not even the header of the source is known.
    pub(super) fn new(writer: &Writer<'a>) -> Option<Self> {
        let order = writer.order;
        let header = order.probe.clone()?.header;
        let facts = TemplateFacts {
            map_run: order.map_run.clone(),
            start_time: order.create_time,
            entered_time: order.summary.start_time,
            redrive_count: order.redrive,
            source: order.item_source.clone(),
        };
        let events = RunEvents::new(&order.spec, facts);
        Some(Self {
            objects: writer.objects,
            object: pinned_object(&order.source),
            rules: Arc::new(events.cut_rules(&order.spec, header, order.max_record_bytes)),
            events,
            batched: order.spec.item_batcher.configured,
        })
    }

    /// The batches of a place. `None`: they cannot be read, which the log says; results are written without them.
    pub(super) async fn read(&self, place: Place) -> Option<Vec<Batch>> {
        match self.try_to_read(place).await {
            Ok(batches) => Some(batches),
            Err(error) => {
                let (error, source) = (Chain(&error).to_string(), &self.object.location);
                tracing::warn!(%source, byte_offset = place.start, error, "items cannot be read again, results are written without them");
                None
            }
        }
    }

    async fn try_to_read(&self, place: Place) -> Result<Vec<Batch>, ReadError> {
        let end = (place.end + MAX_TERMINATOR).min(self.object.size);
        let bytes = self.objects.read(&self.object, place.start..end).await?;
        let at_end = end == self.object.size;
        let shard = SpanShard {
            range: ByteRange::new(place.start, place.shard_end),
            ends_object: place.shard_end == self.object.size,
            items: place.items,
        };
        let mut reader = SpanReader::new(Arc::clone(&self.rules), shard, start(place.start));
        let mut batches = Vec::new();
        loop {
            let read =
                usize::try_from(reader.position() - place.start).unwrap_or(usize::MAX).min(bytes.len());
            match reader.next_batch(&bytes[read..], at_end).map_err(ReadError::Data)? {
                SpanStep::Batch(batch) => batches.push(batch),
                SpanStep::End => return Ok(batches),
                SpanStep::NeedMore => return Err(ReadError::TooShort),
            }
        }
    }

    /// Items of a batch that had started, with their indexes.
    pub(super) async fn of_aborted(&self, aborted: &AbortedItems) -> Option<Vec<(u64, Item)>> {
        let place = Place {
            start: aborted.byte_offset,
            end: aborted.byte_offset + aborted.byte_length,
            shard_end: aborted.shard_end,
            items: aborted.item_count,
        };
        let batches = self.read(place).await?;
        let items: Vec<&Item> = batches.iter().flat_map(|batch| &batch.items).collect();
        let item = |index: &u64| {
            let offset = usize::try_from(index.checked_sub(aborted.first_index)?).ok()?;
            items.get(offset).map(|item| (*index, (*item).clone()))
        };
        aborted.indexes.iter().map(item).collect()
    }

    /// The items of each execution: all of a batch, or each one of a job without `itemBatcher`.
    pub(super) fn executions<'i>(
        &self,
        items: &'i [(u64, Item)],
    ) -> impl Iterator<Item = &'i [(u64, Item)]> + use<'i> {
        let of_one = if self.batched { items.len() } else { 1 };
        items.chunks(of_one.max(1))
    }

    /// The input of an execution, as JSON.
    pub(super) fn of(&self, event: EventItems<'_>) -> Vec<u8> {
        match event.items {
            [(index, item)] if !self.batched => {
                let mut json = Vec::new();
                self.events.write_item(*index, item, &mut json);
                json
            }
            _ => self.events.batch(event).into_bytes(),
        }
    }
}
