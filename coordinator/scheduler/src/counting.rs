//! How a reported attempt changes a shard's record and the run's counts. Pure: works on the copies that a
//! transaction is made of.

use warifu_model::protocol::{BatchReport, CallOutcome, FailedItems, Report};
use warifu_model::{
    CallFailure, ErrorGroup, ErrorSample, FailureKind, ItemFailure, RangeSet, SourcePlace, WallTime, WorkerId,
};

use crate::record::{FinishedRange, OpenBatch, ShardRecord, StatusRecord};
use crate::shard::insert_finished;

/// Failure names counted apart; further ones are counted under [`OTHER_ERRORS`].
const MAX_ERROR_NAMES: usize = 1_000;
/// Bytes of all names that are counted apart: they are written with every transaction of the run.
const MAX_ERROR_NAME_BYTES: usize = 32 << 10;
/// The name under which failures are counted whose own name is one too many.
const OTHER_ERRORS: &str = "…";
/// Error groups kept with samples; users see the five largest.
const MAX_ERROR_GROUPS: usize = 20;
/// Samples of a group.
const MAX_SAMPLES: usize = 3;

/// Who reported, and when it is counted.
pub(crate) struct CountedBy<'a> {
    pub(crate) worker: &'a WorkerId,
    pub(crate) time: WallTime,
    /// Failures that may still be stored.
    pub(crate) room_for_failures: u64,
}

/// Counts a whole report; returns failures to be stored.
pub(crate) fn count_report(
    shard: &mut ShardRecord,
    status: &mut StatusRecord,
    report: &Report,
    by: &CountedBy<'_>,
) -> Vec<ItemFailure> {
    let mut failures = Vec::new();
    for entry in &report.entries {
        count_entry(shard, status, entry, by, &mut failures);
    }
    if report.entries.iter().any(|entry| !entry.undecided.is_empty()) {
        name_report(shard, report);
    }
    if shard.is_decided() {
        shard.settle();
    }
    failures
}

/// Remembers a report some of whose batches stay undecided: if it comes once more, nothing else tells that it was counted.
///
/// One whose batches are all decided needs no name: whichever report decided them, the worker is done with them.
fn name_report(shard: &mut ShardRecord, report: &Report) {
    match shard.reports.iter_mut().find(|(lease, _)| *lease == report.lease) {
        Some((_, numbers)) => {
            numbers.insert(report.number.0);
        }
        None => shard.reports.push((report.lease, RangeSet::from_iter([report.number.0]))),
    }
}

/// True if this very report was counted, and left some of its batches undecided.
pub(crate) fn was_counted(shard: &ShardRecord, report: &Report) -> bool {
    shard.reports.iter().any(|(lease, numbers)| *lease == report.lease && numbers.contains(report.number.0))
}

/// The items that an attempt was about.
pub(crate) fn sent_items(open: Option<&OpenBatch>, item_count: u32) -> RangeSet {
    match open {
        Some(open) => open.undecided.clone(),
        None => RangeSet::from_range(0..item_count),
    }
}

fn count_entry(
    shard: &mut ShardRecord,
    status: &mut StatusRecord,
    entry: &BatchReport,
    by: &CountedBy<'_>,
    failures: &mut Vec<ItemFailure>,
) {
    let sent = sent_items(shard.open.get(&entry.batch.0), entry.item_count);
    let mut open = shard.open.remove(&entry.batch.0).unwrap_or_else(|| new_open_batch(entry));
    open.attempts += 1;
    open.redriven = false;
    open.last_call = Some(entry.call);
    for group in &entry.failed {
        count_failed(&mut open, status, entry.call, group, by.time);
        let place =
            FailurePlace { first_item: shard.composed.first_item, first_batch: shard.composed.first_batch };
        store_failures(entry, group, &open, place, by, failures);
        sample_failures(status, entry, group, shard.composed.first_item);
    }
    let failed: u64 = entry.failed.iter().map(|group| group.items.len()).sum();
    status.item_counts.succeeded += sent.len() - failed - entry.undecided.len();
    open.undecided = entry.undecided.clone();
    shard.begun.remove(entry.batch.0);
    if open.undecided.is_empty() {
        decide_batch(shard, status, entry.batch.0, open);
    } else {
        order_retry(&mut open, entry);
        shard.open.insert(entry.batch.0, open);
    }
}

fn new_open_batch(entry: &BatchReport) -> OpenBatch {
    OpenBatch {
        first_item: entry.first_item,
        item_count: entry.item_count,
        bytes: (entry.bytes.start, entry.bytes.end),
        ..OpenBatch::default()
    }
}

fn order_retry(open: &mut OpenBatch, entry: &BatchReport) {
    // An answer that leaves items over begins a new round; a crash or a timeout repeats the same one.
    if entry.call == CallOutcome::Answered {
        open.round += 1;
    }
    for retrier in entry.retriers.iter().map(|retrier| *retrier as usize) {
        if open.retries_used.len() <= retrier {
            open.retries_used.resize(retrier + 1, 0);
        }
        open.retries_used[retrier] += 1;
    }
}

/// Puts a batch among the decided ones; it stays open in the record only for what a redrive would send again.
pub(crate) fn decide_batch(shard: &mut ShardRecord, status: &mut StatusRecord, batch: u32, open: OpenBatch) {
    let counts = &mut status.batch_counts;
    match open.last_call {
        Some(CallOutcome::Failed) => counts.failed += 1,
        Some(CallOutcome::TimedOut) => counts.timed_out += 1,
        Some(CallOutcome::Aborted) => counts.aborted += 1,
        Some(CallOutcome::Answered) | None => counts.succeeded += 1,
    }
    insert_finished(&mut shard.finished, place_of(batch, &open));
    shard.losses.remove(&batch);
    shard.deaths.remove(&batch);
    shard.begun.remove(batch);
    if !open.failed.is_empty() {
        shard.open.insert(batch, open);
    }
}

/// Where a batch lies, from what its report said.
pub(crate) fn place_of(batch: u32, open: &OpenBatch) -> FinishedRange {
    FinishedRange {
        first_batch: batch,
        end_batch: batch + 1,
        first_item: open.first_item,
        end_item: open.first_item + open.item_count,
        start_byte: open.bytes.0,
        end_byte: open.bytes.1,
    }
}

fn count_failed(
    open: &mut OpenBatch,
    status: &mut StatusRecord,
    call: CallOutcome,
    group: &FailedItems,
    time: WallTime,
) {
    let items = group.items.len();
    open.failed.union_with(&group.items);
    match call {
        CallOutcome::Aborted => {
            open.aborted.union_with(&group.items);
            status.item_counts.aborted += items;
            return; // an abort is no failure of the items: it is not grouped
        }
        CallOutcome::TimedOut => {
            open.timed_out.union_with(&group.items);
            status.item_counts.timed_out += items;
        }
        CallOutcome::Answered | CallOutcome::Failed => status.item_counts.failed += items,
    }
    *status.errors.entry(error_key(status, &group.failure)).or_default() += items;
    group_failure(status, &group.failure, items, time);
}

fn error_key(status: &StatusRecord, failure: &CallFailure) -> (FailureKind, String) {
    let key = (failure.kind, failure.error.clone());
    if status.errors.contains_key(&key) || has_room_for(status, &key.1) {
        key
    } else {
        (failure.kind, OTHER_ERRORS.to_owned())
    }
}

fn has_room_for(status: &StatusRecord, error: &str) -> bool {
    let bytes = || status.errors.keys().map(|(_, name)| name.len()).sum::<usize>();
    status.errors.len() < MAX_ERROR_NAMES && bytes() + error.len() <= MAX_ERROR_NAME_BYTES
}

fn group_failure(status: &mut StatusRecord, failure: &CallFailure, count: u64, time: WallTime) {
    let groups = &mut status.error_groups;
    if let Some(group) =
        groups.iter_mut().find(|group| group.error == failure.error && group.kind == failure.kind)
    {
        group.count += count;
        group.last_time = time;
        return;
    }
    let new = |count| ErrorGroup {
        error: failure.error.clone(),
        kind: failure.kind,
        count,
        first_time: time,
        last_time: time,
        samples: Vec::new(),
    };
    if groups.len() < MAX_ERROR_GROUPS {
        return groups.push(new(count));
    }
    // Without samples so far, but counted: it takes the place of a name that is less frequent by now.
    let counted = status.errors.get(&(failure.kind, failure.error.clone()));
    let smallest = groups.iter_mut().min_by_key(|group| group.count);
    if let (Some(counted), Some(smallest)) = (counted, smallest)
        && *counted > smallest.count
    {
        *smallest = new(*counted);
    }
}

fn sample_failures(status: &mut StatusRecord, entry: &BatchReport, group: &FailedItems, first_item: u64) {
    let of_group =
        |known: &&mut ErrorGroup| known.error == group.failure.error && known.kind == group.failure.kind;
    let Some(known) = status.error_groups.iter_mut().find(of_group) else { return };
    for (offset, place) in group.items.iter().zip(places(group)) {
        if known.samples.len() >= MAX_SAMPLES {
            return;
        }
        let index = first_item + u64::from(entry.first_item) + u64::from(offset);
        known.samples.push(ErrorSample { index, place, message: group.failure.cause.clone() });
    }
}

#[derive(Clone, Copy)]
struct FailurePlace {
    first_item: u64,
    first_batch: u64,
}

fn store_failures(
    entry: &BatchReport,
    group: &FailedItems,
    open: &OpenBatch,
    shard: FailurePlace,
    by: &CountedBy<'_>,
    failures: &mut Vec<ItemFailure>,
) {
    if entry.call == CallOutcome::Aborted {
        return;
    }
    for (offset, place) in group.items.iter().zip(places(group)) {
        if failures.len() as u64 >= by.room_for_failures {
            return;
        }
        failures.push(ItemFailure {
            index: shard.first_item + u64::from(entry.first_item) + u64::from(offset),
            batch_number: shard.first_batch + u64::from(entry.batch.0),
            place,
            failure: group.failure.clone(),
            timed_out: entry.call == CallOutcome::TimedOut,
            attempts: open.attempts,
            worker: by.worker.clone(),
            fail_time: by.time,
        });
    }
}

/// The places that the report had room for; further items stand without one.
fn places(group: &FailedItems) -> impl Iterator<Item = SourcePlace> + '_ {
    group.places.iter().cloned().chain(std::iter::repeat_with(SourcePlace::default))
}

#[cfg(test)]
mod tests;
