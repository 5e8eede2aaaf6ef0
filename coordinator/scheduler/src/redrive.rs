//! What a redrive makes of a finished run: everything that did not succeed is to be sent again.
//!
//! The transaction that begins a redrive writes only the run's status. A shard's record is reopened by a
//! pure function of what the store holds, whenever it is older than the run's redrive.

use warifu_model::{ItemCounts, MapRunState, RangeSet, WallTime};

use crate::alert::without_alerts;
use crate::counting::place_of;
use crate::record::{OpenBatch, ShardRecord, StatusRecord};
use crate::shard::remove_finished;

/// The record as `redrive` begins with it.
pub(crate) fn reopened(mut record: ShardRecord, redrive: u32) -> ShardRecord {
    if record.redrive >= redrive {
        return record;
    }
    record.redrive = redrive;
    record.losses.clear();
    record.reports.clear(); // those of an earlier redrive are refused by its number
    record.begun = RangeSet::new();
    let open = std::mem::take(&mut record.open);
    for (batch, open) in open {
        remove_finished(&mut record.finished, place_of(batch, &open));
        record.open.insert(batch, reopened_batch(open));
    }
    record
}

/// Everything that did not succeed is undecided again; attempts start anew.
///
/// Failed items were answered for: their next call is a new round, so that a ledger does not replay the
/// failure. Aborted ones may have taken effect without being counted: the same round finds that out.
fn reopened_batch(open: OpenBatch) -> OpenBatch {
    let mut undecided = open.undecided.clone();
    undecided.union_with(&open.failed);
    let mut answered = open.failed.clone();
    answered.subtract(&open.aborted);
    OpenBatch {
        attempts: 0,
        round: open.round + u32::from(!answered.is_empty()),
        undecided,
        failed: RangeSet::new(),
        timed_out: RangeSet::new(),
        aborted: RangeSet::new(),
        retries_used: Vec::new(),
        last_call: None,
        redriven: true,
        ..open
    }
}

/// The status that a redrive begins with.
pub(crate) fn redriven_status<'a>(
    status: &StatusRecord,
    shards: impl Iterator<Item = &'a ShardRecord>,
    now: WallTime,
) -> StatusRecord {
    let succeeded_batches = shards.map(|shard| decided(&reopened(shard.clone(), status.redrive + 1))).sum();
    StatusRecord {
        state: MapRunState::Running,
        stopping_to: None,
        error: None,
        redrive: status.redrive + 1,
        start_time: Some(now),
        stop_time: None,
        item_counts: ItemCounts { succeeded: status.item_counts.succeeded, ..ItemCounts::default() },
        batch_counts: ItemCounts { succeeded: succeeded_batches, ..ItemCounts::default() },
        errors: Default::default(),
        error_groups: Vec::new(),
        stored_failures: 0,
        warnings: without_alerts(&status.warnings),
        result_location: None,
        compensation: None,
        ..status.clone()
    }
}

fn decided(shard: &ShardRecord) -> u64 {
    shard.finished.iter().map(|range| u64::from(range.end_batch - range.first_batch)).sum()
}
