//! Users: they create runs, change limits, stop, redrive and delete.

use std::rc::Rc;
use std::time::Duration;

use warifu_model::protocol::SourcePin;
use warifu_model::spec::{ItemBatcher, ItemProcessor, ItemReader, LimitsUpdate, MapRunSpec, ResultWriter};
use warifu_model::{InputForm, JitterStrategy, MapRunId, MapRunState, Retrier, Tolerance, WorkerId};
use warifu_scheduler::{CreateMapRun, Event, RequestId};

use crate::data::DataSet;
use crate::random::Random;
use crate::worker::handler;
use crate::world::{Happening, KnownRun, MS, SECOND, World};

/// Runs of one world at most.
const MAX_RUNS: u64 = 12;

impl World {
    pub(crate) fn user_acts(&mut self) -> Result<(), String> {
        let pause = self.random.between(50 * MS, 8 * SECOND);
        if self.healing {
            return Ok(()); // whatever waits must wake up by itself
        }
        self.after(pause, Happening::UserActs);
        let Some(leader) = self.current_leader() else { return Ok(()) };
        let event = match self.random.below(10) {
            _ if self.plan.large_run => self.create(),
            0..4 => self.create(),
            4 => self.some_run().map(|id| Event::StopRequested {
                request: self.request(),
                map_run: id,
                cause: String::new(),
            }),
            5 | 6 => self.some_run().map(|id| self.update(id)),
            7 | 8 => self.some_terminal_run().map(|id| self.redrive(id)),
            _ => self.delete_or_drain(),
        };
        match event {
            Some(event) => self.tell_leader(leader, event),
            None => Ok(()),
        }
    }

    fn request(&mut self) -> RequestId {
        self.next_request += 1;
        RequestId(self.next_request)
    }

    fn some_run(&mut self) -> Option<MapRunId> {
        let ids: Vec<_> = self.runs.keys().cloned().collect();
        self.random.pick(&ids).cloned()
    }

    fn some_terminal_run(&mut self) -> Option<MapRunId> {
        let terminal = |id: &&MapRunId| {
            let status = self.store.runs.get(*id).and_then(|run| run.status.as_ref());
            status.is_some_and(|status| status.state.is_terminal() && status.state != MapRunState::Succeeded)
        };
        let ids: Vec<_> = self.runs.keys().filter(terminal).cloned().collect();
        self.random.pick(&ids).cloned()
    }

    fn create(&mut self) -> Option<Event> {
        let most = if self.plan.large_run { 1 } else { MAX_RUNS };
        if self.next_run >= most {
            return None;
        }
        self.next_run += 1;
        let id = MapRunId::new(&format!("run-{}", self.next_run)).ok()?;
        let max_items = self.random.between(1, 5) as u32;
        let large = self.plan.large_run;
        let data = if large { DataSet::large() } else { DataSet::generate(&mut self.random, max_items) };
        let mut spec = spec(&mut self.random, max_items);
        if large {
            spec.max_concurrency = None;
            spec.adaptive_concurrency = None;
            spec.max_items_per_second = None;
            spec.timeout = None;
            spec.item_batcher.max_items_per_batch = 25;
        }
        let create = CreateMapRun {
            id: id.clone(),
            uid: u128::from(self.random.next()),
            spec,
            submitted: id.as_str().as_bytes().to_vec(),
            source: SourcePin {
                bucket: "b".to_owned(),
                key: "k".to_owned(),
                version_id: None,
                etag: "e".to_owned(),
                size_bytes: data.bytes.len() as u64,
            },
            shard_bytes: data.shard_bytes,
            require_handler: false,
        };
        let poison = (!large && self.random.chance(5))
            .then(|| (self.random.below(3) as u32, self.random.below(3) as u32));
        let run = KnownRun {
            data: Rc::new(data),
            bad_percent: if large || self.random.chance(50) { 0 } else { self.random.below(30) },
            crash_percent: if large || self.random.chance(50) { 0 } else { self.random.below(30) },
            undo_fails_percent: if self.random.chance(15) { 100 } else { self.random.below(60) },
            poison,
        };
        self.runs.insert(id, run);
        Some(Event::CreateRequested { request: self.request(), create: Box::new(create) })
    }

    fn update(&mut self, map_run: MapRunId) -> Event {
        let max_concurrency =
            if self.random.chance(10) { None } else { Some(self.random.between(1, 6) as u32) };
        let mut update = LimitsUpdate { max_concurrency: Some(max_concurrency), ..LimitsUpdate::default() };
        if self.random.chance(30) {
            update.max_items_per_second = Some(rate(&mut self.random));
        }
        Event::UpdateRequested { request: self.request(), map_run, update }
    }

    fn redrive(&mut self, map_run: MapRunId) -> Event {
        let update =
            LimitsUpdate { tolerated_failure_percentage: Some(Some(100.0)), ..LimitsUpdate::default() };
        Event::RedriveRequested { request: self.request(), map_run, update }
    }

    fn delete_or_drain(&mut self) -> Option<Event> {
        if self.random.chance(30) {
            let id = self.some_terminal_run()?;
            return Some(Event::DeleteRequested { request: self.request(), map_run: id });
        }
        let index = self.random.below(self.workers.len() as u64);
        let worker = WorkerId::new(&format!("w{index}")).ok()?;
        let request = self.request();
        Some(if self.random.chance(50) {
            Event::DrainRequested { request, worker }
        } else {
            Event::UncordonRequested { request, worker }
        })
    }
}

fn spec(random: &mut Random, max_items: u32) -> MapRunSpec {
    MapRunSpec {
        item_batcher: ItemBatcher {
            configured: true,
            max_items_per_batch: max_items,
            ..ItemBatcher::default()
        },
        item_processor: ItemProcessor { retry: retry(random), ..ItemProcessor::new(handler()) },
        max_concurrency: if random.chance(20) { None } else { Some(random.between(1, 5) as u32) },
        adaptive_concurrency: crate::adaptive::some_adaptive(random),
        max_items_per_second: rate(random),
        tolerance: tolerance(random),
        timeout: random.chance(10).then(|| Duration::from_secs(random.between(5, 120))),
        result_writer: Some(ResultWriter { bucket: "r".to_owned(), ..ResultWriter::default() }),
        compensation: crate::compensation::some_compensation(random),
        ..MapRunSpec::new(ItemReader::of_object("b", "k", InputForm::default()), handler())
    }
}

fn rate(random: &mut Random) -> Option<f64> {
    random.chance(25).then(|| random.between(1, 40) as f64)
}

fn retry(random: &mut Random) -> Vec<Retrier> {
    if random.chance(30) {
        return Vec::new();
    }
    vec![Retrier {
        error_equals: vec!["States.ALL".to_owned()],
        interval: Duration::from_millis(random.between(1, 3_000)),
        max_attempts: random.below(4) as u32,
        backoff_rate: 2.0,
        max_delay: None,
        jitter_strategy: if random.chance(50) { JitterStrategy::Full } else { JitterStrategy::None },
    }]
}

fn tolerance(random: &mut Random) -> Tolerance {
    match random.below(4) {
        0 => Tolerance { count: None, percentage: None },
        1 => Tolerance { count: Some(random.below(20)), percentage: None },
        2 => Tolerance { count: None, percentage: Some(random.below(60) as f64) },
        _ => Tolerance { count: None, percentage: Some(100.0) },
    }
}
