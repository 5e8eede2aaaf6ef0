//! Outcomes.

use warifu_model::protocol::{BatchReport, CallOutcome, FailedItems, Report};
use warifu_model::{
    BatchOrdinal, CallFailure, FailureKind, RangeSet, ReportNumber, ShardNumber, SourcePlace,
};

use super::InvalidMessage;
use super::identity::{bytes, lease, map_run, set, span};
use crate::wire::time::wire_duration;
use crate::wire::v1;
use crate::wire::violation::truncated;

/// Longest failure name.
const MAX_ERROR_BYTES: usize = 256;
/// Longest cause.
const MAX_CAUSE_BYTES: usize = 1024;

/// A failure's name and cause, cut to what may travel.
pub(super) fn bounded_texts(error: &str, cause: &str) -> (String, String) {
    (truncated(error, MAX_ERROR_BYTES).to_owned(), truncated(cause, MAX_CAUSE_BYTES).to_owned())
}

impl From<&Report> for v1::Report {
    fn from(report: &Report) -> Self {
        v1::Report {
            lease_id: Some(report.lease.into()),
            number: report.number.0,
            map_run_id: report.map_run.to_string(),
            redrive: report.redrive,
            shard: report.shard.0,
            entries: report.entries.iter().map(Into::into).collect(),
            succeeded_part: report.succeeded_part.as_ref().map(Into::into),
            failed_part: report.failed_part.as_ref().map(Into::into),
            inline_outputs: report.inline_outputs.clone(),
            inline_outputs_truncated: report.inline_outputs_truncated,
        }
    }
}

impl TryFrom<v1::Report> for Report {
    type Error = InvalidMessage;

    fn try_from(report: v1::Report) -> Result<Self, InvalidMessage> {
        Ok(Report {
            lease: lease(report.lease_id)?,
            number: ReportNumber(report.number),
            map_run: map_run(&report.map_run_id)?,
            redrive: report.redrive,
            shard: ShardNumber(report.shard),
            entries: report.entries.into_iter().map(BatchReport::try_from).collect::<Result<_, _>>()?,
            succeeded_part: report.succeeded_part.map(Into::into),
            failed_part: report.failed_part.map(Into::into),
            inline_outputs: report.inline_outputs,
            inline_outputs_truncated: report.inline_outputs_truncated,
        })
    }
}

impl From<&BatchReport> for v1::BatchReport {
    fn from(entry: &BatchReport) -> Self {
        v1::BatchReport {
            batch: entry.batch.0,
            attempt: entry.attempt,
            round: entry.round,
            first_item: entry.first_item,
            item_count: entry.item_count,
            bytes: Some(entry.bytes.into()),
            call: call(entry.call).into(),
            failed: entry.failed.iter().map(Into::into).collect(),
            undecided: (!entry.undecided.is_empty()).then(|| (&entry.undecided).into()),
            retriers: entry.retriers.clone(),
            handler_duration: Some(wire_duration(entry.handler_time)),
        }
    }
}

impl TryFrom<v1::BatchReport> for BatchReport {
    type Error = InvalidMessage;

    fn try_from(entry: v1::BatchReport) -> Result<Self, InvalidMessage> {
        let entry = BatchReport {
            call: read_call(entry.call())?,
            batch: BatchOrdinal(entry.batch),
            attempt: entry.attempt,
            round: entry.round,
            first_item: entry.first_item,
            item_count: entry.item_count,
            bytes: bytes(entry.bytes, "bytes")?,
            failed: entry.failed.into_iter().map(FailedItems::try_from).collect::<Result<_, _>>()?,
            undecided: set(entry.undecided)?,
            retriers: entry.retriers,
            handler_time: span(entry.handler_duration, "handler_duration")?,
        };
        check_offsets(&entry)?;
        Ok(entry)
    }
}

/// Each item of the batch has at most one outcome here.
fn check_offsets(entry: &BatchReport) -> Result<(), InvalidMessage> {
    let mut named = entry.undecided.clone();
    let mut count = named.len();
    for failed in &entry.failed {
        named.union_with(&failed.items);
        count += failed.items.len();
    }
    if count != named.len() {
        return Err(InvalidMessage::new("failed", "names an item twice"));
    }
    if named.last().is_some_and(|last| last >= entry.item_count) {
        return Err(InvalidMessage::new("failed", "names an item beyond the batch"));
    }
    Ok(())
}

fn call(call: CallOutcome) -> v1::batch_report::CallOutcome {
    use v1::batch_report::CallOutcome as Wire;
    match call {
        CallOutcome::Answered => Wire::Answered,
        CallOutcome::Failed => Wire::Failed,
        CallOutcome::TimedOut => Wire::TimedOut,
        CallOutcome::Aborted => Wire::Aborted,
    }
}

fn read_call(call: v1::batch_report::CallOutcome) -> Result<CallOutcome, InvalidMessage> {
    use v1::batch_report::CallOutcome as Wire;
    match call {
        Wire::Unspecified => Err(InvalidMessage::new("call", "is not known")),
        Wire::Answered => Ok(CallOutcome::Answered),
        Wire::Failed => Ok(CallOutcome::Failed),
        Wire::TimedOut => Ok(CallOutcome::TimedOut),
        Wire::Aborted => Ok(CallOutcome::Aborted),
    }
}

impl From<&FailedItems> for v1::FailedItems {
    fn from(failed: &FailedItems) -> Self {
        let (error, cause) = bounded_texts(&failed.failure.error, &failed.failure.cause);
        v1::FailedItems {
            items: Some((&failed.items).into()),
            error,
            cause,
            kind: v1::failure_kind::Type::from(failed.failure.kind).into(),
            retryable: failed.failure.retryable,
            places: (!failed.places.is_empty()).then(|| source_places(&failed.places)),
        }
    }
}

impl TryFrom<v1::FailedItems> for FailedItems {
    type Error = InvalidMessage;

    fn try_from(failed: v1::FailedItems) -> Result<Self, InvalidMessage> {
        let kind = match failed.kind() {
            v1::failure_kind::Type::Unspecified => return Err(InvalidMessage::new("kind", "is not known")),
            v1::failure_kind::Type::Business => FailureKind::Business,
            v1::failure_kind::Type::System => FailureKind::System,
        };
        let (error, cause) = bounded_texts(&failed.error, &failed.cause);
        let items: RangeSet = set(failed.items)?;
        let places = failed.places.map_or_else(|| Ok(Vec::new()), read_source_places)?;
        if places.len() as u64 > items.len() {
            return Err(InvalidMessage::new("places", "are more than the items"));
        }
        Ok(FailedItems {
            items,
            failure: CallFailure { error, cause, kind, retryable: failed.retryable },
            places,
        })
    }
}

/// Packs places: neighbours differ little, so that most numbers take two bytes.
fn source_places(places: &[SourcePlace]) -> v1::SourcePlaces {
    let mut packed = v1::SourcePlaces::default();
    let (mut offset, mut line) = (0_u64, 0_u64);
    for place in places {
        packed.byte_offset_deltas.push(place.byte_offset.wrapping_sub(offset).cast_signed());
        packed.byte_lengths.push(place.byte_length);
        packed.line_deltas.push(place.line.wrapping_sub(line).cast_signed());
        (offset, line) = (place.byte_offset, place.line);
    }
    packed
}

fn read_source_places(packed: v1::SourcePlaces) -> Result<Vec<SourcePlace>, InvalidMessage> {
    let v1::SourcePlaces { byte_offset_deltas, byte_lengths, line_deltas } = packed;
    if byte_offset_deltas.len() != byte_lengths.len() || line_deltas.len() != byte_lengths.len() {
        return Err(InvalidMessage::new("places", "have lists of different lengths"));
    }
    let (mut byte_offset, mut line) = (0_u64, 0_u64);
    let deltas = byte_offset_deltas.into_iter().zip(line_deltas).zip(byte_lengths);
    let places = deltas.map(|((offset_delta, line_delta), byte_length)| {
        byte_offset = byte_offset.wrapping_add_signed(offset_delta);
        line = line.wrapping_add_signed(line_delta);
        SourcePlace { byte_offset, byte_length, line }
    });
    Ok(places.collect())
}
