//! The first events of a run, as they would be: for `validate_only`.

use std::sync::Arc;

use warifu_dataset::{
    Batch, ByteRange, Checkpoint, CutRules, EntryState, Header, Probe, ScanRequest, ShardPlan, SpanReader,
    SpanShard, SpanStep, scan,
};
use warifu_model::spec::MapRunSpec;

use super::items::json_lines;
use super::source::pinned_object;
use super::{ApiError, Context};

/// Events to show.
const EVENTS: usize = 3;

/// Bytes of data that are read for them: what does not fit is not shown.
const MAX_BYTES: u64 = 2 * 1024 * 1024;

/// Bytes of events in an answer.
const MAX_EVENT_BYTES: usize = 1024 * 1024;

impl Context {
    /// The size of the source, and its first events in AWS's shape: none if no item begins in the first bytes that count,
    /// or if a worker has to rewrite it first.
    pub(super) async fn first_events_of(&self, spec: &MapRunSpec) -> Result<(u64, Vec<String>), ApiError> {
        if let Some(items) = &spec.items {
            let data = json_lines(items);
            let probe = Probe { header: Header::none(), data_start: 0, newlines_before_data: 0 };
            let size = data.len() as u64;
            return Ok((size, self.preview(spec, size, probe, &data)));
        }
        let source = self.pin_source(spec).await?;
        if spec.item_reader.needs_staging() {
            return Ok((source.size_bytes, Vec::new()));
        }
        let probe = self.probe(spec, &source).await?;
        let end = source.size_bytes.min(probe.data_start + MAX_BYTES);
        let object = pinned_object(&source);
        let bytes = self.objects.read(&object, probe.data_start..end).await.map_err(ApiError::Source)?;
        Ok((source.size_bytes, self.preview(spec, source.size_bytes, probe, &bytes)))
    }

    /// The first events of data that begins with `bytes`.
    fn preview(&self, spec: &MapRunSpec, size: u64, probe: Probe, bytes: &[u8]) -> Vec<String> {
        let data_start = probe.data_start;
        let begins = spec.item_reader.range.map_or(0, |(first, _)| first);
        let plan = ShardPlan::whole(data_start, size, self.shard_bytes);
        // Where items begin after that is known only when what lies before is scanned.
        if begins > data_start || plan.shard_count() == 0 {
            return Vec::new();
        }
        let end = data_start + bytes.len() as u64;
        let rules = Arc::new(cut_rules(spec, probe, self.limits.max_record_bytes));
        let range = ByteRange::new(data_start, plan.range(0).end.min(end));
        let at_end = end == size;
        let shard = scan_shard(&rules, range, bytes, at_end && range.end == end, spec.item_reader.max_items);
        let reader = SpanReader::new(rules, shard, start(data_start));
        first_events(spec, reader, bytes, data_start, at_end)
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

/// How batches of a run are cut.
pub(super) fn cut_rules(spec: &MapRunSpec, probe: Probe, max_record_bytes: u64) -> CutRules {
    CutRules {
        max_items: spec.item_batcher.max_items_per_batch,
        max_input_bytes: spec.item_batcher.max_input_bytes_per_batch,
        envelope_bytes: spec.item_batcher.envelope_bytes(),
        header: probe.header,
        format: spec.item_reader.record_format(),
        max_record_bytes,
    }
}

/// A checkpoint before everything.
pub(super) fn start(offset: u64) -> Checkpoint {
    Checkpoint { batch: 0, item: 0, offset, newlines: 0 }
}

fn first_events(
    spec: &MapRunSpec,
    mut reader: SpanReader,
    bytes: &[u8],
    base: u64,
    at_end: bool,
) -> Vec<String> {
    let mut events: Vec<String> = Vec::new();
    while events.len() < EVENTS {
        let read = usize::try_from(reader.position() - base).unwrap_or(usize::MAX).min(bytes.len());
        match reader.next_batch(&bytes[read..], at_end) {
            Ok(SpanStep::Batch(batch)) => events.push(event(spec, &batch)),
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

/// `{"BatchInput": …, "Items": […]}`, compact, as batches are measured.
fn event(spec: &MapRunSpec, batch: &Batch) -> String {
    let mut json = b"{".to_vec();
    if let Some(input) = &spec.item_batcher.batch_input {
        json.extend_from_slice(br#""BatchInput":"#);
        json.extend_from_slice(serde_json::Value::Object(input.clone()).to_string().as_bytes());
        json.push(b',');
    }
    json.extend_from_slice(br#""Items":["#);
    for (index, item) in batch.items.iter().enumerate() {
        if index > 0 {
            json.push(b',');
        }
        item.write_json(&mut json);
    }
    json.extend_from_slice(b"]}");
    String::from_utf8_lossy(&json).into_owned()
}
