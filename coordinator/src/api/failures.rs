//! `ListItemFailures`: what the store keeps, and in the FULL view the records themselves, read again from the source.

use std::sync::Arc;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use warifu_common::object_store::PinnedObject;
use warifu_common::wire::v1;
use warifu_common::wire::views::item_failure;
use warifu_dataset::{ByteRange, CutRules, Probe, SpanReader, SpanShard, SpanStep, split_sourced};
use warifu_model::template::TemplateFacts;
use warifu_model::{ItemFailure, MapRunId, MapRunView};
use warifu_scheduler::DataSource;

use super::{ApiError, Context, map_run_id, page};
use crate::reading::{RunEvents, pinned_object, start};

/// Failures that are read from the store at once while a filter passes over others.
const STORE_PAGE: usize = 1_000;

/// Reads of records at once.
const CONCURRENT_READS: usize = 8;

/// Records and items of one answer: it must stay under 4 MiB.
const MAX_FULL_BYTES: u64 = 1_500_000;

/// The longest terminator of a record.
const MAX_TERMINATOR: u64 = 2;

pub(super) async fn list(
    context: &Context,
    request: v1::ListItemFailuresRequest,
) -> Result<v1::ListItemFailuresResponse, ApiError> {
    let map_run = map_run_id("parent", &request.parent)?;
    let full = request.view() == v1::item_failure_view::Type::Full;
    let size = match full {
        true => page::page_size(request.page_size, 20, 100)?,
        false => page::page_size(request.page_size, 50, 1_000)?,
    };
    let run = context.run_of_failures(&map_run).await?;
    let arguments = format!("failures {map_run} {} {} {full}", run.view.redrive_count, request.error);
    let from = match page::cursor(&request.page_token, &arguments)? {
        None => 0,
        Some(cursor) => cursor.parse().map_err(|_| ApiError::InvalidPageToken)?,
    };
    let mut page = context.page(&map_run, from, size, &request.error).await?;
    let mut response = v1::ListItemFailuresResponse { truncated: run.truncated, ..Default::default() };
    if full {
        page.shorten_to(MAX_FULL_BYTES);
        response.header = context.header_bytes(&run).await?;
    }
    response.item_failures = context.to_wire(&run, &page.failures, full).await?;
    if let Some(next) = page.next {
        response.next_page_token = page::issue(&next.to_string(), &arguments);
    }
    Ok(response)
}

/// What must be known of the run whose failures are listed.
struct RunOfFailures {
    view: MapRunView,
    truncated: bool,
    source: DataSource,
}

/// Failures with their places in the store.
struct Page {
    failures: Vec<(u64, ItemFailure)>,
    /// Where the next page begins, if there is one.
    next: Option<u64>,
}

impl Page {
    /// Leaves out what would make the answer too long; at least one failure stays.
    fn shorten_to(&mut self, most: u64) {
        let mut room = most;
        let fits = |(_, failure): &(u64, ItemFailure)| {
            // The record itself, and the item as JSON, which is seldom longer.
            let bytes = failure.place.byte_length.saturating_mul(2);
            let fits = bytes <= room;
            room = room.saturating_sub(bytes);
            fits
        };
        let kept = self.failures.iter().take_while({
            let mut fits = fits;
            move |failure| fits(failure)
        });
        let kept = kept.count().max(1);
        if let Some((place, _)) = self.failures.get(kept) {
            self.next = Some(*place);
            self.failures.truncate(kept);
        }
    }
}

impl Context {
    async fn run_of_failures(&self, map_run: &MapRunId) -> Result<RunOfFailures, ApiError> {
        let id = map_run.clone();
        let found =
            self.driver.query(move |scheduler| scheduler.map_run(&id).zip(scheduler.source(&id))).await?;
        let (view, source) = found.ok_or_else(|| ApiError::NoSuchMapRun(map_run.clone()))?;
        let stored = self.store.status(map_run).await?.map_or(0, |status| status.stored_failures);
        let truncated = view.item_counts.unsuccessful() > stored;
        Ok(RunOfFailures { view, truncated, source })
    }

    /// Up to `size` failures of the name `error` (empty: any), from place `from` on.
    async fn page(&self, map_run: &MapRunId, from: u64, size: usize, error: &str) -> Result<Page, ApiError> {
        let mut page = Page { failures: Vec::new(), next: None };
        let mut place = from;
        loop {
            let read = self.store.failures(map_run, place, STORE_PAGE).await?;
            let is_last = read.len() < STORE_PAGE;
            for failure in read {
                let wanted = error.is_empty() || failure.failure.error == error;
                if wanted && page.failures.len() == size {
                    page.next = Some(place);
                    return Ok(page);
                }
                if wanted {
                    page.failures.push((place, failure));
                }
                place += 1;
            }
            if is_last {
                return Ok(page);
            }
        }
    }

    async fn to_wire(
        &self,
        run: &RunOfFailures,
        failures: &[(u64, ItemFailure)],
        full: bool,
    ) -> Result<Vec<v1::ItemFailure>, ApiError> {
        let reader = match (&run.source.probe, full) {
            (Some(probe), true) => Some(RecordReader::new(self, run, probe)),
            _ => None,
        };
        let failures: Vec<ItemFailure> = failures.iter().map(|(_, failure)| failure.clone()).collect();
        let shown = failures.into_iter().map(|failure| show(reader.as_ref(), run, failure));
        stream::iter(shown).buffered(CONCURRENT_READS).try_collect().await
    }

    /// The header record with its terminator, byte for byte.
    async fn header_bytes(&self, run: &RunOfFailures) -> Result<Vec<u8>, ApiError> {
        let Some(probe) = run.source.probe.as_ref().filter(|probe| !probe.header.range.is_empty()) else {
            return Ok(Vec::new());
        };
        let object = pinned_object(&run.source.pin);
        Ok(self.read_record(&object, probe.header.range).await?.to_vec())
    }

    /// The bytes of a record, and of its terminator if it has one.
    async fn read_record(&self, object: &PinnedObject, range: ByteRange) -> Result<Bytes, ApiError> {
        let end = object.size.min(range.end + MAX_TERMINATOR);
        let bytes = self.objects.read(object, range.start..end).await.map_err(ApiError::Source)?;
        let record = usize::try_from(range.len()).unwrap_or(usize::MAX).min(bytes.len());
        let terminator = match &bytes[record..] {
            [b'\r', b'\n', ..] => 2,
            [b'\r' | b'\n', ..] => 1,
            _ => 0,
        };
        Ok(bytes.slice(..record + terminator))
    }
}

/// One failure, with its record if there is a reader and the record is not too long for an answer.
async fn show(
    reader: Option<&RecordReader<'_>>,
    run: &RunOfFailures,
    failure: ItemFailure,
) -> Result<v1::ItemFailure, ApiError> {
    let mut shown = item_failure(&failure, &run.view);
    if let Some(reader) = reader
        && failure.place.byte_length.saturating_mul(2) <= MAX_FULL_BYTES
    {
        (shown.record, shown.item) = reader.read(&failure).await?;
    }
    Ok(shown)
}

/// Reads single records of a run's source.
struct RecordReader<'a> {
    context: &'a Context,
    object: PinnedObject,
    rules: Arc<CutRules>,
}

impl<'a> RecordReader<'a> {
    fn new(context: &'a Context, run: &RunOfFailures, probe: &Probe) -> Self {
        let view = &run.view;
        let facts = TemplateFacts {
            map_run: view.id.clone(),
            start_time: view.create_time,
            entered_time: view.start_time.unwrap_or(view.create_time),
            redrive_count: view.redrive_count,
            source: run.source.item_source.clone(),
        };
        let rules = RunEvents::new(&view.spec, facts).cut_rules(
            &view.spec,
            probe.header.clone(),
            context.limits.max_record_bytes,
        );
        Self { context, object: pinned_object(&run.source.pin), rules: Arc::new(rules) }
    }

    /// The record's bytes with its terminator, and the item as JSON.
    async fn read(&self, failure: &ItemFailure) -> Result<(Vec<u8>, String), ApiError> {
        let place = &failure.place;
        let range = ByteRange::new(place.byte_offset, place.byte_offset + place.byte_length);
        let bytes = self.context.read_record(&self.object, range).await?;
        let json = item_json(&self.rules, failure.index, range, &bytes);
        let record = if self.rules.sourced { split_sourced(&bytes).1 } else { &bytes };
        Ok((record.to_vec(), json))
    }
}

/// The item of a record, as the handler got it; one that never reached it, as it is in the data.
fn item_json(rules: &Arc<CutRules>, index: u64, range: ByteRange, bytes: &[u8]) -> String {
    let shard = SpanShard {
        range: ByteRange::new(range.start, range.start + bytes.len() as u64),
        ends_object: true,
        items: 1,
    };
    let mut reader = SpanReader::new(rules.clone(), shard, start(range.start));
    let mut json = Vec::new();
    if let Ok(SpanStep::Batch(batch)) = reader.next_batch(bytes, true)
        && let Some(item) = batch.items.first()
    {
        match rules.shape.as_ref().filter(|shape| shape.unmatched(item).is_none()) {
            Some(shape) => shape.write_item(index, item, &mut json),
            None => item.write_json(&mut json),
        }
    }
    String::from_utf8_lossy(&json).into_owned()
}
