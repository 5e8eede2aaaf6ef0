//! What a shard's record forgets once it is finished.

use warifu_dataset::{ByteRange, Checkpoint, EntryState, Limits, RecordFormat, ShardPlan};
use warifu_model::{LeaderTerm, LeaseEpoch};

use super::*;

/// A shard of 100 batches of one item, with a checkpoint at every tenth.
fn shard(finished: &[std::ops::Range<u32>], open: &[u32]) -> ShardRecord {
    let plan = ShardPlan::whole(0, 1_000, 1_000);
    let finished = finished.iter().map(|range| FinishedRange {
        first_batch: range.start,
        end_batch: range.end,
        first_item: range.start,
        end_item: range.end,
        start_byte: u64::from(range.start) * 10,
        end_byte: u64::from(range.end) * 10,
    });
    ShardRecord {
        redrive: 0,
        composed: ComposedShard {
            shard: 0,
            range: ByteRange::new(0, 1_000),
            entry: EntryState::RecordStart,
            exit: EntryState::RecordStart,
            first_item: 0,
            first_batch: 0,
            first_line: 0,
            items: 100,
            batches: 100,
            checkpoints: (0..100).step_by(10).map(checkpoint).collect(),
        },
        composer: Composer::new(&plan, None, RecordFormat::default(), &Limits::default()),
        finished: finished.collect(),
        open: open.iter().map(|batch| (*batch, OpenBatch::default())).collect(),
        begun: [7].into_iter().collect(),
        losses: BTreeMap::new(),
        deaths: BTreeMap::new(),
        reports: vec![(LeaseId { term: LeaderTerm(1), epoch: LeaseEpoch(1) }, [1].into_iter().collect())],
    }
}

fn checkpoint(batch: u32) -> Checkpoint {
    Checkpoint { batch, item: batch, offset: u64::from(batch) * 10, newlines: batch.into() }
}

fn kept_for(open: &[u32]) -> Vec<u32> {
    let mut shard = shard(&[0..40, 40..100], open);
    assert!(shard.is_decided());
    shard.settle();
    assert!(shard.reports.is_empty() && shard.begun.is_empty());
    assert_eq!(shard.open.len(), open.len());
    shard.composed.checkpoints.iter().map(|checkpoint| checkpoint.batch).collect()
}

#[test]
fn a_finished_shard_keeps_the_checkpoints_around_what_a_redrive_would_send_again() {
    for (open, kept) in [
        (&[][..], &[][..]),
        (&[0], &[0, 10]),
        (&[9], &[0, 10]),
        (&[10], &[10, 20]),
        (&[25, 29], &[20, 30]),
        (&[25, 30], &[20, 30, 40]),
        (&[5, 95], &[0, 10, 90]),
        (&[99], &[90]),
    ] {
        assert_eq!(kept_for(open), kept, "{open:?}");
    }
}

/// Whatever is read again begins and ends at the same bytes as before, batch by batch.
#[test]
fn a_redrive_reads_from_and_to_the_same_places_as_before() {
    for open in 0..100 {
        let whole = shard(&[0..100, 100..100], &[open]);
        let mut settled = whole.clone();
        settled.settle();
        let span = |record| crate::shard::Shard::composed(record, None).read_span(open, open);
        assert_eq!(span(settled), span(whole), "batch {open}");
    }
}

#[test]
fn a_shard_with_an_undecided_batch_is_not_finished() {
    assert!(!shard(&[0..40, 41..100], &[40]).is_decided());
    assert!(!shard(&[], &[]).is_decided());
}
