//! Choosing the size of a run's batches (`autoSize`), once, when its first items are known.
//!
//! How many items a shard has does not depend on how they are cut, so the first shard is scanned as if batches were as large as
//! they may be. Its items tell the size; it is scanned again by that, and so are all others. The size is in the plan before a
//! shard is in the store, and nothing is leased of a shard that is not: no batch is ever handled that was cut otherwise.
//! If the leader is lost in between, the next one chooses anew.

use std::sync::Arc;

use warifu_dataset::{Composed, ShardScan};
use warifu_model::FirstItems;
use warifu_model::spec::MapRunSpec;

use crate::map_run::MapRun;

impl MapRun {
    /// The most items of a batch, as far as it is known.
    pub(crate) fn max_items(&self) -> u32 {
        self.spec.item_batcher.max_items_per_batch
    }

    /// The size is to be chosen, and was not.
    pub(crate) fn lacks_batch_size(&self) -> bool {
        let chosen = self.stored_plan.as_ref().and_then(|plan| plan.batch_size);
        self.spec.item_batcher.auto_size.is_some() && chosen.is_none()
    }

    /// Chooses the size if it is to be chosen and `scan` shows the run's first items; `true` if it did.
    pub(crate) fn choose_batch_size(&mut self, scan: &ShardScan) -> bool {
        let Some(auto_size) = self.spec.item_batcher.auto_size.filter(|_| self.lacks_batch_size()) else {
            return false;
        };
        let Some(first) = self.first_items(scan) else { return false };
        let size = auto_size.choose(&first, self.status.max_concurrency);
        let Some(planned) = self.planned_mut() else { return false };
        planned.record.batch_size = Some(size);
        self.stored_plan = Some(planned.record.clone());
        self.staged.plan = true;
        self.refresh_spec();
        self.context_changed();
        true
    }

    /// What the next shard shows, if it has items and `scan` settles it.
    fn first_items(&self, scan: &ShardScan) -> Option<FirstItems> {
        let planned = self.planned()?;
        let mut composer = planned.composer.clone();
        let Composed::Shard(shard) = composer.compose(scan) else { return None };
        let plan = composer.plan();
        (composer.items() > 0).then(|| FirstItems {
            items: composer.items(),
            bytes: shard.range.end.saturating_sub(plan.count_from),
            total_bytes: plan.end.saturating_sub(plan.count_from),
            max_items: self.spec.item_reader.max_items,
        })
    }

    /// Brings the specification up to date with limits that changed and with the size that was chosen.
    pub(crate) fn refresh_spec(&mut self) {
        let spec = self.spec_now();
        if spec != *self.spec {
            self.spec = Arc::new(spec);
        }
    }

    fn spec_now(&self) -> MapRunSpec {
        let mut spec = crate::map_run::spec_with_limits(&self.record.spec, &self.status);
        if let Some(size) = self.stored_plan.as_ref().and_then(|plan| plan.batch_size) {
            spec.item_batcher.max_items_per_batch = size.items;
        }
        spec
    }
}

#[cfg(test)]
mod tests;
