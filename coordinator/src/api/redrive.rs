//! `RedriveMapRun`: runs again what did not succeed, or says what that would be.

use warifu_common::wire::spec::limits_update;
use warifu_common::wire::v1;
use warifu_model::spec::LimitsUpdate;
use warifu_model::{ItemCounts, MapRunId, MapRunState, MapRunView};
use warifu_scheduler::{Event, Rejection};

use super::{ApiError, Context, map_run_id};

pub(super) async fn redrive(
    context: &Context,
    request: v1::RedriveMapRunRequest,
) -> Result<v1::MapRun, ApiError> {
    let map_run = map_run_id("name", &request.name)?;
    let update = limits_update(request.spec.as_ref(), request.update_mask.as_ref())?;
    if !request.request_id.is_empty() {
        return Err(ApiError::NotSupported("request_id of a redrive; leave it out"));
    }
    if request.validate_only {
        return would_begin(context, map_run, update).await;
    }
    context.change(move |request| Event::RedriveRequested { request, map_run, update }).await
}

/// The run as the redrive would begin.
async fn would_begin(context: &Context, id: MapRunId, update: LimitsUpdate) -> Result<v1::MapRun, ApiError> {
    let wanted = id.clone();
    let view = context.driver.query(move |scheduler| scheduler.map_run(&wanted)).await?;
    let mut view = view.ok_or_else(|| ApiError::NoSuchMapRun(id.clone()))?;
    if !view.state.is_terminal() {
        let rule = "only a terminal map run can be redriven";
        return Err(ApiError::Rejected(Rejection::WrongState { map_run: id, state: view.state, rule }));
    }
    if view.state == MapRunState::Succeeded && view.item_counts.succeeded == view.item_counts.total {
        return Err(ApiError::NothingToRedrive(id));
    }
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
    view.error_groups.clear();
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
