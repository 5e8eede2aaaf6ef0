//! Sources that a worker rewrites before they are planned, and what becomes of the rewritten objects.
//!
//! A staging is an order like a probe: one worker at a time has it, and another one gets it when that worker is lost. Each
//! attempt writes under a key of its own, so that two attempts never meet; the first answer is planned upon, written down
//! with the plan, and read from then on. Whatever else lies under the run's prefix is deleted when the run ends, everything
//! before its records are.

use warifu_model::protocol::{CoordinatorMessage, RunFault, SourcePin, StagedSource};
use warifu_model::template::ItemSource;
use warifu_model::{Incarnation, MapRunId, Now};

use crate::map_run::{MapRun, Source};
use crate::record::PlanRecord;
use crate::scheduler::Scheduler;
use crate::worker::Worker;
use crate::{Config, Effect, Effects};

impl Scheduler {
    /// Orders stagings wherever a worker stages nothing.
    pub(crate) fn place_stagings(&mut self, effects: &mut Effects) {
        let wanted: Vec<MapRunId> = self
            .running_ids()
            .into_iter()
            .filter(|id| self.map_runs.get(id).is_some_and(MapRun::waits_for_staging))
            .filter(|id| !self.workers.values().any(|worker| worker.staging.as_ref() == Some(id)))
            .collect();
        for id in wanted {
            let Some(incarnation) = self.idle_stager(&id) else { continue };
            let Some(stream) = self.open_run_at(&id, incarnation, effects) else { continue };
            let Some(worker) = self.workers.get_mut(&incarnation) else { continue };
            worker.staging = Some(id.clone());
            effects.send(stream, CoordinatorMessage::Stage { map_run: id });
        }
    }

    /// A worker that stages nothing: one that offers the handler if there is any, of those the least busy. Where a handler gives
    /// the items, only one that offers that. It writes what the run's cutting reads, so it must know that.
    fn idle_stager(&self, id: &MapRunId) -> Option<Incarnation> {
        let map_run = self.map_runs.get(id)?;
        let handler = &map_run.spec.item_processor.handler;
        let reader = map_run.spec.item_reader.handler.as_ref();
        let anybody_offers = self.handler_is_offered(handler);
        let fits = |worker: &Worker| match reader {
            Some(reader) => worker.offers(reader),
            None => !anybody_offers || worker.offers(handler),
        };
        self.workers
            .values()
            .filter(|worker| worker.is_reachable() && worker.staging.is_none() && !worker.draining)
            .filter(|worker| worker.cut_versions.contains(&map_run.record.cut_version))
            .filter(|worker| fits(worker))
            .min_by_key(|worker| (worker.leases.len(), worker.incarnation))
            .map(|worker| worker.incarnation)
    }

    pub(crate) fn on_staged(
        &mut self,
        now: Now,
        incarnation: Incarnation,
        id: &MapRunId,
        staged: Result<StagedSource, RunFault>,
        effects: &mut Effects,
    ) {
        if let Some(worker) = self.workers.get_mut(&incarnation)
            && worker.staging.as_ref() == Some(id)
        {
            worker.staging = None;
        }
        self.placement_wanted = true;
        let config = self.config.clone();
        let Some(map_run) = self.map_runs.get_mut(id) else { return };
        if map_run.status.state.is_terminal() {
            // The worker did not hear of the end in time; what it wrote is nobody's.
            return self.clean_staged(id, effects);
        }
        if !(map_run.is_running() && map_run.waits_for_staging()) {
            return;
        }
        match staged {
            Ok(StagedSource { source, probe }) => {
                map_run.plan(PlanRecord { probe, staged: Some(source), batch_size: None }, &config, None);
                map_run.staged.plan = true;
                map_run.staged.total_known = map_run.is_composed();
                self.touch(now.at, id);
            }
            Err(fault) => self.fail_source(now, id, fault),
        }
    }

    /// Has everything deleted that was staged for a run, but for the object that it reads.
    pub(crate) fn clean_staged(&self, id: &MapRunId, effects: &mut Effects) {
        let Some(map_run) = self.map_runs.get(id).filter(|map_run| map_run.has_staged_objects()) else {
            return;
        };
        let (bucket, prefix) = staging_place(&self.config, id);
        let keep = Some(map_run.data_source().key.clone());
        effects.push(Effect::CleanStaged { map_run: id.clone(), bucket, prefix, keep });
    }

    /// Has everything deleted that was staged for a run that is to be deleted; `false`: there is nothing.
    pub(crate) fn clean_before_deletion(&self, id: &MapRunId, effects: &mut Effects) -> bool {
        let Some(map_run) = self.map_runs.get(id).filter(|map_run| map_run.has_staged_objects()) else {
            return false;
        };
        let (bucket, prefix) = staging_place(&self.config, &map_run.id);
        effects.push(Effect::CleanStaged { map_run: id.clone(), bucket, prefix, keep: None });
        true
    }
}

/// Where a run's staged objects lie: bucket, and prefix that ends in `/`.
pub fn staging_place(config: &Config, id: &MapRunId) -> (String, String) {
    let (bucket, prefix) = &config.system_location;
    (bucket.clone(), format!("{prefix}{id}/staged/"))
}

impl MapRun {
    /// Whether its source is being rewritten, or would be if there were a worker for it.
    pub(crate) fn is_read(&self) -> bool {
        self.is_running() && self.waits_for_staging()
    }

    fn waits_for_staging(&self) -> bool {
        matches!(self.source, Source::Unprobed) && self.spec.item_reader.needs_staging()
    }

    fn has_staged_objects(&self) -> bool {
        self.spec.item_reader.needs_staging() || self.spec.items.is_some()
    }

    /// What its templates take for the object that an item comes from.
    pub(crate) fn item_source(&self) -> ItemSource {
        ItemSource::pinned(&self.spec, self.record.cut_version, self.spec.item_source())
    }

    /// The object that is cut into shards.
    pub(crate) fn data_source(&self) -> &SourcePin {
        let staged = self.stored_plan.as_ref().and_then(|plan| plan.staged.as_ref());
        staged.unwrap_or(&self.record.source)
    }
}

#[cfg(test)]
mod tests;
