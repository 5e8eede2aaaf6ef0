//! The first events of a run, as they would be: for `validate_only`.

use std::sync::Arc;

use warifu_dataset::{
    Batch, ByteRange, CutRules, EntryState, Header, Item, Probe, ScanRequest, ShardPlan, SpanReader,
    SpanShard, SpanStep, scan,
};
use warifu_model::spec::MapRunSpec;
use warifu_model::template::{ItemSource, TemplateFacts};
use warifu_model::{FirstItems, MapRunId};

use super::items::json_lines;
use super::{ApiError, Context};
use crate::reading::{EventItems, RunEvents, pinned_object, start};

/// Events to show.
const EVENTS: usize = 3;

/// Bytes of data that are read for them: what does not fit is not shown.
const MAX_BYTES: u64 = 2 * 1024 * 1024;

/// Bytes of events in an answer.
const MAX_EVENT_BYTES: usize = 1024 * 1024;

/// The first bytes of a source's data.
struct Head<'a> {
    probe: Probe,
    /// From the data's start on.
    bytes: &'a [u8],
    /// The whole object's bytes.
    size: u64,
}

impl Context {
    /// The size of the source, and its first events in AWS's shape: none if no item begins in the first bytes that count,
    /// or if a worker has to rewrite it first.
    pub(super) async fn first_events_of(
        &self,
        id: &MapRunId,
        spec: &MapRunSpec,
    ) -> Result<(u64, Vec<String>), ApiError> {
        let now = self.clock.now().wall;
        let facts = TemplateFacts {
            map_run: id.clone(),
            start_time: now,
            entered_time: now,
            redrive_count: 0,
            source: ItemSource::OfRun(spec.item_source()),
        };
        let events = RunEvents::new(spec, facts);
        if let Some(items) = &spec.items {
            let data = json_lines(items);
            let probe = Probe { header: Header::none(), data_start: 0, newlines_before_data: 0 };
            let size = data.len() as u64;
            return Ok((size, self.preview(spec, &events, Head { probe, bytes: &data, size })));
        }
        let source = self.pin_source(spec).await?;
        if spec.item_reader.needs_staging() {
            return Ok((source.size_bytes, Vec::new()));
        }
        let probe = self.probe(spec, &source).await?;
        let end = source.size_bytes.min(probe.data_start + MAX_BYTES);
        let object = pinned_object(&source);
        let bytes = self.objects.read(&object, probe.data_start..end).await.map_err(ApiError::Source)?;
        let size = source.size_bytes;
        Ok((size, self.preview(spec, &events, Head { probe, bytes: &bytes, size })))
    }

    /// The first events of data that begins so.
    fn preview(&self, spec: &MapRunSpec, events: &RunEvents, head: Head<'_>) -> Vec<String> {
        let Head { probe, bytes, size } = head;
        let data_start = probe.data_start;
        let begins = spec.item_reader.range.map_or(0, |(first, _)| first);
        let plan = ShardPlan::whole(data_start, size, self.shard_bytes);
        // Where items begin after that is known only when what lies before is scanned.
        if begins > data_start || plan.shard_count() == 0 {
            return Vec::new();
        }
        let end = data_start + bytes.len() as u64;
        let mut rules = events.cut_rules(spec, probe.header, self.limits.max_record_bytes);
        let range = ByteRange::new(data_start, plan.range(0).end.min(end));
        let at_end = end == size;
        let shard = scan_shard(&rules, range, bytes, at_end && range.end == end, spec.item_reader.max_items);
        if let Some(auto_size) = spec.item_batcher.auto_size {
            let first = FirstItems {
                items: shard.items.into(),
                bytes: range.len(),
                total_bytes: plan.end - data_start,
                max_items: spec.item_reader.max_items,
            };
            rules.max_items = auto_size.choose(&first, spec.max_concurrency).items;
        }
        let reader = SpanReader::new(Arc::new(rules), shard, start(data_start));
        first_events(events, reader, bytes, data_start, at_end)
    }
}

/// Counts the items of the first shard, or of as much of it as was read.
fn scan_shard(
    rules: &CutRules,
    range: ByteRange,
    bytes: &[u8],
    ends_object: bool,
    item_limit: Option<u64>,
) -> SpanShard {
    let length = usize::try_from(range.len()).unwrap_or(usize::MAX).min(bytes.len());
    let scanned = scan(&ScanRequest {
        bytes: &bytes[..length],
        range,
        previous: None,
        entry: Some(EntryState::RecordStart),
        ends_object,
        item_limit,
        rules,
    });
    SpanShard { range, ends_object, items: scanned.positions.items }
}

fn first_events(
    of_run: &RunEvents,
    mut reader: SpanReader,
    bytes: &[u8],
    base: u64,
    at_end: bool,
) -> Vec<String> {
    let mut events: Vec<String> = Vec::new();
    while events.len() < EVENTS {
        let read = usize::try_from(reader.position() - base).unwrap_or(usize::MAX).min(bytes.len());
        match reader.next_batch(&bytes[read..], at_end) {
            Ok(SpanStep::Batch(batch)) => events.push(event(of_run, &batch)),
            // What is wrong with the data is for the run to say: it may lie behind `max_items`.
            Ok(SpanStep::NeedMore | SpanStep::End) | Err(_) => break,
        }
    }
    let mut room = MAX_EVENT_BYTES;
    events.retain(|event| {
        let fits = event.len() <= room;
        room = room.saturating_sub(event.len());
        fits
    });
    events
}

/// What the handler would get of a batch of the first shard, whose items and batches are counted over the whole data set.
fn event(of_run: &RunEvents, batch: &Batch) -> String {
    let indexes = u64::from(batch.first_item)..;
    let items: Vec<(u64, Item)> = indexes.zip(batch.items.iter().cloned()).collect();
    of_run.payload(EventItems { batch_number: batch.ordinal.into(), items: &items })
}
