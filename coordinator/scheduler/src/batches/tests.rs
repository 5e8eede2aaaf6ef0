//! Pages over the record of a shard: 100 batches of two items, the last one of a single item.

use warifu_dataset::{
    ByteRange, Checkpoint, ComposedShard, Composer, EntryState, Limits, RecordFormat, ShardPlan,
};

use super::*;
use crate::record::FinishedRange;

fn finished(batches: Range<u32>) -> FinishedRange {
    FinishedRange {
        first_batch: batches.start,
        end_batch: batches.end,
        first_item: batches.start * 2,
        end_item: (batches.end * 2).min(199),
        start_byte: 0,
        end_byte: 0,
    }
}

fn open(batch: u32, last_call: CallOutcome, attempts: u32) -> OpenBatch {
    OpenBatch {
        attempts,
        last_call: Some(last_call),
        first_item: batch * 2,
        item_count: 2,
        ..OpenBatch::default()
    }
}

fn failed(batch: u32, last_call: CallOutcome) -> OpenBatch {
    OpenBatch { failed: RangeSet::from_range(0..2), ..open(batch, last_call, 3) }
}

fn undecided(batch: u32, attempts: u32) -> OpenBatch {
    OpenBatch { undecided: RangeSet::from_range(0..2), ..open(batch, CallOutcome::Failed, attempts) }
}

fn record(shard: u32, ranges: &[Range<u32>], open: &[(u32, OpenBatch)]) -> ShardRecord {
    let plan = ShardPlan::whole(0, 1_000, 1_000);
    ShardRecord {
        redrive: 0,
        composed: ComposedShard {
            shard,
            range: ByteRange::new(0, 1_000),
            entry: EntryState::RecordStart,
            exit: EntryState::RecordStart,
            first_item: u64::from(shard) * 199,
            first_batch: u64::from(shard) * 100,
            first_line: 0,
            items: 199,
            batches: 100,
            checkpoints: vec![Checkpoint { batch: 50, item: 100, offset: 500, newlines: 100 }],
        },
        composer: Composer::new(&plan, None, RecordFormat::default(), &Limits::default()),
        finished: ranges.iter().cloned().map(finished).collect(),
        open: open.iter().cloned().collect(),
        begun: RangeSet::new(),
        losses: BTreeMap::from([(61, 2)]),
        deaths: BTreeMap::new(),
        reports: Vec::new(),
    }
}

/// A shard of which every batch has succeeded.
fn succeeded(shard: u32) -> ShardRecord {
    record(shard, std::slice::from_ref(&(0..100)), &[])
}

fn page(records: &[ShardRecord], from: BatchPlace, states: &[BatchState], limit: usize) -> BatchPage {
    let query = BatchQuery { from, states: states.iter().copied().collect(), limit };
    let mut page = BatchPage::default();
    for record in records.iter().filter(|record| record.composed.shard >= from.shard.0) {
        if !page.add_stored(record.clone(), 0, 2, &query) {
            break;
        }
    }
    page
}

fn numbers(page: &BatchPage) -> Vec<u64> {
    page.batches.iter().map(|batch| batch.number).collect()
}

/// Batches 10 and 20 failed, 30 answered with failed items, 60 was begun and lost, 61 is as new, 70 on never started.
fn ended() -> ShardRecord {
    let batches = [
        (10, failed(10, CallOutcome::Failed)),
        (20, failed(20, CallOutcome::TimedOut)),
        (30, failed(30, CallOutcome::Answered)),
        (60, undecided(60, 2)),
        (61, undecided(61, 0)),
    ];
    record(1, &[0..60, 62..70], &batches)
}

#[test]
fn every_batch_is_listed_once_in_order_whatever_the_pages() {
    for limit in [1, 7, 100, 1_000] {
        let records = [succeeded(0), ended()];
        let (mut from, mut all) = (BatchPlace::FIRST, Vec::new());
        loop {
            let page = page(&records, from, &[], limit);
            assert!(page.batches.len() <= limit);
            all.extend(numbers(&page));
            let Some(next) = page.next else { break };
            assert!(next > from);
            from = next;
        }
        assert_eq!(all, (0..200).collect::<Vec<u64>>(), "pages of {limit}");
    }
}

#[test]
fn states_are_told_apart_and_filtered() {
    let records = [succeeded(0), ended()];
    let of = |states: &[BatchState]| numbers(&page(&records, BatchPlace::FIRST, states, 1_000));
    assert_eq!(of(&[BatchState::Failed]), [110]);
    assert_eq!(of(&[BatchState::TimedOut]), [120]);
    assert_eq!(of(&[BatchState::Failed, BatchState::TimedOut]), [110, 120]);
    assert_eq!(of(&[BatchState::Aborted]), [160]);
    assert_eq!(of(&[BatchState::Pending]), [161].into_iter().chain(170..200).collect::<Vec<u64>>());
    assert_eq!(of(&[BatchState::Running, BatchState::PendingRedrive]), [] as [u64; 0]);
    assert_eq!(of(&[BatchState::Succeeded]).len(), 100 + 66);
}

#[test]
fn what_is_kept_of_a_batch_is_shown() {
    let records = [succeeded(0), ended()];
    let all = page(&records, BatchPlace::FIRST, &[], 1_000).batches;
    let timed_out = &all[120];
    assert_eq!((timed_out.attempts, timed_out.failed_items), (3, 2));
    assert_eq!((timed_out.first_index, timed_out.item_count), (Some(199 + 40), Some(2)));
    assert_eq!((all[130].state, all[130].failed_items), (BatchState::Succeeded, 2));
    assert_eq!(all[161].losses, 2);
    // Before the checkpoint all are full; of those behind it one is not, and which is not remembered.
    assert_eq!((all[3].first_index, all[3].item_count, all[3].attempts), (Some(6), Some(2), 0));
    assert_eq!((all[99].first_index, all[99].item_count), (None, None));
    // Here its neighbours are remembered.
    assert_eq!((all[165].first_index, all[165].item_count), (Some(199 + 130), Some(2)));
}

#[test]
fn a_shard_that_no_redrive_reached_is_shown_as_the_redrive_would_begin_with_it() {
    let query = BatchQuery { from: BatchPlace::FIRST, states: BTreeSet::new(), limit: 1_000 };
    let mut page = BatchPage::default();
    page.add_stored(ended(), 1, 2, &query);
    assert_eq!((page.batches[10].state, page.batches[10].attempts), (BatchState::Pending, 0));
    assert_eq!(page.batches[9].state, BatchState::Succeeded);
}

#[test]
fn times_are_told_by_the_wall_clock() {
    let now = Now { at: Timestamp(5_000_000), wall: WallTime(1_000_000) };
    assert_eq!(wall_time(now, Timestamp(3_000_000)), WallTime(998_000));
    assert_eq!(wall_time(now, Timestamp(6_500_000)), WallTime(1_001_500));
}
