//! Lists of runs and workers, cut into pages.

use std::collections::BTreeMap;

use warifu_common::wire::v1;
use warifu_model::{MapRunId, MapRunView, WallTime, WorkerView};
use warifu_scheduler::Scheduler;

use super::{ApiError, Context, page};

/// Which runs are wanted.
struct Filter {
    states: Vec<v1::map_run::State>,
    labels: BTreeMap<String, String>,
}

impl Filter {
    fn of(request: &v1::ListMapRunsRequest) -> Self {
        let labels = request.labels.iter().map(|(key, value)| (key.clone(), value.clone())).collect();
        Self { states: request.states().collect(), labels }
    }

    fn takes(&self, view: &MapRunView) -> bool {
        let in_state = self.states.is_empty() || self.states.contains(&view.state.into());
        in_state && self.labels.iter().all(|(key, value)| view.spec.labels.get(key) == Some(value))
    }

    /// Spells the filter out, for page tokens.
    fn text(&self) -> String {
        let states: Vec<&str> = self.states.iter().map(v1::map_run::State::as_str_name).collect();
        format!("mapRuns {states:?} {:?}", self.labels)
    }
}

pub(super) async fn map_runs(
    context: &Context,
    request: v1::ListMapRunsRequest,
) -> Result<v1::ListMapRunsResponse, ApiError> {
    let size = page::page_size(request.page_size, 50, 1_000)?;
    let filter = Filter::of(&request);
    let arguments = filter.text();
    let after =
        page::cursor(&request.page_token, &arguments)?.map(|cursor| Cursor::parse(&cursor)).transpose()?;
    // One more than the page holds tells whether there is another.
    let find = move |scheduler: &Scheduler| find(scheduler, &filter, after.as_ref(), size + 1);
    let mut views = context.driver.query(find).await?;
    let has_more = views.len() > size;
    views.truncate(size);
    let next_page_token = match views.last() {
        Some(last) if has_more => page::issue(&Cursor::at(last).to_string(), &arguments),
        _ => String::new(),
    };
    Ok(v1::ListMapRunsResponse { map_runs: views.iter().map(v1::MapRun::from).collect(), next_page_token })
}

fn find(scheduler: &Scheduler, filter: &Filter, after: Option<&Cursor>, count: usize) -> Vec<MapRunView> {
    let ids = scheduler.map_run_ids();
    let start = after.map_or(0, |cursor| cursor.position(scheduler, &ids));
    let views = ids[start..].iter().filter_map(|id| scheduler.map_run(id)).filter(|view| filter.takes(view));
    views.take(count).map(|view| MapRunView { outputs: Vec::new(), ..view }).collect()
}

/// The last run of a page.
struct Cursor {
    create_time: WallTime,
    id: MapRunId,
}

impl Cursor {
    fn at(view: &MapRunView) -> Self {
        Self { create_time: view.create_time, id: view.id.clone() }
    }

    fn parse(text: &str) -> Result<Self, ApiError> {
        let parts =
            text.split_once('/').and_then(|(time, id)| Some((time.parse().ok()?, MapRunId::new(id).ok()?)));
        let (time, id) = parts.ok_or(ApiError::InvalidPageToken)?;
        Ok(Self { create_time: WallTime(time), id })
    }

    /// Where the next page begins. If the run was deleted meanwhile, behind all that were created after it.
    fn position(&self, scheduler: &Scheduler, ids: &[MapRunId]) -> usize {
        let older = |id| scheduler.map_run(id).is_some_and(|view| view.create_time < self.create_time);
        let same = ids.iter().position(|id| *id == self.id).map(|position| position + 1);
        same.or_else(|| ids.iter().position(older)).unwrap_or(ids.len())
    }
}

impl std::fmt::Display for Cursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.create_time.0, self.id)
    }
}

pub(super) async fn workers(
    context: &Context,
    request: v1::ListWorkersRequest,
) -> Result<v1::ListWorkersResponse, ApiError> {
    const ARGUMENTS: &str = "workers";
    let size = page::page_size(request.page_size, 100, 1_000)?;
    let after = page::cursor(&request.page_token, ARGUMENTS)?;
    let workers = context.driver.query(|scheduler| scheduler.workers()).await?;
    // Two processes may stand under one id until the older one has expired.
    let place = |worker: &WorkerView| format!("{} {:032x}", worker.id, worker.incarnation.0);
    let behind = |worker: &&WorkerView| after.as_ref().is_none_or(|after| place(worker) > *after);
    let mut rest: Vec<&WorkerView> = workers.iter().filter(behind).collect();
    rest.sort_by_key(|worker| place(worker));
    let next_page_token = match rest.get(size.saturating_sub(1)) {
        Some(last) if rest.len() > size => page::issue(&place(last), ARGUMENTS),
        _ => String::new(),
    };
    let workers = rest.into_iter().take(size).map(v1::Worker::from).collect();
    Ok(v1::ListWorkersResponse { workers, next_page_token })
}
