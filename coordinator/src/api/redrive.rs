//! `RedriveMapRun`: runs again what did not succeed, or says what that would be.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use warifu_common::wire::spec::limits_update;
use warifu_common::wire::v1;
use warifu_model::spec::LimitsUpdate;
use warifu_model::{FailureCounts, ItemCounts, MapRunId, MapRunState, MapRunView};
use warifu_scheduler::{AlertLevel, Event};

use super::create::check_places;
use super::{ApiError, Context, map_run_id};

/// Runs whose latest redrive request is remembered; the first ids make room.
const MAX_REMEMBERED: usize = 10_000;

/// Which request asked for a run's latest redrive, so that a repeat changes nothing.
///
/// In memory only: after a restart a repeat is judged by the run's state, which refuses it while the redrive goes on.
#[derive(Debug, Default)]
pub(crate) struct RedriveRequests {
    latest: Mutex<BTreeMap<MapRunId, (String, u32)>>,
}

impl RedriveRequests {
    /// Notes a request before it is sent. `true`: it is the one that the run's current redrive came of.
    fn is_repeat(&self, map_run: &MapRunId, request_id: &str, redrive_count: u32) -> bool {
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        if latest.get(map_run).is_some_and(|(id, number)| id == request_id && *number == redrive_count) {
            return true;
        }
        latest.insert(map_run.clone(), (request_id.to_owned(), redrive_count + 1));
        if latest.len() > MAX_REMEMBERED {
            latest.pop_first();
        }
        false
    }
}

pub(super) async fn redrive(
    context: &Context,
    request: v1::RedriveMapRunRequest,
) -> Result<v1::MapRun, ApiError> {
    let map_run = map_run_id("name", &request.name)?;
    let update = limits_update(request.spec.as_ref(), request.update_mask.as_ref())?;
    if request.validate_only {
        return would_begin(context, map_run, update).await;
    }
    let view = context.view(&map_run).await?;
    if !request.request_id.is_empty()
        && context.redrive_requests.is_repeat(&map_run, &request.request_id, view.redrive_count)
    {
        return Ok(v1::MapRun::from(&view));
    }
    // What the cluster allows may be less than when the run was created.
    check_places(context, &view.spec)?;
    context.change(move |request| Event::RedriveRequested { request, map_run, update }).await
}

/// The run as the redrive would begin.
async fn would_begin(context: &Context, id: MapRunId, update: LimitsUpdate) -> Result<v1::MapRun, ApiError> {
    let mut view = context.view(&id).await?;
    if !view.state.is_terminal() {
        let rule = "only a terminal map run can be redriven".into();
        return Err(ApiError::WrongState { map_run: id, state: view.state, rule });
    }
    if view.state == MapRunState::Succeeded && view.item_counts.succeeded == view.item_counts.total {
        return Err(ApiError::NothingToRedrive(id));
    }
    check_places(context, &view.spec)?;
    begin(&mut view, update);
    Ok(v1::MapRun::from(&view))
}

fn begin(view: &mut MapRunView, update: LimitsUpdate) {
    let mut spec = (*view.spec).clone();
    update.apply_to(&mut spec);
    view.spec = spec.into();
    view.state = MapRunState::Queued;
    view.redrive_count += 1;
    view.item_counts = redriven(view.item_counts);
    view.batch_counts = redriven(view.batch_counts);
    view.error = None;
    view.failure_counts = FailureCounts::default();
    view.error_groups.clear();
    view.warnings.retain(|warning| AlertLevel::ALL.iter().all(|level| level.reason() != warning.reason));
    view.compensation = None;
    view.result_location = None;
    view.stop_time = None;
}

/// What did not succeed waits for its turn; what never started still has not.
fn redriven(counts: ItemCounts) -> ItemCounts {
    ItemCounts {
        pending_redrive: counts.pending_redrive + counts.failed + counts.timed_out + counts.aborted,
        failed: 0,
        timed_out: 0,
        aborted: 0,
        results_written: 0,
        ..counts
    }
}
