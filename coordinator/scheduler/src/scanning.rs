//! Reading the head, scanning shards ahead of leasing, and composing what was found.

use std::sync::Arc;

use warifu_dataset::{Composed, Probe, ShardScan};
use warifu_model::protocol::{CoordinatorMessage, RunContext, RunFault, ScanOrder};
use warifu_model::spec::{ItemReader, MapRunSpec};
use warifu_model::{Incarnation, MapRunId, MapRunState, Now, RangeSet, RunError, ShardNumber, error_name};

use crate::map_run::{MapRun, Planned, Source};
use crate::record::{PlanRecord, ShardRecord};
use crate::scheduler::Scheduler;
use crate::shard::Shard;
use crate::staging::staging_place;
use crate::worker::Scanning;
use crate::{Config, Effects};

impl Scheduler {
    /// Orders probes and scans wherever a worker reads nothing.
    pub(crate) fn place_scans(&mut self, effects: &mut Effects) {
        let runs: Vec<MapRunId> = self.running_ids();
        for id in runs {
            while let Some(wanted) = self.next_scan(&id) {
                let Some(worker) = self.idle_scanner(&id, wanted) else { break };
                self.order_scan(&id, worker, wanted, effects);
            }
        }
    }

    pub(crate) fn running_ids(&self) -> Vec<MapRunId> {
        self.map_runs
            .values()
            .filter(|map_run| map_run.is_running())
            .map(|map_run| map_run.id.clone())
            .collect()
    }

    /// The next thing to read for a run; `None` of a shard number means its head.
    fn next_scan(&self, id: &MapRunId) -> Option<Option<u32>> {
        let map_run = self.map_runs.get(id)?;
        match &map_run.source {
            Source::Unprobed if map_run.spec.item_reader.needs_staging() => None,
            Source::Unprobed => {
                let probing = Scanning::Probe(id.clone());
                let under_way =
                    self.workers.values().any(|worker| worker.scanning.as_ref() == Some(&probing));
                (!under_way).then_some(None)
            }
            Source::Planned(planned) => map_run.next_shard_to_scan(planned, self.scan_ahead()).map(Some),
        }
    }

    /// A worker that reads nothing: one that offers the handler if there is any, of those the least busy. None has more than
    /// its part of what is scanned ahead, so that its memory stays within bounds, unless all others wait for the shard.
    fn idle_scanner(&self, id: &MapRunId, wanted: Option<u32>) -> Option<Incarnation> {
        let map_run = self.map_runs.get(id)?;
        let is_waited_for = map_run
            .planned()
            .is_none_or(|planned| wanted.is_none_or(|shard| shard == planned.composer.next_shard()));
        let (ahead, part) = (map_run.scanned_ahead(), self.part_of_scans());
        let has_part = |worker: &Incarnation| ahead.get(worker).is_some_and(|shards| *shards >= part);
        let handler = &map_run.spec.item_processor.handler;
        let version = map_run.record.cut_version;
        let able = |worker: &&crate::worker::Worker| {
            let knows_cut = worker.cut_versions.contains(&version);
            let may_scan = is_waited_for || !has_part(&worker.incarnation);
            worker.is_reachable() && worker.scanning.is_none() && !worker.draining && knows_cut && may_scan
        };
        let anybody_offers = self.handler_is_offered(handler);
        let candidates =
            self.workers.values().filter(able).filter(|worker| !anybody_offers || worker.offers(handler));
        candidates
            .min_by_key(|worker| (has_part(&worker.incarnation), worker.leases.len(), worker.incarnation))
            .map(|worker| worker.incarnation)
    }

    fn order_scan(
        &mut self,
        id: &MapRunId,
        incarnation: Incarnation,
        shard: Option<u32>,
        effects: &mut Effects,
    ) {
        let Some(stream) = self.open_run_at(id, incarnation, effects) else { return };
        let Some(map_run) = self.map_runs.get_mut(id) else { return };
        let Some(worker) = self.workers.get_mut(&incarnation) else { return };
        let message = match (shard, map_run.planned_mut()) {
            (Some(shard), Some(planned)) => {
                planned.under_way.insert(shard, incarnation);
                worker.scanning = Some(Scanning::Shard(id.clone(), shard));
                CoordinatorMessage::Scan(planned.scan_order(id, shard))
            }
            _ => {
                worker.scanning = Some(Scanning::Probe(id.clone()));
                CoordinatorMessage::Probe { map_run: id.clone() }
            }
        };
        effects.send(stream, message);
    }

    /// Makes sure that a worker knows the run, and gives its stream.
    pub(crate) fn open_run_at(
        &mut self,
        id: &MapRunId,
        incarnation: Incarnation,
        effects: &mut Effects,
    ) -> Option<crate::StreamId> {
        let map_run = self.map_runs.get_mut(id)?;
        let worker = self.workers.get_mut(&incarnation)?;
        let stream = worker.stream?;
        if worker.knows.get(id) != Some(&map_run.context_version) {
            worker.knows.insert(id.clone(), map_run.context_version);
            let context = map_run.context(&self.config);
            let context = if worker.compensates { context } else { without_compensation(context) };
            effects.send(stream, CoordinatorMessage::OpenRun(context));
        }
        Some(stream)
    }

    /// What a worker was reading must be read by another.
    pub(crate) fn stop_scanning(&mut self, incarnation: Incarnation) {
        let Some(worker) = self.workers.get_mut(&incarnation) else { return };
        worker.staging = None;
        if let Some(Scanning::Shard(id, shard)) = worker.scanning.take()
            && let Some(planned) = self.map_runs.get_mut(&id).and_then(MapRun::planned_mut)
            && planned.under_way.get(&shard) == Some(&incarnation)
        {
            planned.under_way.remove(&shard);
        }
        self.placement_wanted = true;
    }

    /// A stopping run needs no scans: those under way are forgotten.
    pub(crate) fn forget_scans(&mut self, id: &MapRunId) {
        for worker in self.workers.values_mut() {
            let of_run = match &worker.scanning {
                Some(Scanning::Probe(run) | Scanning::Shard(run, _)) => run == id,
                None => false,
            };
            if of_run {
                worker.scanning = None;
            }
            worker.staging = worker.staging.take().filter(|run| run != id);
        }
        if let Some(planned) = self.map_runs.get_mut(id).and_then(MapRun::planned_mut) {
            planned.under_way.clear();
            planned.scans.clear();
        }
    }

    pub(crate) fn on_probed(
        &mut self,
        now: Now,
        incarnation: Incarnation,
        id: &MapRunId,
        probe: Result<Probe, RunFault>,
        _effects: &mut Effects,
    ) {
        self.finished_reading(incarnation, &Scanning::Probe(id.clone()));
        let config = self.config.clone();
        let Some(map_run) = self.map_runs.get_mut(id) else { return };
        if map_run.planned().is_some() || !map_run.is_running() {
            return;
        }
        match probe {
            Ok(probe) => {
                map_run.plan(PlanRecord { probe, staged: None, batch_size: None }, &config, None);
                map_run.staged.plan = true;
                map_run.staged.total_known = map_run.is_composed();
                self.touch(now.at, id);
                self.placement_wanted = true;
            }
            Err(fault) => self.fail_source(now, id, fault),
        }
    }

    pub(crate) fn on_scanned(
        &mut self,
        now: Now,
        incarnation: Incarnation,
        id: &MapRunId,
        shard: u32,
        scan: Result<ShardScan, RunFault>,
        _effects: &mut Effects,
    ) {
        self.finished_reading(incarnation, &Scanning::Shard(id.clone(), shard));
        let Some(map_run) = self.map_runs.get_mut(id) else { return };
        if !map_run.is_running() {
            return;
        }
        let Some(planned) = map_run.planned_mut() else { return };
        if planned.under_way.get(&shard) == Some(&incarnation) {
            planned.under_way.remove(&shard);
        }
        match scan {
            Ok(scan) => {
                map_run.take_scan(shard, scan, incarnation);
                self.compose(now, id);
            }
            Err(fault) => self.fail_source(now, id, fault),
        }
    }

    fn finished_reading(&mut self, incarnation: Incarnation, what: &Scanning) {
        if let Some(worker) = self.workers.get_mut(&incarnation)
            && worker.scanning.as_ref() == Some(what)
        {
            worker.scanning = None;
        }
        self.placement_wanted = true;
    }

    /// Folds whatever scans continue the composed prefix.
    fn compose(&mut self, now: Now, id: &MapRunId) {
        let Some(map_run) = self.map_runs.get_mut(id) else { return };
        let fault = map_run.compose_prefix();
        map_run.staged.total_known = map_run.is_composed() && !map_run.status.total_known;
        self.changed.insert(id.clone());
        self.touch(now.at, id);
        self.placement_wanted = true;
        if let Some(fault) = fault {
            self.fail_source(now, id, fault);
        }
    }

    pub(crate) fn fail_source(&mut self, now: Now, id: &MapRunId, fault: RunFault) {
        let error = RunError { error: fault.error, cause: fault.cause };
        self.stop(now, id, MapRunState::Failed, error);
    }
}

impl MapRun {
    /// Keeps a scan until composition reaches it. One that was cut by another size than is chosen now is made again.
    pub(crate) fn take_scan(&mut self, shard: u32, scan: ShardScan, from: Incarnation) {
        let cut_so = scan.positions.max_items_per_batch == self.max_items();
        let is_chosen = self.spec.item_batcher.auto_size.is_some();
        if let Some(planned) = self.planned_mut().filter(|_| cut_so || !is_chosen) {
            planned.take_scan(shard, scan, from);
        }
    }

    /// Composes as far as scans reach; an error if the data cannot be read.
    pub(crate) fn compose_prefix(&mut self) -> Option<RunFault> {
        loop {
            let planned = self.planned_mut()?;
            if planned.composer.is_complete() {
                planned.scans.clear();
                return None;
            }
            let (scan, from) = planned.scans.remove(&planned.composer.next_shard())?;
            if self.choose_batch_size(&scan) && scan.positions.max_items_per_batch != self.max_items() {
                return None;
            }
            let planned = self.planned_mut()?;
            match planned.composer.compose(&scan) {
                Composed::Shard(composed) => {
                    planned.rescan = false;
                    let composer = planned.composer.clone();
                    self.add_shard(composed, composer, from);
                }
                Composed::Rescan { .. } => {
                    planned.rescan = true;
                    return None;
                }
                Composed::Invalid(problem) => return Some(self.data_fault(&problem)),
            }
        }
    }

    fn add_shard(
        &mut self,
        composed: warifu_dataset::ComposedShard,
        composer: warifu_dataset::Composer,
        from: Option<Incarnation>,
    ) {
        let number = composed.shard;
        let record = ShardRecord {
            redrive: self.status.redrive,
            composed,
            composer,
            finished: Vec::new(),
            open: Default::default(),
            begun: RangeSet::new(),
            losses: Default::default(),
            deaths: Default::default(),
            reports: Vec::new(),
        };
        self.shards.insert(number, Shard::composed(record, from));
        self.staged.shards.insert(number);
        self.shard_changed(number);
    }

    fn data_fault(&self, problem: &warifu_dataset::DataProblem) -> RunFault {
        let error = match problem {
            warifu_dataset::DataProblem::RecordTooLarge { .. } => error_name::RECORD_TOO_LARGE,
            _ => error_name::ITEM_READER_FAILED,
        };
        let (source, data) = (&self.record.source, self.data_source());
        let mut place = format!("{}/{}", source.bucket, source.key);
        if data.key != source.key {
            // The offsets that follow are in that object.
            place += &format!(", rewritten as {}/{}", data.bucket, data.key);
        }
        RunFault { error: error.to_owned(), cause: format!("{place}: {problem}") }
    }

    /// The specification; items that the job gave are an object like any other by now. Older workers refuse one with a rate
    /// or an adaptive concurrency: none needs them, since both are kept by whoever grants.
    fn spec_for_workers(&self) -> MapRunSpec {
        let mut spec =
            MapRunSpec { adaptive_concurrency: None, max_items_per_second: None, ..(*self.spec).clone() };
        if spec.items.take().is_some() {
            let source = &self.record.source;
            spec.item_reader =
                ItemReader::of_object(&source.bucket, &source.key, spec.item_reader.form.clone());
        }
        spec
    }

    /// What workers must know of the run.
    pub(crate) fn context(&mut self, config: &Config) -> Arc<RunContext> {
        if let Some(context) = &self.context {
            return context.clone();
        }
        let writer = self.spec.result_writer.as_ref();
        let results = writer.map(|writer| (writer.bucket.clone(), format!("{}{}/", writer.prefix, self.id)));
        let (bucket, prefix) = &config.system_location;
        let context = Arc::new(RunContext {
            map_run: self.id.clone(),
            redrive: self.status.redrive,
            spec: self.spec_for_workers(),
            source: self.data_source().clone(),
            header: self.planned().map(|planned| planned.record.probe.header.clone()),
            cut_version: self.record.cut_version,
            max_record_bytes: config.max_record_bytes,
            max_header_bytes: config.max_header_bytes,
            max_columns: config.max_columns,
            failures: results.clone().unwrap_or_else(|| (bucket.clone(), format!("{prefix}{}/", self.id))),
            inline_output_bytes: if results.is_none() { config.max_output_bytes } else { 0 },
            create_time: self.record.create_time,
            start_time: self.status.start_time.unwrap_or(self.record.create_time),
            staging: staging_place(config, &self.id),
            max_staged_bytes: config.max_staged_bytes,
            item_source: self.spec.item_source(),
            allowed: config.allowed.clone(),
            results,
        });
        self.context = Some(context.clone());
        context
    }
}

/// For a worker that knows no compensations: it refuses a specification with one, and gets none of them to run.
fn without_compensation(context: Arc<RunContext>) -> Arc<RunContext> {
    match context.spec.compensation {
        None => context,
        Some(_) => {
            let mut context = (*context).clone();
            context.spec.compensation = None;
            Arc::new(context)
        }
    }
}

impl Planned {
    fn take_scan(&mut self, shard: u32, scan: ShardScan, from: Incarnation) {
        let plan = self.composer.plan();
        let wanted = shard >= self.composer.next_shard()
            && shard < plan.shard_count()
            && scan.range == plan.range(shard);
        // A rescan's result replaces the guess; a late guess does not replace it.
        let stale = self.rescan
            && shard == self.composer.next_shard()
            && scan.positions.entry != self.composer.entry();
        if wanted && !stale {
            self.scans.insert(shard, (scan, Some(from)));
        }
    }

    fn scan_order(&self, id: &MapRunId, shard: u32) -> ScanOrder {
        let plan = self.composer.plan();
        let is_next = shard == self.composer.next_shard();
        let counts = plan.counts_items(shard);
        ScanOrder {
            map_run: id.clone(),
            shard: ShardNumber(shard),
            range: plan.range(shard),
            begins_data: shard == 0,
            ends_object: plan.ends_object(shard),
            entry: is_next.then(|| self.composer.entry()),
            item_limit: match (is_next, counts) {
                (true, _) => self.composer.item_limit(),
                (false, true) => None,
                (false, false) => Some(0),
            },
        }
    }
}
