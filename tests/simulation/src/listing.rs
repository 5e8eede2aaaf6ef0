//! Batches as users list them, held against the counts that users see.

use std::collections::BTreeMap;

use warifu_model::{BatchCounts, BatchPlace, BatchState, MapRunId, MapRunView, Now};
use warifu_scheduler::{BatchPage, BatchQuery, Batches, Scheduler};

use crate::world::World;

/// Batches of a page: few, so that pages end everywhere.
const PAGE: usize = 7;

impl World {
    /// Every batch of every run is listed once, in the states that the run's counts tell.
    pub(crate) fn check_listed(&self, scheduler: &Scheduler, now: Now) -> Result<(), String> {
        for id in scheduler.map_run_ids() {
            let Some(view) = scheduler.map_run(&id) else { continue };
            let listed = self.list(scheduler, now, &id)?;
            check(&view, &listed).map_err(|problem| format!("{id} ({:?}): {problem}", view.state))?;
        }
        Ok(())
    }

    fn list(
        &self,
        scheduler: &Scheduler,
        now: Now,
        id: &MapRunId,
    ) -> Result<BTreeMap<u64, BatchState>, String> {
        let mut listed = BTreeMap::new();
        let mut from = BatchPlace::FIRST;
        loop {
            let query = BatchQuery { from, states: Default::default(), limit: PAGE };
            let page = match scheduler.batches(now, id, &query) {
                Some(Batches::Live(page)) => page,
                Some(Batches::Stored { redrive, max_items_per_batch }) => {
                    self.stored_page(id, &query, redrive, max_items_per_batch)
                }
                None => return Ok(listed),
            };
            for batch in page.batches {
                if listed.insert(batch.number, batch.state).is_some() {
                    return Err(format!("batch {} of {id} is listed twice", batch.number));
                }
            }
            match page.next {
                Some(next) if next > from => from = next,
                Some(next) => return Err(format!("the page after {from:?} of {id} begins at {next:?}")),
                None => return Ok(listed),
            }
        }
    }

    fn stored_page(&self, id: &MapRunId, query: &BatchQuery, redrive: u32, max_items: u32) -> BatchPage {
        let mut page = BatchPage::default();
        let shards = self.store.shards(id).into_iter().filter(|(number, _)| *number >= query.from.shard);
        for (_, record) in shards {
            if !page.add_stored(record, redrive, max_items, query) {
                break;
            }
        }
        page
    }
}

fn check(view: &MapRunView, listed: &BTreeMap<u64, BatchState>) -> Result<(), String> {
    let mut counts = BatchCounts { total: listed.len() as u64, ..BatchCounts::default() };
    for state in listed.values() {
        *match state {
            BatchState::Pending | BatchState::PendingRedrive => &mut counts.pending,
            BatchState::Running => &mut counts.running,
            BatchState::Succeeded => &mut counts.succeeded,
            BatchState::Failed => &mut counts.failed,
            BatchState::TimedOut => &mut counts.timed_out,
            BatchState::Aborted => &mut counts.aborted,
        } += 1;
    }
    counts.results_written = view.batch_counts.results_written;
    if view.state.is_terminal() {
        // Shards of which no batch was ever leased are not kept beyond the end.
        let not_kept = view.batch_counts.pending.saturating_sub(counts.pending);
        counts.pending += not_kept;
        counts.total += not_kept;
    }
    let told = BatchCounts { pending_redrive: 0, ..view.batch_counts };
    if counts == told { Ok(()) } else { Err(format!("{counts:?} batches are listed, {told:?} are told")) }
}
