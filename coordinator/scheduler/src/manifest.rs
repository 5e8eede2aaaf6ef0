//! What the manifest of a finished run has to say, gathered from its shards.

use std::sync::Arc;

use warifu_dataset::ComposedShard;
use warifu_model::{MapRunState, Now};

use crate::config::Config;
use crate::counting::place_of;
use crate::effect::{AbortedItems, ManifestOrder, PendingItems, Summary};
use crate::map_run::MapRun;
use crate::record::FinishedRange;
use crate::shard::{Shard, insert_finished};

impl MapRun {
    /// The order to write the manifest; `None` for a run without a result writer.
    pub(crate) fn manifest_order(
        &self,
        state: MapRunState,
        now: Now,
        config: &Config,
    ) -> Option<ManifestOrder> {
        let writer = self.spec.result_writer.as_ref()?;
        let (item_counts, batch_counts) = self.final_counts(&self.status);
        Some(ManifestOrder {
            map_run: self.id.clone(),
            item_source: self.item_source(),
            redrive: self.status.redrive,
            bucket: writer.bucket.clone(),
            prefix: format!("{}{}/", writer.prefix, self.id),
            state,
            error: self.status.error.clone(),
            part_entries: self.status.part_entries,
            pending: self.shards.values().flat_map(pending_items).collect(),
            aborted: self.aborted_items(),
            summary: Summary {
                item_counts,
                batch_counts,
                failure_counts: self.status.failure_counts(),
                errors: self.status.errors.clone(),
                start_time: self.status.start_time.unwrap_or(self.record.create_time),
                stop_time: now.wall,
            },
            create_time: self.record.create_time,
            spec: Arc::clone(&self.spec),
            source: self.data_source().clone(),
            probe: self.planned().map(|planned| planned.record.probe.clone()),
            max_record_bytes: config.max_record_bytes,
            unscanned_from: self.unscanned(),
        })
    }

    fn aborted_items(&self) -> Vec<AbortedItems> {
        let of_batch = |(shard, batch, open): (&Shard, u32, &crate::record::OpenBatch)| {
            let first = shard.record.composed.first_item + u64::from(open.first_item);
            AbortedItems {
                batch_number: shard.record.composed.first_batch + u64::from(batch),
                indexes: open.undecided.iter().map(|offset| first + u64::from(offset)).collect(),
                attempts: open.attempts,
                byte_offset: open.bytes.0,
                byte_length: open.bytes.1 - open.bytes.0,
                first_index: first,
                item_count: open.item_count,
                shard_end: shard.record.composed.range.end,
            }
        };
        self.begun_and_undecided().map(of_batch).collect()
    }

    /// Bytes whose items nobody counted, if the run ended before.
    fn unscanned(&self) -> Option<(u64, u64)> {
        if self.is_composed() {
            return None;
        }
        let end = self.planned().map_or(self.data_source().size_bytes, |planned| planned.composer.plan().end);
        Some((self.composed_until(), end)).filter(|(from, end)| from < end)
    }
}

/// Items of a shard that never started: what lies between its decided or begun batches.
fn pending_items(shard: &Shard) -> Vec<PendingItems> {
    let composed = &shard.record.composed;
    let mut started = shard.record.finished.clone();
    let mut pending = Vec::new();
    for (batch, open) in shard.record.open.iter().filter(|(_, open)| !open.undecided.is_empty()) {
        insert_finished(&mut started, place_of(*batch, open));
        if open.attempts == 0 {
            pending.extend(not_sent_again(composed, *batch, open));
        }
    }
    let start_byte =
        composed.checkpoints.first().map_or(composed.range.start, |checkpoint| checkpoint.offset);
    let end = FinishedRange {
        first_batch: composed.batches,
        end_batch: composed.batches,
        first_item: composed.items,
        end_item: composed.items,
        start_byte: composed.range.end,
        end_byte: composed.range.end,
    };
    let (mut batch, mut item, mut byte) = (0, 0, start_byte);
    for range in started.iter().chain([&end]) {
        if item < range.first_item {
            pending.push(PendingItems {
                first_index: composed.first_item + u64::from(item),
                last_index: composed.first_item + u64::from(range.first_item) - 1,
                first_batch: composed.first_batch + u64::from(batch),
                byte_offset: byte,
                byte_length: range.start_byte.saturating_sub(byte),
                skipped: 0,
                shard_end: composed.range.end,
            });
        }
        (batch, item, byte) = (range.end_batch, range.end_item, range.end_byte);
    }
    pending
}

/// Items of a batch that a redrive was to send again and did not: ranges within the batch, its bytes for each.
fn not_sent_again<'a>(
    composed: &'a ComposedShard,
    batch: u32,
    open: &'a crate::record::OpenBatch,
) -> impl Iterator<Item = PendingItems> + 'a {
    let first = composed.first_item + u64::from(open.first_item);
    open.undecided.ranges().map(move |range| PendingItems {
        first_index: first + u64::from(range.start),
        last_index: first + u64::from(range.end) - 1,
        first_batch: composed.first_batch + u64::from(batch),
        byte_offset: open.bytes.0,
        byte_length: open.bytes.1 - open.bytes.0,
        skipped: range.start,
        shard_end: composed.range.end,
    })
}
