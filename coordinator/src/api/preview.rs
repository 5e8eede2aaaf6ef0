//! The first events of a run, as they would be: for `validate_only`.

use std::sync::Arc;

use warifu_dataset::{
    Batch, ByteRange, Checkpoint, CutRules, EntryState, Probe, ScanRequest, Shape, ShardPlan, SpanReader,
    SpanShard, SpanStep, scan,
};
use warifu_model::FirstItems;
use warifu_model::protocol::SourcePin;
use warifu_model::spec::MapRunSpec;
use warifu_model::template::{BatchHole, PayloadHole, RunTemplates, TemplateFacts};

use super::source::pinned_object;
use super::{ApiError, Context};

/// Events to show.
const EVENTS: usize = 3;

/// Bytes of data that are read for them: what does not fit is not shown.
const MAX_BYTES: u64 = 2 * 1024 * 1024;

/// Bytes of events in an answer.
const MAX_EVENT_BYTES: usize = 1024 * 1024;

impl Context {
    /// The first events in AWS's shape; none if no item begins in the first bytes that count.
    pub(super) async fn preview(
        &self,
        spec: &MapRunSpec,
        source: &SourcePin,
        facts: TemplateFacts,
        probe: Probe,
    ) -> Result<Vec<String>, ApiError> {
        let data_start = probe.data_start;
        let begins = spec.item_reader.range.map_or(0, |(first, _)| first);
        let plan = ShardPlan::whole(data_start, source.size_bytes, self.shard_bytes);
        // Where items begin after that is known only when what lies before is scanned.
        if begins > data_start || plan.shard_count() == 0 {
            return Ok(Vec::new());
        }
        let end = source.size_bytes.min(data_start + MAX_BYTES);
        let bytes =
            self.objects.read(&pinned_object(source), data_start..end).await.map_err(ApiError::Source)?;
        let templates = templates(spec, &facts);
        let mut rules = templates.cut_rules(spec, probe.header, self.limits.max_record_bytes);
        let range = ByteRange::new(data_start, plan.range(0).end.min(end));
        let at_end = end == source.size_bytes;
        let shard = scan_shard(&rules, range, &bytes, at_end && range.end == end, spec.item_reader.max_items);
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
        Ok(first_events(
            &PreviewOf { templates: &templates, facts: &facts },
            reader,
            &bytes,
            data_start,
            at_end,
        ))
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

/// The templates of a run, for what the coordinator reads of it.
pub(super) fn templates(spec: &MapRunSpec, facts: &TemplateFacts) -> RunTemplates {
    RunTemplates::new(spec, facts).expect("templates are checked when a specification is read")
}

/// A checkpoint before everything.
pub(super) fn start(offset: u64) -> Checkpoint {
    Checkpoint { batch: 0, item: 0, offset, newlines: 0 }
}

/// Whose events are shown.
struct PreviewOf<'a> {
    templates: &'a RunTemplates,
    facts: &'a TemplateFacts,
}

fn first_events(
    preview: &PreviewOf<'_>,
    mut reader: SpanReader,
    bytes: &[u8],
    base: u64,
    at_end: bool,
) -> Vec<String> {
    let mut events: Vec<String> = Vec::new();
    while events.len() < EVENTS {
        let read = usize::try_from(reader.position() - base).unwrap_or(usize::MAX).min(bytes.len());
        match reader.next_batch(&bytes[read..], at_end) {
            Ok(SpanStep::Batch(batch)) => events.push(preview.event(&batch)),
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

impl PreviewOf<'_> {
    /// `{"BatchInput": …, "Items": […]}`, compact, as batches are measured; or what `payload` makes of it.
    fn event(&self, batch: &Batch) -> String {
        let mut json = b"{".to_vec();
        if let Some(input) = &self.templates.batch_input {
            json.extend_from_slice(br#""BatchInput":"#);
            input.write(&mut json, |hole, out| self.fill(*hole, batch, out));
            json.push(b',');
        }
        json.extend_from_slice(br#""Items":["#);
        for (index, item) in batch.items.iter().enumerate() {
            if index > 0 {
                json.push(b',');
            }
            match self.templates.item.as_ref().filter(|shape| shape.unmatched(item).is_none()) {
                Some(shape) => shape.write_item(u64::from(batch.first_item) + index as u64, item, &mut json),
                None => item.write_json(&mut json),
            }
        }
        json.extend_from_slice(b"]}");
        let event = String::from_utf8_lossy(&json).into_owned();
        match &self.templates.payload {
            Some(payload) => self.reshaped(payload, batch, &event),
            None => event,
        }
    }

    fn reshaped(&self, payload: &Shape<PayloadHole>, batch: &Batch, event: &str) -> String {
        let mut json = Vec::new();
        payload.write(&mut json, |hole, out| match hole {
            PayloadHole::Batch(hole) => self.fill(*hole, batch, out),
            PayloadHole::Event(path) => {
                out.extend_from_slice(path.find_in_text(event).unwrap_or("null").as_bytes());
            }
        });
        String::from_utf8_lossy(&json).into_owned()
    }

    fn fill(&self, hole: BatchHole, batch: &Batch, out: &mut Vec<u8>) {
        hole.write(&self.facts.map_run, u64::from(batch.ordinal), batch.items.len(), out);
    }
}
